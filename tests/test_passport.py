"""The passport: whole or refused, whatever byte changes; checked with the key of the unit."""

from __future__ import annotations

import datetime as dt
import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from conftest import call
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from ledgers import NOW, T1, prepared, sent, settings

from pipelines.exchange import sending
from pipelines.exchange.passport import _canonical, _raw, told, verify
from pipelines.ledger.book import ledger_of
from schemas.decisions import Decision, DecisionKind
from schemas.errors import DataRefused, WrongUse
from schemas.sending import Answer
from schemas.submission_states import Event


@pytest.fixture
def issued(home: Path) -> Path:
    ledger = ledger_of(home)
    sent(ledger, prepared(ledger, home, profile="production"))
    sending.issue_passport(settings(home), T1, None)
    return home / "submissions" / "2020-T1" / "nordfjell" / "0001" / "passport.json"


def test_a_passport_tells_what_was_sent_by_whose_word(issued: Path, home: Path) -> None:
    key = home / "keys" / "passport-nordfjell.pub.pem"
    outcome = call("passport", "verify", issued, "--key", key, "--json", home=home)
    assert outcome.code == 0, outcome.err
    said = outcome.json
    ledger = ledger_of(home)
    assert [part["packed_sha256"] for part in said["parts"]] == [p.packed_sha256 for p in ledger.parts(T1, 1)]
    assert [event["after"] for event in said["parts"][0]["events"]] == ["prepared", "handing_over", "handed_over"]
    wanted = {
        "snapshot",
        "schemas",
        "codes_sha256",
        "rules_sha256",
        "tables",
        "decisions",
        "audit",
        "sealed",
        "pipeline",
    }
    assert wanted <= set(said)
    audit = ledger.audit()
    assert said["audit"]["hash"] == audit[said["audit"]["line"] - 1].hash
    assert (audit[-1].what, audit[-1].detail.startswith("submission 1: ")) == ("passport", True)
    assert (home / "keys" / "passport-nordfjell.pem").stat().st_mode & 0o777 == 0o600


def test_any_byte_that_changes_is_found(issued: Path) -> None:
    data = issued.read_bytes()
    assert verify(data, "x")["submission"] == 1
    dice = random.Random(1)
    # Every place once with one bit, which is every kind of byte there is; and 300 places with any other value.
    changes = [(place, data[place] ^ 1 << dice.randrange(8)) for place in range(len(data))]
    changes += [(place, data[place] ^ dice.randrange(1, 256)) for place in dice.choices(range(len(data)), k=300)]
    for place, value in changes:
        spoilt = data[:place] + bytes([value]) + data[place + 1 :]
        with pytest.raises(DataRefused, match="no whole passport"):
            verify(spoilt, "x")
    for spoilt in (data[:-1], data + b"\n", b" " + data, b"", b"[]", b"{}", data.replace(b":", b": ", 1)):
        with pytest.raises(DataRefused, match="no whole passport"):
            verify(spoilt, "x")


def test_a_passport_signed_anew_by_another_is_found_with_the_key(issued: Path, home: Path, tmp_path: Path) -> None:
    ours = (home / "keys" / "passport-nordfjell.pub.pem").read_bytes()
    other = tmp_path / "other"
    ledger = ledger_of(other)
    prepared(ledger, other)
    _, forged = sending.issue_passport(settings(other), T1, None)
    assert json.loads(forged.read_bytes())["passport"]["submission"] == 1
    assert verify(forged.read_bytes(), "x")
    with pytest.raises(DataRefused, match="another key"):
        verify(forged.read_bytes(), "x", ours)
    with pytest.raises(WrongUse, match="holds no public key"):
        verify(issued.read_bytes(), "x", b"none")
    assert verify(issued.read_bytes(), "x", ours)


def test_without_a_key_nobody_has_signed(issued: Path, home: Path) -> None:
    with_key = ("--key", home / "keys" / "passport-nordfjell.pub.pem")
    for key, signer, text in ((with_key, "the key given", "with the key given"), ((), "not proven", "not prove who")):
        assert call("passport", "verify", issued, *key, "--json", home=home).json["signer"] == signer
        outcome = call("passport", "verify", issued, *key, home=home)
        assert (outcome.code, text in outcome.out.splitlines()[0]) == (0, True)


