"""May this certificate be used, for this purpose, on this day, for this party? And which of several?

Belongs here: the checks, as pure functions of certificates, CRLs, OCSP responses and a time. Does not belong here:
reading files, fetching anything, keys.

What is asked (nhn-transport, 3.3): two certificates per party, one for encryption (keyEncipherment) and one for
signing (nonRepudiation), issued by Buypass or Commfides under SEID 2.0, the organisation number in the subject.
Helsenorge's own library checks the same: usage, dates, the whole chain, revocation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from itertools import pairwise
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import ExtensionPolicy, PolicyBuilder, Store, VerificationError

from schemas.errors import WrongUse

SMALLEST_KEY: Final = 2_048
RECOMMENDED_KEY: Final = 3_072
"""Issuers make RSA-3072 today (SEID 2.0); 2 048 still occurs in certificates that have not run out."""

WARN_DAYS: Final = (60, 30, 7)
ENDLESS_DAYS: Final = 7
"""How long a CRL or an OCSP response counts that names no next update. Our choice; issuers renew theirs daily."""

Extension = TypeVar("Extension", bound=x509.ExtensionType)
_WEAK_HASHES: Final = (hashes.MD5, hashes.SHA1)
_ELSEWHERE: Final = frozenset(
    {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CODE_SIGNING,
        ExtendedKeyUsageOID.TIME_STAMPING,
        ExtendedKeyUsageOID.OCSP_SIGNING,
    }
)
_NTRNO: Final = re.compile(r"NTRNO-([0-9]{9})")
_ORGANISATION: Final = re.compile(r"[0-9]{9}")
_LONGEST_CHAIN: Final = 4


class Purpose(Enum):
    """What a certificate is wanted for."""

    ENCRYPTION = "encryption"
    SIGNING = "signing"


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose certificate it should be. organisations: numbers that belong to the HER-id; empty = not checked."""

    her_id: str
    organisations: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Trust:
    """What is known besides the certificate. anchors: CAs trusted as such; empty = the chain is not checked."""

    anchors: tuple[x509.Certificate, ...] = ()
    intermediates: tuple[x509.Certificate, ...] = ()
    crls: tuple[x509.CertificateRevocationList, ...] = ()
    ocsp: tuple[ocsp.OCSPResponse, ...] = field(default=())


def check(certificate: x509.Certificate, purpose: Purpose, at: datetime, holder: Holder, trust: Trust) -> None:
    """Returns in silence, or raises WrongUse with the HER-id and every reason.

    at: with time zone. What no CRL and no OCSP response speaks of counts as not revoked; ``unknown`` lists it.
    """
    _refuse([*faults(certificate, purpose, at, holder, trust)], certificate, purpose, holder.her_id)


def insist_usable(certificate: x509.Certificate, purpose: Purpose, at: datetime, her_id: str) -> None:
    """The checks that need nothing but the certificate: the last guard, in front of each envelope and signature."""
    _refuse([*_alone(certificate, purpose, at)], certificate, purpose, her_id)


def faults(
    certificate: x509.Certificate, purpose: Purpose, at: datetime, holder: Holder, trust: Trust
) -> Iterator[str]:
    """Every reason not to use it, in words."""
    yield from _alone(certificate, purpose, at)
    yield from _wrong_holder(certificate, holder)
    issued = _given_chain(certificate, trust)
    if trust.anchors and certificate not in trust.anchors:  # one in anchors is pinned as it is, as in a rehearsal
        chain = _chain(certificate, at, trust)
        if chain is None:
            yield "its chain does not lead to a CA that is trusted"
            return
        issued = pairwise(chain)
    for place, (one, issuer) in enumerate(issued):
        for fault in _revoked(one, issuer, at, trust):
            yield fault if place == 0 else f"its issuer cannot be used: {fault}"


def unknown(certificate: x509.Certificate, trust: Trust) -> list[str]:
    """What the checks had to leave open, for people."""
    open_questions = []
    if not trust.anchors:
        open_questions.append("chain not checked: no CA is given")
    spoken = any(crl.issuer == certificate.issuer for crl in trust.crls) or any(
        _speaks_of(answer, certificate) for answer in trust.ocsp
    )
    if not spoken:
        open_questions.append("revocation not checked: no CRL or OCSP response is given")
    elif _issuer_of(certificate, trust) is None:
        open_questions.append(
            "signature of the CRL or OCSP response not checked: its issuer's certificate is not given"
        )
    return open_questions


def newest(
    certificates: Sequence[x509.Certificate], purpose: Purpose, at: datetime, holder: Holder, trust: Trust
) -> x509.Certificate:
    """The one to send with when an old and a new certificate lie side by side: of those that pass, the last begun.

    Raises WrongUse with the reasons of each when none passes.
    """
    if not certificates:
        raise WrongUse(
            f"no {purpose.value} certificate for HER-id {holder.her_id}",
            where=f"certificates of HER-id {holder.her_id}",
            fix="give one in npr.toml, [certificates], or fetch it from the Address Register",
        )
    told = [(one, [*faults(one, purpose, at, holder, trust)]) for one in certificates]
    good = [one for one, found in told if not found]
    if good:
        return max(good, key=lambda one: one.not_valid_before_utc)
    if len(told) == 1:
        _refuse(told[0][1], told[0][0], purpose, holder.her_id)
    lines = [f"{_called(one)}: {'; '.join(found)}" for one, found in told]
    raise WrongUse(
        f"none of {len(told)} {purpose.value} certificates of HER-id {holder.her_id} can be used",
        where="\n         ".join(lines),
        fix=_FIX,
    )


