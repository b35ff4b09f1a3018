"""``npr calendar``: published rows as printed, drafts for years without a table, and who vouches for them."""

from __future__ import annotations

import csv
import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Outcome, call

from pipelines.home.calendar import CalendarHome
from schemas.deadlines import deadlines, gaps, readings, tables, together
from transforms.scheduling.proposal import back_test, propose, waits

REFERENCE = ROOT / "../shared/domain/data/calendar.csv"
YEARS = range(2017, 2023)
KEYS = ["deadline", "period", "from", "to", "kind", "modules", "audience", "submission", "note"]


def listed(home: Path, year: int) -> list[dict[str, Any]]:
    outcome = call("calendar", "--year", str(year), "--json", home=home)
    assert outcome.code == 0, outcome.err
    rows: list[dict[str, Any]] = outcome.json
    return rows


def table_of(year: int, before: int | None = None) -> list[Any]:
    """Read rows of the table of a year, or of all tables before one."""
    years = {table.source: table.year for table in tables()}
    return [row for row in readings() if (years[row.source] < before if before else years[row.source] == year)]


# What is printed


def test_every_row_of_every_table_is_listed_with_these_keys_and_no_others(home: Path) -> None:
    rows = {year: listed(home, year) for year in YEARS}
    assert {year: len(found) for year, found in rows.items()} == {
        2017: 19, 2018: 3, 2019: 21, 2020: 21, 2021: 4, 2022: 16,
    }  # fmt: skip
    assert all(list(row) == KEYS for found in rows.values() for row in found)
    ours = [
        (str(row.deadline), row.period, str(row.period_to), list(row.modules), row.audience, row.submission)
        for row in deadlines()
    ]
    told = [
        (row["deadline"], row["period"], row["to"], row["modules"], row["audience"], row["submission"])
        for table in tables()
        for row in rows[table.year]
    ]
    assert told == ours
    assert len(ours) == 77
    assert len(call("calendar", "--json", home=home).json) == 77


@pytest.mark.skipif(not REFERENCE.is_file(), reason="the reference calendar is not beside this repository")
def test_all_77_rows_of_the_reference_come_back(home: Path) -> None:
    with REFERENCE.open(encoding="utf-8", newline="") as file:
        theirs = list(csv.DictReader(file))
    assert len(theirs) == 77
    for year in sorted({int(row["calendar_year"]) for row in theirs}):
        expected = [
            (
                row["deadline"],
                row["period_from"],
                row["period_to"],
                row["report_type"],
                [word for word in re.split(r"[+,]", row["messages"]) if "cut" not in word],
                int(row["submission_no"]),
            )
            for row in theirs
            if row["calendar_year"] == str(year)
        ]
        names = ("deadline", "from", "to", "kind", "modules", "submission")
        assert [tuple(row[name] for name in names) for row in listed(home, year)] == expected


@pytest.mark.parametrize(
    ("year", "period", "submission", "said"),
    [
        (2020, "2020-M06", 1, "period_to: printed '31.6. 2020', read as 2020-06-30: June has 30 days"),
        (2020, "2020-M02", 1, "printed '28.2. 2020', read as 2020-02-29: 2020 is a leap year"),
        (2020, "2020-A", 1, "label: printed 'Årsrapport avtalespesialister 2019'"),
        (2020, "2019-A", 2, "audience: printed 'no asterisk', read as except-amk"),
        (2020, "2019-A", 2, "repeated: printed 'stands in the 2019 table too'"),
        (2022, "2021-K", 1, "2022-04-30 is no working day, a Saturday"),
        (2022, "2022-M10", 1, "the stored copy ends inside the row"),
    ],
)
def test_what_was_read_otherwise_than_printed_stands_in_the_note(
    home: Path, year: int, period: str, submission: int, said: str
) -> None:
    notes = [row["note"] for row in listed(home, year) if (row["period"], row["submission"]) == (period, submission)]
    assert any(said in note for note in notes)
    text = " ".join(call("calendar", "--year", str(year), home=home).out.split())
    assert said in text


# Drafts


