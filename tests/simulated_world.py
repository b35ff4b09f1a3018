"""What happens to a simulated house from outside, drawn from a seed before anything runs.

Belongs here: units, the calendar as it becomes known, extracts, downtime, and what people, channel and register will
do. Does not belong here: what the product does (``simulation``), and whether that was right (``simulation_oracle``).

Every draw is named by what it is about (unit, period, planned submission, attempt), never by the order in which the
product asks. So the same world can be held against a product that does everything at once, and against the real one.
"""

from __future__ import annotations

import datetime as dt
import random
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from schemas.deadlines import Deadline, readings, together
from schemas.reporting import UnitKind
from transforms.scheduling.due import OSLO, Reporter
from transforms.scheduling.proposal import propose

MINUTE, HOUR, DAY = dt.timedelta(minutes=1), dt.timedelta(hours=1), dt.timedelta(days=1)
NEVER = dt.datetime(9999, 1, 1, tzinfo=dt.UTC)
TICK = dt.time(6)
DAEMONS = (0, 1)
# Of forty units so many of each kind: health trust, private with and without ISF agreement, avtalespesialist, AMK.
MIX = (
    (UnitKind.HEALTH_TRUST, True, 12),
    (UnitKind.PRIVATE, True, 6),
    (UnitKind.PRIVATE, False, 6),
    (UnitKind.AVTALESPESIALIST, True, 4),
    (UnitKind.AVTALESPESIALIST, False, 4),
    (UnitKind.AMK, False, 8),
)

Word = Literal["approves", "never", "bytes change", "takes it back"]
Fall = Literal["taken", "not taken", "lost, was taken", "lost, was not taken", "killed before", "killed after"]
Death = Literal["", "first", "numbers given", "parts written", "sealed"]


@cache
def at(day: dt.date, time: dt.time = dt.time()) -> dt.datetime:
    """A moment of a Norwegian day, in UTC."""
    return dt.datetime.combine(day, time, OSLO).astimezone(dt.UTC)


@dataclass(frozen=True, slots=True, order=True)
class Arrival:
    """An extract that comes to rest in the drop folder. taken: when it was taken out of the source, Norwegian time."""

    at_rest: dt.datetime
    unit: str
    taken: dt.datetime


@dataclass(frozen=True, slots=True)
class Spans:
    """Spans of time that do not overlap, in order: (from, before)."""

    spans: tuple[tuple[dt.datetime, dt.datetime], ...]
    starts: tuple[dt.datetime, ...]

    @classmethod
    def of(cls, spans: Iterable[tuple[dt.datetime, dt.datetime]]) -> Spans:
        """Any spans, made one where they overlap."""
        merged: list[tuple[dt.datetime, dt.datetime]] = []
        for begin, end in sorted(spans):
            if merged and begin <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((begin, end))
        return cls(tuple(merged), tuple(begin for begin, _ in merged))

    def end_of(self, moment: dt.datetime) -> dt.datetime | None:
        """End of the span that holds a moment."""
        place = bisect_right(self.starts, moment) - 1
        return self.spans[place][1] if place >= 0 and moment < self.spans[place][1] else None

    def first_in(self, begin: dt.datetime, end: dt.datetime) -> dt.datetime | None:
        """First moment in [begin, end) that lies in a span."""
        if self.end_of(begin):
            return begin
        place = bisect_right(self.starts, begin)
        return self.starts[place] if place < len(self.starts) and self.starts[place] < end else None

    def shared(self, other: Spans) -> Spans:
        """What lies in both."""
        both = []
        for begin, end in self.spans:
            for one, two in other.spans:
                if max(begin, one) < min(end, two):
                    both.append((max(begin, one), min(end, two)))
        return Spans.of(both)


