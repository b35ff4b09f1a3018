"""The channel that mails: against Debian's exim and dovecot, answered by a partner made of other people's tools."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import hashlib
import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from authority import Authority, key_of, pem, private_file, private_pem
from channels import BODY, document, dressed, parties
from conftest import ROOT, call
from cryptography import x509
from ledgers import NOW, T1, prepared, settings
from mail_servers import PASSWORD, USER, MailServers, running_mail
from partner import Partner
from servers import _free_port
from test_inbox import PASSWORD as ARCHIVE_PASSWORD
from test_inbox import csv_report, locked, mailed
from test_receipts import receipt

from assets.checkpoints import arm
from assets.dispatch import submit
from assets.ports import InDoubt, NotHandedOver, Rejected, Run
from pipelines.channels import channel_of
from pipelines.channels.ebxml_smtp import EbxmlSmtp, stuffed, whole_lines
from pipelines.exchange import sending
from pipelines.exchange.inbox import Report, mail_folder, take_in
from pipelines.home.store import DiskStore
from pipelines.ledger.book import SqlLedger, ledger_of
from pipelines.settings import Settings
from schemas.config import EbxmlSmtpSettings
from schemas.errors import DataRefused, NprError, WrongUse
from schemas.receipts import VERSIONS
from schemas.records import Manifest, ShipmentOut
from schemas.sending import Presence
from schemas.smtp import of_line, of_reply, outcomes
from schemas.submission_states import Event, State
from transforms.shipping.certificates import Purpose
from transforms.shipping.ebms import message_id_of
from transforms.shipping.packing import mail_id_of, outside

pytestmark = pytest.mark.xdist_group("mail")
FROM, TO = "edi@sender.invalid", "rehearsal@rehearsal.invalid"


@pytest.fixture(scope="module")
def mail() -> Iterator[MailServers]:
    with running_mail() as made:
        yield made


class Bench:
    """One submission of two parts, the mail servers, and a partner."""

    def __init__(self, home: Path, mail: MailServers, monkeypatch: pytest.MonkeyPatch) -> None:
        home.mkdir()
        monkeypatch.setenv("NPR_TEST_EDI", PASSWORD)
        self.home, self.mail = home, mail
        self.ledger: SqlLedger = ledger_of(home)
        self.partner = Partner(home.parent / "partner")
        self.address("edi@sender.invalid", TO)
        for name in ("edi", "rehearsal", "full", "gone"):
            mail.empty(name)

    def address(self, sender: str, to: str, body: bytes = BODY) -> None:
        """Dress the submission as mails between two addresses."""
        made = prepared(self.ledger, self.home, modules=("ord",))
        self.manifest = dressed(made, DiskStore(self.home), addresses=(sender, to), body=body)
        self.ledger.seal(self.manifest, self.manifest.created_at)

    @property
    def file(self) -> ShipmentOut:
        return self.manifest.shipments[0]

    @property
    def path(self) -> Path:
        return DiskStore(self.home).shipments(T1, 1) / self.file.path

    @property
    def ref(self) -> str:
        return message_id_of(self.file.msg_id)

    def settings(self, box: str = "", certificates: str = "", **changes: object) -> Settings:
        given = {"host": "localhost", "port": self.mail.smtps, "ca": self.mail.ca}
        given |= {"user": USER, "password_env": "NPR_TEST_EDI", **changes}
        given = {name: value for name, value in given.items() if value is not None}
        lines = [f'{name} = "{value}"' if name != "port" else f"port = {value}" for name, value in given.items()]
        signing = certificates or f'receiver_signing = ["{self.partner.certificate_file()}"]'
        text = "\n".join(
            [
                '[channels.mail]\nkind = "ebxml-smtp"\nprofiles = ["rehearsal"]',
                *lines,
                f'[channels.mail.mailbox]\nhost = "localhost"\nport = {self.mail.imaps}\nca = "{self.mail.ca}"',
                f'user = "{USER}"\npassword_env = "NPR_TEST_EDI"\n{box}',
                f"[certificates]\n{signing}",
            ]
        )
        return settings(self.home, channels=text)

    def channel(self, **changes: object) -> EbxmlSmtp:
        made = channel_of(self.settings(**changes).config, "nordfjell", DiskStore(self.home))  # type: ignore[arg-type]
        assert isinstance(made, EbxmlSmtp)
        return made

    def send(self, channel: EbxmlSmtp) -> str:
        return channel.hand_over(self.file, self.path, self.manifest).reference

    def run(self, **changes: object) -> Run:
        made = sending.run_of(self.settings(**changes), T1, "rehearsal")  # type: ignore[arg-type]
        return replace(made, guard=_passed)

    def submit(self, **changes: object) -> None:
        submit(self.run(**changes), 1)

    def state(self) -> State:
        return self.ledger.part(self.file.msg_id).state

    def look(self, box: str = "", **changes: object) -> Report:
        return take_in(self.settings(box, **changes), dt.datetime.now(dt.UTC))  # type: ignore[arg-type]

    def answered(self, *mails: bytes) -> None:
        for one in mails:
            self.mail.deliver(one, FROM)


def _passed(manifest: Manifest) -> None:
    """A guard that finds nothing: these parts hold no report."""
    assert manifest.shipments


@pytest.fixture
def bench(tmp_path: Path, mail: MailServers, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path / "var", mail, monkeypatch)


# --- the way there and back -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", ["tls", "starttls"])
def test_a_mail_arrives_as_it_is_and_its_acknowledgment_comes_back(bench: Bench, tls: str) -> None:
    port = bench.mail.smtps if tls == "tls" else bench.mail.smtp
    bench.submit(tls=tls, port=port)
    part = bench.ledger.part(bench.file.msg_id)
    assert part.state is State.HANDED_OVER
    assert part.reference.startswith(f"<{mail_id_of(bench.file.msg_id)}> OK id=")
    (arrived,) = bench.mail.wait_for("rehearsal", 1)
    assert arrived.endswith(bench.path.read_bytes().replace(b"\r\n", b"\n"))
    _, encrypts_to, ca = parties()
    opened = bench.partner.open(arrived, private_pem(key_of("receiver")), encrypts_to, ca)
    assert opened.document == document(bench.file.msg_id, "ord", "rehearsal")
    assert opened.ref == bench.ref
    bench.submit(tls=tls, port=port)  # what has left is left alone
    bench.answered(bench.partner.acknowledgment(opened.ref))
    report = bench.look()
    assert [(row["kind"], row["fate"]) for row in report.taken] == [("ebms acknowledgment", "taken")]
    assert bench.state() is State.ACKNOWLEDGED
    assert bench.look().taken == []
    assert len(bench.mail.mails("rehearsal")) == 1


def test_a_resend_is_the_same_mail_to_the_byte(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.submit()
    monkeypatch.setattr(sending, "insist_ready", lambda *_: None)  # no report stands behind these parts
    part = sending.resend(bench.settings(), bench.file.msg_id, "Kari", "no acknowledgment came")
    assert part.state is State.HANDED_OVER
    first, second = (one[one.index(b"From: ") :] for one in bench.mail.wait_for("rehearsal", 2))
    assert first == second
    assert b"Message-ID: <" + mail_id_of(bench.file.msg_id).encode() in first
    assert Event.RESEND in [one.event for one in bench.ledger.events(bench.file.msg_id)]


def test_encrypted_receipts_open_with_the_old_key_and_the_new(bench: Bench) -> None:
    bench.submit()
    ca = Authority.root("own", dt.datetime.now(dt.UTC))
    lines = []
    for version, name in zip(VERSIONS, ("new", "old"), strict=True):
        certificate = ca.issue(Purpose.ENCRYPTION, key=key_of(name))
        path = private_file(bench.home.parent / f"{name}.pem", private_pem(key_of(name)) + pem(certificate))
        lines.append(f'{{ file = "{path}" }}')
        told = receipt(version, original=f"<Id>{bench.file.msg_id}</Id>")
        bench.answered(bench.partner.answer(told, certificate))
    given = f'receiver_signing = ["{bench.partner.certificate_file()}"]\nreading = [{", ".join(lines)}]'
    report = bench.look(certificates=given)
    found = sorted((row["kind"], row["fate"], row["reason"]) for row in report.taken)
    assert found == [("apprec 1.0", "taken", ""), ("apprec 1.1", "taken", "")]
    assert bench.state() is State.RECEIVED


def test_a_report_leaves_and_its_receipts_come_back_by_the_command_line(
    tmp_path: Path, mail: MailServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sample's own report, from its extract to the acknowledgment; others' tools take apart what arrived."""
    monkeypatch.setenv("NPR_TEST_EDI", PASSWORD)
    mail.empty("edi")
    mail.empty("rehearsal")
    home, partner = tmp_path / "var", Partner(tmp_path / "partner")
    text = (ROOT / "npr.toml").read_text(encoding="utf-8").replace('"data/', f'"{ROOT}/data/')
    line = f'host = "localhost"\nca = "{mail.ca}"\nuser = "{USER}"\npassword_env = "NPR_TEST_EDI"\n'
    text += f'[channels.mail]\nkind = "ebxml-smtp"\nprofiles = ["rehearsal"]\n{line}port = {mail.smtps}\n'
    text += f"[channels.mail.mailbox]\n{line}port = {mail.imaps}\n"
    text += f'[certificates]\nreceiver_signing = ["{partner.certificate_file()}"]\n'
    (tmp_path / "npr.toml").write_text(text, encoding="utf-8")

    def npr(*args: str) -> Any:  # noqa: ANN401 - JSON
        outcome = call("--config", tmp_path / "npr.toml", *args, "--json", home=home)
        assert outcome.code == 0, outcome.err
        return outcome.json

    npr("prepare", "2020-M02", "--unit", "sorvik")
    parts = npr("submit", "2020-M02", "--unit", "sorvik", "--to", "rehearsal")["parts"]
    assert [part["state"] for part in parts] == ["handed_over"] * 2
    sender, key = (x509.load_pem_x509_certificate((home / "rehearsal" / f"{one}.pem").read_bytes()) for one in PARTIES)
    for arrived in mail.wait_for("rehearsal", 2):
        opened = partner.open(arrived, (home / "rehearsal" / "receiver-key.pem").read_bytes(), key, sender, at="now")
        assert opened.document.startswith(b"<?xml")
        assert b"<MsgHead" in opened.document
        mail.deliver(partner.acknowledgment(opened.ref, soap=opened.soap.read_bytes()), FROM)
    assert sorted(row["state"] for row in npr("inbox")["taken"]) == ["acknowledged"] * 2
    assert npr("resume")["states"] == {"acknowledged": 2}


