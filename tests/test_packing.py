"""Packing: opened again by standard tools, and sized exactly before it is made."""

from __future__ import annotations

import base64
import gzip
import os
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from email import message_from_bytes, policy
from pathlib import Path
from typing import ClassVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from pipelines.rehearsal import make_rehearsal_receiver
from schemas.errors import DataRefused, WrongUse
from transforms.packing import (
    EB,
    SIGNATURE_ROOM,
    SOAP,
    Packing,
    PackingIds,
    base64_size,
    check_certificate,
    encrypt,
    envelope_size,
    gzip_payload,
    pack,
    pack_payload,
    packed_size,
    packed_size_of_payload,
    payload_part,
    soap,
    unpack,
)

SHARED = Path(__file__).parents[2] / "shared"
NOW = datetime(2020, 10, 5, 8, 0, 0, tzinfo=timezone(timedelta(hours=2)))
KEY_PEM, CERTIFICATE_PEM = make_rehearsal_receiver(NOW)
CERTIFICATE = x509.load_pem_x509_certificate(CERTIFICATE_PEM)
SMALL_KEY = rsa.generate_private_key(65537, 2048)
ODD_KEY = rsa.generate_private_key(65537, 2050)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
OPENSSL = shutil.which("openssl")
needs_openssl = pytest.mark.skipif(
    OPENSSL is None and not os.environ.get("CI"), reason="the openssl program is not installed on this machine"
)

PACKING = Packing(
    gzip=False,
    certificate=CERTIFICATE,
    ids=PackingIds(
        message_id="5f1c4e55-6f54-4f2a-b1f6-000000000001",
        conversation_id="5f1c4e55-6f54-4f2a-b1f6-000000000002",
        mail_id="5f1c4e55-6f54-4f2a-b1f6-000000000003@sender.invalid",
        boundary="=_5f1c4e556f544f2ab1f6000000000004",
        soap_content_id="soap-5f1c4e55@sender.invalid",
        payload_content_id="payload-5f1c4e55@sender.invalid",
        timestamp=NOW,
    ),
    from_her="1001",
    to_her="0",
    service="S-NPR_ORD",
    action="NPR_ORD",
    from_role="NPR_ORDsender",
    to_role="NPR_ORDreceiver",
    cpa_id="1001_0",
    from_mail="sender@sender.invalid",
    to_mail="rehearsal@rehearsal.invalid",
)
DOCUMENT = "<?xml version='1.0' encoding='UTF-8'?>\n<æ>\n\r\n</æ>".encode() * 50


def _key() -> rsa.RSAPrivateKey:
    key = load_pem_private_key(KEY_PEM, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def _certificate(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    issuer: x509.Name | None = None,
    serial: int = 1,
    usage: x509.KeyUsage | None = None,
) -> x509.Certificate:
    name = issuer or x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
    )
    if usage is not None:
        builder = builder.add_extension(usage, critical=True)
    return builder.sign(key, hashes.SHA256())


def _run(*arguments: str) -> bytes:
    assert OPENSSL is not None, "CI must have the openssl program"
    return subprocess.run([OPENSSL, *arguments], check=True, capture_output=True).stdout


# --- the way back -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", [b"", b"x", DOCUMENT, bytes(range(256)) * 300])
@pytest.mark.parametrize("compress", [False, True])
def test_unpack_gives_the_document_back(document: bytes, *, compress: bool) -> None:
    mail = pack(document, replace(PACKING, gzip=compress))
    assert unpack(mail, _key(), CERTIFICATE) == document


def test_gzip_is_inside_the_envelope_and_repeats_byte_for_byte() -> None:
    assert gzip_payload(DOCUMENT) == gzip_payload(DOCUMENT)
    assert gzip_payload(DOCUMENT)[4:8] == b"\0\0\0\0"
    assert gzip.decompress(gzip_payload(DOCUMENT)) == DOCUMENT
    document = DOCUMENT * 100
    assert len(pack(document, replace(PACKING, gzip=True))) < len(document) < len(pack(document, PACKING))


@needs_openssl
@pytest.mark.parametrize("compress", [False, True])
def test_openssl_opens_the_payload_of_the_mail(tmp_path: Path, *, compress: bool) -> None:
    mail = message_from_bytes(pack(DOCUMENT, replace(PACKING, gzip=compress)), policy=policy.SMTP)
    attachment = next(part for part in mail.walk() if part.get_filename() == "payload.p7m")
    content = attachment.get_payload(decode=True)
    assert isinstance(content, bytes)
    (tmp_path / "payload.p7m").write_bytes(content)
    (tmp_path / "key.pem").write_bytes(KEY_PEM)
    (tmp_path / "certificate.pem").write_bytes(CERTIFICATE_PEM)
    opened = _run(
        *("cms", "-decrypt", "-inform", "DER", "-binary", "-in", str(tmp_path / "payload.p7m")),
        *("-inkey", str(tmp_path / "key.pem"), "-recip", str(tmp_path / "certificate.pem")),
    )
    assert (gzip.decompress(opened) if compress else opened) == DOCUMENT


