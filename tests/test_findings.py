"""Every rule of the catalogue, told by rows that it finds wrong and rows that it does not."""

from __future__ import annotations

import polars as pl
import pytest
from spec import cells, class_rows, layout, node

from schemas.layout import Layout
from schemas.layouts import load_layout
from schemas.period import Period
from schemas.rulebook import CONSEQUENCES, ContentRule, rulebook
from transforms.findings import SCHEMA, find

T1 = Period.parse("2020-T1")  # 1 January to 30 April 2020
RULES = {rule.id: rule for rule in rulebook()}
LAYOUTS = {module: load_layout(module, "54.0.1") for module in ("ord", "ide")}

# One table for each rule. Columns n_X say how many rows of class X stand below the row.
EXAMPLES = {
    "EPI-07": """
        verdict | omsorgsniva | innDatoTid       | utDatoTid
        right   | 2           | 2020-02-03 08:00 | 2020-02-03 15:00
        right   | 1           | 2020-02-03 08:00 | 2020-02-04 08:00
        right   | 8           | 2020-02-03 08:00 | 2020-02-04 08:00
        right   | 3           | 2020-02-03 08:00 |
        wrong   | 2           | 2020-02-03 23:00 | 2020-02-04 01:00
        wrong   | 3           | 2020-02-03 08:00 | 2020-02-04 08:00
        """,
    "EPI-04": """
        verdict | omsorgsniva | innDatoTid       | utDatoTid
        right   | 3           | 2020-02-03 08:00 | 2020-02-03 09:00
        right   | 1           | 2020-02-03 08:00 |
        right   | 3           | 2020-04-30 08:00 |
        wrong   | 3           | 2020-02-03 08:00 |
        wrong   | 2           | 2020-04-29 23:59 |
        """,
    "EPI-10": """
        verdict | n_Helseperson
        right   | 1
        right   | 3
        wrong   | 0
        """,
    "EPI-19": """
        verdict | inntilstand | utTilstand
        right   | 2           | 2
        right   | 1           | 2
        right   | 1           | 1
        right   | 2           |
        wrong   | 2           | 1
        """,
    "EPI-20": """
        verdict | omsorgsniva | utDatoTid        | utTilstand
        right   | 1           | 2020-02-03 08:00 | 1
        right   | 1           |                  |
        right   | 3           | 2020-02-03 08:00 |
        wrong   | 1           | 2020-02-03 08:00 |
        """,
    "EPI-23": """
        verdict | fraSted | fraInstitusjonID | tilSted | tilInstitusjonID
        right   | 99      | 974633574        | 99      | 974633574
        right   | 1       |                  | 1       |
        right   |         |                  |         |
        wrong   | 99      |                  | 1       |
        wrong   |         | 974633574        | 99      |
        """,
    "DX-01": """
        verdict | utDatoTid        | n_Tilstand
        right   | 2020-02-03 08:00 | 1
        right   | 2020-02-03 08:00 | 2
        right   |                  | 0
        wrong   | 2020-02-03 08:00 | 0
        """,
    "PAT-03": """
        verdict | fodselsar
        right   | 0
        right   | 1900
        right   | 2020
        wrong   | 1899
        wrong   | 2021
        """,
    "WAIT-03": """
        verdict | ansienDato | mottaksDato
        right   | 2020-04-30 | 2020-05-01
        right   |            | 2020-04-30
        wrong   | 2020-05-01 | 2020-04-30
        wrong   |            | 2020-05-01
        """,
    "WAIT-04": """
        verdict | vurdDato
        right   | 2020-02-03
        wrong   |
        """,
    "WAIT-12": """
        verdict | ansienDato | mottaksDato
        right   | 2020-02-03 | 2020-02-03
        right   | 2020-02-04 |
        right   |            | 2020-02-03
        wrong   | 2020-02-04 | 2020-02-03
        """,
    "WAIT-14": """
        verdict | ansienDato | mottaksDato | ventetidSluttDato
        right   | 2020-02-03 | 2020-02-10  | 2020-02-03
        right   | 2020-02-10 | 2020-02-03  | 2020-02-03
        right   | 2020-02-03 |             | 2020-02-03
        right   | 2020-02-03 | 2020-02-10  |
        wrong   | 2020-02-03 | 2020-02-10  | 2020-02-02
        wrong   | 2020-02-10 | 2020-02-03  | 2020-02-02
        wrong   | 2020-02-03 |             | 2020-02-02
        wrong   |            | 2020-02-03  | 2020-02-02
        """,
    "WAIT-17": """
        verdict | rettTilHelsehjelp | vurdDato   | fristStartBehandling
        right   | 3                 | 2020-02-03 | 2020-06-01
        right   | 3                 | 2020-03-27 |
        right   | 3                 | 2020-09-30 |
        right   | 1                 | 2020-02-03 |
        wrong   | 3                 | 2020-03-26 |
        wrong   | 3                 | 2020-10-01 |
        """,
    "IDE-06": """
        verdict | typeID | fid
        right   | 9      | 010250
        right   | 9      | 311299
        right   | 1      | 01025012345
        wrong   | 9      | 01025012345
        wrong   | 9      | 1950
        wrong   | 9      | 410250
        """,
}


