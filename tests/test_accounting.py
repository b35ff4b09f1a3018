"""The account closes for any faults, and nothing is taken on that nobody has accepted."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spec import CONTRACT, frame, same

from schemas.errors import DataRefused
from schemas.extract_file import Accepted
from transforms.extract import faults
from transforms.extract.accounting import EXPLAINED, Account, by_first_rule, close, insist_accepted, total

ROWS = 20
RULES = ["type", "code", "orphan", "duplicate_key", "parent_quarantined", "child_quarantined"]


def account(delivered: int, reported: int, out: int, quarantined: int) -> Account:
    return Account(delivered, reported, {"ended_before_period": out}, {"code": quarantined})


def test_an_account_that_adds_up_passes() -> None:
    close({"episodes": account(10, 7, 2, 1), "units": Account(0, 0, {}, {})})
    assert account(10, 7, 2, 1).as_record() == {"in": 10, "reported": 7, "out_of_scope": 2, "quarantined": 1}


@pytest.mark.parametrize("figures", [(10, 7, 2, 0), (10, 7, 2, 2), (10, 6, 2, 1), (9, 7, 2, 1), (0, 1, 0, 0)])
def test_a_row_too_many_or_too_few_stops_the_run(figures: tuple[int, int, int, int]) -> None:
    with pytest.raises(DataRefused, match="episodes: rows do not add up") as refused:
        close({"units": account(3, 3, 0, 0), "episodes": account(*figures)})
    assert f"'in': {figures[0]}, 'reported': {figures[1]}" in refused.value.what


def test_a_row_counts_once_under_its_first_fault_that_follows_from_no_other_row() -> None:
    found = frame(
        """
        _row | column      | rule
        1    | contacts    | child_quarantined
        1    | omsorgsniva | code
        2    | pasientNr   | parent_quarantined
        3    | debitor     | code
        3    | innDatoTid  | type
        4    | bydel       | pattern
        4    | bydel       | length
        """
    )
    assert by_first_rule(found) == {"code": 2, "length": 1, "parent_quarantined": 1}
    assert by_first_rule(faults.none()) == {}


FAULTS = st.lists(st.tuples(st.integers(1, ROWS), st.sampled_from("abc"), st.sampled_from(RULES)), max_size=40)


@given(found=FAULTS, out=st.sets(st.integers(1, ROWS)))
def test_the_account_closes_for_any_faults_and_any_scope(found: list[tuple[int, str, str]], out: set[int]) -> None:
    rows = pl.DataFrame({"_row": range(1, ROWS + 1)}, schema={"_row": pl.UInt32})
    records = faults.together([pl.DataFrame(found, schema=faults.SCHEMA, orient="row")])
    sound = faults.without(rows, records)
    left = sound.filter(pl.col("_row").is_in(sorted(out)))
    kept = sound.height - left.height
    close({"things": Account(ROWS, kept, {"left": left.height}, by_first_rule(records))})
    wrong = {row for row, _, _ in found}
    assert set(sound["_row"]) == set(rows["_row"]) - wrong
    if wrong:
        with pytest.raises(DataRefused):
            close({"things": Account(ROWS, kept + 1, {"left": left.height}, by_first_rule(records))})


def test_faults_come_once_and_in_order() -> None:
    some = frame("_row | column | rule \n 2 | b | code \n 2 | a | type")
    same(
        faults.together([some, some, frame("_row | column | rule \n 1 | c | code")]),
        "_row | column | rule \n 1 | c | code \n 2 | a | type \n 2 | b | code",
    )


def accept(table: str, rule: str, rows: int | str) -> Accepted:
    return Accepted.model_validate({"table": table, "rule": rule, "rows": rows, "why": "known", "by": "test"})


TWO_RULES = {
    "conditions": frame(
        """
        _row | column    | rule
        3    | episodeID | orphan
        4    | episodeID | orphan
        5    | kodeVerdi | pattern
        6    | episodeID | parent_quarantined
        """
    )
}


@pytest.mark.parametrize(
    ("what", "accepted", "passes"),
    [
        ("nobody accepted", [], False),
        ("both rules, each with its rows", [("conditions", "orphan", 2), ("conditions", "pattern", 1)], True),
        ("more than there are", [("conditions", "orphan", 9), ("conditions", "pattern", 9)], True),
        ("one row too few", [("conditions", "orphan", 1), ("conditions", "pattern", 1)], False),
        ("acceptances do not add up", [("conditions", "orphan", 1)] * 2 + [("conditions", "pattern", 1)], False),
        ("one rule only", [("conditions", "orphan", 2)], False),
        ("of another table", [("contacts", "*", "any")], False),
        ("any rule, any number", [("conditions", "*", "any")], True),
        ("any table", [("*", "orphan", "any"), ("*", "pattern", 1)], True),
        ("any rule, the rows of all rules together", [("conditions", "*", 3)], True),
        ("any rule, but fewer rows than all rules together", [("conditions", "*", 2)], False),
    ],
)
def test_acceptance(what: str, accepted: list[tuple[str, str, int | str]], passes: bool) -> None:  # noqa: FBT001
    taken_on = [accept(*one) for one in accepted]
    try:
        insist_accepted(TWO_RULES, taken_on, {})
    except DataRefused:
        assert not passes, what
    else:
        assert passes, what


def test_what_follows_from_another_row_needs_no_acceptance() -> None:
    insist_accepted({"contacts": frame("_row | column | rule \n 1 | episodeID | parent_quarantined")}, [], {})


def test_the_refusal_names_file_rows_field_and_rule() -> None:
    many = pl.DataFrame({"_row": range(1, 9), "column": "episodeID", "rule": "orphan"}, schema=faults.SCHEMA)
    one = frame("_row | column | rule \n 7 | innDatoTid | type")
    with pytest.raises(DataRefused, match="2 kinds of faults") as refused:
        insist_accepted({"conditions": many, "episodes": one}, [], {"episodes": "Episoder 2020.csv"})
    assert refused.value.where.split("\n         ") == [
        "conditions: row 1, 2, 3, 4, 5 and 3 more, field episodeID: names something that was not delivered [orphan]",
        f"Episoder 2020.csv: row 7, field innDatoTid: {EXPLAINED['type']} [type]",
    ]


def test_every_rule_that_can_stop_a_run_is_explained() -> None:
    named = {rule.id for table in CONTRACT for rule in table.rules}
    own = {
        "type",
        "required",
        "code",
        "pattern",
        "range",
        "length",
        "duplicate_key",
        "orphan",
        "missing_child",
        "other_patient",
    }
    assert set(EXPLAINED) == named | own


def test_counters_add_up_by_name() -> None:
    assert total([{"b": 1, "a": 2}, {}, {"b": 3}]) == {"a": 2, "b": 4}
    assert list(total([{"b": 1}, {"a": 2}])) == ["a", "b"]
