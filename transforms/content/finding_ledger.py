"""The life of a finding: the same fault of the same record, followed from run to run and from period to period.

Belongs here: fingerprints, collapsing what lies below a broken parent, merging a run into what was known, waivers.
Does not belong here: rules (``transforms.content.findings``), where the ledger lies (``assets.ledger``), printing.

A finding is known again by its fingerprint: rule, record and fields. The record is the keyed pseudonym of unit, table
and business key (episodeID and so on), so neither a new order of rows nor a new extract makes it another one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from schemas.contract import Contract
from schemas.decisions import Decision
from transforms.content.decided import in_force
from transforms.pseudonyms import SEPARATOR, pseudonyms

NEW, PERSISTING, RESOLVED, WAIVED = "new", "persisting", "resolved", "waived"
STATUSES = (NEW, PERSISTING, RESOLVED, WAIVED)
DROPS = "drop_record"

# What a finding of the engine has besides, once its record is known. holder: fingerprint of the broken parent it lies
# below, where there is one.
KEYED: dict[str, pl.DataType] = {
    "fingerprint": pl.String(),
    "rule": pl.String(),
    "consequence": pl.String(),
    "module": pl.String(),
    "class": pl.String(),
    "table": pl.String(),
    "fields": pl.String(),
    "enhet": pl.String(),
    "record": pl.String(),
    "_row": pl.UInt32(),
    "under": pl.String(),
    "holder": pl.String(),
}
# One line per fault of a record. count: findings of the same fingerprint (a class row in several messages). below:
# findings that lie below the record, which the registry loses with it and which are told here alone.
LINE: dict[str, pl.DataType] = {
    **{name: dtype for name, dtype in KEYED.items() if name != "holder"},
    "count": pl.UInt32(),
    "below": pl.UInt32(),
}
LEDGER: dict[str, pl.DataType] = {
    **LINE,
    "status": pl.String(),
    **{
        f"{end}_{what}": dtype
        for end in ("first", "last")
        for what, dtype in {"seen": pl.Datetime("us", "UTC"), "period": pl.String(), "snapshot": pl.String()}.items()
    },
    "run": pl.String(),
}
WAIVER = ("waived_by", "waived_until", "waived_why")


@dataclass(frozen=True, slots=True)
class Seen:
    """One run of the rules. run: digest of all it went by; the same run again changes nothing. at: UTC."""

    run: str
    period: str
    snapshot: str
    at: dt.datetime


def empty() -> pl.DataFrame:
    """A ledger of nothing."""
    return pl.DataFrame(schema=LEDGER)


# --- Records ---


def keyed(
    found: pl.DataFrame, contract: Contract, staged: Mapping[str, pl.DataFrame], unit: str, secret: bytes
) -> pl.DataFrame:
    """Findings (KEYED) of one batch of whole patients, with record, fingerprint and the parent that is lost with them.

    staged: contract table -> rows with ``_row`` and the columns of its key. A finding whose row is of no table, such as
    one on Melding, speaks of the unit as a whole.
    """
    if found.is_empty():
        return pl.DataFrame(schema=KEYED)
    parts = []
    for (table, node), group in found.group_by("table", "class", maintain_order=True):
        parts.append(_with_key(group, contract, staged, str(table or ""), str(node)))
    told = pl.concat(parts)
    whole = pl.concat_str(pl.lit(unit), "table", "_key", separator=SEPARATOR)
    told = told.with_columns(pl.Series("record", pseudonyms(told.select(whole).to_series(), secret), pl.String))
    fault = pl.concat_str("rule", "record", "fields", separator=SEPARATOR)
    told = told.with_columns(pl.Series("fingerprint", pseudonyms(told.select(fault).to_series(), secret), pl.String))
    return _with_holder(told).select(*KEYED).cast(KEYED)  # type: ignore[arg-type]


def _with_key(
    group: pl.DataFrame, contract: Contract, staged: Mapping[str, pl.DataFrame], table: str, node: str
) -> pl.DataFrame:
    """``_key``: the values of the business key of the class, as one text. A class may be coarser than its table."""
    group = group.with_columns(pl.col("table", "fields").fill_null(""))
    if table not in staged:
        return group.with_columns(_key=pl.lit(""))
    columns = contract.classes[node].key if node in contract.classes else contract.tables[table].key
    key = pl.concat_str([pl.col(name).cast(pl.String).fill_null("") for name in columns], separator=SEPARATOR)
    keys = staged[table].select(pl.col("_row").cast(pl.UInt32), _key=key)
    return group.join(keys, on="_row", how="left", maintain_order="left").with_columns(pl.col("_key").fill_null(""))


def _with_holder(told: pl.DataFrame) -> pl.DataFrame:
    """The fingerprint of the broken parent: the finding of rule ``under`` whose key the own key begins with."""
    told = told.with_row_index("_n")
    holders = told.filter(pl.col("under").is_null(), pl.col("consequence") == DROPS)
    children = told.filter(pl.col("under").is_not_null())
    holders = holders.with_columns(
        _depth=pl.when(pl.col("table") != "patients").then(
            pl.col("_key").str.count_matches(SEPARATOR, literal=True) + 1
        )
    )
    found = []
    for depth in holders["_depth"].unique().sort().to_list():  # null, the patients, comes first
        at = holders.filter(pl.col("_depth").eq_missing(depth))
        # A patient is the parent of all rows that are of the patient, whatever their key.
        part = pl.col("_patient").cast(pl.String)
        if depth is not None:
            part = pl.col("_key").str.split(SEPARATOR).list.head(depth).list.join(SEPARATOR)
        named = at.select(pl.col("rule").alias("under"), part.alias("_part"), pl.col("fingerprint").alias("holder"))
        named = named.unique(["under", "_part"], keep="first", maintain_order=True)
        found.append(children.with_columns(_part=part).join(named, on=["under", "_part"]).select("_n", "holder"))
    if not found:
        return told.with_columns(holder=pl.lit(None, pl.String))
    below = pl.concat(found).unique("_n", keep="first")
    return told.join(below, on="_n", how="left", maintain_order="left")


def lines(found: pl.DataFrame) -> pl.DataFrame:
    """One line (LINE) per fault of a record; what lies below a broken parent is counted on the parent's line.

    found: KEYED, of all batches: a broken department (Enhet) lies above records of any patient. A finding below a
    parent that has no line of its own keeps one, so that none is ever lost.
    """
    found = _below_departments(found)
    own = found.filter(pl.col("holder").is_null())
    below = found.drop_nulls("holder").group_by("holder").len(name="below")
    first = [pl.col(name).first() for name in LINE if name in KEYED and name != "fingerprint"]
    made = own.group_by("fingerprint", maintain_order=True).agg(*first, pl.len().alias("count"))
    made = made.join(below, left_on="fingerprint", right_on="holder", how="left", maintain_order="left")
    return made.with_columns(pl.col("below").fill_null(0)).select(*LINE).cast(LINE)  # type: ignore[arg-type]


def _below_departments(found: pl.DataFrame) -> pl.DataFrame:
    broken = found.filter(pl.col("class") == "Enhet", pl.col("consequence") == DROPS, pl.col("under").is_null())
    named = broken.select(pl.col("rule").alias("under"), "enhet", _of="fingerprint").unique(
        ["under", "enhet"], keep="first", maintain_order=True
    )
    joined = found.join(named, on=["under", "enhet"], how="left", maintain_order="left")
    return joined.with_columns(holder=pl.coalesce("holder", "_of")).drop("_of")


# --- Life ---


def carried(ledger: pl.DataFrame) -> pl.DataFrame:
    """What a ledger hands on to the next period of the year: all that is still open."""
    return ledger.filter(pl.col("status") != RESOLVED)


def merge(before: pl.DataFrame, found: pl.DataFrame, seen: Seen) -> pl.DataFrame:
    """The ledger (LEDGER) after a run. before: the ledger so far; found: lines (LINE) of this run.

    new: not there the time before; persisting: there then too; resolved: there once and not now. What comes back is new
    again and keeps the day it was first seen. The same run again gives the ledger as it is.
    """
    if not before.filter(pl.col("run") == seen.run, pl.col("status") != RESOLVED).is_empty():
        return before
    ended = before.join(found, on="fingerprint", how="anti", maintain_order="left")
    ended = ended.with_columns(status=pl.lit(RESOLVED))
    known = before.select("fingerprint", _was="status", **{f"_{name}": name for name in FIRST})
    now = found.join(known, on="fingerprint", how="left", maintain_order="left")
    there = pl.col("_was").is_not_null() & (pl.col("_was") != RESOLVED)
    here = {"seen": seen.at, "period": seen.period, "snapshot": seen.snapshot}
    present = now.with_columns(
        pl.when(there).then(pl.lit(PERSISTING)).otherwise(pl.lit(NEW)).alias("status"),
        *(
            pl.coalesce(f"_first_{what}", pl.lit(value).cast(LEDGER[f"first_{what}"])).alias(f"first_{what}")
            for what, value in here.items()
        ),
        *(pl.lit(value).cast(LEDGER[f"last_{what}"]).alias(f"last_{what}") for what, value in here.items()),
        run=pl.lit(seen.run),
    )
    return pl.concat([present.select(*LEDGER).cast(LEDGER), ended.select(*LEDGER)]).sort(ORDER)  # type: ignore[arg-type]


FIRST = ("first_seen", "first_period", "first_snapshot")
ORDER = ("rule", "enhet", "table", "_row", "fingerprint")


def waived(ledger: pl.DataFrame, waivers: Iterable[Decision], on: dt.date) -> pl.DataFrame:
    """The ledger with what named persons have waived: status, and who until when and why (WAIVER).

    A waiver names a rule or one fingerprint, which goes before its rule. One that has run out, or was withdrawn, counts
    no more. A resolved finding stays resolved.
    """
    rows = [(one.subject, one.by, one.until, one.why) for one in in_force(waivers, on).values()]
    types = {"subject": pl.String(), "waived_by": pl.String(), "waived_until": pl.Date(), "waived_why": pl.String()}
    told = pl.DataFrame(rows, schema=types, orient="row").with_columns(_held=pl.lit(value=True))
    for subject in ("fingerprint", "rule"):
        one = told.rename({name: f"{name}_{subject}" for name in (*WAIVER, "_held")})
        ledger = ledger.join(one, left_on=subject, right_on="subject", how="left", maintain_order="left")
    still = pl.col("status") != RESOLVED
    single, general = pl.col("_held_fingerprint").is_not_null() & still, pl.col("_held_rule").is_not_null() & still
    return ledger.select(
        *(name for name in LEDGER if name != "status"),
        pl.when(single | general).then(pl.lit(WAIVED)).otherwise("status").alias("status"),
        *(pl.when(single).then(f"{n}_fingerprint").when(general).then(f"{n}_rule").alias(n) for n in WAIVER),
    )


def counted(ledger: pl.DataFrame, by: str) -> pl.DataFrame:
    """Lines by rule or department: how many of each status, the findings below, and how many there are to work on.

    ledger: with waivers applied. by: rule or enhet; with enhet the rule is told too. open: new and persisting.
    """
    keys = ["rule", "consequence"] if by == "rule" else ["enhet", "rule", "consequence"]
    status = pl.col("status")
    made = ledger.group_by(keys).agg(
        *((status == name).sum().alias(name) for name in STATUSES),
        (status.is_in([NEW, PERSISTING])).sum().alias("open"),
        pl.col("below").filter(status.is_in([NEW, PERSISTING])).sum().alias("below"),
    )
    return made.sort("open", *keys, descending=[True, *(False for _ in keys)], nulls_last=True)
