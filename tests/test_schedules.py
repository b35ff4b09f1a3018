"""Schedules and sensors in Dagster's own loops: pausing, time zone, catching up, the drop folder, what is under way."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from conftest import ROOT
from daemon import Daemon, running
from ledgers import NOW, T1, prepared, sent
from ledgers import settings as sample_settings

from pipelines.home.store import DiskStore
from pipelines.ledger.book import ledger_of
from pipelines.scheduling import deliveries
from pipelines.settings import Settings
from schemas.config import Drop, Notify, Schedule
from transforms.scheduling.due import OSLO

MONTHLY, YEARLY = "monthly_reports", "tertial_and_annual_reports"
HALF_MINUTE = dt.timedelta(seconds=30)


def settings(home: Path, *, active: bool = False) -> Settings:
    """The sample, extracts from a drop folder alone. active: all schedules and sensors run."""
    found = sample_settings(home)
    units = {name: unit.model_copy(update={"extract": None}) for name, unit in found.config.units.items()}
    given = {"units": units, "drop": Drop(folder=home.parent / "drop"), "schedule": Schedule(active=active)}
    return Settings(found.config.model_copy(update=given), home, found.path)


def noon(month: int, day: int) -> dt.datetime:
    return dt.datetime(2020, month, day, 12, tzinfo=dt.UTC)


def deliver(home: Path, taken: dt.datetime, unit: str = "sorvik", name: str = "first", rows: str = "a\n1\n") -> Path:
    """A delivery taken at that time, and at rest since January."""
    folder = home.parent / "drop" / unit / name
    folder.mkdir(parents=True)
    (folder / "episodes.csv").write_text(rows, encoding="utf-8")
    (folder / "extract.toml").write_text(
        f'source_system = "x"\nenvironment = "test"\nreporting_unit = "{unit}"\n'
        f"extracted_at = {taken.replace(tzinfo=None).isoformat()}\n"
        '[files.episodes]\npath = "episodes.csv"\nrows = 1\n',
        encoding="utf-8",
    )
    for file in folder.iterdir():
        os.utime(file, (noon(1, 31).timestamp(),) * 2)
    return folder


def asked(runs: list[dg.DagsterRun]) -> list[tuple[str, str]]:
    """Job and partition of runs."""
    return [(run.job_name, run.tags["dagster/partition"]) for run in runs]


def extract_of(run: dg.DagsterRun) -> Path:
    """The delivery that a run is made of."""
    config: Any = run.run_config
    return Path(config["resources"]["workbench"]["config"]["extract"])


def reason(daemon: Daemon, sensor: str) -> str:
    """Why a sensor's last tick started nothing."""
    return daemon.last(sensor).skip_reason or ""


def test_each_schedule_is_paused_by_itself(home: Path) -> None:
    deliver(home, noon(5, 3))
    with running(settings(home, active=True)) as daemon:
        daemon.schedules(noon(3, 1))
        daemon.pause(MONTHLY)
        found = asked(daemon.schedules(noon(3, 2)))
        assert ("prepare", "2019-A|sorvik") in found
        assert not [one for one in found if "-M" in one[1]]
        daemon.resume(MONTHLY)
        daemon.pause(YEARLY)
        assert asked(daemon.schedules(noon(3, 3))) == [("prepare", "2020-M02|sorvik")]
        assert daemon.schedules(noon(5, 4)) == []  # 2020-T1 is due
        daemon.resume(YEARLY)
        assert ("prepare", "2020-T1|sorvik") in asked(daemon.schedules(noon(5, 5)))


def test_ticks_are_of_norwegian_time_in_winter_and_summer(home: Path) -> None:
    with running(settings(home, active=True)) as daemon:
        for day in (noon(3, 27), noon(3, 28), noon(3, 30)):  # summer time began on the 29th
            daemon.schedules(day)
        ticks = daemon.ticks(MONTHLY)
        assert [tick.astimezone(OSLO).hour for tick in ticks] == [6] * len(ticks)
        assert {tick.hour for tick in ticks} == {5, 4}


