"""Official downloads of code lists (CSV with comma, semicolon or tab; Excel .xlsx) turned into one plain table.

Belongs here: decoding, finding headings, taking codes, texts and dates, and refusing what cannot be trusted with row
and column. Does not belong here: opening files and keeping lists (``pipelines.home.codes``), what a download looks like
(``schemas.code_formats``), and validity on a date (``transforms.code_validity``).

A list read wrongly judges every patient wrongly, so a doubtful file is refused whole. No error carries a value of the
file: it may be the wrong file, and hold patients.
"""

from __future__ import annotations

import csv
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from io import BytesIO, StringIO
from typing import Final

import polars as pl

from schemas.code_formats import CodeFormat, heading
from schemas.errors import DataRefused

RULE: Final = "CODE-FILE"
SCHEMA: Final = {"code": pl.String, "text": pl.String, "valid_from": pl.Date, "valid_to": pl.Date}
LARGEST: Final = 256 * 2**20  # bytes, unpacked: forty times the largest yearly list, and no zip bomb
HEAD: Final = 30  # rows in which headings are looked for, under titles and remarks
DELIMITERS: Final = (";", ",", "\t")
ROLES: Final = ("code", "text", "valid_from", "valid_to", "reported", "years")
OLD_EXCEL: Final = b"\xd0\xcf\x11\xe0"
FORMULA: Final = "\0formula"
FAULT: Final = "\0fault"

Rows = Sequence[tuple[int, Sequence[str]]]  # number of the row in the file, from 1, and its cells


@dataclass(frozen=True, slots=True)
class CodeFile:
    """What was read. codes: SCHEMA, sorted; left_out: rows not of the year or not reported; repeated: rows again."""

    codes: pl.DataFrame
    left_out: int
    repeated: int
    sheet: str


@dataclass(frozen=True, slots=True)
class _Sheet:
    """A table with its headings: role -> columns, the heading to prefer first."""

    name: str
    rows: Rows
    columns: dict[str, list[int]]


def read_code_file(data: bytes, name: str, fmt: CodeFormat, *, year: int, sheet: str = "") -> CodeFile:
    """The codes of one download.

    data: the file. name: for errors. year: which year to take where the file has a column of years. sheet: worksheet to
    read, else the one with the headings. DataRefused with row and column for anything that cannot be trusted.
    """
    if len(data) > LARGEST:
        raise _refused(f"{name} is larger than a code list can be", name, "give the list alone")
    found = _workbook(data, name, fmt, sheet) if data.startswith((b"PK", OLD_EXCEL)) else _csv(data, name, fmt)
    where = f"{name}, sheet {found.name}" if found.name else name
    cells = _cells(found)
    kept = _kept(cells, where, year)
    codes = _codes(kept, where, fmt)
    once = codes.unique(["code", "text", "valid_from", "valid_to"], keep="first", maintain_order=True)
    _refuse_overlap(once, where)
    if once.is_empty():
        raise _refused(f"{name} has no code", where, "look whether the right file, sheet and year were given")
    table = once.select(list(SCHEMA)).sort("code", "valid_from")
    return CodeFile(table, len(cells) - len(kept), len(codes) - len(once), found.name)


def _refused(what: str, where: str, fix: str) -> DataRefused:
    return DataRefused(what, where=where, rule=RULE, fix=fix)


# --- CSV --------------------------------------------------------------------------------------------------------------


def _csv(data: bytes, name: str, fmt: CodeFormat) -> _Sheet:
    text = _decoded(data, name)
    for delimiter in DELIMITERS:
        head = _headed(list(_csv_rows(text, delimiter, name, HEAD)), fmt, name)
        if head:
            return _sheet("", list(_csv_rows(text, delimiter, name, None)), head, fmt, name)
    raise _no_headings(name, fmt)


def _decoded(data: bytes, name: str) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings: tuple[str, ...] = ("utf-16",)
    else:
        encodings = ("utf-8-sig", "cp1252")
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise _refused(f"{name} is no text that can be read", name, "save it as CSV in UTF-8, or as .xlsx")


def _csv_rows(text: str, delimiter: str, name: str, limit: int | None) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=limit is None)
    line = 1
    try:
        for cells in reader:
            yield line, [FORMULA if cell.startswith("=") else cell for cell in cells]
            line = reader.line_num + 1
            if limit is not None and reader.line_num >= limit:
                return
    except csv.Error:
        # The text of the error can quote the cell. While guessing the delimiter, a fault only means: not this one.
        if limit is None:
            raise _refused(f"{name} is broken CSV", f"{name}, row {line}", "save it anew") from None


# --- Excel ------------------------------------------------------------------------------------------------------------


