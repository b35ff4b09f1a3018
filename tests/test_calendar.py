"""Deadlines and duties: the published rows, the corrections, the checked reader, who owes what."""

from __future__ import annotations

import csv
import re
from datetime import date
from io import StringIO
from pathlib import Path

import pytest

from schemas.deadlines import (
    DEADLINES_HEADER,
    Deadline,
    corrections,
    corrections_of,
    deadlines,
    doubts,
    insist_no_gaps,
    read_deadlines,
    readings,
    tables,
)
from schemas.errors import WrongUse
from schemas.period import Period, kinds, period_keys
from schemas.reporting import UnitKind, deadlines_for, duties, duty, modules_allowed, modules_for, owed_gaps

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
        ("2020-05-05", "2020-04-30", "tertial-1", 1),
        ("2020-05-11", "2020-04-30", "tertial-1", 1),
        ("2020-05-26", "2020-04-30", "tertial-1", 2),
        ("2020-06-03", "2020-05-31", "monthly", 1),
        ("2020-07-02", "2020-06-30", "monthly", 1),
        ("2020-08-04", "2020-07-31", "monthly", 1),
        ("2020-09-02", "2020-08-31", "tertial-2", 1),
        ("2020-09-09", "2020-08-31", "tertial-2", 1),
        ("2020-09-23", "2020-08-31", "tertial-2", 2),
        ("2020-10-02", "2020-09-30", "monthly", 1),
        ("2020-11-03", "2020-10-31", "monthly", 1),
        ("2020-12-02", "2020-11-30", "monthly", 1),
        ("2021-01-05", "2020-12-31", "annual", 1),
        ("2021-01-12", "2020-12-31", "annual", 1),
        ("2021-02-02", "2020-12-31", "annual", 2),
    ]


def test_every_error_on_the_pages_is_listed_with_its_reading_and_reason() -> None:
    found = [(row.source, row.deadline.isoformat(), row.field, row.printed, row.read_as) for row in corrections()]
    assert found == [
        ("hdir-2017", "2017-02-02", "audience", "no asterisk", "except-amk"),
        ("hdir-2017", "2017-07-04", "period_to", "31.6. 2017", "2017-06-30"),
        ("hdir-2019", "2019-02-04", "audience", "no asterisk", "except-amk"),
        ("hdir-2019", "2019-07-02", "period_to", "31.6. 2019", "2019-06-30"),
        ("hdir-2020", "2020-01-03", "repeated", "stands in the 2019 table too", "hdir-2019"),
        ("hdir-2020", "2020-01-10", "repeated", "stands in the 2019 table too", "hdir-2019"),
        ("hdir-2020", "2020-02-04", "repeated", "stands in the 2019 table too", "hdir-2019"),
        ("hdir-2020", "2020-02-04", "audience", "no asterisk", "except-amk"),
        ("hdir-2020", "2020-03-03", "period_to", "28.2. 2020", "2020-02-29"),
        ("hdir-2020", "2020-07-02", "period_to", "31.6. 2020", "2020-06-30"),
        ("hdir-2020", "2021-01-12", "label", "Årsrapport avtalespesialister 2019", "annual report of 2020"),
        ("hdir-2022", "2022-07-04", "period_to", "31.06. 2022", "2022-06-30"),
        ("hdir-2022", "2022-11-02", "modules", "ord, pak, pre, …", "ord pak pre str vtk ide"),
    ]
    assert all(len(row.reason) > 10 for row in corrections())


def test_rows_are_kept_as_printed_and_read_as_corrected() -> None:
    by_day = {(row.source, row.deadline.isoformat(), row.report): row for row in deadlines()}
    july = by_day["hdir-2020", "2020-07-02", "monthly"]
    assert (july.text_as_printed, july.period_to) == ("1.1.- 31.6. 2020", date(2020, 6, 30))
    assert "June has 30 days" in corrections_of(july)[0].reason
    assert by_day["hdir-2022", "2022-11-02", "monthly"].modules == ("ord", "pak", "pre")
    read = {(row.period, row.submission, row.late): row for row in readings()}
    assert len(read) == len(readings()) == 74
    assert read["2022-M10", 1, False].modules == read["2022-M09", 1, False].modules
    assert {row.audience for row in readings() if row.submission == 2 and row.source < "hdir-2022"} == {"except-amk"}


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
        GOOD.replace("2020-03-03", "2030-03-03").replace(",x", ",other"),
        GOOD.replace("2020-03-03", "2021-03-01").replace(",x", ",other"),
        GOOD.replace("2020-03-03", "3.3.2020").replace(",x", ",other"),
        GOOD.replace("monthly", "weekly").replace(",x", ",other"),
        GOOD.replace("monthly", "tertial-1").replace(",x", ",other"),
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


