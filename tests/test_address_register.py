"""The Address Register, asked over HTTP: a stand-in that answers as NHN's does, on this machine."""

from __future__ import annotations

import base64
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import ledgers
import pytest
from authority import Authority, key_of, pem, private_file, private_pem
from channels import dressed
from conftest import ROOT
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from edi20_server import Room, Server, running
from joserfc.jwk import RSAKey

from assets.ports import NotHandedOver, Options, Run
from pipelines.channels import channel_of
from pipelines.commands.certificate_lines import certificate_lines
from pipelines.home.store import DiskStore
from pipelines.ledger.book import ledger_of
from pipelines.parties.address_register import MOST_BYTES, AddressRegister
from pipelines.settings import Settings, load_settings
from pipelines.workbench import DiskWorkbench
from schemas.errors import DataRefused, WrongUse
from transforms.shipping.certificates import Purpose

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
CERTIFICATE = Authority.root("Test root", NOW).issue(Purpose.ENCRYPTION)
PARTY = {
    "herId": 94378,
    "name": "NPR",
    "type": "Service",
    "serviceDetails": {"parentOrganization": {"organizationDetails": {"organizationNumber": 900000014}}},
    "ediAddress": "npr@edi.nhn.no",
    "validFrom": "2020-01-01T00:00:00",
    "validTo": None,
    "unheardOf": {},
}


def _told(certificate: x509.Certificate) -> dict[str, str]:
    return {
        "thumbprint": certificate.fingerprint(hashes.SHA1()).hex().upper(),  # noqa: S303 - as the register does
        "certificateValue": base64.b64encode(certificate.public_bytes(Encoding.DER)).decode(),
    }


@dataclass
class StandIn:
    """answers: path -> status and body. asked: what was asked for, with its Authorization header."""

    url: str = ""
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)


@pytest.fixture
def register() -> Iterator[StandIn]:
    stand_in = StandIn(
        answers={
            "/api/v1/communicationparty/94378": (200, PARTY),
            "/api/v1/certificate/94378/encryption": (200, _told(CERTIFICATE)),
        }
    )

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            stand_in.asked.append((self.path, self.headers.get("Authorization", "")))
            status, body = stand_in.answers.get(self.path, (404, {}))
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        stand_in.url = f"http://127.0.0.1:{server.server_port}"
        yield stand_in
        server.shutdown()


def _at(register: StandIn, home: Path, now: datetime = NOW) -> AddressRegister:
    return AddressRegister(register.url, DiskStore(home), now=lambda: now)


def test_a_party_and_its_certificate(register: StandIn, home: Path) -> None:
    asked = _at(register, home)
    party = asked.party("94378")
    assert (party.name, party.edi_address, party.organisation) == ("NPR", "npr@edi.nhn.no", "900000014")
    assert asked.certificate("94378", Purpose.ENCRYPTION) == CERTIFICATE
    assert register.asked[0] == ("/api/v1/communicationparty/94378", "")


def test_an_answer_is_kept_for_twelve_hours_and_no_longer(register: StandIn, home: Path) -> None:
    for hours, times in ((0, 1), (1, 1), (11.9, 1), (12, 2), (13, 2), (24.1, 3)):
        found = _at(register, home, NOW + timedelta(hours=hours)).certificate("94378", Purpose.ENCRYPTION)
        assert found == CERTIFICATE
        assert len(register.asked) == times
    register.answers.clear()
    with pytest.raises(DataRefused, match="404"):  # an old answer never stands in for a new one
        _at(register, home, NOW + timedelta(hours=40)).certificate("94378", Purpose.ENCRYPTION)
    (home / "address-register" / "certificate-94378-encryption.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataRefused, match="404"):
        _at(register, home).certificate("94378", Purpose.ENCRYPTION)


def test_answers_of_another_register_are_not_used(register: StandIn, home: Path) -> None:
    _at(register, home).certificate("94378", Purpose.ENCRYPTION)
    with pytest.raises(DataRefused, match="cannot be asked for HER-id 94378: ConnectError"):
        AddressRegister("http://127.0.0.1:9", DiskStore(home), now=lambda: NOW).certificate("94378", Purpose.ENCRYPTION)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (401, {}, "wants an access token"),
        (403, {}, "does not let this client in"),
        (404, {}, "does not know it"),
        (500, {}, "cannot answer now"),
        (302, {}, "cannot answer now"),
        (200, b"<html>", "not what its description says"),
        (200, [], "not what its description says"),
        (200, {"thumbprint": "00", "certificateValue": "AAAA"}, "not what its description says"),
        (200, _told(CERTIFICATE) | {"thumbprint": "00" * 20}, "not what its description says"),
        (200, b" " * (MOST_BYTES + 1), "not what its description says"),
    ],
)
def test_answers_that_will_not_do(register: StandIn, home: Path, status: int, body: object, reason: str) -> None:
    register.answers["/api/v1/certificate/94378/encryption"] = (status, body)
    with pytest.raises(DataRefused, match=reason) as caught:
        _at(register, home).certificate("94378", Purpose.ENCRYPTION)
    assert "94378" in caught.value.what


