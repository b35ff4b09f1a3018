"""``npr status``, ``next`` and ``due`` as people and monitoring call them: exit codes, forms, what they load."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from pipelines.agenda import today
from pipelines.settings import load_settings
from pipelines.status import coming, status

# What takes longest to load and tells nothing of a calendar or a ledger.
HEAVY = ("dagster", "pandera", "polars", "numpy", "duckdb", "lxml", "xmlschema", "cryptography", "httpx", "paramiko")
LOADED = """
import sys
from pipelines.cli import cli
try:
    cli(sys.argv[1:])
except SystemExit as end:
    assert end.code == 0, end.code
print("loaded", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize("command", ["status", "next", "due"])
def test_asking_what_is_due_loads_nothing_that_it_needs_not(command: str, home: Path) -> None:
    given = ("--config", ROOT / "npr.toml", "--home", home, command)
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *map(str, given)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.splitlines()[-1].split()
    assert "sqlalchemy" in loaded  # the ledger was asked
    assert set(loaded).isdisjoint(HEAVY)


@pytest.mark.parametrize(
    ("profile", "named", "day"),
    [
        ("rehearsal", "rehearsal_day = 2020-05-04", "2020-05-04"),
        ("rehearsal", "", "2026-11-26"),
        ("validation", "rehearsal_day = 2020-05-04", "2026-11-26"),
        ("production", "rehearsal_day = 2020-05-04", "2026-11-26"),
    ],
)
def test_only_a_rehearsal_may_say_which_day_it_is(profile: str, named: str, day: str, tmp_path: Path) -> None:
    file = tmp_path / "npr.toml"
    file.write_text(f"{(ROOT / 'npr.toml').read_text()}\n[schedule]\n{named}\n")
    settings = load_settings(config=file, home=tmp_path, profile=profile)
    assert str(today(settings, dt.datetime(2026, 11, 25, 23, 30, tzinfo=dt.UTC))) == day  # half past midnight in Norway


def test_next_goes_by_the_rehearsed_day(tmp_path: Path) -> None:
    file = tmp_path / "npr.toml"
    file.write_text(f"{(ROOT / 'npr.toml').read_text()}\n[schedule]\nrehearsal_day = 2020-05-04\n")
    settings = load_settings(config=file, home=tmp_path)
    told = coming(status(settings, dt.datetime(2026, 11, 26, 12, tzinfo=dt.UTC)))
    assert {one["period"] for one in told} == {"2019-A", "2020-M01", "2020-M02", "2020-M03", "2020-T1", "2020-M05"}
