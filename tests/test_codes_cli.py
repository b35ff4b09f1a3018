"""``npr codes``: load, list, check; nothing is ever valid without a list, and no half or spoiled list is believed."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import polars as pl
import pytest
from conftest import call, call_process

from pipelines.home.codes import CodesHome, Download, carried
from schemas.codelists import code_lists, codes_valid
from schemas.errors import DataRefused
from transforms.code_validity import NOT_CHECKED, VALID, code_tables, validity, validity_in

NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
CSV = "Kode;Tekst\nA00.0;Kolera\nA00.9;Kolera, uspesifisert\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "icd10_2020.csv"
    path.write_text(CSV, encoding="utf-8")
    return path


def test_before_anything_is_loaded_nothing_is_valid(home: Path) -> None:
    outcome = call("codes", "check", "icd10", "A000", "--on", "2020-05-01", "--json", home=home)
    assert outcome.code == 1
    assert outcome.json["status"] == NOT_CHECKED
    assert outcome.json["fix"] == "npr codes add icd10 FILE --year 2020"
    assert "not checked against a list" in outcome.err
    listed = {row["name"]: row for row in call("codes", "list", "--json", home=home).json}
    assert {name for name, row in listed.items() if row["source"] == "missing"} == {
        "icd10", "ncsp", "ncmp", "ncrp", "resh", "orgnr",
    }  # fmt: skip
    assert not home.exists()


def test_add_list_check(home: Path, file: Path) -> None:
    added = call("codes", "add", "icd10", file, "--year", "2020", "--json", home=home).json
    assert (added["done"], added["rows"], added["file"]) == ("added", 2, "icd10_2020.csv")
    assert (home / "codes/icd10/2020.parquet").is_file()
    line = next(row for row in call("codes", "list", "--json", home=home).json if row["name"] == "icd10")
    assert line == {
        "name": "icd10",
        "title": "ICD-10, Norwegian edition",
        "source": "loaded: icd10_2020.csv",
        "year": 2020,
        "from": "2020-01-01",
        "to": "2020-12-31",
        "rows": 2,
        "sha256": added["sha256"],
    }
    assert "icd10_2020.csv" in call("codes", "list", home=home).out
    valid = call("codes", "check", "icd10", "A000", "--on", "2020-12-31", home=home)
    assert (valid.code, valid.out) == (0, "icd10 A000 on 2020-12-31: valid (Kolera)\n")


@pytest.mark.parametrize(
    ("name", "code", "on", "status"),
    [
        ("icd10", "A000", "2020-01-01", "valid"),
        ("icd10", "A000", "2021-01-01", "not_checked"),
        ("icd10", "A001", "2020-01-01", "unknown_code"),
        ("ncsp", "JAH01", "2020-01-01", "not_checked"),
        ("municipality", "0706", "2020-01-01", "not_valid_on_date"),
        ("municipality", "0301", "2012-01-01", "not_checked"),
        ("bydel", "030110", "2020-01-01", "valid"),
        ("8428", "2", "2017-12-31", "valid"),
        ("8428", "2", "2018-01-01", "not_valid_on_date"),
        ("2.16.578.1.12.4.1.1.8428", "7", "2018-01-01", "unknown_code"),
        ("8428", "1", "2016-01-01", "not_checked"),
    ],
)
def test_check_says_one_of_four(home: Path, file: Path, name: str, code: str, on: str, status: str) -> None:
    call("codes", "add", "icd10", file, "--year", "2020", home=home)
    outcome = call("codes", "check", name, code, "--on", on, "--json", home=home)
    assert (outcome.json["status"], outcome.code) == (status, 0 if status == VALID else 1)


def test_adding_again_is_nothing_and_other_codes_need_replace(home: Path, file: Path) -> None:
    first = call("codes", "add", "icd10", file, "--year", "2020", "--json", home=home).json
    again = call("codes", "add", "icd10", file, "--year", "2020", "--json", home=home).json
    assert again == first | {"done": "unchanged"}
    other = file.with_name("other.csv")
    other.write_text(CSV + "B000;Herpes\n", encoding="utf-8")
    refused = call("codes", "add", "icd10", other, "--year", "2020", home=home)
    assert refused.code == 1
    assert "--replace" in refused.err
    assert call("codes", "check", "icd10", "B000", "--on", "2020-01-01", home=home).code == 1
    replaced = call("codes", "add", "icd10", other, "--year", "2020", "--replace", "--json", home=home).json
    assert replaced["done"] == "replaced"
    assert call("codes", "check", "icd10", "B000", "--on", "2020-01-01", home=home).code == 0


def test_days_of_an_edition(home: Path, file: Path) -> None:
    days = ("--valid-from", "2018-01-01", "--valid-to", "2019-12-31")
    assert call("codes", "add", "icd10", file, *days, home=home).code == 0
    assert call("codes", "check", "icd10", "A000", "--on", "2019-12-31", home=home).code == 0
    clash = call("codes", "add", "icd10", file, "--year", "2019", home=home)
    assert clash.code == 2
    assert "2018-01-01 to 2019-12-31" in clash.err
    assert call("codes", "add", "icd10", file, "--year", "2020", home=home).code == 0
    for wrong in ((), ("--year", "20"), ("--year", "2021", "--valid-from", "2020-01-01")):
        assert call("codes", "add", "icd10", file, *wrong, home=home).code == 2
    assert call("codes", "add", "icd10", file, "--year", "2021", "--valid-to", "2020-01-01", home=home).code == 2


def test_a_bad_file_leaves_nothing_behind(home: Path, file: Path) -> None:
    file.write_text(CSV + "x;y\n", encoding="utf-8")
    refused = call("codes", "add", "icd10", file, "--year", "2020", "--json", home=home)
    assert refused.code == 1
    assert refused.json["where"] == "icd10_2020.csv, row 4, column code"
    assert not (home / "codes").exists()
    assert call("codes", "add", "icd10", file.with_name("none.csv"), "--year", "2020", home=home).code == 2
    assert call("codes", "add", "icd11", file, "--year", "2020", home=home).code == 2
    assert call("codes", "check", "icd11", "A000", home=home).code == 2


@pytest.mark.parametrize("spoil", ["truncate", "other codes", "no record", "moved"])
def test_a_spoiled_list_stops_and_can_be_replaced(home: Path, file: Path, spoil: str) -> None:
    call("codes", "add", "icd10", file, "--year", "2020", home=home)
    path = home / "codes/icd10/2020.parquet"
    if spoil == "truncate":
        path.write_bytes(path.read_bytes()[:-100])
    elif spoil == "other codes":
        kept = {"npr_codes": pl.read_parquet_metadata(path)["npr_codes"]}
        pl.read_parquet(path).with_columns(code=pl.lit("B000")).write_parquet(path, metadata=kept)
    elif spoil == "no record":
        pl.read_parquet(path).write_parquet(path)
    else:
        path.rename(path.with_name("2021.parquet"))
        path = path.with_name("2021.parquet")
    outcome = call("codes", "check", "icd10", "A000", "--on", "2020-01-01", home=home)
    assert outcome.code == 1
    assert "is spoiled" in outcome.err
    with pytest.raises(DataRefused):
        CodesHome(home).tables()
    year = path.stem
    assert call("codes", "add", "icd10", file, "--year", year, "--replace", home=home).code == 0
    assert call("codes", "check", "icd10", "A000", "--on", f"{year}-01-01", home=home).code == 0


def test_own_headings_and_a_list_of_ones_own(home: Path, tmp_path: Path) -> None:
    data, columns = tmp_path / "atc.csv", tmp_path / "atc.toml"
    data.write_text("Legemiddel,Navn\nL04AA27,Fingolimod\n", encoding="utf-8")
    columns.write_text(
        '[atc]\ntitle="ATC"\nkodeverk=["F"]\ncode=["legemiddel"]\ntext=["navn"]\npattern="[A-Z][0-9]{2}[A-Z]{2}[0-9]{2}"\n',
        encoding="utf-8",
    )
    add = ("codes", "add", "atc", data, "--year", "2020")
    assert call(*add, home=home).code == 2
    assert call(*add, "--columns", columns, home=home).code == 0
    tables = CodesHome(home).tables()
    day = pl.Series([dt.date(2020, 5, 1)] * 2)
    assert validity(pl.Series(["L04AA27", "L04AA99"]), day, "F", tables).to_list() == [VALID, "unknown_code"]
    for wrong in (
        "[atc",
        "[ATC]\ntitle=1",
        "atc=1",
        '[atc]\ntitle="x"\ncode=["a"]\npattern="("',
        "[bydel]\n",
        "[8406]\n",
    ):
        columns.write_text(wrong, encoding="utf-8")
        assert call(*add, "--columns", columns, home=home).code == 2


def test_a_much_smaller_edition_is_doubted(home: Path, file: Path) -> None:
    call("codes", "add", "icd10", file, "--year", "2020", home=home)
    file.write_text("Kode;Tekst\nA00.0;Kolera\n", encoding="utf-8")
    outcome = call("codes", "add", "icd10", file, "--year", "2021", home=home)
    assert outcome.code == 0
    assert "1 codes, where 2020 has 2: is the file complete?" in outcome.out


def test_digest_follows_the_codes(home: Path, file: Path) -> None:
    codes = CodesHome(home)
    empty = codes.digest()
    codes.add(Download("icd10", file, 2020), NOW)
    first = codes.digest()
    codes.add(Download("icd10", file, 2021), NOW)
    assert len({empty, first, codes.digest()}) == 3
    again = CodesHome(home.with_name("elsewhere"))
    again.add(Download("icd10", file, 2020), NOW + dt.timedelta(days=9))
    assert again.digest() == first


def test_carried_lists_say_the_same_by_day_as_by_year(home: Path) -> None:
    tables = code_tables(carried(), {})
    assert not home.exists()
    for oid, entry in code_lists().items():
        codes = pl.Series([value.code for value in entry.values])
        for year in range(2017, 2027):
            for day in (dt.date(year, 1, 1), dt.date(year, 12, 31)):
                status = validity_in(oid, codes, pl.Series([day] * len(codes)), tables)
                assert set(codes.filter(status == VALID)) == codes_valid(oid, year)


def test_a_process_of_its_own_and_help(home: Path, file: Path) -> None:
    outcome = call_process("codes", "add", "icd10", file, "--year", "2020", "--json", home=home)
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["rows"] == 2
    assert call("codes", "--help", home=home).code == 0
