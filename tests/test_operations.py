"""The commands of docs/operations.md for backup and restore, as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, Finished, call

from pipelines.ledger.book import ledger_of

pytestmark = pytest.mark.xdist_group("main_job")


def _commands(name: str) -> str:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    found = re.search(rf"```bash\n# {name}\n(.*?)```", text, re.DOTALL)
    assert found
    return found[1]


def test_a_restored_home_goes_on_where_the_old_one_was(finished: Finished, tmp_path: Path) -> None:
    moved = tmp_path / "another place" / "var"
    for name, home in (("backup", finished.home), ("restore", moved)):
        environment = {**os.environ, "NPR_HOME": str(home), "BACKUP": str(tmp_path / "npr.tar")}
        subprocess.run(["bash", "-euc", _commands(name)], env=environment, check=True)
    assert (moved / "identity").stat().st_mode & 0o077 == 0
    assert (moved / "rehearsal" / "receiver-key.pem").stat().st_mode & 0o077 == 0
    heads = [ledger_of(home).audit_head() for home in (finished.home, moved)]
    assert heads[0] == heads[1] != (0, "")
    again = call("run", "2020-T1", "--unit", "sorvik", "--json", home=moved)
    assert again.code == 0, again.err
    before = finished.unit("sorvik")
    for name in ("messages", "rows", "findings"):
        assert again.json[name] == before[name]
    assert [part["sha256"] for part in again.json["shipments"]] == [part["sha256"] for part in before["shipments"]]
    assert len(list((moved / "submissions" / "2020-T1" / "sorvik").iterdir())) == 1
