"""Identity against activity, told by tables: what of a number NPR gets, whom the messages hold, NPR's flags.

``<right>`` and the like stand for numbers made while the test runs (``guarded``); none is written here.
"""

from __future__ import annotations

import datetime as dt
import json
import stat
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from conftest import call
from guarded import PERIOD, UNIT, Desk, delivery, numbers
from spec import cells

from assets.findings import findings
from assets.identity import insist_same_patients
from pipelines.home.pseudonym_key import pseudonym_key
from schemas.errors import DataRefused
from schemas.identity_rules import identity_rules
from schemas.records import Findings, Key, MessageSet
from transforms.content.findings import SCHEMA
from transforms.content.identity_rules import (
    ACTIONS,
    after_death,
    counted,
    difference,
    flags,
    settle,
    shells_differ,
    twice,
)
from transforms.content.identity_rules import (
    findings as told_of,
)
from transforms.identity_numbers import classify
from transforms.pseudonyms import pseudonyms

pytestmark = pytest.mark.xdist_group("guard_run")
ON = dt.date(2020, 6, 1)
FNR, MALE, FEMALE = numbers(200)[150], numbers(4000)[0], ""
FEMALE = next(number for number in numbers(4000) if int(number[8]) % 2 == 0)
MALE = next(number for number in numbers(4000) if int(number[8]) % 2)
YEAR = 1800 + int(FNR[4:6])
WRONG = FNR[:-1] + str((int(FNR[-1]) + 1) % 10)
DNR = numbers(200, d_number=True)[150]
WORDS = {
    "<right>": FNR, "<right, hyphen>": f"{FNR[:6]}-{FNR[6:]}", "<wrong digit>": WRONG, "<D>": DNR,
    "<D, wrong digit>": DNR[:-1] + str((int(DNR[-1]) + 1) % 10), "<day of it>": FNR[:6], "<year>": str(YEAR),
    "<Tenor>": numbers(90, series="tenor")[80], "<Tenor, wrong digit>": "", "<H>": numbers(90, series="nav")[80],
    "<FH>": next(n for n in (f"8123456{i:04d}" for i in range(9999)) if classify(pl.Series([n]))["valid"][0]),
    "<none>": "",
}  # fmt: skip
WORDS["<Tenor, wrong digit>"] = WORDS["<Tenor>"][:-1] + str((int(WORDS["<Tenor>"][-1]) + 1) % 10)

# delivered: fid, typeID, birth year of the patient, birth date where delivered. Then what NPR gets, and the rule.
SETTLED = """
    fid                  | typeID | fodselsar | fodselsdato | sent        | sentType | rule
    <right>              | 1      | <year>    |             | <right>     | 1        |
    <D>                  | 2      | <year>    |             | <D>         | 2        |
    <H>                  | 3      | <year>    |             | <H>         | 3        |
    010250               | 9      | 1950      |             | 010250      | 9        |
    <right>              | 9      | <year>    |             | <right>     | 9        |
    <FH>                 | 9      | 1950      |             | <FH>        | 9        |
    <right>              | 2      | <year>    |             | <right>     | 1        | IDE-11
    <right>              | 3      | <year>    |             | <right>     | 1        | IDE-11
    <D>                  | 1      | <year>    |             | <D>         | 2        | IDE-11
    <right, hyphen>      | 1      | <year>    |             | <right>     | 1        | IDE-11
    <none>               | 9      | 1950      | 1950-02-01  | 010250      | 9        | IDE-10
    <none>               | 1      | 1950      | 1950-02-01  | 010250      | 9        | IDE-10
    <wrong digit>        | 1      | <year>    |             | <day of it> | 9        | IDE-10
    <wrong digit>        | 1      | 1950      | 1950-02-01  | 010250      | 9        | IDE-10
    <FH>                 | 12     | 1950      | 1950-02-01  | 010250      | 9        | IDE-10
    199012345678         | 10     | 1990      | 1990-12-31  | 311290      | 9        | IDE-10
    AB123                | 4      | 1950      | 1950-02-01  | 010250      | 9        | IDE-10
    010250               | 1      | 1950      | 1950-02-01  | 010250      | 9        | IDE-10
    <wrong digit>        | 1      | 1950      |             | <wrong digit> | 1      | IDE-05
    <wrong digit>        | 1      | 0         |             | <wrong digit> | 1      | IDE-05
    <D, wrong digit>     | 2      | <year>    |             | <D, wrong digit> | 2   | IDE-05
    <FH>                 | 12     | 1950      |             | <FH>        | 12       | IDE-05
    AB123                | 4      | 1950      |             | AB123       | 4        | IDE-05
    <Tenor>              | 1      | <year>    | 1950-02-01  | <Tenor>     | 1        |
    <Tenor>              | 10     | <year>    | 1950-02-01  | <Tenor>     | 10       |
    <Tenor, wrong digit> | 1      | <year>    | 1950-02-01  | <Tenor, wrong digit> | 1 |
    <Tenor, wrong digit> | 9      | <year>    | 1950-02-01  | <Tenor, wrong digit> | 9 |
    <H>                  | 1      | <year>    | 1950-02-01  | <H>         | 1        |
    """


