"""Codes and texts of coded values in head messages and receipts, which their schemas leave free.

Belongs here: finding elements of the types CS and CV that lack V (the code) or DN (its text). Does not belong here:
whether a code stands in its list, and the codes of Melding, which are attributes of their own.

Why: every attribute of CS and CV is optional in MsgHead 1.2 and AppRec 1.0 and 1.1, so ``<Type/>`` validates there.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final, cast

from lxml import etree

from schemas.xsd import HEAD, XSD, SchemaFault, parse

APPREC: Final = Path(__file__).parent / "apprec"
# Namespace -> files that declare its elements.
DECLARED: Final = {
    "http://www.kith.no/xmlstds/msghead/2006-05-24": (HEAD,),
    "http://www.kith.no/xmlstds/apprec/2004-11-21": (APPREC / "apprec-1.0.xsd", APPREC / "common.xsd"),
    "http://www.kith.no/xmlstds/apprec/2012-02-15": (APPREC / "apprec-1.1.xsd", APPREC / "common.xsd"),
}
NO_CODE: Final = "CODED_WITHOUT_V"
NO_TEXT: Final = "CODED_WITHOUT_DN"
_NEEDED: Final = (("V", NO_CODE, "the coded value has no code"), ("DN", NO_TEXT, "the coded value has no text"))


def coded_faults(root: etree._Element) -> list[SchemaFault]:
    """Coded values below and including ``root`` without code or text, in document order; no value of the document.

    A blank attribute counts as none. Elements of other namespaces are passed over.
    """
    return [fault for element in root.iter(etree.Element) for fault in _of(element)]


def missing(namespace: str, name: str, attributes: Mapping[str, str]) -> tuple[str, ...]:
    """Which of V and DN an element lacks; empty where it is no coded value. For readers that keep no tree."""
    if name not in coded_names(namespace):
        return ()
    return tuple(wanted for wanted, _, _ in _NEEDED if not attributes.get(wanted, "").strip())


@cache
def coded_names(namespace: str) -> frozenset[str]:
    """Names of the elements of type CS or CV; empty for a namespace that has none."""
    found = set()
    for path in DECLARED.get(namespace, ()):
        for element in parse(path.read_bytes(), path.name).iter(f"{XSD}element"):
            if element.get("type", "").rpartition(":")[2] in ("CS", "CV"):
                found.add(element.get("name", ""))
    return frozenset(found)


def _of(element: etree._Element) -> list[SchemaFault]:
    tag = etree.QName(element)
    attributes = {str(name): str(value) for name, value in element.attrib.items()}
    lacking = missing(tag.namespace or "", tag.localname, attributes)
    line = cast("int | None", element.sourceline)
    return [SchemaFault(line, None, tag.localname, name, rule, text) for name, rule, text in _NEEDED if name in lacking]
