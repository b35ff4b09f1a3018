"""Dagster's own loops of schedules and sensors over one NPR_HOME, in this process and at a time of the test's choice.

Belongs here: the workspace they load (``definitions``) and one turn of each loop. Does not belong here: what is due.
Runs are only queued, as the run coordinator of ``dagster.yaml`` does; nothing here launches them.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.scheduler.instigation import InstigatorTick
from dagster._core.test_utils import freeze_time
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.sensor import execute_sensor_iteration
from dagster._scheduler.scheduler import launch_scheduled_runs

from pipelines.definitions import build
from pipelines.runner import instance
from pipelines.settings import Settings

LOG = logging.getLogger("daemon of a test")
LOG.disabled = True
_worlds: list[Daemon] = []


def definitions() -> dg.Definitions:
    """What the workspace loads: the definitions over the home of the daemon that was opened last."""
    world = _worlds[-1]
    return build(world.settings, clock=lambda: world.now)


@dataclass
class Daemon:
    """One daemon. now: what its clock says."""

    settings: Settings
    dagster: dg.DagsterInstance
    workspace: WorkspaceProcessContext | None = None
    now: dt.datetime = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    times: dict[str, Any] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)

    def schedules(self, now: dt.datetime) -> list[dg.DagsterRun]:
        """One turn of the scheduler; the runs it asked for."""
        self.now = now
        with freeze_time(now):
            assert self.workspace
            errors = [one for one in launch_scheduled_runs(self.workspace, LOG, now, self.times) if one]
        assert not errors
        return self._new()

    def sensors(self, now: dt.datetime) -> list[dg.DagsterRun]:
        """One turn of the sensors; the runs they asked for."""
        self.now = now
        with freeze_time(now):
            assert self.workspace
            errors = [one for one in execute_sensor_iteration(self.workspace, LOG, None, None) if one]
        assert not errors
        return self._new()

    def pause(self, name: str) -> None:
        """As the switch in the pages does."""
        schedule = self._repository().get_schedule(name)
        self.dagster.stop_schedule(schedule.get_remote_origin_id(), schedule.selector_id, schedule)

    def resume(self, name: str) -> None:
        """As the switch in the pages does."""
        with freeze_time(self.now):
            self.dagster.start_schedule(self._repository().get_schedule(name))

    def watch(self, sensor: str) -> None:
        """Switch a sensor on."""
        self.dagster.start_sensor(self._repository().get_sensor(sensor))

    def ticks(self, name: str) -> list[dt.datetime]:
        """When ticks of a schedule or sensor were due, oldest first."""
        schedule = self._repository().get_schedule(name)
        found = self.dagster.get_ticks(schedule.get_remote_origin_id(), schedule.selector_id)
        return sorted(dt.datetime.fromtimestamp(one.timestamp, dt.UTC) for one in found)

    def last(self, sensor: str) -> InstigatorTick:
        """The newest tick of a sensor."""
        found = self._repository().get_sensor(sensor)
        return self.dagster.get_ticks(found.get_remote_origin_id(), found.selector_id, limit=1)[0]

    def _repository(self) -> Any:  # noqa: ANN401 - Dagster does not export the type
        assert self.workspace
        (entry,) = self.workspace.create_request_context().get_code_location_entries().values()
        assert entry.code_location, entry.load_error
        return next(iter(entry.code_location.get_repositories().values()))

    def _new(self) -> list[dg.DagsterRun]:
        found = [run for run in self.dagster.get_runs() if run.run_id not in self.seen]
        self.seen |= {run.run_id for run in found}
        return sorted(found, key=lambda run: (run.job_name, run.tags.get("dagster/partition", "")))


@contextmanager
def running(settings: Settings) -> Iterator[Daemon]:
    """A daemon over the settings."""
    origin = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="daemon", attribute="definitions"))
    with instance(settings.home) as dagster:
        found = Daemon(settings, dagster)
        _worlds.append(found)
        try:
            with WorkspaceProcessContext(dagster, InProcessWorkspaceLoadTarget(origin)) as found.workspace:
                yield found
        finally:
            _worlds.remove(found)
