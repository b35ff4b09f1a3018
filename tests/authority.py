"""A certificate authority for tests: certificates as Norwegian issuers make them, and as they should not be."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import NameOID

from pipelines.parties.rehearsal import key_usage
from transforms.shipping.certificates import Purpose

DAY = timedelta(days=1)


@cache
def key_of(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:  # noqa: ARG001 - the cache tells names apart
    """One key per name, made once for all tests of a process."""
    return rsa.generate_private_key(65537, bits)


def ca_usage() -> x509.KeyUsage:
    """What a CA may do: sign certificates and lists."""
    return x509.KeyUsage(
        digital_signature=False,
        key_encipherment=False,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )


def subject(name: str, organisation: str = "", *, seid: int = 2) -> x509.Name:
    """A subject as SEID 2 (organizationIdentifier) or SEID 1 (serialNumber) writes it."""
    attributes = [x509.NameAttribute(NameOID.COUNTRY_NAME, "NO"), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    if organisation and seid == 2:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_IDENTIFIER, f"NTRNO-{organisation}"))
    elif organisation:
        attributes.append(x509.NameAttribute(NameOID.SERIAL_NUMBER, organisation))
    return x509.Name(attributes)


@dataclass(frozen=True)
class Authority:
    """A CA: its certificate, and what it issues. now: the middle of every validity."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey
    now: datetime

    @classmethod
    def root(cls, name: str, now: datetime) -> Authority:
        key = key_of(name)
        return cls(_issue(subject(name), key, subject(name), key, (now, 4000), ca_usage(), ca=True), key, now)

    def below(self, name: str) -> Authority:
        """An intermediate CA."""
        key = key_of(name)
        return Authority(self._signed(subject(name), key, 2000, ca_usage(), ca=True), key, self.now)

    def issue(  # noqa: PLR0913 - each a way in which certificates differ
        self,
        purpose: Purpose | None,
        *,
        organisation: str = "",
        seid: int = 2,
        key: rsa.RSAPrivateKey | None = None,
        days: tuple[int, int] = (-500, 500),
        eku: x509.ObjectIdentifier | None = None,
        ca: bool = False,
        name: str = "a hospital",
    ) -> x509.Certificate:
        """A certificate of a party. days: begin and end, from now."""
        usage = ca_usage() if ca else key_usage(purpose) if purpose else None
        return self._signed(subject(name, organisation, seid=seid), key or key_of("party"), days, usage, ca=ca, eku=eku)

    def _signed(
        self,
        name: x509.Name,
        key: rsa.RSAPrivateKey,
        days: int | tuple[int, int],
        usage: x509.KeyUsage | None,
        *,
        ca: bool,
        eku: x509.ObjectIdentifier | None = None,
    ) -> x509.Certificate:
        return _issue(name, key, self.certificate.subject, self.key, (self.now, days), usage, ca=ca, eku=eku)

    def crl(self, *revoked: x509.Certificate, age: int = 1) -> x509.CertificateRevocationList:
        """A list of today, or one ``age`` days old; each is good for seven days."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(self.now - age * DAY)
            .next_update(self.now - age * DAY + 7 * DAY)
        )
        for one in revoked:
            entry = (
                x509.RevokedCertificateBuilder().serial_number(one.serial_number).revocation_date(self.now - 9 * DAY)
            )
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self.key, hashes.SHA256())

    def answer(
        self,
        about: x509.Certificate,
        status: ocsp.OCSPCertStatus,
        *,
        by: tuple[x509.Certificate, rsa.RSAPrivateKey] | None = None,
        age: int = 1,
        endless: bool = False,
    ) -> ocsp.OCSPResponse:
        """An OCSP response. by: a responder other than the CA itself. endless: it names no next update."""
        responder, key = by or (self.certificate, self.key)
        revoked = self.now - 9 * DAY if status is ocsp.OCSPCertStatus.REVOKED else None
        builder = (
            ocsp.OCSPResponseBuilder()
            .add_response(
                cert=about,
                issuer=self.certificate,
                algorithm=hashes.SHA256(),
                cert_status=status,
                this_update=self.now - age * DAY,
                next_update=None if endless else self.now - age * DAY + 7 * DAY,
                revocation_time=revoked,
                revocation_reason=None,
            )
            .responder_id(ocsp.OCSPResponderEncoding.NAME, responder)
        )
        if by:
            builder = builder.certificates([responder])
        return builder.sign(key, hashes.SHA256())


def _issue(  # noqa: PLR0913
    name: x509.Name,
    key: rsa.RSAPrivateKey,
    issuer: x509.Name,
    issuer_key: rsa.RSAPrivateKey,
    validity: tuple[datetime, int | tuple[int, int]],
    usage: x509.KeyUsage | None,
    *,
    ca: bool,
    eku: x509.ObjectIdentifier | None = None,
) -> x509.Certificate:
    now, days = validity
    begin, end = days if isinstance(days, tuple) else (-days, days)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begin * DAY)
        .not_valid_after(now + end * DAY)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if usage:
        builder = builder.add_extension(usage, critical=True)
    if eku:
        builder = builder.add_extension(x509.ExtendedKeyUsage([eku]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def pem(*certificates: x509.Certificate) -> bytes:
    """PEM of certificates, one after the other."""
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


def private_pem(key: rsa.RSAPrivateKey) -> bytes:
    """PEM of a key without a password."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def private_file(path: Path, content: bytes) -> Path:
    """A file that is its owner's alone."""
    path.touch(mode=0o600)
    path.write_bytes(content)
    return path
