"""Several workers give what one process gives, also when one of them dies at work."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from conftest import call
from deployment import finished, kill_at_work, several
from servers import Postgres, Redis

from pipelines.workers import BACKEND, BROKER

pytestmark = pytest.mark.xdist_group("servers")

# Several units at once, 12 partitions in all: benchmarks/celery.py.
UNIT, PERIODS = "sorvik", ("2020-M01", "2020-M02")


def test_workers_give_the_same_messages_and_a_killed_one_loses_nothing(
    postgres: Postgres, redis: Redis, tmp_path: Path
) -> None:
    expected = [call("run", period, "--unit", UNIT, "--json", home=tmp_path / "single").json for period in PERIODS]
    workers = several(tmp_path / "several", postgres, redis)
    with workers.worker("first") as first, workers.worker("second") as second:
        driver = workers.drive(UNIT, PERIODS)
        killed = kill_at_work(workers.home, (first, second))
        assert (first, second)[killed].wait(10) == -9
        with workers.worker("again"):  # as systemd does; a worker that begins looks for what others left
            found = finished(driver)
        assert (first, second)[1 - killed].poll() is None
    for name in ("period", "messages", "rows", "findings"):
        assert [one[name] for one in found] == [one[name] for one in expected]
    _insist_storage(workers.home, workers.environment)


def _insist_storage(home: Path, environment: dict[str, str]) -> None:
    """Runs are in PostgreSQL and not beside it, and no address has been kept anywhere."""
    with psycopg.connect(environment["NPR_DAGSTER_URL"]) as db:
        runs = db.execute("SELECT status, run_body FROM runs").fetchall()
    assert [status for status, _ in runs] == ["SUCCESS"] * len(PERIODS)
    assert not [path for path in (home / "dagster").rglob("*.db") if path.is_file()]
    secrets = [environment[name] for name in (BROKER, BACKEND, "NPR_DAGSTER_URL")]
    kept = [body for _, body in runs]
    kept += [path.read_bytes().decode(errors="replace") for path in (home / "dagster").rglob("*") if path.is_file()]
    assert not [secret for secret in secrets for text in kept if secret in text]


def test_a_broker_that_is_not_named_or_not_there_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPR_EXECUTOR", "celery")
    monkeypatch.delenv(BROKER, raising=False)
    outcome = call("run", "2020-M01", "--unit", "sorvik", home=home)
    assert outcome.code == 2
    assert f"{BROKER} and {BACKEND} not set" in outcome.err
    assert call("worker", home=home).code == 2
    monkeypatch.setenv(BROKER, "redis://:secret-word@127.0.0.1:9/0")
    monkeypatch.setenv(BACKEND, "redis://127.0.0.1:9/1")
    outcome = call("run", "2020-M01", "--unit", "sorvik", home=home)
    assert outcome.code == 1
    assert "cannot be reached" in outcome.err
    assert "secret-word" not in outcome.err
