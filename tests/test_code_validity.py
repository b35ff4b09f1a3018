"""Codes on dates: status by list and day, forms of codes, and the reading of downloads, hostile ones among them."""

from __future__ import annotations

import csv
import datetime as dt
import time
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import Workbook

from schemas.code_formats import CodeFormat, code_format, packaged_formats
from schemas.dated_codes import dated_list, read_dated
from schemas.errors import DataRefused, WrongUse
from transforms import code_files
from transforms.code_files import SCHEMA, CodeFile, read_code_file
from transforms.code_validity import (
    NOT_CHECKED,
    NOT_ON_DATE,
    STATUS,
    STATUS_TEXTS,
    UNKNOWN,
    VALID,
    CodeTables,
    Edition,
    code_tables,
    full_bydel,
    shape,
    validity,
    validity_expr,
    validity_in,
)

REFERENCE = Path(__file__).parents[1] / "../shared/reference/codes"
needs_reference = pytest.mark.skipif(
    not REFERENCE.is_dir(), reason="the reference code lists are not beside this repository"
)
D = dt.date
KODEVERK = {"D": ("icd10",), "K": ("ncsp",), "M": ("ncmp",), "Q": ("ncsp", "ncmp")}
ICD10 = packaged_formats()["icd10"]


def edition(name: str, year: int, *codes: str | tuple[str, dt.date | None, dt.date | None]) -> Edition:
    rows = [(code, "", None, None) if isinstance(code, str) else (code[0], "", *code[1:]) for code in codes]
    return Edition(name, D(year, 1, 1), D(year, 12, 31), pl.DataFrame(rows, schema=SCHEMA, orient="row"))


TABLES = code_tables(
    [
        edition("icd10", 2017, "A000", "A009", ("B000", None, D(2017, 6, 30)), ("C000", D(2019, 1, 1), None)),
        edition("icd10", 2018, "A000", ("B000", D(2018, 3, 1), None)),
        edition("icd10", 2020, "A000", "A009"),
        edition("ncsp", 2017, "AAA00"),
        edition("ncsp", 2018, "AAA00"),
        edition("ncmp", 2017, "AAAA00"),
    ],
    KODEVERK,
)


def ask(code: str | None, on: dt.date | None, letter: str | None, tables: CodeTables = TABLES) -> str | None:
    found = validity(
        pl.Series([code], dtype=pl.String),
        pl.Series([on], dtype=pl.Date),
        pl.Series([letter], dtype=pl.String),
        tables,
    )
    assert found.dtype == STATUS
    answer: str | None = found[0]
    return answer


# --- status -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "on", "letter", "status"),
    [
        ("A000", D(2017, 1, 1), "D", VALID),
        ("A000", D(2018, 12, 31), "D", VALID),
        ("A000", D(2019, 7, 1), "D", NOT_CHECKED),  # no edition of 2019
        ("A000", D(2016, 12, 31), "D", NOT_CHECKED),
        ("A000", D(2021, 1, 1), "D", NOT_CHECKED),
        ("A009", D(2018, 1, 1), "D", NOT_ON_DATE),
        ("A009", D(2020, 1, 1), "D", VALID),  # comes back
        ("B000", D(2017, 6, 30), "D", VALID),
        ("B000", D(2017, 7, 1), "D", NOT_ON_DATE),
        ("B000", D(2018, 2, 28), "D", NOT_ON_DATE),
        ("B000", D(2018, 3, 1), "D", VALID),
        ("C000", D(2017, 3, 1), "D", NOT_ON_DATE),  # known, but to no day that an edition speaks of
        ("C000", D(2019, 3, 1), "D", NOT_CHECKED),
        ("E702", D(2017, 3, 1), "D", UNKNOWN),
        ("A00.0", D(2017, 3, 1), "D", UNKNOWN),  # with a point it is no code of the register
        ("a000", D(2017, 3, 1), "D", UNKNOWN),
        ("", D(2017, 3, 1), "D", UNKNOWN),
        ("E702", D(2019, 3, 1), "D", NOT_CHECKED),
        ("A000", None, "D", NOT_CHECKED),
        (None, D(2017, 3, 1), "D", None),
        ("A000", D(2017, 3, 1), None, NOT_CHECKED),
        ("A000", D(2017, 3, 1), "H", NOT_CHECKED),
        ("A000", D(2017, 3, 1), "?", NOT_CHECKED),
        ("A000", D(2017, 3, 1), "K", UNKNOWN),  # a diagnosis is no procedure
        ("AAA00", D(2017, 3, 1), "Q", VALID),
        ("AAAA00", D(2017, 3, 1), "Q", VALID),
        ("ZZZ99", D(2017, 3, 1), "Q", UNKNOWN),
        ("AAA00", D(2018, 3, 1), "Q", VALID),  # one of the lists has it
        ("ZZZ99", D(2018, 3, 1), "Q", NOT_CHECKED),  # ncmp does not speak of 2018 and might have it
        ("AAAA00", D(2018, 3, 1), "Q", NOT_CHECKED),
        ("AAAA00", D(2018, 3, 1), "M", NOT_CHECKED),
    ],
)
def test_status_of_a_code_on_a_date(
    code: str | None, on: dt.date | None, letter: str | None, status: str | None
) -> None:
    assert ask(code, on, letter) == status


