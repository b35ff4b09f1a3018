"""Pieces of a message judged: faults of the schema and of the attribute controls, and the keys that span pieces.

Belongs here: what one piece says, as counts and a capped list of places. Does not belong here: cutting
(``transforms.validation.chunks``), processes and files (``pipelines.validation.validator``), words for people
(``transforms.validation.report``).

No value leaves this module but names that the schema knows, and record keys: as pseudonyms, or bare where asked for.
"""

from __future__ import annotations

import re
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Final, NamedTuple

from lxml import etree

from schemas.controls import Controls, controls_for
from schemas.layout import Layout
from schemas.xsd import (
    Constraint,
    SchemaFault,
    compile_schema,
    compile_with_head,
    constraints,
    element_at,
    fragment,
    located_faults,
    sound_below,
    source_line,
)
from transforms.pseudonyms import pseudonym
from transforms.validation.chunks import SHELL_LINE, Chunk, Frame, chain_of
from transforms.validation.controls import Narrowing, Period, Sieve, judge, places_above
from transforms.validation.keys import TEXT, KeySieve, kind_of, paths_of

TWICE: Final = "SCHEMAV_CVC_IDC"
_CONSTRAINT: Final = re.compile(r"\((\S+)\)$")
# Attributes that say which record is meant, and mean a person; the first that an element has is told.
RECORD_KEYS: Final = ("pasientNr", "pid", "barn_ungdomNr", "brukerNr", "episodeID", "henvisningsperiodeID")


class Group(NamedTuple):
    """Faults of one kind at one attribute. kind: schema | control | document. consequence: the register's, by id."""

    kind: str
    rule: str
    cls: str | None
    attribute: str | None
    text: str
    consequence: str = ""


class Place(NamedTuple):
    """Where one fault is. record: keys of the patient and of the episode, as pseudonyms or bare."""

    line: int | None
    record: str


class Keys(NamedTuple):
    """Keys of one spanning constraint within one scope. hashes: 8 bytes each. lines: in the same order."""

    constraint: int
    scope: int
    hashes: array[int]
    lines: array[int]


@dataclass(slots=True)
class Findings:
    """What pieces say. counts are exact, places are capped."""

    most: int
    counts: Counter[Group] = field(default_factory=Counter)
    places: dict[Group, list[Place]] = field(default_factory=dict)

    def add(self, group: Group, place: Callable[[], Place]) -> None:
        """One more fault; its place is looked up only while there is room for it."""
        self.counts[group] += 1
        listed = self.places.setdefault(group, [])
        if len(listed) < self.most:
            listed.append(place())

    def merge(self, other: Findings) -> None:
        """Take in the findings of another piece."""
        self.counts.update(other.counts)
        for group, places in other.places.items():
            listed = self.places.setdefault(group, [])
            listed += places
            listed.sort(key=lambda place: place.line or 0)
            del listed[self.most :]