def _workbook(data: bytes, name: str, fmt: CodeFormat, wanted: str) -> _Sheet:
    if data.startswith(OLD_EXCEL):
        raise _refused(f"{name} is an old or locked Excel file", name, "save it as .xlsx without a password")
    sheets = _sheets(data, name, wanted)
    heads = {title: _headed(rows[:HEAD], fmt, f"{name}, sheet {title}") for title, rows in sheets.items()}
    titles = [title for title, head in heads.items() if head]
    preferred = [title for title in fmt.sheets if title in titles]
    if not titles:
        raise _no_headings(name, fmt)
    if len(titles) > 1 and not preferred:
        raise _refused(f"{len(titles)} sheets could be the list", name, f"--sheet with one of: {', '.join(titles)}")
    title = (preferred or titles)[0]
    return _sheet(title, sheets[title], heads[title], fmt, f"{name}, sheet {title}")


def _sheets(data: bytes, name: str, wanted: str) -> dict[str, Rows]:
    broken = _refused(f"{name} is no Excel file that can be read", name, "unpack it if it is a zip; save it as .xlsx")
    try:
        with zipfile.ZipFile(BytesIO(data)) as packed:
            unpacked = sum(member.file_size for member in packed.infolist())
        sheets = _loaded(data, wanted) if unpacked <= LARGEST else {}
    except Exception:  # noqa: BLE001 - the library raises what it meets, from KeyError to ParseError
        raise broken from None
    if unpacked > LARGEST:
        raise _refused(f"{name} is larger than a code list can be", name, "give the list alone")
    if wanted and not sheets:
        raise _refused(f"{name} has no sheet of that name", name, "look at the names of its sheets")
    return sheets


def _loaded(data: bytes, wanted: str) -> dict[str, Rows]:
    # Imported here: a run that only asks for validity should not pay for it.
    from openpyxl import load_workbook  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about formats of cells that are not looked at
        book = load_workbook(BytesIO(data), read_only=True)
        return {sheet.title: _sheet_rows(sheet) for sheet in book.worksheets if wanted in {"", sheet.title}}


def _sheet_rows(sheet: object) -> Rows:
    sheet.reset_dimensions()  # type: ignore[attr-defined] # some programs write a wrong size into the file
    rows = sheet.iter_rows()  # type: ignore[attr-defined] # the library types read-only sheets as editable ones
    return [(number, [_cell(cell) for cell in row]) for number, row in enumerate(rows, 1)]


def _cell(cell: object) -> str:
    kind, value = getattr(cell, "data_type", "n"), getattr(cell, "value", None)
    if value is None:
        return ""
    if kind in {"f", "e"}:
        return FORMULA if kind == "f" else FAULT
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return FORMULA if str(value).startswith("=") else str(value)


# --- headings ---------------------------------------------------------------------------------------------------------


def _headed(rows: Rows, fmt: CodeFormat, where: str) -> int:
    """Number of the row with the headings, 0 for none. A heading of the codes alone is not enough."""
    for number, cells in rows:
        names = [heading(cell) for cell in cells]
        if not set(fmt.code).isdisjoint(names) and (not fmt.text or not set(fmt.text).isdisjoint(names)):
            _refuse_twice(names, fmt, f"{where}, row {number}")
            return number
    return 0


def _refuse_twice(names: Sequence[str], fmt: CodeFormat, where: str) -> None:
    for role in ROLES:
        for known in getattr(fmt, role):
            if names.count(known) > 1:
                raise _refused(f"heading {known!r} stands twice", where, "take the other column out")
    if sum(known in names for known in fmt.code) > 1:
        raise _refused("two columns could be the codes", where, "name one with --columns")


def _no_headings(name: str, fmt: CodeFormat) -> DataRefused:
    return _refused(
        f"{name} has no headings of {fmt.name}",
        f"{name}, rows 1 to {HEAD}",
        f"expected one of: {', '.join(fmt.code)}; and one of: {', '.join(fmt.text) or 'any'}. Others: --columns",
    )


def _sheet(title: str, rows: Rows, head: int, fmt: CodeFormat, where: str) -> _Sheet:
    names = [heading(cell) for number, cells in rows for cell in cells if number == head]
    columns = {role: [names.index(known) for known in getattr(fmt, role) if known in names] for role in ROLES}
    if fmt.years and not columns["years"]:
        raise _refused("the column of years is missing", f"{where}, row {head}", f"expected: {', '.join(fmt.years)}")
    body = [(number, cells) for number, cells in rows if number > head]
    return _Sheet(title, body, columns)


# --- rows -------------------------------------------------------------------------------------------------------------


