"""Packing: opened again by standard tools, and sized exactly before it is made."""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from email import message_from_bytes, policy
from pathlib import Path
from typing import ClassVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from pipelines.parties.rehearsal import key_usage, make_rehearsal_receiver, make_rehearsal_sender
from schemas.errors import DataRefused, WrongUse
from transforms.shipping.certificates import Purpose, insist_usable
from transforms.shipping.cms import KeyPair, encrypt, envelope, envelope_size
from transforms.shipping.ebms import C14N, DS, EB, ENVELOPED, RSA_SHA256, SHA256, SOAP, Signer, signer, verify
from transforms.shipping.packing import (
    SIGNATURE_ROOM,
    Packing,
    PackingIds,
    base64_size,
    gzip_payload,
    mail_pieces,
    pack,
    pack_payload,
    packed_size,
    packed_size_of_payload,
    payload_part,
    unpack,
    verify_mail,
)

SHARED = Path(__file__).parents[2] / "shared"
NOW = datetime(2020, 10, 5, 8, 0, 0, tzinfo=timezone(timedelta(hours=2)))
KEY_PEM, CERTIFICATE_PEM = make_rehearsal_receiver(NOW)
CERTIFICATE = x509.load_pem_x509_certificate(CERTIFICATE_PEM)
SIGNING_PEM, SIGNING_CERTIFICATE_PEM = make_rehearsal_sender(NOW)
SIGNING_CERTIFICATE = x509.load_pem_x509_certificate(SIGNING_CERTIFICATE_PEM)
SMALL_KEY = rsa.generate_private_key(65537, 2048)
ODD_KEY = rsa.generate_private_key(65537, 2050)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
OPENSSL = shutil.which("openssl")
needs_openssl = pytest.mark.skipif(
    OPENSSL is None and not os.environ.get("CI"), reason="the openssl program is not installed on this machine"
)


def _loaded(pem: bytes) -> rsa.RSAPrivateKey:
    key = load_pem_private_key(pem, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


HOLDER = KeyPair(_loaded(KEY_PEM), CERTIFICATE)
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
    signer=signer(_loaded(SIGNING_PEM), SIGNING_CERTIFICATE),
)
DOCUMENT = "<?xml version='1.0' encoding='UTF-8'?>\n<æ>\n\r\n</æ>".encode() * 50


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


def _soap(mail: bytes) -> bytes:
    """The SOAP part of a mail."""
    parts = message_from_bytes(mail, policy=policy.SMTP).walk()
    content = next(part for part in parts if part.get_content_type() == "text/xml").get_payload(decode=True)
    assert isinstance(content, bytes)
    return content


def _run(*arguments: str) -> bytes:
    assert OPENSSL is not None, "CI must have the openssl program"
    return subprocess.run([OPENSSL, *arguments], check=True, capture_output=True).stdout


# --- the way back -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", [b"", b"x", DOCUMENT, bytes(range(256)) * 300])
@pytest.mark.parametrize("compress", [False, True])
def test_unpack_gives_the_document_back(document: bytes, *, compress: bool) -> None:
    mail = pack(document, replace(PACKING, gzip=compress))
    assert unpack(mail, [HOLDER]) == document


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
    other = KeyPair(_loaded(other_key), x509.load_pem_x509_certificate(other_pem))
    assert unpack(mail, [other, HOLDER]) == unpack(mail, [HOLDER, other]) == DOCUMENT
    with pytest.raises(DataRefused) as wrong_key:
        unpack(mail, [other])
    cms = payload_part(mail)
    short = mail.replace(base64.b64encode(cms)[:76], b"")
    with pytest.raises(DataRefused) as damaged:
        unpack(short, [HOLDER])
    assert str(wrong_key.value) == str(damaged.value)
    assert wrong_key.value.__context__ is None


