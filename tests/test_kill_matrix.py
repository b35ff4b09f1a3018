"""Sending under kills, failing calls, races and forced resends: nothing lost, nothing twice, no doubt left.

Short forms over every channel; ``benchmarks/kills.py`` and ``benchmarks/faults.py`` hold the long ones. The control run
without the ledger shows that the count would find a duplicate.
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import faults
import pytest
from conftest import cases
from contests import RESULT
from kill_matrix import CHANNELS, Count, Job, matrix, nursery, quick_room, random_kills
from ledgers import NOW, T1, prepared, sent
from servers import Postgres, wanting
from sqlalchemy import event

from pipelines.ledger.book import ledger_of
from schemas.errors import DataRefused
from schemas.submission_states import State

RACES, RESENDS = cases(20, 200), cases(5, 100)
pytestmark = pytest.mark.xdist_group("kill_matrix")


@pytest.fixture(scope="module")
def library() -> Iterator[str]:
    """What makes calls fail; "" where it cannot be compiled."""
    with quick_room() as own, faults.preload(own) as made:
        yield made


@pytest.fixture(scope="module")
def job(library: str) -> Iterator[Job]:
    with nursery(library) as made:
        yield made


@pytest.fixture
def room() -> Iterator[Path]:
    with quick_room() as made:
        yield made


@pytest.mark.parametrize("channel", CHANNELS)
def test_killed_anywhere_nothing_is_lost_or_sent_twice(job: Job, room: Path, channel: str) -> None:
    with matrix(job, channel, room) as made:
        points = made.points(room / "whole")
        assert len(set(points)) >= 30
        dice, count = random.Random(channel), Count()
        step = CHANNELS[channel].step
        for n in range(dice.randint(1, step), len(points) + 1, step):
            made.once(room / f"at-{n}", [f"*#{n}"], count)
        for act in ("hand_over.before#2", "hand_over.after#1", "ledger.record.begin.uncommitted#3"):
            made.once(room / act, [act], count)
        made.once(room / "often", random_kills(dice, len(points)), count)
    assert count.killed >= len(points) // step
    assert (count.lost, count.twice, count.unresolved) == (0, 0, 0)
    assert count.in_doubt >= 2
    assert not count.by_person or channel in {"edi20", "ebxml-smtp"}


@pytest.mark.parametrize(
    ("channel", "last", "others"),
    [
        ("edi20", "edi20.last", ("edi20.request", "edi20.sent", "edi20.answered")),
        ("ebxml-smtp", "smtp.dot", ("smtp.body", "smtp.whole", "smtp.answered")),
    ],
)
def test_a_request_cut_short_is_the_one_doubt_that_needs_a_person(
    job: Job, room: Path, channel: str, last: str, others: tuple[str, ...]
) -> None:
    with matrix(job, channel, room) as made:
        for point in (last, *others):
            count = Count()
            made.once(room / point, [f"{point}#2"], count)
            assert (count.killed, count.in_doubt) == (1, 1)
            # Exim gives up a mail whose sender is gone before its answer to the final dot, when it notices in time.
            assert count.by_person in ({0, 1} if point == "smtp.whole" else {int(point == last)})
            assert (count.lost, count.twice, count.unresolved) == (0, 0, 0)


def test_without_the_ledger_the_same_kills_send_twice(job: Job, room: Path) -> None:
    """Over every channel in ``benchmarks/kills.py``."""
    count = Count()
    with matrix(job, "wire", room) as made:
        for n in range(1, 4):
            made.once(room / str(n), [f"wire.arrived#{n}"], count, ledger_on=False)
    assert count.twice == 6
    assert count.lost == 0


# --- a file system that says no ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("channel", "calls"), [("folder", 3), ("edi20", 1)])
def test_whichever_call_fails_what_was_there_is_whole(
    library: str, job: Job, room: Path, channel: str, calls: int
) -> None:
    """A few calls; every n-th of all of them, over every channel, in ``benchmarks/faults.py``."""
    if not library:
        wanting("cc")
    said, dice = faults.Said(), random.Random(channel)
    with matrix(job, channel, room) as made:
        for error in faults.KINDS:
            number = faults.calls(made, room / f"calls-{error}", error)
            assert number > 200
            for n, call in enumerate(dice.sample(range(1, number + 1), cases(calls, 10 * calls))):
                faults.failing(made, room / f"{error}-{n}", error, call, said, for_good=n % 2 == 0)
    assert said.bad == []
    assert (said.count.lost, said.count.twice, said.count.unresolved) == (0, 0, 0)
    assert said.refused >= 2 * calls


def test_a_disk_that_is_full_is_made_larger_and_all_goes_on(job: Job, room: Path) -> None:
    said = faults.Said()
    with matrix(job, "folder", room) as made:
        for size in (49_152, 131_072, 196_608):
            faults.full(made, room / str(size), size, said)
    assert said.bad == []
    assert said.refused >= 2
    assert (said.count.lost, said.count.twice, said.count.unresolved) == (0, 0, 0)


@pytest.mark.parametrize("place", ["drop", "home", "home/channels/folder"])
def test_rights_that_are_missing_are_given_and_all_goes_on(job: Job, room: Path, place: str) -> None:
    said = faults.Said()
    home, closed = room / "home", room / place
    closed.mkdir(parents=True)
    closed.chmod(0o500)
    with matrix(job, "folder", room) as made:
        code = made.run(home, act="faults.work_by_rights")
        assert code == 1, made.said(home)
        assert "Permission denied" in made.said(home) or "unable to open database file" in made.said(home)
        closed.chmod(0o700)
        assert made.run(home, act="faults.work_by_rights") == 0, made.said(home)
        faults.look(made, home, code, place, said)
    assert said.bad == []
    assert (said.count.lost, said.count.twice, said.count.unresolved) == (0, 0, 0)


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


def test_of_two_schedulers_at_once_one_submits(job: Job, room: Path) -> None:
    _insist_one_submits(job, room / "home", RACES)


def test_of_two_schedulers_over_postgresql_one_submits(job: Job, room: Path, postgres: Postgres) -> None:
    _insist_one_submits(job, room / "home", RACES // 2, url=postgres.create("races"))
    assert not (room / "home" / "ledger.sqlite").exists()


def _insist_one_submits(job: Job, home: Path, rounds: int, **given: str) -> None:
    """Two processes; a thousand rounds in ``benchmarks/kills.py``."""
    assert job(home, act="contests.race", rounds=rounds, **given) == 0, _said(home)
    found = json.loads((home.parent / RESULT).read_bytes())
    assert {found[name] for name in ("rounds", "started", "sent", "arrived", "begun")} == {rounds}
    assert found["refused"] > 0


# --- sent again, because a person says so -----------------------------------------------------------------------------


@pytest.mark.parametrize("channel", CHANNELS)
def test_forced_resends_are_byte_identical_to_the_receiver(job: Job, room: Path, channel: str) -> None:
    """A thousand in ``benchmarks/kills.py``."""
    home = room / "home"
    with matrix(job, channel, room) as made:
        assert made.run(home, act="contests.resends", times=RESENDS) == 0, made.said(home)
    found = json.loads((room / RESULT).read_bytes())
    assert (found["arrived"], found["attempts"], found["decisions"]) == (RESENDS + 1, RESENDS + 1, RESENDS)
    assert (found["forms"], found["ours"]) == (1, 1)


def _said(home: Path) -> str:
    return (home.parent / "said").read_text(encoding="utf-8")
