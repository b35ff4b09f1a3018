"""Running one partition from the command line on the same Dagster instance as the web pages.

Belongs here: instance, run configuration, and getting the refusal of a stage out of Dagster. Does not belong here:
printing.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg

from assets.permits import overrides
from assets.ports import Options
from assets.rulings import with_overrides
from pipelines import definitions
from pipelines.home.store import DiskStore
from pipelines.partitions import partition_key
from pipelines.scheduling.automation import PREPARE
from pipelines.settings import Settings, export
from pipelines.workbench import DiskWorkbench
from schemas.errors import DataRefused, NprError, WrongUse, led_to
from schemas.records import Delivery, Key, Manifest, summary

DAGSTER_YAML = Path(__file__).parent.parent / "dagster.yaml"


def instance(home: Path, yaml: Path | None = None) -> dg.DagsterInstance:
    """The Dagster instance of NPR_HOME, with this project's dagster.yaml or the one given (npr.toml, dagster_yaml)."""
    folder = home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    wanted, there = _dagster_yaml(yaml or DAGSTER_YAML), folder / "dagster.yaml"
    # By rename and only where it differs: other runs may be reading it.
    if not there.is_file() or there.read_bytes() != wanted:
        beside = folder / f".dagster.yaml-{uuid.uuid4().hex}"
        beside.write_bytes(wanted)
        beside.replace(there)
    # The first to open it makes its tables, and two at once would trip over each other.
    with DiskStore(home).locked("dagster"):
        return dg.DagsterInstance.from_config(str(folder))


def _dagster_yaml(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WrongUse(
            f"{path}: {error.strerror}", where="npr.toml, dagster_yaml", fix="see docs/operations.md"
        ) from None


def run_partition(
    settings: Settings,
    period: str,
    unit: str,
    options: Options,
    progress: Callable[[str, int, int], None],
    *,
    send: bool = True,
) -> dict[str, Any]:
    """Materialize the stages of one partition, the last only to send. Returns the summary.

    Raises the refusal of the stage that refused.
    """
    store = DiskStore(settings.home)
    store.prepare()
    store.sweep()
    # The stages' own messages are ours to print; Dagster keeps the event log either way.
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    with (
        store.locked(f"run-{period}-{unit}", timeout=1),
        instance(settings.home, settings.config.dagster_yaml) as dagster,
    ):
        try:
            _execute(settings, period, unit, options, progress, dagster, definitions.JOB if send else PREPARE)
        finally:
            store.publish_views()
    key = Key(period=period, unit=unit)
    manifest = store.load("manifest", key, Manifest)
    folder = store.shipments(key, manifest.submission)
    inside = {part.path: str(folder / part.path) for part in manifest.shipments}
    files = store.load("dispatch", key, Delivery).files if send else inside
    return summary(manifest, str(folder / "manifest.json"), files)


def rulings_of(settings: Settings, period: str, unit: str) -> list[dict[str, Any]]:
    """What the registry's dated requirements say of the submission made last, and who has taken on what is lost."""
    run = DiskWorkbench(settings, Options()).open(partition_key(period, unit))
    manifest = run.store.load("manifest", run.key, Manifest)
    found = with_overrides(manifest.rulings, overrides(run, manifest.dropped))
    return [ruling.model_dump(mode="json") for ruling in found]


def _execute(
    settings: Settings,
    period: str,
    unit: str,
    options: Options,
    progress: Callable[[str, int, int], None],
    dagster: dg.DagsterInstance,
    name: str,
) -> None:
    config = {
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        "resources": {
            "workbench": {
                "config": {
                    "extract": str(options.extract.resolve()) if options.extract else None,
                    "source": options.source,
                    "limit_bytes": options.limit_bytes,
                    "modules": list(options.modules),
                }
            }
        },
    }
    tags = {"dagster/partition": str(partition_key(period, unit))}
    if settings.config.executor != "in_process":
        export(settings)
        if settings.config.executor == "celery":
            from pipelines.workers import insist_broker  # noqa: PLC0415 - an extra that few install

            insist_broker(settings.config.workers)
        from pipelines import location  # noqa: PLC0415 - reads the settings just exported

        target = dg.reconstructable(location.job if name == definitions.JOB else location.prepare)
        result = dg.execute_job(target, instance=dagster, run_config=config, tags=tags)
        _raise(result.all_events if not result.success else [])
        return
    job = definitions.build(settings, progress).resolve_job_def(name)
    job.execute_in_process(instance=dagster, run_config=config, partition_key=partition_key(period, unit))


def _raise(events: Any) -> None:  # noqa: ANN401 - Dagster's event list
    """Make the refusal of a child process ours again; what is no refusal is a bug."""
    for event in events:
        error = getattr(event.event_specific_data, "error", None)
        while error is not None:
            if error.cls_name in ("DataRefused", "WrongUse", "PatientTooLarge"):
                raise DataRefused(error.message.partition(": ")[2].strip())
            error = error.cause
    if events:
        raise RuntimeError("a stage failed; see the run in Dagster")


def user_error(error: BaseException) -> NprError | None:
    """The refusal inside an exception of Dagster's, if there is one."""
    return next((one for one in led_to(error) if isinstance(one, NprError)), None)
