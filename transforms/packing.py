"""From a finished MsgHead document to the mail a message handler sends, and back; and its exact size beforehand.

Belongs here: gzip, CMS, base64, SOAP, MIME, and the arithmetic of their sizes. Does not belong here: keys, ids and
times (they come as arguments), the ebMS signature and the sending itself. One thing is random by necessity: CMS draws
a fresh content key and IV for each mail, so two packings of one document differ in bytes but never in length.
"""

from __future__ import annotations

import binascii
import re
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.utils import format_datetime
from typing import Final

import numpy as np
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from schemas.errors import DataRefused, WrongUse
from transforms.envelope import xml_text

EB: Final = "http://www.oasis-open.org/committees/ebxml-msg/schema/msg-header-2_0.xsd"
SOAP: Final = "http://schemas.xmlsoap.org/soap/envelope/"
XLINK: Final = "http://www.w3.org/1999/xlink"
TO_PARTY: Final = "urn:oasis:names:tc:ebxml-msg:actor:toPartyMSH"

SIGNATURE_ROOM: Final = 8_192
"""Bytes to keep free below a limit while the mail is unsigned. The signed SOAP part of a real mail of 2023 had 6 394
bytes (navikt/ebxml-processor, test resource oppgjørsmelding); ours has about 1 200 without a signature."""

_LINE: Final = 76  # RFC 2045, section 6.8
_BLOCK: Final = 16
_GZIP: Final = zlib.MAX_WBITS | 16
_GZIP_MAGIC: Final = b"\x1f\x8b"
_SMALLEST_KEY: Final = 2048
_LONGEST_HEADER_VALUE: Final = 200
_ID: Final = re.compile(r"[A-Za-z0-9._@+-]+")
_BOUNDARY: Final = re.compile(r"[A-Za-z0-9=_.-]{1,70}")  # RFC 2046 allows 70
_MAIL: Final = re.compile(r"[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+")


@dataclass(frozen=True, slots=True)
class PackingIds:
    """Every id and the time of one mail, made outside. Content ids are written without angle brackets.

    timestamp: with time zone; whole seconds count.
    """

    message_id: str
    conversation_id: str
    mail_id: str
    boundary: str
    soap_content_id: str
    payload_content_id: str
    timestamp: datetime


@dataclass(frozen=True, slots=True)
class Packing:
    """How one document is packed. certificate: the receiver's, RSA. description: eb:Description, if not empty."""

    gzip: bool
    certificate: x509.Certificate
    ids: PackingIds
    from_her: str
    to_her: str
    service: str
    action: str
    from_role: str
    to_role: str
    cpa_id: str
    from_mail: str
    to_mail: str
    description: str = ""


# --- the way out ------------------------------------------------------------------------------------------------------


def pack(document: bytes, packing: Packing) -> bytes:
    """The finished mail of a whole MsgHead document.

    Raises WrongUse for an id, an address or a certificate that will not do.
    """
    return pack_payload(gzip_payload(document) if packing.gzip else document, packing)


def pack_payload(payload: bytes, packing: Packing) -> bytes:
    """The same for a payload that is ready for encryption: the document, or its gzip (``packing.gzip`` is not read)."""
    before, after = _around(packing)
    check_certificate(packing.certificate, packing.ids.timestamp)
    mail = b"".join([before, _base64_lines(encrypt(payload, packing.certificate)), after])
    if len(mail) != packed_size_of_payload(len(payload), packing):
        raise RuntimeError("the size of a mail differs from its arithmetic; the splitter cannot be trusted")
    return mail


def compressor() -> zlib._Compress:
    """A gzip stream without name and time, so that equal input gives equal bytes."""
    return zlib.compressobj(6, zlib.DEFLATED, _GZIP)


def gzip_payload(document: bytes) -> bytes:
    """The document as one gzip member with time 0."""
    stream = compressor()
    return stream.compress(document) + stream.flush()


def opened_payload(payload: bytes) -> bytes:
    """The document of a payload, which is gzip where it says so."""
    return zlib.decompress(payload, _GZIP) if payload.startswith(_GZIP_MAGIC) else payload


def encrypt(payload: bytes, certificate: x509.Certificate) -> bytes:
    """CMS EnvelopedData in DER: AES-256-CBC, the key by RSA PKCS#1 v1.5, recipient by issuer and serial number."""
    builder = pkcs7.PKCS7EnvelopeBuilder().set_data(payload).add_recipient(certificate)
    # The library's default is AES-128, which the network's rules do not name.
    builder = builder.set_content_encryption_algorithm(algorithms.AES256)
    return builder.encrypt(Encoding.DER, [pkcs7.PKCS7Options.Binary])


def check_certificate(certificate: x509.Certificate, at: datetime) -> None:
    """Raises WrongUse, naming the check that failed, when this certificate cannot be used at that time."""
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        raise _certificate_refused("its key is not RSA")
    if key.key_size < _SMALLEST_KEY:
        raise _certificate_refused(f"its key has {key.key_size} bits, fewer than {_SMALLEST_KEY}")
    if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
        raise _certificate_refused(f"it is not valid on {at.astimezone(UTC):%Y-%m-%d}")
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not usage.key_encipherment:
        raise _certificate_refused("its keyUsage does not include keyEncipherment")


