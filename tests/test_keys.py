"""Our own keys from files and programs, and what the doctor says of them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from authority import DAY, Authority, key_of, pem, private_file, private_pem
from conftest import ROOT as PROJECT
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from pydantic import ValidationError
from servers import wanting

from pipelines.commands.certificate_lines import certificate_lines
from pipelines.parties.keys import key_pair, own_signer, reading_keys, trust_of
from pipelines.settings import Settings, load_settings
from schemas.config import Certificates, KeyFile
from schemas.errors import WrongUse
from transforms.shipping.certificates import Purpose
from transforms.shipping.cms import decrypt, encrypt

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
CA = Authority.root("Test root", NOW)
KEY = key_of("party")
ORGANISATION = "900000014"
SIGNING = CA.issue(Purpose.SIGNING, organisation=ORGANISATION)
SECRET = b"a secret of this test"


def _p12(path: Path, password: bytes = SECRET) -> Path:
    content = pkcs12.serialize_key_and_certificates(
        b"own", KEY, SIGNING, [CA.certificate], BestAvailableEncryption(password)
    )
    return private_file(path, content)


@pytest.fixture
def settings(tmp_path: Path) -> Callable[[str], Settings]:
    """Settings of the sample with other certificates, towards production."""

    def made(section: str) -> Settings:
        text = (PROJECT / "npr.toml").read_text(encoding="utf-8").replace('"rehearsal" ', '"production" ')
        (tmp_path / "npr.toml").write_text(f"{text}\n[certificates]\n{section}\n", encoding="utf-8")
        return load_settings(config=tmp_path / "npr.toml", home=tmp_path / "var")

    return made


def test_a_key_from_pkcs12_from_pem_and_from_two_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWN_PASSWORD", SECRET.decode())
    password = private_file(tmp_path / "password", SECRET + b"\n")
    one = private_file(tmp_path / "one.pem", private_pem(KEY) + pem(CA.certificate, SIGNING))
    alone = private_file(tmp_path / "key.pem", private_pem(KEY))
    (tmp_path / "certificate.pem").write_bytes(pem(CA.certificate, SIGNING))
    ways = [
        KeyFile(file=_p12(tmp_path / "own.p12"), password_env="OWN_PASSWORD"),
        KeyFile(file=_p12(tmp_path / "own.p12"), password_file=password),
        KeyFile(file=one),
        KeyFile(file=alone, certificate=tmp_path / "certificate.pem"),
    ]
    for way in ways:
        pair = key_pair(way)
        assert pair.certificate == SIGNING
        assert pair.key.private_numbers() == KEY.private_numbers()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.chmod(0o640), "others may read it \\(mode 0640\\)"),
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: path.write_bytes(b"no key"), "cannot be opened"),
        (lambda path: _p12(path, b"another"), "cannot be opened"),
        (lambda path: path.write_bytes(private_pem(KEY)), "no certificate belongs to its key"),
        (lambda path: path.write_bytes(private_pem(KEY) + pem(CA.certificate)), "no certificate belongs to its key"),
        (
            lambda path: path.write_bytes(
                ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            ),
            "no RSA key|cannot be opened",
        ),
    ],
    ids=["mode", "gone", "nonsense", "password", "no certificate", "other certificate", "not RSA"],
)
def test_keys_that_will_not_do(tmp_path: Path, spoil: Callable[[Path], object], reason: str) -> None:
    path = _p12(tmp_path / "own.p12")
    password = private_file(tmp_path / "password", SECRET)
    spoil(path)
    plain = path.exists() and path.read_bytes().startswith(b"-----BEGIN")
    with pytest.raises(WrongUse, match=reason) as caught:
        key_pair(KeyFile(file=path, password_file=None if plain else password))
    assert SECRET.decode() not in str(caught.value)


def test_a_password_that_is_not_there_or_open_to_others(tmp_path: Path) -> None:
    path = _p12(tmp_path / "own.p12")
    with pytest.raises(WrongUse, match="the environment has no NOT_SET_IN_TESTS"):
        key_pair(KeyFile(file=path, password_env="NOT_SET_IN_TESTS"))
    password = private_file(tmp_path / "password", SECRET)
    password.chmod(0o644)
    with pytest.raises(WrongUse, match="others may read it"):
        key_pair(KeyFile(file=path, password_file=password))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, "either file or command"),
        ({"file": "a", "command": ["b"]}, "either file or command"),
        ({"command": ["b"]}, "command needs certificate"),
        ({"file": "a", "password_env": "A", "password_file": "b"}, "either password_env or password_file"),
    ],
)
def test_key_settings_that_contradict_themselves(given: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        KeyFile.model_validate(given)


def test_a_program_signs_with_a_key_we_never_see(tmp_path: Path, settings: Callable[[str], Settings]) -> None:
    if shutil.which("openssl") is None:
        wanting("openssl")
    key = private_file(tmp_path / "key.pem", private_pem(KEY))
    (tmp_path / "certificate.pem").write_bytes(pem(SIGNING))
    unit = settings("").config.units["nordfjell"]

    def by(*command: str) -> Certificates:
        return Certificates(signing=(KeyFile(command=command, certificate=tmp_path / "certificate.pem"),))

    signer = own_signer(unit, by("openssl", "dgst", "-sha256", "-sign", str(key)), NOW)
    inside = own_signer(unit, Certificates(signing=(KeyFile(file=key, certificate=tmp_path / "certificate.pem"),)), NOW)
    assert signer is not None
    assert inside is not None
    assert signer.sign(b"data") == inside.sign(b"data")
    private_file(tmp_path / "other.pem", private_pem(key_of("other")))
    for command, reason in (
        (("openssl", "dgst", "-sha256", "-sign", str(tmp_path / "other.pem")), "does not sign with the key"),
        (("openssl", "dgst", "-sha512", "-sign", str(key)), "does not sign with the key"),
        (("false",), "ended with 1"),
        (("/no/such/program",), "cannot be run"),
    ):
        wrong = own_signer(unit, by(*command), NOW)
        assert wrong is not None
        with pytest.raises(WrongUse, match=reason):
            wrong.sign(b"data")


def test_old_and_new_key_both_read_and_the_newer_signs(tmp_path: Path, settings: Callable[[str], Settings]) -> None:
    files = []
    for name, days in (("old", (-900, 10)), ("new", (-3, 900))):
        key = key_of(name)
        both = [CA.issue(purpose, organisation=ORGANISATION, key=key, days=days) for purpose in Purpose]
        files.append(private_file(tmp_path / f"{name}.pem", private_pem(key)))
        for certificate, purpose in zip(both, Purpose, strict=True):
            (tmp_path / f"{name}-{purpose.value}.pem").write_bytes(pem(certificate))
    keys = {
        kind: "["
        + ", ".join(f'{{ file = "{n}.pem", certificate = "{n}-{p.value}.pem" }}' for n in ("old", "new"))
        + "]"
        for kind, p in (("signing", Purpose.SIGNING), ("reading", Purpose.ENCRYPTION))
    }
    (tmp_path / "ca.pem").write_bytes(pem(CA.certificate))
    (tmp_path / "ca.crl").write_bytes(CA.crl().public_bytes(Encoding.DER))
    section = "\n".join([*(f"{k} = {v}" for k, v in keys.items()), 'trust = ["ca.pem"]', 'crl = ["ca.crl"]'])
    config = settings(section).config
    given, unit = config.certificates, config.units["nordfjell"]
    signer = own_signer(unit, given, NOW)
    assert signer is not None
    assert signer.certificate.public_key() == key_of("new").public_key()
    before = own_signer(unit, given.model_copy(update={"crl": ()}), NOW - 4 * DAY)
    assert before is not None
    assert before.certificate.public_key() == key_of("old").public_key()
    for pair in reading_keys(given):
        assert decrypt(encrypt(b"answer", pair.certificate), reading_keys(given)) == b"answer"
    with pytest.raises(WrongUse, match="belongs to organisation 900000014, and HER-id 900004"):
        own_signer(config.units["sorvik"], given, NOW)
    assert own_signer(unit, Certificates(), NOW) is None


@pytest.mark.parametrize(
    ("content", "field", "reason"),
    [
        (b"x", "trust", "no certificate"),
        (b"x", "crl", "no CRL"),
        (b"x", "ocsp", "no OCSP response"),
        (None, "trust", "read"),
    ],
)
def test_files_of_others_that_will_not_do(tmp_path: Path, content: bytes | None, field: str, reason: str) -> None:
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WrongUse, match=reason):
        trust_of(Certificates.model_validate({field: [path]}))


@pytest.mark.parametrize(
    ("left", "state", "text"),
    [
        (61, "ok", "valid for 61 days"),
        (60, "warning", "valid for 60 days"),
        (30, "warning", "valid for 30 days"),
        (7, "warning", "valid for 7 days"),
        (-1, "wrong", "it ended"),
    ],
)
@pytest.mark.parametrize(
    ("check", "key", "purpose"),
    [("receiver", "receiver", Purpose.ENCRYPTION), ("receiver signing", "receiver_signing", Purpose.SIGNING)],
)
def test_the_doctor_looks_at_the_receivers_certificates(  # noqa: PLR0913, PLR0917 - two tables
    tmp_path: Path,
    settings: Callable[[str], Settings],
    left: int,
    state: str,
    text: str,
    check: str,
    key: str,
    purpose: Purpose,
) -> None:
    strong = key_of("strong", 3072)
    certificate = CA.issue(purpose, organisation=ORGANISATION, key=strong)
    (tmp_path / "npr.pem").write_bytes(pem(certificate))
    (tmp_path / "ca.pem").write_bytes(pem(CA.certificate))
    at = certificate.not_valid_after_utc - timedelta(days=left)
    fresh = Authority(CA.certificate, CA.key, at)
    (tmp_path / "ca.crl").write_bytes(fresh.crl().public_bytes(Encoding.PEM))
    section = f'{key} = ["npr.pem"]\ntrust = ["ca.pem"]\ncrl = ["ca.crl"]\nreceiver_organisations = ["900000014"]'
    lines = list(certificate_lines(settings(section), at))
    (line,) = [line for line in lines if line["check"] == check]
    assert line["state"] == state
    assert "HER-id 94378" in line["what"]
    assert text in line["what"]
    assert ("renew" in line["fix"]) == (state != "ok")
    assert {line["state"] for line in lines if line["check"].startswith("signing")} == {"warning"}


def test_the_doctor_says_what_is_missing_or_cannot_be_read(tmp_path: Path, settings: Callable[[str], Settings]) -> None:
    def receiver(section: str) -> dict[str, str]:
        return next(line for line in certificate_lines(settings(section), NOW) if line["check"] == "receiver")

    assert receiver("")["state"] == "wrong"
    assert receiver('receiver = ["none.pem"]')["state"] == "wrong"
    assert receiver('address_register = "https://cpapi.invalid"')["state"] == "ok"
    (tmp_path / "npr.pem").write_bytes(pem(CA.issue(Purpose.ENCRYPTION)))
    line = receiver('receiver = ["npr.pem"]')
    assert line["state"] == "warning"
    assert re.search("chain not checked.*revocation not checked.*fewer than 3072 bits", line["what"])
