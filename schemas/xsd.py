"""XML and XSD from outside, loaded safely, and documents checked against a schema in constant memory.

Belongs here: the one way in which this project parses XML and compiles XSD, the local catalogue for imports, and faults
that carry no value of the document. Does not belong here: what the classes of a message are (``schemas.layouts``).

What is guarded against, each of it measured with lxml 6.1.3 (libxml2 2.14.6):

* An lxml feed parser that validates takes a document that is cut off, or not well formed, as read to its end. So expat
  reads the same bytes first and has the word on well-formedness; it also refuses any DOCTYPE, and so all entities.
* ``XMLParser(target=..., schema=...)`` reports nothing at all; it is not used.
* An import that cannot be loaded is passed over by libxml2 without a word. So every schema document is read here, and
  libxml2 gets them from memory and nothing from disk or network.
* Messages of libxml2 quote values. Only its rule names, and names that the schema knows, are let through.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.parsers import expat

from lxml import etree

from schemas.errors import DataRefused, WrongUse
from schemas.layout import Layout

XSD: Final = "{http://www.w3.org/2001/XMLSchema}"
HEAD: Final = Path(__file__).parent / "msghead" / "MsgHead.xsd"
MOST_FAULTS: Final = 100
BEYOND: Final = "XML_NOT_READ"

# Namespace -> our file, used where an import names a place that is remote or not there.
CATALOGUE: Final = {
    "http://www.w3.org/2000/09/xmldsig#": HEAD.parent / "xmldsig.xsd",
    "http://www.kith.no/xmlstds/base64container": HEAD.parent / "base64container.xsd",
    "http://www.kith.no/xmlstds/msghead/2006-05-24": HEAD,
}

_LOADING: Final = tuple(XSD + name for name in ("import", "include", "redefine", "override"))
# libxml2 tells no line while streaming, so it is fed in pieces small enough to tell the place by.
_PIECE: Final = 4096
# expat before 2.6 reads a long token anew with each piece it comes in: 14 s for 10 MB in pieces of 4 KiB.
_BLOCK: Final = 262_144
_LONGEST_PROLOG: Final = 1_048_576


@dataclass(frozen=True, slots=True)
class SchemaFault:
    """One fault of a document, without any value of it.

    line: in a stream, where the 4 KiB that showed the fault begin; libxml2 knows no line there. column: known for
    faults of well-formedness only. element, attribute: local names. rule: libxml2's name of the rule, or XML_*.
    """

    line: int | None
    column: int | None
    element: str | None
    attribute: str | None
    rule: str
    text: str


# Parsing


def parser() -> etree.XMLParser:
    """A parser that loads nothing, expands nothing and keeps libxml2's limits on size and depth."""
    return etree.XMLParser(
        no_network=True, load_dtd=False, dtd_validation=False, resolve_entities=False, huge_tree=False, recover=False
    )


def parse(data: bytes, where: str) -> etree._Element:
    """The root of a whole document. DataRefused when it is not well formed, has a DOCTYPE or is beyond the limits.

    where: a name of the document for the message (file name, part of a mail).
    """
    gate = _Gate()
    fault = gate.feed(data) or gate.close()
    if fault is not None:
        place = f"{where}, line {fault.line}, column {fault.column}"
        raise DataRefused(f"{where}: {fault.text}", where=place, rule=fault.rule, fix="get the document anew")
    try:
        return etree.fromstring(data, parser())
    except etree.XMLSyntaxError:
        # The text of libxml2 may quote the document.
        raise DataRefused(f"{where}: beyond what the parser takes", where=where, rule=BEYOND) from None


class _Gate:
    """Expat over the same bytes: well-formedness, no DOCTYPE, and the name of the root element."""

    def __init__(self) -> None:
        self.root: str | None = None
        self._doctype = False
        self._expat = expat.ParserCreate(namespace_separator=" ")
        self._expat.StartDoctypeDeclHandler = self._on_doctype
        self._expat.StartElementHandler = self._on_root

    def feed(self, data: bytes) -> SchemaFault | None:
        return self._parse(data, final=False)

    def close(self) -> SchemaFault | None:
        return self._parse(b"", final=True)

    def _parse(self, data: bytes, *, final: bool) -> SchemaFault | None:
        try:
            self._expat.Parse(data, final)
        except _DoctypeFoundError:
            line, column = self._expat.CurrentLineNumber, self._expat.CurrentColumnNumber
            return SchemaFault(line, column, None, None, "XML_DOCTYPE", "a DOCTYPE is not taken")
        except expat.ExpatError as error:
            text = f"not well formed: {expat.ErrorString(error.code)}"
            return SchemaFault(error.lineno, error.offset, None, None, "XML_NOT_WELL_FORMED", text)
        return None

    def _on_doctype(self, *_: object) -> None:
        raise _DoctypeFoundError

    def _on_root(self, name: str, _: object) -> None:
        space, _, local = name.rpartition(" ")
        self.root = f"{{{space}}}{local}" if space else local
        self._expat.StartElementHandler = None


