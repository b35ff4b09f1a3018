"""A report in many parts is the same report: same patients, same rows, each part valid and below the limit."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from conftest import Finished, call
from shipment import melding, opened, patients

from schemas.layouts import load_layout
from schemas.xsd import compile_with_head, validate_stream

pytestmark = pytest.mark.xdist_group("main_job")
PARTS = 20


def _told(summary: dict[str, Any], home: Path) -> dict[str, dict[str, bytes]]:
    """Module -> patient -> canonical XML, over all parts; a patient in two parts fails."""
    told: dict[str, dict[str, bytes]] = {}
    for part in summary["shipments"]:
        document = opened(Path(part["path"]), home)
        assert validate_stream(compile_with_head(load_layout(part["module"], "54.0.1")), [document]) == []
        assert Path(part["path"]).stat().st_size == part["packed_bytes"] <= part["limit_bytes"]
        found = patients(melding(document))
        assert len(found) == part["patients"]
        assert not told.setdefault(part["module"], {}).keys() & found.keys()
        told[part["module"]] |= found
    return told


def _parts(summary: dict[str, Any], module: str) -> list[dict[str, Any]]:
    return [part for part in summary["shipments"] if part["module"] == module]


def _run(home: Path, limit: int) -> dict[str, Any]:
    outcome = call("run", "2020-T1", "--unit", "nordfjell", "--limit-bytes", limit, "--json", home=home)
    assert outcome.code == 0, outcome.err
    return outcome.json  # type: ignore[no-any-return]


def test_twenty_parts_are_the_whole(finished: Finished, home: Path) -> None:
    whole = finished.unit("nordfjell")
    size = _parts(whole, "ord")[0]["packed_bytes"]
    limit = int(size / (PARTS - 2))
    summary = _run(home, limit)
    assert len(_parts(summary, "ord")) >= PARTS
    assert _told(summary, home) == _told(whole, finished.home)
    assert [m["patients"] for m in summary["messages"]] == [m["patients"] for m in whole["messages"]]
    numbers = Counter(melding(opened(Path(part["path"]), home)).get("lopenr") for part in summary["shipments"])
    assert sorted(map(int, filter(None, numbers))) == list(range(1, len(summary["shipments"]) + 1))


def test_at_the_limit_and_one_byte_around_it(finished: Finished, home: Path) -> None:
    whole = finished.unit("nordfjell")
    size = _parts(whole, "ord")[0]["packed_bytes"]
    for limit, parts in ((size - 1, 2), (size, 1), (size + 1, 1)):
        summary = _run(home / str(limit), limit)
        assert len(_parts(summary, "ord")) == parts
        assert _told(summary, home / str(limit)) == _told(whole, finished.home)
