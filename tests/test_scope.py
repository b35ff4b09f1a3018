"""Which rows a period reports: tables of cases, and what must hold for any data."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spec import CONTRACT, same, staged

from schemas.models import dtypes
from schemas.period import Period
from transforms.extract.scope import SCHEMA, as_of, decide, in_scope

T1 = Period.parse("2020-T1")  # 1 January to 30 April 2020
M01 = Period.parse("2020-M01")
ALL = ("ord", "ide", "tsb", "kpp")

Frames = dict[str, pl.DataFrame]


def decided(period: Period = T1, modules: tuple[str, ...] = ALL, **texts: str) -> Frames:
    return decide(CONTRACT, period, modules, {name: staged(name, text) for name, text in texts.items()})


def reasons(decisions: pl.DataFrame) -> list[str]:
    return [reason or "" for reason in decisions["reason"]]


@pytest.mark.parametrize(
    ("inn", "ut", "reason"),
    [
        ("2020-02-01 10:00", "2020-02-03 10:00", ""),
        ("2019-11-01 10:00", "2020-01-01 00:00", ""),
        ("2019-11-01 10:00", "2019-12-31 23:59", "ended_before_period"),
        ("2019-11-01 10:00", "", ""),
        ("2020-04-30 23:59", "2020-05-01 08:00", ""),
        ("2020-04-30 23:59", "", ""),
        ("2020-05-01 00:00", "", "starts_after_period"),
        ("2020-05-01 00:00", "2020-05-01 08:00", "starts_after_period"),
        ("2019-11-01 10:00", "2020-08-01 00:00", ""),
    ],
)
def test_episodes_that_touch_the_period_are_reported(inn: str, ut: str, reason: str) -> None:
    found = decided(episodes=f"_patient | episodeID | innDatoTid | utDatoTid \n 0 | e1 | {inn} | {ut}")
    assert reasons(found["episodes"]) == [reason]


@pytest.mark.parametrize(
    ("ansien", "mottak", "slutt", "reason"),
    [
        ("", "2020-02-01", "", ""),
        ("2018-01-01", "2018-01-01", "", ""),
        ("2018-01-01", "2018-01-01", "2020-01-01", ""),
        ("2018-01-01", "2018-01-01", "2019-12-31", "closed_before_period"),
        ("2020-04-01", "2020-05-01", "", "received_after_period"),
        ("2020-05-01", "2020-04-01", "", ""),
        ("2020-05-01", "", "", "received_after_period"),
        ("2020-04-01", "", "2020-12-01", ""),
    ],
)
def test_referrals_that_were_open_in_the_period_are_reported(ansien: str, mottak: str, slutt: str, reason: str) -> None:
    found = decided(
        referrals=f"_patient | ansienDato | mottaksDato | sluttDato \n 0 | {ansien} | {mottak} | {slutt}",
    )
    assert reasons(found["referrals"]) == [reason]


@pytest.mark.parametrize(
    ("modules", "start", "reason"),
    [
        (("ord", "tsb"), "2020-04-30", ""),
        (("ord", "sbs"), "2020-01-01", ""),
        (("ord", "tsb"), "2019-12-31", "ended_before_period"),
        (("ord", "tsb"), "2020-05-01", "starts_after_period"),
        (("ord", "ide"), "2020-02-01", "module_not_reported"),
    ],
)
def test_treatment_starts_go_with_the_module_that_carries_them(
    modules: tuple[str, ...], start: str, reason: str
) -> None:
    found = decided(modules=modules, tsb_starts=f"_patient | behandlingsstartID | startDato \n 0 | b1 | {start}")
    assert reasons(found["tsb_starts"]) == [reason]


def test_one_batch_all_the_way() -> None:
    found = decided(
        modules=("ord", "ide"),
        patients="_patient | pasientNr \n 0 | p0 \n 1 | p1 \n 2 | p2",
        identities="_patient | pasientNr \n 0 | p0 \n 1 | p1 \n 2 | p2",
        referrals="""
            _patient | pasientNr | henvisningsperiodeID | mottaksDato | sluttDato
            0        | p0        | h0                   | 2018-01-01  | 2019-06-01
            0        | p0        | h1                   | 2018-01-01  | 2019-06-01
            1        | p1        | h2                   | 2020-01-01  |
            """,
        postponements="_patient | henvisningsperiodeID | utsettNr \n 0 | h0 | 1 \n 0 | h1 | 1",
        episodes="""
            _patient | pasientNr | episodeID | henvisningsperiodeID | innDatoTid | utDatoTid
            0        | p0        | e0        | h0                   | 2020-04-30 |
            0        | p0        | e1        | h1                   | 2019-05-30 | 2019-06-01
            2        | p2        | e2        |                      | 2020-05-01 |
            """,
        contacts="_patient | episodeID \n 0 | e0 \n 0 | e1 \n 2 | e2",
        procedures="""
            _patient | episodeID | tjenesteNr | startDatoTid
            0        | e0        | 1          | 2020-04-30 12:00
            0        | e0        | 2          | 2020-05-01 12:00
            0        | e1        | 1          | 2019-05-30 12:00
            """,
        costs="_patient | episodeID | kostnadNr \n 0 | e0 | 1",
    )
    assert {name: reasons(decisions) for name, decisions in found.items()} == {
        "patients": ["", "", "no_activity_in_period"],
        "identities": ["", "", "parent_out_of_scope"],
        # h0 was closed long ago, but an episode of the period names it.
        "referrals": ["", "closed_before_period", ""],
        "postponements": ["", "parent_out_of_scope"],
        "episodes": ["", "ended_before_period", "starts_after_period"],
        "contacts": ["", "parent_out_of_scope", "parent_out_of_scope"],
        "procedures": ["", "starts_after_period", "parent_out_of_scope"],
        "costs": ["module_not_reported"],
    }


def test_only_the_reported_rows_go_on_in_their_order() -> None:
    rows = staged(
        "episodes", "_row | _patient | innDatoTid \n 9 | 0 | 2020-02-01 \n 4 | 0 | 2020-06-01 \n 2 | 0 | 2020-03-01"
    )
    decisions = decide(CONTRACT, T1, ALL, {"episodes": rows})["episodes"]
    assert in_scope(rows, decisions)["_row"].to_list() == [9, 2]
    assert decisions.schema == SCHEMA


def test_who_left_after_the_period_was_still_there() -> None:
    rows = staged(
        "episodes",
        """
        episodeID | omsorgsniva | utDatoTid        | utTilstand | tilSted | tilInstitusjonID | kommTjeneste
        e1        | 1           | 2020-04-30 23:59 | 1          | 1       | 11               | 2
        e2        | 1           | 2020-05-01 00:00 | 2          | 1       | 11               | 2
        e3        | 1           |                  |            |         |                  |
        """,
    )
    same(
        as_of(rows, T1),
        """
        episodeID | omsorgsniva | utDatoTid        | utTilstand | tilSted | tilInstitusjonID | kommTjeneste
        e1        | 1           | 2020-04-30 23:59 | 1          | 1       | 11               | 2
        e2        | 1           |                  |            |         |                  |
        e3        | 1           |                  |            |         |                  |
        """,
    )


@pytest.mark.parametrize("modules", [("ord", "ide"), ALL])
def test_no_rows_need_no_decision(modules: tuple[str, ...]) -> None:
    empty = {table.name: staged(table.name, "_patient") for table in CONTRACT}
    found = decide(CONTRACT, T1, modules, empty)
    assert {name: (rows.height, rows.schema == SCHEMA) for name, rows in found.items()} == dict.fromkeys(
        empty, (0, True)
    )


PATIENTS = 3
DAYS = st.dates(dt.date(2019, 10, 1), dt.date(2020, 10, 31))
OF_PATIENT = st.tuples(st.integers(0, PATIENTS - 1), DAYS, st.none() | st.integers(0, 200), st.integers(0, 4))


def _referral(number: int, row: tuple[int, dt.date, int | None, int]) -> dict[str, object]:
    patient, first, days, _ = row
    last = None if days is None else first + dt.timedelta(days=days)
    key = {"_patient": patient, "pasientNr": f"p{patient}", "henvisningsperiodeID": f"h{number}"}
    return {**key, "mottaksDato": first, "sluttDato": last}


def _database(
    referrals: list[tuple[int, dt.date, int | None, int]], episodes: list[tuple[int, dt.date, int | None, int]]
) -> Frames:
    """A whole small delivery; an episode names one of its patient's referrals, or none."""
    told = [_referral(number, row) for number, row in enumerate(referrals)]
    rows: dict[str, list[dict[str, object]]] = {name: [] for name in CONTRACT.tables}
    rows["referrals"] = told
    for table in ("patients", "identities"):
        rows[table] = [{"_patient": patient, "pasientNr": f"p{patient}"} for patient in range(PATIENTS)]
    rows["postponements"] = [
        {"_patient": r["_patient"], "henvisningsperiodeID": r["henvisningsperiodeID"]} for r in told
    ]
    rows["referral_events"] = rows["postponements"]
    for number, (patient, first, days, chosen) in enumerate(episodes):
        own = [None, *(r["henvisningsperiodeID"] for r in told if r["_patient"] == patient)]
        start = dt.datetime.combine(first, dt.time(10))
        end = None if days is None else start + dt.timedelta(days=days)
        whose = {"_patient": patient, "pasientNr": f"p{patient}", "henvisningsperiodeID": own[chosen % len(own)]}
        rows["episodes"].append({**whose, "episodeID": f"e{number}", "innDatoTid": start, "utDatoTid": end})
        rows["tsb_starts"].append({**whose, "behandlingsstartID": f"b{number}", "startDato": first})
        of_episode = {"_patient": patient, "episodeID": f"e{number}"}
        for table in ("contacts", "health_personnel", "conditions", "costs"):
            rows[table].append(of_episode)
        rows["procedures"] += [{**of_episode, "startDatoTid": start + dt.timedelta(days=day)} for day in (0, 40)]
    schemas = {table.name: {"_patient": pl.UInt32(), **dtypes(table)} for table in CONTRACT}
    return {
        name: pl.DataFrame(found, schema=schemas[name]).with_row_index("_row", offset=1) for name, found in rows.items()
    }