def table(text: str) -> pl.DataFrame:
    """A table with its words put in; an empty cell is null."""
    header, *rows = cells(text)
    said = [[WORDS.get(cell, cell) or None for cell in row] for row in rows]
    frame = pl.DataFrame(said, schema=dict.fromkeys(header, pl.String), orient="row")
    typed = {"fodselsar": pl.Int32, "_id": pl.Int64, "_parent": pl.Int64, "_patient": pl.UInt32}
    frame = frame.with_columns(pl.col(name).str.to_date() for name in ("fodselsdato",) if name in header)
    return frame.with_columns(pl.col(name).cast(kind) for name, kind in typed.items() if name in header)


def test_what_npr_gets_of_each_delivered_number() -> None:
    given = table(SETTLED).with_row_index("_patient").with_columns(_row=pl.col("_patient") + 1)
    rows = given.select("_patient", "_row", "fid", "typeID", pid=pl.lit("P"))
    sent, changed = settle(rows, given.select("_patient", "fodselsar", "fodselsdato"), ON)
    assert sent.columns == rows.columns
    rules = dict(changed.select("_row", pl.col("action").replace_strict(ACTIONS)).iter_rows())
    for line, wanted in enumerate(given.iter_rows(named=True), start=1):
        told = sent.row(line - 1, named=True)
        assert (told["fid"], told["typeID"], rules.get(line)) == (wanted["sent"], wanted["sentType"], wanted["rule"]), (
            line
        )


def test_what_was_changed_is_told_without_a_number() -> None:
    given = table(SETTLED).with_row_index("_patient").with_columns(_row=pl.col("_patient") + 1)
    _, changed = settle(
        given.select("_patient", "_row", "fid", "typeID"), given.select("_patient", "fodselsar", "fodselsdato"), ON
    )
    assert changed.columns == ["_patient", "_row", "action", "kind", "reason"]
    assert not any(number and number in str(changed.rows()) for number in WORDS.values() if len(number) == 11)


# --- NPR's flags

FLAGS = """
    fid      | typeID | kjonn | fodselsar | late | flag | rules
    <male>   | 1      | 1     | <y male>  |      | 1    |
    <female> | 1      | 2     | <y female> |     | 1    |
    <male>   | 1      | 9     | 0         |      | 1    |
    <male>   | 1      | 2     | <y male>  |      | 2    | PAT-04
    <female> | 1      | 1     | <y female> |     | 2    | PAT-04
    <male>   | 1      | 1     | 1950      |      | 3    | PAT-05
    <male>   | 1      | 2     | 1950      |      | 2    | PAT-04 PAT-05
    010250   | 9      | 1     | 1950      |      | 4    |
    010250   | 9      | 1     | 1951      | yes  | 4    | PAT-07
    <wrong digit> | 1 | 2     | 1950      |      | 4    |
    <FH>     | 9      | 1     | 1950      |      | 1    |
    <male>   | 1      | 1     | <y male>  | yes  | 5    | PAT-07
    <male>   | 1      | 2     | <y male>  | yes  | 2    | PAT-04 PAT-07
    """


