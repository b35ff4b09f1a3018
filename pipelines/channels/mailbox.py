"""The mailbox of the EDI account by IMAP: messages are stored here before they are marked as taken there.

Belongs here: listing, fetching, marking. Does not belong here: what a message says (``pipelines.exchange.inbox``),
sending.

A message is known by the mailbox's validity and its UID, and by the digest of its bytes, which are its file's name. The
order: fetched, file synced and renamed, message marked. A crash between fetches it again; its answers are known by
digest then. What is larger than allowed is not fetched: its size is asked first, and a server that sends more than it
said is cut off.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import imaplib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from assets.checkpoints import checkpoint
from pipelines.channels.mail_line import SECONDS, context_of, fault_of, password_of
from pipelines.home.store import DiskStore
from schemas.config import MailboxSettings
from schemas.errors import DataRefused

SUFFIX: Final = ".eml"
MOST_MESSAGES: Final = 500
MOST_BYTES: Final = 512_000_000
"""Of one look; the next one goes on."""
_SPARE: Final = 65_536  # a literal beside the message itself, such as a flag or a name
_SIZE: Final = re.compile(rb"RFC822\.SIZE (\d{1,12})\b")
_BROKEN: Final = (imaplib.IMAP4.error, OSError, EOFError, ValueError)


class TooMuch(OSError):
    """The server sends more than it said."""


class _Bounded:
    """Reads of a connection that refuse literals above a limit before a byte of them is read."""

    most = _SPARE

    def read(self, size: int) -> bytes:
        if size > self.most:
            raise TooMuch
        return super().read(size)  # type: ignore[misc,no-any-return] # of the class it is mixed into


class _Tls(_Bounded, imaplib.IMAP4_SSL):
    pass


class _StartTls(_Bounded, imaplib.IMAP4):
    pass


_Line = _Tls | _StartTls


@dataclass(slots=True)
class Look:
    """What one look did. stored: messages put away and marked; left: what stays in the mailbox, and why."""

    stored: int = 0
    left: list[dict[str, str]] = field(default_factory=list)


class Mailbox:
    """One mailbox. name: of its channel, for messages."""

    def __init__(self, given: MailboxSettings, name: str) -> None:
        self._given = given
        self._name = name

    def take(self, store: DiskStore, folder: Path) -> Look:
        """Store every new message in a folder, and mark it. DataRefused where the mailbox cannot be read."""
        look, bytes_taken = Look(), 0
        with self._open(writing=True) as (line, validity):
            for uid in self._new(line)[:MOST_MESSAGES]:
                size = self._size(line, uid)
                if size > self._given.message_bytes:
                    what = f"message {uid} has {size} bytes, more than {self._given.message_bytes}; it was not fetched"
                    look.left.append({"file": f"mailbox of {self._name}", "why": what})
                    continue
                message = self._fetched(line, uid, size)
                if message is None:
                    continue
                self._store(store, folder, f"{validity}-{uid}", message)
                self._mark(line, uid)
                look.stored += 1
                bytes_taken += len(message)
                if bytes_taken > MOST_BYTES:
                    break
        return look

    def small(self, most: int, since: dt.date) -> Iterator[bytes]:
        """Messages of at most so many bytes that came on that day or later, newest first; nothing is marked."""
        with self._open(writing=False) as (line, _):
            found = self._new(line, f"SINCE {since.day}-{_MONTHS[since.month - 1]}-{since.year}")
            for uid in reversed(found[-MOST_MESSAGES:]):
                size = self._size(line, uid)
                message = self._fetched(line, uid, size) if size <= most else None
                if message is not None:
                    yield message

    def look(self) -> str:
        """That it can be opened, for ``npr doctor``."""
        with self._open(writing=False):
            return f"mailbox {self._given.folder} at {self._given.host} is open to {self._given.user}"

    # --- the line -----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _open(self, *, writing: bool) -> Iterator[tuple[_Line, str]]:
        """The folder, opened. DataRefused for whatever breaks on the way, in words of our own."""
        line: _Line | None = None
        try:
            line = self._connected()
            self._logged_in(line)
            self._insist(line.select(_quoted(self._given.folder), readonly=not writing), f"open {self._given.folder}")
            (validity,) = line.response("UIDVALIDITY")[1]
            yield line, str(int(validity or b"0"))
            with contextlib.suppress(*_BROKEN):
                line.logout()
        except _BROKEN as error:
            raise self._unread(fault_of(error)) from None
        finally:
            if line is not None:
                with contextlib.suppress(*_BROKEN):
                    line.shutdown()

    def _connected(self) -> _Line:
        given = self._given
        if given.tls == "tls":
            return _Tls(given.host, given.port, ssl_context=context_of(given), timeout=SECONDS)
        return _StartTls(given.host, given.port, timeout=SECONDS)

    def _logged_in(self, line: _Line) -> None:
        given, password = self._given, password_of(self._given)
        if isinstance(line, _StartTls):
            line.starttls(context_of(given))
        try:
            if given.user:
                line.login(given.user, password)
        except imaplib.IMAP4.abort:
            raise
        except imaplib.IMAP4.error:
            raise DataRefused(
                f"the mail server does not let {given.user} read its mailbox",
                where=given.host,
                fix=f"check user and password of npr.toml, channels.{self._name}.mailbox",
            ) from None

    def _new(self, line: _Line, more: str = "") -> list[str]:
        """UIDs of messages not taken yet, oldest first."""
        wanted = "UNDELETED" if self._given.done else "UNSEEN UNDELETED"
        found = self._insist(line.uid("SEARCH", *f"{wanted} {more}".split()), "search")
        uids = b" ".join(one for one in found if isinstance(one, bytes)).split()
        return [str(number) for number in sorted(int(uid) for uid in uids)]

    def _size(self, line: _Line, uid: str) -> int:
        found = self._insist(line.uid("FETCH", uid, "(RFC822.SIZE)"), "tell a size")
        text = b" ".join(one for one in found if isinstance(one, bytes))
        size = _SIZE.search(text)
        if size is None:
            raise self._unread(f"it does not say how large message {uid} is")
        return int(size[1])

    def _fetched(self, line: _Line, uid: str, size: int) -> bytes | None:
        """The bytes of a message; None for one that is gone. Its mark is left as it is."""
        checkpoint("mailbox.fetch")
        line.most = size + _SPARE
        try:
            found = self._insist(line.uid("FETCH", uid, "(BODY.PEEK[])"), "give a message")
        finally:
            line.most = _SPARE
        return next((bytes(one[1]) for one in found if isinstance(one, tuple)), None)

    def _store(self, store: DiskStore, folder: Path, name: str, message: bytes) -> None:
        path = folder / f"{name}-{hashlib.sha256(message).hexdigest()[:16]}{SUFFIX}"
        checkpoint("mailbox.store")
        with store.writing(path) as beside:
            beside.touch(mode=0o600)
            beside.write_bytes(message)
        checkpoint("mailbox.stored")

    def _mark(self, line: _Line, uid: str) -> None:
        checkpoint("mailbox.mark")
        done = self._given.done
        if not done:
            self._insist(line.uid("STORE", uid, "+FLAGS.SILENT", "(\\Seen)"), "mark a message")
        elif b"MOVE" in b" ".join(line.capability()[1]).upper().split():  # some tell it only who is logged in
            self._insist(line.uid("MOVE", uid, _quoted(done)), f"move a message to {done}")
        else:
            self._insist(line.uid("COPY", uid, _quoted(done)), f"copy a message to {done}")
            self._insist(line.uid("STORE", uid, "+FLAGS.SILENT", "(\\Seen \\Deleted)"), "mark a message")
        checkpoint("mailbox.marked")

    def _insist(self, answer: tuple[str, list[Any]], doing: str) -> list[Any]:
        if answer[0] != "OK":
            raise self._unread(f"it refuses to {doing}")
        return answer[1]

    def _unread(self, why: str) -> DataRefused:
        return DataRefused(
            f"the mailbox of channel {self._name} cannot be read: {why}",
            where=f"{self._given.host}, {self._given.folder}",
            fix="check the line and npr.toml, channels, mailbox; then run again",
        )


_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _quoted(folder: str) -> str:
    """The name of a folder for IMAP; its pattern in the settings leaves nothing in it to be escaped."""
    return f'"{folder}"'
