"""``npr status``, ``next`` and ``due`` as people and monitoring call them: exit codes, forms, what they load."""

from __future__ import annotations

import datetime as dt
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ledgers
import polars as pl
import pytest
from click.testing import CliRunner
from conftest import ROOT, call
from prometheus_client.parser import text_string_to_metric_families

from pipelines.cli import cli
from pipelines.commands.doctor import calendar_lines
from pipelines.home.calendar import CalendarHome
from pipelines.home.store import DiskStore
from pipelines.ledger.book import ledger_of
from pipelines.scheduling.agenda import agenda, asked_from, today, unknown
from pipelines.scheduling.hindrance import Hindrances
from pipelines.scheduling.status import Status, coming, sentences, status
from pipelines.settings import Settings, load_settings
from schemas.config import Schedule
from schemas.records import Key
from schemas.sending import StateRow
from schemas.submission_states import State
from transforms.scheduling.due import Due
from transforms.scheduling.starting import Step

# What takes longest to load and tells nothing of a calendar or a ledger.
HEAVY = ("dagster", "pandera", "polars", "numpy", "duckdb", "lxml", "xmlschema", "cryptography", "httpx", "paramiko")
LOADED = """
import sys
from pipelines.cli import cli
try:
    cli(sys.argv[1:])
except SystemExit as end:
    assert end.code in (None, 0, 1), end.code
print("loaded", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def loads(config: Path, home: Path, command: str) -> str:
    """Run a command in a process of its own that must load nothing heavy; what it printed."""
    given = ("--config", config, "--home", home, command)
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *map(str, given)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    assert "sqlalchemy" in last.split()  # the ledger was asked
    assert set(last.split()).isdisjoint(HEAVY)
    return "\n".join(lines)


@pytest.mark.parametrize("command", ["status", "next", "due"])
def test_asking_what_is_due_loads_nothing_that_it_needs_not(command: str, home: Path) -> None:
    loads(ROOT / "npr.toml", home, command)


def rehearsed(tmp_path: Path, day: str) -> Path:
    """The sample's npr.toml on another day."""
    place = told(tmp_path, "2020-01-01")
    place.write_text(f"{place.read_text(encoding='utf-8')}\n[schedule]\nrehearsal_day = {day}\n", encoding="utf-8")
    return place


def test_faults_that_stopped_a_run_block_its_report_until_it_is_made(
    tmp_path: Path, home: Path, extract: Callable[[str], Path]
) -> None:
    """Each of three episodes has a date that is none; the extract that mends them brings the report on its way."""
    config, folder = rehearsed(tmp_path, "2020-05-04"), extract("nordfjell")
    whole = (folder / "episodes.csv").read_text(encoding="utf-8")
    (folder / "episodes.csv").write_text(_with_faults(whole, "utDatoTid", 3), encoding="utf-8")

    def line() -> str:
        lines = loads(config, home, "status").splitlines()
        return next((line for line in lines if line.split()[1:4] == ["2020-T1", "1", "nordfjell"]), "done")

    assert "blocked" not in line()
    stopped = call("run", "2020-T1", "--unit", "nordfjell", "--extract", folder, home=home)
    assert stopped.code == 1, stopped.err
    faults = pl.read_parquet(next((home / "lake" / "staging").rglob("quarantine/**/data.parquet"))).height
    assert faults >= 3
    assert f"blocked by {faults} findings" in line()
    (folder / "episodes.csv").write_text(whole, encoding="utf-8")
    made = call("run", "2020-T1", "--unit", "nordfjell", "--extract", folder, home=home)
    assert made.code == 0, made.err
    assert line() == "done"


def _with_faults(text: str, column: str, rows: int) -> str:
    lines = [line.split(";") for line in text.splitlines()]
    place = lines[0].index(column)
    for line in lines[1 : rows + 1]:
        line[place] = "no day"
    return "\n".join(map(";".join, lines)) + "\n"


