"""The contract holds for each row, whatever the environment says, and no fault quotes a value."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from dataclasses import replace
from itertools import product
from pathlib import Path

import polars as pl
import pytest
from spec import CONTRACT, column, frame, same, staged, table

from schemas.codelists import codes_valid
from schemas.contract import Column, Rule, Table
from schemas.errors import DataRefused
from schemas.models import DTYPES, dtypes
from transforms.extract import faults
from transforms.extract.checks import check, insist
from transforms.extract.parse import parse

YEARS = (2019, 2020)
MARKER = "Hemmelig"


def test_a_right_patient_has_no_fault() -> None:
    right = staged("patients", "pasientNr | kjonn | fodselsar | fodselsvekt \n p1 | 2 | 1980 | \n p2 | 1 | 0 | 3500")
    assert check(right, CONTRACT.tables["patients"], YEARS).is_empty()
    insist(right, CONTRACT.tables["patients"], YEARS)


def test_each_wrong_field_of_a_patient_is_a_fault_of_its_own() -> None:
    rows = staged(
        "patients",
        """
        _row | pasientNr | kjonn | fodselsar | fodselsvekt
        11   | p1        | 2     | 1980      |
        12   |           | 7     | 1980      | 0
        13   | p3        |       |           |
        14   | p4        | 1     | 2101      | 10000
        """,
    )
    same(
        check(rows, CONTRACT.tables["patients"], YEARS),
        """
        _row | column      | rule
        12   | fodselsvekt | range
        12   | kjonn       | code
        12   | pasientNr   | required
        13   | fodselsar   | required
        13   | kjonn       | required
        14   | fodselsar   | range
        14   | fodselsvekt | range
        """,
    )


def _right(limited: Column) -> str:
    """A text that every limit of the column allows."""
    if limited.code_list:
        return min(codes_valid(limited.code_list, 2020))
    examples = {"date": "2020-04-30", "datetime": "2020-04-30T12:00:00", "decimal": "1.50", "integer": "1"}
    return examples.get(limited.type, "0301")


def _wrong(limited: Column) -> dict[str, str]:
    """Rule -> a text of the column's type that breaks it."""
    broken = {"required": ""} if limited.required else {}
    if limited.code_list:
        broken["code"] = f"{MARKER}-code"
    if limited.pattern:
        broken["pattern"] = "§"
    if limited.max_length:
        broken["length"] = "9" * (limited.max_length + 1)
    if limited.maximum is not None:
        broken["range"] = str(limited.maximum + 1)
    if limited.type in ("date", "datetime"):
        broken["range"] = "1899-12-31" + ("T23:59:59" if limited.type == "datetime" else "")
    return broken


@pytest.mark.parametrize("contract_table", list(CONTRACT), ids=lambda contract_table: contract_table.name)
def test_every_limit_of_every_column_speaks(contract_table: Table) -> None:
    """Row 0 is right; each row after it is right but for one column, which breaks one rule."""
    broken = [(column.name, rule, text) for column in contract_table.columns for rule, text in _wrong(column).items()]
    right = {column.name: _right(column) for column in contract_table.columns}
    raw = pl.DataFrame([right, *({**right, name: text} for name, _, text in broken)])
    typed, unparsed = parse(raw.with_row_index("_row"), contract_table)
    assert unparsed.is_empty()
    between = [rule.id for rule in contract_table.rules]
    found = set(check(typed, contract_table, YEARS).filter(~pl.col("rule").is_in(between)).iter_rows())
    assert {(row, name, rule) for row, (name, rule, _) in enumerate(broken, 1)} <= found
    # Nothing else, but that a text which is too long may be of the wrong form, too.
    assert {(row, name) for row, name, _ in found} == {(row, name) for row, (name, _, _) in enumerate(broken, 1)}
    assert {rule for row, _, rule in found if rule not in (broken[row - 1][1], "pattern")} == set()


def test_a_pattern_holds_from_the_first_letter_to_the_last() -> None:
    numbers = ["0301", "03011", "030", "a0301", "0301\n", "\n0301", "0301 ", "٠٣٠١"]
    rows = pl.DataFrame({"_row": range(len(numbers)), "komNrHjem": numbers})
    typed, _ = parse(rows, CONTRACT.tables["referrals"])
    found = check(typed, CONTRACT.tables["referrals"], YEARS).filter(pl.col("column") == "komNrHjem")
    assert found["_row"].to_list() == [1, 2, 3, 4, 5, 6, 7]


def test_a_code_may_be_valid_in_any_year_of_the_extract() -> None:
    """List 8401: 21 is valid from 2017, 22 from 2018."""
    things = table(replace(column("polUtforende", "code"), code_list="8401"))
    rows = frame("_row | polUtforende \n 1 | 21 \n 2 | 22 \n 3 | nil \n 4 |")
    assert check(rows, things, (2017,))["_row"].to_list() == [2, 3]
    assert check(rows, things, (2017, 2018))["_row"].to_list() == [3]
    assert check(rows, things, (2016,))["_row"].to_list() == [1, 2, 3]


