"""``npr status``, ``next`` and ``due`` as people and monitoring call them: exit codes, forms, what they load."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import ROOT
from prometheus_client.parser import text_string_to_metric_families

from pipelines.cli import cli
from pipelines.scheduling.agenda import agenda, asked_from, today
from pipelines.scheduling.status import coming, sentences, status
from pipelines.settings import load_settings
from schemas.sending import StateRow
from schemas.submission_states import State

# What takes longest to load and tells nothing of a calendar or a ledger.
HEAVY = ("dagster", "pandera", "polars", "numpy", "duckdb", "lxml", "xmlschema", "cryptography", "httpx", "paramiko")
LOADED = """
import sys
from pipelines.cli import cli
try:
    cli(sys.argv[1:])
except SystemExit as end:
    assert end.code == 0, end.code
print("loaded", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize("command", ["status", "next", "due"])
def test_asking_what_is_due_loads_nothing_that_it_needs_not(command: str, home: Path) -> None:
    given = ("--config", ROOT / "npr.toml", "--home", home, command)
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *map(str, given)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.splitlines()[-1].split()
    assert "sqlalchemy" in loaded  # the ledger was asked
    assert set(loaded).isdisjoint(HEAVY)


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
    told = coming(status(settings, dt.datetime(2026, 11, 26, 12, tzinfo=dt.UTC)))
    assert {one["period"] for one in told} == {"2019-A", "2020-M01", "2020-M02", "2020-M03", "2020-T1", "2020-M05"}


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
