"""The way of one episode: from file and row to shipment part.

Belongs here: following keys through the lake. Does not belong here: identity; nothing here opens that tree.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from pipelines.home.store import DiskStore
from pipelines.settings import Settings
from schemas.errors import DataRefused
from schemas.period import Period
from schemas.records import Key, Manifest, Snapshot

Step = dict[str, str]


def trace_episode(settings: Settings, episode: str, period: str | None, unit: str | None) -> list[dict[str, Any]]:
    """One entry per period and unit that knows the episode. DataRefused when none does."""
    store = DiskStore(settings.home)
    ways = []
    for record in sorted((store.home / "runs").glob("*/*/snapshot.json")):
        key = Key(period=record.parent.parent.name, unit=record.parent.name)
        if period in (None, key.period) and unit in (None, key.unit):
            steps = _way(store, key, episode)
            if steps:
                ways.append({"period": key.period, "unit": key.unit, "episodeID": episode, "steps": steps})
    if not ways:
        raise DataRefused(
            "no run knows that episode", where=str(store.home), fix="check the episodeID, or run its period first"
        )
    return ways


def _way(store: DiskStore, key: Key, episode: str) -> list[Step]:
    snapshot = store.load("snapshot", key, Snapshot)
    path = store.snapshot(key.unit, snapshot.id) / "episodes.parquet"
    found = pl.scan_parquet(path).filter(pl.col("episodeID") == episode).select("_row").collect()["_row"].to_list()
    if not found:
        return []
    name = next(file.name for file in snapshot.files if file.table == "episodes")
    rows = ", ".join(str(row) for row in found)
    taken = f"snapshot {snapshot.id} of {snapshot.extracted_at:%Y-%m-%d %H:%M}"
    steps = [_step("snapshot", f"{name}, row {rows}{_raw_row(path, episode)}; {taken}")]
    staged = _rows(store.table("staging", "episodes", key), pl.col("episodeID") == episode)
    if staged.is_empty():
        return [*steps, _quarantine(store, key, found)]
    patient, row = int(staged["_patient"][0]), int(staged["_row"][0])
    steps.append(_step("staging", f"row {row}, patient number {patient} of the extract"))
    if Period.parse(key.period).kind == "kpp":
        return [*steps, *_costs(store, key, episode, patient)]
    decision = _rows(store.table("scope", "episodes", key), pl.col("_row") == row)
    reason = decision["reason"][0] if not decision.is_empty() else "not decided"
    if reason is not None:
        return [*steps, _step("scope", f"out of scope: {reason}")]
    steps.append(_step("scope", f"reported in {key.period}"))
    return [*steps, *_message(store, key, episode, "ord_Episode"), *_shipment(store, key, patient, "ord")]


def _costs(store: DiskStore, key: Key, episode: str, patient: int) -> list[Step]:
    """The way of the costs of the episode: the cost report tells nothing else of it."""
    costs = _rows(store.table("staging", "costs", key), pl.col("episodeID") == episode)
    if costs.is_empty():
        return [_step("scope", "no costs of this episode were delivered")]
    rows = costs["_row"].to_list()
    decided = _rows(store.table("scope", "costs", key), pl.col("_row").is_in(rows))
    reasons = decided["reason"].unique().to_list() if not decided.is_empty() else ["not decided"]
    if None not in reasons:
        return [_step("scope", f"costs out of scope: {', '.join(sorted(reasons))}")]
    told = _step("scope", f"{len(rows)} cost rows reported in {key.period}")
    return [told, *_message(store, key, episode, "kpp_EpisodeKPP"), *_shipment(store, key, patient, "kpp")]


def _raw_row(path: Path, episode: str) -> str:
    """Of a foreign extract: the row of the raw file that the mapping made this row of."""
    frame = pl.scan_parquet(path)
    if "_source_row" not in frame.collect_schema().names():
        return ""
    found = frame.filter(pl.col("episodeID") == episode).select("_source_row").collect().to_series().to_list()
    return f" (raw row {', '.join(str(row) for row in found)})"


def _quarantine(store: DiskStore, key: Key, rows: list[int]) -> Step:
    quarantine = _rows(
        store.table("staging", "quarantine", key), (pl.col("table") == "episodes") & pl.col("_row").is_in(rows)
    )
    faults = "; ".join(
        f"{column}: {rule}" for column, rule in quarantine.select("column", "rule").unique().sort("column").rows()
    )
    return _step("quarantine", faults or "the run stopped before staging was written")


def _message(store: DiskStore, key: Key, episode: str, name: str) -> list[Step]:
    found = _rows(store.table("message", name, key), pl.col("episodeID") == episode)
    if found.is_empty():
        return [_step("message", "not made yet")]
    number = int(found["_id"][0])
    return [_step("message", f"{name} _id {number}, under Objektholder _id {int(found['_parent'][0])}")]


def _shipment(store: DiskStore, key: Key, patient: int, module: str) -> list[Step]:
    record = store.home / "runs" / key.period / key.unit / "manifest.json"
    if not record.is_file():
        return [_step("shipment", "not made yet")]
    manifest = Manifest.model_validate_json(record.read_bytes())
    holders = pl.read_parquet(store.table("message", f"{module}_Objektholder", key), columns=["_patient"])[
        "_patient"
    ].sort()
    place = int(holders.search_sorted(patient))
    passed = 0
    for part in (p for p in manifest.shipments if p.module == module):
        passed += part.patients
        if place < passed:
            what = (
                f"{part.path}, part {part.part} of {part.parts}, submission {manifest.submission}, lopenr {part.lopenr}"
            )
            return [_step("shipment", f"{what}, MsgId {part.msg_id}, sha256 {part.sha256}")]
    return [_step("shipment", "in no part")]


def _rows(path: Path, condition: pl.Expr) -> pl.DataFrame:
    return pl.scan_parquet(path).filter(condition).collect() if path.is_file() else pl.DataFrame()


def _step(stage: str, what: str) -> Step:
    return {"stage": stage, "what": what}