def test_a_mail_without_payload_is_refused() -> None:
    with pytest.raises(DataRefused, match="exactly one encrypted part"):
        unpack(b"Subject: hello\r\n\r\nno parts\r\n", [HOLDER])


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
    assert first.get_payload(decode=True) == _soap(raw)
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
    root = etree.fromstring(_soap(pack(b"x", replace(PACKING, description='{"fagsystem":"A & B"}'))))
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
    """Stands in for three imports of the ebMS schema, which name web addresses; the fourth lies in the reference."""

    STUB = '<schema xmlns="http://www.w3.org/2001/XMLSchema" targetNamespace="{}">{}</schema>'
    ATTRIBUTES: ClassVar[dict[str, tuple[str, dict[str, str]]]] = {
        "xlink.xsd": ("http://www.w3.org/1999/xlink", {"type": "string", "href": "anyURI", "role": "string"}),
        "envelope.xsd": (SOAP, {"mustUnderstand": "boolean", "actor": "anyURI"}),
        "xml.xsd": ("http://www.w3.org/XML/1998/namespace", {"lang": "language"}),
    }

    def resolve(self, url: str, _id: str, context: object) -> object:  # type: ignore[override]
        name = url.rsplit("/", 1)[-1]
        if name == "xmldsig-core-schema.xsd":
            return self.resolve_string((REFERENCE / "xsd" / name).read_bytes(), context)  # type: ignore[call-arg]
        if name not in self.ATTRIBUTES:
            return None
        namespace, attributes = self.ATTRIBUTES[name]
        declared = "".join(f'<attribute name="{key}" type="{kind}"/>' for key, kind in attributes.items())
        return self.resolve_string(self.STUB.format(namespace, declared), context)  # type: ignore[call-arg]


REFERENCE = SHARED / "reference"
EXAMPLES = REFERENCE / "messages" / "ebxml"
needs_reference = pytest.mark.skipif(not SHARED.is_dir(), reason="the ebMS schema is not beside this repository")


def _ebms_schema() -> etree.XMLSchema:
    parser = etree.XMLParser(no_network=True)
    parser.resolvers.add(_Offline())
    return etree.XMLSchema(etree.parse(EXAMPLES / "msg-header-2_0.xsd", parser))


@needs_reference
@pytest.mark.parametrize("description", ["", '{"MSH-system":"x"}'])
def test_every_ebms_element_is_valid_by_the_official_schema(description: str) -> None:
    schema = _ebms_schema()
    root = etree.fromstring(_soap(pack(b"x", replace(PACKING, description=description))))
    elements = [child for part in root for child in part]
    assert [etree.QName(e).localname for e in elements] == ["MessageHeader", "AckRequested", "Signature", "Manifest"]
    for element in elements:
        alone = etree.fromstring(etree.tostring(element))
        schema.assertValid(alone)
        if etree.QName(element).namespace == EB:
            alone.attrib.pop(f"{{{EB}}}version")
        else:
            alone.remove(alone[1])
        assert not schema.validate(alone)


def _shape(element: etree._Element) -> list[str]:
    """Elements of ebMS and signature in document order, without what only some senders write."""
    left_out = {"KeyValue", "RSAKeyValue", "Modulus", "Exponent", "Schema"}
    names = [etree.QName(e).localname for e in element.iter("{*}*")]
    return [name for name in names if name not in left_out]


@needs_reference
def test_the_envelope_has_the_shape_of_the_official_example() -> None:
    example = etree.parse(EXAMPLES / "ebxml-header-Description-overvakning-SVAR_CYT.xml").getroot()
    ours = etree.fromstring(_soap(pack(b"x", replace(PACKING, description='{"MSH-system":"x"}'))))
    assert _shape(ours) == _shape(example)
    path = f".//{{{DS}}}XPath"
    assert ours.findtext(path) == example.findtext(path)
    algorithms = [e.get("Algorithm") for e in ours.iter(f"{{{DS}}}Transform", f"{{{DS}}}CanonicalizationMethod")]
    theirs = [e.get("Algorithm") for e in example.iter(f"{{{DS}}}Transform", f"{{{DS}}}CanonicalizationMethod")]
    assert algorithms == theirs


# --- signature --------------------------------------------------------------------------------------------------------


def _xmlsec1(folder: Path, mail: bytes, trusted: bytes) -> subprocess.CompletedProcess[str]:
    """Debian's xmlsec1 over SOAP part and payload, both taken out of the mail by ripmime."""
    (folder / "mail.eml").write_bytes(mail)
    (folder / "trusted.pem").write_bytes(trusted)
    subprocess.run(["ripmime", "-i", "mail.eml", "-d", "parts"], cwd=folder, check=True, capture_output=True)
    taken = {path.read_bytes()[:5]: path for path in sorted((folder / "parts").iterdir()) if path.stat().st_size}
    command = ["xmlsec1", "--verify", "--enabled-key-data", "x509", "--trusted-pem", "trusted.pem"]
    command += [f"--url-map:cid:{PACKING.ids.payload_content_id}", str(folder / "parts" / "payload.p7m")]
    # Certificates of tests are of 2020; the signature is judged, not the day.
    command += ["--verification-time", f"{NOW:%Y-%m-%d %H:%M:%S}", str(taken[b"<?xml"])]
    return subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)