DATABASES = st.builds(_database, st.lists(OF_PATIENT, max_size=6), st.lists(OF_PATIENT, max_size=6))
PERIODS = st.sampled_from([Period.parse(key) for key in ("2019-A", "2020-M01", "2020-T1", "2020-M05", "2020-A")])
MODULES = st.sampled_from([("ord", "ide"), ("ord", "ide", "tsb"), ALL])


@settings(max_examples=15, deadline=None)
@given(frames=DATABASES, period=PERIODS, modules=MODULES)
def test_what_is_reported_names_nothing_that_is_not(frames: Frames, period: Period, modules: tuple[str, ...]) -> None:
    decisions = decide(CONTRACT, period, modules, frames)
    kept = {name: in_scope(rows, decisions[name]) for name, rows in frames.items()}
    for table in CONTRACT:
        assert decisions[table.name]["_row"].to_list() == frames[table.name]["_row"].to_list()
        for column, parent in table.refs.items():
            if parent != "units":
                key = CONTRACT.tables[parent].key[0]
                assert set(kept[table.name][column].drop_nulls()) <= set(kept[parent][key])
    active = {owner for name in ("referrals", "episodes", "tsb_starts") for owner in kept[name]["_patient"]}
    assert set(kept["patients"]["_patient"]) == set(kept["identities"]["_patient"]) == active


