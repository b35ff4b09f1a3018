"""Several workers as they are operated: Redis, Dagster's storage in PostgreSQL, one home, workers as processes.

Belongs here: putting them together and driving partitions through. Does not belong here: what must come out. Used by
tests and by benchmarks/celery.py.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conftest import ROOT
from servers import Postgres, Redis

SECONDS = 600
REDELIVER = 5
DRIVER = """
import json, sys
from pathlib import Path
from assets.ports import Options
from pipelines.runner import run_partition
from pipelines.settings import load_settings
settings = load_settings(config=Path(sys.argv[1]), home=Path(sys.argv[2]))
for period in sys.argv[4:]:
    print(json.dumps(run_partition(settings, period, sys.argv[3], Options(), lambda *_: None)), flush=True)
"""


@dataclass
class Deployment:
    """One home with its settings. environment: what every process of it is started with."""

    room: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.room / "var"

    @property
    def config(self) -> Path:
        return self.room / "npr.toml"

    @contextmanager
    def worker(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        """``npr worker`` as a process; it may have been killed when the block ends."""
        npr = [sys.executable, "-m", "pipelines.cli", "--home", str(self.home), "--config", str(self.config)]
        command = [*npr, "worker", "--name", name]
        with (
            (self.room / f"{name}.log").open("wb") as log,
            subprocess.Popen(command, env=self.environment, cwd=self.room, stdout=log, stderr=log) as process,
        ):
            try:
                yield process
            finally:
                process.send_signal(signal.SIGKILL)

    def drive(self, unit: str, periods: Sequence[str]) -> subprocess.Popen[str]:
        """One process that runs the periods of a unit one after the other, so that its numbers come in their order."""
        command = [sys.executable, "-c", DRIVER, str(self.config), str(self.home), unit, *periods]
        return subprocess.Popen(
            command,
            env=self.environment,
            cwd=self.room,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, wanted: dict[str, Sequence[str]]) -> dict[str, list[Any]]:
        """Drive all units at once, and wait; unit -> summaries."""
        running = {unit: self.drive(unit, periods) for unit, periods in wanted.items()}
        return {unit: finished(process) for unit, process in running.items()}


def finished(process: subprocess.Popen[str]) -> list[Any]:
    """Summaries that a driver printed."""
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    return [json.loads(line) for line in out.splitlines()]


def single(room: Path) -> Deployment:
    """Everything in one process: what the others must equal."""
    return _made(room, "in_process", "")


def several(room: Path, postgres: Postgres, redis: Redis) -> Deployment:
    """Workers over Redis, Dagster's storage in PostgreSQL."""
    yaml = ROOT / "deploy" / "dagster-postgres.yaml"
    made = _made(room, "celery", f'dagster_yaml = "{yaml}"\n')
    made.environment |= {
        "NPR_CELERY_BROKER": redis.url(0),
        "NPR_CELERY_BACKEND": redis.url(1),
        "NPR_DAGSTER_URL": postgres.create("dagster"),
    }
    return made


def _made(room: Path, executor: str, more: str) -> Deployment:
    room.mkdir(parents=True, exist_ok=True)
    text = (ROOT / "npr.toml").read_text(encoding="utf-8").replace('"data/sample', f'"{ROOT / "data" / "sample"}')
    text = text.replace('executor = "in_process"', f'{more}executor = "{executor}"')
    made = Deployment(room)
    made.config.write_text(f"{text}\n[workers]\nredeliver_after = {REDELIVER}\n", encoding="utf-8")
    taken = ("NPR_", "DAGSTER_")
    made.environment = {name: value for name, value in os.environ.items() if not name.startswith(taken)}
    made.environment["PYTHONPATH"] = str(ROOT)
    return made


def kill_at_work(home: Path, workers: Sequence[subprocess.Popen[bytes]]) -> int:
    """Wait until one of the workers is writing, and kill it as a power cut would; its number."""
    until = time.monotonic() + SECONDS
    pids = [worker.pid for worker in workers]
    while time.monotonic() < until:
        for room in (home / "tmp").glob("*"):
            pid = int(room.name.partition("-")[0])
            if pid in pids:
                workers[pids.index(pid)].send_signal(signal.SIGKILL)
                return pids.index(pid)
        time.sleep(0.005)
    raise AssertionError("no worker ever worked")
