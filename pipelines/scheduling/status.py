"""The state of everything this machine reports: the matrix, its digest, what comes next.

Belongs here: gathering for ``transforms.scheduling.matrix``, sentences of what comes next. Does not belong here: words
and colours (``transforms.scheduling.matrix``), printing (``pipelines.commands.status``), sending notices
(``pipelines.scheduling.notices``).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.home.store import DiskStore
from pipelines.scheduling.agenda import Unknown, today, unknown
from pipelines.scheduling.scheduler import Scheduler
from pipelines.settings import Settings
from schemas.config import Schedule
from schemas.errors import DataRefused
from schemas.period import Period
from schemas.records import Key, Manifest, Quarantined, Snapshot, Staged, digest
from schemas.sending import StateRow
from schemas.submission_states import OPEN, State
from transforms.scheduling.due import Due
from transforms.scheduling.matrix import Cell, Line, matrix
from transforms.scheduling.starting import Step, What

UNDERWAY = OPEN | {State.HANDED_OVER, State.ACKNOWLEDGED}
SOON_DAYS = 31
SHOWN_UNITS = 3
NOTHING = Unknown()


@dataclass(frozen=True, slots=True)
class Status:
    """One look: all planned submissions, what is to be done about those that are due, and the matrix.

    at: when it was taken. day: the day it goes by, see ``pipelines.scheduling.agenda.today``. unknown: what no calendar
    says.
    """

    due: Sequence[Due]
    steps: Sequence[Step]
    cells: Sequence[Cell]
    at: dt.datetime
    day: dt.date
    unknown: Unknown = NOTHING


def status(settings: Settings, now: dt.datetime) -> Status:
    """Everything as it stands. now: with time zone."""
    scheduler = Scheduler(settings, now)
    with scheduler.ledger.look():
        found = scheduler.due()
        steps = scheduler.planned(found)
    cells = matrix(found, steps, _lines(scheduler.states, settings), _blocked(settings, steps))
    day = today(settings, now)
    return Status(found, steps, cells, now, day, unknown(settings, day))


def _lines(states: Sequence[StateRow], settings: Settings) -> Mapping[tuple[str, str, int, str], Line]:
    return {
        (row.period, row.unit, row.submission, row.module): Line(row.state.value, row.silent)
        for row in states
        if row.profile == settings.config.profile
    }


def _blocked(settings: Settings, steps: Sequence[Step]) -> dict[tuple[str, str], int]:
    """Findings that keep a report from being made or sent, by period and unit."""
    store = DiskStore(settings.home)
    found = {}
    for step in steps:
        key = Key(period=step.period, unit=step.unit)
        if step.needs == "figures":  # figures unlike earlier ones, and no record
            continue
        number = _lost(store, key) if step.needs == "findings" else _quarantined(store, key)
        if number:
            found[step.period, step.unit] = number
    return found


def _lost(store: DiskStore, key: Key) -> int:
    """Records that NPR would leave out and dated requirements that stop, of what is prepared."""
    manifest = store.load("manifest", key, Manifest)
    return sum(manifest.dropped.values()) + sum(ruling.verdict == "stop" for ruling in manifest.rulings)


def _quarantined(store: DiskStore, key: Key) -> int:
    """Faults that stopped the last run, when it got no further than that."""
    try:
        taken, found = store.load("snapshot", key, Snapshot), store.load("quarantine", key, Quarantined)
    except DataRefused:
        return 0
    try:
        passed = store.load("staging", key, Staged).snapshot == taken.id
    except DataRefused:
        passed = False
    return found.faults if found.snapshot == taken.id and not passed else 0


def digest_of(settings: Settings, now: dt.datetime) -> tuple[str, bool]:
    """Digest of what the ledger says on a day, and whether something is under way."""
    rows = Scheduler(settings, now).states
    said = [(row.period, row.unit, row.module, row.submission, row.state.value, row.silent) for row in rows]
    return digest([str(today(settings, now)), said]), any(row.state in UNDERWAY for row in rows)


def coming(found: Status, schedule: Schedule) -> list[dict[str, str]]:
    """What runs next, when and why: one sentence for each report that is due or opens within a month.

    schedule: of npr.toml; where it is not active, only a switch in Dagster's pages or a person starts anything.
    """
    told = [_of_step(step, schedule) for step in found.steps]
    ahead = [one for one in found.due if one.standing == "ahead" and (one.opens - found.day).days <= SOON_DAYS]
    return told + [
        _said(
            one.period,
            one.unit,
            one.submission,
            "wait",
            _ahead(one, schedule),
        )
        for one in ahead
    ]


def sentences(rows: Sequence[dict[str, str]]) -> list[str]:
    """What ``coming`` gave, for a person: reports and units of which the same is said share one sentence."""
    units: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        which = row["period"] if row["submission"] == "1" else f"{row['period']} (submission {row['submission']})"
        units.setdefault((which, row["why"]), []).append(row["unit"])
    reports: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for (which, why), names in units.items():
        reports.setdefault((tuple(names), why), []).append(which)
    return [f"{', '.join(some)} of {_names(names)}: {why}." for (names, why), some in reports.items()]


def _names(names: Sequence[str]) -> str:
    rest = len(names) - SHOWN_UNITS
    return ", ".join(names) if rest <= 1 else f"{', '.join(names[:SHOWN_UNITS])} and {rest} more units"


def _ahead(one: Due, schedule: Schedule) -> str:
    days = f"opens on {one.opens}, is to be sent by {one.send_by} and is due on {one.deadline}"
    if one.status == "proposed":
        year = Period.parse(one.period).year
        until = f"npr calendar confirm {year} --by NAME"
        return f"{days}; that deadline is only proposed, and nothing is prepared until {until}"
    return f"{days}; from then on it is prepared when there is an extract, {_when('prepare', schedule)}"


def _when(what: What, schedule: Schedule, *, made: bool = False) -> str:
    """When a job starts. Of schedules that are not active nothing here can tell whether a page has switched them on."""
    by_sensor = made or what == "submit"
    hour = "within a minute" if by_sensor else f"at the latest at {schedule.at} Norwegian time"
    if schedule.active:
        return hour
    starter = "sensor ready_to_send" if by_sensor else "its schedule"
    command = "npr submit PERIOD --unit UNIT --to PROFILE" if what == "submit" else "npr run PERIOD --unit UNIT"
    return f"{hour} if {starter} is switched on in Dagster's pages ([schedule] active is false), or by hand: {command}"


def _of_step(step: Step, schedule: Schedule) -> dict[str, str]:
    if step.what == "wait":
        text = f"waits: {step.why}"
    else:
        text = f"is for job {step.what}, because {step.why}; it runs {_when(step.what, schedule, made=step.made)}"
    return _said(step.period, step.unit, step.submission, step.what, text)


def _said(period: str, unit: str, submission: int, what: str, text: str) -> dict[str, str]:
    which = "" if submission == 1 else f", submission {submission}"
    return {
        "period": period,
        "unit": unit,
        "submission": str(submission),
        "what": what,
        "why": text,
        "sentence": f"{period} {unit}{which}: {text}.",
    }
