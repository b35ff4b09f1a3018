"""``npr status``, ``next`` and ``due`` as people and monitoring call them: exit codes, forms, what they load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

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
