"""What ``npr doctor`` says of keys and certificates on a given day.

Belongs here: one line for each certificate that a run would use. Does not belong here: the checks themselves
(``transforms.shipping.certificates``), reading files (``pipelines.parties.keys``).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from pipelines.home.store import DiskStore
from pipelines.parties.address_register import AddressRegister
from pipelines.parties.keys import certificates_in, key_pair, own_holder, trust_of
from pipelines.settings import Settings
from schemas.config import Certificates, KeyFile
from schemas.errors import NprError
from schemas.receivers import receiver
from transforms.shipping.certificates import (
    RECOMMENDED_KEY,
    Holder,
    Purpose,
    Trust,
    days_left,
    expiry_warning,
    faults,
    unknown,
)

OK, WARN, WRONG = "ok", "warning", "wrong"
Line = dict[str, str]
_RENEW = "renew it; keep the old one beside the new one until nothing is in flight (docs/certificates.md)"


def certificate_lines(settings: Settings, at: dt.datetime) -> Iterator[Line]:
    """Lines in the order receiver, own signature, own reading, for each set of certificates in use."""
    if settings.config.profile == "rehearsal":
        yield from _rehearsal(settings, at)
        return
    to = receiver(settings.config.profile, at.date())
    seen: list[Certificates] = []
    for key, unit in settings.config.units.items():
        given = settings.config.certificates_of(unit)
        if given not in seen:
            yield from _receiver(settings, given, to.unit_her_id, at)
            signs = "receiver signing"
            yield from _of_files(signs, given.receiver_signing, Purpose.SIGNING, given, to.unit_her_id, at)
            seen.append(given)
        yield from _own(f"signing {key}", given.signing, Purpose.SIGNING, given, own_holder(unit, given), at)
        yield from _own(f"reading {key}", given.reading, Purpose.ENCRYPTION, given, own_holder(unit, given), at)


def judged(
    name: str, certificates: Sequence[x509.Certificate], purpose: Purpose, holder: Holder, trust: Trust, at: dt.datetime
) -> Iterator[Line]:
    """One line per certificate. A certificate that cannot be used is wrong only while no other one can."""
    found = [(one, [*faults(one, purpose, at, holder, trust)]) for one in certificates]
    usable = [one for one, reasons in found if not reasons]
    last = max(usable, key=lambda one: one.not_valid_after_utc, default=None)
    for one, reasons in found:
        what = f"HER-id {holder.her_id}, serial number {one.serial_number:x}"
        if reasons:
            state = WARN if usable else WRONG
            yield _line(state, name, f"{what}: {'; '.join(reasons)}", "take it out" if usable else _RENEW)
            continue
        steps = expiry_warning(one, at) if one is last else None
        open_questions = [*unknown(one, trust), *_weak(one)]
        days = f"valid for {days_left(one, at)} days"
        notes = "; ".join([days, *open_questions])
        state = WARN if steps is not None or open_questions else OK
        fix = _RENEW if steps is not None else "give certificates.trust and .crl" if open_questions else ""
        yield _line(state, name, f"{what}: {notes}", fix)


def _weak(certificate: x509.Certificate) -> list[str]:
    key = certificate.public_key()
    small = isinstance(key, rsa.RSAPublicKey) and key.key_size < RECOMMENDED_KEY
    return [f"its key has fewer than {RECOMMENDED_KEY} bits"] if small else []


def _rehearsal(settings: Settings, at: dt.datetime) -> Iterator[Line]:
    folder = settings.home / "rehearsal"
    for party, purpose in (("receiver", Purpose.ENCRYPTION), ("sender", Purpose.SIGNING)):
        path = folder / f"{party}.pem"
        if not path.exists():
            yield _line(OK, party, "made for the rehearsal at the first run")
            continue
        found = certificates_in(path)
        # Its own certificate is the anchor: it was made here, and nobody can revoke it.
        for line in judged(party, found, purpose, Holder("0"), Trust(anchors=tuple(found)), at):
            expiring = any(expiry_warning(one, at) is not None for one in found)
            yield line | ({} if line["state"] == WRONG or expiring else {"state": OK, "fix": ""})


def _receiver(settings: Settings, given: Certificates, her_id: str, at: dt.datetime) -> Iterator[Line]:
    old = settings.config.shipping.receiver_certificate
    paths = [*given.receiver, *([old] if old else [])]
    if not paths and given.address_register:
        yield _line(OK, "receiver", f"HER-id {her_id}: asked of {given.address_register} at each run")
        yield from _register(settings, given)
        return
    if not paths:
        yield _line(WRONG, "receiver", f"no certificate of the receiver (HER-id {her_id})", "set certificates.receiver")
        return
    yield from _of_files("receiver", paths, Purpose.ENCRYPTION, given, her_id, at)


def _register(settings: Settings, given: Certificates) -> Iterator[Line]:
    """Whether the Address Register would be asked with a token; NHN's answers nobody without one."""
    register, name = AddressRegister.of(given, DiskStore(settings.home)), "address register"
    try:
        told = register.look() if register else ""
    except NprError as error:
        yield _line(WRONG, name, error.what, error.fix)
        return
    if told:
        yield _line(OK, name, told)
    else:
        yield _line(WARN, name, "no client of HelseID is given", "give certificates.address_register_client")


def _of_files(
    name: str, paths: Sequence[Path], purpose: Purpose, given: Certificates, her_id: str, at: dt.datetime
) -> Iterator[Line]:
    """Certificates of the other side; nothing where none is given."""
    if not paths:
        return
    try:
        found = [one for path in paths for one in certificates_in(path)]
        trust = trust_of(given)
    except NprError as error:
        yield _line(WRONG, name, error.what, error.fix)
        return
    holder = Holder(her_id, frozenset(given.receiver_organisations))
    yield from judged(name, found, purpose, holder, trust, at)


def _own(
    name: str, keys: Sequence[KeyFile], purpose: Purpose, given: Certificates, holder: Holder, at: dt.datetime
) -> Iterator[Line]:
    if not keys:
        if purpose is Purpose.SIGNING:
            yield _line(WARN, name, "no key: the message handler that sends must sign", "set certificates.signing")
        return
    try:
        found = [
            certificates_in(k.certificate)[0] if k.command and k.certificate else key_pair(k).certificate for k in keys
        ]
        trust = trust_of(given)
    except NprError as error:
        yield _line(WRONG, name, error.what, error.fix)
        return
    yield from judged(name, found, purpose, holder, trust, at)


def _line(state: str, check: str, what: str, fix: str = "") -> Line:
    return {"state": state, "check": check, "what": what, "fix": fix}
