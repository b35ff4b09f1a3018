"""Foreign extracts: a folder of SQL turns raw files into contract tables.

Belongs here: running ``sql/sources/<name>/*.sql`` in DuckDB over raw files. Does not belong here: any knowledge of a
particular source; adding one needs no Python.

Each raw file ``NAME.csv``, ``NAME.csv.gz`` or ``NAME.parquet`` of the extract is the table ``raw.NAME``, all columns as
text for CSV, with ``_row`` = its place in the file. Each ``TABLE.sql`` holds one SELECT that yields contract table
TABLE; columns it leaves out count as empty, and only those may be left out that the contract does not require.
``source.toml`` describes the source. How to write one: docs/sources.md.
"""

from __future__ import annotations

import gzip
import re
import tomllib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from pydantic import ValidationError

from assets.delivery import read_extract_file
from schemas.contract import Contract, load_contract
from schemas.errors import DataRefused, WrongUse
from schemas.extract_file import DeliveredFile, ExtractFile
from schemas.records import FileRecord, digest
from transforms.extract import decoding

RAW = re.compile(r"^(?P<name>[A-Za-z_][A-Za-z0-9_]*)\.(csv|csv\.gz|parquet)$")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Messages of these are about the SQL; those of others can quote a value of a row.
ABOUT_SQL = (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException)
# Figures are all that goes on of what DuckDB says of a file.
LINE = re.compile(r"CSV Error on Line: (\d+)")
FIELDS = re.compile(r"Expected Number of Columns: (\d+) Found: (\d+)")
# The session's own zone must not decide what a time becomes, nor may a query fetch an extension.
SESSION = """
SET threads = 2; SET memory_limit = '1GB'; SET preserve_insertion_order = true; SET TimeZone = 'Europe/Oslo';
SET autoinstall_known_extensions = false; SET enable_progress_bar = false; CREATE SCHEMA raw
"""


