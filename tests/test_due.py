"""What is due: tables of cases a scheduler can read, and what must hold for any ledger and day."""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import call
from holidays import country_holidays
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import workdays
from schemas.deadlines import Deadline, readings
from schemas.period import Period
from schemas.reporting import UnitKind, duty
from schemas.workdays import HOLIDAY_YEARS, is_working_day, public_holidays, shift, working_days_after
from transforms.scheduling.due import DELIVERED, ORDER, Due, Reporter, colour, due, outlook, send_by
from transforms.scheduling.proposal import propose

PUBLISHED = readings()
HOSPITAL = Reporter("hospital", UnitKind.HEALTH_TRUST, isf=True)
NO_ISF = Reporter("no_isf", UnitKind.PRIVATE, isf=False)
SPECIALIST = Reporter("specialist", UnitKind.AVTALESPESIALIST, isf=True)
AMK = Reporter("amk", UnitKind.AMK, isf=False)
ALL = (HOSPITAL, NO_ISF, SPECIALIST, AMK)
NEW_YEAR = dt.date(2020, 1, 1)


@dataclass(frozen=True)
class Line:
    """A row of a ledger."""

    period: str
    unit: str
    submission: int
    state: str
    at: dt.datetime
    module: str = ""
    profile: str = "production"
    handed_over_at: dt.datetime | None = None
    silent: int = 0


def line(period: str, day: str, state: str = "received", submission: int = 1, module: str = "") -> Line:
    return Line(period, "hospital", submission, state, dt.datetime.fromisoformat(f"{day}T12:00+00:00"), module)


def on(day: str, *states: Line, units: tuple[Reporter, ...] = (HOSPITAL,)) -> list[Due]:
    """What is due that day, of deadlines in 2020."""
    return due(units, PUBLISHED, states, dt.date.fromisoformat(day), since=NEW_YEAR)


def told(found: list[Due]) -> list[tuple[str, int, str]]:
    return [(one.period, one.submission, one.colour) for one in found]


def stands(day: str, period: str, *states: Line, submission: int = 1) -> Due:
    found = outlook((HOSPITAL,), PUBLISHED, states, dt.date.fromisoformat(day), since=NEW_YEAR)
    (one,) = [one for one in found if (one.period, one.submission) == (period, submission)]
    return one


YEAR_BEFORE = (line("2019-A", "2020-01-02"), line("2019-A", "2020-02-01", submission=2))


# The margin and the colours


@pytest.mark.parametrize(
    ("deadline", "end", "by"),
    [
        ("2020-05-26", "2020-04-30", "2020-05-20"),  # Ascension Day and a weekend lie between
        ("2020-05-11", "2020-04-30", "2020-05-06"),
        ("2020-05-05", "2020-04-30", "2020-05-04"),  # due on the 2nd working day: no three days to be had
        ("2020-04-02", "2020-03-31", "2020-04-01"),
        ("2021-01-05", "2020-12-31", "2021-01-04"),
        ("2022-04-30", "2021-12-31", "2022-04-27"),  # a Saturday
    ],
)
def test_send_by(deadline: str, end: str, by: str) -> None:
    found = send_by(dt.date.fromisoformat(deadline), dt.date.fromisoformat(end))
    assert found == dt.date.fromisoformat(by)


@pytest.mark.parametrize(
    ("today", "state", "shade"),
    [
        ("2020-05-15", "", "green"),
        ("2020-05-18", "", "amber"),  # two working days before 'send by'; 17 May is a holiday
        ("2020-05-20", "prepared", "amber"),
        ("2020-05-21", "approved", "red"),
        ("2020-05-26", "", "red"),
        ("2020-05-27", "", "missed"),
        ("2020-05-27", "prepared", "missed"),
        ("2020-05-06", "refused", "red"),
        ("2020-05-06", "in_doubt", "red"),
        ("2020-05-06", "handing_over", "red"),
        ("2020-05-27", "in_doubt", "missed"),
        ("2020-05-27", "handed_over", "green"),
        ("2020-05-27", "received", "green"),
        ("2020-05-27", "accepted", "green"),
        ("2020-05-20", "content_errors", "amber"),
        ("2020-05-20", "received_in_part", "amber"),
    ],
)
def test_colours_of_a_report_to_be_sent_by_20_may_and_due_on_26_may(today: str, state: str, shade: str) -> None:
    deadline, last = dt.date(2020, 5, 26), dt.date(2020, 5, 20)
    assert colour(deadline, last, dt.date.fromisoformat(today), state) == shade


