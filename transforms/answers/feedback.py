"""Schema and content reports of the register (NPR_VAL, NPR_ERR) in XML, CSV and html.

Belongs here: going through each form in bounded memory, without a tree. Does not belong here: what names mean
(``schemas.feedback_fields``), what follows from a report (``transforms.answers.reading``).
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Mapping
from typing import Final

from lxml import etree

from schemas.errors import DataRefused
from schemas.xsd import html_parser, walk
from transforms.answers.told import LONGEST, Lines, Told, is_error
from transforms.validation.opening import BLOCK, as_utf8

MOST: Final = 32_000_000
MOST_TAGS: Final = 2_000_000
LONGEST_TAG: Final = 1_000_000
MSGHEAD: Final = "{http://www.kith.no/xmlstds/msghead/2006-05-24}"
_OF_HEAD: Final = {f"{MSGHEAD}RefToParent": "msg_id", f"{MSGHEAD}GenDate": "generated"}
_DELIMITERS: Final = (";", "\t", ",", "|")
_HEADING_WITHIN: Final = 50
_PIECE: Final = 16_384


# --- XML ---


def xml(data: bytes, told: Told) -> list[str]:
    """Go through XML in any encoding. Returns what may say which kind it is: type, root element, namespace."""
    utf8 = b"".join(as_utf8([data], told.where).blocks)
    _insist_tags(utf8, told.where)
    reader = _Elements(told)
    found = walk([utf8], reader.start, reader.text)
    if found.fault is not None:
        place = f"{told.where}, line {found.fault.line}"
        raise DataRefused(
            f"{told.where}: {found.fault.text}", where=place, rule=found.fault.rule, fix="ask for it anew"
        )
    reader.end(0)
    return reader.says


def _insist_tags(data: bytes, where: str) -> None:
    """Tags are few and short: a tag's attributes are all in memory at once."""
    tags, last = 0, 0
    while (found := data.find(b"<", last)) >= 0:
        tags += 1
        if tags > MOST_TAGS or found - last > LONGEST_TAG:
            break
        last = found + 1
    if tags > MOST_TAGS or (found if found >= 0 else len(data)) - last > LONGEST_TAG:
        rule = f"at most {MOST_TAGS} tags, and {LONGEST_TAG} bytes from one to the next"
        raise DataRefused(f"{where} is no feedback: its tags are too many or too long", where=where, rule=rule)


class _Elements:
    """Elements as they begin and end. Fields are attributes, or elements with a text.

    What stands around an error (its episode, its patient) holds for it too.
    """

    def __init__(self, told: Told) -> None:
        self.says: list[str] = []
        self._told = told
        self._open: list[tuple[str, dict[str, str]]] = []  # field that the element's name means, fields inside it
        self._texts: list[str] = []

    def start(self, path: tuple[str, ...], attributes: dict[str, str]) -> bool:
        self.end(len(path) - 1)
        name = path[-1]
        space, _, local = name.rpartition("}")
        if len(path) == 1:
            self.says += [local, space]
        given: dict[str, str] = {}
        if name.startswith(MSGHEAD):
            if local == "Type":
                self.says.append(attributes.get("V", ""))
            field = _OF_HEAD.get(name, "")
        else:
            field = self._told.field(local)
            for attribute, value in attributes.items():
                if known := self._told.field(attribute.rpartition("}")[2]):
                    given[known] = value[:LONGEST]
                    self._told.heads(known, value)
            if field and "V" in attributes:  # a coded value: its code is the value
                self._put(field, attributes["V"])
            elif local in ("Innhold", "Melding") and not self.says:
                self.says.append(local)
        self._open.append((field, given))
        self._texts.append("")
        return False

    def text(self, path: tuple[str, ...], text: str) -> None:
        place = len(path) - 1
        if place == len(self._open) - 1 and self._open[place][0] and len(self._texts[place]) < LONGEST:
            self._texts[place] += text[:LONGEST]

    def end(self, depth: int) -> None:
        """All elements deeper than this have ended."""
        while len(self._open) > depth:
            field, given = self._open.pop()
            value = self._texts.pop().strip()
            if is_error(given):
                around: dict[str, str] = {}
                for _, fields in self._open:
                    around |= fields
                self._told.error(around | given)
            if field and value:
                self._put(field, value)

    def _put(self, field: str, value: str) -> None:
        if self._open:
            self._open[-1][1][field] = value[:LONGEST]
        self._told.heads(field, value)


# --- CSV ---


