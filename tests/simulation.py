"""A house of many units through whole years: the product's own decisions, ledger and gates, over a simulated outside.

Belongs here: time, runs that are killed, people who approve, the channel and the register, each doing what the world
(``simulated_world``) has drawn. Does not belong here: any decision of the product, and judging it
(``simulation_oracle``).

Real are: what is due and what is started (``transforms.scheduling.due``, ``transforms.scheduling.starting``,
``pipelines.scheduling.scheduler``, ``pipelines.scheduling.automation``), the ledger with its tables on SQLite, in
memory (``pipelines.ledger.book``), approving (``pipelines.exchange.sending``), and everything that stands before a
hand-over, writes it down and settles doubt (``assets.dispatch``). Simulated are: the stages that make a message (a
submission has its messages, numbers, digests and bytes, but no data), Dagster's daemons and queue, and the disk.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import sqlite3
import threading
from bisect import bisect_right
from collections import defaultdict, namedtuple
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from heapq import heappop, heappush
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import dagster as dg
import sqlalchemy as sa
from conftest import ROOT
from ledgers import config as sample_config
from ledgers import ids
from simulated_world import DAEMONS, DAY, HOUR, MINUTE, NEVER, TICK, Arrival, World, at
from sqlalchemy.dialects import sqlite

from assets import dispatch
from assets.ports import InDoubt, Note, NotHandedOver, Options, Run
from pipelines.exchange import sending
from pipelines.ledger.book import AGAIN, RETRY, SqlLedger
from pipelines.ledger.chain import _LAST
from pipelines.ledger.engine import Database, _begin_sqlite
from pipelines.ledger.tables import Moment, metadata
from pipelines.scheduling import automation
from pipelines.scheduling.agenda import asked_from, today
from pipelines.scheduling.deliveries import Delivery
from pipelines.scheduling.hindrance import Hindrances
from pipelines.scheduling.scheduler import Scheduler
from pipelines.scheduling.started import START
from pipelines.settings import Settings
from schemas.config import Config, Unit
from schemas.deadlines import Deadline
from schemas.decisions import Decision, DecisionKind
from schemas.errors import DataRefused, NprError
from schemas.period import Period
from schemas.records import Key, Manifest, MessageOut, PartIds, ShipmentOut, Snapshot, Submission
from schemas.sending import Answer, Presence, Receipt, SentPart, StateRow, TransportState
from schemas.submission_states import OPEN, Event
from transforms.scheduling.due import OSLO, Due, Planned, Reporter
from transforms.scheduling.starting import MAKES, Need, monthly

CARRIERS = dict.fromkeys(range(2016, 2030), "sbs")
PERSON = "Kari Nordmann"
SOON = MINUTE  # a sensor looks each half minute; what it starts begins within the minute
ASKING = 6 * MINUTE  # the sensor that asks what became of a part looks every five
DIGEST = "0" * 64


class Killed(BaseException):
    """A process that is over: nothing it would have done happens."""


# --- what was done, for the oracle ---


@dataclass(frozen=True, slots=True)
class Handed:
    """A message that the channel took. sealed: of the submission whose bytes these are. again: it had it already."""

    at: dt.datetime
    unit: str
    period: str
    number: int
    module: str
    msg_id: str
    sealed: str
    again: bool


@dataclass(frozen=True, slots=True)
class Made:
    """A submission whose bytes were made. extract: when its extract was taken."""

    at: dt.datetime
    unit: str
    period: str
    number: int
    planned: int
    modules: tuple[str, ...]
    extract: dt.datetime


@dataclass(frozen=True, slots=True)
class Said:
    """A person's word on exact bytes. given: False takes it back."""

    at: dt.datetime
    unit: str
    period: str
    number: int
    sealed: str
    given: bool


@dataclass
class Log:
    """All that happened outside the product's head."""

    handed: list[Handed] = field(default_factory=list)
    made: dict[tuple[str, str, int], Made] = field(default_factory=dict)
    said: list[Said] = field(default_factory=list)
    refused: dict[tuple[str, str, int], dt.datetime] = field(default_factory=dict)
    mute: dict[tuple[str, str, int], dt.datetime] = field(default_factory=dict)  # until then nobody could be asked
    extra: list[Arrival] = field(default_factory=list)  # extracts delivered because the register refused
    twice: list[str] = field(default_factory=list)  # starts of which two runs were at work
    starts: int = 0
    kills: int = 0


# --- the disk and the ledger, in memory ---


class Content:
    """A file in memory, as far as the product looks at one."""

    def __init__(self, files: dict[str, bytes], name: str) -> None:
        self._files, self.name = files, name

    def is_file(self) -> bool:
        return self.name in self._files

    def read_bytes(self) -> bytes:
        return self._files[self.name]

    def open(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._files[self.name])

    def with_suffix(self, _suffix: str) -> Content:
        return self

    def exists(self) -> bool:
        return True  # kept figures are not simulated


