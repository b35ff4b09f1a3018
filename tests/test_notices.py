"""Notices to a real web server and a real mail server: what is said, how, and what happens when one is down."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import servers
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session
from authority import key_of, private_pem
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from ledgers import NOW
from ledgers import settings as sample_settings
from pydantic import ValidationError

from pipelines.scheduling.agenda import Unknown
from pipelines.scheduling.notices import pending, tell
from pipelines.scheduling.status import Status
from pipelines.settings import Settings
from schemas.config import Mail, Notify
from transforms.scheduling.matrix import WORDS, Cell

CELL = Cell(
    period="2020-T1",
    unit="sorvik",
    module="ord",
    submission=1,
    number=1,
    state="blocked",
    ledger="prepared",
    findings=12,
    deadline="2020-05-05",
    send_by="2020-05-04",
    days_left=-1,
    standing="due",
    colour="missed",
    next="",
)
CELL_RECORD = {name: getattr(CELL, name) for name in Cell.__dataclass_fields__}
PASSWORD = "not in any log"


def seen(*cells: Cell) -> Status:
    return Status([], [], cells, NOW, NOW.date())


def with_notify(home: Path, **given: Any) -> Settings:  # noqa: ANN401 - of schemas.config.Notify
    found = sample_settings(home)
    return Settings(found.config.model_copy(update={"notify": Notify(**given)}), home, found.path)


# --- servers


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for this machine, trusted by nobody, with its key in one file."""
    key, name = key_of("notices"), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    place = tmp_path_factory.mktemp("certificate") / "server.pem"
    place.write_bytes(made.public_bytes(Encoding.PEM) + private_pem(key))
    return place


@dataclass
class Web:
    """A web server: what it was sent, and what it answers."""

    url: str = ""
    status: int = 204
    bodies: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def web(certificate: Path | None = None) -> Iterator[Web]:
    found = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.headers["Content-Type"] == "application/json"
            found.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(found.status)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Silent."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        found.url = f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}/npr"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Post:
    """A mail server: what it took, from whom it takes, and whom it refuses."""

    port: int = 0
    mails: list[tuple[list[str], Message]] = field(default_factory=list)
    refused: tuple[str, ...] = ()
    encrypted: list[bool] = field(default_factory=list)

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, _server: object, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address in self.refused:
            return "550 nobody here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: object, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        self.encrypted.append(session.ssl is not None)
        self.mails.append((list(envelope.rcpt_tos), message_from_bytes(envelope.content)))
        return "250 taken"


@contextmanager
def post(certificate: Path | None = None) -> Iterator[Post]:
    found = Post()
    more: dict[str, Any] = {}
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)

        def authenticator(_server: object, _session: object, _envelope: object, _kind: str, data: object) -> AuthResult:
            good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"npr", PASSWORD.encode())
            return AuthResult(success=good, handled=good)

        more = {"tls_context": context, "auth_required": True, "authenticator": authenticator}
    server = Controller(found, hostname="127.0.0.1", port=servers._free_port(), **more)
    server.start()
    try:
        found.port = server.port
        yield found
    finally:
        server.stop()


def mail_to(port: int, **more: Any) -> Mail:  # noqa: ANN401 - of schemas.config.Mail
    given = {"host": "127.0.0.1", "port": port, "sender": "npr@hospital.example", "to": ("ops@hospital.example",)}
    return Mail.model_validate(given | more)


# --- what is said


def test_a_webhook_is_told_counts_and_reports_and_nothing_else(home: Path) -> None:
    with web() as server:
        settings = with_notify(home, webhook=server.url)
        calm = Cell(**{**CELL_RECORD, "unit": "nordfjell", "state": "prepared", "colour": "green", "findings": 0})
        assert tell(settings, seen(CELL, calm)) == "webhook: told"
        assert server.bodies == [
            {
                "profile": "rehearsal",
                "red": 1,
                "counts": {"blocked": 1, "prepared": 1},
                "attention": ["missed: 2020-T1 sorvik, submission 1: blocked by 12 findings, due 2020-05-05"],
            }
        ]


