"""The parties of a rehearsal: key pairs nobody else holds.

Belongs here: making them, with the clock passed in. Does not belong here: where they are stored, and any real party's
certificate.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from transforms.shipping.certificates import Purpose

_KEY_BITS = 3072
_YEARS = 10


def make_rehearsal_receiver(now: datetime) -> tuple[bytes, bytes]:
    """Private key and self-signed certificate of the receiver, both PEM; valid for ten years from ``now`` (with zone).

    The key is not protected by a pass phrase: it opens rehearsals only. Each call makes a new pair.
    """
    return _make("NPR rehearsal receiver", Purpose.ENCRYPTION, now)


def make_rehearsal_sender(now: datetime) -> tuple[bytes, bytes]:
    """The same for the sender, who signs."""
    return _make("NPR rehearsal sender", Purpose.SIGNING, now)


def _make(name: str, purpose: Purpose, now: datetime) -> tuple[bytes, bytes]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    certificate = _certificate(key, name, purpose, now)
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return key_pem, certificate.public_bytes(Encoding.PEM)


def _certificate(key: rsa.RSAPrivateKey, common_name: str, purpose: Purpose, now: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))  # clocks of two machines differ a little
        .not_valid_after(now + timedelta(days=365 * _YEARS + 2))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(purpose), critical=True)
        .sign(key, hashes.SHA256())
    )


def key_usage(purpose: Purpose) -> x509.KeyUsage:
    """As the issuers of the country set it: two certificates, each for one thing (nhn-transport, 3.3)."""
    encryption = purpose is Purpose.ENCRYPTION
    return x509.KeyUsage(
        digital_signature=encryption,
        key_encipherment=encryption,
        content_commitment=not encryption,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
