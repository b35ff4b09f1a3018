"""Validates the same ord message with ``npr validate`` and with ``xmllint --stream``, in turns.

Belongs here: making messages of any size, running both programs, and reading wall time, CPU time and peak memory.
Does not belong here: anything the product needs.

xmllint comes from Debian's libxml2-utils. Both get the same file and the same schema, identity constraints included.
Memory is the highest VmHWM of each process, and the highest sum of PSS over all processes of a run, sampled. Exit
code 1 when a goal is missed, or 100 MB was not measured: throughput of ours at least that of xmllint at 100 MB, the
sum over our processes at most 96 MB at any size. Where others work on the machine, the ratio of CPU time says more than
that of wall time: ours has two processes at work, xmllint one.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import polars as pl
import psutil  # type: ignore[import-untyped]  # has no stubs

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from schemas.layouts import load_layout  # noqa: E402 - after the path is set
from transforms.message.render import render_patients, render_shell  # noqa: E402

MB = 1_000_000
RATIO, MOST_MB, AT_MB = 1.0, 96, 100
PATIENTS = 2_000
UNITS = [f"E{number}" for number in range(60)]


def _child(parents: pl.DataFrame, most: int, dice: np.random.Generator, least: int = 0) -> pl.DataFrame:
    """Keys of a child table: ``least`` to ``most`` rows for each parent."""
    counts = dice.integers(least, most + 1, parents.height)
    parent = np.repeat(parents["_id"].to_numpy(), counts)
    return pl.DataFrame({"_id": np.arange(len(parent)), "_parent": parent})


def _rank() -> pl.Expr:
    return pl.int_range(1, pl.len() + 1).over("_parent").cast(pl.Int32)


def tables() -> dict[str, pl.DataFrame]:
    """Class tables of PATIENTS patients of ord 54.0.1: about 5 episodes each, 2 conditions and 1 procedure in each."""
    dice = np.random.default_rng(20201)
    holder = pl.DataFrame({"_id": np.arange(PATIENTS)}).with_columns(pasientNr=pl.format("P{}", "_id"))
    referral = _child(holder, 3, dice).with_columns(henvisningsperiodeID=pl.format("H{}", "_id"), henvType=pl.lit("10"))
    coded = dict.fromkeys(("debitor", "inntilstand", "utTilstand", "innmateHast", "omsorgsniva"), pl.lit("1"))
    time_of = pl.datetime(2020, 1, 1) + pl.duration(minutes=pl.col("_id") % 500_000)
    episode = _child(holder, 10, dice).with_columns(
        episodeID=pl.format("E{}", "_id"), innDatoTid=time_of, utDatoTid=time_of, komNrHjem=pl.lit("4640"), **coded
    )
    units = pl.Series(UNITS)
    refs = _child(episode, 4, dice, 4).with_columns(typeEnhet=_rank().cast(pl.String))
    made = {"Objektholder": holder, "Henvisningsperiode": referral, "Episode": episode}
    made["Pasient"] = holder.with_columns(_parent="_id", kjonn=pl.lit("1"), fodselsar=pl.lit(1950))
    made["Kontakt"] = _child(episode, 1, dice, 1).with_columns(kontaktType=pl.lit("1"), stedAktivitet=pl.lit("1"))
    made["Kontakt_Helseperson"] = _child(made["Kontakt"], 2, dice).with_columns(polUtforende=pl.lit("1"))
    made["Episode_RefEnhet"] = refs.with_columns(enhetID=units.gather(refs["_id"].to_numpy() % len(units)))
    made["Tilstand"] = _child(episode, 3, dice).with_columns(tilstNr=_rank())
    made["Tilstand_Kode"] = _coded(_child(made["Tilstand"], 2, dice, 1), "D")
    made["Tjeneste"] = _child(episode, 1, dice).with_columns(startDatoTid=pl.datetime(2020, 1, 1, 12))
    made["Tiltak"] = _child(made["Tjeneste"], 1, dice, 1).with_columns(typeTiltak=pl.lit("1"))
    made["Prosedyre"] = _child(made["Tiltak"], 3, dice).with_columns(prosNr=_rank())
    made["Prosedyre_Kode"] = _coded(_child(made["Prosedyre"], 2, dice, 1), "K")
    return made


def _coded(keys: pl.DataFrame, system: str) -> pl.DataFrame:
    value = pl.format("{}{}", pl.lit("A"), pl.col("_id") % 1_000)
    return keys.with_columns(kodeNr=_rank(), Kodeverk=pl.lit(system), kodeVersjon=pl.lit("2020"), kodeVerdi=value)


def shell() -> dict[str, pl.DataFrame]:
    """Tables around the patients."""
    names = ("leverandor", "navnEPJ", "versjonEPJ", "versjonUt", "lopenr")
    melding = {"versjon": "54.0.1", "meldingstype": "B", **dict.fromkeys(names, "1")}
    dates = {"fraDatoPeriode": "2020-01-01", "tilDatoPeriode": "2020-12-31", "uttakDato": "2021-01-04"}
    contact = {"kontPerson": "x", "meldEpost1": "npr@hospital.example", "typeKontaktperson": "15"}
    return {
        "Melding": pl.DataFrame([{"_id": 0, **melding, **dates}]),
        "Kontaktperson": pl.DataFrame([{"_id": 0, "_parent": 0, **contact}]),
        "Institusjon": pl.DataFrame([{"_id": 0, "_parent": 0, "institusjonID": "900000014"}]),
        "Enhet": pl.DataFrame({"_id": range(len(UNITS)), "_parent": 0, "enhetID": UNITS}),
    }


def write_message(path: Path, size: int) -> None:
    """One message of at least ``size`` bytes, a block of patients again and again under other numbers."""
    layout = load_layout("ord", "54.0.1")
    block = bytes(render_patients(layout, tables()).data)
    opening, closing = render_shell(layout, shell())
    with path.open("wb") as file:
        file.write(opening)
        repeat = 0
        while file.tell() < size:
            file.write(block.replace(b'pasientNr="P', b'pasientNr="%d-' % repeat))
            repeat += 1
        file.write(closing)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one program. Seconds; MB of 10^6 bytes. sum_mb: over all processes, shared pages shared out."""

    wall: float
    cpu: float
    largest_mb: float
    sum_mb: float