@dataclass(frozen=True)
class World:
    """One history. off: when the machine is down; dead: when each of the two daemons is, besides."""

    seed: int
    first: int
    years: int
    units: tuple[Reporter, ...]
    arrivals: tuple[Arrival, ...]
    off: Spans
    dead: tuple[Spans, Spans]
    blind: Spans  # nobody looks: the machine is off, or both daemons are
    confirmed: dict[int, dt.datetime]  # year without a table -> when a person confirms its draft
    trouble: float = 1.0  # how many times as often as usual runs are killed and hand-overs fail

    @property
    def begin(self) -> dt.datetime:
        """First moment."""
        return at(dt.date(self.first, 1, 1))

    @property
    def end(self) -> dt.datetime:
        """The moment after the last."""
        return at(dt.date(self.first + self.years, 1, 1))

    def only(self, name: str) -> World:
        """The same history of those units alone whose key begins so; what is drawn of one unit asks for no other."""
        units = tuple(unit for unit in self.units if unit.key.startswith(name))
        keys = {unit.key for unit in units}
        return replace(self, units=units, arrivals=tuple(one for one in self.arrivals if one.unit in keys))

    def draw(self, *about: object) -> random.Random:
        """Chance about one thing, the same whenever it is asked for."""
        return random.Random(f"{self.seed}|{'|'.join(map(str, about))}")

    def calendar(self, now: dt.datetime) -> tuple[Deadline, ...]:
        """What is known of deadlines at a moment."""
        return _calendar(tuple(sorted(year for year, when in self.confirmed.items() if when <= now)))

    def looking(self, moment: dt.datetime) -> dt.datetime:
        """First moment from this one on at which a daemon runs."""
        return self.blind.end_of(moment) or moment

    # --- people ---

    def word(self, unit: str, period: str, extract: dt.datetime, form: int) -> tuple[Word, dt.timedelta]:
        """What the person who approves does with the bytes of a report, and how long it takes.

        form: how often bytes were made of this extract before.
        """
        dice = self.draw("word", unit, period, extract, form)
        chance, slow = dice.random(), dice.random()
        word: Word = "approves"
        if chance > 0.9:
            word = "never" if chance > 0.985 else "bytes change" if chance > 0.94 else "takes it back"
        hours = dice.uniform(0.1, 4) if slow < 0.8 else dice.uniform(4, 30) if slow < 0.95 else dice.uniform(30, 200)
        return word, hours * HOUR

    def again(self, unit: str, period: str, extract: dt.datetime, form: int) -> dt.timedelta:
        """How long after taking an approval back it is given once more."""
        return self.draw("again", unit, period, extract, form).uniform(0.5, 20) * HOUR

    def impatient(self, unit: str, period: str, extract: dt.datetime, attempt: int) -> bool:
        """Whether somebody runs ``npr submit`` by hand in the middle of a hand-over."""
        return self.draw("impatient", unit, period, extract, attempt).random() < 0.05

    # --- runs ---

    def making(self, unit: str, period: str, planned: int, attempt: int) -> tuple[dt.timedelta, Death]:
        """How long the nth run takes that makes a planned submission, and where it is killed."""
        dice = self.draw("making", unit, period, planned, attempt)
        deaths: tuple[Death, ...] = ("first", "numbers given", "parts written", "sealed")
        death: Death = dice.choice(deaths) if dice.random() < 0.05 * self.trouble else ""
        return dice.uniform(3, 90) * MINUTE, death

    def sending(
        self, unit: str, period: str, extract: dt.datetime, attempt: int, messages: int
    ) -> tuple[Fall, int, dt.timedelta]:
        """What becomes of the nth hand-over: how it falls out at which message, and how long nobody can be asked."""
        dice = self.draw("sending", unit, period, extract, attempt)
        falls: tuple[Fall, ...] = (
            "not taken",
            "lost, was taken",
            "lost, was not taken",
            "killed before",
            "killed after",
        )
        fall: Fall = dice.choice(falls) if dice.random() < 0.12 * self.trouble else "taken"
        mute = dice.uniform(0, 40) * HOUR if dice.random() < 0.2 else 0 * HOUR
        return fall, dice.randrange(messages), mute

    # --- the register ---

    def refuses(self, unit: str, period: str, number: int) -> tuple[dt.timedelta, dt.timedelta | None] | None:
        """When the register refuses a submission, and how much later a corrected extract is at rest (None: never)."""
        dice = self.draw("refuses", unit, period, number)
        if dice.random() > 0.02:
            return None
        return dice.uniform(0.5, 72) * HOUR, dice.uniform(2, 100) * HOUR if dice.random() < 0.9 else None


