"""Two layouts of a module, and what of the extract contract their differences touch.

Belongs here: comparing classes, attributes, types, use and order. Does not belong here: reading schemas, printing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from schemas.contract import Contract
from schemas.layout import Attribute, Layout, Node

T = TypeVar("T", Attribute, Node)
SAME_CLASS = 0.6  # of the attribute names of two classes in the same place, to call it a new name


@dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    place: ``Class@attribute`` or the class, by its id in the older layout, for what is added in the newer. aspect:
    what differs (type, use, fixed, code_list, limits, occurs, name, order). columns: ``table.column`` that feed it.
    """

    kind: Literal["added", "removed", "renamed", "changed"]
    what: Literal["class", "attribute"]
    place: str
    aspect: str
    before: str
    after: str
    columns: tuple[str, ...]


def diff(contract: Contract, older: Layout, newer: Layout) -> list[Change]:
    """All differences in document order. Namespace and the fixed ``versjon`` are not counted as such."""
    return list(_Pair(contract, older, newer).classes(None, None))


@dataclass(frozen=True, slots=True)
class _Pair:
    contract: Contract
    older: Layout
    newer: Layout

    def classes(self, before: Node | None, after: Node | None) -> Iterator[Change]:
        """Differences between the children of two classes that are the same one."""
        old, new = (_below(layout, node) for layout, node in ((self.older, before), (self.newer, after)))
        pairs, removed, added = _matched(old, new)
        names = [a.name for a, _ in pairs], [b.name for _, b in sorted(pairs, key=lambda pair: new.index(pair[1]))]
        if [b.name for _, b in pairs] != names[1]:
            place = before.id if before else ""
            yield Change("changed", "class", place, "order of classes", " ".join(names[0]), " ".join(names[1]), ())
        for node in old:
            if node in removed:
                yield from self._whole("removed", self.older, node)
        for one, other in pairs:
            yield from self._class(one, other)
            yield from self.classes(one, other)
        for node in new:
            if node in added:
                yield from self._whole("added", self.newer, node)

    def _class(self, before: Node, after: Node) -> Iterator[Change]:
        if before.name != after.name:
            yield Change("renamed", "class", before.id, "name", before.name, after.name, self._columns(before))
        was, now = _occurs(before), _occurs(after)
        if was != now:
            yield Change("changed", "class", before.id, "occurs", was, now, self._columns(before))
        old, new = ({a.name: a for a in node.attributes} for node in (before, after))
        yield from (self._attribute("removed", before, old[name]) for name in old if name not in new)
        for name in old:
            if name in new:
                yield from self._aspects(before, old[name], new[name])
        yield from (self._attribute("added", after, new[name]) for name in new if name not in old)
        orders = [name for name in old if name in new], [name for name in new if name in old]
        if orders[0] != orders[1]:
            was, now = (" ".join(order) for order in orders)
            yield Change("changed", "class", before.id, "order of attributes", was, now, ())

    def _aspects(self, node: Node, before: Attribute, after: Attribute) -> Iterator[Change]:
        for aspect in ("type", "use", "fixed", "code_list", "limits"):
            old, new = (str(getattr(attribute, aspect) or "") for attribute in (before, after))
            if old != new and f"{node.name}@{before.name}" != "Melding@versjon":
                place = f"{node.id}@{before.name}"
                yield Change("changed", "attribute", place, aspect, old, new, self._columns(node, before.name))

    def _attribute(self, kind: Literal["added", "removed"], node: Node, attribute: Attribute) -> Change:
        text = f"{attribute.use} {attribute.type}"
        before, after = ("", text) if kind == "added" else (text, "")
        columns = self._columns(node, attribute.name)
        return Change(kind, "attribute", f"{node.id}@{attribute.name}", "", before, after, columns)

    def _whole(self, kind: Literal["added", "removed"], layout: Layout, node: Node) -> Iterator[Change]:
        required = " ".join(a.name for a in node.attributes if a.use == "required")
        text = f"{_occurs(node)}, requires {required or 'nothing'}"
        before, after = ("", text) if kind == "added" else (text, "")
        yield Change(kind, "class", node.id, "", before, after, self._columns(node))
        for child in layout.children(node.id):
            yield from self._whole(kind, layout, child)

    def _columns(self, node: Node, attribute: str | None = None) -> tuple[str, ...]:
        """Columns that feed the class, or one attribute of it."""
        source = self.contract.classes.get(node.id)
        tables = [self.contract.tables[source.table]] if source else list(self.contract.tables.values())
        found = {
            f"{table.name}.{column}": None
            for table in tables
            for name, column in table.feeding(node.name).items()
            if attribute in (None, name)
        }
        if source is not None and source.unpivot and attribute in (None, source.unpivot.attribute):
            found |= {f"{source.table}.{column}": None for column in source.unpivot.columns}
        return tuple(found)


def _below(layout: Layout, node: Node | None) -> list[Node]:
    return [child for child in layout.nodes if child.parent == (node.id if node else None)]


def _matched(old: Sequence[Node], new: Sequence[Node]) -> tuple[list[tuple[Node, Node]], list[Node], list[Node]]:
    """Classes that are the same (by name, else by their attributes), those only in old, those only in new."""
    by_name = {node.name: node for node in new}
    pairs = [(node, by_name[node.name]) for node in old if node.name in by_name]
    added = [node for node in new if node.name not in {one.name for one, _ in pairs}]
    removed = [node for node in old if node.name not in by_name]
    for node in list(removed):
        twin = next((other for other in added if _alike(node, other)), None)
        if twin is not None:
            pairs.append((node, twin))
            removed.remove(node)
            added.remove(twin)
    return sorted(pairs, key=lambda pair: old.index(pair[0])), removed, added


def _alike(one: Node, other: Node) -> bool:
    names, others = ({a.name for a in node.attributes} for node in (one, other))
    together = names | others
    return bool(together) and len(names & others) / len(together) >= SAME_CLASS


def _occurs(node: Node) -> str:
    return f"{node.min_occurs}..{'*' if node.max_occurs is None else node.max_occurs}"
