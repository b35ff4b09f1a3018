"""What each channel really puts out: split to the byte at its own limit, and taken apart by programs that are not ours.

One finished report is packed for every kind of channel and form. The limit is set to the very size of its largest part;
one byte less makes two parts, one more leaves it whole. Then the parts go through the real channel.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from authority import key_of, private_file, private_pem
from conftest import Finished
from edi20_server import Room, Server, running
from joserfc.jwk import RSAKey
from ledgers import config
from servers import Area, running_sshd, sshd_program, wanting
from strangers import Keys, body_of_bare, body_of_document, document_of_mail, needs_tools, sha256

from assets.dispatch import submit
from assets.lake import current
from assets.limits import size_limit
from assets.parts import Bench, Work
from assets.ports import Options, Run
from assets.shipments import parties_of, shipments
from pipelines.channels import channel_of
from pipelines.home.store import DiskStore
from pipelines.settings import Settings
from pipelines.workbench import DiskWorkbench
from schemas.config import Config
from schemas.errors import DataRefused, WrongUse
from schemas.records import Manifest, MessageSet, ShipmentOut
from transforms.shipping.packing import SIGNATURE_ROOM
from transforms.shipping.split import Part

pytestmark = [pytest.mark.xdist_group("main_job"), needs_tools]
UNIT, PERIOD = "sorvik", "2020-T1"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running(RSAKey.import_key(private_pem(key_of("helseid")))) as made:
        yield made


@pytest.fixture(scope="module")
def area() -> Iterator[Area]:
    program = sshd_program()
    if program is None:
        wanting("sshd")
        return
    with running_sshd(program) as made:
        yield made


def _area_settings(area: Area, folder: Path) -> dict[str, Any]:
    given = {"host": "127.0.0.1", "port": area.port, "user": area.user, "folder": str(folder)}
    return given | {"key": area.key, "host_key": area.host_key}


@dataclass(frozen=True)
class Case:
    """A kind of channel and a form. limit: the setting that bounds the finished thing; empty: --limit-bytes."""

    kind: str
    given: dict[str, Any] = field(default_factory=dict)
    gzip: bool = False
    content: str = "inline"
    limit: str = ""


CASES = {
    "outbox": Case("outbox"),
    "outbox, gzip of a container": Case("outbox", gzip=True, content="base64"),
    "folder, mail": Case("folder", {"payload": "mail"}, content="base64"),
    "folder, head message": Case("folder", {"payload": "head"}),
    "folder, head message, mail with gzip": Case("folder", {"payload": "head"}, gzip=True),
    "folder, bare": Case("folder", {"payload": "bare"}),
    "folder, bare, out of a container": Case("folder", {"payload": "bare"}, content="base64"),
    "sftp": Case("sftp", limit="file_bytes"),
    "sftp, gzip": Case("sftp", gzip=True, limit="file_bytes"),
    "edi20 version 3": Case("edi20", {"version": 3}, limit="body_bytes"),
    "edi20 version 2": Case("edi20", {"version": 2}, limit="body_bytes"),
    "edi20 version 2, gzip": Case("edi20", {"version": 2}, gzip=True, limit="body_bytes"),
}


class Ids:
    """Message ids in place of random ones, the same for each packing of a case: gzip makes of others another length."""

    def __init__(self) -> None:
        self.case, self.made = "", 0

    def restart(self, case: str = "") -> None:
        self.case, self.made = case or self.case, 0

    def uuid4(self) -> uuid.UUID:
        self.made += 1
        return uuid.uuid5(uuid.NAMESPACE_URL, f"{self.case} {self.made}")


class Desk:
    """A copy of the finished run up to its fragments, to pack and send anew."""

    def __init__(self, finished: Finished, folder: Path, server: Server, area: Area) -> None:
        self.home = folder / "var"
        gone = shutil.ignore_patterns("outbox*", "submissions", "ledger.*", "documents", "dagster*")
        shutil.copytree(finished.home, self.home, ignore=gone)
        self.folder, self.server, self.area, self.ids = folder, server, area, Ids()
        self.now = dt.datetime.now(dt.UTC).replace(microsecond=0)
        self.keys = Keys.of_rehearsal(self.home)
        self.client = private_file(self.home / "client.pem", private_pem(key_of("helseid")))
        run = self._opened(config())
        self.parties = run.receiver(), run.signer()  # reading a key checks its primes, which takes a third of a second

    def run(self, case: Case, limit: int, place: str = "out") -> Run:
        """The partition with one channel of a limit."""
        return self.opened(self.config(case, limit, place), 0 if case.limit else limit)

    def config(self, case: Case, limit: int, place: str = "out") -> Config:
        room = self.folder / place
        url = self.server.url(place)
        kinds: dict[str, dict[str, Any]] = {
            "outbox": {},
            "folder": {"path": room},
            "sftp": _area_settings(self.area, room),
            "edi20": {"url": url, "token_url": f"{url}/connect/token", "client_id": "npr-client", "key": self.client},
        }
        channel = {"kind": case.kind, "profiles": ["rehearsal"], **kinds[case.kind], **case.given}
        given = config().model_dump() | {"channels": {"out": channel | ({case.limit: limit} if case.limit else {})}}
        form = {"reference": "a test", "content": case.content}
        given["shipping"] = given["shipping"] | {"gzip": case.gzip, "form": form}
        return Config.model_validate(given)

    def opened(self, given: Config, limit: int) -> Run:
        """The partition under settings, and a limit on mails."""
        (receiver, certificate), signer = self.parties
        form = given.shipping.form
        assert form is not None
        agreed = receiver.form.agreed(form.model_dump(exclude={"reference"}, exclude_none=True), form.reference)
        receiver = receiver.model_copy(update={"form": agreed})
        return dataclasses.replace(
            self._opened(given),
            options=Options(limit_bytes=limit or None),
            now=lambda: self.now,
            receiver=lambda: (receiver, certificate),
            signer=lambda: signer,
        )

    def _opened(self, given: Config) -> Run:
        return DiskWorkbench(Settings(given, self.home, Path("npr.toml")), Options()).open(f"{PERIOD}|{UNIT}")

    def planned(self, run: Run) -> tuple[Work, list[Part]]:
        """Where the parts of the activity would end."""
        made = current(run, "messages", MessageSet)
        self.ids.restart()
        submission = run.ledger.submission(run.key, "rehearsal", run.unit, run.period.year, "a plan", run.now())
        bench = Bench(run, parties_of(run), size_limit(run), (self.folder, None), submission)
        (module,) = (one for one in made.modules if one.schema_use.module == "ord")
        work = Work(bench, run.registry.as_recorded(module.schema_use))
        return work, [part for part, _payload in work.plan()]


@pytest.fixture(scope="module")
def desk(finished: Finished, tmp_path_factory: pytest.TempPathFactory, server: Server, area: Area) -> Desk:
    return Desk(finished, tmp_path_factory.mktemp("outputs"), server, area)


def _size(case: Case, work: Work, part: Part) -> int:
    """Bytes of the finished thing that the limit of a case is about."""
    if case.kind != "edi20":
        return part.packed_bytes
    (request,) = work.limits.others
    return request.size_of(part.document_bytes)


@pytest.mark.parametrize("name", CASES)
def test_a_channel_puts_out_what_fits_to_the_byte_and_strangers_read_it(
    desk: Desk, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, place = CASES[name], name.replace(" ", "-").replace(",", "")
    monkeypatch.setattr("assets.parts.uuid", desk.ids)
    desk.ids.restart(name)
    (desk.folder / place).mkdir()
    work, (whole,) = desk.planned(desk.run(case, 10_000_000, place))
    limit = _size(case, work, whole)
    for more, parts in ((-1, 2), (0, 1), (1, 1)):
        work, planned = desk.planned(desk.run(case, limit + more, place))
        assert len(planned) == parts
        assert all(_size(case, work, part) <= limit + more for part in planned)

    run = desk.run(case, limit, place)
    desk.ids.restart()
    manifest = shipments(run)
    room = desk.server.rooms[place]
    room.limit = limit
    channel = channel_of(run.config, UNIT, DiskStore(desk.home))
    folder = run.store.shipments(run.key, manifest.submission)
    receipts = [channel.hand_over(part, folder / part.path, manifest).reference for part in manifest.shipments]
    ours = manifest.shipments[0]
    assert ours.module == "ord"
    finished = room.lengths[0] if case.kind == "edi20" else (folder / ours.path).stat().st_size
    assert finished == limit
    for number, (part, receipt) in enumerate(zip(manifest.shipments, receipts, strict=True)):
        assert sha256(_body(desk, case, part, receipt, (room, number), tmp_path)) == part.body_sha256
    _nothing_else_came(case, room, manifest)


def _body(desk: Desk, case: Case, part: ShipmentOut, receipt: str, arrived: tuple[Room, int], room: Path) -> bytes:
    """The Melding as it came out, by strangers."""
    payload = case.given.get("payload", "mail")
    if case.kind == "edi20":
        content = arrived[0].arrived[arrived[1]][1]
    elif payload != "mail":
        content = Path(receipt).read_bytes()
    else:
        content = document_of_mail(Path(receipt), desk.keys, room / "taken")
    if payload == "bare":
        return body_of_bare(content)
    if payload == "head" or case.kind == "edi20":
        assert sha256(content) == part.document_sha256
    return body_of_document(content)


def _nothing_else_came(case: Case, room: Room, manifest: Manifest) -> None:
    assert len(room.arrived) == (len(manifest.shipments) if case.kind == "edi20" else 0)
    assert not any(refused.startswith("413") for refused in room.refused)


def test_a_patient_above_the_limit_goes_by_the_channel_for_such(desk: Desk, tmp_path: Path) -> None:
    case = Case("outbox")
    work, (whole,) = desk.planned(desk.run(case, 10_000_000))
    sizes = np.diff(work.rendered.ends, prepend=0)
    largest = int(sizes.argmax())
    assert np.sort(sizes)[-2] < sizes[largest] - 100
    limit = work.limits.mail.size_of(work.shell_bytes + 1 + int(sizes[largest])) - 100
    given = desk.config(case, limit)
    (tmp_path / "stor").mkdir()
    stor = {
        "kind": "sftp",
        "profiles": ["rehearsal"],
        "only_large": True,
        **_area_settings(desk.area, tmp_path / "stor"),
    }
    both = Config.model_validate(given.model_dump() | {"channels": given.model_dump()["channels"] | {"stor": stor}})

    with pytest.raises(DataRefused, match=r"ord: one patient alone makes a mail of \d+ bytes") as refused:
        shipments(desk.opened(given, limit))
    staged = pl.scan_parquet(work.bench.run.store.table("staging", "patients", work.bench.run.key))
    him = staged.filter(pl.col("_patient") == int(work.rendered.patients[largest]))
    row, key = him.select("_row", "pasientNr").collect().row(0)
    assert refused.value.where.startswith("patient ~")
    assert refused.value.where.endswith(f"patients.csv: row {row}")
    assert key not in str(refused.value)
    assert "only_large" in refused.value.fix

    run = dataclasses.replace(desk.opened(both, limit), guard=lambda _manifest: None)
    manifest = shipments(run)
    large = [part for part in manifest.shipments if part.large]
    assert [part.patients for part in large] == [1]
    assert large[0].packed_bytes > limit
    assert sum(part.patients for part in manifest.shipments if part.module == "ord") == whole.last_exclusive
    submit(run, manifest.submission)
    gone = {part.path: part.channel for part in run.ledger.parts(run.key, manifest.submission)}
    assert gone == {part.path: "stor" if part.large else "out" for part in manifest.shipments}
    (file,) = (tmp_path / "stor").iterdir()
    body = body_of_document(document_of_mail(file, desk.keys, tmp_path / "taken"))
    assert sha256(body) == large[0].body_sha256
    outbox = desk.home / "outbox" / PERIOD / UNIT / f"{manifest.submission:04}"
    assert {path.name for path in outbox.glob("*.eml")} == {part.path for part in manifest.shipments if not part.large}


def test_limits_by_who_signs_and_what_carries(desk: Desk) -> None:
    """A handler that signs needs room in the mail; a file area takes files as they are, however large."""
    for case, limit, room in ((Case("outbox"), 51_200_000, SIGNATURE_ROOM), (CASES["sftp"], 51_200_001, 0)):
        work, _parts = desk.planned(dataclasses.replace(desk.run(case, limit), signer=lambda: None))
        assert work.limits.mail.most == limit - room
        assert work.limits.large == 0
    with pytest.raises(WrongUse, match="above what Norsk helsenett carries"):
        desk.planned(desk.run(Case("outbox"), 51_200_001))
    with pytest.raises(WrongUse, match="no documented word for gzip"):
        desk.planned(desk.run(Case("edi20", {"version": 3}, gzip=True, limit="body_bytes"), 100_000))
