"""What follows from findings: their life, the verdict, the figures of the waiting list, and what is compared later.

Belongs here: going through findings and class tables batch by batch, and the tables of layer ``finding`` made of them.
Does not belong here: the rules (``assets.findings``), the judging of figures (``assets.baselines``), any formula.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Iterator, Mapping

import polars as pl

from assets import guards
from assets.lake import current, message_path
from assets.ports import Run
from schemas.contract import Contract
from schemas.decisions import Decision, DecisionKind
from schemas.period import Period, period_keys
from schemas.records import Key, MessageRows, MessageSet, Snapshot, Staged, digest
from transforms.content import finding_ledger as life
from transforms.content import verdict
from transforms.content.decided import in_force
from transforms.content.waiting_list import COLUMNS, waiting_list
from transforms.message.class_tables import nodes_of_patients

LAYER = "finding"
WAIVERS: dict[str, pl.DataType] = {
    "subject": pl.String(),
    "by": pl.String(),
    "at": pl.Datetime("us", "UTC"),
    "until": pl.Date(),
    "why": pl.String(),
}


def review(run: Run) -> None:
    """Everything that is told of a run once its findings lie in the lake; the same run again changes nothing."""
    made = current(run, "messages", MessageSet)
    staged = current(run, "staging", Staged)
    contract = run.registry.contract(run.store.load("snapshot", run.key, Snapshot).contract)
    write(run, "ledger", _followed(run, contract, staged))
    fate, lost = _fates(run, made, staged)
    write(run, "verdict", fate)
    write(run, "lost", lost)
    if "ord" in run.modules:
        write(run, "waiting_list", _waiting_list(run))
    keep_waivers(run)
    guards.measure(run, contract, staged)


def write(run: Run, name: str, frame: pl.DataFrame) -> None:
    """Put a table of layer ``finding`` into the lake, whole."""
    with run.store.writing(run.store.table(LAYER, name, run.key)) as path:
        frame.write_parquet(path)


def read(run: Run, name: str, key: Key | None = None) -> pl.DataFrame | None:
    """A table of layer ``finding``, or None where there is none."""
    path = run.store.table(LAYER, name, key or run.key)
    return pl.read_parquet(path) if path.is_file() else None


# --- the life of findings ---


def _followed(run: Run, contract: Contract, staged: Staged) -> pl.DataFrame:
    found = life.lines(pl.concat([pl.DataFrame(schema=life.KEYED), *_keyed(run, contract, staged)]))
    before = read(run, "ledger")
    if before is None:
        before = _of_earlier_period(run)
    prints = hashlib.sha256("\n".join(found["fingerprint"].sort()).encode()).hexdigest()
    seen = life.Seen(
        run=digest([run.key.period, staged.snapshot, prints])[:20],
        period=run.key.period,
        snapshot=staged.snapshot,
        at=run.now(),
    )
    return life.merge(before, found, seen)


def _keyed(run: Run, contract: Contract, staged: Staged) -> Iterator[pl.DataFrame]:
    scan = pl.scan_parquet(run.store.table(LAYER, "findings", run.key))
    secret = run.store.pseudonym_key()
    spans = [pl.col("_patient").is_null(), *(_within(first, last) for first, last in staged.batches)]
    for span in spans:
        batch = scan.filter(span).collect()
        if not batch.is_empty():
            tables = {name: _keys(run, contract, name, span) for name in set(batch["table"]) & set(contract.tables)}
            yield life.keyed(batch, contract, tables, run.key.unit, secret)


def _within(first: int, last: int) -> pl.Expr:
    return pl.col("_patient").is_between(first, last, closed="left")


def _keys(run: Run, contract: Contract, name: str, span: pl.Expr) -> pl.DataFrame:
    """Place and key columns of the rows of a table. Of identities the key is pasientNr, and nothing else is read."""
    table = contract.tables[name]
    path = run.store.table("staging", name, run.key, identity=table.identity)
    scan = pl.scan_parquet(path)
    rows = scan.filter(span) if table.owner or name == "patients" else scan
    return rows.select("_row", *table.key).collect()


def _of_earlier_period(run: Run) -> pl.DataFrame:
    """What is open in the nearest earlier period of the year; periods are cumulative."""
    for key in earlier_periods(run.period):
        ledger = read(run, "ledger", Key(period=key, unit=run.key.unit))
        if ledger is not None:
            return life.carried(ledger)
    return life.empty()


def earlier_periods(period: Period) -> list[str]:
    """Keys of the periods of the year that end before this one, the nearest first."""
    keys = period_keys()
    before = keys[: keys.index(period.key)]
    return [key for key in reversed(before) if key.startswith(f"{period.year}-")]


# --- verdict ---


def _fates(run: Run, made: MessageSet, staged: Staged) -> tuple[pl.DataFrame, pl.DataFrame]:
    fates = [pl.DataFrame(schema=verdict.FATE)]
    losses = [pl.DataFrame(schema=verdict.LOST)]
    for module in made.modules:
        for fate, lost in _of_module(run, module, staged):
            fates.append(fate)
            losses.append(lost)
        # Batches are added up as they come, so that memory does not grow with the extract.
        fates, losses = [verdict.summed(fates)], [verdict.summed(losses)]
    return fates[0], losses[0]


def _of_module(run: Run, module: MessageRows, staged: Staged) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    use = module.schema_use
    layout = run.registry.as_recorded(use)
    below = {node.id for node in nodes_of_patients(layout)} & set(module.rows)
    scan = pl.scan_parquet(run.store.table(LAYER, "findings", run.key)).filter(pl.col("module") == use.module)
    above = scan.filter(pl.col("_patient").is_null()).collect()
    broken = above.filter(pl.col("class") == "Enhet", pl.col("consequence") == life.DROPS)
    units = broken.select("enhet", by="rule").unique("enhet", keep="first", maintain_order=True)
    shell = {node.id: None for node in layout.nodes if node.id not in below}
    yield verdict.fates(layout, _ids(run, use.module, shell), above, units)
    for first, last in staged.batches:
        span = _within(first, last)
        yield verdict.fates(
            layout, _ids(run, use.module, dict.fromkeys(below, span)), scan.filter(span).collect(), units
        )


def _ids(run: Run, module: str, wanted: Mapping[str, pl.Expr | None]) -> dict[str, pl.DataFrame]:
    """``_id`` and ``_parent`` of class rows, and what RefEnhet names."""
    frames = {}
    for node, span in wanted.items():
        path = message_path(run, module, node)
        if path.is_file():
            scan = pl.scan_parquet(path)
            there = scan.collect_schema().names()
            columns = [name for name in ("_id", "_parent", "enhetID", "typeEnhet") if name in there]
            frames[node] = (scan if span is None else scan.filter(span)).select(columns).collect()
    return frames


# --- waiting list ---


def _waiting_list(run: Run) -> pl.DataFrame:
    def staged(name: str, columns: Iterable[str]) -> pl.DataFrame:
        scope = pl.scan_parquet(run.store.table("scope", name, run.key)).filter(pl.col("reason").is_null())
        rows = pl.scan_parquet(run.store.table("staging", name, run.key))
        return rows.join(scope.select("_row"), on="_row", how="semi").select(list(columns)).collect()

    referrals = staged("referrals", COLUMNS)
    postponements = staged("postponements", ("henvisningsperiodeID", "utsettKode"))
    sectors = pl.read_parquet(run.store.table("staging", "units", run.key), columns=["enhetID", "sektor"])
    return waiting_list(referrals, postponements, sectors, run.period)


# --- decisions ---


def waivers(run: Run) -> list[Decision]:
    """Waivers that a run goes by: those of the period and of the earlier periods of its year, oldest first."""
    keys = [run.key.period, *earlier_periods(run.period)]
    found = [
        one for key in keys for one in run.ledger.decisions(Key(period=key, unit=run.key.unit), DecisionKind.WAIVE)
    ]
    return sorted(found, key=lambda one: one.at)


def keep_waivers(run: Run) -> None:
    """The waivers as a table, for views; the day on which one ends is compared when the view is read."""
    latest = in_force(waivers(run), dt.date.min)
    rows = [(one.subject, one.by, one.at, one.until, one.why) for one in latest.values()]
    write(run, "waivers", pl.DataFrame(rows, schema=WAIVERS, orient="row"))


def dropped(run: Run) -> dict[str, int]:
    """Rule -> records that NPR would drop for it, as of the last run."""
    ledger = read(run, "ledger")
    if ledger is None:
        return {}
    own = ledger.filter(
        pl.col("consequence") == life.DROPS, pl.col("status") != life.RESOLVED, pl.col("under").is_null()
    )
    return dict(own.group_by("rule").len().sort("rule").iter_rows())
