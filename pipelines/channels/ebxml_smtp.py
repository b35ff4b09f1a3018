"""ebXML over SMTP: the packed mail goes to Norsk helsenett's mail server, and this program is the message handler.

Belongs here: handing the finished mail over, and what is certain of it. Does not belong here: packing and signing (done
before), reading answers (``pipelines.exchange.inbox``), the meaning of reply codes (``schemas.smtp``).

A mail server must not take a mail whose final dot it has not read, so the journal says begun before that dot and not
earlier. With the server's 250 the mail is handed over. Without any answer it may be there: nobody is asked but the
mailbox, where the receiver's acknowledgment (or a bounce) proves it. Silence proves nothing, however long. The bytes on
the line are those of the file, but for the dots that SMTP doubles and the server takes out again; so a resend has the
same Message-ID and eb:MessageId, and the receiver drops what it knows.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import smtplib
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from assets.checkpoints import checkpoint
from assets.ports import InDoubt, NotHandedOver, Rejected
from pipelines.channels.acknowledged import of_other_bytes
from pipelines.channels.common import Deadline, Way, certain_until_begun, insist_addressed, refused
from pipelines.channels.mail_line import SECONDS, context_of, fault_of, password_of
from pipelines.channels.mailbox import Mailbox
from pipelines.parties.address_register import AddressRegister
from pipelines.parties.receipt_trust import Believing
from schemas.answered import Answered
from schemas.config import EbxmlSmtpSettings
from schemas.errors import DataRefused, WrongUse
from schemas.feedback_fields import feedback_fields
from schemas.records import Manifest, ShipmentOut
from schemas.sending import Presence, Receipt, SentPart, TransportState
from schemas.smtp import Outcome, of_line, of_reply
from schemas.submission_states import SILENCE_HOURS, Event
from transforms.answers.reading import read
from transforms.answers.signed import signature_of
from transforms.answers.unpacking import documents
from transforms.shipping.ebms import is_signed, message_id_of
from transforms.shipping.packing import OUTSIDE_BYTES, Outside, mail_id_of, outside

BLOCK: Final = 1 << 18
ANSWER_SECONDS: Final = 100
"""RFC 5321 would wait ten minutes for the answer to a whole mail; a call must end within five."""
MOST_RECEIPT: Final = 1_000_000
GREETED, COMPLETED, GO_ON = 220, 250, 354
_LINE: Final = (smtplib.SMTPException, OSError)
_SAID: Final = re.compile(r"[A-Za-z0-9.:=-]+")
_SLACK: Final = dt.timedelta(days=1)  # clocks and zones of two machines
_TRANSPORT: Final = frozenset({Event.ACKNOWLEDGED, Event.REJECTED, Event.ABANDONED})


class EbxmlSmtp:
    """The channel."""

    def __init__(self, way: Way, settings: EbxmlSmtpSettings) -> None:
        self.name = way.name
        self._way = way
        self._given = settings
        self._journal = way.journal()

    def hand_over(self, part: ShipmentOut, path: Path, manifest: Manifest) -> Receipt:
        """Give one mail to the mail server, byte for byte."""
        with certain_until_begun():
            shown = self._insist_ours(part, path, manifest)
            password = password_of(self._given)
        with self._connected(password) as line:
            self._insist_room(line, part)
            said = self._given_over(line, part, path, shown)
        reference = f"<{shown.mail_id}> {said}".strip()
        self._journal.done(part.msg_id, reference)
        return Receipt(reference=reference, at=dt.datetime.now(dt.UTC))

    def ask(self, part: SentPart) -> TransportState:
        """What is certain of a part: by the journal, and where that only says begun, by the mailbox."""
        entry = self._journal.get(part.msg_id)
        if entry is None:
            return TransportState(presence=Presence.ABSENT, detail="the end of its mail was never given to the line")
        if entry.done:
            return TransportState(presence=Presence.THERE, reference=entry.reference)
        found = self._told(part)
        if found is None:
            return TransportState(presence=Presence.UNKNOWN, detail=self._silence(part))
        reference = f"<{mail_id_of(part.msg_id)}>"
        if found is not Event.ACKNOWLEDGED:  # a bounce says too that the server had taken it
            return TransportState(presence=Presence.THERE, events=(found,), reference=reference)
        self._journal.done(part.msg_id, reference)
        return TransportState(presence=Presence.THERE, events=(found,), reference=reference)

    def look(self) -> str:
        """Whether server and mailbox let us in, for ``npr doctor``; sends nothing."""
        with self._connected(password_of(self._given)):
            pass
        said = f"{self._given.host} takes mail from {self._given.user or 'this machine'}"
        if self._given.mailbox is None:
            return f"{said}; no mailbox is given, so what is in doubt stays so"
        Believing(self._way.config, self._way.store, dt.datetime.now(dt.UTC)).insist_known(self._way.unit_key)
        return f"{said}; {Mailbox(self._given.mailbox, self.name).look()}"

    # --- before the line ----------------------------------------------------------------------------------------------

    def _insist_ours(self, part: ShipmentOut, path: Path, manifest: Manifest) -> Outside:
        """The mail is the part's, signed, and goes where it may. NotHandedOver where not."""
        with path.open("rb") as file:
            shown = outside(file.read(OUTSIDE_BYTES))
        to = insist_addressed(self._way, manifest, [shown.from_mail, shown.to_mail, self._given.host])
        if shown.mail_id != mail_id_of(part.msg_id) or message_id_of(part.msg_id).encode() not in shown.soap:
            raise refused(f"{part.path} is not the mail of its MsgId", where=str(path))
        if not is_signed(shown.soap):
            raise refused(
                f"{part.path} is not signed, and no other message handler signs it on this way",
                where=str(path),
                rule="HIS 1037:2011: every message is signed",
                fix="give npr.toml, certificates.signing; then prepare anew",
            )
        register = AddressRegister.of(self._way.config.certificates_of(self._way.unit), self._way.store)
        if register and to.real:
            known = register.party(to.unit_her_id).edi_address
            if known.casefold() != shown.to_mail.casefold():
                raise refused(
                    f"{part.path} is addressed to another mail address than HER-id {to.unit_her_id} has",
                    where="Address Register, ediAddress",
                    fix="correct npr.toml, certificates.receiver_mail; then prepare anew",
                )
        return shown

    def _insist_room(self, line: smtplib.SMTP, part: ShipmentOut) -> None:
        most = line.esmtp_features.get("size", "")
        if most.isdigit() and 0 < int(most) < part.packed_bytes:
            outcome = of_reply(552, whole=False)
            raise refused(
                f"{part.path} has {part.packed_bytes} bytes, and the mail server takes {most}",
                where=self._given.host,
                rule="RFC 1870: SIZE",
                fix=outcome.fix,
            )

    # --- the line -----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _connected(self, password: str) -> Iterator[smtplib.SMTP]:
        """A line under TLS, with its user logged in. NotHandedOver where that does not come about."""
        given = self._given
        try:
            context = context_of(given)
        except WrongUse as wrong:
            raise refused(wrong.what, where=wrong.where, fix=wrong.fix) from None
        line: smtplib.SMTP | None = None
        try:
            checkpoint("smtp.connect")
            if given.tls == "tls":
                line = smtplib.SMTP_SSL(given.host, given.port, timeout=SECONDS, context=context)
            else:
                line = smtplib.SMTP(given.host, given.port, timeout=SECONDS)
                line.starttls(context=context)
            line.ehlo_or_helo_if_needed()
            if given.user:
                line.login(given.user, password)
        except smtplib.SMTPNotSupportedError:
            what = "STARTTLS" if given.tls == "starttls" else "a login"
            self._close(line)
            raise refused(
                f"the mail server does not offer {what}; nothing was said to it",
                where=given.host,
                fix="ask who runs it",
            ) from None
        except smtplib.SMTPResponseException as said:
            self._close(line)
            raise self._raised(of_reply(said.smtp_code, whole=False), f"it said {said.smtp_code}") from None
        except _LINE as error:
            self._close(line)
            raise self._unreached(error) from None
        try:
            yield line
            with contextlib.suppress(*_LINE):  # not after a fault: amid a mail it would be read as a line of it
                line.docmd("QUIT")
        finally:
            self._close(line)

    def _given_over(self, line: smtplib.SMTP, part: ShipmentOut, path: Path, shown: Outside) -> str:
        """The whole transaction; what the server said when it took the mail."""
        begun = whole = False
        try:
            self._envelope(line, part, shown)
            self._body(line, path)
            with certain_until_begun():
                begun = self._journal.begin(part.msg_id)
            checkpoint("smtp.dot")
            line.timeout = ANSWER_SECONDS
            if line.sock:
                line.sock.settimeout(ANSWER_SECONDS)
            whole = True
            line.send(b".\r\n")
            checkpoint("smtp.whole")
            code, said = line.getreply()
            checkpoint("smtp.answered")
        except NotHandedOver:
            raise
        except _LINE as error:
            outcome = of_line(whole=whole)
            what = fault_of(error)
        else:
            if code == COMPLETED:
                return " ".join(_SAID.findall(said.decode("ascii", "replace")))[:100]
            outcome, what = of_reply(code, whole=True), f"it said {code}"
        if begun and outcome.does != "ask":
            self._journal.undo(part.msg_id)
        raise self._raised(outcome, what)

    def _envelope(self, line: smtplib.SMTP, part: ShipmentOut, shown: Outside) -> None:
        checkpoint("smtp.envelope")
        sizes = [f"SIZE={part.packed_bytes}"] if line.has_extn("size") else []
        reports = line.has_extn("dsn")  # a bounce then brings the headers back, and not 50 MB
        self._insist(line.mail(shown.from_mail, [*sizes, *(["RET=HDRS"] if reports else [])]), COMPLETED)
        self._insist(line.rcpt(shown.to_mail, ["NOTIFY=FAILURE,DELAY"] if reports else []), COMPLETED)
        checkpoint("smtp.data")
        self._insist(line.docmd("DATA"), GO_ON)

    def _insist(self, reply: tuple[int, bytes], wanted: int) -> None:
        if reply[0] != wanted:
            raise self._raised(of_reply(reply[0], whole=False), f"it said {reply[0]}")

    def _body(self, line: smtplib.SMTP, path: Path) -> None:
        """Every line of the mail, without the final dot."""
        deadline = Deadline()
        with path.open("rb") as file:
            while block := file.read(BLOCK) + file.readline():
                if not whole_lines(block):
                    raise refused(f"{path.name} does not consist of lines that end with CRLF", where=str(path))
                if deadline.over():
                    raise refused("the line is too slow for the mail", where=self._given.host, retryable=True)
                line.send(stuffed(block))
        checkpoint("smtp.body")

    def _raised(self, outcome: Outcome, what: str) -> NotHandedOver | InDoubt:
        where, told = self._given.host, f"{outcome.why} ({what})"
        if outcome.does == "ask":
            return InDoubt(told, where=where, rule="what is in doubt is settled by asking", fix=outcome.fix)
        if outcome.does == "reject":
            return Rejected(told, where=where, fix=outcome.fix)
        return refused(told, where=where, fix=outcome.fix, retryable=outcome.does == "retry")

    def _unreached(self, error: Exception) -> NotHandedOver:
        if isinstance(error, ssl.SSLError):
            return refused(
                f"the mail server is not believed, {fault_of(error)}; nothing was handed over",
                where=self._given.host,
                rule="the server's certificate and name are checked",
                fix=f"ask who runs it; npr.toml, channels.{self.name}.ca names the CA",
            )
        outcome = of_line(whole=False)
        return refused(f"{outcome.why} ({fault_of(error)})", where=self._given.host, fix=outcome.fix, retryable=True)

    @staticmethod
    def _close(line: smtplib.SMTP | None) -> None:
        if line is not None:
            line.close()

    # --- asking -------------------------------------------------------------------------------------------------------

    def _told(self, part: SentPart) -> Event | None:
        """What the mailbox tells of a part, unless it may not be believed; None for nothing."""
        if self._given.mailbox is None:
            return None
        checkpoint("smtp.ask")
        now = dt.datetime.now(dt.UTC)
        ours = {message_id_of(part.msg_id): part.msg_id, mail_id_of(part.msg_id): part.msg_id}
        believing = Believing(self._way.config, self._way.store, now)
        found: list[Event] = []
        mailbox = Mailbox(self._given.mailbox, self.name)
        for mail in mailbox.small(MOST_RECEIPT, (min(part.state_at, now) - _SLACK).date()):
            for answered in _answers(mail, ours, part.msg_id, now):
                suspect = believing.suspicion(signature_of(mail), answered.answer.kind, part.profile, part.key.unit)
                if not suspect and not of_other_bytes(self._way.store, part, answered.references):
                    found += [event for event in answered.answer.events if event in _TRANSPORT]
        checkpoint("smtp.asked")
        return Event.ACKNOWLEDGED if Event.ACKNOWLEDGED in found else next(iter(found), None)

    def _silence(self, part: SentPart) -> str:
        """What silence means, for people."""
        if self._given.mailbox is None:
            return "the mail server's answer was lost, and no mailbox is given to look for an acknowledgment"
        until = part.state_at + dt.timedelta(hours=SILENCE_HOURS[-1])
        return (
            "the mail server's answer was lost, and the mailbox holds no acknowledgment and no bounce. Handlers of "
            f"Norsk helsenett may answer until {until:%Y-%m-%d %H:%M}Z; silence proves nothing, then or later: "
            "ask the receiver whether the MsgId came"
        )


def _answers(mail: bytes, ours: dict[str, str], msg_id: str, now: dt.datetime) -> Iterator[Answered]:
    """Answers of a mail that speak of a MsgId."""
    try:
        for document in documents(mail, "mail"):
            answered = read(document, feedback_fields(), now, lambda ref: ours.get(ref, ""))
            if answered is not None and answered.answer.msg_id == msg_id:
                yield answered
    except DataRefused:
        return  # npr inbox tells of it


def whole_lines(block: bytes) -> bool:
    """Whether a block is lines that end with CRLF, with neither of the two bytes anywhere else."""
    ends = block.count(b"\r\n")
    return block.endswith(b"\r\n") and ends == block.count(b"\n") == block.count(b"\r")


def stuffed(block: bytes) -> bytes:
    """Whole lines with a dot before each that begins with one (RFC 5321, 4.5.2)."""
    return (b"." if block.startswith(b".") else b"") + block.replace(b"\n.", b"\n..")