def tables_of(rule: ContentRule, text: str) -> tuple[dict[str, pl.DataFrame], set[int]]:
    """The class tables of an example, and the ``_row`` of the rows that are wrong."""
    frame = class_rows(rule.npr_class, text).with_row_index("_row", offset=11)
    own = pl.col("_row").cast(pl.Int64) * 10
    frame = frame.with_columns(own.alias("_id"), _patient=pl.lit(5, pl.UInt32))
    chosen = LAYOUTS[rule.module]
    tables = {place.id: frame for place in chosen.nodes if place.name == rule.npr_class}
    for child in (child for place in list(tables) for child in chosen.children(place)):
        if f"n_{child.name}" in frame.columns:
            times = frame[f"n_{child.name}"].cast(pl.Int64)
            tables[child.id] = frame.select(_parent=pl.col("_id").repeat_by(times)).explode("_parent").drop_nulls()
    shown = {name: table.select(pl.exclude("verdict", "^n_.*$")) for name, table in tables.items()}
    return shown, set(frame.filter(verdict="wrong")["_row"])


def test_every_rule_has_an_example_of_both_kinds() -> None:
    assert set(EXAMPLES) == set(RULES)
    for text in EXAMPLES.values():
        assert {row[0] for row in cells(text)[1:]} == {"right", "wrong"}


@pytest.mark.parametrize("name", list(RULES))
def test_a_rule_finds_what_is_wrong_and_nothing_else(name: str) -> None:
    rule = RULES[name]
    tables, wrong = tables_of(rule, EXAMPLES[name])
    found = find([rule], LAYOUTS[rule.module], T1, tables)
    assert set(found["_row"]) == wrong
    assert found.height == len(wrong)
    assert found.schema == SCHEMA
    told = ("rule", "consequence", "module", "class", "_patient")
    assert set(found.select(told).iter_rows()) == {(name, rule.consequence, rule.module, rule.npr_class, 5)}


@pytest.mark.parametrize("name", list(RULES))
def test_a_finding_holds_no_value_of_a_row(name: str) -> None:
    tables, wrong = tables_of(RULES[name], EXAMPLES[name])
    keys = ("episodeID", "henvisningsperiodeID", "pasientNr", "fid")
    marked = {
        place: table.with_columns(pl.lit("Hemmelig").alias(key) for key in keys) for place, table in tables.items()
    }
    found = find(rulebook(), LAYOUTS[RULES[name].module], T1, marked)
    assert wrong <= set(found["_row"])
    assert set(found.columns) == set(SCHEMA)
    assert "Hemmelig" not in str(found.rows())


EPISODE = "_id | _patient | _row | omsorgsniva | innDatoTid \n 1 | 0 | 1 | 3 | 2020-02-03 08:00"


def _of(attributes: str, *children: str) -> Layout:
    below = [node(child, "Episode") for child in children]
    return layout(
        "ord", "Objektholder", node("Objektholder", None), node("Episode", "Objektholder", attributes), *below
    )


@pytest.mark.parametrize(
    ("what", "attributes", "speaks"),
    [
        (
            "the version has the attribute, and no column feeds it",
            "omsorgsniva innDatoTid:dateTime utDatoTid:dateTime",
            True,
        ),
        ("the version does not have it", "omsorgsniva innDatoTid:dateTime", False),
        ("the version prohibits it", "omsorgsniva innDatoTid:dateTime utDatoTid:dateTime!", False),
    ],
)
def test_a_rule_is_silent_where_the_version_lacks_what_it_asks_for(what: str, attributes: str, speaks: bool) -> None:  # noqa: FBT001
    found = find([RULES["EPI-04"]], _of(attributes), T1, {"Episode": class_rows("Episode", EPISODE)})
    assert (found.height == 1) is speaks, what


def test_a_count_of_children_needs_a_version_that_has_them_and_is_zero_without_rows() -> None:
    ended = "_id | _patient | _row | utDatoTid \n 1 | 0 | 1 | 2020-02-03 08:00"
    tables = {"Episode": class_rows("Episode", ended)}
    assert find([RULES["DX-01"]], _of("utDatoTid:dateTime"), T1, tables).is_empty()
    assert find([RULES["DX-01"]], _of("utDatoTid:dateTime", "Tilstand"), T1, tables).height == 1


def test_rules_of_another_module_or_of_a_class_without_rows_say_nothing() -> None:
    tables = {"Episode": class_rows("Episode", EPISODE)}
    assert find(rulebook(), LAYOUTS["ide"], T1, tables).is_empty()
    assert find(rulebook(), LAYOUTS["ord"], T1, {}).schema == SCHEMA


@pytest.mark.parametrize("name", list(RULES))
def test_a_rule_asks_only_for_what_the_model_has_and_says_which_fields_it_means(name: str) -> None:
    rule = RULES[name]
    chosen = LAYOUTS[rule.module]
    places = [place for place in chosen.nodes if place.name == rule.npr_class]
    assert places
    for place in places:
        attributes = {a.name for a in place.attributes if a.use != "prohibited"}
        children = {child.name for child in chosen.children(place.id)}
        asked = set(pl.sql_expr(rule.wrong).meta.root_names())
        assert asked <= attributes | {f"n_{child}" for child in children} | {"period_from", "period_to"}
        assert set(rule.fields) <= attributes | children
    assert rule.consequence in CONSEQUENCES
    assert all((rule.source, rule.text_no, rule.text_en, rule.fix))