@dataclass(frozen=True, slots=True)
class Source:
    """One mapping. ``digest`` names its content, so that a changed mapping gives a new snapshot."""

    name: str
    folder: Path
    queries: Mapping[str, str]
    settings: Mapping[str, Any]
    digest: str

    @property
    def is_database(self) -> bool:
        """Whether the queries are asked of a database (``assets.pulling``) and not of raw files."""
        return bool(self.settings.get("kind") == "database")

    def describe(self, folder: Path, unit: str) -> ExtractFile:
        """What the raw folder delivers: its own extract.toml, or what the source says of such folders."""
        given = read_extract_file(folder).model_dump() if (folder / "extract.toml").is_file() else self._assumed(folder)
        given["accepted"] = [*given.get("accepted", ()), *self.settings.get("accepted", ())]
        given.setdefault("reporting_unit", unit)
        try:
            return ExtractFile.model_validate(given)
        except ValidationError as error:
            lines = [f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors()]
            raise WrongUse(f"{self.folder / 'source.toml'}: not as agreed", where="; ".join(lines)) from None

    def _assumed(self, folder: Path) -> dict[str, Any]:
        paths = [(m["name"], path.name) for path in sorted(folder.iterdir()) if (m := RAW.match(path.name))]
        found = {name: {"path": path, "rows": 0} for name, path in paths}
        if not found:
            raise DataRefused(
                f"{folder}: no raw files", where=str(folder), fix="the folder must hold NAME.csv, .csv.gz or .parquet"
            )
        if len(found) != len(paths):
            twice = sorted(path for name, path in paths if [n for n, _ in paths].count(name) > 1)
            raise DataRefused(f"{folder}: the same raw file twice", where=", ".join(twice), fix="keep one of them")
        return {**self.settings.get("extract", {}), "files": found}

    def map(
        self,
        folder: Path,
        delivered: ExtractFile,
        plain: Path,
        private: Path,
        hashes: Mapping[str, str],
        contract: Contract | None = None,
    ) -> tuple[FileRecord, ...]:
        """Run all queries; write one Parquet file per contract table; count what went in and came out.

        plain, private: folders to write to; identity tables go to ``private``. hashes: raw file -> SHA-256.
        contract: with a mapping laid over it; the packaged one when not given.
        WrongUse: a query is missing, is no single SELECT, or yields other columns than the contract's. DataRefused: a
        raw file cannot be read or is not as counted, or a query fails; the message holds no value of a row.
        """
        contract = contract or load_contract(delivered.contract)
        told = (folder / "extract.toml").is_file()
        with duckdb.connect(":memory:") as db:
            db.execute(SESSION)
            db.execute("SET temp_directory = ?", [str(private / ".spill")])
            for name, file in delivered.files.items():
                self._read(db, name, folder, file, private)
                self._control(db, name, file, told=told)
            return tuple(
                self._table(db, contract, name, (private if table.identity else plain) / f"{name}.parquet", hashes)
                for name, table in contract.tables.items()
            )

    def _read(self, db: duckdb.DuckDBPyConnection, name: str, folder: Path, file: DeliveredFile, private: Path) -> None:
        if not NAME.fullmatch(name):
            raise WrongUse(
                f"{name!r} is no name of a raw file", where="extract.toml, files", fix="use letters, digits and _"
            )
        path, recoded = folder / file.path, private / ".raw.csv"
        if path.suffix == ".parquet":
            reader = f"read_parquet({_text(path)})"
        else:
            separator = file.separator or _separator(path)
            if file.encoding not in (None, "utf-8"):
                _recode(path, file.encoding, recoded)
                path = recoded
            # Told and not sniffed: DuckDB samples the file, and a comma inside quotes may first occur after the sample.
            reader = (
                f"read_csv({_text(path)}, all_varchar = true, header = true, null_padding = false, skip = 0, "
                f"delim = {_text(separator)}, quote = '\"', escape = '\"', comment = '')"
            )
        # A table and not a view: places in the file are counted once, and each file is read once.
        select = f"SELECT row_number() OVER () AS _row, * FROM {reader}"  # noqa: S608 - made of our own parts
        self._run(db, f'CREATE TABLE raw."{name}" AS {select}', file.path)
        recoded.unlink(missing_ok=True)

    def _control(self, db: duckdb.DuckDBPyConnection, name: str, file: DeliveredFile, *, told: bool) -> None:
        found = db.execute(f'SELECT count(*) FROM raw."{name}"').fetchall()[0][0]  # noqa: S608 - name is matched by NAME
        if told and found != file.rows:
            raise DataRefused(
                f"{file.path}: {found} rows read, but the control total says {file.rows}",
                where=f"extract.toml, files.{name}.rows",
                rule="control total",
                fix="the file is cut, or written on after the count; deliver it again",
            )

    def _table(
        self, db: duckdb.DuckDBPyConnection, contract: Contract, name: str, target: Path, hashes: Mapping[str, str]
    ) -> FileRecord:
        sql = self._query(contract, name)
        self._one_select(db, name, sql)
        self._run(db, f'CREATE VIEW raw."{name}.sql" AS {sql}', f"{name}.sql")
        listed = self._columns(db, contract, name)
        # Joins and groups yield rows in any order; the number of a row must be the same in every run.
        order = ", ".join(f'"{column}"' for column in listed)
        number = f"(row_number() OVER (ORDER BY {order}))::UINTEGER AS _row"
        select = f'SELECT {number}, {order} FROM raw."{name}.sql"'  # noqa: S608 - names of the contract
        self._run(db, f"COPY ({select} ORDER BY _row) TO {_text(target)} (FORMAT parquet)", f"{name}.sql")
        rows = db.execute("SELECT count(*) FROM read_parquet(?)", [str(target)]).fetchall()[0][0]
        return FileRecord(
            table=name,
            name=f"{self.name}/{name}.sql",
            sha256=digest([sql, dict(hashes)]),
            bytes=target.stat().st_size,
            rows=rows,
            format="query",
            decided="by the source mapping",
        )

    def _query(self, contract: Contract, name: str) -> str:
        table = contract.tables[name]
        if name not in self.queries and table.required:
            raise WrongUse(f"{self.folder}: {name}.sql is missing", fix="a query may yield no rows: WHERE false")
        nothing = ", ".join(f'NULL::VARCHAR AS "{column.name}"' for column in table.columns if column.required)
        return self.queries.get(name, f"SELECT {nothing} WHERE false")

    def _one_select(self, db: duckdb.DuckDBPyConnection, name: str, sql: str) -> None:
        try:
            kinds = [statement.type for statement in db.extract_statements(sql)]
        except duckdb.Error as error:
            raise _failed(f"{name}.sql", error) from None
        if kinds != [duckdb.StatementType.SELECT]:
            raise WrongUse(f"{self.folder / name}.sql: must be one SELECT", where=f"{len(kinds)} statements")

    def _columns(self, db: duckdb.DuckDBPyConnection, contract: Contract, name: str) -> list[str]:
        """Columns to keep: ``_source_row`` first where there is one, then those of the contract in its order."""
        table = contract.tables[name]
        columns = {row[0] for row in self._run(db, f'DESCRIBE raw."{name}.sql"', f"{name}.sql").fetchall()}
        if unknown := sorted(columns - {*table.names, "_source_row"}):
            raise WrongUse(
                f"{self.folder / name}.sql yields columns that {name} does not have",
                where=", ".join(unknown),
                fix=f"columns are {', '.join(table.names)}, and _source_row",
            )
        if missing := [column.name for column in table.columns if column.required and column.name not in columns]:
            raise WrongUse(
                f"{self.folder / name}.sql lacks columns that {name} must have",
                where=", ".join(missing),
                fix="what the source does not know is NULL AS column; each such row is quarantined",
            )
        return [column for column in ("_source_row", *table.names) if column in columns]

    @staticmethod
    def _run(db: duckdb.DuckDBPyConnection, sql: str, place: str) -> duckdb.DuckDBPyConnection:
        try:
            return db.execute(sql)
        except duckdb.Error as error:
            raise _failed(place, error) from None


