"""What NPR would keep: rows lost with their record or department, values blanked."""

from __future__ import annotations

import polars as pl
import pytest
from spec import frame, layout, node, same

from transforms.content.verdict import FATE, LOST, fates, figure, more, sentence, summed, unchecked_line

LAYOUT = layout(
    "ord",
    "Objektholder",
    node("Objektholder", None),
    node("Pasient", "Objektholder"),
    node("Episode", "Objektholder"),
    node("Episode_RefEnhet", "Episode"),
    node("Tilstand", "Episode"),
    node("Tilstand_Kode", "Tilstand"),
)
# Patient 0 has episodes 0 and 1, patient 1 has 2 and 3. Every episode has one condition with two codes.
TABLES = {
    "Objektholder": frame("_id\n 0\n 1"),
    "Pasient": frame("_id | _parent\n 0 | 0\n 1 | 1"),
    "Episode": frame("_id | _parent\n 0 | 0\n 1 | 0\n 2 | 1\n 3 | 1"),
    "Episode_RefEnhet": frame(
        """
        _id | _parent | enhetID | typeEnhet
        0   | 0       | B1      | 1
        1   | 0       | A1      | 7
        2   | 1       | A2      | 7
        3   | 2       | A1      | 7
        4   | 3       | A2      | 1
        5   | 3       | A3      | 7
        """
    ),
    "Tilstand": frame("_id | _parent\n 0 | 0\n 1 | 1\n 2 | 2\n 3 | 3"),
    "Tilstand_Kode": frame("_id | _parent\n 0 | 0\n 1 | 0\n 2 | 1\n 3 | 1\n 4 | 2\n 5 | 2\n 6 | 3\n 7 | 3"),
}
NONE = frame("enhet | by").clear()


def found(text: str) -> pl.DataFrame:
    usual = {"consequence": "drop_record", "enhet": None}
    rows = frame(text)
    return rows.with_columns(pl.lit(v, pl.String).alias(k) for k, v in usual.items() if k not in rows.columns)


NOTHING = found("rule | class | _id").clear()


@pytest.mark.parametrize(
    ("what", "findings", "units", "dropped"),
    [
        ("nothing", "", "", "0 | 0 | 0 | 0 | 0 | 0"),
        ("an episode takes what is below along", "R | Episode | 1", "", "0 | 0 | 1 | 1 | 1 | 2"),
        ("a condition", "R | Tilstand | 3", "", "0 | 0 | 0 | 0 | 1 | 2"),
        ("a code alone", "R | Tilstand_Kode | 3", "", "0 | 0 | 0 | 0 | 0 | 1"),
        ("a patient takes all along", "R | Objektholder | 1", "", "1 | 1 | 2 | 3 | 2 | 4"),
        ("twice by two rules, once lost", "R | Episode | 1\n S | Episode | 1", "", "0 | 0 | 1 | 1 | 1 | 2"),
        ("child and parent, once lost", "S | Tilstand_Kode | 2\n R | Episode | 1", "", "0 | 0 | 1 | 1 | 1 | 2"),
        ("a department takes its records along", "", "A1 | U", "0 | 0 | 2 | 3 | 2 | 4"),
        ("a place that is not the department does not", "", "B1 | U", "0 | 0 | 0 | 0 | 0 | 0"),
    ],
)
def test_what_is_lost(what: str, findings: str, units: str, dropped: str) -> None:
    hits = found(f"rule | class | _id\n {findings}") if findings else NOTHING
    fate, lost = fates(LAYOUT, TABLES, hits, frame(f"enhet | by\n {units}") if units else NONE)
    assert (fate.schema, lost.schema) == (FATE, LOST)
    assert fate["dropped"].to_list() == [int(n) for n in dropped.split(" | ")], what
    assert fate["rows"].to_list() == [frame.height for frame in TABLES.values()]
    assert (fate["kept"] + fate["dropped"]).to_list() == fate["rows"].to_list()
    assert lost["rows"].sum() == fate["dropped"].sum()


def test_a_lost_row_is_counted_under_the_outermost_and_first_rule_and_its_department() -> None:
    hits = found(
        """
        rule | class         | _id | enhet
        S    | Tilstand_Kode | 2   | A2
        R    | Episode       | 1   | A2
        Q    | Episode       | 1   | A2
        Q    | Tilstand      | 3   | A3
        """
    )
    _, lost = fates(LAYOUT, TABLES, hits, frame("enhet | by\n A1 | U"))
    same(
        lost.sort("class", "rule").filter(pl.col("class") != "Episode_RefEnhet"),
        """
        class         | rule | enhet | rows
        Episode       | R    | A2    | 1
        Episode       | U    | A1    | 2
        Tilstand      | Q    | A3    | 1
        Tilstand      | R    | A2    | 1
        Tilstand      | U    | A1    | 2
        Tilstand_Kode | Q    | A3    | 2
        Tilstand_Kode | R    | A2    | 2
        Tilstand_Kode | U    | A1    | 4
        """,
    )


def test_values_are_blanked_in_rows_that_are_kept() -> None:
    hits = found(
        """
        rule | class         | _id | consequence
        B    | Tilstand_Kode | 2   | blank_value
        B    | Tilstand_Kode | 4   | blank_value
        C    | Tilstand_Kode | 4   | blank_value
        R    | Episode       | 1   | drop_record
        W    | Episode       | 0   | report_only
        """
    )
    fate, _ = fates(LAYOUT, TABLES, hits, NONE)
    same(fate.filter(pl.col("class") == "Tilstand_Kode"), "kept | dropped | blanked | values\n 6 | 2 | 1 | 2")


def test_batches_add_up() -> None:
    hits = found("rule | class | _id\n R | Episode | 1")
    parts = [fates(LAYOUT, TABLES, part, NONE) for part in (hits, NOTHING)]
    fate, lost = (summed([part[i] for part in parts]) for i in (0, 1))
    same(fate.filter(pl.col("class") == "Episode"), "rows | kept | dropped\n 8 | 7 | 1")
    same(lost.filter(pl.col("class") == "Tilstand_Kode"), "rule | rows\n R | 2")


def test_the_sentence() -> None:
    rows = frame("class | module", {}).clear().with_columns(rows=pl.lit(0), kept=pl.lit(0), dropped=pl.lit(0))
    fate = pl.DataFrame(
        [
            ("ord", "Episode", 1240, 1234, 6),
            ("ord", "Henvisningsperiode", 90, 89, 1),
            ("ide", "PasientIdent", 300, 300, 0),
        ],
        schema=["module", "class", "rows", "kept", "dropped"],
        orient="row",
    )
    lost = frame("class | rule\n Episode | EPI-20\n Episode | DX-01\n Tilstand | EPI-20\n Henvisningsperiode | WAIT-17")
    assert sentence(fate, lost) == "NPR would keep 1 234 of 1 240 episodes; 6 are lost to 2 rules."
    assert more(fate, lost) == ["89 of 90 referrals; 1 is lost to 1 rule", "all of 300 identities"]
    assert sentence(fate, lost, refused=1) == "NPR would keep nothing: 1 finding would make it refuse a whole message."
    assert sentence(rows, lost.clear()) == "There is nothing to keep."
    assert figure(1_000_000) == "1 000 000"


def test_not_checked_is_said_and_is_no_pass() -> None:
    assert unchecked_line({}, {}) == ""
    assert unchecked_line({"DX-03": 1200, "PRO-03": 4}, {}) == "not checked against a list: 1 204 values by 2 rules"
    assert "rules without a say: 1" in unchecked_line({}, {"UNIT-05": "no list"})
