"""The ledger over SQL: one method per thing that may become certain.

Belongs here: transactions over the tables. Does not belong here: which event may follow which
(``schemas.submission_states``), joining answers (``pipelines.ledger.inbox``), and calling any channel.

Every method writes in one transaction that is on the disk when it returns.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from assets.ports import LopenrTaken, Note
from pipelines.ledger import chain, inbox
from pipelines.ledger.engine import Database, url_of
from pipelines.ledger.owner import is_gone
from pipelines.ledger.tables import decisions, events, fitted, parts, starts, submissions
from schemas.config import Unit
from schemas.decisions import Decision, DecisionKind
from schemas.errors import DataRefused
from schemas.records import Key, Manifest, PartIds, Submission
from schemas.sending import (
    Answer,
    AuditRow,
    EventRow,
    ParkedRow,
    SentPart,
    StateRow,
    SubmissionRow,
    Taken,
)
from schemas.submission_states import (
    BEGINS,
    FAILURES,
    OURS,
    SENT,
    Event,
    IllegalStep,
    State,
    last_answer,
    silent_for,
    stands_without,
    step,
    together,
)
from schemas.words import KEPT

LEASE = dt.timedelta(minutes=15)
"""Longer than any call of a channel may take, so that a slow process is never taken for a dead one."""
RETRY = dt.timedelta(minutes=15)
"""After that long a run that was started and is known to be over may be started again, and each time after twice that:
a run that kills its machine must not do so all night."""
AGAIN = dt.timedelta(hours=12)
"""After that long any run may be started again, whatever is known of it."""
_ALL_PARTS = sa.select(parts, submissions.c.period, submissions.c.unit, submissions.c.number, submissions.c.profile)
_JOINED = _ALL_PARTS.join_from(parts, submissions)
# Statements that are asked all the time are built once: SQLAlchemy takes five times as long to build one as to run it.
_PARTITION = (submissions.c.period == sa.bindparam("of_period"), submissions.c.unit == sa.bindparam("of_unit"))
_SUBMISSIONS = sa.select(submissions).where(*_PARTITION).order_by(submissions.c.number)
_PARTS_OF_PARTITION = _JOINED.where(*_PARTITION).order_by(submissions.c.number, parts.c.place)
_PARTS_OF_NUMBER = _JOINED.where(*_PARTITION, submissions.c.number == sa.bindparam("of_number")).order_by(parts.c.place)
_PARTS_OF = _JOINED.where(parts.c.submission_id == sa.bindparam("of_submission")).order_by(parts.c.place)
_PART = (
    sa.select(
        parts,
        submissions.c.period,
        submissions.c.unit,
        submissions.c.number,
        submissions.c.profile,
        submissions.c.owner,
        submissions.c.lease_until,
    )
    .join_from(parts, submissions)
    .where(parts.c.msg_id == sa.bindparam("of_msg_id"))
)
_LAST_LOPENR = sa.select(sa.func.max(parts.c.lopenr)).where(
    parts.c.institusjon_id == sa.bindparam("of_institution"), parts.c.year == sa.bindparam("of_year")
)
_START = sa.select(starts).where(starts.c.run_key == sa.bindparam("of_run_key"))
_DECISIONS = (
    sa.select(decisions.c.record)
    .where(decisions.c.period == sa.bindparam("of_period"), decisions.c.unit == sa.bindparam("of_unit"))
    .order_by(decisions.c.id)
)
_BEGINS = (
    sa.select(events.c.event, events.c.before, events.c.channel_before, events.c.reference_before)
    .where(events.c.part_id == sa.bindparam("of_part"), sa.or_(*(events.c.event == one.value for one in BEGINS)))
    .order_by(events.c.id.desc())
)
_DECISIONS_OF_KIND = _DECISIONS.where(decisions.c.kind == sa.bindparam("of_kind"))
_INSERT = {table: sa.insert(table) for table in (decisions, events, parts, starts, submissions)}
_STATES = (
    sa.select(
        submissions.c.period,
        submissions.c.unit,
        submissions.c.number,
        submissions.c.profile,
        parts.c.module,
        parts.c.state,
        parts.c.state_at,
        parts.c.handed_over_at,
    )
    .join_from(parts, submissions)
    .order_by(submissions.c.period, submissions.c.unit, submissions.c.number, parts.c.place)
)
_STATES_OF_PARTITION = _STATES.where(*_PARTITION)
Row = Mapping[Any, Any]


class SqlLedger:
    """The ledger of one installation."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- making a submission ------------------------------------------------------------------------------------------

    def submission(self, key: Key, profile: str, unit: Unit, year: int, inputs: str, now: dt.datetime) -> Submission:
        """The newest submission of the profile if made of these inputs, else a new one with the next number."""
        institution = unit.institusjonID
        with self._database.writing("submission") as connection:
            known = [row for row in _submissions(connection, key) if row["profile"] == profile]
            same = known[-1] if known and known[-1]["inputs"] == inputs else None
            if same and (found := _ids(connection, same["id"])):
                return _as_submission(same, found)
            # A run that died before its parts had ids begins anew: others may have taken its numbers since.
            first = _free_lopenr(connection, institution, year)
            if same:
                _change(connection, submissions, same["id"], first_lopenr=first)
                return _as_submission({**same, "first_lopenr": first}, [])
            number = max((row["number"] for row in _submissions(connection, key)), default=0) + 1
            row = {
                "period": key.period,
                "unit": key.unit,
                "number": number,
                "profile": profile,
                "institusjon_id": institution,
                "year": year,
                "inputs": inputs,
                "created_at": now,
                "first_lopenr": first,
                "content": "",
                "sealed": "",
            }
            connection.execute(_INSERT[submissions], row)
            return _as_submission(row, [])

    def keep_ids(self, submission: Submission, ids: Sequence[PartIds]) -> Submission:
        """Take the numbers and ids of the parts for good. LopenrTaken when another submission was faster."""
        with self._database.writing("ids") as connection:
            row = _submission(connection, submission.key, submission.number)
            known = _ids(connection, row["id"])
            if known:
                if list(ids) != known:
                    raise RuntimeError("other ids for the parts of a submission that has its ids")
                return _as_submission(row, known)
            numbers = [one.lopenr for one in ids]
            free = _free_lopenr(connection, row["institusjon_id"], row["year"])
            if numbers != list(range(free, free + len(ids))):
                raise LopenrTaken(
                    f"another submission of {row['institusjon_id']} took lopenr {submission.first_lopenr} since",
                    rule="lopenr grows by one with each file of an institution and year",
                    fix="run again; the parts are made with the next numbers",
                )
            _insert_parts(connection, row, ids)
            return _as_submission(row, list(ids))

    def seal(self, manifest: Manifest, now: dt.datetime) -> SubmissionRow:
        """Store the digests of the finished parts before anything may leave. DataRefused after a hand-over began."""
        sealed = manifest.sealed()
        with self._database.writing("seal") as connection:
            row = _submission(connection, manifest.key, manifest.submission)
            if row["sealed"] != sealed:
                self._seal(connection, row, manifest, now)
                values = {"content": manifest.content, "sealed": sealed}
                _change(connection, submissions, row["id"], **values)
                chain.add_line(connection, now, "pipeline", "prepared", manifest.key, manifest.submission, sealed)
            found = _rows(connection, manifest.key)
            return next(one for one in found if one.number == manifest.submission)

    def _seal(self, connection: sa.Connection, row: Row, manifest: Manifest, now: dt.datetime) -> None:
        known = {(part["module"], part["part"]): part for part in _parts_of(connection, row["id"])}
        for part in manifest.shipments:
            ours = known[part.module, part.part]
            if State(ours["state"]) not in OURS:
                raise DataRefused(
                    f"submission {manifest.submission} of {manifest.key} was handed over with other bytes",
                    where=part.path,
                    rule="what was sent is never overwritten",
                    fix="put the parts folder back from the backup; the ledger holds the digest of each part",
                )
            note = Note("pipeline", now)
            _step(connection, ours, Event.SEAL, note)
            _change(
                connection,
                parts,
                ours["id"],
                path=part.path,
                packed_bytes=part.packed_bytes,
                packed_sha256=part.sha256,
                body_sha256=part.body_sha256,
            )

    # --- reading ------------------------------------------------------------------------------------------------------

    def look(self) -> AbstractContextManager[None]:
        """What is read within the block costs one connection, see ``pipelines.ledger.engine``."""
        return self._database.look()

    def submissions(self, key: Key) -> Sequence[SubmissionRow]:
        """Submissions of a partition, oldest first."""
        with self._database.reading() as connection:
            return _rows(connection, key)

    def parts(self, key: Key, submission: int) -> Sequence[SentPart]:
        """Parts of a submission, in the order in which they are sent."""
        with self._database.reading() as connection:
            asked = _of(key) | {"of_number": submission}
            return [_as_part(row) for row in connection.execute(_PARTS_OF_NUMBER, asked).mappings()]

    def part(self, msg_id: str) -> SentPart:
        """One part. DataRefused for a MsgId that is not ours."""
        with self._database.reading() as connection:
            return _as_part(_part(connection, msg_id))

    def parts_in(self, states: Collection[State]) -> Sequence[SentPart]:
        """All parts that stand in one of these states, oldest first."""
        with self._database.reading() as connection:
            query = _JOINED.where(parts.c.state.in_([state.value for state in states])).order_by(parts.c.id)
            return [_as_part(row) for row in connection.execute(query).mappings()]

    def events(self, msg_id: str) -> Sequence[EventRow]:
        """All that happened to a part, oldest first."""
        with self._database.reading() as connection:
            part = _part(connection, msg_id)
            query = sa.select(events).where(events.c.part_id == part["id"]).order_by(events.c.id)
            return [
                EventRow(
                    number=row["id"],
                    msg_id=msg_id,
                    **{name: row[name] for name in ("event", "before", "after", "at", "by", "detail")},
                )
                for row in connection.execute(query).mappings()
            ]

    def states(self, now: dt.datetime, periods: Sequence[str] = ()) -> Sequence[StateRow]:
        """State of each module of each submission. periods: empty = all."""
        query = _STATES.where(submissions.c.period.in_(periods)) if periods else _STATES
        with self._database.reading() as connection:
            return _as_states(connection.execute(query).all(), now)

    def states_of(self, key: Key, now: dt.datetime) -> Sequence[StateRow]:
        """The same of one partition."""
        with self._database.reading() as connection:
            return _as_states(connection.execute(_STATES_OF_PARTITION, _of(key)).all(), now)

    def baseline(self, key: Key, profile: str = "production") -> SubmissionRow | None:
        """What the register keeps of a partition: the last submission accepted, else the last handed over."""
        mine = [row for row in self.submissions(key) if row.profile == profile]
        accepted = [row for row in mine if row.state is State.ACCEPTED]
        sent = [row for row in mine if row.state in SENT]
        return accepted[-1] if accepted else sent[-1] if sent else None

    # --- changing -----------------------------------------------------------------------------------------------------

    def record(self, msg_id: str, event: Event, note: Note) -> SentPart:
        """Write an event of a part. DataRefused when it cannot happen in the part's state."""
        with self._database.writing(f"record.{event.value}") as connection:
            part = _part(connection, msg_id)
            if event in BEGINS:
                _insist_claim(part, note)
            try:
                _step(connection, part, event, note)
            except IllegalStep as illegal:
                raise DataRefused(
                    f"{part['path'] or msg_id}: {illegal}",
                    where=f"{part['period']} {part['unit']}, submission {part['number']}",
                    rule="docs/sending.md, states",
                    fix="npr resume shows what is certain and what is not",
                ) from None
            return _as_part(_part(connection, msg_id))

    def claim(self, key: Key, submission: int, owner: str, now: dt.datetime) -> bool:
        """Take the right to send a submission, or renew it; False while another process holds it."""
        with self._database.writing("claim") as connection:
            row = _submission(connection, key, submission)
            holder, until = row["owner"], row["lease_until"]
            free = holder in (None, owner) or is_gone(holder) or until <= now
            if free:
                _change(connection, submissions, row["id"], owner=owner, lease_until=now + LEASE)
            return free

    def release(self, key: Key, submission: int, owner: str) -> None:
        """Give the right back."""
        with self._database.writing("release") as connection:
            row = _submission(connection, key, submission)
            if row["owner"] == owner:
                _change(connection, submissions, row["id"], owner=None, lease_until=None)

    def start(self, run_key: str, owner: str, now: dt.datetime, *, going: bool = False) -> bool:
        """Take the right to start a run; False while another start of it counts. Of two schedulers one gets it.

        going: the run that was started last is waiting or at work, or it ended by a refusal of its own. A start counts
        ``AGAIN`` then; else ``RETRY``, doubled with each try, and never longer than ``AGAIN``.
        """
        with self._database.writing("start") as connection:
            last = connection.execute(_START, {"of_run_key": run_key}).mappings().first()
            if last is None:
                connection.execute(_INSERT[starts], {"run_key": run_key, "at": now, "by": owner})
                return True
            if now - last["at"] < (AGAIN if going else min(AGAIN, RETRY * 2 ** min(last["tries"] - 1, 10))):
                return False
            taken = {"at": now, "by": owner, "tries": last["tries"] + 1, "runner": ""}
            connection.execute(sa.update(starts).where(starts.c.run_key == run_key).values(**taken))
            return True

    def take_over(self, run_key: str, owner: str) -> None:
        """The process that does a run says so, so that others can tell when it is gone."""
        with self._database.writing("take_over") as connection:
            connection.execute(sa.update(starts).where(starts.c.run_key == run_key).values(runner=owner))

    def runners(self, run_keys: Collection[str]) -> Mapping[str, str]:
        """Of these runs those that were ever started, each with the process that does it, empty when none said so."""
        query = sa.select(starts.c.run_key, starts.c.runner).where(starts.c.run_key.in_(run_keys))
        with self._database.reading() as connection:
            return {row.run_key: row.runner for row in connection.execute(query)}

    def decide(self, decision: Decision) -> None:
        """Keep a decision, and write it to the audit log."""
        key = Key(period=decision.period, unit=decision.unit)
        record = decision.model_dump_json()
        with self._database.writing("decision") as connection:
            row = {"period": key.period, "unit": key.unit, "kind": decision.kind.value, "record": record}
            connection.execute(_INSERT[decisions], row)
            what = f"{decision.kind.value} withdrawn" if decision.withdrawn else decision.kind.value
            chain.add_line(connection, decision.at, decision.by, what, key, decision.submission, record)

    def decisions(self, key: Key, kind: DecisionKind | None = None) -> Sequence[Decision]:
        """Decisions about a partition, oldest first."""
        query = _DECISIONS_OF_KIND if kind else _DECISIONS
        asked = _of(key) | ({"of_kind": kind.value} if kind else {})
        with self._database.reading() as connection:
            found = connection.execute(query, asked).scalars()
            return [Decision.model_validate_json(record, context=KEPT) for record in found]

    # --- answers and audit --------------------------------------------------------------------------------------------

    def take(self, answer: Answer) -> Taken:
        """Take an answer of the register: stored once, joined to its part or parked with the reason."""
        with self._database.writing("answer") as connection:
            return inbox.take(connection, answer, _step, _as_part, _JOINED)

    def answers(self, key: Key, submission: int) -> Sequence[tuple[str, Answer]]:
        """Answers joined to the parts of a submission, in the order they came: MsgId and answer."""
        with self._database.reading() as connection:
            return inbox.of_submission(connection, _submission(connection, key, submission)["id"])

    def parked(self) -> Sequence[ParkedRow]:
        """Answers that are not joined to a part, oldest first."""
        with self._database.reading() as connection:
            return inbox.parked_rows(connection)

    def retry_parked(self, now: dt.datetime) -> Sequence[Taken]:
        """Try to join them again, as after an event that was recorded late."""
        with self._database.writing("parked") as connection:
            return inbox.retry(connection, now, _step, _as_part, _JOINED)

    def note(self, who: str, what: str, at: dt.datetime, key: Key | None = None, detail: str = "") -> None:
        """Write a line to the audit log that no other method writes."""
        with self._database.writing("note") as connection:
            chain.add_line(connection, at, who, what, key, detail=detail)

    def audit(self, key: Key | None = None) -> Sequence[AuditRow]:
        """The audit log, oldest first."""
        with self._database.reading() as connection:
            return chain.lines(connection, key)

    def audit_broken_at(self) -> int | None:
        """Number of the first line of the audit log that does not follow; None when it is whole."""
        with self._database.reading() as connection:
            return chain.broken_at(connection)

    def other_decisions(self) -> Sequence[Key]:
        """Partitions whose decisions are not those of the audit log."""
        with self._database.reading() as connection:
            return chain.other_decisions(connection)

    def audit_hash(self, line: int) -> str | None:
        """Hash of a line of the audit log; None when there is no such line."""
        with self._database.reading() as connection:
            return chain.hash_of(connection, line)

    def audit_head(self) -> tuple[int, str]:
        """Number and hash of the last line of the audit log."""
        with self._database.reading() as connection:
            return chain.head(connection)

    # --- an installation without a ledger -----------------------------------------------------------------------------

    def adopt(self, copies: Iterable[Submission]) -> None:
        """Take over submissions whose numbers were given before there was a ledger; only into an empty one."""
        with self._database.writing("adopt") as connection:
            if connection.execute(sa.select(submissions.c.id).limit(1)).first():
                return
            for copy in copies:
                row = copy.model_dump(exclude={"key", "ids"}) | copy.key.model_dump()
                row |= {"content": "", "sealed": ""}
                connection.execute(sa.insert(submissions).values(**row))
                _insert_parts(connection, _submission(connection, copy.key, copy.number), copy.ids)


