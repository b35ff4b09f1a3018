"""Joining an answer of the register to the part it speaks of.

Belongs here: storing an answer once, finding its part, parking what cannot be joined. Does not belong here: reading
files and mails (the inbox readers), and what an event does (``schemas.submission_states``).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa

from assets.ports import Note
from pipelines.ledger import chain
from pipelines.ledger.tables import answers, events, fitted, parked, parts
from schemas.sending import Answer, Fate, ParkedRow, SentPart, Taken
from schemas.submission_states import OURS, Event, IllegalStep, State, step

Row = Mapping[Any, Any]
_KNOWN = sa.select(answers).where(answers.c.digest == sa.bindparam("of_digest"))
_STORE = sa.insert(answers).returning(answers.c.id)
_JOIN = sa.update(answers).where(answers.c.id == sa.bindparam("of_answer")).values(part_id=sa.bindparam("of_part"))
_NEWEST_FIRST = (
    sa.select(events.c.event, events.c.detail)
    .where(events.c.part_id == sa.bindparam("of_part"))
    .order_by(events.c.id.desc())
)


@cache
def _by_id(joined: sa.Select[Any]) -> sa.Select[Any]:
    return joined.where(parts.c.id == sa.bindparam("of_id"))


@cache
def _by_msg_id(joined: sa.Select[Any]) -> sa.Select[Any]:
    return joined.where(parts.c.msg_id == sa.bindparam("of_msg_id"))


@cache
def _by_lopenr(joined: sa.Select[Any]) -> sa.Select[Any]:
    return joined.where(
        parts.c.lopenr == sa.bindparam("of_lopenr"),
        parts.c.institusjon_id == sa.bindparam("of_institution"),
        parts.c.year == sa.bindparam("of_year"),
    )


Step = Callable[[sa.Connection, Row, Event, Note], State]
AsPart = Callable[[Row], SentPart]


def take(connection: sa.Connection, answer: Answer, write: Step, as_part: AsPart, joined: sa.Select[Any]) -> Taken:
    """Store an answer once and join it, or park it with the reason. After a resend the same answer counts again."""
    known = connection.execute(_KNOWN, {"of_digest": answer.digest}).mappings().first()
    if known:
        if known["part_id"] is None and not answer.suspect and Answer.model_validate_json(known["record"]).suspect:
            return _believed(connection, int(known["id"]), answer, write, as_part, joined)
        if known["part_id"] is None:
            return Taken(fate=Fate.KNOWN, reason=_reason(connection, known["id"]))
        part = dict(connection.execute(_by_id(joined), {"of_id": known["part_id"]}).mappings().one())
        if _resent_since(connection, part, answer) and not _against(answer, part):
            return _join(connection, known["id"], answer, part, write, as_part, joined)
        return Taken(fate=Fate.KNOWN, part=as_part(part))
    inserted = connection.execute(_STORE, {"digest": answer.digest, "record": answer.model_dump_json()})
    answer_id = int(inserted.scalar_one())
    found, reason = _match(connection, answer, joined)
    if found is not None and not reason:
        return _join(connection, answer_id, answer, found, write, as_part, joined)
    connection.execute(
        sa.insert(parked).values(answer_id=answer_id, reason=_fitted(reason), parked_at=answer.received_at, tries=1)
    )
    chain.add_line(connection, answer.received_at, "inbox", "answer parked", detail=f"{answer.digest} {reason}")
    return Taken(fate=Fate.PARKED, part=as_part(found) if found else None, reason=reason)


def _believed(
    connection: sa.Connection, answer_id: int, answer: Answer, write: Step, as_part: AsPart, joined: sa.Select[Any]
) -> Taken:
    """The same document came before and could not be believed; now it can, and counts as if it were the first."""
    connection.execute(sa.update(answers).where(answers.c.id == answer_id).values(record=answer.model_dump_json()))
    part, reason = _match(connection, answer, joined)
    mine = sa.update(parked).where(parked.c.answer_id == answer_id)
    if part is None or reason:
        connection.execute(mine.values(reason=_fitted(reason)))
        return Taken(fate=Fate.PARKED, part=as_part(part) if part else None, reason=reason)
    connection.execute(mine.values(joined_at=answer.received_at))
    return _join(connection, answer_id, answer, part, write, as_part, joined)


def _resent_since(connection: sa.Connection, part: Row, answer: Answer) -> bool:
    """Whether a part was sent again after this answer was taken: who drops the second copy repeats the first answer."""
    for row in connection.execute(_NEWEST_FIRST, {"of_part": part["id"]}).all():
        if Event(row.event) is Event.RESEND:
            return True
        if row.detail.startswith(_named(answer)):
            return False
    return False


def _named(answer: Answer) -> str:
    return f"{answer.kind} {answer.digest[:16]}"


def _fitted(reason: str) -> str:
    """As much of a reason as is kept with the answer; the audit log has all of it."""
    return fitted(parked.c.reason, reason)


def _reason(connection: sa.Connection, answer_id: int) -> str:
    query = sa.select(parked.c.reason).where(parked.c.answer_id == answer_id)
    return str(connection.execute(query).scalar() or "")


def _join(
    connection: sa.Connection,
    answer_id: int,
    answer: Answer,
    part: Row,
    write: Step,
    as_part: AsPart,
    joined: sa.Select[Any],
) -> Taken:
    detail = f"{_named(answer)} {answer.detail}".strip()
    for event in answer.events:
        write(connection, part, event, Note("inbox", answer.received_at, detail=detail))
        part = dict(connection.execute(_by_id(joined), {"of_id": part["id"]}).mappings().one())
    connection.execute(_JOIN, {"of_answer": answer_id, "of_part": part["id"]})
    return Taken(fate=Fate.TAKEN, part=as_part(part))


def _match(connection: sa.Connection, answer: Answer, joined: sa.Select[Any]) -> tuple[Row | None, str]:
    """The part an answer speaks of, and why it may not be joined to it; an empty reason where it may."""
    asked: dict[str, str | int]
    if answer.msg_id:
        query, asked = _by_msg_id(joined), {"of_msg_id": answer.msg_id}
    elif answer.lopenr is not None and answer.institusjon_id and answer.year is not None:
        query = _by_lopenr(joined)
        asked = {"of_lopenr": answer.lopenr, "of_institution": answer.institusjon_id, "of_year": answer.year}
    else:
        return None, "it names no message: neither MsgId nor lopenr with institution and year"
    part = connection.execute(query, asked).mappings().first()
    if part is None:
        return None, "no part of ours has this MsgId or lopenr"
    return dict(part), _against(answer, part)


def _against(answer: Answer, part: Row) -> str:
    """Why an answer may not be joined to the part with its MsgId or lopenr; empty where it may."""
    if answer.suspect:
        return answer.suspect
    if State(part["state"]) in OURS:
        return "the part it answers was never handed over by this ledger"
    also = {"lopenr": answer.lopenr, "institusjon_id": answer.institusjon_id, "year": answer.year}
    if any(said not in (None, "", part[name]) for name, said in also.items()):
        return "it names another lopenr, institution or year than the part with this MsgId has"
    if answer.original_sha256 and answer.original_sha256 not in (part["packed_sha256"], part["body_sha256"]):
        return "it answers other bytes than those that were sent under this MsgId"
    try:
        state = State(part["state"])
        for event in answer.events:
            state = step(state, event)
    except IllegalStep as illegal:
        return f"it contradicts an earlier answer: {illegal}"
    return ""


def of_submission(connection: sa.Connection, submission_id: int) -> list[tuple[str, Answer]]:
    """Answers joined to the parts of a submission, in the order they came: MsgId and answer."""
    query = sa.select(parts.c.msg_id, answers.c.record).join_from(answers, parts)
    found = connection.execute(query.where(parts.c.submission_id == submission_id).order_by(answers.c.id))
    return [(row.msg_id, Answer.model_validate_json(row.record)) for row in found]


def retry(
    connection: sa.Connection, now: dt.datetime, write: Step, as_part: AsPart, joined: sa.Select[Any]
) -> list[Taken]:
    """Try to join what is parked. Returns what was joined."""
    waiting = sa.select(parked.c.id, parked.c.answer_id, answers.c.record).join_from(parked, answers)
    done = []
    for row in connection.execute(waiting.where(parked.c.joined_at.is_(None)).order_by(parked.c.id)).mappings().all():
        answer = Answer.model_validate_json(row["record"])
        part, reason = _match(connection, answer, joined)
        change: dict[str, Any] = {"tries": parked.c.tries + 1}
        if part is not None and not reason:
            done.append(_join(connection, row["answer_id"], answer, part, write, as_part, joined))
            change["joined_at"] = now
        else:
            change["reason"] = _fitted(reason)
        connection.execute(sa.update(parked).where(parked.c.id == row["id"]).values(**change))
    return done


def parked_rows(connection: sa.Connection) -> Sequence[ParkedRow]:
    """What is parked and not joined since, oldest first."""
    columns = (parked.c.reason, parked.c.parked_at, parked.c.tries, answers.c.record)
    query = sa.select(*columns).join_from(parked, answers).where(parked.c.joined_at.is_(None)).order_by(parked.c.id)
    return [_as_parked(row) for row in connection.execute(query).mappings()]


def _as_parked(row: Row) -> ParkedRow:
    answer = Answer.model_validate_json(row["record"])
    return ParkedRow(
        digest=answer.digest,
        kind=answer.kind,
        msg_id=answer.msg_id,
        reason=row["reason"],
        parked_at=row["parked_at"],
        tries=row["tries"],
        source=answer.source,
    )
