"""The ebMS 2.0 envelope of a shipment: its SOAP header, and the XML signature over header and payload.

Belongs here: what HIS 1037:2011 asks of the SOAP part, signing and verifying it. Does not belong here: the mail around
it (``transforms.shipping.packing``), which certificate may sign (``transforms.shipping.certificates``), keys (they come
as a function).

The signature follows the official examples: rsa-sha256, canonical XML 1.0; reference one is the envelope without the
signature, reference two the bytes of the attachment before base64. A real mail of 2023 signs the same way (measured,
navikt/ebxml-processor). RSASSA-PKCS1-v1_5 has no random part: equal bytes and key give an equal signature.
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from schemas.errors import DataRefused, WrongUse
from schemas.xsd import parse
from transforms.shipping.envelope import xml_text

EB: Final = "http://www.oasis-open.org/committees/ebxml-msg/schema/msg-header-2_0.xsd"
SOAP: Final = "http://schemas.xmlsoap.org/soap/envelope/"
XLINK: Final = "http://www.w3.org/1999/xlink"
DS: Final = "http://www.w3.org/2000/09/xmldsig#"
TO_PARTY: Final = "urn:oasis:names:tc:ebxml-msg:actor:toPartyMSH"
NEXT: Final = ("urn:oasis:names:tc:ebxml-msg:actor:nextMSH", "http://schemas.xmlsoap.org/soap/actor/next")

C14N: Final = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
ENVELOPED: Final = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
XPATH: Final = "http://www.w3.org/TR/1999/REC-xpath-19991116"
RSA_SHA256: Final = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
SHA256: Final = "http://www.w3.org/2001/04/xmlenc#sha256"
# Leaves out what a message handler on the way may add (ebMS 2.0, section 4.1.3).
_NOT_FOR_NEXT: Final = "not({})".format("|".join(f'ancestor-or-self::node()[@SOAP-ENV:actor="{a}"]' for a in NEXT))

_DIGEST_BYTES: Final = 32
_MOST_SOAP: Final = 1_000_000
_NS: Final = {"SOAP": SOAP, "eb": EB, "ds": DS}


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs. sign: RSASSA-PKCS1-v1_5 with SHA-256 over the bytes given; a file, a smart card or an HSM does it."""

    certificate: x509.Certificate
    sign: Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Header:
    """What the header of one message says. timestamp: with time zone; whole seconds count. description: if not ""."""

    from_her: str
    to_her: str
    from_role: str
    to_role: str
    cpa_id: str
    service: str
    action: str
    conversation_id: str
    message_id: str
    timestamp: datetime
    payload_content_id: str
    description: str = ""


def signer(key: rsa.RSAPrivateKey, certificate: x509.Certificate) -> Signer:
    """A signer with its key in memory. WrongUse when key and certificate do not belong together."""
    if key.public_key() != certificate.public_key():
        raise WrongUse(
            "key and certificate of the signature do not belong together",
            where="signing certificate",
            fix="give the certificate that was issued for this key",
        )
    return Signer(certificate, lambda data: key.sign(data, padding.PKCS1v15(), hashes.SHA256()))


def message_id_of(msg_id: str) -> str:
    """eb:MessageId of the mail that carries the message of a MsgId (a UUID). ValueError for what is none."""
    return str(uuid.uuid5(uuid.UUID(msg_id), "message"))


# --- making -----------------------------------------------------------------------------------------------------------


