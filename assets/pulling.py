"""Extracts out of a database: one query per contract table, pulled into a snapshot.

Belongs here: going through the queries of a source of kind "database", control totals, the order of rows. Does not
belong here: connections, credentials and dialects (``pipelines.database``), what a value is as text
(``transforms.extract.typed_text``).

All queries run in one transaction, so that they see one moment; it ends before anything is sorted. A query yields its
rows in any order and in batches of any size; rows are put into the order of their content, so that the snapshot
depends on what was received and on nothing else. Its id names the rows, the mapping and the day: the same rows pulled
again the same day are the same snapshot.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
from pydantic import ValidationError

from assets.frozen import (
    RECORD,
    ROW_GROUP,
    absent,
    insist_environment,
    insist_letters,
    insist_whole_period,
    slices,
)
from assets.guard import insist_fresh, label_files
from assets.ports import Query, Reading, Run
from assets.sources import Source
from schemas.config import Database
from schemas.contract import Contract, Table
from schemas.errors import DataRefused, WrongUse
from schemas.extract_file import DeliveredFile, ExtractFile
from schemas.guard import REHEARSAL
from schemas.records import FileRecord, Snapshot, digest
from transforms.extract.typed_text import as_text, matched

PRODUCTION = "production"
# The bar would be printed into what --json prints.
SESSION = """
SET threads = 2; SET memory_limit = '512MB'; SET preserve_insertion_order = true; SET enable_progress_bar = false
"""


def pull(run: Run, source: Source) -> Snapshot:
    """Pull the extract of the run's unit. Nothing is kept of one that is refused."""
    database = _database(run)
    insist_environment(run, database.environment, f"npr.toml, databases.{run.unit.database}.environment")
    contract = run.registry.contract(str(source.settings.get("extract", {}).get("contract", "1")))
    with ExitStack() as stack:
        rooms = {identity: stack.enter_context(run.store.scratch(identity=identity)) for identity in (False, True)}
        with run.database() as reading:
            extracted_at = reading.began
            insist_whole_period(run, extracted_at, f"database {run.unit.database}, its clock")
            received = _receive(run, source, contract, reading, rooms)
        files = tuple(
            _freeze(source, table, received[table.name], rooms[table.identity])
            for table in contract.tables.values()
            if table.name in received
        )
        _guard(run, database, files)
        delivered = _described(run, source, database, extracted_at, files)
        return _keep(run, source, contract, delivered, files, rooms)


def _database(run: Run) -> Database:
    if run.unit.database is None:
        raise WrongUse(
            f"unit {run.key.unit} has no database to pull from",
            where=f"npr.toml, units.{run.key.unit}.database",
            fix="name one of [databases.…], or give --extract DIR (docs/sources.md, From a database)",
        )
    return run.config.databases[run.unit.database]


def _receive(
    run: Run, source: Source, contract: Contract, reading: Reading, rooms: Mapping[bool, Path]
) -> dict[str, tuple[str, ...]]:
    """Pull every table into parts in its room; table -> columns received."""
    received = {}
    for number, table in enumerate(contract.tables.values()):
        room = rooms[table.identity]
        if table.name in source.queries:
            query = Query(_place(source, table), source.queries[table.name], _values(run))
            received[table.name] = _table(table, query, reading, room)
        else:
            fix = "write the query; it may yield no rows: WHERE false"
            absent(table, room / f"{table.name}.parquet", _place(source, table), fix)
        run.progress("snapshot", number + 1, len(contract.tables))
    return received


def _place(source: Source, table: Table) -> str:
    return f"{source.name}/{table.name}.sql"


def _values(run: Run) -> dict[str, str | dt.date]:
    """Parameters that a query may name: the period and the unit of the run."""
    return {
        "period_from": run.period.start,
        "period_to": run.period.end,
        "unit": run.key.unit,
        "institution": run.unit.institusjonID,
    }


def _table(table: Table, query: Query, reading: Reading, room: Path) -> tuple[str, ...]:
    counted = reading.count(query)
    names, batches = reading.rows(query)
    columns = matched(names, table, query.place)
    parts = _parts(room, table)
    parts.mkdir()
    as_text([], columns, table, query.place).write_parquet(parts / "none.parquet")
    received = 0
    for rows in batches:  # no enumerate: it holds on to a batch while the next one is fetched
        as_text(rows, columns, table, query.place).write_parquet(parts / f"{received:012}.parquet")
        received += len(rows)
        del rows
    if received != counted:
        raise DataRefused(
            f"{query.place}: {received} rows received, but the database counts {counted}",
            where=query.place,
            rule="control total",
            fix="the query must yield the same rows each time (no random(), no sequences); run again",
        )
    return tuple(columns)


def _parts(room: Path, table: Table) -> Path:
    return room / f".{table.name}"


