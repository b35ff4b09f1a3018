"""Code lists at hand: those carried with the program, and the large ones kept under ``NPR_HOME/codes``.

Belongs here: keeping an edition whole, its record, finding all editions, a list's answer about one code. Does not
belong here: reading a download (``transforms.code_files``) and validity (``transforms.code_validity``).

    NPR_HOME/codes/<name>/<year>.parquet    code, text, valid_from, valid_to; the record stands in the file's own
                                            metadata, so that one rename brings both
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.home.store import DiskStore
from schemas.code_formats import CodeFormat, code_format, packaged_formats
from schemas.codelists import OID_PREFIX, CodeList, code_lists
from schemas.dated_codes import DatedList, dated_lists
from schemas.errors import DataRefused, WrongUse
from transforms.code_files import SCHEMA, read_code_file
from transforms.code_validity import CodeTables, Edition, code_tables, open_edition, validity_in

FOLDER: Final = "codes"
RECORD: Final = "npr_codes"
FIRST_YEAR: Final = 2017  # SOURCES.md: codes retired before this data year are left out
YEARS: Final = range(1990, 2100)
SMALL: Final = 0.8  # of the codes of the nearest edition; real yearly changes are a few per cent


class EditionRecord(BaseModel):
    """One edition that was loaded. Dates are included; ``sha256`` is of the codes and their days, not of the file."""

    model_config = ConfigDict(frozen=True)

    name: str
    title: str
    year: int
    valid_from: dt.date
    valid_to: dt.date
    kodeverk: tuple[str, ...]
    rows: int
    left_out: int
    sha256: str
    file: str
    file_sha256: str
    sheet: str
    added_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Download:
    """What ``npr codes add`` was told. ``columns``: TOML that describes other headings or another list."""

    name: str
    file: Path
    year: int | None = None
    valid_from: dt.date | None = None
    valid_to: dt.date | None = None
    columns: Path | None = None
    sheet: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a list says of one code on one day. ``covered``: the days that editions at hand speak of."""

    name: str
    code: str
    on: dt.date
    status: str
    text: str
    covered: tuple[tuple[dt.date, dt.date], ...]
    loadable: bool


