"""A message that cannot be cut, judged on its way through: the keys and the controls, element by element.

Belongs here: identity constraints and controls of one element and its ancestors. Does not belong here: the schema's
other rules, which libxml2 judges in the same reading (``schemas.xsd.validate_stream``), and the file that holds keys
(``pipelines.validation.key_book``).

libxml2 keeps every key of a document until its end. So the constraints are taken out of the schema and judged here.
Keys that must be told apart over many patients go into the book, as hashes; those within one patient are kept until it
ends, about 100 bytes each. Constraints that cannot be judged here (fields other than texts and whole numbers, selectors
other than names of children) are left in the schema.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Final, Protocol

from lxml import etree

from schemas.controls import Control, Controls, controls_for
from schemas.layout import Layout
from schemas.xsd import XSD, Constraint, SchemaFault, constraints
from transforms.validation.check import (
    TWICE,
    Findings,
    Group,
    Place,
    Wanted,
    fields_of,
    group_of,
    key_hash,
    records_of,
    same,
    twice,
)
from transforms.validation.chunks import chain_of, places
from transforms.validation.controls import Period, judge_one, surely_right
from transforms.validation.keys import kind_of, paths_of

# Keys of one place that are remembered beside the book, so that references to them need not go there.
KNOWN: Final = 10_000
# References to keys that are not there yet, whose record is remembered.
PENDING: Final = 1_000
Path = tuple[str, ...]
# A hash where it goes into the book, else the values themselves.
Key = int | tuple[str, ...]


class Book(Protocol):
    """Where keys go that are compared at the end, by place."""

    def add(self, place: int, hashes: array[int], lines: array[int]) -> None:
        """Keys, each with its line."""

    def refer(self, place: int, told: int, line: int, who: int) -> int:
        """A reference to a key of that place, there already or to come; the number of the reference."""

    def twice(self) -> Iterator[tuple[int, int, int]]:
        """Place, line and hash of each occurrence of a key but the first."""

    def strays(self) -> Iterator[tuple[int, int, int]]:
        """Who, line and number of each reference to no key."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One constraint that is judged here. paths: from Melding to the elements. refer: the rule it points to."""

    name: str
    kind: str
    scopes: tuple[Path, ...]
    paths: tuple[Path, ...]
    fields: tuple[str, ...]
    kinds: tuple[str, ...]
    refer: str | None
    above: bool


def rules_of(layout: Layout) -> tuple[Rule, ...]:
    """The constraints that are judged here. A key and what refers to it are judged in one place, here or by libxml2."""
    found = constraints(layout.xsd)
    by_name = {one.name: one for one in found}
    made = {one.name: rule for one in found if (rule := _rule(layout, one)) is not None}
    while lacking := [name for name in made if not _together(by_name[name], by_name, made)]:
        for name in lacking:
            del made[name]
    return tuple(made.values())


def _together(one: Constraint, by_name: dict[str, Constraint], made: dict[str, Rule]) -> bool:
    if one.kind == "keyref":
        referred = by_name.get(one.refer or "")
        known = made.get(referred.name) if referred is not None and referred.scope == one.scope else None
        return known is not None and known.kinds == made[one.name].kinds
    return all(other.name in made for other in by_name.values() if other.refer == one.name)


def _rule(layout: Layout, one: Constraint) -> Rule | None:
    below, kinds = paths_of(one), tuple(kind_of(layout, one, name) for name in one.fields)
    scopes = tuple(_path(layout, place) for place in places(layout, one.scope))
    if below is None or None in kinds or not scopes:
        return None
    paths = tuple((*scope, *path.split("/")) for scope in scopes for path in below)
    fields, above = tuple(name.removeprefix("@") for name in one.fields), one.scope in chain_of(layout)[:-1]
    return Rule(one.name, one.kind, scopes, paths, fields, tuple(kind or "" for kind in kinds), one.refer, above)


def _path(layout: Layout, place: str) -> Path:
    return chain_of(layout)[:1] if place == "." else (*chain_of(layout)[:1], *place.split("/"))


def without(rules: Sequence[Rule], root: etree._Element) -> None:
    """Take the constraints that are judged here out of one file of the schema."""
    names = {rule.name for rule in rules}
    for constraint in list(root.iter(*(XSD + kind for kind in ("unique", "key", "keyref")))):
        if constraint.get("name") in names and (declared := constraint.getparent()) is not None:
            declared.remove(constraint)


