"""Stage 3: decide for every staged row whether the period reports it.

Belongs here: going through the patients batch by batch. Does not belong here: the decision
(``transforms.extract.scope``).
"""

from __future__ import annotations

from collections import Counter

import polars as pl

from assets.lake import current, growing, staged_batch
from assets.ports import Run
from schemas.errors import DataRefused
from schemas.records import Scoped, Snapshot, Staged
from transforms.extract.scope import SCHEMA, decide


def scope(run: Run) -> Scoped:
    """Write one decision table per contract table; refuse a period without any activity."""
    snapshot = run.store.load("snapshot", run.key, Snapshot)
    staged = current(run, "staging", Staged)
    contract = run.registry.contract(snapshot.contract)
    kept: Counter[str] = Counter(dict.fromkeys(contract.tables, 0))
    left: dict[str, Counter[str]] = {name: Counter() for name in contract.tables}
    with growing(run, "scope") as tables:
        for number, (first, last) in enumerate(staged.batches):
            frames = staged_batch(run, contract, first, last)
            for name, decisions in decide(contract, run.period, run.modules, frames).items():
                tables.add(name, decisions)
                kept[name] += decisions["reason"].null_count()
                left[name].update(dict(decisions.drop_nulls("reason").group_by("reason").len().iter_rows()))
            run.progress("scope", number + 1, len(staged.batches))
        tables.add("units", _units(run))
        kept["units"] = staged.rows["units"]
        if not kept["patients"]:
            raise DataRefused(
                f"nothing to report: no patient of {run.key.unit} has activity or a referral in {run.period.key}",
                where=f"{run.period.start} to {run.period.end}",
                rule="an empty report would destroy what NPR has",
                fix="check that the extract holds the period, and that the unit had activity in it",
            )
    record = Scoped(
        snapshot=snapshot.id,
        modules=run.modules,
        reported={name: kept[name] for name in contract.tables},
        out_of_scope={name: dict(sorted(reasons.items())) for name, reasons in left.items()},
    )
    run.store.save("scope", run.key, record)
    return record


def _units(run: Run) -> pl.DataFrame:
    """Units are the frame of the message: all go along."""
    rows = pl.read_parquet(run.store.table("staging", "units", run.key), columns=["_row", "_patient"])
    return rows.with_columns(reason=pl.lit(None, pl.String)).cast(SCHEMA)  # type: ignore[arg-type]