def test_a_look_at_what_waits_for_approval_needs_no_frames(home: Path, tmp_path: Path) -> None:
    """The gates read figures that were kept, and an earlier submission to compare them with."""
    ledger, file = ledger_of(home), tmp_path / "npr.toml"
    text = told(tmp_path, "2020-01-01").read_text(encoding="utf-8")
    text = re.sub(r"(?m)^extract = .*$", "", text.replace('profile = "rehearsal"', 'profile = "production"'))
    file.write_text(text, encoding="utf-8")  # and without an extract, which would be newer than what is prepared
    ledgers.sent(ledger, ledgers.prepared(ledger, home, ledgers.M02, profile="production"))
    year = Key(period="2020-A", unit="nordfjell")
    manifest = ledgers.prepared(ledger, home, year, modules=("ord", "ide", "sbs"), profile="production")
    DiskStore(home).save("manifest", year, manifest)
    row = next(row for row in loads(file, home, "status").splitlines() if "2020-A" in row and "nordfjell" in row)
    assert "waiting for approval" in row


@pytest.mark.parametrize(
    ("profile", "named", "day"),
    [
        ("rehearsal", "rehearsal_day = 2020-05-04", "2020-05-04"),
        ("rehearsal", "", "2026-11-26"),
        ("validation", "rehearsal_day = 2020-05-04", "2026-11-26"),
        ("production", "rehearsal_day = 2020-05-04", "2026-11-26"),
    ],
)
def test_only_a_rehearsal_may_say_which_day_it_is(profile: str, named: str, day: str, tmp_path: Path) -> None:
    file = tmp_path / "npr.toml"
    file.write_text(f"{(ROOT / 'npr.toml').read_text()}\n[schedule]\n{named}\n")
    settings = load_settings(config=file, home=tmp_path, profile=profile)
    assert str(today(settings, dt.datetime(2026, 11, 25, 23, 30, tzinfo=dt.UTC))) == day  # half past midnight in Norway


def test_next_goes_by_the_rehearsed_day(tmp_path: Path) -> None:
    file = tmp_path / "npr.toml"
    file.write_text(f"{(ROOT / 'npr.toml').read_text()}\n[schedule]\nrehearsal_day = 2020-05-04\n")
    settings = load_settings(config=file, home=tmp_path)
    found = status(settings, dt.datetime(2026, 11, 26, 12, tzinfo=dt.UTC))
    told = coming(found, settings.config.schedule)
    assert {one["period"] for one in told} == {"2019-A", "2020-M01", "2020-M02", "2020-M03", "2020-T1", "2020-M05"}


AHEAD = Due(
    period="2020-A",
    unit="hospital",
    modules=("ord",),
    submission=1,
    deadline=dt.date(2021, 1, 5),
    opens=dt.date(2021, 1, 1),
    send_by=dt.date(2021, 1, 4),
    status="confirmed",
    days_left=5,
    standing="ahead",
    state="",
    colour="green",
    held_by="",
    next_step="",
)
NEW_YEARS_EVE = dt.datetime(2020, 12, 31, 12, tzinfo=dt.UTC)
PREPARE = Step("2020-T1", "hospital", 1, "prepare", "abc", "it opened on 2020-05-01")
SUBMIT = replace(PREPARE, what="submit", why="it is approved and nothing stands in its way")
AGAIN = replace(PREPARE, made=True, why="an earlier run of it did not end")


def said(schedule: Schedule, due: list[Due], steps: list[Step]) -> str:
    (row,) = coming(Status(due, steps, [], NEW_YEARS_EVE, NEW_YEARS_EVE.date()), schedule)
    return row["why"]


@pytest.mark.parametrize(
    ("step", "active", "inactive"),
    [
        (
            PREPARE,
            "it runs at the latest at 07:30 Norwegian time",
            (
                "at 07:30 Norwegian time if its schedule is switched on in Dagster's pages ([schedule] active is "
                "false), or by hand: npr run PERIOD --unit UNIT"
            ),
        ),
        (
            SUBMIT,
            "it runs within a minute",
            (
                "within a minute if sensor ready_to_send is switched on in Dagster's pages ([schedule] active is "
                "false), or by hand: npr submit PERIOD --unit UNIT --to PROFILE"
            ),
        ),
        (
            AGAIN,
            "it runs within a minute",
            (
                "within a minute if sensor ready_to_send is switched on in Dagster's pages ([schedule] active is "
                "false), or by hand: npr run PERIOD --unit UNIT"
            ),
        ),
    ],
)
def test_next_says_when_and_promises_nothing_of_schedules_that_are_off(step: Step, active: str, inactive: str) -> None:
    assert said(Schedule(active=True, at="07:30"), [], [step]).endswith(active)
    assert said(Schedule(active=False, at="07:30"), [], [step]).endswith(inactive)


