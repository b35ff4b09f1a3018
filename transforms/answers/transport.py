"""Answers of the transport: ebMS 2.0 Acknowledgment and MessageError.

Belongs here: what they say, which ebMS message they answer, and whether they speak of the bytes that left. Does not
belong here: their signature (``transforms.shipping.ebms``) and the part behind an ebMS message id.

Sources: HIS 1037:2011, msg-header-2_0.xsd and its official examples. By the errata of 2019 an acknowledgment has no
RefToMessageId in its MessageData; some carry it there all the same (navikt/ebxml-processor), so both places count. By
the same errata it repeats the ds:Reference elements of our signature; one that has none counts all the same.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from lxml import etree

from schemas.errors import DataRefused
from schemas.submission_states import Event
from schemas.xsd import parse
from transforms.shipping.ebms import EB, SOAP, references_in

MOST: Final = 1_000_000
_NS: Final = {"SOAP": SOAP, "eb": EB}
# NAV-EB:ebxml-processing-model, Payload.kt: codes of ErrorList. Any other is "Unknown" in what is told.
CODES: Final = frozenset(
    (
        "ValueNotRecognized",
        "NotSupported",
        "Inconsistent",
        "OtherXml",
        "DeliveryFailure",
        "TimeToLiveExpired",
        "SecurityFailure",
        "MimeProblem",
        "Unknown",
    )
)


@dataclass(frozen=True, slots=True)
class TransportAnswer:
    """ref: eb:MessageId of the message answered. codes: of the errors, those of the list alone. at: as written.

    references: URI and DigestValue of what an Acknowledgment says was received.
    """

    event: Event
    ref: str
    at: str
    codes: tuple[str, ...] = ()
    references: tuple[tuple[str, str], ...] = ()


def read_transport(data: bytes, where: str) -> TransportAnswer | None:
    """The answer in a SOAP envelope; None where it only carries a payload, which is a document of its own.

    DataRefused for another message, or one that does not say which it answers.

    A MessageError whose errors are all warnings says nothing against the message, and with an Acknowledgment beside it
    the message arrived.
    """
    if len(data) > MOST:
        raise _refused(where, "is larger than any envelope")
    envelope = parse(data, where)
    header = envelope.find("SOAP:Header", _NS)
    if header is None:
        raise _refused(where, "is a SOAP envelope without a header")
    acknowledged = header.find("eb:Acknowledgment", _NS)
    errors = header.findall("eb:ErrorList/eb:Error", _NS)
    if acknowledged is None and not errors and envelope.find("SOAP:Body/eb:Manifest/eb:Reference", _NS) is not None:
        return None
    if acknowledged is None and not errors:
        raise _refused(where, "is neither an Acknowledgment nor a MessageError")
    ref = _text(header, "eb:Acknowledgment/eb:RefToMessageId") or _text(
        header, "eb:MessageHeader/eb:MessageData/eb:RefToMessageId"
    )
    if not ref:
        raise _refused(where, "does not say which message it answers")
    bad = [one for one in errors if _attribute(one, "severity").lower() != "warning"]
    codes = tuple(sorted({_code(one) for one in errors}))
    at = _text(header, "eb:Acknowledgment/eb:Timestamp") or _text(
        header, "eb:MessageHeader/eb:MessageData/eb:Timestamp"
    )
    if not bad and acknowledged is None:
        raise _refused(where, "holds warnings alone; the message counts as not answered yet")
    if bad or acknowledged is None:
        return TransportAnswer(Event.REJECTED, ref, at, codes)
    return TransportAnswer(Event.ACKNOWLEDGED, ref, at, codes, references_in(acknowledged))


References = Iterable[tuple[str, str]]
"""URI and DigestValue: "" is the SOAP envelope as it was signed, cid:... an attachment."""


def other_bytes(told: References, sent: References) -> str:
    """Why an acknowledgment that tells these digests speaks of other bytes than were sent; "" where it does not.

    It need not tell all of them, and may write a URI or a digest another way; what it tells must be so.
    """
    ours = {unquote(uri): _octets(digest) for uri, digest in sent}
    for uri, digest in told:
        theirs = _octets(digest)
        if theirs is None or theirs != ours.get(unquote(uri)):
            what = "the payload" if uri else "the SOAP envelope"
            return f"it acknowledges other bytes than were sent: its digest of {what} is not ours"
    return ""


def _octets(digest: str) -> bytes | None:
    try:
        return b64decode("".join(digest.split()), validate=True)
    except ValueError:
        return None


def _code(error: etree._Element) -> str:
    code = _attribute(error, "errorCode")
    return code if code in CODES else "Unknown"


def _attribute(element: etree._Element, name: str) -> str:
    return (element.get(f"{{{EB}}}{name}") or element.get(name) or "").strip()


def _text(element: etree._Element, path: str) -> str:
    return (element.findtext(path, "", _NS) or "").strip()


def _refused(where: str, what: str) -> DataRefused:
    return DataRefused(
        f"{where} {what}",
        where=where,
        rule="HIS 1037:2011: Acknowledgment or MessageError with RefToMessageId",
        fix="look at it yourself; npr resume shows what is still open",
    )
