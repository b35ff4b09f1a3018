"""A file area by SFTP, for what no mail can hold (NHN-EDI-STOR). It takes the packed mail as a file.

Belongs here: the transfer and what is certain of it. Does not belong here: packing. NHN's naming rule and protocol are
to be had from NHN: its service description of 2009 speaks of FTPS (certainty C).

The order: upload under a temporary name, size and digest checked by reading it back, journal says begun, rename,
journal says done. A temporary file that is still there proves that the rename was not made.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import paramiko

from assets.checkpoints import checkpoint
from assets.ports import InDoubt, NotHandedOver
from pipelines.channels.common import Deadline, Way, certain_until_begun, file_name, insist_addressed, refused
from pipelines.parties.keys import insist_private
from schemas.config import SftpSettings
from schemas.errors import DataRefused
from schemas.records import Manifest, ShipmentOut
from schemas.sending import Presence, Receipt, SentPart, TransportState

SECONDS: Final = 30
BLOCK: Final = 1 << 18
SUFFIX: Final = ".eml"
_LINE = (paramiko.SSHException, EOFError, OSError)


class Sftp:
    """The channel."""

    def __init__(self, way: Way, settings: SftpSettings) -> None:
        self.name = way.name
        self._way = way
        self._given = settings
        self._journal = way.journal()

    def hand_over(self, part: ShipmentOut, path: Path, manifest: Manifest) -> Receipt:
        """Upload one file and give it its name."""
        name = file_name(part, manifest.key, manifest.submission, SUFFIX)
        target, beside = f"{self._given.folder}/{name}", f"{self._given.folder}/.{name}.part"
        with certain_until_begun():
            insist_addressed(self._way, manifest, [self._given.host])
        mine = whole = False
        try:
            with self._session() as sftp:
                self._upload(sftp, path, beside, part)
                with certain_until_begun():
                    mine = self._journal.begin(part.msg_id)
                checkpoint("sftp.rename")
                whole = True
                sftp.posix_rename(beside, target)
                checkpoint("sftp.renamed")
        except NotHandedOver:
            raise
        except _LINE as error:
            if whole:
                raise InDoubt(
                    f"the line broke while {name} got its name ({type(error).__name__})",
                    where=self._given.host,
                    rule="what is in doubt is settled by asking",
                    fix="npr resume asks",
                ) from None
            if mine:
                self._journal.undo(part.msg_id)
            raise self._unreached(error) from None
        self._journal.done(part.msg_id, target)
        return Receipt(reference=target, at=dt.datetime.now(dt.UTC))

    def ask(self, part: SentPart) -> TransportState:
        """Whether the file is there, by listing. Gone without a trace, nobody knows: somebody may have fetched it."""
        entry = self._journal.get(part.msg_id)
        name = file_name(part, part.key, part.submission, SUFFIX)
        if entry and entry.done:
            return TransportState(presence=Presence.THERE, reference=entry.reference)
        checkpoint("sftp.ask")
        try:
            with self._session() as sftp:
                here = set(sftp.listdir(self._given.folder))
                fetched = set(sftp.listdir(self._given.taken)) if self._given.taken else set()
        except _LINE as error:
            raise DataRefused(
                f"the file area cannot be asked now: {type(error).__name__}",
                where=self._given.host,
                fix="npr resume asks again",
            ) from None
        if name in here | fetched:
            return TransportState(presence=Presence.THERE, reference=f"{self._given.folder}/{name}")
        absent = entry is None or f".{name}.part" in here
        return TransportState(presence=Presence.ABSENT if absent else Presence.UNKNOWN)

    def look(self) -> str:
        """Whether the server is the one that is pinned and lets us in, for ``npr doctor``; sends nothing."""
        try:
            with self._session() as sftp:
                sftp.listdir(self._given.folder)
        except _LINE as error:
            raise self._unreached(error) from None
        return f"{self._given.user} may list {self._given.folder} at {self._given.host}, whose key is the pinned one"

    def _upload(self, sftp: paramiko.SFTPClient, path: Path, beside: str, part: ShipmentOut) -> None:
        deadline = Deadline()
        checkpoint("sftp.upload")
        with path.open("rb") as source, sftp.open(beside, "wb") as target:
            target.set_pipelined(True)
            while block := source.read(BLOCK):
                if deadline.over():
                    raise refused("the line is too slow for the file", fix="run again", retryable=True)
                target.write(block)
        checkpoint("sftp.uploaded")
        found = hashlib.sha256()
        with sftp.open(beside, "rb") as back:
            back.prefetch(part.packed_bytes)
            while block := back.read(BLOCK):
                found.update(block)
        if sftp.stat(beside).st_size != part.packed_bytes or found.hexdigest() != part.sha256:
            raise refused(f"{part.path} did not arrive whole", where=self._given.host, fix="run again", retryable=True)

    @contextmanager
    def _session(self) -> Iterator[paramiko.SFTPClient]:
        given = self._given
        insist_private(given.key)
        kind, _, value = given.host_key.partition(" ")
        name = given.host if given.port == paramiko.config.SSH_PORT else f"[{given.host}]:{given.port}"
        with paramiko.SSHClient() as client:
            client.set_missing_host_key_policy(paramiko.RejectPolicy())
            pinned = paramiko.hostkeys.HostKeyEntry.from_line(f"{name} {kind} {value}")
            if pinned is None or pinned.key is None:
                raise refused("host_key is no key", where=f"npr.toml, channels.{self.name}", fix="ssh-keyscan shows it")
            client.get_host_keys().add(name, kind, pinned.key)
            client.connect(
                given.host,
                given.port,
                given.user,
                key_filename=str(given.key),
                look_for_keys=False,
                allow_agent=False,
                timeout=SECONDS,
                banner_timeout=SECONDS,
                auth_timeout=SECONDS,
                channel_timeout=SECONDS,
            )
            with client.open_sftp() as sftp:
                channel = sftp.get_channel()
                if channel is not None:
                    channel.settimeout(SECONDS)
                yield sftp

    def _unreached(self, error: Exception) -> NotHandedOver:
        if isinstance(error, paramiko.BadHostKeyException):
            return refused(
                "the server has another key than the one that is pinned; nothing was handed over",
                where=self._given.host,
                rule="a server whose key has changed may be another one",
                fix=f"ask who runs it; then correct npr.toml, channels.{self.name}.host_key",
            )
        if isinstance(error, paramiko.AuthenticationException):
            return refused(
                f"the server does not let {self._given.user} in", where=self._given.host, fix="check user and key"
            )
        return refused(
            f"the file area cannot be reached or written: {type(error).__name__}",
            where=self._given.host,
            fix="check the line, then run again",
            retryable=True,
        )
