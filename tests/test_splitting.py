"""A report in many parts is the same report: same patients, same rows, each part valid and below the limit."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import stages
from conftest import ROOT, Finished, call
from shipment import melding, opened, patients

from pipelines.parties.rehearsal import make_rehearsal_receiver
from schemas.layouts import load_layout
from schemas.xsd import compile_with_head, validate_stream

pytestmark = pytest.mark.xdist_group("main_job")
PARTS = 15  # each holds a signature of 6 kB besides its patients


def _told(summary: dict[str, Any], home: Path) -> dict[str, dict[str, bytes]]:
    """Module -> patient -> canonical XML, over all parts; a patient in two parts fails."""
    told: dict[str, dict[str, bytes]] = {}
    for part in summary["shipments"]:
        document = opened(Path(part["path"]), home)
        document = gzip.decompress(document) if document.startswith(b"\x1f\x8b") else document
        assert validate_stream(compile_with_head(load_layout(part["module"], "54.0.1")), [document]) == []
        assert Path(part["path"]).stat().st_size == part["packed_bytes"] <= part["limit_bytes"]
        found = patients(melding(document))
        assert len(found) == part["patients"]
        assert not told.setdefault(part["module"], {}).keys() & found.keys()
        told[part["module"]] |= found
    return told


def _parts(summary: dict[str, Any], module: str) -> list[dict[str, Any]]:
    return [part for part in summary["shipments"] if part["module"] == module]


def test_many_parts_are_the_whole(finished: Finished, home: Path) -> None:
    whole = finished.unit("nordfjell")
    size = _parts(whole, "ord")[0]["packed_bytes"]
    limit = size // (PARTS - 2)
    told = stages.packed_again(finished, home, "nordfjell", limit)
    assert len(_parts(told, "ord")) >= PARTS
    assert _told(told, home) == _told(whole, finished.home)
    assert [m["patients"] for m in told["messages"]] == [m["patients"] for m in whole["messages"]]
    numbers = Counter(melding(opened(Path(part["path"]), home)).get("lopenr") for part in told["shipments"])
    assert sorted(map(int, filter(None, numbers))) == list(range(1, len(told["shipments"]) + 1))


def test_at_the_limit_and_one_byte_around_it(finished: Finished, home: Path) -> None:
    whole = finished.unit("nordfjell")
    size = _parts(whole, "ord")[0]["packed_bytes"]
    for limit, parts in ((size - 1, 2), (size, 1), (size + 1, 1)):
        told = stages.packed_again(finished, home / str(limit), "nordfjell", limit)
        assert len(_parts(told, "ord")) == parts
        assert _told(told, home / str(limit)) == _told(whole, finished.home)


def _production(folder: Path, home: Path, more: str = "") -> Path:
    """Settings of a hospital that reports for real, with the rehearsal's certificate in NPR's place."""
    key, certificate = make_rehearsal_receiver(dt.datetime.now(dt.UTC))
    home.mkdir(parents=True, exist_ok=True)
    (home / "npr.pem").write_bytes(certificate)
    (home / "npr-key.pem").write_bytes(key)
    text = (ROOT / "npr.toml").read_text(encoding="utf-8")
    shipping = f'receiver_certificate = "{home / "npr.pem"}"\npacked_bytes = 60000'
    text = text.replace("gzip = false", f"gzip = false\n{shipping}").replace('"rehearsal"', '"production"')
    text = text.replace('"data/sample/sorvik"', f'"{folder}"') + more
    (home / "npr.toml").write_text(text, encoding="utf-8")
    toml = folder / "extract.toml"
    toml.write_text(
        toml.read_text(encoding="utf-8").replace('environment = "test"', 'environment = "production"'), "utf-8"
    )
    return home / "npr.toml"


def test_production_splits_only_with_a_recorded_agreement(extract: Callable[[str], Path], tmp_path: Path) -> None:
    folder = extract("sorvik")
    config = _production(folder, tmp_path / "settings")
    arguments = ("run", "2020-T1", "--unit", "sorvik", "--config", config)
    refused = call(*arguments, home=tmp_path / "without")
    assert refused.code == 1
    assert "no agreement with NPR to split is recorded" in refused.err
    assert "gzip" in refused.err
    assert "NHN-EDI-STOR" in refused.err
    assert not list((tmp_path / "without").glob("submissions/*/*/*/parts"))

    agreement = '\n[shipping.split_agreement]\nwho = "NPR"\nwhen = 2020-09-01\nreference = "20/12345-6"\n'
    config.write_text(config.read_text(encoding="utf-8") + agreement, encoding="utf-8")
    prepared = call(*arguments, home=tmp_path / "with")
    # All parts of ord are made now; those of ide are not, for the identities are invented, which the guard sees.
    assert prepared.code == 1
    assert "ide part 1" in prepared.err
    assert "synthetic identities" in prepared.err
    assert "agreement" not in prepared.err
    assert not (tmp_path / "with" / "outbox").exists()


def test_gzip_tells_the_same_in_less(finished: Finished, home: Path, tmp_path: Path) -> None:
    config = tmp_path / "npr.toml"
    text = (ROOT / "npr.toml").read_text(encoding="utf-8").replace("gzip = false", "gzip = true")
    config.write_text(text.replace('"data/', f'"{ROOT}/data/'), encoding="utf-8")
    whole = finished.unit("nordfjell")
    limit = 40_000
    split = stages.packed_again(finished, home / "split", "nordfjell", limit, config)
    parts = _parts(split, "ord")
    assert len(parts) > 1
    assert sum(p["packed_bytes"] for p in parts) < _parts(whole, "ord")[0]["packed_bytes"] / 3
    assert all(p["packed_bytes"] > 0.9 * limit for p in parts[:-1])
    assert _told(split, home / "split") == _told(whole, finished.home)
    # What is said does not depend on how it is packed; how many parts it takes is said.
    again = stages.packed_again(finished, home / "again", "nordfjell", None, config)
    contents = [json.loads(Path(one["manifest"]).read_bytes())["content"] for one in (whole, split, again)]
    assert contents[0] == contents[2] != contents[1]
