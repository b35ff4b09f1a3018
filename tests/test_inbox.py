"""Answers of the register: every order, twice, early, unknown, locked, spoilt; each matched to its own part alone."""

from __future__ import annotations

import io
import os
import random
import resource
import signal
import sqlite3
import stat
import time
import uuid
import zipfile
from contextlib import closing
from email.message import EmailMessage
from pathlib import Path

import channels
import ledgers
import polars as pl
import pytest
import pyzipper
from conftest import ROOT, call, cases
from hypothesis import given, settings
from hypothesis import strategies as st
from test_receipts import receipt

from pipelines.commands.doctor import examine
from pipelines.exchange import inbox
from pipelines.exchange.inbox import Report, take_in
from pipelines.ledger import engine
from pipelines.ledger.book import SqlLedger, ledger_of
from schemas.answered import Answered
from schemas.errors import CannotKeep, DataRefused
from schemas.feedback_fields import feedback_fields
from schemas.lokalident import lokalident
from schemas.submission_states import Event, State
from transforms.answers import explained, findings
from transforms.answers.error_table import error_table
from transforms.answers.reading import read
from transforms.answers.signed import signature_of
from transforms.answers.transport import other_bytes
from transforms.answers.unpacking import MOST_MAIL, Document, NeedsPassword, documents
from transforms.content import finding_ledger as life
from transforms.shipping.ebms import EB, SOAP

NUMBER = ledgers.unit().institusjonID
PASSWORD = "only-a-test"


def csv_report(lopenr: int = 1, rows: str = "K12;Episode;omsorgsniva;E1;2\n", total: str = "") -> bytes:
    head = f"Løpenummer;{lopenr}\ninstitusjonID;{NUMBER}\nfraDatoPeriode;2020-01-01\n{total}\n"
    return f"{head}Feilkode;Klasse;Attributt;Episode ID;Handling\n{rows}".encode("cp1252")


def xml_report(lopenr: int = 1, encoding: str = "iso-8859-1") -> bytes:
    return (
        f'<?xml version="1.0" encoding="{encoding}"?><NPR_ERR><Melding lopenr="{lopenr}" fraDatoPeriode="2020-01-01"/>'
        f'<Institusjon institusjonID="{NUMBER}"/><Episode episodeID="E1"><Feil feilkode="K12" attributt="omsorgsniva" '
        'klasse="Episode" handling="2"><Feiltekst>ugyldig verdi på</Feiltekst></Feil></Episode></NPR_ERR>'
    ).encode(encoding)


def html_report() -> bytes:
    return (
        f"<html><head><title>XPR_ERR</title></head><p>Løpenummer: 1</p><p>institusjonID: {NUMBER}<br>fraDatoPeriode: "
        "2020-01-01<table><tr><th>Feilkode<th>Klasse<th>Attributt<th>EpisodeID<th>Handling"
        "<tr><td>K12<td>Episode<td>omsorgsniva<td>E1<td>Slettemerk rad med underelementer</table>"
    ).encode()


def ack(ref: str, place: str = "Acknowledgment", errors: str = "") -> bytes:
    inside = f"<eb:RefToMessageId>{ref}</eb:RefToMessageId>"
    within = inside if place != "Acknowledgment" else ""
    data = f"<eb:MessageHeader><eb:MessageData>{within}</eb:MessageData></eb:MessageHeader>"
    body = "" if errors else f"<eb:Acknowledgment>{inside if place == 'Acknowledgment' else ''}</eb:Acknowledgment>"
    return (
        f'<S:Envelope xmlns:S="{SOAP}" xmlns:eb="{EB}"><S:Header>{data}{body}{errors}</S:Header><S:Body/></S:Envelope>'
    ).encode()


def locked(data: bytes, name: str = "NPR_ERR.csv", *, aes: bool = True) -> bytes:
    out = io.BytesIO()
    with pyzipper.AESZipFile(out, "w", compression=pyzipper.ZIP_DEFLATED) as archive:
        if aes:
            archive.setpassword(PASSWORD.encode())
            archive.setencryption(pyzipper.WZ_AES, nbits=256)
        archive.writestr(name, data)
    return out.getvalue()


