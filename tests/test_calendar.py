"""Deadlines and duties: the published rows, the corrected errors, the checked reader, who owes what."""

from __future__ import annotations

import csv
import re
from datetime import date
from pathlib import Path

import pytest

from schemas.errors import WrongUse
from schemas.period import Period, kinds, period_keys
from schemas.reporting import DEADLINES_HEADER, UnitKind, deadlines, deadlines_for, duty, modules_for, read_deadlines

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "../shared/domain/data/calendar.csv"
HEAD = ",".join(DEADLINES_HEADER) + "\n"
GOOD = "2020-03-03,2020-01-01,2020-02-29,monthly,ord ide,not-stated,1,,,x\n"
AUDIENCES = {
    "all except avtalespesialister": "except-avtalespesialist",
    "(text cut) presumably all except avtalespesialister": "except-avtalespesialist",
    "avtalespesialister": "only-avtalespesialist",
    "all except AMK": "except-amk",
    "not stated in the row": "not-stated",
    "units with ISF agreement only": "isf-only",
    "guest-patient settlement only (Kun gjestepasientoppgjør)": "guest-settlement-only",
    "by message (no pre/ska)": "by-module",
    "by message (no pak/pre/ska)": "by-module",
}
ALL = ("ord", "ide", "tsb")
MONTHLY = ("ord", "ide")


def test_the_table_of_2020_is_whole() -> None:
    table = [row for row in deadlines() if row.source == "hdir-2020"]
    assert len(table) == 21
    found = [(row.deadline.isoformat(), row.period_to.isoformat(), row.report, row.submission) for row in table]
    assert found == [
        ("2020-01-03", "2019-12-31", "annual", 1),
        ("2020-01-10", "2019-12-31", "annual", 1),
        ("2020-02-04", "2019-12-31", "annual", 2),
        ("2020-02-04", "2020-01-31", "monthly", 1),
        ("2020-03-03", "2020-02-29", "monthly", 1),
        ("2020-04-02", "2020-03-31", "monthly", 1),
        ("2020-05-05", "2020-04-30", "tertial", 1),
        ("2020-05-11", "2020-04-30", "tertial", 1),
        ("2020-05-26", "2020-04-30", "tertial", 2),
        ("2020-06-03", "2020-05-31", "monthly", 1),
        ("2020-07-02", "2020-06-30", "monthly", 1),
        ("2020-08-04", "2020-07-31", "monthly", 1),
        ("2020-09-02", "2020-08-31", "tertial", 1),
        ("2020-09-09", "2020-08-31", "tertial", 1),
        ("2020-09-23", "2020-08-31", "tertial", 2),
        ("2020-10-02", "2020-09-30", "monthly", 1),
        ("2020-11-03", "2020-10-31", "monthly", 1),
        ("2020-12-02", "2020-11-30", "monthly", 1),
        ("2021-01-05", "2020-12-31", "annual", 1),
        ("2021-01-12", "2020-12-31", "annual", 1),
        ("2021-02-02", "2020-12-31", "annual", 2),
    ]


@pytest.mark.parametrize(
    ("deadline", "printed", "period_to", "note"),
    [
        (date(2020, 3, 3), "28.2. 2020", date(2020, 2, 29), "leap year"),
        (date(2020, 7, 2), "31.6. 2020", date(2020, 6, 30), "June has 30 days"),
        (date(2021, 1, 12), "31.12. 2020", date(2020, 12, 31), "stale year"),
    ],
)
def test_official_errors_are_corrected_and_kept_as_printed(
    deadline: date, printed: str, period_to: date, note: str
) -> None:
    (row,) = [row for row in deadlines() if row.deadline == deadline and row.source == "hdir-2020"]
    assert row.period_to == period_to
    assert row.text_as_printed.endswith(printed)
    assert note in row.our_reading_note


@pytest.mark.parametrize(
    "line",
    [
        GOOD,
        GOOD.replace("2020-02-29", "2020-02-28").replace(",x", ",other"),
        GOOD.replace("2020-02-29", "2020-02-30").replace(",x", ",other"),
        GOOD.replace("2020-02-29", "2019-02-28").replace(",x", ",other"),
        GOOD.replace("2020-01-01", "2020-02-01").replace(",x", ",other"),
        GOOD.replace("2020-02-29", "2020-04-30").replace("2020-03", "2020-05").replace(",x", ",other"),
        GOOD.replace("2020-03-03", "2020-02-29").replace(",x", ",other"),
        GOOD.replace("2020-03-03", "3.3.2020").replace(",x", ",other"),
        GOOD.replace("monthly", "weekly").replace(",x", ",other"),
        GOOD.replace("monthly", "tertial").replace(",x", ",other"),
        GOOD.replace("not-stated", "everyone").replace(",x", ",other"),
        GOOD.replace("ord ide", "ord xyz").replace(",x", ",other"),
        GOOD.replace("ord ide", "").replace(",x", ",other"),
        GOOD.replace(",1,", ",3,").replace(",x", ",other"),
        GOOD.replace(",x", ","),
        GOOD.replace(",x", ",other,more"),
    ],
)
def test_impossible_rows_are_refused_with_file_and_line(line: str) -> None:
    assert len(read_deadlines(HEAD + GOOD)) == 1
    with pytest.raises(WrongUse) as refused:
        read_deadlines(HEAD + GOOD + line)
    assert refused.value.where == "schemas/calendar/deadlines.csv, line 3"