@pytest.mark.parametrize(("year", "rows", "off"), [
    (2019, 21, {}),
    (2020, 18, {("2020-T1", 1, "only-avtalespesialist"): 1, ("2020-A", 2, "except-amk"): 2}),
    (2022, 16, {("2021-A", 2, "by-module"): -1, ("2021-K", 1, "not-stated"): None, ("2021-K", 2, "not-stated"): None}),
])  # fmt: skip
def test_drafts_of_years_that_were_published_afterwards(
    year: int, rows: int, off: dict[tuple[str, int, str], int | None]
) -> None:
    found = back_test(table_of(year), table_of(0, before=year))
    assert len(found) == rows
    differing = {
        (one.published.period, one.published.submission, one.published.audience): one.days
        for one in found
        if one.days != 0
    }
    assert differing == off


def test_the_pattern_behind_the_drafts() -> None:
    found = {line: sorted(set(days)) for line, days in waits(readings()).items()}
    assert found == {
        ("monthly", 1, False): [2],
        ("tertial-1", 1, False): [2],
        ("tertial-1", 1, True): [6, 7],
        ("tertial-1", 2, False): [16],
        ("tertial-2", 1, False): [2],
        ("tertial-2", 1, True): [7],
        ("tertial-2", 2, False): [17],
        ("annual", 1, False): [2],
        ("annual", 1, True): [7],
        ("annual", 2, False): [22, 23, 24],
        ("annual-kpp", 1, False): [82],
        ("annual-kpp", 2, False): [125],
    }


@pytest.mark.parametrize("year", [2018, 2021, 2022, 2023, 2024, 2025, 2026])
def test_a_draft_fills_the_year_and_repeats_nothing_published(year: int) -> None:
    past = [row for row in readings() if int(row.source[-4:]) <= year]
    drafts = propose(year, past, readings())
    assert gaps(year, together(readings(), drafts)) == []
    assert not {row.about for row in drafts} & {row.about for row in readings()}
    assert {row.status for row in drafts} == {"proposed"}
    if year == 2022:
        assert [row.period for row in drafts] == ["2022-M11", "2022-A", "2022-A", "2022-K", "2022-K"]


def confirmed(home: Path, *args: str) -> Outcome:
    return call("calendar", "confirm", "2026", *args, home=home)


def test_from_draft_to_confirmed_and_back_by_an_edit(home: Path) -> None:
    def statuses() -> set[str]:
        return {row.status for row in CalendarHome(home).deadlines() if row.period_to.year == 2026}

    assert "there is no draft: npr calendar propose 2026" in call("calendar", "--year", "2026", home=home).out
    made = call("calendar", "propose", "2026", "--json", home=home).json
    path = Path(made["file"])
    assert (path, made["status"], made["deadlines"]) == (home / "calendar/2026.csv", "proposed", 17)
    assert statuses() == {"proposed"}
    assert listed(home, 2026)[0]["note"].startswith("proposed; working day 2 after the period")

    # A person corrects a date, then vouches for the file.
    text = path.read_text(encoding="utf-8").replace("2027-02-02", "2027-02-03")
    path.write_text(text, encoding="utf-8")
    word = confirmed(home, "--by", "Kari Nordmann", "--json").json
    assert (word["status"], word["confirmed"]["by"]) == ("confirmed", "Kari Nordmann")
    kept = json.loads((home / "calendar/2026.confirmed.json").read_text(encoding="utf-8"))
    assert kept == word["confirmed"]
    assert statuses() == {"confirmed"}
    assert date(2027, 2, 3) in {row.deadline for row in CalendarHome(home).deadlines()}

    # Any edit voids it, and an edit taken back is what was confirmed.
    path.write_text(text.replace("2027-02-03", "2027-02-04"), encoding="utf-8")
    assert statuses() == {"proposed"}
    assert "was edited after Kari Nordmann confirmed it" in call("calendar", "--year", "2026", home=home).err
    path.write_text(text, encoding="utf-8")
    assert statuses() == {"confirmed"}


