"""kill -9 at named points of preparing, sending and reading answers: nothing lost, nothing twice, no doubt left.

The short form: each point of a whole run once for each channel, or as many as fit the time. ``benchmarks/
kills.py`` runs 500 histories and more. The control run shows that the count would find a duplicate.
"""

from __future__ import annotations

import errno
import os
import random
import sqlite3
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from threading import Barrier, Thread

import pytest
from conftest import cases
from kill_matrix import CHANNELS, Count, nursery, once, points_of, quick_room, random_kills
from ledgers import NOW, T1, prepared, sent
from sqlalchemy import event

from pipelines.ledger.book import ledger_of
from pipelines.ledger.owner import owner
from schemas.errors import DataRefused
from schemas.submission_states import State

pytestmark = pytest.mark.xdist_group("kill_matrix")
Run = Callable[..., int]
RACES = cases(250, 1000)


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with nursery() as made:
        yield made


@pytest.fixture
def room() -> Iterator[Path]:
    with quick_room() as made:
        yield made


@pytest.mark.parametrize("channel", CHANNELS)
def test_killed_anywhere_nothing_is_lost_or_sent_twice(run: Run, room: Path, channel: str) -> None:
    points = points_of(run, room / "whole", channel)
    assert len(set(points)) >= 30
    dice, count = random.Random(channel), Count()
    step = CHANNELS[channel].step
    for n in range(dice.randint(1, step), len(points) + 1, step):
        once(run, room / f"at-{n}", channel, [f"*#{n}"], count)
    for act in ("hand_over.before#2", "hand_over.after#1", "ledger.record.begin.uncommitted#3"):
        once(run, room / act, channel, [act], count)
    for n in range(3):
        once(run, room / f"often-{n}", channel, random_kills(dice, len(points)), count)
    assert count.killed >= len(points) // step
    assert (count.lost, count.twice, count.unresolved) == (0, 0, 0)
    assert count.in_doubt >= 2


def test_without_the_ledger_the_same_kills_send_twice(run: Run, room: Path) -> None:
    count = Count()
    for n in range(1, 4):
        once(run, room / str(n), "wire", [f"wire.arrived#{n}"], count, ledger_on=False)
    assert count.twice == 6
    assert count.lost == 0


@pytest.mark.parametrize("where", ["store", "outbox"])
def test_a_disk_that_says_no_leaves_everything_as_it_was(run: Run, room: Path, where: str) -> None:
    points = points_of(run, room / "whole", "outbox")
    number = sum(point.startswith(f"{where}.") for point in points)
    assert number > 5
    for n, error in zip(range(1, number + 1, 4), cycle([errno.ENOSPC, errno.EIO, errno.EACCES]), strict=False):
        home = room / str(n) / "home"
        home.parent.mkdir()
        assert run(home, "outbox", fail=f"{where}.*#{n}:{error}") == 1
        said = (home.parent / "said").read_text(encoding="utf-8")
        assert f"{os.strerror(error)}" in said
        assert "fix: make room" in said or "was published" in said
        assert not list((home / "tmp").iterdir())
        early = CHANNELS["outbox"].arrived(home / "receiver")  # all of it or none
        assert len(early) in {0, 3}
        assert run(home, "outbox") == 0
        arrived = CHANNELS["outbox"].arrived(home / "receiver")
        assert sorted(arrived) == sorted(part.msg_id for part in ledger_of(home).parts(T1, 1))


def test_a_full_disk_under_the_ledger_leaves_it_as_it_was(room: Path) -> None:
    home = room / "home"
    ledger = ledger_of(home)
    manifest = prepared(ledger, home)
    sent(ledger, manifest)
    pages = _pages(home)
    event.listen(ledger._database._engine, "connect", lambda link, _: link.execute(f"PRAGMA max_page_count={pages}"))
    heads = [ledger.audit_head()]

    def fill() -> None:
        for _ in range(200):
            ledger.note("test", "x" * 50, NOW, T1, detail="y" * 1000)
            heads.append(ledger.audit_head())

    with pytest.raises(DataRefused, match="database or disk is full"):
        fill()
    assert ledger.audit_head() == heads[-1]
    assert [part.state for part in ledger.parts(T1, 1)] == [State.HANDED_OVER] * 2
    assert ledger_of(home).audit_broken_at() is None


def _pages(home: Path) -> int:
    with sqlite3.connect(home / "ledger.sqlite") as link:
        number = int(link.execute("PRAGMA page_count").fetchone()[0])
    link.close()
    return number + 3


# --- two at once ------------------------------------------------------------------------------------------------------


def test_of_two_schedulers_at_once_one_submits(room: Path) -> None:
    """Races over one SQLite file, a thousand in the long form; each has a connection and a name of its own."""
    home = room / "home"
    ledgers = [ledger_of(home), ledger_of(home)]
    prepared(ledgers[0], home, modules=("ord",))
    machine = owner().rpartition("/")[0]
    gate = Barrier(2)
    won: list[list[int]] = [[], []]

    def scheduler(me: int) -> None:
        for race in range(RACES):
            gate.wait()
            if ledgers[me].claim(T1, 1, f"{machine}/{me}-{race}", NOW):
                won[me].append(race)
            gate.wait()
            ledgers[me].release(T1, 1, f"{machine}/{me}-{race}")
            gate.wait()

    threads = [Thread(target=scheduler, args=(me,)) for me in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won[0] + won[1]) == list(range(RACES))
