"""The other side of a mail, made of other people's tools: ripmime, openssl and xmlsec1.

Belongs here: taking a delivered mail apart, and making the acknowledgments, errors and answers that a receiver's
message handler sends back. Does not belong here: anything of ours; what this makes must be read by us, and the other
way round.
"""

from __future__ import annotations

import base64
import datetime as dt
import shutil
import subprocess
import uuid
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from authority import Authority, key_of, pem, private_file, private_pem
from cryptography import x509
from lxml import etree
from servers import wanting

from transforms.shipping.certificates import Purpose

TOOLS = ("ripmime", "openssl", "xmlsec1")
SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
EB = "http://www.oasis-open.org/committees/ebxml-msg/schema/msg-header-2_0.xsd"
DS = "http://www.w3.org/2000/09/xmldsig#"
C14N = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"


@dataclass(frozen=True)
class Opened:
    """A mail taken apart. soap, payload: files; document: what was encrypted; ref: eb:MessageId."""

    soap: Path
    payload: Path
    document: bytes
    ref: str


@dataclass(frozen=True)
class Partner:
    """A receiver with keys of its own, and a folder to work in."""

    folder: Path

    def __post_init__(self) -> None:
        for tool in TOOLS:
            if shutil.which(tool) is None:
                wanting(tool)
        self.folder.mkdir(parents=True, exist_ok=True)

    @cached_property
    def authority(self) -> Authority:
        return Authority.root("CA of the partner", dt.datetime.now(dt.UTC))

    @cached_property
    def certificate(self) -> x509.Certificate:
        return self.authority.issue(Purpose.SIGNING, organisation="983744516", key=key_of("partner"))

    def certificate_file(self) -> Path:
        path = self.folder / "partner.pem"
        path.write_bytes(pem(self.certificate))
        return path

    def open(
        self,
        mail: bytes,
        key: bytes,
        certificate: x509.Certificate,
        trusted: x509.Certificate,
        at: str = "2020-05-05 09:00:00",
    ) -> Opened:
        """Take a mail apart, decrypt it, verify its signature: each by another's tool. trusted: CA or signer."""
        room = self.folder / uuid.uuid4().hex
        room.mkdir()
        (room / "mail").write_bytes(mail)
        _run("ripmime", "-i", room / "mail", "-d", room / "taken")
        payload = room / "taken" / "payload.p7m"
        soap = next(path for path in (room / "taken").iterdir() if path.read_bytes().startswith(b"<?xml"))
        private_file(room / "key.pem", key)
        for name, one in (("receiver.pem", certificate), ("trusted.pem", trusted)):
            (room / name).write_bytes(pem(one))
        document = _run(
            *("openssl", "cms", "-decrypt", "-binary", "-inform", "DER", "-in", payload),
            *("-inkey", room / "key.pem", "-recip", room / "receiver.pem"),
        )
        root = etree.parse(soap).getroot()
        (reference,) = root.iterfind(".//{*}Body/{*}Manifest/{*}Reference")
        cid = reference.get("{http://www.w3.org/1999/xlink}href")
        said = _run(
            *("xmlsec1", "--verify", "--enabled-key-data", "x509", "--trusted-pem", room / "trusted.pem"),
            *([] if at == "now" else ["--verification-gmt-time", at]),
            *(f"--url-map:{cid}", payload, soap),
        )
        assert b"References (ok/all): 2/2" in said
        return Opened(soap, payload, document, root.findtext(f".//{{{EB}}}MessageData/{{{EB}}}MessageId", ""))

    # --- answering ----------------------------------------------------------------------------------------------------

    def acknowledgment(
        self, ref: str, *, key: str = "partner", signed: bool = True, error: str = "", soap: bytes = b""
    ) -> bytes:
        """A mail with one SOAP envelope that acknowledges an ebMS message, or says an error of it.

        soap: the SOAP part that was received, whose references it repeats (HIS 1037:2011, errata of 2019).
        """
        action, about = ("MessageError", ref) if error else ("Acknowledgment", "")
        return self.mail(
            self.envelope(_receipt(ref, error, _repeated(soap)), key if signed else "", action=action, about=about)
        )

    def envelope(
        self, inside: str, key: str, payload: tuple[str, bytes] | None = None, *, action: str, about: str = ""
    ) -> bytes:
        """A SOAP envelope, signed by xmlsec1 with the key of that name; "" leaves it unsigned."""
        manifest = reference = ""
        if payload:
            manifest = (
                f'<eb:Manifest eb:version="2.0"><eb:Reference xmlns:xlink="http://www.w3.org/1999/xlink" '
                f'xlink:type="simple" xlink:href="cid:{payload[0]}"/></eb:Manifest>'
            )
            reference = _reference(f"cid:{payload[0]}", "")
        enveloped = f'<ds:Transforms><ds:Transform Algorithm="{DS}enveloped-signature"/>'
        enveloped += f'<ds:Transform Algorithm="{C14N}"/></ds:Transforms>'
        template = (
            f'<ds:Signature xmlns:ds="{DS}"><ds:SignedInfo><ds:CanonicalizationMethod Algorithm="{C14N}"/>'
            '<ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"/>'
            f"{_reference('', enveloped)}{reference}</ds:SignedInfo><ds:SignatureValue/>"
            "<ds:KeyInfo><ds:X509Data><ds:X509Certificate/></ds:X509Data></ds:KeyInfo></ds:Signature>"
        )
        text = (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<SOAP:Envelope xmlns:SOAP="{SOAP}" xmlns:eb="{EB}">\n'
            " <SOAP:Header>"
            f"{_header(action, about)}{inside}{template if key else ''}</SOAP:Header>\n "
            f"<SOAP:Body>{manifest}</SOAP:Body>\n</SOAP:Envelope>\n"
        )
        return self._signed(text.encode(), key, payload) if key else text.encode()

    def _signed(self, text: bytes, key: str, payload: tuple[str, bytes] | None) -> bytes:
        room = self.folder / uuid.uuid4().hex
        room.mkdir()
        (room / "in.xml").write_bytes(text)
        private_file(room / "key.pem", private_pem(key_of(key)))
        certificate = self.certificate if key == "partner" else self.authority.issue(Purpose.SIGNING, key=key_of(key))
        (room / "cert.pem").write_bytes(pem(certificate))
        mapped: list[str | Path] = []
        if payload:
            (room / "payload").write_bytes(payload[1])
            mapped = [f"--url-map:cid:{payload[0]}", room / "payload"]
        keys = f"{room / 'key.pem'},{room / 'cert.pem'}"
        _run("xmlsec1", "--sign", "--privkey-pem", keys, *mapped, "--output", room / "out.xml", room / "in.xml")
        return (room / "out.xml").read_bytes()

    def encrypted(self, document: bytes, to: x509.Certificate) -> bytes:
        """CMS EnvelopedData, made by openssl."""
        room = self.folder / uuid.uuid4().hex
        room.mkdir()
        (room / "document").write_bytes(document)
        (room / "to.pem").write_bytes(pem(to))
        return _run(
            *("openssl", "cms", "-encrypt", "-binary", "-aes256", "-outform", "DER", "-in", room / "document"),
            room / "to.pem",
        )

    def mail(self, envelope: bytes, *parts: tuple[str, str, bytes]) -> bytes:
        """A mail with an envelope and attachments: Content-ID, type, content."""
        boundary, start = uuid.uuid4().hex, f"{uuid.uuid4()}@partner"
        every = [(start, 'text/xml; charset="UTF-8"', envelope), *parts]
        lines = [
            "From: partner@rehearsal.invalid\nTo: edi@sender.invalid\nMIME-Version: 1.0",
            f"Message-ID: <{uuid.uuid4()}@partner.invalid>",
            f'SOAPAction: "ebXML"\nContent-Type: multipart/related; type="text/xml"; start="<{start}>";',
            f' boundary="{boundary}"\n',
        ]
        for cid, kind, content in every:
            lines += [f"--{boundary}", f"Content-Type: {kind}\nContent-Transfer-Encoding: base64"]
            lines += [f"Content-ID: <{cid}>\n" if cid else "", base64.encodebytes(content).decode()]
        return "\n".join([*lines, f"--{boundary}--", ""]).replace("\n", "\r\n").encode()

    def answer(self, document: bytes, to: x509.Certificate, *, key: str = "partner") -> bytes:
        """A mail that carries a document encrypted to us, as a register's handler sends an AppRec."""
        payload = (f"{uuid.uuid4()}@partner", self.encrypted(document, to))
        envelope = self.envelope("", key, payload, action="AppRec")
        return self.mail(envelope, (payload[0], 'application/pkcs7-mime; name="svar.p7m"', payload[1]))


