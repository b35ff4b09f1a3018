"""Two schemas of one message, held against each other on generated documents: helper of the differential tests.

Belongs here: documents made at random from a schema (the reference), mutations of them, the two verdicts, and the file
of known disagreements. Does not belong here: which schemas are compared.

Documents are made from the compiled reference itself (xmlschema), so that facets, choices and groups are covered, and
judged by libxml2 under both schemas. A mutation is only *meant* to break something: what counts is that the verdicts
are the same.
"""

from __future__ import annotations

import random
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeAlias

import xmlschema
from lxml import etree
from xmlschema.validators import XsdAnyElement, XsdAttribute, XsdElement, XsdGroup

from schemas.xsd import SchemaFault, compile_schema, safe_errors

# Any declaration of xmlschema's: what they have in common has no typed base there.
Component: TypeAlias = Any

KNOWN: Final = Path(__file__).parent / "differential_known.toml"
MOST_OF_A_KIND: Final = 3
DEEPEST: Final = 10

# Texts as they may stand in a document, sorted by the type they are of or just miss. Each is tried on every type.
TEXTS: Final[Mapping[str, tuple[str, ...]]] = {
    "string": ("x", "æøå ÆØÅ", "a & b < c", "", " ", " x  y ", "\u00a0", "😀", "0" * 300),
    "token": ("x", "NPR_ORD", "æøå", "a b"),
    "date": ("2020-04-30", "2020-02-29", "2020-04-30Z", "2020-04-30+02:00", "0001-01-01", "-0044-03-15"),
    "dateTime": ("2020-04-30T12:00:00", "2020-04-30T12:00:00.123456789", "2020-04-30T24:00:00", "2020-04-30T12:00:00Z"),
    "time": ("12:00:00", "12:00:00.5+01:00"),
    "gYear": ("2020",),
    "gYearMonth": ("2020-04",),
    "decimal": ("1.24", "9", "0.00", "-1", "+5", ".5", "1.", "007.50", "12345678901234567890.12", " 3 "),
    "integer": ("1", "-1", "+7", "007", "0", "201903251624117690", " 3 "),
    "nonNegativeInteger": ("1", "0", "+7", "007"),
    "double": ("1.5", "-1E4", "INF", "NaN"),
    "anyURI": ("urn:x", "mailto:a@b.example", "tel:+4790000001", "http://x/å?b=c#d"),
    "base64Binary": ("", "QUJD", "QU JD"),
    "boolean": ("true", "0"),
    "ID": ("i1",),
}
WRONG: Final = (
    "2020-02-30", "2019-02-29", "2020-4-3", "20200430", "2020-04-30T12:00", "2020-04-30T25:00:00",
    "2020-04-30 12:00:00", "1,24", "1.2.3", "1e3", "--1", "٣", "x", "", " ", "-1", "1.0", "9999999999", "1..2",
    "2.16.", ".1", "QUJ", "B", "b", "BE", "E", "tre", "%zz", "{3F2504E0-4F89-11D3-9A0C-0305E82C3301}",
    "3f2504e0-4f89-11d3-9a0c-0305e82c3301", "3F2504E0", "0301", "030101",
)  # fmt: skip
PATTERNS: Final = {
    r"(\d+\.?)*\d+": ("2.16.578.1.12.4.1.1.9051", "1", "0.0"),
    "guid": ("{3F2504E0-4F89-11D3-9A0C-0305E82C3301}", "3f2504e0-4f89-11d3-9a0c-0305e82c3301"),
}


# Documents