@pytest.mark.parametrize(
    ("contract_table", "text", "expected"),
    [
        (
            "referrals",
            """
            _row | ansienDato | mottaksDato | vurdDato   | ventetidSluttDato | ventetidSluttKode
            1    | 2020-01-02 | 2020-01-03  | 2020-01-03 | 2020-02-01        | 1
            2    |            | 2020-01-03  |            |                   |
            3    | 2020-01-02 |             | 2019-12-01 |                   |
            4    |            |             |            |                   |
            5    |            | 2020-01-03  | 2020-01-02 |                   |
            6    |            | 2020-01-03  |            | 2020-02-01        |
            7    |            | 2020-01-03  |            |                   | 1
            """,
            """
            _row | column            | rule
            4    | ansienDato        | WAIT-02
            5    | vurdDato          | WAIT-13
            6    | ventetidSluttDato | WAIT-01
            7    | ventetidSluttDato | WAIT-01
            """,
        ),
        (
            "episodes",
            """
            _row | innDatoTid       | utDatoTid
            1    | 2020-01-02 10:00 | 2020-01-02 10:00
            2    | 2020-01-02 10:00 |
            3    | 2020-01-02 10:00 | 2020-01-02 09:59
            """,
            "_row | column | rule \n 3 | utDatoTid | EPI-03",
        ),
        (
            "procedures",
            """
            _row | startDatoTid     | sluttDatoTid
            1    | 2020-01-02 10:00 | 2020-01-02 10:30
            2    | 2020-01-02 10:00 | 2020-01-01 10:30
            """,
            "_row | column | rule \n 2 | sluttDatoTid | EPI-29",
        ),
    ],
)
def test_rules_between_columns(contract_table: str, text: str, expected: str) -> None:
    found = check(staged(contract_table, text), CONTRACT.tables[contract_table], YEARS)
    same(found.filter(pl.col("rule").str.contains("-")), expected)


def test_a_rule_of_a_kind_nobody_knows_is_a_bug_and_no_silence() -> None:
    things = Table("odd", "odd", True, ("key",), (column("key"),), {}, None, (), (Rule("X", "maybe", ("key",)),), False)  # noqa: FBT003
    with pytest.raises(ValueError, match="unknown kind of rule: maybe"):
        check(frame("_row | key \n 1 | a"), things, YEARS)


def test_a_frame_of_other_types_is_refused_and_not_read_as_right() -> None:
    wrong = staged("patients", "pasientNr | kjonn | fodselsar \n p1 | 2 | 1980").with_columns(
        pl.col("fodselsar").cast(pl.String)
    )
    with pytest.raises(DataRefused, match="not of the contract's types"):
        check(wrong, CONTRACT.tables["patients"], YEARS)


BAD_FRAME = """
import polars as pl
from schemas.contract import load_contract
from schemas.errors import DataRefused
from schemas.models import dtypes, model
from transforms.extract.checks import check, insist

table = load_contract().tables["patients"]
bad = {"_row": [1], "pasientNr": [None], "kjonn": ["x"], "fodselsar": [9999], "fodselsvekt": [0]}
frame = pl.DataFrame(bad, schema={"_row": pl.UInt32(), **dtypes(table)})
try:
    model(table, (2020,)).validate(frame.select(table.names), lazy=True)
    print("pandera alone: passed")
except Exception:
    print("pandera alone: refused")
print("check:", sorted(check(frame, table, (2020,))["rule"]))
try:
    insist(frame, table, (2020,))
    print("insist: passed")
except DataRefused:
    print("insist: refused")
"""


def test_a_bad_frame_fails_even_where_the_environment_switches_pandera_off() -> None:
    """The first line shows that the variables do what is feared of them; the others that it does not matter."""
    off = {"PANDERA_VALIDATION_ENABLED": "False", "PANDERA_VALIDATION_DEPTH": "SCHEMA_ONLY"}
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", BAD_FRAME],
        env={**os.environ, "PYTHONPATH": str(root), **off},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == [
        "pandera alone: passed",
        "check: ['code', 'range', 'range', 'required']",
        "insist: refused",
    ]


@pytest.mark.parametrize("contract_table", list(CONTRACT), ids=lambda contract_table: contract_table.name)
def test_no_fault_and_no_error_holds_a_value_of_a_row(contract_table: Table) -> None:
    """Every field holds the marker: a fault of type in columns of numbers and dates, of a limit in columns of text."""
    text = f"{MARKER} {MARKER * 20}"
    raw = pl.DataFrame({"_row": [1], **dict.fromkeys(contract_table.names, text)})
    typed, unparsed = parse(raw, contract_table)
    found = check(typed, contract_table, YEARS)
    told = f"{unparsed.rows()} {found.rows()}"
    with pytest.raises(DataRefused) as refused:
        insist(typed, contract_table, YEARS)
    error: BaseException | None = refused.value
    while error is not None:
        told += str(error) + repr(error.__dict__)
        error = error.__cause__ or error.__context__
    told += "".join(traceback.format_exception(refused.value))
    assert set(unparsed["column"]) | set(found["column"]) >= {c.name for c in contract_table.columns if c.required}
    assert MARKER not in told


def test_the_rows_that_no_fault_names_are_just_those_that_pass() -> None:
    """Every mixture of right, wrong and empty fields."""
    patients = CONTRACT.tables["patients"]
    rows = list(product(["p", None], ["1", "x", None], [1980, -1, None], [3500, 0, None]))
    typed = pl.DataFrame(rows, schema=dtypes(patients), orient="row").with_row_index("_row", offset=5)
    wrong = check(typed, patients, YEARS)
    right = {number for number, row in enumerate(rows, 5) if _passes(row)}
    assert set(wrong["_row"]) == set(typed["_row"]) - right
    insist(faults.without(typed, wrong), patients, YEARS)


def _passes(row: tuple[object, ...]) -> bool:
    number, kjonn, year, weight = row
    return number is not None and kjonn == "1" and year == 1980 and weight in (3500, None)


def test_every_type_of_the_contract_has_a_polars_type() -> None:
    assert {c.type for contract_table in CONTRACT for c in contract_table.columns} <= set(DTYPES)
