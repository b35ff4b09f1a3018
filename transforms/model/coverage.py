"""What a message layout asks for and nothing feeds: seen before anything is rendered.

Belongs here: holding a layout against the contract and against what stands around the patients. Does not belong here:
whether a column that feeds an attribute has values (rendering says that, row by row).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from schemas.contract import ClassSource, Contract
from schemas.layout import Layout, Node

# What ``transforms.message.shell`` gives of unit, period and extract, and lopenr and lokalident, which each part gets.
SHELL: Final[Mapping[str, frozenset[str]]] = {
    "Melding": frozenset(
        {
            "meldingstype",
            "fraDatoPeriode",
            "tilDatoPeriode",
            "uttakDato",
            "leverandor",
            "navnEPJ",
            "versjonEPJ",
            "versjonUt",
            "lopenr",
            "lokalident",
        }
    ),
    "Kontaktperson": frozenset({"kontPerson", "meldTelefon", "meldEpost1", "typeKontaktperson"}),
    "Institusjon": frozenset({"institusjonID", "foretakID"}),
}
UNITS: Final = "units"


@dataclass(frozen=True, slots=True)
class Gap:
    """One thing nothing feeds. place: ``Class@attribute``, or the class.

    kind: attribute = required and unfed; class = required, or standing between fed classes, without rows;
    lost = fed by the contract in the version before, and not in this one, so that its rows would go nowhere.
    """

    kind: Literal["attribute", "class", "lost"]
    place: str
    why: str


def gaps(contract: Contract, layout: Layout, before: Layout | None = None) -> list[Gap]:
    """Everything of the layout that is asked for and fed by no column and no value of the unit, in document order.

    before: layout of the version before; without it no class counts as lost.
    """
    inside = _inside(layout)
    fed = {node.id: _fed(contract, node, inside) for node in layout.nodes}
    found = [gap for node in layout.nodes for gap in _of_node(contract, layout, node, fed)]
    return [*found, *(_lost(contract, layout, before) if before is not None else ())]


def _inside(layout: Layout) -> frozenset[str]:
    inside = {layout.patient}
    for node in layout.nodes:
        if node.parent in inside:
            inside.add(node.id)
    return frozenset(inside)


def _fed(contract: Contract, node: Node, inside: frozenset[str]) -> frozenset[str] | None:
    """Attributes that get a value; None when the class gets no rows at all."""
    if node.id not in inside:
        units = frozenset(contract.tables[UNITS].feeding(node.name))
        return SHELL.get(node.name) or units or None
    source = contract.classes.get(node.id)
    if source is None:
        return None
    made = {source.unpivot.attribute, source.unpivot.role} if source.unpivot else set()
    return frozenset(contract.tables[source.table].feeding(node.name)) | made


def _of_node(contract: Contract, layout: Layout, node: Node, fed: Mapping[str, frozenset[str] | None]) -> Iterator[Gap]:
    given = fed[node.id]
    if given is None:
        between = any(fed[below.id] is not None for below in layout.nodes if _is_below(layout, below, node.id))
        under = node.parent is not None and fed[node.parent] is not None
        if between or (node.min_occurs and under):
            yield Gap("class", node.id, "holds classes that are fed" if between else "required")
        return
    for attribute in node.attributes:
        if attribute.use == "required" and attribute.fixed is None and attribute.name not in given:
            yield Gap("attribute", f"{node.id}@{attribute.name}", f"required, {attribute.type}")
    source = contract.classes.get(node.id)
    if source is not None and source.parent and node.parent is not None and node.id != layout.patient:
        above = contract.classes.get(node.parent)
        if above is not None and above.key[: len(source.parent)] != source.parent:
            yield Gap("class", node.id, f"its rows do not name the key of {node.parent}")


def _is_below(layout: Layout, node: Node, above: str) -> bool:
    parent = node.parent
    while parent is not None and parent != above:
        parent = layout.node(parent).parent
    return parent is not None


def _lost(contract: Contract, layout: Layout, before: Layout) -> Iterator[Gap]:
    """Fed classes of the version before whose rows have no class here: renamed, moved or taken away."""
    here = {node.id for node in layout.nodes}
    homes = {_rows(contract.classes[node]) for node in here & set(contract.classes)}
    for node in before.nodes:
        source = contract.classes.get(node.id)
        if source is not None and node.id not in here and _rows(source) not in homes and not _ended(source, layout):
            yield Gap("lost", node.id, f"in {before.version}, fed from {source.table}; no class of its rows here")


def _rows(source: ClassSource) -> tuple[object, ...]:
    """Which rows a class is made of."""
    return (source.table, source.key, tuple(source.unpivot.columns) if source.unpivot else ())


def _ended(source: ClassSource, layout: Layout) -> bool:
    return source.until is not None and _number(source.until) < _number(layout.version)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())