class _DoctypeFoundError(Exception):
    """Leaves expat at the DOCTYPE."""


# Schemas


class _Bundle(etree.Resolver):
    """Schema documents that belong together, under names of our own. libxml2 is given these and nothing else."""

    def __init__(self) -> None:
        self.names: dict[Path, str] = {}
        self._documents: dict[str, bytes] = {}

    def add(self, path: Path) -> str:
        """Read a schema and all it loads; the name to load it by. WrongUse when any of it cannot be had locally."""
        path = path.resolve()
        if path not in self.names:
            name = self.names[path] = f"schema-{len(self.names)}.xsd"
            root = _schema_root(path)
            for element in root.iterchildren(*_LOADING):
                if element.get("schemaLocation") is not None:
                    element.set("schemaLocation", self.add(_located(path, element)))
            self._documents[name] = etree.tostring(root, encoding="utf-8")
        return self.names[path]

    def resolve(  # type: ignore[override]  # the stubs leave out the context that lxml hands over
        self,
        system_url: str,
        public_id: str,  # noqa: ARG002 - lxml's signature
        context: object,
    ) -> object:
        name = system_url.rpartition("/")[2]
        # Anything unknown becomes an empty document, and with that a schema that does not compile.
        return self.resolve_string(self._documents.get(name, b""), context, base_url=name)

    def compile(self, document: bytes, where: str) -> etree.XMLSchema:
        loading = parser()
        loading.resolvers.add(self)
        try:
            return etree.XMLSchema(etree.fromstring(document, loading))
        except etree.XMLSchemaParseError as error:
            raise WrongUse(f"{where} is not a schema that compiles", where=str(error), rule="XML Schema 1.0") from None


def _schema_root(path: Path) -> etree._Element:
    try:
        root = parse(path.read_bytes(), path.name)
    except OSError as error:
        raise WrongUse(f"{path.name} cannot be read", where=str(path), fix=str(error.strerror)) from None
    except DataRefused as error:
        raise WrongUse(
            error.what, where=error.where, rule=error.rule, fix="get the schema from its publisher"
        ) from None
    if root.tag != f"{XSD}schema":
        raise WrongUse(f"{path.name} is no XML schema", where=str(path), rule="XML Schema 1.0")
    return root


def _located(path: Path, element: etree._Element) -> Path:
    """The file an import or include means: beside the schema itself, else in the catalogue."""
    location = element.get("schemaLocation", "")
    beside = path.parent / location
    # A schema from outside must not reach into other folders, let alone the network.
    if location == Path(location).name and beside.is_file():
        return beside
    if (ours := CATALOGUE.get(element.get("namespace", ""))) is not None:
        return ours
    raise WrongUse(
        f"{path.name} loads {location}, which is not beside it",
        where=f"{path}, line {element.sourceline}",
        rule="schemas are loaded from their own folder or the catalogue, never from the network",
        fix="put the file beside the schema that loads it",
    )


def local_files(path: Path) -> tuple[Path, ...]:
    """A schema and all files it loads, by name. WrongUse when any of it cannot be had locally."""
    bundle = _Bundle()
    bundle.add(path)
    return tuple(sorted(bundle.names, key=lambda file: (file.name, file)))


def compile_schema(path: Path) -> etree.XMLSchema:
    """A schema with all it loads, from local files only. WrongUse when it cannot be loaded or does not compile."""
    return _driver([path])


def compile_with_head(layout: Layout) -> etree.XMLSchema:
    """The schema of head message and module together; the head's Content takes only elements that are declared."""
    return _driver([HEAD, layout.xsd])


