"""The head message (hodemelding, MsgHead v1.2, HIS 80601:2006) around one Melding, inline or in a Base64Container.

Belongs here: the bytes before and after the Melding, its base64, the checks which the official schema leaves out, and
reading a Melding out again. Does not belong here: the Melding itself, who the receiver is and what it wants
(``schemas.receivers``), encryption (``transforms.shipping.packing``).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from lxml import etree

from schemas.errors import DataRefused, WrongUse
from schemas.receivers import ContentForm, DocumentForm
from schemas.xsd import parse

NAMESPACE: Final = "http://www.kith.no/xmlstds/msghead/2006-05-24"
MIG_VERSION: Final = "v1.2 2006-05-24"
HER_OID: Final = "2.16.578.1.12.4.1.1.9051"  # Volven 9051, type of organisation id

_ESCAPES: Final = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
)
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_GEN_DATE: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")

CONTAINER: Final = "http://www.kith.no/xmlstds/base64container"
DECLARATION: Final = b'<?xml version="1.0" encoding="UTF-8"?>\n'


@dataclass(frozen=True, slots=True)
class Coded:
    """A coded value: V is the code, DN its display name. Both are required here; the schema requires neither."""

    v: str
    dn: str


@dataclass(frozen=True, slots=True)
class Party:
    """A communication party, with its unit one level down where there is one. ``her_id`` is digits only."""

    name: str
    her_id: str
    unit: Party | None = None


@dataclass(frozen=True, slots=True)
class HeadMessage:
    """What one MsgHead says.

    type_v, type_dn: code and name from code list 8279. msg_id: GUID, the number a receipt refers to. gen_date: ISO
    8601 with offset, because the schema allows local time and receivers then guess. case_no: for PatientReport only.
    """

    type_v: str
    type_dn: str
    msg_id: str
    gen_date: str
    sender: Party
    receiver: Party
    processing_status: Coded | None = None
    ack: Coded | None = None
    document_form: DocumentForm = "Document"
    case_no: str = ""
    ref_type: Coded = field(default=Coded("XML", "XML-instans"))
    mime_type: str = "text/xml"
    content: ContentForm = "inline"


def xml_text(value: str, where: str) -> str:
    """``value`` escaped for text and for attributes in double quotes.

    Raises WrongUse when it is empty or holds a character XML 1.0 cannot carry; the value itself is not repeated.
    """
    if not value.strip():
        raise WrongUse(f"{where} is empty", where=where, fix=f"give {where} a value")
    if _NOT_XML.search(value):
        raise WrongUse(f"{where} holds a character that XML 1.0 cannot carry", where=where, fix="remove it")
    return value.translate(_ESCAPES)


def head(message: HeadMessage) -> tuple[bytes, bytes]:
    """Bytes before and after the content: UTF-8, XML declaration included in the first.

    Between them goes what ``content_pieces`` makes of the Melding, which is UTF-8, without an XML declaration of its
    own and with its own default namespace. Raises WrongUse for an empty V, DN, name or id, a HER-id that is no number,
    a date without offset, and PatientReport without a case number. Source: MsgHead-v1_2.xsd (order of elements), HIS
    80601:2006.
    """
    opening, closing = _document(message)
    container = ("", "")
    if message.content == "base64":
        container = (f'<Base64Container xmlns="{CONTAINER}">', "</Base64Container>")
    prefix = (
        f'<MsgHead xmlns="{NAMESPACE}">{_info(message)}{opening}'
        f"<RefDoc>{_coded('MsgType', message.ref_type)}"
        f"<MimeType>{xml_text(message.mime_type, 'RefDoc/MimeType')}</MimeType><Content>{container[0]}"
    )
    suffix = f"{container[1]}</Content></RefDoc>{closing}</MsgHead>\n"
    return DECLARATION + prefix.encode(), suffix.encode()


def content_open(content: ContentForm) -> bytes:
    """What stands before a Melding inside the content: a Base64Container holds a document with its declaration."""
    return b"" if content == "inline" else DECLARATION


def content_pieces(melding: Iterable[bytes], content: ContentForm) -> Iterator[bytes]:
    """What stands in the content for a Melding: itself, or the base64 of it as a document of its own, in one line."""
    if content == "inline":
        yield from melding
        return
    held = content_open(content)
    for piece in melding:
        held += piece
        whole = len(held) // 3 * 3
        yield base64.b64encode(memoryview(held)[:whole])
        held = held[whole:]
    yield base64.b64encode(held)


def content_size(melding_bytes: int, content: ContentForm) -> int:
    """Bytes of the content for a Melding of that many bytes, exact."""
    return melding_bytes if content == "inline" else -(-(len(content_open(content)) + melding_bytes) // 3) * 4


def read_melding(document: bytes) -> bytes:
    """The Melding of a MsgHead document in canonical form (exclusive C14N), whichever way it is dressed.

    Raises DataRefused when there is not exactly one. What libxml2 says is not shown: it quotes values.
    """
    try:
        root = parse(document, "MsgHead", long_text=True)
        content = [child for element in root.iter(f"{{{NAMESPACE}}}Content") for child in element]
        if len(content) == 1 and content[0].tag == f"{{{CONTAINER}}}Base64Container":
            content = [parse(base64.b64decode(content[0].text or ""), "Base64Container")]
    except (DataRefused, ValueError):
        raise DataRefused("the head message cannot be read", where="MsgHead", rule="well-formed XML") from None
    if len(content) != 1:
        raise DataRefused(f"the head message holds {len(content)} documents", where="MsgHead", rule="one Melding")
    return etree.tostring(content[0], method="c14n", exclusive=True)


def melding_bytes(document: bytes) -> bytes:
    """The very bytes of the Melding in a document that ``head`` and ``content_pieces`` made; DataRefused for others."""
    opening, closing = b"<Content>", b"</Content>"
    begin, end = document.find(opening), document.rfind(closing)
    if begin < 0 or end < begin:
        raise DataRefused("the head message has no content", where="RefDoc/Content")
    content = document[begin + len(opening) : end]
    tag = f'<Base64Container xmlns="{CONTAINER}">'.encode()
    if not content.startswith(tag):
        return content
    held = base64.b64decode(content[len(tag) : -len(b"</Base64Container>")])
    return held.removeprefix(DECLARATION)


def _info(message: HeadMessage) -> str:
    return (
        f"<MsgInfo>{_coded('Type', Coded(message.type_v, message.type_dn))}<MIGversion>{MIG_VERSION}</MIGversion>"
        f"<GenDate>{_gen_date(message.gen_date)}</GenDate><MsgId>{xml_text(message.msg_id, 'MsgInfo/MsgId')}</MsgId>"
        f"{_optional('ProcessingStatus', message.processing_status)}{_optional('Ack', message.ack)}"
        f"<Sender>{_organisation(message.sender, 'Sender')}</Sender>"
        f"<Receiver>{_organisation(message.receiver, 'Receiver')}</Receiver></MsgInfo>"
    )


def _document(message: HeadMessage) -> tuple[str, str]:
    if message.document_form == "Document":
        return "<Document>", "</Document>"
    case_no = xml_text(message.case_no, "PatientReport/CaseNo")
    return f"<PatientReport><CaseNo>{case_no}</CaseNo><Document>", "</Document></PatientReport>"


def _optional(name: str, value: Coded | None) -> str:
    return "" if value is None else _coded(name, value)


def _coded(name: str, value: Coded) -> str:
    if value.v != " ".join(value.v.split()):
        raise WrongUse(f"{name}/@V has blanks around or in a row", where=f"{name}/@V", fix="write the bare code")
    return f'<{name} V="{xml_text(value.v, f"{name}/@V")}" DN="{xml_text(value.dn, f"{name}/@DN")}"/>'


def _organisation(party: Party, where: str) -> str:
    if not (party.her_id.isascii() and party.her_id.isdigit()):
        raise WrongUse(f"the HER-id of {where} is not a number", where=where, fix="give the HER-id as digits")
    if party.unit is not None and party.unit.unit is not None:
        raise WrongUse(f"{where} has more than two levels", where=where, fix="name the organisation and one unit")
    unit = "" if party.unit is None else _organisation(party.unit, f"{where}/Organisation")
    return (
        f"<Organisation><OrganisationName>{xml_text(party.name, f'{where}/OrganisationName')}</OrganisationName>"
        f'<Ident><Id>{party.her_id}</Id><TypeId V="HER" S="{HER_OID}" DN="HER-id"/></Ident>{unit}</Organisation>'
    )


def _gen_date(value: str) -> str:
    if not _GEN_DATE.fullmatch(value):
        raise WrongUse(
            "GenDate is not a date and time with offset", where="MsgInfo/GenDate", fix="write 2020-10-05T08:00:00+02:00"
        )
    return value
