"""Code lists: the packaged facts, years of validity, the checked reader, and the reference they were taken from."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from schemas.codelists import FOLDER, OID_PREFIX, code_list, code_lists, codes_valid, read_code_lists
from schemas.contract import load_contract
from schemas.errors import WrongUse

REFERENCE = Path(__file__).parents[1] / "../shared/domain/data"
LISTS = "oid,name_no,name_en,certainty,source\n8406,Omsorgsnivå,Level of care,A,x\n"
VALUES = "oid,code,text_no,valid_from,valid_to,certainty,source\n8406,1,Døgnopphold,,,A,x\n"
# Codes known by number only, so in no file of the reference (npr-model-2, list 8705, April 2018).
NUMBER_ONLY = {("8705", "12"), ("8705", "91")}
SKDE_NAMES = {
    "8401": "UTFORENDEHELSEPERSON",
    "8426": "DEBITOR",
    "8428": "INNMATEHAST",
    "8451": "FAGOMRADE",
    "8454": "POLINDIR",
    "8705": "individuellplan",
}


@pytest.mark.parametrize(
    ("oid", "year", "codes"),
    [
        ("3101", 2020, "0 1 2 9"),
        ("7371", 2020, "B E"),
        ("7371", 2022, "B E K"),
        ("8406", 2020, "1 2 3 8"),
        ("8428", 2017, "1 2 3 4 5"),
        ("8428", 2018, "1 4 5"),
        ("8430", 2020, "1 2"),
        ("8432", 2019, "1 2 3 5 12 13"),
        ("8432", 2020, "1 2 3 5 12 13 14"),
        ("8432", 2021, "1 2 3 5 6 7 12 13 14"),
        ("8444", 2020, "3 4 5 6"),
        ("8445", 2018, "1 2 3 4 5 9"),
        ("8445", 2020, "1 2 3 4 5 7 9"),
        ("8446", 2018, "1 3 4 5 21 22"),
        ("8446", 2020, "1 3 4 5 6 21 22"),
        ("8410", 2018, "A B D F H K M N P Q R S X"),
        ("8410", 2020, "A B D F G H K M N P Q R S T X"),
        ("8454", 2020, "1 2 3 5 6 7 8 11 12 13 17 18 21 22 23 71"),
        ("8454", 2021, "1 2 3 5 6 7 8 11 12 18 21 22 23 71"),
        ("8705", 2018, "1 2 4 5 9 12 21 31 91"),
        ("8705", 2020, "101 102 103 104 105 106"),
        ("9032", 2020, "1 2 3 4 5 6 7 8 9 10 12"),
    ],
)
def test_codes_of_a_year(oid: str, year: int, codes: str) -> None:
    assert codes_valid(oid, year) == frozenset(codes.split())


def test_single_years() -> None:
    assert "40" in codes_valid("8426", 2017)
    assert "40" not in codes_valid("8426", 2018)
    assert {"13", "51"} <= codes_valid("8426", 2018)
    assert "500" not in codes_valid("8451", 2020)
    assert "500" in codes_valid("8451", 2021)
    assert "31" not in codes_valid("8401", 2022)
    assert len(codes_valid("8401", 2020)) == len(codes_valid("8401", 2019)) + 4
    assert len(codes_valid("8460", 2020)) == 242
    assert "NO" in codes_valid("8460", 2020)


def test_every_list_of_the_extract_is_there_and_has_codes_in_every_data_year() -> None:
    wanted = {column.code_list for table in load_contract() for column in table.columns if column.code_list}
    assert wanted <= set(code_lists())
    assert {oid for oid in code_lists() for year in range(2017, 2027) if not codes_valid(oid, year)} == set()


def test_full_number_and_unknown_list() -> None:
    assert code_list(OID_PREFIX + "8406") is code_list("8406")
    with pytest.raises(WrongUse) as refused:
        code_list("84066")
    assert "8406" in refused.value.fix
    with pytest.raises(WrongUse):
        codes_valid("", 2020)


def test_every_source_key_is_explained() -> None:
    explained = set(
        re.findall(r"^\| `([a-z0-9-]+)` \|", (FOLDER / "SOURCES.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    used = {entry.source for entry in code_lists().values()}
    used |= {value.source for entry in code_lists().values() for value in entry.values}
    assert used == explained


@pytest.mark.parametrize(
    ("lists", "values", "where"),
    [
        (LISTS, VALUES + "8406,1,Dag,,,A,x\n", "values.csv, line 3"),
        (LISTS, VALUES + "8407,1,Dag,,,A,x\n", "values.csv, line 3"),
        (LISTS, VALUES + "8406,2,Dag,20,,A,x\n", "values.csv, line 3"),
        (LISTS, VALUES + "8406,2,Dag,2020x,,A,x\n", "values.csv, line 3"),
        (LISTS, VALUES + "8406,2,Dag,2021,2020,A,x\n", "values.csv, line 3"),
        (LISTS, VALUES + "8406,2,Dag,,,D,x\n", "values.csv, line 3"),
        (LISTS, VALUES + "8406,2,,,,A,x\n", "values.csv, line 3"),
        (LISTS, VALUES + "8406,,Dag,,,A,x\n", "values.csv, line 3"),
        (LISTS, VALUES + "8406,2,Dag,,,A\n", "values.csv, line 3"),
        (LISTS, VALUES + '8406,2,"Dag,,,A,x\n', "values.csv, line 3"),
        (LISTS, VALUES.replace("text_no", "text"), "values.csv, line 1"),
        (LISTS, "", "values.csv, line 1"),
        (LISTS + "8406,Igjen,Again,A,x\n", VALUES, "lists.csv, line 3"),
        (LISTS + "8432,Kontakttype,Contact,A,\n", VALUES, "lists.csv, line 3"),
        (LISTS + "8432,Kontakttype,Contact,A,x\n", VALUES, "values.csv"),
    ],
)
def test_faulty_files_are_refused_with_file_and_line(lists: str, values: str, where: str) -> None:
    assert set(read_code_lists(LISTS, VALUES)) == {"8406"}
    with pytest.raises(WrongUse) as refused:
        read_code_lists(lists, values)
    assert refused.value.where == f"schemas/codes/{where}"


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference code lists are not beside this repository")
def test_no_code_that_the_reference_does_not_have() -> None:
    ours = {(entry.oid, value.code) for entry in code_lists().values() for value in entry.values if entry.oid != "8460"}
    assert ours - _reference_codes() == NUMBER_ONLY


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference code lists are not beside this repository")
def test_every_code_of_the_2018_snapshot_is_valid_in_2019() -> None:
    missing = {
        (row["oid_last_part"], row["code"])
        for row in _rows("volven_codelists_2018-10.csv")
        if row["oid_last_part"] in code_lists() and row["code"] not in codes_valid(row["oid_last_part"], 2019)
    }
    assert missing == set()


def _reference_codes() -> set[tuple[str, str]]:
    found = {(row["oid_last_part"], row["code"]) for row in _rows("volven_codelists_2018-10.csv")}
    found |= {(row["oid_last_arc"], row["code"]) for row in _rows("volven_codelists_xpr56_hdir.csv")}
    found |= {(next(iter(row.values())), row["code"]) for row in _rows("volven_codelists_found.csv")}
    skde = {(row["format_name"], row["code"]) for row in _rows("npr_codes_from_skde_formats.csv")}
    return found | {(oid, code) for oid, name in SKDE_NAMES.items() for named, code in skde if named == name}


def _rows(name: str) -> list[dict[str, str]]:
    with (REFERENCE / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
