"""Retention: what goes, what stays however old it is, and the proof of it."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from pathlib import Path

import ledgers
import polars as pl
import pytest
from conftest import call
from test_inbox import _zip, csv_report, drop
from test_receipts import receipt

from assets.ports import Note
from pipelines.exchange.inbox import take_in
from pipelines.home.store import DiskStore
from pipelines.ledger.book import SqlLedger, ledger_of
from pipelines.purge import Purge
from schemas.records import Key, Snapshot, digest
from schemas.submission_states import Event

T1, M01, M02, M03 = (Key(period=f"2020-{name}", unit="nordfjell") for name in ("T1", "M01", "M02", "M03"))
LATER = dt.datetime(2020, 9, 1, tzinfo=dt.UTC)
BY = ("--before", "2021-01-01", "--by", "Kari Nordmann")


def _made(store: DiskStore, key: Key, snapshot: str) -> list[Path]:
    """Files as the stages leave them, of a few bytes each; the paths that hold data of patients."""
    paths = [store.snapshot(key.unit, snapshot, identity=private) / "x.parquet" for private in (False, True)]
    paths += [store.table("staging", "patients", key), store.table("staging", "identities", key, identity=True)]
    paths += [store.fragments("ord", key) / "0.bin", store.fragments("ide", key, identity=True) / "0.bin"]
    paths += [store.kept(key, 1) / "episodes.parquet"]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame({"x": [f"{key} {path.name}"]}).write_parquet(path)
    record = Snapshot(
        id=snapshot,
        unit=key.unit,
        contract="1",
        source="",
        source_system="test",
        environment="test",
        extracted_at=dt.datetime(2020, 5, 1),
        files=(),
    )
    (store.snapshot(key.unit, snapshot) / "snapshot.json").write_text(record.model_dump_json(), encoding="utf-8")
    store.save("snapshot", key, record)
    store.save("manifest", key, record)
    return paths


def _accepted(ledger: SqlLedger, room: Path, key: Key, profile: str = "production", inputs: str = "x") -> None:
    manifest = ledgers.prepared(ledger, room, key, inputs, profile=profile)
    for msg_id in ledgers.sent(ledger, manifest):
        ledger.record(msg_id, Event.CONTENT_CLEAN, Note("test", LATER))


@pytest.fixture
def ledger(home: Path) -> SqlLedger:
    home.mkdir()
    return ledger_of(home)


def test_accepted_partitions_go_and_all_others_stay(home: Path, ledger: SqlLedger, tmp_path: Path) -> None:
    store = DiskStore(home)
    gone = _made(store, T1, "s1")
    _accepted(ledger, tmp_path, T1)
    stays = _made(store, M01, "s2")  # accepted once, and a correction is being prepared
    _accepted(ledger, tmp_path, M01)
    ledgers.prepared(ledger, tmp_path, M01, "correction", profile="production")
    stays += _made(store, M02, "s2")  # a rehearsal only
    _accepted(ledger, tmp_path, M02, profile="rehearsal")
    gone += [path for path in _made(store, M03, "s2") if "snapshot" not in path.parts]  # its snapshot is of others too
    ledgers.prepared(ledger, tmp_path, M03, "first", profile="production")  # superseded by the one accepted
    _accepted(ledger, tmp_path, M03, inputs="second")

    planned = call("purge", *BY, "--dry-run", "--json", home=home)
    assert planned.code == 0, planned.err
    assert all(path.exists() for path in [*gone, *stays])
    done = call("purge", *BY, "--json", home=home)
    assert done.code == 0, done.err
    assert [key["period"] for key in done.json["partitions"]] == ["2020-M03", "2020-T1"]
    why = {one["period"]: one["why"] for one in done.json["kept"]}
    assert why == {
        "2020-M01": "submission 2 is prepared, not accepted",
        "2020-M02": "never submitted towards production",
    }
    assert {path for path in [*gone, *stays] if not path.exists()} == set(gone)
    assert planned.json["removed"] == done.json["removed"]
    records = {path.name for path in (home / "runs" / "2020-T1" / "nordfjell").iterdir()}
    assert records == {"manifest.json"}, "evidence stays, and no stage is taken for made"


def test_the_proof_says_what_went_and_hangs_on_the_audit_log(home: Path, ledger: SqlLedger, tmp_path: Path) -> None:
    store = DiskStore(home)
    paths = _made(store, T1, "s1")
    size = sum(path.stat().st_size for path in paths)
    _accepted(ledger, tmp_path, T1)
    outcome = call("purge", *BY, home=home)
    (path,) = (home / "purges").iterdir()
    proof = Purge.model_validate_json(path.read_bytes())
    assert f"proof: {path}" in outcome.out
    assert (proof.state, proof.by, proof.before) == ("done", "Kari Nordmann", dt.date(2021, 1, 1))
    assert proof.bytes > size
    assert proof.files == sum(one.files for one in proof.removed) > len(paths)
    assert all(not (home / one.path).exists() for one in proof.removed)
    line = ledger.audit()[-1]
    assert (line.who, line.what) == ("Kari Nordmann", "purged 1 partitions before 2021-01-01")
    assert digest(json.loads(path.read_bytes())) in line.detail
    assert ledger.audit_broken_at() is None
    again = call("purge", *BY, "--json", home=home)
    assert (again.code, again.json["files"]) == (0, 0)


def test_answers_go_with_the_partition_they_speak_of(home: Path, ledger: SqlLedger, tmp_path: Path) -> None:
    """They quote what was sent; what belongs to no partition goes by the day it came, and the rest stays."""
    store = DiskStore(home)
    for key, snapshot in ((T1, "s1"), (M02, "s2")):
        _made(store, key, snapshot)
    said: dict[str, bytes] = {}
    for key in (T1, M02):
        first = ledgers.sent(ledger, ledgers.prepared(ledger, tmp_path, key, "first", profile="production"))[0]
        rows = f"K1;Episode;a;E-{key.period};9\n"
        said[key.period] = csv_report(ledger.part(first).lopenr, rows)
    _accepted(ledger, tmp_path, T1, inputs="second")
    said["both"] = _zip(*((f"NPR_ERR-{name}.csv", data + b"\n") for name, data in said.items()))
    for name, data in {**said, "unknown": receipt(), "late": receipt(original="<Id>late</Id>")}.items():
        drop(home, f"NPR_ERR-{name}.csv", data)
        take_in(ledgers.settings(home), LATER if name != "late" else dt.datetime(2021, 2, 1, tzinfo=dt.UTC))
    assert not list((home / "inbox").iterdir())
    answers = home / "identity" / "answers"
    before = {path for path in answers.rglob("*") if path.is_file()}
    assert {path.stat().st_mode & 0o077 for path in before} == {0}

    planned = call("purge", *BY, "--dry-run", "--json", home=home).json
    done = call("purge", *BY, "--json", home=home)
    assert done.code == 0, done.err
    assert planned["removed"] == done.json["removed"]
    gone = before - set(answers.rglob("*"))
    assert {str(path.relative_to(home)) for path in gone} <= {one["path"] for one in done.json["removed"]}
    raw = {hashlib.sha256(data).hexdigest(): name for name, data in said.items()}
    raw |= {hashlib.sha256(receipt()).hexdigest(): "unknown"}
    assert {raw[path.name] for path in gone if path.parent.name == "raw"} == {"2020-T1", "unknown"}
    left = [pl.read_parquet(path)["episode_id"].to_list() for path in answers.glob("errors/*.parquet")]
    assert left == [["E-2020-M02"], ["E-2020-M02"]]


def test_what_is_within_the_retention_is_not_even_planned(home: Path, ledger: SqlLedger, tmp_path: Path) -> None:
    paths = _made(DiskStore(home), T1, "s1")
    _accepted(ledger, tmp_path, T1)
    tomorrow = (dt.datetime.now(dt.UTC) + dt.timedelta(days=1)).date().isoformat()
    refused = call("purge", "--before", tomorrow, "--by", "Kari Nordmann", home=home)
    assert refused.code == 2
    assert "within the retention of 730 days" in refused.err
    young = call("purge", "--before", "2020-08-31", "--by", "Kari Nordmann", "--json", home=home)
    assert young.json["kept"][0]["why"] == "submission 1 was accepted on 2020-09-01"
    assert all(path.exists() for path in paths)