@needs_openssl
def test_algorithms_are_the_ones_the_network_names(tmp_path: Path) -> None:
    (tmp_path / "payload.p7m").write_bytes(encrypt(DOCUMENT, CERTIFICATE))
    printed = _run("cms", "-cmsout", "-print", "-inform", "DER", "-in", str(tmp_path / "payload.p7m")).decode()
    assert "aes-256-cbc (2.16.840.1.101.3.4.1.42)" in printed
    assert "rsaEncryption (1.2.840.113549.1.1.1)" in printed
    assert "issuerAndSerialNumber" in printed
    tree = _run("asn1parse", "-inform", "DER", "-in", str(tmp_path / "payload.p7m")).decode()
    assert re.search(r"OBJECT\s+:pkcs7-envelopedData", tree)
    assert re.search(r"OBJECT\s+:aes-256-cbc", tree)
    assert "inf" not in re.findall(r"l=\s*(\S+)", tree)  # DER: no indefinite length


def test_the_wrong_key_and_a_damaged_mail_get_the_same_answer() -> None:
    mail = pack(DOCUMENT, PACKING)
    other_key, other_pem = make_rehearsal_receiver(NOW)
    key = load_pem_private_key(other_key, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    with pytest.raises(DataRefused) as wrong_key:
        unpack(mail, key, x509.load_pem_x509_certificate(other_pem))
    cms = payload_part(mail)
    short = mail.replace(base64.b64encode(cms)[:76], b"")
    with pytest.raises(DataRefused) as damaged:
        unpack(short, _key(), CERTIFICATE)
    assert str(wrong_key.value) == str(damaged.value)
    assert wrong_key.value.__suppress_context__


def test_a_mail_without_payload_is_refused() -> None:
    with pytest.raises(DataRefused, match="exactly one encrypted part"):
        unpack(b"Subject: hello\r\n\r\nno parts\r\n", _key(), CERTIFICATE)


# --- MIME and SOAP ----------------------------------------------------------------------------------------------------


def test_the_mail_is_what_mime_and_ebms_ask_for() -> None:
    raw = pack(DOCUMENT, PACKING)
    mail = message_from_bytes(raw, policy=policy.SMTP)
    assert [defect for part in mail.walk() for defect in part.defects] == []
    assert mail.get_content_type() == "multipart/related"
    assert mail.get_param("type") == "text/xml"
    assert mail["SOAPAction"] == '"ebXML"'
    assert mail["Date"].datetime == NOW
    assert (mail["From"], mail["To"]) == (PACKING.from_mail, PACKING.to_mail)
    first, second = mail.iter_parts()
    assert mail.get_param("start") == first["Content-ID"]
    assert first.get_content_type() == "text/xml"
    assert first.get_payload(decode=True) == soap(PACKING)
    assert second.get_content_type() == "application/pkcs7-mime"
    assert second.get_param("smime-type") == "enveloped-data"
    assert second["Content-ID"] == f"<{PACKING.ids.payload_content_id}>"


def test_lines_end_in_crlf_and_keep_to_the_length_of_base64() -> None:
    raw = pack(DOCUMENT, PACKING)
    assert raw.count(b"\n") == raw.count(b"\r") == raw.count(b"\r\n")
    assert max(map(len, raw.split(b"\r\n"))) <= 78
    encoded = raw.split(b"payload-5f1c4e55@sender.invalid>\r\n\r\n")[1].split(b"--=_")[0]
    lines = encoded.split(b"\r\n")
    assert {len(line) for line in lines[:-2]} == {76}
    assert base64.b64decode(encoded) == payload_part(raw)


def test_the_header_names_payload_parties_and_routing() -> None:
    root = etree.fromstring(soap(replace(PACKING, description='{"fagsystem":"A & B"}')))
    ns = {"eb": EB, "s": SOAP}
    texts = {etree.QName(e).localname: e.text for e in root.iterfind("s:Header/eb:MessageHeader//*", ns) if e.text}
    assert texts == {
        "PartyId": "0",
        "Role": "NPR_ORDreceiver",
        "CPAId": "1001_0",
        "ConversationId": PACKING.ids.conversation_id,
        "Service": "S-NPR_ORD",
        "Action": "NPR_ORD",
        "MessageId": PACKING.ids.message_id,
        "Timestamp": "2020-10-05T06:00:00Z",
        "Description": '{"fagsystem":"A & B"}',
    }
    reference = root.find("s:Body/eb:Manifest/eb:Reference", ns)
    assert reference is not None
    assert reference.get("{http://www.w3.org/1999/xlink}href") == f"cid:{PACKING.ids.payload_content_id}"


class _Offline(etree.Resolver):
    """Stands in for the four imports of the ebMS schema, which name web addresses."""

    STUB = '<schema xmlns="http://www.w3.org/2001/XMLSchema" targetNamespace="{}">{}</schema>'
    ATTRIBUTES: ClassVar[dict[str, tuple[str, dict[str, str]]]] = {
        "xlink.xsd": ("http://www.w3.org/1999/xlink", {"type": "string", "href": "anyURI", "role": "string"}),
        "envelope.xsd": (SOAP, {"mustUnderstand": "boolean", "actor": "anyURI"}),
        "xml.xsd": ("http://www.w3.org/XML/1998/namespace", {"lang": "language"}),
        "xmldsig-core-schema.xsd": ("http://www.w3.org/2000/09/xmldsig#", {}),
    }

    def resolve(self, url: str, _id: str, context: object) -> object:  # type: ignore[override]
        name = url.rsplit("/", 1)[-1]
        if name not in self.ATTRIBUTES:
            return None
        namespace, attributes = self.ATTRIBUTES[name]
        declared = "".join(f'<attribute name="{key}" type="{kind}"/>' for key, kind in attributes.items())
        if name == "xmldsig-core-schema.xsd":
            declared = '<element name="Signature"/><complexType name="ReferenceType"/><element name="Reference"/>'
        return self.resolve_string(self.STUB.format(namespace, declared), context)  # type: ignore[call-arg]


def _ebms_schema() -> etree.XMLSchema:
    parser = etree.XMLParser(no_network=True)
    parser.resolvers.add(_Offline())
    path = SHARED / "reference" / "messages" / "ebxml" / "msg-header-2_0.xsd"
    return etree.XMLSchema(etree.parse(path, parser))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the ebMS schema is not beside this repository")
@pytest.mark.parametrize("description", ["", '{"MSH-system":"x"}'])
def test_every_ebms_element_is_valid_by_the_official_schema(description: str) -> None:
    schema = _ebms_schema()
    root = etree.fromstring(soap(replace(PACKING, description=description)))
    elements = [child for part in root for child in part]
    assert [etree.QName(e).localname for e in elements] == ["MessageHeader", "AckRequested", "Manifest"]
    for element in elements:
        alone = etree.fromstring(etree.tostring(element))
        schema.assertValid(alone)
        alone.attrib.pop(f"{{{EB}}}version")
        assert not schema.validate(alone)


# --- size -------------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(length=st.integers(0, 200_000), description=st.text("abc æ", max_size=80).map(str.strip))
def test_size_is_exact(length: int, description: str) -> None:
    packing = replace(PACKING, description=description)
    assert packed_size(length, packing) == len(pack(b"x" * length, packing))


@settings(deadline=None, max_examples=40)
@given(st.binary(max_size=5_000))
def test_size_is_exact_for_a_compressed_payload(document: bytes) -> None:
    packing = replace(PACKING, gzip=True)
    payload = gzip_payload(document)
    assert packed_size_of_payload(len(payload), packing) == len(pack(document, packing))
    assert len(pack_payload(payload, packing)) == len(pack(document, packing))


def _borders(border: int, step: int) -> range:
    """Payloads for which a length inside the envelope crosses the border: up to 700 bytes lie around the content."""
    return range(max(0, border - 720), border + 32, step)


@pytest.mark.parametrize(
    "lengths",
    [
        range(600),
        _borders(255, 1),
        _borders(65_535, 3),
        [127, 128, 255, 256, 65_535, 65_536, 16_777_215],
        _borders(16_777_215, 94),
    ],
    ids=["0-599", "255", "65535", "named", "16777215"],
)
def test_envelope_size_at_the_borders_of_der_lengths(lengths: range) -> None:
    block = memoryview(bytes(17_000_000))
    wrong = [n for n in lengths if len(encrypt(bytes(block[:n]), CERTIFICATE)) != envelope_size(n, CERTIFICATE)]
    assert wrong == []


_NAMES = st.lists(
    st.tuples(
        st.sampled_from([NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.SERIAL_NUMBER]),
        st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=60),
        st.sampled_from([_ASN1Type.UTF8String, _ASN1Type.PrintableString, _ASN1Type.BMPString]),
    ),
    min_size=1,
    max_size=6,
)


