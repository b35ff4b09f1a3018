"""The store: numbers of submissions, rooms of processes that are gone, and what is refused."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import pytest

from pipelines.store import DiskStore
from schemas.errors import DataRefused
from schemas.records import Key, PartIds, Staged, Submission

NOW = dt.datetime(2020, 5, 5, 9, 0, tzinfo=dt.UTC)
T1, M02 = Key(period="2020-T1", unit="a"), Key(period="2020-M02", unit="a")


def _ids(first: int, parts: int) -> list[PartIds]:
    return [
        PartIds(
            module="ord", part=n + 1, lopenr=first + n, msg_id=f"id-{first + n}", gen_date="2020-05-05T09:00:00+00:00"
        )
        for n in range(parts)
    ]


def _made(store: DiskStore, key: Key, inputs: str, parts: int) -> Submission:
    begun = store.submission(key, "900000014", 2020, inputs, NOW)
    return store.keep_ids(begun, _ids(begun.first_lopenr, parts))


def test_the_same_inputs_are_the_same_submission(home: Path) -> None:
    store = DiskStore(home)
    assert _made(store, T1, "x", 3) == store.submission(T1, "900000014", 2020, "x", NOW + dt.timedelta(days=1))


def test_other_inputs_are_a_new_submission_with_numbers_never_used(home: Path) -> None:
    store = DiskStore(home)
    first, second, other = _made(store, T1, "x", 3), _made(store, T1, "y", 2), _made(store, M02, "z", 1)
    assert [s.number for s in (first, second, other)] == [1, 2, 1]
    assert [s.first_lopenr for s in (first, second, other)] == [1, 4, 6]


def test_a_run_that_died_takes_no_number_that_went_to_another(home: Path) -> None:
    store = DiskStore(home)
    died = store.submission(T1, "900000014", 2020, "x", NOW)
    other = _made(store, M02, "z", 2)
    again = store.submission(T1, "900000014", 2020, "x", NOW)
    assert (died.first_lopenr, other.first_lopenr, again.first_lopenr) == (1, 1, 3)
    assert again.number == died.number


def test_institutions_and_years_count_by_themselves(home: Path) -> None:
    store = DiskStore(home)
    _made(store, T1, "x", 3)
    assert store.submission(Key(period="2020-T1", unit="b"), "900000022", 2020, "x", NOW).first_lopenr == 1
    assert store.submission(Key(period="2021-T1", unit="a"), "900000014", 2021, "x", NOW).first_lopenr == 1


def test_nothing_is_visible_of_a_block_that_fails(home: Path) -> None:
    store = DiskStore(home)
    target = store.table("staging", "episodes", T1)

    def fail() -> None:
        with store.writing(target) as path:
            path.write_text("half", encoding="utf-8")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not target.exists()
    assert not list((home / "tmp").iterdir())


def test_sweep_leaves_the_rooms_of_the_living(home: Path) -> None:
    store = DiskStore(home)
    store.prepare()
    dead = home / "tmp" / "999999999-abc"
    dead.mkdir()
    with store.scratch() as room:
        store.sweep()
        assert room.is_dir()
    assert not dead.exists()


def test_sweep_leaves_the_rooms_of_other_machines_until_they_are_old(home: Path) -> None:
    store = DiskStore(home)
    store.prepare()
    fresh, old = (home / "tmp" / f"999999999-abc-other-{number}.hospital.example" for number in (1, 2))
    for room in (fresh, old):
        room.mkdir()
    os.utime(old, (0, 0))
    store.sweep()
    assert (fresh.exists(), old.exists()) == (True, False)


def test_a_stage_that_was_not_made_is_named_with_the_command(home: Path) -> None:
    with pytest.raises(DataRefused) as refused:
        DiskStore(home).load("staging", T1, Staged)
    assert "npr run 2020-T1 --unit a" in refused.value.fix
