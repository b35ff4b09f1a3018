"""Judging a simulated history: which deadlines could be met, and what must never happen.

Belongs here: the rules of reporting written once more, from the published table and the words of the page, and the
earliest moment at which a report could have left. Does not belong here: the product; none of its decisions is asked
for a verdict. Taken from it are dates of drafted deadlines, which a person has confirmed in the simulation.

**Could be met.** For each planned submission the oracle works out when it would have left from a house that never
waits without need: prepared at the first tick of a schedule (06:00) or arrival of an extract at which the report is
open, its deadline published or confirmed, an extract of the whole period (for a second submission: one newer than what
was sent first) at rest and any daemon awake; a killed run started again 15 minutes after it began, 30 the next time,
and so on; shown to the person who approves at once, and sent a minute after the approval; a hand-over that failed
tried again by the same measure; doubt settled by the first question that is answered, and what was refused made again
only when no message of it is in doubt any more. People, channel, kills and downtime are those of the world. If that
moment lies before the end of the day of the deadline, the deadline could be met, and to miss it is a fault. One excuse
is a rule of the product and not of the world: an extract that comes before the approval takes the place of the one
before, so that somebody has to look again.
"""

from __future__ import annotations

import csv
import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from conftest import ROOT
from simulated_world import DAY, HOUR, MINUTE, NEVER, TICK, Arrival, World, at
from simulation import Handed, Log

from schemas.reporting import UnitKind
from schemas.workdays import shift
from transforms.scheduling.due import OSLO, Reporter

QUARTER = 15 * MINUTE
HALF_DAY = 12 * HOUR
SLACK = 10 * MINUTE
ASKED = HOUR / 2 + 6 * MINUTE  # between two questions about what is in doubt
EVER = dt.datetime(2000, 1, 1)  # Norwegian time, as extracts have it
SUFFIX = {"tertial-1": "T1", "tertial-2": "T2", "annual": "A", "annual-kpp": "K"}
HOLDERS = {"M": 1, "T": 2, "A": 2}  # what asks for more messages holds more; the cost report holds nothing


@dataclass(frozen=True, slots=True)
class Plan:
    """One planned submission of a unit. opens and closes: from, and before. known: when its deadline is sure."""

    unit: str
    period: str
    last: dt.date
    number: int
    opens: dt.datetime
    closes: dt.datetime
    known: dt.datetime


@dataclass(frozen=True, slots=True)
class Left:
    """A submission all messages of which were taken, or that was refused. at: the last. extract: when it was taken.

    doubt: until then nobody could be asked whether one of its messages had come.
    """

    number: int
    at: dt.datetime
    extract: dt.datetime
    refused: dt.datetime
    doubt: dt.datetime


@dataclass
class Verdict:
    """What the oracle says. excused: missed deadlines that could not be met, by reason."""

    met: int = 0
    excused: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def add(self, other: Verdict) -> None:
        """Both together."""
        self.met += other.met
        self.excused += other.excused
        self.faults += other.faults


def judge(world: World, log: Log) -> Verdict:
    """Everything that is to be said of a history."""
    verdict = Verdict()
    plans = plans_of(world)
    _Sending(log, plans).judge(verdict)
    _Deadlines(world, log, plans).judge(verdict)
    verdict.faults += [f"two runs of one start: {line}" for line in log.twice]
    return verdict


# --- the table and the rules ---


def plans_of(world: World) -> dict[tuple[str, str], list[Plan]]:
    """Planned submissions by unit and period."""
    rows = _rows(world)
    found: dict[tuple[str, str], list[Plan]] = {}
    for unit in world.units:
        days: dict[tuple[str, dt.date, int], tuple[dt.date, dt.datetime]] = {}
        for report, audience, last, number, deadline, known in rows:
            if owes(unit, report, last, number) and _speaks(audience, unit.kind):
                place = (f"{last.year}-{SUFFIX.get(report) or f'M{last.month:02}'}", last, number)
                days[place] = min(days.get(place, (deadline, known)), (deadline, known))
        for (period, last, number), (deadline, known) in sorted(days.items()):
            first = days.get((period, last, 1))
            opens = at((last if number == 1 or not first else first[0]) + DAY)
            plan = Plan(unit.key, period, last, number, opens, at(deadline + DAY), known)
            if opens >= world.begin and plan.closes <= world.end:
                found.setdefault((unit.key, period), []).append(plan)
    return found


