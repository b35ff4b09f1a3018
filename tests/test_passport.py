"""The passport: whole or refused, whatever byte changes; checked with the key of the unit."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from conftest import call
from ledgers import T1, prepared, sent, settings

from pipelines.exchange import sending
from pipelines.exchange.passport import verify
from pipelines.ledger.book import ledger_of
from schemas.errors import DataRefused, WrongUse


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


def test_a_key_that_others_may_read_signs_nothing(issued: Path, home: Path) -> None:
    assert issued.exists()
    (home / "keys" / "passport-nordfjell.pem").chmod(0o644)
    outcome = call("passport", "2020-T1", "--unit", "nordfjell", home=home)
    assert (outcome.code, "chmod 600" in outcome.err) == (2, True)
