"""What the commands around sending do: approve, accept, submit, resume, resend.

Belongs here: choosing the submission a command means, decisions of named persons, asking about what is open. Does not
belong here: handing over (``assets.dispatch``, which the Dagster asset uses as well), the ledger, printing.
"""

from __future__ import annotations

import datetime as dt
import getpass
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from assets import classes
from assets.dispatch import asked, channels_for, hand_over, insist_digest, insist_ready, submit
from assets.manifests import insist_bytes, manifest_of
from assets.ports import Note, Options, Run
from pipelines.exchange.passport import issue
from pipelines.home.store import DiskStore
from pipelines.ledger.book import SqlLedger, ledger_of
from pipelines.partitions import partition_key
from pipelines.settings import Settings
from pipelines.workbench import DiskWorkbench
from schemas.config import Profile
from schemas.decisions import Decision, DecisionKind
from schemas.errors import DataRefused, NprError, WrongUse
from schemas.records import Delivery, Key, Manifest
from schemas.sending import SentPart, StateRow, SubmissionRow
from schemas.submission_states import ANSWERED, OPEN, OURS, SENDABLE, SENT, Event, IllegalStep, State, silent_for, step
from schemas.words import person, reason
from transforms.content import submission_diff

WAITING = frozenset({State.HANDED_OVER, State.ACKNOWLEDGED})
"""Parts of which the channel may know more by now."""


def insist_known(settings: Settings, ledger: SqlLedger, unit: str) -> None:
    """WrongUse for a unit of which nothing can be told: in neither npr.toml nor ledger. Empty means all units.

    One that was taken out of npr.toml stays readable for as long as the ledger speaks of it.
    """
    if not unit or unit in settings.config.units:
        return
    told = {row.unit for row in ledger.audit()} | {part.key.unit for part in ledger.parts_in(frozenset(State))}
    if unit not in told:
        known = sorted({*settings.config.units, *told} - {""})
        raise WrongUse(
            f"no unit {unit[:40]!r} in {settings.path} and none in the ledger",
            where="--unit",
            rule="of a unit that nobody knows nothing would ever be in doubt",
            fix=f"units are {', '.join(known)}",
        )


def with_profile(settings: Settings, profile: Profile) -> Settings:
    """The same settings under another profile."""
    return Settings(settings.config.model_copy(update={"profile": profile}), settings.home, settings.path)


def ledger_for(settings: Settings) -> SqlLedger:
    """The ledger that the settings name."""
    return ledger_of(settings.home, settings.config.ledger.url, settings.config.ledger.url_file)


def run_of(settings: Settings, key: Key, profile: Profile) -> Run:
    """A run of one partition under a profile, to send what is prepared."""
    return DiskWorkbench(with_profile(settings, profile), Options()).open(partition_key(key.period, key.unit))


def chosen(run: Run, number: int | None, profile: str) -> SubmissionRow:
    """The submission of a number, or the newest prepared one of a profile. DataRefused where there is none."""
    rows = [row for row in run.ledger.submissions(run.key) if row.sealed and row.profile == profile]
    found = [row for row in rows if number in (None, row.number)]
    if not found:
        which = f"submission {number}" if number else "prepared submission"
        raise DataRefused(
            f"{run.key} has no {which} of profile {profile}",
            fix=f"npr prepare {run.key.period} --unit {run.key.unit} --profile {profile}",
        )
    return found[-1]


def submit_to(settings: Settings, key: Key, profile: Profile, number: int | None) -> tuple[Delivery, list[SentPart]]:
    """Hand over a prepared submission, and say where its parts stand."""
    run = run_of(settings, key, profile)
    row = chosen(run, number, profile)
    delivery = submit(run, row.number)
    return delivery, list(run.ledger.parts(key, row.number))


def approve(
    settings: Settings, key: Key, by: str, number: int | None, why: str, *, withdraw: bool = False
) -> tuple[Decision, Manifest]:
    """A named person approves the very parts of a submission, or takes that back.

    It speaks of production, or of the profile of npr.toml where that asks for approvals (``approval``).
    """
    by, why = person(by), reason(why, needed=False)
    profile = settings.config.profile if settings.config.approval else "production"
    run = run_of(settings, key, profile)
    return approve_these(run, chosen(run, number, profile), by, why, withdraw=withdraw)


