"""From a finished MsgHead document to the mail a message handler sends, and back; and its exact size beforehand.

Belongs here: gzip, base64, MIME, and the arithmetic of the finished mail. Does not belong here: the CMS envelope
(``transforms.shipping.cms``), the SOAP part and its signature (``transforms.shipping.ebms``), keys, ids and times (they
come as arguments), the sending itself.

The envelope draws a fresh key for each mail, so two packings of one document differ in bytes but never in length: the
mail of a submission is made once, kept, and sent again as it is.
"""

from __future__ import annotations

import binascii
import hashlib
import re
import uuid
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Final

import numpy as np
from cryptography import x509

from schemas.errors import DataRefused, WrongUse
from transforms.shipping import cms, ebms
from transforms.shipping.certificates import Purpose, insist_usable
from transforms.shipping.cms import KeyPair
from transforms.shipping.ebms import Header, Signer

SIGNATURE_ROOM: Final = 8_192
"""Bytes to keep free below a limit where another message handler signs. The signed SOAP part of a real mail of 2023 had
6 394 bytes (navikt/ebxml-processor, test resource oppgjørsmelding); ours has about 1 200 without a signature."""

_LINE: Final = 76  # RFC 2045, section 6.8
_LINE_BYTES: Final = 57
_LINES_AT_ONCE: Final = 4_096
_GZIP: Final = zlib.MAX_WBITS | 16
_GZIP_MAGIC: Final = b"\x1f\x8b"
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


def ids_of(msg_id: str, timestamp: datetime) -> PackingIds:
    """Ids of the mail, derived from the message id (a GUID): fixed in length, the same for the same message."""

    def derived(role: str) -> str:
        return str(uuid.uuid5(uuid.UUID(msg_id), role))

    return PackingIds(
        message_id=ebms.message_id_of(msg_id),
        conversation_id=derived("conversation"),
        mail_id=mail_id_of(msg_id),
        boundary=derived("boundary"),
        soap_content_id=derived("soap"),
        payload_content_id=derived("payload"),
        timestamp=timestamp,
    )


def mail_id_of(msg_id: str) -> str:
    """Message-ID, without angle brackets, of the mail with a MsgId (a UUID). ValueError for what is none."""
    return f"{uuid.uuid5(uuid.UUID(msg_id), 'mail')}@sender.invalid"


@dataclass(frozen=True, slots=True)
class Packing:
    """How one document is packed.

    certificate: the receiver's, RSA. description: eb:Description, if not empty. signer: who signs the SOAP part; None
    leaves it to the message handler that sends (then keep ``SIGNATURE_ROOM`` free).
    """

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
    signer: Signer | None = None


# --- the way out ------------------------------------------------------------------------------------------------------


def pack(document: bytes, packing: Packing) -> bytes:
    """The finished mail of a whole MsgHead document.

    Raises WrongUse for an id, an address or a certificate that will not do.
    """
    return pack_payload(gzip_payload(document) if packing.gzip else document, packing)


def pack_payload(payload: bytes, packing: Packing) -> bytes:
    """The same for a payload that is ready for encryption: the document, or its gzip (``packing.gzip`` is not read)."""
    return b"".join(mail_pieces([payload], len(payload), packing))


def mail_pieces(payload: Iterable[bytes], length: int, packing: Packing) -> Iterator[bytes]:
    """The same piece by piece, the payload of ``length`` bytes too: of the part, the ciphertext alone is held.

    It is held because the signature over it stands before it in the mail.
    """
    _check_header_values(packing)
    insist_usable(packing.certificate, Purpose.ENCRYPTION, packing.ids.timestamp, packing.to_her)
    if packing.signer:
        insist_usable(packing.signer.certificate, Purpose.SIGNING, packing.ids.timestamp, packing.from_her)
    sealed: deque[bytes] = deque()
    digest = hashlib.sha256()
    for piece in cms.envelope(payload, length, packing.certificate):
        digest.update(piece)
        sealed.append(piece)
    made = 0
    for piece in _finished(sealed, digest.digest(), packing):
        made += len(piece)
        yield piece
    if made != packed_size_of_payload(length, packing):
        raise RuntimeError("the size of a mail differs from its arithmetic; the splitter cannot be trusted")


def _finished(sealed: deque[bytes], digest: bytes, packing: Packing) -> Iterator[bytes]:
    yield _until_payload(packing, _soap(packing, digest))
    yield from _base64_lines(sealed)
    yield _end(packing)


def _soap(packing: Packing, digest: bytes) -> bytes:
    header = _header(packing)
    return ebms.signed_soap(header, digest, packing.signer) if packing.signer else ebms.soap(header)


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


def _base64_lines(pieces: deque[bytes]) -> Iterator[bytes]:
    """Base64 in lines of 76 characters, each ended by CRLF; takes the pieces out, so that memory falls on the way."""
    block = _LINE_BYTES * _LINES_AT_ONCE
    held = bytearray()
    while pieces:
        held += pieces.popleft()
        while len(held) >= block:
            yield _lines(bytes(held[:block]))
            del held[:block]
    yield _lines(bytes(held))


def _lines(data: bytes) -> bytes:
    """As arrays: a mail has a million lines."""
    text = binascii.b2a_base64(data, newline=False)
    full = len(text) // _LINE
    lines = np.empty((full, _LINE + 2), dtype=np.uint8)
    lines[:, :_LINE] = np.frombuffer(text, dtype=np.uint8, count=full * _LINE).reshape(full, _LINE)
    lines[:, _LINE:] = (13, 10)
    rest = text[full * _LINE :]
    return lines.tobytes() + (rest + b"\r\n" if rest else b"")


