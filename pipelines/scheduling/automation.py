"""Schedules and sensors: what Dagster's daemon asks, and when.

Belongs here: ticks, cursors and run requests. Does not belong here: what is due or started
(``pipelines.scheduling.scheduler``).

The two schedules make what is due, once a day; a tick asks the ledger, so a daemon that was down for a week catches up
with its next one. Sending is a sensor's, since an approval must not wait for the next morning. Each can be paused by
itself, and nothing here sends: run requests name a job, and ``assets.dispatch`` holds the gates.
"""

# No postponed annotations here: Dagster reads the types of what it decorates.
import datetime as dt
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import dagster as dg

from pipelines.exchange.inbox import may_have_come
from pipelines.partitions import partition_key
from pipelines.scheduling import deliveries
from pipelines.scheduling.deliveries import Delivery
from pipelines.scheduling.notices import pending
from pipelines.scheduling.scheduler import Scheduler
from pipelines.scheduling.started import START, Started
from pipelines.scheduling.status import digest_of
from pipelines.settings import Settings
from transforms.scheduling.starting import MAKES, Step, monthly

MONTHLY, YEARLY = "monthly_reports", "tertial_and_annual_reports"
RECHECK = "recheck"
PREPARE, SUBMIT, RESUBMIT, REVALIDATE = "prepare", "submit", "resubmit", "revalidate"
ZONE = "Europe/Oslo"
SHOWN = 5  # reasons of a tick
EAGER = SELDOM = dt.timedelta(hours=1)
"""What is under way is asked about at every tick for so long after news, and then so seldom: each time is a run."""
Clock = Callable[[], dt.datetime]
Going = Callable[[str], bool]
"""Whether the newest run of a start waits, works or refused, see ``pipelines.scheduling.started``."""


def utc_now() -> dt.datetime:
    """The clock."""
    return dt.datetime.now(dt.UTC)


def schedules(settings: Settings, report: Any, clock: Clock = utc_now) -> list[dg.ScheduleDefinition]:  # noqa: ANN401
    """The monthly schedule and the one of tertials, years and cost reports."""
    return [
        _schedule(settings, MONTHLY, report, monthly, "Monthly reports that are due are prepared.", clock),
        _schedule(
            settings,
            YEARLY,
            report,
            lambda period: not monthly(period),
            "Tertial, annual and cost reports that are due are prepared.",
            clock,
        ),
    ]