def approve_these(
    run: Run, row: SubmissionRow, by: str, why: str, *, withdraw: bool = False
) -> tuple[Decision, Manifest]:
    """The same for a submission that was looked up."""
    key = run.key
    manifest = _whole(run, row)
    if any(part.state not in OURS for part in run.ledger.parts(key, row.number)):
        raise DataRefused(
            f"submission {row.number} of {key} is {row.state.value.replace('_', ' ')}; it is too late to decide",
            rule="an approval comes before the hand-over",
            fix="npr resume shows what became of it",
        )
    decision = _decision(run, DecisionKind.APPROVE, row.profile, by, why)
    decision = decision.model_copy(
        update={"submission": row.number, "content": manifest.sealed(), "withdrawn": withdraw}
    )
    run.ledger.decide(decision)
    for part in run.ledger.parts(key, row.number):
        if not withdraw or part.state is State.APPROVED:
            run.ledger.record(part.msg_id, Event.VOID if withdraw else Event.APPROVE, Note(by, decision.at))
    return decision, manifest


def accept(settings: Settings, key: Key, by: str, number: int | None, why: str) -> tuple[Decision, SubmissionRow]:
    """A named person takes on what the validation service found of a content, so that it may go to production.

    DataRefused before the service has answered of every part: neither a hand-over nor silence says what is there.
    """
    by, why = person(by), reason(why)
    run = run_of(settings, key, "validation")
    row = chosen(run, number, "validation")
    found = {part.place: part.state for part in run.ledger.parts(key, row.number)}
    if waiting := {place: state for place, state in found.items() if state not in ANSWERED}:
        left = all(state in SENT for state in waiting.values())
        asking = "npr inbox takes answers in; npr resume shows what waits for one"
        raise DataRefused(
            f"submission {row.number} of {key}: nothing was found yet",
            where=", ".join(f"{place}: {state.value.replace('_', ' ')}" for place, state in waiting.items()),
            rule="what is accepted is what the validation service answered, of every part; silence is no answer",
            fix=asking if left else f"npr submit {key.period} --unit {key.unit} --to validation",
        )
    decision = _decision(run, DecisionKind.ACCEPT, "production", by, why)
    decision = decision.model_copy(update={"submission": row.number, "content": row.content, "found": found})
    run.ledger.decide(decision)
    return decision, row


def diff(settings: Settings, key: Key, first: int, second: int) -> dict[str, Any]:
    """What changed between two submissions of a period, by table of the contract and department.

    Returns ``rows`` (transforms.content.submission_diff.DIFF, only where anything changed) and ``totals`` by table.
    """
    run = run_of(settings, key, settings.config.profile)
    found = submission_diff.compare(classes.kept(run, first), classes.kept(run, second))
    changed = found.filter((pl.col("new") + pl.col("gone") + pl.col("changed")) > 0)
    totals = found.drop("department").group_by("table", maintain_order=True).sum()
    return {
        "period": key.period,
        "unit": key.unit,
        "before": first,
        "after": second,
        "totals": totals.to_dicts(),
        "rows": changed.to_dicts(),
    }


def issue_passport(settings: Settings, key: Key, number: int | None) -> tuple[dict[str, Any], Path]:
    """The signed passport of a submission as it stands now; of the newest where no number is given."""
    ledger = ledger_for(settings)
    rows = [row for row in ledger.submissions(key) if row.sealed and number in (None, row.number)]
    if not rows:
        raise DataRefused(
            f"{key} has no {f'submission {number}' if number else 'prepared submission'}",
            fix=f"npr prepare {key.period} --unit {key.unit}",
        )
    run = run_of(settings, key, settings.config.profile)
    return issue(run, ledger, DiskStore(settings.home), rows[-1].number, getpass.getuser())


def _decision(run: Run, kind: DecisionKind, subject: str, by: str, why: str) -> Decision:
    key = run.key
    return Decision(kind=kind, period=key.period, unit=key.unit, subject=subject, by=by, at=run.now(), why=why)


def _whole(run: Run, row: SubmissionRow) -> Manifest:
    """The manifest of a submission, its bytes and the ledger all saying the same."""
    manifest = manifest_of(run, row.number)
    insist_bytes(run, manifest)
    if manifest.sealed() != row.sealed:
        raise DataRefused(
            f"submission {row.number} of {run.key} is not what was prepared",
            where=str(run.store.shipments(run.key, row.number)),
            rule="the ledger holds the digest of what was prepared",
            fix=f"npr prepare {run.key.period} --unit {run.key.unit} --profile {row.profile}",
        )
    return manifest


