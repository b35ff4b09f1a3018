"""A file of the inbox taken apart: mail, zip (with password too), gzip, envelope, down to documents.

Belongs here: what lies inside what, under limits of bytes, ratio, files and depth; archives that try to be clever are
refused whole. Does not belong here: what a document says. Nothing is ever written: names inside only tell a person
where a document lay.
"""

from __future__ import annotations

import email
import email.message
import email.policy
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from email.errors import MessageError
from io import BytesIO
from typing import Final

import pyzipper

from schemas.errors import DataRefused
from transforms.answers.bounce import is_bounce
from transforms.validation.opening import BLOCK, Limits, gunzip, packing

LIMITS: Final = Limits(bytes=32_000_000, ratio=100, free=4_000_000, members=100)
MOST_MAIL: Final = 24_000_000
"""A mail is parsed whole and takes seven times its size in memory, measured with 63 MB: 445 MB."""
DEEPEST: Final = 4
MOST_PARTS: Final = 100
_ENCRYPTED: Final = 1
_TAKEN: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, 99})  # 99: AES, which names its own method inside
_UNIX: Final = 3
_ENVELOPED: Final = ("application/pkcs7-mime", "application/x-pkcs7-mime")
_HEADER: Final = re.compile(rb"[!-9;-~]{1,76}:[ \t]")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_NUMBER: Final = re.compile(r"\d{6}[ -]?\d{5}")
_LONGEST_NAME: Final = 200

Opener = Callable[[bytes], bytes]


class NeedsPassword(DataRefused):
    """An archive is locked and no password that was given opens it: it waits, and is no poison."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document. name: of its file, without folders; says what it is where the content does not.

    locked: it came out of an archive that one of the passwords opened, so whoever made it knew the password.
    """

    name: str
    data: bytes
    locked: bool = False


def documents(
    data: bytes, name: str, passwords: Sequence[str] = (), opener: Opener | None = None, limits: Limits = LIMITS
) -> Iterator[Document]:
    """The documents of a file, in their order.

    passwords: tried in their order on a locked archive. opener: opens a CMS envelope with the unit's own key, where
    there is one. DataRefused for damage, for too much, and for archives that name places outside themselves;
    NeedsPassword where no password fits.
    """
    return _Unpacking(passwords, opener, limits).of(data, name, 0)


class _Unpacking:
    """One file being taken apart; all that comes out counts against the same limits."""

    def __init__(self, passwords: Sequence[str], opener: Opener | None, limits: Limits) -> None:
        self._passwords, self._opener, self._limits = passwords, opener, limits
        self._out = self._files = 0

    def of(self, data: bytes, name: str, depth: int, *, locked: bool = False) -> Iterator[Document]:
        if depth > DEEPEST:
            raise _refused(name, "lies too deep", f"at most {DEEPEST} layers of packing")
        form = packing(data[:4])
        if form == "zip":
            for inside, content, opened in self._unzipped(data, name):
                yield from self.of(content, inside, depth + 1, locked=locked or opened)
        elif form == "gzip":
            content = b"".join(gunzip([data], shown(name), self._left()))
            self._count(len(content), name)
            yield from self.of(content, name.removesuffix(".gz"), depth + 1, locked=locked)
        elif is_mail(data) and is_bounce(data):
            yield Document(shown(name), data, locked)  # whole: what it returns of our mail is no answer
        elif is_mail(data):
            for inside, content in self._attached(data, name):
                yield from self.of(content, inside, depth + 1, locked=locked)
        else:
            yield Document(shown(name), data, locked)

    def _left(self) -> Limits:
        limits = self._limits
        return Limits(max(limits.bytes - self._out, 0), limits.ratio, limits.free, limits.members)

    def _count(self, came_out: int, name: str, went_in: int = 0) -> None:
        self._out += came_out
        if self._out > self._limits.bytes:
            raise _refused(name, "unpacks to too much", f"at most {self._limits.bytes} bytes in all")
        if went_in and came_out > max(self._limits.free, went_in * self._limits.ratio):
            raise _refused(name, "unpacks to suspiciously much", f"at most {self._limits.ratio} times its size")

    def _file(self, name: str) -> None:
        self._files += 1
        if self._files > self._limits.members:
            raise _refused(name, "holds too many files", f"at most {self._limits.members} in all")

    # --- zip ---

    def _unzipped(self, data: bytes, name: str) -> Iterator[tuple[str, bytes, bool]]:
        """Name, content, and whether a password opened it: each entry of an archive is locked by itself."""
        try:
            with pyzipper.AESZipFile(BytesIO(data)) as archive:
                infos = archive.infolist()
                _insist_decent(infos, name, self._limits.members)
                for info in infos:
                    if not info.is_dir():
                        self._file(name)
                        locked = bool(info.flag_bits & _ENCRYPTED)
                        yield info.filename.rpartition("/")[2], self._member(archive, info, name), locked
        except _DAMAGE:
            # What these say may quote names inside.
            raise _refused(name, "is damaged or cut off as zip", "an archive is whole", "ask for it anew") from None

    def _member(self, archive: pyzipper.AESZipFile, info: zipfile.ZipInfo, name: str) -> bytes:
        if not info.flag_bits & _ENCRYPTED:
            return self._read(archive, info, None, name)
        for password in self._passwords:
            before = self._out
            try:
                return self._read(archive, info, password.encode(), name)
            except _WRONG_PASSWORD:
                # ZipCrypto lets one wrong password in 256 through; its content then fails by checksum or by deflate.
                self._out = before
        raise NeedsPassword(
            f"{shown(name)} is locked and no password at hand opens it",
            where=shown(name),
            rule="the password comes by SMS and holds for the month",
            fix="give it (docs/sending.md, Passwords) and run npr inbox again",
        )

    def _read(self, archive: pyzipper.AESZipFile, info: zipfile.ZipInfo, password: bytes | None, name: str) -> bytes:
        pieces, came = [], 0
        with archive.open(info, pwd=password) as stream:
            while piece := stream.read(BLOCK):
                came += len(piece)
                self._count(len(piece), name)
                if came > max(self._limits.free, info.compress_size * self._limits.ratio):
                    raise _refused(name, "unpacks to suspiciously much", f"at most {self._limits.ratio} times its size")
                pieces.append(piece)
        return b"".join(pieces)

    # --- mail ---

    def _attached(self, data: bytes, name: str) -> Iterator[tuple[str, bytes]]:
        for number, part in enumerate(_parts(data, name), start=1):
            self._file(name)
            content = _payload(part)
            self._count(len(content), name)
            if part.get_content_type() in _ENVELOPED and self._opener is not None:
                content = self._opener(content)
                self._count(len(content), name)
            yield _filename(part) or f"{name} part {number}", content


