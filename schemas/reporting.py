"""Who reports what by when: kinds of unit, their duties, and the published deadlines.

Belongs here: the typed readers of ``schemas/calendar/duties.toml`` and ``deadlines.csv``. Does not belong here: the
grammar of periods (``schemas.period``), today's date, and whether a report was sent. Sources: ``docs/calendar.md``.
"""

from __future__ import annotations

import calendar
import tomllib
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from schemas.packaged_csv import Row, refuse, rows
from schemas.period import KindName, Period

FOLDER = Path(__file__).parent / "calendar"
DEADLINES_NAME = "schemas/calendar/deadlines.csv"
DEADLINES_HEADER = (
    "deadline",
    "period_from",
    "period_to",
    "report",
    "modules",
    "audience",
    "submission",
    "text_as_printed",
    "our_reading_note",
    "source",
)
# Report -> months in which its periods end.
ENDS = {"monthly": {1, 2, 3, 5, 6, 7, 9, 10, 11}, "tertial": {4, 8}, "annual": {12}, "annual-kpp": {12}}
REPORT_OF: dict[KindName, str] = {"month": "monthly", "tertial": "tertial", "annual": "annual"}
MODULES = {"ord", "ide", "tsb", "sbs", "pak", "pre", "str", "vtk", "ska", "kpp"}


class UnitKind(StrEnum):
    """What kind of unit reports."""

    HEALTH_TRUST = "health_trust"
    PRIVATE = "private"
    AVTALESPESIALIST = "avtalespesialist"
    AMK = "amk"


# Whom a row of the published table speaks to. Rows that name nobody, or the guest-patient settlement, speak to all.
AUDIENCES: dict[str, frozenset[UnitKind]] = {
    "not-stated": frozenset(UnitKind),
    "by-module": frozenset(UnitKind),
    "guest-settlement-only": frozenset(UnitKind),
    "isf-only": frozenset(UnitKind),
    "except-avtalespesialist": frozenset(UnitKind) - {UnitKind.AVTALESPESIALIST},
    "only-avtalespesialist": frozenset({UnitKind.AVTALESPESIALIST}),
    "except-amk": frozenset(UnitKind) - {UnitKind.AMK},
}


class Duty(BaseModel):
    """Whether some kinds of unit owe some reports, why, and how sure that is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    units: tuple[UnitKind, ...]
    reports: tuple[KindName, ...]
    months: tuple[int, ...] = ()
    years: tuple[int, int] | None = None
    isf: bool = False
    due: bool
    certainty: Literal["A", "B", "C"]
    source: str
    why: str

    def speaks_of(self, period: Period, kind: UnitKind, *, isf: bool) -> bool:
        """Whether this entry fits."""
        in_years = self.years is None or self.years[0] <= period.year <= self.years[1]
        in_months = not self.months or period.end.month in self.months
        return kind in self.units and period.kind in self.reports and in_years and in_months and (isf or not self.isf)


@dataclass(frozen=True, slots=True)
class Deadline:
    """One row of a published table. ``source`` names the table; rows that stand in two tables are kept twice."""

    deadline: date
    period_from: date
    period_to: date
    report: str
    modules: tuple[str, ...]
    audience: str
    submission: int
    text_as_printed: str
    our_reading_note: str
    source: str


def modules_for(period: Period, kind: UnitKind, isf: bool) -> tuple[str, ...]:  # noqa: FBT001 - agreed signature
    """Modules that a unit owes for a period; empty when no report is due."""
    return period.modules if duty(period, kind, isf=isf).due else ()


def duty(period: Period, kind: UnitKind, *, isf: bool) -> Duty:
    """The entry of ``duties.toml`` that speaks of this unit and period, with its certainty and reason."""
    return next(entry for entry in _duties() if entry.speaks_of(period, kind, isf=isf))


def deadlines_for(period: Period, kind: UnitKind, isf: bool) -> tuple[Deadline, ...]:  # noqa: FBT001 - as modules_for
    """Published deadlines of a report the unit owes, by date; empty when none is owed or no table was found."""
    if not duty(period, kind, isf=isf).due:
        return ()
    mine = [
        row
        for row in deadlines()
        if row.period_to == period.end and row.report == REPORT_OF[period.kind] and _speaks_to(row, kind)
    ]
    return tuple(sorted(mine, key=lambda row: (row.deadline, row.source)))


@cache
def deadlines() -> tuple[Deadline, ...]:
    """Every published deadline that was found, in the order of the tables. Raises WrongUse on an impossible row."""
    return read_deadlines((FOLDER / "deadlines.csv").read_text(encoding="utf-8"))


def read_deadlines(text: str) -> tuple[Deadline, ...]:
    """Deadlines out of the text of the file. Raises WrongUse naming file and line."""
    found: dict[tuple[date, date, str, str, int, str], Deadline] = {}
    for where, row in rows(text, DEADLINES_HEADER, DEADLINES_NAME):
        entry = _deadline(row, where)
        key = (entry.deadline, entry.period_to, entry.report, entry.audience, entry.submission, entry.source)
        if key in found:
            raise refuse("the same deadline stands twice", where)
        found[key] = entry
    return tuple(found.values())


def _speaks_to(row: Deadline, kind: UnitKind) -> bool:
    # The page exempts AMK from every second submission; some of its rows lack the mark that says so.
    exempt = kind is UnitKind.AMK and row.submission == 2  # noqa: PLR2004 - the second submission
    return kind in AUDIENCES[row.audience] and not exempt


@cache
def _duties() -> tuple[Duty, ...]:
    raw = tomllib.loads((FOLDER / "duties.toml").read_text(encoding="utf-8"))
    return tuple(Duty.model_validate(entry) for entry in raw["duty"])


def _deadline(row: Row, where: str) -> Deadline:
    entry = Deadline(
        deadline=_date(row, "deadline", where),
        period_from=_date(row, "period_from", where),
        period_to=_date(row, "period_to", where),
        report=_word(row, "report", set(ENDS), where),
        modules=tuple(row["modules"].split()),
        audience=_word(row, "audience", set(AUDIENCES), where),
        submission=int(_word(row, "submission", {"1", "2"}, where)),
        text_as_printed=row["text_as_printed"],
        our_reading_note=row["our_reading_note"],
        source=row["source"],
    )
    if fault := _fault(entry):
        raise refuse(fault, where)
    return entry


def _fault(entry: Deadline) -> str:
    """What is wrong with a row, empty when nothing is."""
    end = entry.period_to
    if entry.period_from != date(end.year, 1, 1):
        return f"period_from {entry.period_from} is not 1 January of {end.year}"
    if end.day != calendar.monthrange(end.year, end.month)[1]:
        return f"period_to {end} is not the end of its month"
    if end.month not in ENDS[entry.report]:
        return f"a period of the {entry.report} report does not end in month {end.month}"
    if entry.deadline <= end:
        return f"deadline {entry.deadline} is not after the period"
    if not entry.modules or not set(entry.modules) <= MODULES:
        return f"modules {' '.join(entry.modules)!r}; known are {' '.join(sorted(MODULES))}"
    return "" if entry.source.strip() else "source is empty"


def _date(row: Row, name: str, where: str) -> date:
    try:
        return date.fromisoformat(row[name])
    except ValueError:
        raise refuse(f"{name} {row[name]!r} is not a date", where) from None


def _word(row: Row, name: str, known: set[str], where: str) -> str:
    if row[name] not in known:
        raise refuse(f"{name} {row[name]!r}; it is one of {', '.join(sorted(known))}", where)
    return row[name]
