"""The reporting period: one frozen type, parsed from its key and nothing else.

Belongs here: the grammar of keys, the end of a period, the kinds of report (``schemas/calendar/kinds.toml``). Does not
belong here: who reports what by when (``schemas.reporting``), and which rows belong to a period
(``transforms.extract.scope``).
"""

from __future__ import annotations

import calendar
import re
import tomllib
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from functools import cache, total_ordering
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel

from schemas.errors import WrongUse
from schemas.strict import STRICT

KINDS_FILE = Path(__file__).parent / "calendar" / "kinds.toml"
# In the order of periods that end on the same day.
KindName = Literal["month", "tertial", "annual", "kpp"]
KIND_NAMES: tuple[KindName, ...] = get_args(KindName)
# Loose reading of what someone may have meant; only used to name the nearest key.
_MEANT = re.compile(r"([0-9]{2}|[0-9]{4})[-_/ ]?([MTAK])([0-9]{0,4})")


class Years(BaseModel):
    """For which data years there are keys, and up to which a table of deadlines was found."""

    model_config = STRICT

    first: int
    last_with_table: int
    last: int


class Kind(BaseModel):
    """One kind of report: its letter, its modules, those sent only when asked for, number -> month in which it ends.

    elsewhere: message -> suffix of the report of its own that carries it. instead: number -> suffix reported instead.
    """

    model_config = STRICT

    letter: str
    modules: tuple[str, ...]
    on_request: tuple[str, ...] = ()
    elsewhere: dict[str, str] = {}
    ends: dict[int, int]
    instead: dict[int, str] = {}

    def suffix(self, number: int) -> str:
        """What stands in the key after the year: M01, T1, A."""
        return {"M": f"M{number:02d}", "T": f"T{number}"}.get(self.letter, self.letter)


class Kinds(BaseModel):
    """The whole of ``kinds.toml``."""

    model_config = STRICT

    years: Years
    month: Kind
    tertial: Kind
    annual: Kind
    kpp: Kind

    def kind(self, name: KindName) -> Kind:
        """The kind of that name."""
        kinds: dict[KindName, Kind] = {
            "month": self.month,
            "tertial": self.tertial,
            "annual": self.annual,
            "kpp": self.kpp,
        }
        return kinds[name]


@total_ordering
@dataclass(frozen=True, slots=True)
class Period:
    """A cumulative reporting period, such as 2020-T1. Ordered by its end, then by kind: the year ends A and K.

    year: year of the data. kind: month, tertial, annual or kpp. number: month 1-11 (not 4, 8), tertial 1-2, else 1.
    Raises WrongUse for a combination that is not reported.
    """

    year: int
    kind: KindName
    number: int

    def __post_init__(self) -> None:
        """Refuse what is not a key of the calendar."""
        if _keys().get(self.key) != (self.year, self.kind, self.number):
            raise _refusal(f"{self.year} {self.kind} {self.number}"[:40], _near(self.year, self.kind, self.number))

    @classmethod
    def parse(cls, text: str) -> Period:
        """The period of a key, written exactly so. Raises WrongUse with the nearest valid key."""
        parts = _keys().get(text)
        if parts is None:
            raise _refusal(text, _nearest(text))
        return cls(*parts)

    def __lt__(self, other: object) -> bool:
        """Order by the end of the period; the annual report and the cost report of a year end on the same day."""
        return self._place < other._place if isinstance(other, Period) else NotImplemented

    def __str__(self) -> str:
        """The key."""
        return self.key

    @property
    def key(self) -> str:
        """The key, such as 2020-M01, 2020-T1, 2020-A or 2020-K."""
        return f"{self.year}-{kinds().kind(self.kind).suffix(self.number)}"

    @property
    def start(self) -> date:
        """Always 1 January: periods are cumulative."""
        return date(self.year, 1, 1)

    @property
    def end(self) -> date:
        """Last day of the period: the real end of its month."""
        month = kinds().kind(self.kind).ends[self.number]
        return date(self.year, month, calendar.monthrange(self.year, month)[1])

    @property
    def modules(self) -> tuple[str, ...]:
        """What the report consists of; ``tsb`` stands for NPR-melding-TSB, whichever module carries it that year."""
        return kinds().kind(self.kind).modules

    @property
    def on_request(self) -> tuple[str, ...]:
        """Modules that the report may have besides; they are made only when asked for by name."""
        return kinds().kind(self.kind).on_request

    @property
    def elsewhere(self) -> dict[str, str]:
        """Message about the same months -> key of the report of its own that carries it."""
        return {module: f"{self.year}-{suffix}" for module, suffix in kinds().kind(self.kind).elsewhere.items()}

    def carrying(self, modules: Collection[str]) -> Period:
        """The period whose report carries these messages: this one, or the one that one of them has to itself.

        Raises WrongUse when they belong to two reports.
        """
        keys = [key for module, key in self.elsewhere.items() if module in modules]
        if not keys:
            return self
        other = Period.parse(keys[0])
        if apart := sorted(set(modules) - {*other.modules, *other.on_request}):
            raise WrongUse(
                f"{', '.join(apart)[:40]} and {', '.join(other.modules)} are not one report",
                where="--module",
                rule="messages of a period: docs/calendar.md",
                fix=f"run {self.key} for the one and {other.key} for the other",
            )
        return other

    @property
    def _place(self) -> tuple[date, int]:
        return self.end, KIND_NAMES.index(self.kind)