def mailed(data: bytes, name: str) -> bytes:
    mail = EmailMessage()
    mail["Subject"] = "Tilbakemelding"
    mail.set_content("Se vedlegg.")
    mail.add_attachment(data, maintype="application", subtype="zip", filename=name)
    return mail.as_bytes()


def one(data: bytes, name: str) -> Answered:
    found = read(Document(name, data), feedback_fields(), ledgers.NOW, lambda ref: f"ours-{ref}")
    assert found is not None
    return found


def drop(home: Path, name: str, data: bytes) -> Path:
    path = home / "inbox" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (time.time() - 60,) * 2)
    return path


def look(home: Path) -> Report:
    return take_in(ledgers.settings(home), ledgers.NOW)


@pytest.fixture
def ledger(home: Path) -> SqlLedger:
    home.mkdir()
    return ledger_of(home)


# --- readers ---


@pytest.mark.parametrize(
    ("name", "data"), [("NPR_ERR_1.csv", csv_report()), ("x.xml", xml_report()), ("r.html", html_report())]
)
def test_all_forms_of_a_report_say_the_same(name: str, data: bytes) -> None:
    found = one(data, name)
    answer = found.answer
    assert (answer.events, answer.lopenr, answer.institusjon_id, answer.year) == (
        (Event.CONTENT_ERRORS,),
        1,
        NUMBER,
        2020,
    )
    (error,) = found.errors
    assert (error.code, error.npr_class, error.attribute, error.episode_id, error.consequence) == (
        "K12",
        "Episode",
        "omsorgsniva",
        "E1",
        "drop_record",
    )
    assert "E1" not in repr(found)


def test_clean_is_believed_only_when_it_is_said() -> None:
    assert one(csv_report(rows="", total="Antall feil;0\n"), "NPR_ERR.csv").answer.events == (Event.CONTENT_CLEAN,)
    with pytest.raises(DataRefused, match="not that there are none"):
        one(csv_report(rows=""), "NPR_ERR.csv")
    assert one(csv_report(), "NPR_VAL.csv").answer.events == (Event.SCHEMA_REJECTED,)


@pytest.mark.parametrize("place", ["Acknowledgment", "MessageData"])
def test_an_acknowledgment_names_its_message_in_either_place(place: str) -> None:
    answer = one(ack("e-1", place), "a.xml").answer
    assert (answer.events, answer.msg_id) == ((Event.ACKNOWLEDGED,), "ours-e-1")


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ([("", "QUJD"), ("cid:a@b", "REVG")], ""),
        ([("cid:a@b", "REVG")], ""),
        ([("cid:a%40b", " RE\n VG ")], ""),
        ([], ""),
        ([("", "REVG")], "the SOAP envelope"),
        ([("", "QUJD"), ("cid:a@b", "QUJD")], "the payload"),
        ([("cid:another", "REVG")], "the payload"),
        ([("", "not base64")], "the SOAP envelope"),
        ([("cid:another", "not base64")], "the payload"),
    ],
    ids=[
        *("both", "payload alone", "written another way", "none", "other envelope", "other payload"),
        *("of an attachment we did not send", "no digest", "neither"),
    ],
)
def test_an_acknowledgment_tells_the_digests_of_what_was_sent(told: list[tuple[str, str]], reason: str) -> None:
    found = other_bytes(told, [("", "QUJD"), ("cid:a@b", "REVG")])
    assert reason in found
    assert bool(found) == bool(reason)


def test_an_error_of_the_transport_is_a_rejection() -> None:
    errors = '<eb:ErrorList><eb:Error eb:errorCode="SecurityFailure" eb:severity="Error"/></eb:ErrorList>'
    answer = one(ack("e-1", "MessageData", errors), "a.xml").answer
    assert (answer.events, answer.detail) == ((Event.REJECTED,), "SecurityFailure")