def test_72_hours_of_silence_are_amber() -> None:
    day = dt.date(2020, 5, 20)
    assert [colour(day, day, day, "handed_over", silent=hours) for hours in (0, 48, 72)] == ["green", "green", "amber"]


def test_public_holidays_are_those_of_the_package_in_all_years() -> None:
    for year in (1999, 2000, 2020, 2026, 2059, 2060):
        assert public_holidays(year) == set(country_holidays("NO", years=year)), year
    assert {year for year in range(1990, 2070) if year in workdays._kept()} == set(HOLIDAY_YEARS)


def test_working_days() -> None:
    closed = [
        "2020-12-24",
        "2020-12-31",
        "2020-05-21",
        "2020-05-17",
        "2020-04-09",
        "2020-06-01",
        "2020-12-25",
        "2020-05-02",
    ]
    assert not any(is_working_day(dt.date.fromisoformat(day)) for day in closed)
    assert is_working_day(dt.date(2020, 12, 23))
    assert shift(dt.date(2020, 12, 23), 1) == dt.date(2020, 12, 28)
    assert shift(dt.date(2021, 1, 4), -2) == dt.date(2020, 12, 29)
    assert shift(dt.date(2020, 5, 2), 0) == dt.date(2020, 5, 2)


@given(st.dates(dt.date(2017, 1, 1), dt.date(2026, 1, 1)), st.integers(1, 40))
def test_shifting_and_counting_working_days_agree(day: dt.date, number: int) -> None:
    later = shift(day, number)
    assert is_working_day(later)
    assert working_days_after(day, later) == number
    assert not is_working_day(day) or shift(later, -number) == day


# Who owes what, and when


@pytest.mark.parametrize(
    ("day", "unit", "expected"),
    [
        ("2020-01-31", HOSPITAL, []),
        ("2020-02-01", HOSPITAL, [("2020-M01", 1, "amber")]),
        ("2020-02-04", HOSPITAL, [("2020-M01", 1, "red")]),
        ("2020-05-01", SPECIALIST, [("2020-T1", 1, "green")]),
        ("2020-05-06", SPECIALIST, [("2020-T1", 1, "amber")]),
        ("2020-05-12", SPECIALIST, [("2020-T1", 1, "missed"), ("2020-T1", 2, "green")]),
        ("2020-05-04", AMK, [("2020-T1", 1, "amber")]),
        ("2020-06-30", AMK, [("2020-T1", 1, "missed")]),
        ("2020-02-15", AMK, []),
        ("2020-02-15", SPECIALIST, []),
    ],
)
def test_who_owes_what_when(day: str, unit: Reporter, expected: list[tuple[str, int, str]]) -> None:
    rest = [replace(one, unit=unit.key) for one in YEAR_BEFORE]
    assert told(on(day, *rest, units=(unit,))) == expected


def test_the_report_due_in_july_is_owed_with_an_isf_agreement_only() -> None:
    june = [one for one in on("2020-07-01", units=ALL) if one.period == "2020-M06"]
    assert [(one.unit, one.modules, one.deadline) for one in june] == [
        ("hospital", ("ord", "ide"), dt.date(2020, 7, 2))
    ]


def test_the_cost_report_is_apart_from_the_annual_report() -> None:
    annual = line("2021-A", "2022-01-04")
    found = due((HOSPITAL, NO_ISF), PUBLISHED, [annual], dt.date(2022, 4, 20), since=dt.date(2022, 2, 3))
    costs = [one for one in found if one.period == "2021-K"]
    assert [(one.unit, one.submission, one.modules, one.days_left) for one in costs] == [("hospital", 1, ("kpp",), 10)]