def test_what_lies_ahead_is_prepared_only_when_its_deadline_is_confirmed() -> None:
    schedule = Schedule(active=True, at="07:30")
    assert said(schedule, [AHEAD], []) == (
        "opens on 2021-01-01, is to be sent by 2021-01-04 and is due on 2021-01-05; "
        "from then on it is prepared when there is an extract, at the latest at 07:30 Norwegian time"
    )
    assert said(schedule, [replace(AHEAD, status="proposed")], []) == (
        "opens on 2021-01-01, is to be sent by 2021-01-04 and is due on 2021-01-05; "
        "that deadline is only proposed, and nothing is prepared until npr calendar confirm 2020 --by NAME"
    )


@pytest.mark.parametrize(
    ("handed_over", "day", "begin"),
    [
        ("", "2023-01-01", "2023-01-01"),  # a machine that begins
        ("2023-01-02", "2023-05-01", "2023-01-01"),  # it began this year, with the year before
        ("2022-12-31", "2023-01-01", "2022-01-01"),  # what it owes since then is not forgotten
        ("2022-12-31", "2023-12-31", "2022-01-01"),
        ("2020-05-04", "2023-01-01", "2022-01-01"),
    ],
)
def test_what_is_owed_at_new_year_is_not_forgotten(handed_over: str, day: str, begin: str) -> None:
    at = dt.datetime.fromisoformat(f"{handed_over}T23:30:00+01:00") if handed_over else None
    now = dt.datetime(2023, 1, 1, tzinfo=dt.UTC)
    row = StateRow(
        period="2022-T2", unit="nordfjell", module="ord", submission=1, profile="production",
        state=State.HANDED_OVER, at=now, handed_over_at=at, silent=0,
    )  # fmt: skip
    assert str(asked_from(dt.date.fromisoformat(day), [row])) == begin


def test_the_cost_report_that_was_missed_is_still_red_in_january(home: Path) -> None:
    """2021-K is held by no later report; before, it was green at New Year."""
    row = StateRow(
        period="2021-T1", unit="nordfjell", module="ord", submission=1, profile="rehearsal", state=State.HANDED_OVER,
        at=dt.datetime(2021, 5, 3, tzinfo=dt.UTC), handed_over_at=dt.datetime(2021, 5, 3, tzinfo=dt.UTC), silent=0,
    )  # fmt: skip
    found = {
        (one.period, one.unit): one.standing
        for one in agenda(load_settings(config=ROOT / "npr.toml", home=home), [row], row.at, on=dt.date(2023, 1, 1))
    }
    assert found["2021-K", "nordfjell"] == "due"
    assert ("2021-K", "sorvik") not in found


@pytest.mark.parametrize(
    ("rows", "lines"),
    [
        ("", []),
        ("M01 a 1 x", ["2020-M01 of a: x."]),
        ("M01 a 1 x|M01 b 1 x", ["2020-M01 of a, b: x."]),
        ("M01 a 1 x|M01 b 1 x|M02 a 1 x|M02 b 1 x", ["2020-M01, 2020-M02 of a, b: x."]),
        ("M01 a 1 x|M01 b 1 y|M02 a 1 x|M02 b 1 y", ["2020-M01, 2020-M02 of a: x.", "2020-M01, 2020-M02 of b: y."]),
        ("T1 a 2 x|M01 a 1 x", ["2020-T1 (submission 2), 2020-M01 of a: x."]),
        ("M01 a 1 x|M01 b 1 x|M01 c 1 x|M01 d 1 x", ["2020-M01 of a, b, c, d: x."]),
        ("M01 a 1 x|M01 b 1 x|M01 c 1 x|M01 d 1 x|M01 e 1 x", ["2020-M01 of a, b, c and 2 more units: x."]),
    ],
)
def test_what_has_the_same_reason_shares_a_sentence(rows: str, lines: list[str]) -> None:
    names = ("period", "unit", "submission", "why")
    given = [dict(zip(names, row.split(), strict=True)) for row in rows.split("|") if row]
    assert sentences([row | {"period": f"2020-{row['period']}"} for row in given]) == lines


