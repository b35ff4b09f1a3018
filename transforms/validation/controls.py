"""Elements of a message judged by the register's attribute controls.

Belongs here: the exact judgement of one element, and the sieve that finds the few elements worth it. Does not belong
here: what the controls are (``schemas.controls``), schema faults (``transforms.validation.check``).

A message has millions of attributes and few faults. So patterns and codes are written as a schema, and libxml2 finds
the elements that break it; XPath finds those whose dates matter. The sieve may take an element too many, never one too
few; what stays in it is judged here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from html import escape
from typing import Any, Final, NamedTuple, cast

from lxml import etree

from schemas.codelists import CodeList, code_list
from schemas.controls import Control, Controls
from schemas.layout import Layout
from schemas.xsd import XSD, faulty_elements, schema_of
from transforms.validation.chunks import places
from transforms.validation.keys import ONE_WAY

_YEAR: Final = re.compile(r"(19|20)\d\d(?=-)")
_SPECIAL: Final = re.compile(r"[.\\?*+{}()\[\]|^-]")
# An enumeration without a value would let everything through.
_NO_CODE: Final = "(none)"


class Outcome(NamedTuple):
    """One control that an attribute of an element did not pass. check: type | mandatory | code | range."""

    check: str
    attribute: str
    text: str
    consequence: str


@dataclass(frozen=True, slots=True)
class Period:
    """Attributes of Melding that controls refer to."""

    melding: dict[str, str]

    @property
    def years(self) -> tuple[int, int]:
        """First and last year whose dates are the rule in the message."""
        names = ("fraDatoPeriode", "tilDatoPeriode", "uttakDato")
        found = [_YEAR.match(self.melding.get(name, "")) for name in names]
        years = [int(year[0]) for year in found if year]
        return (min(years) - 1, max(years)) if years else (1, 0)


def judge(element: etree._Element, controls: Controls, period: Period) -> Iterator[Outcome]:
    """What the controls of its class say about one element."""
    cls = etree.QName(element).localname
    for control in controls.values():
        if control.cls == cls:
            yield from judge_one(element, control, period)


def judge_one(element: etree._Element, control: Control, period: Period) -> Iterator[Outcome]:
    """What one control of its class says about an element."""
    value = element.get(control.attribute)
    if not value:
        if control.mandatory:
            yield Outcome("mandatory", control.attribute, "is missing or empty", control.mandatory_action)
        return
    if control.pattern and not _compiled(control.pattern).fullmatch(value):
        yield Outcome("type", control.attribute, f"is not of the form {control.type}", control.type_action)
    if control.code_list and control.held and not _valid(element, value, control, period):
        text = f"is not a code of list {control.code_list} on that date"
        yield Outcome("code", control.attribute, text, control.code_action)
    for bound, text, sign in ((control.low, "before", 1), (control.high, "after", -1)):
        other = _referred(element, bound, period)
        if bound and other and sign * _order(other, value) > 0:
            yield Outcome("range", control.attribute, f"is {text} {bound}", control.range_action)


def surely_right(control: Control) -> Callable[[str], object]:
    """A quick look at a value: true only where the control has nothing to say of it, whatever the dates are."""
    fits = _compiled(control.pattern).fullmatch if control.pattern else bool
    if control.low or control.high:
        return lambda _: False
    if not control.code_list or not control.held:
        return fits
    always = [one.code for one in code_list(control.code_list).values if not (one.valid_from or one.valid_to)]
    return frozenset(code for code in always if fits(code)).__contains__


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _valid(element: etree._Element, value: str, control: Control, period: Period) -> bool:
    year = _YEAR.match(_referred(element, control.code_date, period) or "")
    found = next((one for one in code_list(control.code_list or "").values if one.code == value), None)
    # Without a date that can be read there is no year to judge by; the date has a fault of its own.
    return found is not None and (year is None or found.valid_in(int(year[0])))


def _referred(element: etree._Element, place: str, period: Period) -> str | None:
    where, _, attribute = place.partition("/@")
    if where == "Melding":
        return period.melding.get(attribute)
    if where == ".":
        return element.get(attribute)
    if where == "..":
        parent = element.getparent()
        return parent.get(attribute) if parent is not None else None
    cls = where.removeprefix("ancestor::")
    return next((up.get(attribute) for up in element.iterancestors(f"{{*}}{cls}")), None) if cls else None


def _order(one: str, other: str) -> int:
    """-1, 0 or 1 for two dates or times, compared as exactly as the less exact of them."""
    length = min(len(one), len(other), 19)
    return (one[:length] > other[:length]) - (one[:length] < other[:length])


# The sieve


class Sieve:
    """Finds the elements at or below the patient that may break a control."""

    def __init__(self, layout: Layout, controls: Controls, period: Period) -> None:
        inside = _classes_of_patients(layout)
        wanted = [control for control in controls.values() if control.cls in inside]
        names = {node.name for node in layout.nodes}
        self._patterns = schema_of(_sieve_schema(layout.namespace, names, wanted, period).encode())
        self._dated = [etree.XPath(path, namespaces={"n": layout.namespace}) for path in _dated(layout, wanted, period)]

    def suspects(self, tree: etree._Element, melding: etree._Element) -> list[etree._Element]:
        """Elements to judge, in no order, each once. tree: the document that ``melding`` is in."""
        return list(dict.fromkeys((*faulty_elements(self._patterns, tree), *self.dated(melding))))

    def dated(self, melding: etree._Element) -> list[etree._Element]:
        """Those whose dates are unusual, or are compared."""
        found: dict[etree._Element, None] = {}
        for path in self._dated:
            found |= dict.fromkeys(cast("list[Any]", path(melding)))
        return list(found)


def places_above(layout: Layout) -> list[str]:
    """Where classes stand that are outside patients only; their few elements are judged without a sieve."""
    above = {node.name for node in layout.nodes} - _classes_of_patients(layout)
    return [place for cls in sorted(above) for place in places(layout, cls)]


def _classes_of_patients(layout: Layout) -> set[str]:
    ids = {layout.patient}
    for node in layout.nodes:
        if node.parent in ids:
            ids.add(node.id)
    return {layout.node(one).name for one in ids}


def _sieve_schema(namespace: str, names: set[str], wanted: list[Control], period: Period) -> str:
    of = {name: [control for control in wanted if control.cls == name] for name in sorted(names)}
    elements = "".join(_element(name, controls, period) for name, controls in of.items())
    return (
        '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" elementFormDefault="qualified" '
        f"targetNamespace={_quoted(namespace)}>{elements}</xs:schema>"
    )


class Narrowing:
    """The schema of the message with the controls written into its types, and without identity constraints.

    One validation in place of two for all that is in order. It may only be used when ``complete``: every control of
    a class within patients has found its attribute. numbers: class and attribute of keys that are whole numbers.
    """

    def __init__(self, layout: Layout, controls: Controls, period: Period, numbers: set[tuple[str, str]]) -> None:
        inside = _classes_of_patients(layout)
        self._facets = {key: [ONE_WAY] for key in numbers if key[0] in inside}
        for key, control in controls.items():
            if control.cls in inside and (patterns := _patterns(control, period)):
                self._facets[key] = [*self._facets.get(key, []), *patterns]
        self._found: set[tuple[str, str]] = set()

    @property
    def complete(self) -> bool:
        """Whether all facets have been put in."""
        return self._found == set(self._facets)

    def change(self, root: etree._Element) -> None:
        """Put the facets into one file of the schema, and take its keys out."""
        for constraint in list(root.iter(*(XSD + kind for kind in ("unique", "key", "keyref")))):
            if (declared := constraint.getparent()) is not None:
                declared.remove(constraint)
        for element in root.iter(f"{XSD}element"):
            for attribute in element.iterfind(f"{XSD}complexType/{XSD}attribute[@name]"):
                key = (element.get("name", ""), attribute.get("name", ""))
                if key in self._facets and _narrow(attribute, self._facets[key]):
                    self._found.add(key)


def _patterns(control: Control, period: Period) -> list[str]:
    codes = _always_valid(control, period)
    either = "|".join(_SPECIAL.sub(r"\\\g<0>", code) for code in codes)
    return [one for one in (either, control.pattern, ".+" if control.mandatory else "") if one]


def _narrow(attribute: etree._Element, patterns: list[str]) -> bool:
    """Restrict the type of a declaration once for each pattern; False where it has none to restrict."""
    base, inner = attribute.attrib.pop("type", ""), attribute.find(f"{XSD}simpleType")
    if not base and inner is None:
        return False
    for pattern in patterns:
        simple = etree.Element(f"{XSD}simpleType")
        restriction = etree.SubElement(simple, f"{XSD}restriction")
        if base:
            restriction.set("base", base)
            base = ""
        elif inner is not None:
            restriction.append(inner)
        etree.SubElement(restriction, f"{XSD}pattern", value=pattern)
        inner = simple
    if inner is not None:
        attribute.append(inner)
    return True


def _quoted(text: str) -> str:
    return f'"{escape(text)}"'


def _element(name: str, controls: list[Control], period: Period) -> str:
    attributes = "".join(_attribute(control, period) for control in controls)
    return (
        f'<xs:element name={_quoted(name)}><xs:complexType mixed="true"><xs:sequence>'
        '<xs:any processContents="lax" minOccurs="0" maxOccurs="unbounded"/></xs:sequence>'
        f'{attributes}<xs:anyAttribute processContents="skip"/></xs:complexType></xs:element>'
    )


def _attribute(control: Control, period: Period) -> str:
    facets = "".join(f"<xs:enumeration value={_quoted(code)}/>" for code in _always_valid(control, period))
    if control.pattern:
        facets += f"<xs:pattern value={_quoted(control.pattern)}/>"
    if control.mandatory:
        facets += '<xs:minLength value="1"/>'
    use = ' use="required"' if control.mandatory else ""
    return (
        f"<xs:attribute name={_quoted(control.attribute)}{use}><xs:simpleType>"
        f'<xs:restriction base="xs:string">{facets}</xs:restriction></xs:simpleType></xs:attribute>'
    )


def _always_valid(control: Control, period: Period) -> list[str]:
    """Codes that need no second look: valid in all years that dates of the message have as a rule."""
    if not control.code_list or not control.held:
        return []
    first, last = period.years
    held = code_list(control.code_list)
    sure = [one.code for one in held.values if all(one.valid_in(year) for year in range(first, last + 1))]
    return sure or [_NO_CODE]


def _dated(layout: Layout, wanted: list[Control], period: Period) -> Iterator[str]:
    """XPaths from Melding of elements whose own dates decide: codes outside the usual years, and ranges."""
    for control in wanted:
        if control.code_list and control.held and _limited(code_list(control.code_list)):
            yield from _outside(layout, control, *period.years)
        if control.low or control.high:
            yield from (f"{_from(place)}[@{control.attribute}]" for place in places(layout, control.cls))


def _outside(layout: Layout, control: Control, first: int, last: int) -> Iterator[str]:
    where, _, attribute = control.code_date.partition("/@")
    usual = " or ".join(f"starts-with(@{attribute},'{year}-')" for year in range(last, first - 1, -1))
    unusual = f"[not({usual or 'false()'})]"
    own = f"n:{control.cls}[@{control.attribute}]"
    if where.startswith("ancestor::"):
        # Looked for from above: there are fewer above.
        for place in places(layout, where.removeprefix("ancestor::")):
            yield f"{_from(place)}{unusual}//{own}"
    elif where != "Melding":
        up = "" if where == "." else "/.."
        for place in places(layout, control.cls):
            yield f"{_from(place)}[@{control.attribute}]{up}{unusual}" + (f"/{own}" if up else "")


def _from(place: str) -> str:
    return "/".join(f"n:{name}" for name in place.split("/"))


def _limited(held: CodeList) -> bool:
    return any(one.valid_from or one.valid_to for one in held.values)