def _failed(place: str, error: duckdb.Error) -> DataRefused:
    """What can be told of an error of DuckDB's without a value of a row."""
    text = str(error)
    if isinstance(error, ABOUT_SQL):
        return DataRefused(
            f"{place}: {text.splitlines()[0]}", where=place, fix="correct the query, or deliver the file"
        )
    line, fields = LINE.search(text), FIELDS.search(text)
    known = {
        "not utf-8 encoded": "a byte is not UTF-8; declare the encoding in extract.toml",
        "GZIP": "the compressed file is cut or damaged",
        "dialect": "the rows do not all have the fields of the header, or a quote is not closed",
    }
    what = next((told for part, told in known.items() if part in text), type(error).__name__)
    what = f"{fields[2]} fields where the header has {fields[1]}" if fields else what
    fix = "correct the query (TRY_CAST leaves a bad value to the checks), or deliver the file again"
    return DataRefused(f"{place}: {what}", where=f"{place}, line {line[1]}" if line else place, fix=fix)


def _text(value: Path | str) -> str:
    quoted = str(value).replace("'", "''")
    return f"'{quoted}'"


def _separator(path: Path) -> str:
    """The separator that the header has most of."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            header = file.readline()
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise DataRefused(f"{path.name}: the compressed file is cut", where=path.name, fix="deliver it again") from None
    return max(decoding.SEPARATORS, key=lambda separator: header.count(separator.encode()))


def _recode(path: Path, encoding: str | None, target: Path) -> None:
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file, target.open("wb") as out:
        out.writelines(decoding.recode(iter(lambda: file.read(1 << 20), b""), encoding or "utf-8", path.name))


def load(folder: Path, name: str) -> Source:
    """The mapping of that name. WrongUse names the ones there are."""
    place = folder / name
    names = sorted(path.name for path in folder.iterdir() if (path / "source.toml").is_file())
    if name not in names:
        raise WrongUse(f"no source mapping {name!r}", where=str(folder), fix=f"use one of: {', '.join(names)}")
    queries = {path.stem: path.read_text(encoding="utf-8") for path in sorted(place.glob("*.sql"))}
    contract = load_contract()
    if unknown := sorted(set(queries) - set(contract.tables)):
        raise WrongUse(
            f"{place}: {', '.join(unknown)} is no contract table", fix=f"tables: {', '.join(contract.tables)}"
        )
    try:
        settings = tomllib.loads((place / "source.toml").read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WrongUse(f"{place / 'source.toml'}: not TOML", where=str(error), fix="write it as UTF-8 TOML") from None
    if (kind := settings.get("kind", "files")) not in ("files", "database"):
        raise WrongUse(f"{place / 'source.toml'}: kind {str(kind)[:20]!r}", fix='kind is "files" or "database"')
    return Source(name, place, queries, settings, digest([queries, settings]))