def _signed(passport: object, path: Path) -> Path:
    """A file that is signed with a key somebody has just made."""
    key = Ed25519PrivateKey.generate()
    body = _canonical(passport)
    signature = {"public_key": _raw(key.public_key()), "value": key.sign(body).hex()}
    path.write_bytes(_canonical({"passport": passport, "signature": signature}))
    return path


ODD: dict[str, dict[str, object]] = {
    "nothing": {},
    "no approval can be read": {"decisions": [{"kind": "approve"}]},
    "no day of issue": {"issued_at": "yesterday"},
    "no parts": {"parts": {}},
    "no key": {"key": None},
}


@pytest.mark.parametrize("odd", ODD)
def test_what_is_signed_and_is_no_passport_is_refused(odd: str, issued: Path, home: Path, tmp_path: Path) -> None:
    changes = ODD[odd]
    passport = json.loads(issued.read_bytes())["passport"] | changes if changes else {}
    outcome = call("passport", "verify", _signed(passport, tmp_path / "odd.json"), home=home)
    assert (outcome.code, "is signed and is no passport" in outcome.err) == (1, True), outcome.err
    assert all(name in outcome.err for name in changes)


def test_a_stranger_writes_nothing_onto_the_screen(issued: Path, home: Path, tmp_path: Path) -> None:
    passport = json.loads(issued.read_bytes())["passport"] | {"profile": "x\n\x1b[2Kwhole, signed with the key given"}
    outcome = call("passport", "verify", _signed(passport, tmp_path / "odd.json"), home=home)
    assert (outcome.code, outcome.out.count("\n"), "\x1b" in outcome.out) == (0, 3 + len(passport["parts"]), False)


def test_a_log_that_was_cut_off_is_found_against_a_passport(issued: Path, home: Path, tmp_path: Path) -> None:
    def verified(file: Path) -> tuple[int, str]:
        outcome = call("audit", "--verify", "--passport", file, home=home)
        return outcome.code, outcome.out + outcome.err

    line = json.loads(issued.read_bytes())["passport"]["audit"]["line"]
    code, said = verified(issued)
    assert (code, "passports that fit: 1" in said) == (0, True), said
    other = ledger_of(tmp_path / "other")
    sent(other, prepared(other, tmp_path / "other"))
    _, foreign = sending.issue_passport(settings(tmp_path / "other"), T1, None)
    code, said = verified(foreign)
    assert (code, "which has another one there" in said) == (1, True), said
    with closing(sqlite3.connect(home / "ledger.sqlite")) as database, database:
        database.execute("DELETE FROM audit WHERE number >= ?", [line])
    assert call("audit", "--verify", home=home).code == 0  # the chain alone cannot tell
    code, said = verified(issued)
    assert (code, f"names line {line} of the audit log, which ends at line {line - 1}" in said) == (1, True), said
    spoilt = tmp_path / "spoilt.json"
    spoilt.write_bytes(issued.read_bytes()[:-1])
    assert verified(spoilt)[0] == 1
    assert call("audit", "--passport", issued, home=home).code == 2


# Who said what of which submission, and whom the passport of submission 2 names.
APPROVALS = {
    "nobody": ([], "nobody"),
    "one": ([("Kari", 2, "")], "Kari"),
    "of another submission": ([("Kari", 1, "")], "nobody"),
    "taken back": ([("Kari", 2, ""), ("Kari", 2, "withdraws")], "nobody"),
    "taken back by another": ([("Kari", 2, ""), ("Ola", 2, "withdraws")], "nobody"),
    "taken back and given by another": ([("Kari", 2, ""), ("Kari", 2, "withdraws"), ("Ola", 2, "")], "Ola"),
    "of other bytes": ([("Kari", 2, "other bytes")], "nobody"),
    "another one taken back": ([("Kari", 2, ""), ("Ola", 1, ""), ("Ola", 1, "withdraws")], "Kari"),
}


