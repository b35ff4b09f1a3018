"""A message cut between patients into small documents that are valid together when the whole is.

Belongs here: where to cut, and the shell that makes each piece a document again. Does not belong here: judging pieces
(``transforms.validation.check``), packing and encodings (``transforms.validation.opening``).

A chunk is a run of whole patients. Its shell repeats what stands open around it: Melding with its Kontaktperson, the
holder (Institusjon) with its Enhet, and one empty patient, so that the content models stand where they would. All of
the shell is on line 1, whose faults are left out; they are told of the frame, which is the document without its chunks
but the first. Keys that span chunks are compared apart.

Cuts are found by searching bytes for the patient's start tag. In XML that search can only go wrong within comments,
CDATA or processing instructions, and elements out of place; the two pieces are then not well formed, and the caller
goes back to reading the document as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Final

from lxml import etree

from schemas.layout import Layout
from schemas.xsd import Walked, fragment, open_tags, walk

MSGHEAD: Final = "{http://www.kith.no/xmlstds/msghead/2006-05-24}"
CHUNK: Final = 262_144
_COMMENT: Final = re.compile(rb"<!--.*?-->", re.DOTALL)
SHELL_LINE: Final = 1
# A chunk as a tree takes about ten times its bytes, in each process.
LARGEST: Final = 1_048_576
_CUT: Final = etree.tostring(etree.PI("cut"))
_LEVELS: Final = 3  # Melding, holder, patient


class Whole(Exception):
    """The document cannot be cut, and is to be read as a whole. The text says why."""


@dataclass(frozen=True, slots=True)
class Shell:
    """What is put around chunks, one line each."""

    before: bytes
    after: bytes


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole patients. line: of the document, where ``data`` begins."""

    shell: Shell
    data: bytes
    line: int

    @property
    def document(self) -> bytes:
        """The patients in their shell."""
        return self.shell.before + b"\n" + self.data + self.shell.after


@dataclass(frozen=True, slots=True)
class Frame:
    """The document without its chunks but the first. joint: the line after which what follows the chunks begins."""

    document: bytes
    joint: int
    tail_line: int