PARTIES = ("sender", "receiver")


# --- what certainly did not go ----------------------------------------------------------------------------------------


REFUSALS: dict[str, tuple[dict[str, object], dict[str, Any], str, bool]] = {
    "unknown recipient": ({"to": "nobody@rehearsal.invalid"}, {}, "does not know the receiver's address", False),
    "too large for this sender": ({"sender": "small@sender.invalid"}, {}, "larger than the mail server takes", False),
    "too large by SIZE": ({"body": BODY * 2000}, {}, "the mail server takes 400000", False),
    "not now": ({"to": "busy@rehearsal.invalid"}, {}, "cannot take it now", True),
    "wrong password": ({}, {"user": "another"}, "does not let the user in", False),
    "other CA": ({}, {"ca": "other"}, "certificate is not taken: unable to get local issuer certificate", False),
    "no server": ({}, {"port": 9}, "refused", True),
}


def test_what_is_refused_before_the_mail_certainly_did_not_go(bench: Bench) -> None:
    other = bench.home.parent / "other.pem"
    other.write_bytes(pem(bench.partner.authority.certificate))
    part = bench.ledger.part(bench.file.msg_id)
    for name, (addressed, changes, message, retryable) in REFUSALS.items():
        bench.address(**{"sender": FROM, "to": TO} | addressed)  # type: ignore[arg-type]
        channel = bench.channel(**{key: other if key == "ca" else value for key, value in changes.items()})
        with pytest.raises(NotHandedOver, match=message) as refused:
            bench.send(channel)
        assert not isinstance(refused.value, Rejected), name
        assert refused.value.retryable is retryable, name
        assert PASSWORD not in str(refused.value)
        assert channel.ask(part).presence is Presence.ABSENT, name
    assert bench.mail.mails("rehearsal") == []
    with pytest.raises(NotHandedOver):
        bench.submit(port=9)
    assert bench.state() is State.NOT_SENT


