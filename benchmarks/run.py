"""The whole of ``npr run`` at two sizes: CPU per episode and peak memory of the process.

    python benchmarks/run.py --small 100000 --large 1000000

Makes load data (Parquet, one unit), runs both sizes in processes of their own, and exits 1 when CPU per episode of the
large run is not below twice that of the small one, or its peak memory is above 2.5 GiB.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click

ROOT = Path(__file__).parent.parent
MOST_MEMORY = 2.5 * 1024**3
MOST_RATIO = 2.0


@dataclass(frozen=True)
class Measured:
    """One run. cpu: user and system seconds; memory: peak resident bytes of the process; xml: bytes of all bodies."""

    episodes: int
    wall: float
    cpu: float
    memory: int
    xml: int
    parts: int
    largest: int


def _child(arguments: list[str]) -> tuple[float, float, int, str]:
    """Run a program of ours; wall, CPU, peak memory, its output."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *arguments]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE) as process:  # noqa: S603
        assert process.stdout
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise click.ClickException(f"{' '.join(arguments)} ended with {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return time.perf_counter() - started, cpu, usage.ru_maxrss * 1024, out.decode()


def measure(episodes: int, room: Path) -> Measured:
    """Make data, run it, and take the figures."""
    data, home = room / f"data-{episodes}", room / f"home-{episodes}"
    _child(["-m", "pipelines.sample", "--out", str(data), "--unit", "nordfjell", "--episodes", str(episodes)])
    arguments = ["-m", "pipelines.cli", "--home", str(home), "run", "2020-A", "--unit", "nordfjell"]
    wall, cpu, memory, out = _child([*arguments, "--extract", str(data), "--json"])
    summary = json.loads(out)
    return Measured(
        episodes=summary["rows"]["episodes"]["reported"],
        wall=wall,
        cpu=cpu,
        memory=memory,
        xml=sum(message["bytes"] for message in summary["messages"]),
        parts=len(summary["shipments"]),
        largest=max(part["packed_bytes"] for part in summary["shipments"]),
    )


@click.command()
@click.option("--small", default=100_000, show_default=True)
@click.option("--large", default=1_000_000, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(*, small: int, large: int, as_json: bool) -> None:
    """Measure both sizes and judge."""
    with tempfile.TemporaryDirectory() as room:
        runs = [measure(size, Path(room)) for size in (small, large)]
    ratio = (runs[1].cpu / runs[1].episodes) / (runs[0].cpu / runs[0].episodes)
    if as_json:
        print(json.dumps({"runs": [asdict(run) for run in runs], "cpu_per_episode_ratio": ratio}))
    else:
        for run in runs:
            print(
                f"{run.episodes:>9} episodes: {run.wall:6.1f} s wall, {run.cpu:6.1f} s CPU, "
                f"{run.memory / 1024**2:5.0f} MiB peak, {run.xml / 1e6:6.0f} MB XML in {run.parts} parts"
            )
        print(f"CPU per episode, large against small: {ratio:.2f} (below {MOST_RATIO})")
    if ratio >= MOST_RATIO or runs[1].memory > MOST_MEMORY:
        sys.exit(1)


if __name__ == "__main__":
    main()
