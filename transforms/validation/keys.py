"""Keys within patients, found sound without libxml2's own tables of keys.

Belongs here: XPaths that find elements which may break an identity constraint. Does not belong here: keys that span
chunks, and faults (``transforms.validation.check``).

libxml2 spends two thirds of a validation on identity constraints. These XPaths take a third of that, and need only say
"sound" or "look closer": an element too many costs time, one too few would be a wrong verdict. Whole numbers are
compared as text, so the narrowed schema lets pass only numbers that have one way to be written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from lxml import etree

from schemas.layout import Layout
from schemas.xsd import Constraint
from transforms.validation.chunks import chain_of, places

ONE_WAY: Final = "-?(0|[1-9][0-9]*)"
TEXT: Final = "text"
NUMBER: Final = "number"
_WHOLE_NUMBERS: Final = {
    "integer", "nonNegativeInteger", "positiveInteger", "nonPositiveInteger", "negativeInteger", "long", "int", "short",
    "byte", "unsignedLong", "unsignedInt", "unsignedShort", "unsignedByte",
}  # fmt: skip


def paths_of(one: Constraint) -> tuple[str, ...] | None:
    """The selector as paths of child names; None when it is anything more."""
    paths = tuple(path.removeprefix("./") for path in one.selector.split("|"))
    simple = all(step.replace("_", "a").replace("-", "a").isalnum() for path in paths for step in path.split("/"))
    return paths if simple and all(name.startswith("@") for name in one.fields) else None


def kind_of(layout: Layout, one: Constraint, field: str) -> str | None:
    """How two values of a field are told to be the same: as text, as whole numbers; None when neither is certain."""
    classes = {path.split("/")[-1] for path in one.selector.split("|")}
    types = {a.type for node in layout.nodes if node.name in classes for a in node.attributes if f"@{a.name}" == field}
    if types == {"string"}:
        return TEXT
    return NUMBER if types and types <= _WHOLE_NUMBERS else None


@dataclass(frozen=True, slots=True)
class _Reference:
    """Values that must stand among others within each scope. scopes: XPath from Melding; the others: from a scope."""

    scopes: etree.XPath
    elements: etree.XPath
    field: str
    values: etree.XPath
    known: etree.XPath


class KeySieve:
    """Says of chunks whether their keys are sound. supported: whether it can, for this schema."""

    def __init__(self, layout: Layout, found: Sequence[Constraint], spanning: Sequence[str]) -> None:
        self.supported = True
        self.numbers: set[tuple[str, str]] = set()
        self._spaces = {"n": layout.namespace} if layout.namespace else None
        self._suspects: list[etree.XPath] = []
        self._references: list[_Reference] = []
        self._wrong: list[etree.XPath] = []
        self._above = chain_of(layout)[:-1]
        self._holders = self._compiled("/".join((".", *map(self._step, self._above[1:]))))
        by_name = {one.name: one for one in found}
        for one in found:
            if one.name not in spanning:
                self._add(layout, one, by_name)

    def sound(self, melding: etree._Element) -> bool:
        """True when no key in the tree can be at fault, but for those that span chunks."""
        if len(cast("list[Any]", self._holders(melding))) > 1 or any(
            path(melding) for path in (*self._suspects, *self._wrong)
        ):
            return False
        return all(
            set(cast("list[Any]", one.values(scope))) <= set(cast("list[Any]", one.known(scope)))
            for one in self._references
            for scope in cast("list[Any]", one.scopes(melding))
        )

    def strays(self, melding: etree._Element) -> Iterator[etree._Element]:
        """Elements that refer to what is not there. libxml2 does not tell which those are."""
        for path in self._wrong:
            yield from cast("list[Any]", path(melding))
        for one in self._references:
            for scope in cast("list[Any]", one.scopes(melding)):
                known = set(cast("list[Any]", one.known(scope)))
                for element in cast("list[Any]", one.elements(scope)):
                    if (value := element.get(one.field)) is not None and value not in known:
                        yield element

    def _add(self, layout: Layout, one: Constraint, by_name: dict[str, Constraint]) -> None:
        paths = paths_of(one)
        kinds = [kind_of(layout, one, name) for name in one.fields]
        referred = by_name.get(one.refer or "")
        if paths is None or None in kinds or (one.kind == "keyref" and (referred is None or len(one.fields) != 1)):
            self.supported = False
            return
        classes = [path.split("/")[-1] for path in paths]
        pairs = ((name, kind) for name, kind in zip(one.fields, kinds, strict=True) if kind == NUMBER)
        self.numbers |= {(cls, name.removeprefix("@")) for name, _ in pairs for cls in classes}
        if referred is not None:
            self._refer(layout, one, referred, paths)
        elif one.scope not in self._above:
            self._suspects += [self._compiled(path) for path in self._twice(layout, one, paths)]

    def _twice(self, layout: Layout, one: Constraint, paths: tuple[str, ...]) -> Iterator[str]:
        """Elements whose first field is that of one before it; or, for a key, that lack a field."""
        if len(paths) > 1 or "/" in paths[0]:
            self.supported = False
            return
        first, cls = one.fields[0], self._step(paths[0])
        for place in places(layout, one.scope):
            here = f"{self._steps(place)}/{cls}"
            yield f"{here}[preceding-sibling::{cls}][{first} = preceding-sibling::{cls}/{first}]"
            if one.kind == "key":
                yield from (f"{here}[not({name})]" for name in one.fields)

    def _refer(self, layout: Layout, one: Constraint, referred: Constraint, paths: tuple[str, ...]) -> None:
        there = paths_of(referred)
        if there is None or len(there) > 1 or len(referred.fields) != 1 or referred.scope != one.scope:
            self.supported = False
            return
        target = f"{self._steps(there[0])}/{referred.fields[0]}"
        for path in paths:
            if one.scope in self._above:
                here = "/".join((".", *map(self._step, self._above[1 : self._above.index(one.scope) + 1])))
                place, field = self._steps(path), one.fields[0]
                made = [self._compiled(text) for text in (here, place, f"{place}/{field}", target)]
                self._references.append(_Reference(made[0], made[1], field.removeprefix("@"), made[2], made[3]))
            else:
                up = "/".join([".."] * len(path.split("/")))
                wrong = f"[{one.fields[0]} and not({one.fields[0]} = {up}/{target})]"
                for place in places(layout, one.scope):
                    self._wrong.append(self._compiled(f"{self._steps(place)}/{self._steps(path)}{wrong}"))

    def _step(self, name: str) -> str:
        return f"n:{name}" if self._spaces and name != "." else name

    def _steps(self, path: str) -> str:
        return "/".join(self._step(name) for name in path.split("/"))

    def _compiled(self, path: str) -> etree.XPath:
        return etree.XPath(path, namespaces=self._spaces, smart_strings=False)