# --- with a token, as NHN's register wants one ------------------------------------------------------------------------


@pytest.fixture
def helseid() -> Iterator[tuple[Server, Room]]:
    """HelseID and a register that asks for its tokens; they are strict, see test_edi20."""
    with running(RSAKey.import_key(private_pem(key_of("helseid")))) as server:
        room = server.rooms["register"]
        room.scope = "nhn:cp-api/access-v2-dpop"
        room.register = {
            "api/v1/communicationparty/94378": PARTY,
            "api/v1/certificate/94378/encryption": _told(CERTIFICATE),
        }
        yield server, room


def _settings(server: Server, folder: Path, scope: str = "", profile: str = "production") -> Settings:
    url = server.url("register")
    private_file(folder / "client.pem", private_pem(key_of("helseid")))
    lines = [
        "[certificates]",
        f'address_register = "{url}"',
        "[certificates.address_register_client]",
        f'token_url = "{url}/connect/token"',
        'client_id = "npr-client"',
        'key = "client.pem"',
        *([f'scope = "{scope}"'] if scope else []),
    ]
    text = (ROOT / "npr.toml").read_text(encoding="utf-8")
    (folder / "npr.toml").write_text("\n".join([text, *lines]), encoding="utf-8")
    return load_settings(config=folder / "npr.toml", home=folder / "var", profile=profile)


def test_the_register_is_asked_with_a_token_of_its_own_client(helseid: tuple[Server, Room], tmp_path: Path) -> None:
    server, room = helseid
    settings = _settings(server, tmp_path)
    asked = AddressRegister.of(settings.config.certificates, DiskStore(settings.home))
    assert asked
    assert asked.party("94378").edi_address == "npr@edi.nhn.no"
    room.revoked |= set(room.tokens)
    room.nonce = "of-the-register"
    assert asked.certificate("94378", Purpose.ENCRYPTION) == CERTIFICATE
    assert room.refused == ["400 use_dpop_nonce", "400 use_dpop_nonce", "401 use_dpop_nonce"]
    lines = {line["check"]: line for line in certificate_lines(settings, datetime.now(UTC))}
    assert (lines["address register"]["state"], "gives a token" in lines["address register"]["what"]) == ("ok", True)


def test_without_a_token_the_register_says_nothing(helseid: tuple[Server, Room], tmp_path: Path) -> None:
    server, room = helseid
    with pytest.raises(DataRefused, match="wants an access token") as caught:
        AddressRegister(server.url("register"), DiskStore(tmp_path)).party("94378")
    assert "address_register_client" in caught.value.fix
    settings = _settings(server, tmp_path, scope="nhn:msh/api")
    asked = AddressRegister.of(settings.config.certificates, DiskStore(settings.home))
    assert asked
    with pytest.raises(DataRefused, match=r"gives no DPoP token to client npr-client \(HTTP 400\)"):
        asked.party("94378")
    assert room.refused[-1] == "400 scope"
    lines = {line["check"]: line for line in certificate_lines(settings, datetime.now(UTC))}
    assert lines["address register"]["state"] == "wrong"
    bare = settings.config.certificates.model_copy(update={"address_register_client": None})
    without = Settings(settings.config.model_copy(update={"certificates": bare}), settings.home, settings.path)
    lines = {line["check"]: line for line in certificate_lines(without, datetime.now(UTC))}
    assert lines["address register"]["state"] == "warning"


def test_a_client_that_asks_nothing_is_refused(helseid: tuple[Server, Room], tmp_path: Path) -> None:
    _settings(helseid[0], tmp_path)
    file = tmp_path / "npr.toml"
    text = "\n".join(line for line in file.read_text(encoding="utf-8").splitlines() if "address_register =" not in line)
    file.write_text(text, encoding="utf-8")
    with pytest.raises(WrongUse, match="settings are wrong") as caught:
        load_settings(config=file, home=tmp_path / "var")
    assert "needs address_register" in caught.value.where