def bounce(
    action: str = "failed", status: str = "5.1.1", returned: str = "text/rfc822-headers", ref: str = ""
) -> bytes:
    ref = ref or "<m-1@sender.invalid>"
    return (
        "From: Mailer-Daemon@mail.invalid\r\nTo: us@sender.invalid\r\nMessage-ID: <other@mail.invalid>\r\n"
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\nMIME-Version: 1.0\r\n\r\n"
        "--b\r\n\r\nIt could not be delivered.\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mail.invalid\r\n\r\n"
        f"Final-Recipient: rfc822;npr@edi.invalid\r\nAction: {action}\r\nStatus: {status}\r\n"
        f"\r\n--b\r\nContent-Type: {returned}\r\n\r\nMessage-ID: {ref}\r\nFrom: us@sender.invalid\r\n"
        "Content-Type: text/xml\r\n\r\n<x/>\r\n--b--\r\n"
    ).encode()


BOUNCES = [
    ("failed", "5.1.1", (Event.REJECTED,)),
    ("Failed", "5.4.7", (Event.ABANDONED,)),
    ("failed", "4.4.7 (expired)", (Event.ABANDONED,)),
    ("delayed", "4.4.1", ()),
    ("relayed", "2.0.0", ()),
    ("delivered", "2.0.0", ()),  # into a mailbox: nothing that the receiver says
]


@pytest.mark.parametrize("returned", ["text/rfc822-headers", "message/rfc822"])
@pytest.mark.parametrize(("action", "status", "events"), BOUNCES)
def test_a_bounce_speaks_of_the_mail_it_returns(
    action: str, status: str, events: tuple[Event, ...], returned: str
) -> None:
    (document,) = documents(bounce(action, status, returned), "m.eml")
    answer = one(document.data, document.name).answer
    assert (answer.events, answer.msg_id, answer.detail) == (events, "ours-m-1@sender.invalid", status[:5])


@pytest.mark.parametrize("data", [bounce(action="gone"), bounce(ref="none"), bounce().replace(b"\r\nAction", b"\r\nX")])
def test_a_bounce_that_does_not_say_what_became_of_which_mail_is_refused(data: bytes) -> None:
    with pytest.raises(DataRefused, match="does not say of which mail"):
        one(data, "m.eml")


def test_a_mail_larger_than_any_answer_is_not_parsed() -> None:
    with pytest.raises(DataRefused, match="larger than any mail"):
        list(documents(mailed(b"", "a.zip") + b" " * MOST_MAIL, "m.eml"))


def test_a_report_may_name_its_message_by_lokalident_alone(home: Path, ledger: SqlLedger) -> None:
    msg_id, _ = ledgers.sent(ledger, ledgers.prepared(ledger, home))
    lopenr = ledger.part(msg_id).lopenr
    rows = "Feilkode;Attributt\nK1;b\n"
    for said, fate in ((lokalident(NUMBER, 2020, lopenr), "taken"), (lokalident(NUMBER, 2019, lopenr), "parked")):
        drop(home, "NPR_ERR.csv", f"lokalident;{said}\n\n{rows}".encode())
        assert [row["fate"] for row in look(home).taken] == [fate]
    with pytest.raises(DataRefused, match="names two messages"):
        one(f"lokalident;{lokalident(NUMBER, 2020, 2)}\nlopenr;1\n\n{rows}".encode(), "NPR_ERR.csv")
    foreign = one(f"lokalident;{msg_id}\n\n{rows}".encode(), "NPR_ERR.csv").answer
    assert (foreign.msg_id, foreign.lopenr) == (msg_id, None)


def test_a_report_on_two_messages_is_refused() -> None:
    rows = "Feilkode;Attributt;lopenr\nA;b;1\nA;b;2\n"
    with pytest.raises(DataRefused, match="more than one message"):
        one(rows.encode(), "NPR_ERR.csv")


