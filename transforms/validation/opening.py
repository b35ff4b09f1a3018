"""From the bytes of a file to XML in UTF-8: packing taken off under limits, encoding found and changed.

Belongs here: gzip, zip and the encodings XML allows, as streams in bounded memory. Does not belong here: paths and
opening files (streams come as arguments), parsing (``schemas.xsd``).

A packed file says nothing reliable about its own size, so limits speak of bytes that really came out.
"""

from __future__ import annotations

import codecs
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO, Final

from schemas.errors import DataRefused

Blocks = Iterable[bytes]

BLOCK: Final = 262_144
_GZIP: Final = zlib.MAX_WBITS | 16
_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZIP_MAGIC: Final = (b"PK\x03\x04", b"PK\x05\x06")
_LONGEST_DECLARATION: Final = 1_024
_DECLARATION: Final = re.compile(r"<\?xml\s[^>]*?\?>")
_NAMED: Final = re.compile(r"""\sencoding\s*=\s*["']([A-Za-z][A-Za-z0-9._-]*)["']""")
# Families of encodings that hold ASCII unchanged, or that a byte order mark tells.
_TAKEN: Final = re.compile(
    r"utf-?8|utf-?16(-?[lb]e)?|us-ascii|ascii|iso[-_]?8859-\d{1,2}|latin-?\d|windows-125\d|cp125\d"
)
_MARKS: Final = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
# "<?" or "<M" without a mark, as XML 1.0 appendix F tells them.
_BARE_16: Final = (
    (re.compile(rb"<\x00[?A-Za-z!]\x00"), "utf-16-le"),
    (re.compile(rb"\x00<\x00[?A-Za-z!]"), "utf-16-be"),
)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may come out of packed files. The ratio counts from ``free`` bytes on: small files are harmless."""

    bytes: int = 8_000_000_000
    ratio: int = 250
    free: int = 16_000_000
    members: int = 1_000


@dataclass(frozen=True, slots=True)
class Text:
    """XML in UTF-8 whose declaration, if any, names no encoding. encoding: as it was. Lines are those of the file."""

    encoding: str
    blocks: Iterator[bytes]


def blocks(stream: BinaryIO) -> Iterator[bytes]:
    """What is left of a stream, in blocks."""
    while block := stream.read(BLOCK):
        yield block


def packing(start: bytes) -> str:
    """``gzip``, ``zip`` or ``plain``, by the first four bytes; the name of a file says nothing."""
    if start.startswith(_GZIP_MAGIC):
        return "gzip"
    return "zip" if start.startswith(_ZIP_MAGIC) else "plain"


# Packing


def gunzip(packed: Blocks, where: str, limits: Limits) -> Iterator[bytes]:
    """What a gzip stream holds, all its members. DataRefused for damage, a cut-off end and too much coming out."""
    guard = _Guard(where, limits)
    inflating = _Inflating()
    for block in packed:
        guard.passed(len(block), 0)
        try:
            for out in inflating.feed(block):
                guard.passed(0, len(out))
                yield out
        except zlib.error:
            raise _broken(where, "gzip") from None
    if not inflating.ended:
        raise _broken(where, "gzip")


class _Inflating:
    """The members of a gzip stream one after the other, and zeros that fill it up."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_GZIP)

    @property
    def ended(self) -> bool:
        return self._stream.eof

    def feed(self, block: bytes) -> Iterator[bytes]:
        """What comes out, in pieces of at most BLOCK bytes."""
        rest, full = block, False
        while rest or full:
            if self._stream.eof:
                if not rest.strip(b"\0"):
                    return
                self._stream = zlib.decompressobj(_GZIP)
            out = self._stream.decompress(rest, BLOCK)
            rest = self._stream.unconsumed_tail or self._stream.unused_data
            full = len(out) == BLOCK
            if out:
                yield out


Member = tuple[str, Callable[[], AbstractContextManager[BinaryIO]], int]


def members(archive: zipfile.ZipFile, where: str, limits: Limits) -> list[Member]:
    """Files in a zip: name, how to open, packed bytes. DataRefused for encrypted ones and too many."""
    infos = [info for info in archive.infolist() if not info.is_dir()]
    if len(infos) > limits.members:
        raise _refused(where, f"holds {len(infos)} files", f"at most {limits.members}")
    if any(info.flag_bits & 1 for info in infos):
        raise _refused(where, "is encrypted", "no password is asked for", fix="decrypt it first")
    return [(info.filename, _opener(archive, info), max(info.compress_size, 1)) for info in infos]