def ledger_of(home: Path, url: str | None = None, url_file: Path | None = None) -> SqlLedger:
    """The ledger of an installation, made on first use."""
    address = url_of(home, url, url_file)
    first = address.get_backend_name() == "sqlite" and not Path(str(address.database)).exists()
    ledger = SqlLedger(Database(address, home / "locks"))
    if first and (home / "submissions").is_dir():
        ledger.adopt([_copy(path) for path in sorted((home / "submissions").glob("*/*/*/submission.json"))])
    return ledger


def _copy(path: Path) -> Submission:
    """A submission as it was written before there was a ledger; its profile stands in the manifest."""
    submission = Submission.model_validate_json(path.read_bytes())
    manifest = path.parent / "parts" / "manifest.json"
    if not submission.profile and manifest.is_file():
        profile = Manifest.model_validate_json(manifest.read_bytes()).profile
        return submission.model_copy(update={"profile": profile})
    return submission


# --- rows -------------------------------------------------------------------------------------------------------------


def _of(key: Key) -> dict[str, Any]:
    """What ``_PARTITION`` asks for."""
    return {"of_period": key.period, "of_unit": key.unit}


def _submissions(connection: sa.Connection, key: Key) -> list[Row]:
    return [dict(row) for row in connection.execute(_SUBMISSIONS, _of(key)).mappings()]


