"""What is due: a pure function of units, calendar, ledger and date.

Belongs here: which planned submissions a unit owes, which of them are settled, how late each is, what comes next. Does
not belong here: the clock, the ledger (rows come as arguments), starting anything.

A planned submission is a deadline that speaks to a unit that owes the report. A second one opens when the first
deadline has passed. Nothing is due before its period is over.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Final, Literal, Protocol
from zoneinfo import ZoneInfo

from schemas.deadlines import FIRST, Deadline, Status
from schemas.period import Period, period_keys
from schemas.reporting import UnitKind, deadlines_for
from schemas.workdays import margin, shift

Colour = Literal["green", "amber", "red", "missed"]
Standing = Literal["ahead", "due", "done", "superseded"]
OSLO: Final = ZoneInfo("Europe/Oslo")
SILENT_HOURS: Final = 72  # the transport has given up by then, and still no answer

# States of the ledger, the one that needs a person first; of several messages the first here speaks for all. An empty
# state: nothing was made.
ORDER: Final = (
    "in_doubt",
    "refused",
    "rejected",
    "abandoned",
    "",
    "not_sent",
    "handing_over",
    "reserved",
    "prepared",
    "approved",
    "content_errors",
    "received_in_part",
    "handed_over",
    "acknowledged",
    "received",
    "accepted",
)
DELIVERED: Final = frozenset(ORDER[ORDER.index("content_errors") :])
"""It left, and nothing says that it did not arrive."""
TROUBLED: Final = frozenset({"content_errors", "received_in_part"})
REFUSED: Final = frozenset({"refused", "rejected", "abandoned"})
OPEN: Final = frozenset({"handing_over", "in_doubt"})
"""Nobody knows whether it left: it must be asked about, and not be sent again."""

_NEXT: Final = {
    "": "npr run {period} --unit {unit}",
    "reserved": "its run did not end: npr run {period} --unit {unit}",
    "prepared": "prepared; it waits for approval",
    "approved": "approved; it waits to be sent",
    "not_sent": "it certainly did not leave; send it again",
    "handing_over": "it is being sent",
    "in_doubt": "nobody knows whether it left; ask, and do not send it again before that",
    "refused": "the register refused it; correct the source, extract and run again",
    "rejected": "the transport of the register refused it; see the answer",
    "abandoned": "the transport gave up; send it again",
}
# Which module carries NPR-melding-TSB differs by version; for what was asked and sent they are the same message.
_TSB: Final = "tsb"
_SAME: Final = {"sbs": _TSB}


class StateLine(Protocol):
    """One row of the ledger: the state of one module (empty: all) of one submission. at, handed_over_at: aware times.

    silent: hours without an answer, 0, 24, 48 or 72.
    """

    @property
    def period(self) -> str: ...  # noqa: D102
    @property
    def unit(self) -> str: ...  # noqa: D102
    @property
    def module(self) -> str: ...  # noqa: D102
    @property
    def submission(self) -> int: ...  # noqa: D102
    @property
    def profile(self) -> str: ...  # noqa: D102
    @property
    def state(self) -> str: ...  # noqa: D102
    @property
    def at(self) -> dt.datetime: ...  # noqa: D102
    @property
    def handed_over_at(self) -> dt.datetime | None: ...  # noqa: D102
    @property
    def silent(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Reporter:
    """One reporting unit. since: deadlines before that day are not its business here, None = as asked."""

    key: str
    kind: UnitKind
    isf: bool
    since: dt.date | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """One planned submission of one unit, as it stands on a day.

    submission: 1 or 2, as the calendar counts. state: of the submission made for it, empty when none was. send_by: see
    ``send_by``. opens: first day on which it can be made. days_left: calendar days to the deadline, negative when it
    has passed. held_by: period to look at first; empty when there is none. It is a later one of the year that tells
    all of this one too and was sent or is due as well, or the period itself while its first submission has not left.
    next_step: what comes next, or why nothing does. number: of the submission made for it in the ledger, 0 for none.
    """

    period: str
    unit: str
    modules: tuple[str, ...]
    submission: int
    deadline: dt.date
    opens: dt.date
    send_by: dt.date
    status: Status
    days_left: int
    standing: Standing
    state: str
    colour: Colour
    held_by: str
    next_step: str
    number: int = 0

    def as_record(self) -> dict[str, Any]:
        """The same as JSON values."""
        days = {name: getattr(self, name).isoformat() for name in ("deadline", "opens", "send_by")}
        return asdict(self) | days | {"modules": list(self.modules)}


@cache
def send_by(deadline: dt.date, period_end: dt.date) -> dt.date:
    """Last day on which a resend of 72 hours still arrives: three working days before the deadline.

    A first submission is due on the 2nd working day after its period, so that this margin cannot be had; it is then
    the first working day after the period.
    """
    wished = shift(deadline, -margin().send_by_working_days)
    return min(max(wished, shift(period_end, 1)), deadline)


def colour(deadline: dt.date, last: dt.date, today: dt.date, state: str, *, silent: int = 0) -> Colour:
    """How a report stands that could be made today. last: ``send_by``; state: of the ledger, empty when none.

    Delivered: green; amber with content errors, or 72 hours without an answer. Else, first that fits: missed when the
    deadline has passed; red when it was refused, is in doubt, or 'send by' has passed; amber from two working days
    before 'send by'; green.
    """
    if state in DELIVERED:
        return "amber" if state in TROUBLED or silent >= SILENT_HOURS else "green"
    if today > deadline:
        return "missed"
    if state in REFUSED or state in OPEN or today > last:
        return "red"
    return "amber" if today >= _amber_from(last) else "green"


@cache
def _amber_from(last: dt.date) -> dt.date:
    return shift(last, -margin().amber_working_days)


def due(
    units: Iterable[Reporter],
    calendar: Sequence[Deadline],
    states: Iterable[StateLine],
    on: dt.date,
    *,
    early_days: int = 0,
    since: dt.date = dt.date.min,
    carriers: Mapping[int, str] | None = None,
) -> list[Due]:
    """What is to be done on a day: ``to_do`` of ``outlook``."""
    return to_do(outlook(units, calendar, states, on, since=since, carriers=carriers), on, early_days)


def to_do(found: Iterable[Due], on: dt.date, early_days: int = 0) -> list[Due]:
    """Of what stands on a day what is due, and what opens within ``early_days``.

    A report whose deadline has passed stays due until it is sent, or until a later period that holds it was sent.
    """
    soon = on + dt.timedelta(days=early_days)
    return [one for one in found if one.standing == "due" or (one.standing == "ahead" and one.opens <= soon)]


def outlook(
    units: Iterable[Reporter],
    calendar: Sequence[Deadline],
    states: Iterable[StateLine],
    on: dt.date,
    *,
    since: dt.date = dt.date.min,
    carriers: Mapping[int, str] | None = None,
) -> list[Due]:
    """Every planned submission of every unit as it stands on a day, by deadline, period and unit.

    calendar: rows as they are read. states: rows of one profile. since: deadlines before it are left out, where the
    unit names no day of its own. carriers: data year -> module that carries NPR-melding-TSB.
    """
    return Planned(calendar, carriers).outlook(units, states, on, since=since)


class Planned:
    """The planned submissions of a calendar, worked out once for each kind of unit; for whoever asks again and again.

    calendar, carriers: as for ``outlook``; they must not change.
    """

    def __init__(self, calendar: Sequence[Deadline], carriers: Mapping[int, str] | None = None) -> None:
        self._calendar, self._carriers = calendar, carriers or {}
        self._plans: dict[tuple[UnitKind, bool], list[_Plan]] = {}

    def outlook(
        self, units: Iterable[Reporter], states: Iterable[StateLine], on: dt.date, *, since: dt.date = dt.date.min
    ) -> list[Due]:
        """As the function of that name."""
        ledger = _by_partition(states)
        found: list[Due] = []
        for unit in units:
            who = (unit.kind, unit.isf)
            if who not in self._plans:
                self._plans[who] = _plans(self._calendar, *who, self._carriers)
            found += _of_unit(unit, self._plans[who], ledger, on, unit.since or since)
        return sorted(found, key=lambda one: (one.deadline, one.period, one.unit, one.submission))


@dataclass(frozen=True, slots=True)
class _Step:
    """One planned submission, for all units of a kind."""

    row: Deadline
    modules: tuple[str, ...]
    opens: dt.date
    send_by: dt.date


@dataclass(frozen=True, slots=True)
class _Plan:
    """The planned submissions of a period, the first first. holders: later periods that hold it, the first first."""

    key: str
    period: Period
    steps: tuple[_Step, ...]
    asked: frozenset[str]
    holders: tuple[_Plan, ...] = ()


@dataclass(frozen=True, slots=True)
class _Made:
    """One submission of the ledger. day: on which it was handed over, else when it last changed.

    moved: a message of it left, or may have, and was not refused.
    """

    number: int
    state: str
    day: dt.date
    silent: int
    moved: bool


@dataclass(frozen=True, slots=True)
class _Later:
    """Later periods that hold one: the first that was sent, with its day; the last that left in part; those open."""

    sent: tuple[str, dt.date] | None
    moved: str
    open_now: Sequence[str]


_Ledger = Mapping[tuple[str, str], Mapping[int, Sequence[StateLine]]]


def _plans(calendar: Sequence[Deadline], kind: UnitKind, isf: bool, carriers: Mapping[int, str]) -> list[_Plan]:  # noqa: FBT001
    by_period: dict[str, list[Deadline]] = defaultdict(list)
    for row in calendar:
        by_period[row.period].append(row)
    plans: list[_Plan] = []
    for key in reversed([key for key in period_keys() if key in by_period]):
        period = Period.parse(key)
        steps = tuple(_steps(period, deadlines_for(period, kind, isf, by_period[key]), carriers))
        if steps:
            asked = frozenset(_same(steps[0].modules))
            holders = [later for later in plans if later.period.year == period.year and later.asked >= asked]
            plans.append(_Plan(key, period, steps, asked, tuple(reversed(holders))))
    return plans[::-1]


def _steps(period: Period, lines: Sequence[Deadline], carriers: Mapping[int, str]) -> Iterable[_Step]:
    """Of several rows about one submission the surest speaks, then the earliest."""
    sure = sorted(lines, key=lambda row: (row.submission, ("published", "confirmed", "proposed").index(row.status)))
    chosen: dict[int, Deadline] = {}
    for row in sure:
        chosen.setdefault(row.submission, row)
    for number, row in chosen.items():
        asked = set(_same(row.modules))
        modules = tuple(carriers.get(period.year, _TSB) if m == _TSB else m for m in period.modules if m in asked)
        after = chosen[FIRST].deadline if number != FIRST and FIRST in chosen else period.end
        if modules:
            yield _Step(row, modules, after + dt.timedelta(days=1), send_by(row.deadline, period.end))


def _of_unit(unit: Reporter, plans: Sequence[_Plan], ledger: _Ledger, on: dt.date, since: dt.date) -> Iterable[Due]:
    wanted = [plan for plan in plans if plan.steps[-1].row.deadline >= since]
    asked = {plan.key: plan for one in wanted for plan in (one, *one.holders)}
    made = {key: _made(rows, plan) if (rows := ledger.get((key, unit.key))) else [] for key, plan in asked.items()}
    for plan in wanted:
        sent = [(one.key, day) for one in plan.holders if made[one.key] and (day := _delivered_on(made[one.key]))]
        open_now = [one.key for one in plan.holders if one.steps[0].opens <= on]
        moved = [key for key in open_now if any(its.moved for its in made[key])]
        later = _Later(sent[0] if sent else None, moved[-1] if moved else "", open_now)
        waits = False
        for step, mine in zip(plan.steps, _assign(plan, made[plan.key]), strict=True):
            if step.row.deadline >= since:
                yield _stand(unit, plan, step, mine, later, on, waits=waits)
                waits = mine is None or mine.state not in DELIVERED


def _delivered_on(made: Iterable[_Made]) -> dt.date | None:
    return next((one.day for one in made if one.state in DELIVERED), None)


def _stand(
    unit: Reporter, plan: _Plan, step: _Step, made: _Made | None, later: _Later, on: dt.date, *, waits: bool
) -> Due:
    state, silent = (made.state, made.silent) if made else ("", 0)
    shade: Colour = "green"
    standing: Standing
    held_by = ""
    if state in DELIVERED and made:
        standing, shade = "done", colour(step.row.deadline, step.send_by, on, state, silent=silent)
        late = f", {(made.day - step.row.deadline).days} days late" if made.day > step.row.deadline else ""
        text = f"sent on {made.day} as submission {made.number}{late}"
    elif later.sent:
        held_by = later.sent[0]
        standing, text = "superseded", f"{held_by} holds this period and was sent on {later.sent[1]}"
    elif on < step.opens:
        standing, text = "ahead", f"opens on {step.opens}"
    else:
        standing, shade = "due", colour(step.row.deadline, step.send_by, on, state)
        text = _NEXT[state].format(period=plan.key, unit=unit.key)
        if later.moved and state not in OPEN:
            # What arrives last is what the registry keeps: made and approved or not, it would take the place of more.
            held_by, text = later.moved, f"{later.moved} holds this period and has left in part: that first"
        elif later.open_now and not state:
            held_by = later.open_now[-1]
            text = f"{held_by} is due as well and holds this period: send that first"
        elif waits and not state:
            held_by, text = plan.key, "the first submission of this period has not left: send that first"
        if step.row.status == "proposed":
            text += f"; the deadline is only proposed: npr calendar confirm {plan.period.year} --by NAME"
    return Due(
        period=plan.key,
        unit=unit.key,
        modules=step.modules,
        submission=step.row.submission,
        deadline=step.row.deadline,
        opens=step.opens,
        send_by=step.send_by,
        status=step.row.status,
        days_left=(step.row.deadline - on).days,
        standing=standing,
        state=state,
        colour=shade,
        held_by=held_by,
        next_step=text,
        number=made.number if made else 0,
    )


def _assign(plan: _Plan, made: Sequence[_Made]) -> list[_Made | None]:
    """For each planned submission the one made for it, if there is one: delivered, else the newest on its way.

    The first delivered one settles the first. What was delivered after the first deadline besides it settles the
    second; so does the only one when it came too late for a second to follow.
    """
    assigned: list[_Made | None] = []
    rest = list(made)
    for step in plan.steps:
        fit = [one for one in rest if one.state not in DELIVERED or one.day >= step.opens or step is plan.steps[0]]
        mine = next((one for one in fit if one.state in DELIVERED), None)
        before = assigned[-1] if assigned else None
        if mine is None and before and before.state in DELIVERED and before.day > step.send_by:
            mine = before
        assigned.append(mine or (fit[-1] if fit else None))
        gone = assigned[-1].number if assigned[-1] else 0
        rest = [one for one in rest if one.number > gone]
    return assigned


def _made(rows: Mapping[int, Sequence[StateLine]], plan: _Plan) -> list[_Made]:
    """The submissions of a partition, oldest first, each with the state of all its messages taken together."""
    found = []
    for number, lines in sorted(rows.items()):
        by_module = {_SAME.get(line.module, line.module): line for line in lines}
        wanted = [by_module.get(module, by_module.get("")) for module in plan.asked]
        states = [str(line.state) if line else "" for line in wanted]
        newest = max(line.handed_over_at or line.at for line in lines)
        silent = max(line.silent for line in lines)
        moved = not OPEN.isdisjoint(states) or not DELIVERED.isdisjoint(states)
        found.append(_Made(number, min(states, key=ORDER.index), newest.astimezone(OSLO).date(), silent, moved))
    return found


def _same(modules: Iterable[str]) -> list[str]:
    return [_SAME.get(module, module) for module in modules]


def _by_partition(states: Iterable[StateLine]) -> _Ledger:
    found: dict[tuple[str, str], dict[int, list[StateLine]]] = defaultdict(lambda: defaultdict(list))
    for line in states:
        found[line.period, line.unit][line.submission].append(line)
    return found
