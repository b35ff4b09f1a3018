"""The channel to a file area against a real OpenSSH server: whole files, pinned key, doubt settled by listing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from channels import dressed, way_of
from ledgers import T1, prepared
from servers import Area, running_sshd, sshd_program, wanting

from assets.checkpoints import arm
from assets.ports import InDoubt, NotHandedOver
from pipelines.channels.sftp import Sftp
from pipelines.home.store import DiskStore
from pipelines.ledger.book import ledger_of
from schemas.config import SftpSettings
from schemas.errors import WrongUse
from schemas.sending import Presence

pytestmark = pytest.mark.xdist_group("sftp")
SSHD = sshd_program()


@pytest.fixture(scope="module")
def area() -> Iterator[Area]:
    if SSHD is None:
        wanting("sshd")
        return
    with running_sshd(SSHD) as made:
        yield made


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Bench:
    def __init__(self, home: Path, area: Area) -> None:
        self.home, self.area = home, area
        self.place, self.taken = home.parent / "area", home.parent / "taken"
        self.place.mkdir()
        self.taken.mkdir()
        self.ledger = ledger_of(home)
        self.manifest = dressed(prepared(self.ledger, home), DiskStore(home))
        self.file = self.manifest.shipments[0]
        self.path = DiskStore(home).shipments(T1, 1) / self.file.path
        self.part = self.ledger.part(self.file.msg_id)

    def channel(self, **changes: Any) -> Sftp:  # noqa: ANN401
        given = {
            "kind": "sftp",
            "host": "127.0.0.1",
            "port": self.area.port,
            "user": self.area.user,
        }
        given |= {"key": self.area.key, "host_key": self.area.host_key, "folder": str(self.place)}
        return Sftp(way_of(self.home, "area"), SftpSettings.model_validate({**given, **changes}))

    def send(self, channel: Sftp) -> str:
        return channel.hand_over(self.file, self.path, self.manifest).reference


@pytest.fixture
def bench(home: Path, area: Area) -> Bench:
    return Bench(home, area)


def test_a_file_appears_whole_and_again_as_it_was(bench: Bench) -> None:
    channel = bench.channel()
    assert channel.ask(bench.part).presence is Presence.ABSENT
    seen: list[list[str]] = []
    arm(seen=lambda point: seen.append(_names(bench.place)) if point == "sftp.rename" else None)
    try:
        name = Path(bench.send(channel))
    finally:
        arm()
    assert seen == [[f".{name.name}.part"]]
    for _ in range(2):
        assert name.read_bytes() == bench.path.read_bytes()
        assert _names(bench.place) == [name.name]
        assert channel.ask(bench.part).presence is Presence.THERE
        bench.send(channel)
    name.unlink()
    assert bench.channel().ask(bench.part).presence is Presence.THERE


def test_the_servers_key_is_pinned_and_ours_is_private(bench: Bench, tmp_path: Path) -> None:
    assert "the pinned one" in bench.channel().look()
    with pytest.raises(NotHandedOver, match="another key than the one that is pinned") as refused:
        bench.send(bench.channel(host_key=bench.area.other))
    assert not refused.value.retryable
    open_to_all = tmp_path / "key"
    open_to_all.write_bytes(bench.area.key.read_bytes())
    open_to_all.chmod(0o644)
    with pytest.raises(WrongUse, match="others may read it"):
        bench.channel(key=open_to_all).look()
    with pytest.raises(NotHandedOver) as away:
        bench.send(bench.channel(port=9))
    assert away.value.retryable
    assert _names(bench.place) == []


@pytest.mark.parametrize(
    ("point", "fetched", "presence"),
    [
        ("sftp.uploaded", False, Presence.ABSENT),
        ("sftp.rename", False, Presence.ABSENT),
        ("sftp.renamed", False, Presence.THERE),
        ("sftp.renamed", True, Presence.THERE),
    ],
)
def test_a_broken_transfer_is_settled_by_listing(
    bench: Bench, point: str, presence: Presence, *, fetched: bool
) -> None:
    channel = bench.channel(taken=str(bench.taken))
    arm(fail=f"{point}#1:104")  # connection reset
    try:
        with pytest.raises(InDoubt if point == "sftp.renamed" else NotHandedOver):
            bench.send(channel)
    finally:
        arm()
    if fetched:
        for path in bench.place.iterdir():
            path.rename(bench.taken / path.name)
        assert bench.channel().ask(bench.part).presence is Presence.UNKNOWN
    assert bench.channel(taken=str(bench.taken)).ask(bench.part).presence is presence


def test_bytes_that_did_not_arrive_whole_get_no_name(bench: Bench) -> None:
    bench.path.write_bytes(bench.path.read_bytes() + b"!")
    with pytest.raises(NotHandedOver, match="did not arrive whole"):
        bench.send(bench.channel())
    assert [name for name in _names(bench.place) if not name.startswith(".")] == []