def _submission(connection: sa.Connection, key: Key, number: int) -> Row:
    found = [row for row in _submissions(connection, key) if row["number"] == number]
    if not found:
        raise DataRefused(f"{key} has no submission {number}", fix=f"npr prepare {key.period} --unit {key.unit}")
    return found[0]


def _parts_of(connection: sa.Connection, submission_id: int) -> list[Row]:
    found = connection.execute(_PARTS_OF, {"of_submission": submission_id})
    return [dict(row) for row in found.mappings()]


def _part(connection: sa.Connection, msg_id: str) -> Row:
    row = connection.execute(_PART, {"of_msg_id": msg_id}).mappings().first()
    if row is None:
        raise DataRefused("no part has this MsgId", where=msg_id[:64], fix="npr resume lists the parts that are open")
    return dict(row)


def _ids(connection: sa.Connection, submission_id: int) -> list[PartIds]:
    names = PartIds.model_fields
    return [PartIds(**{name: row[name] for name in names}) for row in _parts_of(connection, submission_id)]


def _free_lopenr(connection: sa.Connection, institution: str, year: int) -> int:
    """The next number of an institution's files in a year: from 1, and never used twice."""
    asked = {"of_institution": institution, "of_year": year}
    return int(connection.execute(_LAST_LOPENR, asked).scalar() or 0) + 1


