"""Channels towards a folder: what appears there, in which order, and what is certain after a crash."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from channels import BODY, dressed, folder_of
from ledgers import T1, prepared, settings

from assets.checkpoints import arm
from assets.ports import NotHandedOver
from pipelines.channels import channel_of
from pipelines.commands.channel_lines import channel_lines
from pipelines.home.store import DiskStore
from pipelines.ledger.book import SqlLedger, ledger_of
from schemas.config import Config
from schemas.errors import DataRefused
from schemas.sending import Presence


@pytest.fixture
def ledger(home: Path) -> SqlLedger:
    return ledger_of(home)


@pytest.mark.parametrize("payload", ["bare", "head", "mail"])
def test_a_file_appears_whole_and_its_manifest_last(home: Path, ledger: SqlLedger, payload: str) -> None:
    manifest = dressed(prepared(ledger, home), DiskStore(home))
    channel, place = folder_of(home, payload)
    file = manifest.shipments[0]
    parts = DiskStore(home).shipments(T1, 1)
    assert channel.ask(ledger.part(file.msg_id)).presence is Presence.ABSENT
    seen: list[list[str]] = []
    arm(
        seen=lambda point: seen.append(sorted(p.suffix for p in place.iterdir())) if point == "folder.renamed" else None
    )
    try:
        receipt = channel.hand_over(file, parts / file.path, manifest)
    finally:
        arm()
    name = Path(receipt.reference)
    suffix = ".eml" if payload == "mail" else ".xml"
    assert seen == [[suffix], sorted([suffix, ".json"])]
    mark = json.loads((place / f"{name.name}.json").read_bytes())
    document = (DiskStore(home).documents(T1, 1) / file.path).with_suffix(".xml").read_bytes()
    content = {"mail": (parts / file.path).read_bytes(), "head": document}.get(payload, name.read_bytes())
    assert name.read_bytes() == content
    assert name.stat().st_mode & 0o777 == 0o640
    assert (payload == "bare") == name.read_bytes().endswith(BODY)
    told = {key: mark[key] for key in ("file", "bytes", "msg_id", "message_type", "sender_her_id", "receiver_her_id")}
    assert told == {
        "file": name.name,
        "bytes": len(content),
        "msg_id": file.msg_id,
        "message_type": "NPR_ORD",
        "sender_her_id": settings(home).config.units["nordfjell"].sender.her_id,
        "receiver_her_id": "0",
    }
    assert channel.ask(ledger.part(file.msg_id)).presence is Presence.THERE
    for _ in range(2):  # a resend: the same file, or put back where the handler took it
        again = channel.hand_over(file, parts / file.path, manifest)
        assert (again.reference, name.read_bytes()) == (receipt.reference, content)
        assert len(list(place.iterdir())) == 2
        for path in place.iterdir():
            path.unlink()
        assert channel.ask(ledger.part(file.msg_id)).presence is Presence.THERE


def test_a_folder_on_another_file_system_or_without_documents_takes_nothing(home: Path, ledger: SqlLedger) -> None:
    manifest = prepared(ledger, home)
    channel, place = folder_of(home, "head")
    file = manifest.shipments[0]
    with pytest.raises(NotHandedOver, match="head message was not kept") as refused:
        channel.hand_over(file, DiskStore(home).shipments(T1, 1) / file.path, manifest)
    assert not refused.value.retryable
    assert list(place.iterdir()) == []
    assert channel.ask(ledger.part(file.msg_id)).presence is Presence.ABSENT


@pytest.mark.parametrize(
    ("profile", "environment", "message"),
    [
        ("production", "test", "test environment"),
        ("validation", "production", "sent under production"),
        ("rehearsal", "test", "sent under production"),
    ],
)
def test_what_is_made_for_one_profile_does_not_leave_under_another(
    home: Path, ledger: SqlLedger, profile: str, environment: str, message: str
) -> None:
    manifest = dressed(prepared(ledger, home, profile=profile), DiskStore(home))
    snapshot = manifest.snapshot.model_copy(update={"environment": environment})
    manifest = manifest.model_copy(update={"snapshot": snapshot})
    channel, place = folder_of(home, "mail", "production")
    file = manifest.shipments[0]
    with pytest.raises(NotHandedOver, match=message):
        channel.hand_over(file, DiskStore(home).shipments(T1, 1) / file.path, manifest)
    assert not place.exists()


def test_paths_of_a_channel_are_those_of_the_file(home: Path) -> None:
    text = '[channels.out]\nkind = "folder"\npath = "/x"\nprofiles = ["validation"]\npayload = "head"\n'
    config: Config = settings(home, "validation", text).config
    assert config.ways("nordfjell", "validation").keys() == {"out"}
    assert config.channels["out"].needs_document
    assert channel_of(config, "nordfjell", DiskStore(home)).name == "out"


@pytest.mark.parametrize(
    ("profile", "payload", "mode", "states"),
    [
        ("production", "head", 0o750, ["ok", "warning"]),
        ("validation", "bare", 0o750, ["ok", "warning"]),
        ("production", "bare", 0o755, ["ok", "wrong"]),
        ("production", "mail", 0o755, ["ok"]),
        ("rehearsal", "bare", 0o755, ["ok"]),
    ],
)
def test_the_doctor_warns_of_files_that_are_not_encrypted(
    home: Path, profile: str, payload: str, mode: int, states: list[str]
) -> None:
    place = home.parent / "drop"
    place.mkdir()
    place.chmod(mode)
    text = f'[channels.out]\nkind = "folder"\npath = "{place}"\nprofiles = ["{profile}"]\npayload = "{payload}"\n'
    lines = list(channel_lines(settings(home, profile, text)))
    assert [line["state"] for line in lines] == states
    assert all("not encrypted" in line["what"] for line in lines[1:])


def test_a_channel_for_large_parts_serves_nothing_else(home: Path) -> None:
    stor = (
        'kind = "sftp"\nhost = "127.0.0.1"\nuser = "u"\nkey = "/k"\nhost_key = "ssh-ed25519 AAAA"\nonly_large = true\n'
    )
    text = f'[channels.out]\nkind = "folder"\npath = "/x"\nprofiles = ["validation"]\n[channels.stor]\n{stor}'
    config: Config = settings(home, "validation", text + 'profiles = ["validation"]\n').config
    assert config.ways("nordfjell", "validation").keys() == {"out"}
    assert config.ways("nordfjell", "validation", large=True).keys() == {"stor"}
    assert channel_of(config, "nordfjell", DiskStore(home)).name == "out"
    assert channel_of(config, "nordfjell", DiskStore(home), large=True).name == "stor"
    with pytest.raises(DataRefused, match="no channel serves"):
        channel_of(settings(home).config, "nordfjell", DiskStore(home), large=True)