@dataclass(slots=True)
class Judged:
    """Findings and spanning keys of one piece."""

    findings: Findings
    keys: list[Keys] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Spanning:
    """A unique or key whose elements lie in several chunks. scope: names from Melding. paths: from the scope down."""

    name: str
    scope: tuple[str, ...]
    paths: tuple[str, ...]
    fields: tuple[str, ...]
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to judge by, and how much to tell. secret: of the pseudonyms. controls: whether to apply them."""

    layout: Layout
    melding: dict[str, str]
    spanning: tuple[Spanning, ...]
    secret: bytes
    show_keys: bool
    most: int
    controls: bool


def records_of(element: etree._Element, wanted: Wanted) -> list[str]:
    """Keys of the records an element belongs to, from the patient down."""
    told = []
    for one in (element, *element.iterancestors()):
        name = next((key for key in RECORD_KEYS if one.get(key)), None)
        if name is not None:
            value = one.get(name) or ""
            told.append(f"{name} {value if wanted.show_keys else '~' + pseudonym([value], wanted.secret).hex()}")
    return list(dict.fromkeys(reversed(told)))


def key_hash(values: Iterable[str | None], kinds: Iterable[str], secret: bytes) -> bytes | None:
    """Eight bytes that are the same for the same key; None when it lacks a field."""
    given = list(values)
    if None in given:
        return None
    return pseudonym([same(value or "", kind) for value, kind in zip(given, kinds, strict=True)], secret)


def twice(name: str, cls: str, fields: Sequence[str], line: int, told: int) -> tuple[Group, Callable[[], Place]]:
    """Group and place of a key that occurs again, known by its hash alone, even where bare keys are asked for."""
    attribute = fields[0] if len(fields) == 1 else None
    known = attribute in RECORD_KEYS
    record = f"{attribute} ~{told.to_bytes(8, sys.byteorder, signed=True).hex()}" if known else ""
    return Group("schema", TWICE, cls, attribute, f"the key occurs twice ({name})"), partial(Place, line, record)


def fields_of(found: Iterable[Constraint]) -> dict[str, str]:
    """Name of each constraint of one field -> that attribute."""
    return {one.name: one.fields[0].removeprefix("@") for one in found if len(one.fields) == 1}


def spanning(layout: Layout) -> tuple[Spanning, ...] | None:
    """The constraints to be compared across chunks; None when the schema has some that cannot be."""
    chain = chain_of(layout)
    found = constraints(layout.xsd)
    names = {one.name for one in found if one.kind != "keyref" and _crosses(one, chain)}
    made = []
    for one in found:
        if one.scope not in chain[:-1]:
            continue
        paths, kinds = paths_of(one), tuple(kind_of(layout, one, name) or "" for name in one.fields)
        if paths is None or "" in kinds or (one.kind == "keyref" and one.refer in names):
            return None
        if one.name in names:
            scope = chain[: chain.index(one.scope) + 1]
            made.append(Spanning(one.name, scope, paths, tuple(f.removeprefix("@") for f in one.fields), kinds))
    return tuple(made)


def _crosses(one: Constraint, chain: tuple[str, ...]) -> bool:
    if one.scope not in chain[:-1]:
        return False
    below = chain[chain.index(one.scope) + 1]
    return any(path.removeprefix("./").split("/")[0] == below for path in one.selector.split("|"))


class Judge:
    """Judges pieces of one message. Schemas are compiled when first needed."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self._twice = {f"the key occurs twice ({one.name})" for one in wanted.spanning}
        self._period = Period(wanted.melding)
        self._above = places_above(wanted.layout)

    @cached_property
    def _schema(self) -> etree.XMLSchema:
        return compile_schema(self.wanted.layout.xsd)

    @cached_property
    def _with_head(self) -> etree.XMLSchema:
        return compile_with_head(self.wanted.layout)

    @cached_property
    def _narrowed(self) -> etree.XMLSchema | None:
        """The schema without its keys and with the controls in it; what it lets pass has no fault but of keys."""
        narrowing = Narrowing(self.wanted.layout, self._controls, self._period, self._key_sieve.numbers)
        schema = compile_schema(self.wanted.layout.xsd, narrowing.change) if self._key_sieve.supported else None
        return schema if narrowing.complete else None

    @cached_property
    def _constraints(self) -> tuple[Constraint, ...]:
        return constraints(self.wanted.layout.xsd)

    @cached_property
    def _fields(self) -> dict[str, str]:
        return fields_of(self._constraints)

    @cached_property
    def _key_sieve(self) -> KeySieve:
        return KeySieve(self.wanted.layout, self._constraints, [one.name for one in self.wanted.spanning])

    def _is_sound(self, tree: etree._Element) -> bool:
        """Whether a chunk has no fault at all, found out the fast way; False says nothing."""
        narrowed = self._narrowed
        return narrowed is not None and sound_below(narrowed, tree, SHELL_LINE) and self._key_sieve.sound(tree)

    @cached_property
    def _controls(self) -> Controls:
        return controls_for(self.wanted.layout) if self.wanted.controls else {}

    @cached_property
    def _sieve(self) -> Sieve:
        return Sieve(self.wanted.layout, self._controls, self._period)

    def chunk(self, chunk: Chunk) -> Judged | None:
        """One chunk; None when it is not well formed on its own."""
        tree = fragment(chunk.document)
        if tree is None:
            return None
        return self._judged(
            tree, self._schema, lambda line: chunk.line + line - SHELL_LINE - 1 if line > SHELL_LINE else None, 0
        )

    def frame(self, frame: Frame, *, in_head: bool) -> Judged | None:
        """What stands around the chunks, with the first of them; None when it is not well formed."""
        tree = fragment(frame.document)
        if tree is None:
            return None
        schema = self._with_head if in_head else self._schema
        after = frame.tail_line - frame.joint
        return self._judged(tree, schema, lambda line: line if line < frame.joint else line + after, 1)

    def _judged(
        self, tree: etree._Element, schema: etree.XMLSchema, line_of: Callable[[int], int | None], first: int
    ) -> Judged:
        judged = Judged(Findings(self.wanted.most))
        sound = first == 0 and self._is_sound(tree)
        melding = next(tree.iter(self._tag("Melding")), None)
        finder = _Finder(tree, melding, self._key_sieve)
        for fault, path in () if sound else located_faults(schema, tree):
            line = line_of(fault.line or 0)
            if line is not None and not (fault.rule == TWICE and fault.text in self._twice):
                judged.findings.add(group_of(fault, self._fields), partial(self._place, finder, fault, path, line))
        if melding is not None:
            judged.keys = list(self._keys(melding, line_of, first))
            if self._controls:
                suspects = self._sieve.dated(melding) if sound else self._sieve.suspects(tree, melding)
                above = (one for place in self._above for one in self._below(melding, place.split("/")))
                self._control((*above, *suspects), line_of, judged.findings)
        return judged

    def _tag(self, name: str) -> str:
        return f"{{{self.wanted.layout.namespace}}}{name}" if self.wanted.layout.namespace else name

    def _place(self, finder: _Finder, fault: SchemaFault, path: str, line: int | None) -> Place:
        return self._place_of(finder.element(fault, path), line)

    def _place_of(self, element: etree._Element | None, line: int | None) -> Place:
        return Place(line, ", ".join(records_of(element, self.wanted)) if element is not None else "")

    def _keys(self, melding: etree._Element, line_of: Callable[[int], int | None], first: int) -> Iterator[Keys]:
        """Spanning keys by constraint and scope; scope 0 is the one that the chunk before left open."""
        for number, one in enumerate(self.wanted.spanning):
            for scope, element in enumerate(self._below(melding, one.scope[1:]), first):
                keys = Keys(number, scope, array("q"), array("q"))
                for found in (found for path in one.paths for found in self._below(element, path.split("/"))):
                    line = line_of(source_line(found))
                    told = key_hash(map(found.get, one.fields), one.kinds, self.wanted.secret)
                    if line is not None and told is not None:
                        keys.hashes.frombytes(told)
                        keys.lines.append(line)
                yield keys

    def _below(self, element: etree._Element, steps: Iterable[str]) -> list[etree._Element]:
        path = "/".join(self._tag(step) for step in steps if step != ".")
        return element.findall(path) if path else [element]

    def _control(
        self, elements: Iterable[etree._Element], line_of: Callable[[int], int | None], findings: Findings
    ) -> None:
        for element in elements:
            line = line_of(source_line(element))
            if line is None:
                continue
            for outcome in judge(element, self._controls, self._period):
                cls = etree.QName(element).localname
                group = Group("control", outcome.check, cls, outcome.attribute, outcome.text, outcome.consequence)
                findings.add(group, partial(self._place_of, element, line))


