"""The sample hospital and load data: same bytes again, synthetic people only, and exactly the faults that are declared.

The checks of the contract are written here anew, in a few lines of Polars, so that they lean on no staging code.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from pipelines.sample import SAMPLE, main, write_extract, write_sample
from schemas.codelists import codes_valid
from schemas.contract import Column, load_contract
from schemas.errors import WrongUse
from schemas.extract_file import ExtractFile
from schemas.models import dtypes
from transforms.sample.hospital import YEAR_2020, generate, profile_of

ROOT = Path(__file__).parents[1]
COMMITTED = ROOT / "data" / "sample"
UNITS = ("nordfjell", "sorvik")
ELEVEN_DIGITS = re.compile(r"(?<![0-9])[0-9]{11}(?![0-9])")
FORMS = {"date": "%Y-%m-%d", "datetime": "%Y-%m-%dT%H:%M:%S"}


def said(folder: Path) -> ExtractFile:
    return ExtractFile.model_validate(tomllib.loads((folder / "extract.toml").read_text(encoding="utf-8")))


NOT_MADE = "fodselsdato"  # who has a number needs no birth date beside it


@cache
def delivered(folder: Path) -> Mapping[str, pl.DataFrame]:
    """Text of each table; what is not stated is semicolons, UTF-8 and decimal comma."""
    found = {}
    for name, file in said(folder).files.items():
        text = (folder / file.path).read_bytes().decode(file.encoding or "utf-8")
        frame = pl.read_csv(text.encode(), separator=file.separator or ";", infer_schema=False)
        decimals = [c.name for c in load_contract().tables[name].columns if c.type == "decimal"]
        found[name] = frame.with_columns(pl.col(decimals).str.replace(",", ".")) if decimals else frame
    return found


def episodes(folder: Path) -> pl.DataFrame:
    return delivered(folder)["episodes"].with_columns(
        pl.col("innDatoTid", "utDatoTid").str.to_datetime(FORMS["datetime"])
    )


def wrong_in_column(frame: pl.DataFrame, column: Column) -> dict[str, pl.Series]:
    """Rule -> flag of each row."""
    text = frame[column.name]
    wrong = {"required": text.is_null() & column.required}
    if column.pattern:
        wrong["pattern"] = ~text.str.contains(f"^(?:{column.pattern})$")
    if column.code_list:
        wrong["code"] = ~text.is_in(sorted(codes_valid(column.code_list, 2019) & codes_valid(column.code_list, 2020)))
    if column.max_length:
        wrong["length"] = text.str.len_chars() > column.max_length
    if column.type in FORMS:
        wrong["type"] = text.is_not_null() & text.str.to_datetime(FORMS[column.type], strict=False).is_null()
    if column.type == "integer":
        number = text.cast(pl.Int64, strict=False)
        wrong["type"] = text.is_not_null() & number.is_null()
        wrong["range"] = (number < (column.minimum or 0)) | (number > (column.maximum or 10**9))
    return {rule: rows.fill_null(value=False) for rule, rows in wrong.items()}


def faults(tables: Mapping[str, pl.DataFrame]) -> Counter[tuple[str, str]]:
    """Rows by table and rule of the contract: columns, keys, references, and what must be there."""
    found: Counter[tuple[str, str]] = Counter()
    contract = load_contract()
    for name, frame in tables.items():
        table = contract.tables[name]
        for column in (one for one in table.columns if one.name != NOT_MADE):
            for rule, rows in wrong_in_column(frame, column).items():
                found[name, rule] += int(rows.sum())
        found[name, "duplicate_key"] += int(frame.select(table.key).is_duplicated().sum())
        for column_name, parent in table.refs.items():
            known = tables[parent][contract.tables[parent].key[0]]
            found[name, "orphan"] += len(
                frame[column_name].drop_nulls().filter(~frame[column_name].drop_nulls().is_in(known.implode()))
            )
        for child in table.has:
            found[name, "missing_child"] += int(
                (~frame[table.key[0]].is_in(tables[child][table.key[0]].implode())).sum()
            )
    return +found


def test_committed_sample_is_what_the_generator_writes_under_another_hash_seed_and_zone(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONHASHSEED": "4711", "TZ": "Pacific/Auckland", "LC_ALL": "C"}
    command = [sys.executable, "-m", "pipelines.sample", "--out", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    written = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for unit in UNITS:
        there = {p.relative_to(COMMITTED): p.read_bytes() for p in (COMMITTED / unit).iterdir()}
        assert there == {path: content for path, content in written.items() if path.parts[0] == unit}
    assert sum(len(content) for content in written.values()) < 2_000_000


def test_files_name_every_table_with_its_columns_and_rows() -> None:
    tables = load_contract().tables
    for unit in UNITS:
        files, frames = said(COMMITTED / unit).files, delivered(COMMITTED / unit)
        assert {name for name, table in tables.items() if table.required} <= set(files)
        for name, frame in frames.items():
            assert tuple(frame.columns) == tuple(n for n in tables[name].names if n != NOT_MADE)
            assert len(frame) == files[name].rows
    assert {file.encoding for file in said(COMMITTED / "nordfjell").files.values()} == {None}
    assert {file.encoding for file in said(COMMITTED / "sorvik").files.values()} == {"windows-1252"}
    assert "Sørvik".encode("cp1252") in (COMMITTED / "sorvik" / "units.csv").read_bytes()
    assert delivered(COMMITTED / "sorvik")["units"]["enhetLokal"].str.contains("\n").sum() == 1


def test_faults_are_exactly_those_declared() -> None:
    extract = said(COMMITTED / "nordfjell")
    assert faults(delivered(COMMITTED / "nordfjell")) == {(a.table, a.rule): a.rows for a in extract.accepted}
    assert not {a.table for a in extract.accepted} & {"patients", "identities", "units"}
    assert said(COMMITTED / "sorvik").accepted == ()
    assert not faults(delivered(COMMITTED / "sorvik"))


def control_digits_right(number: str) -> bool:
    digits = [int(sign) for sign in number]
    first = sum(w * d for w, d in zip((3, 7, 6, 1, 8, 9, 4, 5, 2, 1), digits, strict=False)) % 11
    return first == 0 and sum(w * d for w, d in zip((5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1), digits, strict=True)) % 11 == 0


def birth_of(number: str) -> dt.date:
    """Date by the table of centuries; month less 80, day less 40 for a D-number."""
    day, month, year, person = int(number[:2]), int(number[2:4]) - 80, int(number[4:6]), int(number[6:9])
    century = 1900 if person < 500 or (person >= 900 and year >= 40) else 2000
    return dt.date(century + year, month, day - 40 if day > 40 else day)


def check_identities(tables: Mapping[str, pl.DataFrame]) -> Counter[str]:
    """Every number synthetic, right, and of its patient; answers how many of each type."""
    joined = tables["identities"].join(tables["patients"], on="pasientNr", validate="1:1")
    kinds: Counter[str] = Counter()
    for fid, kind, sex, year in joined.select("fid", "typeID", "kjonn", "fodselsar").iter_rows():
        kinds[kind] += 1
        if kind == "9":
            assert dt.datetime.strptime(fid, "%d%m%y").year % 100 == int(year) % 100  # noqa: DTZ007 a date
            continue
        assert kind in ("1", "2")
        assert len(fid) == 11
        assert control_digits_right(fid)
        assert 81 <= int(fid[2:4]) <= 92
        assert (int(fid[:2]) > 40) == (kind == "2")
        assert birth_of(fid).year == int(year)
        assert int(fid[8]) % 2 == int(sex) % 2
    assert joined["fid"].n_unique() == len(joined)
    assert len(joined) == len(tables["patients"])
    return kinds


@pytest.mark.parametrize("unit", UNITS)
def test_identity_numbers_are_synthetic_and_fit_the_patient(unit: str) -> None:
    assert set(check_identities(delivered(COMMITTED / unit))) == {"1", "2", "9"}


@pytest.mark.parametrize("unit", UNITS)
def test_nothing_but_identities_looks_like_an_identity_number(unit: str) -> None:
    for path in (COMMITTED / unit).iterdir():
        if path.name != "identities.csv":
            assert not ELEVEN_DIGITS.search(path.read_bytes().decode("cp1252" if unit == "sorvik" else "utf-8"))


def test_control_digit_check_of_this_test_tells_right_from_wrong() -> None:
    # Numbers of navikt/fnrvalidator, issue 116 (Tenor form).
    assert control_digits_right("17912099997")
    assert control_digits_right("57912075186")
    assert not control_digits_right("17912099979")


def test_institutions_and_places_have_valid_organisation_numbers_of_nobody() -> None:
    numbers = {profile_of(unit).institution for unit in UNITS}
    for unit in UNITS:
        numbers |= set(delivered(COMMITTED / unit)["units"]["orgNr"].drop_nulls())
    for number in numbers:
        assert sum(w * int(d) for w, d in zip((3, 2, 7, 6, 5, 4, 3, 2, 1), number, strict=True)) % 11 == 0
    lists = ROOT.parent / "shared" / "reference" / "codes"
    if not lists.exists():
        pytest.skip("the shared lists of real organisation numbers are not on this machine")
    real = (lists / "institutions_orgnr.csv").read_text() + (lists / "institutions_referral_orgnr.csv").read_text()
    assert not {number for number in numbers if number in real}


def test_clinical_codes_and_municipalities_stand_in_the_national_lists() -> None:
    lists = ROOT.parent / "shared" / "reference" / "codes"
    if not lists.exists():
        pytest.skip("the shared code lists are not on this machine")
    spoiled = delivered(COMMITTED / "nordfjell")["conditions"]["kodeVerdi"].str.contains(".", literal=True)
    conditions = delivered(COMMITTED / "nordfjell")["conditions"].filter(~spoiled)
    for letter, name in (("D", "icd10_no"), ("K", "ncsp"), ("M", "ncmp"), ("R", "ncrp")):
        known = pl.read_csv(lists / f"{name}.csv", infer_schema=False).filter(in_skde_current_list="1")["code"]
        used = [delivered(COMMITTED / unit)["procedures"].select("Kodeverk", "kodeVerdi") for unit in UNITS]
        used += [
            conditions.select("Kodeverk", "kodeVerdi"),
            delivered(COMMITTED / "sorvik")["conditions"].select("Kodeverk", "kodeVerdi"),
        ]
        assert set(pl.concat(used).filter(Kodeverk=letter)["kodeVerdi"]) - set(known) == set()
    years = pl.read_csv(lists / "municipality_by_year.csv", infer_schema=False)
    for unit in UNITS:
        for year in (2019, 2020):
            homes = set(episodes(COMMITTED / unit).filter(pl.col("innDatoTid").dt.year() == year)["komNrHjem"])
            assert homes - set(years.filter(pl.col(str(year)) == "1")["number"]) <= {"9900"}


def test_the_sample_has_the_cases_that_reports_are_about() -> None:
    trust, private = (delivered(COMMITTED / unit) for unit in UNITS)
    seen = episodes(COMMITTED / "nordfjell")
    assert len(seen) + len(private["episodes"]) == sum(unit.episodes for unit in SAMPLE) == 2000
    assert 280 <= len(trust["patients"]) + len(private["patients"]) <= 320
    assert set(seen["omsorgsniva"]) == {"1", "2", "3", "8"}
    assert {"1", "4"} <= set(seen["innmateHast"])
    assert set(seen["inntilstand"]) == {"1", "2", "3"}
    assert {"1", "2", None} <= set(seen["utTilstand"])
    assert set(trust["referrals"]["rettTilHelsehjelp"].drop_nulls()) == {"3", "5", "6"}
    assert set(trust["referrals"]["ventetidSluttKode"].drop_nulls()) == {"1", "2", "3", "4", "5", "9"}
    assert set(private["referrals"]["fagomrade"]) >= {"360", "365"}
    assert len(private["tsb_starts"]) >= 10
    assert len(trust["costs"]) > 100
    assert "5" in set(trust["contacts"]["kontaktType"])
    assert set(trust["procedures"]["Kodeverk"]) == {"K", "M", "R"}
    assert min(trust["postponements"].height, trust["referral_events"].height) > 10
    assert {"0301", "1201", "4601"} <= set(seen["komNrHjem"])
    assert seen.filter(pl.col("komNrHjem") == "0301")["bydel"].null_count() == 0


def test_deadlines_are_set_and_some_are_broken() -> None:
    listed = delivered(COMMITTED / "nordfjell")["referrals"]
    started = listed.filter(ventetidSluttKode="1")
    assert 0 < started.filter(pl.col("ventetidSluttDato") > pl.col("fristStartBehandling")).height < len(started) / 4
    # The duty to set a deadline rested from 27 March to 1 October 2020.
    due = listed.filter(
        ~pl.col("vurdDato").is_between(pl.lit("2020-03-27"), pl.lit("2020-09-30")), rettTilHelsehjelp="3"
    )
    assert due["fristStartBehandling"].null_count() == 0


def test_newborns_are_weighed_and_born_on_the_day_they_come() -> None:
    born = episodes(COMMITTED / "nordfjell").filter(inntilstand="3")
    people = delivered(COMMITTED / "nordfjell")["patients"].join(born, on="pasientNr", how="inner")
    assert len(people) >= 5
    assert people["fodselsvekt"].null_count() == 0
    assert (people["fodselsar"].cast(pl.Int32) == people["innDatoTid"].dt.year()).all()
    assert delivered(COMMITTED / "nordfjell")["patients"]["fodselsvekt"].count() == len(people)


@pytest.mark.parametrize("unit", UNITS)
def test_dates_hold_together(unit: str) -> None:
    seen, tables = episodes(COMMITTED / unit), delivered(COMMITTED / unit)
    taken = said(COMMITTED / unit).extracted_at
    left = seen.filter(pl.col("utDatoTid").is_not_null())
    assert (left["utDatoTid"] >= left["innDatoTid"]).all()
    assert (left["utDatoTid"] <= taken).all()
    assert set(seen.filter(pl.col("utDatoTid").is_null())["omsorgsniva"]) == {"1"}
    outpatient = left.filter(pl.col("omsorgsniva") != "1")
    assert (outpatient["innDatoTid"].dt.date() == outpatient["utDatoTid"].dt.date()).all()
    dead = seen.filter(utTilstand="2").select("pasientNr", died="utDatoTid")
    assert seen.join(dead, on="pasientNr").filter(pl.col("innDatoTid") > pl.col("died")).is_empty()
    stays = seen.filter(omsorgsniva="1").sort("pasientNr", "innDatoTid")
    before = pl.col("utDatoTid").fill_null(taken).cum_max().shift(1).over("pasientNr")
    assert stays.filter(pl.col("innDatoTid") < before).is_empty()
    ordered = tables["referrals"].drop_nulls("vurdDato")
    assert (ordered["ansienDato"] <= ordered["mottaksDato"]).all()
    assert (ordered["mottaksDato"] <= ordered["vurdDato"]).all()
    assert ordered.filter(pl.col("ventetidSluttDato") <= pl.col("vurdDato")).is_empty()
    assert ordered.filter(pl.col("sluttDato") < pl.col("ventetidSluttDato")).is_empty()


@pytest.mark.parametrize("unit", UNITS)
def test_an_episode_and_its_referral_have_one_patient_and_services_lie_within(unit: str) -> None:
    seen, tables = episodes(COMMITTED / unit), delivered(COMMITTED / unit)
    joined = seen.join(tables["referrals"], on="henvisningsperiodeID", how="inner")
    assert len(joined) == seen["henvisningsperiodeID"].count()
    assert (joined["pasientNr"] == joined["pasientNr_right"]).all()
    done = (
        tables["procedures"]
        .join(seen, on="episodeID", how="inner")
        .with_columns(pl.col("startDatoTid", "sluttDatoTid").str.to_datetime(FORMS["datetime"], strict=False))
    )
    assert (done["startDatoTid"] >= done["innDatoTid"]).all()
    assert done.filter(pl.col("sluttDatoTid") > pl.col("utDatoTid")).is_empty()


def test_open_stays_cross_the_end_of_periods() -> None:
    seen = pl.concat([episodes(COMMITTED / unit) for unit in UNITS])
    assert seen["utDatoTid"].null_count() >= 2
    for end in (dt.datetime(2020, 1, 1), dt.datetime(2020, 5, 1), dt.datetime(2021, 1, 1)):
        there = (pl.col("innDatoTid") < end) & (pl.col("utDatoTid").is_null() | (pl.col("utDatoTid") >= end))
        assert seen.filter(there).height >= 1


def test_load_data_is_typed_and_clean(tmp_path: Path) -> None:
    write_extract(tmp_path, "nordfjell", 20_000, seed=7)
    extract = said(tmp_path)
    tables = {name: pl.read_parquet(tmp_path / file.path) for name, file in extract.files.items()}
    contract = load_contract()
    for name, frame in tables.items():
        assert dict(frame.schema) == {n: kind for n, kind in dtypes(contract.tables[name]).items() if n != NOT_MADE}
        assert len(frame) == extract.files[name].rows
    assert extract.accepted == ()
    text = {name: frame.with_columns(
        pl.col(pl.Datetime).dt.strftime(FORMS["datetime"]), pl.col(pl.Date).dt.strftime(FORMS["date"])
    ).cast(pl.String) for name, frame in tables.items()}  # fmt: skip
    assert not faults(text)
    check_identities(text)
    seen = tables["episodes"]
    assert (seen["innDatoTid"].dt.year() == 2020).all()
    assert seen.filter(pl.col("utDatoTid") < pl.col("innDatoTid")).is_empty()
    assert seen.select("pasientNr", "innDatoTid").n_unique() == len(seen) == 20_000


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [("patients", 0.18, 0.22), ("referrals", 0.27, 0.37), ("conditions", 1.5, 1.7), ("procedures", 1.1, 1.35),
     ("health_personnel", 1.15, 1.25), ("contacts", 1.0, 1.0)],
)  # fmt: skip
def test_load_data_has_the_asked_proportions(table: str, low: float, high: float) -> None:
    frames = generate(profile_of("load"), episodes=10_000, patients=2_000, seed=3, window=YEAR_2020)
    assert low <= len(frames[table]) / 10_000 <= high


def test_care_rests_at_weekends_and_in_july() -> None:
    frames = generate(profile_of("load"), episodes=10_000, patients=2_000, seed=3, window=YEAR_2020)
    planned = frames["episodes"].filter(innmateHast="4")["innDatoTid"]
    weekday = planned.dt.weekday()
    assert (weekday >= 6).sum() < 0.05 * len(planned)
    by_month = planned.dt.month().value_counts().sort("innDatoTid")["count"]
    assert by_month[6] < by_month[9]


def test_same_seed_same_rows_and_another_seed_other_rows() -> None:
    first, again, other = (
        generate(profile_of("load"), episodes=500, patients=100, seed=seed, window=YEAR_2020) for seed in (1, 1, 2)
    )
    assert all(first[name].equals(again[name]) for name in first)
    assert not first["episodes"].equals(other["episodes"])


def test_sizes_without_a_hospital_are_refused_with_what_to_do() -> None:
    with pytest.raises(WrongUse, match="at least 50 episodes"):
        generate(profile_of("load"), episodes=10, patients=10, seed=1, window=YEAR_2020)
    with pytest.raises(WrongUse):
        generate(profile_of("load"), episodes=100, patients=101, seed=1, window=YEAR_2020)


def test_command_line_writes_load_data_and_refuses_without_traceback(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["--out", str(tmp_path), "--unit", "annet", "--episodes", "60", "--format", "csv"])
    assert done.exit_code == 0
    assert said(tmp_path).reporting_unit == "annet"
    assert not faults(delivered(tmp_path))
    refused = CliRunner().invoke(main, ["--out", str(tmp_path / "no"), "--episodes", "5"])
    assert refused.exit_code == 2
    assert not (tmp_path / "no").exists()


def test_write_sample_makes_a_folder_for_each_unit(tmp_path: Path) -> None:
    write_sample(tmp_path / "deep" / "folder")
    assert sorted(path.name for path in (tmp_path / "deep" / "folder").iterdir()) == list(UNITS)
