"""The figures of the waiting list, against figures computed by hand."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest
from spec import same, staged

from schemas.period import Period
from transforms.content.waiting_list import WAITING_LIST, exclusion, start, waiting_list, window

T1, MARCH = Period.parse("2020-T1"), Period.parse("2020-M03")

REFERRALS = """
    id | mottaksDato | ansienDato | vurdDato   | ventetidSluttDato | ventetidSluttKode | frist      | rett | fagenhetID
    R1 | 2020-01-10  | 2020-01-01 | 2020-01-15 | 2020-02-10        | 1                 | 2020-03-01 | 3    | S
    R2 | 2020-01-10  |            | 2020-01-15 | 2020-03-10        | 1                 | 2020-03-01 | 3    | S
    R3 | 2020-02-01  | 2020-02-20 | 2020-02-05 | 2020-02-21        | 1                 |            | 3    | S
    R4 | 2019-11-01  | 2019-11-01 | 2019-11-05 | 2020-01-10        | 1                 | 2020-01-01 | 3    | V
    R5 | 2020-03-01  | 2020-03-01 | 2020-03-03 |                   |                   | 2020-04-01 | 3    | V
    R6 | 2020-04-20  | 2020-04-20 | 2020-04-21 | 2020-05-05        | 1                 | 2020-06-01 | 3    | S
    R7 | 2019-12-01  | 2019-12-01 | 2019-12-05 | 2019-12-20        | 1                 |            | 3    | S
    R8 | 2020-02-01  | 2020-02-01 | 2020-02-05 | 2020-02-20        | 3                 |            | 3    | S
    X1 | 2020-02-01  | 2020-02-01 | 2020-02-05 |                   |                   |            | 5    | S
    X2 | 2020-02-01  | 2020-02-01 |            |                   |                   |            | 3    | S
    """
# R1 ordinary, 40 days. R2 ordinary, 60 days, breach. R3 counts from mottaksDato: 20 days, ordinary. R4 started after
# the deadline and was postponed by the patient: not ordinary, breach. R5 waiting 60 days, past its deadline. R6 waiting
# 10 days, since care starts after the period. R7 ended before. R8 went elsewhere. X1 no need. X2 not assessed.
NAMES = {"id": "henvisningsperiodeID", "frist": "fristStartBehandling", "rett": "rettTilHelsehjelp"}


def referrals(text: str) -> pl.DataFrame:
    header, rest = text.strip().split("\n", 1)
    cells = [NAMES.get(cell.strip(), cell) for cell in header.split("|")]
    return staged("referrals", "|".join(cells) + "\n" + rest)


POSTPONEMENTS = staged("postponements", "henvisningsperiodeID | utsettNr | utsettKode\n R4 | 1 | 4\n R1 | 1 | 1")
UNITS = staged("units", "enhetID | sektor\n S | 1\n V | 2\n A |")


def test_the_figures_of_a_tertial_by_hand() -> None:
    found = waiting_list(referrals(REFERRALS), POSTPONEMENTS, UNITS, T1)
    assert found.schema == WAITING_LIST
    same(
        found,
        """
        sektor | new | started | ordinary | not_ordinary | mean_days | median_days | p90_days | waiting | breaches_started | started_with_deadline | breaches_waiting | excluded
        all    | 6   | 4       | 3        | 1            | 40.0      | 40.0        | 56.0     | 2       | 2                | 3                     | 1                | 2
        1      | 5   | 3       | 3        | 0            | 40.0      | 40.0        | 56.0     | 1       | 1                | 2                     | 0                | 2
        2      | 1   | 1       | 0        | 1            |           |             |          | 1       | 1                | 1                     | 1                | 0
        """,  # noqa: E501
    )
    same(
        found,
        """
        sektor | waiting_mean_days | waiting_median_days | waiting_p90_days | from_day   | to_day     | certainty
        all    | 35.0              | 35.0                | 55.0             | 2020-01-01 | 2020-04-30 | C
        1      | 10.0              | 10.0                | 10.0             | 2020-01-01 | 2020-04-30 | C
        2      | 60.0              | 60.0                | 60.0             | 2020-01-01 | 2020-04-30 | C
        """,
    )


def test_a_monthly_report_speaks_of_its_month() -> None:
    found = waiting_list(referrals(REFERRALS), POSTPONEMENTS, UNITS, MARCH)
    same(found.head(1), "sektor | new | started | ordinary | mean_days | waiting\n all | 1 | 1 | 1 | 60.0 | 1")


@pytest.mark.parametrize(
    ("key", "first", "last"),
    [
        ("2020-M02", "2020-02-01", "2020-02-29"),
        ("2020-T2", "2020-05-01", "2020-08-31"),
        ("2020-M11", "2020-11-01", "2020-11-30"),
        ("2020-A", "2020-01-01", "2020-12-31"),
    ],
)
def test_the_days_of_the_statistic(key: str, first: str, last: str) -> None:
    days = window(Period.parse(key))
    assert (days.first.isoformat(), days.last.isoformat()) == (first, last)


def test_codes_for_leaving_a_referral_out() -> None:
    found = referrals(
        """
        id | mottaksDato | ansienDato | vurdDato   | ventetidSluttDato | ventetidSluttKode | frist | rett
        none | 2020-01-10 | 2020-01-01 | 2020-01-15 | 2020-02-10       | 1                 |       | 3
        31 | 2020-01-10  | 2020-01-10 | 2020-01-15 |                   |                   |       | 5
        33 | 2020-01-10  | 2020-01-10 | 2020-01-15 |                   |                   |       | 6
        9  |             |            | 2020-01-15 |                   |                   |       | 3
        7  | 2020-05-01  |            | 2020-05-01 |                   |                   |       | 3
        20 | 2020-01-10  |            |            |                   |                   |       | 3
        1  | 2020-01-10  |            | 2020-01-15 | 2020-02-10        |                   |       | 3
        10 | 2010-04-29  |            | 2010-05-01 |                   |                   |       | 3
        10 | 2010-04-29  |            | 2010-05-01 | 2020-05-01        | 1                 |       | 3
        none | 2010-04-30 |           | 2010-05-01 |                   |                   |       | 3
        30 | 2020-01-10  | 2019-12-01 | 2020-01-15 | 2020-01-09        | 1                 |       | 3
        22 | 2020-01-10  |            | 2020-01-15 | 2020-01-15        | 1                 |       | 3
        none | 2020-01-10 |           | 2020-01-15 | 2020-01-15        | 4                 |       | 3
        12 | 2020-01-10  |            | 2020-01-10 | 2020-01-11        | 1                 |       | 3
        none | 2020-01-10 |           | 2020-01-10 | 2020-01-12        | 1                 |       | 3
        """
    ).with_columns(code=exclusion(dt.date(2020, 4, 30)).cast(pl.String).fill_null("none"))
    assert found["code"].to_list() == found["henvisningsperiodeID"].to_list()


def test_waiting_starts_with_seniority_and_never_after_receipt() -> None:
    found = referrals(
        """
        mottaksDato | ansienDato
        2020-01-10  | 2020-01-01
        2020-01-10  | 2020-01-10
        2020-01-10  | 2020-01-11
        2020-01-10  |
                    | 2020-01-11
        """
    ).with_columns(start=start())
    same(found, "start\n 2020-01-01\n 2020-01-10\n 2020-01-10\n 2020-01-10\n 2020-01-11")


def test_without_referrals_there_are_no_figures() -> None:
    assert waiting_list(referrals(REFERRALS).clear(), POSTPONEMENTS, UNITS, T1).is_empty()
