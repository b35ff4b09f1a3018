"""What people write about a decision: the name of who decides, and the reason.

Belongs here: the two types, checking an option that holds one, showing old text safely. Does not belong here: the
decision itself (``schemas.decisions``).

Both go into the audit log, into events and into passports, which everyone may read and nobody can take back. So they
are one line that a terminal shows as it is, and hold nothing that could be an identity number. They are checked when
something is decided and not when it is read: what an older program kept stays readable (``KEPT``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, ValidationInfo

from schemas.errors import WrongUse

KEPT = {"kept": True}
"""Context of ``model_validate`` for a record that was written before: its words are taken as they are."""
SHORTEST, LONGEST, LONGEST_REASON = 2, 100, 500
_DASHES = "\u2010-\u2015\u2212"
# Eleven digits, also as birth date and personal number apart; longer runs of digits are other numbers.
_IDENTITY = re.compile(rf"(?<!\d)\d{{6}}[ {_DASHES}-]?\d{{5}}(?!\d)")
PERSON = (
    f"the name of a person: {SHORTEST} to {LONGEST} printable characters on one line, nothing like an identity number"
)
REASON = f"at most {LONGEST_REASON} printable characters on one line, nothing like an identity number"


def _is_person(text: str) -> bool:
    return SHORTEST <= len(text) <= LONGEST and _shown_as_it_is(text)


def _is_reason(text: str) -> bool:
    return len(text) <= LONGEST_REASON and _shown_as_it_is(text)


def _shown_as_it_is(text: str) -> bool:
    return text.isprintable() and not _IDENTITY.search(text)


def _checked(holds: Callable[[str], bool], wanted: str) -> Callable[[str, ValidationInfo], str]:
    def check(text: str, info: ValidationInfo) -> str:
        if info.context == KEPT:
            return text
        if not holds(text.strip(" ")):
            raise ValueError(f"must be {wanted}")
        return text.strip(" ")

    return check


PersonName = Annotated[str, AfterValidator(_checked(_is_person, PERSON))]
Reason = Annotated[str, AfterValidator(_checked(_is_reason, REASON))]


def person(text: str, option: str = "--by") -> str:
    """The name that an option holds, without blanks around it. WrongUse, which does not repeat it, for anything else.

    >>> person(" Kari Nordmann ")
    'Kari Nordmann'
    """
    name = text.strip(" ")
    if not _is_person(name):
        raise WrongUse(f"{option} is {PERSON}", where=option, rule=_WHY, fix=f"give {option} anew")
    return name


def reason(text: str, option: str = "--because", *, needed: bool = True) -> str:
    """The reason that an option holds, in the same way. needed: an empty one is none."""
    why = text.strip(" ")
    if not _is_reason(why) or (needed and not why):
        raise WrongUse(f"{option} is a reason of {REASON}", where=option, rule=_WHY, fix=f"give {option} anew")
    return why


_WHY = "it stands in the audit log, which everyone may read and nobody can change"


def on_one_line(text: str) -> str:
    r"""Text that was kept before it was checked, with what a terminal would act on written out.

    >>> print(on_one_line("Kari\n    2 Ola"))
    Kari\n    2 Ola
    """
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
