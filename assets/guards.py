"""Figures of a report: counted, compared with the submissions before it, and kept for later ones.

Belongs here: reading staged rows batch by batch, writing what was counted. Does not belong here: finding the submission
to compare with and stopping (``assets.baselines``), what is unlike (``transforms.content.drift``), what has changed
(``transforms.content.overlap``).

What is kept of a submission lies with it (``kept/``): counts, and for each episode a pseudonym and a keyed hash. No
later run changes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import polars as pl

from assets import baselines
from assets.baselines import Earlier
from assets.lake import read
from assets.ports import Run
from schemas.contract import Contract
from schemas.period import Period
from schemas.records import Scoped, Staged
from transforms.content import figures, overlap
from transforms.extract.scope import TELLING, as_of, carried, in_scope

LAYER = "finding"
FIGURES, EPISODES, GUARDS, OVERLAP = "figures", "episode_keys", "guards", "overlap"


def measure(run: Run, contract: Contract, staged: Staged) -> None:
    """Count the report, and hold it against the submissions before it."""
    scoped = run.store.load("scope", run.key, Scoped)
    records = {
        name: scoped.reported[name] for name in TELLING if name in scoped.reported and carried(name, run.modules)
    }
    number = baselines.own_number(run)
    previous = baselines.before(run, number)
    period = Period.parse(previous.key.period) if previous and previous.baseline.same_year else None
    parts, episodes = [figures.recorded(records)], []
    if carried("episodes", run.modules):
        secret = run.store.pseudonym_key()
        for rows in _batches(run, contract, staged):
            parts.append(figures.figures(as_of(rows["episodes"], run.period), {}))
            episodes.append(overlap.told(contract, rows, run.period, period, run.key.unit, secret))
    counted, told = figures.added(parts), overlap.summed(episodes)
    _write(run, FIGURES, counted)
    _write(run, EPISODES, told)
    _write(run, GUARDS, figures.table(baselines.judge(run, figures.counts(counted), number)))
    _write(run, OVERLAP, _compared(told, previous, period))


def _batches(run: Run, contract: Contract, staged: Staged) -> Iterator[dict[str, pl.DataFrame]]:
    names = ("episodes", *overlap.episodes_of(contract))
    for first, last in staged.batches:
        scope = {name: read(run.store.table("scope", name, run.key), first, last) for name in names}
        rows = {name: read(run.store.table("staging", name, run.key), first, last) for name in names}
        yield {name: in_scope(rows[name], scope[name]) for name in names}


def _write(run: Run, name: str, frame: pl.DataFrame) -> None:
    with run.store.writing(run.store.table(LAYER, name, run.key)) as path:
        frame.write_parquet(path)


def _compared(episodes: pl.DataFrame, previous: Earlier | None, period: Period | None) -> pl.DataFrame:
    if previous is None or period is None:
        return pl.DataFrame(schema=overlap.OVERLAP).with_columns(against=pl.lit(None, pl.String))
    known = pl.read_parquet(previous.folder / f"{EPISODES}.parquet")
    return overlap.compare(episodes, known, period).with_columns(against=pl.lit(str(previous.baseline)))


def keep(run: Run, number: int) -> None:
    """Lay the figures of a report beside its submission. What is kept already stays as it is."""
    folder = run.store.kept(run.key, number)
    if folder.exists():
        return
    with run.store.writing_folder(folder) as room:
        counted = figures.counts(pl.read_parquet(run.store.table(LAYER, FIGURES, run.key)))
        (room / baselines.FIGURES).write_text(json.dumps(counted, ensure_ascii=False), encoding="utf-8")
        episodes = pl.read_parquet(run.store.table(LAYER, EPISODES, run.key))
        overlap.kept(episodes).write_parquet(room / f"{EPISODES}.parquet")
