"""Norwegian working days, and the margin before a deadline.

Belongs here: which days are worked, which are public holidays, counting and shifting by them, all from
``schemas/calendar/margin.toml``. Does not belong here: deadlines themselves (``schemas.deadlines``), and today's date.
"""

from __future__ import annotations

import tomllib
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Literal

from dateutil.easter import easter
from pydantic import BaseModel, ConfigDict, Field

MARGIN_FILE = Path(__file__).parent / "calendar" / "margin.toml"
SATURDAY = 5


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    certainty: Literal["A", "B", "C"]
    source: str


class Margin(_Part):
    """Working days between 'send by' and the deadline, and before 'send by' in which a report is amber."""

    send_by_working_days: int = Field(ge=0)
    amber_working_days: int = Field(ge=0)


class Public(_Part):
    """Public holidays: days of every year (MM-DD), and days counted from Easter Sunday."""

    fixed: frozenset[str]
    easter: frozenset[int]


class Closed(_Part):
    """Days of every year (MM-DD) that are treated as holidays though they are none."""

    days: frozenset[str]


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    margin: Margin
    public: Public
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


@cache
def public_holidays(year: int) -> frozenset[date]:
    """Public holidays in Norway, Sundays among them."""
    facts, sunday = _file().public, easter(year)
    return _every(year, facts.fixed) | {sunday + timedelta(days=n) for n in facts.easter}


@cache
def _days_off(year: int) -> frozenset[date]:
    return public_holidays(year) | _every(year, _file().closed.days)


def _every(year: int, days: frozenset[str]) -> frozenset[date]:
    return frozenset(date.fromisoformat(f"{year}-{day}") for day in days)
