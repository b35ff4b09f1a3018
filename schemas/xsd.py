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
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final, Protocol, cast
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
    "http://www.w3.org/1999/xlink": HEAD.parent / "xlink.xsd",
    "http://www.w3.org/XML/1998/namespace": HEAD.parent / "xml.xsd",
}

_LOADING: Final = tuple(XSD + name for name in ("import", "include", "redefine", "override"))
# libxml2 tells no line while streaming, so it is fed no more than one line at once.
_PIECE: Final = 4096
# expat before 2.6 reads a long token anew with each piece it comes in: 14 s for 10 MB in pieces of 4 KiB.
_BLOCK: Final = 262_144
_LONGEST_PROLOG: Final = 1_048_576
# Bytes of one tag with its attributes or one comment, and of one text, that a stream may bring (to within a block).
LONGEST_TAG: Final = 8_388_608
LONGEST_TEXT: Final = 67_108_864
DEEPEST: Final = 256


@dataclass(frozen=True, slots=True)
class SchemaFault:
    """One fault of a document, without any value of it.

    line: in a stream, the line at which the fault showed (the end of the start tag, or of the element when something is
    missing in it); libxml2 knows no line there. column: known for faults of well-formedness only. element, attribute:
    local names. rule: libxml2's name of the rule, or XML_*.
    """

    line: int | None
    column: int | None
    element: str | None
    attribute: str | None
    rule: str
    text: str


# Parsing


def parser(*, long_text: bool = False) -> etree.XMLParser:
    """A parser that loads nothing, expands nothing and keeps libxml2's limits on size and depth.

    long_text: without those limits, for documents whose size is known and that hold one text above ten million
    characters.
    """
    return etree.XMLParser(
        no_network=True, load_dtd=False, dtd_validation=False, resolve_entities=False, huge_tree=long_text
    )


def html_parser(target: Any) -> etree.HTMLParser:  # noqa: ANN401 - any target of lxml
    """A parser of html in UTF-8 that builds no tree, hands all to a target, and loads nothing."""
    return etree.HTMLParser(target=target, no_network=True, encoding="utf-8", remove_comments=True, remove_pis=True)


def parse(data: bytes, where: str, *, long_text: bool = False) -> etree._Element:
    """The root of a whole document. DataRefused when it is not well formed, has a DOCTYPE or is beyond the limits.

    where: a name of the document for the message (file name, part of a mail). long_text: as for ``parser``.
    """
    gate = _Gate()
    fault = gate.feed(data) or gate.close()
    if fault is not None:
        place = f"{where}, line {fault.line}, column {fault.column}"
        raise DataRefused(f"{where}: {fault.text}", where=place, rule=fault.rule, fix="get the document anew")
    try:
        return etree.fromstring(data, parser(long_text=long_text))
    except etree.XMLSyntaxError:
        # The text of libxml2 may quote the document.
        raise DataRefused(f"{where}: beyond what the parser takes", where=where, rule=BEYOND) from None


def fragment(data: bytes) -> etree._Element | None:
    """The root of a small document made by cutting a larger one; None when it is not one document, well formed.

    Comments and processing instructions are left out. No DOCTYPE may be in ``data``: the caller has looked.
    """
    try:
        return etree.fromstring(data, _fragment_parser())
    except etree.XMLSyntaxError:
        return None


@cache
def _fragment_parser() -> etree.XMLParser:
    return etree.XMLParser(
        no_network=True, load_dtd=False, resolve_entities=False, huge_tree=False, remove_comments=True, remove_pis=True
    )


def well_formed(chunks: Iterable[bytes]) -> SchemaFault | None:
    """The first fault of well-formedness, a DOCTYPE or a limit of size or depth; None when there is none."""
    gate = _Gate(deep=True)
    for block in _blocks(chunks):
        if fault := gate.feed(block):
            return fault
    return gate.close()


@dataclass(slots=True)
class Walked:
    """How far ``walk`` came. fault: why it stopped early. index: byte of the element at which the visitor said stop."""

    fault: SchemaFault | None = None
    index: int | None = None


