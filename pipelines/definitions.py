"""Dagster definitions: assets, checks, jobs, schedules, sensors and the workbench resource.

Belongs here: putting them together from settings. Does not belong here: what they do, and finding settings: ``build``
takes everything as arguments, so that tests give their own (``pipelines.location`` is what Dagster loads).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg

from assets.ports import Options
from assets.stages import ORDER, assets, checks
from pipelines.ledger.owner import owner
from pipelines.partitions import partitions
from pipelines.scheduling import automation
from pipelines.scheduling.automation import PREPARE, RECHECK, RESUBMIT, REVALIDATE, SUBMIT, Clock, utc_now
from pipelines.scheduling.report_status import report_status
from pipelines.scheduling.started import START
from pipelines.settings import Settings
from pipelines.workbench import PIPELINE, DiskWorkbench
from schemas.config import Config

JOB = "report"
OPTIONS = {
    "extract": dg.Field(dg.Noneable(str), default_value=None, is_required=False, description="folder of the extract"),
    "source": dg.Field(dg.Noneable(str), default_value=None, is_required=False, description="source mapping"),
    "limit_bytes": dg.Field(dg.Noneable(int), default_value=None, is_required=False, description="packed limit, bytes"),
    "modules": dg.Field([str], default_value=[], is_required=False, description="modules [what the period asks for]"),
}


def _silent(stage: str, done: int, total: int) -> None:
    """No progress shown."""


def _executor(config: Config) -> dg.ExecutorDefinition:
    match config.executor:
        case "celery":
            from pipelines.workers import executor  # noqa: PLC0415 - an extra that few install

            return executor(config.workers)
        case "multiprocess":
            # Each stage is forked from a process that has imported what it needs, instead of importing it all again.
            return dg.multiprocess_executor.configured({"start_method": {"forkserver": {}}}, name="multiprocess")
        case _:
            return dg.in_process_executor


def _jobs() -> dict[str, Any]:  # Dagster does not export the type of an asset job
    """All jobs, by name. Only those that say so hand anything over, and dispatch asks its gates in each."""
    stages = dg.AssetSelection.assets(*ORDER)
    making = stages - dg.AssetSelection.assets("dispatch")
    checking = dg.AssetSelection.assets("content_findings")
    described = {
        JOB: (stages, "One period of one unit, all the way."),
        PREPARE: (making, "All stages but sending: what a first submission is made by."),
        RESUBMIT: (making, "The same for a period that was sent: a new extract, the next submission number."),
        SUBMIT: (
            dg.AssetSelection.assets("dispatch"),
            "What is prepared is handed over, when nothing stands in its way.",
        ),
        REVALIDATE: (checking, "The messages made last, held against today's rules and code lists. Sends nothing."),
        RECHECK: (
            dg.AssetSelection.assets("report_status"),
            "Asks what became of what left, and tells where all stands.",
        ),
    }
    return {
        name: dg.define_asset_job(name, selection=selection, description=description)
        for name, (selection, description) in described.items()
    }


def build(
    settings: Settings, progress: Callable[[str, int, int], None] = _silent, clock: Clock = utc_now
) -> dg.Definitions:
    """Everything over the units of the settings. clock: what schedules and sensors go by."""

    @dg.resource(config_schema=OPTIONS, description="Opens a partition: store, ledger, channel, receiver.")
    def workbench(context: dg.InitResourceContext) -> DiskWorkbench:
        given = context.resource_config
        extract = Path(given["extract"]) if given["extract"] else None
        options = Options(extract, given["source"], given["limit_bytes"], tuple(given["modules"]))
        bench = DiskWorkbench(settings, options, progress)
        start = context.run.tags.get(START) if context.run else None
        if start and settings.config.executor == "in_process":  # else each stage is a process of its own
            bench.ledger.take_over(start, owner())
        return bench

    keys = partitions(settings.config.units)
    jobs = _jobs()
    return dg.Definitions(
        assets=[*assets(keys, PIPELINE), report_status(settings, clock)],
        asset_checks=checks(keys),
        jobs=list(jobs.values()),
        schedules=automation.schedules(settings, jobs[PREPARE], clock),
        sensors=automation.sensors(settings, jobs, clock),
        resources={"workbench": workbench},
        executor=_executor(settings.config),
    )
