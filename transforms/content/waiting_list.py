"""The figures of the waiting list as they would be published, counted before sending (WAIT-23).

Belongs here: formulas and exclusions. Does not belong here: rules about single referrals
(``transforms.content.findings``).

Source: npr-rules-2, 3.1 to 3.4. The measures are official (referrals and not patients, calendar days, ordinarily ended
without postponement by the patient or for medical reasons; mean, median and 90th percentile). How they are computed is
put together from the labels of the file that NPR delivers, as SKDE keeps them, and has open points: certainty C. Not
known: whether breaches count all that started or the ordinary alone (here: all), equal start dates, rounding (none
here), and how the percentile is interpolated (linearly here).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import polars as pl

from schemas.period import Period

CERTAINTY = "C"
WAITING_LIST: dict[str, pl.DataType] = {
    "sektor": pl.String(),
    "from_day": pl.Date(),
    "to_day": pl.Date(),
    "new": pl.Int64(),
    "started": pl.Int64(),
    "ordinary": pl.Int64(),
    "not_ordinary": pl.Int64(),
    "mean_days": pl.Float64(),
    "median_days": pl.Float64(),
    "p90_days": pl.Float64(),
    "waiting": pl.Int64(),
    "waiting_mean_days": pl.Float64(),
    "waiting_median_days": pl.Float64(),
    "waiting_p90_days": pl.Float64(),
    "breaches_started": pl.Int64(),
    "started_with_deadline": pl.Int64(),
    "breaches_waiting": pl.Int64(),
    "excluded": pl.Int64(),
    "certainty": pl.String(),
}
ALL = "all"
COLUMNS = (
    "henvisningsperiodeID",
    "mottaksDato",
    "ansienDato",
    "vurdDato",
    "ventetidSluttDato",
    "ventetidSluttKode",
    "fristStartBehandling",
    "rettTilHelsehjelp",
    "fagenhetID",
    "avdelingID",
)
STARTED = "1"
NOT_STARTED_HERE = ("3", "4", "5")  # henvist annet sykehus, valgt annet, rekvirert av Helfo
RIGHT, NO_NEED, NOT_ASSESSED = "3", "5", "6"
POSTPONED = ("3", "4", "5", "21", "22")  # by the patient or for medical reasons; 1 and 6 lie with the institution
MONTHS = {"month": 1, "tertial": 4, "annual": 12}


@dataclass(frozen=True, slots=True)
class Window:
    """Days of the statistic: the last month or tertial of a cumulative period, or the year. Both included."""

    first: dt.date
    last: dt.date


def window(period: Period) -> Window:
    """The statistic's own period within the cumulative one."""
    return Window(dt.date(period.year, period.end.month - MONTHS[period.kind] + 1, 1), period.end)


def start() -> pl.Expr:
    """First day of waiting: ansienDato, unless it is missing or after mottaksDato; then mottaksDato."""
    seniority, received = pl.col("ansienDato"), pl.col("mottaksDato")
    return pl.when(seniority <= received).then(seniority).otherwise(pl.coalesce(received, seniority))


def exclusion(on: dt.date) -> pl.Expr:
    """NPR's code for leaving a referral out of all figures (SLETTE_KODE), null where it is in the basis.

    Codes that the contract can decide; 6, 21, 23, 24, 27 (kind of referral or department) and 32 (duplicate) are not
    applied, and 11 (ended before the period) follows from the formulas.
    """
    end, code, assessed = pl.col("ventetidSluttDato"), pl.col("ventetidSluttKode"), pl.col("vurdDato")
    right, began = pl.col("rettTilHelsehjelp"), start()
    elsewhere = code.is_in(NOT_STARTED_HERE).fill_null(value=False)
    waited = (end - began).dt.total_days()
    rules = (
        (31, right == NO_NEED),
        (33, right == NOT_ASSESSED),
        (9, began.is_null()),
        (7, began > on),
        (20, assessed.is_null()),
        (1, end.is_not_null() & code.is_null()),
        (10, (end.is_null() | (end > on)) & (began < pl.lit(on).dt.offset_by("-10y"))),
        (30, end < pl.col("mottaksDato")),
        (22, (end == assessed) & ~elsewhere),
        (12, waited.is_between(0, 1) & (end < on) & ~elsewhere),
    )
    told = pl.lit(None, pl.Int32)
    for number, condition in reversed(rules):
        told = pl.when(condition).then(pl.lit(number, pl.Int32)).otherwise(told)
    return told