def _driver(paths: list[Path]) -> etree.XMLSchema:
    bundle = _Bundle()
    root = etree.Element(f"{XSD}schema")
    for path in paths:
        name = bundle.add(path)
        namespace = _schema_root(path).get("targetNamespace")
        element = etree.SubElement(root, f"{XSD}import" if namespace else f"{XSD}include", schemaLocation=name)
        if namespace:
            element.set("namespace", namespace)
    return bundle.compile(etree.tostring(root), " with ".join(path.name for path in paths))


# Validation


def validate_stream(schema: etree.XMLSchema, chunks: Iterable[bytes], limit: int = MOST_FAULTS) -> list[SchemaFault]:
    """Faults of a document, at most ``limit``; empty when it is valid. Never raises for what the document holds.

    chunks: the bytes, in pieces of any size. Reading ends at the first fault of well-formedness, or at the limit.
    Memory: what one element path takes, and what the schema's keys hold.
    """
    validation = _Validation(schema, limit)
    for block in _blocks(chunks):
        validation.feed(block)
        if validation.stopped or len(validation.faults) >= limit:
            return validation.faults[:limit]
    validation.close()
    return validation.faults[:limit]


def _blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in blocks of even size, without a copy of a whole large chunk."""
    held = bytearray()
    for chunk in chunks:
        view = memoryview(chunk)
        for start in range(0, len(view), _BLOCK):
            held += view[start : start + _BLOCK]
            if len(held) >= _BLOCK:
                yield bytes(held)
                held.clear()
    if held:
        yield bytes(held)


class _Validation:
    """One document on its way through expat and libxml2."""

    def __init__(self, schema: etree.XMLSchema, limit: int) -> None:
        self.faults: list[SchemaFault] = []
        self.stopped = False
        self._schema = schema
        self._limit = limit
        self._gate = _Gate()
        self._prolog = b""
        self._reader: etree.XMLPullParser | None = None
        self._root: etree._Element | None = None
        self._open = 0
        self._line = 1
        self._seen = 0

    def feed(self, block: bytes) -> None:
        if fault := self._gate.feed(block):
            self._stop(fault)
        elif self._reader is not None:
            self._read(block)
        else:
            self._begin(block)

    def close(self) -> None:
        if fault := self._gate.close():
            self._stop(fault)
            return
        # A root that stands in one piece with the end is told by expat only now.
        if self._reader is None:
            self._begin(b"")
        self._end()

    def _begin(self, block: bytes) -> None:
        """Keep what comes before the root, since the reader wants to know its name."""
        self._prolog += block
        if self._gate.root is not None:
            self._reader = etree.XMLPullParser(
                events=("start", "end"),
                tag=self._gate.root,
                schema=self._schema,
                no_network=True,
                load_dtd=False,
                resolve_entities=False,
                huge_tree=False,
                remove_comments=True,
                remove_pis=True,
            )
            self._read(self._prolog)
        elif len(self._prolog) > _LONGEST_PROLOG:
            self._stop(SchemaFault(1, None, None, None, "XML_PROLOG", "no element at the beginning of the document"))

    def _read(self, block: bytes) -> None:
        assert self._reader is not None  # noqa: S101 - narrowed by the callers
        for start in range(0, len(block), _PIECE):
            if self.stopped or len(self.faults) >= self._limit:
                return
            piece = block[start : start + _PIECE]
            try:
                self._reader.feed(piece)
            except etree.XMLSyntaxError:
                self._broken()
            self._follow()
            self._line += piece.count(b"\n")

    def _follow(self) -> None:
        assert self._reader is not None  # noqa: S101 - narrowed by the callers
        for event, element in self._reader.read_events():
            self._open += 1 if event == "start" else -1
            if self._root is None and not isinstance(element, tuple):
                self._root = element
        self._collect()
        if self._root is not None:
            _prune(self._root)

    def _collect(self) -> None:
        assert self._reader is not None  # noqa: S101 - narrowed by the callers
        log = self._reader.feed_error_log
        if len(log) > self._seen:
            self.faults += [_fault(entry, self._line) for entry in list(log)[self._seen :]]
            self._seen = len(log)

    def _end(self) -> None:
        if self._reader is None:
            return
        try:
            self._reader.close()
        except etree.XMLSyntaxError:
            self._follow()
            self._broken()
        else:
            self._follow()
        if not self.faults and (self._root is None or self._open):
            text = "the reader stopped before the end of the document"
            self._stop(SchemaFault(self._line, None, None, None, BEYOND, text))

    def _broken(self) -> None:
        """Libxml2 gave up, or says at the end that there were faults."""
        self._collect()
        if not self.faults:
            text = "beyond what the parser takes"
            self.faults.append(SchemaFault(self._line, None, None, None, BEYOND, text))
        self.stopped = True

    def _stop(self, fault: SchemaFault) -> None:
        self.faults.append(fault)
        self.stopped = True


def _prune(root: etree._Element) -> None:
    """Let go of all that is closed: everything but the last child, on each level."""
    node = root
    while len(node):
        del node[:-1]
        node = node[-1]


# Faults without values

_HEAD_OF_MESSAGE: Final = re.compile(r"Element '([^']+)'(?:, attribute '([^']+)')?: ")
_REQUIRED: Final = re.compile(r"The attribute '([^']+)' is required")
_TYPE: Final = re.compile(r"is not a valid value of the [a-z ]*type '([^']+)'\.$")
_FACET: Final = re.compile(r"\[facet '([A-Za-z]+)'\]")
_CONSTRAINT: Final = re.compile(r" '([^']+)'\.$")
_NAMESPACE: Final = re.compile(r"\{[^}]*\}")
# A name in a document that is not ours may be anything, so also a number that means a person.
_NAME: Final = re.compile(r"(?!.*\d{6})[^\W\d][\w.-]{0,63}")

_TEXTS: Final = {
    "SCHEMAV_CVC_COMPLEX_TYPE_4": "the attribute is required but missing",
    "SCHEMAV_CVC_COMPLEX_TYPE_3_2_1": "the attribute is not allowed",
    "SCHEMAV_CVC_COMPLEX_TYPE_3_2_2": "the attribute is not allowed",
    "SCHEMAV_CVC_COMPLEX_TYPE_2_1": "the element must be empty",
    "SCHEMAV_CVC_COMPLEX_TYPE_2_3": "text is not allowed between the elements",
    "SCHEMAV_CVC_WILDCARD": "no schema that was loaded declares this element",
    "SCHEMAV_CVC_ELT_1": "no schema that was loaded declares this element",
    "SCHEMAV_CVC_ELT_5_2_2_2_2": "differs from the fixed value",
    "SCHEMAV_CVC_AU": "differs from the fixed value",
}


def safe_errors(error_log: etree._ListErrorLog) -> list[SchemaFault]:
    """The entries of an lxml error log without any value of the document."""
    return [_fault(entry, entry.line or None) for entry in error_log]


def _fault(entry: etree._LogEntry, line: int | None) -> SchemaFault:
    message = entry.message or ""
    head = _HEAD_OF_MESSAGE.match(message)
    element, attribute = head.groups() if head else (None, None)
    rest = message[head.end() :] if head else ""
    if required := _REQUIRED.match(rest):
        attribute = required[1]
    rule = str(entry.type_name)
    return SchemaFault(line, entry.column or None, _known(element), _known(attribute), rule, _text(rule, rest))


def _text(rule: str, rest: str) -> str:
    if rule in _TEXTS:
        return _TEXTS[rule]
    if rule == "SCHEMAV_ELEMENT_CONTENT":
        # Names what the schema expects, and nothing of the document.
        return _NAMESPACE.sub("", rest) or "the content is not what the schema expects"
    if rule == "SCHEMAV_CVC_IDC":
        return _text_of_constraint(rest)
    if facet := _FACET.match(rest):
        return f"the value breaks the limit {facet[1]} of its type"
    if found := _TYPE.search(rest):
        return f"not a value of the type {_known(found[1])}"
    return "breaks the schema"


def _text_of_constraint(rest: str) -> str:
    # The name of the constraint ends the message; the values before it are cut away.
    found = _CONSTRAINT.search(rest)
    name = (_known(found[1]) if found else None) or "a constraint"
    if rest.startswith("Duplicate"):
        return f"the key occurs twice ({name})"
    return f"refers to something that is not there ({name})" if rest.startswith("No match") else f"breaks {name}"


def _known(name: str | None) -> str | None:
    local = _NAMESPACE.sub("", name).rpartition(":")[2] if name else ""
    return local if _NAME.fullmatch(local) else None