def test_another_name_than_the_certificates_is_not_believed(bench: Bench) -> None:
    with pytest.raises(NotHandedOver, match="certificate is not taken: IP address mismatch"):
        bench.send(bench.channel(host="127.0.0.1"))


def test_what_the_server_refuses_after_the_whole_mail_is_rejected(bench: Bench) -> None:
    bench.address(FROM, "full@rehearsal.invalid")
    with pytest.raises(Rejected, match="refused it for its size"):
        bench.submit()
    assert bench.state() is State.REJECTED
    assert bench.channel().ask(bench.ledger.part(bench.file.msg_id)).presence is Presence.ABSENT
    bench.submit()  # a rejected part waits for a person
    assert bench.mail.mails("full") == []


def test_only_a_signed_mail_of_its_own_part_leaves(bench: Bench) -> None:
    whole = bench.path.read_bytes()
    manifest = prepared(bench.ledger, bench.home, modules=("ord", "ide"), inputs="y")
    other = dressed(manifest, DiskStore(bench.home)).shipments[1]
    bench.path.write_bytes((DiskStore(bench.home).shipments(T1, 2) / other.path).read_bytes())
    with pytest.raises(NotHandedOver, match="not the mail of its MsgId"):
        bench.send(bench.channel())
    bench.path.write_bytes(whole.replace(b"\r\n", b"\n"))
    with pytest.raises(NotHandedOver, match="lines that end with CRLF"):
        bench.send(bench.channel())
    bench.path.write_bytes(whole)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.channels.ebxml_smtp.is_signed", lambda _: False)
        with pytest.raises(NotHandedOver, match="is not signed"):
            bench.send(bench.channel())
    assert bench.mail.mails("rehearsal") == []


