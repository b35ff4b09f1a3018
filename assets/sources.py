"""Foreign extracts: a folder of SQL turns raw files into contract tables.

Belongs here: running ``sql/sources/<name>/*.sql`` in DuckDB over raw files. Does not belong here: any knowledge of a
particular source; adding one needs no Python.

Each raw file ``NAME.csv``, ``NAME.csv.gz`` or ``NAME.parquet`` of the extract is the view ``raw.NAME``, all columns as text
for CSV, with ``_row`` = its place in the file. Each ``TABLE.sql`` holds one SELECT that yields contract table TABLE;
columns it leaves out count as empty. ``source.toml`` describes the source.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from pydantic import ValidationError

from schemas.contract import Contract, load_contract
from schemas.errors import DataRefused, WrongUse
from schemas.extract_file import ExtractFile
from schemas.records import FileRecord, digest

RAW = re.compile(r"^(?P<name>[A-Za-z_][A-Za-z0-9_]*)\.(csv|csv\.gz|parquet)$")
# Messages of these are about the SQL; those of others can quote a value of a row.
ABOUT_SQL = (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException)


@dataclass(frozen=True, slots=True)
class Source:
    """One mapping. ``digest`` names its content, so that a changed mapping gives a new snapshot."""

    name: str
    folder: Path
    queries: Mapping[str, str]
    settings: Mapping[str, Any]
    digest: str

    def describe(self, folder: Path, unit: str) -> ExtractFile:
        """What the raw folder delivers: its own extract.toml, or what the source says of such folders."""
        from assets.snapshot import read_extract_file  # noqa: PLC0415 - the two modules need each other

        given = read_extract_file(folder).model_dump() if (folder / "extract.toml").is_file() else self._assumed(folder)
        given["accepted"] = [*given.get("accepted", ()), *self.settings.get("accepted", ())]
        given.setdefault("reporting_unit", unit)
        try:
            return ExtractFile.model_validate(given)
        except ValidationError as error:
            lines = [f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors()]
            raise WrongUse(f"{self.folder / 'source.toml'}: not as agreed", where="; ".join(lines)) from None

    def _assumed(self, folder: Path) -> dict[str, Any]:
        found = {m["name"]: {"path": p.name, "rows": 0} for p in sorted(folder.iterdir()) if (m := RAW.match(p.name))}
        if not found:
            raise DataRefused(
                f"{folder}: no raw files", where=str(folder), fix="the folder must hold NAME.csv, .csv.gz or .parquet"
            )
        return {**self.settings.get("extract", {}), "files": found}

    def map(
        self, folder: Path, delivered: ExtractFile, plain: Path, private: Path, hashes: Mapping[str, str]
    ) -> tuple[FileRecord, ...]:
        """Run all queries; write one Parquet file per contract table; count what went in and came out."""
        contract = load_contract(delivered.contract)
        with duckdb.connect(":memory:") as db:
            db.execute("SET threads = 2; SET memory_limit = '1GB'; SET preserve_insertion_order = true")
            db.execute("SET temp_directory = ?", [str(private / ".spill")])
            db.execute("CREATE SCHEMA raw")
            for name, file in delivered.files.items():
                self._view(db, name, folder / file.path)
                self._control(db, name, file.rows, file.path, told=(folder / "extract.toml").is_file())
            return tuple(
                self._table(db, contract, name, (private if table.identity else plain) / f"{name}.parquet", hashes)
                for name, table in contract.tables.items()
            )

    def _view(self, db: duckdb.DuckDBPyConnection, name: str, path: Path) -> None:
        literal = str(path).replace("'", "''")
        reader = (
            f"read_parquet('{literal}')"
            if path.suffix == ".parquet"
            else f"read_csv('{literal}', all_varchar = true, header = true, null_padding = false)"
        )
        # A table and not a view: places in the file are counted once, and each file is read once.
        self._run(db, f'CREATE TABLE raw."{name}" AS SELECT row_number() OVER () AS _row, * FROM {reader}', path.name)

    def _control(self, db: duckdb.DuckDBPyConnection, name: str, rows: int, file: str, *, told: bool) -> None:
        found = db.execute(f'SELECT count(*) FROM raw."{name}"').fetchall()[0][0]  # noqa: S608 - name is matched by RAW
        if told and found != rows:
            raise DataRefused(
                f"{file}: {found} rows read, but the control total says {rows}",
                where=f"extract.toml, files.{name}.rows",
                rule="control total",
                fix="the file is cut, or written on after the count; deliver it again",
            )

    def _table(
        self, db: duckdb.DuckDBPyConnection, contract: Contract, name: str, target: Path, hashes: Mapping[str, str]
    ) -> FileRecord:
        sql = self.queries.get(name)
        if sql is None:
            if contract.tables[name].required:
                raise WrongUse(f"{self.folder}: {name}.sql is missing", fix="a query may yield no rows: WHERE false")
            sql = "SELECT NULL::VARCHAR AS nothing WHERE false"
        sql = sql.strip().rstrip(";")
        columns = [row[0] for row in self._run(db, f"DESCRIBE {sql}", f"{name}.sql").fetchall()]
        known = [column for column in contract.tables[name].names if column in columns]
        if sql and name in self.queries and set(columns) - set(known) - {"_source_row"}:
            raise WrongUse(
                f"{self.folder / name}.sql yields columns that {name} does not have",
                where=", ".join(sorted(set(columns) - set(known))),
                fix=f"columns are {', '.join(contract.tables[name].names)}, and _source_row",
            )
        listed = ", ".join(f'"{column}"' for column in [*known, *({"_source_row"} & set(columns))])
        literal = str(target).replace("'", "''")
        select = f"SELECT (row_number() OVER ())::UINTEGER AS _row{', ' if listed else ''}{listed} FROM ({sql})"
        self._run(db, f"COPY ({select}) TO '{literal}' (FORMAT parquet)", f"{name}.sql")
        rows = db.execute(f"SELECT count(*) FROM read_parquet('{literal}')").fetchall()[0][0]
        return FileRecord(
            table=name,
            name=f"{self.name}/{name}.sql",
            sha256=digest([sql, dict(hashes)]),
            bytes=target.stat().st_size,
            rows=rows,
            format="query",
            decided="by the source mapping",
        )

    @staticmethod
    def _run(db: duckdb.DuckDBPyConnection, sql: str, place: str) -> duckdb.DuckDBPyConnection:
        try:
            return db.execute(sql)
        except duckdb.Error as error:
            detail = str(error).splitlines()[0] if isinstance(error, ABOUT_SQL) else type(error).__name__
            raise DataRefused(f"{place}: {detail}", where=place, fix="correct the query or the file") from None


def load(folder: Path, name: str) -> Source:
    """The mapping of that name. WrongUse names the ones there are."""
    place = folder / name
    names = sorted(path.name for path in folder.iterdir() if (path / "source.toml").is_file())
    if name not in names:
        raise WrongUse(f"no source mapping {name!r}", where=str(folder), fix=f"use one of: {', '.join(names)}")
    queries = {path.stem: path.read_text(encoding="utf-8") for path in sorted(place.glob("*.sql"))}
    contract = load_contract()
    if unknown := sorted(set(queries) - set(contract.tables)):
        raise WrongUse(f"{place}: {', '.join(unknown)} is no contract table", fix=f"tables: {', '.join(contract.tables)}")
    settings = tomllib.loads((place / "source.toml").read_text(encoding="utf-8"))
    return Source(name, place, queries, settings, digest([queries, settings]))