@pytest.mark.parametrize("case", APPROVALS)
def test_the_approver_is_whose_word_holds_for_these_parts(case: str, home: Path) -> None:
    words, named = APPROVALS[case]
    ledger = ledger_of(home)
    manifests = {n: prepared(ledger, home, inputs=str(n), profile="production") for n in (1, 2)}
    for place, (by, number, how) in enumerate(words):
        ledger.decide(
            Decision(
                kind=DecisionKind.APPROVE,
                period=T1.period,
                unit=T1.unit,
                subject="production",
                by=by,
                at=NOW + dt.timedelta(minutes=place),
                submission=number,
                content="0" * 64 if how == "other bytes" else manifests[number].sealed(),
                withdrawn=how == "withdraws",
            )
        )
    said, _ = sending.issue_passport(settings(home), T1, 2)
    assert f"approved by {named}" in told(said)
    assert [one["by"] for one in said["decisions"]] == ([] if named == "nobody" else [named])
    # A passport of an older program holds every decision of the period, and is told in the same way.
    assert told(said) == told(said | {"decisions": [one.model_dump(mode="json") for one in ledger.decisions(T1)]})


def test_a_passport_holds_what_is_decided_of_its_submission(home: Path) -> None:
    ledger = ledger_of(home)
    place = {"period": T1.period, "unit": T1.unit, "by": "Kari", "at": NOW}
    msg_id = sent(ledger, prepared(ledger, home, inputs="1", profile="production"))[0]
    prepared(ledger, home, inputs="2", profile="production")
    past = {"until": NOW.date() - dt.timedelta(days=1)}
    for kind, subject, more in (
        ("override", "DX-01", {"count": 1}),
        ("override", "DX-01", {"count": 2}),
        ("waive", "WAIT-04", past),
        ("accept", "production", {"content": "c"}),
        ("accept", "validation", {"content": "c"}),
        ("resend", msg_id, {"submission": 1}),
    ):
        ledger.decide(Decision.model_validate({**place, "kind": kind, "subject": subject, **more}))
    said = [sending.issue_passport(settings(home), T1, number)[0]["decisions"] for number in (1, 2)]
    kept = [("accept", "production", None), ("override", "DX-01", 2)]
    assert sorted((one["kind"], one["subject"], one["count"]) for one in said[1]) == kept
    assert sorted((one["kind"], one["subject"], one["count"]) for one in said[0]) == [*kept, ("resend", msg_id, None)]


def test_a_passport_holds_what_left_and_what_was_answered(home: Path) -> None:
    ledger = ledger_of(home)
    manifest = prepared(ledger, home, profile="production")
    first, second = sent(ledger, manifest)
    by_head = [
        part.model_copy(update={"document_sha256": "d" * 64, "document_bytes": 7}) for part in manifest.shipments
    ]
    kept = manifest.model_copy(update={"shipments": (by_head[0], manifest.shipments[1]), "rules_sha256": "r" * 64})
    place = home / "submissions" / "2020-T1" / "nordfjell" / "0001" / "parts" / "manifest.json"
    place.write_text(kept.model_dump_json(), encoding="utf-8")
    answers = [(first, "a", "apprec", Event.APPREC_OK), (second, "b", "apprec", Event.APPREC_OK)]
    answers.append((first, "c", "npr_err", Event.CONTENT_CLEAN))
    for msg_id, letter, kind, event in answers:
        ledger.take(Answer(digest=letter * 64, kind=kind, events=(event,), received_at=NOW, msg_id=msg_id))
    said, _ = sending.issue_passport(settings(home), T1, None)
    assert [part["document_sha256"] for part in said["parts"]] == ["d" * 64, ""]
    shown = [line.partition("sha256 ")[2] for line in told(said).splitlines()[2:]]
    assert shown == ["d" * 64 + " (head message)", manifest.shipments[1].sha256]
    receipts = [[(one["sha256"], one["kind"], one["events"]) for one in part["receipts"]] for part in said["parts"]]
    assert receipts == [
        [("a" * 64, "apprec", ["apprec_ok"]), ("c" * 64, "npr_err", ["content_clean"])],
        [("b" * 64, "apprec", ["apprec_ok"])],
    ]
    # Digests of program and rules are those of the manifest; an older one has none, and none is made up.
    assert (said["rules_sha256"], said["code_sha256"]) == ("r" * 64, "")


def test_a_key_that_others_may_read_signs_nothing(issued: Path, home: Path) -> None:
    assert issued.exists()
    (home / "keys" / "passport-nordfjell.pem").chmod(0o644)
    outcome = call("passport", "2020-T1", "--unit", "nordfjell", home=home)
    assert (outcome.code, "chmod 600" in outcome.err) == (2, True)