needs_xmlsec = pytest.mark.skipif(
    not (shutil.which("xmlsec1") and shutil.which("ripmime")) and not os.environ.get("CI"),
    reason="xmlsec1 and ripmime are not installed on this machine",
)


@needs_xmlsec
def test_xmlsec1_verifies_envelope_and_payload(tmp_path: Path) -> None:
    mail = pack(DOCUMENT, replace(PACKING, description='{"fagsystem":"Ærlig & Øk"}'))
    done = _xmlsec1(tmp_path, mail, SIGNING_CERTIFICATE_PEM)
    assert done.returncode == 0, done.stderr
    assert "SignedInfo References (ok/all): 2/2" in done.stdout + done.stderr
    assert (tmp_path / "parts" / "payload.p7m").read_bytes() == payload_part(mail)


@needs_xmlsec
@pytest.mark.parametrize("part", ["soap", "payload", "certificate"])
def test_xmlsec1_refuses_what_was_changed(tmp_path: Path, part: str) -> None:
    mail = pack(DOCUMENT, PACKING)
    trusted = SIGNING_CERTIFICATE_PEM if part != "certificate" else make_rehearsal_sender(NOW)[1]
    done = _xmlsec1(tmp_path, _changed(mail, part), trusted)
    assert done.returncode != 0


def _changed(mail: bytes, part: str) -> bytes:
    """The mail with one byte of a part turned over."""
    if part not in ("soap", "payload"):
        return mail
    content = _soap(mail) if part == "soap" else payload_part(mail)
    other = content.replace(b"NPR_ORDsender", b"NPR_IDEsender") if part == "soap" else content[:-1] + b"?"
    assert other != content

    def lines(data: bytes) -> bytes:
        return base64.encodebytes(data).replace(b"\n", b"\r\n")

    assert lines(content) in mail
    return mail.replace(lines(content), lines(other))


def test_our_reader_names_the_signer_and_refuses_every_change() -> None:
    mail = pack(DOCUMENT, PACKING)
    assert verify_mail(mail) == SIGNING_CERTIFICATE
    for part in ("soap", "payload"):
        with pytest.raises(DataRefused, match="not signed as it must be"):
            verify_mail(_changed(mail, part))
    with pytest.raises(DataRefused, match="exactly one signature"):
        verify_mail(pack(DOCUMENT, replace(PACKING, signer=None)))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"2001/04/xmldsig-more#rsa-sha256", b"2000/09/xmldsig#rsa-sha1", "rsa-sha256"),
        (
            b"<eb:Manifest",
            b'<eb:Manifest SOAP:actor="http://schemas.xmlsoap.org/soap/actor/next"',
            "handler on the way",
        ),
        (b"</eb:Manifest>", b'<eb:Reference xlink:href="cid:other"/></eb:Manifest>', "leaves something out"),
        (b"</ds:Signature>", b'</ds:Signature><ds:Signature xmlns:ds="%b"/>' % DS.encode(), "exactly one signature"),
        (b'<?xml version="1.0" encoding="UTF-8"?>', b"<!DOCTYPE x>", "document type"),
        (b"<SOAP:Body>", b"<SOAP:Body>\n", "has been changed"),
        (b"<ds:SignatureValue>", b"<ds:SignatureValue>AAAA", "signature is wrong"),
        (b"<ds:X509Certificate>", b"<ds:X509Certificate>AAAA", "signature is wrong"),
        (b"</SOAP:Envelope>", b"", "not XML"),
    ],
)
def test_ways_around_a_signature(old: bytes, new: bytes, reason: str) -> None:
    mail = pack(DOCUMENT, PACKING)
    envelope, payload = _soap(mail), {PACKING.ids.payload_content_id: payload_part(mail)}
    assert verify(envelope, payload) == SIGNING_CERTIFICATE
    assert envelope.count(old) == 1
    with pytest.raises(DataRefused, match=reason):
        verify(envelope.replace(old, new), payload)