def days_left(certificate: x509.Certificate, at: datetime) -> int:
    """Whole days until it runs out; below 0 when it has."""
    return (certificate.not_valid_after_utc - at) // timedelta(days=1)


def expiry_warning(certificate: x509.Certificate, at: datetime) -> int | None:
    """The nearest of 60, 30 and 7 days that has been reached, 0 when it has run out, None while there is time."""
    days = days_left(certificate, at)
    return 0 if days < 0 else min((step for step in WARN_DAYS if days <= step), default=None)


def organisation_number(certificate: x509.Certificate) -> str:
    """The organisation number in the subject, "" for none. SEID 2: organizationIdentifier; SEID 1: serialNumber."""
    for oid, pattern in ((NameOID.ORGANIZATION_IDENTIFIER, _NTRNO), (NameOID.SERIAL_NUMBER, _ORGANISATION)):
        for attribute in certificate.subject.get_attributes_for_oid(oid):
            found = pattern.fullmatch(str(attribute.value).strip())
            if found:
                return found.group(found.lastindex or 0)
    return ""


# --- the certificate alone --------------------------------------------------------------------------------------------


def _alone(certificate: x509.Certificate, purpose: Purpose, at: datetime) -> Iterator[str]:
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        yield "its key is not RSA"
    elif key.key_size < SMALLEST_KEY:
        yield f"its key has {key.key_size} bits, fewer than {SMALLEST_KEY}"
    if isinstance(certificate.signature_hash_algorithm, _WEAK_HASHES):
        yield f"it is signed with {certificate.signature_hash_algorithm.name}, which can be forged"
    if at < certificate.not_valid_before_utc:
        yield f"it is not valid on {_day(at)}: it begins {_day(certificate.not_valid_before_utc)}"
    if at > certificate.not_valid_after_utc:
        yield f"it is not valid on {_day(at)}: it ended {_day(certificate.not_valid_after_utc)}"
    yield from _wrong_purpose(certificate, purpose)


def _wrong_purpose(certificate: x509.Certificate, purpose: Purpose) -> Iterator[str]:
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        yield "it is the certificate of a CA, not of a party"
    usage = _extension(certificate, x509.KeyUsage)
    if usage is None:
        yield "it has no keyUsage"
    elif purpose is Purpose.ENCRYPTION and not usage.key_encipherment:
        yield "its keyUsage does not include keyEncipherment"
    elif purpose is Purpose.SIGNING and not usage.content_commitment:
        yield "its keyUsage does not include nonRepudiation"
    extended = _extension(certificate, x509.ExtendedKeyUsage)
    # Issuers set clientAuth and emailProtection in different ways; what is for something else altogether is refused.
    if extended is not None and set(extended) <= _ELSEWHERE:
        yield "its extendedKeyUsage is for something else"


def _wrong_holder(certificate: x509.Certificate, holder: Holder) -> Iterator[str]:
    if not holder.organisations:
        return
    number = organisation_number(certificate)
    if not number:
        yield "it names no organisation number"
    elif number not in holder.organisations:
        wanted = " or ".join(sorted(holder.organisations))
        yield f"it belongs to organisation {number}, and HER-id {holder.her_id} to {wanted}"


def _extension(certificate: x509.Certificate, kind: type[Extension]) -> Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


# --- chain and revocation ---------------------------------------------------------------------------------------------


def _chain(certificate: x509.Certificate, at: datetime, trust: Trust) -> list[x509.Certificate] | None:
    """The certificate, its issuers, and the anchor last; None when there is no valid path (RFC 5280, section 6)."""
    verifier = (
        PolicyBuilder()
        .store(Store(list(trust.anchors)))
        .time(at)
        .max_chain_depth(_LONGEST_CHAIN)
        .extension_policies(ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=ExtensionPolicy.permit_all())
        .build_client_verifier()
    )
    try:
        return verifier.verify(certificate, list(trust.intermediates)).chain
    except (VerificationError, UnsupportedAlgorithm, ValueError):
        return None


def _given_chain(
    certificate: x509.Certificate, trust: Trust
) -> Iterator[tuple[x509.Certificate, x509.Certificate | None]]:
    """The certificate and its issuers, each with its own, by what is given alone; None ends what is known.

    For certificates whose chain is not asked for: it leads nowhere that is trusted, and serves to check revocation.
    """
    one = certificate
    for _ in range(_LONGEST_CHAIN):
        issuer = _issuer_of(one, trust)
        yield one, issuer
        if issuer is None or issuer.subject == issuer.issuer:
            return
        one = issuer


def _issuer_of(certificate: x509.Certificate, trust: Trust) -> x509.Certificate | None:
    given = (*trust.intermediates, *trust.anchors)
    return next((one for one in given if _issued_by(certificate, one)), None)