def test_without_lists_everything_is_not_checked_whatever_it_looks_like() -> None:
    assert ask("A000", D(2017, 1, 1), "D", code_tables([], KODEVERK)) == NOT_CHECKED
    assert ask("A000", D(2017, 1, 1), "D", code_tables([], {})) == NOT_CHECKED
    assert validity_in("icd10", pl.Series(["A000"]), pl.Series([D(2017, 1, 1)]), code_tables([], {})).to_list() == [
        NOT_CHECKED
    ]


def test_columns_keep_their_order_and_length() -> None:
    codes = pl.Series(["A009", None, "AAA00", "A000", "A009"])
    dates = pl.Series([D(2018, 1, 1), D(2018, 1, 1), D(2018, 1, 1), D(2018, 1, 1), D(2020, 1, 1)])
    letters = pl.Series(["D", "D", "K", "D", "D"])
    expected = [NOT_ON_DATE, None, VALID, VALID, VALID]
    assert validity(codes, dates, letters, TABLES).to_list() == expected
    frame = pl.DataFrame({"c": codes, "d": dates, "k": letters}).lazy()
    one = frame.select(validity_expr(pl.col("c"), pl.col("d"), pl.col("k"), TABLES)).collect()
    assert one.to_series().to_list() == expected
    assert validity(codes.clear(), dates.clear(), "D", TABLES).to_list() == []


def test_the_day_of_a_time_counts_and_text_is_no_date() -> None:
    late = pl.Series([dt.datetime(2017, 6, 30, 23, 59), dt.datetime(2017, 7, 1, 0, 0)])
    assert validity(pl.Series(["B000", "B000"]), late, "D", TABLES).to_list() == [VALID, NOT_ON_DATE]
    with pytest.raises(WrongUse):
        validity(pl.Series(["B000"]), pl.Series(["2017-06-30"]), "D", TABLES)


def test_a_single_day_between_two_times_is_not_valid() -> None:
    tables = code_tables(
        [edition("icd10", 2017, ("A000", None, D(2017, 6, 29)), ("A000", D(2017, 7, 1), None))], KODEVERK
    )
    found = [ask("A000", D(2017, 6, day), "D", tables) for day in (29, 30)] + [ask("A000", D(2017, 7, 1), "D", tables)]
    assert found == [VALID, NOT_ON_DATE, VALID]


def test_two_editions_for_one_day_are_refused() -> None:
    with pytest.raises(WrongUse) as refused:
        code_tables([edition("icd10", 2017, "A000"), edition("icd10", 2017, "A009")], KODEVERK)
    assert "icd10" in str(refused.value)


def test_every_status_has_a_text() -> None:
    assert set(STATUS_TEXTS) == set(STATUS.categories)
    assert STATUS_TEXTS[NOT_CHECKED] == ("ikke kontrollert mot kodeverk", "not checked against a list")


