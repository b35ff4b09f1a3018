"""Norwegian working days, and the margin before a deadline.

Belongs here: which days are worked, which are public holidays, counting and shifting by them,
``schemas/calendar/margin.toml`` and ``holidays.csv``. Does not belong here: deadlines themselves
(``schemas.deadlines``), and today's date.
"""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Mapping
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.packaged_csv import rows

FOLDER = Path(__file__).parent / "calendar"
MARGIN_FILE = FOLDER / "margin.toml"
HOLIDAYS_FILE = FOLDER / "holidays.csv"
HOLIDAYS_HEADER = ("date", "name")
HOLIDAY_YEARS = range(2000, 2060)
SATURDAY = 5


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    certainty: Literal["A", "B", "C"]
    source: str


class Margin(_Part):
    """Working days between 'send by' and the deadline, and before 'send by' in which a report is amber."""

    send_by_working_days: int = Field(ge=0)
    amber_working_days: int = Field(ge=0)


class Closed(_Part):
    """Days of every year (MM-DD) that are treated as holidays though they are none."""

    days: frozenset[str]


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    margin: Margin
    closed: Closed


@cache
def is_working_day(day: date) -> bool:
    """Monday to Friday, no public holiday in Norway, and not 24 or 31 December."""
    return day.weekday() < SATURDAY and day not in _days_off(day.year)


def shift(day: date, working_days: int) -> date:
    """The day that lies so many working days later (before, when negative). 0 gives the day itself."""
    step = timedelta(days=1 if working_days > 0 else -1)
    for _ in range(abs(working_days)):
        day += step
        while not is_working_day(day):
            day += step
    return day


def working_days_after(first: date, last: date) -> int:
    """How many working days there are after ``first`` up to and including ``last``."""
    return sum(is_working_day(first + timedelta(days=n)) for n in range(1, (last - first).days + 1))


def margin() -> Margin:
    """The margin. A fault in the packaged file is a bug."""
    return _file().margin


@cache
def _file() -> _File:
    return _File.model_validate(tomllib.loads(MARGIN_FILE.read_text(encoding="utf-8")))


def public_holidays(year: int) -> frozenset[date]:
    """Public holidays in Norway, Sundays among them: those of the package ``holidays``.

    Of most years they are kept in ``schemas/calendar/holidays.csv``, which ``make docs`` writes and ``make check``
    holds against the package: it loads every country of the world before it answers for one.
    """
    return _kept().get(year) or frozenset(named_holidays(year))


def named_holidays(year: int) -> Mapping[date, str]:
    """The same with their names, from the package itself."""
    from holidays import country_holidays  # noqa: PLC0415 - see public_holidays

    return dict(sorted(country_holidays("NO", years=year, language="en_US").items()))


@cache
def _kept() -> Mapping[int, frozenset[date]]:
    found: dict[int, set[date]] = defaultdict(set)
    for _, row in rows(HOLIDAYS_FILE.read_text(encoding="utf-8"), HOLIDAYS_HEADER, HOLIDAYS_FILE.name):
        day = date.fromisoformat(row["date"])
        found[day.year].add(day)
    return {year: frozenset(days) for year, days in found.items()}


@cache
def _days_off(year: int) -> frozenset[date]:
    closed = {date.fromisoformat(f"{year}-{day}") for day in _file().closed.days}
    return public_holidays(year) | closed