@pytest.mark.parametrize(("body", "line"), [(b"..a\r\n", b"...a\r\n"), (b"a\r\n.\r\nb\r\n", b"a\r\n..\r\nb\r\n")])
def test_dots_are_doubled_where_a_line_begins(body: bytes, line: bytes) -> None:
    assert stuffed(body) == line
    assert whole_lines(body)
    assert not any(whole_lines(bad) for bad in (body[:-2], body + b"\n", b"\r" + body, body.replace(b"\r", b"", 1)))


# --- doubt ------------------------------------------------------------------------------------------------------------


class Hostile:
    """A server that takes a mail and says nothing of it, or that goes away in the middle."""

    def __init__(self, *, reply: str = "") -> None:
        self.arrived: list[bytes] = []
        self.reply = reply

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802, ARG002
        assert isinstance(envelope.content, bytes)
        self.arrived.append(envelope.content)
        if not self.reply and isinstance(server.transport, asyncio.Transport):
            server.transport.abort()
            await asyncio.sleep(0)
        return self.reply


@contextmanager
def hostile(handler: Hostile, mail: MailServers) -> Iterator[int]:
    """The port of a server under TLS that is believed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(mail.ca.parent / "server.pem", mail.ca.parent / "dovecot.key")
    server = Controller(handler, hostname="127.0.0.1", port=_free_port(), ssl_context=context)
    server.start()
    try:
        yield server.port
    finally:
        server.stop(no_assert=True)


@pytest.mark.parametrize(("reply", "taken"), [("250 taken", True), ("451 4.3.0 come again", False)])
def test_dots_and_all_come_through_and_a_clear_answer_leaves_no_doubt(bench: Bench, reply: str, *, taken: bool) -> None:
    bench.path.write_bytes(bench.path.read_bytes() + b"\r\n.\r\n..a\r\nQUIT\r\n")  # after the last part of the mail
    handler = Hostile(reply=reply)
    with hostile(handler, bench.mail) as port:
        channel = bench.channel(port=port, **NO_LOGIN)
        if taken:
            bench.send(channel)
        else:
            with pytest.raises(NotHandedOver) as refused:
                bench.send(channel)
            assert refused.value.retryable
    assert handler.arrived == [bench.path.read_bytes()]
    presence = channel.ask(bench.ledger.part(bench.file.msg_id)).presence
    assert presence is (Presence.THERE if taken else Presence.ABSENT)


NO_LOGIN: dict[str, object] = {"user": None, "password_env": None}


@pytest.mark.parametrize("reply", ["", "421 4.3.2 going down"])
def test_an_answer_that_is_lost_leaves_doubt_until_the_acknowledgment(bench: Bench, reply: str) -> None:
    handler = Hostile(reply=reply)
    with hostile(handler, bench.mail) as port:
        with pytest.raises(InDoubt, match="after"):
            bench.submit(port=port, **NO_LOGIN)
        assert bench.state() is State.IN_DOUBT
        for _ in range(2):  # nobody sends it again
            with pytest.raises(InDoubt, match="not sent again"):
                bench.submit(port=port, **NO_LOGIN)
    assert handler.arrived == [bench.path.read_bytes()]
    found = sending.resume(bench.settings(), NOW)
    assert [row["state"] for row in found["in_doubt"]] == ["in_doubt"]
    assert "no acknowledgment and no bounce" in found["asked"][0]["said"]
    soap = outside(bench.path.read_bytes()).soap
    bench.answered(
        bench.partner.acknowledgment(bench.ref, key="forger"),
        bench.partner.acknowledgment(bench.ref, soap=_other(soap, 1)),
    )
    assert len(sending.resume(bench.settings(), NOW)["in_doubt"]) == 1
    bench.answered(bench.partner.acknowledgment(bench.ref, soap=soap))
    found = sending.resume(bench.settings(), NOW)
    assert (found["in_doubt"], found["asked"][0]["state"]) == ([], "acknowledged")
    fates = [row["fate"] for row in bench.look().taken]  # the same acknowledgment, now as an answer
    assert sorted(fates) == ["parked", "parked", "taken"]
    assert bench.state() is State.ACKNOWLEDGED


def test_a_line_that_breaks_before_the_final_dot_leaves_no_doubt(bench: Bench) -> None:
    part = bench.ledger.part(bench.file.msg_id)
    for point in ("smtp.connect", "smtp.envelope", "smtp.data", "smtp.body", "smtp.dot"):
        arm(fail=f"{point}#1:104")  # connection reset
        try:
            with pytest.raises(NotHandedOver) as refused:
                bench.send(bench.channel())
        finally:
            arm()
        assert refused.value.retryable
        assert bench.channel().ask(part).presence is Presence.ABSENT, point
    bench.send(bench.channel())
    assert len(bench.mail.wait_for("rehearsal", 1)) == 1


def test_a_bounce_proves_that_it_left_and_that_it_did_not_arrive(bench: Bench) -> None:
    bench.address(FROM, "gone@rehearsal.invalid")
    arm(fail="smtp.answered#1:104")
    try:
        with pytest.raises(InDoubt):
            bench.submit()
    finally:
        arm()
    bench.mail.wait_for("edi", 1)  # exim's own report
    assert sending.resume(bench.settings(), NOW)["asked"][0]["state"] == "rejected"
    report = bench.look()
    assert [(row["kind"], row["fate"]) for row in report.taken] == [("delivery report failed", "taken")]
    assert bench.state() is State.REJECTED


# --- answers ----------------------------------------------------------------------------------------------------------


def _beside(bench: Bench) -> bytes:
    """A good acknowledgment of something else, with an unsigned AppRec put beside it."""
    envelope = bench.partner.envelope("", "partner", ("p@partner", b"x"), action="AppRec")
    inside = receipt(original=f"<Id>{bench.file.msg_id}</Id>")
    return bench.partner.mail(envelope, ("p@partner", "text/plain", b"x"), ("q@partner", "text/xml", inside))


def _changed(bench: Bench) -> bytes:
    envelope = bench.partner.envelope("<x/>", "partner", action="Acknowledgment")
    told = f"<eb:Acknowledgment><eb:RefToMessageId>{bench.ref}</eb:RefToMessageId></eb:Acknowledgment>"
    return bench.partner.mail(envelope.replace(b"<x/>", told.encode()))


def _strange(bench: Bench) -> bytes:
    """A namespace by a relative name, of which there is no canonical form."""
    told = f"<eb:Acknowledgment><eb:RefToMessageId>{bench.ref}</eb:RefToMessageId></eb:Acknowledgment>"
    envelope = bench.partner.envelope(told, "partner", action="Acknowledgment")
    return bench.partner.mail(envelope.replace(b"<SOAP:Body", b'<SOAP:Body xmlns:z="a"'))


def test_good_news_by_mail_counts_only_when_it_was_locked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mail of anybody opened the gate to production: all that it had to know was the number of the part."""
    bench.submit()
    monkeypatch.setenv("NPR_FEEDBACK_PASSWORD", ARCHIVE_PASSWORD)
    clean = csv_report(bench.ledger.part(bench.file.msg_id).lopenr, rows="", total="Antall feil;0\n")
    for attached, name, fate, state in (
        (clean, "NPR_ERR.csv", "parked", State.HANDED_OVER),
        (locked(clean, aes=False), "a.zip", "known", State.HANDED_OVER),
        (locked(clean), "b.zip", "taken", State.ACCEPTED),
        (csv_report(bench.ledger.part(bench.file.msg_id).lopenr), "NPR_ERR.csv", "taken", State.CONTENT_ERRORS),
    ):
        bench.answered(mailed(attached, name))
        (row,) = bench.look().taken
        assert (row["fate"], bench.state()) == (fate, state), name
        assert (fate in {"parked", "known"}) == ("anybody may write that" in row["reason"])