class Cutter:
    """One message, read once. Raises Whole when it cannot be cut, and what ``layout_of`` raises for its namespace."""

    def __init__(self, blocks: Iterator[bytes], layout_of: Callable[[str], Layout], chunk: int = CHUNK) -> None:
        self._blocks = blocks
        self._chunk = chunk
        self._layout_of = layout_of
        self.layout: Layout | None = None
        self.in_head = False
        self.melding: dict[str, str] = {}
        self.bytes = 0
        self._rest = self._first = b""
        self._ended = False
        self._line = 1

    def start(self) -> Layout:
        """Read up to the first patient; the layout of the message."""
        walked = Walked()
        size = CHUNK
        while walked.index is None and not self._ended and size <= LARGEST:
            self._fill(size)
            walked = walk([self._rest], self._visit)
            size *= 2
        if self.layout is None:
            raise Whole("no Melding found")
        if walked.index is None:
            raise Whole("no patient found")
        self._head, self._rest = self._rest[: walked.index], self._rest[walked.index :]
        self._names = open_tags(self._head)
        self._patient = self._rest[1 : _end_of_name(self._rest)]
        self._shell_of_head()
        return self.layout

    def chunks(self) -> Iterator[Chunk]:
        """All runs of patients but the first, which becomes part of the frame."""
        before = self._first = self._next_chunk()
        self._line = 1 + self._head.count(b"\n") + before.count(b"\n")
        while data := self._next_chunk():
            self._follow(before)
            yield Chunk(self._shell, data, self._line)
            self._line += data.count(b"\n")
            before = data

    @property
    def begun(self) -> bool:
        """Whether a run of patients was found."""
        return bool(self._first)

    def frame(self, *, ended: bool = True) -> Frame:
        """What is around the chunks; to be called after them. Without an end, tags are closed where the first ends."""
        before = self._head + self._first
        tail = self._rest if ended else _closing(self._names)
        return Frame(before + b"\n" + tail, 1 + before.count(b"\n"), self._line)

    def _fill(self, size: int) -> None:
        parts, have = [self._rest], len(self._rest)
        while have < size and not self._ended:
            block = next(self._blocks, b"")
            self._ended = not block
            parts.append(block)
            have += len(block)
        self.bytes += have - len(self._rest)
        self._rest = b"".join(parts)

    def _visit(self, path: tuple[str, ...], attributes: dict[str, str]) -> bool:
        name = path[-1]
        if self.layout is None:
            if etree.QName(name).localname == "Melding":
                self.layout = self._layout_of(etree.QName(name).namespace or "")
                self.in_head = len(path) > 1
                self.melding = dict(attributes)
                self._above = path[:-1]
            elif len(path) == 1 and not name.startswith(MSGHEAD):
                self._layout_of(etree.QName(name).namespace or "")
            return False
        space = f"{{{self.layout.namespace}}}" if self.layout.namespace else ""
        return path == (*self._above, *(space + one for one in chain_of(self.layout)))

    # Chunks

    def _next_chunk(self) -> bytes:
        """The next run of patients, taken off what was read; empty at the end."""
        size = max(self._chunk, len(self._shell.before))
        while True:
            self._fill(size)
            if self._ended:
                cut = self._rest.rfind(b"</" + self._names[-1])
                if cut < 0:
                    raise Whole("the end tag around the patients was not found")
            else:
                cut = _last_tag(self._rest, self._patient)
            if cut > LARGEST or (cut <= 0 and size >= LARGEST):
                raise Whole("a patient is very large")
            if cut > 0 or self._ended:
                data, self._rest = self._rest[:cut], self._rest[cut:]
                return data
            size *= 2

    def _follow(self, before: bytes) -> None:
        """Renew the shell when another holder has begun in the run before."""
        if _last_tag(before, self._names[-1]) < 0:
            return
        data = _COMMENT.sub(b"", before)
        start = _last_tag(data, self._names[-1])
        if start < 0:
            return
        first = next((m.start() for m in _tag(self._patient).finditer(data, start)), -1)
        if first < 0 or b"<!" in data or b"<?" in before or len(chain_of(self._known())) != _LEVELS:
            raise Whole("another institution begins in an unusual way")
        closing = b"</" + self._names[-1] + b">"
        tree = fragment(self._around.before + data[start:first] + closing + self._around.after)
        if tree is None:
            raise Whole("another institution begins in an unusual way")
        self._make_shell(tree[-1], tree)

    def _known(self) -> Layout:
        if self.layout is None:
            raise Whole("no Melding found")
        return self.layout

    # Shells

    def _shell_of_head(self) -> None:
        tree = fragment(self._head + _closing(self._names))
        if tree is None:
            raise Whole("the head is not well formed")
        node, melding = tree, tree
        for depth in range(1, len(self._names)):
            node = node[-1]
            melding = node if depth == len(self._above) else melding
        self._make_shell(node, melding)

    def _make_shell(self, holder: etree._Element, melding: etree._Element) -> None:
        steps = []
        while holder is not melding:
            holder = _parent(holder)
            steps.append(-1)
        own = deepcopy(melding)
        for element in own.iter():
            element.text = element.tail = None
        inner = own
        for step in steps:
            inner = inner[step]
        patient = f"{{{self._known().namespace}}}" if self._known().namespace else ""
        etree.SubElement(inner, patient + chain_of(self._known())[-1])
        self._shell = _split(inner, own)
        if steps:
            above = _parent(inner)
            above.remove(inner)
            self._around = _split(above, own)


def chain_of(layout: Layout) -> tuple[str, ...]:
    """Names from Melding down to the patient."""
    return _names_to(layout, layout.patient)


def places(layout: Layout, cls: str) -> list[str]:
    """Where a class stands, as paths of names from Melding; ``.`` for Melding itself."""
    paths = ("/".join(_names_to(layout, node.id)[1:]) for node in layout.nodes if node.name == cls)
    return [path or "." for path in paths]


def _names_to(layout: Layout, node_id: str | None) -> tuple[str, ...]:
    names = []
    while node_id is not None:
        node = layout.node(node_id)
        names.append(node.name)
        node_id = node.parent
    return tuple(reversed(names))


def _closing(names: list[bytes]) -> bytes:
    return b"".join(b"</" + name + b">" for name in reversed(names))


def _parent(element: etree._Element) -> etree._Element:
    parent = element.getparent()
    if parent is None:
        raise Whole("the holder of patients stands outside Melding")
    return parent


def _split(inside: etree._Element, root: etree._Element) -> Shell:
    """The text of a tree before and after the end of what is inside an element."""
    inside.append(etree.PI("cut"))
    before, _, after = etree.tostring(root, encoding="utf-8", xml_declaration=False).partition(_CUT)
    inside.remove(inside[-1])
    return Shell(before, after)


def _end_of_name(data: bytes) -> int:
    found = re.compile(rb"[\s/>]").search(data)
    return found.start() if found else len(data)


def _tag(name: bytes) -> re.Pattern[bytes]:
    return re.compile(b"<" + re.escape(name) + rb"[\s/>]")


def _last_tag(data: bytes, name: bytes) -> int:
    """Where the last start tag of that name begins; -1 when there is none."""
    end = len(data)
    while (found := data.rfind(b"<" + name, 0, end)) >= 0:
        if data[found + len(name) + 1 : found + len(name) + 2] in {b" ", b"\t", b"\n", b"\r", b"/", b">"}:
            return found
        end = found + len(name)
    return -1
