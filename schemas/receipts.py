"""Application receipts (AppRec 1.0 and 1.1): what a receiver says of a message, as a typed record.

Belongs here: reading one receipt, its status, errors and the message it answers. Does not belong here: finding that
message among ours, and what is done about it.

Sources: names, order and types as in apprec-v1.0.xsd (HIS 80415:2004) and apprec-v1.1.xsd (HIS 80415:2012); codes in
``schemas/apprec/codes.toml``. Which version NPR answers in is not known, so both are taken.
"""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, Final, Literal, cast
from zoneinfo import ZoneInfo

from lxml import etree

from schemas.coded import APPREC, coded_faults
from schemas.errors import DataRefused
from schemas.xsd import SchemaFault, compile_schema, parse, safe_errors

Resend = Literal["never", "after_fix", "person"]

VERSIONS: Final = {
    "http://www.kith.no/xmlstds/apprec/2004-11-21": "1.0",
    "http://www.kith.no/xmlstds/apprec/2012-02-15": "1.1",
}
# Times without a zone occur, and mean Norwegian local time (navikt/ebxml-processor#313).
OSLO: Final = "Europe/Oslo"


class Status(StrEnum):
    """What became of the message (list 8258)."""

    RECEIVED = "received"
    REJECTED = "rejected"
    IN_PART = "received_in_part"
    UNKNOWN = "unknown"  # a code that the list did not have; never to be read as received


@dataclass(frozen=True, slots=True)
class ReceiptError:
    """One error. s: OID of its list (8221 is the usual one); text and note may repeat what the message held."""

    code: str
    s: str
    text: str
    note: str

    @property
    def means(self) -> str:
        """What the code says, in our words; empty for a code that is not known."""
        return str(_errors().get(self.code, {}).get("means", ""))

    @property
    def resend(self) -> Resend:
        """Whether the same file may go again (inferred); a person decides about codes that are not known."""
        return cast("Resend", _errors().get(self.code, {}).get("resend", "person"))


@dataclass(frozen=True, slots=True)
class Receipt:
    """One receipt.

    faults: where it differs from its schema, or has coded values without code or text; none of them is fatal.
    """

    version: str
    id: str
    generated: dt.datetime | None
    status: Status
    status_code: str
    errors: tuple[ReceiptError, ...]
    original_id: str  # MsgInfo/MsgId of the message answered
    original_type: str
    original_issued: dt.datetime | None
    faults: tuple[SchemaFault, ...]


def read_receipt(data: bytes, where: str) -> Receipt:
    """The receipt in a document. where: name of the document for messages.

    DataRefused for what is not well formed, no AppRec, or cannot be used: no status, or no word of which message it
    answers. Anything else that is wrong is told in ``faults``, since a receipt read is worth more than one refused.
    """
    root = parse(data, where)
    tag = etree.QName(root)
    version = VERSIONS.get(tag.namespace or "")
    if tag.localname != "AppRec" or version is None:
        raise DataRefused(
            f"{where} is no application receipt",
            where=where,
            rule=f"AppRec of {' or '.join(VERSIONS.values())}",
            fix="give the receipt as it came, without the envelope around it",
        )
    code = _attribute(root, "Status", "V")
    original = _text(root, "OriginalMsgId", "Id")
    if not code or not original:
        lacking = " and ".join(n for n, v in (("Status/@V", code), ("OriginalMsgId/Id", original)) if not v)
        raise DataRefused(
            f"{where} lacks {lacking}",
            where=where,
            rule=f"AppRec {version}: a receipt says what became of which message",
            fix="ask the receiver for the receipt anew; until then the message counts as not answered",
        )
    return Receipt(
        version=version,
        id=_text(root, "Id"),
        generated=_moment(_text(root, "GenDate")),
        status=Status(_codes()["status"].get(code, Status.UNKNOWN)),
        status_code=code,
        errors=tuple(_error(element) for element in root.iterchildren("{*}Error")),
        original_id=original,
        original_type=_attribute(root, "OriginalMsgId/MsgType", "V"),
        original_issued=_moment(_text(root, "OriginalMsgId", "IssueDate")),
        faults=(*_schema_faults(root, version), *coded_faults(root)),
    )


def _schema_faults(root: etree._Element, version: str) -> list[SchemaFault]:
    schema = _schema(version)
    return [] if schema.validate(root) else safe_errors(schema.error_log)


@cache
def _schema(version: str) -> etree.XMLSchema:
    return compile_schema(APPREC / f"apprec-{version}.xsd")


def _error(element: etree._Element) -> ReceiptError:
    code, s, text, note = ((element.get(name) or "").strip() for name in ("V", "S", "DN", "OT"))
    return ReceiptError(code, s, text, note)


def _found(root: etree._Element, path: str) -> etree._Element | None:
    return root.find("/".join(f"{{*}}{name}" for name in path.split("/")))


def _text(root: etree._Element, *path: str) -> str:
    found = _found(root, "/".join(path))
    return (found.text or "").strip() if found is not None else ""


def _attribute(root: etree._Element, path: str, name: str) -> str:
    found = _found(root, path)
    return (found.get(name) or "").strip() if found is not None else ""


def _moment(text: str) -> dt.datetime | None:
    """The time, with its zone; None where it is none."""
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(OSLO))


def _errors() -> Mapping[str, Mapping[str, str]]:
    return cast("Mapping[str, Mapping[str, str]]", _codes()["errors"])


@cache
def _codes() -> Mapping[str, Mapping[str, Any]]:
    return tomllib.loads((APPREC / "codes.toml").read_text(encoding="utf-8"))
