"""The layout of one message module: what the XSD of a version says, read once.

Belongs here: the tree of classes, attribute order, required, prohibited, types, identity constraints and the
certainty of each attribute. Does not belong here: any knowledge of a particular year or module; that is in the XSD
files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Attribute:
    """One XML attribute of a class, in the order in which the XSD declares it."""

    name: str
    type: str  # base XSD type without prefix: string, integer, date, dateTime, decimal, ...
    use: str  # required | optional | prohibited
    fixed: str | None = None
    code_list: str | None = None  # Volven list number, e.g. "8406"
    certainty: str = "C"  # A official, B third party, C inferred
    source: str = ""
    limits: str = ""  # facets of the type: "length 4", "pattern ...", "12 values, digest"; empty when there are none


@dataclass(frozen=True, slots=True)
class Node:
    """One class at one place in the tree.

    ``id`` is the class name, or ``Parent_Class`` where the class stands in several places (Tilstand_Kode,
    Prosedyre_Kode); it is also the name of the class table.
    """

    id: str
    name: str  # XML element name
    parent: str | None  # id of the parent node
    min_occurs: int
    max_occurs: int | None  # None = unbounded
    attributes: tuple[Attribute, ...]
    certainty: str = "C"
    source: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """One module of one version. ``nodes`` is in document order: parent before child, siblings in sequence order."""

    module: str
    version: str
    namespace: str
    patient: str  # id of the node that holds one patient (Objektholder, PasientIdent)
    nodes: tuple[Node, ...]
    xsd: Path
    sha256: str  # of the module's XSD and all local files it includes or imports
    official: bool

    def node(self, node_id: str) -> Node:
        """The node with that id; KeyError names the ones there are."""
        for node in self.nodes:
            if node.id == node_id:
                return node
        raise KeyError(
            f"{node_id}: not in {self.module} {self.version}; there are {', '.join(n.id for n in self.nodes)}"
        )

    def children(self, node_id: str) -> tuple[Node, ...]:
        """Child nodes in sequence order."""
        return tuple(node for node in self.nodes if node.parent == node_id)

    def certainties(self) -> Mapping[str, int]:
        """How many attributes (not prohibited) carry each certainty."""
        counts = {"A": 0, "B": 0, "C": 0}
        for node in self.nodes:
            for attribute in node.attributes:
                if attribute.use != "prohibited":
                    counts[attribute.certainty] += 1
        return counts
