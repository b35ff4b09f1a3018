"""Killing a process that prepares, sends and reads answers at every named point, and counting what the receiver got.

Belongs here: the way of a small submission through ledger, store and a channel, as a process does it; the count. Does
not belong here: processes (``forked``), which points and how many (``test_kill_matrix``, ``benchmarks``).

A channel joins the matrix with one entry in ``CHANNELS``: the servers it needs, its settings as they stand in
``npr.toml``, and what has arrived. What arrives must be counted by the receiver, and never by asking the channel.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import random
import re
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import edi20_server
import forked
from authority import key_of, private_file, private_pem
from channels import dressed
from forked import serve
from ledgers import NOW, T1, begun, ids, manifest_for, settings
from mail_servers import PASSWORD, USER, MailServers, running_mail
from partner import Partner
from servers import running_sshd, sshd_program, wanting

from assets.checkpoints import arm, checkpoint
from assets.dispatch import submit
from assets.ports import Channel, Run
from pipelines.channels import ebxml_smtp, edi20, folder, sftp
from pipelines.exchange import sending
from pipelines.home.store import DiskStore
from pipelines.ledger.book import ledger_of
from schemas.errors import NprError, of_system
from schemas.records import Manifest, PartIds, ShipmentOut, Submission
from schemas.sending import Answer, Presence, Receipt, SentPart, TransportState
from schemas.submission_states import OPEN, Event, State
from transforms.shipping.ebms import message_id_of
from transforms.shipping.packing import mail_id_of

World = Mapping[str, str]
"""What a process must know of the servers that run for it."""
Arrived = list[tuple[str, str]]
"""MsgId and SHA-256 of the content, each as often as it came."""
RUN_OF = sending.run_of  # what an act may put something else in the place of
WARM = (ebxml_smtp, edi20, folder, sftp)  # imported before any fork
MODULES = ("ord", "ide", "sbs")


class Wire:
    """A receiver over the network, as far as a kill can tell: a line in a file is an arrival."""

    name = "wire"

    def __init__(self, home: Path) -> None:
        self._arrivals = home.parent / "arrivals"

    def hand_over(self, part: ShipmentOut, path: Path, manifest: Manifest) -> Receipt:
        checkpoint("wire.request")
        assert manifest.submission
        with self._arrivals.open("a", encoding="utf-8") as file:
            file.write(f"{part.msg_id} {_sha256(path)}\n")
            file.flush()
            os.fsync(file.fileno())
        checkpoint("wire.arrived")
        checkpoint("wire.response")
        return Receipt(reference=f"wire-{part.msg_id}", at=NOW)

    def ask(self, part: SentPart) -> TransportState:
        checkpoint("wire.asked")
        there = part.msg_id in {msg_id for msg_id, _ in arrived_by_wire(self._arrivals.parent / "home", {})}
        checkpoint("wire.answered")
        return TransportState(presence=Presence.THERE if there else Presence.ABSENT)


def arrived_by_wire(home: Path, _: World) -> Arrived:
    path = home.parent / "arrivals"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [(line.split()[0], line.split()[1]) for line in lines]


def arrived_in_outbox(home: Path, _: World) -> Arrived:
    """All that was published; a message handler takes it away at once, so a second one is seen."""
    taken = home.parent / "taken"
    for place in (home / "outbox").glob("*/*/*"):
        taken.mkdir(parents=True, exist_ok=True)
        place.rename(taken / f"{len(list(taken.iterdir())):04}")
    whole = [Manifest.model_validate_json(path.read_bytes()) for path in taken.glob("*/manifest.json")]
    names = {part.path: part.msg_id for manifest in whole for part in manifest.shipments}
    # What becomes visible first is whole; a part that is put back later comes without a manifest.
    assert not names or set(names) == {path.name for path in (taken / "0000").glob("*.eml")}
    return [(names[path.name], _taken(path)) for path in taken.glob("*/*.eml")]


def arrived_in_folder(home: Path, _: World) -> Arrived:
    """All files of a drop folder; a message handler takes what has a manifest, so a second one is seen."""
    drop, taken = home.parent / "drop", home.parent / "taken"
    for mark in drop.glob("*.json"):
        room = taken / f"{len(list(taken.glob('*'))):04}"
        room.mkdir(parents=True)
        for path in (drop / mark.name.removesuffix(".json"), mark):
            path.rename(room / path.name)
    return [_marked(mark) for mark in taken.glob("*/*.json")]


@cache
def _marked(mark: Path) -> tuple[str, str]:
    """MsgId and content of a file that was taken away with its mark; nobody changes it again."""
    return json.loads(mark.read_bytes())["msg_id"], _sha256(mark.with_suffix(""))


def arrived_in_area(home: Path, _: World) -> Arrived:
    """All files of a file area; whoever fetches them moves them to ``taken`` at once, and a second one further on."""
    area, taken, again = (home.parent / name for name in ("area", "taken", "again"))
    for place in (taken, again):
        place.mkdir(exist_ok=True)
    for path in area.glob("[!.]*"):
        first = not (taken / path.name).exists()
        path.rename(taken / path.name if first else again / f"{len(list(again.iterdir())):04}-{path.name}")
    return [(path.stem[-36:], _taken(path)) for place in (taken, again) for path in place.iterdir()]


def arrived_by_mail(_: Path, world: World) -> Arrived:
    """All mails in the receiver's box, its message handler having acknowledged each; then it is at rest.

    The mail server puts lines before a mail and ends lines as this system does; the mail itself begins with From.
    """
    servers = _mail_servers(world)
    servers.rest()
    names = {mail_id_of(one.msg_id): one.msg_id for one in ids_of_history()}
    found: Arrived = []
    for mail in servers.mails("rehearsal"):
        content = mail[mail.index(b"From: ") :].replace(b"\n", b"\r\n")
        msg_id = names[re.search(rb"\r\nMessage-ID: <([^>]+)>", content)[1].decode()]  # type: ignore[index]
        found.append((msg_id, hashlib.sha256(content).hexdigest()))
    for msg_id in {msg_id for msg_id, _ in found}:
        servers.drop("edi", msg_id, (Path(world["acknowledgments"]) / msg_id).read_bytes())
    return found


def ids_of_history(modules: tuple[str, ...] = MODULES) -> list[PartIds]:
    """Numbers and MsgIds of the one submission that each history makes in a home of its own."""
    return ids(Submission.model_construct(key=T1, number=1, first_lopenr=1), modules)


def _mail_servers(world: World) -> MailServers:
    smtp, smtps, imap, imaps = (int(world[name]) for name in ("smtp", "smtps", "imap", "imaps"))
    return MailServers(smtp, smtps, imap, imaps, Path(world["ca"]), Path(world["boxes"]))


@cache
def _taken(path: Path) -> str:
    """The same of a file that was taken away, and that nobody changes again."""
    return _sha256(path)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def no_server(_: Path) -> Iterator[World]:
    yield {}


@contextmanager
def edi20_process(room: Path) -> Iterator[World]:
    key = private_file(room / "client.pem", private_pem(key_of("helseid")))
    with edi20_server.apart(key) as url:
        yield {"url": url, "key": str(key)}


@contextmanager
def sshd_process(_: Path) -> Iterator[World]:
    program = sshd_program()
    if program is None:
        wanting("sshd")
    else:
        with running_sshd(program) as area:
            yield {"port": str(area.port), "key": str(area.key), "host_key": area.host_key, "user": area.user}


@contextmanager
def mail_process(room: Path) -> Iterator[World]:
    """Exim and dovecot, and a receiver whose acknowledgments are made beforehand: each history has the same MsgIds."""
    partner, made = Partner(room / "partner"), room / "acknowledgments"
    made.mkdir()
    for one in ids_of_history():
        (made / one.msg_id).write_bytes(partner.acknowledgment(message_id_of(one.msg_id)))
    world = {"acknowledgments": str(made), "signing": str(partner.certificate_file())}
    world |= {"password": str(private_file(room / "password", PASSWORD.encode()))}
    with running_mail() as mail:
        yield world | {name: str(value) for name, value in vars(mail).items()}


def empty_boxes(_: Path, world: World) -> None:
    """A history begins: nothing of another one lies in the boxes."""
    servers = _mail_servers(world)
    servers.rest()
    for name in ("edi", "rehearsal"):
        servers.empty(name)


def _room_of(home: Path) -> str:
    """Name of the room of a history at the stand-in for EDI 2.0."""
    return hashlib.sha256(str(home).encode()).hexdigest()[:16]


def folder_toml(home: Path, _: World) -> str:
    return f'kind = "folder"\npath = "{home.parent}/drop"\npayload = "mail"'


def edi20_toml(home: Path, world: World) -> str:
    url = f"{world['url']}/{_room_of(home)}"
    lines = ['kind = "edi20"', f'url = "{url}"', f'token_url = "{url}/connect/token"', 'client_id = "npr-client"']
    return "\n".join([*lines, f'key = "{world["key"]}"'])


def sftp_toml(home: Path, world: World) -> str:
    for name in ("area", "taken"):
        (home.parent / name).mkdir(parents=True, exist_ok=True)
    lines = ['kind = "sftp"', 'host = "127.0.0.1"', f"port = {world['port']}"]
    lines += [f'{name} = "{world[name]}"' for name in ("user", "key", "host_key")]
    return "\n".join([*lines, f'folder = "{home.parent}/area"', f'taken = "{home.parent}/taken"'])


def mail_toml(_: Path, world: World) -> str:
    login = f'host = "localhost"\nuser = "{USER}"\npassword_file = "{world["password"]}"\nca = "{world["ca"]}"'
    lines = ['kind = "ebxml-smtp"', login, f"port = {world['smtps']}"]
    lines += ["[channels.ebxml-smtp.mailbox]", login, f"port = {world['imaps']}"]
    return "\n".join([*lines, f'[certificates]\nreceiver_signing = ["{world["signing"]}"]'])


@dataclass(frozen=True)
class Way:
    """A channel in the matrix.

    arrived: what its receiver has got, from the home of a history. toml: its settings; none for what needs none.
    servers: run while the matrix does. fresh: makes room for a history. step: every so many points are killed at in
    the short form.
    """

    arrived: Callable[[Path, World], Arrived]
    toml: Callable[[Path, World], str] | None = None
    servers: Callable[[Path], Any] = no_server
    fresh: Callable[[Path, World], None] | None = None
    step: int = 30


CHANNELS: dict[str, Way] = {
    "folder": Way(arrived_in_folder, folder_toml),
    "outbox": Way(arrived_in_outbox),
    "wire": Way(arrived_by_wire),
    "edi20": Way(lambda home, world: edi20_server.taken(world["url"], _room_of(home)), edi20_toml, edi20_process),
    "sftp": Way(arrived_in_area, sftp_toml, sshd_process),
    "ebxml-smtp": Way(arrived_by_mail, mail_toml, mail_process, empty_boxes),
}


def run_over(home: Path, channel: str, world: World) -> Run:
    """A run that sends over a channel, by the settings of that channel; its guard finds nothing."""
    toml = CHANNELS[channel].toml
    own = f'[channels.{channel}]\nprofiles = ["rehearsal"]\n{toml(home, world)}' if toml else ""
    run = replace(RUN_OF(settings(home, channels=own), T1, "rehearsal"), guard=passed)
    if channel != "wire":
        return run

    def wire(name: str = "") -> Channel:
        assert name in {"", "wire"}
        return Wire(home)

    return replace(run, channel=wire)


def work(home: Path, channel: str, world: World, *, ledger_on: bool = True) -> None:
    """Prepare, send and read the answers of one submission, as one process does it; repeating it ends the same way."""
    manifest = ready(home)
    run = run_over(home, channel, world)
    if not ledger_on:
        way, folder = run.channel(), run.store.shipments(T1, manifest.submission)
        for part in manifest.shipments:
            way.hand_over(part, folder / part.path, manifest)
        return
    submit(run, manifest.submission)
    for part in manifest.shipments:
        events = (Event.ACKNOWLEDGED, Event.APPREC_OK)
        answer = Answer(digest=part.msg_id, kind="apprec", events=events, received_at=NOW, msg_id=part.msg_id)
        run.ledger.take(answer)


def ready(home: Path, modules: tuple[str, ...] = MODULES) -> Manifest:
    """Prepare the one submission of a home; what is prepared stays as it is."""
    ledger, store = ledger_of(home), DiskStore(home)
    submission = begun(ledger)
    folder = store.shipments(T1, submission.number)
    if not (folder / "manifest.json").exists():
        with store.writing_folder(folder) as room:
            submission = ledger.keep_ids(submission, submission.ids or ids(submission, modules))
            dressed(manifest_for(submission, room), store, folder=room)
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    ledger.seal(manifest, NOW)
    return manifest


def resend_open(home: Path, channel: str, world: World) -> None:
    """A person has asked the receiver, who has nothing of what is in doubt, and has it sent again."""
    run = run_over(home, channel, world)
    with patch.object(sending, "run_of", lambda *_: run):
        for part in run.ledger.parts_in(OPEN):
            sending.resend(settings(home), part.msg_id, "Kari Nordmann", "the receiver has nothing of it")


def digests(part: ShipmentOut) -> tuple[str, str]:
    """What may arrive of a part: the packed mail, or its head message."""
    return part.sha256, part.document_sha256


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
    """Do the work once, so that all imports are there, and then an act for each line of the input."""
    with quick_room() as room:
        work(room / "home", "outbox", {})
    serve(_child)


def _child(home: str, act: str, kill: str, fail: str, **given: Any) -> int:  # noqa: ANN401 - of the act
    points, said = (notes_of(Path(home)) / name for name in ("points", "said"))
    code = 0
    with points.open("a", encoding="utf-8") as file:

        def seen(name: str) -> None:
            file.write(name + "\n")
            file.flush()

        arm(kill=kill, fail=fail, seen=seen)
        try:
            module, _, name = act.partition(".")
            getattr(importlib.import_module(module), name)(Path(home), **given)
        except BaseException as error:  # noqa: BLE001 - the child must end here, whatever it was
            refused = error if isinstance(error, NprError) else of_system(error)  # as the command line has it
            code = refused.exit_code if refused else 70
            said.write_text(str(refused) if refused else traceback.format_exc(), encoding="utf-8")
    return code


Job = Callable[..., int]


def notes_of(home: Path) -> Path:
    """Where the processes of a history write what they say and which points they pass: never on a disk that is full."""
    return home.parent.parent if home.parent.is_mount() else home.parent


@contextmanager
def nursery(preload: str = "") -> Iterator[Job]:
    """A function that runs an act in a process of its own and returns its exit code, -9 when it was killed.

    The function takes the home, and by name: kill, fail (``assets.checkpoints``), act (module and function) and what
    the act takes besides the home. preload: a library that its processes load before all others.
    """
    with forked.nursery("import kill_matrix; kill_matrix.nurse()", preload) as made:

        def run(home: Path, *, act: str = "kill_matrix.work", kill: str = "", fail: str = "", **given: Any) -> int:  # noqa: ANN401
            return made(home=str(home), act=act, kill=kill, fail=fail, **given)

        yield run


# --- the matrix -------------------------------------------------------------------------------------------------------


@dataclass
class Count:
    """What the matrix found. in_doubt: parts, after a kill. by_person: of these, those that no asking could settle."""

    runs: int = 0
    killed: int = 0
    lost: int = 0
    twice: int = 0
    in_doubt: int = 0
    by_person: int = 0
    unresolved: int = 0
    places: Counter[str] = field(default_factory=Counter)


@dataclass
class Matrix:
    """One channel under kills."""

    job: Job
    channel: str
    world: World

    def points(self, room: Path) -> list[str]:
        """Names of the points that one undisturbed run passes, in order; a second run over it passes more of them."""
        home = room / "home"
        room.mkdir(parents=True)
        assert self.run(home) == 0, self.said(home)
        return (room / "points").read_text(encoding="utf-8").splitlines()

    def once(self, room: Path, kills: list[str], count: Count, *, ledger_on: bool = True) -> None:
        """One history: killed at each of the places, then let run to its end; what arrived is counted."""
        home = room / "home"
        room.mkdir(parents=True, exist_ok=True)
        count.runs += 1
        for kill in kills:
            code = self.run(home, kill=kill, ledger_on=ledger_on)
            count.killed += code == -9
            self.arrived(home)
            if code == -9:
                count.places[self._last(room)] += 1
            if ledger_on and (home / "ledger.sqlite").exists():
                count.in_doubt += len(ledger_of(home).parts_in(OPEN))
            if code not in {0, -9}:
                self._by_person(home, count)
        if self.run(home, ledger_on=ledger_on):
            self._by_person(home, count)
            assert self.run(home) == 0, self.said(home)
        self._count(home, count, ledger_on=ledger_on)

    def _count(self, home: Path, count: Count, *, ledger_on: bool) -> None:
        parts = ledger_of(home).parts(T1, 1)
        assert [part.lopenr for part in parts] == [1, 2, 3]
        arrived = self.arrived(home)
        times = Counter(msg_id for msg_id, _ in arrived)
        count.lost += sum(part.msg_id not in times for part in parts)
        count.twice += sum(n > 1 for n in times.values()) + len(set(times) - {part.msg_id for part in parts})
        whole = {form for part in ready(home).shipments for form in ((part.msg_id, d) for d in digests(part))}
        assert set(arrived) <= whole, "what arrives are the bytes that were prepared"
        if ledger_on:
            count.unresolved += sum(part.state is not State.RECEIVED for part in parts)
            assert ledger_of(home).audit_broken_at() is None

    def arrived(self, home: Path) -> Arrived:
        """What the receiver has got."""
        return CHANNELS[self.channel].arrived(home, self.world)

    def _by_person(self, home: Path, count: Count) -> None:
        """A process asked and could not tell, so it stopped; a person asks the receiver, and has it sent again."""
        doubtful = {part.msg_id for part in ledger_of(home).parts_in(OPEN)}
        assert doubtful, self.said(home)
        assert not doubtful & {msg_id for msg_id, _ in self.arrived(home)}, "what has arrived is found by asking"
        count.by_person += len(doubtful)
        assert self.run(home, act="kill_matrix.resend_open") == 0, self.said(home)

    def run(self, home: Path, **given: Any) -> int:  # noqa: ANN401 - of the job
        """Run an act over the channel in a process of its own."""
        fresh = CHANNELS[self.channel].fresh
        if fresh and not home.exists():
            fresh(home, self.world)
        return self.job(home, channel=self.channel, world=self.world, **given)

    @staticmethod
    def said(home: Path) -> str:
        """What the last process that was refused said."""
        return (notes_of(home) / "said").read_text(encoding="utf-8")

    @staticmethod
    def _last(room: Path) -> str:
        return (room / "points").read_text(encoding="utf-8").splitlines()[-1]


@contextmanager
def matrix(job: Job, channel: str, room: Path) -> Iterator[Matrix]:
    """A channel with its servers."""
    with CHANNELS[channel].servers(room) as world:
        yield Matrix(job, channel, world)


def random_kills(dice: random.Random, points: int) -> list[str]:
    """One to three places at which a history is killed, one after the other."""
    return [f"*#{dice.randint(1, points + 10)}" for _ in range(dice.randint(1, 3))]


def summary(count: Count) -> dict[str, Any]:
    """The figures, for a report."""
    return {**vars(count), "places": len(count.places)}