@dataclass
class Maker:
    """Makes documents at random. lean: how seldom what may be left out stands there, from 0 to 1."""

    schema: xmlschema.XMLSchema10
    root: str
    dice: random.Random
    lean: float = 0.5
    keyed: frozenset[str] = field(init=False)
    _spaces: Component = None
    _next: int = 0

    def __post_init__(self) -> None:
        self.keyed = frozenset(_keyed(self.schema))
        self._spaces = {None: self.schema.target_namespace}

    def document(self) -> etree._Element:
        """A document that is meant to be valid."""
        self.lean = self.dice.choice((0.1, 0.5, 0.9))
        return self._element(self.schema.elements[self.root], 0)

    def _element(self, declared: Component, depth: int) -> etree._Element:
        element = etree.Element(declared.name, nsmap=self._spaces)
        for attribute in declared.attributes.values():
            if isinstance(attribute, XsdAttribute) and self._stands(attribute):
                element.set(attribute.name, self._value(attribute.type, attribute.fixed, attribute.local_name))
        content = declared.type if declared.type.is_simple() else declared.type.content
        if isinstance(content, XsdGroup):
            element.extend(self._group(content, depth + 1))
        elif declared.type.has_simple_content():
            element.text = self._value(content, declared.fixed, declared.local_name)
        return element

    def _stands(self, attribute: XsdAttribute) -> bool:
        # The namespace of an attribute not declared here (xml:lang and such) plays no part in these messages.
        if attribute.use == "prohibited" or attribute.name.startswith("{"):
            return False
        return bool(attribute.use == "required" or self.dice.random() >= self.lean)

    def _group(self, group: Component, depth: int) -> Iterator[etree._Element]:
        for _ in range(self._times(group, depth)):
            members = [self.dice.choice(list(group))] if group.model == "choice" else list(group)
            for member in members:
                yield from self._member(member, depth)

    def _member(self, member: Component, depth: int) -> Iterator[etree._Element]:
        if isinstance(member, XsdGroup):
            yield from self._group(member, depth)
        elif isinstance(member, XsdAnyElement):
            yield from (self._any() for _ in range(self._times(member, depth)))
        elif member.target_namespace == self.schema.target_namespace:
            for _ in range(self._times(member, depth)):
                yield self._element(member.ref if member.ref is not None else member, depth)

    def _any(self) -> etree._Element:
        container = etree.Element("{http://www.kith.no/xmlstds/base64container}Base64Container")
        container.text = "QUJD"
        return container

    def _times(self, particle: Component, depth: int) -> int:
        low = int(particle.min_occurs)
        # The deeper, the leaner: a head message may nest organisations without end.
        if low == 0 and self.dice.random() < max(self.lean, depth / DEEPEST):
            return low
        high = max(1, MOST_OF_A_KIND - depth // 3) if particle.max_occurs is None else int(particle.max_occurs)
        return self.dice.randint(max(low, 1), max(high, low, 1))

    def _value(self, kind: Component, fixed: str | None, name: str) -> str:
        if fixed is not None:
            return fixed
        if name in self.keyed:
            self._next += 1
            return str(900_000_000 + self._next)
        return self.dice.choice(_texts(kind))


def _elements(schema: xmlschema.XMLSchema10) -> list[Component]:
    """Every declaration of an element, references to them left out."""
    return [one for one in schema.iter_components(XsdElement) if isinstance(one, XsdElement) and one.ref is None]


def _keyed(schema: xmlschema.XMLSchema10) -> Iterator[str]:
    """Attributes that take part in a key, which get a value of their own each time."""
    for element in _elements(schema):
        for constraint in element.identities:
            yield from (one.path.removeprefix("@") for one in constraint.fields)


@cache
def _texts(kind: Component) -> tuple[str, ...]:
    """Texts that are of a simple type, by xmlschema's word."""
    if kind.enumeration:
        return tuple(str(value) for value in kind.enumeration)
    pool = [text for texts in (*TEXTS.values(), *PATTERNS.values()) for text in texts]
    pool += ["0" * n for n in range(1, 10)]
    primitive = getattr(kind, "primitive_type", None)  # unions have none
    if primitive is not None and primitive.local_name == "anyURI":
        pool = list(TEXTS["anyURI"])  # of other texts libxml2 and xmlschema think differently
    fitting = tuple(dict.fromkeys(text for text in pool if _is_of(kind, text)))
    if not fitting:
        raise ValueError(f"no text for the type {kind}")
    return fitting


def _is_of(kind: Component, text: str) -> bool:
    try:
        return bool(kind.is_valid(text))
    except OverflowError:  # xmlschema lets a year of many digits through to its own arithmetic
        return False


# Mutations: each changes the document in place and says what it did, or None where it found nothing to do.

Mutation = Callable[[etree._Element, Maker], str | None]


def _one(root: etree._Element, maker: Maker, fit: Callable[[etree._Element], bool]) -> etree._Element | None:
    found = [element for element in root.iter(etree.Element) if fit(element)]
    return maker.dice.choice(found) if found else None


def _declared(element: etree._Element, maker: Maker) -> Component:
    """The declaration of an element, by name: enough to know its attributes."""
    return _by_name(maker.schema).get(str(element.tag))


@cache
def _by_name(schema: xmlschema.XMLSchema10) -> dict[str, Component]:
    return {element.name: element for element in _elements(schema)}


def drop_required_attribute(root: etree._Element, maker: Maker) -> str | None:
    return _drop(root, maker, lambda attribute: attribute.use == "required")


def drop_any_attribute(root: etree._Element, maker: Maker) -> str | None:
    return _drop(root, maker, lambda _: True)


def _drop(root: etree._Element, maker: Maker, wanted: Callable[[Component], bool]) -> str | None:
    def names(element: etree._Element) -> list[str]:
        declared = _declared(element, maker)
        known = declared.attributes if declared is not None else {}
        return [str(name) for name in element.attrib if name in known and wanted(known[str(name)])]

    element = _one(root, maker, lambda e: bool(names(e)))
    if element is None:
        return None
    name = maker.dice.choice(names(element))
    del element.attrib[name]
    return f"{_local(element)}@{name} dropped"


def add_prohibited_attribute(root: etree._Element, maker: Maker) -> str | None:
    def names(element: etree._Element) -> list[str]:
        declared = _declared(element, maker)
        every = declared.attributes.values() if declared is not None else ()
        return [a.local_name for a in every if isinstance(a, XsdAttribute) and a.use == "prohibited"]

    element = _one(root, maker, lambda e: bool(names(e)))
    if element is None:
        return None
    name = maker.dice.choice(names(element))
    element.set(name, "3f2504e0-4f89-11d3-9a0c-0305e82c3301")
    return f"{_local(element)}@{name} added, prohibited"


def add_unknown_attribute(root: etree._Element, maker: Maker) -> str | None:
    element = _one(root, maker, lambda _: True)
    assert element is not None
    name = maker.dice.choice(("finnesIkke", "versjon", "v", "{urn:other}V", f"{{{maker.schema.target_namespace}}}V"))
    element.set(name, "1")
    return f"{_local(element)}@{name} added"


def move_attribute(root: etree._Element, maker: Maker) -> str | None:
    """An attribute that the model has, in another class: one that another version or module may allow."""
    names = sorted({a for e in _by_name(maker.schema).values() for a in e.attributes if isinstance(a, str)})
    element = _one(root, maker, lambda _: True)
    if element is None or not names:
        return None
    name = maker.dice.choice([*names, "foretakID", "uttakTidspunkt", "pasientGUID", "reshID"])
    element.set(name, maker.dice.choice(("1", "2020-04-30", "2020-04-30T12:00:00")))
    return f"{_local(element)}@{name} set"


def bad_value(root: etree._Element, maker: Maker) -> str | None:
    """Another text where the schema has a type: of this or any other type, or of none."""
    every = (*WRONG, *(text for texts in TEXTS.values() for text in texts))
    element = _one(root, maker, lambda e: bool(e.attrib) or (e.text is not None and not len(e)))
    if element is None:
        return None
    text = maker.dice.choice(every)
    if element.attrib:
        name = maker.dice.choice([str(name) for name in element.attrib])
        element.set(name, text)
        return f"{_local(element)}@{name} = {text!r}"
    element.text = text
    return f"{_local(element)} = {text!r}"


def wrong_type(root: etree._Element, maker: Maker) -> str | None:
    """A text that the type there does not take."""

    def typed(element: etree._Element) -> list[tuple[str, Component]]:
        declared = _declared(element, maker)
        if declared is None:
            return []
        kinds = {str(n): declared.attributes[n].type for n in element.attrib if n in declared.attributes}
        if declared.type.is_simple():
            kinds[""] = declared.type
        return [(name, kind) for name, kind in kinds.items() if _misses(kind)]

    element = _one(root, maker, lambda e: bool(typed(e)))
    if element is None:
        return None
    name, kind = maker.dice.choice(typed(element))
    text = maker.dice.choice(_misses(kind))
    if name:
        element.set(name, text)
    else:
        element.text = text
    return f"{_local(element)}@{name} = {text!r}, no {kind.local_name}"


@cache
def _misses(kind: Component) -> tuple[str, ...]:
    return tuple(text for text in WRONG if not _is_of(kind, text))


def duplicate_key(root: etree._Element, maker: Maker) -> str | None:
    """Two siblings of one class with the same value in one attribute, or in all."""

    def twin(element: etree._Element) -> etree._Element | None:
        found = element.getnext()
        return found if found is not None and found.tag == element.tag and set(found.attrib) & maker.keyed else None

    element = _one(root, maker, lambda e: twin(e) is not None)
    if element is None:
        return None
    other = twin(element)
    assert other is not None
    names = [str(name) for name in other.attrib if name in maker.keyed]
    if maker.dice.random() < 0.5:
        names = [maker.dice.choice(names)]
    for name in names:
        if name in element.attrib:
            other.set(name, element.attrib[name])
    return f"{_local(other)}@{','.join(names)} twice"


def repeat_key_elsewhere(root: etree._Element, maker: Maker) -> str | None:
    """The same value in an attribute of two elements of a class anywhere: not wrong where another parent owns it."""
    element = _one(root, maker, lambda e: bool(set(e.attrib) & maker.keyed))
    if element is None:
        return None
    name = next(str(name) for name in element.attrib if name in maker.keyed)
    other = _one(root, maker, lambda e: e.tag == element.tag and e is not element)
    if other is None:
        return None
    other.set(name, element.attrib[name])
    return f"{_local(other)}@{name} as in another"


def swap_children(root: etree._Element, maker: Maker) -> str | None:
    parent = _one(root, maker, lambda e: len({child.tag for child in e}) > 1)
    if parent is None:
        return None
    first, second = maker.dice.sample(range(len(parent)), 2)
    one, two = parent[min(first, second)], parent[max(first, second)]
    parent.remove(two)
    one.addprevious(two)
    return f"{_local(two)} before {_local(one)}"


def drop_child(root: etree._Element, maker: Maker) -> str | None:
    element = _one(root, maker, lambda e: e.getparent() is not None)
    if element is None:
        return None
    parent = element.getparent()
    assert parent is not None
    for twin in parent.findall(str(element.tag)):
        parent.remove(twin)
    return f"every {_local(element)} dropped"


def repeat_child(root: etree._Element, maker: Maker) -> str | None:
    element = _one(root, maker, lambda e: e.getparent() is not None)
    if element is None:
        return None
    copy = etree.fromstring(etree.tostring(element))
    for one in copy.iter(etree.Element):
        for name in set(one.attrib) & maker.keyed:
            one.set(str(name), f"k{maker.dice.randrange(10**9)}")
    element.addnext(copy)
    return f"{_local(element)} repeated"


def unknown_child(root: etree._Element, maker: Maker) -> str | None:
    parent = _one(root, maker, lambda _: True)
    assert parent is not None
    known = sorted(_by_name(maker.schema))
    space = maker.schema.target_namespace
    name = maker.dice.choice([f"{{{space}}}FinnesIkke", "FinnesIkke", "{urn:other}Melding", *known])
    parent.insert(maker.dice.randint(0, len(parent)), etree.Element(name))
    return f"{name} put into {_local(parent)}"


def move_child(root: etree._Element, maker: Maker) -> str | None:
    """An element with all below it, in another class or another place of its own."""
    element = _one(root, maker, lambda e: e.getparent() is not None)
    if element is None:
        return None
    inside = set(element.iter(etree.Element))
    place = _one(root, maker, lambda e: e not in inside)
    assert place is not None
    place.insert(maker.dice.randint(0, len(place)), element)
    return f"{_local(element)} moved to {_local(place)}"


def other_namespace(root: etree._Element, maker: Maker) -> str | None:
    element = _one(root, maker, lambda _: True)
    assert element is not None
    name = etree.QName(element)
    space = maker.dice.choice(("urn:other", f"{name.namespace}x", "http://www.npr.no/xmlstds/52_0_0_kpp", ""))
    element.tag = f"{{{space}}}{name.localname}" if space else name.localname
    return f"{name.localname} in the namespace {space!r}"


def text_between(root: etree._Element, maker: Maker) -> str | None:
    element = _one(root, maker, lambda e: len(e) > 0 or not e.text)
    if element is None:
        return None
    text = maker.dice.choice(("x", " ", "\n", "\u00a0"))
    if len(element) and maker.dice.random() < 0.5:
        element[0].tail = text
    else:
        element.text = text
    return f"text {text!r} in {_local(element)}"


def fixed_value(root: etree._Element, maker: Maker) -> str | None:
    """Another value where one is fixed, such as the version."""

    def places(element: etree._Element) -> list[str]:
        declared = _declared(element, maker)
        if declared is None:
            return []
        found = [a.local_name for a in declared.attributes.values() if isinstance(a, XsdAttribute) and a.fixed]
        return found + ([""] if declared.fixed else [])

    element = _one(root, maker, lambda e: bool(places(e)))
    if element is None:
        return None
    name = maker.dice.choice(places(element))
    text = maker.dice.choice(("52.0.0", "54.0.1", " ", "", "58.0.1 ", "v1.1", "v1.2  2006-05-24"))
    if name:
        element.set(name, text)
    else:
        element.text = text
    return f"{_local(element)}@{name} = {text!r}, fixed"


def nil(root: etree._Element, maker: Maker) -> str | None:
    element = _one(root, maker, lambda _: True)
    assert element is not None
    name, text = maker.dice.choice((("nil", "true"), ("nil", "false"), ("type", "x"), ("schemaLocation", "urn:a b")))
    element.set(f"{{http://www.w3.org/2001/XMLSchema-instance}}{name}", text)
    return f"xsi:{name} on {_local(element)}"


def other_root(root: etree._Element, maker: Maker) -> str | None:
    """A part of the message alone."""
    element = _one(root, maker, lambda e: e.getparent() is not None)
    if element is None:
        return None
    name, text = element.tag, element.text
    attributes = {str(key): str(value) for key, value in element.attrib.items()}
    children = list(element)
    for child in list(root):
        root.remove(child)
    root.attrib.clear()
    root.tag, root.text = name, text
    for key, value in attributes.items():
        root.set(key, value)
    root.extend(children)
    return f"{_local(root)} alone"


def _local(element: etree._Element) -> str:
    return etree.QName(element).localname


_ALL: Final[tuple[Mutation, ...]] = (
    drop_required_attribute, drop_any_attribute, add_prohibited_attribute, add_unknown_attribute, move_attribute,
    bad_value, wrong_type, duplicate_key, repeat_key_elsewhere, swap_children, drop_child, repeat_child,
    unknown_child, move_child, other_namespace, text_between, fixed_value, nil, other_root,
)  # fmt: skip
MUTATIONS: Final[Mapping[str, Mutation]] = {one.__name__: one for one in _ALL}
VALID: Final = "valid"
# What any schema must refuse, where the model gives a place for it.
ALWAYS_WRONG: Final = frozenset({"drop_required_attribute", "add_prohibited_attribute", "other_namespace"})


# Verdicts


@dataclass(frozen=True)
class Disagreement:
    """A document on which the two schemas differ. faults: what the one that rejects it says."""

    kind: str
    what: str
    ours_rejects: bool
    faults: tuple[SchemaFault, ...]
    document: bytes


@dataclass
class Outcome:
    """Figures of one comparison, by kind of document."""

    judged: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    disagreements: list[Disagreement] = field(default_factory=list)


def compare(reference: Path, ours: Path, root: str, documents: int, seed: int = 1) -> Outcome:
    """The verdicts of two schema files on documents made from the first: valid ones, and each mutation in turn.

    A mutation that the model gives no place for (no key, nothing prohibited) is left out.
    """
    schema = xmlschema.XMLSchema10(str(reference.resolve()), allow="local", defuse="always")
    maker = Maker(schema, root, random.Random(seed))
    judges = (compile_schema(reference), compile_schema(ours))
    outcome = Outcome()
    kinds = [VALID, *MUTATIONS]
    while outcome.judged.total() < documents:
        for kind in tuple(kinds):
            document, what = _made(maker, kind)
            if document is None:
                kinds.remove(kind)
            else:
                _judge(outcome, judges, kind, what, document)
    return outcome


def _made(maker: Maker, kind: str) -> tuple[etree._Element | None, str]:
    """A document of the kind; None where the model gives no place for the mutation (tried several times)."""
    for _ in range(20):
        root = maker.document()
        what = "" if kind == VALID else MUTATIONS[kind](root, maker)
        if what is not None:
            return root, what
    return None, ""


def _judge(
    outcome: Outcome, judges: tuple[etree.XMLSchema, etree.XMLSchema], kind: str, what: str, root: etree._Element
) -> None:
    verdicts = [judge.validate(root) for judge in judges]
    outcome.judged[kind] += 1
    outcome.rejected[kind] += not verdicts[0]
    if verdicts[0] != verdicts[1]:
        rejecting = judges[verdicts[0]]
        rejecting.validate(root)
        faults = tuple(safe_errors(rejecting.error_log))
        outcome.disagreements.append(Disagreement(kind, what, verdicts[0], faults, etree.tostring(root)))


# Known disagreements


@dataclass(frozen=True)
class Known:
    """One entry of the file: where the two may differ, and why we let them."""

    id: str
    schema: str
    rejects: str
    element: str
    rule: str
    reason: str

    def explains(self, schema: str, found: Disagreement) -> bool:
        """Whether this entry speaks of the disagreement: all that the rejecting side says must be of this kind."""
        side = "ours" if found.ours_rejects else "official"
        return (self.schema, self.rejects) == (schema, side) and all(
            fault.element == self.element and fault.rule == self.rule for fault in found.faults
        )


@cache
def known() -> tuple[Known, ...]:
    """Every entry of ``differential_known.toml``."""
    raw = tomllib.loads(KNOWN.read_text(encoding="utf-8"))
    return tuple(Known(**entry) for entry in raw["known"])


def unexplained(schema: str, outcome: Outcome) -> list[str]:
    """Disagreements that no entry speaks of, in words."""
    return [
        f"{d.kind}: {d.what}; {'ours' if d.ours_rejects else 'official'} rejects: "
        + "; ".join(f"{f.element}@{f.attribute} {f.rule}" for f in d.faults)
        for d in outcome.disagreements
        if not any(entry.explains(schema, d) for entry in known())
    ]