def test_the_flag_of_each_patient_and_the_findings_behind_it() -> None:
    WORDS.update({"<male>": MALE, "<female>": FEMALE,
                  "<y male>": f"18{MALE[4:6]}", "<y female>": f"18{FEMALE[4:6]}"})  # fmt: skip
    given = table(FLAGS).with_row_index("_patient").with_columns(_row=pl.col("_patient") + 1)
    marked = flags(given, given, given.filter(late="yes")["_patient"], ON)
    assert marked["nprid_reg"].to_list() == given["flag"].to_list()
    assert counted(marked) == {"1": 4, "2": 4, "3": 1, "4": 3, "5": 1}
    none = pl.DataFrame(schema={"_patient": pl.UInt32, "_row": pl.UInt32, "action": pl.String})
    found = told_of(marked, none, pl.Series([], dtype=pl.UInt32), given.select("_patient", _id=pl.col("_row") + 100))
    assert found.schema == SCHEMA
    assert found["_id"].to_list() == [row + 100 for row in found["_row"]]
    by_row = found.sort("_row", "rule").group_by("_row", maintain_order=True).agg(pl.col("rule").str.join(" "))
    assert dict(by_row.iter_rows()) == dict(given.drop_nulls("rules").select("_row", "rules").iter_rows())


def test_a_number_of_2032_tells_no_sex_and_no_year() -> None:
    from test_identity_numbers import with_control  # noqa: PLC0415 - only here

    relaxed = next(n for i in range(500, 750) if (n := with_control(f"010156{i}", 2)))
    given = pl.DataFrame(
        {"_patient": [0], "_row": [1], "fid": [relaxed], "typeID": ["1"], "kjonn": ["1"], "fodselsar": [1]}
    )
    for kjonn in ("1", "2"):
        given = given.with_columns(kjonn=pl.lit(kjonn))
        assert flags(given, given, pl.Series([], dtype=pl.UInt32), dt.date(2033, 1, 1))["nprid_reg"].to_list() == ["1"]


DEATHS = """
    _id | _patient | innDatoTid       | utDatoTid        | utTilstand | kontaktType | what
    1   | 0        | 2020-01-01 08:00 | 2020-01-05 08:00 | 2          | 2           | dies on the 5th
    2   | 0        | 2020-01-05 09:00 | 2020-01-05 10:00 | 1          | 2           | the same day: no
    3   | 1        | 2020-01-01 08:00 | 2020-01-05 08:00 | 3          | 2           |
    4   | 1        | 2020-01-06 08:00 | 2020-01-06 09:00 | 1          | 2           | late
    5   | 2        | 2020-01-01 08:00 | 2020-01-05 08:00 | 2          | 2           |
    6   | 2        | 2020-01-09 08:00 | 2020-01-09 09:00 | 1          | 5           | indirect: no
    7   | 3        | 2020-01-09 08:00 | 2020-01-09 09:00 | 1          | 2           | lives
    8   | 4        | 2020-03-01 08:00 | 2020-03-05 08:00 | 2          | 2           | dies twice: the first counts
    9   | 4        | 2020-02-01 08:00 | 2020-02-05 08:00 | 2          | 2           |
    """


def test_an_episode_after_the_day_of_death() -> None:
    given = table(DEATHS).with_columns(pl.col("innDatoTid", "utDatoTid").str.to_datetime("%Y-%m-%d %H:%M"))
    late = after_death(given, given.select("kontaktType", _parent="_id"))
    assert late.to_list() == [1, 4]


def test_a_number_with_two_patients_is_told_of_both_and_birth_dates_are_nobodys() -> None:
    sent = table("""
        _patient | fid     | typeID
        0        | <right> | 1
        1        | <D>     | 2
        2        | <right> | 1
        3        | 010250  | 9
        4        | 010250  | 9
        """)
    assert sorted(twice(sent)) == [0, 2]


# --- the same patients, the same report


@pytest.mark.parametrize(
    ("ide", "ord_", "sbs", "expected"),
    [
        ([0, 1], [0, 1], [], []),
        ([0, 1], [0], [1], []),
        ([0], [0, 1], [1], [(1, "IDE-01", "ide, stands in ord"), (1, "IDE-01", "ide, stands in sbs")]),
        ([0, 1, 2], [0], [1], [(2, "IDE-02", "every other message")]),
        ([2], [0], [], [(0, "IDE-01", "ide, stands in ord"), (2, "IDE-02", "every other message")]),
        ([], [], [], []),
    ],
)
def test_the_difference_goes_both_ways(
    ide: list[int], ord_: list[int], sbs: list[int], expected: list[tuple[int, str, str]]
) -> None:
    one, two, three = (pl.Series(values, dtype=pl.UInt32) for values in (ide, ord_, sbs))
    assert difference(one, {"ord": two, "sbs": three}).rows() == expected


