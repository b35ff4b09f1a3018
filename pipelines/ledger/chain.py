"""The audit log: a chain of lines, each of which holds the hash of the one before it.

Belongs here: adding a line, checking the chain, and holding the decisions in force against it. Does not belong here:
who may read it.

A line that is changed, taken out or put in breaks the chain at that place. Lines cut off at the end are seen only
against a hash that was kept elsewhere; every passport holds one.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter

import sqlalchemy as sa

from pipelines.ledger.tables import audit, decisions
from schemas.decisions import DecisionKind
from schemas.records import Key, digest
from schemas.sending import AuditRow

_LAST = sa.select(audit.c.number, audit.c.hash).order_by(audit.c.number.desc()).limit(1)
_ADD = sa.insert(audit)


def add_line(
    connection: sa.Connection,
    at: dt.datetime,
    who: str,
    what: str,
    key: Key | None = None,
    submission: int | None = None,
    detail: str = "",
) -> None:
    """Write one line, within the transaction of what it tells of."""
    last = connection.execute(_LAST).mappings().first()
    line = {
        "number": last["number"] + 1 if last else 1,
        "at": at.astimezone(dt.UTC).isoformat(timespec="microseconds"),
        "who": who,
        "what": what,
        "period": key.period if key else "",
        "unit": key.unit if key else "",
        "submission": submission,
        "detail": detail,
    }
    connection.execute(_ADD, line | {"hash": _hash(line, last["hash"] if last else "")})


def _hash(line: dict[str, object], before: str) -> str:
    return digest({**{name: line[name] for name in _COVERED}, "before": before})


_KEPT = sa.select(decisions.c.period, decisions.c.unit, decisions.c.record)
# An event of a part may have the name of a decision (approve, resend); its detail is no record.
_TOLD = sa.select(audit.c.period, audit.c.unit, audit.c.detail).where(
    audit.c.what.in_([f"{kind.value}{end}" for kind in DecisionKind for end in ("", " withdrawn")]),
    audit.c.detail.startswith('{"kind":'),
)
_COVERED = ("number", "at", "who", "what", "period", "unit", "submission", "detail")


def lines(connection: sa.Connection, key: Key | None = None) -> list[AuditRow]:
    """The log, oldest first; of one partition where a key is given."""
    query = sa.select(audit).order_by(audit.c.number)
    if key:
        query = query.where(audit.c.period == key.period, audit.c.unit == key.unit)
    return [AuditRow.model_validate(dict(row)) for row in connection.execute(query).mappings()]


def broken_at(connection: sa.Connection) -> int | None:
    """Number of the first line that does not follow from the one before; None for a whole chain."""
    before, expected = "", 1
    for row in connection.execute(sa.select(audit).order_by(audit.c.number)).mappings():
        line = dict(row)
        if line["number"] != expected or line["hash"] != _hash(line, before):
            return expected
        before, expected = line["hash"], expected + 1
    return None


def other_decisions(connection: sa.Connection) -> list[Key]:
    """Partitions whose decisions are not those that the log tells of: changed, added or taken away in their table."""
    kept = Counter(tuple(row) for row in connection.execute(_KEPT))
    told = Counter(tuple(row) for row in connection.execute(_TOLD))
    return sorted({Key(period=period, unit=unit) for period, unit, _ in kept - told | told - kept}, key=str)


def hash_of(connection: sa.Connection, number: int) -> str | None:
    """Hash of a line; None when there is no such line."""
    return connection.execute(sa.select(audit.c.hash).where(audit.c.number == number)).scalar()


def head(connection: sa.Connection) -> tuple[int, str]:
    """Number and hash of the last line; (0, "") for an empty log."""
    row = connection.execute(_LAST).first()
    return (row[0], row[1]) if row else (0, "")
