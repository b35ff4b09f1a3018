"""What the channels share: whom a part is for, the bytes it takes, and a journal of what was begun.

Belongs here: checks and records that every channel needs. Does not belong here: any way out.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from assets.checkpoints import checkpoint
from assets.ports import CHANNEL_SECONDS, NotHandedOver
from pipelines.home.store import DiskStore, sync
from pipelines.parties.keys import insist_private
from schemas.config import Config, Unit
from schemas.errors import DataRefused, NprError, WrongUse
from schemas.receivers import Receiver, receiver
from schemas.records import Key, Manifest, ShipmentOut
from schemas.sending import SentPart
from schemas.versions import message_type
from transforms.shipping.addressing import insist_agreement

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
SPARE_SECONDS: Final = 120  # of CHANNEL_SECONDS, kept for the answer after the last byte
_NAME: Final = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True, slots=True)
class Way:
    """What a channel is made of besides its own settings. unit: key in ``npr.toml``."""

    name: str
    config: Config
    unit_key: str
    store: DiskStore

    @property
    def unit(self) -> Unit:
        """The unit that sends."""
        return self.config.units[self.unit_key]

    def journal(self) -> Journal:
        """The journal of this channel."""
        return Journal(self.store, self.name)


def receiver_of(manifest: Manifest) -> Receiver:
    """Who a submission was addressed to when it was made."""
    return receiver(manifest.profile, manifest.created_at.date())


def insist_addressed(way: Way, manifest: Manifest, addresses: list[str]) -> Receiver:
    """Profile, HER-id, environment and addresses are of one side of the wall. NotHandedOver where they are not.

    addresses: mail addresses and host names of the channel's other end; this machine itself is on no side.
    """
    if way.config.profile != manifest.profile:
        raise refused(f"made for profile {manifest.profile}, sent under {way.config.profile}", where="profile")
    try:
        to = receiver_of(manifest)
        known = [one for one in addresses if one.rpartition("@")[2] not in LOOPBACK]
        insist_agreement(manifest.profile, to.unit_her_id, manifest.snapshot.environment, known)
    except WrongUse as mixed:
        raise refused(mixed.what, where=mixed.where, rule=mixed.rule, fix=mixed.fix) from None
    return to


def refused(what: str, *, where: str = "", rule: str = "", fix: str = "", retryable: bool = False) -> NotHandedOver:
    """It is certain that the part did not leave."""
    return NotHandedOver(what, retryable=retryable, where=where, rule=rule, fix=fix)


@contextlib.contextmanager
def certain_until_begun() -> Iterator[None]:
    """Around what comes before a channel begins: a refusal there says that nothing left."""
    try:
        yield
    except NotHandedOver:
        raise
    except NprError as error:
        raise refused(error.what, where=error.where, rule=error.rule, fix=error.fix) from None
    except OSError as error:
        raise refused(
            f"a file cannot be read or written: {error.strerror}",
            fix="make room or mend permissions, then run again",
            retryable=True,
        ) from None


def document_of(way: Way, part: ShipmentOut, manifest: Manifest) -> Path:
    """The head message of a part, as it was when the manifest was sealed. NotHandedOver where it was not kept."""
    path = (way.store.documents(manifest.key, manifest.submission) / part.path).with_suffix(".xml")
    if not part.document_sha256 or not path.is_file():
        raise refused(
            f"{part.path}: its head message was not kept, and channel {way.name} takes nothing else",
            where=str(path),
            fix=f"npr prepare {manifest.key.period} --unit {manifest.key.unit} --profile {manifest.profile}",
        )
    if sha256_of(path) != part.document_sha256:
        raise refused(f"{path.name} is not the head message that was prepared", where=str(path))
    return path


def sha256_of(path: Path) -> str:
    """Digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_name(part: ShipmentOut | SentPart, key: Key, submission: int, suffix: str) -> str:
    """Name of a part outside the house: the same each time, different for each part."""
    stem = f"{key.period}-{key.unit}-{submission:04}-{part.module}-{part.part:03}-{part.msg_id}"
    return _NAME.sub("-", stem) + suffix