def test_the_last_day_a_deadline_can_be_is_a_year_after_its_period() -> None:
    assert len(read_deadlines(HEAD + GOOD.replace("2020-03-03", "2021-02-28"))) == 1
    with pytest.raises(WrongUse, match="2021-03-01 is more than 12 months after the period, which ends on 2020-02-29"):
        read_deadlines(HEAD + GOOD.replace("2020-03-03", "2021-03-01"))


def test_a_draft_has_one_date_for_a_submission_and_audience() -> None:
    second = GOOD.replace("2020-03-03", "2020-03-04").replace(",x", ",other")
    read_deadlines(HEAD + GOOD + second)  # of published tables the corrections say which one counts
    said = "a second date for 2020-M02, submission 1, not-stated: 2020-03-04, and above 2020-03-03"
    with pytest.raises(WrongUse, match=said):
        read_deadlines(HEAD + GOOD + second, status="proposed")


@pytest.mark.parametrize("printed", ["1.1.- 31.6. 2020", "1.1. - 30.06.2021", "1.1.- 28.2. 2020", "1.1.-31.01 2020"])
def test_a_printed_end_that_cannot_be_ours_needs_a_correction(printed: str) -> None:
    june = "2020-07-02,2020-01-01,2020-06-30,monthly,ord ide,isf-only,1,{},,hdir-2020\n"
    assert len(read_deadlines(HEAD + june.format("1.1.- 30.6. 2020"))) == 1
    with pytest.raises(WrongUse, match="no correction says why"):
        read_deadlines(HEAD + june.format(printed))


def test_the_loader_refuses_31_june_written_as_a_date() -> None:
    for wrong in ("2020-06-31", "31.6.2020", "20200630", "2020-W27-2"):
        line = f"2020-07-02,2020-01-01,{wrong},monthly,ord ide,isf-only,1,,,hdir-2020\n"
        with pytest.raises(WrongUse, match="is not a date"):
            read_deadlines(HEAD + line)


def test_a_correction_without_its_row_is_refused() -> None:
    kept = [row for row in deadlines() if row.deadline != date(2022, 7, 4)]
    assert any(row.deadline == date(2022, 7, 4) for row in corrections())
    with pytest.raises(WrongUse, match="no row of hdir-2022 is due 2022-07-04"):
        read_deadlines(HEAD + "".join(_line(row) for row in kept), corrections=corrections())


def test_a_gap_in_a_published_year_is_refused() -> None:
    whole = [row for row in deadlines() if row.source == "hdir-2020"]
    table = [table for table in tables() if table.source == "hdir-2020"]
    insist_no_gaps(whole, table)
    for lost in {(row.period, row.submission) for row in whole if row.period_to.year == 2020}:
        rest = [row for row in whole if (row.period, row.submission) != lost]
        with pytest.raises(WrongUse, match=f"hdir-2020 has no deadline for {lost[0]}, submission {lost[1]}"):
            insist_no_gaps(rest, table)
    # A cut table owes what ends before its last row, and no more.
    until_july = [row for row in whole if row.deadline < date(2020, 9, 1)]
    cut = [table[0].model_copy(update={"cut": "the copy ends in August"})]
    insist_no_gaps(until_july, cut)
    with pytest.raises(WrongUse, match="2020-M05, submission 1"):
        insist_no_gaps([row for row in until_july if row.period != "2020-M05"], cut)
    with pytest.raises(WrongUse, match="is in no"):
        insist_no_gaps(whole, tables()[:1])


TO_HOSPITALS = "2020-05-05,2020-01-01,2020-04-30,tertial-1,ord,except-avtalespesialist,1,,,x\n"
TO_SPECIALISTS = "2020-05-11,2020-01-01,2020-04-30,tertial-1,ord,only-avtalespesialist,1,,,x\n"
TO_ALL_BUT_AMK = "2020-05-26,2020-01-01,2020-04-30,tertial-1,ord,except-amk,2,,,x\n"


@pytest.mark.parametrize(
    ("table", "missing"),
    [
        (TO_HOSPITALS + TO_SPECIALISTS + TO_ALL_BUT_AMK, []),
        (
            TO_SPECIALISTS + TO_ALL_BUT_AMK,
            ["2020-T1, submission 1 of health_trust, private, amk"],
        ),
        (TO_HOSPITALS + TO_ALL_BUT_AMK, ["2020-T1, submission 1 of avtalespesialist"]),
        (TO_HOSPITALS + TO_SPECIALISTS, ["2020-T1, submission 2"]),
        ("", ["2020-T1, submission 1", "2020-T1, submission 2"]),
    ],
)
def test_each_kind_of_unit_has_a_deadline_for_what_it_owes(table: str, missing: list[str]) -> None:
    found = owed_gaps(2020, read_deadlines(HEAD + table))
    assert [str(gap) for gap in found if gap.period.key == "2020-T1"] == missing


