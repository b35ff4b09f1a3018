"""Stage 1: freeze the extract.

Belongs here: reading ``extract.toml`` and the files it names, control totals, decoding, and splitting identities off.
Does not belong here: types and checks of values (``assets.staging``), foreign files (``assets.sources``), databases
(``assets.pulling``).

The snapshot keeps the columns of the contract as delivered and the place of each row; not the raw bytes, since a raw
file can hold identity in a column nobody told us of. Its SHA-256 is kept instead.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import polars as pl

from assets import pulling, sources
from assets.delivery import read_extract_file
from assets.frozen import RECORD, ROW_GROUP, absent, insist_environment, insist_letters, insist_whole_period
from assets.guard import insist_fresh, label_files
from assets.ports import Run
from schemas.contract import Contract, Table
from schemas.errors import DataRefused, WrongUse
from schemas.extract_file import DeliveredFile, ExtractFile
from schemas.records import FileRecord, Snapshot, digest
from transforms.extract import decoding

CHUNK = 1 << 20
TAIL = 1 << 16
PRODUCTION_EXTRACT = "production"


def take(run: Run) -> Snapshot:
    """Freeze the extract of the run's unit and return its record. Nothing is kept of an extract that is refused."""
    source = _source(run)
    record = pulling.pull(run, source) if source and source.is_database else _of_files(run, source)
    run.store.save("snapshot", run.key, record)
    return record


def _source(run: Run) -> sources.Source | None:
    """The mapping that the run or else its unit names; a folder given by hand goes before a database."""
    name = run.options.source or run.unit.source
    source = sources.load(run.sources, name) if name else None
    if source and source.is_database and run.options.extract:
        if run.options.source:
            raise WrongUse(
                f"{source.name} pulls from a database, and --extract names a folder",
                where="--source, --extract",
                fix="give one of them",
            )
        return None
    return source


def _of_files(run: Run, source: sources.Source | None) -> Snapshot:
    folder = _folder(run)
    delivered = source.describe(folder, run.key.unit) if source else read_extract_file(folder)
    if delivered.environment != PRODUCTION_EXTRACT:
        _label(run, delivered, folder)
    _gate(run, delivered, folder)
    hashes = {name: _sha256(_existing(folder, name, file)) for name, file in delivered.files.items()}
    _insist_hashes(delivered, hashes)
    insist_fresh(run.store, _told(delivered, hashes), run.config.profile)
    contract = run.registry.contract(delivered.contract)
    identity = {
        "files": hashes,
        "extract": delivered.model_dump(mode="json"),
        "contract": contract.identity,
        "source": source.digest if source else "",
    }
    snapshot_id = digest(identity)[:20]
    place = run.store.snapshot(run.key.unit, snapshot_id)
    if not (place / RECORD).exists():
        _freeze(run, snapshot_id, folder, delivered, hashes, source)
    return Snapshot.model_validate_json((place / RECORD).read_bytes())


def _folder(run: Run) -> Path:
    folder = run.options.extract or run.unit.extract
    if folder is None:
        raise WrongUse(
            f"no extract for unit {run.key.unit}",
            fix=f"give --extract DIR, or set extract under [units.{run.key.unit}] in npr.toml",
        )
    if not folder.is_dir():
        raise WrongUse(f"{folder}: no such folder", where=f"extract of unit {run.key.unit}")
    return folder


def _gate(run: Run, delivered: ExtractFile, folder: Path) -> None:
    where = str(folder / "extract.toml")
    insist_environment(run, delivered.environment, f"{where}, environment")
    if delivered.reporting_unit != run.key.unit:
        raise DataRefused(
            f"the extract is of another unit than {run.key.unit}",
            where=f"{where}, reporting_unit",
            fix=f"run with --unit {delivered.reporting_unit}, or give the extract of {run.key.unit}",
        )
    insist_whole_period(run, delivered.extracted_at, f"{where}, extracted_at")


def _label(run: Run, delivered: ExtractFile, folder: Path) -> None:
    """A test extract stays one, also when the run is refused and the label is changed afterwards."""
    there = {name: folder / file.path for name, file in delivered.files.items() if (folder / file.path).is_file()}
    label_files(run.store, run.key.unit, _told(delivered, {name: _sha256(path) for name, path in there.items()}))