def test_institution_and_period_are_those_of_ide() -> None:
    def shell(first: str, institution: str) -> tuple[pl.DataFrame, pl.DataFrame]:
        melding = pl.DataFrame({"fraDatoPeriode": [first], "tilDatoPeriode": ["2020-04-30"]})
        return melding, pl.DataFrame({"institusjonID": [institution]})

    same = shell("2020-01-01", "900000022")
    assert shells_differ({"ide": same, "ord": same, "sbs": same}) == []
    other = {
        "ide": same,
        "ord": shell("2020-01-02", "900000022"),
        "sbs": shell("2020-01-01", "9000000220"),
        "kpp": same,
    }
    assert shells_differ(other) == ["ord", "sbs"]
    assert shells_differ({"ord": same}) == []


# --- on the way of a report


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A report with one of each: no number but a birth date, a wrong number, another sex, another typeID."""
    room, given = tmp_path_factory.mktemp("identity"), delivery()
    people = given.tables["identities"]
    reported = people["pasientNr"].to_list()
    ours = {name: list(people[name]) for name in ("fid", "typeID")} | {"fodselsdato": [None] * people.height}
    ours["fid"][0], ours["typeID"][0], ours["fodselsdato"][0] = None, "9", "1956-03-04"
    ours["fid"][1] = WRONG
    ours["typeID"][2] = "2"
    ours["fid"][3] = FEMALE
    given.tables["identities"] = people.with_columns(pl.Series(name, cells_) for name, cells_ in ours.items())
    years = {reported[1]: "1950", reported[3]: f"18{FEMALE[4:6]}"}
    for number, year in years.items():
        at = given.tables["patients"]["pasientNr"].to_list().index(number)
        given.put("patients", "fodselsar", at, year)
        given.put("patients", "kjonn", at, "1")
    made = Desk(room / "var", profile="rehearsal")
    made.send(given.write(room / "extract"))
    return made


KEY = Key(period=PERIOD, unit=UNIT)


def test_staging_keeps_what_was_delivered_and_the_message_what_npr_gets(desk: Desk) -> None:
    store = desk.run(desk.home).store
    staged = pl.read_parquet(store.table("staging", "identities", KEY, identity=True)).sort("_row")
    sent = pl.read_parquet(store.table("message", "ide_PasientIdent", KEY, identity=True)).sort("_row")
    assert staged["fid"].to_list()[:2] == [None, WRONG]
    assert staged["typeID"].to_list()[:3] == ["9", "1", "2"]
    told = dict(sent.select("_row", pl.concat_str("fid", pl.lit(" "), "typeID")).iter_rows())
    assert told[1] == "040356 9"
    assert told[2] == f"{WRONG} 1"
    assert told[3].endswith(" 1")


def test_counters_stand_in_record_manifest_and_output_and_rows_in_the_identity_tree_alone(desk: Desk) -> None:
    store = desk.run(desk.home).store
    record = store.load("findings", KEY, Findings)
    assert {rule: record.by_rule[rule] for rule in ("IDE-05", "IDE-10", "IDE-11")} == {
        "IDE-05": 1, "IDE-10": 1, "IDE-11": 1,
    }  # fmt: skip
    assert record.nprid_reg["4"] == 2
    assert record.nprid_reg["2"] >= 1
    assert sum(record.nprid_reg.values()) == 12
    private = {path.parent.parent.parent.name for path in desk.home.glob("identity/lake/*/*/*/*/data.parquet")}
    assert {"identity_flags", "ide_settled"} <= private
    public = {path.parent.parent.parent.name for path in desk.home.glob("lake/*/*/*/*/data.parquet")}
    assert not {"identity_flags", "ide_settled"} & public
    with duckdb.connect(str(desk.home / "npr.duckdb"), read_only=True) as db:
        counts = dict(db.execute("select nprid_reg, patients from finding.identity_counts").fetchall())
    assert counts == record.nprid_reg


def test_their_findings_stand_with_all_others_and_name_no_number(desk: Desk) -> None:
    store = desk.run(desk.home).store
    rows = pl.read_parquet(store.table("finding", "findings", KEY)).filter(table="identities")
    assert dict(rows.group_by("rule").len().iter_rows()) == {
        rule: count for rule, count in store.load("findings", KEY, Findings).by_rule.items() if rule in identity_rules()
    }
    assert {rows["module"][0], rows["class"][0], *rows["_row"].is_null()} == {"ide", "PasientIdent", False}

    def npr(*arguments: str) -> Any:  # noqa: ANN401 - JSON
        told = call(*arguments, "--json", home=desk.home)
        assert told.code == 0, told.err
        assert WRONG not in told.out
        return json.loads(told.out)

    (listed,) = npr("findings", PERIOD, "--unit", UNIT)
    named = {row["rule"]: row for row in listed["findings"] if row["table"] == "identities"}
    assert {"IDE-05", "IDE-10", "IDE-11", "PAT-04"} <= set(named)
    assert named["IDE-05"]["text"] == identity_rules()["IDE-05"].text_en
    (one,) = npr("explain", "PAT-04", "--record", named["PAT-04"]["record"])["records"]
    assert one["fields"] == {"kjonn": "1"}
    assert npr("explain", "IDE-05", "--record", named["IDE-05"]["fingerprint"])["records"][0]["fields"] == {}
    (judged,) = npr("verdict", PERIOD, "--unit", UNIT)
    assert {"rule": "IDE-05", "records": 1}.items() <= judged["overrides"][0].items()
    assert ("ide", "IDE-05", 1) in {(row["module"], row["rule"], row["rows"]) for row in judged["lost"]["by_rule"]}
    decided = ("--unit", UNIT, "--by", "Kari Analytiker", "--why", "known")
    assert npr("override", PERIOD, "IDE-05", *decided, "--count", "1")["holds"]
    assert npr("waive", PERIOD, "PAT-04", *decided)["findings"] == rows.filter(rule="PAT-04").height


def test_a_patient_without_identity_is_named_by_pseudonym_and_nothing_goes_on(desk: Desk) -> None:
    run = desk.run(desk.home)
    path = run.store.table("message", "ide_PasientIdent", KEY, identity=True)
    whole = pl.read_parquet(path)
    lost = whole["pid"][0]
    whole.slice(1).write_parquet(path)
    try:
        with pytest.raises(DataRefused) as refused:
            findings(run)
        run.store.publish_views()
        with duckdb.connect(str(desk.home / "npr.duckdb"), read_only=True) as db:
            rows = db.execute("select patient, rule, missing_in from finding.identity_difference").fetchall()
    finally:
        whole.write_parquet(path)
    name = f"~{pseudonyms([lost], pseudonym_key(desk.home))[0]}"
    assert rows == [(name, "IDE-01", "ide, stands in ord")]
    assert name in refused.value.where
    assert "1 patients without identity, 0 identities without activity" in refused.value.what
    assert lost not in str(refused.value)
    assert stat.S_IMODE((desk.home / "identity" / "pseudonym.key").stat().st_mode) == 0o600
    insist_same_patients(run, run.store.load("messages", KEY, MessageSet))


def test_a_patient_with_neither_number_nor_birth_date_stops_the_run(tmp_path: Path) -> None:
    given = delivery()
    fids = given.tables["identities"]["fid"].to_list()
    given.tables["identities"] = given.tables["identities"].with_columns(fid=pl.Series([None, *fids[1:]]))
    with pytest.raises(DataRefused) as refused:
        Desk(tmp_path / "var", profile="rehearsal").send(given.write(tmp_path / "extract"))
    assert "IDE-03" in str(refused.value)


def test_every_rule_has_its_texts_and_says_where_it_is_decided() -> None:
    rules = identity_rules()
    assert {f"IDE-0{n}" for n in (1, 2, 3, 4, 5, 7, 8, 9)} | {"IDE-10", "IDE-11"} <= set(rules)
    assert {f"PAT-0{n}" for n in (4, 5, 6, 7)} <= set(rules)
    assert set(ACTIONS.values()) == {name for name, rule in rules.items() if rule.decided == "messages"}
