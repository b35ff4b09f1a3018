"""Our own keys and the certificates of others, from files.

Belongs here: reading key files (with a look at who else may read them), passwords, certificates, CRLs and OCSP
responses; signing by a program of the hospital's. Does not belong here: judging a certificate
(``transforms.shipping.certificates``), fetching one (``pipelines.parties.address_register``).

No message of these functions holds a password or a byte of a key.
"""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key, pkcs12
from cryptography.x509 import ocsp

from schemas.config import Certificates, KeyFile, Unit
from schemas.errors import WrongUse
from transforms.shipping.certificates import Holder, Purpose, Trust, newest
from transforms.shipping.cms import KeyPair
from transforms.shipping.ebms import Signer, signer

T = TypeVar("T")
_PEM = b"-----BEGIN"
_SIGNING_SECONDS = 60


def own_holder(unit: Unit, certificates: Certificates) -> Holder:
    """Whose our own certificates must be: the unit's HER-id and the organisation numbers of unit and enterprise."""
    by_unit = {number for number in (unit.foretakID, unit.institusjonID[:9]) if number and len(number) == 9}  # noqa: PLR2004
    return Holder(unit.sender.her_id, frozenset(certificates.own_organisations or by_unit))


def own_signer(unit: Unit, certificates: Certificates, at: datetime) -> Signer | None:
    """The signer with the newest certificate that may sign on that day; None where none is configured."""
    if not certificates.signing:
        return None
    found = [_signer(one) for one in certificates.signing]
    trust = trust_of(certificates)
    chosen = newest([one.certificate for one in found], Purpose.SIGNING, at, own_holder(unit, certificates), trust)
    return next(one for one in found if one.certificate == chosen)


def reading_keys(certificates: Certificates) -> list[KeyPair]:
    """All key pairs that answers may be encrypted to, new and old; for reading it does not matter what has run out."""
    return [key_pair(one) for one in certificates.reading]


def trust_of(certificates: Certificates) -> Trust:
    """What is known besides the certificates themselves."""
    return Trust(
        anchors=tuple(one for path in certificates.trust for one in certificates_in(path)),
        intermediates=tuple(one for path in certificates.chain for one in certificates_in(path)),
        crls=tuple(_crl(path) for path in certificates.crl),
        ocsp=tuple(_ocsp(path) for path in certificates.ocsp),
    )


# --- certificates -----------------------------------------------------------------------------------------------------


def certificates_in(path: Path) -> list[x509.Certificate]:
    """Every certificate of a file: PEM, one or many, or one in DER."""
    return _parsed(path, _certificates, "no certificate", "give it as PEM or DER")


def _certificates(data: bytes) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(data) if _PEM in data else [x509.load_der_x509_certificate(data)]


def _crl(path: Path) -> x509.CertificateRevocationList:
    def load(data: bytes) -> x509.CertificateRevocationList:
        return x509.load_pem_x509_crl(data) if _PEM in data else x509.load_der_x509_crl(data)

    return _parsed(path, load, "no CRL", "fetch it from the address in the certificate")


def _ocsp(path: Path) -> ocsp.OCSPResponse:
    return _parsed(path, ocsp.load_der_ocsp_response, "no OCSP response", "fetch it with: openssl ocsp -respout FILE")


def _parsed(path: Path, load: Callable[[bytes], T], what: str, fix: str) -> T:
    try:
        return load(path.read_bytes())
    except OSError:
        raise WrongUse(f"{path}: cannot be read", where="npr.toml, [certificates]", fix="give its path") from None
    except (ValueError, UnsupportedAlgorithm):
        raise WrongUse(f"{path}: {what}", where="npr.toml, [certificates]", fix=fix) from None


# --- our own keys -----------------------------------------------------------------------------------------------------


def key_pair(given: KeyFile) -> KeyPair:
    """Key and certificate of a file. WrongUse when others may read it, for a wrong password, a key that is not RSA."""
    if given.file is None:
        raise WrongUse("a key behind a program cannot read", where="npr.toml, [certificates] reading", fix="give file")
    path = given.file
    insist_private(path)
    password = _password(given)
    data = _parsed(path, bytes, "", "")
    try:
        key, inside = _opened(data, password)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise WrongUse(
            f"{path}: cannot be opened",
            where="npr.toml, [certificates]",
            fix="check the password (password_env or password_file) and that it is PKCS#12 or PEM",
        ) from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise WrongUse(f"{path}: holds no RSA key", where="npr.toml, [certificates]", fix="the network uses RSA")
    if given.certificate:
        inside = certificates_in(given.certificate)
    for certificate in inside:
        if certificate.public_key() == key.public_key():
            return KeyPair(key, certificate)
    raise WrongUse(
        f"{path}: no certificate belongs to its key", where="npr.toml, [certificates]", fix="name it with certificate"
    )


def insist_private(path: Path) -> None:
    """A file with a key or password is its owner's alone (mode 0600 or less)."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        raise WrongUse(f"{path}: cannot be read", where="npr.toml, [certificates]", fix="give its path") from None
    if mode & 0o077:
        raise WrongUse(
            f"{path}: others may read it (mode {mode:04o})", rule="a key is its owner's alone", fix=f"chmod 600 {path}"
        )


def _opened(data: bytes, password: bytes | None) -> tuple[object, list[x509.Certificate]]:
    if _PEM in data:
        held = x509.load_pem_x509_certificates(data) if b"BEGIN CERTIFICATE" in data else []
        return load_pem_private_key(data, password), held
    key, certificate, others = pkcs12.load_key_and_certificates(data, password)
    return key, [one for one in (certificate, *others) if one]


def _password(given: KeyFile) -> bytes | None:
    if given.password_env:
        value = os.environ.get(given.password_env)
        if value is None:
            raise WrongUse(
                f"the environment has no {given.password_env}",
                where="npr.toml, [certificates] password_env",
                fix=f"set {given.password_env}, or give password_file",
            )
        return value.encode()
    if given.password_file:
        insist_private(given.password_file)
        return given.password_file.read_bytes().rstrip(b"\r\n")
    return None


# --- signing ----------------------------------------------------------------------------------------------------------


def _signer(given: KeyFile) -> Signer:
    if given.file:
        pair = key_pair(given)
        return signer(pair.key, pair.certificate)
    certificate = certificates_in(given.certificate)[0] if given.certificate else None
    if certificate is None:
        raise WrongUse("command needs certificate", where="npr.toml, [certificates] signing")
    return Signer(certificate, lambda data: _signed_by_program(given.command, certificate, data))


def _signed_by_program(command: Sequence[str], certificate: x509.Certificate, data: bytes) -> bytes:
    """What the program makes of the data on its standard input: a raw RSASSA-PKCS1-v1_5 SHA-256 signature."""
    try:
        done = subprocess.run(  # noqa: S603 - the hospital's own setting
            list(command), input=data, capture_output=True, check=False, timeout=_SIGNING_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        raise _program_failed(command, "cannot be run, or hangs") from None
    key = certificate.public_key()
    if done.returncode or not isinstance(key, rsa.RSAPublicKey):
        raise _program_failed(command, f"ended with {done.returncode}")
    try:
        key.verify(done.stdout, data, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        raise _program_failed(command, "does not sign with the key of its certificate") from None
    return done.stdout


def _program_failed(command: Sequence[str], what: str) -> WrongUse:
    return WrongUse(
        f"the program that signs {what}",
        where=f"npr.toml, [certificates] signing.command: {command[0]}",
        fix="it must read bytes on standard input and write the bare RSA-SHA256 (PKCS#1 v1.5) signature",
    )
