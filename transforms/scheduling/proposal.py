"""A draft calendar for a year without a published table, out of the pattern of the tables before it.

Belongs here: the pattern and the draft, and how far drafts would have been off. Does not belong here: keeping a draft,
confirming it (``pipelines.home.calendar``), and today's date.

The published deadlines keep a plain rule: a first submission is due on the 2nd working day after its period, that of
avtalespesialister on the 7th, and so on. Where tables differ by a day the shorter wait is taken, so that a draft is
early rather than late.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from schemas.deadlines import FIRST, SECOND, Deadline
from schemas.period import Period, period_keys
from schemas.workdays import shift, working_days_after

JUNE = 6
REPORTS = {"M": "monthly", "T1": "tertial-1", "T2": "tertial-2", "A": "annual", "K": "annual-kpp"}

# What shares one wait: report, submission, and whether it is the later date of avtalespesialister.
Line = tuple[str, int, bool]


@dataclass(frozen=True, slots=True)
class Compared:
    """A published deadline beside the one a draft would have had."""

    published: Deadline
    drafted: date | None

    @property
    def days(self) -> int | None:
        """Calendar days the draft is later (negative: earlier); None when no earlier table had such a row."""
        return (self.drafted - self.published.deadline).days if self.drafted else None


def waits(past: Iterable[Deadline]) -> dict[Line, list[int]]:
    """Working days from the end of the period to the deadline, all that were published, by line."""
    found: dict[Line, list[int]] = defaultdict(list)
    for row in past:
        found[_line(row)].append(working_days_after(row.period_to, row.deadline))
    return dict(found)


def propose(year: int, past: Sequence[Deadline], known: Iterable[Deadline] = ()) -> tuple[Deadline, ...]:
    """Draft deadlines of the periods of a year, by date.

    past: published rows as they are read, tables up to that year, in the order of the tables. known: rows that need no
    draft. Rows (audience, modules) are shaped as in the newest table that has such a row.
    """
    patterns, shapes = waits(past), _shapes(past)
    there = {row.about for row in known}
    drafts = []
    for key in (key for key in period_keys() if key.startswith(f"{year}-")):
        period = Period.parse(key)
        report = _report(period)
        for submission in (FIRST, SECOND):
            shape = shapes.get((report, submission, _is_june(period.end)), ())
            drafts += [
                _draft(period, row, patterns[_line(row)]) for row in shape if (key, submission, row.late) not in there
            ]
    return tuple(sorted(drafts, key=lambda row: (row.deadline, row.period)))


def back_test(table: Sequence[Deadline], past: Sequence[Deadline]) -> tuple[Compared, ...]:
    """Each row of a published table beside a draft made of the tables before it alone."""
    drafts = {row.about: row.deadline for year in {row.period_to.year for row in table} for row in propose(year, past)}
    return tuple(Compared(row, drafts.get(row.about)) for row in table)


def _line(row: Deadline) -> Line:
    return row.report, row.submission, row.late


def _is_june(end: date) -> bool:
    return end.month == JUNE


def _report(period: Period) -> str:
    suffix = period.key.partition("-")[2]
    return REPORTS.get(suffix) or REPORTS[suffix[0]]


def _shapes(past: Sequence[Deadline]) -> Mapping[tuple[str, int, bool], tuple[Deadline, ...]]:
    """(report, submission, the report due in July) -> one row per audience, of the newest table that has any."""
    found: dict[tuple[str, int, bool], dict[str, Deadline]] = {}
    newest: dict[tuple[str, int, bool], str] = {}
    for row in past:
        place = (row.report, row.submission, _is_june(row.period_to))
        if newest.get(place) != row.source:
            newest[place], found[place] = row.source, {}
        found[place][row.audience] = row
    return {place: tuple(by_audience.values()) for place, by_audience in found.items()}


def _draft(period: Period, shape: Deadline, wait: Sequence[int]) -> Deadline:
    seen = f"{min(wait)}" if min(wait) == max(wait) else f"{min(wait)} to {max(wait)}"
    return Deadline(
        deadline=shift(period.end, min(wait)),
        period_from=period.start,
        period_to=period.end,
        report=shape.report,
        modules=shape.modules,
        audience=shape.audience,
        submission=shape.submission,
        text_as_printed="",
        our_reading_note=f"working day {min(wait)} after the period; published so far: {seen} ({len(wait)} rows)",
        source=f"proposed-{period.year}",
        status="proposed",
    )
