"""Certificates that must be refused, each with its reason and the HER-id; and the ones that must not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from authority import DAY, Authority, key_of
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from schemas.errors import WrongUse
from transforms.shipping.certificates import (
    Holder,
    Purpose,
    Trust,
    check,
    days_left,
    expiry_warning,
    faults,
    newest,
    organisation_number,
    unknown,
)

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
OURS, OTHERS = "900000014", "900000022"  # invented
ROOT = Authority.root("Test root", NOW)
ISSUER = ROOT.below("Test issuer")
STRANGER = Authority.root("Test stranger", NOW)
HOLDER = Holder("94378", frozenset({OURS}))
TRUST = Trust(anchors=(ROOT.certificate,), intermediates=(ISSUER.certificate,), crls=(ISSUER.crl(), ROOT.crl()))
GOOD = ISSUER.issue(Purpose.ENCRYPTION, organisation=OURS)
WEAK_KEY = rsa.generate_private_key(65537, 1024)  # noqa: S505 - it is the point
ENC, SIG = Purpose.ENCRYPTION, Purpose.SIGNING


def _revoking(certificate: x509.Certificate) -> Trust:
    return replace(TRUST, crls=(ISSUER.crl(certificate), ROOT.crl()))


BAD = [
    ("expired", ENC, ISSUER.issue(ENC, organisation=OURS, days=(-90, -1)), TRUST, "it ended 2026-03-01"),
    ("not yet valid", ENC, ISSUER.issue(ENC, organisation=OURS, days=(1, 90)), TRUST, "it begins 2026-03-03"),
    ("wrong purpose: signs", ENC, ISSUER.issue(SIG, organisation=OURS), TRUST, "does not include keyEncipherment"),
    ("wrong purpose: encrypts", SIG, ISSUER.issue(ENC, organisation=OURS), TRUST, "does not include nonRepudiation"),
    (
        "wrong purpose: a web server's",
        ENC,
        ISSUER.issue(ENC, organisation=OURS, eku=ExtendedKeyUsageOID.SERVER_AUTH),
        TRUST,
        "extendedKeyUsage is for something else",
    ),
    ("no purpose", ENC, ISSUER.issue(None, organisation=OURS), TRUST, "it has no keyUsage"),
    ("wrong HER-id", ENC, ISSUER.issue(ENC, organisation=OTHERS), TRUST, f"organisation {OTHERS}, and HER-id 94378 to"),
    ("nobody's", ENC, ISSUER.issue(ENC), TRUST, "no organisation number"),
    ("weak key", ENC, ISSUER.issue(ENC, organisation=OURS, key=WEAK_KEY), TRUST, "1024 bits, fewer than 2048"),
    ("revoked", ENC, GOOD, _revoking(GOOD), "it was revoked on 2026-02-21"),
    ("issuer revoked", ENC, GOOD, replace(TRUST, crls=(ISSUER.crl(), ROOT.crl(ISSUER.certificate))), "its issuer"),
    ("chain broken", ENC, GOOD, replace(TRUST, intermediates=()), "does not lead to a CA"),
    ("chain of another", ENC, STRANGER.issue(ENC, organisation=OURS), TRUST, "does not lead to a CA"),
    ("CA taken for signer", SIG, ISSUER.certificate, TRUST, "the certificate of a CA"),
    ("party taken for CA", ENC, Authority(GOOD, key_of("party"), NOW).issue(ENC, organisation=OURS), TRUST, "lead"),
]


@pytest.mark.parametrize(("purpose", "certificate", "trust", "reason"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_bad_certificates(purpose: Purpose, certificate: x509.Certificate, trust: Trust, reason: str) -> None:
    with pytest.raises(WrongUse, match=reason) as caught:
        check(certificate, purpose, NOW, HOLDER, trust)
    assert "HER-id 94378" in caught.value.what
    assert f"{certificate.serial_number:x}" in caught.value.where
    assert purpose.value in caught.value.what


def test_only_the_reason_is_told() -> None:
    """Of the eight, each has one fault; a second reason would send a person the wrong way."""
    for name, purpose, certificate, trust, reason in BAD:
        found = [*faults(certificate, purpose, NOW, HOLDER, trust)]
        if not name.startswith(("expired", "not yet", "weak", "CA taken")):  # those have no valid chain either
            assert len(found) == 1, name
        assert reason in "; ".join(found)


@pytest.mark.parametrize("purpose", list(Purpose))
@pytest.mark.parametrize("seid", [1, 2])
def test_good_certificates(purpose: Purpose, seid: int) -> None:
    good = ISSUER.issue(purpose, organisation=OURS, seid=seid)
    check(good, purpose, NOW, HOLDER, TRUST)
    assert organisation_number(good) == OURS
    check(good, purpose, NOW - 500 * DAY, HOLDER, replace(TRUST, crls=()))
    check(good, purpose, NOW + 500 * DAY, HOLDER, replace(TRUST, crls=()))
    check(good, purpose, NOW, Holder("94378"), Trust())


def test_a_certificate_made_for_a_rehearsal_is_its_own_anchor() -> None:
    alone = STRANGER.issue(SIG)
    check(alone, SIG, NOW, Holder("0"), Trust(anchors=(alone,)))


# --- revocation -------------------------------------------------------------------------------------------------------

RESPONDER_KEY = key_of("responder")
RESPONDER = ISSUER.issue(SIG, key=RESPONDER_KEY, eku=ExtendedKeyUsageOID.OCSP_SIGNING, name="responder")
NO_RESPONDER = ISSUER.issue(SIG, key=RESPONDER_KEY, name="responder")
Status = ocsp.OCSPCertStatus


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (ISSUER.answer(GOOD, Status.GOOD), None),
        (ISSUER.answer(GOOD, Status.GOOD, by=(RESPONDER, RESPONDER_KEY)), None),
        (ISSUER.answer(GOOD, Status.REVOKED), "it was revoked on 2026-02-21 (OCSP)"),
        (ISSUER.answer(GOOD, Status.UNKNOWN), "its issuer does not know it (OCSP)"),
        (ISSUER.answer(GOOD, Status.GOOD, age=8), "the OCSP response is out of date on 2026-03-02"),
        (ISSUER.answer(GOOD, Status.GOOD, by=(NO_RESPONDER, RESPONDER_KEY)), "the OCSP response is not signed by"),
        (STRANGER.answer(GOOD, Status.GOOD), "the OCSP response is not signed by"),
        (ISSUER.answer(RESPONDER, Status.REVOKED), None),
        (ISSUER.answer(GOOD, Status.GOOD, age=7, endless=True), None),
        (ISSUER.answer(GOOD, Status.GOOD, age=8, endless=True), "the OCSP response is out of date on 2026-03-02 (it"),
    ],
    ids=["good", "by responder", "revoked", "unknown", "old", "no responder", "stranger", "of another", "7 d", "8 d"],
)
def test_ocsp(answer: ocsp.OCSPResponse, reason: str | None) -> None:
    found = [*faults(GOOD, ENC, NOW, HOLDER, replace(TRUST, crls=(), ocsp=(answer,)))]
    assert len(found) == (reason is not None)
    assert reason is None or found[0].startswith(reason)


@pytest.mark.parametrize(
    ("crl", "reason"),
    [
        (ISSUER.crl(age=8), "the CRL is out of date on 2026-03-02"),
        (Authority(ISSUER.certificate, key_of("forger"), NOW).crl(), "the CRL is not signed by its issuer"),
        (STRANGER.crl(GOOD), None),
    ],
    ids=["old", "forged", "of another"],
)
def test_crl(crl: x509.CertificateRevocationList, reason: str | None) -> None:
    assert [*faults(GOOD, ENC, NOW, HOLDER, replace(TRUST, crls=(crl,)))] == ([reason] if reason else [])


KNOWN = Trust(intermediates=(ISSUER.certificate, ROOT.certificate))
PINNED = Trust(anchors=(GOOD,))
FORGED = Authority(ISSUER.certificate, key_of("forger"), NOW)
REVOKED, OLD_LIST, UNSIGNED = (
    "it was revoked on 2026-02-21 (CRL)",
    "the CRL is out of date on 2026-03-02",
    "not signed by",
)


@pytest.mark.parametrize(
    ("trust", "crl", "reason"),
    [
        (Trust(), ISSUER.crl(GOOD), REVOKED),
        (Trust(), ISSUER.crl(RESPONDER), None),
        (Trust(), ISSUER.crl(age=8), OLD_LIST),
        (Trust(), STRANGER.crl(GOOD), None),
        (Trust(), FORGED.crl(GOOD), REVOKED),
        (PINNED, ISSUER.crl(GOOD), REVOKED),
        (PINNED, ISSUER.crl(), None),
        (KNOWN, ISSUER.crl(GOOD), REVOKED),
        (KNOWN, FORGED.crl(GOOD), UNSIGNED),
        (KNOWN, ROOT.crl(ISSUER.certificate), f"its issuer cannot be used: {REVOKED}"),
    ],
    ids=[
        *("no trust", "another revoked", "old list", "list of another CA", "nobody can check the signature"),
        *("pinned and revoked", "pinned", "issuer known", "issuer known, list forged", "issuer revoked"),
    ],
)
def test_lists_count_without_a_trusted_chain(
    trust: Trust, crl: x509.CertificateRevocationList, reason: str | None
) -> None:
    found = [*faults(GOOD, ENC, NOW, HOLDER, replace(trust, crls=(crl,)))]
    assert len(found) == (reason is not None)
    assert reason is None or reason in found[0]


@pytest.mark.parametrize("trust", [Trust(), PINNED], ids=["no trust", "pinned"])
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (ISSUER.answer(GOOD, Status.REVOKED), "it was revoked on 2026-02-21 (OCSP)"),
        (ISSUER.answer(GOOD, Status.GOOD), None),
        (ISSUER.answer(GOOD, Status.GOOD, age=8), "the OCSP response is out of date on 2026-03-02"),
        (STRANGER.answer(GOOD, Status.REVOKED), "it was revoked on 2026-02-21 (OCSP)"),
    ],
    ids=["revoked", "good", "old", "nobody can check the signature"],
)
def test_answers_count_without_a_trusted_chain(trust: Trust, answer: ocsp.OCSPResponse, reason: str | None) -> None:
    assert [*faults(GOOD, ENC, NOW, HOLDER, replace(trust, ocsp=(answer,)))] == ([reason] if reason else [])


def test_what_was_not_checked_is_said() -> None:
    assert unknown(GOOD, replace(PINNED, crls=(ISSUER.crl(),))) == [
        "signature of the CRL or OCSP response not checked: its issuer's certificate is not given"
    ]
    assert unknown(GOOD, TRUST) == []
    assert unknown(GOOD, replace(TRUST, crls=(ROOT.crl(),))) == [
        "revocation not checked: no CRL or OCSP response is given"
    ]
    assert len(unknown(GOOD, Trust())) == 2


# --- old and new side by side -----------------------------------------------------------------------------------------

OLD = ISSUER.issue(ENC, organisation=OURS, days=(-1000, 20))
NEW = ISSUER.issue(ENC, organisation=OURS, days=(-5, 900))
COMING = ISSUER.issue(ENC, organisation=OURS, days=(5, 900))


@pytest.mark.parametrize(
    ("at", "chosen"),
    [(NOW - 6 * DAY, OLD), (NOW - 5 * DAY, NEW), (NOW, NEW), (NOW + 6 * DAY, COMING), (NOW + 899 * DAY, COMING)],
)
def test_the_newest_valid_one_sends(at: datetime, chosen: x509.Certificate) -> None:
    trust = replace(TRUST, crls=())
    for order in ([OLD, NEW, COMING], [COMING, NEW, OLD]):
        assert newest(order, ENC, at, HOLDER, trust) == chosen


def test_a_newest_one_that_was_revoked_does_not_send() -> None:
    assert newest([OLD, NEW], ENC, NOW, HOLDER, _revoking(NEW)) == OLD
    with pytest.raises(WrongUse, match="none of 2 encryption certificates of HER-id 94378") as caught:
        newest([OLD, NEW], ENC, NOW + 2000 * DAY, HOLDER, TRUST)
    assert caught.value.where.count("it ended") == 2
    with pytest.raises(WrongUse, match="no signing certificate for HER-id 94378"):
        newest([], SIG, NOW, HOLDER, TRUST)


@pytest.mark.parametrize(
    ("days", "warning"),
    [(61, None), (60, 60), (31, 60), (30, 30), (8, 30), (7, 7), (0, 7), (-1, 0), (-400, 0)],
)
def test_warnings_before_it_runs_out(days: int, warning: int | None) -> None:
    at = GOOD.not_valid_after_utc - timedelta(days=days)
    assert days_left(GOOD, at) == days
    assert expiry_warning(GOOD, at) == warning
    assert expiry_warning(GOOD, GOOD.not_valid_after_utc + timedelta(seconds=1)) == 0