FORGED: dict[str, tuple[Callable[[Bench], bytes], str]] = {
    "another key": (lambda b: b.partner.acknowledgment(b.ref, key="forger"), "another certificate than the receiver's"),
    "no signature": (lambda b: b.partner.acknowledgment(b.ref, signed=False), "not exactly one signature"),
    "changed": (_changed, "what was signed has been changed"),
    "strange": (_strange, "its signature is wrong"),
    "beside": (_beside, "leaves something out"),
    "no envelope": (
        lambda b: b.partner.mail(receipt(list(VERSIONS)[1], original=f"<Id>{b.file.msg_id}</Id>")),
        "without the signed envelope",
    ),
}


def test_a_receipt_that_is_not_the_receivers_is_parked_with_the_reason(bench: Bench) -> None:
    bench.submit()
    bench.answered(*(make(bench) for make, _ in FORGED.values()))
    report = bench.look()
    assert [row["fate"] for row in report.taken] == ["parked"] * len(FORGED)
    told = [row["reason"] for row in report.taken]
    for _, reason in FORGED.values():
        assert sum(reason in one for one in told) == 1, reason
    assert len(sending.resume(bench.settings(), NOW)["parked"]) == len(FORGED)  # and there they stay
    assert bench.state() is State.HANDED_OVER