def owes(unit: Reporter, report: str, last: dt.date, number: int) -> bool:
    """Who owes what, as the page says it."""
    hospital = unit.kind in (UnitKind.HEALTH_TRUST, UnitKind.PRIVATE)
    match report:
        case "monthly":
            july = last.month == 6 and last.year > 2018  # before, everybody settles
            return hospital and number == 1 and (unit.isf or not july)
        case "annual-kpp":
            return unit.kind is UnitKind.HEALTH_TRUST and last.year >= 2021
        case _:
            return number == 1 or unit.kind is not UnitKind.AMK


def _speaks(audience: str, kind: UnitKind) -> bool:
    specialist = kind is UnitKind.AVTALESPESIALIST
    return not (audience == "except-avtalespesialist" and specialist) and not (
        audience == "only-avtalespesialist" and not specialist
    )


def _rows(world: World) -> list[tuple[str, str, dt.date, int, dt.date, dt.datetime]]:
    """Report, audience, last day of the period, submission, deadline, since when that is sure."""
    path = ROOT / "schemas" / "calendar" / "deadlines.csv"
    with path.open(encoding="utf-8", newline="") as file:
        found = [
            (
                row["report"],
                row["audience"],
                dt.date.fromisoformat(row["period_to"]),
                int(row["submission"]),
                dt.date.fromisoformat(row["deadline"]),
                world.begin,
            )
            for row in csv.DictReader(file)
            if row["period_to"] >= "2017"
        ]
    for draft in world.calendar(NEVER):
        if draft.status != "published":
            sure = world.confirmed[draft.period_to.year]
            found.append((draft.report, draft.audience, draft.period_to, draft.submission, draft.deadline, sure))
    return found


def messages(period: str) -> set[str]:
    """The messages of a report."""
    return {"K": {"kpp"}, "M": {"ord", "ide"}}.get(period[5], {"ord", "ide", "sbs"})


def _holds(later: str, period: str, plans: dict[str, dt.date]) -> bool:
    """Whether a period holds all of another one."""
    same = later[:4] == period[:4] and later[5] in HOLDERS and period[5] in HOLDERS
    return same and plans[later] > plans[period] and HOLDERS[later[5]] >= HOLDERS[period[5]]


def left(log: Log) -> dict[tuple[str, str], list[Left]]:
    """Submissions of each unit and period that left whole, or were refused before they had, in that order."""
    taken: dict[tuple[str, str, int], dict[str, dt.datetime]] = defaultdict(dict)
    for one in log.handed:
        taken[one.unit, one.period, one.number].setdefault(one.module, one.at)
    found: dict[tuple[str, str], list[Left]] = defaultdict(list)
    for (unit, period, number), times in taken.items():
        refused = log.refused.get((unit, period, number), NEVER)
        if messages(period) <= set(times) or refused is not NEVER:
            made = log.made[unit, period, number]
            doubt = log.mute.get((unit, period, number), made.at)
            found[unit, period].append(Left(number, max(times.values()), made.extract, refused, doubt))
    return {key: sorted(lines, key=lambda one: one.at) for key, lines in found.items()}


# --- what must never happen ---


class _Sending:
    """Each message that left, held against approvals, the table and what left before."""

    def __init__(self, log: Log, plans: dict[tuple[str, str], list[Plan]]) -> None:
        self.log, self.plans = log, plans
        self.lefts = left(log)
        self.ends = {period: lines[0].last for (_, period), lines in plans.items()}

    def judge(self, verdict: Verdict) -> None:
        words: dict[tuple[str, str, int], list[tuple[dt.datetime, str, bool]]] = defaultdict(list)
        for said in self.log.said:
            words[said.unit, said.period, said.number].append((said.at, said.sealed, said.given))
        for one in self.log.handed:
            told = words[one.unit, one.period, one.number]
            verdict.faults += [f"{_name(one)}: {fault}" for fault in self._faults(one, told)]
        for (unit, period), lines in self.lefts.items():
            planned = len(self.plans.get((unit, period), ()))
            kept = [one for one in lines if one.refused is NEVER]
            if len(kept) > planned:
                verdict.faults.append(f"{period} {unit}: sent {len(kept)} times, {planned} planned")

    def _faults(self, one: Handed, told: Sequence[tuple[dt.datetime, str, bool]]) -> list[str]:
        faults = []
        if one.again:
            faults.append(f"MsgId sent twice ({one.module})")
        before = [(sealed, given) for when, sealed, given in told if when <= one.at]
        if not before or before[-1] != (one.sealed, True):
            faults.append("sent unapproved")
        plans = self.plans.get((one.unit, one.period))
        if not plans:
            faults.append("sent, and not owed by this unit")
        elif one.at < plans[0].opens or one.at < plans[0].known:
            faults.append("sent before it opened, or by a deadline that nobody has confirmed")
        if plans and any(
            line.at + HOUR < one.at < line.refused
            for (unit, period), lines in self.lefts.items()
            if unit == one.unit and period in self.ends and _holds(period, one.period, self.ends)
            for line in lines
        ):
            faults.append("sent after a later report that holds it")
        return faults


