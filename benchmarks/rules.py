"""Content rules against rendering: whole stages over the same class tables, each in a process of its own.

    python benchmarks/rules.py --episodes 1000000

Makes load data (Parquet, one unit, annual report), stages it, and then runs the findings stage whole and renders all
patients. The stage asks all rules, compares identity with activity, follows findings from run to run and gives the
verdict. It also holds the report against earlier ones (shares, falls, a keyed hash of each episode's content): that is
no rule, so it is timed by itself and taken off. Exits 1 when what is left takes more than 1.5 times the CPU seconds of
rendering, when the stage needs 2.5 GiB, or when it finds anything in these clean data.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click

ROOT = Path(__file__).parent.parent
MOST_RATIO = 1.5
MOST_MEMORY = 2.5 * 1024**3
PERIOD, UNIT = "2020-A", "nordfjell"
MADE_BEFORE = ("snapshot", "staging", "scope", "messages")


@dataclass(frozen=True)
class Stage:
    """One stage. cpu: user and system seconds of its process, own: without start-up; memory: peak resident bytes."""

    name: str
    wall: float
    cpu: float
    own: float
    memory: int
    said: str


def _child(*arguments: str) -> tuple[float, int, str]:
    """Run a program of ours; CPU seconds, peak memory, its output."""
    with subprocess.Popen(  # noqa: S603 - our own programs
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise click.ClickException(f"{' '.join(arguments)} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, out.decode()


def _measured(name: str, home: Path, data: Path) -> Stage:
    cpu, memory, out = _child("benchmarks/rules.py", "--stage", name, "--home", str(home), "--data", str(data))
    told = json.loads(out)
    return Stage(name, told["wall"], cpu, told["own"], memory, told["said"])


def _stages(names: tuple[str, ...], home: Path, data: Path) -> None:
    """Run stages in this process and print what the last one took and said."""
    from assets import findings, fragments, guards, messages, scope, snapshot, staging  # noqa: PLC0415 - the child alone
    from assets.ports import Options, Run  # noqa: PLC0415
    from pipelines.settings import load_settings  # noqa: PLC0415
    from pipelines.workbench import DiskWorkbench  # noqa: PLC0415
    from schemas.records import Findings, Snapshot, Staged  # noqa: PLC0415

    def against_earlier(run: Run) -> None:
        contract = run.registry.contract(run.store.load("snapshot", run.key, Snapshot).contract)
        guards.measure(run, contract, run.store.load("staging", run.key, Staged))

    settings = load_settings(config=ROOT / "npr.toml", home=home)
    run = DiskWorkbench(settings, Options(extract=data)).open(f"{PERIOD}|{UNIT}")
    work = {
        "snapshot": snapshot.take,
        "staging": staging.stage,
        "scope": scope.scope,
        "messages": messages.messages,
        "findings": findings.findings,
        "fragments": fragments.fragments,
        "against": against_earlier,
    }
    said = ""
    for name in names:
        started, used = time.perf_counter(), time.process_time()
        record = work[name](run)
        wall, own = time.perf_counter() - started, time.process_time() - used
        if isinstance(record, Findings):
            said = json.dumps({"by_rule": record.by_rule, "unchecked": record.unchecked})
    print(json.dumps({"wall": wall, "own": own, "said": said}))


@click.command()
@click.option("--episodes", default=100_000, show_default=True)
@click.option("--stage", help="for the processes that this one starts")
@click.option("--home", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True)
def main(*, episodes: int, stage: str | None, home: Path | None, data: Path | None, as_json: bool) -> None:
    """Measure both stages and judge."""
    if stage and home and data:
        return _stages(MADE_BEFORE if stage == "before" else (stage,), home, data)
    with tempfile.TemporaryDirectory() as room:
        home, data = Path(room) / "home", Path(room) / "data"
        _child("-m", "pipelines.sample", "--out", str(data), "--unit", UNIT, "--episodes", str(episodes))
        _measured("before", home, data)
        rules, rendering = _measured("findings", home, data), _measured("fragments", home, data)
        against = _measured("against", home, data)
    whole = rules.cpu / rendering.cpu
    found = json.loads(rules.said)
    ratio = (rules.cpu - against.own) / rendering.cpu
    if as_json:
        stages = [asdict(one) for one in (rules, rendering, against)]
        print(json.dumps({"episodes": episodes, "ratio": ratio, "whole_stage": whole, "stages": stages, **found}))
    else:
        for one in (rules, rendering):
            print(f"{one.name:>9}: {one.cpu:6.1f} s CPU, {one.wall:6.1f} s wall, {one.memory / 1024**2:5.0f} MiB peak")
        print(f"of the findings, holding the report against earlier ones: {against.own:.1f} s CPU")
        print(
            f"rules against rendering, {episodes} episodes: {ratio:.2f} (at most {MOST_RATIO}); whole stage {whole:.2f}"
        )
        print(f"findings in clean data: {found['by_rule'] or 'none'}; not checked: {found['unchecked']}")
    if ratio > MOST_RATIO or rules.memory > MOST_MEMORY or found["by_rule"]:
        sys.exit(1)
    return None


if __name__ == "__main__":
    main()
