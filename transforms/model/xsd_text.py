"""The text of an XSD, made from the model.

Belongs here: the same text each time for the same module and version. Does not belong here: what a module is made of
(``schemas/npr/model``), and writing files (``pipelines.docs``).
"""

from __future__ import annotations

from itertools import groupby
from textwrap import wrap
from typing import Final
from xml.sax.saxutils import quoteattr

from schemas.model import BUILT_IN, CODED, AttributeRow, Child, Fact, Key, Message, ModelClass, SimpleType, Version

MADE: Final = "Made from schemas/npr/model/ by `make docs`; change it there. NOT the official schema"
CERTAINTY: Final = (
    "The fact beside each element and attribute says how sure it is: A official schema or list seen, B third party,"
    " older official cut or carried from another version, C inferred; of name and place the less certain one counts."
    " A fact on a reference to an element speaks of its place."
)
SHARED: Final = (
    "Seen: each type is as strict as in the official NPR.xsd of this version. Left out: its complex types, which no"
    " module here uses. Reconstructed: nothing."
)
CODES: Final = {
    "enumerated": "Values are those of the data year in schemas/codes, as the official schemas of 53 enumerated theirs;"
    " a list without values here is one whose codes we do not hold.",
    "typed": "No values here: the official schemas had none either, so being valid does not mean that a code exists."
    " Lists of whole numbers have the base type they had in XPR(ide) 53.1.2; what fits it fits a plain string too.",
    "text": "Neither values nor whole numbers here, as in the official schemas (kpp; hst 56.0.0), so being valid does"
    " not mean that a code exists.",
}


def message_xsd(message: Message) -> str:
    """The XSD of one module of one version, to be written in ``message.version.encoding``."""
    version, about = message.version, message.about
    own, shared = f"{version.namespace}_{message.module}", version.namespace
    paragraphs = [
        f"{about['title']}, module {message.module}, version {version.name}. {MADE}: {about['public']}.",
        f"Seen: {about['seen']}",
        f"Reconstructed: {about['reconstructed']}",
        f"Left out: {about['left_out']}",
        CERTAINTY,
    ]
    return (
        f"{_prolog(version, paragraphs)}"
        '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"\n'
        f'           xmlns:npr="{own}"\n           xmlns:nprx="{shared}"\n'
        '           xmlns:fact="urn:npr-pipeline:fact"\n'
        f'           targetNamespace="{own}"\n'
        '           elementFormDefault="qualified" attributeFormDefault="unqualified">\n'
        f'  <xs:import namespace="{shared}" schemaLocation="NPR.xsd"/>\n\n'
        f"{_levels(message)}{_lists(message)}</xs:schema>\n"
    )


def shared_xsd(version: Version, types: tuple[SimpleType, ...]) -> str:
    """The XSD of the types that all modules of a version share (NPR.xsd)."""
    paragraphs = [f"Types shared by the modules of version {version.name}. {MADE}.", SHARED]
    return (
        f"{_prolog(version, paragraphs)}"
        '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:fact="urn:npr-pipeline:fact"\n'
        f'           targetNamespace="{version.namespace}">\n'
        + "\n".join(_simple_type(one) for one in types)
        + "</xs:schema>\n"
    )


def _prolog(version: Version, paragraphs: list[str]) -> str:
    text = "\n\n".join("\n".join(wrap(paragraph, 118)) for paragraph in paragraphs)
    return f'<?xml version="1.0" encoding="{version.encoding}"?>\n<!--\n{text}\n-->\n'


def _levels(message: Message) -> str:
    return "".join(
        f"  <!-- Level {level} -->\n\n" + "".join(f"{_element(one)}\n" for one in classes)
        for level, classes in groupby(message.classes, key=lambda one: one.level)
    )


def _element(one: ModelClass) -> str:
    children = "".join(_child(child) for child in one.children)
    sequence = f"      <xs:sequence>\n{children}      </xs:sequence>\n" if children else ""
    return (
        f'  <xs:element name="{one.name}">\n    {_fact(one.fact)}\n    <xs:complexType>\n{sequence}'
        f"{''.join(_attribute(attribute) for attribute in one.attributes)}    </xs:complexType>\n"
        f"{''.join(_key(key) for key in one.keys)}  </xs:element>\n"
    )


def _child(child: Child) -> str:
    most = "unbounded" if child.max_occurs is None else str(child.max_occurs)
    return (
        f'        <xs:element ref="npr:{child.name}" minOccurs="{child.min_occurs}" maxOccurs="{most}">\n'
        f"          {_fact(child.fact)}\n        </xs:element>\n"
    )


def _attribute(one: AttributeRow) -> str:
    fixed = f' fixed="{one.fixed}"' if one.fixed else ""
    return (
        f'      <xs:attribute name="{one.name}" type="{_type(one)}" use="{one.use}"{fixed}>\n'
        f"        {_fact(one.fact, one.code_list)}\n      </xs:attribute>\n"
    )


def _type(one: AttributeRow) -> str:
    if one.type == CODED:
        return f"npr:list{one.code_list}"
    return f"xs:{one.type}" if one.type in BUILT_IN else f"nprx:{one.type}"


def _fact(fact: Fact, code_list: str = "") -> str:
    said = {"certainty": fact.certainty, "source": fact.source, "codeList": code_list, "note": fact.note}
    text = " ".join(f"{name}={quoteattr(value)}" for name, value in said.items() if value)
    return f"<xs:annotation><xs:appinfo><fact:fact {text}/></xs:appinfo></xs:annotation>"


def _key(one: Key) -> str:
    refer = f' refer="npr:{one.refer}"' if one.refer else ""
    path = "/".join(f"npr:{name}" for name in one.selector.split("/"))
    fields = "".join(f'      <xs:field xpath="@{name}"/>\n' for name in one.fields)
    inner = f'      <xs:selector xpath="{path}"/>\n{fields}'
    return f'    <xs:{one.kind} name="{one.name}"{refer}>\n{inner}    </xs:{one.kind}>\n'


def _lists(message: Message) -> str:
    intro = (
        "Coded attributes: listNNNN is Volven list NNNN (OID 2.16.578.1.12.4.1.1.NNNN). " + CODES[message.version.coded]
    )
    comment = "\n       ".join(wrap(intro, 110))
    return f"  <!-- {comment} -->\n" + "".join(_list(one) for one in message.lists)


def _list(one: SimpleType) -> str:
    inner = "".join(f"<xs:{name} value={quoteattr(value)}/>" for name, value in one.facets)
    ended = f">{inner}</xs:restriction>" if inner else "/>"
    return f'  <xs:simpleType name="{one.name}"><xs:restriction base="xs:{one.base}"{ended}</xs:simpleType>\n'


def _simple_type(one: SimpleType) -> str:
    facets = "".join(f"      <xs:{name} value={quoteattr(value)}/>\n" for name, value in one.facets)
    return (
        f'  <xs:simpleType name="{one.name}">\n    {_fact(one.fact)}\n'
        f'    <xs:restriction base="xs:{one.base}">\n{facets}    </xs:restriction>\n  </xs:simpleType>\n'
    )
