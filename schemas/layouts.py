"""Reader of the message model: the layout that an XSD spells out.

Belongs here: turning ``schemas/npr/`` (or an official XSD at hand) into frozen records. Does not belong here: loading
XML safely and validating (``schemas.xsd``), versions by data year (``schemas.versions``), or any class or attribute by
name, but for those that hold one patient.

Facts about certainty and source stand in the XSD's appinfo, in a vocabulary of our own: an empty element
``{urn:npr-pipeline:fact}fact`` with certainty (A official, B third party, C inferred), source, codeList and note. On an
element reference it speaks of the place, on a declaration of the name. Official files have none, and count as A.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final
from xml.etree.ElementTree import Element

import xmlschema
from lxml import etree
from xmlschema.validators import XsdAttribute, XsdElement, XsdGroup

from schemas.errors import WrongUse
from schemas.layout import Attribute, Layout, Node
from schemas.versions import FOLDER, version_entry
from schemas.xsd import CATALOGUE, XSD, local_files, parse

FACT: Final = "{urn:npr-pipeline:fact}fact"
ROOT: Final = "Melding"
# Below Institusjon in NPR's own modules; the municipal ones (hst, ipl) hold one person in each Notifikasjon.
PATIENTS: Final = ("Objektholder", "PasientIdent", "Pasient", "Notifikasjon")
HOLDERS: Final = ("Institusjon", ROOT)


@cache
def load_layout(module: str, version: str) -> Layout:
    """The layout of a module we hold an XSD for. WrongUse names the modules there are."""
    held = version_entry(version)["held"]
    if module not in held:
        raise WrongUse(
            f"{module}: no XSD for version {version}",
            where=f"schemas/npr/{version}",
            fix=f"modules there are: {', '.join(held) or 'none'}; put official files in with `npr schema add PATH`",
        )
    path = FOLDER / version / f"{module}.xsd"
    ours = next(parse(path.read_bytes(), path.name).iter(FACT), None) is not None
    return read_layout(path, module, version, official=not ours)


def read_layout(xsd: Path, module: str, version: str, *, official: bool) -> Layout:
    """The layout spelled out by an XSD with root Melding, ours or an official one.

    official: attributes without a fact of ours count as certainty A with the file as source, else as C. Sequences are
    taken flat: how often a group itself may repeat is not seen. WrongUse for files that cannot be had locally, do not
    compile, hold no Melding, nest a class in itself or have no patients.
    """
    files = local_files(xsd)
    schema = _compiled(xsd)
    if ROOT not in schema.elements:
        raise WrongUse(f"{xsd.name} declares no {ROOT}", where=str(xsd), fix="give the XSD of a message module")
    walk = _Walk(_code_lists(files), "A" if official else "C", xsd.name if official else "")
    nodes = _named(list(walk.below(schema.elements[ROOT], ())))
    return Layout(
        module=module,
        version=version,
        namespace=schema.target_namespace,
        patient=_patient(nodes, xsd),
        nodes=nodes,
        xsd=xsd,
        sha256=_digest(files),
        official=official,
    )


def _compiled(xsd: Path) -> xmlschema.XMLSchema10:
    try:
        # The same files that libxml2 gets: an import that names a remote place is read from the catalogue.
        known = {namespace: str(path) for namespace, path in CATALOGUE.items()}
        return xmlschema.XMLSchema10(str(xsd.resolve()), locations=known, allow="local", defuse="always")
    except (xmlschema.XMLSchemaException, OSError) as error:
        raise WrongUse(f"{xsd.name} is not a schema that compiles", where=str(error), rule="XML Schema 1.0") from None


@dataclass(frozen=True, slots=True)
class _Place:
    """An element at one place in the tree: ``path`` ends with its own name."""

    path: tuple[str, ...]
    node: Node


@dataclass(frozen=True, slots=True)
class _Walk:
    """Down the tree, depth first, with what counts where a declaration has no fact."""

    code_lists: Mapping[str, str]
    certainty: str
    source: str

    def below(self, element: XsdElement, path: tuple[str, ...]) -> Iterator[_Place]:
        name = element.local_name
        if name in path:
            raise WrongUse(f"{name} stands within itself", where="/".join((*path, name)), rule="the model is a tree")
        path = (*path, name)
        yield _Place(path, self._node(element))
        content = getattr(element.type, "content", None)
        for child in content.iter_elements() if isinstance(content, XsdGroup) else ():
            if isinstance(child, XsdElement):
                yield from self.below(child, path)

    def _node(self, element: XsdElement) -> Node:
        declared = element.ref if element.ref is not None else element
        fact = {**_fact(declared.elem), **_fact(element.elem)}
        return Node(
            id="",
            name=element.local_name,
            parent=None,
            min_occurs=element.min_occurs,
            max_occurs=element.max_occurs,
            attributes=tuple(self._attribute(a) for a in element.attributes.values() if isinstance(a, XsdAttribute)),
            certainty=fact.get("certainty", self.certainty),
            source=fact.get("source", self.source),
        )

    def _attribute(self, attribute: XsdAttribute) -> Attribute:
        fact = _fact(attribute.elem)
        name = attribute.local_name
        return Attribute(
            name=name,
            type=_builtin(attribute.type),
            use=attribute.use or "optional",
            fixed=attribute.fixed,
            code_list=fact.get("codeList") or _oid(attribute.elem) or self.code_lists.get(name),
            certainty=fact.get("certainty", self.certainty),
            source=fact.get("source", self.source),
            limits=_limits(attribute.type),
        )


def _named(places: list[_Place]) -> tuple[Node, ...]:
    """Nodes with ids: the class, or Parent_Class where a class stands in several places."""
    standing = Counter(place.node.name for place in places)
    ids: dict[tuple[str, ...], str] = {}
    nodes = []
    for place in places:
        parent = ids.get(place.path[:-1])
        node = place.node
        ids[place.path] = f"{parent}_{node.name}" if standing[node.name] > 1 else node.name
        nodes.append(
            Node(
                id=ids[place.path],
                name=node.name,
                parent=parent,
                min_occurs=node.min_occurs,
                max_occurs=node.max_occurs,
                attributes=node.attributes,
                certainty=node.certainty,
                source=node.source,
            )
        )
    return tuple(nodes)


def _patient(nodes: tuple[Node, ...], xsd: Path) -> str:
    """The repeated child of Institusjon or Melding that holds one patient."""
    for node in nodes:
        if node.parent in HOLDERS and node.max_occurs is None and node.name in PATIENTS:
            return node.id
    raise WrongUse(f"{xsd.name} has no patients", where=str(xsd), rule=f"one of {', '.join(PATIENTS)} repeats")


def _fact(element: Element | None) -> Mapping[str, str]:
    found = element.find(f"{XSD}annotation/{XSD}appinfo/{FACT}") if element is not None else None
    return found.attrib if found is not None else {}


def _oid(element: Element | None) -> str | None:
    """The list an official attribute names itself (58.0.1): ``<appinfo source="OID">OID: 8491</appinfo>``."""
    found = element.find(f"{XSD}annotation/{XSD}appinfo[@source='OID']") if element is not None else None
    return (found.text or "").removeprefix("OID:").strip() or None if found is not None else None


def _code_lists(files: tuple[Path, ...]) -> dict[str, str]:
    """Attribute -> list, as the coding schemes of official files name them (up to 57.0.1)."""
    found: dict[str, str] = {}
    for path in files:
        for appinfo in parse(path.read_bytes(), path.name).iter(f"{XSD}appinfo"):
            name = _value(appinfo, "attribute", "name")
            oid = _value(appinfo, "codingScheme", "OID")
            if name and oid:
                found[name] = oid
    return found


def _value(appinfo: etree._Element, name: str, attribute: str) -> str | None:
    found = appinfo.find(f"{XSD}{name}[@{attribute}]")
    return found.get(attribute) if found is not None else None


def _builtin(simple_type: Any) -> str:  # noqa: ANN401 - xmlschema's types of types have no common typed base
    """Local name of the nearest built-in type; string for unions and lists of our own."""
    while simple_type is not None and not (simple_type.name or "").startswith(XSD):
        simple_type = simple_type.base_type
    return simple_type.local_name if simple_type is not None else "string"


def _limits(simple_type: Any) -> str:  # noqa: ANN401 - as _builtin
    """Facets down to the built-in type, in the order of their names. Of a list of values only number and digest."""
    found: dict[str, str] = {}
    while simple_type is not None and not (simple_type.name or "").startswith(XSD):
        for name, facet in (getattr(simple_type, "facets", None) or {}).items():
            kind = (name or "").removeprefix(XSD)
            if kind == "enumeration":
                values = sorted(map(str, facet.enumeration))
                text = f"{len(values)} values, {hashlib.sha256(' '.join(values).encode()).hexdigest()[:8]}"
            elif kind == "pattern":
                text = "pattern " + " or ".join(sorted(str(p.get("value")) for p in facet))
            else:
                text = f"{kind} {getattr(facet, 'value', '')}"
            if kind and kind != "whiteSpace":
                found.setdefault(kind, text)
        simple_type = simple_type.base_type
    return "; ".join(found[kind] for kind in sorted(found))


def _digest(files: tuple[Path, ...]) -> str:
    """SHA-256 over name and bytes of each file, in the order of names."""
    digest = hashlib.sha256()
    for path in files:
        data = path.read_bytes()
        digest.update(f"{path.name} {len(data)}\n".encode())
        digest.update(data)
    return digest.hexdigest()