DAYS = st.dates(D(2015, 1, 1), D(2021, 12, 31))
MAYBE = st.one_of(st.none(), DAYS)
CODES = st.sampled_from(["A000", "A001", "A002", "A003"])
EDITIONS = st.dictionaries(
    st.tuples(st.sampled_from(["ncsp", "ncmp"]), st.integers(2016, 2020)),
    st.dictionaries(CODES, st.tuples(MAYBE, MAYBE)),
    max_size=6,
)
ROWS = st.lists(st.tuples(st.one_of(st.none(), CODES), MAYBE, st.sampled_from([*"KMQX", None])), max_size=30)


@settings(deadline=None, max_examples=150)
@given(editions=EDITIONS, rows=ROWS)
def test_status_is_that_of_a_plain_reading_row_by_row(
    editions: dict[tuple[str, int], dict[str, tuple[dt.date | None, dt.date | None]]],
    rows: list[tuple[str | None, dt.date | None, str | None]],
) -> None:
    made = [edition(name, year, *((c, *days) for c, days in codes.items())) for (name, year), codes in editions.items()]

    def plain(code: str | None, on: dt.date | None, letter: str | None) -> str | None:
        if code is None:
            return None
        said = [_plain(editions, name, code, on) for name in KODEVERK.get(letter or "", ())]
        for status in (VALID, NOT_CHECKED, NOT_ON_DATE, UNKNOWN):
            if status in said:
                return status
        return NOT_CHECKED

    codes, days, letters = zip(*rows, strict=True) if rows else ((), (), ())
    found = validity(
        pl.Series(codes, dtype=pl.String),
        pl.Series(days, dtype=pl.Date),
        pl.Series(letters, dtype=pl.String),
        code_tables(made, KODEVERK),
    ).to_list()
    assert found == [plain(*row) for row in rows]
    if not editions:
        assert VALID not in found


def _plain(
    editions: dict[tuple[str, int], dict[str, tuple[dt.date | None, dt.date | None]]],
    name: str,
    code: str,
    on: dt.date | None,
) -> str:
    if on is None or (name, on.year) not in editions:
        return NOT_CHECKED
    since, until = editions[name, on.year].get(code, (D(9999, 1, 1), None))
    if (since or on) <= on <= (until or on):
        return VALID
    return NOT_ON_DATE if any(code in codes for (n, _), codes in editions.items() if n == name) else UNKNOWN


def test_a_million_codes_in_less_than_a_second() -> None:
    known = [f"{letter}{number:03}" for letter in "ABCDEFGHIJKLMNOPQRST" for number in range(1000)]
    tables = code_tables([edition("icd10", year, *known) for year in range(2015, 2021)], KODEVERK)
    codes = pl.Series(known * 50)
    days = pl.Series([D(2015 + n % 6, 1 + n % 12, 1 + n % 28) for n in range(1000)] * 1000)
    start = time.perf_counter()
    found = validity(codes, days, "D", tables)
    assert time.perf_counter() - start < 1
    assert found.value_counts().rows() == [(VALID, 1_000_000)]


# --- form -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("letter", "code", "fits"),
    [
        ("D", "E702", True),
        ("D", "E70.2", False),
        ("D", "A00", True),
        ("D", "V0n0a", True),
        ("D", "T4n", True),
        ("D", "A0n", False),
        ("D", "e702", False),
        ("D", "702E", False),
        ("D", "E702\n", False),
        ("D", "", False),
        ("K", "JAH01", True),
        ("M", "AAAA00", True),
        ("R", "SPF0AK", True),
        ("Q", "JAH0", False),
        ("Q", "JAH0123", False),
        ("K", "17X01", True),
        ("K", "J-H01", False),
        ("S", "17X01", True),
        ("S", "JAH01", False),
        ("F", "L04AA27", True),
        ("F", "L0AA", False),
        ("H", "A01", None),
        (None, "A01", None),
        ("D", None, None),
    ],
)
def test_form_of_a_code(letter: str | None, code: str | None, *, fits: bool | None) -> None:
    found = shape(pl.Series([code], dtype=pl.String), pl.Series([letter], dtype=pl.String))
    assert found.to_list() == [fits]


