"""Deadlines: the published tables, what is wrong on them, and the checked reader for these and for drafts.

Belongs here: rows of ``schemas/calendar/deadlines.csv`` as printed, ``corrections.csv``, ``tables.toml``, and what a
row may not say. Does not belong here: who owes a report (``schemas.reporting``), drafts on disk
(``pipelines.home.calendar``) and how they are made (``transforms.scheduling.proposal``), today's date. Sources:
``docs/calendar.md``.
"""

from __future__ import annotations

import calendar
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from schemas.packaged_csv import Row, refuse, rows
from schemas.period import Period, period_keys
from schemas.strict import STRICT
from schemas.workdays import is_working_day

FOLDER = Path(__file__).parent / "calendar"
DEADLINES_NAME = "schemas/calendar/deadlines.csv"
CORRECTIONS_NAME = "schemas/calendar/corrections.csv"
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
CORRECTIONS_HEADER = ("source", "deadline", "report", "submission", "field", "printed", "read_as", "reason")
Status = Literal["published", "confirmed", "proposed"]
# Report -> months in which its periods end.
ENDS = {
    "monthly": {1, 2, 3, 5, 6, 7, 9, 10, 11},
    "tertial-1": {4},
    "tertial-2": {8},
    "annual": {12},
    "annual-kpp": {12},
}
_SUFFIX = {"monthly": "M{:02}", "tertial-1": "T1", "tertial-2": "T2", "annual": "A", "annual-kpp": "K"}
MODULES = {"ord", "ide", "tsb", "sbs", "pak", "pre", "str", "vtk", "ska", "kpp"}
# Words for whom a row speaks to; schemas.reporting says which kinds of unit that are.
AUDIENCES = (
    "not-stated",
    "by-module",
    "guest-settlement-only",
    "isf-only",
    "except-avtalespesialist",
    "only-avtalespesialist",
    "except-amk",
)
WITHIN_MONTHS = 12
"""A deadline comes so soon after its period; the latest published one does in 7. A later one has a wrong year."""
LATE = "only-avtalespesialist"
FIRST, SECOND = 1, 2
# The end of a period as the pages print it: 31.6. 2020, 31.01 2020, 28.02.2022.
_PRINTED_END = re.compile(r"-\s*([0-9]{1,2})\.([0-9]{1,2})\.?\s*([0-9]{4})")


@dataclass(frozen=True, slots=True)
class Deadline:
    """One row of a table. ``source`` names the table; rows that stand in two tables are kept twice.

    status: published by the registry, confirmed (a draft that a named person vouches for), or proposed (a draft: good
    for a warning, never for sending).
    """

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
    status: Status = "published"

    @property
    def period(self) -> str:
        """Key of the period; of a year for which there are no keys (2016) written the same way."""
        return f"{self.period_to.year}-{_SUFFIX[self.report].format(self.period_to.month)}"

    @property
    def late(self) -> bool:
        """Whether it is the later first deadline of avtalespesialister."""
        return self.audience == LATE

    @property
    def about(self) -> tuple[str, int, bool]:
        """Period, submission, and whether it is the later date: what a row is about, whichever table it stands in."""
        return self.period, self.submission, self.late


@dataclass(frozen=True, slots=True)
class Correction:
    """Where a printed row cannot be right: what is printed, how it is read, and why.

    field: period_to (an impossible or wrong end), label (text beside the row), audience and modules (read otherwise
    than printed), repeated (the row stands in another table too, named by read_as).
    """

    source: str
    deadline: date
    report: str
    submission: int
    field: str
    printed: str
    read_as: str
    reason: str

    def speaks_of(self, row: Deadline) -> bool:
        """Whether this is about the row. A label and a wrong audience stand on one of several rows of a day."""
        mine = (self.source, self.deadline, self.report, self.submission)
        return mine == (row.source, row.deadline, row.report, row.submission)


class Table(BaseModel):
    """One published table. cut: where the copy we have ends early, empty when it is whole."""

    model_config = STRICT

    source: str
    year: int
    page: str
    cut: str = ""


