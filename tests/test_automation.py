"""Starting a run once, and again when it was killed: the sensor over a real ledger and Dagster's records of runs."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test
from ledgers import NOW, T1, prepared, settings

from pipelines.definitions import build
from pipelines.home.store import DiskStore
from pipelines.ledger.book import AGAIN, RETRY, SqlLedger, ledger_of
from pipelines.ledger.owner import owner
from pipelines.scheduling.started import START
from pipelines.settings import Settings

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
MINUTE = dt.timedelta(minutes=1)
STARTED, FAILURE = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE


@dg.op
def refuse() -> None:
    """A stage that refuses."""
    raise dg.Failure("refused", allow_retries=False)


@dg.job
def refusing() -> None:
    """A run that ends by its own word."""
    refuse()


def of_the_dead() -> str:
    """Name of a process of this machine that is over."""
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    machine, _, here = owner().split("/")
    return f"{machine}/{int(ended.stdout)}/{here}"


def without_extracts(home: Path) -> Settings:
    """Settings of the sample whose units have no extract that is newer than what was prepared."""
    found = settings(home)
    units = {name: unit.model_copy(update={"extract": None}) for name, unit in found.config.units.items()}
    return Settings(found.config.model_copy(update={"units": units}), home, found.path)


def asked(home: Path, dagster: dg.DagsterInstance, at: dt.datetime) -> list[dg.RunRequest]:
    """What the sensor of what may be sent asks for at a time."""
    repository = build(without_extracts(home), clock=lambda: at).get_repository_def()
    context = dg.build_sensor_context(instance=dagster, repository_def=repository)
    return list(repository.get_sensor_def("ready_to_send").evaluate_tick(context).run_requests or [])


@pytest.fixture
def ledger(home: Path) -> SqlLedger:
    """One submission that may be handed over."""
    found = ledger_of(home)
    DiskStore(home).save("manifest", T1, prepared(found, home, modules=("ord", "ide", "sbs")))
    return found


def test_what_may_leave_is_asked_for_once(home: Path, ledger: SqlLedger) -> None:
    with dg.DagsterInstance.ephemeral() as dagster:
        (first,) = asked(home, dagster, NOW)
        assert (first.job_name, first.partition_key) == ("submit", "2020-T1|nordfjell")
        assert list(ledger.runners([first.tags[START]])) == [first.tags[START]]
        assert asked(home, dagster, NOW + MINUTE) == []


@pytest.mark.parametrize(
    ("case", "status", "runner", "refused", "waits"),
    [
        ("its process was killed; Dagster has not noticed", STARTED, "dead", False, RETRY),
        ("it was killed and Dagster knows", FAILURE, "", False, RETRY),
        ("it never came to a run", None, "", False, RETRY),
        ("it is at work", STARTED, "alive", False, AGAIN),
        ("it is at work on another machine", STARTED, "", False, AGAIN),
        ("it has not begun", dg.DagsterRunStatus.STARTING, "", False, AGAIN),
        ("it refused, and would refuse again", None, "alive", True, AGAIN),
    ],
)
def test_when_a_start_counts_no_more(
    home: Path,
    ledger: SqlLedger,
    case: str,
    status: dg.DagsterRunStatus | None,
    runner: str,
    refused: bool,  # noqa: FBT001 - a column of the table
    waits: dt.timedelta,
) -> None:
    with dg.DagsterInstance.ephemeral() as dagster:
        (first,) = asked(home, dagster, NOW)
        key = first.tags[START]
        ledger.take_over(key, {"dead": of_the_dead, "alive": owner}.get(runner, str)())
        run = create_run_for_test(dagster, "submit", tags=first.tags, status=status) if status else None
        if refused:
            refusing.execute_in_process(instance=dagster, tags=first.tags, raise_on_error=False, run_config=QUIET)
        assert asked(home, dagster, NOW + waits - MINUTE) == [], case
        (again,) = asked(home, dagster, NOW + waits)
        assert again.tags[START] == key
        if run and runner == "dead":
            known = dagster.get_run_by_id(run.run_id)
            assert known
            assert known.status is FAILURE  # its slot is free


def test_a_run_that_dies_each_time_is_tried_ever_more_seldom(ledger: SqlLedger) -> None:
    at, waited = NOW, []
    assert ledger.start("k", "me", at)
    for _ in range(8):
        wait = RETRY
        while not ledger.start("k", "me", at + wait):
            wait += RETRY
        at += wait
        waited.append(wait // RETRY)
    assert waited == [1, 2, 4, 8, 16, 32, 48, 48]
    assert AGAIN == 48 * RETRY


def test_a_report_whose_run_was_killed_need_not_wait_for_the_next_morning(home: Path) -> None:
    """Of what is to be made the sensor starts only what was started, or made and refused, before."""
    from pipelines.scheduling.automation import unattended  # noqa: PLC0415
    from pipelines.scheduling.scheduler import Scheduler  # noqa: PLC0415
    from transforms.scheduling.starting import Step  # noqa: PLC0415

    scheduler = Scheduler(settings(home), NOW)
    new, killed = (Step(period, "nordfjell", 1, "prepare", "x", "") for period in ("2020-T1", "2020-M05"))
    submit = Step("2020-M03", "nordfjell", 1, "submit", "x", "")
    refused = Step("2020-M02", "nordfjell", 1, "prepare", "x", "", made=True)
    assert scheduler.start(killed)
    assert unattended(scheduler, [new, killed, submit, refused]) == [killed, submit, refused]


def test_an_extract_that_comes_late_behind_a_newer_one_is_no_news() -> None:
    """Found by the simulation: a report made of it voided an approval, and a deadline was missed."""
    from pipelines.scheduling.automation import newest_of  # noqa: PLC0415
    from pipelines.scheduling.deliveries import Delivery  # noqa: PLC0415

    old, new, other = (
        Delivery(unit, Path(name), dt.datetime.fromisoformat(taken), name)
        for unit, name, taken in [
            ("a", "old", "2020-09-01T17:41"),
            ("a", "new", "2020-09-02T00:14"),
            ("b", "x", "2020-09-01"),
        ]
    )
    assert newest_of([old, new, other], [old]) == {}
    assert newest_of([old, new, other], [new, other]) == {"a": new, "b": other}
    assert newest_of([old, new], [old, new]) == {"a": new}