def test_modules_are_those_of_the_row_that_the_duty_asks_for() -> None:
    found = outlook((HOSPITAL,), PUBLISHED, (), dt.date(2022, 6, 1), carriers={2022: "sbs", 2021: "sbs"})
    by_slot = {(one.period, one.submission): one.modules for one in found}
    assert by_slot["2022-T1", 1] == by_slot["2022-T1", 2] == by_slot["2021-A", 2] == ("ord", "ide", "sbs")
    assert by_slot["2022-M10", 1] == ("ord", "ide")
    assert by_slot["2020-T1", 1] == ("ord", "ide", "tsb")


def test_a_unit_may_begin_later() -> None:
    late = replace(HOSPITAL, since=dt.date(2020, 5, 12))
    assert told(on("2020-05-15", units=(late,))) == [("2020-T1", 2, "green")]
    assert on("2020-05-15", units=(late,))[0].next_step == "npr run 2020-T1 --unit hospital"


# Catching up: the machine was down


def test_what_was_not_sent_stays_due_and_the_newest_that_holds_it_goes_first() -> None:
    found = {(one.period, one.submission): one for one in on("2020-05-12", *YEAR_BEFORE)}
    assert list(found) == [("2020-M01", 1), ("2020-M02", 1), ("2020-M03", 1), ("2020-T1", 1), ("2020-T1", 2)]
    assert [one.held_by for one in found.values()] == ["2020-T1", "2020-T1", "2020-T1", "", "2020-T1"]
    assert found["2020-M01", 1].next_step == "2020-T1 is due as well and holds this period: send that first"
    assert found["2020-T1", 2].next_step == "the first submission of this period has not left: send that first"
    assert found["2020-T1", 1].days_left == -7


def test_a_later_report_that_was_sent_settles_the_earlier_ones_it_holds() -> None:
    sent = (*YEAR_BEFORE, line("2020-T1", "2020-05-12"))
    assert told(on("2020-05-12", *sent)) == [("2020-T1", 2, "green")]
    one = stands("2020-05-12", "2020-M02", *sent)
    assert (one.standing, one.held_by) == ("superseded", "2020-T1")
    assert one.next_step == "2020-T1 holds this period and was sent on 2020-05-12"
    assert stands("2020-05-12", "2020-T1", *sent).next_step == "sent on 2020-05-12 as submission 1, 7 days late"


@pytest.mark.parametrize(
    ("ord_", "ide", "held"),
    [
        ("handed_over", "in_doubt", True),
        ("in_doubt", "prepared", True),
        ("accepted", "not_sent", True),
        ("refused", "handed_over", True),
        ("rejected", "abandoned", False),
        ("prepared", "prepared", False),
    ],
)
def test_what_is_made_waits_while_a_later_report_has_left_in_part(ord_: str, ide: str, held: bool) -> None:  # noqa: FBT001
    later = [line("2020-M03", "2020-04-01", state, module=module) for module, state in (("ord", ord_), ("ide", ide))]
    for state in ("prepared", "approved", "refused"):
        one = stands("2020-04-01", "2020-M02", *YEAR_BEFORE, *later, line("2020-M02", "2020-03-02", state))
        assert (one.standing, one.held_by) == ("due", "2020-M03" if held else "")
    in_doubt = stands("2020-04-01", "2020-M02", *YEAR_BEFORE, *later, line("2020-M02", "2020-03-02", "in_doubt"))
    assert in_doubt.held_by == ""  # it is asked about


def test_a_monthly_report_does_not_hold_a_tertial_one_nor_one_of_another_year() -> None:
    assert stands("2020-06-02", "2020-T1", line("2020-M05", "2020-06-02")).standing == "due"
    assert stands("2020-02-10", "2019-A", line("2020-M01", "2020-02-03")).standing == "due"


@pytest.mark.parametrize("state", ["", "prepared", "approved", "not_sent", "handing_over", "in_doubt", "refused"])
def test_what_may_not_have_arrived_settles_nothing(state: str) -> None:
    lines = (*YEAR_BEFORE, line("2020-T1", "2020-05-04", state)) if state else YEAR_BEFORE
    one = stands("2020-05-04", "2020-T1", *lines)
    assert (one.standing, one.state) == ("due", state)
    assert stands("2020-05-04", "2020-M03", *lines).standing == "due"