def _name(one: Handed) -> str:
    return f"{one.at:%Y-%m-%d %H:%M} {one.period} {one.unit} submission {one.number}"


# --- deadlines ---


class _Deadlines:
    """Each planned submission, held against the earliest moment at which it could have left."""

    def __init__(self, world: World, log: Log, plans: dict[tuple[str, str], list[Plan]]) -> None:
        self.world, self.plans = world, plans
        self.lefts = left(log)
        self.arrivals: dict[str, list[Arrival]] = defaultdict(list)
        for one in sorted((*world.arrivals, *log.extra)):
            self.arrivals[one.unit].append(one)
        self.ticks = [at(day, TICK) for day in _days(world)]

    def judge(self, verdict: Verdict) -> None:
        for (unit, period), plans in self.plans.items():
            lines = self.lefts.get((unit, period), [])
            settled: Left | None = None
            for plan in plans:
                reason = self._of(plan, lines, settled)
                if reason == "met":
                    verdict.met += 1
                elif reason.startswith("could"):
                    verdict.faults.append(f"{period} {unit} {plan.number} missed: {reason}")
                else:
                    verdict.excused[reason] += 1
                settled = next((one for one in lines if one.refused is NEVER), None)

    def _of(self, plan: Plan, lines: Sequence[Left], first: Left | None) -> str:
        """met, could …, or the reason why it could not be met."""
        ready, used = plan.opens, EVER
        mine = list(lines)
        if plan.number == 2:
            if first is None or first.at >= plan.closes:
                return "its first submission could not be sent before"
            ready, used = max(plan.opens, first.at), first.extract
            mine = [one for one in lines if one.number > first.number]
            if first.at >= plan.opens and not any(one.at < plan.closes for one in mine) and self._too_late(plan, first):
                return "met"
        attempts = count()
        while True:
            sent = next((one for one in mine if one.at >= plan.opens and one.extract > used), None)
            if sent and sent.at < plan.closes:
                if sent.refused >= plan.closes:
                    return "met"
                _Prompt(self, plan, attempts).leaves(ready, used)  # the runs that made it are used up
                ready, used = self._free(sent), sent.extract
                mine = [one for one in mine if one.number > sent.number]
                continue
            when, why = _Prompt(self, plan, attempts).leaves(ready, used)
            if when + SLACK < plan.closes:
                return f"could have left {when:%Y-%m-%d %H:%M}, left {sent.at if sent else 'never'}"
            return f"after a refusal: {why}" if ready != plan.opens and plan.number == 1 else why

    def _free(self, sent: Left) -> dt.datetime:
        """When a refused submission stands in nobody's way: not while another message of it is in doubt."""
        return sent.refused if sent.doubt <= sent.refused else self.world.looking(sent.doubt) + ASKED

    def _too_late(self, plan: Plan, first: Left) -> bool:
        """A first submission that came after 'send by' of the second, three working days before it, is the last."""
        return first.at >= at(shift((plan.closes - HOUR).date(), -3) + DAY)


def _days(world: World) -> list[dt.date]:
    first = dt.date(world.first, 1, 1)
    return [first + n * DAY for n in range((dt.date(world.first + world.years, 1, 1) - first).days)]