@settings(max_examples=15, deadline=None)
@given(frames=DATABASES, modules=MODULES)
def test_a_longer_period_of_the_year_reports_all_that_a_shorter_one_did(
    frames: Frames, modules: tuple[str, ...]
) -> None:
    shorter, longer = decide(CONTRACT, M01, modules, frames), decide(CONTRACT, T1, modules, frames)
    for name, rows in frames.items():
        assert set(in_scope(rows, shorter[name])["_row"]) <= set(in_scope(rows, longer[name])["_row"])
    ended = pl.col("utDatoTid").dt.date() <= M01.end
    before = in_scope(frames["episodes"], shorter["episodes"]).filter(ended)
    # And reports them just as they were: what has ended no longer depends on the day of the report.
    assert as_of(before, M01).equals(as_of(before, T1))


@settings(max_examples=8, deadline=None)
@given(frames=DATABASES, period=PERIODS, border=st.integers(1, PATIENTS - 1))
def test_the_borders_of_batches_do_not_matter(frames: Frames, period: Period, border: int) -> None:
    whole = decide(CONTRACT, period, ALL, frames)
    parts = [
        decide(CONTRACT, period, ALL, {name: rows.filter(part) for name, rows in frames.items()})
        for part in (pl.col("_patient") < border, pl.col("_patient") >= border)
    ]
    for name, decisions in whole.items():
        together = pl.concat([part[name] for part in parts])
        assert together.sort("_row").equals(decisions.sort("_row"))