def test_what_is_in_doubt_is_asked_about_and_never_sent_again() -> None:
    one = stands("2020-05-04", "2020-T1", line("2020-T1", "2020-05-04", "in_doubt"))
    assert one.next_step == "nobody knows whether it left; ask, and do not send it again before that"


def test_a_report_is_sent_when_all_its_messages_are() -> None:
    some = [line("2020-T1", "2020-05-04", "received", module=module) for module in ("ord", "ide")]
    assert stands("2020-05-05", "2020-T1", *some).standing == "due"
    whole = [*some, line("2020-T1", "2020-05-04", "handed_over", module="sbs")]
    assert stands("2020-05-05", "2020-T1", *whole).standing == "done"
    refused = [*some, line("2020-T1", "2020-05-04", "refused", module="sbs")]
    assert stands("2020-05-05", "2020-T1", *refused).colour == "red"


# Second submissions


@pytest.mark.parametrize(
    ("case", "day", "lines", "standings"),
    [
        ("sent in time, the second not open", "2020-05-05", [("2020-05-04", "received")], ["done", "ahead"]),
        ("the second opens after the first deadline", "2020-05-06", [("2020-05-04", "received")], ["done", "due"]),
        (
            "a correction before the first deadline is no second submission",
            "2020-05-06",
            [("2020-05-04", "received"), ("2020-05-05", "received")],
            ["done", "due"],
        ),
        (
            "both sent",
            "2020-05-20",
            [("2020-05-04", "content_errors"), ("2020-05-19", "received")],
            ["done", "done"],
        ),
        (
            "the first was refused and sent again",
            "2020-05-06",
            [("2020-05-04", "refused"), ("2020-05-05", "received")],
            ["done", "due"],
        ),
        ("the first came late", "2020-05-12", [("2020-05-11", "received")], ["done", "due"]),
        ("the first came too late for a second", "2020-05-22", [("2020-05-22", "received")], ["done", "done"]),
    ],
)
def test_second_submissions(case: str, day: str, lines: list[tuple[str, str]], standings: list[str]) -> None:
    ledger = [line("2020-T1", when, state, number) for number, (when, state) in enumerate(lines, start=1)]
    found = [stands(day, "2020-T1", *ledger, submission=number).standing for number in (1, 2)]
    assert found == standings, case


def test_a_deadline_that_is_only_proposed_says_so() -> None:
    drafts = propose(2023, PUBLISHED)
    (one,) = due((HOSPITAL,), drafts, (), dt.date(2023, 2, 1))
    assert (one.period, one.status) == ("2023-M01", "proposed")
    assert one.next_step.endswith("the deadline is only proposed: npr calendar confirm 2023 --by NAME")


# What must hold for any ledger and day

CALENDAR: list[Deadline] = [
    *PUBLISHED,
    *(
        row
        for year in (2018, 2021)
        for row in propose(year, [r for r in PUBLISHED if r.source < f"hdir-{year}"], PUBLISHED)
    ),
]
KEYS = sorted({row.period for row in CALENDAR if "2018" <= row.period[:4] <= "2021"})
DAYS = st.dates(dt.date(2018, 1, 1), dt.date(2022, 3, 1))
LEDGERS = st.lists(
    st.builds(
        Line,
        period=st.sampled_from(KEYS),
        unit=st.sampled_from([unit.key for unit in ALL]),
        submission=st.integers(1, 4),
        state=st.sampled_from([state for state in ORDER if state]),
        at=st.datetimes(dt.datetime(2018, 1, 1), dt.datetime(2022, 3, 1), timezones=st.just(dt.UTC)),
        module=st.sampled_from(["", "ord", "ide", "sbs"]),
    ),
    max_size=12,
    unique_by=lambda row: (row.period, row.unit, row.submission, row.module),
)


