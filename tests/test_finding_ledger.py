"""The life of findings: known again, collapsed below a broken parent, waived for a time."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spec import CONTRACT, frame, same, staged

from schemas.decisions import Decision, DecisionKind
from transforms.content.decided import in_force, overridden
from transforms.content.finding_ledger import (
    KEYED,
    LEDGER,
    LINE,
    Seen,
    carried,
    counted,
    empty,
    keyed,
    lines,
    merge,
    waived,
)

SECRET = b"s" * 32
FOUND = {name: KEYED[name] for name in ("rule", "consequence", "module", "class", "table", "fields", "enhet", "under")}
EPISODES = """
    _row | _patient | episodeID | pasientNr
    1    | 0        | E1        | P1
    2    | 0        | E2        | P1
    3    | 1        | E3        | P2
    """


def found(text: str) -> pl.DataFrame:
    """Findings as the rules give them; columns not shown are as of an Episode of ord."""
    usual = {"consequence": "report_only", "module": "ord", "class": "Episode", "table": "episodes", "fields": ""}
    rows = frame(text, FOUND)
    rows = rows.with_columns(pl.lit(v).alias(k) for k, v in usual.items() if k not in rows.columns)
    null = [name for name in ("enhet", "under", "_patient", "_id") if name not in rows.columns]
    return rows.with_columns(pl.lit(None).alias(name) for name in null)


def run(text: str, tables: dict[str, pl.DataFrame] | None = None, unit: str = "nordfjell") -> pl.DataFrame:
    tables = tables or {"episodes": staged("episodes", EPISODES)}
    return lines(keyed(found(text), CONTRACT, tables, unit, SECRET))


def seen(run_id: str, period: str = "2020-M01", day: int = 1) -> Seen:
    return Seen(run_id, period, f"snapshot {run_id}", dt.datetime(2020, 5, day, 12, tzinfo=dt.UTC))


def of_rules(*rules: str) -> pl.DataFrame:
    """One line per rule, all of episode E1."""
    return run("rule | _row\n" + "\n".join(f"{rule} | 1" for rule in rules))


def statuses(ledger: pl.DataFrame) -> dict[str, int]:
    return dict(ledger.group_by("status").len().sort("status").iter_rows())


def test_the_issue_fix_seven_of_ten_and_add_two() -> None:
    first = merge(empty(), of_rules(*(f"R{n}" for n in range(10))), seen("a"))
    assert statuses(first) == {"new": 10}
    second = merge(first, of_rules("R0", "R1", "R2", "N1", "N2"), seen("b", day=2))
    assert statuses(second) == {"new": 2, "persisting": 3, "resolved": 7}
    assert second.schema == first.schema == LEDGER


def test_a_finding_tells_when_it_was_first_and_last_seen() -> None:
    first = merge(empty(), of_rules("R1", "R2"), seen("a", day=1))
    second = merge(first, of_rules("R1"), seen("b", "2020-M01", day=2))
    third = merge(second, of_rules("R1", "R2"), seen("c", "2020-M01", day=3))
    days = third.with_columns(pl.col("first_seen", "last_seen").dt.day().cast(pl.String))
    same(
        days,
        """
        rule | status     | first_seen | last_seen | first_snapshot
        R1   | persisting | 1          | 3         | snapshot a
        R2   | new        | 1          | 3         | snapshot a
        """,
    )


def test_the_same_run_again_changes_nothing() -> None:
    first = merge(empty(), of_rules("R1", "R2"), seen("a"))
    second = merge(first, of_rules("R2", "R3"), seen("b", day=2))
    assert merge(first, of_rules("R1", "R2"), seen("a", day=9)).equals(first)
    assert merge(second, of_rules("R2", "R3"), seen("b", day=9)).equals(second)
    cleared = merge(second, of_rules("R2").clear(), seen("c", day=3))
    assert statuses(cleared) == {"resolved": 3}
    assert merge(cleared, of_rules("R2").clear(), seen("c", day=9)).equals(cleared)


def test_what_is_open_is_carried_into_the_next_period_of_the_year() -> None:
    january = merge(merge(empty(), of_rules("R1", "R2"), seen("a")), of_rules("R2"), seen("b"))
    february = merge(carried(january), of_rules("R2", "R3"), seen("c", "2020-M02", day=2))
    same(
        february,
        """
        rule | status     | first_period | last_period
        R2   | persisting | 2020-M01     | 2020-M02
        R3   | new        | 2020-M02     | 2020-M02
        """,
    )


def test_neither_a_new_order_of_rows_nor_a_new_extract_makes_another_finding() -> None:
    before = run("rule | _row\n R1 | 1\n R1 | 3")
    moved = staged("episodes", EPISODES.replace("1    |", "7    |", 1).replace("3    |", "1    |", 1))
    after = run("rule | _row\n R1 | 1\n R1 | 7", {"episodes": moved})
    assert set(before["fingerprint"]) == set(after["fingerprint"])
    assert set(run("rule | _row\n R1 | 1", unit="sorvik")["record"]).isdisjoint(before["record"])


def test_rule_record_and_fields_make_the_fingerprint_and_no_key_is_left_in_it() -> None:
    told = run(
        """
        rule | _row | fields
        R1   | 1    | innDatoTid
        R1   | 1    | utDatoTid
        R2   | 1    | innDatoTid
        R1   | 2    | innDatoTid
        R1   | 2    | innDatoTid
        """
    )
    same(
        told,
        "rule | count | fields\n R1 | 1 | innDatoTid\n R1 | 1 | utDatoTid\n R2 | 1 | innDatoTid\n R1 | 2 | innDatoTid",
    )
    assert told["record"].n_unique() == 2
    assert told.schema == LINE
    assert "E1" not in str(told.rows())


def test_ten_thousand_children_of_one_broken_parent_are_one_line() -> None:
    codes = pl.DataFrame(
        {"_row": range(1, 10_001), "episodeID": ["E1"] * 10_000, "tilstNr": 1, "kodeNr": range(10_000)}
    )
    tables = {"episodes": staged("episodes", EPISODES), "conditions": codes}
    below = pl.DataFrame({"_row": range(1, 10_001), "_patient": 0}, schema={"_row": pl.UInt32, "_patient": pl.UInt32})
    children = below.with_columns(
        pl.lit(value).alias(name)
        for name, value in {
            "rule": "DX-02", "consequence": "drop_record", "module": "ord", "class": "Tilstand_Kode",
            "table": "conditions", "fields": "kodeVerdi", "under": "EPI-02",
        }.items()
    )  # fmt: skip
    parent = found("rule | _row | _patient | consequence | fields\n EPI-02 | 1 | 0 | drop_record | innDatoTid")
    told = lines(keyed(pl.concat([parent, children], how="diagonal_relaxed"), CONTRACT, tables, "nordfjell", SECRET))
    same(told, "rule | count | below\n EPI-02 | 1 | 10000")


BELOW = """
    rule   | class         | table      | _row | _patient | consequence | enhet | under
    EPI-02 | Episode       | episodes   | 1    | 0        | drop_record | A1    |
    EPI-02 | Episode       | episodes   | 2    | 0        | drop_record | A1    |
    DX-02  | Tilstand_Kode | conditions | 1    | 0        | blank_value | A1    | EPI-02
    DX-02  | Tilstand_Kode | conditions | 2    | 0        | blank_value | A1    | EPI-02
    DX-02  | Tilstand_Kode | conditions | 3    | 0        | blank_value | A1    | EPI-02
    PAT-01 | Objektholder  | patients   | 2    | 1        | drop_record |       |
    EPI-07 | Episode       | episodes   | 3    | 1        | report_only | A2    | PAT-01
    UNIT-4 | Enhet         | units      | 1    |          | drop_record | A9    |
    EPI-07 | Episode       | episodes   | 4    | 2        | report_only | A9    | UNIT-4
    EPI-07 | Episode       | episodes   | 5    | 2        | report_only | A9    | LOST-1
    """


def test_each_child_is_told_with_its_own_parent() -> None:
    tables = {
        "episodes": staged("episodes", EPISODES + "4 | 2 | E4 | P3\n 5 | 2 | E5 | P3"),
        "conditions": frame(
            "_row | episodeID | tilstNr | kodeNr\n 1 | E1 | 1 | 1\n 2 | E1 | 1 | 2\n 3 | E2 | 1 | 1",
        ),
        "patients": staged("patients", "_row | _patient | pasientNr\n 1 | 0 | P1\n 2 | 1 | P2"),
        "units": staged("units", "_row | enhetID\n 1 | A9"),
    }
    same(
        run(BELOW, tables).sort("rule", "_row"),
        """
        rule   | _row | below | under
        EPI-02 | 1    | 2     |
        EPI-02 | 2    | 1     |
        EPI-07 | 5    | 0     | LOST-1
        PAT-01 | 2    | 1     |
        UNIT-4 | 1    | 1     |
        """,
    )


def test_findings_on_what_is_no_row_of_a_table_speak_of_the_unit() -> None:
    told = run("rule | class | table | _row | fields\n MSG-06 | Melding | | | uttakDato")
    assert told["record"].null_count() == 0
    assert set(run("rule | class | table | _row | fields\n MSG-06 | Melding | | | uttakDato")["fingerprint"]) == set(
        told["fingerprint"]
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sets(st.integers(0, 5)), min_size=1, max_size=6))
def test_at_any_time_the_open_findings_are_those_of_the_last_run(runs: list[set[int]]) -> None:
    ledger, ever, before = empty(), set[str](), set[str]()
    for number, rules in enumerate(runs):
        now = {f"R{rule}" for rule in rules}
        text = of_rules(*sorted(now)) if now else of_rules("R0").clear()
        ledger = merge(ledger, text, seen(str(number)))
        by = {str(status): set(part["rule"]) for (status,), part in ledger.group_by("status")}
        assert by.get("new", set()) == now - before
        assert by.get("persisting", set()) == now & before
        ever |= now
        assert by.get("resolved", set()) == ever - now
        before = now


# --- decisions ---


def decision(subject: str, day: int = 1, **more: object) -> Decision:
    fields = {"kind": DecisionKind.WAIVE, "period": "2020-M01", "unit": "nordfjell", "by": "Kari Analytiker"}
    at = dt.datetime(2020, 5, day, tzinfo=dt.UTC)
    return Decision.model_validate({**fields, "subject": subject, "at": at, "why": "known"} | more)


LAST = dt.date(2020, 6, 30)


@pytest.mark.parametrize(
    ("what", "decisions", "on", "expected"),
    [
        ("nothing decided", [], "2020-06-30", {"new": 2}),
        ("a rule, to the day", [decision("R1", until=LAST)], "2020-06-30", {"new": 1, "waived": 1}),
        ("and a day later", [decision("R1", until=LAST)], "2020-07-01", {"new": 2}),
        ("without end", [decision("R1")], "2030-01-01", {"new": 1, "waived": 1}),
        ("withdrawn", [decision("R1"), decision("R1", 2, withdrawn=True)], "2020-06-01", {"new": 2}),
        ("shortened", [decision("R1"), decision("R1", 2, until=LAST)], "2020-07-01", {"new": 2}),
        ("another rule", [decision("R9")], "2020-06-01", {"new": 2}),
    ],
)
def test_waivers(what: str, decisions: list[Decision], on: str, expected: dict[str, int]) -> None:
    ledger = merge(empty(), of_rules("R1", "R2"), seen("a"))
    told = waived(ledger, decisions, dt.date.fromisoformat(on))
    assert statuses(told) == expected, what
    assert told["waived_by"].drop_nulls().to_list() == ["Kari Analytiker"] * expected.get("waived", 0)


def test_one_fingerprint_is_waived_and_its_rule_is_not() -> None:
    ledger = merge(empty(), run("rule | _row\n R1 | 1\n R1 | 2"), seen("a"))
    one = ledger["fingerprint"][0]
    told = waived(ledger, [decision(one, why="this one"), decision("R2")], LAST)
    same(told, "rule | _row | status | waived_why\n R1 | 1 | waived | this one\n R1 | 2 | new |")
    both = waived(ledger, [decision(one, why="this one"), decision("R1", why="all")], LAST)
    same(both, "_row | waived_why\n 1 | this one\n 2 | all")


def test_resolved_findings_stay_resolved_and_waived_ones_are_not_open() -> None:
    ledger = merge(merge(empty(), of_rules("R1", "R2"), seen("a")), of_rules("R2", "R3"), seen("b"))
    told = counted(waived(ledger, [decision("R1"), decision("R2")], LAST), "rule")
    same(
        told,
        """
        rule | new | persisting | resolved | waived | open
        R3   | 1   | 0          | 0        | 0      | 1
        R1   | 0   | 0          | 1        | 0      | 0
        R2   | 0   | 0          | 0        | 1      | 0
        """,
    )


def test_findings_are_counted_by_department() -> None:
    ledger = merge(empty(), run("rule | _row | enhet\n R1 | 1 | A1\n R1 | 2 | A1\n R2 | 3 | A2"), seen("a"))
    same(counted(waived(ledger, [], LAST), "enhet"), "enhet | rule | open\n A1 | R1 | 2\n A2 | R2 | 1")


@pytest.mark.parametrize(
    ("what", "decisions", "holds", "text"),
    [
        ("none", [], False, "no override"),
        ("enough", [decision("EPI-20", count=3)], True, "override by Kari Analytiker on 2020-05-01 of up to 3"),
        ("too few", [decision("EPI-20", count=2)], False, "up to 2: too few"),
        ("of another rule", [decision("EPI-19", count=9)], False, "no override"),
        ("lowered later", [decision("EPI-20", count=9), decision("EPI-20", 2, count=1)], False, "up to 1: too few"),
        ("no count", [decision("EPI-20")], False, "up to 0: too few"),
    ],
)
def test_overrides(what: str, decisions: list[Decision], holds: bool, text: str) -> None:  # noqa: FBT001
    (one,) = overridden({"EPI-20": 3, "EPI-21": 0}, decisions, LAST)
    assert one.holds is holds, what
    assert one.text().startswith("EPI-20: 3 records, ")
    assert one.text().endswith(text)


def test_the_latest_decision_counts_whatever_the_order() -> None:
    early, late = decision("R1", 1, why="early"), decision("R1", 2, why="late")
    assert in_force([late, early], LAST)["R1"].why == "late"