class Folder:
    """A folder in memory."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def __truediv__(self, name: str) -> Content:
        return Content(self.files, name)


class Store:
    """Records of stages and folders of submissions."""

    def __init__(self) -> None:
        self.folders: dict[tuple[Key, int], dict[str, bytes]] = {}
        self.manifests: dict[Key, Manifest] = {}

    def shipments(self, key: Key, number: int) -> Folder:
        return Folder(self.folders.get((key, number), {}))

    documents = kept = shipments

    def save(self, stage: str, key: Key, record: Any) -> None:  # noqa: ANN401 - any record of a stage
        if stage == "manifest":
            self.manifests[key] = record

    def load(self, _stage: str, key: Key, _kind: type) -> Manifest:
        if key not in self.manifests:
            raise DataRefused("not made yet")
        return self.manifests[key]

    def publish_views(self) -> None:
        pass


class Memory(Database):
    """The ledger's tables in memory: one connection, the same transactions through SQLAlchemy."""

    def __init__(self) -> None:
        self._sqlite = True
        self._own = threading.local()
        self._engine = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool, hide_parameters=True)
        sa.event.listen(self._engine, "connect", lambda driver, _: setattr(driver, "isolation_level", None))
        sa.event.listen(self._engine, "begin", _begin_sqlite)
        metadata.create_all(self._engine)


class Quick(Memory):
    """The same, with SQLAlchemy's text of each statement given to SQLite directly: ten times as fast."""

    def __init__(self) -> None:
        super().__init__()
        self._driver = cast("sqlite3.Connection", self._engine.raw_connection().dbapi_connection)
        slow = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool, creator=lambda: self._driver)
        self._slow = slow.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._quick = QuickConnection(self._driver, self._slow)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        yield cast("sa.Connection", self._quick)

    @contextmanager
    def writing(self, point: str) -> Iterator[sa.Connection]:  # noqa: ARG002 - as the ledger's own
        self._driver.execute("BEGIN IMMEDIATE")
        try:
            yield cast("sa.Connection", self._quick)
        except BaseException:
            self._driver.execute("ROLLBACK")
            raise
        self._driver.execute("COMMIT")


@dataclass(frozen=True, slots=True)
class Text:
    """A statement as SQLite reads it. statement: kept, so that its address stays its own."""

    statement: sa.sql.ClauseElement
    sql: str
    names: tuple[str, ...]
    given: dict[str, Any]
    moments: frozenset[str]  # parameters that are times
    columns: tuple[str, ...]
    times: frozenset[str]  # columns that are times


class QuickConnection:
    """What the ledger asks of a connection. Statements built anew each time go through SQLAlchemy."""

    def __init__(self, driver: sqlite3.Connection, slow: sa.Connection) -> None:
        self._driver, self._slow = driver, slow
        self._texts: dict[tuple[int, tuple[str, ...]], Text] = {}

    def execute(self, statement: Any, given: dict[str, Any] | None = None) -> Any:  # noqa: ANN401
        if given is None and statement is not _LAST:
            return self._slow.execute(statement)
        asked = given or {}
        place = (id(statement), tuple(asked))
        text = self._texts.get(place) or self._read(place, statement, asked)
        values = [asked[name] if name in asked else text.given[name] for name in text.names]
        if text.moments:
            values = [
                _as_text(value) if name in text.moments else value
                for name, value in zip(text.names, values, strict=True)
            ]
        found = self._driver.execute(text.sql, values)
        return Rows(text, found.fetchall() if text.columns else [])

    def _read(self, place: tuple[int, tuple[str, ...]], statement: Any, asked: dict[str, Any]) -> Text:  # noqa: ANN401
        inserts = isinstance(statement, sa.Insert)
        made = statement.compile(
            dialect=sqlite.dialect(paramstyle="qmark"), column_keys=list(asked) if inserts else None
        )
        columns = tuple(statement.exported_columns) if not inserts or statement._returning else ()
        columns = () if isinstance(statement, sa.Update) else columns
        self._texts[place] = Text(
            statement,
            str(made),
            tuple(made.positiontup or ()),
            dict(made.params),
            frozenset(name for name, bound in made.binds.items() if isinstance(bound.type, Moment)),
            tuple(column.name for column in columns),
            frozenset(column.name for column in columns if isinstance(column.type, Moment)),
        )
        return self._texts[place]


def _as_text(value: dt.datetime | None) -> str | None:
    return None if value is None else value.astimezone(dt.UTC).isoformat(timespec="microseconds")