def test_bydel_with_two_digits_gets_its_municipality() -> None:
    frame = pl.DataFrame({"k": ["0301", "4601", "0301", "5001", "0301"], "b": ["10", "1", "030110", None, "301"]})
    found = frame.select(full_bydel(pl.col("k"), pl.col("b"))).to_series().to_list()
    assert found == ["030110", "460101", "030110", None, "301"]


# --- reading downloads ------------------------------------------------------------------------------------------------


def read(data: str | bytes, fmt: CodeFormat = ICD10, **more: str) -> CodeFile:
    raw = data.encode() if isinstance(data, str) else data
    return read_code_file(raw, "icd.csv", fmt, year=2020, **more)


def book(*sheets: tuple[str, list[list[object]]], change: Callable[[Workbook], None] | None = None) -> bytes:
    made = Workbook()
    made.remove(made.worksheets[0])
    for title, rows in sheets:
        sheet = made.create_sheet(title)
        for row in rows:
            sheet.append(row)
    if change:
        change(made)
    out = BytesIO()
    made.save(out)
    return out.getvalue()


PLAIN = "Kode;Tekst uten lengdebegrensning\nA00.0;Kolera, klassisk\nE70.2†;Tyrosin\n"
HEAD: list[object] = ["Kode", "Tekst uten lengdebegrensning", "Gyldig fra", "Gyldig til"]


@pytest.mark.parametrize(
    "data",
    [
        PLAIN.encode(),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        PLAIN.replace("†", "").encode("cp1252"),
        PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.replace("Kolera, klassisk", "Kolera klassisk").replace(";", ",").encode(),
        PLAIN.replace(";", "\t").encode(),
        f"Kodeverk ICD-10 2020;;\n;;\n{PLAIN}".encode(),
        PLAIN.replace("Kode;", "KODE ;").encode(),
        PLAIN.replace("Tekst uten lengdebegrensning", "Tekst_uten_lengdebegrensning").encode(),
        f"{PLAIN};\n\n".encode(),
        PLAIN.replace("Tyrosin", '"Tyrosin"').encode(),
        f"{PLAIN}A00.0;Kolera, klassisk\n".encode(),
    ],
)
def test_what_a_good_file_may_look_like(data: bytes) -> None:
    found = read(data)
    assert found.codes["code"].to_list() == ["A000", "E702"]
    assert found.codes["text"][1] == "Tyrosin"
    assert found.codes.schema == pl.Schema(SCHEMA)


def test_letters_of_an_old_code_page_are_read() -> None:
    assert read("Kode;Tekst\nA000;Blødning på ås\n".encode("cp1252")).codes["text"].to_list() == ["Blødning på ås"]


def test_dates_reported_rows_and_years() -> None:
    found = read(
        "Kode;Tekst;Gyldig fra;Gyldig til;Rapporteres til NPR;NPR gyldig fra\n"
        "I;Kapittel;1999-01-01;;;\n"
        "A000;En;1999-01-01T00:00:00;31.12.2019;Ja;\n"
        "A001;To;20200101;;Ja;2020-03-01\n"
        "A002;Tre;;;Nei;\n"
    )
    assert found.codes.rows() == [("A000", "En", D(1999, 1, 1), D(2019, 12, 31)), ("A001", "To", D(2020, 3, 1), None)]
    assert found.left_out == 2
    yearly = code_format("icd10", '[icd10]\nyears=["aar"]')
    assert read("Kode;Tekst;Aar\nA000;En;2019 2020\nA001;To;2019\n", yearly).codes["code"].to_list() == ["A000"]
    with pytest.raises(DataRefused):
        read(PLAIN, yearly)