def _schedule(
    settings: Settings,
    name: str,
    job: Any,  # noqa: ANN401 - what Dagster takes as a target
    wanted: Callable[[str], bool],
    description: str,
    clock: Clock,
) -> dg.ScheduleDefinition:
    hour, minute = settings.config.schedule.at.split(":")

    @dg.schedule(
        name=name,
        job=job,
        cron_schedule=f"{int(minute)} {int(hour)} * * *",
        execution_timezone=ZONE,
        description=description,
        default_status=dg.DefaultScheduleStatus.RUNNING
        if settings.config.schedule.active
        else dg.DefaultScheduleStatus.STOPPED,
    )
    def tick(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        scheduler = Scheduler(settings, clock())
        going = Started(context.instance, scheduler.ledger).going
        yield from requests(scheduler, scheduler.steps(wanted), MAKES, going)

    return tick


def requests(
    scheduler: Scheduler, found: Sequence[Step], what: frozenset[str], going: Going, *, by_job: bool = False
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Run requests for the steps of these kinds that nobody else has started; else the reason of each wait.

    by_job: for sensors, which have several jobs.
    """
    meant = [step for step in found if step.what in what]
    begun = [step for step in meant if scheduler.start(step, going=going(scheduler.start_key(step)))]
    for step in begun:
        yield request(scheduler, step, step.what if by_job else None)
    if not begun:
        lines = [f"{step.period} {step.unit}: {step.why}" for step in found if step.what == "wait"]
        lines += [f"{step.period} {step.unit}: {step.what} was started already" for step in meant]
        lines += scheduler.unknown()
        yield dg.SkipReason(told(lines) or "nothing is due")


def told(lines: Sequence[str]) -> str:
    """Reasons as one text that a page can show: the first of them, and how many more there are."""
    rest = len(lines) - SHOWN
    return "; ".join([*lines[:SHOWN], *([f"and {rest} more, see npr next"] if rest > 0 else [])])


def request(scheduler: Scheduler, step: Step, job: str | None = None) -> dg.RunRequest:
    """The run of a step, on the extract that was found for it.

    Its key is of the moment, so that a lost run is tried again; that it is one run is the ledger's word
    (``Scheduler.start``).

    job: for sensors, which have several; a schedule has one, and the tag tells a second submission.
    """
    found = scheduler.delivery(step.unit)
    folder = str(found.folder) if found and found.folder and step.what in MAKES else None
    return dg.RunRequest(
        run_key=f"{step.run_key}|{scheduler.now:%Y-%m-%dT%H:%M}",
        job_name=job,
        partition_key=partition_key(step.period, step.unit),
        run_config={"resources": {"workbench": {"config": {"extract": folder}}}},
        tags={
            "npr/what": step.what,
            "npr/submission": str(step.submission),
            START: scheduler.start_key(step),
        },
    )


def sensors(settings: Settings, jobs: dict[str, Any], clock: Clock = utc_now) -> list[dg.SensorDefinition]:
    """The sensors of arriving extracts, of what may be sent, and of what is under way. jobs: by name."""
    return [
        _new_extracts(settings, jobs, clock),
        _ready_to_send(settings, jobs, clock),
        _running(settings, jobs, clock),
    ]


def _switched(settings: Settings) -> dg.DefaultSensorStatus:
    """How a sensor stands until somebody switches it in Dagster's pages."""
    return dg.DefaultSensorStatus.RUNNING if settings.config.schedule.active else dg.DefaultSensorStatus.STOPPED


def _new_extracts(settings: Settings, jobs: dict[str, Any], clock: Clock) -> dg.SensorDefinition:
    @dg.sensor(
        name="new_extracts",
        jobs=[jobs[PREPARE], jobs[RESUBMIT]],
        minimum_interval_seconds=30,
        default_status=_switched(settings),
        description="A delivery in the drop folder, complete and at rest, is prepared for each report that is due.",
    )
    def tick(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        if settings.config.drop.folder is None:
            return dg.SensorResult(skip_reason="npr.toml names no drop folder")
        note = json.loads(context.cursor or '{"seen": {}, "taken": []}')
        ready, seen, waiting = deliveries.look(list(deliveries.dropped(settings)), note["seen"])
        new = [one for one in ready if one.print not in note["taken"]]
        newest = newest_of(ready, new)
        made = []
        if newest:
            scheduler = Scheduler(settings, clock(), newest)
            made = picked_up(scheduler, newest, Started(context.instance, scheduler.ledger).going)
        taken = [*note["taken"], *(one.print for one in new)]
        cursor = json.dumps({"seen": seen, "taken": [print_ for print_ in taken if print_ in seen.values()]})
        reason = None if made else "; ".join(waiting) or "no new delivery, or nothing due that it holds"
        return dg.SensorResult(run_requests=made, skip_reason=reason, cursor=cursor)

    return tick


def _ready_to_send(settings: Settings, jobs: dict[str, Any], clock: Clock) -> dg.SensorDefinition:
    @dg.sensor(
        name="ready_to_send",
        jobs=[jobs[SUBMIT], jobs[PREPARE], jobs[RESUBMIT]],
        minimum_interval_seconds=30,
        default_status=_switched(settings),
        description="What is prepared, approved where that is asked for, and held by nothing is handed over. "
        "A run that was killed is started again.",
    )
    def tick(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        scheduler = Scheduler(settings, clock())
        going = Started(context.instance, scheduler.ledger).going
        yield from requests(scheduler, unattended(scheduler, scheduler.steps()), MAKES | {SUBMIT}, going, by_job=True)

    return tick


def _running(settings: Settings, jobs: dict[str, Any], clock: Clock) -> dg.SensorDefinition:
    @dg.sensor(
        name="running_submissions",
        jobs=[jobs[RECHECK]],
        minimum_interval_seconds=300,
        default_status=_switched(settings),
        description="Takes answers in, asks what became of what left, and brings the status up to date, "
        "when there is news or a new day.",
    )
    def tick(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        now = clock()
        state, underway = digest_of(settings, now)
        note = _noted(context.cursor)
        if note and state == note.state:
            if not underway and not pending(settings) and not may_have_come(settings):
                return dg.SensorResult(skip_reason="nothing changed, nothing is under way, and no answer can have come")
            if now - note.since > EAGER and now - note.asked < SELDOM:
                return dg.SensorResult(skip_reason=f"no news; asked at {note.asked:%H:%M} UTC, and again an hour later")
        since = note.since if note and note.state == state else now
        asked = dg.RunRequest(run_key=f"{state[:16]}|{now:%Y-%m-%dT%H:%M}", job_name=RECHECK)
        return dg.SensorResult(run_requests=[asked], cursor=json.dumps([state, since.isoformat(), now.isoformat()]))

    return tick


class _Asked(NamedTuple):
    """What was known when it was asked last, since when, and when that was."""

    state: str
    since: dt.datetime
    asked: dt.datetime


def _noted(cursor: str | None) -> _Asked | None:
    try:
        state, since, asked = json.loads(cursor or "")
        return _Asked(state, dt.datetime.fromisoformat(since), dt.datetime.fromisoformat(asked))
    except (ValueError, TypeError):  # none yet, or one of an earlier version
        return None


def newest_of(ready: Sequence[Delivery], new: Sequence[Delivery]) -> dict[str, Delivery]:
    """Unit -> the newest extract of all that are at rest, where that is a new one.

    One that comes late behind a newer one is no news: a report made of it would take the place of a better one.
    """
    newest = {one.unit: one for one in sorted(ready, key=lambda one: one.extracted_at)}
    return {unit: one for unit, one in newest.items() if one in new}


def unattended(scheduler: Scheduler, found: Sequence[Step]) -> list[Step]:
    """What need not wait for the next tick of a schedule: all but reports that nobody has begun to make.

    A report that was refused and has its new extract may have been held by a doubt when that came; a day is too long.
    """
    makes = [step for step in found if step.what in MAKES and not step.made]
    again = scheduler.begun(makes) if makes else []
    return [step for step in found if step.what not in MAKES or step.made or step in again]


def picked_up(scheduler: Scheduler, units: Collection[str], going: Going) -> list[dg.RunRequest]:
    """Runs for what the new deliveries of these units can serve."""
    mine = [step for step in scheduler.steps() if step.unit in units]
    return [one for one in requests(scheduler, mine, MAKES, going, by_job=True) if isinstance(one, dg.RunRequest)]
