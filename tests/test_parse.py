"""Text becomes the contract's types, or a fault that says where."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spec import CONTRACT, cells, column, same, shown, table

from schemas.contract import TYPES
from schemas.models import DTYPES, dtypes
from transforms.extract.parse import parse

THINGS = table(column("key"), *(column(kind, kind) for kind in TYPES))
FAULT = "fault"


def read(kind: str, text: str | None, decimal: str = ".") -> str:
    """What one text becomes: its value, empty, or the word fault."""
    typed, faults = parse(
        pl.DataFrame({"_row": [3], kind: [text]}, schema_overrides={kind: pl.String}), THINGS, decimal=decimal
    )
    if not faults.is_empty():
        assert faults.rows() == [(3, kind, "type")]
        assert typed[kind].to_list() == [None]
        return FAULT
    value = typed[kind].item()
    return "" if value is None else str(value)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("date", "2020-04-30", "2020-04-30"),
        ("date", "2020-02-29", "2020-02-29"),
        ("date", "", ""),
        ("date", None, ""),
        ("date", "2020-02-30", FAULT),
        ("date", "2021-02-29", FAULT),
        ("date", "1900-02-29", FAULT),
        ("date", "2020-06-31", FAULT),
        ("date", "31.6.2020", FAULT),
        ("date", "30.04.2020", FAULT),
        ("date", "2020-13-01", FAULT),
        ("date", "2020-00-10", FAULT),
        ("date", "20200101", FAULT),
        ("date", "2020-1-1", FAULT),
        ("date", "2020-04-30T00:00:00", FAULT),
        ("date", " 2020-04-30", FAULT),
        ("date", "2020-04-30\n", FAULT),
        ("date", "٢٠٢٠-٠٤-٣٠", FAULT),
        ("date", "NULL", FAULT),
        ("datetime", "2020-04-30T23:59:59", "2020-04-30 23:59:59"),
        ("datetime", "2020-04-30 12:00:00", "2020-04-30 12:00:00"),
        # Clocks go forward that night: not an hour of the clock, but the register's times carry no zone.
        ("datetime", "2020-03-29T02:30:00", "2020-03-29 02:30:00"),
        ("datetime", "", ""),
        ("datetime", "2020-04-30", FAULT),
        ("datetime", "2020-04-30T24:00:00", FAULT),
        ("datetime", "2020-04-30T23:59:60", FAULT),
        ("datetime", "2020-04-30T12:60:00", FAULT),
        ("datetime", "2020-02-30T12:00:00", FAULT),
        ("datetime", "2020-04-30T12:00", FAULT),
        ("datetime", "2020-04-30T12:00:00Z", FAULT),
        ("datetime", "2020-04-30T12:00:00+02:00", FAULT),
        ("integer", "12", "12"),
        ("integer", "007", "7"),
        ("integer", "-3", "-3"),
        ("integer", "+3", "3"),
        ("integer", "", ""),
        ("integer", "12.0", FAULT),
        ("integer", "1e3", FAULT),
        ("integer", "1 000", FAULT),
        ("integer", "2147483647", "2147483647"),
        ("integer", "2147483648", FAULT),
        ("integer", "x", FAULT),
        ("string", "", ""),
        ("string", " Bjørn ", " Bjørn "),
        ("string", "0301", "0301"),
        ("code", "01", "01"),
    ],
)
def test_a_text_is_of_its_type_or_a_fault(kind: str, text: str | None, value: str) -> None:
    assert read(kind, text) == value


@pytest.mark.parametrize(
    ("text", "with_point", "with_comma"),
    [
        ("1234", "1234.00", "1234.00"),
        ("1234.5", "1234.50", "1234.50"),
        ("1234,5", FAULT, "1234.50"),
        ("-0,01", FAULT, "-0.01"),
        ("1.234,50", FAULT, FAULT),
        ("1 234,50", FAULT, FAULT),
        ("1,234", FAULT, FAULT),
        ("1,", FAULT, FAULT),
        (",5", FAULT, FAULT),
        ("1,2,3", FAULT, FAULT),
        ("1e3", FAULT, FAULT),
        ("NaN", FAULT, FAULT),
        ("9999999999999999.99", "9999999999999999.99", "9999999999999999.99"),
        ("99999999999999999.99", FAULT, FAULT),
    ],
)
def test_a_decimal_under_either_sign(text: str, with_point: str, with_comma: str) -> None:
    assert (read("decimal", text, "."), read("decimal", text, ",")) == (with_point, with_comma)


def test_a_slice_becomes_the_columns_of_the_contract_in_its_order() -> None:
    raw = pl.DataFrame(
        {
            "_row": [11, 12, 13],
            "kostnad": ["100,50", "tolv", ""],
            "episodeID": ["e1", "e2", "e3"],
            "kostnadNr": ["1", "2", "tre"],
        }
    )
    typed, faults = parse(raw, CONTRACT.tables["costs"], decimal=",")
    assert typed.schema == {"_row": pl.UInt32(), **dtypes(CONTRACT.tables["costs"])}
    same(
        typed,
        """
        _row | episodeID | drg | total | kostnadNr | kostnadKode | kostnad
        11   | e1        |     |       | 1         |             | 100.50
        12   | e2        |     |       | 2         |             |
        13   | e3        |     |       |           |             |
        """,
    )
    same(
        faults,
        """
        _row | column    | rule
        12   | kostnad   | type
        13   | kostnadNr | type
        """,
    )


@pytest.mark.parametrize(
    ("kind", "delivered", "expected"),
    [
        ("integer", pl.Series([1, None], dtype=pl.Int64), ["1", ""]),
        ("integer", pl.Series([3_000_000_000, -1], dtype=pl.Int64), [FAULT, "-1"]),
        ("integer", pl.Series([2.0, 12.5, float("nan"), float("inf")]), ["2", FAULT, FAULT, FAULT]),
        ("integer", pl.Series([Decimal("2.00"), Decimal("2.50")]), ["2", FAULT]),
        ("decimal", pl.Series([1, 2]), ["1.00", "2.00"]),
        ("decimal", pl.Series([1.5, float("nan")]), ["1.50", FAULT]),
        ("date", pl.Series([dt.date(2020, 4, 30)]), ["2020-04-30"]),
        ("date", pl.Series([dt.datetime(2020, 4, 30, 13)]), ["2020-04-30"]),
        # Midnight in Norway is the evening before in UTC.
        (
            "date",
            pl.Series([dt.datetime(2020, 4, 29, 22, tzinfo=dt.UTC)], dtype=pl.Datetime("us", "UTC")),
            ["2020-04-30"],
        ),
        (
            "datetime",
            pl.Series([dt.datetime(2020, 1, 1, 11, tzinfo=dt.UTC)], dtype=pl.Datetime("ms", "UTC")),
            ["2020-01-01 12:00"],
        ),
        ("datetime", pl.Series([dt.datetime(2020, 1, 1, 11)], dtype=pl.Datetime("ns")), ["2020-01-01 11:00"]),
        ("string", pl.Series([12, None]), ["12", ""]),
        ("code", pl.Series(["a"], dtype=pl.Categorical), ["a"]),
        ("string", pl.Series([None, None], dtype=pl.Null), ["", ""]),
        ("date", pl.Series([None], dtype=pl.Null), [""]),
        # A number is no day, though a library would count it from 1970; a day is no number.
        ("date", pl.Series([20200101, 43831]), [FAULT, FAULT]),
        ("datetime", pl.Series([43831.5]), [FAULT]),
        ("integer", pl.Series([dt.date(2020, 4, 30)]), [FAULT]),
        ("integer", pl.Series([True]), [FAULT]),
        # What a detour over floating point leaves of a number is not the text that was there.
        ("code", pl.Series([1.0, None]), [FAULT, ""]),
        ("string", pl.Series([dt.date(2020, 4, 30)]), [FAULT]),
    ],
)
def test_a_typed_column_of_a_parquet_file(kind: str, delivered: pl.Series, expected: list[str]) -> None:
    rows = range(1, len(delivered) + 1)
    typed, faults = parse(pl.DataFrame({"_row": rows, kind: delivered}), THINGS)
    assert typed.schema[kind] == DTYPES[kind]
    wrong = set(faults["_row"])
    values = [row[0] for row in shown(typed, [kind])[1:]]
    assert [FAULT if row in wrong else value for row, value in zip(rows, values, strict=True)] == expected


VALUES: dict[str, st.SearchStrategy[object]] = {
    "string": st.text(min_size=1),
    "code": st.text("0123456789ABC", min_size=1),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "decimal": st.decimals(-(10**15), 10**15, places=2),
    "date": st.dates(),
    "datetime": st.datetimes().map(lambda value: value.replace(microsecond=0)),
}


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(TYPES).flatmap(lambda kind: st.tuples(st.just(kind), st.lists(VALUES[kind] | st.none()))),
    st.sampled_from(".,"),
)
def test_what_is_written_as_agreed_is_read_as_it_was_meant(case: tuple[str, list[object]], decimal: str) -> None:
    kind, values = case
    text = [None if value is None else _written(value, decimal) for value in values]
    raw = pl.DataFrame({"_row": range(len(text)), kind: pl.Series(text, dtype=pl.String)})
    typed, faults = parse(raw, THINGS, decimal=decimal)
    assert faults.is_empty()
    assert typed[kind].to_list() == values


def _written(value: object, decimal: str) -> str:
    if isinstance(value, dt.datetime):
        return value.isoformat()
    return f"{value:f}".replace(".", decimal) if isinstance(value, Decimal) else str(value)


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(st.text("0123456789-T:.,+ x", max_size=20)), kind=st.sampled_from(TYPES))
def test_every_text_is_a_value_or_a_fault_and_never_both(texts: list[str], kind: str) -> None:
    raw = pl.DataFrame({"_row": range(len(texts)), kind: pl.Series(texts, dtype=pl.String)})
    typed, faults = parse(raw, THINGS)
    assert typed["_row"].to_list() == list(range(len(texts)))
    lost = [row for row, (text, value) in enumerate(zip(texts, typed[kind], strict=True)) if text and value is None]
    assert faults["_row"].to_list() == lost


def test_an_empty_slice_keeps_its_types() -> None:
    for contract_table in CONTRACT:
        typed, faults = parse(pl.DataFrame(schema={"_row": pl.UInt32}), contract_table)
        assert typed.schema == {"_row": pl.UInt32(), **dtypes(contract_table)}
        assert faults.is_empty()


def test_the_helper_of_these_tests_reads_empty_cells_as_null() -> None:
    assert cells("a | b\n--+--\n1 |") == [["a", "b"], ["1", ""]]