def open_tags(start: bytes) -> list[bytes]:
    """Names, as written, of the elements that stand open at the end of a beginning that is well formed."""
    names: list[bytes] = []
    reader = expat.ParserCreate()
    reader.StartElementHandler = lambda name, _: names.append(name.encode())
    reader.EndElementHandler = lambda _: names.pop()
    reader.Parse(start, False)  # noqa: FBT003 - expat's signature
    return names


Visitor = Callable[[tuple[str, ...], "dict[str, str]"], bool]
Reader = Callable[[tuple[str, ...], str], None]


def walk(chunks: Iterable[bytes], visit: Visitor, read: Reader | None = None) -> Walked:
    """Go through the start tags with expat, in document order, until the end, a fault, or the visitor gives True.

    visit: gets the path of names (``{namespace}name``) and the attributes. read: gets the path and a piece of text.
    """
    gate = _Gate(deep=True)
    gate.watch(visit, read)
    for block in _blocks(chunks):
        fault = gate.feed(block)
        if gate.found is not None or fault is not None:
            return Walked(fault, gate.found)
    return Walked(gate.close(), gate.found)


class _Gate:
    """Expat over the same bytes: well-formedness, no DOCTYPE, limits of size, and the name of the root element."""

    def __init__(self, *, deep: bool = False) -> None:
        """Set ``deep`` to count the depth too, which takes a call for each tag."""
        self.root: str | None = None
        self.found: int | None = None
        self._path: tuple[str, ...] = ()
        self._fed = 0
        self._since = 0
        self._expat = expat.ParserCreate(namespace_separator=" ")
        self._expat.buffer_text = True
        self._expat.StartDoctypeDeclHandler = self._on_doctype
        self._expat.StartElementHandler = self._on_root
        self._expat.StartCdataSectionHandler = self._on_cdata
        self._expat.EndCdataSectionHandler = self._on_cdata_end
        self._cdata = False
        self._visit: Visitor | None = None
        if deep:
            self._expat.StartElementHandler = self._on_start
            self._expat.EndElementHandler = self._on_end

    def watch(self, visit: Visitor, read: Reader | None) -> None:
        self._visit = visit
        if read is not None:
            self._expat.CharacterDataHandler = lambda text: read(self._path, text)

    def feed(self, data: bytes) -> SchemaFault | None:
        fault = self._parse(data, final=False)
        self._fed += len(data)
        # A text has come to an end where a tag begins, but for tags that are text within CDATA.
        if not self._cdata and (last := data.rfind(b"<")) >= 0:
            self._since = self._fed - len(data) + last
        tag, text = self._fed - max(self._expat.CurrentByteIndex, 0), self._fed - self._since
        if fault is None and (tag > LONGEST_TAG or text > LONGEST_TEXT):
            return self._here(BEYOND, "one text, tag or comment is beyond what the parser takes")
        return fault

    def close(self) -> SchemaFault | None:
        return self._parse(b"", final=True)

    def _parse(self, data: bytes, *, final: bool) -> SchemaFault | None:
        try:
            self._expat.Parse(data, final)
        except _DoctypeFoundError:
            return self._here("XML_DOCTYPE", "a DOCTYPE is not taken")
        except _TooDeepError:
            return self._here(BEYOND, f"elements stand in each other more than {DEEPEST} deep")
        except _FoundError:
            return None
        except expat.ExpatError as error:
            text = f"not well formed: {expat.ErrorString(error.code)}"
            return SchemaFault(error.lineno, error.offset, None, None, "XML_NOT_WELL_FORMED", text)
        except (LookupError, ValueError):
            if self.root is not None:  # of a reader that is called from here
                raise
            return self._here("XML_ENCODING", "it is in an encoding that is not taken")  # pyexpat quotes its name
        return None

    def _here(self, rule: str, text: str) -> SchemaFault:
        return SchemaFault(self._expat.CurrentLineNumber, self._expat.CurrentColumnNumber, None, None, rule, text)

    def _on_cdata(self) -> None:
        self._cdata = True

    def _on_cdata_end(self) -> None:
        self._cdata = False

    def _on_start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._path) >= DEEPEST:
            raise _TooDeepError
        self._path = (*self._path, _clark(name))
        if self.root is None:
            self.root = self._path[0]
        if self._visit is not None and self._visit(self._path, attributes):
            self.found = self._expat.CurrentByteIndex
            raise _FoundError

    def _on_end(self, _: str) -> None:
        self._path = self._path[:-1]

    def _on_doctype(self, *_: object) -> None:
        raise _DoctypeFoundError

    def _on_root(self, name: str, _: object) -> None:
        self.root = _clark(name)
        self._expat.StartElementHandler = None