def test_whole_published_tables_speak_to_every_kind_of_unit_and_cut_ones_until_they_end() -> None:
    missing = {table.year: [str(gap) for gap in owed_gaps(table.year, readings())] for table in tables()}
    assert missing == {
        2017: ["2017-A, submission 1 of avtalespesialist", "2017-A, submission 2"],
        2019: [],
        2020: [],
        2022: [
            "2022-M11, submission 1",
            "2022-A, submission 1",
            "2022-A, submission 2",
            "2022-K, submission 1",
            "2022-K, submission 2",
        ],
    }


def test_a_unit_that_owes_less_misses_less() -> None:
    of_amk = [str(gap) for gap in owed_gaps(2026, (), [(UnitKind.AMK, False)])]
    assert of_amk == ["2026-T1, submission 1", "2026-T2, submission 1", "2026-A, submission 1"]


def test_a_deadline_on_no_working_day_is_doubted() -> None:
    (doubt,) = doubts(deadlines())
    assert doubt == "2022-04-30 is no working day, a Saturday (2021-K, submission 1, hdir-2022)"


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
        ("2021-K", UnitKind.HEALTH_TRUST, False, ("kpp",)),
        ("2020-K", UnitKind.HEALTH_TRUST, False, ()),
        ("2021-K", UnitKind.AMK, False, ()),
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
        ("2019-A", UnitKind.AMK, ["2020-01-03"]),
        ("2020-M02", UnitKind.PRIVATE, ["2020-03-03"]),
        ("2020-M06", UnitKind.PRIVATE, []),
        ("2020-M02", UnitKind.AMK, []),
        ("2019-A", UnitKind.HEALTH_TRUST, ["2020-01-03", "2020-02-04"]),
        ("2018-A", UnitKind.AMK, ["2019-01-03"]),
        ("2021-A", UnitKind.AMK, ["2022-01-04"]),
        ("2021-A", UnitKind.AVTALESPESIALIST, ["2022-01-04", "2022-02-02"]),
        ("2021-K", UnitKind.HEALTH_TRUST, ["2022-04-30", "2022-07-04"]),
        ("2021-K", UnitKind.PRIVATE, []),
        ("2023-T1", UnitKind.HEALTH_TRUST, []),
    ],
)
def test_deadlines_of_a_unit(key: str, kind: UnitKind, days: list[str]) -> None:
    assert [row.deadline.isoformat() for row in deadlines_for(Period.parse(key), kind, isf=False)] == days


def test_years_with_a_table_are_those_that_deadlines_speak_of() -> None:
    assert max(row.period_to.year for row in deadlines()) == kinds().years.last_with_table == tables()[-1].year


def test_sources_are_explained() -> None:
    text = (ROOT / "docs/calendar.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^\| `(hdir-[0-9]{4})` \|", text, re.MULTILINE))
    assert {row.source for row in deadlines()} == explained


def test_what_may_be_reported_without_being_owed() -> None:
    for key, kind, allowed in [
        ("2020-K", UnitKind.HEALTH_TRUST, ("kpp",)),
        ("2021-K", UnitKind.PRIVATE, ("kpp",)),
        ("2021-K", UnitKind.AVTALESPESIALIST, ()),
        ("2020-M06", UnitKind.PRIVATE, ()),
        ("2020-T1", UnitKind.AMK, ALL),
    ]:
        assert modules_allowed(Period.parse(key), kind, isf=False) == allowed


def test_submissions_of_each_kind_of_unit() -> None:
    found = {
        kind.value: [duty(Period.parse(key), kind, isf=True).submissions for key in ("2021-M01", "2021-T1", "2021-K")]
        for kind in UnitKind
    }
    assert found == {
        "health_trust": [(1,), (1, 2), (1, 2)],
        "private": [(1,), (1, 2), ()],
        "avtalespesialist": [(), (1, 2), ()],
        "amk": [(), (1,), ()],
    }
    assert {entry.unit for entry in duties().reports_as} == set(UnitKind)


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


def _line(row: Deadline) -> str:
    values = (getattr(row, name) for name in DEADLINES_HEADER)
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerow(" ".join(v) if isinstance(v, tuple) else v for v in values)
    return text.getvalue()


def _their_row(row: dict[str, str]) -> tuple[object, ...]:
    modules = tuple(word for word in re.split(r"[+,]", row["messages"]) if "cut" not in word)
    return (
        f"hdir-{row['calendar_year']}",
        row["deadline"],
        row["period_from"],
        row["period_to"],
        row["report_type"],
        AUDIENCES[row["audience"]],
        row["submission_no"],
        modules,
        row["period_text_in_source"].replace(" ", ""),
    )