def waiting_list(
    referrals: pl.DataFrame, postponements: pl.DataFrame, sectors: pl.DataFrame, period: Period
) -> pl.DataFrame:
    """WAITING_LIST of a report: one line for all, and one per sector.

    referrals: in scope, with COLUMNS. postponements: henvisningsperiodeID, utsettKode. sectors: enhetID, sektor.
    """
    days = window(period)
    late = postponements.filter(pl.col("utsettKode").is_in(POSTPONED)).select("henvisningsperiodeID").unique()
    known = sectors.drop_nulls("sektor").unique("enhetID")
    frame = referrals.select(COLUMNS).with_columns(
        postponed=pl.col("henvisningsperiodeID").is_in(late["henvisningsperiodeID"].implode())
    )
    for name in ("fagenhetID", "avdelingID"):
        frame = frame.join(known.rename({"sektor": f"_{name}"}), left_on=name, right_on="enhetID", how="left")
    frame = _flagged(frame.with_columns(sektor=pl.coalesce("_fagenhetID", "_avdelingID")), days)
    whole = frame.with_columns(sektor=pl.lit(ALL)).group_by("sektor").agg(*_figures())
    by_sector = frame.group_by("sektor").agg(*_figures()).sort("sektor", nulls_last=True)
    if whole.is_empty():
        return pl.DataFrame(schema=WAITING_LIST)
    lines = pl.concat([whole, by_sector]).with_columns(
        from_day=pl.lit(days.first), to_day=pl.lit(days.last), certainty=pl.lit(CERTAINTY)
    )
    return lines.select(*WAITING_LIST).cast(WAITING_LIST)  # type: ignore[arg-type]


def _flagged(frame: pl.DataFrame, days: Window) -> pl.DataFrame:
    """What each referral counts as; days_ended and days_waiting are calendar days."""
    frame = frame.with_columns(start=start(), excluded=exclusion(days.last).is_not_null())
    base, end, deadline = ~pl.col("excluded"), pl.col("ventetidSluttDato"), pl.col("fristStartBehandling")
    within = (end >= days.first) & (end <= days.last)
    frame = frame.with_columns(
        new=base & pl.col("vurdDato").is_between(days.first, days.last),
        started=base & within & (pl.col("ventetidSluttKode") == STARTED),
        waiting=base & (pl.col("start") <= days.last) & (end.is_null() | (end > days.last)),
    ).with_columns(pl.col("new", "started", "waiting").fill_null(value=False))
    with_right = pl.col("started") & (pl.col("rettTilHelsehjelp") == RIGHT) & deadline.is_not_null()
    return frame.with_columns(
        ordinary=pl.col("started") & ~pl.col("postponed"),
        breaches_started=(pl.col("started") & (end > deadline)).fill_null(value=False),
        started_with_deadline=with_right.fill_null(value=False),
        breaches_waiting=(pl.col("waiting") & (deadline < days.last)).fill_null(value=False),
        days_ended=(end - pl.col("start")).dt.total_days(),
        days_waiting=(pl.lit(days.last) - pl.col("start")).dt.total_days(),
    )


def _figures() -> list[pl.Expr]:
    counts = ("new", "started", "ordinary", "waiting", "breaches_started", "started_with_deadline", "breaches_waiting")
    ended = pl.col("days_ended").filter("ordinary")
    waits = pl.col("days_waiting").filter("waiting")
    return [
        *(pl.col(name).sum() for name in (*counts, "excluded")),
        (pl.col("started") & ~pl.col("ordinary")).sum().alias("not_ordinary"),
        *(expr.alias(f"{name}_days") for name, expr in _spread(ended)),
        *(expr.alias(f"waiting_{name}_days") for name, expr in _spread(waits)),
    ]


def _spread(days: pl.Expr) -> list[tuple[str, pl.Expr]]:
    return [("mean", days.mean()), ("median", days.median()), ("p90", days.quantile(0.9, "linear"))]