def is_text(data: bytes) -> bool:
    """Whether bytes may be text: no control characters but blanks, once their encoding is known."""
    encoding = _encoding(data)
    start = data[:4_096].decode(encoding, "replace")
    return bool(start.strip()) and not any(ord(c) < ord(" ") and c not in "\t\r\n\f" for c in start)


def table(data: bytes, told: Told) -> bool:
    """Go through CSV with whatever encoding and delimiter. True where a heading was found."""
    lines = Lines(told)
    encoding = _encoding(data)
    with io.TextIOWrapper(io.BytesIO(data), encoding, errors="replace", newline="") as stream:
        delimiter = _delimiter(stream)
        stream.seek(0)
        try:
            for number, cells in enumerate(csv.reader(stream, delimiter=delimiter)):
                if number > _HEADING_WITHIN and not lines.headings:
                    return False
                lines.line([cell.removeprefix("\ufeff") for cell in cells])
        except csv.Error:
            raise DataRefused(
                f"{told.where} cannot be read as CSV", where=told.where, rule="RFC 4180", fix="ask for it anew"
            ) from None
    return bool(lines.headings)


def _encoding(data: bytes) -> str:
    """UTF-8 where the bytes are, UTF-16 by its mark, else Windows-1252, which Norwegian Excel writes."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    decoder = codecs.getincrementaldecoder("utf-8")()
    view = memoryview(data)
    try:
        for start in range(0, len(data), BLOCK):
            decoder.decode(view[start : start + BLOCK])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8-sig"


def _delimiter(stream: io.TextIOWrapper) -> str:
    start = stream.read(_PIECE)
    return max(_DELIMITERS, key=start.count)


# --- html ---


def html(data: bytes, told: Told) -> list[str]:
    """Go through html: tables and lines ``name: value``. Returns its title and headings, which may say its kind."""
    page = _Page(told)
    encoding = _encoding(data)
    parser = html_parser(page)
    try:
        for piece in _recoded(data, encoding):
            parser.feed(piece)
        parser.close()
    except etree.LxmlError:
        raise DataRefused(f"{told.where} cannot be read as html", where=told.where, fix="ask for it anew") from None
    return page.says


def _recoded(data: bytes, encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    for start in range(0, len(data), BLOCK):
        yield decoder.decode(data[start : start + BLOCK]).replace("\0", " ").encode("utf-8", "replace")
    yield decoder.decode(b"", final=True).encode("utf-8", "replace")


class _Page:
    """Target of the html parser: nothing of the page is kept but the line at hand."""

    _CELLS: Final = frozenset({"td", "th"})
    _TITLES: Final = frozenset({"title", "h1", "h2", "caption"})
    _BREAKS: Final = frozenset({"p", "br", "div", "li", "dd", "dt", "h3", "h4"})
    _MOST_CELLS: Final = 200

    def __init__(self, told: Told) -> None:
        self.says: list[str] = []
        self._lines = Lines(told)
        self._cells: list[str] | None = None
        self._title = False
        self._silent = False
        self._text = ""

    def start(self, tag: str, _attributes: Mapping[str, str]) -> None:
        if tag in ("script", "style"):
            self._silent = True
        elif tag == "table":
            self._flush()
            self._lines.table()
        elif tag == "tr":
            self._row()
            self._cells = []
        elif tag in self._CELLS and self._cells is not None and len(self._cells) < self._MOST_CELLS:
            self._cells.append("")
        elif tag in self._TITLES or tag in self._BREAKS:
            self._flush()
            self._title = tag in self._TITLES

    def end(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._silent = False
        elif tag in ("tr", "table"):
            self._row()
            self._cells = None
        elif tag in self._TITLES or tag in self._BREAKS:
            self._flush()
            self._title = False

    def data(self, text: str) -> None:
        if self._silent:
            return
        if self._cells:
            if len(self._cells[-1]) < LONGEST:
                self._cells[-1] += text[:LONGEST]
        elif len(self._text) < LONGEST:
            self._text += text[:LONGEST]

    def close(self) -> None:
        self._row()
        self._flush()

    def _row(self) -> None:
        if self._cells:
            self._lines.line([" ".join(cell.split()) for cell in self._cells])
        self._cells = None

    def _flush(self) -> None:
        text, self._text = " ".join(self._text.split()), ""
        if not text or self._cells is not None:
            return
        if self._title and len(self.says) < self._MOST_CELLS:
            self.says.append(text)
        self._lines.line([text])
