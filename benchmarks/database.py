"""Pulling a large extract out of PostgreSQL: time and peak memory of the snapshot stage.

    python benchmarks/database.py --episodes 1000000

Makes load data, fills the invented record system of sql/sources/example_ehr with it on a PostgreSQL of its own, and
runs the snapshot stage in a process of its own. Exits 1 when the peak memory of that process is above 1 GiB.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

ROOT = Path(__file__).parent.parent
MOST_MEMORY = 1024**3
UNIT = "nordfjell"
STAGE = """
import json, sys
from pathlib import Path
from assets import snapshot
from assets.ports import Options
from pipelines.settings import load_settings
from pipelines.workbench import DiskWorkbench
settings = load_settings(config=Path(sys.argv[1]), home=Path(sys.argv[2]))
record = snapshot.take(DiskWorkbench(settings, Options(source="example_ehr")).open("2020-A|nordfjell"))
print(json.dumps({"rows": record.rows(), "bytes": sum(file.bytes for file in record.files)}))
"""


def _fill(url: str, data: Path) -> None:
    import ehr  # noqa: PLC0415 - of the tests
    import polars as pl  # noqa: PLC0415

    ehr.fill(url, {path.stem: pl.scan_parquet(path) for path in data.glob("*.parquet")})


def _config(room: Path) -> Path:
    text = (ROOT / "npr.toml").read_text(encoding="utf-8").replace("data/sample", str(ROOT / "data" / "sample"))
    text = text.replace(f"[units.{UNIT}]\n", f'[units.{UNIT}]\ndatabase = "ehr"\n')
    path = room / "npr.toml"
    path.write_text(f'{text}\n[databases.ehr]\nenvironment = "test"\n', encoding="utf-8")
    return path


@click.command()
@click.option("--episodes", default=1_000_000, show_default=True)
def main(*, episodes: int) -> None:
    """Measure and judge."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from servers import postgres_programs, running_postgres  # noqa: PLC0415 - of the tests

    programs = postgres_programs()
    if programs is None:
        raise click.ClickException("PostgreSQL is not installed")
    with tempfile.TemporaryDirectory() as folder, running_postgres(programs) as server:
        room = Path(folder)
        make = ["-m", "pipelines.sample", "--out", str(room / "data"), "--unit", UNIT, "--episodes", str(episodes)]
        subprocess.run([sys.executable, *make], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        url = server.create("ehr")
        started = time.perf_counter()
        _fill(url, room / "data")
        print(f"filled in {time.perf_counter() - started:.0f} s", flush=True)
        command = [sys.executable, "-c", STAGE, str(_config(room)), str(room / "home")]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "NPR_DB_EHR_URL": url}
        started = time.perf_counter()
        with subprocess.Popen(command, cwd=room, env=environment, stdout=subprocess.PIPE) as process:  # noqa: S603
            assert process.stdout
            out = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise click.ClickException("the snapshot stage failed")
        _tell(json.loads(out), time.perf_counter() - started, usage)


def _tell(found: dict[str, dict[str, int]], wall: float, usage: resource.struct_rusage) -> None:
    rows = found["rows"]
    memory = usage.ru_maxrss * 1024
    print(
        f"{rows['episodes']} episodes, {sum(rows.values())} rows, {found['bytes']} bytes of text: {wall:.0f} s wall, "
        f"{usage.ru_utime + usage.ru_stime:.0f} s CPU, {memory / 1024**2:.0f} MiB peak"
    )
    if memory > MOST_MEMORY:
        sys.exit(1)


if __name__ == "__main__":
    main()
