"""kill -9 at named points of preparing, sending and reading answers: nothing lost, nothing twice, no doubt left.

The short form: each point of a whole run once for each channel, or as many as fit the time. ``benchmarks/
kill_matrix.py`` runs 500 histories and more. The control run shows that the count would find a duplicate.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kill_matrix import CHANNELS, Count, nursery, once, points_of, random_kills
from ledgers import T1

from pipelines.ledger.book import ledger_of

pytestmark = pytest.mark.xdist_group("kill_matrix")
Run = Callable[..., int]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with nursery() as made:
        yield made


@pytest.mark.parametrize("channel", CHANNELS)
def test_killed_anywhere_nothing_is_lost_or_sent_twice(run: Run, tmp_path: Path, channel: str) -> None:
    points = points_of(run, tmp_path / "whole", channel)
    assert len(set(points)) >= 30
    dice, count = random.Random(channel), Count()
    first = dice.randint(1, 3)
    for n in range(first, len(points) + 1, 3):
        once(run, tmp_path / f"at-{n}", channel, [f"*#{n}"], count)
    for n in range(5):
        once(run, tmp_path / f"often-{n}", channel, random_kills(dice, len(points)), count)
    assert count.killed >= len(points) // 3
    assert (count.lost, count.twice, count.unresolved) == (0, 0, 0)
    assert count.in_doubt > 0


def test_without_the_ledger_the_same_kills_send_twice(run: Run, tmp_path: Path) -> None:
    count = Count()
    for n in range(1, 4):
        once(run, tmp_path / str(n), "wire", [f"wire.arrived#{n}"], count, ledger_on=False)
    assert count.twice == 6
    assert count.lost == 0


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("where", ["store", "outbox"])
def test_a_disk_that_says_no_leaves_everything_as_it_was(run: Run, tmp_path: Path, error: int, where: str) -> None:
    points = points_of(run, tmp_path / "whole", "outbox")
    number = sum(point.startswith(f"{where}.") for point in points)
    assert number > 5
    count = Count()
    for n in range(1, number + 1, 3):
        room = tmp_path / str(n)
        room.mkdir()
        assert run(room / "home", "outbox", fail=f"{where}.*#{n}:{error}") == 1
        said = (room / "said").read_text(encoding="utf-8")
        assert "cannot be written: " in said or "could not be put into the outbox: " in said
        assert "fix: make room" in said
        assert not list((room / "home" / "tmp").iterdir())
        assert run(room / "home", "outbox") == 0
        arrived = CHANNELS["outbox"].arrived(room / "home" / "receiver")
        assert sorted(arrived) == sorted(part.msg_id for part in ledger_of(room / "home").parts(T1, 1))
        count.runs += 1
    assert count.runs >= 2