def test_a_code_may_come_back_and_may_be_renamed() -> None:
    text = "Kode;Tekst;Gyldig fra;Gyldig til\nA000;Ny;2018-01-01;\nA000;Gammel;;2015-12-31\n"
    assert len(read(text).codes) == 2


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ("Kode;Tekst\nA000;En\nA000;To\n", "row 3 (first in row 2), column code"),
        ("Kode;Tekst;Gyldig fra;Gyldig til\nA000;x;;2019-12-31\nB;y;2019-12-31;\n", "row 3, column code"),
        ("Kode;Tekst;Gyldig fra;Gyldig til\nA000;x;;2019-12-31\nA000;y;2019-12-31;\n", "row 3 (first in row 2)"),
        ("Kode;Tekst;Gyldig til\nA000;x;31.12.19\n", "row 2, column valid_to"),
        ("Kode;Tekst;Gyldig til\nA000;x;2019-02-30\n", "row 2, column valid_to"),
        ("Kode;Tekst;Gyldig fra;Gyldig til\nA000;x;2020-01-02;2020-01-01\n", "row 2, column valid_to"),
        ("Kode;Tekst;Rapporteres til NPR\nA000;x;kanskje\n", "row 2, column reported"),
        ("Kode;Tekst\n;x\n", "row 2, column code"),
        ("Kode;Tekst\nA000;x\nKilde: et direktorat;\nB;\n", "row 3 and 1 more, column code"),
        ('Kode;Tekst\nA000;"x\ny"\n1;z\n', "row 4, column code"),
        ("Kode;Tekst\n=A1;x\n", "row 2, column code"),
        ('Kode;Tekst\n"=""A000""";x\n', "row 2, column code"),
        ("Kode;Tekst\nA000;=1+1\n", "row 2, column text"),
        ('Kode;Tekst\nA000;"x\n', "row 2"),
        ("Kode;Tekst\n", "icd.csv"),
        ("", "rows 1 to 30"),
        ("Kode;Noe\nA000;x\n", "rows 1 to 30"),
        ("Kode;Kode;Tekst\nA000;A001;x\n", "row 1"),
        ("Kode;Code;Tekst\nA000;A001;x\n", "row 1"),
        ("Kode;Tekst;Gyldig fra;GYLDIG_FRA\nA000;x;;\n", "row 1"),
        (b"Kode;Tekst\nA000;\0\n", "icd.csv"),
        (b"Kode;Tekst\nA000;\x81\n", "icd.csv"),
        (b"\xd0\xcf\x11\xe0 old", "icd.csv"),
        (b"PK\x03\x04 broken", "icd.csv"),
    ],
)
def test_a_doubtful_file_is_refused_with_its_place(data: str | bytes, place: str) -> None:
    with pytest.raises(DataRefused) as refused:
        read(data)
    assert place in refused.value.where
    assert refused.value.fix
    assert refused.value.rule == "CODE-FILE"


@pytest.mark.parametrize("head", ["Kode;Tekst", "Navn;Nummer"])
def test_no_value_of_a_wrong_file_is_shown(head: str) -> None:
    with pytest.raises(DataRefused) as refused:
        read(f"{head}\n13097248022;Kari Nordmann\n")
    assert "13097248022" not in str(refused.value)
    assert "Nordmann" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_excel_with_titles_dates_and_an_explaining_sheet() -> None:
    def merge(made: Workbook) -> None:
        made["Alle gyldige koder"].merge_cells("A1:D1")
        made["Alle gyldige koder"].merge_cells("A3:A4")

    rows: list[list[object]] = [
        ["ICD-10 2020"],
        [],
        HEAD,
        [],
        ["A00.0", "Kolera", dt.datetime(2018, 1, 1), "31.12.2020"],
        [" E702 ", "Tyrosin", dt.date(2018, 1, 1), None],
        [None, None, None, None],
    ]
    data = book(("Forklaring", [["Kode betyr kode"]]), ("Alle gyldige koder", rows), change=merge)
    found = read(data)
    assert found.codes.rows() == [
        ("A000", "Kolera", D(2018, 1, 1), D(2020, 12, 31)),
        ("E702", "Tyrosin", D(2018, 1, 1), None),
    ]
    assert found.sheet == "Alle gyldige koder"


def test_excel_numbers_are_codes_only_where_codes_are_numbers() -> None:
    numbers = book(("x", [["Organisasjonsnummer", "Navn"], [123456789, "A"], [987654321.0, "B"]]))
    found = read(numbers, packaged_formats()["orgnr"])
    assert found.codes["code"].to_list() == ["123456789", "987654321"]
    with pytest.raises(DataRefused):
        read(book(("x", [HEAD, [100.5, "x"]])))