def _told(delivered: ExtractFile, hashes: dict[str, str]) -> list[FileRecord]:
    """What is known of the files before they are read."""
    return [
        FileRecord(table=name, name=file.path, sha256=hashes[name], bytes=0, rows=file.rows, format="")
        for name, file in delivered.files.items()
        if name in hashes
    ]


def _existing(folder: Path, name: str, file: DeliveredFile) -> Path:
    path = folder / file.path
    if not path.is_file():
        raise DataRefused(
            f"{file.path}: file is missing",
            where=f"{folder / 'extract.toml'}, files.{name}",
            fix="deliver the file, or take it out of extract.toml if the table is optional",
        )
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _insist_hashes(delivered: ExtractFile, hashes: dict[str, str]) -> None:
    for name, file in delivered.files.items():
        if file.sha256 and file.sha256 != hashes[name]:
            raise DataRefused(
                f"{file.path}: not the bytes that extract.toml names",
                where=f"files.{name}.sha256",
                fix="the file was changed or cut on its way; deliver it again",
            )


def _freeze(
    run: Run,
    snapshot_id: str,
    folder: Path,
    delivered: ExtractFile,
    hashes: dict[str, str],
    source: sources.Source | None,
) -> None:
    store, unit = run.store, run.key.unit
    contract = run.registry.contract(delivered.contract)
    open_place = store.snapshot(unit, snapshot_id)
    kept_apart = store.snapshot(unit, snapshot_id, identity=True)
    with store.writing_folder(open_place) as plain, store.writing_folder(kept_apart) as private:
        if source:
            files = source.map(folder, delivered, plain, private, hashes, contract)
        else:
            files = _contract_files(contract, folder, delivered, plain, private, hashes)
        record = Snapshot(
            id=snapshot_id,
            unit=unit,
            contract=delivered.contract,
            source=source.name if source else "",
            source_system=delivered.source_system,
            environment=delivered.environment,
            extracted_at=delivered.extracted_at,
            files=files,
            accepted=tuple(a.model_dump() for a in (*delivered.accepted, *run.unit.accepted)),
        )
        (plain / RECORD).write_text(record.model_dump_json(indent=1), encoding="utf-8")


def _contract_files(
    contract: Contract,
    folder: Path,
    delivered: ExtractFile,
    plain: Path,
    private: Path,
    hashes: dict[str, str],
) -> tuple[FileRecord, ...]:
    if unknown := sorted(set(delivered.files) - set(contract.tables)):
        raise WrongUse(
            f"extract.toml names tables the contract does not have: {', '.join(unknown)}",
            fix=f"tables are {', '.join(contract.tables)}",
        )
    records = []
    for table in contract.tables.values():
        target = (private if table.identity else plain) / f"{table.name}.parquet"
        file = delivered.files.get(table.name)
        if file is None:
            where = f"extract.toml, files.{table.name}"
            fix = "deliver the file; when there is nothing to report, a file with the header alone and rows = 0"
            absent(table, target, where, fix)
            continue
        record = _freeze_file(folder / file.path, file, table, target, private, hashes[table.name])
        if record.rows != file.rows:
            raise DataRefused(
                f"{file.path}: {record.rows} rows read, but the control total says {file.rows}",
                where=f"{file.path}, rows; extract.toml, files.{table.name}.rows",
                rule="control total",
                fix="the file is cut, or written on after the count; deliver it again",
            )
        records.append(record)
    for text in private.glob(".*.csv"):
        text.unlink()
    return tuple(records)