def _insert_parts(connection: sa.Connection, submission: Row, ids: Sequence[PartIds]) -> None:
    for place, one in enumerate(ids):
        row = one.model_dump() | {
            "submission_id": submission["id"],
            "place": place,
            "institusjon_id": submission["institusjon_id"],
            "year": submission["year"],
            "path": "",
            "packed_bytes": 0,
            "packed_sha256": "",
            "body_sha256": "",
            "state": State.RESERVED.value,
            "state_at": submission["created_at"],
            "attempts": 0,
            "channel": "",
            "reference": "",
        }
        connection.execute(_INSERT[parts], row)


def _change(connection: sa.Connection, table: sa.Table, row_id: int, **values: Any) -> None:  # noqa: ANN401 - columns
    new = {f"new_{name}": value for name, value in values.items()}
    connection.execute(_update(table, tuple(values)), {"of_id": row_id, **new})


@cache
def _update(table: sa.Table, names: tuple[str, ...]) -> sa.Update:
    values = {name: sa.bindparam(f"new_{name}", type_=table.c[name].type) for name in names}
    return sa.update(table).where(table.c.id == sa.bindparam("of_id")).values(values)


def _insist_claim(part: Row, note: Note) -> None:
    """A hand-over begins only under a claim that still runs: two processes never send the same part."""
    if part["owner"] != note.owner or part["lease_until"] is None or part["lease_until"] <= note.at:
        raise DataRefused(
            f"another process sends submission {part['number']} of {part['period']} {part['unit']}",
            rule="one process sends a submission",
            fix="wait for it to end; npr resume shows what became of it",
        )