def ready_mark(
    way: Way, part: ShipmentOut, manifest: Manifest, name: str, form: str, content: tuple[str, int]
) -> dict[str, Any]:
    """What stands in the small file beside a part. content: digest and size of the file as it lies there."""
    to = receiver_of(manifest)
    return {
        "version": 1,
        "file": name,
        "sha256": content[0],
        "bytes": content[1],
        "form": form,
        "message_type": message_type(part.module).v,
        "msg_id": part.msg_id,
        "sender_her_id": way.unit.sender.her_id,
        "receiver_her_id": to.unit_her_id,
        "profile": manifest.profile,
        "period": manifest.key.period,
        "unit": manifest.key.unit,
        "submission": manifest.submission,
        "part": part.part,
        "parts": part.parts,
        "lopenr": part.lopenr,
    }


class Deadline:
    """Time that is left of a call to a channel, the answer's share taken off."""

    def __init__(self, seconds: float = CHANNEL_SECONDS - SPARE_SECONDS) -> None:
        self._until = time.monotonic() + seconds

    def over(self) -> bool:
        """Whether nothing new may be begun."""
        return time.monotonic() > self._until


class Entry:
    """What is certain of one part in one channel."""

    BEGUN = "begun"  # written before the moment from which on the other side may have the part
    DONE = "done"  # the other side said so, or the last rename was made

    def __init__(self, state: str, reference: str = "") -> None:
        self.state = state
        self.reference = reference

    @property
    def done(self) -> bool:
        """The part is there, whatever later tries came to."""
        return self.state == self.DONE


class Journal:
    """One small file per part under NPR_HOME/channels, written and synced before and after the act.

    No file: it is certain that nothing left. What was done once stays done: a resend that fails does not undo it.
    """

    def __init__(self, store: DiskStore, name: str) -> None:
        self._store = store
        self._folder = store.home / "channels" / name

    def get(self, msg_id: str) -> Entry | None:
        """What is known of a part. DataRefused for an entry that cannot be read: it must not count as none."""
        path = self._path(msg_id)
        if not path.exists():
            return None
        try:
            held = json.loads(path.read_bytes())
            return Entry(held["state"], held["reference"])
        except (OSError, ValueError, KeyError):
            raise DataRefused(
                "an entry of the channel's journal cannot be read", where=str(path), fix="restore it from a backup"
            ) from None

    def begin(self, msg_id: str) -> bool:
        """Write that the act begins. False where an earlier one is known of already."""
        if self.get(msg_id) is not None:
            return False
        self._write(msg_id, Entry.BEGUN, "")
        return True

    def done(self, msg_id: str, reference: str) -> None:
        """Write that the part is there.

        A disk that says no here makes no doubt of what the other side has said: the ledger is told the same next, and
        where it cannot be told either, the entry that stands says begun, and the other side is asked.
        """
        with contextlib.suppress(DataRefused, OSError):
            self._write(msg_id, Entry.DONE, reference)

    def undo(self, msg_id: str) -> None:
        """The act that was begun certainly came to nothing."""
        self._path(msg_id).unlink()
        sync(self._folder)

    def _path(self, msg_id: str) -> Path:
        return self._folder / f"{_NAME.sub('-', msg_id)}.json"

    def _write(self, msg_id: str, state: str, reference: str) -> None:
        at = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        checkpoint(f"journal.{state}")
        with self._store.writing(self._path(msg_id)) as path:
            path.write_text(json.dumps({"state": state, "reference": reference, "at": at}), encoding="utf-8")
        checkpoint(f"journal.{state}_written")


def secret(path: Path, what: str) -> str:
    """The one line of a file that is its owner's alone. WrongUse, without the line, where it is not."""
    insist_private(path)
    text = path.read_text(encoding="utf-8").strip()
    if not text or "\n" in text:
        raise WrongUse(
            f"{path}: holds no {what}", where="npr.toml, [channels]", fix=f"write the {what} as its one line"
        )
    return text