@settings(deadline=None, max_examples=60)
@given(
    names=_NAMES,
    one_rdn=st.booleans(),
    serial=st.integers(1, 2**159 - 1),
    key=st.sampled_from([SMALL_KEY, ODD_KEY]),
    length=st.integers(0, 300),
)
def test_envelope_size_for_any_certificate(
    names: list[tuple[x509.ObjectIdentifier, str, _ASN1Type]],
    one_rdn: bool,  # noqa: FBT001
    serial: int,
    key: rsa.RSAPrivateKey,
    length: int,
) -> None:
    attributes = [x509.NameAttribute(oid, text, kind) for oid, text, kind in names]
    rdns = [x509.RelativeDistinguishedName(list(dict.fromkeys(attributes)))] if one_rdn else attributes
    certificate = _certificate(key, x509.Name(rdns), serial)
    assert len(encrypt(bytes(length), certificate)) == envelope_size(length, certificate)


def test_base64_size_and_monotony() -> None:
    sizes = [packed_size(length, PACKING) for length in range(2_000)]
    assert sizes == sorted(sizes)
    for length in range(400):
        assert base64_size(length) == len(base64.encodebytes(bytes(length)).replace(b"\n", b"\r\n"))


def test_size_of_a_gzipped_mail_is_not_guessed() -> None:
    with pytest.raises(WrongUse, match="does not follow"):
        packed_size(1, replace(PACKING, gzip=True))