# --- MIME -------------------------------------------------------------------------------------------------------------


def _until_payload(packing: Packing, soap: bytes) -> bytes:
    """The mail before the payload's base64."""
    return b"".join([_before_soap(packing), _lines(soap), _before_payload(packing)])


def _before_soap(packing: Packing) -> bytes:
    ids = packing.ids
    return (
        f"{_mail_headers(packing)}\r\n"
        f"--{ids.boundary}\r\n"
        f'Content-Type: text/xml; charset="UTF-8"\r\n'
        f"Content-Transfer-Encoding: base64\r\n"
        f"Content-ID: <{ids.soap_content_id}>\r\n\r\n"
    ).encode("ascii")


def _before_payload(packing: Packing) -> bytes:
    ids = packing.ids
    return (
        f"--{ids.boundary}\r\n"
        f'Content-Type: application/pkcs7-mime; smime-type="enveloped-data";\r\n name="payload.p7m"\r\n'
        f"Content-Transfer-Encoding: base64\r\n"
        f'Content-Disposition: attachment; filename="payload.p7m"\r\n'
        f"Content-ID: <{ids.payload_content_id}>\r\n\r\n"
    ).encode("ascii")


def _end(packing: Packing) -> bytes:
    return f"--{packing.ids.boundary}--\r\n".encode("ascii")


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


def _header(packing: Packing) -> Header:
    ids = packing.ids
    return Header(
        from_her=packing.from_her,
        to_her=packing.to_her,
        from_role=packing.from_role,
        to_role=packing.to_role,
        cpa_id=packing.cpa_id,
        service=packing.service,
        action=packing.action,
        conversation_id=ids.conversation_id,
        message_id=ids.message_id,
        timestamp=ids.timestamp,
        payload_content_id=ids.payload_content_id,
        description=packing.description,
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
    """Bytes of the finished, signed mail for a payload (document or its gzip) of that many bytes; exact, monotone."""
    _check_header_values(packing)
    return (
        len(_before_soap(packing))
        + base64_size(ebms.soap_size(_header(packing), packing.signer))
        + len(_before_payload(packing))
        + base64_size(cms.envelope_size(payload_length, packing.certificate))
        + len(_end(packing))
    )


def base64_size(length: int) -> int:
    """Bytes of base64 in CRLF lines of 76 characters."""
    characters = 4 * -(-length // 3)
    return characters + 2 * -(-characters // _LINE)


# --- the way back -----------------------------------------------------------------------------------------------------


def unpack(mail: bytes, holders: Sequence[KeyPair]) -> bytes:
    """The MsgHead document of a mail, decrypted and, where it is gzip, decompressed. The signature is not looked at.

    holders: the receiver's key pairs, old and new. Raises DataRefused with one and the same sentence for every fault
    of decryption (``transforms.shipping.cms``).
    """
    payload = cms.decrypt(payload_part(mail), holders)
    try:
        return opened_payload(payload)
    except zlib.error:
        raise DataRefused(
            "the envelope cannot be opened",
            where="application/pkcs7-mime",
            fix="use the receiver's own key, old or new",
        ) from None


def payload_part(mail: bytes) -> bytes:
    """The CMS bytes of a mail. Raises DataRefused when there is not exactly one such part."""
    return _content(_payload_part(_parts(mail)))


def verify_mail(mail: bytes) -> x509.Certificate:
    """The certificate that signed SOAP part and payload of a mail; DataRefused as of ``ebms.verify``."""
    parts = _parts(mail)
    soap = [part for part in parts if part.get_content_type() == "text/xml"]
    if len(soap) != 1:
        raise DataRefused("the mail does not hold exactly one SOAP part", where="text/xml")
    payload = _payload_part(parts)
    name = str(payload.get("Content-ID", "")).strip().removeprefix("<").removesuffix(">")
    return ebms.verify(_content(soap[0]), {name: _content(payload)})


@dataclass(frozen=True, slots=True)
class Outside:
    """What a mail of ours shows on its outside. Addresses and id as they stand in its headers; soap: its SOAP part."""

    from_mail: str
    to_mail: str
    mail_id: str
    soap: bytes


def outside(start: bytes) -> Outside:
    """The outside of a mail made here, by its first ``OUTSIDE_BYTES``. DataRefused where they do not hold it."""
    mail = message_from_bytes(start, policy=policy.SMTP)
    soap = next((part for part in mail.walk() if part.get_content_type() == "text/xml"), None)
    if not isinstance(soap, EmailMessage):
        raise DataRefused("the mail does not begin with its SOAP part", where="text/xml")
    bare = {name: str(mail.get(name, "")).strip().removeprefix("<").removesuffix(">") for name in _OUTSIDE}
    return Outside(bare["From"], bare["To"], bare["Message-ID"], _content(soap))


OUTSIDE_BYTES: Final = 262_144
"""More than the headers and the SOAP part of any mail made here."""
_OUTSIDE: Final = ("From", "To", "Message-ID")


def _parts(mail: bytes) -> list[EmailMessage]:
    return [part for part in message_from_bytes(mail, policy=policy.SMTP).walk() if isinstance(part, EmailMessage)]


def _payload_part(parts: Sequence[EmailMessage]) -> EmailMessage:
    found = [part for part in parts if part.get_content_type() == "application/pkcs7-mime"]
    if len(found) != 1:
        raise DataRefused("the mail does not hold exactly one encrypted part", where="application/pkcs7-mime")
    return found[0]


def _content(part: EmailMessage) -> bytes:
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):
        raise DataRefused("a part of the mail has no content", where=part.get_content_type())
    return content