def _freeze_file(path: Path, file: DeliveredFile, table: Table, target: Path, private: Path, sha256: str) -> FileRecord:
    facts: dict[str, Any] = {"table": table.name, "name": file.path, "sha256": sha256, "bytes": path.stat().st_size}
    if path.suffix == ".parquet":
        frame = _parquet(path, file.path).with_row_index("_row", offset=1)
        facts |= {"format": "parquet", "decided": "by the format"}
    else:
        dialect, text = _dialect(path, file, table, private)
        frame = pl.scan_csv(
            text,
            separator=dialect.separator,
            infer_schema=False,
            row_index_name="_row",
            row_index_offset=1,
            truncate_ragged_lines=False,
        )
        facts |= {
            "format": "csv",
            "encoding": dialect.encoding + (" with BOM" if dialect.bom else ""),
            "separator": dialect.separator,
            "decimal": dialect.decimal,
            "decided": dialect.decided,
        }
    columns = frame.collect_schema().names()
    _insist_columns(file.path, table, columns)
    known = [name for name in table.names if name in columns]
    rows = _sink(frame.select("_row", *known), target, file.path)
    insist_letters(target, file.path)
    return FileRecord(
        rows=rows,
        columns_missing=tuple(name for name in table.names if name not in columns),
        columns_unknown=len(set(columns) - set(known) - {"_row"}),
        **facts,
    )


def _parquet(path: Path, name: str) -> pl.LazyFrame:
    try:
        frame = pl.scan_parquet(path)
        frame.collect_schema()
    except (pl.exceptions.PolarsError, OSError):
        raise DataRefused(f"{name}: not a readable Parquet file", where=name, fix="deliver the file again") from None
    return frame


def _sink(frame: pl.LazyFrame, target: Path, name: str) -> int:
    try:
        frame.sink_parquet(target, row_group_size=ROW_GROUP)
    except (pl.exceptions.PolarsError, OSError):
        # The library's own message quotes the line.
        raise DataRefused(
            f"{name}: the rows do not all have the fields of the header",
            where=name,
            rule="one field per column, quotes closed",
            fix="check separator and quoting, or deliver the file again: it may be cut",
        ) from None
    return cast("int", pl.scan_parquet(target).select(pl.len()).collect().item())


def _insist_columns(file: str, table: Table, columns: list[str]) -> None:
    missing = [column.name for column in table.columns if column.required and column.name not in columns]
    if missing:
        raise DataRefused(
            f"{file}: column {', '.join(missing)} is missing",
            where=f"{file}, line 1",
            rule=f"extract contract, table {table.name}",
            fix="deliver the column; names are spelled as in docs/extract-contract.md",
        )


def _dialect(path: Path, file: DeliveredFile, table: Table, private: Path) -> tuple[decoding.Dialect, Path]:
    """Decide how a text file is written, and give a path to it in UTF-8 (the file itself where it already is)."""
    encoding = file.encoding or decoding.detect_encoding(_chunks(path))
    text = private / f".{table.name}.csv"
    with text.open("wb") as out:
        for chunk in decoding.recode(_chunks(path), encoding, file.path):
            out.write(chunk)
    with text.open("rb") as opened:
        first = opened.readline().removeprefix(decoding.BOM).decode().rstrip("\r\n")
        separator = decoding.detect_separator(first, table.names, file.path, file.separator)
        opened.seek(max(0, text.stat().st_size - TAIL))
        tail = opened.read().decode(errors="ignore")
    _insist_whole(tail, separator, len(decoding.split_header(first, separator)), file.path)
    with _open(path) as raw:
        bom = raw.read(3) == decoding.BOM
    declared = [file.encoding, file.separator, file.decimal]
    how = "declared" if all(declared) else "partly declared" if any(declared) else "detected"
    # With a comma between the fields a decimal comma could not be told from it unquoted; elsewhere Norwegian
    # systems write it, so a comma is read as the decimal sign unless the file says otherwise.
    decimal = file.decimal or ("." if separator == "," else ",")
    return decoding.Dialect(encoding, bom, separator, decimal, how), text


def _insist_whole(tail: str, separator: str, columns: int, file: str) -> None:
    lines = tail.split("\n", 1)
    body = lines[1] if len(lines) > 1 and len(tail) >= TAIL // 2 else tail
    if decoding.short_record(body, separator, columns):
        raise DataRefused(
            f"{file}: the last row is cut",
            where=f"{file}, last row",
            rule="every row has the fields of the header",
            fix="deliver the file again; it was cut on its way",
        )


def _open(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with _open(path) as file:
            while chunk := file.read(CHUNK):
                yield chunk
    except (EOFError, gzip.BadGzipFile):
        raise DataRefused(f"{path.name}: the compressed file is cut", where=path.name, fix="deliver it again") from None