def _clark(name: str) -> str:
    space, _, local = name.rpartition(" ")
    return f"{{{space}}}{local}" if space else local


class _DoctypeFoundError(Exception):
    """Leaves expat at the DOCTYPE."""


class _TooDeepError(Exception):
    """Leaves expat at an element too deep."""


class _FoundError(Exception):
    """Leaves expat at the element that was looked for."""


# Schemas

Change = Callable[[etree._Element], None]  # noqa: SLF001 - lxml has no public name for its elements


class _Bundle(etree.Resolver):
    """Schema documents that belong together, under names of our own. libxml2 is given these and nothing else."""

    def __init__(self, change: Change | None = None, more: Mapping[str, Path] | None = None) -> None:
        self.names: dict[Path, str] = {}
        self._change = change
        self._catalogue = {**CATALOGUE, **(more or {})}
        self._documents: dict[str, bytes] = {}

    def add(self, path: Path) -> str:
        """Read a schema and all it loads; the name to load it by. WrongUse when any of it cannot be had locally."""
        path = path.resolve()
        if path not in self.names:
            name = self.names[path] = f"schema-{len(self.names)}.xsd"
            root = _schema_root(path)
            if self._change is not None:
                self._change(root)
            for element in root.iterchildren(*_LOADING):
                if element.get("schemaLocation") is not None:
                    element.set("schemaLocation", self.add(_located(path, element, self._catalogue)))
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


def _located(path: Path, element: etree._Element, catalogue: Mapping[str, Path]) -> Path:
    """The file an import or include means: beside the schema itself, else in the catalogue."""
    location = element.get("schemaLocation", "")
    beside = path.parent / location
    # A schema from outside must not reach into other folders, let alone the network.
    if location == Path(location).name and beside.is_file():
        return beside
    if (known := catalogue.get(element.get("namespace", ""))) is not None:
        return known
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


def compile_schema(
    path: Path, change: Change | None = None, *, catalogue: Mapping[str, Path] | None = None
) -> etree.XMLSchema:
    """A schema with all it loads, from local files only. WrongUse when it cannot be loaded or does not compile.

    change: may alter the root of each file after it was read, in memory. catalogue: namespace -> file, for what lies
    neither beside the schema nor among our own.
    """
    return _driver([path], change, catalogue)


def compile_with_head(layout: Layout, change: Change | None = None) -> etree.XMLSchema:
    """The schema of head message and module together; the head's Content takes only elements that are declared."""
    return _driver([HEAD, layout.xsd], change)


def _driver(
    paths: list[Path], change: Change | None = None, catalogue: Mapping[str, Path] | None = None
) -> etree.XMLSchema:
    bundle = _Bundle(change, catalogue)
    root = etree.Element(f"{XSD}schema")
    for path in paths:
        name = bundle.add(path)
        namespace = _schema_root(path).get("targetNamespace")
        element = etree.SubElement(root, f"{XSD}import" if namespace else f"{XSD}include", schemaLocation=name)
        if namespace:
            element.set("namespace", namespace)
    return bundle.compile(etree.tostring(root), " with ".join(path.name for path in paths))