def test_a_receipt_that_could_not_be_believed_counts_once_it_can(bench: Bench) -> None:
    """As when the receiver's new certificate is put in too late, and its handler sends the same receipt again."""
    bench.submit()
    mail = bench.partner.acknowledgment(bench.ref)
    old = bench.home.parent / "old.pem"
    old.write_bytes(pem(bench.partner.authority.issue(Purpose.SIGNING, key=key_of("old"))))
    fates = []
    for certificates in (f'receiver_signing = ["{old}"]', f'receiver_signing = ["{old}"]', "", ""):
        bench.answered(mail)
        fates += [row["fate"] for row in bench.look(certificates=certificates).taken]
    assert fates == ["parked", "known", "taken", "known"]
    assert (bench.state(), list(bench.ledger.parked())) == (State.ACKNOWLEDGED, [])


@pytest.mark.parametrize("digest", [0, 1], ids=["of the SOAP envelope", "of the payload"])
def test_an_acknowledgment_of_other_bytes_is_parked_and_one_of_ours_counts(bench: Bench, digest: int) -> None:
    """HIS 1037:2011, errata of 2019: an acknowledgment repeats the digests of what was received."""
    bench.submit()
    soap = outside(bench.path.read_bytes()).soap
    bench.answered(bench.partner.acknowledgment(bench.ref, soap=_other(soap, digest)))
    (row,) = bench.look().taken
    what = ("the SOAP envelope", "the payload")[digest]
    assert (row["fate"], row["reason"]) == (
        "parked",
        f"it acknowledges other bytes than were sent: its digest of {what} is not ours",
    )
    assert bench.state() is State.HANDED_OVER
    bench.answered(bench.partner.acknowledgment(bench.ref, soap=soap))
    bench.look()
    assert bench.state() is State.ACKNOWLEDGED


