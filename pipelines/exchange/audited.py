"""Whether the audit log is whole: the chain, the decisions beside it, and passports that were given away.

Belongs here: putting the three together, and saying what was found. Does not belong here: hashing (``ledger.chain``),
reading a passport (``pipelines.exchange.passport``).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.exchange import passport
from schemas.errors import DataRefused

if TYPE_CHECKING:
    from pipelines.ledger.book import SqlLedger

COMPARE = "keep the ledger as it is, and compare with a backup and with the passports"
SHOWN = 5


def insist_whole(ledger: SqlLedger, passports: Iterable[Path] = ()) -> tuple[int, str]:
    """Number and hash of the last line. DataRefused for what was changed.

    passports: files, each of which names a line of the log and its hash; only they tell of lines cut off at the end.
    """
    number, head = ledger.audit_head()
    if (place := ledger.audit_broken_at()) is not None:
        raise DataRefused(
            f"the audit log was changed: line {place} does not follow from the line before",
            rule="each line holds the hash of the one before",
            fix=COMPARE,
        )
    if other := ledger.other_decisions():
        more = f" and {len(other) - SHOWN} more" if len(other) > SHOWN else ""
        raise DataRefused(
            f"decisions about {', '.join(map(str, other[:SHOWN]))}{more} are not those that the audit log tells of",
            rule="a decision and its line are written together, and neither is ever changed",
            fix=COMPARE,
        )
    for file in passports:
        _insist_told(ledger, file, number)
    return number, head


def _insist_told(ledger: SqlLedger, file: Path, number: int) -> None:
    """That the line which a passport names is in the log as it was."""
    line, hash_then = passport.audit_line(passport.verify(file.read_bytes(), str(file)))
    if ledger.audit_hash(line) == hash_then:
        return
    what = f"ends at line {number}" if line > number else "has another one there"
    raise DataRefused(
        f"{file} names line {line} of the audit log, which {what}",
        where=str(file),
        rule="a passport holds the hash of the last line when it was issued",
        fix=f"{COMPARE}; a passport of another installation fits no log but its own",
    )