def measure(command: list[str], sample: float) -> Run:
    """Run a program to its end. sample: seconds between looks at its memory; 0 to take no looks that cost time."""
    started = time.monotonic()
    before = os.times()
    with subprocess.Popen(  # noqa: S603 - our own command line, and xmllint
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        largest = total = 0.0
        while sample and process.poll() is None:
            looks = [_memory(one) for one in _family(process.pid)]
            largest, total = max([largest, *(peak for peak, _ in looks)]), max(total, sum(pss for _, pss in looks))
            time.sleep(sample)
        process.wait()
    after = os.times()
    if process.returncode:
        raise click.ClickException(f"{command[0]} found fault with a valid message")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Run(time.monotonic() - started, cpu, largest, total)


def _family(pid: int) -> Iterator[int]:
    try:
        yield pid
        yield from (child.pid for child in psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return


def _memory(pid: int) -> tuple[float, float]:
    """Highest resident size so far, and present proportional size, of one process, in MB."""
    try:
        status, rollup = (
            Path(f"/proc/{pid}/{name}").read_text(encoding="ascii") for name in ("status", "smaps_rollup")
        )
    except (OSError, UnicodeDecodeError):
        return 0.0, 0.0
    found = [re.search(pattern, text) for pattern, text in ((r"VmHWM:\s+(\d+)", status), (r"\nPss:\s+(\d+)", rollup))]
    peak, pss = (int(one[1]) * 1024 / MB if one else 0.0 for one in found)
    return peak, pss


def commands(path: Path) -> dict[str, list[str]]:
    """What is measured."""
    ours = [sys.executable, "-m", "pipelines.cli", "--home", "/nonexistent", "validate", str(path)]
    schema = str(load_layout("ord", "54.0.1").xsd)
    return {
        "npr validate --no-controls": [*ours, "--no-controls"],
        "npr validate": ours,
        "xmllint --stream": ["xmllint", "--noout", "--stream", "--schema", schema, str(path)],
    }


def run(sizes: list[int], rounds: int, folder: Path) -> dict[str, object]:
    """Everything, as one record."""
    times: dict[str, list[Run]] = {}
    memory: dict[str, dict[str, Run]] = {}
    for size in sizes:
        path = folder / "message.xml"
        write_message(path, size * MB)
        for _ in range(rounds if size == AT_MB else 0):
            for name, command in commands(path).items():
                times.setdefault(name, []).append(measure(command, 0))
        memory[f"{size} MB"] = {name: measure(command, 0.05) for name, command in commands(path).items()}
        path.unlink()
    return _record(times, memory)


def _record(times: dict[str, list[Run]], memory: dict[str, dict[str, Run]]) -> dict[str, object]:
    peers = times.get("xmllint --stream", [])
    ratios = {
        name: statistics.median(peer.wall / own.wall for peer, own in zip(peers, runs, strict=True))
        for name, runs in times.items()
    }
    cpu_ratios = {
        name: statistics.median(peer.cpu / own.cpu for peer, own in zip(peers, runs, strict=True))
        for name, runs in times.items()
    }
    most = max(run.sum_mb for by_name in memory.values() for name, run in by_name.items() if name.startswith("npr"))
    reached = most <= MOST_MB and bool(ratios) and all(ratio >= RATIO for ratio in ratios.values())
    return {
        "ratio_of_wall_median_of_pairs": ratios,
        "ratio_of_cpu_median_of_pairs": cpu_ratios,
        "wall_and_cpu": {name: [(one.wall, one.cpu) for one in runs] for name, runs in times.items()},
        "memory": {size: {name: asdict(one) for name, one in by_name.items()} for size, by_name in memory.items()},
        "most_of_ours_mb": most,
        "reached": reached,
        "load": os.getloadavg(),
        "cores": os.cpu_count(),
    }


@click.command()
@click.option("--size", "sizes", type=click.IntRange(1), multiple=True, default=(10, 100, 1000), show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
def main(sizes: tuple[int, ...], rounds: int) -> None:
    """Measure the validator against xmllint; one JSON record."""
    with tempfile.TemporaryDirectory() as folder:
        record = run(list(sizes), rounds, Path(folder))
    click.echo(json.dumps(record, indent=1))
    sys.exit(0 if record["reached"] else 1)


if __name__ == "__main__":
    main()