def test_a_channel_that_mails_goes_by_the_registers_address(register: StandIn, home: Path) -> None:
    """A mail to another address than HER-id 94378 has today stays; with the right one only the line is missing."""
    given = f'address_register = "{register.url}"'
    text = '[channels.mail]\nkind = "ebxml-smtp"\nprofiles = ["production"]\nhost = "localhost"\nport = 9\n'
    settings = ledgers.settings(home, "production", f"{text}[certificates]\n{given}")
    store, ledger = DiskStore(home), ledger_of(home)
    for to, reason in (("old@edi.nhn.no", "another mail address than HER-id 94378"), ("NPR@edi.nhn.no", "refused")):
        made = ledgers.prepared(ledger, home, inputs=to, profile="production")
        made = made.model_copy(update={"snapshot": made.snapshot.model_copy(update={"environment": "production"})})
        made = dressed(made, store, addresses=("unit@edi.nhn.no", to))
        path = store.shipments(made.key, made.submission) / made.shipments[0].path
        with pytest.raises(NotHandedOver, match=reason):
            channel_of(settings.config, "nordfjell", store).hand_over(made.shipments[0], path, made)
    register.answers["/api/v1/certificate/94378/encryption"] = (200, _told(CERTIFICATE))
    bench = DiskWorkbench(settings, Options())
    assert bench._mail_of_receiver(settings.config.certificates, "94378") == "npr@edi.nhn.no"
    without = settings.config.model_copy(update={"channels": {}})
    bench = DiskWorkbench(Settings(without, home, settings.path), Options())
    assert bench._mail_of_receiver(settings.config.certificates, "94378") == ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"herId": 1}, "not what its description says"),
        ({"validTo": "2026-03-01T00:00:00"}, "not in force"),
        ({"validFrom": "2026-03-09T00:00:00+01:00"}, "not in force"),
    ],
)
def test_parties_that_will_not_do(register: StandIn, home: Path, change: dict[str, object], reason: str) -> None:
    register.answers["/api/v1/communicationparty/94378"] = (200, PARTY | change)
    with pytest.raises(DataRefused, match=reason):
        _at(register, home).party("94378")
    with pytest.raises(WrongUse, match="a HER-id is a number"):
        _at(register, home).party("../94378")


def test_a_run_asks_the_register_where_no_file_is_given(register: StandIn, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    issuer = Authority.root("Test root", now)
    certificate = issuer.issue(Purpose.ENCRYPTION, organisation="900000014")
    signing = issuer.issue(Purpose.SIGNING, organisation="900000014")
    register.answers["/api/v1/certificate/94378/encryption"] = (200, _told(certificate))
    (tmp_path / "ca.pem").write_bytes(pem(issuer.certificate))
    private_file(tmp_path / "own.pem", private_pem(key_of("party")) + pem(signing))

    def opened(organisation: str, profile: str = "production") -> Run:
        lines = [
            "[certificates]",
            'signing = [{ file = "own.pem" }]',
            f'address_register = "{register.url}"',
            f'receiver_organisations = ["{organisation}"]',
            'receiver_mail = "npr@edi.nhn.no"',
            'trust = ["ca.pem"]',
        ]
        text = (ROOT / "npr.toml").read_text(encoding="utf-8")
        (tmp_path / "npr.toml").write_text("\n".join([text, *lines]), encoding="utf-8")
        settings = load_settings(config=tmp_path / "npr.toml", home=tmp_path / "var", profile=profile)
        return DiskWorkbench(settings, Options()).open("2020-T1|nordfjell")

    run = opened("900000014")
    receiver, found = run.receiver()
    assert (receiver.unit_her_id, receiver.mail, found) == ("94378", "npr@edi.nhn.no", certificate)
    signer = run.signer()
    assert signer is not None
    assert signer.certificate == signing
    with pytest.raises(
        WrongUse, match=r"HER-id 94378 .* belongs to organisation 900000014, and HER-id 94378 to 900000022"
    ):
        opened("900000022").receiver()
    with pytest.raises(DataRefused, match="HER-id 121017: the Address Register does not know it"):
        opened("900000014", "validation").receiver()
    issuer_of_another = Authority.root("Test stranger", now)
    strange = issuer_of_another.issue(Purpose.ENCRYPTION, organisation="900000014")
    register.answers["/api/v1/certificate/94378/encryption"] = (200, _told(strange))
    assert run.receiver()[1] == certificate  # kept
    shutil.rmtree(tmp_path / "var" / "address-register")
    with pytest.raises(WrongUse, match="its chain does not lead to a CA that is trusted"):
        run.receiver()