def _certificate_refused(reason: str) -> WrongUse:
    return WrongUse(
        f"the receiver's certificate cannot be used: {reason}",
        where="certificate of the receiver",
        fix="fetch the receiver's current encryption certificate from the Address Register",
    )


def _base64_lines(data: bytes) -> bytes:
    """Base64 in lines of 76 characters, each ended by CRLF, as arrays: a mail has a million lines."""
    text = binascii.b2a_base64(data, newline=False)
    full = len(text) // _LINE
    lines = np.empty((full, _LINE + 2), dtype=np.uint8)
    lines[:, :_LINE] = np.frombuffer(text, dtype=np.uint8, count=full * _LINE).reshape(full, _LINE)
    lines[:, _LINE:] = (13, 10)
    rest = text[full * _LINE :]
    return lines.tobytes() + (rest + b"\r\n" if rest else b"")


# --- SOAP and MIME ----------------------------------------------------------------------------------------------------


def _around(packing: Packing) -> tuple[bytes, bytes]:
    """The mail before and after the payload's base64."""
    ids = packing.ids
    _check_header_values(packing)
    before = (
        f"{_mail_headers(packing)}\r\n"
        f"--{ids.boundary}\r\n"
        f'Content-Type: text/xml; charset="UTF-8"\r\n'
        f"Content-Transfer-Encoding: base64\r\n"
        f"Content-ID: <{ids.soap_content_id}>\r\n\r\n"
        f"{_base64_lines(soap(packing)).decode('ascii')}"
        f"--{ids.boundary}\r\n"
        f'Content-Type: application/pkcs7-mime; smime-type="enveloped-data";\r\n name="payload.p7m"\r\n'
        f"Content-Transfer-Encoding: base64\r\n"
        f'Content-Disposition: attachment; filename="payload.p7m"\r\n'
        f"Content-ID: <{ids.payload_content_id}>\r\n\r\n"
    )
    return before.encode("ascii"), f"--{ids.boundary}--\r\n".encode("ascii")


def _mail_headers(packing: Packing) -> str:
    ids = packing.ids
    return (
        f"From: {packing.from_mail}\r\n"
        f"To: {packing.to_mail}\r\n"
        f"Date: {format_datetime(ids.timestamp.astimezone(UTC))}\r\n"
        f"Message-ID: <{ids.mail_id}>\r\n"
        f"MIME-Version: 1.0\r\n"
        f'SOAPAction: "ebXML"\r\n'
        f'Content-Type: multipart/related; type="text/xml";\r\n'
        f' start="<{ids.soap_content_id}>";\r\n'
        f' boundary="{ids.boundary}"\r\n'
    )


