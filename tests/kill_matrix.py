"""Killing a process that prepares, sends and reads answers at every named point, and counting what the receiver got.

Belongs here: the way of a small submission through ledger, store and a channel, as a process does it; the count. Does
not belong here: processes (``forked``), which points and how many (``test_kill_matrix``, ``benchmarks``).

A channel joins the matrix with one entry in ``CHANNELS``: how to make it over a folder of the receiver, and which
MsgIds have arrived there. What arrives must be counted by the receiver, and never by asking the channel.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import forked
from channels import dressed, folder_of
from forked import serve
from ledgers import NOW, T1, begun, ids, manifest_for, settings

from assets.checkpoints import arm, checkpoint
from assets.dispatch import submit
from assets.ports import Channel
from pipelines import sending
from pipelines.channels import OutboxFolder
from pipelines.ledger.book import ledger_of
from pipelines.store import DiskStore
from schemas.errors import NprError
from schemas.records import Manifest, ShipmentOut
from schemas.sending import Answer, Presence, Receipt, SentPart, TransportState
from schemas.submission_states import OPEN, Event, State

MODULES = ("ord", "ide", "sbs")


class Wire:
    """A receiver over the network, as far as a kill can tell: a line in a file is an arrival."""

    name = "wire"

    def __init__(self, folder: Path) -> None:
        self._arrivals = folder / "arrivals"

    def hand_over(self, part: ShipmentOut, path: Path, manifest: Manifest) -> Receipt:
        checkpoint("wire.request")
        assert manifest.submission
        self._arrivals.parent.mkdir(parents=True, exist_ok=True)
        with self._arrivals.open("a", encoding="utf-8") as file:
            file.write(f"{part.msg_id} {len(path.read_bytes())}\n")
            file.flush()
            os.fsync(file.fileno())
        checkpoint("wire.arrived")
        checkpoint("wire.response")
        return Receipt(reference=f"wire-{part.msg_id}", at=NOW)

    def ask(self, part: SentPart) -> TransportState:
        checkpoint("wire.asked")
        there = part.msg_id in arrived_by_wire(self._arrivals.parent)
        checkpoint("wire.answered")
        return TransportState(presence=Presence.THERE if there else Presence.ABSENT)


def arrived_by_wire(folder: Path) -> list[str]:
    path = folder / "arrivals"
    return [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def arrived_in_outbox(folder: Path) -> list[str]:
    """MsgIds of all that was published; a message handler takes it away at once, so a second one is seen."""
    home, taken = folder.parent, folder / "taken"
    for place in (home / "outbox").glob("*/*/*"):
        taken.mkdir(parents=True, exist_ok=True)
        place.rename(taken / f"{len(list(taken.iterdir())):04}")
    whole = [Manifest.model_validate_json(path.read_bytes()) for path in taken.glob("*/manifest.json")]
    names = {part.path: part.msg_id for manifest in whole for part in manifest.shipments}
    # What becomes visible first is whole; a part that is put back later comes without a manifest.
    assert not names or set(names) == {path.name for path in (taken / "0000").glob("*.eml")}
    return [names[path.name] for path in taken.glob("*/*.eml")]


@dataclass(frozen=True)
class Way:
    """A channel in the matrix. make: from the receiver's folder; arrived: MsgIds there, each as often as it came."""

    make: Callable[[DiskStore, Path], Channel]
    arrived: Callable[[Path], list[str]]
    step: int = 6  # every so many points are killed at in the short form


def arrived_in_folder(folder: Path) -> list[str]:
    """MsgIds of all files of a drop folder; a message handler takes what has a manifest, so a second one is seen."""
    drop, taken = folder.parent.parent / "drop", folder / "taken"
    for mark in drop.glob("*.json"):
        room = taken / f"{len(list(taken.glob('*'))):04}"
        room.mkdir(parents=True)
        for path in (drop / mark.name.removesuffix(".json"), mark):
            path.rename(room / path.name)
    return [json.loads(mark.read_bytes())["msg_id"] for mark in taken.glob("*/*.json")]


CHANNELS: dict[str, Way] = {
    "folder": Way(lambda store, _: folder_of(store.home, "mail")[0], arrived_in_folder, step=20),
    "outbox": Way(lambda store, _: OutboxFolder(store), arrived_in_outbox),
    "wire": Way(lambda _, folder: Wire(folder), arrived_by_wire),
}