def test_after_a_week_without_a_daemon_each_report_is_asked_for_once(home: Path) -> None:
    deliver(home, noon(3, 2))
    with running(settings(home, active=True)) as daemon:
        daemon.schedules(noon(3, 1))
    with running(settings(home, active=True)) as daemon:  # the machine comes back
        back = asked(daemon.schedules(noon(3, 10)))
        assert len(daemon.ticks(MONTHLY)) == 1  # Dagster makes up for one tick alone, so it must ask for everything
        assert sorted(back) == [("prepare", "2019-A|sorvik"), ("prepare", "2020-M02|sorvik")]
        assert daemon.schedules(noon(3, 10) + HALF_MINUTE) == []


def test_a_second_submission_is_marked_as_one(home: Path) -> None:
    given = settings(home, active=True)
    ledger = ledger_of(home)
    manifest = prepared(ledger, home, modules=("ord", "ide", "sbs"))
    DiskStore(home).save("manifest", T1, manifest)
    sent(ledger, manifest, NOW)
    deliver(home, noon(5, 24), "nordfjell")
    with running(given) as daemon:
        daemon.schedules(noon(5, 24))
        found = [run for run in daemon.schedules(noon(5, 25)) if run.tags["dagster/partition"] == "2020-T1|nordfjell"]
        assert [(run.job_name, run.tags["npr/what"]) for run in found] == [("prepare", "resubmit")]


def test_a_complete_delivery_is_taken_at_the_second_look_and_once(home: Path) -> None:
    now = noon(3, 2)
    folder = deliver(home, now)
    with running(settings(home)) as daemon:
        daemon.watch("new_extracts")
        assert daemon.sensors(now) == []
        assert "sorvik/first: complete; it is looked at once more" in reason(daemon, "new_extracts")
        (folder / "episodes.csv").write_text("a\n1\n2\n", encoding="utf-8")  # still being written
        now += HALF_MINUTE
        assert daemon.sensors(now) == []
        now += HALF_MINUTE
        found = daemon.sensors(now)
        assert ("prepare", "2020-M02|sorvik") in asked(found)
        assert {extract_of(run) for run in found} == {folder}
        for _ in range(2):
            now += HALF_MINUTE
            assert daemon.sensors(now) == []
        deliver(home, now, name="second", rows="a\n3\n")
        assert daemon.sensors(now + HALF_MINUTE) == []
        again = daemon.sensors(now + 2 * HALF_MINUTE)
        assert ("prepare", "2020-M02|sorvik") in asked(again)
        assert {extract_of(run).name for run in again} == {"second"}
        assert daemon.sensors(now + dt.timedelta(hours=13)) == []  # when the starts themselves count no more


def test_deliveries_of_two_units_are_two_though_their_files_look_the_same(home: Path) -> None:
    first, second = (deliver(home, noon(3, 2), unit=unit) for unit in ("sorvik", "nordfjell"))
    for folder in (first, second):
        text = (folder / "extract.toml").read_text(encoding="utf-8").ljust(300)
        (folder / "extract.toml").write_text(text, encoding="utf-8")
        os.utime(folder / "extract.toml", (noon(1, 31).timestamp(),) * 2)
    found = [one for one in deliveries.dropped(settings(home)) if isinstance(one, deliveries.Delivery)]
    assert len({one.print for one in found}) == 2


def test_files_changed_in_place_are_a_new_delivery(home: Path) -> None:
    now = noon(3, 2)
    folder = deliver(home, now)
    with running(settings(home)) as daemon:
        daemon.watch("new_extracts")
        daemon.sensors(now)
        assert daemon.sensors(now + HALF_MINUTE)
        (folder / "episodes.csv").write_text("a\n4\n", encoding="utf-8")
        assert daemon.sensors(now + 2 * HALF_MINUTE) == []
        assert ("prepare", "2020-M02|sorvik") in asked(daemon.sensors(now + 3 * HALF_MINUTE))


def other_unit(folder: Path) -> None:
    there = folder.parent.parent / "nordfjell"
    there.mkdir()
    folder.rename(there / "first")


def outside(folder: Path) -> None:
    text = (folder / "extract.toml").read_text(encoding="utf-8")
    (folder / "episodes.csv").rename(folder.parent / "episodes.csv")
    (folder / "extract.toml").write_text(text.replace('"episodes.csv"', '"../episodes.csv"'), encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda folder: (folder / "extract.toml").unlink(), "no extract.toml"),
        (lambda folder: (folder / "episodes.csv").unlink(), "a file that extract.toml names is not there"),
        (lambda folder: (folder / "extract.toml").write_text("files = "), "not TOML"),
        (lambda folder: (folder / "extract.toml").write_text("a = 1"), "not as agreed"),
        (other_unit, "extract.toml is of another unit"),
        (outside, "extract.toml names a file outside the folder"),
    ],
)
def test_what_is_no_delivery_says_why(home: Path, spoil: Callable[[Path], object], why: str) -> None:
    spoil(deliver(home, noon(3, 2)))
    (found,) = deliveries.dropped(settings(home))
    assert isinstance(found, deliveries.Incomplete)
    assert found.why == why
    assert deliveries.look([found], {found.name: "x"}) == ([], {}, [f"{found.name}: {why}"])


