"""The store: nothing half to be seen, rooms of processes that are gone, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipelines.home.store import DiskStore
from schemas.errors import DataRefused
from schemas.records import Key, Staged

T1 = Key(period="2020-T1", unit="a")


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