def resend(settings: Settings, msg_id: str, by: str, why: str) -> SentPart:
    """Hand the identical bytes over once more, under the same MsgId, because a named person says so."""
    by, why = person(by), reason(why)
    part = ledger_for(settings).part(msg_id)
    run = run_of(settings, part.key, _profile(part))
    if part.state in SENDABLE:
        raise DataRefused(
            f"{part.path} has not left; there is nothing to send again",
            fix=f"npr submit {part.key.period} --unit {part.key.unit} --to {part.profile}",
        )
    manifest = manifest_of(run, part.submission)
    insist_ready(run, manifest)
    file = next(one for one in manifest.shipments if one.msg_id == msg_id)
    decision = _decision(run, DecisionKind.RESEND, msg_id, by, why)
    folder = run.store.shipments(run.key, part.submission)
    channel = channels_for(run, manifest)[file.large]
    with _claimed(run, part.submission):
        part = run.ledger.part(msg_id)  # an answer may have come since
        if part.state is State.HANDING_OVER:
            part = run.ledger.record(msg_id, Event.DOUBT, Note(by, run.now()))
        # What may refuse comes before the decision, which stands in the audit log for ever; no byte leaves before it.
        _insist_may_follow(part)
        insist_digest(run, file, folder / file.path)
        run.ledger.decide(decision.model_copy(update={"submission": part.submission, "content": part.packed_sha256}))
        return hand_over(run, channel, manifest, file, folder, Event.RESEND, Note(by, run.now(), detail=why))


def _insist_may_follow(part: SentPart) -> None:
    try:
        step(part.state, Event.RESEND)
    except IllegalStep as illegal:
        raise DataRefused(
            f"{part.path or part.msg_id}: {illegal}; it was not sent again",
            where=f"{part.key.period} {part.key.unit}, submission {part.submission}",
            rule="docs/sending.md, states",
            fix="npr resume shows what is certain and what is not",
        ) from None


class _claimed:  # noqa: N801 - reads as a word of the with statement
    """The claim of a submission for the length of a block."""

    def __init__(self, run: Run, number: int) -> None:
        self._run, self._number = run, number

    def __enter__(self) -> None:
        run = self._run
        if not run.ledger.claim(run.key, self._number, run.owner, run.now()):
            raise Busy(
                f"another process sends submission {self._number} of {run.key}",
                rule="one process sends a submission",
                fix="wait for it to end, then run again",
            )

    def __exit__(self, *_: object) -> None:
        self._run.ledger.release(self._run.key, self._number, self._run.owner)


class Busy(DataRefused):
    """Another process holds the claim of a submission."""


def resume(settings: Settings, now: dt.datetime, period: str = "", unit: str = "") -> dict[str, Any]:
    """Settle by asking what can be settled, send nothing, and say what is certain and what is not.

    now: UTC; silence is counted until then. Returns ``asked`` (one row per part asked about), ``in_doubt``, ``waiting``
    (``silent``: hours without an answer, 0, 24, 48 or 72), ``to_send``, ``parked`` and ``states`` (parts by state);
    period and unit narrow what is asked and listed; WrongUse for a unit that nobody knows.
    """
    ledger = ledger_for(settings)
    insist_known(settings, ledger, unit)
    joined = ledger.retry_parked(now)
    mine = [part for part in ledger.parts_in(OPEN | WAITING) if _meant(part, period, unit)]
    told = list(_asked(settings, mine))
    every = [part for part in ledger.parts_in(frozenset(State)) if _meant(part, period, unit)]
    return {
        "asked": told,
        "joined": len(joined),
        "in_doubt": [_row(part) for part in every if part.state in OPEN],
        "to_send": [_row(part) for part in every if part.state is State.NOT_SENT],
        "waiting": [_row(part) | _silence(part, now) for part in every if part.state in WAITING],
        "parked": [row.model_dump(mode="json") for row in ledger.parked()],
        "states": {state.value: n for state in State if (n := sum(part.state is state for part in every))},
    }


def _asked(settings: Settings, parts: Sequence[SentPart]) -> Iterator[dict[str, Any]]:
    for part in parts:
        try:
            run = run_of(settings, part.key, _profile(part))
            with _claimed(run, part.submission):
                after, told = asked(run, part)
                said, why = told.detail, ""
        except NprError as refused:
            after, said, why = ledger_for(settings).part(part.msg_id), "", refused.what
        yield _row(after) | {"before": part.state.value, "said": said, "not_told": why}


def _silence(part: SentPart, now: dt.datetime) -> dict[str, Any]:
    handed_over = part.handed_over_at.isoformat() if part.handed_over_at else None
    return {"handed_over_at": handed_over, "silent": silent_for(part.state, part.handed_over_at, now)}


def _profile(part: SentPart) -> Profile:
    return part.profile  # type: ignore[return-value] # written from the settings' own type


def _meant(part: SentPart, period: str, unit: str) -> bool:
    return part.key.period == (period or part.key.period) and part.key.unit == (unit or part.key.unit)


def _row(part: SentPart) -> dict[str, Any]:
    names = ("submission", "profile", "module", "part", "lopenr", "msg_id", "state", "state_at", "channel", "reference")
    return part.key.model_dump() | part.model_dump(mode="json", include=set(names))


def state_rows(settings: Settings, now: dt.datetime) -> Sequence[StateRow]:
    """States of all modules of all submissions."""
    return ledger_for(settings).states(now)
