"""The outbox folder of NPR_HOME, for rehearsals and for whoever takes the packed parts away by hand.

Belongs here: that folder alone. Does not belong here: a folder of a message handler (``pipelines.channels.folder``).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import shutil
from pathlib import Path

from assets.checkpoints import checkpoint
from assets.ports import InDoubt, NotHandedOver
from pipelines.home.store import DiskStore, sync
from schemas.records import Key, Manifest, ShipmentOut
from schemas.sending import Presence, Receipt, SentPart, TransportState

MANIFEST = "manifest.json"
OUTBOX = "outbox"


class OutboxFolder:
    """Drops the finished parts into a folder that becomes visible whole, the manifest written last.

    Parts gather in ``outbox-staging``, on the same file system; with the last of them the folder is renamed to
    ``outbox/<period>/<unit>/0001``. A mark is written before: with the mark there and the staged folder gone, the parts
    were published, even if someone has taken them away since. So nothing here stays in doubt.
    """

    def __init__(self, store: DiskStore, name: str = OUTBOX) -> None:
        self.name = name
        self._home = store.home

    def hand_over(self, part: ShipmentOut, path: Path, manifest: Manifest) -> Receipt:
        """Copy one part; with the last one the folder becomes visible."""
        place = self._place("outbox", manifest.key, manifest.submission)
        staging = self._place("outbox-staging", manifest.key, manifest.submission)
        try:
            if self._published(staging):
                self._again(path, place, manifest)
            else:
                staging.mkdir(parents=True, exist_ok=True)
                self._drop(path, staging / part.path)
                if all(_holds(staging / one.path, one.sha256) for one in manifest.shipments if one.large == part.large):
                    self._drop(path.parent / MANIFEST, staging / MANIFEST)
                    self._publish(staging, place)
        except OSError as error:
            if self._published(staging):
                raise InDoubt(
                    f"{part.path} was published; the disk said: {error.strerror}",
                    where=str(place),
                    rule="what is in doubt is settled by asking",
                    fix="make room or mend the permissions; npr resume asks",
                ) from None
            raise NotHandedOver(
                f"{part.path} could not be put into the outbox: {error.strerror}",
                retryable=True,
                where=str(place),
                fix="make room or mend the permissions, then run again",
            ) from None
        return Receipt(reference=str(place / part.path), at=dt.datetime.now(dt.UTC))

    def ask(self, part: SentPart) -> TransportState:
        """Whether the part was published. One that is still staged counts as absent: it may come again."""
        there = self._published(self._place("outbox-staging", part.key, part.submission))
        place = self._place("outbox", part.key, part.submission)
        return TransportState(
            presence=Presence.THERE if there else Presence.ABSENT, reference=str(place / part.path) if there else ""
        )

    def look(self) -> str:
        """Where it is, for ``npr doctor``."""
        return f"the outbox of {self._home}"

    def _place(self, tree: str, key: Key, number: int) -> Path:
        return self._home / tree / key.period / key.unit / f"{number:04}"

    def _published(self, staging: Path) -> bool:
        return _mark(staging).exists() and not staging.exists()

    def _again(self, path: Path, place: Path, manifest: Manifest) -> None:
        """A part that was published before: left as it is, or put back where someone has taken it."""
        there = place / MANIFEST
        if there.exists() and there.read_bytes() != (path.parent / MANIFEST).read_bytes():
            raise NotHandedOver(
                f"submission {manifest.submission} of {manifest.key} was handed over with other content",
                retryable=False,
                where=str(place),
                rule="what was sent is never overwritten",
                fix="keep the outbox folder and ask for help: ledger and outbox disagree",
            )
        if not (place / path.name).exists():
            place.mkdir(parents=True, exist_ok=True)
            self._drop(path, place / path.name)

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
        checkpoint("outbox.mark")
        _mark(staging).touch()
        sync(staging.parent)
        place.parent.mkdir(parents=True, exist_ok=True)
        checkpoint("outbox.publish")
        staging.rename(place)
        checkpoint("outbox.published")
        sync(place.parent)
        sync(staging.parent)


def _mark(staging: Path) -> Path:
    return staging.with_name(f"{staging.name}.published")


def _holds(path: Path, sha256: str) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256
