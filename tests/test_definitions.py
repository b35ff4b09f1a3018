"""Dagster: the same stages, the same bytes, and no value of a row in its records."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from conftest import ROOT, Finished
from pydantic import BaseModel

from assets import stages
from assets.ports import Run
from pipelines.definitions import JOB, build
from pipelines.partitions import partition_key
from pipelines.runner import instance
from pipelines.settings import load_settings
from schemas.period import period_keys
from schemas.records import Key, Manifest

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def test_definitions_load() -> None:
    dg.Definitions.validate_loadable(build(load_settings(config=ROOT / "npr.toml")))


def test_partitions_are_period_and_unit() -> None:
    job = build(load_settings(config=ROOT / "npr.toml")).resolve_job_def(JOB)
    assert job.partitions_def is not None
    keys = job.partitions_def.get_partition_keys()
    assert len(keys) == 2 * len(period_keys())
    assert "2020-T1|nordfjell" in keys


def test_materialized_in_dagster_gives_the_bytes_of_the_command_line(finished: Finished, tmp_path: Path) -> None:
    settings = load_settings(config=ROOT / "npr.toml", home=tmp_path / "var")
    job = build(settings).resolve_job_def(JOB)
    with instance(settings.home) as dagster:
        result = job.execute_in_process(
            instance=dagster, partition_key=partition_key("2020-T1", "sorvik"), run_config=QUIET
        )
        assert result.success
        checks = result.get_asset_check_evaluations()
    assert {check.check_name for check in checks} == {
        "rows_add_up",
        "identity_covers_activity",
        "parts_below_limit",
        "parts_valid",
    }
    assert all(check.passed for check in checks)
    from pipelines.home.store import DiskStore  # noqa: PLC0415

    manifest = DiskStore(settings.home).load("manifest", Key(period="2020-T1", unit="sorvik"), Manifest)
    assert [m.model_dump() for m in manifest.messages] == finished.unit("sorvik")["messages"]


def test_a_bug_in_a_stage_leaves_no_value_in_the_event_log(tmp_path: Path) -> None:
    marker = "MARKØR31129956715"

    def stage(_run: Run) -> BaseModel:
        try:
            int(marker)  # says the value in its message, as libraries do
        except ValueError as error:
            raise LookupError(f"{marker} again") from error
        raise AssertionError

    class Bench:
        def open(self, partition_key: str) -> str:
            return partition_key

    keys = dg.StaticPartitionsDefinition(["a"])
    asset = stages._asset("broken", stage, lambda _: {}, "", None, keys, "1")
    home = tmp_path / "var"
    with instance(home) as dagster:
        result = dg.materialize(
            [asset],
            instance=dagster,
            partition_key="a",
            resources={"workbench": dg.ResourceDefinition.hardcoded_resource(Bench())},
            raise_on_error=False,
            run_config=QUIET,
        )
    assert not result.success
    kept = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    assert b"LookupError at " in kept
    assert marker.encode() not in kept


@pytest.mark.xdist_group("killed")
def test_multiprocess_executor_gives_the_same(finished: Finished, tmp_path: Path) -> None:
    from conftest import call_process  # noqa: PLC0415

    outcome = call_process(
        "run", "2020-T1", "--unit", "sorvik", "--json", home=tmp_path / "var", NPR_EXECUTOR="multiprocess"
    )
    assert outcome.code == 0, outcome.err
    assert outcome.json["messages"] == finished.unit("sorvik")["messages"]
