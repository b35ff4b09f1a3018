"""The own reference of a message: ``Melding/@lokalident``, which the register's feedback names messages by.

Belongs here: how it is written and read. Does not belong here: numbers (the ledger), feedback (``transforms.answers``).

lokalident is free text to the register (A), and one of two documented handles of its feedback (A). Ours holds what
makes a message unique for us: institution, year and lopenr. So a feedback that gives nothing else still finds its
message, and the same ledger gives the same bytes.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_FORM: Final = re.compile(r"([0-9]{4,10})-((?:19|20)[0-9]{2})-([0-9]{1,9})")


class Numbers(NamedTuple):
    """What a lokalident of ours holds."""

    institusjon_id: str
    year: int
    lopenr: int


def lokalident(institusjon_id: str, year: int, lopenr: int) -> str:
    """The reference of a message."""
    return f"{institusjon_id}-{year}-{lopenr}"


def numbers_of(text: str) -> Numbers | None:
    """What a reference holds; None for one that is not ours."""
    found = _FORM.fullmatch(text.strip())
    return Numbers(found[1], int(found[2]), int(found[3])) if found else None