def schema_of(text: bytes) -> etree.XMLSchema:
    """A schema of our own making that loads nothing. WrongUse when it does not compile."""
    return _Bundle().compile(text, "the schema made of the attribute controls")


@dataclass(frozen=True, slots=True)
class Constraint:
    """An identity constraint. scope: the class it is declared on. selector, fields: as written, without prefixes."""

    kind: str  # unique | key | keyref
    name: str
    scope: str
    selector: str
    fields: tuple[str, ...]
    refer: str | None


def constraints(path: Path) -> tuple[Constraint, ...]:
    """All identity constraints of a schema and the files it loads."""
    kinds = [XSD + kind for kind in ("unique", "key", "keyref")]
    roots = (parse(file.read_bytes(), file.name) for file in local_files(path))
    return tuple(_constraint(element) for root in roots for element in root.iter(*kinds))


def _constraint(element: etree._Element) -> Constraint:
    declared = element.getparent()
    selector = element.find(f"{XSD}selector")
    refer = element.get("refer")
    return Constraint(
        kind=element.tag.removeprefix(XSD),
        name=element.get("name", ""),
        scope=declared.get("name", "") if declared is not None else "",
        selector=_bare(selector.get("xpath", "")) if selector is not None else "",
        fields=tuple(_bare(field.get("xpath", "")) for field in element.iterchildren(f"{XSD}field")),
        refer=_bare(refer) if refer else None,
    )


def _bare(xpath: str) -> str:
    """An XPath without prefixes and blanks."""
    return re.sub(r"[\w.-]+:(?!:)", "", re.sub(r"\s", "", xpath))


# Validation


class Watcher(Protocol):
    """Goes through a document beside its validation. An element is whole in its ancestors, not in its children."""

    def start(self, element: etree._Element, line: int) -> None:
        """At a start tag. line: on which it ends."""

    def end(self) -> None:
        """At an end tag."""

    def fault(self, fault: SchemaFault, touched: list[etree._Element]) -> None:
        """At a fault of a schema. touched: elements begun or ended just before, of which it may be about one."""


def validate_stream(
    schema: etree.XMLSchema, chunks: Iterable[bytes], limit: int = MOST_FAULTS, watcher: Watcher | None = None
) -> list[SchemaFault]:
    """Faults of a document, at most ``limit``; empty when it is valid. Never raises for what the document holds.

    chunks: the bytes, in pieces of any size. Reading ends at the first fault of well-formedness, or at the limit.
    Memory: what one element path takes, and what the schema's keys hold.
    """
    validation = _Validation(schema, limit, watcher)
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


def _pieces(block: bytes) -> Iterator[bytes]:
    """At most 4 KiB each, and no more than one line: that gives faults their line."""
    for line in block.splitlines(keepends=True) if b"\n" in block else (block,):
        for start in range(0, len(line), _PIECE):
            yield line[start : start + _PIECE]