def test_folders_that_are_nobodys_are_left_alone(home: Path) -> None:
    folder = deliver(home, noon(3, 2))
    folder.rename(folder.with_name(".first"))
    deliver(home, noon(3, 2), unit="elsewhere")
    assert list(deliveries.dropped(settings(home))) == []


def test_what_is_under_way_is_asked_about_often_and_then_once_an_hour(home: Path) -> None:
    ledger = ledger_of(home)
    minute = dt.timedelta(minutes=1)
    with running(settings(home)) as daemon:
        daemon.watch("running_submissions")
        assert [run.job_name for run in daemon.sensors(NOW)] == ["recheck"]  # the first look
        assert daemon.sensors(NOW + 5 * minute) == []
        assert reason(daemon, "running_submissions").endswith("nothing is under way, and no answer can have come")
        sent(ledger, prepared(ledger, home, modules=("ord", "ide", "sbs")), NOW)
        asked = [at for at in (10, 15, 70, 80, 120, 130, 140, 190) if daemon.sensors(NOW + at * minute)]
        assert asked == [10, 15, 70, 130, 190]


def test_an_answer_in_the_folder_is_looked_at_though_nothing_is_under_way(home: Path) -> None:
    hour = dt.timedelta(hours=1)
    with running(settings(home)) as daemon:
        daemon.watch("running_submissions")
        assert [run.job_name for run in daemon.sensors(NOW)] == ["recheck"]  # the first look
        assert daemon.sensors(NOW + 2 * hour) == []
        (home / "inbox").mkdir(parents=True)
        (home / "inbox" / "answer.xml").write_text("<a/>", encoding="utf-8")
        assert [run.job_name for run in daemon.sensors(NOW + 3 * hour)] == ["recheck"]


def test_a_notice_that_could_not_be_sent_is_tried_again(home: Path) -> None:
    (home / "told.json").parent.mkdir()
    (home / "told.json").write_text('{"webhook": "", "mail": "x"}', encoding="utf-8")
    given = settings(home)
    notify = Notify(webhook="http://127.0.0.1:1/")
    given = Settings(given.config.model_copy(update={"notify": notify}), home, given.path)
    with running(given) as daemon:
        daemon.watch("running_submissions")
        for look in range(3):
            assert [run.job_name for run in daemon.sensors(NOW + look * 10 * HALF_MINUTE)] == ["recheck"]


RACER = """
import datetime as dt, sys
from pathlib import Path
from pipelines.ledger.book import ledger_of
home, me = Path(sys.argv[1]), sys.argv[2]
ledger, now = ledger_of(home), dt.datetime(2020, 5, 5, 6, tzinfo=dt.UTC)
print("ready", flush=True)
sys.stdin.readline()
print(*(n for n in range(40) if ledger.start(f"report {n}", me, now)))
"""


def test_of_two_schedulers_at_once_each_start_goes_to_one(home: Path) -> None:
    ledger_of(home)
    command = [sys.executable, "-c", RACER, str(home)]
    with contextlib.ExitStack() as stack:
        racers = [
            stack.enter_context(
                subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
            )
            for name in ("one", "other")
        ]
        for racer in racers:
            assert racer.stdout
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin
            racer.stdin.write("go\n")
            racer.stdin.flush()
        taken = [sorted(map(int, racer.communicate()[0].split())) for racer in racers]
    assert sorted(chain(*taken)) == list(range(40))


def test_of_threads_at_once_each_start_goes_to_one(home: Path) -> None:
    ledger_of(home)
    together = threading.Barrier(4)

    def race(name: int) -> list[int]:
        ledger = ledger_of(home)
        together.wait()
        return [n for n in range(20) if ledger.start(f"report {n}", str(name), NOW)]

    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(race, range(4)))
    assert sorted(chain(*taken)) == list(range(20))
