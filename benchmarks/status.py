"""What it costs to ask where all stands: ``npr status``, ``npr next`` and ``npr due`` as whole processes.

    python benchmarks/status.py [--units 40] [--years 5] [--rounds 5] [--home DIR]

Writes an npr.toml and a ledger of all reports that the units owe in those years, by the ledger's own methods: prepared,
handed over and answered, second submissions beside first ones; of the last year's last reports one state after the
other, a third of them prepared and waiting for an approval. Each round runs the commands and, as a peer, a Python that
imports polars and SQLAlchemy. The goal is for status alone: under 1 s of wall time, median. Exits 1 when it is missed.

--home: keep what was made there, and use it again when it is there.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
if TYPE_CHECKING:
    from pipelines.ledger.book import SqlLedger
    from pipelines.settings import Settings
    from transforms.scheduling.due import Due

LAST_YEAR = 2022  # the last with a published calendar
GOAL_SECONDS = 1.0
COMMANDS = (("status",), ("status", "--format", "prometheus"), ("next",), ("due",))
PEER = ("-c", "import polars, sqlalchemy")
# Of ten units: what became of the last report of the last year.
ENDS = ("nothing", "reserved", "prepared", "prepared", "prepared", "in_doubt", "sent", "errors", "refused", "accepted")
UNIT = """
[units.unit{n:02}]
name = "Unit {n}"
institusjonID = "{number}"
kind = "{kind}"
isf = {isf}
reports_since = {since}-01-01
organisation = {{ name = "Organisation {n}", her_id = "{n}1" }}
sender = {{ name = "Sender {n}", her_id = "{n}2" }}
epj = {{ leverandor = "Eksempel EPJ AS", navnEPJ = "Eksempel", versjonEPJ = "20.1" }}
contacts = [
  {{ type = "1", name = "Kontakt", email = "npr@unit.example", mobile = "90000001" }},
  {{ type = "15", name = "Kontakt", email = "npr@unit.example", mobile = "90000002" }},
]
"""


@click.command()
@click.option("--units", default=40, show_default=True)
@click.option("--years", default=5, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--home", type=click.Path(path_type=Path), help="where it is kept [default: gone afterwards]")
def main(units: int, years: int, rounds: int, home: Path | None) -> None:
    """Make the ledger and time the commands."""
    with tempfile.TemporaryDirectory() as folder:
        room = home or Path(folder)
        if not (room / "npr.toml").exists():
            room.mkdir(parents=True, exist_ok=True)
            started = time.process_time()
            made = _make(room, units, LAST_YEAR - years + 1)
            print(f"{made} submissions made in {time.process_time() - started:.0f} s CPU", flush=True)
        cells = json.loads(_npr(room, ("status", "--json"))[2])
        states = Counter(cell["state"] for cell in cells)
        print(f"{len(cells)} messages in the matrix: {', '.join(f'{n} {state}' for state, n in states.most_common())}")
        sys.exit(_judge(room, rounds))


def _judge(room: Path, rounds: int) -> int:
    """Run all in turns, print medians, and give the exit code."""
    walls: dict[str, list[float]] = {}
    ratios: dict[str, list[float]] = {}
    cpus: dict[str, list[float]] = {}
    for _ in range(rounds):
        wall, peer, _out = _timed([sys.executable, *PEER])
        walls.setdefault("peer", []).append(wall)
        cpus.setdefault("peer", []).append(peer)
        for command in COMMANDS:
            wall, cpu, _out = _npr(room, command)
            name = " ".join(command)
            walls.setdefault(name, []).append(wall)
            cpus.setdefault(name, []).append(cpu)
            ratios.setdefault(name, []).append(cpu / peer)
    print(f"load {os.getloadavg()[0]:.1f}; medians of {rounds} rounds")
    for name, found in walls.items():
        ratio = f"{statistics.median(ratios[name]):.2f} of the peer" if name in ratios else ""
        print(f"{name:28} {statistics.median(found):6.2f} s wall {statistics.median(cpus[name]):6.2f} s CPU  {ratio}")
    return int(statistics.median(walls["status"]) >= GOAL_SECONDS)


def _npr(room: Path, command: Sequence[str]) -> tuple[float, float, str]:
    given = ("--config", str(room / "npr.toml"), "--home", str(room / "var"))
    return _timed([sys.executable, "-m", "pipelines.cli", *given, *command])


def _timed(command: Sequence[str]) -> tuple[float, float, str]:
    """Wall and CPU seconds of a process, and what it printed."""
    before, started = os.times(), time.perf_counter()
    # As installed: compiled modules are kept from one call to the next.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)  # noqa: S603
    wall, after = time.perf_counter() - started, os.times()
    assert done.returncode in (0, 1), done.stderr
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, cpu, done.stdout


# --- making the ledger ---


def _make(room: Path, units: int, since: int) -> int:
    """Settings, and a ledger of every report that is owed; the number of submissions."""
    from pipelines.ledger.book import ledger_of  # noqa: PLC0415
    from pipelines.scheduling.agenda import agenda  # noqa: PLC0415 - after the path is set
    from pipelines.settings import load_settings  # noqa: PLC0415

    text = 'profile = "production"\n' + "".join(_unit(n, since) for n in range(units))
    (room / "npr.toml").write_text(text, encoding="utf-8")
    settings = load_settings(config=room / "npr.toml", home=room / "var")
    ledger = ledger_of(settings.home)
    end = dt.datetime(LAST_YEAR + 1, 3, 31, 9, tzinfo=dt.UTC)
    owed = [one for one in agenda(settings, [], end) if one.deadline.year >= since]
    last = {one.unit: one for one in owed if one.submission == 1}
    for one in owed:
        number = settings.config.units[one.unit].institusjonID
        end_state = ENDS[int(number[-3:]) % len(ENDS)] if one is last[one.unit] else "accepted"
        _submission(settings, ledger, one, end_state)
    return len(owed)


def _unit(n: int, since: int) -> str:
    kind = ("health_trust", "private", "health_trust", "avtalespesialist", "amk")[n % 5]
    number = f"{n + 100000}" if kind == "avtalespesialist" else f"{900000000 + n}"
    return UNIT.format(n=n, number=number, kind=kind, isf=str(n % 3 > 0).lower(), since=since)


def _submission(settings: Settings, ledger: SqlLedger, one: Due, end: str) -> None:
    from ledgers import ids, manifest_for  # noqa: PLC0415 - of the tests

    from assets import baselines  # noqa: PLC0415
    from assets.ports import Note  # noqa: PLC0415
    from pipelines.home.store import DiskStore  # noqa: PLC0415
    from pipelines.ledger.owner import owner  # noqa: PLC0415
    from schemas.records import Key  # noqa: PLC0415
    from schemas.submission_states import Event  # noqa: PLC0415

    if end == "nothing":
        return
    store, key = DiskStore(settings.home), Key(period=one.period, unit=one.unit)
    at = dt.datetime.combine(one.opens, dt.time(9), dt.UTC)
    unit = settings.config.units[one.unit]
    inputs = f"{one.submission}"
    made = ledger.submission(key, settings.config.profile, unit, int(one.period[:4]), inputs, at)
    made = ledger.keep_ids(made, ids(made, one.modules))
    if end == "reserved":
        return
    with tempfile.TemporaryDirectory() as folder:
        place = store.shipments(key, made.number) if end == "prepared" else Path(folder) / "parts"
        manifest = manifest_for(made, place, settings.config.profile)
    ledger.seal(manifest, at)
    kept = store.kept(key, made.number)
    kept.mkdir(parents=True)
    (kept / baselines.FIGURES).write_text("{}", encoding="utf-8")
    if end == "prepared":
        store.save("manifest", key, manifest)
        return
    assert ledger.claim(key, made.number, owner(), at)
    says = {
        "in_doubt": (Event.DOUBT,),
        "sent": (Event.HANDED_OVER,),
        "errors": (Event.HANDED_OVER, Event.CONTENT_ERRORS),
        "refused": (Event.HANDED_OVER, Event.SCHEMA_REJECTED),
        "accepted": (Event.HANDED_OVER, Event.CONTENT_CLEAN),
    }
    for part in made.ids:
        ledger.record(part.msg_id, Event.BEGIN, Note("benchmark", at, owner=owner(), channel="benchmark"))
        for event in says[end]:
            ledger.record(part.msg_id, event, Note("benchmark", at, reference=part.msg_id))


if __name__ == "__main__":
    main()