@pytest.mark.parametrize(
    ("profile", "needs"), [("production", "figures"), ("validation", "figures"), ("rehearsal", "")]
)
def test_figures_that_nobody_confirmed_are_no_findings(profile: str, needs: str, tmp_path: Path, home: Path) -> None:
    settings = ledgers.settings(home, profile)
    ledger = ledger_of(home)
    submission = ledgers.numbered(ledger, profile=profile)
    manifest = ledgers.manifest_for(submission, tmp_path / "made", profile)  # nothing dropped, and no figures kept
    found, why = Hindrances(settings, ledger, ledgers.NOW).of(submission.key, manifest)
    assert found == needs
    assert ("figures" in why) is bool(needs)


def told(tmp_path: Path, since: str) -> Path:
    """The sample's npr.toml, asking about deadlines from a day on."""
    text = (ROOT / "npr.toml").read_text(encoding="utf-8").replace("isf = true", f"isf = true\nreports_since = {since}")
    place = tmp_path / "npr.toml"
    place.write_text(text.replace('extract = "data', f'extract = "{ROOT}/data'), encoding="utf-8")
    return place


def ask(config: Path, home: Path, *args: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["--config", str(config), "--home", str(home), *args])
    return result.exit_code, result.stdout


@pytest.mark.parametrize("form", ["text", "json", "prometheus"])
def test_the_exit_code_is_one_when_something_is_red_or_missed(form: str, tmp_path: Path, home: Path) -> None:
    code, _ = ask(told(tmp_path, "2020-01-01"), home, "status", "--format", form)
    assert code == 1  # nothing was sent of years whose deadlines are over
    code, _ = ask(told(tmp_path, "2999-01-01"), home, "status", "--format", form)
    assert code == 0


def settings_of(config: Path, home: Path, profile: str) -> Settings:
    return load_settings(config=config, home=home, profile=profile)


NO_2027 = "there are no periods of 2027 yet: install a later version, which has them"


@pytest.mark.parametrize(
    ("day", "since", "drafted", "lines"),
    [
        # no table: what the two hospitals of the sample owe of the year, and what falls due in it of the year before
        ("2026-11-26", "2026-01-01", (), ["17 deadlines of 2026 are in no table: npr calendar propose 2026",
                                          "4 deadlines of 2025 are in no table: npr calendar propose 2025"]),
        ("2026-11-26", "2026-01-01", (2025, 2026), []),
        # years without periods: the annual report of the last one is still owed
        ("2027-01-02", "2027-01-01", (2026,), [NO_2027]),
        ("2027-01-02", "2027-01-01", (), [NO_2027, "4 deadlines of 2026 are in no table: npr calendar propose 2026"]),
        # units that report here only later
        ("2026-11-26", "2999-01-01", (), []),
        # a published year
        ("2020-05-06", "2020-01-01", (), []),
    ],
)  # fmt: skip
def test_what_units_owe_and_no_calendar_says(
    day: str, since: str, drafted: tuple[int, ...], lines: list[str], tmp_path: Path, home: Path
) -> None:
    for year in drafted:
        CalendarHome(home).propose(year)
    config = told(tmp_path, since)
    for profile in ("rehearsal", "validation", "production"):
        found = unknown(settings_of(config, home, profile), dt.date.fromisoformat(day))
        assert list(found.lines) == lines
        assert found.red is bool(lines and profile != "rehearsal")
        assert bool(found.deadlines) is bool(lines)