@settings(max_examples=60, deadline=None)
@given(LEDGERS, DAYS, st.integers(0, 40))
def test_what_always_holds(ledger: list[Line], day: dt.date, early: int) -> None:
    units = {unit.key: unit for unit in ALL}
    every = outlook(ALL, CALENDAR, ledger, day)
    slots = [(one.period, one.unit, one.submission) for one in every]
    assert len(set(slots)) == len(slots)
    assert all(one.deadline <= two.deadline for one, two in pairwise(every))
    for one in every:
        unit, period = units[one.unit], Period.parse(one.period)
        owed = duty(period, unit.kind, isf=unit.isf)
        assert owed.due
        assert one.submission in owed.submissions
        assert not (unit.kind is UnitKind.AMK and (one.submission == 2 or period.kind == "month"))
        assert not (period.end.month == 6 and period.year > 2018 and not unit.isf)
        assert period.end < one.opens <= one.deadline
        assert period.end < one.send_by <= one.deadline
        assert (one.standing == "done") == (one.state in DELIVERED)
        assert one.next_step
        if one.standing == "due":
            assert one.opens <= day
            assert (one.colour == "missed") == (day > one.deadline)
        if one.standing == "superseded":
            later = Period.parse(one.held_by)
            assert later > period
            assert later.year == period.year
            assert set(later.modules) >= set(period.modules)
            assert any(
                line.state in DELIVERED and (line.period, line.unit) == (one.held_by, one.unit) for line in ledger
            )
    listed = due(ALL, CALENDAR, ledger, day, early_days=early)
    assert {one.standing for one in listed} <= {"due", "ahead"}
    assert [one for one in listed if one.standing == "due"] == [one for one in every if one.standing == "due"]
    assert all((one.opens - day).days <= early for one in listed)
    assert due(reversed(ALL), CALENDAR, reversed(ledger), day, early_days=early) == listed


@settings(max_examples=20, deadline=None)
@given(LEDGERS, DAYS)
def test_sending_what_is_due_until_nothing_is_ends_and_sends_nothing_twice(ledger: list[Line], day: dt.date) -> None:
    """A scheduler that sends what nothing holds back, one after the other."""
    book = [line for line in ledger if line.at.date() <= day]
    now = dt.datetime.combine(day, dt.time(12), dt.UTC)
    done: list[tuple[str, str, int]] = []
    since = day.replace(month=1, day=1)
    while todo := [one for one in due(ALL, CALENDAR, book, day, since=since) if not one.held_by]:
        one = todo[0]
        number = max(
            (line.submission for line in book if (line.period, line.unit) == (one.period, one.unit)), default=0
        )
        book.append(Line(one.period, one.unit, number + 1, "handed_over", now))
        done.append((one.period, one.unit, one.submission))
    assert len(set(done)) == len(done)
    assert due(ALL, CALENDAR, book, day, since=since) == []


def test_five_years_of_forty_units_take_no_time() -> None:
    calendar = [*PUBLISHED, *(row for year in (2023, 2024, 2025, 2026) for row in propose(year, PUBLISHED))]
    units = [Reporter(f"u{n}", list(UnitKind)[n % 4], isf=n % 3 == 0) for n in range(40)]
    at = dt.datetime(2025, 1, 2, tzinfo=dt.UTC)
    ledger = [
        Line(row.period, unit.key, row.submission, "accepted", at, module)
        for row in calendar
        if row.period[:4] >= "2022"
        for unit in units
        for module in ("ord", "ide", "sbs")
    ]
    took = []
    for _ in range(3):
        begin = time.process_time()
        found = outlook(units, calendar, ledger, dt.date(2026, 11, 1), since=dt.date(2022, 1, 1))
        took.append(time.process_time() - begin)
    assert len(found) > 1500
    assert min(took) < 0.3


def test_the_command_tells_of_the_sample_hospital(home: Path) -> None:
    rows = call("due", "--on", "2020-05-04", "--unit", "sorvik", "--json", home=home).json
    assert [(row["period"], row["colour"], row["held_by"]) for row in rows if row["period"] == "2020-T1"] == [
        ("2020-T1", "amber", "")
    ]
    assert rows[-1]["modules"] == ["ord", "ide", "sbs"]
    assert {row["unit"] for row in rows} == {"sorvik"}
    text = call("due", "--on", "2020-05-04", home=home).out
    assert "2020-T1  1   nordfjell  2020-05-05 2020-05-04     1  npr run 2020-T1 --unit nordfjell" in text
    empty = call("due", "--on", "2023-05-04", home=home)
    # the cost report of the health trust among them
    assert "17 deadlines of 2023 are in no table: npr calendar propose 2023" in empty.err
    assert call("due", "--unit", "nowhere", home=home).code == 2