def test_blanks_around_a_signature_are_signed_too() -> None:
    """Other handlers write line breaks; taking the signature out must leave them where they were."""
    mail = pack(DOCUMENT, PACKING)
    key, payload = _loaded(SIGNING_PEM), payload_part(mail)
    root = etree.fromstring(_soap(mail))
    signature = next(root.iter(f"{{{DS}}}Signature"))
    signature.tail = "\n\t"
    before = etree.tostring(root, method="c14n")
    whole = before[: before.index(b"<ds:Signature")] + before[before.index(b"</ds:Signature>") + 15 :]
    next(signature.iter(f"{{{DS}}}DigestValue")).text = base64.b64encode(hashlib.sha256(whole).digest()).decode()
    info = etree.tostring(signature[0], method="c14n")
    signature[1].text = base64.b64encode(key.sign(info, padding.PKCS1v15(), hashes.SHA256())).decode()
    assert verify(etree.tostring(root), {PACKING.ids.payload_content_id: payload}) == SIGNING_CERTIFICATE


@needs_xmlsec
def test_our_reader_verifies_what_xmlsec1_signs(tmp_path: Path) -> None:
    """As other handlers sign: the signature in a default namespace, indented, inside an indented header."""
    payload = encrypt(DOCUMENT, CERTIFICATE)
    transform = "<Transform Algorithm='{}'/>".format
    template = (
        f"<Signature xmlns='{DS}'>\n<SignedInfo>\n<CanonicalizationMethod Algorithm='{C14N}'/>"
        f"<SignatureMethod Algorithm='{RSA_SHA256}'/>\n<Reference URI=''><Transforms>{transform(ENVELOPED)}"
        f"{transform(C14N)}</Transforms><DigestMethod Algorithm='{SHA256}'/><DigestValue/></Reference>\n"
        f"<Reference URI='cid:{PACKING.ids.payload_content_id}'><DigestMethod Algorithm='{SHA256}'/><DigestValue/>"
        "</Reference></SignedInfo>\n<SignatureValue/>\n<KeyInfo><X509Data><X509Certificate/></X509Data></KeyInfo>"
        "</Signature>\n\t"
    )
    unsigned = _soap(pack(DOCUMENT, replace(PACKING, signer=None))).decode()
    (tmp_path / "template.xml").write_text(unsigned.replace("</SOAP:Header>", f"\n{template}</SOAP:Header>"))
    (tmp_path / "key.pem").write_bytes(SIGNING_PEM)
    (tmp_path / "certificate.pem").write_bytes(SIGNING_CERTIFICATE_PEM)
    (tmp_path / "payload.p7m").write_bytes(payload)
    command = ["xmlsec1", "--sign", "--privkey-pem", "key.pem,certificate.pem", "--output", "signed.xml"]
    command += [f"--url-map:cid:{PACKING.ids.payload_content_id}", "payload.p7m", "template.xml"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    signed = (tmp_path / "signed.xml").read_bytes()
    assert verify(signed, {PACKING.ids.payload_content_id: payload}) == SIGNING_CERTIFICATE
    with pytest.raises(DataRefused, match="has been changed"):
        verify(signed.replace(b"NPR_ORDsender", b"NPR_IDEsender"), {PACKING.ids.payload_content_id: payload})


def test_a_signature_follows_from_the_bytes_alone() -> None:
    by = PACKING.signer
    assert by is not None
    assert by.sign(b"x") == by.sign(b"x")
    with pytest.raises(WrongUse, match="do not belong together"):
        signer(SMALL_KEY, SIGNING_CERTIFICATE)
    with pytest.raises(RuntimeError, match="length of its key"):
        pack(b"x", replace(PACKING, signer=Signer(SIGNING_CERTIFICATE, lambda _data: b"short")))


# --- size -------------------------------------------------------------------------------------------------------------


SIGNERS = {
    bits: signer(key, _certificate(key, usage=key_usage(Purpose.SIGNING)))
    for bits, key in ((2048, SMALL_KEY), (2050, ODD_KEY))
}


@settings(deadline=None, max_examples=60)
@given(
    length=st.integers(0, 200_000),
    description=st.text("abc æ", max_size=80).map(str.strip),
    by=st.sampled_from([PACKING.signer, None, *SIGNERS.values()]),
)
def test_size_is_exact(length: int, description: str, by: Signer | None) -> None:
    packing = replace(PACKING, description=description, signer=by)
    assert packed_size(length, packing) == len(pack(b"x" * length, packing))


@settings(deadline=None, max_examples=40)
@given(st.binary(max_size=5_000))
def test_size_is_exact_for_a_compressed_payload(document: bytes) -> None:
    packing = replace(PACKING, gzip=True)
    payload = gzip_payload(document)
    assert packed_size_of_payload(len(payload), packing) == len(pack(document, packing))
    assert len(pack_payload(payload, packing)) == len(pack(document, packing))


@settings(deadline=None, max_examples=40)
@given(cuts=st.lists(st.integers(0, 300_000), max_size=8).map(sorted))
def test_a_mail_made_of_pieces_is_the_mail(cuts: list[int]) -> None:
    content = bytes(range(256)) * 1_172
    pieces = [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    mail = b"".join(mail_pieces(iter(pieces), len(content), PACKING))
    assert unpack(mail, [HOLDER]) == content
    assert len(mail) == packed_size(len(content), PACKING)


def test_a_wrong_length_is_noticed_before_anything_is_signed() -> None:
    for length in (0, 9, 11):
        with pytest.raises(RuntimeError, match="length announced"):
            next(mail_pieces([b"0123456789"], length, PACKING))


def test_pieces_are_read_one_by_one() -> None:
    read = 0

    def pieces() -> Iterator[bytes]:
        nonlocal read
        for _ in range(100):
            read += 1
            yield bytes(100_000)

    out = envelope(pieces(), 10_000_000, CERTIFICATE)
    for _ in range(4):
        next(out)
    assert read < 5
    assert max(map(len, out)) <= 100_016


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
    added = base64_size(6_394) - base64_size(len(_soap(pack(b"x", replace(PACKING, signer=None)))))
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


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        (_certificate(EC_KEY), "not RSA"),
        (_certificate(rsa.generate_private_key(65537, 1024)), "1024 bits"),  # noqa: S505
        (_certificate(SMALL_KEY, usage=key_usage(Purpose.SIGNING)), "keyEncipherment"),
    ],
)
def test_certificates_that_cannot_be_used(certificate: x509.Certificate, reason: str) -> None:
    with pytest.raises(WrongUse, match=reason):
        pack(b"x", replace(PACKING, certificate=certificate))
    good = _certificate(SMALL_KEY, usage=key_usage(Purpose.ENCRYPTION))
    assert unpack(pack(b"x", replace(PACKING, certificate=good)), [KeyPair(SMALL_KEY, good)]) == b"x"