def _other(soap: bytes, digest: int) -> bytes:
    """The same with another digest in the place of one: 0 of the envelope, 1 of the payload."""
    ours = re.findall(rb"(?<=<ds:DigestValue>)[^<]+", soap)[digest]
    return soap.replace(ours, base64.b64encode(hashlib.sha256(b"other").digest()))


def test_an_acknowledgment_counts_where_nothing_tells_what_left(bench: Bench) -> None:
    bench.submit()
    soap = outside(bench.path.read_bytes()).soap
    bench.path.unlink()
    bench.answered(bench.partner.acknowledgment(bench.ref, soap=soap))
    bench.look()
    assert bench.state() is State.ACKNOWLEDGED


WHOSE = (
    ('trust = ["{ca}"]', "nobody said whose signature"),
    ('trust = ["{ca}"]\nreceiver_organisations = ["889640782"]', "belongs to organisation 983744516"),
    ('trust = ["{servers}"]\nreceiver_organisations = ["983744516"]', "does not lead to a CA that is trusted"),
    ('trust = ["{ca}"]\nreceiver_organisations = ["983744516"]', ""),
)


def test_the_signer_is_held_against_what_is_known_of_the_receiver(bench: Bench) -> None:
    ca = bench.home.parent / "ca.pem"
    ca.write_bytes(pem(bench.partner.authority.certificate))
    bench.submit()
    for certificates, reason in WHOSE:
        bench.answered(bench.partner.acknowledgment(bench.ref))
        (row,) = bench.look(certificates=certificates.format(ca=ca, servers=bench.mail.ca)).taken
        assert row["fate"] == ("parked" if reason else "taken")
        assert reason in row["reason"]


def test_receipts_count_once_in_whatever_order(bench: Bench) -> None:
    early, again = bench.partner.acknowledgment(bench.ref), bench.partner.acknowledgment(bench.ref)
    unknown = bench.partner.acknowledgment("7fa9c9f4-0000-4000-8000-000000000000")
    bench.answered(early, unknown)
    assert [row["fate"] for row in bench.look().taken] == ["parked", "parked"]  # before the hand-over was recorded
    bench.submit()
    bench.answered(early, again)
    report = bench.look()
    assert sorted(row["fate"] for row in report.taken) == ["known", "taken"]
    assert report.joined == 1
    assert bench.state() is State.ACKNOWLEDGED
    events = [one.event for one in bench.ledger.events(bench.file.msg_id)]
    assert events.count(Event.ACKNOWLEDGED) == 2
    assert [row.msg_id for row in bench.ledger.parked()] == ["7fa9c9f4-0000-4000-8000-000000000000"]
    bench.answered(bench.partner.acknowledgment(bench.ref, error="SecurityFailure"))
    assert bench.look().taken[0]["kind"] == "ebms error"
    assert bench.state() is State.REJECTED


# --- the mailbox ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("box", ["", 'done = "NPR"'])
def test_a_message_is_marked_after_it_is_stored_and_its_answer_counts_once(bench: Bench, box: str) -> None:
    bench.submit()
    bench.answered(bench.partner.acknowledgment(bench.ref))
    bench.mail.make_folder("NPR")
    seen: list[int] = []
    folder = mail_folder(DiskStore(bench.home), "mail")
    arm(
        fail="mailbox.marked#1:104",
        seen=lambda point: seen.append(len(list(folder.glob("*.eml")))) if point == "mailbox.mark" else None,
    )
    try:
        report = bench.look(box)
    finally:
        arm()
    assert seen == [1]
    assert "Connection reset" in report.unread[0].what
    assert [row["fate"] for row in report.taken] == ["taken"]
    arm(fail="mailbox.mark#1:104")
    try:
        bench.answered(bench.partner.acknowledgment(bench.ref))
        assert [row["fate"] for row in bench.look(box).taken] == ["taken"]
    finally:
        arm()
    after = bench.look(box)  # it was not marked, so it comes once more
    assert [row["fate"] for row in after.taken] == ["known"]
    assert bench.look(box).taken == []
    assert list(folder.glob("*")) == []
    assert bench.state() is State.ACKNOWLEDGED