def _issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _revoked(
    certificate: x509.Certificate, issuer: x509.Certificate | None, at: datetime, trust: Trust
) -> Iterator[str]:
    """issuer: None where its certificate is not given, so that no signature can be checked.

    Such a list or answer counts all the same. It can only refuse, never allow, and it is a file that npr.toml names: to
    pass over what the operator put there would be the unsafe reading. ``unknown`` says that it was not checked.
    """
    answers = [answer for answer in trust.ocsp if _speaks_of(answer, certificate)]
    yield from _by_ocsp(answers, certificate, issuer, at)
    lists = [crl for crl in trust.crls if crl.issuer == certificate.issuer]
    yield from _by_crl(lists, certificate, issuer, at)


def _by_crl(
    lists: Sequence[x509.CertificateRevocationList],
    certificate: x509.Certificate,
    issuer: x509.Certificate | None,
    at: datetime,
) -> Iterator[str]:
    for crl in lists:
        if issuer is not None and not _list_signed_by(crl, issuer):
            yield "the CRL is not signed by its issuer"
        elif not _current(crl.last_update_utc, crl.next_update_utc, at):
            yield f"the CRL is out of date on {_day(at)}{_endless(crl.next_update_utc)}"
        else:
            entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
            if entry is not None:
                yield f"it was revoked on {_day(entry.revocation_date_utc)} (CRL)"


def _by_ocsp(
    answers: Iterable[ocsp.OCSPResponse],
    certificate: x509.Certificate,
    issuer: x509.Certificate | None,
    at: datetime,
) -> Iterator[str]:
    for answer in answers:
        if not _same_issuer(answer, certificate.issuer) or (issuer and not _answered_by(answer, issuer, at)):
            yield "the OCSP response is not signed by its issuer"
        elif not _current(answer.this_update_utc, answer.next_update_utc, at):
            yield f"the OCSP response is out of date on {_day(at)}{_endless(answer.next_update_utc)}"
        elif answer.certificate_status is ocsp.OCSPCertStatus.REVOKED:
            when = answer.revocation_time_utc
            yield f"it was revoked on {_day(when) if when else 'an unknown day'} (OCSP)"
        elif answer.certificate_status is ocsp.OCSPCertStatus.UNKNOWN:
            yield "its issuer does not know it (OCSP)"


def _list_signed_by(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    key = issuer.public_key()
    return isinstance(key, rsa.RSAPublicKey) and crl.is_signature_valid(key)


def _speaks_of(answer: ocsp.OCSPResponse, certificate: x509.Certificate) -> bool:
    return (
        answer.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL
        and answer.serial_number == certificate.serial_number
    )


def _answered_by(answer: ocsp.OCSPResponse, issuer: x509.Certificate, at: datetime) -> bool:
    """Whether the issuer, or a responder it named for this, signed the answer about one of its certificates."""
    responders = [issuer, *(one for one in answer.certificates if _is_responder(one, issuer, at))]
    return any(_signed_by(answer, one) for one in responders)


def _same_issuer(answer: ocsp.OCSPResponse, issuer: x509.Name) -> bool:
    digest = hashes.Hash(answer.hash_algorithm)
    digest.update(issuer.public_bytes())
    return digest.finalize() == answer.issuer_name_hash


def _is_responder(certificate: x509.Certificate, issuer: x509.Certificate, at: datetime) -> bool:
    extended = _extension(certificate, x509.ExtendedKeyUsage)
    if extended is None or ExtendedKeyUsageOID.OCSP_SIGNING not in extended:
        return False
    if not _issued_by(certificate, issuer):
        return False
    return certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc


def _signed_by(answer: ocsp.OCSPResponse, responder: x509.Certificate) -> bool:
    key, algorithm = responder.public_key(), answer.signature_hash_algorithm
    if not isinstance(key, rsa.RSAPublicKey) or algorithm is None:
        return False
    try:
        key.verify(answer.signature, answer.tbs_response_bytes, padding.PKCS1v15(), algorithm)
    except InvalidSignature:
        return False
    return True


def _current(since: datetime, until: datetime | None, at: datetime) -> bool:
    """until: its nextUpdate; without one it counts for ENDLESS_DAYS, since an old list knows nothing of today."""
    return since <= at <= (until or since + timedelta(days=ENDLESS_DAYS))


def _endless(until: datetime | None) -> str:
    return "" if until else f" (it names no next update, so it counts for {ENDLESS_DAYS} days)"


# --- words ------------------------------------------------------------------------------------------------------------

_FIX: Final = "fetch the party's current certificate from the Address Register, or renew your own"


def _refuse(reasons: Sequence[str], certificate: x509.Certificate, purpose: Purpose, her_id: str) -> None:
    if reasons:
        raise WrongUse(
            f"the {purpose.value} certificate of HER-id {her_id} cannot be used: {'; '.join(reasons)}",
            where=_called(certificate),
            fix=_FIX,
        )


def _called(certificate: x509.Certificate) -> str:
    return f"certificate with serial number {certificate.serial_number:x}"


def _day(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%d}"