@cache
def deadlines() -> tuple[Deadline, ...]:
    """Every published row that was found, as printed, in the order of the tables. WrongUse on an impossible row."""
    found = read_deadlines((FOLDER / "deadlines.csv").read_text(encoding="utf-8"), corrections=corrections())
    insist_no_gaps(found, tables())
    return found


@cache
def corrections() -> tuple[Correction, ...]:
    """What is wrong on the published pages. Raises WrongUse on a correction without its row's form."""
    text = (FOLDER / "corrections.csv").read_text(encoding="utf-8")
    return tuple(_correction(row, where) for where, row in rows(text, CORRECTIONS_HEADER, CORRECTIONS_NAME))


@cache
def tables() -> tuple[Table, ...]:
    """The published tables, by year."""
    raw = tomllib.loads((FOLDER / "tables.toml").read_text(encoding="utf-8"))
    return tuple(Table.model_validate(entry) for entry in raw["table"])


def corrections_of(row: Deadline) -> tuple[Correction, ...]:
    """What was corrected on a published row."""
    return tuple(entry for entry in corrections() if entry.speaks_of(row))


@cache
def readings() -> tuple[Deadline, ...]:
    """The published deadlines as they are read: corrected, and what two tables repeat once."""
    found = []
    for row in deadlines():
        changes = {entry.field: entry.read_as for entry in corrections_of(row)}
        if "repeated" in changes:
            continue
        audience = changes.get("audience", row.audience)
        modules = tuple(changes["modules"].split()) if "modules" in changes else row.modules
        found.append(replace(row, audience=audience, modules=modules))
    return tuple(found)


def together(published: Iterable[Deadline], drafts: Iterable[Deadline]) -> tuple[Deadline, ...]:
    """One calendar: a published row takes the place of any draft about the same period and submission."""
    kept = tuple(published)
    known = {row.about for row in kept}
    return kept + tuple(row for row in drafts if row.about not in known)


def read_deadlines(
    text: str, *, name: str = DEADLINES_NAME, status: Status = "published", corrections: Sequence[Correction] = ()
) -> tuple[Deadline, ...]:
    """Deadlines out of the text of a file. Raises WrongUse naming file and line.

    Refused: an impossible date, a period that is not cumulative or does not end as its report does, a deadline inside
    its period or more than a year after it, unknown words, a row that stands twice, in a draft a second date for the
    same period, submission and audience, a printed end that differs from ours with no correction, and a correction
    without its row.
    """
    found: dict[tuple[str, int, str, date, str], Deadline] = {}
    drafted: dict[tuple[str, int, str], Deadline] = {}
    for where, row in rows(text, DEADLINES_HEADER, name):
        entry = replace(_deadline(row, where), status=status)
        key = (entry.period, entry.submission, entry.audience, entry.deadline, entry.source)
        if key in found:
            raise refuse("the same deadline stands twice", where)
        first = drafted.setdefault(key[:3], entry)
        # Several published tables may speak of one report; a draft is one word, of which an earlier date would count.
        if status != "published" and first is not entry:
            what = f"{entry.period}, submission {entry.submission}, {entry.audience}"
            raise refuse(f"a second date for {what}: {entry.deadline}, and above {first.deadline}", where)
        if fault := _unexplained(entry, corrections):
            raise refuse(fault, where)
        found[key] = entry
    _insist_found(corrections, found.values())
    return tuple(found.values())


def insist_no_gaps(found: Iterable[Deadline], published: Iterable[Table]) -> None:
    """Every table names every period of its year, and second submissions. Raises WrongUse naming what is missing.

    Of a cut table this holds for the periods that end before that of its last row.
    """
    by_table: dict[str, list[Deadline]] = {table.source: [] for table in published}
    for row in found:
        if row.source not in by_table:
            raise refuse(f"source {row.source!r} is in no [[table]] of tables.toml", DEADLINES_NAME)
        by_table[row.source].append(row)
    for table in published:
        rows_there = by_table[table.source]
        before = max((row.period_to for row in rows_there), default=None) if table.cut else None
        if missing := gaps(table.year, rows_there, before):
            raise refuse(f"{table.source} has no deadline for {missing[0]}", DEADLINES_NAME)