@dataclass(slots=True)
class _Scope:
    """One element in which a rule is to hold. pending: who refers to what was not there yet, with line and record."""

    place: int
    keys: set[Key] = field(default_factory=set)
    pending: list[tuple[int, Key, int, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Spot:
    """One place of the tree: the rules that begin there, those that mean its elements, and what controls them."""

    name: str
    below: dict[str, _Spot] = field(default_factory=dict)
    opened: list[Rule] = field(default_factory=list)
    meant: list[Rule] = field(default_factory=list)
    controls: list[tuple[Control, Callable[[str], object]]] = field(default_factory=list)


def _spots(layout: Layout, rules: Sequence[Rule], controls: Controls) -> _Spot:
    """The tree, from what is around Melding."""
    space = f"{{{layout.namespace}}}" if layout.namespace else ""
    made: dict[Path, _Spot] = {(): _Spot("")}
    paths = {_path(layout, place) for name in {node.name for node in layout.nodes} for place in places(layout, name)}
    for path in sorted(paths, key=len):
        made[path] = made[path[:-1]].below[space + path[-1]] = _Spot(path[-1])
        made[path].controls = [(one, surely_right(one)) for one in controls.values() if one.cls == path[-1]]
    for rule in rules:
        for scope in rule.scopes if not rule.refer else ():
            made[scope].opened.append(rule)
        for path in rule.paths:
            if path in made:
                made[path].meant.append(rule)
    return made[()]


class StreamJudge:
    """A watcher of ``validate_stream``. findings grow on the way; ``tell`` adds what the book says at the end."""

    def __init__(self, wanted: Wanted, rules: Sequence[Rule], book: Book) -> None:
        self.findings = Findings(wanted.most)
        self._wanted, self._book = wanted, book
        self._period = Period(wanted.melding)
        self._fields = fields_of(constraints(wanted.layout.xsd))
        self._spot = _spots(wanted.layout, rules, controls_for(wanted.layout) if wanted.controls else {})
        self._above: list[_Spot] = []
        self._outside = 0
        self._scopes: dict[str, _Scope] = {}
        self._of_place: dict[int, Rule] = {}
        self._place = 0
        self._who: list[Group] = []
        self._number: dict[Group, int] = {}
        self._records: dict[int, str] = {}
        self._hash = lru_cache(KNOWN)(partial(key_hash, secret=wanted.secret))

    # What the reader tells

    def start(self, element: etree._Element, line: int) -> None:
        """An element begins."""
        spot = None if self._outside else self._spot.below.get(str(element.tag))
        if spot is None:
            # Around Melding, of an unknown class, or below one: libxml2 tells of it, once.
            self._outside += bool(self._above)
            return
        self._above.append(self._spot)
        self._spot = spot
        for rule in spot.opened:
            self._open(rule)
        for rule in spot.meant:
            self._key(rule, element, line)
        for control, right in spot.controls:
            value = element.get(control.attribute)
            if right(value) if value else not control.mandatory:
                continue
            for outcome in judge_one(element, control, self._period):
                group = Group("control", outcome.check, spot.name, outcome.attribute, outcome.text, outcome.consequence)
                self.findings.add(group, partial(self._place_of, element, line))

    def end(self) -> None:
        """An element ends."""
        if self._outside:
            self._outside -= 1
        elif self._above:
            for rule in self._spot.opened:
                self._close(rule)
            self._spot = self._above.pop()

    def fault(self, fault: SchemaFault, touched: list[etree._Element]) -> None:
        """A fault of the schema. Its record is told as far as all elements agree on it that it may be about."""
        told: list[str] | None = None
        for element in touched:
            if etree.QName(element).localname == fault.element:
                own = records_of(element, self._wanted)
                told = own if told is None else [one for one, other in zip(told, own, strict=False) if one == other]
        self.findings.add(group_of(fault, self._fields), lambda: Place(fault.line, ", ".join(told or ())))

    # Keys

    def _open(self, rule: Rule) -> None:
        self._place += 1
        self._scopes[rule.name] = _Scope(self._place)
        if rule.above:
            self._of_place[self._place] = rule

    def _close(self, rule: Rule) -> None:
        scope = self._scopes.pop(rule.name)
        for who, told, line, record in scope.pending:
            if told not in scope.keys:
                self.findings.add(self._who[who], partial(Place, line, record))

    def _key(self, rule: Rule, element: etree._Element, line: int) -> None:
        scope = self._scopes.get(rule.refer or rule.name)
        if scope is None:
            return
        values = tuple(value for name in rule.fields if (value := element.get(name)) is not None)
        if len(values) < len(rule.fields):
            if rule.kind == "key":
                self.findings.add(self._group(rule, f"breaks {rule.name}"), partial(self._place_of, element, line))
            return
        told: Key = self._hashed(values, rule) if rule.above else tuple(map(same, values, rule.kinds))
        if rule.refer:
            self._refer(rule, scope, told, element, line)
        elif isinstance(told, int):
            self._book.add(scope.place, array("q", (told,)), array("q", (line,)))
            if len(scope.keys) < KNOWN:
                scope.keys.add(told)
        elif told in scope.keys:
            group = self._group(rule, f"the key occurs twice ({rule.name})")
            self.findings.add(group, partial(self._place_of, element, line))
        else:
            scope.keys.add(told)

    def _hashed(self, values: tuple[str, ...], rule: Rule) -> int:
        return int.from_bytes(self._hash(values, rule.kinds) or b"", sys.byteorder, signed=True)

    def _refer(self, rule: Rule, scope: _Scope, told: Key, element: etree._Element, line: int) -> None:
        if told in scope.keys:
            return
        group = self._group(rule, f"refers to something that is not there ({rule.name})")
        who = self._number.setdefault(group, len(self._who))
        if who == len(self._who):
            self._who.append(group)
        record = ", ".join(records_of(element, self._wanted))
        if not isinstance(told, int):
            scope.pending.append((who, told, line, record))
            return
        number = self._book.refer(scope.place, told, line, who)
        if len(self._records) < PENDING:
            self._records[number] = record

    def _group(self, rule: Rule, text: str) -> Group:
        return Group("schema", TWICE, self._spot.name, rule.fields[0] if len(rule.fields) == 1 else None, text)

    def _place_of(self, element: etree._Element, line: int) -> Place:
        return Place(line, ", ".join(records_of(element, self._wanted)))

    def tell(self) -> None:
        """Add what the book has found when the document is read."""
        for place, line, told in self._book.twice():
            rule = self._of_place[place]
            self.findings.add(*twice(rule.name, rule.paths[0][-1], rule.fields, line, told))
        for who, line, number in self._book.strays():
            self.findings.add(self._who[who], partial(Place, line, self._records.get(number, "")))