class _Finder:
    """Finds the element a fault is about."""

    def __init__(self, tree: etree._Element, melding: etree._Element | None, keys: KeySieve) -> None:
        self._tree, self._melding, self._keys = tree, melding, keys

    @cached_property
    def _strays(self) -> list[etree._Element]:
        return list(self._keys.strays(self._melding)) if self._melding is not None else []

    def element(self, fault: SchemaFault, path: str) -> etree._Element | None:
        """By its path, or the next on that line that refers to what is not there."""
        if path or fault.rule != TWICE:
            return element_at(self._tree, path)
        for number, one in enumerate(self._strays):
            if source_line(one) == fault.line and etree.QName(one).localname == fault.element:
                return self._strays.pop(number)
        return None


def same(value: str, kind: str) -> str:
    """One form for all that XML Schema holds to be the same value."""
    if kind == TEXT:
        return value
    try:
        return str(int(value))
    except ValueError:
        return value


def group_of(fault: SchemaFault, fields: Mapping[str, str] | None = None) -> Group:
    """The group a fault counts in. Faults of well-formedness and of limits are faults of the document.

    fields: name of each constraint of one field -> that attribute.
    """
    kind = "document" if fault.rule.startswith("XML_") else "schema"
    attribute = fault.attribute
    if fields and fault.rule == TWICE and (named := _CONSTRAINT.search(fault.text)):
        attribute = fields.get(named[1])
    return Group(kind, fault.rule, fault.element, attribute, fault.text)