def gaps(year: int, found: Iterable[Deadline], before: date | None = None) -> list[str]:
    """Periods and submissions of a year that no row speaks of; before: only periods that end earlier.

    The cost report is not asked for: the table of 2022 alone speaks of it.
    """
    there = {(row.period, row.submission) for row in found}
    periods = [Period.parse(key) for key in period_keys() if key.startswith(f"{year}-")]
    return [
        f"{period.key}, submission {submission}"
        for period in periods
        if period.kind != "kpp" and (before is None or period.end < before)
        for submission in ((FIRST,) if period.kind == "month" else (FIRST, SECOND))
        if (period.key, submission) not in there
    ]


def doubts(found: Iterable[Deadline]) -> list[str]:
    """What is possible but odd: a deadline on no working day. One line each."""
    return [
        f"{row.deadline} is no working day, a {row.deadline:%A} "
        f"({row.period}, submission {row.submission}, {row.source})"
        for row in found
        if not is_working_day(row.deadline)
    ]


def _deadline(row: Row, where: str) -> Deadline:
    entry = Deadline(
        deadline=_date(row, "deadline", where),
        period_from=_date(row, "period_from", where),
        period_to=_date(row, "period_to", where),
        report=_word(row, "report", ENDS, where),
        modules=tuple(row["modules"].split()),
        audience=_word(row, "audience", AUDIENCES, where),
        submission=int(_word(row, "submission", ("1", "2"), where)),
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
    if not end < entry.deadline <= latest(end):
        wrong = "not after" if entry.deadline <= end else f"more than {WITHIN_MONTHS} months after"
        return f"deadline {entry.deadline} is {wrong} the period, which ends on {end}"
    if not entry.modules or not set(entry.modules) <= MODULES:
        return f"modules {' '.join(entry.modules)!r}; known are {' '.join(sorted(MODULES))}"
    return "" if entry.source.strip() else "source is empty"


def latest(end: date) -> date:
    """The last day that can be the deadline of a period that ends on a day."""
    year, month = divmod(end.year * 12 + end.month - 1 + WITHIN_MONTHS, 12)
    return date(year, month + 1, calendar.monthrange(year, month + 1)[1])


def _unexplained(entry: Deadline, known: Iterable[Correction]) -> str:
    """A printed end that is not ours must be listed as a correction."""
    printed = _PRINTED_END.search(entry.text_as_printed)
    end = entry.period_to
    if printed is None or tuple(map(int, printed.groups())) == (end.day, end.month, end.year):
        return ""
    if any(one.field == "period_to" and one.speaks_of(entry) and one.read_as == str(end) for one in known):
        return ""
    return f"{entry.text_as_printed!r} does not end on {end}, and no correction says why"


def _insist_found(known: Iterable[Correction], found: Iterable[Deadline]) -> None:
    lines = list(found)
    for entry in known:
        if not any(entry.speaks_of(row) for row in lines):
            raise refuse(f"no row of {entry.source} is due {entry.deadline} ({entry.report})", CORRECTIONS_NAME)


def _correction(row: Row, where: str) -> Correction:
    fields: Mapping[str, Iterable[str]] = {
        "period_to": (),
        "label": (),
        "modules": (),
        "audience": AUDIENCES,
        "repeated": [table.source for table in tables()],
    }
    name = _word(row, "field", fields, where)
    if fields[name]:
        _word(row, "read_as", fields[name], where)
    if not row["printed"] or not row["read_as"] or not row["reason"]:
        raise refuse("a correction says what is printed, how it is read, and why", where)
    return Correction(
        source=row["source"],
        deadline=_date(row, "deadline", where),
        report=_word(row, "report", ENDS, where),
        submission=int(_word(row, "submission", ("1", "2"), where)),
        field=name,
        printed=row["printed"],
        read_as=row["read_as"],
        reason=row["reason"],
    )


def _date(row: Row, name: str, where: str) -> date:
    try:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", row[name]):
            return date.fromisoformat(row[name])
    except ValueError:
        pass
    raise refuse(f"{name} {row[name]!r} is not a date (as 2020-06-30)", where)


def _word(row: Row, name: str, known: Iterable[str], where: str) -> str:
    if row[name] not in known:
        raise refuse(f"{name} {row[name]!r}; it is one of {', '.join(sorted(known))}", where)
    return row[name]