def _step(connection: sa.Connection, part: Row, event: Event, note: Note) -> State:
    """Write the event and the state after it. Raises IllegalStep."""
    before = State(part["state"])
    tries = connection.execute(_BEGINS, {"of_part": part["id"]}).all() if event in FAILURES else []
    begins = [(Event(row.event), State(row.before)) for row in tries]
    after = step(before, event, stands_without(begins), last_answer(begins))
    written = {
        "part_id": part["id"],
        "event": event.value,
        "before": before.value,
        "after": after.value,
        "at": note.at,
        "by": note.by,
        "detail": note.detail,
        "channel_before": part["channel"] if event in BEGINS else "",
        "reference_before": part["reference"] if event in BEGINS else "",
    }
    connection.execute(_INSERT[events], written)
    told = _told(part, event, note)
    if event is Event.NOT_HANDED_OVER and after is not State.NOT_SENT and tries and tries[0].channel_before:
        # What came to nothing was a resend: whoever had the part before is asked about it again.
        told |= {"channel": tries[0].channel_before, "reference": tries[0].reference_before}
    if after is not before:
        told |= {"state": after.value, "state_at": note.at}
    if told:
        _change(connection, parts, part["id"], **told)
    key = Key(period=part["period"], unit=part["unit"])
    said = " ".join(word for word in (part["msg_id"], after.value, note.channel, note.reference, note.detail) if word)
    chain.add_line(connection, note.at, note.by, event.value, key, part["number"], said)
    return after


