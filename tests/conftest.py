"""Fixtures shared by the tests that run the whole way: the sample, a home to write to, the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from servers import Postgres, Redis, postgres_programs, running_postgres, running_redis, wanting

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "data" / "sample"


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
    """``npr`` in this process."""
    from pipelines.cli import cli  # noqa: PLC0415 - the command line imports what it needs when it runs

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


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The main job on the sample, run once."""
    home = tmp_path_factory.mktemp("finished") / "var"
    outcome = call_process("run", "2020-T1", "--json", home=home)
    assert outcome.code == 0, outcome.err
    return Finished(home, outcome.json, outcome.err)


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