@cache
def _calendar(confirmed: tuple[int, ...]) -> tuple[Deadline, ...]:
    published = readings()
    drafts: list[Deadline] = []
    for year in (2018, 2021, 2022):
        past = [row for row in published if int(row.source.removeprefix("hdir-")) <= year]
        status: Literal["confirmed", "proposed"] = "confirmed" if year in confirmed else "proposed"
        drafts += [replace(row, status=status) for row in propose(year, past, published)]
    return together(published, drafts)


def world(seed: int, first: int, years: int = 3, *, share: float = 1.0, trouble: float = 1.0) -> World:
    """The history of a seed. share: of the forty units so many (at least one of each kind)."""
    dice = random.Random(f"world {seed}")
    units = tuple(
        Reporter(f"{kind.value}-{'isf' if isf else 'no'}-{n}", kind, isf, _since(dice, first))
        for kind, isf, number in MIX
        for n in range(max(1, round(number * share)))
    )
    begin, end = at(dt.date(first, 1, 1)), at(dt.date(first + years, 1, 1))
    off, dead = _downtime(dice, begin, end, 40), (_downtime(dice, begin, end, 60), _downtime(dice, begin, end, 20))
    both = dead[0].shared(dead[1])
    arrivals = sorted(one for unit in units for one in _extracts(dice, unit.key, first, years))
    confirmed = {year: at(dt.date(year, 1, 1)) + max(0.0, dice.uniform(-30, 45)) * DAY for year in (2018, 2021)} | {
        2022: at(dt.date(2022, 11, 15))
    }
    return World(
        seed, first, years, units, tuple(arrivals), off, dead, Spans.of((*off.spans, *both.spans)), confirmed, trouble
    )


def _since(dice: random.Random, first: int) -> dt.date | None:
    """Half of the units name a day of their own, so that nothing is forgotten at New Year."""
    return dt.date(first, 1, 1) if dice.random() < 0.5 else None


def _downtime(dice: random.Random, begin: dt.datetime, end: dt.datetime, days_up: float) -> Spans:
    """Hours, days or weeks."""
    spans = []
    now = begin + dice.expovariate(1 / days_up) * DAY
    while now < end:
        kind = dice.random()
        length = dice.uniform(0.2, 12) if kind < 0.7 else dice.uniform(12, 96) if kind < 0.9 else dice.uniform(96, 500)
        spans.append((now, now + length * HOUR))
        now += length * HOUR + dice.expovariate(1 / days_up) * DAY
    return Spans.of(spans)


def _extracts(dice: random.Random, unit: str, first: int, years: int) -> Iterable[Arrival]:
    """After each month, mostly at once; in the weeks after a tertial corrected ones; others whenever they come."""
    for month in range(-1, 12 * years):
        year, number = first + month // 12, month % 12 + 1
        last = dt.date(year + number // 12, number % 12 + 1, 1) - DAY
        chance = dice.random()
        lag = 0 if chance < 0.78 else dice.randint(1, 2) if chance < 0.88 else dice.randint(3, 20)
        if chance < 0.97:
            yield _arrival(dice, unit, last, lag)
        if dice.random() < 0.15:
            yield _arrival(dice, unit, last, lag + dice.randint(0, 3))
        if number in (4, 8, 12) and dice.random() < 0.9:
            yield _arrival(dice, unit, last, dice.randint(4, 26))
    for _ in range(3 * years):
        yield _arrival(dice, unit, dt.date(first, 1, 1), dice.randrange(365 * years))


def _arrival(dice: random.Random, unit: str, last: dt.date, lag: int) -> Arrival:
    """lag: days after the first night in which all of the period was there; 0 may be late on its last day."""
    day, hour = (last, 23) if lag == 0 and dice.random() < 0.3 else (last + (lag + 1) * DAY, dice.randint(0, 20))
    taken = dt.datetime.combine(day, dt.time(hour, dice.randrange(60)), OSLO).astimezone(dt.UTC)
    late = dice.uniform(0.1, 8) if dice.random() < 0.9 else dice.uniform(8, 80)
    return Arrival(taken + late * HOUR, unit, taken)
