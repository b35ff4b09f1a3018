"""What a scheduler starts: a pure function of what is due and of what lies ready.

Belongs here: which report is prepared or sent now, which waits, and why. Does not belong here: what is due
(``transforms.scheduling.due``), finding extracts and decisions (``pipelines.scheduling.scheduler``), starting anything.

The same function stands behind the schedules, the sensors, ``npr next``, ``npr status`` and the simulation.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

from schemas.deadlines import FIRST
from schemas.period import Period
from transforms.scheduling.due import OPEN, REFUSED, Due

What = Literal["prepare", "resubmit", "submit", "wait"]
Need = Literal["", "extract", "approval", "findings", "figures", "answer", "person", "calendar", "other report"]
MAKES: Final = frozenset({"prepare", "resubmit"})
"""Jobs that make a submission: all stages but sending."""
MADE: Final = frozenset({"prepared", "approved", "not_sent"})
"""States in which a submission may be handed over."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What lies ready for one report.

    extract: fingerprint of the newest extract that holds the whole period, empty when there is none. fresh: it is
    newer than what the newest submission is made of. sealed: digest of that submission, empty where its run did not
    come to its end. hindrance: what keeps it in the house, empty when it may go; needs: what that calls for.
    """

    extract: str = ""
    fresh: bool = True
    sealed: str = ""
    hindrance: str = ""
    needs: Need = "approval"


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done about one report. submission: 1 or 2, as the calendar counts. of: what it would be made of.

    needs: what a wait is for; empty for what can be started. made: it was made before, and was refused or overtaken.
    """

    period: str
    unit: str
    submission: int
    what: What
    of: str
    why: str
    needs: Need = ""
    made: bool = False

    @property
    def run_key(self) -> str:
        """Name of the start: two schedulers that mean the same start give the same name."""
        return f"{self.period}|{self.unit}|{self.submission}|{self.what}|{self.of[:16]}"


def monthly(period: str) -> bool:
    """Whether a period belongs to the monthly schedule; all others (tertials, years, cost reports) to the other one."""
    return Period.parse(period).kind == "month"


def steps(found: Iterable[Due], facts: Callable[[Due], Facts]) -> list[Step]:
    """One step for each report that is due, in the order given. facts is asked only where it decides."""
    return [_step(one, facts) for one in found if one.standing == "due"]


def _step(one: Due, facts: Callable[[Due], Facts]) -> Step:
    if one.status == "proposed":
        # The year of the period and not of the deadline: an annual report is due in the year after.
        year = Period.parse(one.period).year
        return _wait(one, "calendar", f"its deadline is only proposed: npr calendar confirm {year} --by NAME")
    if one.held_by:
        return _wait(one, "other report", one.next_step)
    if one.state in OPEN:
        return _wait(one, "answer", "nobody knows whether it left; it is asked about and not sent again by itself")
    known = facts(one)
    if one.state in MADE and known.sealed:
        return _made(one, known)
    if one.state in REFUSED and not (known.extract and known.fresh):
        return _wait(one, "person", f"it was {one.state}; correct the source and deliver a new extract")
    return _to_make(one, known)


def _made(one: Due, known: Facts) -> Step:
    # What is approved leaves first; a newer extract beside it would take the approval's object away.
    if one.state == "prepared" and known.extract and known.fresh:
        return _start(one, _maker(one), known.extract, "a newer extract came before it was sent")
    if known.hindrance:
        return _wait(one, known.needs, known.hindrance)
    return _start(one, "submit", known.sealed, f"it is {one.state.replace('_', ' ')} and nothing stands in its way")


def _to_make(one: Due, known: Facts) -> Step:
    if not known.extract:
        return _wait(one, "extract", f"no extract taken on or after {Period.parse(one.period).end} is there")
    broken = one.state == "reserved" or one.state in MADE
    if not known.fresh and not broken:
        return _wait(one, "extract", "the extract is the one its last submission was made of; deliver a new one")
    why = "an earlier run of it did not end" if broken else f"it opened on {one.opens}"
    return _start(one, _maker(one), known.extract, why)


def _maker(one: Due) -> What:
    return "prepare" if one.submission == FIRST else "resubmit"


def _start(one: Due, what: What, of: str, why: str) -> Step:
    return Step(one.period, one.unit, one.submission, what, of, why, made=bool(one.state))


def _wait(one: Due, needs: Need, why: str) -> Step:
    return Step(one.period, one.unit, one.submission, "wait", "", why, needs)


def holds_period(extracted_on: dt.date, period: str) -> bool:
    """Whether an extract taken on a day can hold all of a period."""
    return extracted_on >= Period.parse(period).end