def test_two_reports_may_fall_due_on_one_day_but_no_table_repeats_a_row() -> None:
    assert len(read_deadlines(HEAD + GOOD + GOOD.replace(",x", ",other"))) == 2
    assert len([row for row in deadlines() if row.deadline == date(2020, 2, 4) and row.source == "hdir-2020"]) == 2


@pytest.mark.parametrize(
    ("key", "kind", "isf", "modules"),
    [
        ("2020-M01", UnitKind.HEALTH_TRUST, True, MONTHLY),
        ("2020-M01", UnitKind.HEALTH_TRUST, False, MONTHLY),
        ("2020-M01", UnitKind.PRIVATE, False, MONTHLY),
        ("2020-M06", UnitKind.HEALTH_TRUST, True, MONTHLY),
        ("2020-M06", UnitKind.HEALTH_TRUST, False, ()),
        ("2020-M06", UnitKind.PRIVATE, False, ()),
        ("2017-M06", UnitKind.PRIVATE, False, MONTHLY),
        ("2020-M01", UnitKind.AVTALESPESIALIST, True, ()),
        ("2020-M06", UnitKind.AMK, True, ()),
        ("2020-T1", UnitKind.HEALTH_TRUST, False, ALL),
        ("2020-T2", UnitKind.AVTALESPESIALIST, False, ALL),
        ("2020-A", UnitKind.AMK, False, ALL),
        ("2020-A", UnitKind.PRIVATE, True, ALL),
    ],
)
def test_modules_for(key: str, kind: UnitKind, isf: bool, modules: tuple[str, ...]) -> None:  # noqa: FBT001
    assert modules_for(Period.parse(key), kind, isf) == modules


@pytest.mark.parametrize("kind", UnitKind)
@pytest.mark.parametrize("isf", [False, True])
def test_every_unit_and_period_has_an_answer_with_its_certainty(kind: UnitKind, isf: bool) -> None:  # noqa: FBT001
    for key in period_keys():
        entry = duty(Period.parse(key), kind, isf=isf)
        assert entry.certainty in "ABC"
        assert entry.why


@pytest.mark.parametrize(
    ("key", "kind", "days"),
    [
        ("2020-T1", UnitKind.HEALTH_TRUST, ["2020-05-05", "2020-05-26"]),
        ("2020-T1", UnitKind.AVTALESPESIALIST, ["2020-05-11", "2020-05-26"]),
        ("2020-T1", UnitKind.AMK, ["2020-05-05"]),
        ("2019-A", UnitKind.AMK, ["2020-01-03", "2020-01-03"]),
        ("2020-M02", UnitKind.PRIVATE, ["2020-03-03"]),
        ("2020-M06", UnitKind.PRIVATE, []),
        ("2020-M02", UnitKind.AMK, []),
        ("2023-T1", UnitKind.HEALTH_TRUST, []),
    ],
)
def test_deadlines_of_a_unit(key: str, kind: UnitKind, days: list[str]) -> None:
    assert [row.deadline.isoformat() for row in deadlines_for(Period.parse(key), kind, isf=False)] == days


def test_years_with_a_table_are_those_that_deadlines_speak_of() -> None:
    assert max(row.period_to.year for row in deadlines()) == kinds().years.last_with_table


def test_sources_are_explained() -> None:
    text = (ROOT / "docs/calendar.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^\| `(hdir-[0-9]{4})` \|", text, re.MULTILINE))
    assert {row.source for row in deadlines()} == explained


@pytest.mark.skipif(not REFERENCE.is_file(), reason="the reference calendar is not beside this repository")
def test_rows_are_those_of_the_reference() -> None:
    with REFERENCE.open(encoding="utf-8", newline="") as file:
        theirs = [_their_row(row) for row in csv.DictReader(file)]
    ours = [
        (
            row.source,
            str(row.deadline),
            str(row.period_from),
            str(row.period_to),
            row.report,
            row.audience,
            str(row.submission),
            row.modules,
            row.text_as_printed.replace(" ", ""),
        )
        for row in deadlines()
    ]
    assert ours == theirs


def _their_row(row: dict[str, str]) -> tuple[object, ...]:
    modules = tuple(word for word in re.split(r"[+,]", row["messages"]) if "cut" not in word)
    return (
        f"hdir-{row['calendar_year']}",
        row["deadline"],
        row["period_from"],
        row["period_to"],
        re.sub(r"-[12]$", "", row["report_type"]),
        AUDIENCES[row["audience"]],
        row["submission_no"],
        modules,
        row["period_text_in_source"].replace(" ", ""),
    )