@pytest.mark.parametrize("cell", ["=B2", "=HYPERLINK(1)", "#REF!"])
@pytest.mark.parametrize(("column", "role"), [(0, "code"), (1, "text"), (2, "valid_from"), (3, "valid_to")])
def test_excel_formulas_and_errors_are_refused(cell: str, column: int, role: str) -> None:
    row: list[object] = ["A000", "x", None, None]
    row[column] = cell
    with pytest.raises(DataRefused) as refused:
        read(book(("x", [HEAD, ["A001", "y"], row])))
    assert f"sheet x, row 3, column {role}" in refused.value.where


def test_excel_codes_merged_over_rows_are_refused() -> None:
    def merge(made: Workbook) -> None:
        made["x"].merge_cells("A2:A3")

    with pytest.raises(DataRefused) as refused:
        read(book(("x", [HEAD, ["A000", "y"], ["A001", "z"]]), change=merge))
    assert "row 3, column code" in refused.value.where


def test_excel_sheets_are_named_when_in_doubt() -> None:
    data = book(("2019", [HEAD, ["A000", "x"]]), ("2020", [HEAD, ["A001", "x"]]))
    with pytest.raises(DataRefused) as refused:
        read(data)
    assert "2019, 2020" in refused.value.fix
    assert read(data, sheet="2020").codes["code"].to_list() == ["A001"]
    with pytest.raises(DataRefused):
        read(data, sheet="2021")
    with pytest.raises(DataRefused):
        read(book(("x", [["Noe", "annet"]])))


def test_excel_with_a_wrong_size_written_in_it_is_read_whole() -> None:
    data = book(("x", [HEAD] + [[f"A{n:03}", "x"] for n in range(50)]))
    out = BytesIO()
    with zipfile.ZipFile(BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for member in old.infolist():
            content = old.read(member)
            if member.filename.endswith("sheet1.xml"):
                assert b'<dimension ref="A1:D51"' in content
                content = content.replace(b'<dimension ref="A1:D51"', b'<dimension ref="A1"')
            new.writestr(member, content)
    assert len(read(out.getvalue()).codes) == 50


def test_files_too_large_are_refused_before_they_are_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    data = book(("x", [HEAD] + [[f"A{n:03}", "x" * 2000] for n in range(500)]))
    monkeypatch.setattr(code_files, "LARGEST", 500_000)
    assert len(data) < 500_000
    with pytest.raises(DataRefused, match="larger"):
        read(data)
    with pytest.raises(DataRefused, match="larger"):
        read(b"x" * 500_001)


@settings(deadline=None, max_examples=200)
@given(st.one_of(st.binary(max_size=200), st.binary(max_size=60).map(lambda tail: PLAIN.encode() + tail)))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        found = read(data)
    except DataRefused as refused:
        assert refused.where  # noqa: PT017 - either way is fine, silence is not
    else:
        assert found.codes["code"].str.contains(f"^(?:{ICD10.pattern})$").all()


# --- facts and reference ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "code", "on", "valid"),
    [
        ("municipality", "0301", D(2013, 1, 1), True),
        ("municipality", "0706", D(2016, 12, 31), True),
        ("municipality", "0706", D(2017, 1, 1), False),
        ("municipality", "1601", D(2017, 12, 31), True),
        ("municipality", "5001", D(2017, 12, 31), False),
        ("municipality", "5001", D(2018, 1, 1), True),
        ("municipality", "5061", D(2019, 1, 1), True),
        ("municipality", "3020", D(2023, 12, 31), True),
        ("municipality", "3020", D(2024, 1, 1), False),
        ("municipality", "1580", D(2024, 1, 1), True),
        ("municipality", "9999", D(2020, 1, 1), True),
        ("bydel", "120101", D(2019, 12, 31), True),
        ("bydel", "120101", D(2020, 1, 1), False),
        ("bydel", "460101", D(2020, 1, 1), True),
        ("bydel", "030117", D(2020, 1, 1), True),
    ],
)
def test_carried_lists_by_day(name: str, code: str, on: dt.date, *, valid: bool) -> None:
    value = next(value for value in dated_list(name).values if value.code == code)
    assert ((value.valid_from or on) <= on <= (value.valid_to or on)) is valid