def soap(packing: Packing) -> bytes:
    """The SOAP 1.1 envelope with the ebMS 2.0 header, unsigned, UTF-8. Source: HIS 1037:2011, msg-header-2_0.xsd."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<SOAP:Envelope xmlns:SOAP="{SOAP}" xmlns:eb="{EB}" xmlns:xlink="{XLINK}">'
        f"<SOAP:Header>{_message_header(packing)}"
        f'<eb:AckRequested eb:version="2.0" SOAP:mustUnderstand="1" SOAP:actor="{TO_PARTY}" eb:signed="true"/>'
        "</SOAP:Header>"
        '<SOAP:Body><eb:Manifest eb:version="2.0">'
        f'<eb:Reference xlink:type="simple" xlink:href="cid:{packing.ids.payload_content_id}"/>'
        "</eb:Manifest></SOAP:Body></SOAP:Envelope>\n"
    ).encode()


def _message_header(packing: Packing) -> str:
    ids = packing.ids
    return (
        '<eb:MessageHeader eb:version="2.0" SOAP:mustUnderstand="1">'
        f"<eb:From>{_party(packing.from_her, packing.from_role, 'eb:From')}</eb:From>"
        f"<eb:To>{_party(packing.to_her, packing.to_role, 'eb:To')}</eb:To>"
        f"<eb:CPAId>{xml_text(packing.cpa_id, 'eb:CPAId')}</eb:CPAId>"
        f"<eb:ConversationId>{xml_text(ids.conversation_id, 'eb:ConversationId')}</eb:ConversationId>"
        f'<eb:Service eb:type="string">{xml_text(packing.service, "eb:Service")}</eb:Service>'
        f"<eb:Action>{xml_text(packing.action, 'eb:Action')}</eb:Action>"
        f"<eb:MessageData><eb:MessageId>{xml_text(ids.message_id, 'eb:MessageId')}</eb:MessageId>"
        f"<eb:Timestamp>{ids.timestamp.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}</eb:Timestamp></eb:MessageData>"
        f"<eb:DuplicateElimination/>{_description(packing.description)}</eb:MessageHeader>"
    )


def _description(text: str) -> str:
    return text and f'<eb:Description xml:lang="no">{xml_text(text, "eb:Description")}</eb:Description>'


def _party(her_id: str, role: str, where: str) -> str:
    return (
        f'<eb:PartyId eb:type="HER">{xml_text(her_id, f"{where}/eb:PartyId")}</eb:PartyId>'
        f"<eb:Role>{xml_text(role, f'{where}/eb:Role')}</eb:Role>"
    )


def _check_header_values(packing: Packing) -> None:
    """A line break or quote in a header value would let it write headers of its own."""
    ids = packing.ids
    checks = [
        ("from_mail", packing.from_mail, _MAIL),
        ("to_mail", packing.to_mail, _MAIL),
        ("mail_id", ids.mail_id, _ID),
        ("soap_content_id", ids.soap_content_id, _ID),
        ("payload_content_id", ids.payload_content_id, _ID),
        ("boundary", ids.boundary, _BOUNDARY),
    ]
    for name, value, pattern in checks:
        if len(value) > _LONGEST_HEADER_VALUE or not pattern.fullmatch(value):
            raise WrongUse(f"{name} cannot stand in a mail header", where=name, fix=f"write it as {pattern.pattern}")
    if ids.timestamp.tzinfo is None:
        raise WrongUse("timestamp has no time zone", where="timestamp", fix="give a time with offset")


# --- sizes ------------------------------------------------------------------------------------------------------------


def packed_size(document_length: int, packing: Packing) -> int:
    """Bytes of the finished mail for a document of that many bytes, exact, without making it. Not with gzip."""
    if packing.gzip:
        raise WrongUse(
            "the size of a gzipped mail does not follow from the document's length",
            where="gzip",
            fix="compress first and ask packed_size_of_payload",
        )
    return packed_size_of_payload(document_length, packing)


def packed_size_of_payload(payload_length: int, packing: Packing) -> int:
    """Bytes of the finished mail for a payload (document or its gzip) of that many bytes, exact and monotone."""
    before, after = _around(packing)
    return len(before) + base64_size(envelope_size(payload_length, packing.certificate)) + len(after)


def base64_size(length: int) -> int:
    """Bytes of base64 in CRLF lines of 76 characters."""
    characters = 4 * -(-length // 3)
    return characters + 2 * -(-characters // _LINE)


def envelope_size(payload_length: int, certificate: x509.Certificate) -> int:
    """Bytes of the CMS EnvelopedData in DER. Source of the structure: RFC 5652, section 6.1."""
    algorithm = _tlv(_OID + _tlv(_BLOCK))
    padded = (payload_length // _BLOCK + 1) * _BLOCK
    content = _tlv(_OID + algorithm + _tlv(padded))
    recipients = _tlv(_recipient_size(certificate))
    return _tlv(_OID + _tlv(_tlv(_VERSION + recipients + content)))


_OID: Final = 11  # each of the four object identifiers used here takes 9 octets and their head
_VERSION: Final = 3
_NULL: Final = 2


def _recipient_size(certificate: x509.Certificate) -> int:
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        raise _certificate_refused("its key is not RSA")
    serial = _tlv(certificate.serial_number.bit_length() // 8 + 1)
    name = _tlv(len(certificate.issuer.public_bytes()) + serial)
    return _tlv(_VERSION + name + _tlv(_OID + _NULL) + _tlv((key.key_size + 7) // 8))


def _tlv(length: int) -> int:
    """Octets of a DER value of ``length`` octets with its tag and length."""
    octets = 0 if length < 128 else (length.bit_length() + 7) // 8  # noqa: PLR2004 - X.690, 8.1.3
    return 2 + octets + length


# --- the way back -----------------------------------------------------------------------------------------------------


def unpack(mail: bytes, key: rsa.RSAPrivateKey, certificate: x509.Certificate) -> bytes:
    """The MsgHead document of a mail, decrypted and, where it is gzip, decompressed.

    Raises DataRefused with one and the same sentence for every fault of decryption: CMS has no integrity, and a
    detailed answer would help someone who tries keys or alters mails.
    """
    envelope = payload_part(mail)
    try:
        payload = pkcs7.pkcs7_decrypt_der(envelope, certificate, key, [])
        return opened_payload(payload)
    except (ValueError, UnsupportedAlgorithm, zlib.error):
        raise DataRefused(
            "the mail cannot be decrypted", where="application/pkcs7-mime", fix="use the receiver's own key"
        ) from None


def payload_part(mail: bytes) -> bytes:
    """The CMS bytes of a mail. Raises DataRefused when there is not exactly one such part."""
    parts = [
        part
        for part in message_from_bytes(mail, policy=policy.SMTP).walk()
        if part.get_content_type() == "application/pkcs7-mime"
    ]
    content = parts[0].get_payload(decode=True) if len(parts) == 1 else None
    if not isinstance(content, bytes):
        raise DataRefused("the mail does not hold exactly one encrypted part", where="application/pkcs7-mime")
    return content
