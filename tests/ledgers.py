"""Small submissions in a ledger, for tests that need no report."""

from __future__ import annotations

import datetime as dt
import hashlib
import tomllib
import uuid
from functools import cache
from pathlib import Path

from conftest import ROOT

from assets import baselines
from assets.ports import Ledger, Note
from pipelines.home.store import DiskStore
from pipelines.ledger.owner import owner
from pipelines.settings import Settings
from schemas.config import Config, Unit
from schemas.records import Key, Manifest, MessageOut, PartIds, ShipmentOut, Snapshot, Submission
from schemas.submission_states import Event

NOW = dt.datetime(2020, 5, 5, 9, 0, tzinfo=dt.UTC)
T1, M02 = Key(period="2020-T1", unit="nordfjell"), Key(period="2020-M02", unit="nordfjell")


@cache
def config() -> Config:
    return Config.model_validate(tomllib.loads((ROOT / "npr.toml").read_text(encoding="utf-8")))


def settings(home: Path, profile: str = "rehearsal", channels: str = "") -> Settings:
    """Settings of the sample with channels, as TOML, and a profile."""
    added = Config.model_validate(config().model_dump() | tomllib.loads(channels)) if channels else config()
    return Settings(added.model_copy(update={"profile": profile}), home, ROOT / "npr.toml")


def unit(name: str = "nordfjell") -> Unit:
    return config().units[name]


def ids(submission: Submission, modules: tuple[str, ...]) -> list[PartIds]:
    key = submission.key
    return [
        PartIds(
            module=module,
            part=1,
            lopenr=submission.first_lopenr + n,
            msg_id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{key.period}-{key.unit}-{submission.number}-{module}")),
            gen_date="2020-05-05T09:00:00+00:00",
        )
        for n, module in enumerate(modules)
    ]


def begun(ledger: Ledger, key: Key = T1, inputs: str = "x", profile: str = "rehearsal") -> Submission:
    return ledger.submission(key, profile, unit(key.unit), int(key.period[:4]), inputs, NOW)


def numbered(
    ledger: Ledger,
    key: Key = T1,
    inputs: str = "x",
    modules: tuple[str, ...] = ("ord", "ide"),
    profile: str = "rehearsal",
) -> Submission:
    submission = begun(ledger, key, inputs, profile)
    return ledger.keep_ids(submission, submission.ids or ids(submission, modules))


def manifest_for(submission: Submission, folder: Path, profile: str = "rehearsal", content: str = "c") -> Manifest:
    """Parts of a few bytes in a folder, with the manifest that names them."""
    folder.mkdir(parents=True, exist_ok=True)
    shipments = []
    for one in submission.ids:
        body = f"{submission.key} {submission.number} {one.module} {one.part} {profile}".encode()
        path = folder / f"{one.module}-{one.part:03}.eml"
        path.write_bytes(body)
        shipments.append(
            ShipmentOut(
                module=one.module,
                part=one.part,
                parts=1,
                packed_bytes=len(body),
                limit_bytes=1_000_000,
                patients=1,
                path=path.name,
                sha256=hashlib.sha256(body).hexdigest(),
                body_sha256=hashlib.sha256(b"body" + body).hexdigest(),
                body_bytes=len(body),
                lopenr=one.lopenr,
                msg_id=one.msg_id,
                schema_faults=0,
            )
        )
    manifest = Manifest(
        key=submission.key,
        submission=submission.number,
        profile=profile,
        created_at=NOW,
        pipeline="test",
        snapshot=Snapshot(
            id="s",
            unit=submission.key.unit,
            contract="1",
            source="",
            source_system="test",
            environment="test",
            extracted_at=NOW,
            files=(),
        ),
        tables={},
        schemas=(),
        codes_sha256="",
        messages=tuple(
            MessageOut(module=one.module, version="54.0.1", patients=1, records=1, bytes=1, sha256="0" * 64)
            for one in submission.ids
        ),
        shipments=tuple(shipments),
        limit_certainty="C",
        content=content,
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json(), encoding="utf-8")
    return manifest


def prepared(
    ledger: Ledger,
    home: Path,
    key: Key = T1,
    inputs: str = "x",
    modules: tuple[str, ...] = ("ord", "ide"),
    profile: str = "rehearsal",
    content: str = "c",
) -> Manifest:
    submission = numbered(ledger, key, inputs, modules, profile)
    manifest = manifest_for(submission, DiskStore(home).shipments(key, submission.number), profile, content)
    ledger.seal(manifest, NOW)
    kept = DiskStore(home).kept(key, submission.number)
    kept.mkdir(parents=True, exist_ok=True)
    (kept / baselines.FIGURES).write_text("{}", encoding="utf-8")
    return manifest


def begin(ledger: Ledger, manifest: Manifest, at: dt.datetime = NOW) -> list[str]:
    """All parts of a submission on their way."""
    me = owner()
    assert ledger.claim(manifest.key, manifest.submission, me, at)
    for part in manifest.shipments:
        ledger.record(part.msg_id, Event.BEGIN, Note("test", at, owner=me, channel="test"))
    return [part.msg_id for part in manifest.shipments]


def resent(ledger: Ledger, manifest: Manifest, at: dt.datetime = NOW) -> None:
    """All parts of a submission handed over once more."""
    me = owner()
    assert ledger.claim(manifest.key, manifest.submission, me, at)
    for part in manifest.shipments:
        ledger.record(part.msg_id, Event.RESEND, Note("Kari Nordmann", at, owner=me, channel="test"))
        ledger.record(part.msg_id, Event.HANDED_OVER, Note("test", at))
    ledger.release(manifest.key, manifest.submission, me)


def sent(ledger: Ledger, manifest: Manifest, at: dt.datetime = NOW) -> list[str]:
    """All parts of a submission handed over."""
    found = begin(ledger, manifest, at)
    for msg_id in found:
        ledger.record(msg_id, Event.HANDED_OVER, Note("test", at, reference=f"ref-{msg_id}"))
    ledger.release(manifest.key, manifest.submission, owner())
    return found
