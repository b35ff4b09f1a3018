"""Channels: how a prepared submission leaves.

Belongs here: the outbox folder of a rehearsal. Does not belong here: packing (done before), approval and ledger.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from assets.ports import Channel
from pipelines.store import DiskStore
from schemas.errors import DataRefused
from schemas.records import Manifest

MANIFEST = "manifest.json"


class OutboxFolder:
    """Drops the finished files into a folder that becomes visible whole, the manifest written last."""

    name = "outbox"

    def __init__(self, store: DiskStore) -> None:
        self._store = store

    def hand_over(self, folder: Path, manifest: Manifest) -> Mapping[str, str]:
        """Copy parts and manifest; what was handed over before is left as it is."""
        key = manifest.key
        place = self._store.home / "outbox" / key.period / key.unit / f"{manifest.submission:04}"
        if not (place / MANIFEST).exists():
            with self._store.writing_folder(place) as room:
                for part in manifest.shipments:
                    shutil.copyfile(folder / part.path, room / part.path)
                shutil.copyfile(folder / MANIFEST, room / MANIFEST)
        elif (place / MANIFEST).read_bytes() != (folder / MANIFEST).read_bytes():
            raise DataRefused(
                f"submission {manifest.submission} of {key} was handed over with other content",
                where=str(place),
                rule="what was sent is never overwritten",
                fix="keep the outbox folder and ask for help: submission.json and outbox disagree",
            )
        return {part.path: str(place / part.path) for part in manifest.shipments}


def channel_of(profile: str, store: DiskStore) -> Channel:
    """The channel of a profile. DataRefused where there is none yet: nothing leaves by a way nobody chose."""
    if profile == "rehearsal":
        return OutboxFolder(store)
    raise DataRefused(
        f"profile {profile} has no channel; the parts are prepared and stay where they are",
        where="npr.toml, profile",
        rule="nothing leaves unasked",
        fix="rehearse with --profile rehearsal; channels towards NPR come with a later release",
    )
