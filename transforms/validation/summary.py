"""What a message says of itself: head, period, units and how many of each class. No identities and no keys.

Belongs here: gathering these from a stream of tags, and their text. Does not belong here: judging
(``transforms.validation.check``), opening files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from schemas.errors import DataRefused
from schemas.xsd import walk
from transforms.validation.chunks import MSGHEAD

# The head also has room for a patient and for health personnel; nothing below those is read.
_TEXTS: Final[dict[tuple[str, ...], str]] = {
    ("MsgInfo", "MIGversion"): "MIGversion",
    ("MsgInfo", "GenDate"): "GenDate",
    ("MsgInfo", "MsgId"): "MsgId",
    **{
        ("MsgInfo", side, *levels, *leaf): f"{side} {'unit ' * (len(levels) - 1)}{name}"
        for side in ("Sender", "Receiver")
        for levels in (("Organisation",), ("Organisation", "Organisation"))
        for leaf, name in ((("OrganisationName",), "name"), (("Ident", "Id"), "id"))
    },
}
_CODED: Final[dict[tuple[str, ...], str]] = {("MsgInfo", "Type"): "Type"}


class _Summary:
    """Takes tags and texts in the order of the document."""

    def __init__(self) -> None:
        self.head: dict[str, str] = {}
        self.namespace = ""
        self.melding: dict[str, str] = {}
        self.institutions: list[str] = []
        self.counts: Counter[str] = Counter()

    def visit(self, path: tuple[str, ...], attributes: dict[str, str]) -> bool:
        name = path[-1]
        if name.startswith(MSGHEAD) and not self.melding:
            if label := _CODED.get(_bare(path)):
                self.head[label] = f"{attributes.get('V', '')} {attributes.get('DN', '')}".strip()
            return False
        space, _, local = name.rpartition("}")
        if local == "Melding" and not self.melding:
            self.namespace, self.melding = space.removeprefix("{"), dict(attributes)
        if self.melding and space.removeprefix("{") == self.namespace:
            self.counts[local] += 1
            if local == "Institusjon":
                self.institutions.append(attributes.get("institusjonID", ""))
        return False

    def read(self, path: tuple[str, ...], text: str) -> None:
        if not self.melding and (label := _TEXTS.get(_bare(path))):
            self.head[label] = (self.head.get(label, "") + text).strip()


def _bare(path: tuple[str, ...]) -> tuple[str, ...]:
    """Names within the head, below MsgHead."""
    return tuple(name.removeprefix(MSGHEAD) for name in path[1:])


def summary(blocks: Iterable[bytes], where: str) -> dict[str, Any]:
    """Head, Melding, institutions and counts per class. DataRefused when not well formed, or without Melding."""
    found = _Summary()
    fault = walk(blocks, found.visit, found.read).fault
    if fault is not None:
        place = f"{where}, line {fault.line}"
        raise DataRefused(f"{where}: {fault.text}", where=place, rule=fault.rule, fix="get the file anew")
    if not found.melding:
        raise DataRefused(f"{where} holds no Melding", where=where, rule="one NPR message in each file")
    return {
        "namespace": found.namespace,
        "head": found.head,
        "melding": found.melding,
        "institutions": found.institutions,
        "units": found.counts["Enhet"],
        "counts": dict(found.counts),
    }


def as_text(found: Mapping[str, Any]) -> str:
    """For a terminal. found: ``summary`` with name, packing, encoding and bytes."""
    melding = found["melding"]
    period = f"{melding.get('fraDatoPeriode', '?')} to {melding.get('tilDatoPeriode', '?')}"
    facts = {
        "file": found["name"],
        "size": f"{found['bytes']} bytes of XML, {found['packing']}, {found['encoding']}",
        "namespace": found["namespace"],
        "period": period,
        "institutions": ", ".join(found["institutions"]),
        "units": str(found["units"]),
    }
    lines = [f"{name:14}{text}" for name, text in facts.items()]
    for title, values in (("Head message", found["head"]), ("Melding", melding), ("Classes", found["counts"])):
        if values:
            lines += ["", title, *(f"  {name:24}{value}" for name, value in values.items())]
    return "\n".join(lines)
