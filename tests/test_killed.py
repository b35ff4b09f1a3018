"""kill -9 at any moment, then the same command again: the same result, and never a half file to be seen."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from conftest import ROOT, Finished, call_process

MOMENTS = 20


def _insist_whole(home: Path) -> None:
    """Everything visible in lake and outbox is whole."""
    for path in [*home.glob("lake/**/*.parquet"), *home.glob("identity/lake/**/*.parquet")]:
        pl.read_parquet(path)
    for folder in home.glob("outbox/*/*/*"):
        manifest = json.loads((folder / "manifest.json").read_bytes())
        assert {p["path"]: p["packed_bytes"] for p in manifest["shipments"]} == {
            path.name: path.stat().st_size for path in folder.glob("*.eml")
        }
    for record in home.glob("runs/*/*/*.json"):
        json.loads(record.read_bytes())


@pytest.mark.xdist_group("killed")
def test_killed_at_twenty_moments(finished: Finished, tmp_path: Path) -> None:
    home = tmp_path / "var"
    command = [sys.executable, "-m", "pipelines.cli", "--home", str(home), "--config", str(ROOT / "npr.toml")]
    command += ["run", "2020-T1", "--unit", "sorvik", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = time.monotonic()
    assert call_process("run", "2020-T1", "--unit", "sorvik", home=tmp_path / "timing").code == 0
    whole = time.monotonic() - started
    moments = random.Random(20201124)
    killed = 0
    for _ in range(MOMENTS):
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as running:
            try:
                running.wait(moments.uniform(0.15, 1.0) * whole)
            except subprocess.TimeoutExpired:
                killed += 1
                os.killpg(running.pid, signal.SIGKILL)
        _insist_whole(home)
    assert killed >= MOMENTS // 2
    outcome = call_process("run", "2020-T1", "--unit", "sorvik", "--json", home=home)
    assert outcome.code == 0, outcome.err
    assert outcome.json["messages"] == finished.unit("sorvik")["messages"]
    assert outcome.json["rows"] == finished.unit("sorvik")["rows"]
    assert len(list(home.glob("outbox/2020-T1/sorvik/*"))) == 1
    assert not list((home / "tmp").iterdir())
    assert not list((home / "identity" / "tmp").iterdir())