class CodesHome:
    """The code lists of one home."""

    def __init__(self, home: Path) -> None:
        self._store = DiskStore(home)
        self._folder = self._store.home / FOLDER

    # --- adding -------------------------------------------------------------------------------------------------------

    def add(self, download: Download, now: dt.datetime, *, replace: bool = False) -> tuple[EditionRecord, str]:
        """Load a download. Gives its record and ``added``, ``unchanged`` or ``replaced``.

        Other codes for a year that is there already need ``replace``. DataRefused for a file that cannot be trusted,
        WrongUse for days that another edition of the list speaks of.
        """
        fmt = code_format(download.name, _text(download.columns), str(download.columns or ""))
        year, since, until = _window(download)
        data = _bytes(download.file)
        read = read_code_file(data, download.file.name, fmt, year=year, sheet=download.sheet)
        record = EditionRecord(
            name=fmt.name,
            title=fmt.title,
            year=year,
            valid_from=since,
            valid_to=until,
            kodeverk=fmt.kodeverk,
            rows=len(read.codes),
            left_out=read.left_out,
            sha256=_digest(read.codes, since, until, fmt.kodeverk),
            file=download.file.name,
            file_sha256=hashlib.sha256(data).hexdigest(),
            sheet=read.sheet,
            added_at=now,
        )
        with self._store.locked(FOLDER):
            return self._keep(record, read.codes, replace=replace)

    def _keep(self, record: EditionRecord, codes: pl.DataFrame, *, replace: bool) -> tuple[EditionRecord, str]:
        path = self._path(record.name, record.year)
        there = path.exists()
        if there and not replace:
            kept = _record(path)
            if kept.sha256 == record.sha256:
                _read(path, kept)
                return kept, "unchanged"
            raise DataRefused(
                f"{record.name} {record.year} is loaded already, with other codes ({kept.rows} of {kept.file})",
                where=str(path),
                fix="add --replace to put this file in its place",
            )
        self._refuse_overlap(record)
        with self._store.writing(path) as beside:
            codes.write_parquet(beside, metadata={RECORD: record.model_dump_json()})
        return record, "replaced" if there else "added"

    def _refuse_overlap(self, record: EditionRecord) -> None:
        for other in self._others(record):
            if other.valid_from <= record.valid_to and record.valid_from <= other.valid_to:
                raise WrongUse(
                    f"{record.name} {other.year} speaks of {other.valid_from} to {other.valid_to} already",
                    where="--valid-from, --valid-to",
                    fix="give this edition days of its own",
                )

    def _others(self, record: EditionRecord) -> list[EditionRecord]:
        """The other editions of the list; the one to be replaced may be spoiled and is not opened."""
        paths = sorted((self._folder / record.name).glob("*.parquet"))
        return [_record(path) for path in paths if path.stem != str(record.year)]

    def doubt(self, record: EditionRecord) -> str:
        """A sentence when an edition is much smaller than the nearest other one, else nothing."""
        others = self._others(record)
        nearest = min(others, key=lambda other: abs(other.year - record.year), default=None)
        if nearest is None or record.rows >= SMALL * nearest.rows:
            return ""
        return f"{record.rows} codes, where {nearest.year} has {nearest.rows}: is the file complete?"

    def _path(self, name: str, year: int) -> Path:
        return self._folder / name / f"{year}.parquet"

    # --- reading ------------------------------------------------------------------------------------------------------

    def records(self, name: str = "*") -> Sequence[EditionRecord]:
        """Records of all loaded editions, or those of one list, by name and year. DataRefused for a spoiled one."""
        return [_record(path) for path in sorted(self._folder.glob(f"{name}/*.parquet"))]

    def tables(self, name: str | None = None) -> CodeTables:
        """All lists, carried and loaded, or one of them. DataRefused for a spoiled file."""
        editions = [edition for edition in carried() if name in {None, edition.name}]
        editions += [Edition(r.name, r.valid_from, r.valid_to, codes) for r, codes in self._loaded(name or "*")]
        return code_tables(editions, self._kodeverk())

    def _loaded(self, name: str) -> Iterator[tuple[EditionRecord, pl.DataFrame]]:
        for record in self.records(name):
            yield record, _read(self._path(record.name, record.year), record)

    def _kodeverk(self) -> Mapping[str, tuple[str, ...]]:
        """Letter -> lists: of the packaged formats, and of lists that a site described itself."""
        letters: dict[str, dict[str, None]] = {}
        described: list[CodeFormat | EditionRecord] = [*packaged_formats().values(), *self.records()]
        for one in described:
            for letter in one.kodeverk:
                letters.setdefault(letter, {})[one.name] = None
        return {letter: tuple(names) for letter, names in letters.items()}

    def digest(self) -> str:
        """SHA-256 over all loaded editions, for the manifest: which lists a report was checked against."""
        lines = [f"{record.name} {record.year} {record.sha256}\n" for record in self.records()]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def check(self, name: str, code: str, on: dt.date) -> Answer:
        """What the list says of one code on a day. WrongUse for a list that there cannot be."""
        name = name.removeprefix(OID_PREFIX)
        known = [*packaged_formats(), *(record.name for record in self.records()), *dated_lists(), *code_lists()]
        if name not in known:
            named = list(dict.fromkeys([*packaged_formats(), *dated_lists()]))
            raise WrongUse(f"there is no list {name[:40]!r}", fix=f"{', '.join(named)}, or see npr codes list")
        tables = self.tables(name)
        status = validity_in(name, pl.Series([code]), pl.Series([on]), tables)[0]
        covered = tables.covered.get(name, ())
        loadable = name not in dated_lists() and name not in code_lists()
        return Answer(name, code, on, status, self._text(name, code, on), covered, loadable)

    def _text(self, name: str, code: str, on: dt.date) -> str:
        now = pl.lit(on).is_between(pl.col("valid_from").fill_null(on), pl.col("valid_to").fill_null(on))
        frames = [edition.codes for edition in carried() if edition.name == name]
        frames += [codes for record, codes in self._loaded(name) if record.valid_from <= on <= record.valid_to]
        for frame in frames:
            found = frame.filter((pl.col("code") == code) & now)
            if len(found):
                return str(found["text"][0])
        return ""


# --- carried lists ----------------------------------------------------------------------------------------------------


def carried() -> Iterator[Edition]:
    """The lists that come with the program, each as one edition."""
    for dated in dated_lists().values():
        yield Edition(dated.name, dated.known_from, dated.known_to, _dated(dated))
    for entry in code_lists().values():
        yield open_edition(entry.oid, dt.date(FIRST_YEAR, 1, 1), None, _yearly(entry))


