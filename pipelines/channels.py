"""Channels: how a part leaves, and which channel a unit and profile use.

Belongs here: the outbox folder of a rehearsal and the choice by ``npr.toml``. Does not belong here: packing (done
before), approval and ledger (around it), channels towards the network (modules of their own).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import shutil
from pathlib import Path

from assets.checkpoints import checkpoint
from assets.ports import Channel, NotHandedOver
from pipelines.store import DiskStore, sync
from schemas.config import Config, OutboxSettings
from schemas.errors import WrongUse
from schemas.records import Key, Manifest, ShipmentOut
from schemas.sending import Presence, Receipt, SentPart, TransportState

MANIFEST = "manifest.json"


class OutboxFolder:
    """Drops the finished parts into a folder that becomes visible whole, the manifest written last.

    Parts gather in ``outbox-staging``, on the same file system; with the last of them the folder is renamed to
    ``outbox/<period>/<unit>/0001``. Dropping the same part twice changes nothing, so nothing here is ever in doubt.
    """

    def __init__(self, store: DiskStore, name: str = "outbox") -> None:
        self.name = name
        self._home = store.home

    def hand_over(self, part: ShipmentOut, path: Path, manifest: Manifest) -> Receipt:
        """Copy one part; with the last one the folder becomes visible."""
        place, staging = self._place(manifest.key, manifest.submission), self._staging(manifest)
        try:
            self._insist_same(place, path.parent, manifest)
            if not place.exists():
                staging.mkdir(parents=True, exist_ok=True)
                self._drop(path, staging / part.path)
                if all(_holds(staging / one.path, one.sha256) for one in manifest.shipments):
                    self._drop(path.parent / MANIFEST, staging / MANIFEST)
                    self._publish(staging, place)
        except OSError as error:
            raise NotHandedOver(
                f"{part.path} could not be put into the outbox: {error.strerror}",
                retryable=True,
                where=str(place),
                fix="make room or mend the permissions, then run again",
            ) from None
        return Receipt(reference=str(place / part.path), at=dt.datetime.now(dt.UTC))

    def ask(self, part: SentPart) -> TransportState:
        """Whether the part lies in the outbox. A part that is still staged counts as absent: it may come again."""
        found = self._place(part.key, part.submission) / part.path
        there = _holds(found, part.packed_sha256)
        return TransportState(
            presence=Presence.THERE if there else Presence.ABSENT, reference=str(found) if there else ""
        )

    def _place(self, key: Key, number: int) -> Path:
        return self._home / "outbox" / key.period / key.unit / f"{number:04}"

    def _staging(self, manifest: Manifest) -> Path:
        key = manifest.key
        return self._home / "outbox-staging" / key.period / key.unit / f"{manifest.submission:04}"

    def _insist_same(self, place: Path, folder: Path, manifest: Manifest) -> None:
        if place.exists() and (place / MANIFEST).read_bytes() != (folder / MANIFEST).read_bytes():
            raise NotHandedOver(
                f"submission {manifest.submission} of {manifest.key} was handed over with other content",
                retryable=False,
                where=str(place),
                rule="what was sent is never overwritten",
                fix="keep the outbox folder and ask for help: ledger and outbox disagree",
            )

    def _drop(self, source: Path, target: Path) -> None:
        beside = target.with_name(f".{target.name}.tmp")
        checkpoint("outbox.copy")
        shutil.copyfile(source, beside)
        sync(beside)
        checkpoint("outbox.rename")
        beside.replace(target)
        checkpoint("outbox.renamed")
        sync(target.parent)

    def _publish(self, staging: Path, place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        checkpoint("outbox.publish")
        staging.rename(place)
        checkpoint("outbox.published")
        sync(place.parent)


def _holds(path: Path, sha256: str) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def channel_of(config: Config, unit: str, store: DiskStore) -> Channel:
    """The channel of a unit under the profile in force. WrongUse where there is none, or more than one."""
    profile = config.profile
    found = {name: one for name, one in config.channels.items() if one.serves(unit, profile)}
    if not found and profile == "rehearsal":
        return OutboxFolder(store)
    if len(found) != 1:
        named = f"channels {', '.join(found)} all serve" if found else "no channel serves"
        raise WrongUse(
            f"{named} unit {unit} under profile {profile}; the parts are prepared and stay where they are",
            where="npr.toml, channels",
            rule="nothing leaves unasked",
            fix="name exactly one with [channels.NAME] profiles and units, or rehearse with --profile rehearsal",
        )
    ((name, settings),) = found.items()
    return _made(name, settings, store)


def _made(name: str, _settings: OutboxSettings, store: DiskStore) -> Channel:
    """The channel of its settings: one line per kind."""
    return OutboxFolder(store, name)
