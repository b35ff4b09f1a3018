"""Reading a batch of whole patients, and writing tables batch by batch.

Belongs here: the two habits every later stage shares. Does not belong here: where files lie (the store), what is done
to the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import polars as pl

from assets.ports import Run, Store
from schemas.contract import Contract
from schemas.errors import DataRefused
from schemas.records import Key, Snapshot, StageRecord

S = TypeVar("S", bound=StageRecord)

ROW_GROUP = 20_000


def read(path: Path, first: int, last: int) -> pl.DataFrame:
    """Rows of the patients ``first`` up to, not including, ``last``; row groups without them are skipped."""
    wanted = pl.col("_patient").is_between(first, last, closed="left")
    return pl.scan_parquet(path).filter(wanted).collect()


def staged_batch(run: Run, contract: Contract, first: int, last: int) -> dict[str, pl.DataFrame]:
    """All staged tables that belong to patients; of identities only whose they are."""
    frames = {}
    for table in contract:
        if contract.owner_path(table) is None and table.name != "patients":
            continue
        frame = read(run.store.table("staging", table.name, run.key, identity=table.identity), first, last)
        frames[table.name] = frame.select("_row", "_patient", "pasientNr") if table.identity else frame
    return frames


def current(run: Run, stage: str, kind: type[S]) -> S:
    """The record of a stage, if it was made of the snapshot that the partition has now. DataRefused otherwise."""
    record = run.store.load(stage, run.key, kind)
    snapshot = run.store.load("snapshot", run.key, Snapshot)
    if record.made_of() != {snapshot.id}:
        raise DataRefused(
            f"{run.key}: {stage} was made of another snapshot than the one the partition has now",
            where=f"snapshot {snapshot.id}",
            rule="each stage follows the one before",
            fix=f"make the stages in their order: npr run {run.key.period} --unit {run.key.unit}",
        )
    return record


class Tables:
    """Tables that grow batch by batch and become visible together when the block ends."""

    def __init__(self, room: Path) -> None:
        self._room = room
        self._parts: dict[str, list[Path]] = {}
        self.rows: dict[str, int] = {}

    def add(self, name: str, frame: pl.DataFrame) -> None:
        """Append rows to a table; all frames of a table have the same columns."""
        parts = self._parts.setdefault(name, [])
        path = self._room / f"{name}-{len(parts):05}.parquet"
        frame.write_parquet(path)
        parts.append(path)
        self.rows[name] = self.rows.get(name, 0) + frame.height

    def publish(self, store: Store, targets: Mapping[str, Path]) -> None:
        """Write each table as one file in the order it was added."""
        for name, parts in self._parts.items():
            with store.writing(targets[name]) as path:
                pl.concat([pl.scan_parquet(part) for part in parts]).sink_parquet(path, row_group_size=ROW_GROUP)


@contextmanager
def growing(run: Run, layer: str, *, identity: bool = False) -> Iterator[Tables]:
    """Collect tables of a layer in a private room; publish them all when the block ends without error."""
    with run.store.scratch(identity=identity) as room:
        tables = Tables(room)
        yield tables
        names = tables.rows
        tables.publish(run.store, {n: run.store.table(layer, n, run.key, identity=identity) for n in names})


def message_path(run: Run, module: str, node: str, key: Key | None = None) -> Path:
    """Where a class table lies; those of the identity module lie apart."""
    return run.store.table("message", f"{module}_{node}", key or run.key, identity=module in IDENTITY_MODULES)


IDENTITY_MODULES = frozenset({"ide"})