def _told(part: Row, event: Event, note: Note) -> dict[str, Any]:
    """What else an event tells of a part."""
    told: dict[str, Any] = {}
    if event in BEGINS:
        told |= {"attempts": part["attempts"] + 1, "channel": note.channel}
        if note.channel != part["channel"]:  # the same channel's reference is still that of what lies there
            told |= {"reference": ""}
    if event is Event.HANDED_OVER:
        told |= {"handed_over_at": note.at}
    elif event is Event.ACKNOWLEDGED and part["handed_over_at"] is None:
        # The transport proves a hand-over that nobody saw end; without a time its silence would never be counted.
        told |= {"handed_over_at": note.at}
    if note.reference:
        told |= {"reference": fitted(parts.c.reference, note.reference)}
    return told


def _as_submission(row: Row, ids: Sequence[PartIds]) -> Submission:
    return Submission(
        key=Key(period=row["period"], unit=row["unit"]),
        ids=tuple(ids),
        **{name: row[name] for name in Submission.model_fields if name not in ("key", "ids")},
    )


def _as_part(row: Row) -> SentPart:
    given = {name: row[name] for name in SentPart.model_fields if name not in ("key", "submission")}
    return SentPart(key=Key(period=row["period"], unit=row["unit"]), submission=row["number"], **given)


def _as_states(found: Sequence[Any], now: dt.datetime) -> list[StateRow]:
    groups = groupby(found, key=lambda row: tuple(row[:5]))
    return [_as_state(names, list(rows), now) for names, rows in groups]


def _as_state(names: tuple[Any, ...], rows: Sequence[Any], now: dt.datetime) -> StateRow:
    period, unit, number, profile, module = names
    state = together(State(row.state) for row in rows)
    handed_over = [row.handed_over_at for row in rows if row.handed_over_at]
    first = min(handed_over, default=None)
    return StateRow(
        period=period,
        unit=unit,
        module=module,
        submission=number,
        profile=profile,
        state=state,
        at=max(row.state_at for row in rows),
        handed_over_at=first,
        silent=max(silent_for(State(row.state), row.handed_over_at, now) for row in rows),
    )


def _rows(connection: sa.Connection, key: Key) -> list[SubmissionRow]:
    """Submissions with the state that their parts make together."""
    found = []
    of_submission: dict[int, list[Row]] = defaultdict(list)
    for part in connection.execute(_PARTS_OF_PARTITION, _of(key)).mappings():
        of_submission[part["submission_id"]].append(part)
    for row in _submissions(connection, key):
        mine = of_submission[row["id"]]
        names = ("number", "profile", "institusjon_id", "year", "inputs", "created_at", "content", "sealed")
        found.append(
            SubmissionRow(
                key=key,
                state=together(State(part["state"]) for part in mine) if mine else State.RESERVED,
                state_at=max((part["state_at"] for part in mine), default=row["created_at"]),
                **{name: row[name] for name in names},
            )
        )
    return found
