"""How a text file is written: encoding, separator, decimal sign, and whether letters were lost on the way.

Belongs here: decisions over bytes and header lines, pure. Does not belong here: opening files (``assets.snapshot``) and
types of values (``transforms.extract.parse``).
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from schemas.errors import DataRefused

SEPARATORS = (";", ",", "\t")
NAMES = {";": "semicolon", ",": "comma", "\t": "tab"}
BOM = codecs.BOM_UTF8
CODECS = {"utf-8": "utf-8", "iso-8859-1": "iso-8859-1", "windows-1252": "cp1252"}
# U+FFFD; UTF-8 read as a one-byte encoding (Ã and a second character); a question mark inside a word.
LOST = r"\x{FFFD}|Ã[\x{80}-\x{BF}†˜…]|\p{L}\?\p{L}"  # noqa: RUF001 - the tilde is half of a lost Ø


@dataclass(frozen=True, slots=True)
class Dialect:
    """What was decided of one text file, and whether it was declared or detected."""

    encoding: str
    bom: bool
    separator: str
    decimal: str
    decided: str  # declared | detected | partly declared


def detect_encoding(chunks: Iterable[bytes]) -> str:
    """utf-8 where every byte fits it; else windows-1252 where its extra letters occur; else iso-8859-1."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    is_utf8, extra = True, False
    for chunk in chunks:
        if is_utf8:
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError:
                is_utf8 = False
        # 0x80-0x9F are letters and quotes in Windows-1252 and control characters in ISO-8859-1.
        extra = extra or len(chunk.translate(None, _C1)) != len(chunk)
    if is_utf8 and _complete(decoder):
        return "utf-8"
    return "windows-1252" if extra else "iso-8859-1"


_C1 = bytes(range(0x80, 0xA0))


def _complete(decoder: codecs.IncrementalDecoder) -> bool:
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def recode(chunks: Iterable[bytes], encoding: str, file: str) -> Iterator[bytes]:
    """The same text in UTF-8. DataRefused, with the line, where a byte does not fit the encoding."""
    decoder = codecs.getincrementaldecoder(CODECS[encoding])()
    line = 1
    for chunk in chunks:
        try:
            text = decoder.decode(chunk)
        except UnicodeDecodeError as error:
            # Of the error's own bytes: they begin with what was left over from the chunk before.
            line += error.object[: error.start].count(b"\n")
            raise _undecodable(file, encoding, line) from None
        line += chunk.count(b"\n")
        yield text.encode()
    try:
        yield decoder.decode(b"", final=True).encode()
    except UnicodeDecodeError:
        raise _undecodable(file, encoding, line) from None


def _undecodable(file: str, encoding: str, line: int) -> DataRefused:
    return DataRefused(
        f"{file}: not {encoding}",
        where=f"{file}, line {line}",
        fix=f"declare the right encoding in extract.toml ([files.…] encoding = one of {', '.join(CODECS)}), "
        "or leave it out to have it detected",
    )


def split_header(line: str, separator: str) -> list[str]:
    """Column names of a header line; none where it is not a line (ended by carriage returns alone)."""
    try:
        return [name.strip() for name in next(csv.reader([line], delimiter=separator), [])]
    except csv.Error:
        return []


def detect_separator(header: str, known: Sequence[str], file: str, declared: str | None) -> str:
    """The separator under which most contract columns appear. DataRefused when the declared one cannot be right.

    known: the table's column names. The message shows no part of the header: it may be a row of data.
    """
    hits = {sep: len(set(split_header(header, sep)) & set(known)) for sep in SEPARATORS}
    best = max(SEPARATORS, key=lambda sep: hits[sep])
    if declared and hits[declared] < hits[best]:
        raise DataRefused(
            f"{file}: declared as separated by {NAMES[declared]}, but the header is separated by {NAMES[best]}",
            where=f"{file}, line 1",
            rule="separator",
            fix=f"set separator to the {NAMES[best]} in extract.toml, or leave it out to have it detected",
        )
    if hits[best] == 0:
        raise DataRefused(
            f"{file}: the first line names no column of the contract",
            where=f"{file}, line 1",
            rule="header",
            fix=f"the first line must be the header, separated by comma, semicolon or tab: {', '.join(known[:4])}, …",
        )
    return declared or best


def short_record(tail: str, separator: str, columns: int) -> bool:
    """Whether the last record of a file has fewer fields than its header: the mark of a cut file."""
    # Not splitlines: it also splits at U+2028, U+0085 and the vertical tab, which are text to a CSV file.
    lines = tail.replace("\r", "").split("\n")
    records = [record for record in csv.reader(lines, delimiter=separator) if record]
    return bool(records) and len(records[-1]) < columns


def lost_letters(frame: pl.DataFrame) -> pl.DataFrame:
    """Places (``_row``, ``column``) of text that has lost æ, ø, å or other letters by a wrong decoding."""
    found = [
        frame.filter(pl.col(name).str.contains(LOST)).select("_row", column=pl.lit(name))
        for name, dtype in frame.schema.items()
        if dtype == pl.String
    ]
    return pl.concat([pl.DataFrame(schema={"_row": frame.schema["_row"], "column": pl.String}), *found]).sort("_row")
