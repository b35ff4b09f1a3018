"""Foreign extracts: the engine of source mappings, the mapping of Synthea, and the example of docs/sources.md."""

from __future__ import annotations

import gzip
import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
import stages
from conftest import ROOT, Finished, call

from assets import scope, snapshot, sources, staging
from assets.ports import Options, Run
from schemas.config import Config
from schemas.contract import load_contract
from schemas.errors import DataRefused, WrongUse
from schemas.extract_file import DeliveredFile
from schemas.records import FileRecord, Snapshot, Staged

SOURCES = ROOT / "sql" / "sources"
SHARED = ROOT / ".." / "shared" / "extracts" / "synthea_py_medium"
VALUE = "Hemmeligsen"
REQUIRED = [table.name for table in load_contract() if table.required]


# --- tools ------------------------------------------------------------------------------------------------------------


def _run(home: Path, folder: Path, source: str, found: Path = SOURCES, period: str = "2020-T1") -> Run:
    """A run of the sample's first unit over a foreign extract."""
    config = Config.model_validate(tomllib.loads((ROOT / "npr.toml").read_text(encoding="utf-8")))
    return stages.first_stages(home, period, "nordfjell", config, Options(folder, source), found)


def _map(folder: Path, found: Path, name: str, room: Path) -> tuple[dict[str, pl.DataFrame], tuple[FileRecord, ...]]:
    """Result tables of a mapping, without the stages after it."""
    source = sources.load(found, name)
    delivered = source.describe(folder, "nordfjell")
    plain, private = room / "plain", room / "private"
    plain.mkdir(parents=True)
    private.mkdir()
    records = source.map(folder, delivered, plain, private, dict.fromkeys(delivered.files, "0"))
    frames = {path.stem: pl.read_parquet(path) for path in [*plain.glob("*.parquet"), *private.glob("*.parquet")]}
    assert not (plain / "identities.parquet").exists()
    return frames, records


