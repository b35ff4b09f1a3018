"""Rules over several referral periods of a patient, or over a referral and its episodes.

Belongs here: the functions named in ``schemas/rules/referral.toml``. Does not belong here: their texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import cache
from typing import Final

import polars as pl

from schemas.workdays import HOLIDAY_YEARS, public_holidays
from transforms.rules.functions import rule_function

Others = Mapping[str, pl.DataFrame]

WORKING_DAYS: Final = 10
INDIRECT: Final = "5"  # list 8432


@rule_function
def referred_twice(referrals: pl.DataFrame, _: Others) -> pl.Series:
    """WAIT-09: a second referral of the patient to one specialty, received on one day from one place."""
    alike = ["_patient", "fagomrade", "mottaksDato"]
    # Few referrals share these; only theirs are compared further.
    twice = referrals.filter(pl.struct(alike).is_duplicated() & pl.col("mottaksDato").is_not_null()).sort("_id")
    wrong = twice.filter(~pl.struct(*alike, "henvFraInstitusjonID").is_first_distinct())
    return referrals["_id"].is_in(wrong["_id"].implode())


@rule_function
def assessed_late(referrals: pl.DataFrame, _: Others) -> pl.Series:
    """WAIT-13: more than ten working days from receipt to assessment."""
    both = referrals.filter(pl.col("vurdDato") > pl.col("mottaksDato"))
    days = pl.business_day_count("mottaksDato", "vurdDato", holidays=list(_norwegian()))
    wrong = both.filter(days > WORKING_DAYS)
    return referrals["_id"].is_in(wrong["_id"].implode())


@cache
def _norwegian() -> tuple[date, ...]:
    return tuple(sorted(day for year in HOLIDAY_YEARS for day in public_holidays(year)))


@rule_function
def started_without_episode(referrals: pl.DataFrame, others: Others) -> pl.Series:
    """WAIT-19: care started in the period (code 1), but no episode from that day on names the referral."""
    started = (pl.col("ventetidSluttKode") == "1") & pl.col("ventetidSluttDato").is_between("period_from", "period_to")
    last = others["Episode"].group_by("henvisningsperiodeID").agg(pl.col("innDatoTid").max().dt.date().alias("last"))
    told = referrals.filter(started).join(last, on="henvisningsperiodeID", how="left")
    wrong = told.filter((pl.col("last") >= pl.col("ventetidSluttDato")).fill_null(value=False).not_())
    return referrals["_id"].is_in(wrong["_id"].implode())


@rule_function
def care_without_end(referrals: pl.DataFrame, others: Others) -> pl.Series:
    """WAIT-24: a right to care and direct contact on or after the day of receipt, but no end of waiting."""
    open_ones = referrals.filter((pl.col("rettTilHelsehjelp") == "3") & pl.col("ventetidSluttDato").is_null())
    indirect = others["Kontakt"].filter(pl.col("kontaktType") == INDIRECT)["_parent"]
    direct = others["Episode"].filter(~pl.col("_id").is_in(indirect.implode()))
    last = direct.group_by("henvisningsperiodeID").agg(pl.col("innDatoTid").max().dt.date().alias("last"))
    wrong = open_ones.join(last, on="henvisningsperiodeID").filter(pl.col("last") >= pl.col("mottaksDato"))
    return referrals["_id"].is_in(wrong["_id"].implode())