class Rows:
    """What a statement gave, as far as the ledger reads it."""

    def __init__(self, text: Text, rows: list[tuple[Any, ...]]) -> None:
        self._text, self._rows = text, rows

    def mappings(self) -> Mapped:
        columns, times = self._text.columns, self._text.times
        found = [dict(zip(columns, row, strict=True)) for row in self._rows]
        for row in found:
            for name in times:
                if row[name] is not None:
                    row[name] = dt.datetime.fromisoformat(row[name])
        return Mapped(found)

    def all(self) -> list[Any]:
        kind = _kind(self._text.columns)
        return [kind(*row.values()) for row in self.mappings()]

    def first(self) -> Any:  # noqa: ANN401
        return self._rows[0] if self._rows else None

    def scalar(self) -> Any:  # noqa: ANN401
        return self._rows[0][0] if self._rows else None

    scalar_one = scalar

    def scalars(self) -> list[Any]:
        return [row[0] for row in self._rows]


class Mapped(list[dict[str, Any]]):
    """Rows by name."""

    def first(self) -> dict[str, Any] | None:
        return self[0] if self else None

    def one(self) -> dict[str, Any]:
        return self[0]


@cache
def _kind(names: tuple[str, ...]) -> Any:  # noqa: ANN401
    return namedtuple("Row", names)  # noqa: PYI024 - names are those of a statement