def _dated(dated: DatedList) -> pl.DataFrame:
    rows = [(value.code, value.text_no, value.valid_from, value.valid_to) for value in dated.values]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _yearly(entry: CodeList) -> pl.DataFrame:
    rows = [
        (
            value.code,
            value.text_no,
            dt.date(value.valid_from, 1, 1) if value.valid_from else None,
            dt.date(value.valid_to, 12, 31) if value.valid_to else None,
        )
        for value in entry.values
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def listing(home: Path) -> list[dict[str, object]]:
    """Every list: name, title, source (carried, loaded, or missing), days, rows and hash."""
    codes = CodesHome(home)
    titles = {name: one.title for name, one in dated_lists().items()}
    titles |= {oid: entry.name_no for oid, entry in code_lists().items()}
    loaded = codes.records()
    found = [
        _line(r.name, r.title, f"loaded: {r.file}", (r.valid_from, r.valid_to), r.rows, r.sha256, r.year)
        for r in loaded
    ]
    there = {record.name for record in loaded}
    found += [
        _line(fmt.name, fmt.title, "missing", None, 0, "", None)
        for fmt in packaged_formats().values()
        if fmt.name not in there
    ]
    for one in carried():
        days = (one.valid_from, one.valid_to)
        found.append(
            _line(one.name, titles[one.name], "carried", days, len(one.codes), _digest(one.codes, *days, ()), None)
        )
    return found


def _line(
    name: str,
    title: str,
    source: str,
    days: tuple[dt.date, dt.date] | None,
    rows: int,
    sha256: str,
    year: int | None,
) -> dict[str, object]:
    since, until = days or (None, None)
    open_end = until is None or until.year > YEARS.stop
    return {
        "name": name,
        "title": title,
        "source": source,
        "year": year,
        "from": since.isoformat() if since else None,
        "to": None if open_end or until is None else until.isoformat(),
        "rows": rows,
        "sha256": sha256,
    }


# --- files ------------------------------------------------------------------------------------------------------------


def _window(download: Download) -> tuple[int, dt.date, dt.date]:
    first, last, year = download.valid_from, download.valid_to, download.year
    if year is None and first is None:
        raise WrongUse(
            "which year are these codes of?", where="--year", fix="add --year, or --valid-from and --valid-to"
        )
    year = first.year if year is None and first else year or 0
    since, until = first or dt.date(year, 1, 1) if year in YEARS else None, last
    if since is None or since.year != year:
        raise WrongUse(f"{year} is not the year these codes begin in", where="--year", fix="leave --year out, or agree")
    until = until or dt.date(year, 12, 31)
    if until < since:
        raise WrongUse("the edition ends before it begins", where="--valid-to", fix="give it a later day")
    return year, since, until


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WrongUse(f"{path}: cannot be read", where=error.strerror or "", fix="name the downloaded file") from None


def _text(path: Path | None) -> str:
    try:
        return _bytes(path).decode("utf-8-sig") if path else ""
    except UnicodeDecodeError:
        raise WrongUse(f"{path}: not UTF-8", where="--columns", fix="save it as UTF-8") from None


def _digest(codes: pl.DataFrame, since: dt.date, until: dt.date, kodeverk: Sequence[str]) -> str:
    head = f"{since} {until} {' '.join(kodeverk)}\n"
    return hashlib.sha256(head.encode() + codes.select(list(SCHEMA)).write_csv().encode()).hexdigest()


def _spoiled(path: Path) -> DataRefused:
    return DataRefused(
        f"the code list {path.parent.name} {path.stem} is spoiled",
        where=str(path),
        rule="CODE-HOME",
        fix=f"npr codes add {path.parent.name} FILE --year {path.stem} --replace",
    )


def _record(path: Path) -> EditionRecord:
    try:
        record = EditionRecord.model_validate_json(pl.read_parquet_metadata(path)[RECORD])
    except (pl.exceptions.PolarsError, OSError, KeyError, ValidationError):
        raise _spoiled(path) from None
    if (record.name, str(record.year)) != (path.parent.name, path.stem):
        raise _spoiled(path)
    return record


def _read(path: Path, record: EditionRecord) -> pl.DataFrame:
    try:
        codes = pl.read_parquet(path)
        digest = _digest(codes, record.valid_from, record.valid_to, record.kodeverk)
    except (pl.exceptions.PolarsError, OSError):
        raise _spoiled(path) from None
    if digest != record.sha256:
        raise _spoiled(path)
    return codes