def _opener(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], AbstractContextManager[BinaryIO]]:
    return lambda: archive.open(info)  # type: ignore[return-value]  # an IO[bytes] that is a BinaryIO


def unzip(stream: BinaryIO, packed: int, where: str, limits: Limits) -> Iterator[bytes]:
    """What one file in a zip holds. DataRefused for damage, a wrong checksum and too much coming out."""
    guard = _Guard(where, limits)
    guard.passed(packed, 0)
    try:
        for block in blocks(stream):
            guard.passed(0, len(block))
            yield block
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
        raise _broken(where, "zip") from None


class _Guard:
    """Counts what went in and came out."""

    def __init__(self, where: str, limits: Limits) -> None:
        self._where, self._limits = where, limits
        self._in = self._out = 0

    def passed(self, went_in: int, came_out: int) -> None:
        self._in += went_in
        self._out += came_out
        if self._out > self._limits.bytes:
            raise _refused(self._where, "unpacks to too much", f"at most {self._limits.bytes} bytes")
        if self._out > max(self._limits.free, self._in * self._limits.ratio):
            raise _refused(self._where, "unpacks to suspiciously much", f"at most {self._limits.ratio} times its size")


def _broken(where: str, form: str) -> DataRefused:
    return _refused(where, f"is damaged or cut off as {form}", "a packed file is whole", fix="get the file anew")


def _refused(where: str, what: str, rule: str, fix: str = "unpack it yourself and look at it") -> DataRefused:
    return DataRefused(f"{where} {what}", where=where, rule=rule, fix=fix)


# Encoding


def as_utf8(raw: Blocks, where: str) -> Text:
    """The same document in UTF-8, without its mark and without the encoding in its declaration.

    Bytes said to be UTF-8 are handed on unchecked, since the XML parser checks them. DataRefused for an encoding that
    is not taken, that contradicts the bytes, or that the bytes do not keep to.
    """
    rest = iter(raw)
    start = b""
    while len(start) < _LONGEST_DECLARATION and (block := next(rest, b"")):
        start += block
    mark, found = _told_by_bytes(start)
    start = start[len(mark) :]
    declared = _declared(start[:_LONGEST_DECLARATION].decode(found or "latin-1", "replace"))
    encoding = _agreed(found, declared, where)
    text = chain((start,), rest)
    decoded = text if encoding == "utf-8" else _recoded(text, encoding, where)
    return Text(encoding.upper(), _no_longer_named(iter(decoded)))


def _told_by_bytes(start: bytes) -> tuple[bytes, str | None]:
    for mark, encoding in _MARKS:
        if start.startswith(mark):
            return mark, encoding
    return b"", next((encoding for pattern, encoding in _BARE_16 if pattern.match(start)), None)


def _declared(start: str) -> str | None:
    found = _DECLARATION.match(start)
    named = _NAMED.search(found[0]) if found else None
    return named[1].lower() if named else None


def _agreed(found: str | None, declared: str | None, where: str) -> str:
    if declared is not None and not _TAKEN.fullmatch(declared):
        raise _encoding_refused(where, "is in an encoding that is not taken")
    wide = found is not None and found.startswith("utf-16")
    says_wide = declared is not None and declared.startswith(("utf-16", "utf16"))
    if declared is not None and (wide != says_wide or (found == "utf-8" and declared not in {"utf-8", "utf8"})):
        raise _encoding_refused(where, "is not in the encoding that it declares")
    try:
        return found or codecs.lookup(declared or "utf-8").name
    except LookupError:
        raise _encoding_refused(where, "is in an encoding that is not taken") from None


def _recoded(raw: Blocks, encoding: str, where: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for block in raw:
            yield decoder.decode(block).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError:
        # A lone surrogate of UTF-16 fails when it is encoded. The text of the error quotes the bytes.
        raise _encoding_refused(where, f"holds bytes that are not {encoding.upper()}") from None


def _no_longer_named(utf8: Iterator[bytes]) -> Iterator[bytes]:
    """Take the encoding out of the declaration; the parser still judges the rest of it."""
    start = b""
    while len(start) < _LONGEST_DECLARATION and (block := next(utf8, b"")):
        start += block
    if found := _DECLARATION.match(start[:_LONGEST_DECLARATION].decode("latin-1")):
        kept = _NAMED.sub(lambda named: "\n" * named[0].count("\n"), found[0], count=1)
        start = kept.encode("latin-1") + start[found.end() :]
    return chain((start,), utf8)


def _encoding_refused(where: str, what: str) -> DataRefused:
    fix = "write it as UTF-8, and say so in the XML declaration"
    return DataRefused(f"{where} {what}", where=where, rule="XML_ENCODING", fix=fix)
