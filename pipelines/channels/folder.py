"""A folder that the hospital's own message handler reads: one file and one small manifest for each part.

Belongs here: what appears there, in which order, and whether it was there. Does not belong here: the answers that the
handler puts into the inbox folder.

A file is made in the staging folder, synced, and renamed; its manifest comes last and is the ready mark. Both names
follow from the part, so a part can never lie there twice. The order of acts, each on disk before the next: file and
manifest staged; journal says begun; file renamed; manifest renamed; journal says done. From what is left of this after
a crash it is certain how far it came, so nothing stays in doubt.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
from pathlib import Path

from assets.checkpoints import checkpoint
from assets.ports import InDoubt
from pipelines.channels.common import (
    Way,
    certain_until_begun,
    document_of,
    file_name,
    insist_addressed,
    ready_mark,
    refused,
    sha256_of,
)
from pipelines.home.store import sync
from schemas.config import FolderSettings
from schemas.errors import WrongUse
from schemas.records import Manifest, ShipmentOut
from schemas.sending import Presence, Receipt, SentPart, TransportState
from transforms.shipping.envelope import DECLARATION, melding_bytes

SUFFIX = {"bare": ".xml", "head": ".xml", "mail": ".eml"}


class Folder:
    """The drop folder of a message handler."""

    def __init__(self, way: Way, settings: FolderSettings) -> None:
        self.name = way.name
        self._way = way
        self._form = settings.payload
        self._place = settings.path
        self._staging = settings.staging or settings.path.with_name(f".staging-{settings.path.name}")
        self._taken = settings.taken
        self._journal = way.journal()

    def hand_over(self, part: ShipmentOut, path: Path, manifest: Manifest) -> Receipt:
        """Put file and manifest there; what a crash left half done is ended, and no file is put there twice."""
        name = file_name(part, manifest.key, manifest.submission, SUFFIX[self._form])
        with certain_until_begun():
            insist_addressed(self._way, manifest, [])
            halfway = self._halfway(part.msg_id, name)
            if not halfway:
                self._stage(part, path, manifest, name)
                self._journal.begin(part.msg_id)
        try:
            if not halfway:
                self._move(self._staging / name)
            self._move(self._staging / _mark(name))
            self._journal.done(part.msg_id, name)
        except OSError as error:
            if (self._staging / name).exists():
                raise refused(
                    f"{name} could not be put into the folder: {error.strerror}",
                    where=str(self._place),
                    fix="make room or mend the permissions, then run again",
                    retryable=True,
                ) from None
            raise InDoubt(
                f"{name} may be there: {error.strerror}",
                where=str(self._place),
                rule="what is in doubt is settled by asking",
                fix="make room or mend the permissions; npr resume asks",
            ) from None
        return Receipt(reference=str(self._place / name), at=dt.datetime.now(dt.UTC))

    def _halfway(self, msg_id: str, name: str) -> bool:
        """Whether a crash fell between the two renames: then the file is there, and only its manifest is missing."""
        entry = self._journal.get(msg_id)
        begun = entry is not None and not entry.done
        return begun and not (self._staging / name).exists() and (self._staging / _mark(name)).exists()

    def ask(self, part: SentPart) -> TransportState:
        """Whether a part is or was there. One whose manifest is missing still counts as absent: it is ended, not sent.

        Where the handler took a file without waiting for its manifest, the part is there.
        """
        entry = self._journal.get(part.msg_id)
        name = file_name(part, part.key, part.submission, SUFFIX[self._form])
        staged, marked = ((self._staging / one).exists() for one in (name, _mark(name)))
        visible = (self._place / name).exists()
        ready = any((folder / _mark(name)).exists() for folder in (self._place, self._taken) if folder)
        fetched = self._taken is not None and (self._taken / name).exists()
        unfinished = staged or (marked and visible)
        there = visible if entry is None else entry.done or not unfinished
        if there or ready or fetched:
            return TransportState(presence=Presence.THERE, reference=str(self._place / name))
        return TransportState(presence=Presence.ABSENT)

    def look(self) -> str:
        """Whether the folders are there to write to, for ``npr doctor``. Raises WrongUse where they are not."""
        for folder in filter(None, (self._place, self._taken)):
            if not (folder.is_dir() and os.access(folder, os.W_OK)):
                raise WrongUse(f"{folder}: no folder that can be written to", fix="make it, or mend its permissions")
        return f"{self._place} can be written to"

    def _stage(self, part: ShipmentOut, path: Path, manifest: Manifest, name: str) -> None:
        for folder in (self._place, self._staging):
            folder.mkdir(parents=True, exist_ok=True)
        self._staging.chmod(0o700)
        if self._staging.stat().st_dev != self._place.stat().st_dev:
            raise refused(
                "the staging folder is on another file system than the folder itself",
                where=str(self._staging),
                rule="a file appears whole, by a rename",
                fix=f"npr.toml, channels.{self.name}.staging: name a folder beside {self._place}",
            )
        target = self._staging / name
        beside = target.with_name(f"{name}.tmp")
        checkpoint("folder.stage")
        if self._form == "mail":
            shutil.copyfile(path, beside)
        else:
            document = document_of(self._way, part, manifest)
            if self._form == "head":
                shutil.copyfile(document, beside)
            else:
                beside.write_bytes(DECLARATION + melding_bytes(document.read_bytes()))
        beside.chmod(0o640)  # bare messages and head messages are not encrypted
        sync(beside)
        content = sha256_of(beside), beside.stat().st_size
        self._insist_whole(part, content[0])
        mark = ready_mark(self._way, part, manifest, name, self._form, content)
        (self._staging / _mark(name)).write_text(json.dumps(mark, indent=1), encoding="utf-8")
        sync(self._staging / _mark(name))
        beside.replace(target)
        checkpoint("folder.staged")
        sync(self._staging)

    def _insist_whole(self, part: ShipmentOut, found: str) -> None:
        """A bare message is cut out of a document whose digest was checked; the others are files as they are."""
        wanted = {"mail": part.sha256, "head": part.document_sha256}.get(self._form)
        if wanted and found != wanted:
            raise refused(f"{part.path} changed while it was copied", where=str(self._staging))

    def _move(self, staged: Path) -> None:
        checkpoint("folder.rename")
        staged.replace(self._place / staged.name)
        checkpoint("folder.renamed")
        sync(self._place)
        sync(self._staging)


def _mark(name: str) -> str:
    return f"{name}.json"
