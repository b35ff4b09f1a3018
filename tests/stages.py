"""The stages of a run one after the other in this process, without Dagster: half the work of ``npr run`` on the sample.

Belongs here: opening a partition, its stages in their order, the summary as ``npr run`` prints it. Does not belong
here: what is broken between them (``guarded``), and what is about the command line or Dagster: such tests run ``npr``.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from conftest import ROOT, Finished, begin

from assets import dispatch, findings, fragments, messages, scope, shipments, snapshot, staging
from assets.ports import Options, Run
from pipelines.home.store import DiskStore
from pipelines.ledger.book import ledger_of
from pipelines.settings import load_settings
from pipelines.workbench import DiskWorkbench
from schemas.config import Config
from schemas.period import Period
from schemas.records import Delivery, Key, Manifest, summary

MAKING: Final[tuple[Callable[[Run], object], ...]] = (
    snapshot.take,
    staging.stage,
    scope.scope,
    messages.messages,
    findings.findings,
    fragments.fragments,
    shipments.shipments,
)
ALL: Final = (*MAKING, dispatch.dispatch)


def opened(home: Path, period: str, unit: str, options: Options, config: Path = ROOT / "npr.toml") -> Run:
    """A partition of a home, with the settings of the sample or others."""
    begin(home)
    bench = DiskWorkbench(load_settings(config=config, home=home), options)
    bench.store.prepare()
    return bench.open(f"{period}|{unit}")


def first_stages(home: Path, period: str, unit: str, config: Config, options: Options, sources: Path) -> Run:
    """A partition with all that the stages up to scope need, and nothing they must not use."""
    when = Period.parse(period)
    return Run(
        key=Key(period=when.key, unit=unit),
        period=when,
        unit=config.units[unit],
        modules=("ord", "ide"),
        config=config,
        options=options,
        store=DiskStore(home),
        ledger=ledger_of(home),
        sources=sources,
        now=_forbidden,
        receiver=_forbidden,
        channel=_forbidden,
        pipeline="test",
        owner="test",
    )


def _forbidden(name: str = "") -> Any:  # noqa: ANN401 - stands where several types would
    raise AssertionError(f"the first stages ask neither clock nor receiver nor channel {name}")


def through(run: Run) -> dict[str, Any]:
    """All stages; the summary."""
    for stage in ALL:
        stage(run)
    return told(run)


def packed_again(
    finished: Finished, home: Path, unit: str, limit: int | None = None, config: Path = ROOT / "npr.toml"
) -> dict[str, Any]:
    """The stages from splitting on, over a copy of what the finished run of 2020-T1 has rendered; the summary.

    Nothing was submitted from the copy, so its numbers begin with 1.
    """
    sent = ("ledger.sqlite*", "submissions", "outbox")
    shutil.copytree(finished.home, home, ignore=shutil.ignore_patterns("dagster", *sent))
    run = opened(home, "2020-T1", unit, Options(limit_bytes=limit), config)
    shipments.shipments(run)
    dispatch.dispatch(run)
    return told(run)


def told(run: Run) -> dict[str, Any]:
    """The summary of a run that was handed over."""
    manifest = run.store.load("manifest", run.key, Manifest)
    path = run.store.shipments(run.key, manifest.submission) / "manifest.json"
    return summary(manifest, str(path), run.store.load("dispatch", run.key, Delivery).files)
