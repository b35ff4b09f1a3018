"""What rules say of tables together: departments, dropped records, versions that are silent, and rules that fail."""

from __future__ import annotations

import csv
import datetime as dt
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_cases import CONTRACT, KODEVERK, RULES, lists
from spec import class_rows, frame

from schemas.errors import DataRefused, WrongUse
from schemas.layouts import load_layout
from schemas.period import Period
from schemas.rulebook import CONSEQUENCES, ContentRule, coverage, read_rules, rulebook
from transforms.code_validity import CodeTables, Edition, code_tables, validity, verdict
from transforms.content.findings import SCHEMA, dropped_units, find, roles, with_roles
from transforms.rules import functions
from transforms.rules.plan import Plan, plan

T1 = Period.parse("2020-T1")
NOTES = Path(__file__).parents[1] / ".." / "shared" / "domain" / "data" / "npr-rules.csv"
TEXTS = 'basis = "inferred"\nsource = "test"\ntext_no = "x"\ntext_en = "x"\nfix = "x"\n'


def written(
    what: str, *, cls: str = "Episode", consequence: str = "report_only", module: str = "ord", rule: str = "TEST-1"
) -> ContentRule:
    """A rule out of the text of a rule file."""
    head = f'[{rule}]\nmodule = "{module}"\nclass = "{cls}"\n{what}\nfields = ["x"]\n'
    return read_rules({"test.toml": f'{head}consequence = "{consequence}"\n{TEXTS}'})[0]


def ready(*rules: ContentRule, version: str = "54.0.1", module: str = "ord", tables: CodeTables | None = None) -> Plan:
    return plan(rules, CONTRACT, load_layout(module, version), T1, tables or lists())


# Two patients. Episode 1 lacks its end and would be dropped; its condition and code are wrong as well.
TABLES = {
    "Objektholder": "_id | _patient | _row \n 0 | 0 | 1 \n 1 | 1 | 2",
    "Episode": """
        _id | _parent | _patient | _row | omsorgsniva | innDatoTid       | utDatoTid
        1   | 0       | 0        | 7    | 3           | 2020-02-03 08:00 |
        2   | 1       | 1        | 9    | 3           | 2020-02-03 08:00 | 2020-02-03 09:00
        """,
    "Tilstand": """
        _id | _parent | _patient | _row | tilstNr
        5   | 1       | 0        | 3    | 1
        6   | 2       | 1        | 4    | 1
        """,
    "Tilstand_Kode": """
        _id | _parent | _patient | _row | kodeNr | Kodeverk | kodeVersjon | kodeVerdi
        8   | 5       | 0        | 3    | 1      | D        | 2020        | 1
        9   | 6       | 1        | 4    | 1      | D        | 2020        | 1
        """,
    "Episode_RefEnhet": """
        _id | _parent | _patient | _row | enhetID | typeEnhet
        1   | 1       | 0        | 7    | B1      | 1
        2   | 1       | 0        | 7    | A-MED   | 7
        3   | 1       | 0        | 7    | F-MED   | 2
        4   | 2       | 1        | 9    | B1      | 1
        5   | 2       | 1        | 9    | F-KIR   | 2
        6   | 2       | 1        | 9    | T-KIR   | 3
        """,
}


def tables() -> dict[str, pl.DataFrame]:
    return {name: class_rows(name.rpartition("_")[2], text) for name, text in TABLES.items()}


def test_a_finding_says_where_and_whose_it_is_and_a_broken_parent_counts_its_children_once() -> None:
    found = find(ready(RULES["EPI-04"], RULES["DX-02"]), tables()).findings
    assert found.schema == SCHEMA
    columns = ["rule", "consequence", "class", "table", "fields", "enhet", "_id", "_patient", "_row", "under"]
    assert found.select(columns).rows() == [
        ("EPI-04", "drop_record", "Episode", "episodes", "utDatoTid", "A-MED", 1, 0, 7, None),
        ("DX-02", "drop_record", "Tilstand_Kode", "conditions", "kodeVerdi", "A-MED", 8, 0, 3, "EPI-04"),
        ("DX-02", "drop_record", "Tilstand_Kode", "conditions", "kodeVerdi", "F-KIR", 9, 1, 4, None),
    ]