def test_every_word_of_a_notice_is_ours_or_a_key(home: Path) -> None:
    """Nothing of a row can be in it: digits stand in dates, periods and counts alone."""
    with web() as server:
        cells = [Cell(**{**CELL_RECORD, "state": word, "colour": "red"}) for word in WORDS]
        tell(with_notify(home, webhook=server.url), seen(*cells))
        (body,) = server.bodies
    report = r"(amber|red|missed|green): \d{4}-[MTAK]\d{0,2} sorvik, submission [12]"
    said = report + r": [a-z ]+(by \d+ findings|for \d+ hours)?, due \d{4}-\d\d-\d\d"
    assert all(re.fullmatch(said, line) for line in body["attention"])
    assert {re.sub(r" for \d+ hours$", "", word) for word in body["counts"]} <= set(WORDS)


@pytest.mark.parametrize(("alarm", "colour", "red"), [(True, "red", 1), (False, "amber", 0)])
def test_a_notice_says_what_no_calendar_says(alarm: bool, colour: str, red: int, home: Path) -> None:  # noqa: FBT001
    lost = Unknown(("17 deadlines of 2026 are in no table: npr calendar propose 2026",), 17, alarm)
    with web() as server:
        tell(with_notify(home, webhook=server.url), replace(seen(), unknown=lost))
        (body,) = server.bodies
    assert body["attention"] == [f"{colour}: 17 deadlines of 2026 are in no table: npr calendar propose 2026"]
    assert body["red"] == red


def test_the_same_is_told_once_and_news_again(home: Path) -> None:
    with web() as server:
        settings = with_notify(home, webhook=server.url)
        assert tell(settings, seen(CELL)) == "webhook: told"
        assert tell(settings, seen(CELL)) == "nothing changed since the last notice"
        later = Cell(**{**CELL_RECORD, "findings": 11})
        assert tell(settings, seen(later)) == "webhook: told"
        assert len(server.bodies) == 2


def test_a_mail_says_the_same_in_words(home: Path) -> None:
    with post() as server:
        settings = with_notify(home, mail=mail_to(server.port, to=("a@h.example", "b@h.example")))
        assert tell(settings, seen(CELL)) == "mail: told"
        ((to, message),) = server.mails
        assert to == ["a@h.example", "b@h.example"]
        assert message["From"] == "npr@hospital.example"
        assert message["Subject"] == "NPR reports: 1 need attention, 1 red"
        assert message["Date"]
        text = message.get_payload()
        assert "missed: 2020-T1 sorvik, submission 1: blocked by 12 findings, due 2020-05-05" in text
        assert "1 messages: blocked" in text


# --- TLS and login


