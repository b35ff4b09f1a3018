"""Keys, references and owners: what of a delivery can be told right, judged over all tables together."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spec import CONTRACT, frame, same

from schemas.contract import Table
from schemas.models import DTYPES
from transforms.extract.relations import key_columns, resolve

Frames = dict[str, pl.DataFrame]


def types(table: Table) -> dict[str, pl.DataType]:
    return {"_row": pl.UInt32(), **{name: DTYPES[table.column(name).type] for name in key_columns(table)}}


def database(**texts: str) -> Frames:
    """Key columns of every table; those not named are empty. ``_row`` counts from 1, columns not shown are null."""
    tables = {}
    for table in CONTRACT:
        wanted = types(table)
        if table.name in texts:
            rows = frame(texts[table.name], wanted).with_row_index("_row", offset=1)
            shown = rows.with_columns(pl.lit(None, t).alias(n) for n, t in wanted.items() if n not in rows.columns)
            tables[table.name] = shown.select(list(wanted))
        else:
            tables[table.name] = pl.DataFrame(schema=wanted)
    return tables


def keys(frames: Frames) -> Frames:
    return {name: rows.select(CONTRACT.tables[name].key) for name, rows in frames.items()}


def judged(frames: Frames, **unsound: list[int]) -> tuple[Frames, Frames]:
    """What resolve says when the named rows were already found wrong in themselves."""
    sound = {name: rows.filter(~pl.col("_row").is_in(unsound.get(name, []))) for name, rows in frames.items()}
    return resolve(CONTRACT, sound, keys(frames))


PEOPLE = {"patients": "pasientNr \n p2 \n p1", "identities": "pasientNr \n p1 \n p2"}
PLACES = {"units": "enhetID \n u1 \n u2"}


def told(faults: Frames) -> list[tuple[str, int, str, str]]:
    return [(name, *row) for name, found in faults.items() for row in found.iter_rows()]


def test_patients_are_numbered_in_the_order_of_their_number_and_rows_carry_it() -> None:
    faults, rows = judged(
        database(
            **PEOPLE,
            **PLACES,
            referrals="henvisningsperiodeID | pasientNr \n h1 | p2",
            postponements="henvisningsperiodeID | utsettNr \n h1 | 1",
            episodes="episodeID | pasientNr | henvisningsperiodeID \n e1 | p2 | h1 \n e2 | p1 |",
            contacts="episodeID \n e2 \n e1",
            conditions="episodeID | tilstNr | kodeNr \n e1 | 1 | 1 \n e2 | 1 | 1",
        )
    )
    assert told(faults) == []
    same(rows["patients"].sort("_row"), "_row | _patient \n 1 | 1 \n 2 | 0")
    same(rows["identities"], "_row | _patient \n 1 | 0 \n 2 | 1")
    same(rows["units"], "_row | _patient \n 1 | \n 2 |")
    same(rows["postponements"], "_row | _patient \n 1 | 1")
    same(rows["contacts"], "_row | _patient \n 1 | 0 \n 2 | 1")
    same(rows["conditions"], "_row | _patient \n 1 | 1 \n 2 | 0")


EPISODE = {
    "episodes": "episodeID | pasientNr | behandlingsstedID \n e1 | p1 | u1 \n e2 | p2 | u1",
    "contacts": "episodeID \n e1 \n e2",
}


@pytest.mark.parametrize(
    ("what", "changed", "unsound", "faults"),
    [
        ("all is well", {}, {}, []),
        (
            "a key occurs twice: both rows go, and what belongs to them",
            {"episodes": "episodeID | pasientNr \n e1 | p1 \n e1 | p2 \n e2 | p2"},
            {},
            [
                ("episodes", 1, "episodeID", "duplicate_key"),
                ("episodes", 2, "episodeID", "duplicate_key"),
                ("contacts", 1, "episodeID", "parent_quarantined"),
            ],
        ),
        (
            "a key occurs twice and one of the rows is wrong in itself: the other cannot be told right",
            {"episodes": "episodeID | pasientNr \n e1 | p1 \n e1 | p2 \n e2 | p2"},
            {"episodes": [2]},
            [("episodes", 1, "episodeID", "duplicate_key"), ("contacts", 1, "episodeID", "parent_quarantined")],
        ),
        (
            "a number within an episode occurs twice",
            {"health_personnel": "episodeID | helsepersonNr \n e1 | 1 \n e1 | 2 \n e1 | 2 \n e2 | 2"},
            {},
            [
                ("health_personnel", 2, "helsepersonNr", "duplicate_key"),
                ("health_personnel", 3, "helsepersonNr", "duplicate_key"),
            ],
        ),
        (
            "a condition of an episode that was not delivered",
            {"conditions": "episodeID | tilstNr | kodeNr \n e9 | 1 | 1"},
            {},
            [("conditions", 1, "episodeID", "orphan")],
        ),
        (
            "an episode at a place that was not delivered",
            {"episodes": "episodeID | pasientNr | behandlingsstedID \n e1 | p1 | u9 \n e2 | p2 | u1"},
            {},
            [("episodes", 1, "behandlingsstedID", "orphan"), ("contacts", 1, "episodeID", "parent_quarantined")],
        ),
        (
            "a unit is wrong in itself",
            {},
            {"units": [1]},
            [
                ("episodes", 1, "behandlingsstedID", "parent_quarantined"),
                ("episodes", 2, "behandlingsstedID", "parent_quarantined"),
                ("contacts", 1, "episodeID", "parent_quarantined"),
                ("contacts", 2, "episodeID", "parent_quarantined"),
            ],
        ),
        (
            "an episode without contact",
            {"contacts": "episodeID \n e2"},
            {},
            [("episodes", 1, "contacts", "missing_child")],
        ),
        (
            "an episode whose contact is wrong in itself",
            {},
            {"contacts": [1]},
            [("episodes", 1, "contacts", "child_quarantined")],
        ),
        (
            "a patient without identity: all of the patient goes",
            {"identities": "pasientNr \n p2"},
            {},
            [
                ("patients", 2, "identities", "missing_child"),
                ("episodes", 1, "pasientNr", "parent_quarantined"),
                ("contacts", 1, "episodeID", "parent_quarantined"),
            ],
        ),
        (
            "an identity of nobody",
            {"identities": "pasientNr \n p1 \n p2 \n p3"},
            {},
            [("identities", 3, "pasientNr", "orphan")],
        ),
        (
            "an episode with somebody else's referral",
            {
                "referrals": "henvisningsperiodeID | pasientNr \n h1 | p1",
                "episodes": "episodeID | pasientNr | henvisningsperiodeID \n e1 | p1 | h1 \n e2 | p2 | h1",
            },
            {},
            [
                ("episodes", 2, "henvisningsperiodeID", "other_patient"),
                ("contacts", 2, "episodeID", "parent_quarantined"),
            ],
        ),
        (
            "rows of one service disagree on its start, and on whether it has ended",
            {
                "procedures": """
                episodeID | tjenesteNr | tiltakNr | prosNr | kodeNr | startDatoTid     | sluttDatoTid
                e1        | 1          | 1        | 1      | 1      | 2020-01-01 10:00 |
                e1        | 1          | 1        | 2      | 1      | 2020-01-01 11:00 |
                e1        | 2          | 1        | 1      | 1      | 2020-01-01 10:00 |
                e1        | 2          | 1        | 2      | 1      | 2020-01-01 10:00 | 2020-01-01 11:00
                e2        | 1          | 1        | 1      | 1      | 2020-01-01 10:00 |
                e2        | 1          | 1        | 2      | 1      | 2020-01-01 10:00 |
                """
            },
            {},
            [("procedures", row, "startDatoTid", "CONTRACT-GROUP-1") for row in (1, 2, 3, 4)],
        ),
        (
            "rows of one measure disagree on its kind, rows of one procedure on its condition",
            {
                "procedures": """
                episodeID | tjenesteNr | tiltakNr | prosNr | kodeNr | typeTiltak | tilstNr
                e1        | 1          | 1        | 1      | 1      | 1          |
                e1        | 1          | 1        | 2      | 1      | 2          |
                e1        | 1          | 2        | 1      | 1      | 1          | 1
                e1        | 1          | 2        | 1      | 2      | 1          | 2
                e1        | 1          | 2        | 2      | 1      | 1          | 1
                """
            },
            {},
            [
                ("procedures", 1, "typeTiltak", "CONTRACT-GROUP-2"),
                ("procedures", 2, "typeTiltak", "CONTRACT-GROUP-2"),
                ("procedures", 3, "tilstNr", "CONTRACT-GROUP-3"),
                ("procedures", 4, "tilstNr", "CONTRACT-GROUP-3"),
            ],
        ),
    ],
)
def test_faults_between_rows(
    what: str, changed: dict[str, str], unsound: dict[str, list[int]], faults: list[tuple[str, int, str, str]]
) -> None:
    found, _ = judged(database(**{**PEOPLE, **PLACES, **EPISODE, **changed}), **unsound)
    assert sorted(told(found)) == sorted(faults), what


def test_the_database_that_the_next_tests_spoil_is_right() -> None:
    faults, rows = judged(database(**WHOLE))
    assert told(faults) == []
    assert min(frame.height for frame in rows.values()) > 0


def test_an_empty_delivery_is_right() -> None:
    faults, rows = judged(database())
    assert told(faults) == []
    assert {frame.height for frame in rows.values()} == {0}


def test_no_fault_holds_a_key() -> None:
    marked = {"patients": "pasientNr \n Hemmelig1 \n Hemmelig1", "contacts": "episodeID \n Hemmelig2"}
    faults, _ = judged(database(**marked))
    assert len(told(faults)) == 3
    assert "Hemmelig" not in str(told(faults))


WHOLE = {
    "patients": "pasientNr \n 2 \n 1 \n 3",
    "identities": "pasientNr \n 1 \n 2 \n 3",
    "units": "enhetID \n 1 \n 2",
    "referrals": "henvisningsperiodeID | pasientNr | behandlingsstedID \n 1 | 1 | 1 \n 2 | 2 | \n 3 | 3 | 2",
    "postponements": "henvisningsperiodeID | utsettNr \n 1 | 1 \n 1 | 2 \n 3 | 1",
    "referral_events": "henvisningsperiodeID | tidspunktNr \n 2 | 1",
    "episodes": """
        episodeID | pasientNr | henvisningsperiodeID | fagenhetID
        1         | 1         | 1                    | 1
        2         | 1         |                      | 2
        3         | 2         | 2                    | 1
        4         | 3         | 3                    |
        """,
    "contacts": "episodeID \n 4 \n 3 \n 2 \n 1",
    "health_personnel": "episodeID | helsepersonNr \n 1 | 1 \n 1 | 2 \n 3 | 1",
    "conditions": "episodeID | tilstNr | kodeNr \n 1 | 1 | 1 \n 1 | 1 | 2 \n 2 | 1 | 1",
    "procedures": """
        episodeID | tjenesteNr | tiltakNr | prosNr | kodeNr | typeTiltak | tilstNr
        1         | 1          | 1        | 1      | 1      | 1          | 1
        1         | 1          | 1        | 1      | 2      | 1          | 1
        3         | 1          | 1        | 1      | 1      | 2          |
        """,
    "tsb_starts": "behandlingsstartID | pasientNr | henvisningsperiodeID \n 1 | 2 | 2",
    "costs": "episodeID | kostnadNr \n 1 | 1 \n 4 | 1",
}


def _spoiled(blows: list[tuple[str, str, int, int, int]]) -> Frames:
    """The whole database after blows of (table, what happens, which row, which column, to which value)."""
    frames = {name: rows.drop("_row") for name, rows in database(**WHOLE).items()}
    for name, what, row, place, value in blows:
        rows = frames[name]
        one = pl.int_range(pl.len()) == row % max(rows.height, 1)
        if what == "lost":
            frames[name] = rows.filter(~one)
        elif what == "twice":
            frames[name] = pl.concat([rows, rows.filter(one)])
        else:
            column = rows.columns[place % rows.width]
            changed = pl.when(one).then(pl.lit(value).cast(rows.schema[column])).otherwise(column)
            frames[name] = rows.with_columns(changed.alias(column))
    return {name: rows.with_row_index("_row", offset=1) for name, rows in frames.items()}


NUMBER = st.integers(0, 9)
BLOWS = st.tuples(
    st.sampled_from(list(WHOLE)), st.sampled_from(["lost", "twice", "other"]), NUMBER, NUMBER, st.integers(1, 5)
)
DATABASES = st.lists(BLOWS, max_size=5).map(_spoiled)
UNSOUND = st.dictionaries(st.sampled_from(list(CONTRACT.tables)), st.lists(st.integers(1, 4), max_size=2), max_size=3)


@settings(max_examples=12, deadline=None)
@given(frames=DATABASES, unsound=UNSOUND)
def test_what_remains_of_a_spoiled_delivery_is_whole(frames: Frames, unsound: dict[str, list[int]]) -> None:
    faults, patients = judged(frames, **unsound)
    left = {name: rows.join(patients[name], on="_row", how="inner") for name, rows in frames.items()}
    for table in CONTRACT:
        _insist_every_row_is_told(frames[table.name], unsound.get(table.name, []), faults[table.name], left[table.name])
        _insist_whole(table, left)
    ordered = left["patients"].sort("pasientNr")
    assert ordered["_patient"].to_list() == list(range(ordered.height))


def _insist_every_row_is_told(
    delivered: pl.DataFrame, unsound: list[int], faults: pl.DataFrame, left: pl.DataFrame
) -> None:
    """A row remains, or has a fault, or was wrong before; just one of the three."""
    wrong = set(unsound) & set(delivered["_row"])
    groups = [set(left["_row"]), set(faults["_row"]), wrong]
    assert sorted(row for group in groups for row in group) == delivered["_row"].to_list()


def _insist_whole(table: Table, left: Frames) -> None:
    rows = left[table.name]
    assert not rows.select(table.key).is_duplicated().any()
    for column, parent in table.refs.items():
        key = CONTRACT.tables[parent].key[0]
        named = rows.drop_nulls(column)
        owners = dict(left[parent].select(key, "_patient").iter_rows())
        assert set(named[column]) <= set(owners)
        if parent != "units":
            assert named["_patient"].to_list() == [owners[value] for value in named[column]]
    for child in table.has:
        assert set(rows[table.key[0]]) <= set(left[child][table.key[0]])


@settings(max_examples=5, deadline=None)
@given(frames=DATABASES)
def test_what_remains_has_no_fault_when_it_is_delivered_alone(frames: Frames) -> None:
    _, patients = judged(frames)
    left = {name: rows.join(patients[name], on="_row", how="semi") for name, rows in frames.items()}
    again, once_more = judged(left)
    assert told(again) == []
    assert {name: rows.height for name, rows in once_more.items()} == {name: rows.height for name, rows in left.items()}