def test_what_a_draft_may_not_be(home: Path) -> None:
    def fails(*args: str) -> str:
        outcome = call("calendar", *args, home=home)
        assert outcome.code == 2, outcome.out
        return outcome.err

    assert "all its deadlines are published: npr calendar --year 2020" in fails("propose", "2020")
    assert "periods of 2017 to 2026; a later year comes with a new version" in fails("propose", "2031")
    assert "this version knows periods of 2017 to 2026\n" in fails("propose", "1999")
    assert "no draft for 2026" in fails("confirm", "2026", "--by", "Kari")
    call("calendar", "propose", "2026", home=home)
    assert "there is a draft for 2026" in fails("propose", "2026")
    assert "--by is the name of a person" in fails("confirm", "2026", "--by", "K")
    path = home / "calendar/2026.csv"
    good = path.read_text(encoding="utf-8")
    lines = good.splitlines(keepends=True)

    path.write_text("".join(lines[:-1]).replace("2026-06-30", "2026-06-31"), encoding="utf-8")
    said = fails("--year", "2026")
    assert "period_to '2026-06-31' is not a date" in said
    assert re.search(r"2026\.csv, line \d+", said)
    assert "npr calendar propose 2026 --again" in said

    path.write_text("".join(line for line in lines if "2026-05-31" not in line), encoding="utf-8")
    assert "no deadline for 2026-M05, submission 1" in fails("confirm", "2026", "--by", "Kari")

    path.write_text(good.replace("2026-", "2025-").replace("2027-", "2026-"), encoding="utf-8")
    assert "is no period of 2026" in fails("--year", "2026")

    assert call("calendar", "propose", "2026", "--again", home=home).code == 0
    assert path.read_text(encoding="utf-8") == good


@pytest.mark.parametrize(("year", "proposable"), [("1999", False), ("2026", True), ("2031", False)])
def test_a_year_without_a_table_is_sent_to_a_draft_only_where_there_can_be_one(
    year: str,
    proposable: bool,  # noqa: FBT001 - a column
    home: Path,
) -> None:
    said = call("calendar", "--year", year, home=home).out
    assert f"no table of deadlines was found for {year}" in said
    assert (f"npr calendar propose {year} drafts one" in said) is proposable
    assert ("this version knows periods of" in said) is not proposable
    assert (call("calendar", "propose", year, home=home).code == 0) is proposable


def test_a_draft_saved_by_a_spreadsheet(home: Path) -> None:
    call("calendar", "propose", "2026", home=home)
    path = home / "calendar/2026.csv"
    good = path.read_text(encoding="utf-8")

    path.write_text(good, encoding="utf-8-sig", newline="\r\n")
    assert call("calendar", "confirm", "2026", "--by", "Kari Nordmann", home=home).code == 0

    path.write_text(good.replace(",", ";"), encoding="utf-8-sig")
    outcome = call("calendar", "--year", "2026", home=home)
    assert outcome.code == 2
    assert "separated by semicolons; the separator must be a comma" in outcome.err
    assert "2026.csv, line 1" in outcome.err


def test_a_draft_that_forgets_one_kind_of_unit_is_not_confirmed(home: Path) -> None:
    call("calendar", "propose", "2021", home=home)
    path = home / "calendar/2021.csv"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    (hospitals,) = [line for line in lines if ",tertial-1," in line and ",except-avtalespesialist,1," in line]
    path.write_text("".join(line for line in lines if line != hospitals), encoding="utf-8")
    outcome = call("calendar", "confirm", "2021", "--by", "Kari Nordmann", home=home)
    assert outcome.code == 2
    # The row of avtalespesialister for the same submission is still there, and helps no hospital.
    assert "has no deadline for 2021-T1, submission 1 of health_trust, private, amk" in outcome.err


def test_a_published_row_takes_the_place_of_a_draft(home: Path) -> None:
    call("calendar", "propose", "2022", home=home)
    path = home / "calendar/2022.csv"
    stolen = "2022-05-02,2022-01-01,2022-04-30,tertial-1,ord ide,not-stated,1,,,mine\n"
    path.write_text(path.read_text(encoding="utf-8") + stolen, encoding="utf-8")
    rows = [row for row in CalendarHome(home).deadlines() if (row.period, row.submission) == ("2022-T1", 1)]
    assert [(row.deadline, row.status) for row in rows] == [(date(2022, 5, 3), "published")]
    assert len(listed(home, 2022)) == 16 + 5