# --- archives ---


@pytest.mark.parametrize(
    ("data", "locked_documents"),
    [
        (mailed(locked(b"x;y"), "a.zip"), ["NPR_ERR.csv"]),
        (mailed(locked(b"x;y", aes=False), "a.zip"), []),
        (locked(locked(b"x;y", aes=False), "inner.zip"), ["NPR_ERR.csv"]),
        (b"x;y", []),
    ],
)
def test_what_came_out_of_a_locked_archive_is_known(data: bytes, locked_documents: list[str]) -> None:
    found = list(documents(data, "m.eml", (PASSWORD,)))
    assert [one.name for one in found if one.locked] == locked_documents


def test_a_locked_archive_opens_with_one_of_the_passwords() -> None:
    data = mailed(locked(csv_report()), "svar.zip")
    with pytest.raises(NeedsPassword):
        list(documents(data, "m.eml", ("wrong",)))
    names = [one.name for one in documents(data, "m.eml", ("wrong", PASSWORD))]
    assert names[-1] == "NPR_ERR.csv"


def _zip(*entries: tuple[str, bytes], mode: int = 0, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in entries:
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr, info.compress_type = 3, mode << 16, method
            archive.writestr(info, data)
    return out.getvalue()


def _nested(depth: int) -> bytes:
    data = b"x"
    for _ in range(depth):
        data = _zip(("a.zip", data))
    return data


def _unflagged() -> bytes:
    """An archive whose one file is packed as AES, and says that it is not encrypted. Found by fuzzing."""
    out = io.BytesIO()
    with pyzipper.AESZipFile(out, "w", compression=pyzipper.ZIP_STORED) as archive:
        archive.setpassword(PASSWORD.encode())
        archive.setencryption(pyzipper.WZ_AES, nbits=256)
        archive.writestr("a", b"x")
    data = bytearray(out.getvalue())
    for start, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(start) + at] &= 0xFE
    return bytes(data)


