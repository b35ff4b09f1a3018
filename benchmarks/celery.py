"""Twelve partitions on two Celery workers, one of which is killed at work: the same messages as in one process.

    python benchmarks/celery.py

A Redis and a PostgreSQL of its own; the sample hospital's two units, six periods each. Each unit's periods are driven
in their order, since numbers are given in it. Exits 1 when a message, an account of rows or a finding differs.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import click

ROOT = Path(__file__).parent.parent
PERIODS = ("2020-M01", "2020-M02", "2020-M03", "2020-T1", "2020-M05", "2020-M06")
COMPARED = ("period", "messages", "rows", "findings")


def main() -> None:
    """Run both ways and judge."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from deployment import finished, kill_at_work, several, single  # noqa: PLC0415 - of the tests
    from servers import postgres_programs, running_postgres, running_redis  # noqa: PLC0415

    programs, redis_server = postgres_programs(), shutil.which("redis-server")
    if programs is None or redis_server is None:
        raise click.ClickException("PostgreSQL or Redis is not installed")
    wanted = {"sorvik": PERIODS, "nordfjell": PERIODS}
    with tempfile.TemporaryDirectory() as folder, running_postgres(programs) as postgres:
        room = Path(folder)
        started = time.perf_counter()
        expected = single(room / "single").run(dict(wanted))
        print(f"one process for each unit: {time.perf_counter() - started:.0f} s", flush=True)
        with running_redis(redis_server) as redis:
            workers = several(room / "several", postgres, redis)
            started = time.perf_counter()
            with workers.worker("first") as first, workers.worker("second") as second:
                drivers = {unit: workers.drive(unit, periods) for unit, periods in wanted.items()}
                killed = kill_at_work(workers.home, (first, second))
                print(f"worker {killed + 1} killed after {time.perf_counter() - started:.0f} s", flush=True)
                with workers.worker("third"):
                    found = {unit: finished(driver) for unit, driver in drivers.items()}
            print(f"workers: {time.perf_counter() - started:.0f} s, load {os.getloadavg()[0]:.0f}", flush=True)
    differing = [
        (unit, mine["period"], name)
        for unit, summaries in expected.items()
        for mine, theirs in zip(summaries, found[unit], strict=True)
        for name in COMPARED
        if mine[name] != theirs[name]
    ]
    print(f"{sum(map(len, found.values()))} partitions, {len(differing)} differ {differing or ''}")
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