def test_the_outermost_dropped_record_is_the_one_that_counts() -> None:
    whole = [
        written('wrong = "pasientNr IS NULL"', cls="Objektholder", consequence="drop_record", rule="A"),
        written("wrong = \"omsorgsniva = '3'\"", consequence="drop_record", rule="B"),
        written("wrong = \"kodeVerdi = '1'\"", cls="Tilstand_Kode", rule="C"),
    ]
    found = find(ready(*whole), tables()).findings
    assert found.select("rule", "_patient", "under").rows() == [
        ("A", 0, None), ("A", 1, None), ("B", 0, "A"), ("B", 1, "A"), ("C", 0, "A"), ("C", 1, "A"),
    ]  # fmt: skip


def test_what_belongs_to_a_dropped_unit_falls_with_it() -> None:
    asked = ready(RULES["UNIT-04"], RULES["DX-02"])
    units = frame("_id | _row | enhetID | isfRefusjon | offAvdKode \n 1 | 1 | A-MED | 1 | \n 2 | 2 | A-KIR | 1 | 010")
    named = tables()["Episode_RefEnhet"].group_by("enhetID", "typeEnhet").len()
    shell = find(asked, {"Enhet": with_roles(asked, units, roles(named))}).findings
    assert shell.select("rule", "enhet", "table", "_patient", "_row").rows() == [("UNIT-04", "A-MED", "units", None, 1)]
    found = find(asked, tables(), None, dropped_units(shell)).findings
    assert found.select("rule", "enhet", "under").rows() == [("DX-02", "A-MED", "UNIT-04"), ("DX-02", "F-KIR", None)]


@pytest.mark.parametrize(
    ("what", "version", "why"),
    [
        ('wrong = "enhetNavn IS NULL"', "54.0.1", "ord 54.0.1 does not take Enhet@enhetNavn"),  # prohibited there
        ('wrong = "sektor IS NULL"\nfrom_version = "55.0.1"', "54.0.1", "not before version 55.0.1"),
        ('wrong = "sektor IS NULL"\nfrom_year = 2021', "54.0.1", "not for data of 2020"),
        ('wrong = "sektor IS NULL"\nto_year = 2019', "54.0.1", "not for data of 2020"),
        ('wrong = "sektor IS NULL"\nfrom_year = 2020\nto_year = 2020', "54.0.1", ""),
    ],
)
def test_a_rule_that_does_not_speak_in_a_version_is_recorded_with_the_reason(what: str, version: str, why: str) -> None:
    made = ready(written(what, cls="Enhet"), version=version)
    assert made.silent == ({"TEST-1": why} if why else {})
    assert len(made.ready) == (0 if why else 1)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ('wrong = "omsorgsnivaa = 1"', "Episode has no omsorgsnivaa"),
        ('wrong = "Epsode_innDatoTid IS NULL"', "Episode has no Epsode_innDatoTid"),
        ('wrong = "n_Kontakter = 0"', "Episode has no n_Kontakter"),
        ('wrong = "omsorgsniva = ("', "not readable as SQL"),
        ('wrong = "NOFUNCTION(omsorgsniva) = 1"', "not readable as SQL"),
        ('wrong = "omsorgsniva = 1"', "cannot be asked"),
        ('wrong = "LENGTH(omsorgsniva)"', "and not true or false"),
        ('function = "no_such"', "there is no function no_such"),
        ('function = "overlapping_stays"\nuses = ["omsorgsniva"]', "cannot be asked"),
        ('function = "overlapping_stays"\nneeds = { Kontaktt = [] }', "no class Kontaktt"),
        ('function = "overlapping_stays"\nneeds = { Kode = [] }', "Kode is not the name of one node"),
        ('codes = { list = "84060", value = "omsorgsniva", on = "innDatoTid" }', "code list 84060 does not come"),
        ('codes = { list = "8406", value = "omsorgsniva", on = "omsorgsniva" }', "on is String and no day"),
    ],
)
def test_a_rule_that_cannot_be_asked_is_refused_by_name_before_any_row_is_looked_at(what: str, told: str) -> None:
    with pytest.raises(WrongUse) as refused:
        ready(written(what))
    assert refused.value.where == "schemas/rules/test.toml"
    assert refused.value.what.startswith("rule TEST-1: ")
    assert told in refused.value.what


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('class = "Episode"', 'class = "Epsode"'), "ord has no class Epsode in any version"),
        (('module = "ord"', 'module = "odr"'), "no version has the module odr"),
        (('consequence = "report_only"', 'consequence = "drop_all"'), "consequence"),
        (('basis = "inferred"', 'basis = "guess"'), "basis"),
        (('fix = "x"', ""), "fix"),
        (("wrong =", "wrogn ="), "wrogn"),
        (('fields = ["x"]', "fields = []"), "fields"),
        (('wrong = "omsorgsniva IS NULL"', ""), "a rule has one of wrong, codes, function"),
        (("[TEST-1]", "[TEST-1"), "not readable as TOML"),
    ],
)
def test_a_typo_in_a_rule_file_is_refused_with_rule_and_file(change: tuple[str, str], told: str) -> None:
    head = '[TEST-1]\nmodule = "ord"\nclass = "Episode"\nwrong = "omsorgsniva IS NULL"\nfields = ["x"]\n'
    text = f'{head}consequence = "report_only"\n{TEXTS}'
    assert ready(*read_rules({"test.toml": text})).ready
    with pytest.raises(WrongUse) as refused:
        ready(*read_rules({"test.toml": text.replace(*change)}))
    assert refused.value.where == "schemas/rules/test.toml"
    assert told in refused.value.what