@pytest.mark.parametrize(
    ("line", "fault"),
    [("0301,Oslo,,,A,x", "twice"), ("1,,,,A,x", "empty"), ("1,a,2020-02-30,,A,x", "date"), ("1,a,,,D,x", "certainty"),
     ("1,a,2020-01-02,2020-01-01,A,x", "valid from")],
)  # fmt: skip
def test_faulty_facts_are_refused_with_their_line(line: str, fault: str) -> None:
    good = "number,name,valid_from,valid_to,certainty,source\n0301,Oslo,,,A,x\n"
    assert len(read_dated(good, "f.csv")) == 1
    with pytest.raises(WrongUse, match=fault) as refused:
        read_dated(f"{good}{line}\n", "f.csv")
    assert refused.value.where == "f.csv, line 3"


def test_sources_of_dated_lists_are_explained() -> None:
    explained = (Path(__file__).parents[1] / "schemas/codes/SOURCES.md").read_text(encoding="utf-8")
    used = {(name, value.source) for name in ("municipality", "bydel") for value in dated_list(name).values}
    assert [pair for pair in used if f"| {pair[0]} | `{pair[1]}` |" not in explained] == []


@needs_reference
@pytest.mark.parametrize("year", [2013, 2017, 2018, 2019, 2020, 2024])
def test_municipalities_of_a_year_are_those_of_the_reference(year: int) -> None:
    day = D(year, 1, 1)
    ours = {
        value.code
        for value in dated_list("municipality").values
        if value.source == "ssb-131" and (value.valid_from or day) <= day <= (value.valid_to or day)
    }
    assert ours == {row["number"] for row in _reference("municipality_by_year.csv") if row[str(year)] == "1"}


@needs_reference
def test_bydeler_are_those_of_the_reference() -> None:
    ours = {value.code for value in dated_list("bydel").values}
    theirs = {row["bydel_number"] for row in _reference("bydel.csv")}
    theirs |= {row["old_bydel"] for row in _reference("bydel_changes.csv")}
    assert ours == theirs


@needs_reference
@pytest.mark.parametrize(
    ("name", "letter", "column", "years"),
    [
        ("icd10", "D", "years_2011_2017", range(2011, 2018)),
        ("ncsp", "K", "years_2010_2017", range(2010, 2018)),
        ("ncmp", "M", "years_2010_2017", range(2010, 2018)),
        ("ncrp", "R", "years_2016_2017", range(2016, 2018)),
    ],
)
def test_reference_editions_give_the_year_columns_back(name: str, letter: str, column: str, years: range) -> None:
    file = "icd10_no.csv" if name == "icd10" else f"{name}.csv"
    fmt = code_format(name, f'[{name}]\nyears=["{column}"]')
    data = (REFERENCE / file).read_bytes()
    editions = [
        Edition(name, D(year, 1, 1), D(year, 12, 31), read_code_file(data, file, fmt, year=year).codes)
        for year in years
    ]
    tables = code_tables(editions, {letter: (name,)})
    rows = _reference(file)
    codes = pl.Series([row["code"] for row in rows])
    ever = [bool(set(row[column].split()) & {str(year) for year in years}) for row in rows]
    for year in years:
        found = validity(codes, pl.Series([D(year, 7, 1)] * len(rows)), letter, tables).to_list()
        stood = [str(year) in row[column].split() for row in rows]
        want = [VALID if now else NOT_ON_DATE if some else UNKNOWN for now, some in zip(stood, ever, strict=True)]
        assert found == want
    misfits = {code for code, fits in zip(codes, shape(codes, letter), strict=True) if not fits}
    assert misfits <= {"XXXX"}


@needs_reference
def test_reference_organisation_numbers_are_read() -> None:
    data = (REFERENCE / "institutions_orgnr.csv").read_bytes()
    assert len(read_code_file(data, "i.csv", packaged_formats()["orgnr"], year=2026).codes) == 1061


def _reference(name: str) -> list[dict[str, str]]:
    with (REFERENCE / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