def test_a_mail_goes_by_starttls_and_login_where_settings_say_so(
    home: Path, tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(PASSWORD + "\n", encoding="utf-8")
    secret.chmod(0o600)
    with post(certificate) as server:
        given = {"starttls": True, "ca": certificate, "user": "npr"}
        settings = with_notify(home, mail=mail_to(server.port, **given, password_file=secret))
        assert tell(settings, seen(CELL)) == "mail: told"
        assert server.encrypted == [True]
        monkeypatch.setenv("NPR_TEST_MAIL", PASSWORD)
        named = with_notify(home, mail=mail_to(server.port, **given, password_env="NPR_TEST_MAIL"))
        assert tell(named, seen()) == "mail: told"
        assert len(server.mails) == 2


def test_no_password_goes_over_an_open_line() -> None:
    with pytest.raises(ValidationError, match="a password never goes over an open line"):
        mail_to(25, user="npr")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda given: given | {"ca": None}, "not sent (SSLCertVerificationError)"),
        (lambda given: given | {"user": None}, "not sent (SMTPSenderRefused)"),
        (lambda given: given | {"password_env": "NPR_TEST_WRONG"}, "not sent (SMTPAuthenticationError)"),
        (lambda given: given | {"password_env": "NPR_TEST_NONE"}, "NPR_TEST_NONE is not set"),
        (lambda given: given | {"password_env": "NPR_TEST_LETTERS"}, "user or password holds letters"),
        (lambda given: given | {"password_env": None, "password_file": Path("/nowhere/secret")}, "cannot be read"),
        (lambda given: given | {"password_env": None, "password_file": given["ca"]}, "chmod 600"),
    ],
)
def test_a_mail_server_that_says_no_is_told_of_and_stops_nothing(
    spoil: Callable[[dict[str, Any]], dict[str, Any]],
    why: str,
    home: Path,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NPR_TEST_MAIL", PASSWORD)
    monkeypatch.setenv("NPR_TEST_WRONG", "another")
    monkeypatch.setenv("NPR_TEST_LETTERS", "blåbær")
    certificate.chmod(0o644)
    with post(certificate) as server:
        given = spoil({"starttls": True, "ca": certificate, "user": "npr", "password_env": "NPR_TEST_MAIL"})
        settings = with_notify(home, mail=mail_to(server.port, **given))
        said = tell(settings, seen(CELL))
        assert said.startswith("mail: ")
        assert why in said
        assert said.endswith("the next look tries again")
        assert PASSWORD not in said
        assert server.mails == []


def test_a_webhook_by_tls_is_trusted_by_the_cas_of_the_machine(
    home: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with web(certificate) as server:
        settings = with_notify(home, webhook=server.url)
        assert tell(settings, seen(CELL)) == "webhook: not reached (ConnectError); the next look tries again"
        assert server.bodies == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))  # as an administrator adds a CA
        assert tell(settings, seen(CELL)) == "webhook: told"


@pytest.mark.parametrize("url", ["http://monitor.example/npr", "ftp://127.0.0.1/", "http://localhost.example/"])
def test_an_open_line_is_for_this_machine_alone(url: str) -> None:
    with pytest.raises(ValidationError):
        Notify(webhook=url)


# --- what is down


@pytest.mark.parametrize(("status", "why"), [(500, "answered 500"), (302, "answered 302")])
def test_a_webhook_that_does_not_take_it_is_asked_again(status: int, why: str, home: Path) -> None:
    with web() as server:
        server.status = status
        settings = with_notify(home, webhook=server.url)
        assert tell(settings, seen(CELL)) == f"webhook: {why}; the next look tries again"
        server.status = 200
        assert tell(settings, seen(CELL)) == "webhook: told"
        assert len(server.bodies) == 2


def test_a_webhook_that_is_down_does_not_mail_the_same_twice(home: Path) -> None:
    with post() as server:
        with web() as gone:
            pass
        settings = with_notify(home, webhook=gone.url, mail=mail_to(server.port))
        down = "webhook: not reached (ConnectError); the next look tries again"
        assert tell(settings, seen(CELL)) == f"{down}; mail: told"
        assert pending(settings)
        assert tell(settings, seen(CELL)) == down
        assert len(server.mails) == 1
        assert not pending(with_notify(home, mail=mail_to(server.port)))


def test_an_address_that_is_none_stops_nothing(home: Path) -> None:
    assert "not reached" in tell(with_notify(home, webhook="https://[1::/"), seen(CELL))


def test_one_recipient_refused_does_not_mail_the_others_again(home: Path) -> None:
    with post() as server:
        server.refused = ("gone@h.example",)
        settings = with_notify(home, mail=mail_to(server.port, to=("gone@h.example", "b@h.example")))
        assert tell(settings, seen(CELL)) == "mail: told, but 1 of 2 recipients were refused"
        assert tell(settings, seen(CELL)) == "nothing changed since the last notice"
        assert [to for to, _ in server.mails] == [["b@h.example"]]


def test_nobody_to_tell(home: Path) -> None:
    assert tell(sample_settings(home), seen(CELL)) == "nobody to tell: npr.toml has no [notify]"
