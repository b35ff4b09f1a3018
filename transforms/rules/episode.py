"""Rules over several episodes of a patient, or over an episode and its referral.

Belongs here: the functions named in ``schemas/rules/episode.toml``. Does not belong here: their texts.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from transforms.rules.functions import rule_function

Others = Mapping[str, pl.DataFrame]

INDIRECT = ("5",)  # list 8432: the patient is not there
DEAD = ("2", "3")  # list 8431


@rule_function
def overlapping_stays(episodes: pl.DataFrame, _: Others) -> pl.Series:
    """EPI-24: a stay that begins before an earlier stay of the patient has ended. The same minute is a transfer."""
    stay = pl.col("omsorgsniva") == "1"
    ordered = episodes.select("_id", "_patient", "innDatoTid", "utDatoTid", stay=stay).filter("stay")
    # An open stay lasts on.
    end = pl.col("utDatoTid").fill_null(pl.lit("9999-12-31").str.to_datetime(time_unit="us"))
    earlier = end.cum_max().shift(1).over("_patient")
    wrong = ordered.sort("_patient", "innDatoTid", "_id").filter(pl.col("innDatoTid") < earlier)
    return episodes["_id"].is_in(wrong["_id"].implode())


@rule_function
def same_start_twice(episodes: pl.DataFrame, others: Others) -> pl.Series:
    """EPI-25: a second episode of the patient with the same unit, start and kind of contact."""
    units = others["Episode_RefEnhet"].filter(pl.col("typeEnhet") == "2").select(_id="_parent", unit="enhetID")
    kinds = others["Kontakt"].select(_id="_parent", kind="kontaktType")
    # Few patients have two episodes that begin in one minute; only theirs are looked at.
    start = ["_patient", "innDatoTid"]
    twice = episodes.filter(pl.struct(start).is_duplicated()).select("_id", *start)
    told = twice.join(units, on="_id", how="left").join(kinds, on="_id", how="left")
    wrong = told.sort("_id").filter(~pl.struct(*start, "unit", "kind").is_first_distinct())
    return episodes["_id"].is_in(wrong["_id"].implode())


@rule_function
def after_death(episodes: pl.DataFrame, others: Others) -> pl.Series:
    """EPI-21: direct contact that begins after an episode the patient left dead."""
    died = episodes.filter(pl.col("utTilstand").is_in(DEAD) & pl.col("utDatoTid").is_not_null())
    left = died.group_by("_patient").agg(pl.col("utDatoTid").min().alias("left"))
    later = episodes.join(left, on="_patient").filter(pl.col("innDatoTid") > pl.col("left"))
    indirect = others["Kontakt"].filter(pl.col("kontaktType").is_in(INDIRECT))["_parent"]
    wrong = later.filter(~pl.col("_id").is_in(indirect.implode()))
    return episodes["_id"].is_in(wrong["_id"].implode())


@rule_function
def helfo_without_breach(episodes: pl.DataFrame, others: Others) -> pl.Series:
    """EPI-15: placed by Helfo (debitor 70), and no referral of the patient tells of a breach of the deadline."""
    told = others["Tidspunkt"].filter(pl.col("typeTidspunkt") == "31")["_patient"]
    ended = others["Henvisningsperiode"].filter(pl.col("ventetidSluttKode") == "5")["_patient"]
    breached = pl.concat([told, ended])
    return episodes.select((pl.col("debitor") == "70") & ~pl.col("_patient").is_in(breached.implode())).to_series()


@rule_function
def born_without_code(episodes: pl.DataFrame, others: Others) -> pl.Series:
    """EPI-18: a finished birth (inntilstand 3) without a code of chapter P or Z38."""
    fits = others["Tilstand_Kode"].filter(pl.col("kodeVerdi").str.contains("^(P|Z38)"))["Episode__id"]
    born = (pl.col("inntilstand") == "3") & pl.col("utDatoTid").is_not_null()
    return episodes.select(born & ~pl.col("_id").is_in(fits.drop_nulls().implode())).to_series()
