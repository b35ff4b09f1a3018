"""Whether the figures of a report are so unlike earlier reports that a person should look before it is sent.

Belongs here: the guards over figures (counts, no row of a patient). Does not belong here: counting
(``transforms.content.figures``), which earlier submission counts (the ledger), confirming
(``transforms.content.decided``), stopping (``assets``). A few hundred numbers need no frames, and whoever only asks
where all stands does not wait for polars.

Why: valid data can be wholly wrong. In 2016 an extract tied all inpatient stays of health trusts to one treatment
place, and was found too late (Helsedirektoratet, feil i rapportering av behandlingssted for innlagte pasienter i 2016).
And the last submission replaces the one before, so a short report destroys what the registry has (MSG-22).

Limits are on odds and counts, not on differences in percent, so that one limit fits a share of 2 and of 60 percent.
What chance alone would do is left alone: a figure speaks only outside ``noise`` standard errors of the two counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from schemas.config import GuardLimits
from schemas.records import digest

OK, UNUSUAL, STOP, NO_BASELINE = "ok", "unusual", "stop", "no_baseline"
WORST = (STOP, UNUSUAL, OK, NO_BASELINE)

RECORDS, MONTH, INPATIENT_SITE = "records", "month", "inpatient_site"
# Shares that are compared: column of episodes -> what it is, for people.
SHARES = {
    "behandlingsstedID": "treatment site",
    "avdelingID": "department",
    "omsorgsniva": "omsorgsniva",
    "innmateHast": "innmateHast",
    "episodeFag": "episodeFag",
}
Counts = Mapping[str, Mapping[str, int]]
"""Figures of a report: dimension -> value -> how many."""

Which = Literal["before", "last_year"]


@dataclass(frozen=True, slots=True)
class Baseline:
    """An earlier submission to compare with.

    which: before = the last one of this unit (of the same period, or of the nearest period before it); last_year = the
    same period a year ago. same_year: its months are months of this report too. state: accepted, or handed_over where
    none was accepted.
    """

    which: Which
    period: str
    submission: int
    state: str
    same_year: bool
    figures: Counts

    def __str__(self) -> str:
        """For people."""
        return f"{self.period} submission {self.submission} ({self.state.replace('_', ' ')})"


@dataclass(frozen=True, slots=True)
class Line:
    """What a guard says of one value that stands out, or of none. now, before: counts. against: for people."""

    guard: str
    status: str
    value: str = ""
    now: int | None = None
    before: int | None = None
    against: str = ""
    text: str = ""


def guards(now: Counts, baselines: Sequence[Baseline], limits: GuardLimits) -> list[Line]:
    """What every guard says: a line per value that stands out, and one for a guard where none does."""
    by = {one.which: one for one in baselines}
    lines = [
        *_fall(now, by.get("before"), limits),
        *_one_site(now, by.get("before") or by.get("last_year"), limits),
        *_months(now, by.get("before"), by.get("last_year"), limits),
    ]
    for dimension, name in SHARES.items():
        lines += _shares(now, dimension, name, baselines, limits)
    return lines


def _quiet(guard: str, against: Sequence[Baseline | None]) -> list[Line]:
    """The line of a guard that found nothing, or had nothing to compare with."""
    told = "; ".join(str(one) for one in against if one)
    if not told:
        return [Line(guard, NO_BASELINE, text="no earlier submission to compare with")]
    return [Line(guard, OK, against=told)]


def _fall(now: Counts, before: Baseline | None, limits: GuardLimits) -> list[Line]:
    """Fewer records than in the last report of the year, though periods only grow."""
    if before is None or not before.same_year:
        return _quiet("fall", [])
    lines: list[Line] = []
    there = dict(_of(before.figures, RECORDS))
    for value, here in _of(now, RECORDS):
        was = there.get(value, 0)  # a table that one of the two reports does not carry is not compared
        lost = was - here
        if lost > 0 and 100 * lost > limits.fall_percent * was:
            text = (
                f"{here} {value}, {was} in {before}: {100 * lost / was:.0f} % fewer; this submission replaces that one"
            )
            lines.append(Line("fall", STOP, value, here, was, str(before), text))
    return lines or _quiet("fall", [before])


def _one_site(now: Counts, before: Baseline | None, limits: GuardLimits) -> list[Line]:
    """UNIT-11: inpatient stays of two or more treatment sites, and now all of them on one."""
    if before is None:
        return _quiet("site", [])
    here = {value: n for value, _, n in _pairs(now, before.figures, INPATIENT_SITE) if n}
    was = {value: n for value, n, _ in _pairs(now, before.figures, INPATIENT_SITE) if n}
    if len(here) != 1 or sum(here.values()) < limits.site_minimum:
        return _quiet("site", [before])
    ((site, stays),) = here.items()
    elsewhere = sum(n for value, n in was.items() if value != site)
    if len(was) < 2 or elsewhere < limits.site_minimum:  # noqa: PLR2004 - two sites
        return _quiet("site", [before])
    now_on = f"all {stays} inpatient stays on treatment site {site}"
    text = f"UNIT-11: {now_on}; {before} had {len(was)} sites, {elsewhere} stays elsewhere"
    return [Line("site", STOP, site, stays, was.get(site, 0), str(before), text)]


def _shares(now: Counts, dimension: str, name: str, baselines: Sequence[Baseline], limits: GuardLimits) -> list[Line]:
    """Shares of a dimension. A value stops when unlike all baselines that there are, and is unusual when unlike one."""
    guard = f"share-{dimension}"
    there = [one for one in baselines if one.figures.get(dimension)]
    if not there:
        return _quiet(guard, [])
    said: dict[str, list[Line]] = {}
    for one in there:
        rows = _pairs(now, one.figures, dimension)
        total, total_was = sum(here for *_, here in rows), sum(was for _, was, _ in rows)
        for value, was, here in rows:
            status = _odds(here, total, was, total_was, limits)
            shown = f"{name} {value or 'not given'}"
            text = f"{shown}: {here} of {total} episodes, {was} of {total_was} in {one}"
            said.setdefault(value, []).append(Line(guard, status, value, here, was, str(one), text))
    lines: list[Line] = []
    for told in said.values():
        loud = [line for line in told if line.status != OK]
        if loud:
            all_stop = len(told) == len(there) and all(line.status == STOP for line in told)
            lines += [replace(line, status=STOP if all_stop else UNUSUAL) for line in loud]
    return lines or _quiet(guard, there)


def _odds(here: int, total: int, was: int, total_was: int, limits: GuardLimits) -> str:
    """How far the odds of a value have moved: by the factor, by noise, and only where there is enough to count."""
    if not total or not total_was or max(here, was * total / total_was) < limits.minimum:
        return OK
    cells = [n + 0.5 for n in (here, total - here, was, total_was - was)]
    moved = abs(math.log(cells[0] / cells[1]) - math.log(cells[2] / cells[3]))
    if moved < limits.noise * math.sqrt(sum(1 / n for n in cells)):
        return OK
    factor = math.exp(moved)
    return STOP if factor >= limits.share_stop else UNUSUAL if factor >= limits.share_unusual else OK


def _months(now: Counts, before: Baseline | None, last_year: Baseline | None, limits: GuardLimits) -> list[Line]:
    """Episodes per month in which they began: against the same month as reported before, else a year ago.

    A month that was reported before may grow, since records come late, but not shrink. A month that is new is held
    against the same month of last year, so that a quiet July is like July.
    """
    lines: list[Line] = []
    compared: set[str] = set()
    if before is not None and before.same_year:
        for month, was, here in _pairs(now, before.figures, MONTH):
            if was:
                compared.add(month)
                lines += _month(month, here, was, before, limits, falls_only=True)
    silent = 0
    year_ago = dict(_of(last_year.figures, MONTH)) if last_year else {}
    for month, here in _of(now, MONTH):
        if month in compared:
            continue
        ago = f"{int(month[:4]) - 1}{month[4:]}"
        if last_year is not None and ago in year_ago:
            lines += _month(month, here, year_ago[ago], last_year, limits, falls_only=False)
            compared.add(month)
        else:
            silent += 1
    if not compared:
        return _quiet("month", [])
    told = lines or _quiet("month", [before if before and before.same_year else None, last_year])
    return [*told, Line("month", NO_BASELINE, text=f"{silent} months have none")] if silent else told


def _month(month: str, here: int, was: int, one: Baseline, limits: GuardLimits, *, falls_only: bool) -> list[Line]:
    if max(here, was) < limits.minimum or (falls_only and here >= was):
        return []
    moved = abs(math.log((here + 0.5) / (was + 0.5)))
    if moved < limits.noise * math.sqrt(1 / (here + 0.5) + 1 / (was + 0.5)):
        return []
    factor = math.exp(moved)
    status = STOP if factor >= limits.month_stop else UNUSUAL if factor >= limits.month_unusual else OK
    text = f"{month}: {here} episodes, {was} in {one}"
    return [Line("month", status, month, here, was, str(one), text)] if status != OK else []


def _of(figures: Counts, dimension: str) -> list[tuple[str, int]]:
    return sorted(figures.get(dimension, {}).items())


def _pairs(now: Counts, before: Counts, dimension: str) -> list[tuple[str, int, int]]:
    """value, count before, count now: of every value of a dimension that one of the two has."""
    here, was = dict(_of(now, dimension)), dict(_of(before, dimension))
    return [(value, was.get(value, 0), here.get(value, 0)) for value in sorted(here.keys() | was.keys())]


def content(found: Sequence[Line], guard: str) -> str:
    """Digest of what a guard found, for a confirmation to name: other figures need another one."""
    lines = sorted(_stops(found, guard), key=lambda line: (line.value, line.against))
    return digest([[line.value, line.now, line.before, line.against] for line in lines])


def stopping(found: Sequence[Line], confirmed: Mapping[str, str]) -> list[Line]:
    """The lines that stop. confirmed: guard -> digest of what a named person has confirmed."""
    stops = [line for line in found if line.status == STOP]
    held = {name for name in {line.guard for line in stops} if confirmed.get(name) == content(found, name)}
    return [line for line in stops if line.guard not in held]


def _stops(found: Sequence[Line], guard: str) -> list[Line]:
    return [line for line in found if line.guard == guard and line.status == STOP]