def soap(header: Header) -> bytes:
    """The SOAP 1.1 envelope with the ebMS 2.0 header, unsigned, UTF-8. Source: HIS 1037:2011, msg-header-2_0.xsd."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<SOAP:Envelope xmlns:SOAP="{SOAP}" xmlns:eb="{EB}" xmlns:xlink="{XLINK}">'
        f"<SOAP:Header>{_message_header(header)}"
        f'<eb:AckRequested eb:version="2.0" SOAP:mustUnderstand="1" SOAP:actor="{TO_PARTY}" eb:signed="true"/>'
        "</SOAP:Header>"
        '<SOAP:Body><eb:Manifest eb:version="2.0">'
        f'<eb:Reference xlink:type="simple" xlink:href="cid:{header.payload_content_id}"/>'
        "</eb:Manifest></SOAP:Body></SOAP:Envelope>\n"
    ).encode()


def signed_soap(header: Header, payload_sha256: bytes, by: Signer) -> bytes:
    """The same with its signature as the last child of SOAP:Header. payload_sha256: of the attachment's bytes."""
    unsigned = soap(header)
    digest = hashlib.sha256(_c14n(parse(unsigned, "SOAP"))).digest()
    room = bytes(_key_bytes(by.certificate))
    draft = _with_signature(unsigned, header.payload_content_id, (digest, payload_sha256), by, room)
    info = next(parse(draft, "SOAP").iter(f"{{{DS}}}SignedInfo"))
    value = by.sign(_c14n(info))
    if len(value) != len(room):
        raise RuntimeError("a signature has not the length of its key")
    return _with_signature(unsigned, header.payload_content_id, (digest, payload_sha256), by, value)


def soap_size(header: Header, by: Signer | None) -> int:
    """Bytes of the SOAP part, exact: every digest and signature has the length that its algorithm and key give it."""
    if by is None:
        return len(soap(header))
    digests = (bytes(_DIGEST_BYTES), bytes(_DIGEST_BYTES))
    room = bytes(_key_bytes(by.certificate))
    return len(_with_signature(soap(header), header.payload_content_id, digests, by, room))


def _with_signature(unsigned: bytes, content_id: str, digests: tuple[bytes, bytes], by: Signer, value: bytes) -> bytes:
    before, end, after = unsigned.rpartition(b"</SOAP:Header>")
    return before + _signature(content_id, digests, by.certificate, value).encode("ascii") + end + after


def _signature(content_id: str, digests: tuple[bytes, bytes], certificate: x509.Certificate, value: bytes) -> str:
    numbers = _public(certificate).public_numbers()
    envelope, payload = digests
    return (
        f'<ds:Signature xmlns:ds="{DS}"><ds:SignedInfo>'
        f'<ds:CanonicalizationMethod Algorithm="{C14N}"/><ds:SignatureMethod Algorithm="{RSA_SHA256}"/>'
        f'<ds:Reference URI=""><ds:Transforms><ds:Transform Algorithm="{ENVELOPED}"/>'
        f'<ds:Transform Algorithm="{XPATH}"><ds:XPath xmlns:SOAP-ENV="{SOAP}">{_NOT_FOR_NEXT}</ds:XPath></ds:Transform>'
        f'<ds:Transform Algorithm="{C14N}"/></ds:Transforms>{_digest(envelope)}</ds:Reference>'
        f'<ds:Reference URI="cid:{content_id}">{_digest(payload)}</ds:Reference></ds:SignedInfo>'
        f"<ds:SignatureValue>{_base64(value)}</ds:SignatureValue>"
        f"<ds:KeyInfo><ds:KeyValue><ds:RSAKeyValue><ds:Modulus>{_base64(_octets(numbers.n))}</ds:Modulus>"
        f"<ds:Exponent>{_base64(_octets(numbers.e))}</ds:Exponent></ds:RSAKeyValue></ds:KeyValue>"
        f"<ds:X509Data><ds:X509Certificate>{_base64(certificate.public_bytes(Encoding.DER))}</ds:X509Certificate>"
        "</ds:X509Data></ds:KeyInfo></ds:Signature>"
    )


def _digest(value: bytes) -> str:
    return f'<ds:DigestMethod Algorithm="{SHA256}"/><ds:DigestValue>{_base64(value)}</ds:DigestValue>'


