"""The submission that a report is compared with, and the gate for what nobody has confirmed.

Belongs here: finding that submission, reading the figures kept of it, stopping. Does not belong here: keeping figures
(``assets.guards``), what is unlike (``transforms.content.drift``). No frames: ``npr status`` asks this of every report
that waits.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from assets.ports import Run
from schemas.decisions import DecisionKind
from schemas.errors import DataRefused
from schemas.period import Period, period_keys
from schemas.records import Key, Manifest, Snapshot
from schemas.submission_states import OPEN, STANDING, State
from transforms.content import drift
from transforms.content.decided import in_force

FIGURES, OLD_FIGURES = "figures.json", "figures.parquet"
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


def judge(run: Run, figures: drift.Counts, number: int | None) -> list[drift.Line]:
    """What the guards say of figures. number: the submission they belong to, where there is one."""
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
                figures = _figures(folder, f"submission {row.number} of {key}", "put that folder back from the backup")
                same_year = Period.parse(period).year == run.period.year
                return Earlier(
                    key, folder, drift.Baseline(which, period, row.number, row.state.value, same_year, figures)
                )
    return None


def _figures(folder: Path, what: str, fix: str) -> drift.Counts:
    """What is kept of a submission; fails closed."""
    try:
        if (old := folder / OLD_FIGURES).is_file():
            return _of_table(old)
        figures: drift.Counts = json.loads((folder / FIGURES).read_text(encoding="utf-8"))
    except (OSError, ValueError) as missing:
        raise DataRefused(
            f"{what} has no figures to compare; nothing was handed over",
            where=str(folder),
            rule="a guard that cannot run stops",
            fix=fix,
        ) from missing
    return figures


def _of_table(path: Path) -> drift.Counts:
    """Figures of a submission that was made when they were kept as a table."""
    import polars as pl  # noqa: PLC0415 - only for these

    from transforms.content.figures import counts  # noqa: PLC0415 - the same

    try:
        return counts(pl.read_parquet(path))
    except pl.exceptions.PolarsError as error:
        raise ValueError(type(error).__name__) from None


def insist_confirmed(run: Run, manifest: Manifest) -> None:
    """Towards NPR figures that are unlike earlier ones stop until a named person confirms them; fails closed."""
    folder = run.store.kept(run.key, manifest.submission)
    anew = f"make it anew: npr run {run.key.period} --unit {run.key.unit}"
    figures = _figures(folder, f"submission {manifest.submission} of {run.key}", anew)
    left = drift.stopping(judge(run, figures, manifest.submission), confirmed(run))
    if not left:
        return
    given = f"npr confirm {run.key.period} --unit {run.key.unit} --guard {{}} --by NAME --why TEXT"
    commands = [given.format(guard) for guard in dict.fromkeys(line.guard for line in left)]
    raise DataRefused(
        f"{len(left)} figures are unlike what was submitted before; nothing was handed over",
        where="\n         ".join(line.text for line in left[:SHOWN]),
        rule="the last submission replaces the one before (MSG-22, UNIT-11)",
        fix="correct the source; or, when the figures are right:\n       " + "\n       ".join(commands),
    )


def confirmed(run: Run) -> dict[str, str]:
    """Guard -> digest of the figures that a named person has confirmed for this period."""
    held = in_force(run.ledger.decisions(run.key, DecisionKind.CONFIRM), run.now().date())
    return {guard: one.content or "" for guard, one in held.items()}
