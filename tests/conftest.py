"""Fixtures shared by the tests that run the whole way: the sample, a home to write to, the command line.

``NPR_LONG_TESTS=1`` gives tests that draw many cases of the same classes their long form (``cases``).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from filelock import FileLock
from servers import Postgres, Redis, postgres_programs, running_postgres, running_redis, wanting

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "data" / "sample"

# A process compiles what it imports once for all that come after, whatever the shell says: there are many of them here.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


LONG = bool(os.environ.get("NPR_LONG_TESTS"))


def cases(short: int, long: int) -> int:
    """How many cases a test draws: ``short`` of them in every run, ``long`` where NPR_LONG_TESTS asks for it."""
    return long if LONG else short


@dataclass(frozen=True)
class Outcome:
    """What one call of the command line gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - any JSON value
        return json.loads(self.out)


def call(*args: str | Path, home: Path) -> Outcome:
    """``npr`` in this process. The first ``npr run`` or ``prepare`` of a home finds what ``_begun`` has made."""
    from pipelines.cli import cli  # noqa: PLC0415 - the command line imports what it needs when it runs

    if {"run", "prepare"} & set(args):
        begin(home)
    result = CliRunner().invoke(cli, ["--home", str(home), "--config", str(ROOT / "npr.toml"), *map(str, args)])
    return Outcome(result.exit_code, result.stdout, result.stderr)


def call_process(*args: str | Path, home: Path, cwd: Path = ROOT, **env: str) -> Outcome:
    """``npr`` in a process of its own, with environment variables added."""
    command = [sys.executable, "-m", "pipelines.cli", "--home", str(home), "--config", str(ROOT / "npr.toml")]
    done = subprocess.run(
        [*command, *map(str, args)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Finished:
    """One finished run of both sample units for 2020-T1."""

    home: Path
    summaries: list[dict[str, Any]]
    err: str

    def unit(self, name: str) -> dict[str, Any]:
        return next(one for one in self.summaries if one["unit"] == name)


_ROOM: list[Path] = []


@pytest.fixture(scope="session", autouse=True)
def _room(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A folder of all workers of this run of the tests."""
    own = tmp_path_factory.getbasetemp()
    _ROOM[:] = [own.parent if os.environ.get("PYTEST_XDIST_WORKER") else own]


def made_once(name: str, make: Callable[[Path], None]) -> Path:
    """A folder made by the first worker that needs it, for all of them. Who wants to change it takes a copy."""
    folder = _ROOM[0] / name
    with FileLock(_ROOM[0] / f"{name}.lock"):
        if not (folder / "made").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            (folder / "made").touch()
    return folder


@cache
def _begun() -> Path:
    """A home as a first run leaves it before its first stage: Dagster's empty tables and the keys of a rehearsal.

    Making them is a third of a run of the sample, and few tests are about it. A process of its own (``call_process``)
    begins with nothing.
    """

    def make(room: Path) -> None:
        from assets.ports import Options  # noqa: PLC0415 - as above
        from pipelines.runner import instance  # noqa: PLC0415
        from pipelines.settings import load_settings  # noqa: PLC0415
        from pipelines.workbench import DiskWorkbench  # noqa: PLC0415

        bench = DiskWorkbench(load_settings(config=ROOT / "npr.toml", home=room / "whole"), Options())
        bench.store.prepare()
        with instance(room / "whole"):
            run = bench.open("2020-T1|sorvik")
            run.receiver()
            run.signer()
        for name in ("dagster", "rehearsal"):
            shutil.copytree(room / "whole" / name, room / "var" / name)

    return made_once("begun", make) / "var"


def begin(home: Path) -> None:
    """Put into a home what a first run makes before its first stage, where it is not there."""
    for made in _begun().iterdir():
        if not (home / made.name).exists():
            shutil.copytree(made, home / made.name)


@pytest.fixture(scope="session")
def finished() -> Finished:
    """The main job on the sample, run once, and by a process of its own in a home that is not there yet.

    Tests of the group ``main_job`` go on in its home; others read the summaries alone.
    """

    def make(room: Path) -> None:
        outcome = call_process("run", "2020-T1", "--json", home=room / "var")
        assert outcome.code == 0, outcome.err
        (room / "out.json").write_text(outcome.out, encoding="utf-8")
        (room / "err.txt").write_text(outcome.err, encoding="utf-8")

    room = made_once("finished", make)
    return Finished(room / "var", json.loads((room / "out.json").read_bytes()), (room / "err.txt").read_text("utf-8"))


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    """What a command sets for its children ends with the test."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "var"


@pytest.fixture
def extract(tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a sample extract to spoil."""

    def copy(unit: str) -> Path:
        return Path(shutil.copytree(SAMPLE / unit, tmp_path / "extract"))

    return copy


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of this session. Tests make databases of their own on it."""
    programs = postgres_programs()
    if programs is None:
        wanting("postgresql")
    else:
        with running_postgres(programs) as server:
            yield server


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    """A Redis server of this session."""
    program = shutil.which("redis-server")
    if program is None:
        wanting("redis-server")
    else:
        with running_redis(program) as server:
            yield server