def period_keys() -> tuple[str, ...]:
    """Every key, in the order in which periods end. A new year appends its keys and moves none."""
    return tuple(_keys())


@cache
def kinds() -> Kinds:
    """The kinds of report. A fault in the packaged file is a bug and raises pydantic's ValidationError."""
    return Kinds.model_validate(tomllib.loads(KINDS_FILE.read_text(encoding="utf-8")))


@cache
def _keys() -> dict[str, tuple[int, KindName, int]]:
    book = kinds()
    ends = [
        (month, place, number)
        for place, name in enumerate(KIND_NAMES)
        for number, month in book.kind(name).ends.items()
    ]
    return {
        f"{year}-{book.kind(name).suffix(number)}": (year, name, number)
        for year in range(book.years.first, book.years.last + 1)
        for _, place, number in sorted(ends)
        for name in (KIND_NAMES[place],)
    }


def _refusal(text: str, nearest: str) -> WrongUse:
    years = kinds().years
    form = f"write it as 2020-M03, 2020-T1, 2020-A or 2020-K, with a year from {years.first} to {years.last}"
    shown = text if len(text) <= 20 else text[:20] + "..."  # noqa: PLR2004 - a key has 8 characters
    return WrongUse(f"{shown!r} is not a reporting period", where="period", fix=f"{form}; nearest: {nearest}")


def _nearest(text: str) -> str:
    """The key someone most likely meant."""
    plain = unicodedata.normalize("NFKC", text[:40]).upper().strip()
    if not (meant := _MEANT.fullmatch(plain)):
        return get_close_matches(plain, period_keys(), n=1, cutoff=0)[0]
    year = int(meant[1]) + (2000 if len(meant[1]) == 2 else 0)  # noqa: PLR2004 - two digits of a year
    names: dict[str, KindName] = {kinds().kind(name).letter: name for name in KIND_NAMES}
    return _near(year, names[meant[2]], int(meant[3] or 1))


def _near(year: int, name: KindName, number: int) -> str:
    """The key for these parts, each moved into what exists: another year, the last number, the report due instead."""
    kind, years = kinds().kind(name), kinds().years
    number = max(1, min(number, max(kind.ends | dict.fromkeys(kind.instead))))
    year = max(years.first, min(year, years.last))
    return f"{year}-{kind.instead.get(number) or kind.suffix(number)}"