def test_room_for_a_signature_covers_the_real_one() -> None:
    added = base64_size(6_394) - base64_size(len(soap(PACKING)))
    assert SIGNATURE_ROOM * 0.8 < added < SIGNATURE_ROOM


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"from_mail": "a@b.no\r\nBcc: c@d.no"}, "from_mail"),
        ({"to_mail": ""}, "to_mail"),
        ({"ids": replace(PACKING.ids, boundary="x" * 71)}, "boundary"),
        ({"ids": replace(PACKING.ids, boundary='a"b')}, "boundary"),
        ({"ids": replace(PACKING.ids, mail_id="a b")}, "mail_id"),
        ({"ids": replace(PACKING.ids, soap_content_id="<a>")}, "soap_content_id"),
        ({"ids": replace(PACKING.ids, payload_content_id="æ")}, "payload_content_id"),
        ({"ids": replace(PACKING.ids, payload_content_id="a" * 201)}, "payload_content_id"),
        ({"service": ""}, "eb:Service"),
        ({"to_her": ""}, "eb:To/eb:PartyId"),
        ({"ids": replace(PACKING.ids, conversation_id="\x00")}, "eb:ConversationId"),
    ],
)
def test_values_that_cannot_stand_in_a_header(change: dict[str, object], where: str) -> None:
    with pytest.raises(WrongUse) as caught:
        pack(b"x", replace(PACKING, **change))  # type: ignore[arg-type]
    assert caught.value.where == where


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(WrongUse, match="no time zone"):
        pack(b"x", replace(PACKING, ids=replace(PACKING.ids, timestamp=datetime(2020, 10, 5))))


def _usage(*, encipherment: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=encipherment,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        (_certificate(EC_KEY), "not RSA"),
        (_certificate(rsa.generate_private_key(65537, 1024)), "1024 bits"),  # noqa: S505
        (_certificate(SMALL_KEY, usage=_usage(encipherment=False)), "keyEncipherment"),
    ],
)
def test_certificates_that_cannot_be_used(certificate: x509.Certificate, reason: str) -> None:
    with pytest.raises(WrongUse, match=reason):
        pack(b"x", replace(PACKING, certificate=certificate))
    check_certificate(_certificate(SMALL_KEY, usage=_usage(encipherment=True)), NOW)


@pytest.mark.parametrize("days", [-2, 2])
def test_a_certificate_outside_its_time(days: int) -> None:
    with pytest.raises(WrongUse, match="not valid on"):
        check_certificate(_certificate(SMALL_KEY), NOW + timedelta(days=days))


def test_the_rehearsal_receiver() -> None:
    key = _key()
    usage = CERTIFICATE.extensions.get_extension_for_class(x509.KeyUsage).value
    assert CERTIFICATE.public_key() == key.public_key()
    assert key.key_size == 3072
    assert CERTIFICATE.subject.rfc4514_string() == "CN=NPR rehearsal receiver"
    assert usage.key_encipherment
    assert usage.digital_signature
    assert not usage.key_cert_sign
    CERTIFICATE.verify_directly_issued_by(CERTIFICATE)
    check_certificate(CERTIFICATE, NOW)
    check_certificate(CERTIFICATE, NOW.replace(year=NOW.year + 10))
    assert CERTIFICATE.not_valid_after_utc < datetime(NOW.year + 10, 10, 8, tzinfo=UTC)
    assert make_rehearsal_receiver(NOW)[0] != KEY_PEM