def test_a_large_message_is_not_fetched_and_holds_up_nothing(bench: Bench) -> None:
    bench.submit()
    bench.mail.deliver(b"Subject: x\r\nMIME-Version: 1.0\r\n\r\n" + b"x" * 70 * 400, FROM)
    bench.answered(bench.partner.acknowledgment(bench.ref))
    report = bench.look("message_bytes = 20000")
    assert [row["fate"] for row in report.taken] == ["taken"]
    assert "it was not fetched" in report.waiting[0]["why"]


def test_a_server_that_sends_more_than_it_said_is_cut_off(bench: Bench) -> None:
    from pipelines.channels.mailbox import TooMuch, _Tls  # noqa: PLC0415

    line = _Tls.__new__(_Tls)
    line.most = 1_000
    with pytest.raises(TooMuch):
        line.read(1_001)
    assert bench.state() is State.PREPARED


BROKEN = {
    "password_env": ("NPR_TEST_WRONG", "does not let edi read its mailbox"),
    "folder": ("Missing", "it refuses to open Missing"),
    "done": ("Missing", "it refuses to move a message to Missing"),
    "port": (9, "Connection refused"),
}


def test_a_mailbox_that_cannot_be_read_holds_up_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPR_TEST_WRONG", "not the password")
    bench.answered(b"Subject: x\r\nMIME-Version: 1.0\r\n\r\nx\r\n")
    given = bench.settings()
    channel = given.config.channels["mail"]
    assert isinstance(channel, EbxmlSmtpSettings)
    assert channel.mailbox
    for name, (value, message) in BROKEN.items():
        path = bench.home / "inbox" / f"{name}.xml"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(receipt(original=f"<Id>{name}</Id>"))
        box = channel.mailbox.model_copy(update={name: value})
        channels = {"mail": channel.model_copy(update={"mailbox": box})}
        config = given.config.model_copy(update={"channels": channels})
        report = take_in(Settings(config, bench.home, given.path), dt.datetime.now(dt.UTC), settled=0)
        assert message in report.unread[0].what
        assert "not the password" not in str(report.unread[0])
        assert [row["fate"] for row in report.taken] == ["parked"]


def test_doctor_looks_at_server_and_mailbox(bench: Bench) -> None:
    said = bench.channel().look()
    assert "takes mail from edi" in said
    assert "mailbox INBOX at localhost is open to edi" in said
    with pytest.raises(WrongUse, match="no receipt of the receiver would be believed"):
        bench.channel(certificates=f'trust = ["{bench.mail.ca}"]').look()


def test_a_password_is_its_owners_alone_and_never_shown(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPR_TEST_EDI", "pæssord")
    with pytest.raises(NprError, match="cannot be said") as refused:
        bench.send(bench.channel())
    assert "pæss" not in str(refused.value)
    monkeypatch.delenv("NPR_TEST_EDI")
    with pytest.raises(DataRefused, match="the environment has no NPR_TEST_EDI"):
        bench.send(bench.channel())
    with pytest.raises(WrongUse, match="has no NPR_TEST_EDI"):
        bench.channel().look()


# --- the table of outcomes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "whole", "does"),
    [
        (450, False, "retry"),
        (550, False, "stop"),
        (599, False, "stop"),
        (250, False, "retry"),
        (451, True, "retry"),
        (554, True, "reject"),
        (421, True, "ask"),
        (354, True, "ask"),
        (-1, True, "ask"),
    ],
)
def test_what_a_reply_says(code: int, does: str, *, whole: bool) -> None:
    assert of_reply(code, whole=whole).does == does


def test_the_table_of_replies_is_whole() -> None:
    table = outcomes()
    for when in ("before", "after"):
        assert {(when, on) for on in ("line", "4xx", "5xx")} <= table.keys()
    assert (of_line(whole=False).does, of_line(whole=True).does) == ("retry", "ask")
    assert not any(row.does in ("ask", "reject") for row in table.values() if row.when == "before")