def _freeze(source: Source, table: Table, columns: tuple[str, ...], room: Path) -> FileRecord:
    """Put the parts of a table into order and into one file; count and digest of what lies there."""
    target = room / f"{table.name}.parquet"
    _sort(table, columns, room, target)
    insist_letters(target, _place(source, table))
    rows, size, sha256 = fingerprint(target, columns)
    return FileRecord(
        table=table.name,
        name=_place(source, table),
        sha256=sha256,
        bytes=size,
        rows=rows,
        format="database",
        decided="by the source mapping",
        columns_missing=tuple(name for name in table.names if name not in columns),
    )


def _sort(table: Table, columns: tuple[str, ...], room: Path, target: Path) -> None:
    ordered = room / f".{table.name}.parquet"
    # By key, then by all else: rows that are alike in everything may change places unseen.
    order = ", ".join(f'"{name}" NULLS FIRST' for name in (*table.key, *(c for c in columns if c not in table.key)))
    listed = ", ".join(f'"{name}"' for name in columns)
    with duckdb.connect(":memory:") as db:
        db.execute(SESSION)
        db.execute("SET temp_directory = ?", [str(room / ".spill")])
        rows = f"read_parquet('{_quoted(_parts(room, table))}/*.parquet')"
        db.execute(
            f"COPY (SELECT {listed} FROM {rows} ORDER BY {order}) TO '{_quoted(ordered)}' (FORMAT parquet)"  # noqa: S608 - names of the contract
        )
    frame = pl.scan_parquet(ordered).with_row_index("_row", offset=1)
    frame.sink_parquet(target, row_group_size=ROW_GROUP)
    ordered.unlink()


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def fingerprint(path: Path, columns: tuple[str, ...]) -> tuple[int, int, str]:
    """Rows, bytes and SHA-256 of a table as the CSV it could have been delivered as: header, comma, LF, UTF-8."""
    header = pl.DataFrame(schema=dict.fromkeys(columns, pl.String)).write_csv().encode()
    rows, size, sha256 = 0, len(header), hashlib.sha256(header)
    for batch in slices(pl.scan_parquet(path).select(columns), 50_000):
        text = batch.write_csv(include_header=False).encode()
        sha256.update(text)
        rows, size = rows + batch.height, size + len(text)
    return rows, size, sha256.hexdigest()


def _guard(run: Run, database: Database, files: tuple[FileRecord, ...]) -> None:
    """Rows of a test database are labelled for good; such rows out of a database called production are refused."""
    if database.environment != PRODUCTION:
        label_files(run.store, run.key.unit, files)
    if run.config.profile != REHEARSAL:
        insist_fresh(run.store, files, run.config.profile)


def _described(
    run: Run, source: Source, database: Database, extracted_at: dt.datetime, files: tuple[FileRecord, ...]
) -> ExtractFile:
    """The same record that a delivery of files gives of itself."""
    given: dict[str, Any] = {
        **source.settings.get("extract", {}),
        "environment": database.environment,
        "extracted_at": extracted_at,
        "reporting_unit": run.key.unit,
        "files": {file.table: DeliveredFile(path=file.name, rows=file.rows) for file in files},
        "accepted": source.settings.get("accepted", ()),
    }
    try:
        return ExtractFile.model_validate(given)
    except ValidationError as error:
        lines = [f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors(include_input=False)]
        raise WrongUse(f"{source.folder / 'source.toml'}: not as agreed", where="; ".join(lines)) from None


def _keep(
    run: Run,
    source: Source,
    contract: Contract,
    delivered: ExtractFile,
    files: tuple[FileRecord, ...],
    rooms: Mapping[bool, Path],
) -> Snapshot:
    day = delivered.extracted_at.date().isoformat()
    identity = {
        "files": {file.table: file.sha256 for file in files},
        "extract": delivered.model_dump(mode="json") | {"extracted_at": day},
        "contract": contract.identity,
        "source": source.digest,
    }
    snapshot_id = digest(identity)[:20]
    places = {identity: run.store.snapshot(run.key.unit, snapshot_id, identity=identity) for identity in (False, True)}
    kept = places[False] / RECORD
    if not kept.exists():
        record = Snapshot(
            id=snapshot_id,
            unit=run.key.unit,
            contract=delivered.contract,
            source=source.name,
            source_system=delivered.source_system,
            environment=delivered.environment,
            extracted_at=delivered.extracted_at,
            files=files,
            accepted=tuple(a.model_dump() for a in (*delivered.accepted, *run.unit.accepted)),
        )
        with run.store.writing_folder(places[False]) as plain, run.store.writing_folder(places[True]) as private:
            for table in contract.tables.values():
                made = rooms[table.identity] / f"{table.name}.parquet"
                made.rename((private if table.identity else plain) / made.name)
            (plain / RECORD).write_text(record.model_dump_json(indent=1), encoding="utf-8")
    return Snapshot.model_validate_json(kept.read_bytes())