def _message_header(header: Header) -> str:
    return (
        '<eb:MessageHeader eb:version="2.0" SOAP:mustUnderstand="1">'
        f"<eb:From>{_party(header.from_her, header.from_role, 'eb:From')}</eb:From>"
        f"<eb:To>{_party(header.to_her, header.to_role, 'eb:To')}</eb:To>"
        f"<eb:CPAId>{xml_text(header.cpa_id, 'eb:CPAId')}</eb:CPAId>"
        f"<eb:ConversationId>{xml_text(header.conversation_id, 'eb:ConversationId')}</eb:ConversationId>"
        f'<eb:Service eb:type="string">{xml_text(header.service, "eb:Service")}</eb:Service>'
        f"<eb:Action>{xml_text(header.action, 'eb:Action')}</eb:Action>"
        f"<eb:MessageData><eb:MessageId>{xml_text(header.message_id, 'eb:MessageId')}</eb:MessageId>"
        f"<eb:Timestamp>{header.timestamp.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}</eb:Timestamp></eb:MessageData>"
        f"<eb:DuplicateElimination/>{_description(header.description)}</eb:MessageHeader>"
    )


def _description(text: str) -> str:
    return text and f'<eb:Description xml:lang="no">{xml_text(text, "eb:Description")}</eb:Description>'


def _party(her_id: str, role: str, where: str) -> str:
    return (
        f'<eb:PartyId eb:type="HER">{xml_text(her_id, f"{where}/eb:PartyId")}</eb:PartyId>'
        f"<eb:Role>{xml_text(role, f'{where}/eb:Role')}</eb:Role>"
    )


