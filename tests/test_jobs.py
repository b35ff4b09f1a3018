"""The jobs that schedules and sensors start, each run whole on a small extract; and what the status says after them."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from conftest import ROOT
from guarded import PERIOD, UNIT, Delivery, delivery
from test_receipts import receipt

from pipelines.definitions import build
from pipelines.ledger.book import SqlLedger, ledger_of
from pipelines.partitions import partition_key
from pipelines.runner import instance
from pipelines.scheduling.status import status
from pipelines.settings import Settings, load_settings
from schemas.records import Key
from schemas.submission_states import State

KEY = Key(period=PERIOD, unit=UNIT)
NOW = dt.datetime(2020, 4, 1, 12, tzinfo=dt.UTC)


@dataclass
class House:
    """One home, and the jobs over it."""

    settings: Settings
    dagster: dg.DagsterInstance

    def run(self, job: str, extract: Path | None = None) -> Any:  # noqa: ANN401 - Dagster's result
        made = build(self.settings, clock=lambda: NOW).resolve_job_def(job)
        key = None if job == "recheck" else partition_key(PERIOD, UNIT)
        config: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        if extract:
            config["resources"] = {"workbench": {"config": {"extract": str(extract)}}}
        return made.execute_in_process(
            instance=self.dagster, run_config=config, raise_on_error=False, partition_key=key
        )

    @property
    def ledger(self) -> SqlLedger:
        return ledger_of(self.settings.home)

    @property
    def states(self) -> list[State]:
        """Of the submissions of the partition, oldest first."""
        return [row.state for row in self.ledger.submissions(KEY)]

    @property
    def left(self) -> list[str]:
        """Folders of the outbox."""
        return sorted(path.name for path in (self.settings.home / "outbox" / PERIOD / UNIT).glob("*"))


def corrected(extract: Delivery, folder: Path) -> Path:
    """The same report with one departure an hour later, extracted a day later."""
    before = extract.tables["episodes"]["utDatoTid"][0]
    extract.put("episodes", "utDatoTid", 0, before[:-5] + "59:00")
    written = extract.write(folder)
    told = written / "extract.toml"
    told.write_text(told.read_text(encoding="utf-8").replace("2021-01-04", "2021-01-05"), encoding="utf-8")
    return written


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Prepared, submitted, resubmitted: the jobs one after the other. Each test looks at what they left."""
    home = tmp_path_factory.mktemp("jobs") / "var"
    with instance(home) as dagster:
        yield House(load_settings(config=ROOT / "npr.toml", home=home), dagster)


def test_the_jobs_one_after_the_other(house: House, tmp_path: Path) -> None:
    first = delivery()
    extract = first.write(tmp_path / "first")

    # submit before anything is prepared: refused, nothing left
    assert not house.run("submit").success
    assert house.left == []

    assert house.run("prepare", extract).success
    assert (house.states, house.left) == ([State.PREPARED], [])

    assert house.run("submit").success
    assert (house.states, house.left) == ([State.HANDED_OVER], ["0001"])
    assert house.run("submit").success  # again: nothing leaves twice
    assert house.left == ["0001"]

    before = sorted((path, path.read_bytes()) for path in (house.settings.home / "submissions").rglob("*.eml"))
    second = corrected(first, tmp_path / "second")
    assert house.run("resubmit", second).success
    assert (house.states, house.left) == ([State.HANDED_OVER, State.PREPARED], ["0001"])
    after = {path: path.read_bytes() for path in (house.settings.home / "submissions").rglob("*.eml")}
    assert all(after[path] == content for path, content in before)  # the first is what it was
    assert house.run("submit").success
    assert house.left == ["0001", "0002"]

    events = house.ledger.audit()
    assert house.run("revalidate").success
    assert house.states == [State.HANDED_OVER, State.HANDED_OVER]
    assert house.left == ["0001", "0002"]
    assert house.ledger.audit() == events  # it changes nothing but its own list


def test_recheck_takes_answers_in(house: House) -> None:
    inbox = house.settings.home / "inbox"
    inbox.mkdir()
    (part, *_) = house.ledger.parts(KEY, 2)
    for name, content in (("answer.xml", receipt(original=f"<Id>{part.msg_id}</Id>")), ("nothing.bin", b"?")):
        (inbox / name).write_bytes(content)
        os.utime(inbox / name, (0, 0))  # at rest
    result = house.run("recheck")
    assert result.success
    (event,) = result.get_asset_materialization_events()
    assert event.materialization.metadata["answers"].value == "1 taken, 1 waiting"
    assert house.ledger.part(part.msg_id).state is State.RECEIVED
    assert [path.name for path in inbox.iterdir()] == ["nothing.bin"]


def test_the_asset_shows_the_matrix_that_the_command_prints(house: House) -> None:
    result = house.run("recheck")
    assert result.success
    (event,) = result.get_asset_materialization_events()
    metadata = event.materialization.metadata
    cells = status(house.settings, NOW).cells
    assert cells
    assert metadata["messages by state"].value == dict(Counter(cell.state for cell in cells))
    shown = [cell for cell in cells if cell.standing == "due" or cell.colour != "green"]
    assert metadata["red"].value == any(cell.colour in ("red", "missed") for cell in shown)
    rows = [record.data for record in metadata["what needs attention"].value.records]
    mine = [
        {"colour": c.colour, "period": c.period, "submission": c.submission, "unit": c.unit, "module": c.module,
         "text": c.text, "deadline": c.deadline, "days_left": c.days_left}
        for c in shown
    ]  # fmt: skip
    assert rows == mine
    assert json.dumps(rows)