def _csv(path: Path, header: str, rows: list[str]) -> None:
    content = "\r\n".join([header, *rows, ""]).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A whole mapping of the simplest kind over one raw file, to be spoiled; returns the folder of mappings."""
    place = tmp_path / "sources" / "tiny"
    place.mkdir(parents=True)
    (place / "source.toml").write_text(
        '[extract]\nsource_system = "Tiny"\nenvironment = "test"\nextracted_at = 2020-05-04T03:00:00\n',
        encoding="utf-8",
    )
    for name in REQUIRED:
        columns = ", ".join(f"NULL AS {c.name}" for c in load_contract().tables[name].columns if c.required)
        (place / f"{name}.sql").write_text(f"SELECT {columns} WHERE false", encoding="utf-8")
    (place / "units.sql").write_text(
        "SELECT _row AS _source_row, key AS enhetID, name AS enhetNavn FROM raw.wards", "utf-8"
    )
    return place.parent


@pytest.fixture
def wards(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    _csv(folder / "wards.csv", "key,name", [f"A,{VALUE}", 'B,"Ward, the second"', "C,"])
    return folder


# --- the engine -------------------------------------------------------------------------------------------------------


def test_a_mapping_needs_no_python(tiny: Path, wards: Path, tmp_path: Path) -> None:
    frames, records = _map(wards, tiny, "tiny", tmp_path / "out")
    assert frames["units"].select("_row", "enhetID", "enhetNavn").rows() == [
        (1, "A", VALUE),
        (2, "B", "Ward, the second"),
        (3, "C", None),
    ]
    assert {record.table: record.rows for record in records} == dict.fromkeys(load_contract().tables, 0) | {"units": 3}


def test_rows_are_numbered_alike_in_every_run(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    _csv(folder / "wards.csv", "key,name", [f"{number},w" for number in range(30_000)])
    query = "SELECT any_value(_row) AS _source_row, key AS enhetID FROM raw.wards GROUP BY key"
    (tiny / "tiny" / "units.sql").write_text(query, encoding="utf-8")
    for number in range(2):
        frames, _ = _map(folder, tiny, "tiny", tmp_path / f"out{number}")
        assert frames["units"]["enhetID"].to_list() == [str(number) for number in range(30_000)]


def test_a_comma_in_quotes_far_down_is_no_separator(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "long"
    folder.mkdir()
    _csv(folder / "wards.csv.gz", "key,name", [*(f"{number},w" for number in range(30_000)), 'last,"one, two"'])
    frames, _ = _map(folder, tiny, "tiny", tmp_path / "out")
    assert frames["units"].select("_row", "enhetID", "enhetNavn").row(-1) == (30_001, "last", "one, two")


def test_a_query_may_end_in_semicolon_and_comment(tiny: Path, wards: Path, tmp_path: Path) -> None:
    (tiny / "tiny" / "units.sql").write_text(
        "SELECT key AS enhetID FROM raw.wards; -- all wards\n-- end", encoding="utf-8"
    )
    frames, _ = _map(wards, tiny, "tiny", tmp_path / "out")
    assert frames["units"]["enhetID"].to_list() == ["A", "B", "C"]


@pytest.mark.parametrize(
    ("query", "kind", "said"),
    [
        ("SELEC key FROM raw.wards", DataRefused, "syntax error"),
        ("SELECT ward AS enhetID FROM raw.wards", DataRefused, '"ward" not found'),
        ("SELECT key AS enhetID FROM raw.clinics", DataRefused, "clinics does not exist"),
        (
            "SELECT key AS enhetID, name::INTEGER::VARCHAR AS enhetNavn FROM raw.wards",
            DataRefused,
            "ConversionException",
        ),
        ("SELECT strptime(name, '%Y')::VARCHAR AS enhetID FROM raw.wards", DataRefused, "InvalidInputException"),
        ("SELECT error(name) AS enhetID FROM raw.wards", DataRefused, "InvalidInputException"),
        ("SELECT key AS enhetID, name AS nurse FROM raw.wards", WrongUse, "nurse"),
        ("SELECT name AS enhetNavn FROM raw.wards", WrongUse, "enhetID"),
        ("SELECT key AS enhetID FROM raw.wards; DROP TABLE raw.wards", WrongUse, "one SELECT"),
        ("CREATE TABLE raw.other AS FROM raw.wards", WrongUse, "one SELECT"),
        ("-- nothing yet", WrongUse, "one SELECT"),
    ],
)
def test_a_wrong_query_is_named_without_a_value_of_a_row(
    tiny: Path, wards: Path, tmp_path: Path, query: str, kind: type[Exception], said: str
) -> None:
    (tiny / "tiny" / "units.sql").write_text(query, encoding="utf-8")
    with pytest.raises(kind) as refusal:
        _map(wards, tiny, "tiny", tmp_path / "out")
    assert said in str(refusal.value)
    assert "units.sql" in str(refusal.value)
    assert VALUE not in str(refusal.value)
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__ or refusal.value.__context__ is None


def test_a_required_table_needs_a_query(tiny: Path, wards: Path, tmp_path: Path) -> None:
    (tiny / "tiny" / "episodes.sql").unlink()
    with pytest.raises(WrongUse, match=r"episodes\.sql is missing"):
        _map(wards, tiny, "tiny", tmp_path / "out")


def test_a_file_for_no_table_an_unknown_source_and_broken_toml_are_wrong_use(tiny: Path) -> None:
    with pytest.raises(WrongUse, match="use one of: tiny"):
        sources.load(tiny, "large")
    (tiny / "tiny" / "episode.sql").write_text("SELECT 1", encoding="utf-8")
    with pytest.raises(WrongUse, match="episode is no contract table"):
        sources.load(tiny, "tiny")
    (tiny / "tiny" / "episode.sql").unlink()
    (tiny / "tiny" / "source.toml").write_text("[extract", encoding="utf-8")
    with pytest.raises(WrongUse, match="not TOML"):
        sources.load(tiny, "tiny")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"key,name\nA,one\nB\nC,three\n", "do not all have the fields"),
        ("key,name\nA,Sørvik\n".encode("iso-8859-1"), "not UTF-8"),
        (b'key,name\nA,"open\nB,two\n', "a quote is not closed"),
    ],
)
def test_a_broken_raw_file_is_refused(tiny: Path, wards: Path, tmp_path: Path, content: bytes, said: str) -> None:
    (wards / "wards.csv").write_bytes(content)
    with pytest.raises(DataRefused, match=said) as refusal:
        _map(wards, tiny, "tiny", tmp_path / "out")
    assert "three" not in str(refusal.value)


@pytest.mark.parametrize("share", [0.9, 0.01])
def test_a_cut_compressed_file_is_refused(tiny: Path, tmp_path: Path, share: float) -> None:
    folder = tmp_path / "cut"
    folder.mkdir()
    whole = gzip.compress("".join(["key,name\n", *(f"{number},w\n" for number in range(20_000))]).encode())
    (folder / "wards.csv.gz").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataRefused, match="compressed file is cut"):
        _map(folder, tiny, "tiny", tmp_path / "out")


def test_the_same_raw_file_twice_is_refused(tiny: Path, wards: Path) -> None:
    (wards / "wards.csv.gz").write_bytes(gzip.compress(b"key,name\n"))
    with pytest.raises(DataRefused, match="same raw file twice"):
        sources.load(tiny, "tiny").describe(wards, "nordfjell")


def test_an_extract_file_decides_encoding_separator_and_control_total(tiny: Path, wards: Path, tmp_path: Path) -> None:
    (wards / "wards.csv").write_bytes("key;name\nA;Sørvik\n".encode("cp1252"))
    told = (
        'source_system = "T"\nenvironment = "test"\nextracted_at = 2020-05-04T03:00:00\nreporting_unit = "nordfjell"\n'
        '[files.wards]\npath = "wards.csv"\nrows = {}\nencoding = "windows-1252"\nseparator = ";"\n'
    )
    (wards / "extract.toml").write_text(told.format(1), encoding="utf-8")
    frames, _ = _map(wards, tiny, "tiny", tmp_path / "out")
    assert frames["units"]["enhetNavn"].to_list() == ["Sørvik"]
    (wards / "extract.toml").write_text(told.format(2), encoding="utf-8")
    with pytest.raises(DataRefused, match="1 rows read, but the control total says 2"):
        _map(wards, tiny, "tiny", tmp_path / "out2")


def test_a_delivered_name_is_no_sql(tiny: Path, wards: Path, tmp_path: Path) -> None:
    source = sources.load(tiny, "tiny")
    delivered = source.describe(wards, "nordfjell")
    sly = delivered.model_copy(update={"files": {'x" AS SELECT 1; --': DeliveredFile(path="wards.csv", rows=3)}})
    with pytest.raises(WrongUse, match="is no name of a raw file"):
        source.map(wards, sly, tmp_path, tmp_path, {})


# --- the example of the page ------------------------------------------------------------------------------------------


def _blocks(page: str) -> Iterator[tuple[str, str]]:
    example = page.partition("## Worked example")[2].partition("\n## ")[0]
    yield from re.findall(r"```(\w+)\n(.*?)```", example, flags=re.DOTALL)


def test_the_example_of_the_page_runs_as_it_stands(tmp_path: Path) -> None:
    blocks = dict(_blocks((ROOT / "docs" / "sources.md").read_text(encoding="utf-8")))
    raw, place = tmp_path / "raw", tmp_path / "sources" / "clinic"
    raw.mkdir()
    place.mkdir(parents=True)
    (raw / "visits.csv").write_text(blocks["csv"], encoding="utf-8")
    (place / "source.toml").write_text(blocks["toml"], encoding="utf-8")
    parts = re.split(r"^-- (\w+\.sql)\n", blocks["sql"], flags=re.MULTILINE)[1:]
    for name, query in zip(parts[::2], parts[1::2], strict=True):
        (place / name).write_text(query, encoding="utf-8")
    run = _run(tmp_path / "var", raw, "clinic", place.parent)
    snapshot.take(run)
    staged = staging.stage(run)
    assert {name: rows for name, rows in staged.rows.items() if rows} == {
        "patients": 2,
        "identities": 2,
        "units": 1,
        "episodes": 3,
        "contacts": 3,
        "health_personnel": 3,
        "conditions": 3,
    }
    assert not any(staged.quarantined.values())


# --- the mapping of Synthea: a miniature ------------------------------------------------------------------------------

NAMES = ("Arkimedes", "Ysteborg", "Sofokles", "Brattland")
NUMBERS = ("999-12-3456", "ZZSYN81007558895", "X71888584X")
PATIENTS = (
    "us,1950-01-31,,{ids},Mr.,Arkimedes,Ysteborg,M,male,1 Road,Boston,MA,02109,US,us",
    "es,2001-12-05,2020-03-02T10:00:00.5+00:00,{ids},,Sofokles,Brattland,S,female,2 Calle,Vigo,Vigo,29005,ES,es",
    "no,1999-06-07,,{ids},,Sofokles,Brattland,S,other,3 vei,Bodø,,8001,NO,no",
)
# id, start, stop, patient, class, status, code -> innDatoTid, omsorgsniva, innmateHast, inntilstand, utTilstand,
# kontaktType, stedAktivitet, polIndir
Row = tuple[str, ...]
VISITS: Mapping[Row, tuple[str | None, ...]] = {
    # Winter and summer time, and a time without offset; seconds are cut, not rounded.
    ("e1", "2020-01-10T22:59:59.9+00:00", "2020-01-10T23:30:00.1+00:00", "us", "AMB", "finished", "162673000"): (
        "2020-01-10T23:59:59", "3", "4", "1", "1", "1", "1", None),
    ("e2", "2020-04-10T22:30:00+00:00", "2020-04-11T00:00:00+00:00", "us", "EMER", "finished", "50849002"): (
        "2020-04-11T00:30:00", "3", "1", "1", "1", "2", "1", None),
    ("e3", "2020-02-01T08:00:00", "2020-02-01T09:00:00", "us", "AMB", "finished", "185349003"): (
        "2020-02-01T08:00:00", "3", "4", "1", "1", "3", "1", None),
    # Open; dies in it; dead before it.
    ("e4", "2020-04-20T08:00:00+00:00", "", "us", "IMP", "in-progress", "32485007"): (
        "2020-04-20T10:00:00", "1", "4", "1", None, "2", "1", None),
    ("e5", "2020-03-01T08:00:00+00:00", "2020-03-02T10:00:00.5+00:00", "es", "IMP", "finished", "32485007"): (
        "2020-03-01T09:00:00", "1", "4", "1", "2", "2", "1", None),
    ("e6", "2020-03-02T10:30:00+00:00", "2020-03-02T10:30:00+00:00", "es", "EMER", "finished", "50849002"): (
        "2020-03-02T11:30:00", "3", "1", "2", "2", "2", "1", None),
    # Home, rest home, telephone and video before and after 2021.
    ("e7", "2020-02-03T08:00:00+00:00", "2020-02-03T08:10:00+00:00", "us", "HH", "finished", "439708006"): (
        "2020-02-03T09:00:00", "3", "4", "1", "1", "2", "4", None),
    ("e8", "2020-02-04T08:00:00+00:00", "2020-02-04T08:10:00+00:00", "us", "AMB", "finished", "210098006"): (
        "2020-02-04T09:00:00", "3", "4", "1", "1", "2", "5", None),
    ("e9", "2020-02-05T08:00:00+00:00", "2020-02-05T08:10:00+00:00", "us", "VR", "finished", "185317003"): (
        "2020-02-05T09:00:00", "3", "4", "1", "1", "5", "3", "12"),
    ("e10", "2020-02-06T08:00:00+00:00", "2020-02-06T08:10:00+00:00", "us", "AMB", "finished", "448337001"): (
        "2020-02-06T09:00:00", "3", "4", "1", "1", "5", "3", "8"),
    # At New Year the year is that of local time.
    ("e11", "2020-12-31T23:30:00+00:00", "2020-12-31T23:40:00+00:00", "us", "VR", "finished", "185317003"): (
        "2021-01-01T00:30:00", "3", "4", "1", "1", "7", "3", None),
    ("e12", "2021-02-06T08:00:00+00:00", "2021-02-06T08:10:00+00:00", "no", "VR", "finished", "448337001"): (
        "2021-02-06T09:00:00", "3", "4", "1", "1", "6", "3", None),
}  # fmt: skip
CONDITIONS = (
    "2020-01-10T22:00:00+00:00,,us,e1,SNOMED-CT,314529007,x",
    "2020-01-10T22:00:00+00:00,,us,e1,SNOMED-CT,44054006,x",
    "2020-01-10T22:00:00+00:00,,us,,SNOMED-CT,44054006,x",
    "2020-01-10T22:00:00+00:00,,us,,SNOMED-CT,44054006,x",
    "2020-01-10T22:00:00+00:00,,us,e1,D,E119,x",
    "2020-01-10T22:00:00+00:00,,us,gone,D,E119,x",
)
PROCEDURES = (
    "2020-01-10T23:00:00.7+00:00,,us,e1,SNOMED-CT,430193006,x",
    "2020-01-10T23:10:00+00:00,,us,e1,SNOMED-CT,430193006,x",
)


@pytest.fixture
def mini(tmp_path: Path) -> Path:
    """A miniature Synthea folder: 20 encounters and procedures and conditions of theirs."""
    folder = tmp_path / "mini"
    folder.mkdir()
    ids = '"{{""ID"": ""{}"", ""SS"": ""{}"", ""PPN"": ""{}""}}"'.format(*NUMBERS)
    _csv(
        folder / "patients.csv.gz",
        "Id,BIRTHDATE,DEATHDATE,IDENTIFIERS_JSON,PREFIX,FIRST,LAST,MARITAL,GENDER,ADDRESS,CITY,STATE,ZIP,COUNTRY,LOCALE",
        [line.replace("{ids}", ids) for line in PATIENTS],
    )
    _csv(
        folder / "organizations.csv.gz", "Id,NAME,ADDRESS,CITY,STATE,ZIP,COUNTRY", [f"o1,{'HOSPITAL ' * 20},x,x,x,x,US"]
    )
    header = "START,STOP,PATIENT,ENCOUNTER,SYSTEM,CODE,DESCRIPTION"
    _csv(folder / "conditions.csv.gz", header, list(CONDITIONS))
    _csv(folder / "procedures.csv.gz", header, list(PROCEDURES))
    _encounters(folder, [])
    return folder


def _encounters(folder: Path, more: list[Row]) -> None:
    filler = [(f"f{n}", f"2020-03-{n:02}T08:00:00+00:00", "", "us", "IMP", "in-progress", "1") for n in range(1, 9)]
    _csv(
        folder / "encounters.csv.gz",
        "Id,START,STOP,PATIENT,ORGANIZATION,PROVIDER,ENCOUNTERCLASS,STATUS,CODE,DESCRIPTION,REASONCODE,REASONDESCRIPTION",
        [f"{i},{a},{z},{p},o1,d1,{k},{s},{c},,," for i, a, z, p, k, s, c in [*VISITS, *filler, *more]],
    )


def test_each_encounter_is_mapped_as_the_page_says(mini: Path, tmp_path: Path) -> None:
    frames, _ = _map(mini, SOURCES, "synthea", tmp_path / "out")
    both = frames["episodes"].join(frames["contacts"], on="episodeID", how="left", maintain_order="left")
    columns = ["innDatoTid", "omsorgsniva", "innmateHast", "inntilstand", "utTilstand"]
    columns += ["kontaktType", "stedAktivitet", "polIndir"]
    found = {row[0]: row[1:] for row in both.select("episodeID", *columns).iter_rows()}
    assert {row[0]: found[row[0]] for row in VISITS} == {row[0]: wanted for row, wanted in VISITS.items()}
    assert frames["episodes"].filter(pl.col("utDatoTid").is_null())["episodeID"].to_list()[0] == "e4"


def test_home_and_payer_follow_the_country(mini: Path, tmp_path: Path) -> None:
    frames, _ = _map(mini, SOURCES, "synthea", tmp_path / "out")
    rows = frames["episodes"].select("episodeID", "komNrHjem", "debitor").rows()
    found = {key: (home, payer) for key, home, payer in rows}
    assert found["e1"] == ("9000", "12")
    assert found["e5"] == ("9900", "30")
    assert found["e6"] == ("9900", "11")
    assert found["e12"] == ("9999", "1")


def test_patients_and_identities(mini: Path, tmp_path: Path) -> None:
    frames, _ = _map(mini, SOURCES, "synthea", tmp_path / "out")
    patients = frames["patients"].select("pasientNr", "kjonn", "fodselsar").rows()
    assert patients == [("us", "1", "1950"), ("es", "2", "2001"), ("no", "9", "1999")]
    identities = frames["identities"].select("pasientNr", "fid", "typeID").rows()
    assert identities == [("us", "310150", "9"), ("es", "051201", "9"), ("no", "070699", "9")]
    assert frames["units"]["enhetNavn"].str.len_chars().to_list() == [100]


def test_every_raw_row_is_a_row_of_its_table_and_what_is_quarantined_has_its_reason(mini: Path, tmp_path: Path) -> None:
    run = _run(tmp_path / "var", mini, "synthea")
    taken = snapshot.take(run)
    delivered = taken.rows()
    assert delivered["episodes"] == delivered["contacts"] == delivered["health_personnel"] == 20
    assert (delivered["conditions"], delivered["procedures"]) == (6, 2)
    assert (delivered["patients"], delivered["identities"], delivered["units"]) == (3, 3, 1)
    staged = staging.stage(run)
    quarantined = {name: rules for name, rules in staged.quarantined.items() if rules}
    assert quarantined == {"conditions": {"code": 4, "orphan": 1}, "procedures": {"code": 2}}
    assert staged.rows["conditions"] == 1
    scoped = scope.scope(run)
    assert scoped.reported["episodes"] == 18
    assert scoped.out_of_scope["episodes"] == {"starts_after_period": 2}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            ("x1", "2020-02-01T08:00:00", "", "us", VALUE, "in-progress", "1"),
            "field omsorgsniva: not in the code list",
        ),
        (("x1", "2020-02-01T08:00:00", "", "us", "AMB", "cancelled", "1"), "field omsorgsniva: not in the code list"),
        (("x1", VALUE, "", "us", "AMB", "finished", "1"), "field innDatoTid: not of the column's type"),
        (
            ("x1", "2020-02-01T08:00:00", VALUE, "us", "AMB", "finished", "1"),
            "field utDatoTid: not of the column's type",
        ),
        (("x1", "2020-02-01T08:00:00", "", VALUE, "AMB", "finished", "1"), "names something that was not delivered"),
        (("e1", "2020-02-01T08:00:00", "", "us", "AMB", "finished", "1"), "key occurs more than once"),
    ],
)
def test_what_the_mapping_does_not_know_stops_the_run(mini: Path, tmp_path: Path, row: Row, said: str) -> None:
    _encounters(mini, [row])
    run = _run(tmp_path / "var", mini, "synthea")
    snapshot.take(run)
    with pytest.raises(DataRefused) as refusal:
        staging.stage(run)
    assert said in str(refusal.value)
    assert "synthea/episodes.sql: row " in str(refusal.value)
    assert VALUE not in str(refusal.value)


def test_a_patient_delivered_twice_does_not_double_encounters(mini: Path, tmp_path: Path) -> None:
    with gzip.open(mini / "patients.csv.gz", "rt", encoding="utf-8", newline="") as file:
        lines = file.read().split("\r\n")
    _csv(mini / "patients.csv.gz", lines[0], [*lines[1:-1], lines[1]])
    frames, _ = _map(mini, SOURCES, "synthea", tmp_path / "out")
    assert frames["episodes"].height == 20


def test_names_and_identifiers_are_in_no_file_that_is_written(mini: Path, tmp_path: Path) -> None:
    run = _run(tmp_path / "var", mini, "synthea")
    snapshot.take(run)
    staging.stage(run)
    cells = _cells(tmp_path / "var")
    assert "310150" in cells
    for word in (*NAMES, *NUMBERS):
        assert not any(word in cell for cell in cells)


def test_a_foreign_extract_goes_the_whole_way_by_one_command(mini: Path, home: Path) -> None:
    way = ("--unit", "nordfjell", "--extract", mini, "--source", "synthea")
    outcome = call("run", "2020-T1", *way, "--json", home=home)
    assert outcome.code == 0, outcome.err
    episodes = {"in": 20, "reported": 18, "out_of_scope": 2, "quarantined": 0}
    assert outcome.json["rows"]["episodes"] == outcome.json["rows"]["contacts"] == episodes
    assert {part["module"]: part["patients"] for part in outcome.json["shipments"]} == {"ord": 2, "ide": 2}
    again = call("run", "2020-T1", *way, "--json", home=home)
    assert again.json == outcome.json


# --- the mapping of Synthea: the shared extract -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Staged]:
    """The shared extract, taken and staged once."""
    if not SHARED.is_dir():
        pytest.skip("the shared Synthea extract does not lie beside the repository")
    run = _run(tmp_path_factory.mktemp("synthea"), SHARED, "synthea", period="2026-T2")
    snapshot.take(run)
    return run, staging.stage(run)


def _cells(home: Path) -> set[str]:
    """Distinct texts of all that lies under a home: cells of tables, whole text files."""
    found: set[str] = set()
    for path in home.rglob("*"):
        if path.suffix == ".parquet":
            frame = pl.read_parquet(path).with_columns(pl.all().cast(pl.String, strict=False))
            for column in frame.get_columns():
                found.update(column.drop_nulls().unique().to_list())
        elif path.is_file():
            found.add(path.read_text(encoding="utf-8", errors="replace"))  # the ledger is no text
    return found


def _raw(name: str) -> pl.DataFrame:
    """A raw file by another reader than the one under test."""
    with gzip.open(SHARED / f"{name}.csv.gz", "rb") as file:
        return pl.read_csv(file.read(), infer_schema=False)


@pytest.mark.xdist_group("synthea")
def test_shared_rows_per_table_are_the_raw_rows(shared: tuple[Run, Staged]) -> None:
    delivered = shared[0].store.load("snapshot", shared[0].key, Snapshot).rows()
    encounters = _raw("encounters").height
    assert encounters == 59_383
    assert delivered["episodes"] == delivered["contacts"] == delivered["health_personnel"] == encounters
    assert delivered["conditions"] == _raw("conditions").height
    assert delivered["procedures"] == _raw("procedures").height
    assert delivered["patients"] == delivered["identities"] == _raw("patients").height
    assert delivered["units"] == _raw("organizations").height


@pytest.mark.xdist_group("synthea")
def test_shared_quarantine_is_what_the_page_says(shared: tuple[Run, Staged]) -> None:
    run, staged = shared
    path = run.store.table("staging", "quarantine", run.key)
    counts = pl.read_parquet(path).group_by("table", "column", "rule").agg(pl.col("_row").n_unique()).rows()
    assert {tuple(row[:3]): row[3] for row in counts} == {
        ("conditions", "Kodeverk", "code"): 58_057,
        ("conditions", "episodeID", "required"): 2_136,
        ("procedures", "Kodeverk", "code"): 118_034,
        ("episodes", "utDatoTid", "EPI-03"): 2,
        ("contacts", "episodeID", "parent_quarantined"): 2,
        ("health_personnel", "episodeID", "parent_quarantined"): 2,
    }
    # No fault of type: all times parse.
    assert staged.rows["episodes"] == 59_381


@pytest.mark.xdist_group("synthea")
def test_shared_accounts_close(shared: tuple[Run, Staged]) -> None:
    run, staged = shared
    delivered = run.store.load("snapshot", run.key, Snapshot).rows()
    scoped = scope.scope(run)
    assert scoped.reported["episodes"] == 930
    for table, rows in delivered.items():
        left = sum(scoped.out_of_scope[table].values()) + sum(staged.quarantined[table].values())
        assert rows == scoped.reported[table] + left, table


@pytest.mark.xdist_group("synthea")
def test_shared_names_and_identifiers_are_nowhere(shared: tuple[Run, Staged]) -> None:
    people, places = _raw("patients"), _raw("organizations")
    numbers = {value for text in people["IDENTIFIERS_JSON"].drop_nulls() for value in json.loads(text).values()}
    parts = {part for column in ("FIRST", "LAST") for text in people[column].drop_nulls() for part in text.split()}
    names = {part for part in parts if part[:1].isupper()}
    assert len(numbers) > 1_500
    assert len(names) > 500
    cells = _cells(shared[0].store.table("staging", "patients", shared[0].key).parents[5])
    assert len(cells) > 59_383
    # Hospitals are named after people and places too. A UUID's letters are small, so no part of one looks like a name.
    words = {word for cell in cells - set(places["NAME"]) for word in re.split(r"[^\w-]+", cell)}
    found = sorted((words & names) | ((cells | words) & numbers))
    assert found == []


# --- the cookbook -----------------------------------------------------------------------------------------------------


def _recipes() -> list[Any]:
    text = (ROOT / "sql" / "cookbook.sql").read_text(encoding="utf-8")
    queries = [query.strip() for query in text.split(";\n") if query.strip()]
    titles = [[line for line in query.splitlines() if line.startswith("-- ")][-1] for query in queries]
    return [pytest.param(query, id=title[3:40]) for title, query in zip(titles, queries, strict=True)]


@pytest.mark.xdist_group("main_job")
@pytest.mark.parametrize("query", _recipes())
def test_each_query_of_the_cookbook_finds_what_the_sample_has(finished: Finished, query: str) -> None:
    with duckdb.connect(str(finished.home / "npr.duckdb"), read_only=True) as db:
        rows = db.execute(query).fetchall()
    found = Counter[str]()
    for summary in finished.summaries:
        found.update(summary["findings"])
    lost = found["drop_message"] + found["drop_record"]
    asks = {
        "finding.findings": found.total(),
        "finding.lost": lost,
        "dropped + blanked > 0": lost + found["blank_value"],
    }
    assert bool(rows) == all(there for words, there in asks.items() if words in query)


@pytest.mark.xdist_group("main_job")
def test_the_row_accounting_of_the_cookbook_is_that_of_the_run(finished: Finished) -> None:
    (first, *_) = _recipes()
    with duckdb.connect(str(finished.home / "npr.duckdb"), read_only=True) as db:
        rows = db.execute(first.values[0]).fetchall()
    for summary in finished.summaries:
        wanted = {name: tuple(figures.values()) for name, figures in summary["rows"].items() if figures["in"]}
        assert {row[2]: row[3:] for row in rows if row[1] == summary["unit"] and row[3]} == wanted
