"""Stage 2: from the snapshot to typed, checked tables, with a quarantine for what fails.

Belongs here: going through the tables slice by slice. Does not belong here: what is a fault
(``transforms.extract.checks``, ``transforms.extract.relations``). Two passes: rows in themselves, then keys and
references of all tables together.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import polars as pl

from assets.ports import Run
from schemas.contract import Contract, Table
from schemas.extract_file import Accepted
from schemas.models import dtypes
from schemas.period import Period
from schemas.records import Quarantined, Snapshot, Staged
from transforms.batches import borders
from transforms.extract import accounting, faults, relations
from transforms.extract.checks import check, insist
from transforms.extract.parse import parse

SLICE = 200_000
ROW_GROUP = 20_000


def stage(run: Run) -> Staged:
    """Type and check every row; write staging tables and quarantine; stop when a fault is not accepted."""
    snapshot = run.store.load("snapshot", run.key, Snapshot)
    contract = run.registry.contract(snapshot.contract)
    years = code_years(run.period, snapshot)
    with ExitStack() as stack:
        rooms = {identity: stack.enter_context(run.store.scratch(identity=identity)) for identity in (False, True)}
        first = {table.name: _first_pass(run, snapshot, table, years, rooms[table.identity]) for table in contract}
        sound = {name: keys for name, (keys, _, _) in first.items()}
        delivered = {name: keys for name, (_, keys, _) in first.items()}
        found, patients = relations.resolve(contract, sound, delivered)
        all_faults = {name: faults.together([first[name][2], found[name]]) for name in first}
        # Written before the run may stop: whoever mends the extract reads it here.
        _write_quarantine(run, contract, snapshot, all_faults)
        _insist(snapshot, all_faults)
        for number, table in enumerate(contract):
            _second_pass(run, table, years, rooms[table.identity], patients[table.name])
            run.progress("staging", number + 1, len(contract.tables))
    record = Staged(
        snapshot=snapshot.id,
        years=years,
        rows={name: patients[name].height for name in patients},
        quarantined={name: accounting.by_first_rule(found) for name, found in all_faults.items()},
        batches=borders(patients["patients"].height, patients["episodes"]["_patient"]),
    )
    run.store.save("staging", run.key, record)
    return record


def code_years(period: Period, snapshot: Snapshot) -> tuple[int, ...]:
    """Years whose code lists count: an extract holds the period's year and what led up to it."""
    return tuple(range(period.year - 1, max(period.year, snapshot.extracted_at.year) + 1))


def _first_pass(
    run: Run, snapshot: Snapshot, table: Table, years: tuple[int, ...], room: Path
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Rows in themselves. Returns keys of sound rows, keys of all rows, faults; sound rows wait in the room."""
    decimal = next((file.decimal for file in snapshot.files if file.table == table.name), ".")
    names = relations.key_columns(table)
    keys, every, wrong = [], [], []
    for number, raw in enumerate(_slices(run, snapshot, table)):
        typed, unparsed = parse(raw, table, decimal=decimal)
        # A value of the wrong type is empty now; that it is then also missing is the same fault.
        broken = check(typed, table, years)
        broken = broken.join(unparsed, on=["_row", "column"], how="anti")
        every.append(typed.select(table.key))
        found = faults.together([unparsed, broken])
        sound = faults.without(typed, found)
        sound.write_parquet(room / f"{table.name}-{number:04}.parquet")
        keys.append(sound.select("_row", *names))
        wrong.append(found)
    types = {"_row": pl.UInt32(), **dtypes(table)}
    empty = pl.DataFrame(schema=types)
    return (
        pl.concat([empty.select("_row", *names), *keys]),
        pl.concat([empty.select(table.key), *every]),
        faults.together(wrong),
    )


def _slices(run: Run, snapshot: Snapshot, table: Table) -> Iterator[pl.DataFrame]:
    path = run.store.snapshot(run.key.unit, snapshot.id, identity=table.identity) / f"{table.name}.parquet"
    frame = pl.scan_parquet(path)
    total = frame.select(pl.len()).collect().item()
    for start in range(0, total, SLICE):
        yield frame.slice(start, SLICE).collect()


def _second_pass(run: Run, table: Table, years: tuple[int, ...], room: Path, patients: pl.DataFrame) -> None:
    """Keep the rows that passed everything, with the ordinal of their patient; sorted by it within each slice."""
    target = run.store.table("staging", table.name, run.key, identity=table.identity)
    parts = sorted(room.glob(f"{table.name}-*.parquet"))
    for part in parts:
        kept = pl.read_parquet(part).join(patients, on="_row", how="inner")
        insist(kept, table, years)
        kept.sort("_patient", "_row").write_parquet(part)
    empty = pl.LazyFrame(schema={"_row": pl.UInt32(), **dtypes(table), "_patient": pl.UInt32()})
    with run.store.writing(target) as path:
        whole = pl.concat([empty, *(pl.scan_parquet(part) for part in parts)])
        whole.sink_parquet(path, row_group_size=ROW_GROUP)


def _insist(snapshot: Snapshot, found: dict[str, pl.DataFrame]) -> None:
    accepted = [Accepted.model_validate(entry) for entry in snapshot.accepted]
    files = {file.table: file.name for file in snapshot.files}
    accounting.insist_accepted(found, accepted, files)


def _write_quarantine(run: Run, contract: Contract, snapshot: Snapshot, found: dict[str, pl.DataFrame]) -> None:
    parts = [
        found[table.name].select(pl.lit(snapshot.id).alias("snapshot"), pl.lit(table.name).alias("table"), pl.all())
        for table in contract
    ]
    whole = pl.concat(parts)
    with run.store.writing(run.store.table("staging", "quarantine", run.key)) as path:
        whole.write_parquet(path)
    run.store.save("quarantine", run.key, Quarantined(snapshot=snapshot.id, faults=whole.height))