def _cells(sheet: _Sheet) -> pl.DataFrame:
    """row, and a String column for each role: of its columns the first that is filled. Rows empty in all are gone."""
    frame = pl.DataFrame({"row": [number for number, _ in sheet.rows]}, schema={"row": pl.Int64})
    for role, places in sheet.columns.items():
        for place in places:
            cells = [cells[place] if place < len(cells) else "" for _, cells in sheet.rows]
            frame = frame.with_columns(pl.Series(f"{role}.{place}", cells, pl.String).str.strip_chars(" \t\r\n\u00a0"))
    named = [
        pl.coalesce(*(_filled(f"{role}.{place}") for place in places), pl.lit(None, pl.String)).alias(role)
        for role, places in sheet.columns.items()
    ]
    has = {f"has_{role}": pl.lit(bool(places)) for role, places in sheet.columns.items()}
    return frame.select("row", *named, **has).filter(pl.any_horizontal(pl.col(ROLES).is_not_null()))


def _filled(column: str) -> pl.Expr:
    return pl.when(pl.col(column) != "").then(pl.col(column))


def _kept(cells: pl.DataFrame, where: str, year: int) -> pl.DataFrame:
    """Rows that count: reported to the register, and of the year, where the file has columns that say so."""
    for role in ROLES:
        spoiled = pl.col(role).is_in([FORMULA, FAULT])
        _refuse_rows(cells.filter(spoiled), role, "a formula or an error stands where a value must", where)
    answer = pl.col("reported").str.to_lowercase()
    _refuse_rows(cells.filter(~answer.is_in(["ja", "nei"])), "reported", "it is neither Ja nor Nei", where)
    listed = pl.col("years").str.extract_all(r"[0-9]{4}").list.contains(str(year))
    said = (~pl.col("has_reported") | (answer == "ja")) & (~pl.col("has_years") | listed)
    return cells.filter(said.fill_null(value=False))


def _codes(kept: pl.DataFrame, where: str, fmt: CodeFormat) -> pl.DataFrame:
    code = pl.col("code").fill_null("").str.replace_many(list(fmt.drop), [""] * len(fmt.drop)) if fmt.drop else None
    frame = kept.with_columns(
        code=pl.col("code").fill_null("") if code is None else code,
        text=pl.col("text").fill_null(""),
        since=_day("valid_from"),
        until=_day("valid_to"),
    )
    _refuse_rows(frame.filter(pl.col("code") == ""), "code", "the code is empty", where)
    wrong = ~pl.col("code").str.contains(f"^(?:{fmt.pattern})$")
    _refuse_rows(frame.filter(wrong), "code", f"the code has not the form of {fmt.name}", where)
    for role, read in (("valid_from", "since"), ("valid_to", "until")):
        unread = pl.col(role).is_not_null() & pl.col(read).is_null()
        _refuse_rows(frame.filter(unread), role, "it is no date (2020-01-31, 31.01.2020)", where)
    _refuse_rows(frame.filter(pl.col("since") > pl.col("until")), "valid_to", "it ends before it begins", where)
    return frame.select("row", "code", "text", valid_from="since", valid_to="until")


def _day(role: str) -> pl.Expr:
    text = pl.col(role).str.replace(r"[T ]00:00(:00(\.0+)?)?Z?$", "")
    forms = {
        r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$": "%Y-%m-%d",
        r"^[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{4}$": "%d.%m.%Y",
        r"^[0-9]{8}$": "%Y%m%d",
    }
    # The form is asked first: the parser alone would read year 20 out of 31.12.20.
    read = [pl.when(text.str.contains(form)).then(text).str.to_date(how, strict=False) for form, how in forms.items()]
    return pl.coalesce(*read)


def _refuse_overlap(codes: pl.DataFrame, where: str) -> None:
    """One code may come back later, but not speak twice of the same day."""
    since, until = pl.col("valid_from").fill_null(date(1, 1, 1)), pl.col("valid_to").fill_null(date(9999, 12, 31))
    timed = codes.with_columns(since=since, until=until).sort("code", "since", "row")
    before = pl.col("until").shift(1).over("code")
    first = pl.col("row").first().over("code")
    twice = timed.with_columns(first=first).filter(pl.col("since") <= before).sort("row")
    if not twice.is_empty():
        rows = f"row {twice['row'][0]} (first in row {twice['first'][0]}){_more(len(twice))}"
        fix = "keep one row for each code and time; a file of several years needs its dates of validity"
        raise _refused("the same code stands twice for the same days", f"{where}, {rows}, column code", fix)


def _refuse_rows(found: pl.DataFrame, role: str, why: str, where: str) -> None:
    if not found.is_empty():
        place = f"{where}, row {found['row'][0]}{_more(len(found))}, column {role}"
        raise _refused(f"{role}: {why}", place, "correct the file, or load the official one unchanged")


def _more(rows: int) -> str:
    return f" and {rows - 1} more" if rows > 1 else ""