@pytest.mark.parametrize("days", [-2, 2])
def test_a_certificate_outside_its_time(days: int) -> None:
    late = replace(PACKING, ids=replace(PACKING.ids, timestamp=NOW + timedelta(days=days)))
    with pytest.raises(WrongUse, match="not valid on"):
        pack(b"x", replace(late, certificate=_certificate(SMALL_KEY, usage=key_usage(Purpose.ENCRYPTION))))


def test_the_parties_of_a_rehearsal() -> None:
    assert CERTIFICATE.subject.rfc4514_string() == "CN=NPR rehearsal receiver"
    assert SIGNING_CERTIFICATE.subject.rfc4514_string() == "CN=NPR rehearsal sender"
    for purpose, pem, certificate in (
        (Purpose.ENCRYPTION, KEY_PEM, CERTIFICATE),
        (Purpose.SIGNING, SIGNING_PEM, SIGNING_CERTIFICATE),
    ):
        assert certificate.public_key() == _loaded(pem).public_key()
        assert _loaded(pem).key_size == 3072
        certificate.verify_directly_issued_by(certificate)
        for day in (NOW, NOW.replace(year=NOW.year + 10)):
            insist_usable(certificate, purpose, day, "0")
        assert certificate.not_valid_after_utc < datetime(NOW.year + 10, 10, 8, tzinfo=UTC)
        other = Purpose.SIGNING if purpose is Purpose.ENCRYPTION else Purpose.ENCRYPTION
        with pytest.raises(WrongUse, match="keyUsage"):
            insist_usable(certificate, other, NOW, "0")
    assert make_rehearsal_receiver(NOW)[0] != KEY_PEM
