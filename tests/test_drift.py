"""Guards over the figures of a report: what a person must look at before it is sent."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import polars as pl
import pytest
from spec import same

from schemas.config import GuardLimits
from transforms.content import drift
from transforms.content.drift import Baseline, Counts, content, stopping
from transforms.content.figures import FIGURES, added, counts, figures, table

LIMITS = GuardLimits()
# Episodes per month of an ordinary hospital; July is quiet every year.
YEAR = {1: 410, 2: 395, 3: 420, 4: 380, 5: 400, 6: 390, 7: 170, 8: 360, 9: 415}


def episodes(months: Mapping[int, int], year: int = 2020, /, **of: Mapping[str, float]) -> pl.DataFrame:
    """Episodes of these months; of each the shares of a column, dealt out evenly over the months."""
    n = sum(months.values())
    days = [dt.datetime(year, month, 1 + i % 28, 9) for month, count in months.items() for i in range(count)]
    usual: dict[str, Mapping[str, float]] = {
        "behandlingsstedID": {"B1": 0.7, "B2": 0.3},
        "avdelingID": {"A1": 0.5, "A2": 0.3, "A3": 0.2},
        "omsorgsniva": {"1": 0.3, "2": 0.1, "3": 0.6},
        "innmateHast": {"1": 0.3, "4": 0.7},
        "episodeFag": {"010": 0.6, "050": 0.4},
    }
    columns = {name: _dealt(shares, n, salt) for salt, (name, shares) in enumerate((usual | of).items())}
    return pl.DataFrame({"innDatoTid": days, **columns})


def _dealt(shares: Mapping[str, float], n: int, salt: int) -> list[str]:
    """Values in these shares, each column in an order of its own so that columns do not hang together."""
    values = [value for value, share in shares.items() for _ in range(round(share * n))]
    values = (values + [next(iter(shares))] * n)[:n]
    step = (7, 11, 13, 17, 19)[salt % 5]
    return [values[(i * step + salt) % n] for i in range(n)]


def report(months: Mapping[int, int], year: int = 2020, /, **of: Mapping[str, float]) -> Counts:
    rows = episodes(months, year, **of)
    return counted(rows, {"episodes": rows.height, "referrals": rows.height // 2})


def counted(rows: pl.DataFrame, records: Mapping[str, int]) -> Counts:
    return counts(figures(rows, records))


def guards(now: Counts, baselines: list[Baseline]) -> pl.DataFrame:
    return table(drift.guards(now, baselines, LIMITS))


def first(months: int) -> dict[int, int]:
    return {month: YEAR[month] for month in range(1, months + 1)}


def before(now: Counts, *, same_year: bool = True) -> Baseline:
    return Baseline("before", "2020-M06", 4, "accepted", same_year, now)


def last_year(now: Counts) -> Baseline:
    return Baseline("last_year", "2019-M07", 2, "handed_over", same_year=False, figures=now)


def stops(found: pl.DataFrame) -> set[tuple[str, str]]:
    return set(found.filter(pl.col("status") == "stop").select("guard", "value").rows())


HALF, JULY = report(first(6)), report(first(7))
AGO = report(first(7), 2019)


@pytest.mark.parametrize("baselines", [[before(HALF), last_year(AGO)], [before(HALF)], [last_year(AGO)]])
def test_a_normal_july_stops_nothing(baselines: list[Baseline]) -> None:
    found = guards(JULY, baselines)
    assert stops(found) == set()
    assert set(found["status"]) <= {"ok", "no_baseline"}


def test_a_july_that_is_not_like_julys_stops() -> None:
    empty = report(first(6) | {7: 40})
    assert stops(guards(empty, [before(HALF), last_year(AGO)])) == {("month", "2020-07")}
    # Without a year to compare with, a new month has no baseline, which is said and is no pass.
    found = guards(empty, [before(HALF)])
    assert stops(found) == set()
    same(
        found.filter(guard="month"),
        """
        guard | status      | text
        month | ok          |
        month | no_baseline | 1 months have none
        """,
    )


def test_all_inpatient_stays_on_one_site_stop_and_are_named() -> None:
    """The extract of 2016: outpatient contacts as before, every stay on the first site."""
    rows = episodes(first(7))
    moved = rows.with_columns(
        behandlingsstedID=pl.when(pl.col("omsorgsniva") == "1").then(pl.lit("B1")).otherwise("behandlingsstedID")
    )
    now = counted(moved, {"episodes": rows.height, "referrals": rows.height // 2})
    found = guards(now, [before(HALF), last_year(AGO)])
    assert ("site", "B1") in stops(found)
    (text,) = found.filter(guard="site")["text"]
    stays, elsewhere = rows.filter(omsorgsniva="1").height, _inpatients_on(HALF, "B2")
    assert text == (
        f"UNIT-11: all {stays} inpatient stays on treatment site B1; "
        f"2020-M06 submission 4 (accepted) had 2 sites, {elsewhere} stays elsewhere"
    )
    assert ("site", "B1") in stops(guards(now, [last_year(AGO)]))


def _inpatients_on(now: Counts, site: str) -> int:
    return now["inpatient_site"][site]


@pytest.mark.parametrize(
    ("what", "now", "earlier"),
    [
        ("one site, as always", {"B1": 1.0}, {"B1": 1.0}),
        ("a new site comes to the old one", {"B1": 0.9, "B2": 0.1}, {"B1": 1.0}),
        ("one of three closes", {"B1": 0.6, "B2": 0.4}, {"B1": 0.6, "B2": 0.3, "B3": 0.1}),
    ],
)
def test_other_changes_of_sites_are_not_unit_11(what: str, now: dict[str, float], earlier: dict[str, float]) -> None:
    found = guards(report(first(7), behandlingsstedID=now), [before(report(first(6), behandlingsstedID=earlier))])
    assert not {value for guard, value in stops(found) if guard == "site"}, what


@pytest.mark.parametrize(
    ("column", "shares", "expected"),
    [
        ("avdelingID", {"A1": 0.5, "A2": 0.3, "A3": 0.2}, set()),
        ("avdelingID", {"A1": 0.53, "A2": 0.29, "A3": 0.18}, set()),
        ("avdelingID", {"A1": 0.75, "A2": 0.05, "A3": 0.2}, {"A2"}),
        ("avdelingID", {"A1": 0.5, "A9": 0.3, "A3": 0.2}, {"A2", "A9"}),
        ("omsorgsniva", {"1": 0.02, "2": 0.38, "3": 0.6}, {"1", "2"}),
        ("innmateHast", {"1": 0.95, "4": 0.05}, {"1", "4"}),
        ("episodeFag", {"010": 0.1, "050": 0.9}, {"010", "050"}),
    ],
)
def test_shares(column: str, shares: dict[str, float], expected: set[str]) -> None:
    found = guards(report(first(7), **{column: shares}), [before(HALF), last_year(AGO)])
    assert {value for guard, value in stops(found) if guard == f"share-{column}"} == expected


def test_what_is_like_one_of_two_baselines_is_shown_and_does_not_stop() -> None:
    moved = {"A1": 0.75, "A2": 0.05, "A3": 0.2}
    found = guards(
        report(first(7), avdelingID=moved), [before(HALF), last_year(report(first(7), 2019, avdelingID=moved))]
    )
    assert stops(found) == set()
    same(found.filter(guard="share-avdelingID"), "status | value\n unusual | A1\n unusual | A2")


def test_few_records_say_nothing() -> None:
    few = {1: 12}
    found = guards(report(few, innmateHast={"1": 1.0}), [before(report(few, innmateHast={"4": 1.0}))])
    assert stops(found) == set()


@pytest.mark.parametrize(
    ("what", "now", "stop"),
    [
        ("as many", 1000, False),
        ("more", 1300, False),
        ("5 % fewer, the limit", 950, False),
        ("more than that", 949, True),
        ("none at all", 0, True),
    ],
)
def test_a_fall_in_records_stops(what: str, now: int, stop: bool) -> None:  # noqa: FBT001
    rows = episodes(first(3))
    earlier = counted(rows, {"episodes": 100, "referrals": 1000, "tsb_starts": 9})
    # tsb_starts are not carried by a monthly report, and so are not missing from it.
    found = guards(counted(rows, {"episodes": 100, "referrals": now}), [before(earlier)])
    assert (stops(found) == {("fall", "referrals")}) is stop, what
    assert not {g for g, _ in stops(guards(counted(rows, {"referrals": now}), [before(earlier, same_year=False)]))}


def test_without_earlier_submissions_every_guard_says_so() -> None:
    found = guards(JULY, [])
    assert set(found["status"]) == {"no_baseline"}
    assert {"fall", "site", "month", "share-behandlingsstedID", "share-episodeFag"} <= set(found["guard"])


def test_a_month_reported_before_may_grow_and_not_shrink() -> None:
    late = report(first(6) | {6: 800})
    assert stops(guards(late, [before(HALF)])) == set()
    gone = report(first(6) | {6: 150})
    assert ("month", "2020-06") in stops(guards(gone, [before(HALF)]))


def test_a_confirmation_holds_for_the_very_figures_that_were_confirmed() -> None:
    def told(july: int) -> list[drift.Line]:
        return drift.guards(report(first(6) | {7: july}), [before(HALF), last_year(AGO)], LIMITS)

    confirmed = {"month": content(told(40), "month")}
    assert len(stopping(told(40), {})) == 1
    assert not stopping(told(40), confirmed)
    assert len(stopping(told(39), confirmed)) == 1
    assert len(stopping(told(40), {"fall": confirmed["month"]})) == 1


def test_figures_are_counts_and_those_of_batches_add_up() -> None:
    rows = episodes(first(2)).with_columns(episodeFag=pl.when(pl.col("episodeFag") == "010").then("episodeFag"))
    whole = figures(rows, {"episodes": rows.height})
    parts = [figures(rows[:300], {"episodes": 300}), figures(rows[300:], {"episodes": rows.height - 300})]
    assert added(parts).equals(whole)
    assert whole.schema == FIGURES
    assert dict(whole.group_by("dimension").agg(pl.col("n").sum()).rows())["episodeFag"] == rows.height
    assert whole.filter(dimension="episodeFag", value="").height == 1