def test_a_rule_that_stands_in_two_files_is_refused() -> None:
    head = '[A]\nmodule = "ord"\nclass = "Episode"\nwrong = "omsorgsniva IS NULL"\nfields = ["x"]\n'
    text = f'{head}consequence = "report_only"\n{TEXTS}'
    with pytest.raises(WrongUse, match=r"rule A: stands in a\.toml too"):
        read_rules({"a.toml": text, "b.toml": text})


def test_a_rule_is_silent_where_a_version_has_no_class_that_its_function_needs() -> None:
    whole = load_layout("ord", "54.0.1")
    without = replace(whole, nodes=tuple(node for node in whole.nodes if node.name != "Tidspunkt"))
    made = plan([RULES["EPI-15"], RULES["EPI-28"], RULES["WAIT-18"]], CONTRACT, without, T1, lists())
    assert not made.ready
    assert made.silent == {
        "EPI-15": "ord 54.0.1 has no Tidspunkt",
        "EPI-28": "ord 54.0.1 has no Tidspunkt",
        "WAIT-18": "ord 54.0.1 does not take Henvisningsperiode@n_Tidspunkt_typeTidspunkt_31",
    }


def test_a_carried_list_that_is_missing_stops_every_rule_that_needs_it() -> None:
    with pytest.raises(WrongUse, match="rule EPI-06: code list 8406 does not come with the program"):
        ready(RULES["EPI-06"], tables=code_tables([], {}))


def test_a_list_that_can_be_loaded_and_is_not_is_no_pass() -> None:
    asked = ready(RULES["DX-03"], tables=code_tables([], KODEVERK))
    found = find(asked, tables())
    assert found.findings.is_empty()
    assert found.unchecked == {"DX-03": 2}