class _Prompt:
    """The house that never waits without need, for one planned submission. attempts: runs that make it, as drawn."""

    def __init__(self, deadlines: _Deadlines, plan: Plan, attempts: Iterator[int]) -> None:
        self.world, self.plan, self.attempts = deadlines.world, plan, attempts
        self.ticks = deadlines.ticks
        self.arrivals = deadlines.arrivals[plan.unit]

    def leaves(self, ready: dt.datetime, used: dt.datetime) -> tuple[dt.datetime, str]:
        """When it leaves, NEVER when it does not, and what kept it until the deadline had passed."""
        whole = [one for one in self.arrivals if _local(one).date() >= self.plan.last and _local(one) > used]
        start, why = self._first_start(max(ready, self.plan.known), whole)
        if start >= self.plan.closes:
            return start, why
        while True:
            there = max((one for one in whole if one.at_rest <= start), key=lambda one: one.taken)
            made, shown = self._made(start)
            if made >= self.plan.closes:
                return made, "runs were killed"
            newer = min(
                (one.at_rest for one in whole if one.taken > there.taken and one.at_rest > start), default=NEVER
            )
            picked = self.world.looking(newer) + MINUTE if newer is not NEVER else NEVER
            extract = _local(there)
            approved = self._approved(extract, made, shown, picked)
            if approved is not None:
                break
            start = max(picked, made)
            if start >= self.plan.closes:
                return start, "a newer extract took the place of what waited for approval"
        if approved >= self.plan.closes:
            return approved, "nobody approved in time"
        return self._sent(extract, approved), "the channel, or the machine after the approval"

    def _first_start(self, ready: dt.datetime, whole: Sequence[Arrival]) -> tuple[dt.datetime, str]:
        if not whole:
            return NEVER, "no extract"
        first = min(one.at_rest for one in whole)
        ready = max(ready, first) if first > ready else ready
        late = "no extract in time" if first >= self.plan.closes else "nobody was awake"
        if self.plan.known >= self.plan.closes:
            late = "the deadline was not confirmed"
        # What comes to rest behind a newer one is no news.
        news = [one for one in whole if all(one.taken >= two.taken for two in whole if two.at_rest <= one.at_rest)]
        picks = [self.world.looking(one.at_rest) + MINUTE for one in news if one.at_rest >= ready]
        ticks = next((tick for tick in self.ticks if tick >= ready and self.world.looking(tick) == tick), NEVER)
        return min([ticks, *(pick for pick in picks if pick >= ready)]), late

    def _made(self, start: dt.datetime) -> tuple[dt.datetime, dt.datetime]:
        """When it is made, and when it could be seen: a run that is killed at its very end has shown it already."""
        tries, seen = 0, NEVER
        while start < self.plan.closes:
            begin = start + MINUTE
            if back := self.world.off.end_of(begin):
                over = back
            else:
                takes, death = self.world.making(
                    self.plan.unit, self.plan.period, self.plan.number, next(self.attempts)
                )
                off = self.world.off.first_in(begin, begin + takes)
                over = off or begin + takes
                if not off and death in ("", "sealed"):
                    seen = min(seen, over)
                if not off and not death:
                    return over, seen
            start = self._again(start, over, tries)
            tries += 1
        return start, seen

    def _again(self, start: dt.datetime, over: dt.datetime, tries: int) -> dt.datetime:
        lock = start + min(HALF_DAY, QUARTER * 2 ** min(tries, 10))
        return self.world.looking(max(lock, over) + MINUTE)

    def _approved(
        self, extract: dt.datetime, made: dt.datetime, shown: dt.datetime, picked: dt.datetime
    ) -> dt.datetime | None:
        """When these bytes are made and approved for good; None when a newer extract comes first."""
        for form in count():
            about = (self.plan.unit, self.plan.period, extract, form)
            word, takes = self.world.word(*about)
            when = NEVER if word == "never" else shown + takes
            if word == "takes it back" and when < picked:
                when += self.world.again(*about)
            if max(picked, made) < when:
                return None
            if word != "bytes change":
                return max(when, made)
            shown = when
        return None

    def _sent(self, extract: dt.datetime, approved: dt.datetime) -> dt.datetime:
        start, tries, reached = self.world.looking(approved + MINUTE), 0, 0
        number = len(messages(self.plan.period))
        while start < self.plan.closes:
            begin = over = start + MINUTE
            if back := self.world.off.end_of(begin):
                over = back
            else:
                fall, place, mute = self.world.sending(self.plan.unit, self.plan.period, extract, reached, number)
                reached += 1
                there = fall in ("taken", "lost, was taken", "killed after")
                if fall == "taken" or (there and place == number - 1):
                    return begin
                if fall != "not taken":
                    over = self._settled(begin, mute)
            start = self._again(start, over, tries)
            tries += 1
        return start

    def _settled(self, begin: dt.datetime, mute: dt.timedelta) -> dt.datetime:
        asked = begin + 6 * MINUTE
        while True:
            asked = asked if self.world.looking(asked) == asked else self.world.looking(asked) + 6 * MINUTE
            if asked >= begin + mute:
                return asked
            asked += HOUR / 2


def _local(one: Arrival) -> dt.datetime:
    return one.taken.astimezone(OSLO).replace(tzinfo=None)
