"""Dagster definitions: assets, checks, the job and the workbench resource.

Belongs here: putting them together from settings. Does not belong here: what they do, and finding settings: ``build``
takes everything as arguments, so that tests give their own (``pipelines.location`` is what Dagster loads).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dagster as dg

from assets.ports import Options
from assets.stages import assets, checks
from pipelines.partitions import partitions
from pipelines.settings import Settings
from pipelines.workbench import PIPELINE, DiskWorkbench
from schemas.config import Config

JOB = "report"
PREPARE = "prepare"
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
            return dg.multiprocess_executor
        case _:
            return dg.in_process_executor


def build(settings: Settings, progress: Callable[[str, int, int], None] = _silent) -> dg.Definitions:
    """Everything over the units of the settings."""

    @dg.resource(config_schema=OPTIONS)
    def workbench(context: dg.InitResourceContext) -> DiskWorkbench:
        given = context.resource_config
        extract = Path(given["extract"]) if given["extract"] else None
        options = Options(extract, given["source"], given["limit_bytes"], tuple(given["modules"]))
        return DiskWorkbench(settings, options, progress)

    keys = partitions(settings.config.units)
    return dg.Definitions(
        assets=assets(keys, PIPELINE),
        asset_checks=checks(keys),
        jobs=[
            dg.define_asset_job(JOB, selection=dg.AssetSelection.all(), description="One period of one unit."),
            dg.define_asset_job(
                PREPARE,
                selection=dg.AssetSelection.all() - dg.AssetSelection.assets("dispatch"),
                description="The same without handing anything over.",
            ),
        ],
        resources={"workbench": workbench},
        executor=_executor(settings.config),
    )