def work(home: Path, channel: str, *, ledger_on: bool) -> None:
    """Prepare, send and read the answers of one submission, as one process does it; repeating it ends the same way."""
    ledger, store = ledger_of(home), DiskStore(home)
    submission = begun(ledger)
    folder = store.shipments(T1, submission.number)
    if not (folder / "manifest.json").exists():
        with store.writing_folder(folder) as room:
            submission = ledger.keep_ids(submission, submission.ids or ids(submission, MODULES))
            dressed(manifest_for(submission, room), store, folder=room)
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    ledger.seal(manifest, NOW)
    way = CHANNELS[channel].make(store, home / "receiver")
    if not ledger_on:
        for part in manifest.shipments:
            way.hand_over(part, folder / part.path, manifest)
        return
    run = sending.run_of(settings(home), T1, "rehearsal")

    def same(name: str = "") -> Channel:
        assert name in {"", way.name}
        return way

    submit(replace(run, channel=same, guard=passed), submission.number)
    for part in manifest.shipments:
        events = (Event.ACKNOWLEDGED, Event.APPREC_OK)
        answer = Answer(digest=part.msg_id, kind="apprec", events=events, received_at=NOW, msg_id=part.msg_id)
        ledger.take(answer)


@contextmanager
def quick_room() -> Iterator[Path]:
    """A folder in memory where there is one: what a killed process has written is in the page cache either way."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as room:
        yield Path(room)


def passed(manifest: Manifest) -> None:
    """A guard that finds nothing: these parts hold no report."""
    assert manifest.shipments


# --- processes of their own -------------------------------------------------------------------------------------------


def nurse() -> None:
    """Do the work once, so that all imports are there, and then once for each line of the input."""
    with quick_room() as room:
        work(room / "home", "outbox", ledger_on=True)
    serve(_child)


def _child(home: str, channel: str, kill: str, fail: str, *, ledger_on: bool) -> int:
    points = Path(home).parent / "points"
    said = Path(home).parent / "said"
    with points.open("a", encoding="utf-8") as file:

        def seen(name: str) -> None:
            file.write(name + "\n")
            file.flush()

        arm(kill=kill, fail=fail, seen=seen)
        try:
            work(Path(home), channel, ledger_on=ledger_on)
        except NprError as refused:
            said.write_text(str(refused), encoding="utf-8")
            return 1
        except BaseException as error:  # noqa: BLE001 - the child must end here, whatever it was
            said.write_text(repr(error), encoding="utf-8")
            return 70
    return 0


@contextmanager
def nursery() -> Iterator[Callable[..., int]]:
    """A function that runs ``work`` in a process of its own and returns its exit code, -9 when it was killed."""
    with forked.nursery("import kill_matrix; kill_matrix.nurse()") as made:

        def run(home: Path, channel: str, kill: str = "", fail: str = "", *, ledger_on: bool = True) -> int:
            return made(home=str(home), channel=channel, kill=kill, fail=fail, ledger_on=ledger_on)

        yield run


# --- the matrix -------------------------------------------------------------------------------------------------------


@dataclass
class Count:
    """What the matrix found."""

    runs: int = 0
    killed: int = 0
    lost: int = 0
    twice: int = 0
    in_doubt: int = 0
    unresolved: int = 0
    places: Counter[str] = field(default_factory=Counter)


def points_of(run: Callable[..., int], room: Path, channel: str) -> list[str]:
    """Names of the points that one undisturbed run passes, in order; a second run over it passes more of them."""
    home = room / "home"
    room.mkdir(parents=True)
    assert run(home, channel) == 0, (room / "said").read_text(encoding="utf-8")
    return (room / "points").read_text(encoding="utf-8").splitlines()


def once(
    run: Callable[..., int], room: Path, channel: str, kills: list[str], count: Count, *, ledger_on: bool = True
) -> None:
    """One history: killed at each of the places, then let run to its end; what arrived is counted."""
    home, way = room / "home", CHANNELS[channel]
    room.mkdir(parents=True)
    count.runs += 1
    for kill in kills:
        code = run(home, channel, kill, ledger_on=ledger_on)
        assert code in {0, -9}, (room / "said").read_text(encoding="utf-8")
        count.killed += code == -9
        way.arrived(home / "receiver")
        if code == -9:
            count.places[(room / "points").read_text(encoding="utf-8").splitlines()[-1]] += 1
        if ledger_on and (home / "ledger.sqlite").exists():
            count.in_doubt += len(ledger_of(home).parts_in(OPEN))
    code = run(home, channel, ledger_on=ledger_on)
    assert code == 0, (room / "said").read_text(encoding="utf-8")
    parts = ledger_of(home).parts(T1, 1)
    assert [part.lopenr for part in parts] == [1, 2, 3]
    arrived = Counter(way.arrived(home / "receiver"))
    count.lost += sum(part.msg_id not in arrived for part in parts)
    count.twice += sum(n > 1 for n in arrived.values()) + len(set(arrived) - {part.msg_id for part in parts})
    if ledger_on:
        count.unresolved += sum(part.state is not State.RECEIVED for part in parts)
        assert ledger_of(home).audit_broken_at() is None


def random_kills(dice: random.Random, points: int) -> list[str]:
    """One to three places at which a history is killed, one after the other."""
    return [f"*#{dice.randint(1, points + 10)}" for _ in range(dice.randint(1, 3))]


def summary(count: Count) -> dict[str, Any]:
    """The figures, for a report."""
    return {**vars(count), "places": len(count.places)}