def test_a_draft_that_speaks_to_others_alone_leaves_the_deadline_unknown(tmp_path: Path, home: Path) -> None:
    config = told(tmp_path, "2026-01-01")
    for year in (2025, 2026):
        CalendarHome(home).propose(year)
    path = home / "calendar/2026.csv"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    (first,) = [line for line in lines if ",tertial-1," in line and ",1,," in line]
    narrowed = first.replace(first.split(",")[5], "only-avtalespesialist")
    path.write_text("".join(lines).replace(first, narrowed), encoding="utf-8")
    found = unknown(settings_of(config, home, "production"), dt.date(2026, 11, 26))
    assert found.lines == (
        "1 deadline of 2026 is in no table and not in the draft: correct NPR_HOME/calendar/2026.csv",
    )
    assert found.red


@pytest.mark.parametrize("form", ["text", "json", "prometheus"])
@pytest.mark.parametrize(("profile", "code"), [("rehearsal", 0), ("validation", 1), ("production", 1)])
def test_monitoring_is_not_green_when_nothing_is_known(
    form: str, profile: str, code: int, tmp_path: Path, home: Path
) -> None:
    config = told(tmp_path, "2026-01-01")  # a year without a table
    args = ["--config", str(config), "--home", str(home), "--profile", profile]
    result = CliRunner().invoke(cli, [*args, "status", "--format", form])
    assert result.exit_code == code, result.stderr
    assert "in no table: npr calendar propose" in result.stderr or "there are no periods of" in result.stderr
    if form == "text":
        assert "nothing that the calendar knows of is due" in result.stdout
    if form == "prometheus":
        samples = {
            sample.name: sample.value
            for family in text_string_to_metric_families(result.stdout)
            for sample in family.samples
        }
        assert samples["npr_calendar_unknown"] > 0
        assert samples["npr_status_red"] == code


@pytest.mark.parametrize(("profile", "state"), [("rehearsal", "warning"), ("production", "wrong")])
def test_the_doctor_says_that_deadlines_are_unknown(profile: str, state: str, tmp_path: Path, home: Path) -> None:
    settings = settings_of(told(tmp_path, "2026-01-01"), home, profile)
    day = dt.datetime(2026, 11, 26, 12, tzinfo=dt.UTC)
    lines = list(calendar_lines(settings, day))
    assert [line["state"] for line in lines] == [state, state]
    assert lines[0]["fix"] == "npr calendar propose 2026"
    for year in (2025, 2026):
        CalendarHome(home).propose(year)
    assert [line["state"] for line in calendar_lines(settings, day)] == ["ok"]
    (home / "calendar/2026.csv").write_text("no calendar", encoding="utf-8")
    assert [line["state"] for line in calendar_lines(settings, day)] == ["wrong"]


def test_exit_code_and_matrix_are_of_the_units_asked_about(tmp_path: Path, home: Path) -> None:
    config = told(tmp_path, "2020-01-01")
    text = config.read_text(encoding="utf-8").replace("reports_since = 2020-01-01", "reports_since = 2999-01-01", 1)
    config.write_text(text, encoding="utf-8")
    assert ask(config, home, "status", "--unit", "nordfjell") == (
        0,
        "nothing is due, and nothing that was sent needs attention\n",
    )
    code, out = ask(config, home, "status", "--unit", "sorvik", "--json")
    assert code == 1
    assert {cell["unit"] for cell in json.loads(out)} == {"sorvik"}


def test_monitoring_reads_the_counts_that_people_read(tmp_path: Path, home: Path) -> None:
    config = told(tmp_path, "2020-01-01")
    _, text = ask(config, home, "status", "--format", "prometheus")
    cells = json.loads(ask(config, home, "status", "--json")[1])
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    counted = {
        (sample.labels["unit"], sample.labels["state"], sample.labels["colour"]): sample.value
        for sample in samples
        if sample.name == "npr_report_messages"
    }
    shown = [cell for cell in cells if cell["standing"] != "ahead"]
    assert counted == Counter((cell["unit"], cell["state"], cell["colour"]) for cell in shown)
    assert [sample.value for sample in samples if sample.name == "npr_status_red"] == [1]


def test_a_unit_nobody_knows_is_refused(home: Path) -> None:
    for command in ("status", "next", "due"):
        code, _ = ask(ROOT / "npr.toml", home, command, "--unit", "nowhere")
        assert code == 2
