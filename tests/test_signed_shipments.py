"""Shipments of the whole pipeline, as a stranger takes them: ripmime, xmlsec1 and openssl, none of it ours."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
import stages
from conftest import ROOT, Finished, call
from cryptography import x509
from lxml import etree
from shipment import melding, opened
from strangers import Keys, document_of_mail, needs_tools

from transforms.shipping.envelope import read_melding
from transforms.shipping.packing import verify_mail

pytestmark = pytest.mark.xdist_group("main_job")


@needs_tools
def test_strangers_read_every_part(finished: Finished, tmp_path: Path) -> None:
    parts = [part for summary in finished.summaries for part in summary["shipments"]]
    assert len(parts) >= 3
    for part in parts:
        document = document_of_mail(Path(part["path"]), Keys.of_rehearsal(finished.home), tmp_path / "taken")
        assert document == opened(Path(part["path"]), finished.home)
        assert etree.QName(melding(document)).localname == "Melding"


def test_the_signer_is_the_rehearsals_own(finished: Finished) -> None:
    sender = x509.load_pem_x509_certificate((finished.home / "rehearsal" / "sender.pem").read_bytes())
    for summary in finished.summaries:
        for part in summary["shipments"]:
            assert verify_mail(Path(part["path"]).read_bytes()) == sender
    for key in ("sender-key.pem", "receiver-key.pem"):
        assert (finished.home / "rehearsal" / key).stat().st_mode & 0o777 == 0o600


def test_another_form_carries_the_same_report(finished: Finished, home: Path, tmp_path: Path) -> None:
    """PatientReport, Base64Container and gzip, as NPR might ask for them: only the dress differs."""
    text = (ROOT / "npr.toml").read_text(encoding="utf-8")
    text = text.replace('"data/sample/sorvik"', f'"{ROOT / "data" / "sample" / "sorvik"}"')
    form = 'reference = "a test"\ndocument = "PatientReport"\ncontent = "base64"\ngzip = true'
    (tmp_path / "npr.toml").write_text(f"{text}\n[shipping.form]\n{form}\n", encoding="utf-8")
    dressed = stages.packed_again(finished, home, "sorvik", config=tmp_path / "npr.toml")
    plain = finished.unit("sorvik")
    assert dressed["messages"] == plain["messages"]
    for part, before in zip(dressed["shipments"], plain["shipments"], strict=True):
        document = gzip.decompress(opened(Path(part["path"]), home))
        assert b"<PatientReport><CaseNo>1</CaseNo><Document>" in document
        assert b"<Base64Container" in document
        assert read_melding(document) == read_melding(opened(Path(before["path"]), finished.home))
        assert Path(part["path"]).stat().st_size == part["packed_bytes"] < before["packed_bytes"]
    size = max(part["packed_bytes"] for part in dressed["shipments"])
    arguments = ("run", "2020-T1", "--unit", "sorvik", "--config", tmp_path / "npr.toml", "--json")
    split = call(*arguments, "--limit-bytes", str(size - 1), home=home / "split")
    assert split.code == 0, split.err
    assert len(split.json["shipments"]) == len(plain["shipments"]) + 1
    assert max(part["packed_bytes"] for part in split.json["shipments"]) < size


def test_a_part_of_50_mb_is_packed_within_250_mb(tmp_path: Path) -> None:
    """By the benchmark's own process: 50 000 000 bytes that do not compress, from a file to a signed mail in a file."""
    command = [sys.executable, "benchmarks/packing.py", "--way", "memory", "--folder", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    figures = json.loads(done.stdout)
    assert figures["mail"] > 68_000_000
    assert 50_000_000 < figures["peak"] < 250_000_000
