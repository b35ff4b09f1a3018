"""The head message (hodemelding, MsgHead v1.2, HIS 80601:2006) around one inline Melding.

Belongs here: the bytes before and after the Melding, and the checks which the official schema leaves out.
Does not belong here: the Melding itself, who the receiver is (``schemas.receivers``), encryption
(``transforms.packing``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal

from schemas.errors import WrongUse

NAMESPACE: Final = "http://www.kith.no/xmlstds/msghead/2006-05-24"
MIG_VERSION: Final = "v1.2 2006-05-24"
HER_OID: Final = "2.16.578.1.12.4.1.1.9051"  # Volven 9051, type of organisation id

_ESCAPES: Final = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
)
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_GEN_DATE: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")

DocumentForm = Literal["Document", "PatientReport"]


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
    """Bytes before and after the inline Melding: UTF-8, XML declaration included in the first.

    The Melding goes between them in UTF-8 without an XML declaration of its own and with its own default namespace.
    Raises WrongUse for an empty V, DN, name or id, a HER-id that is no number, a date without offset, and PatientReport
    without a case number. Source: MsgHead-v1_2.xsd (order of elements), HIS 80601:2006.
    """
    opening, closing = _document(message)
    prefix = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<MsgHead xmlns="{NAMESPACE}">{_info(message)}{opening}'
        f"<RefDoc>{_coded('MsgType', message.ref_type)}<MimeType>text/xml</MimeType><Content>"
    )
    return prefix.encode(), f"</Content></RefDoc>{closing}</MsgHead>\n".encode()


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