class _Validation:
    """One document on its way through expat and libxml2."""

    def __init__(self, schema: etree.XMLSchema, limit: int, watcher: Watcher | None = None) -> None:
        self.faults: list[SchemaFault] = []
        self._watcher = watcher
        self._events: list[tuple[str, Any]] = []
        self.stopped = False
        self._schema = schema
        self._limit = limit
        self._gate = _Gate(deep=watcher is not None)
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
                tag=None if self._watcher else self._gate.root,
                schema=self._schema,
                no_network=True,
                load_dtd=False,
                resolve_entities=False,
                # libxml2's own limit is 10 MB a text, which a valid document may pass; the gate has limits of its own.
                huge_tree=True,
                remove_comments=True,
                remove_pis=True,
            )
            self._read(self._prolog)
        elif len(self._prolog) > _LONGEST_PROLOG:
            self._stop(SchemaFault(1, None, None, None, "XML_PROLOG", "no element at the beginning of the document"))

    def _read(self, block: bytes) -> None:
        assert self._reader is not None  # noqa: S101 - narrowed by the callers
        for piece in _pieces(block):
            if self.stopped or len(self.faults) >= self._limit:
                return
            try:
                self._reader.feed(piece)
            except etree.XMLSyntaxError:
                self._broken()
            self._follow()
            self._line += piece.count(b"\n")

    def _follow(self) -> None:
        assert self._reader is not None  # noqa: S101 - narrowed by the callers
        # The reader was asked for the start and the end of elements, and for nothing else.
        self._events = cast("list[tuple[str, Any]]", list(self._reader.read_events()))
        for event, element in self._events:
            begins = event == "start"
            self._open += 1 if begins else -1
            if self._root is None:
                self._root = element
            if self._watcher is not None:
                self._watcher.start(element, self._line) if begins else self._watcher.end()
        self._collect()
        if self._root is not None:
            _prune(self._root)

    def _collect(self) -> None:
        assert self._reader is not None  # noqa: S101 - narrowed by the callers
        log = self._reader.feed_error_log
        if len(log) > self._seen:
            for entry in filter(_is_fault, list(log)[self._seen :]):
                fault = _fault(entry, self._line)
                # A long text comes in pieces, each of which is told of.
                if not (fault.rule in _OF_TEXT and self.faults and replace(self.faults[-1], line=fault.line) == fault):
                    self.faults.append(fault)
                    if self._watcher is not None:
                        self._watcher.fault(fault, [element for _, element in self._events])
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

_OF_TEXT: Final = ("SCHEMAV_CVC_COMPLEX_TYPE_2_1", "SCHEMAV_CVC_COMPLEX_TYPE_2_3")
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


def _is_fault(entry: etree._LogEntry) -> bool:
    """Whether a message tells more than that a key cannot be compared whose value has a fault of its own."""
    return "No precomputed value available" not in (entry.message or "")


def safe_errors(error_log: etree._ListErrorLog) -> list[SchemaFault]:
    """The entries of an lxml error log without any value of the document."""
    return [_fault(entry, entry.line or None) for entry in error_log if _is_fault(entry)]


def located_faults(schema: etree.XMLSchema, tree: etree._Element) -> Iterator[tuple[SchemaFault, str]]:
    """Faults of a tree with the XPath of the element each is about, for ``element_at``."""
    if not schema.validate(tree):
        for entry in list(schema.error_log):  # type: ignore[call-overload]  # the stubs forget that a log is iterable
            if _is_fault(entry):
                yield _fault(entry, entry.line or None), entry.path or ""


def sound_below(schema: etree.XMLSchema, tree: etree._Element, line: int) -> bool:
    """Whether a tree has no fault below a line."""
    if schema.validate(tree):
        return True
    return all(0 < entry.line <= line for entry in list(schema.error_log))  # type: ignore[call-overload]  # as above


def element_at(tree: etree._Element, path: str) -> etree._Element | None:
    """The element of a fault; None where its path uses a prefix that the root does not declare."""
    spaces = {prefix: uri for prefix, uri in tree.nsmap.items() if prefix}
    try:
        found = tree.xpath(path, namespaces=spaces) if path else []
    except etree.XPathError:
        return None
    element: etree._Element | None = cast("Any", next(iter(found), None) if isinstance(found, list) else None)
    return element


def source_line(element: etree._Element) -> int:
    """The line on which the start tag of a parsed element ends; 0 when not known."""
    return cast("int | None", element.sourceline) or 0


def faulty_elements(schema: etree.XMLSchema, tree: etree._Element) -> Iterator[etree._Element]:
    """The elements a schema finds fault with, some more than once."""
    for path in dict.fromkeys(path for _, path in located_faults(schema, tree)):
        element = element_at(tree, path)
        if element is not None:
            yield element


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
        return _text_of_type(_known(found[1]) or "")
    return "breaks the schema"


def _text_of_type(name: str) -> str:
    """The types of our coded attributes are named after their list."""
    number = name.removeprefix("list")
    return f"not a code of list {number}" if number.isdigit() else f"not a value of the type {name}"


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
