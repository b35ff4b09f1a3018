"""Figures of a report kept for later ones, and the guards that compare them with earlier submissions.

Belongs here: reading staged rows batch by batch, finding the submission to compare with, stopping what nobody has
confirmed. Does not belong here: what is unlike (``transforms.content.drift``), what has changed
(``transforms.content.overlap``).

What is kept of a submission lies with it (``kept/``): counts, and for each episode a pseudonym and a keyed hash. No
later run changes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from assets.lake import read
from assets.ports import Run
from schemas.contract import Contract
from schemas.decisions import DecisionKind
from schemas.errors import DataRefused
from schemas.period import Period, period_keys
from schemas.records import Key, Manifest, Scoped, Snapshot, Staged
from schemas.submission_states import OPEN, STANDING, State
from transforms.content import drift, overlap
from transforms.content.decided import in_force
from transforms.extract.scope import TELLING, as_of, carried, in_scope

LAYER = "finding"
FIGURES, EPISODES, GUARDS, OVERLAP = "figures", "episode_keys", "guards", "overlap"
# The registry has such a submission, or may have it; what was refused replaced nothing.
TAKEN = STANDING - OPEN
LOOK_BACK = 24  # periods: two years of twelve keys
SHOWN = 20


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier submission with what was kept of it."""

    key: Key
    folder: Path
    baseline: drift.Baseline


def measure(run: Run, contract: Contract, staged: Staged) -> None:
    """Count the report, and hold it against the submissions before it."""
    scoped = run.store.load("scope", run.key, Scoped)
    records = {
        name: scoped.reported[name] for name in TELLING if name in scoped.reported and carried(name, run.modules)
    }
    previous = before(run, own_number(run))
    period = Period.parse(previous.key.period) if previous and previous.baseline.same_year else None
    figures, episodes = [drift.recorded(records)], []
    if carried("episodes", run.modules):
        secret = run.store.pseudonym_key()
        for rows in _batches(run, contract, staged):
            figures.append(drift.figures(as_of(rows["episodes"], run.period), {}))
            episodes.append(overlap.told(contract, rows, run.period, period, run.key.unit, secret))
    counted, told = drift.added(figures), overlap.summed(episodes)
    _write(run, FIGURES, counted)
    _write(run, EPISODES, told)
    _write(run, GUARDS, judge(run, counted, own_number(run)))
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
        pl.read_parquet(run.store.table(LAYER, FIGURES, run.key)).write_parquet(room / f"{FIGURES}.parquet")
        episodes = pl.read_parquet(run.store.table(LAYER, EPISODES, run.key))
        overlap.kept(episodes).write_parquet(room / f"{EPISODES}.parquet")


def judge(run: Run, figures: pl.DataFrame, number: int | None) -> pl.DataFrame:
    """What the guards say (GUARDS) of figures. number: the submission they belong to, where there is one."""
    found = [one for one in (before(run, number), _last_year(run)) if one]
    return drift.guards(figures, [one.baseline for one in found], run.config.guards)


def own_number(run: Run) -> int | None:
    """The submission that was made of the snapshot of the partition, where one was: never its own baseline."""
    try:
        manifest = run.store.load("manifest", run.key, Manifest)
    except DataRefused:
        return None
    snapshot = run.store.load("snapshot", run.key, Snapshot)
    return manifest.submission if manifest.snapshot.id == snapshot.id else None


def before(run: Run, number: int | None) -> Earlier | None:
    """The submission that the registry has before this one: of the same period, else of the nearest before it."""
    keys = period_keys()
    place = keys.index(run.period.key)
    return _earlier(run, "before", list(reversed(keys[max(0, place - LOOK_BACK) : place + 1])), number)


def _last_year(run: Run) -> Earlier | None:
    key = f"{run.period.year - 1}{run.period.key[4:]}"
    return _earlier(run, "last_year", [key] if key in period_keys() else [], None)


def _earlier(run: Run, which: drift.Which, periods: Sequence[str], number: int | None) -> Earlier | None:
    """The last accepted submission, or else the last handed over; what NPR has goes before rehearsals."""
    for profile in dict.fromkeys(("production", run.config.profile)):
        for period in periods:
            key = Key(period=period, unit=run.key.unit)
            rows = [
                row
                for row in run.ledger.submissions(key)
                if row.profile == profile and (number is None or key != run.key or row.number < number)
            ]
            there = [row for row in rows if row.state in TAKEN and run.store.kept(key, row.number).is_dir()]
            row = next((row for row in reversed(there) if row.state is State.ACCEPTED), there[-1] if there else None)
            if row is not None:
                folder = run.store.kept(key, row.number)
                figures = pl.read_parquet(folder / f"{FIGURES}.parquet")
                same_year = Period.parse(period).year == run.period.year
                return Earlier(
                    key, folder, drift.Baseline(which, period, row.number, row.state.value, same_year, figures)
                )
    return None


def insist_confirmed(run: Run, manifest: Manifest) -> None:
    """Towards NPR figures that are unlike earlier ones stop until a named person confirms them; fails closed."""
    path = run.store.kept(run.key, manifest.submission) / f"{FIGURES}.parquet"
    if not path.is_file():
        raise DataRefused(
            f"submission {manifest.submission} of {run.key} has no figures to compare; nothing was handed over",
            where=str(path.parent),
            rule="a guard that cannot run stops",
            fix=f"make it anew: npr run {run.key.period} --unit {run.key.unit}",
        )
    left = drift.stopping(judge(run, pl.read_parquet(path), manifest.submission), confirmed(run))
    if left.is_empty():
        return
    given = f"npr confirm {run.key.period} --unit {run.key.unit} --guard {{}} --by NAME --why TEXT"
    commands = [given.format(guard) for guard in left["guard"].unique(maintain_order=True)]
    raise DataRefused(
        f"{left.height} figures are unlike what was submitted before; nothing was handed over",
        where="\n         ".join(left["text"].head(SHOWN)),
        rule="the last submission replaces the one before (MSG-22, UNIT-11)",
        fix="correct the source; or, when the figures are right:\n       " + "\n       ".join(commands),
    )


def confirmed(run: Run) -> dict[str, str]:
    """Guard -> digest of the figures that a named person has confirmed for this period."""
    held = in_force(run.ledger.decisions(run.key, DecisionKind.CONFIRM), run.now().date())
    return {guard: one.content or "" for guard, one in held.items()}
