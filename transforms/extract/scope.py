"""Scope: which staged rows belong to the period, and why the rest does not.

Belongs here: the decision per row. Does not belong here: quality of rows, and what NPR thinks of them.

Source: "activity with end in the period (and open stays) + every referral that was open, received or closed in the
period" (npr-rules 3.6, inferred, certainty C: the official statement is only "data om aktivitet"). Periods
are cumulative from 1 January. A monthly report is *for* waiting list and gjestepasientoppgjør (A); that it leaves
other activity out is said nowhere, and how guest patients are told is not known, so it carries all of it (C):
docs/calendar.md.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from schemas.contract import Contract, Table
from schemas.period import Period

# One decision per staged row; reason is empty when the row is reported.
SCHEMA: dict[str, pl.DataType] = {"_row": pl.UInt32(), "_patient": pl.UInt32(), "reason": pl.String()}
# What belongs to leaving: left out of an episode that was still open when the period ended.
ON_LEAVING = ("utDatoTid", "utTilstand", "tilSted", "tilInstitusjonID", "kommTjeneste")
# Messages that carry a table, where that is not the activity message. Units frame every message; patients follow.
CARRIED_BY = {"tsb_starts": ("tsb", "sbs"), "costs": ("kpp",), "identities": ("ide",)}
ACTIVITY = ("ord",)
NOT_ASKED = "module_not_reported"
# Tables whose reported rows make their patient part of the report.
TELLING = ("referrals", "episodes", "tsb_starts", "costs")

Frames = Mapping[str, pl.DataFrame]


def decide(contract: Contract, period: Period, modules: tuple[str, ...], staged: Frames) -> dict[str, pl.DataFrame]:
    """Decide for one batch of whole patients.

    staged: table -> staged rows of the batch. Returns table -> decisions (SCHEMA), in the order of the rows.
    """
    reasons = {name: _own(name, frame, period, modules) for name, frame in staged.items()}
    _keep_referrals_of_reported(staged, reasons)
    for table in contract:
        if table.name in staged and table.name != "patients":
            reasons[table.name] = _with_parent(contract, table, staged, reasons)
    if "patients" in staged:
        reasons["patients"] = _with_activity(staged, reasons, modules)
        if "identities" in staged:
            reasons["identities"] = _with_parent(contract, contract.tables["identities"], staged, reasons)
    # Only now: a cost is judged by its episode, also where the episode itself is not asked for.
    reasons |= {name: _uncarried(name, own, modules) for name, own in reasons.items()}
    return {
        name: frame.select("_row", "_patient").with_columns(reason=reasons[name]).cast(SCHEMA)  # type: ignore[arg-type]
        for name, frame in staged.items()
    }


def in_scope(staged: pl.DataFrame, decisions: pl.DataFrame) -> pl.DataFrame:
    """The rows that are reported. decisions: one for each staged row."""
    if decisions["reason"].null_count() == decisions.height:
        return staged
    kept = decisions.filter(pl.col("reason").is_null()).select("_row")
    return staged.join(kept, on="_row", how="semi", maintain_order="left")


def as_of(episodes: pl.DataFrame, period: Period) -> pl.DataFrame:
    """Episodes as they stood when the period ended: who left later was still there (EPI-05)."""
    later = pl.col("utDatoTid").dt.date() > period.end
    present = [name for name in ON_LEAVING if name in episodes.columns]
    return episodes.with_columns(
        pl.when(~later.fill_null(value=False)).then(pl.col(name)).alias(name) for name in present
    )


def _own(name: str, frame: pl.DataFrame, period: Period, modules: tuple[str, ...]) -> pl.Series:
    """Reason that lies in the row itself."""
    if name in TELLING and name in CARRIED_BY and not carried(name, modules):
        return pl.repeat(NOT_ASKED, frame.height, dtype=pl.String, eager=True)
    match name:
        case "episodes":
            first, last = pl.col("innDatoTid").dt.date(), pl.col("utDatoTid").dt.date()
            reason = _outside(first, last, period, ("starts_after_period", "ended_before_period"))
        case "referrals":
            received = pl.coalesce("mottaksDato", "ansienDato")
            reason = _outside(received, pl.col("sluttDato"), period, ("received_after_period", "closed_before_period"))
        case "tsb_starts":
            day = pl.col("startDato")
            reason = _outside(day, day, period, ("starts_after_period", "ended_before_period"))
        case "procedures":
            after = pl.col("startDatoTid").dt.date() > period.end
            reason = pl.when(after).then(pl.lit("starts_after_period"))
        case _:
            reason = pl.lit(None, pl.String)
    return frame.select(reason=pl.repeat(None, pl.len(), dtype=pl.String).fill_null(reason)).to_series()


def carried(name: str, modules: tuple[str, ...]) -> bool:
    """Whether one of the messages carries the rows of a table."""
    return bool(set(CARRIED_BY.get(name, ACTIVITY)) & set(modules))


def _uncarried(name: str, own: pl.Series, modules: tuple[str, ...]) -> pl.Series:
    return own if name == "patients" or carried(name, modules) else own.fill_null(NOT_ASKED)


def _outside(first: pl.Expr, last: pl.Expr, period: Period, reasons: tuple[str, str]) -> pl.Expr:
    after = pl.when(first > period.end).then(pl.lit(reasons[0]))
    return after.when(last < period.start).then(pl.lit(reasons[1]))


def _keep_referrals_of_reported(staged: Frames, reasons: dict[str, pl.Series]) -> None:
    """A referral that a reported episode or treatment start names goes along: the message refers to it by key."""
    if "referrals" not in staged:
        return
    named = [
        staged[name].filter(reasons[name].is_null())["henvisningsperiodeID"]
        for name in ("episodes", "tsb_starts")
        if name in staged
    ]
    if named:
        wanted = pl.concat(named).drop_nulls().unique()
        kept = staged["referrals"]["henvisningsperiodeID"].is_in(wanted.implode())
        reasons["referrals"] = pl.select(pl.when(~kept).then(reasons["referrals"])).to_series()


def _with_parent(contract: Contract, table: Table, staged: Frames, reasons: Mapping[str, pl.Series]) -> pl.Series:
    """Out of scope with its owner; ``patients`` are decided by their activity, not the other way round."""
    parent = contract.owner_path(table)
    own = reasons[table.name]
    if parent is None or table.owner is None or (parent == "patients" and table.name != "identities"):
        return own
    key = contract.tables[parent].key[0]
    out = staged[parent].filter(reasons[parent].is_not_null())[key]
    lost = staged[table.name][table.owner].is_in(out.implode())
    return pl.select(pl.when(lost & own.is_null()).then(pl.lit("parent_out_of_scope")).otherwise(own)).to_series()


def _with_activity(staged: Frames, reasons: Mapping[str, pl.Series], modules: tuple[str, ...]) -> pl.Series:
    """A patient is reported who has something to tell in one of the messages asked for."""
    active = [pl.Series("_patient", [], pl.UInt32)]
    active += [
        staged[name].filter(reasons[name].is_null())["_patient"]
        for name in TELLING
        if name in staged and carried(name, modules)
    ]
    alive = staged["patients"]["_patient"].is_in(pl.concat(active).unique().implode())
    return pl.select(pl.when(~alive).then(pl.lit("no_activity_in_period"))).to_series()