class Watched(SqlLedger):
    """The ledger, which also notes of which partitions something was written, so that only those are read again."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.changed: set[Key] = set()

    def submission(self, key: Key, *rest: Any) -> Submission:  # noqa: ANN401 - as the ledger's own
        self.changed.add(key)
        return super().submission(key, *rest)

    def keep_ids(self, submission: Submission, ids: Sequence[PartIds]) -> Submission:
        self.changed.add(submission.key)
        return super().keep_ids(submission, ids)

    def seal(self, manifest: Manifest, now: dt.datetime) -> Any:  # noqa: ANN401
        self.changed.add(manifest.key)
        return super().seal(manifest, now)

    def decide(self, decision: Decision) -> None:
        self.changed.add(Key(period=decision.period, unit=decision.unit))
        super().decide(decision)

    def record(self, msg_id: str, event: Event, note: Note) -> SentPart:
        part = super().record(msg_id, event, note)
        self.changed.add(part.key)
        return part

    def take(self, answer: Answer) -> Any:  # noqa: ANN401
        taken = super().take(answer)
        if taken.part:
            self.changed.add(taken.part.key)
        return taken


class Process:
    """The ledger as one process has it: nothing, once the process is dead."""

    def __init__(self, ledger: SqlLedger, name: str) -> None:
        self._ledger, self._name, self.dead = ledger, name, False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the ledger has
        if self.dead:
            raise Killed
        return getattr(self._ledger, name)


# --- the schedulers ---


class SimulatedHindrances(Hindrances):
    """The real gates, over runs in memory."""

    def __init__(self, house: House, now: dt.datetime) -> None:
        super().__init__(house.settings, house.ledger, now)
        self._house = house

    def _run(self, key: Key) -> Run:
        return self._house.process(key)[0]


class SimulatedScheduler(Scheduler):
    """The real one, with what it reads of the disk in memory. units: those it looks at, all where none are named."""

    def __init__(
        self, house: House, now: dt.datetime, given: dict[str, Delivery] | None = None, units: Sequence[str] = ()
    ) -> None:
        self.settings = house.settings
        self.now = now
        self._house, self._units = house, units or [one.key for one in house.world.units]
        self.ledger = house.ledger
        self._store = house.store  # type: ignore[assignment] # as far as it is asked
        self._hindrances = SimulatedHindrances(house, now)
        self._given = given
        self._newest = {}

    def due(self) -> list[Due]:
        day = today(self.settings, self.now)
        return [one for unit in self._units for one in self._house.due_of(unit, day, self.now)]

    def unknown(self) -> list[str]:
        return []  # words only

    def hindrance(self, key: Key, manifest: Manifest) -> tuple[Need, str]:
        """The real answer, kept until something about the partition is written or a day is over."""
        mark = (self._house.versions[key], manifest.submission, today(self.settings, self.now))
        known = self._house.hindrances.get(key)
        if known is None or known[0] != mark:
            known = (mark, super().hindrance(key, manifest))
            self._house.hindrances[key] = known
        return known[1]

    def delivery(self, unit: str) -> Delivery | None:
        if self._given is not None:
            return self._given.get(unit)
        return self._house.delivery(unit)


@dataclass
class Job:
    """A run that was asked for."""

    step: str
    unit: str
    period: str
    planned: int
    start: str
    delivery: Delivery | None
    asked: dt.datetime


class House:
    """One world lived through. ``run`` gives the log."""

    def __init__(self, world: World, *, through_sqlalchemy: bool = False) -> None:
        self.world = world
        self.settings = _settings(world)
        self.ledger = Watched(Memory() if through_sqlalchemy else Quick())
        self.store = Store()
        self.log = Log()
        self._events: list[tuple[dt.datetime, int, Callable[[dt.datetime], None]]] = []
        self._order = 0
        self._now = world.begin
        self._reporters = {one.key: one for one in world.units}
        self._lines: dict[str, dict[str, list[StateRow]]] = defaultdict(dict)
        self._known: dict[str, tuple[object, list[Due]]] = {}
        self._planned: dict[tuple[int, int], Planned] = {}
        self._sure: tuple[dt.datetime, tuple[Deadline, ...]] = (NEVER, ())
        self.hindrances: dict[Key, tuple[object, tuple[Need, str]]] = {}
        self.versions: dict[Key, int] = defaultdict(int)
        self._version: dict[str, int] = defaultdict(int)
        self._arrived: dict[str, Delivery] = {}
        self._unseen: dict[str, Delivery] = {}
        self._alive: dict[str, Job] = {}
        self._queue: dict[Key, list[tuple[dt.timedelta, Job]]] = {}
        self._counts: dict[tuple[object, ...], int] = defaultdict(int)
        self._gone: set[str] = set()
        self._asked_about: dict[Key, str] = {}
        self._mute: dict[str, dt.datetime] = {}
        self._taken: dict[str, dt.datetime] = {}
        self.checked = 0

    # --- time ---

    def run(self) -> Log:
        """Live through it."""
        world = self.world
        day = world.begin.astimezone(OSLO).date()
        while at(day) < world.end:
            self.later(at(day, TICK), self._tick)
            day += DAY
        for one in world.arrivals:
            self.later(one.at_rest, partial(self._arrives, one))
        for spans in (world.blind, *world.dead):
            for _, end in spans.spans:
                self.later(end + SOON, self._wakes)
        for when in world.confirmed.values():
            self.later(when + SOON, lambda now: self._look(now, list(self._reporters)))
        with self._outside():
            while self._events:
                now, _, act = heappop(self._events)
                if now >= world.end:
                    break
                self._now = now
                act(now)
        return self.log

    def later(self, when: dt.datetime, act: Callable[[dt.datetime], None]) -> None:
        """Let something happen."""
        self._order += 1
        heappush(self._events, (when, self._order, act))

    @contextmanager
    def _outside(self) -> Iterator[None]:
        """What the product asks of the outside and no argument reaches: other processes, kept figures."""
        with ExitStack() as stack:
            for name, stand_in in {
                "pipelines.ledger.book.is_gone": self._gone.__contains__,
                "assets.baselines.insist_confirmed": lambda *_: None,
                "pipelines.scheduling.scheduler.owner": lambda: f"daemon/{self._now:%H%M}",
            }.items():
                stack.enter_context(patch(name, stand_in))
            yield

    # --- what the scheduler reads ---

    def due_of(self, unit: str, day: dt.date, now: dt.datetime) -> list[Due]:
        """What is due of a unit; worked out again only when its ledger, the calendar or what has opened is another.

        ``outlook`` depends on the day in other ways only for words, colours and days left, which start nothing.
        """
        self._read_changed()
        calendar = self._calendar(now)
        known, found = self._known.get(unit, (None, []))
        mark = (self._version[unit], id(calendar), bisect_right(_openings(self.world), day), day.year)
        if known != mark:
            found = self._due(unit, calendar, day)
            self._known[unit] = (mark, found)
        elif (self._version[unit] + day.toordinal()) % 397 == 0:
            self.checked += 1
            assert [_decisive(one) for one in self._due(unit, calendar, day)] == [_decisive(one) for one in found]
        return found

    def _due(self, unit: str, calendar: tuple[Deadline, ...], day: dt.date) -> list[Due]:
        lines = [line for rows in self._lines[unit].values() for line in rows]
        place = (id(calendar), day.year)
        if place not in self._planned:
            # What ends in a later year cannot be due, and what ended before the history is not looked at.
            rows = [row for row in calendar if self.world.first - 1 <= row.period_to.year <= day.year]
            self._planned[place] = Planned(rows, CARRIERS)
        found = self._planned[place].outlook([self._reporters[unit]], lines, day, since=asked_from(day, lines))
        return [one for one in found if one.standing == "due"]

    def _calendar(self, now: dt.datetime) -> tuple[Deadline, ...]:
        if self._sure[0] != now:
            self._sure = (now, self.world.calendar(now))
        return self._sure[1]

    def _read_changed(self) -> None:
        for key in self.ledger.changed:
            self._lines[key.unit][key.period] = list(self.ledger.states_of(key, self._now))
            self._version[key.unit] += 1
            self.versions[key] += 1
        self.ledger.changed.clear()

    def delivery(self, unit: str) -> Delivery | None:
        """The newest extract of a unit that is at rest."""
        return self._arrived.get(unit)

    def going(self, start_key: str) -> bool:
        """Whether the run of a start waits or works."""
        return start_key in self._alive

    def process(self, key: Key) -> tuple[Run, Process]:
        """A run of one partition, in a process of its own."""
        self._order += 1
        process = Process(self.ledger, f"process-{self._order}")
        run = Run(
            key=key,
            period=Period.parse(key.period),
            unit=self.settings.config.units[key.unit],
            modules=(),
            config=self.settings.config,
            options=Options(),
            store=cast("Any", self.store),
            ledger=cast("Any", process),
            sources=ROOT,
            now=lambda: self._now,
            receiver=cast("Any", None),
            channel=cast("Any", lambda _="": Line(self)),
            pipeline="simulation",
            owner=process._name,
            guard=lambda _: None,
        )
        return run, process

    # --- daemons ---

    def _up(self, now: dt.datetime) -> list[int]:
        """Daemons that run, in the order in which they come to act."""
        if self.world.off.end_of(now):
            return []
        found = [one for one in DAEMONS if not self.world.dead[one].end_of(now)]
        return found[::-1] if now.day % 2 else found

    def _tick(self, now: dt.datetime) -> None:
        """Both schedules. Two daemons look before either of them acts."""
        daemons = self._up(now)
        for wanted in (monthly, _not_monthly):
            looks = [SimulatedScheduler(self, now) for _ in daemons]
            steps = looks[0].steps(wanted) if looks else []  # nothing was written in between: both see the same
            for look in looks:
                self._ask(now, look, automation.requests(look, steps, MAKES, self.going))
        self._look(now + SOON, list(self._reporters))

    def _look(self, now: dt.datetime, units: Sequence[str]) -> None:
        """The sensor of what may be sent."""
        self._now = max(now, self._now)
        looks = [SimulatedScheduler(self, now, units=units) for _ in self._up(now)]
        steps = automation.unattended(looks[0], looks[0].steps()) if looks else []
        for look in looks:
            what = MAKES | {automation.SUBMIT}
            self._ask(now, look, automation.requests(look, steps, what, self.going, by_job=True))

    def _arrives(self, one: Arrival, now: dt.datetime) -> None:
        local = one.taken.astimezone(OSLO).replace(tzinfo=None)
        digest = hashlib.sha256(f"{one.unit} {one.taken}".encode()).hexdigest()
        found = Delivery(one.unit, Path("drop") / one.unit / digest[:8], local, digest)
        if one.unit not in self._arrived or local > self._arrived[one.unit].extracted_at:
            self._arrived[one.unit] = found
        self._unseen[found.print] = found
        self.later(now + SOON, self._pick_up)

    def _pick_up(self, now: dt.datetime) -> None:
        """The sensor of new extracts: takes each delivery once, when a daemon is there to see it."""
        daemons = self._up(now)
        if not daemons or not self._unseen:
            return
        unseen, self._unseen = list(self._unseen.values()), {}
        new = automation.newest_of([*self._arrived.values(), *unseen], unseen)
        for look in [SimulatedScheduler(self, now, dict(new), list(new)) for _ in daemons]:
            self._ask(now, look, automation.picked_up(look, new, self.going))

    def _wakes(self, now: dt.datetime) -> None:
        self._pick_up(now)
        self._look(now, list(self._reporters))
        for part in self.ledger.parts_in(OPEN):
            self._recheck(now, part.key)

    def _ask(self, now: dt.datetime, look: Scheduler, requests: Any) -> None:  # noqa: ANN401
        for one in requests:
            if isinstance(one, dg.RunRequest):
                period, _, unit = str(one.partition_key).partition("|")
                what, planned = one.tags["npr/what"], int(one.tags["npr/submission"])
                delivery = look.delivery(unit) if what in MAKES else None
                job = Job(what, unit, period, planned, one.tags[START], delivery, now)
                self._queued(now, job)

    def _queued(self, now: dt.datetime, job: Job) -> None:
        """Dagster runs one run of a partition at a time."""
        self.log.starts += 1
        if job.start in self._alive:
            self.log.twice.append(f"{now:%Y-%m-%d %H:%M} {job.start}")
            return
        self._alive[job.start] = job
        waiting = self._queue.setdefault(_key(job), [])
        waiting.append((SOON, job))
        if len(waiting) == 1:
            self.later(now + SOON, lambda then: self._begin(then, job))

    def _ended(self, now: dt.datetime, job: Job) -> None:
        self._alive.pop(job.start, None)
        waiting = self._queue[_key(job)]
        waiting.pop(0)
        if waiting:
            self.later(now + SOON, lambda then: self._begin(then, waiting[0][1]))
        else:
            del self._queue[_key(job)]
        self.later(now + SOON, lambda then: self._look(then, [job.unit]))

    def _begin(self, now: dt.datetime, job: Job) -> None:
        if back := self.world.off.end_of(now):
            self._killed(back, job)
        elif job.step in MAKES:
            attempt = self.count("making", job.unit, job.period, job.planned)
            takes, death = self.world.making(job.unit, job.period, job.planned, attempt)
            off = self.world.off.first_in(now, now + takes)
            if off:
                self.later(off, lambda then: self._killed(then, job))
            else:
                self.later(now + takes, lambda then: self._make(then, job, death))
        else:
            self._send(now, job)

    def _killed(self, now: dt.datetime, job: Job) -> None:
        """The run is over, and the sensor looks again when a start of it no longer counts."""
        self.log.kills += 1
        self._ended(now, job)
        self._after(now, job)

    def _after(self, now: dt.datetime, job: Job) -> None:
        """Looks at the moments at which the lock of a start may have run out; a real sensor looks all the time."""
        wait = RETRY
        while wait < 2 * AGAIN:
            over = job.asked + min(wait, AGAIN)
            if over > now:
                self.later(over + SOON, lambda then: self._look(then, [job.unit]))
            wait *= 2

    def count(self, *place: object) -> int:
        """How often this was asked before."""
        self._counts[place] += 1
        return self._counts[place] - 1

    # --- making ---

    def _make(self, now: dt.datetime, job: Job, death: str) -> None:
        """The last minute of a run that makes a submission, in the order of ``assets.shipments``."""
        assert job.delivery
        key, unit = _key(job), self.settings.config.units[job.unit]
        ledger = self.ledger
        try:
            _die(death == "first")
            submission = ledger.submission(key, "production", unit, int(key.period[:4]), job.delivery.print, now)
            _die(death == "numbers given")
            if (key, submission.number) not in self.store.folders:
                modules = _modules(key.period)
                submission = ledger.keep_ids(submission, submission.ids or ids(submission, modules))
                self._write(now, submission, job, 0)
            _die(death == "parts written")
            manifest = Manifest.model_validate_json(self.store.folders[key, submission.number]["manifest.json"])
            ledger.seal(manifest, now)
            self._shown(now, job, manifest, 0)
            _die(death == "sealed")
            self.store.save("manifest", key, manifest)
        except Killed:
            self._killed(now, job)
        else:
            self._ended(now, job)

    def _write(self, now: dt.datetime, submission: Submission, job: Job, form: int) -> Manifest:
        """The folder of a submission. form: how often its bytes were made; encrypted bytes differ each time."""
        assert job.delivery
        manifest, files = _packed(submission, job.delivery, form, now)
        self.store.folders[submission.key, submission.number] = files
        made = Made(
            now,
            job.unit,
            job.period,
            submission.number,
            job.planned,
            tuple(part.module for part in manifest.shipments),
            job.delivery.extracted_at,
        )
        self.log.made.setdefault((job.unit, job.period, submission.number), made)
        return manifest

    # --- people ---

    def _shown(self, now: dt.datetime, job: Job, manifest: Manifest, form: int) -> None:
        """Somebody is asked to approve these bytes, and will do so in time, or not."""
        if self._asked_about.get(_key(job)) == manifest.sealed():
            return
        self._asked_about[_key(job)] = manifest.sealed()
        word, takes = self.world.word(job.unit, job.period, manifest.snapshot.extracted_at, form)
        if word != "never":
            self.later(now + takes, lambda then: self._decides(then, job, manifest, word, form))

    def _decides(self, now: dt.datetime, job: Job, manifest: Manifest, word: str, form: int) -> None:
        key = _key(job)
        if self._asked_about[key] != manifest.sealed():
            return  # other bytes came; somebody is asked about those
        newest = manifest
        run, _ = self.process(key)
        subject = {"period": key.period, "unit": key.unit, "subject": "production", "by": PERSON, "at": now}
        self.ledger.decide(
            Decision(kind=DecisionKind.ACCEPT, submission=newest.submission, content=newest.content, **subject)  # type: ignore[arg-type]
        )
        if not self._approves(now, run, newest, given=True):
            return
        if word == "bytes change":
            # The parts folder was lost and made anew: same numbers, other bytes.
            submission = self.ledger.submission(key, "production", run.unit, int(key.period[:4]), _inputs_of(job), now)
            again = self._write(now, submission, job, form + 1)
            self.ledger.seal(again, now)
            self.store.save("manifest", key, again)
            self._shown(now, job, again, form + 1)
        elif word == "takes it back":
            self._approves(now, run, newest, given=False)
            later = now + self.world.again(job.unit, job.period, newest.snapshot.extracted_at, form)
            self.later(later, lambda then: self._decides(then, job, newest, "approves", form))
        self.later(now + SOON, lambda then: self._look(then, [job.unit]))

    def _approves(self, now: dt.datetime, run: Run, manifest: Manifest, *, given: bool) -> bool:
        row = next(one for one in self.ledger.submissions(run.key) if one.number == manifest.submission)
        try:
            sending.approve_these(run, row, PERSON, "looked at", withdraw=not given)
        except DataRefused:
            return False  # too late
        key = run.key
        self.log.said.append(Said(now, key.unit, key.period, row.number, manifest.sealed(), given))
        return True

    # --- handing over ---

    def _send(self, now: dt.datetime, job: Job) -> None:
        key = _key(job)
        run, process = self.process(key)
        line = Line(self, process)
        object.__setattr__(run, "channel", lambda _="": line)
        try:
            dispatch.dispatch(run)
        except Killed:
            self._gone.add(run.owner)
            self.later(now + ASKING, lambda then: self._recheck(then, key))
            self._killed(now, job)
            return
        except NprError:
            self.later(now + ASKING, lambda then: self._recheck(then, key))
            self._after(now, job)
        self._ended(now, job)

    def by_hand(self, key: Key) -> None:
        """Somebody runs ``npr submit`` while the house hands over."""
        run, _ = self.process(key)
        try:
            dispatch.dispatch(run)
        except NprError:
            return

    def takes(self, part: ShipmentOut, manifest: Manifest) -> None:
        """The other side has a message."""
        key, now = manifest.key, self._now
        again = part.msg_id in self._taken
        self._taken[part.msg_id] = now
        self.log.handed.append(
            Handed(
                now,
                key.unit,
                key.period,
                manifest.submission,
                part.module,
                part.msg_id,
                manifest.sealed(),
                again,
            )
        )
        self._answers(now, key, manifest.submission, part)

    def asked(self, msg_id: str) -> Presence:
        """What the other side says of a message."""
        if self._now < self._mute.get(msg_id, self.world.begin):
            return Presence.UNKNOWN
        return Presence.THERE if msg_id in self._taken else Presence.ABSENT

    def mute(self, msg_id: str, until: dt.datetime) -> None:
        """Nobody can be asked about a message for a while."""
        self._mute[msg_id] = until

    def _recheck(self, now: dt.datetime, key: Key) -> None:
        """The sensor that asks what became of what left."""
        if not self._up(now):
            self.later(self.world.looking(now) + ASKING, lambda then: self._recheck(then, key))
            return
        open_parts = [
            part
            for row in self.ledger.submissions(key)
            for part in self.ledger.parts(key, row.number)
            if part.state in OPEN
        ]
        for part in open_parts:
            run, _ = self.process(key)
            try:
                with sending._claimed(run, part.submission):
                    part = dispatch.settle(run, part)  # noqa: PLW2901 - what it is now
            except NprError:
                pass
            if part.state in OPEN:
                self.later(now + max(ASKING, HOUR / 2), lambda then: self._recheck(then, key))
        self._look(now + SOON, [key.unit])

    # --- the register ---

    def _answers(self, now: dt.datetime, key: Key, number: int, part: ShipmentOut) -> None:
        """Answers about a message: late, in any order, twice, or never."""
        dice = self.world.draw("answers", key.unit, key.period, number, part.module)
        refusal = self.world.refuses(key.unit, key.period, number)
        said: list[tuple[dt.timedelta, tuple[Event, ...]]] = []
        if refusal and part.module == "ord":
            said.append((refusal[0], (Event.SCHEMA_REJECTED,)))
        else:
            if dice.random() < 0.7:
                said.append((dice.uniform(0.05, 90) * HOUR, (Event.ACKNOWLEDGED, Event.APPREC_OK)))
            if dice.random() < 0.5:
                clean = dice.random() < 0.8
                said.append((dice.uniform(1, 400) * HOUR, (Event.CONTENT_CLEAN if clean else Event.CONTENT_ERRORS,)))
        for takes, events in said:
            for copy in range(1 + (dice.random() < 0.05)):
                self.later(now + takes + copy * HOUR, partial(self._answered, key, number, part.msg_id, events))

    def _answered(self, key: Key, number: int, msg_id: str, events: tuple[Event, ...], now: dt.datetime) -> None:
        digest = hashlib.sha256(f"{msg_id}{events}".encode()).hexdigest()
        self.ledger.take(Answer(digest=digest, kind="answer", events=events, received_at=now, msg_id=msg_id))
        place = (key.unit, key.period, number)
        if Event.SCHEMA_REJECTED in events and place not in self.log.refused:
            self.log.refused[place] = now
            refusal = self.world.refuses(key.unit, key.period, number)
            assert refusal
            if refusal[1] is not None:
                arrival = Arrival(now + refusal[1], key.unit, now + refusal[1] - HOUR)
                self.log.extra.append(arrival)
                self.later(arrival.at_rest, partial(self._arrives, arrival))
            self.later(now + SOON, lambda then: self._look(then, [key.unit]))


class Line:
    """The channel, for one run: each message is taken but one, of which the world has another plan.

    process: the run that hands over. Without one somebody does so by hand, and all goes well. The world is asked when
    the first message comes: a hand-over that the product itself refuses is none of the channel's.
    """

    name = "line"

    def __init__(self, house: House, process: Process | None = None) -> None:
        self.house, self.process = house, process
        self._fate: tuple[str, int, dt.timedelta] | None = None

    def hand_over(self, part: ShipmentOut, path: Any, manifest: Manifest) -> Receipt:  # noqa: ANN401
        house, now = self.house, self.house._now
        assert hashlib.sha256(path.read_bytes()).hexdigest() == part.sha256
        if self._fate is None:
            self._fate = self._begins(manifest)
        fall, place, mute = self._fate
        modules = [one.module for one in manifest.shipments]
        fall = fall if modules.index(part.module) == place else "taken"
        if fall in ("taken", "lost, was taken", "killed after"):
            house.takes(part, manifest)
        if fall not in {"taken", "not taken"}:
            house.mute(part.msg_id, now + mute)
            about = (manifest.key.unit, manifest.key.period, manifest.submission)
            house.log.mute[about] = max(now + mute, house.log.mute.get(about, now))
        match fall:
            case "not taken":
                raise NotHandedOver("the line was down", retryable=True)
            case "killed before" | "killed after":
                assert self.process
                self.process.dead = True
                raise Killed
            case "lost, was taken" | "lost, was not taken":
                raise InDoubt("the answer was lost")
        return Receipt(reference=part.msg_id, at=now)

    def _begins(self, manifest: Manifest) -> tuple[str, int, dt.timedelta]:
        if not self.process:
            return "taken", 0, dt.timedelta()
        about = (manifest.key.unit, manifest.key.period, manifest.snapshot.extracted_at)
        attempt = self.house.count("sending", *about)
        if self.house.world.impatient(*about, attempt):
            self.house.by_hand(manifest.key)
        return self.house.world.sending(*about, attempt, len(manifest.shipments))

    def ask(self, part: SentPart) -> TransportState:
        return TransportState(presence=self.house.asked(part.msg_id))


# --- small parts ---


def _decisive(one: Due) -> tuple[object, ...]:
    return one.period, one.submission, one.standing, one.state, one.held_by, one.status, one.number


_OPENINGS: dict[int, tuple[dt.date, ...]] = {}


def _openings(world: World) -> tuple[dt.date, ...]:
    """Days on which something opens for somebody: after a period, and after a deadline."""
    if world.first not in _OPENINGS:
        rows = world.calendar(NEVER)
        _OPENINGS[world.first] = tuple(
            sorted({row.period_to + DAY for row in rows} | {row.deadline + DAY for row in rows})
        )
    return _OPENINGS[world.first]


def _not_monthly(period: str) -> bool:
    return not monthly(period)


def _key(job: Job) -> Key:
    return Key(period=job.period, unit=job.unit)


def _inputs_of(job: Job) -> str:
    assert job.delivery
    return job.delivery.print


def _die(now: bool) -> None:  # noqa: FBT001
    if now:
        raise Killed


def _modules(period: str) -> tuple[str, ...]:
    kind = period[5]
    return ("kpp",) if kind == "K" else ("ord", "ide") if kind == "M" else ("ord", "ide", "sbs")


def _packed(
    submission: Submission, delivery: Delivery, form: int, now: dt.datetime
) -> tuple[Manifest, dict[str, bytes]]:
    """Parts of a few bytes, and the manifest that names them."""
    files, shipments = {}, []
    for one in submission.ids:
        body = f"{one.msg_id} {delivery.print} {form}".encode()
        path = f"{one.module}-001.eml"
        files[path] = body
        shipments.append(
            ShipmentOut(
                module=one.module,
                part=1,
                parts=1,
                packed_bytes=len(body),
                limit_bytes=1_000_000,
                patients=1,
                path=path,
                sha256=hashlib.sha256(body).hexdigest(),
                body_sha256=hashlib.sha256(b"body" + body).hexdigest(),
                body_bytes=len(body),
                lopenr=one.lopenr,
                msg_id=one.msg_id,
                schema_faults=0,
            )
        )
    snapshot = Snapshot(
        id=delivery.print[:16],
        unit=delivery.unit,
        contract="1",
        source="",
        source_system="simulated",
        environment="production",
        extracted_at=delivery.extracted_at,
        files=(),
    )
    manifest = Manifest(
        key=submission.key,
        submission=submission.number,
        profile="production",
        created_at=now,
        pipeline="simulation",
        snapshot=snapshot,
        tables={},
        schemas=(),
        codes_sha256="",
        messages=tuple(
            MessageOut(module=one.module, version="54.0.1", patients=1, records=1, bytes=1, sha256=DIGEST)
            for one in submission.ids
        ),
        shipments=tuple(shipments),
        limit_certainty="C",
        content=hashlib.sha256(f"content {delivery.print} {submission.key}".encode()).hexdigest(),
    )
    files["manifest.json"] = manifest.model_dump_json().encode()
    return manifest, files


def _settings(world: World) -> Settings:
    units = {one.key: _unit(one, n) for n, one in enumerate(world.units)}
    config: Config = sample_config().model_copy(update={"units": units, "profile": "production"})
    return Settings(config, Path("simulated"), ROOT / "npr.toml")


def _unit(one: Reporter, n: int) -> Unit:
    sample = next(iter(sample_config().units.values()))
    return sample.model_copy(
        update={
            "name": one.key,
            "kind": one.kind,
            "isf": one.isf,
            "institusjonID": f"{900_000_100 + n}",
            "reports_since": one.since,
            "extract": None,
        }
    )