HOSTILE = {
    "AES without its flag": _unflagged(),
    "slip": _zip(("../../etc/x", b"x")),
    "absolute": _zip(("/etc/x", b"x")),
    "drive": _zip(("C:/x", b"x")),
    "slip below": _zip(("a/../../x", b"x")),
    "control": _zip(("a\nb", b"x")),
    "link": _zip(("a", b"/etc/passwd"), mode=stat.S_IFLNK | 0o777),
    "device": _zip(("a", b""), mode=stat.S_IFCHR),
    "fifo": _zip(("a", b""), mode=stat.S_IFIFO),
    "case twins": _zip(("a", b"1"), ("A", b"2")),
    "many": _zip(*((str(n), b"") for n in range(101))),
    "bomb": _zip(("a", bytes(20_000_000))),
    "two bombs": _zip(("a", bytes(3_900_000)), *((str(n), bytes(3_900_000)) for n in range(9))),
    "nested": _nested(6),
    "bzip2": _zip(("a", b"x" * 99), method=zipfile.ZIP_BZIP2),
    "lzma": _zip(("a", b"x" * 99), method=zipfile.ZIP_LZMA),
    "cut off": _zip(("a", b"x" * 999))[:-30],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_whole(name: str) -> None:
    with pytest.raises(DataRefused):
        list(documents(HOSTILE[name], "a.zip"))


_PIECES = st.sampled_from(
    [
        xml_report(),
        csv_report(),
        html_report(),
        ack("e"),
        receipt(),
        locked(csv_report()),
        mailed(b"x", "a.zip"),
        bounce(),
        channels.mail(str(uuid.UUID(int=7)), "ord", "rehearsal", ("a@b.invalid", "c@d.invalid")),
        b"PK\x03\x04",
    ]
)


@settings(max_examples=150, deadline=None)
@given(_PIECES, st.integers(0, 2_000), st.binary(max_size=40))
def test_spoilt_answers_are_refused_and_never_break_a_reader(data: bytes, at: int, junk: bytes) -> None:
    spoilt = data[:at] + junk + data[at + len(junk) :]
    assert signature_of(spoilt).suspicion("ebms", lambda _: "the right one") != ""
    try:
        for document in documents(spoilt, "NPR_ERR.csv", (PASSWORD,)):
            read(document, feedback_fields(), ledgers.NOW, lambda _: "")
    except DataRefused:
        pass


# --- the inbox ---


def test_an_answer_is_kept_once_however_often_it_comes(home: Path, ledger: SqlLedger) -> None:
    msg_id, _ = ledgers.sent(ledger, ledgers.prepared(ledger, home))
    data = receipt(original=f"<Id>{msg_id}</Id>")
    for name in ("a.xml", "b.xml"):
        path = drop(home, name, data)
        (row,) = look(home).taken
        assert not path.exists()
        assert row["msg_id"] == msg_id
    assert row["fate"] == "known"
    assert [one.event for one in ledger.events(msg_id)].count(Event.APPREC_OK) == 1
    raw = home / "identity" / "answers" / "raw"
    assert len(list(raw.iterdir())) == 1
    for private in (home / "identity", home / "identity" / "answers"):
        assert stat.S_IMODE(private.stat().st_mode) == 0o700


def test_after_a_resend_the_same_answer_counts_again(home: Path, ledger: SqlLedger) -> None:
    """A receiver that drops the second copy repeats its answer to the first."""
    manifest = ledgers.prepared(ledger, home, modules=("ord",))
    (msg_id,) = ledgers.sent(ledger, manifest)
    for name, fate, state in (
        ("a.xml", "taken", "received"),
        ("resend", "", "handed_over"),
        ("b.xml", "taken", "received"),
        ("c.xml", "known", "received"),
        ("resend", "", "handed_over"),
        ("d.xml", "taken", "received"),
    ):
        if name == "resend":
            ledgers.resent(ledger, manifest)
        else:
            drop(home, name, receipt(original=f"<Id>{msg_id}</Id>"))
            assert [row["fate"] for row in look(home).taken] == [fate]
        assert ledger.part(msg_id).state.value == state
    assert [one.event for one in ledger.events(msg_id)].count(Event.APPREC_OK) == 3


def test_answers_in_the_wrong_order_end_in_the_same_state(home: Path, ledger: SqlLedger) -> None:
    msg_id, _ = ledgers.sent(ledger, ledgers.prepared(ledger, home))
    lopenr = ledger.part(msg_id).lopenr
    drop(home, "1_NPR_ERR.csv", csv_report(lopenr))
    drop(home, "2.xml", receipt(original=f"<Id>{msg_id}</Id>"))
    assert [row["fate"] for row in look(home).taken] == ["taken", "taken"]
    assert ledger.part(msg_id).state is State.CONTENT_ERRORS


def test_an_answer_before_the_hand_over_is_recorded_is_parked_and_joined_later(home: Path, ledger: SqlLedger) -> None:
    manifest = ledgers.prepared(ledger, home)
    msg_id = manifest.shipments[0].msg_id
    drop(home, "a.xml", receipt(original=f"<Id>{msg_id}</Id>"))
    assert [row["fate"] for row in look(home).taken] == ["parked"]
    ledgers.sent(ledger, manifest)
    assert look(home).joined == 1
    assert (ledger.part(msg_id).state, list(ledger.parked())) == (State.RECEIVED, [])


def test_an_answer_to_an_unknown_message_is_parked_with_the_reason(home: Path, ledger: SqlLedger) -> None:
    drop(home, "a.xml", receipt())
    (row,) = look(home).taken
    assert (row["fate"], row["reason"]) == ("parked", "no part of ours has this MsgId or lopenr")
    assert len(ledger.parked()) == 1


def test_poison_is_set_aside_after_three_tries_while_others_flow(home: Path, ledger: SqlLedger) -> None:
    msg_id, _ = ledgers.sent(ledger, ledgers.prepared(ledger, home))
    path = drop(home, "0.zip", HOSTILE["slip"])
    drop(home, "1.xml", receipt(original=f"<Id>{msg_id}</Id>"))
    first = look(home)
    assert (len(first.taken), len(first.waiting), first.aside) == (1, 1, [])
    assert not look(home).aside
    assert len(look(home).aside) == 1
    assert not path.exists()


def test_good_news_out_of_a_folder_needs_no_signature(home: Path, ledger: SqlLedger) -> None:
    (msg_id,) = ledgers.sent(ledger, ledgers.prepared(ledger, home, modules=("ord",)))
    drop(home, "NPR_ERR.csv", csv_report(ledger.part(msg_id).lopenr, rows="", total="Antall feil;0\n"))
    assert [row["fate"] for row in look(home).taken] == ["taken"]
    assert ledger.part(msg_id).state is State.ACCEPTED


def test_a_busy_ledger_is_no_fault_of_an_answer(home: Path, ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Good receipts were set aside as poison when another process held the ledger for three looks."""
    monkeypatch.setattr(engine, "_BUSY_MS", 50)
    msg_id, _ = ledgers.sent(ledger, ledgers.prepared(ledger, home))
    path = drop(home, "a.xml", receipt(original=f"<Id>{msg_id}</Id>"))
    with closing(sqlite3.connect(home / "ledger.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(inbox.TRIES + 1):
            with pytest.raises(CannotKeep, match="database is locked"):
                look(home)
        other.execute("ROLLBACK")
    assert path.exists()
    (row,) = look(home).taken
    assert (row["fate"], row["state"], path.exists()) == ("taken", "received", False)


def test_a_disk_that_takes_no_more_is_no_fault_of_an_answer(home: Path, ledger: SqlLedger) -> None:
    msg_id, _ = ledgers.sent(ledger, ledgers.prepared(ledger, home))
    path = drop(home, "NPR_ERR.csv", csv_report(ledger.part(msg_id).lopenr, "K12;Episode;omsorgsniva;E1;2\n" * 20_000))
    most, before = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, most[1]))
        for _ in range(inbox.TRIES + 1):
            with pytest.raises(CannotKeep, match="cannot be written: File too large"):
                look(home)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)
        signal.signal(signal.SIGXFSZ, before)
    assert path.exists()
    assert [row["fate"] for row in look(home).taken] == ["taken"]


def test_the_look_that_sets_a_file_aside_says_so_to_whoever_watches_exit_codes(home: Path, ledger: SqlLedger) -> None:
    assert ledger.parked() == []
    drop(home, "0.zip", HOSTILE["slip"])
    outcomes = [call("inbox", "--json", home=home) for _ in range(4)]
    assert [one.code for one in outcomes] == [0, 0, 1, 0]
    assert [len(one.json["aside"]) for one in outcomes] == [0, 0, 1, 0]


def test_a_folder_of_answers_that_is_not_there_is_refused_when_the_others_are_read(
    home: Path, ledger: SqlLedger, tmp_path: Path
) -> None:
    """A share that is not mounted looked like a register that says nothing."""
    msg_id, _ = ledgers.sent(ledger, ledgers.prepared(ledger, home))
    gone, there = tmp_path / "gone", home / "inbox"
    config = (ROOT / "npr.toml").read_text(encoding="utf-8")
    toml = tmp_path / "npr.toml"
    toml.write_text(f'{config}\n[inbox]\nfolders = ["{gone}", "{there}"]\n', encoding="utf-8")
    drop(home, "a.xml", receipt(original=f"<Id>{msg_id}</Id>"))
    refused = call("--config", toml, "inbox", home=home)
    assert (refused.code, f"{gone}: no such folder" in refused.err) == (2, True)
    assert ledger.part(msg_id).state is State.RECEIVED
    gone.mkdir()
    assert call("--config", toml, "inbox", home=home).code == 0


@pytest.mark.parametrize("name", [b"\xff\xfe.xml", b"a\x1b[2J\x07.xml", b"x\xe2\x80\xaelmx.xml"])
def test_a_file_of_any_name_is_taken_and_never_printed_as_it_is(home: Path, ledger: SqlLedger, name: bytes) -> None:
    """A name that is no text stopped the whole look, and one with control characters steered the terminal."""
    msg_id, _ = ledgers.sent(ledger, ledgers.prepared(ledger, home))
    drop(home, os.fsdecode(name), b"<broken")
    drop(home, "z.xml", receipt(original=f"<Id>{msg_id}</Id>"))
    found = look(home)
    assert [row["fate"] for row in found.taken] == ["taken"]
    assert found.waiting[0]["file"].encode().decode().isprintable()


def test_a_file_that_cannot_be_looked_at_holds_up_no_other(
    home: Path, ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    msg_id, _ = ledgers.sent(ledger, ledgers.prepared(ledger, home))
    gone, shut = drop(home, "0.xml", b"x"), drop(home, "1.xml", b"y")
    drop(home, "2.xml", receipt(original=f"<Id>{msg_id}</Id>"))
    there = Path.stat

    def stat_of(path: Path, **more: bool) -> os.stat_result:
        if path == shut:
            raise PermissionError(13, "Permission denied")
        if path == gone:
            raise FileNotFoundError
        return there(path, **more)

    monkeypatch.setattr(inbox, "files", lambda folder: sorted(folder.iterdir()))
    monkeypatch.setattr(Path, "stat", stat_of)
    found = look(home)
    assert [row["fate"] for row in found.taken] == ["taken"]
    assert [row["why"] for row in found.waiting] == ["cannot be read: Permission denied"]


def test_a_locked_answer_waits_for_its_password(home: Path, ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    msg_id, _ = ledgers.sent(ledger, ledgers.prepared(ledger, home))
    drop(home, "m.eml", mailed(locked(csv_report(ledger.part(msg_id).lopenr)), "a.zip"))
    for _ in range(4):
        assert "locked" in look(home).waiting[0]["why"]
    monkeypatch.setenv("NPR_FEEDBACK_PASSWORD_2020_05", PASSWORD)
    assert look(home).taken[0]["fate"] == "taken"


def test_shuffled_answers_find_their_own_part_and_no_other(home: Path, ledger: SqlLedger) -> None:
    """Four answers to each part; a thousand in the long form."""
    parts = cases(60, 250)
    modules = tuple(f"m{n}" for n in range(parts))
    ours = ledgers.sent(ledger, ledgers.prepared(ledger, home, modules=modules))
    wanted: list[tuple[Answered, str]] = []
    for n, msg_id in enumerate(ours):
        lopenr = ledger.part(msg_id).lopenr
        wanted += [
            (one(receipt(original=f"<Id>{msg_id}</Id>"), f"{n}"), msg_id),
            (one(csv_report(lopenr), "NPR_ERR.csv"), msg_id),
            (one(csv_report(lopenr + parts), "NPR_ERR.csv"), ""),
            (one(receipt(original=f"<Id>{msg_id}x</Id>"), f"{n}"), ""),
        ]
    random.Random(7).shuffle(wanted)
    false = 0
    for answered, msg_id in wanted:
        taken = ledger.take(answered.answer)
        false += (taken.part.msg_id if taken.part else "") != msg_id
    assert (len(wanted), false) == (4 * parts, 0)


# --- findings ---


def test_nothing_in_a_report_that_could_be_a_person_is_told_of_a_finding() -> None:
    """A report whose columns are shifted has numbers and names where codes should be."""
    person = "15076500565"
    columns = "Feilkode;Klasse;Attributt;Enhet ID;Feiltype;Episode ID"
    values = f"{person};{person[:6]} {person[6:]};{person};{person};{person};{person}"
    report = f"lopenr;1\n\n{columns}\n{values}\nK1-x;A_b;c;A-RUS;O;E\n"
    told = one(report.encode(), "NPR_ERR.csv")
    found = findings.lines(error_table(told.errors), {}, "ord", "u", b"k")
    assert person not in str(found.to_dicts())
    assert found.select("rule", "class", "fields", "enhet").rows() == [
        ("NPR:?", "", "", None), ("NPR:K1-x", "A_b", "c", "A-RUS"),
    ]  # fmt: skip


def test_a_code_is_explained_by_what_its_errors_share_alone() -> None:
    rows = (
        "K1;E;a;E1;O;Verdi 19 mangler for Ola",
        "K1;E;a;E2;O;Verdi mangler, 010190 12345",
        "K1;E;b;E3;K;Verdi mangler, 020290-23456",
        "K2;E;a;E1;O;annet",
    )
    head = ("lopenr;1", "", "Feilkode;Klasse;Attributt;Episode ID;Feiltype;Feiltekst")
    told = one("\n".join((*head, *rows)).encode(), "NPR_ERR.csv")
    of_code = explained.of_code(error_table(told.errors), "NPR:K1")
    assert explained.texts(of_code) == ["Verdi mangler, (number)"]
    assert explained.counts(of_code, "check") == {"O": 2, "K": 1}
    assert feedback_fields().checks.keys() == set("BEKORTX")


def test_a_field_is_counted_by_what_an_answer_tells_of_it() -> None:
    told = pl.DataFrame(
        {
            "class": ["Episode", "Episode", "Episode", "", "", None],
            "fields": ["omsorgsniva", "omsorgsniva", "", "pid", "", ""],
        }
    )
    assert explained.fields(told) == {"Episode@omsorgsniva": 2, "Episode": 1, "pid": 1}


def test_errors_become_findings_that_the_next_answer_resolves_only_when_it_is_whole() -> None:
    rows = {"episodes": pl.DataFrame({"_row": [7], "episodeID": ["E1"]})}
    errors = error_table(one(csv_report(), "NPR_ERR.csv").errors)
    found = findings.lines(errors, rows, "ord", "u", b"k")
    assert found.select("rule", "consequence", "table", "_row").row(0) == ("NPR:K12", "drop_record", "episodes", 7)
    seen = [life.Seen(str(n), "2020-T1", f"submission {n}", ledgers.NOW) for n in range(3)]
    first = findings.merged(life.empty(), found, {"ord"}, seen[0])
    assert first["status"].to_list() == [life.NEW]
    none = found.clear()
    assert findings.merged(first, none, set(), seen[1])["status"].to_list() == [life.NEW]
    assert findings.merged(first, none, {"ord"}, seen[1])["status"].to_list() == [life.RESOLVED]
    record = found["record"].to_list()
    then, now = (pl.DataFrame({"record": record, "content": [text]}) for text in ("a", "b"))
    assert findings.since(first, then, now)["since"].to_list() == [findings.CHANGED]
    assert findings.predicted(found, found).row(0) == ("episodes", 0, 1, 0)


@pytest.mark.parametrize(
    ("profile", "mode", "state", "word"),
    [
        ("production", 0o770, "ok", "taken from"),
        ("production", 0o771, "wrong", "open to others"),
        ("validation", 0o775, "wrong", "name patients"),
        ("production", 0o777, "wrong", "anybody may put an answer"),
        ("rehearsal", 0o777, "ok", "taken from"),
        ("production", None, "warning", "not there"),
    ],
)
def test_the_doctor_looks_at_who_may_read_and_write_the_folders_of_answers(
    tmp_path: Path, home: Path, profile: str, mode: int | None, state: str, word: str
) -> None:
    place = tmp_path / "answers-of-npr"
    if mode is not None:
        place.mkdir()
        place.chmod(mode)
    given = ledgers.settings(home, profile, f'[inbox]\nfolders = ["{place}"]\n')
    (line,) = (line for line in examine(given) if line["check"] == "inbox")
    assert (line["state"], word in line["what"], bool(line["fix"])) == (state, True, state != "ok")