def _c14n(element: etree._Element) -> bytes:
    """Canonical XML 1.0 of an element, with the namespaces in scope, whatever document it stands in.

    By way of a document of its own: libxml2 adds xmlns="" where it canonizes below a default namespace of another.
    """
    alone = parse(etree.tostring(element, with_tail=False), "SOAP")
    return etree.tostring(alone, method="c14n", with_comments=False)


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _octets(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _public(certificate: x509.Certificate) -> rsa.RSAPublicKey:
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        raise WrongUse("the signing certificate cannot be used: its key is not RSA", where="signing certificate")
    return key


def _key_bytes(certificate: x509.Certificate) -> int:
    return (_public(certificate).key_size + 7) // 8


def is_signed(envelope: bytes) -> bool:
    """Whether an envelope made here was signed, without looking whether the signature is right."""
    return _parsed(envelope).find("SOAP:Header/ds:Signature", _NS) is not None


def references_in(parent: etree._Element) -> tuple[tuple[str, str], ...]:
    """URI and DigestValue, as written, of the ds:Reference elements right below an element."""
    found = parent.iterfind("ds:Reference", _NS)
    return tuple((one.get("URI", ""), one.findtext("ds:DigestValue", "", _NS)) for one in found)


def signed_references(envelope: bytes) -> tuple[tuple[str, str], ...]:
    """The same of the signature of an envelope made here: what a receiver's acknowledgment repeats. () unsigned."""
    info = _parsed(envelope).find("SOAP:Header/ds:Signature/ds:SignedInfo", _NS)
    return () if info is None else references_in(info)


# --- verifying --------------------------------------------------------------------------------------------------------


def verify(envelope: bytes, attachments: Mapping[str, bytes]) -> x509.Certificate:
    """The certificate that signed the whole envelope and every attachment its manifest names.

    attachments: bytes by Content-ID without brackets. Whether that certificate is the right party's is for
    ``transforms.shipping.certificates``. Raises DataRefused for a missing or wrong signature, an algorithm the network
    no longer allows (SHA-1), or a signature that leaves out the envelope or an attachment.
    """
    root = _parsed(envelope)
    signatures = root.findall(".//ds:Signature", _NS)
    if len(signatures) != 1 or signatures[0].getparent() is not root.find("SOAP:Header", _NS):
        raise _unsigned("it has not exactly one signature in its header")
    signature = signatures[0]
    info = signature.find("ds:SignedInfo", _NS)
    if info is None:
        raise _unsigned("it has no SignedInfo")
    text = signature.findtext("ds:KeyInfo/ds:X509Data/ds:X509Certificate", "", _NS)
    try:
        certificate = x509.load_der_x509_certificate(base64.b64decode(text))
        value = base64.b64decode(signature.findtext("ds:SignatureValue", "", _NS))
        _insist(_algorithm(info, "ds:SignatureMethod") == RSA_SHA256, "its algorithm is not rsa-sha256")
        _insist(_algorithm(info, "ds:CanonicalizationMethod") == C14N, "its canonical form is not c14n 1.0")
        _public(certificate).verify(value, _c14n(info), padding.PKCS1v15(), hashes.SHA256())
        _verify_references(root, signature, attachments)
    except (ValueError, InvalidSignature, UnsupportedAlgorithm, x509.InvalidVersion, etree.LxmlError, WrongUse):
        raise _unsigned("its signature is wrong") from None
    return certificate


def _verify_references(root: etree._Element, signature: etree._Element, attachments: Mapping[str, bytes]) -> None:
    named = {f"cid:{name}": content for name, content in attachments.items()}
    told = {e.get(f"{{{XLINK}}}href", "") for e in root.iterfind("SOAP:Body/eb:Manifest/eb:Reference", _NS)}
    references = signature.findall("ds:SignedInfo/ds:Reference", _NS)
    _insist({r.get("URI") for r in references} == {"", *told} and told == named.keys(), "it leaves something out")
    _insist(len(references) == 1 + len(told), "it names something twice")
    _insist(not any(e.get(f"{{{SOAP}}}actor") in NEXT for e in root.iter()), "it is addressed to a handler on the way")
    # The signature is the last thing looked at in the tree, so taking it out is the enveloped transform.
    checks = [(r, _transforms(r), r.findtext("ds:DigestValue", "", _NS)) for r in references]
    _insist(all(_algorithm(r, "ds:DigestMethod") == SHA256 for r in references), "a digest is not SHA-256")
    _take_out(signature)
    for reference, transforms, digest in checks:
        uri = reference.get("URI", "")
        whole = uri == ""
        _insist(transforms in (_WHOLE if whole else ((),)), "its transforms are not those of the network")
        content = _c14n(root) if whole else named[uri]
        _insist(base64.b64decode(digest) == hashlib.sha256(content).digest(), "what was signed has been changed")


def _take_out(element: etree._Element) -> None:
    """Remove an element and leave the blanks after it, which are signed."""
    parent, before = element.getparent(), element.getprevious()
    if parent is None:
        return
    if before is not None:
        before.tail = (before.tail or "") + (element.tail or "")
    else:
        parent.text = (parent.text or "") + (element.tail or "")
    parent.remove(element)


_WHOLE: Final = ((ENVELOPED, XPATH, C14N), (ENVELOPED, C14N))


def _transforms(reference: etree._Element) -> tuple[str, ...]:
    return tuple(e.get("Algorithm", "") for e in reference.iterfind("ds:Transforms/ds:Transform", _NS))


def _algorithm(parent: etree._Element, name: str) -> str:
    found = parent.find(name, _NS)
    return "" if found is None else found.get("Algorithm", "")


def _parsed(envelope: bytes) -> etree._Element:
    if len(envelope) > _MOST_SOAP:
        raise _unsigned("it is larger than any envelope")
    try:
        return parse(envelope, "SOAP")
    except DataRefused:
        raise _unsigned("it is not XML, or has a document type") from None


def _insist(holds: bool, reason: str) -> None:  # noqa: FBT001 - reads as a sentence where it stands
    if not holds:
        raise _unsigned(reason)


def _unsigned(reason: str) -> DataRefused:
    return DataRefused(
        f"the SOAP envelope is not signed as it must be: {reason}",
        where="SOAP part",
        rule="HIS 1037:2011: every message is signed",
        fix="do not use it; ask the sender, or make the shipment anew",
    )
