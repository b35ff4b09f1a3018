"""Who reports what: kinds of unit, their duties, and which deadlines speak to them.

Belongs here: the typed reader of ``schemas/calendar/duties.toml``. Does not belong here: the grammar of periods
(``schemas.period``), the deadlines themselves (``schemas.deadlines``), and whether a report was sent. Sources:
``docs/calendar.md``.
"""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Literal

from pydantic import BaseModel, model_validator

from schemas.deadlines import FIRST, FOLDER, SECOND, Deadline, readings
from schemas.period import KindName, Period, period_keys
from schemas.strict import STRICT


class UnitKind(StrEnum):
    """What kind of unit reports."""

    HEALTH_TRUST = "health_trust"
    PRIVATE = "private"
    AVTALESPESIALIST = "avtalespesialist"
    AMK = "amk"


Who = tuple[UnitKind, bool]
"""A kind of unit, and whether it has an ISF agreement: all that duties ask of a unit."""
EVERYONE: tuple[Who, ...] = tuple((kind, isf) for kind in UnitKind for isf in (False, True))

# Whom a row speaks to. Rows that name nobody, or list modules, speak to all that owe the report; so does the
# guest-patient settlement of 2017, since nothing here says who settles.
AUDIENCE_KINDS: dict[str, frozenset[UnitKind]] = {
    "not-stated": frozenset(UnitKind),
    "by-module": frozenset(UnitKind),
    "guest-settlement-only": frozenset(UnitKind),
    "isf-only": frozenset(UnitKind),
    "except-avtalespesialist": frozenset(UnitKind) - {UnitKind.AVTALESPESIALIST},
    "only-avtalespesialist": frozenset({UnitKind.AVTALESPESIALIST}),
    "except-amk": frozenset(UnitKind) - {UnitKind.AMK},
}


class Duty(BaseModel):
    """Whether some kinds of unit owe some reports, in which submissions, why, and how sure that is.

    may: not owed, but a unit that delivers it may report it.
    """

    model_config = STRICT

    units: tuple[UnitKind, ...]
    reports: tuple[KindName, ...]
    months: tuple[int, ...] = ()
    years: tuple[int, int] | None = None
    isf: bool = False
    due: bool
    may: bool = False
    submissions: tuple[Literal[1, 2], ...] = ()
    certainty: Literal["A", "B", "C"]
    source: str
    why: str

    @model_validator(mode="after")
    def _whole(self) -> Duty:
        if self.due is not bool(self.submissions) or (self.due and self.may):
            raise ValueError("what is due has submissions, what is not has none, and only the latter may be reported")
        return self

    def speaks_of(self, period: Period, kind: UnitKind, *, isf: bool) -> bool:
        """Whether this entry fits."""
        in_years = self.years is None or self.years[0] <= period.year <= self.years[1]
        in_months = not self.months or period.end.month in self.months
        return kind in self.units and period.kind in self.reports and in_years and in_months and (isf or not self.isf)


class ReportsAs(BaseModel):
    """Under which number a kind of unit reports."""

    model_config = STRICT

    unit: UnitKind
    number: str
    certainty: Literal["A", "B", "C"]
    source: str


class Duties(BaseModel):
    """The whole of ``duties.toml``."""

    model_config = STRICT

    duty: tuple[Duty, ...]
    reports_as: tuple[ReportsAs, ...]


def modules_for(period: Period, kind: UnitKind, isf: bool) -> tuple[str, ...]:  # noqa: FBT001 - agreed signature
    """Modules that a unit owes for a period; empty when no report is due."""
    return period.modules if duty(period, kind, isf=isf).due else ()


def modules_allowed(period: Period, kind: UnitKind, isf: bool) -> tuple[str, ...]:  # noqa: FBT001 - as modules_for
    """Modules that a unit owes or may report for a period."""
    entry = duty(period, kind, isf=isf)
    return period.modules if entry.due or entry.may else ()


@cache
def duty(period: Period, kind: UnitKind, *, isf: bool) -> Duty:
    """The entry of ``duties.toml`` that speaks of this unit and period, with its certainty and reason."""
    return next(entry for entry in duties().duty if entry.speaks_of(period, kind, isf=isf))


def deadlines_for(
    period: Period,
    kind: UnitKind,
    isf: bool,  # noqa: FBT001 - as modules_for
    calendar: Iterable[Deadline] | None = None,
) -> tuple[Deadline, ...]:
    """Deadlines of a report the unit owes, by date; empty when none is owed or no table was found.

    calendar: rows as they are read; by default the published ones.
    """
    owed = duty(period, kind, isf=isf).submissions
    known = readings() if calendar is None else calendar
    mine = [row for row in known if row.period == period.key and row.submission in owed and speaks_to(row, kind)]
    return tuple(sorted(mine, key=lambda row: (row.deadline, row.submission)))


@dataclass(frozen=True, slots=True)
class Gap:
    """A planned submission that is owed and has no deadline. lost: kinds of unit that miss it; all: nobody has it."""

    period: Period
    submission: int
    lost: tuple[UnitKind, ...]
    all: bool

    def __str__(self) -> str:
        """As ``2021-T1, submission 1``, with the kinds of unit where others have a deadline."""
        whom = "" if self.all else f" of {', '.join(self.lost)}"
        return f"{self.period.key}, submission {self.submission}{whom}"


def owed_gaps(year: int, found: Iterable[Deadline], who: Iterable[Who] = EVERYONE) -> list[Gap]:
    """What units of these kinds owe for the periods of a year, and no row speaks of to them, by period.

    ``schemas.deadlines.gaps`` asks whether there is a row at all; a row for avtalespesialister helps no hospital.
    """
    by_period: dict[str, list[Deadline]] = defaultdict(list)
    for row in found:
        by_period[row.period].append(row)
    asked = tuple(who)
    periods = [Period.parse(key) for key in period_keys() if key.startswith(f"{year}-")]
    return [
        gap
        for period in periods
        for submission in (FIRST, SECOND)
        if (gap := _gap(period, submission, by_period[period.key], asked))
    ]


def _gap(period: Period, submission: int, rows: list[Deadline], who: Iterable[Who]) -> Gap | None:
    owing = [(kind, isf) for kind, isf in who if submission in duty(period, kind, isf=isf).submissions]
    told = {one for one in owing if any(row.submission == submission for row in deadlines_for(period, *one, rows))}
    lost = tuple(dict.fromkeys(kind for kind, isf in owing if (kind, isf) not in told))
    return Gap(period, submission, lost, all=not told) if lost else None


def speaks_to(row: Deadline, kind: UnitKind) -> bool:
    """Whether a row's audience holds a kind of unit. The ISF agreement is asked for by the duty."""
    return kind in AUDIENCE_KINDS[row.audience]


@cache
def duties() -> Duties:
    """The duties. A fault in the packaged file is a bug and raises pydantic's ValidationError."""
    return Duties.model_validate(tomllib.loads((FOLDER / "duties.toml").read_text(encoding="utf-8")))
