"""CMS EnvelopedData in DER, made piece by piece, and opened again with any of several keys.

Belongs here: one structure of RFC 5652 and its exact size. Does not belong here: what is enveloped, the mail around
it (``transforms.shipping.packing``), whose certificate may be used (``transforms.shipping.certificates``).

One thing is random by necessity: each envelope draws a fresh content key and IV, and PKCS#1 v1.5 pads at random. So
two envelopes of one content differ in bytes and never in length. The library's own builder needs the content three
times in memory, which is why the thirty lines of DER stand here; ``openssl cms`` reads them in the tests.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import pkcs7

from schemas.errors import DataRefused, WrongUse

BLOCK: Final = 16
PIECE: Final = 65_536  # pieces of this size stay in the processor's cache; larger ones took twice the time

# Object identifiers in DER (RFC 5652, RFC 8017, NIST CSOR).
_ENVELOPED_DATA: Final = bytes.fromhex("06092a864886f70d010703")
_DATA: Final = bytes.fromhex("06092a864886f70d010701")
_RSA_ENCRYPTION: Final = bytes.fromhex("06092a864886f70d010101")
_AES256_CBC: Final = bytes.fromhex("060960864801650304012a")
_NULL: Final = bytes.fromhex("0500")
_VERSION_0: Final = bytes.fromhex("020100")
_INTEGER, _OCTETS, _SEQUENCE, _SET, _CONTEXT_0, _CONTEXT_0_PLAIN = 0x02, 0x04, 0x30, 0x31, 0xA0, 0x80


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A private key and the certificate it belongs to."""

    key: rsa.RSAPrivateKey
    certificate: x509.Certificate


def encrypt(content: bytes, certificate: x509.Certificate) -> bytes:
    """EnvelopedData of the whole content: AES-256-CBC, the key by RSA PKCS#1 v1.5, recipient by issuer and serial."""
    return b"".join(envelope([content], len(content), certificate))


def envelope(content: Iterable[bytes], length: int, certificate: x509.Certificate) -> Iterator[bytes]:
    """The same piece by piece; only one piece is held. length: bytes of the whole content, needed before the first.

    Raises WrongUse when the certificate has no RSA key.
    """
    public = _public(certificate)
    key, iv = secrets.token_bytes(32), secrets.token_bytes(BLOCK)
    yield _opening(length, certificate, public.encrypt(key, padding.PKCS1v15()), iv)
    cipher = Cipher(algorithms.AES256(key), modes.CBC(iv)).encryptor()
    padder = PKCS7(BLOCK * 8).padder()
    taken = 0
    for chunk in content:
        view = memoryview(chunk)
        taken += len(view)
        for start in range(0, len(view), PIECE):
            yield cipher.update(padder.update(view[start : start + PIECE]))
    if taken != length:
        raise RuntimeError("the content of an envelope has not the length announced")
    yield cipher.update(padder.finalize()) + cipher.finalize()


def envelope_size(length: int, certificate: x509.Certificate) -> int:
    """Bytes of the envelope of that many bytes, exact, without making it."""
    wrapped = bytes((_public(certificate).key_size + 7) // 8)
    return len(_opening(length, certificate, wrapped, bytes(BLOCK))) + _padded(length)


def decrypt(envelope: bytes, holders: Sequence[KeyPair]) -> bytes:
    """The content, by the first key pair that opens it: the old and the new one are both tried after a renewal.

    Raises DataRefused with one and the same sentence for every fault: CMS has no integrity, and a detailed answer
    would help someone who tries keys or alters mails.
    """
    for holder in holders:
        try:
            return pkcs7.pkcs7_decrypt_der(envelope, holder.certificate, holder.key, [])
        except (ValueError, UnsupportedAlgorithm):
            continue
    raise DataRefused(
        "the envelope cannot be opened", where="application/pkcs7-mime", fix="use the receiver's own key, old or new"
    )


def _public(certificate: x509.Certificate) -> rsa.RSAPublicKey:
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        raise WrongUse("the receiver's certificate cannot be used: its key is not RSA", where="receiver's certificate")
    return key


def _opening(length: int, certificate: x509.Certificate, wrapped: bytes, iv: bytes) -> bytes:
    """All bytes before the encrypted content (RFC 5652, section 6.1)."""
    issuer = certificate.issuer.public_bytes()
    if issuer not in certificate.tbs_certificate_bytes:
        raise WrongUse("the issuer's name in the certificate is not DER", where="receiver's certificate")
    serial = certificate.serial_number
    recipient = _tlv(
        _SEQUENCE,
        _VERSION_0
        + _tlv(_SEQUENCE, issuer + _tlv(_INTEGER, serial.to_bytes(serial.bit_length() // 8 + 1, "big")))
        + _tlv(_SEQUENCE, _RSA_ENCRYPTION + _NULL)
        + _tlv(_OCTETS, wrapped),
    )
    rest = _padded(length)
    opening = _head(_CONTEXT_0_PLAIN, rest)
    algorithm = _tlv(_SEQUENCE, _AES256_CBC + _tlv(_OCTETS, iv))
    opening = _tlv(_SEQUENCE, _DATA + algorithm + opening, rest)
    opening = _tlv(_SEQUENCE, _VERSION_0 + _tlv(_SET, recipient) + opening, rest)
    opening = _tlv(_CONTEXT_0, opening, rest)
    return _tlv(_SEQUENCE, _ENVELOPED_DATA + opening, rest)


def _padded(length: int) -> int:
    return (length // BLOCK + 1) * BLOCK


def _tlv(tag: int, value: bytes, rest: int = 0) -> bytes:
    """A DER value of which ``rest`` bytes follow later."""
    return _head(tag, len(value) + rest) + value


def _head(tag: int, length: int) -> bytes:
    """Tag and length (X.690, 8.1.3)."""
    if length < 0x80:  # noqa: PLR2004
        return bytes((tag, length))
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets
