"""Referral periods of the sample, with the dates of the waiting list, and the forms at start of drug treatment.

Belongs here: referrals, postponements, events, tsb_starts. Does not belong here: episodes
(``transforms.sample.tables``).

Order kept: ansienDato <= mottaksDato <= vurdDato < ventetidSluttDato = first episode; a postponement and a new
appointment lie between assessment and end of waiting.
"""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl

from transforms.sample.dice import Dice, Whole, texts
from transforms.sample.people import years
from transforms.sample.tables import at_day, at_minute, key, patient_key, referral_key, units_of_referrals
from transforms.sample.values import FROM_PLACES, TSB_ITEMS, Profile
from transforms.sample.visits import A_DAY, Window

RIGHT, NO_NEED, NOT_ASSESSED_FOR_RIGHTS = "3", "5", "6"  # list 8444
STARTED, OTHER_REASON = "1", "9"  # list 8445
HELFO_TOLD, HELFO_NOT_TO_BE_TOLD, FIRST_NOTICE = "31", "32", "22"  # list 8477
# No duty to set a deadline or to tell Helfo for what was assessed in these days (Helsedirektoratet, indicator page).
SUSPENDED = (dt.date(2020, 3, 27), dt.date(2020, 9, 30))
_REFORM = 2020


def waiting(dice: Dice, courses: pl.DataFrame, visits: pl.DataFrame, window: Window) -> pl.DataFrame:
    """Planned courses with their dates as day numbers; what the four tables are made of."""
    opening = pl.col("inn").filter(pl.col("k") == 0).first() // A_DAY
    seen = visits.group_by("_c").agg(opening=opening, last=pl.col("inn").max() // A_DAY)
    frame = courses.filter(~pl.col("acute")).join(seen, on="_c", how="left", maintain_order="left")
    # Care that began before the window has no first episode here, but its day is known.
    began = pl.when(~pl.col("waiting")).then(pl.coalesce("opening", "start"))
    frame = frame.with_columns(seen=began)
    n = len(frame)
    taken = window.taken_minute // A_DAY
    wait = np.clip(np.round(dice.gamma(n, 1.6, 62)), 4, 420).astype(np.int64)
    received = _apart(frame.with_columns(received=pl.coalesce(pl.col("seen") - pl.Series(wait), "start")))
    assessed = received + np.minimum(dice.whole(n, 0, 9), np.maximum(wait - 2, 0))
    right = dice.pick(n, {RIGHT: 0.93, NOT_ASSESSED_FOR_RIGHTS: 0.07})
    frame = frame.with_columns(
        received=pl.Series(received),
        assessed=pl.when(pl.Series(assessed) <= taken).then(pl.Series(assessed)),
        since=pl.Series(received - np.where(dice.hit(n, 0.1), dice.whole(n, 5, 60), 0)),
        right=pl.when(pl.col("waiting") & pl.Series(dice.hit(n, 0.18))).then(pl.lit(NO_NEED)).otherwise(right),
        ended_after=pl.Series(wait), ends=pl.Series(dice.hit(n, 0.97)),
        deadline_after=pl.Series(np.round(wait * (0.8 + dice.gamma(n, 2, 0.9))).astype(np.int64) + 4),
    )  # fmt: skip
    return _ends(dice, frame, taken).with_columns(pl.when(pl.col("assessed").is_not_null()).then("right"))


def _apart(frame: pl.DataFrame) -> Whole:
    """Days of receipt, moved back where a patient has two referrals to one department on one day (WAIT-09)."""
    days = frame["received"].to_numpy().copy()
    while True:
        alike = frame.select(pl.struct("_p", "_d", pl.lit(pl.Series(days))).is_first_distinct()).to_series()
        if alike.all():
            break
        days[~alike.to_numpy()] -= 1
    return days


def _ends(dice: Dice, frame: pl.DataFrame, taken: int) -> pl.DataFrame:
    """End of waiting (day and code), deadline, closing of the period."""
    n = len(frame)
    other = dice.pick(n, {"2": 0.35, "3": 0.25, "4": 0.2, "5": 0.08, OTHER_REASON: 0.12})
    rejected = pl.col("right") == NO_NEED
    without_care = pl.col("waiting") & (pl.col("ends") | rejected) & pl.col("assessed").is_not_null()
    day = pl.when(rejected).then(pl.col("assessed") + 1).otherwise(pl.col("assessed") + pl.col("ended_after"))
    end = pl.when(~pl.col("waiting")).then("seen").when(without_care & (day < taken)).then(day)
    frame = frame.with_columns(end=end).with_columns(
        code=pl.when(pl.col("end").is_null()).then(None).when(~pl.col("waiting")).then(pl.lit(STARTED))
        .when(rejected).then(pl.lit(OTHER_REASON)).otherwise(other),
        deadline=_deadline(pl.Series(dice.hit(n, 0.5))),
    )  # fmt: skip
    closing = pl.when(pl.col("waiting")).then("end").when(pl.Series(dice.hit(n, 0.75))).then(
        pl.col("last") + pl.Series(dice.whole(n, 0, 45)))  # fmt: skip
    return frame.with_columns(closed=closing).with_columns(closed=pl.when(pl.col("closed") < taken).then("closed"))


def _deadline(left_out: pl.Series) -> pl.Expr:
    first, last = (int((day - dt.date(1970, 1, 1)).days) for day in SUSPENDED)
    suspended = pl.col("assessed").is_between(first, last) & left_out
    due = (pl.col("right") == RIGHT) & pl.col("assessed").is_not_null() & ~suspended
    return pl.when(due).then(pl.col("received") + pl.col("deadline_after"))


def referrals(dice: Dice, profile: Profile, of_waiting: pl.DataFrame, persons: pl.DataFrame) -> pl.DataFrame:
    """Referral periods."""
    frame = of_waiting.join(persons.drop("old"), on="_p", how="left", maintain_order="left")
    n, department = len(frame), frame["_d"].to_numpy()
    reform = pl.Series(years(frame["received"].to_numpy()) >= _REFORM)
    given = pl.min_horizontal(pl.col("assessed") + pl.Series(dice.whole(n, 1, 14)), "end")
    legal = pl.Series([d.kind in ("mental", "tsb") for d in profile.departments]).gather(department)
    has_date = (pl.col("right") != NO_NEED) & (pl.col("end").is_not_null() | pl.Series(dice.hit(n, 0.5)))
    referrer = dice.pick(n, {"28": 0.72, "41": 0.12, "10": 0.08, "44": 0.03, "42": 0.02, "88": 0.02, "1": 0.01})
    frame = frame.with_columns(referrer=referrer).hstack(units_of_referrals(profile, frame["_d"]))
    return frame.select(
        referral_key(pl.col("_c")).alias("henvisningsperiodeID"),
        patient_key(pl.col("_p")).alias("pasientNr"),
        at_day(pl.col("received")).alias("mottaksDato"), at_day(pl.col("since")).alias("ansienDato"),
        at_day(pl.col("assessed")).alias("vurdDato"), pl.col("right").alias("rettTilHelsehjelp"),
        at_day(pl.col("deadline")).alias("fristStartBehandling"),
        pl.when(has_date).then(at_day(given)).alias("tildeltDato"),
        at_day(pl.col("end")).alias("ventetidSluttDato"), pl.col("code").alias("ventetidSluttKode"),
        at_day(pl.col("closed")).alias("sluttDato"),
        dice.pick(n, {"10": 0.93, "99": 0.05, "11": 0.02}).alias("henvType"),
        pl.when(legal).then(pl.lit("1")).alias("henvFormal"), pl.col("referrer").alias("henvFraTjeneste"),
        texts([d.service for d in profile.departments], department).alias("henvTilTjeneste"),
        pl.when(pl.col("referrer") == "28").then(dice.pick(n, dict.fromkeys(FROM_PLACES, 1.0)))
        .alias("henvFraInstitusjonID"),
        pl.lit(profile.institution).alias("henvTilInstitusjonID"),
        texts([d.fag for d in profile.departments], department).alias("fagomrade"),
        dice.pick(n, {"3": 0.75, "2": 0.12, "1": 0.13}).alias("omsNivaHenv"),
        pl.when("abroad").then(pl.lit("30")).otherwise(pl.lit("1")).alias("debitorHenvisning"),
        dice.pick(n, {"1": 0.7, "2": 0.3}).alias("nyTilstand"),
        pl.when("abroad").then(pl.lit("SE")).otherwise(pl.lit("NO")).alias("trygdenasjon"),
        pl.when(reform).then("home_2020").otherwise("home_2019").alias("komNrHjem"),
        "bydel", "behandlingsstedID", "fagenhetID", "avdelingID",
    )  # fmt: skip


def postponements(dice: Dice, of_waiting: pl.DataFrame, window: Window) -> pl.DataFrame:
    """One postponement for every twelfth referral that waited long enough, a second one for some of these."""
    until = pl.col("end").fill_null(window.taken_minute // A_DAY) - 1
    frame = of_waiting.with_columns(until=until, hit=pl.Series(dice.hit(len(of_waiting), 0.09)))
    frame = frame.filter(pl.col("hit") & (pl.col("until") - pl.col("assessed") > 12) & (pl.col("right") != NO_NEED))  # noqa: PLR2004 days
    n = len(frame)
    middle = (frame["assessed"] + frame["until"]) // 2
    twice = dice.hit(n, 0.2)
    codes = {"1": 0.35, "21": 0.2, "22": 0.1, "3": 0.1, "4": 0.1, "5": 0.08, "6": 0.07}
    first = frame.select("_c", utsettNr=pl.lit(1), day=middle, utsettKode=dice.pick(n, codes))
    second = frame.select("_c", utsettNr=pl.lit(2), day=pl.col("until"), utsettKode=dice.pick(n, codes))
    both = pl.concat([first, second.filter(pl.Series(twice))]).sort("_c", "utsettNr")
    return both.select(
        referral_key(pl.col("_c")).alias("henvisningsperiodeID"), "utsettNr",
        at_day(pl.col("day")).alias("utsettDato"), "utsettKode",
    )  # fmt: skip


def referral_events(dice: Dice, of_waiting: pl.DataFrame, window: Window) -> pl.DataFrame:
    """First notice to the patient for some; for breaches of the deadline, what was done about Helfo."""
    n = len(of_waiting)
    taken = window.taken_minute // A_DAY
    frame = of_waiting.with_columns(
        hit=pl.Series(dice.hit(n, 0.12)), told=pl.Series(dice.hit(n, 0.4)), minute=pl.Series(dice.whole(n, 480, 960))
    )
    notice = frame.filter(pl.col("hit") & pl.col("end").is_not_null() & (pl.col("right") != NO_NEED)).select(
        "_c", "minute", day=pl.min_horizontal(pl.col("assessed") + 1, "end"), typeTidspunkt=pl.lit(FIRST_NOTICE)
    )
    kind = pl.when("told").then(pl.lit(HELFO_TOLD)).otherwise(pl.lit(HELFO_NOT_TO_BE_TOLD))
    # Whatever the waiting ended with: until then the deadline was passed (WAIT-18).
    late = pl.col("end").fill_null(taken) > pl.col("deadline")
    breach = frame.filter(late).select("_c", "minute", day=pl.col("deadline") + 1, typeTidspunkt=kind)
    events = pl.concat([notice, breach]).sort("_c", "day", "typeTidspunkt")
    return events.select(
        referral_key(pl.col("_c")).alias("henvisningsperiodeID"),
        tidspunktNr=pl.int_range(1, pl.len() + 1).over("_c"),
        typeTidspunkt="typeTidspunkt",
        tidspunkt=at_minute(pl.col("day") * A_DAY + pl.col("minute")),
    )


def tsb_starts(dice: Dice, profile: Profile, of_waiting: pl.DataFrame) -> pl.DataFrame:
    """The form at treatment start, for each TSB course that began."""
    tsb = [number for number, department in enumerate(profile.departments) if department.kind == "tsb"]
    frame = of_waiting.filter(pl.col("_d").is_in(tsb) & ~pl.col("waiting"))
    items = {name: dice.pick(len(frame), weights) for name, weights in TSB_ITEMS.items()}
    injects = (items["inntaksmate"] == "2") | (items["injisering"] != "1")
    shared = pl.when(injects).then(items["sproytedeling"])  # only who injects can have shared
    return frame.select(
        key("S", pl.col("_c"), 8).alias("behandlingsstartID"),
        patient_key(pl.col("_p")).alias("pasientNr"),
        referral_key(pl.col("_c")).alias("henvisningsperiodeID"),
        at_day(pl.col("seen")).alias("startDato"),
        *(shared.alias(name) if name == "sproytedeling" else values for name, values in _named(items)),
    )


def _named(items: dict[str, pl.Series]) -> list[tuple[str, pl.Series]]:
    return [(name, values.alias(name)) for name, values in items.items()]