def _header(action: str, about: str) -> str:
    service = "S-NPR" if action == "AppRec" else "urn:oasis:names:tc:ebxml-msg:service"
    ref = f"<eb:RefToMessageId>{about}</eb:RefToMessageId>" if about else ""
    at = f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
    return (
        '<eb:MessageHeader SOAP:mustUnderstand="1" eb:version="2.0">'
        '<eb:From><eb:PartyId eb:type="HER">94378</eb:PartyId><eb:Role>receiver</eb:Role></eb:From>'
        '<eb:To><eb:PartyId eb:type="HER">900002</eb:PartyId><eb:Role>sender</eb:Role></eb:To>'
        f"<eb:CPAId>x</eb:CPAId><eb:ConversationId>x</eb:ConversationId><eb:Service>{service}</eb:Service>"
        f"<eb:Action>{action}</eb:Action><eb:MessageData><eb:MessageId>{uuid.uuid4()}</eb:MessageId>"
        f"<eb:Timestamp>{at}</eb:Timestamp>{ref}</eb:MessageData></eb:MessageHeader>"
    )


def _receipt(ref: str, error: str, repeated: str = "") -> str:
    if error:
        return (
            '<eb:ErrorList eb:version="2.0" eb:highestSeverity="Error" SOAP:mustUnderstand="1">'
            f'<eb:Error eb:errorCode="{error}" eb:severity="Error"/></eb:ErrorList>'
        )
    at = f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
    return (
        f'<eb:Acknowledgment eb:version="2.0" SOAP:mustUnderstand="1"><eb:Timestamp>{at}</eb:Timestamp>'
        f"<eb:RefToMessageId>{ref}</eb:RefToMessageId>{repeated}</eb:Acknowledgment>"
    )


def _repeated(soap: bytes) -> str:
    """The ds:Reference elements of the signature of a SOAP part, as they are."""
    found = etree.fromstring(soap).iterfind(f".//{{{DS}}}SignedInfo/{{{DS}}}Reference") if soap else ()
    return "".join(etree.tostring(one, encoding="unicode", with_tail=False) for one in found)


def _reference(uri: str, transforms: str) -> str:
    digest = f'<ds:DigestMethod Algorithm="{SHA256}"/><ds:DigestValue/>'
    return f'<ds:Reference URI="{uri}">{transforms}{digest}</ds:Reference>'


def _run(*command: str | Path) -> bytes:
    done = subprocess.run(command, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout + (done.stderr if command[1] == "--verify" else b"")