# Exceptions of pyzipper on bytes that are no archive, cut off, or in a method it does not know.
_DAMAGE: Final = (
    zipfile.BadZipFile,
    pyzipper.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    OSError,
    KeyError,
    IndexError,
    AttributeError,  # as where a file says that it is packed as AES and not that it is encrypted
    TypeError,
    struct.error,
)
_WRONG_PASSWORD: Final = (
    RuntimeError,
    zipfile.BadZipFile,
    pyzipper.BadZipFile,
    zlib.error,
    EOFError,
    ValueError,
    AttributeError,
    TypeError,
    struct.error,
)


def _insist_decent(infos: Sequence[zipfile.ZipInfo], name: str, most: int) -> None:
    """Names that stay inside, each once; no links, no method that is not taken. All before anything is unpacked."""
    if len(infos) > most:
        raise _refused(name, f"holds {len(infos)} files", f"at most {most}")
    seen = set()
    for info in infos:
        parts = info.filename.split("/")
        if info.filename.startswith("/") or ".." in parts or "\\" in info.orig_filename or ":" in parts[0]:
            raise _refused(name, "names a place outside itself", "no path in an archive leaves it")
        if _CONTROL.search(info.orig_filename):
            raise _refused(name, "names a file with control characters", "names are plain text")
        if info.create_system == _UNIX and stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refused(name, "holds a link or device", "an archive holds files")
        if info.filename.casefold() in seen:
            raise _refused(name, "holds the same name twice", "each file once")
        if info.compress_type not in _TAKEN:
            raise _refused(name, "is packed by a method that is not taken", "stored, deflated, or AES")
        seen.add(info.filename.casefold())


# --- mail ---


def is_mail(data: bytes) -> bool:
    """Whether bytes begin as a mail does, with a header line, and have a Content-Type or MIME-Version header."""
    start = data[:8_192].lstrip(b"\r\n")
    head = re.split(rb"\r?\n\r?\n", start, maxsplit=1)[0].lower()
    return bool(_HEADER.match(start)) and (b"content-type:" in head or b"mime-version:" in head)


def _parts(data: bytes, name: str) -> list[email.message.Message]:
    if len(data) > MOST_MAIL:
        raise _refused(name, "is larger than any mail of an answer", f"at most {MOST_MAIL} bytes")
    try:
        mail = email.message_from_bytes(data, policy=email.policy.compat32)
        found = [part for part in mail.walk() if not part.is_multipart()]
    except (MessageError, ValueError, LookupError, RecursionError, TypeError, AttributeError, IndexError):
        raise _refused(name, "cannot be read as a mail", "RFC 5322", "ask for it anew") from None
    if len(found) > MOST_PARTS:
        raise _refused(name, f"has {len(found)} parts", f"at most {MOST_PARTS}")
    return found


def _payload(part: email.message.Message) -> bytes:
    try:
        content = part.get_payload(decode=True)
    except (ValueError, LookupError, TypeError, AttributeError, IndexError):
        return b""
    return content if isinstance(content, bytes) else b""


def _filename(part: email.message.Message) -> str:
    try:
        return str(part.get_filename() or "")
    except (ValueError, LookupError, TypeError, AttributeError, IndexError):
        return ""


def shown(name: str) -> str:
    """A name for people: without folders, control characters and what may be an identity number; not too long.

    Bytes that are no text (they come as lone surrogates) become ``?``, so that the name can be printed and kept.
    """
    text = name.encode("utf-8", "replace").decode()
    bare = _CONTROL.sub("", text.replace("\\", "/").rpartition("/")[2])
    return _NUMBER.sub("(number)", bare)[:_LONGEST_NAME] or "attachment"


def _refused(name: str, what: str, rule: str, fix: str = "look at it yourself, and ask the sender") -> DataRefused:
    return DataRefused(f"{shown(name)} {what}", where=shown(name), rule=rule, fix=fix)