@pytest.mark.parametrize("form", ["expression", "function"])
def test_a_rule_that_fails_over_rows_stops_the_run_without_a_value(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(rows: pl.DataFrame, _: object) -> pl.Series:
        if rows.height:
            raise ValueError("Hemmelig 01025012345")
        return pl.Series([], dtype=pl.Boolean)

    monkeypatch.setitem(functions.FUNCTIONS, "fails", fails)
    forms = {
        "function": 'function = "fails"\nuses = ["omsorgsniva"]',
        "expression": "wrong = \"CAST(omsorgsniva || 'x' AS INTEGER) > 0\"",
    }
    asked = ready(RULES["EPI-04"], written(forms[form]))
    with pytest.raises(DataRefused) as refused:
        find(asked, tables())
    assert "rule TEST-1 failed over the rows of Episode" in refused.value.what
    assert "schemas/rules/test.toml" in refused.value.where
    assert "Hemmelig" not in str(refused.value)
    assert "3x" not in str(refused.value)


def test_a_finding_holds_no_value_of_a_row() -> None:
    marked = {name: table.with_columns(episodeID=pl.lit("Hemmelig")) for name, table in tables().items()}
    found = find(ready(*(rule for rule in rulebook() if "ord" in rule.modules)), marked).findings
    assert found.height
    assert "Hemmelig" not in str(found.rows())


def test_identity_numbers_are_seen_by_the_rules_of_ide_alone() -> None:
    for rule in rulebook():
        for module in set(rule.modules) - {"ide"}:
            wanted = ready(rule, module=module).needed()
            assert not {"fid", "pid"} & {name for names in wanted.values() for name in names}


def test_every_rule_speaks_in_the_version_that_the_catalogue_was_written_for() -> None:
    silent = {rule.id for rule in rulebook() if not ready(rule, version="56.0.1", module=rule.modules[0]).ready}
    assert silent - {rule.id for rule in rulebook() if rule.from_year} == set()
    assert {rule.consequence for rule in rulebook()} == set(CONSEQUENCES)


def test_the_table_says_of_each_rule_of_the_notes_where_it_is_decided() -> None:
    decided = {one.rule: one for one in coverage()}
    named = {name for one in decided.values() if one.decided == "rule" for name in one.where.split()}
    assert {rule.id for rule in rulebook() if rule.file != "identity.toml"} <= named <= set(RULES)
    for one in decided.values():
        assert one.where or one.note
        assert one.decided != "no" or one.note, one.rule
    if not NOTES.is_file():
        pytest.skip("the notes are not beside the checkout")
    with NOTES.open(encoding="utf-8") as file:
        ids = {row["id"] for row in csv.DictReader(file)}
    added = {"MSG-24", "MSG-25", "UNIT-11", "UNIT-12", "WAIT-23", "WAIT-24", "EPI-30", "DET-01"}
    assert set(decided) == ids | added


_DAYS = st.one_of(st.none(), st.dates(dt.date(2018, 1, 1), dt.date(2021, 12, 31)))
_CODES = pl.DataFrame(
    [
        ("A", None, None), ("B", dt.date(2019, 6, 1), None),
        ("C", None, dt.date(2019, 5, 31)), ("C", dt.date(2020, 2, 1), None),
    ],
    schema={"code": pl.String, "valid_from": pl.Date, "valid_to": pl.Date},
    orient="row",
)  # fmt: skip
_LISTS = code_tables(
    [
        Edition("one", dt.date(2019, 1, 1), dt.date(2020, 12, 31), _CODES),
        Edition("two", dt.date(2020, 1, 1), dt.date(2020, 12, 31), _CODES.head(1).with_columns(code=pl.lit("D"))),
    ],
    {"K": ("one",), "Q": ("one", "two")},
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["A", "B", "C", "D", "E", None]), _DAYS), max_size=30), st.sampled_from("KQ"))
def test_the_verdict_of_one_pass_is_that_of_code_validity(
    rows: list[tuple[str | None, dt.date | None]], letter: str
) -> None:
    asked = pl.DataFrame(rows, schema={"code": pl.String, "day": pl.Date}, orient="row")
    status = validity(asked["code"], asked["day"], letter, _LISTS).cast(pl.String)
    refuted, unchecked = verdict(pl.col("code"), pl.col("day"), _LISTS.kodeverk[letter], _LISTS)
    told = asked.select(refuted=refuted, unchecked=unchecked)
    assert told["refuted"].to_list() == [one in {"not_valid_on_date", "unknown_code"} for one in status]
    assert told["unchecked"].to_list() == [one == "not_checked" for one in status]
