"""kill -9 at any moment, then the same command again: the same result, and never a half file to be seen.

Eight moments, or twenty in the long form (``conftest.cases``), spread over the whole run.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from conftest import ROOT, Finished, cases
from forked import Run, nursery, serve

MOMENTS = cases(8, 20)


def npr(home: str, args: list[str], seconds: float) -> int:
    """``npr`` in this process, which the kernel ends after so many seconds of its work; 0 for never.

    By the time that it has worked, which other work on the machine does not stretch. Like SIGKILL, SIGPROF ends a
    process that has not asked for it there and then: nothing of ours runs any more.
    """
    room = Path(home).parent
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(room / name, os.O_CREAT | os.O_TRUNC | os.O_WRONLY), number)
    from pipelines.cli import cli  # noqa: PLC0415 - the nursery has it

    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        cli(["--home", home, "--config", str(ROOT / "npr.toml"), *args])
    except SystemExit as end:
        code = int(end.code or 0)
    used = resource.getrusage(resource.RUSAGE_SELF)
    (room / "seconds").write_text(str(used.ru_utime + used.ru_stime), encoding="utf-8")
    return code


def nurse() -> None:
    """What an ``npr run`` needs, imported before the first of them."""
    import pipelines.runner  # noqa: F401, PLC0415

    serve(npr)


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with nursery("import test_killed; test_killed.nurse()") as made:
        yield made


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
def test_killed_at_many_moments(run: Run, finished: Finished, tmp_path: Path) -> None:
    command = ["run", "2020-T1", "--unit", "sorvik", "--json"]
    (tmp_path / "whole").mkdir()
    assert run(home=str(tmp_path / "whole" / "var"), args=command, seconds=0) == 0
    whole = float((tmp_path / "whole" / "seconds").read_text(encoding="utf-8"))
    home, chance = tmp_path / "var", random.Random(20201124)
    killed = 0
    for moment in chance.sample(range(MOMENTS), MOMENTS):
        after = whole * (moment + chance.random()) / MOMENTS
        code = run(home=str(home), args=command, seconds=after)
        assert code in {0, -signal.SIGPROF}, (tmp_path / "err").read_text(encoding="utf-8")
        killed += code == -signal.SIGPROF
        _insist_whole(home)
    assert killed >= MOMENTS // 2
    assert run(home=str(home), args=command, seconds=0) == 0, (tmp_path / "err").read_text(encoding="utf-8")
    outcome = json.loads((tmp_path / "out").read_bytes())
    assert outcome["messages"] == finished.unit("sorvik")["messages"]
    assert outcome["rows"] == finished.unit("sorvik")["rows"]
    assert len(list(home.glob("outbox/2020-T1/sorvik/*"))) == 1
    assert not list((home / "tmp").iterdir())
    assert not list((home / "identity" / "tmp").iterdir())
