"""The contract's tables out of people, courses and visits.

Belongs here: columns and keys of the sample, for patients, units, episodes and what hangs below them. Does not belong
here: referrals (``transforms.sample.referrals``), dates and levels of care (``transforms.sample.visits``).

Keys are opaque: numbers of a row sent through a one-to-one scramble, never more than eight digits, so that
nothing but an identity number looks like one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from transforms.sample.dice import Dice, Real, Whole, matrix, texts
from transforms.sample.people import years
from transforms.sample.values import (
    COST_CODES,
    DRGS,
    OTHER_HOSPITAL,
    PAIRS,
    RADIOTHERAPY,
    SIDES,
    Profile,
)
from transforms.sample.visits import A_DAY, CLINIC, STAY, WITHIN_STAY, Window

MINUTE = 60_000_000
_RESIDENT_SINCE_REFORM = 2020
_STAFF = 990_000_000  # no HPR number has nine digits


def key(prefix: str, numbers: pl.Expr, digits: int) -> pl.Expr:
    """Opaque key: prefix and ``digits`` digits, one-to-one with the numbers (below 10 ** digits)."""
    # Its own factor for each prefix, or a patient and his referral would carry the same digits. No factor may
    # share a divisor with 10.
    factor = 6_364_137 + 20 * ord(prefix[0]) * 1_009
    scrambled = (numbers.cast(pl.Int64) * factor + ord(prefix[0]) * 1_442_695) % 10**digits
    return pl.format("{}{}", pl.lit(prefix), scrambled.cast(pl.String).str.zfill(digits))


def patient_key(numbers: pl.Expr) -> pl.Expr:
    """Key pasientNr of a person's number."""
    return key("P", numbers, 7)


def episode_key(numbers: pl.Expr) -> pl.Expr:
    """Key episodeID of an episode's number."""
    return key("E", numbers, 8)


def referral_key(numbers: pl.Expr) -> pl.Expr:
    """Key henvisningsperiodeID of a course's number."""
    return key("H", numbers, 8)


def at_minute(minutes: pl.Expr) -> pl.Expr:
    """Minutes since 1970 as datetime."""
    return (minutes.cast(pl.Int64) * MINUTE).cast(pl.Datetime("us"))


def at_day(days: pl.Expr) -> pl.Expr:
    """Day number as date."""
    return days.cast(pl.Int32).cast(pl.Date)


def year_of(minutes: pl.Series) -> Whole:
    """Calendar year of each minute."""
    return years(minutes.to_numpy() // A_DAY)


def unit_keys(profile: Profile) -> dict[str, list[str | None]]:
    """Column of episodes and referrals -> enhetID by department number."""
    return {
        "behandlingsstedID": [f"B{department.place + 1}" for department in profile.departments],
        "fagenhetID": [f"F-{department.key}" for department in profile.departments],
        "avdelingID": [f"A-{department.key}" for department in profile.departments],
        "tjenesteenhetID": [f"T-{department.key}" if department.ward else None for department in profile.departments],
    }


def units(profile: Profile) -> pl.DataFrame:
    """Treatment places, departments, specialist units and wards."""
    rows: list[dict[str, str | None]] = []
    for number, (name, org, local) in enumerate(profile.places, 1):
        rows.append({"enhetID": f"B{number}", "orgNr": org, "enhetNavn": name, "enhetLokal": local})
    for number, d in enumerate(profile.departments):
        isf = "2" if d.kind in ("mental", "tsb") else "1"
        resh = str(99_001_000 + 10 * number)
        common = {"sektor": d.sektor, "isfRefusjon": isf}
        rows.append({"enhetID": f"A-{d.key}", "enhetNavn": d.name, "offAvdKode": d.off_avd, "reshID": resh, **common})
        rows.append({"enhetID": f"F-{d.key}", "enhetNavn": f"Fagenhet {d.name.lower()}", "enhetLokal": d.key, **common})
        if d.ward:
            rows.append({"enhetID": f"T-{d.key}", "enhetNavn": f"Sengepost {d.key}", "reshID": str(int(resh) + 1)})
    names = ("enhetID", "orgNr", "enhetNavn", "sektor", "offAvdKode", "reshID", "isfRefusjon", "enhetLokal")
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String))


def patients(dice: Dice, persons: pl.DataFrame) -> pl.DataFrame:
    """Patients; birth weight for newborns only."""
    n = len(persons)
    weight = (2300 + dice.gamma(n, 6, 1150)).astype(np.int64)
    newborn = persons["newborn"]
    return persons.select(
        patient_key(pl.col("_p")).alias("pasientNr"),
        pl.when("male").then(pl.lit("1")).otherwise(pl.lit("2")).alias("kjonn"),
        at_day(pl.col("birth")).dt.year().alias("fodselsar"),
        pl.when(newborn).then(pl.Series(np.minimum(weight, 5400))).alias("fodselsvekt"),
    )


def episodes(dice: Dice, profile: Profile, visits: pl.DataFrame, persons: pl.DataFrame) -> pl.DataFrame:
    """Episodes out of visits."""
    frame = visits.join(persons.drop("old"), on="_p", how="left", maintain_order="left")
    frame = frame.hstack(_ways(dice, profile, frame)).hstack(_units_of(profile, frame["_d"], ward=True))
    reform = pl.Series(year_of(frame["inn"]) >= _RESIDENT_SINCE_REFORM)
    left = pl.col("ut").is_not_null()
    return frame.select(
        episode_key(pl.col("_e")).alias("episodeID"),
        patient_key(pl.col("_p")).alias("pasientNr"),
        pl.when(~pl.col("acute")).then(referral_key(pl.col("_c"))).alias("henvisningsperiodeID"),
        at_minute(pl.col("inn")).alias("innDatoTid"),
        at_minute(pl.col("ut")).alias("utDatoTid"),
        pl.col("level").cast(pl.String).alias("omsorgsniva"),
        "debitor",
        pl.when(reform).then("home_2020").otherwise("home_2019").alias("komNrHjem"),
        "bydel",
        _condition_on_arrival().alias("inntilstand"),
        pl.when(pl.col("dead") | pl.col("dead_before")).then(pl.lit("2"))
        .when(left).then(pl.lit("1")).alias("utTilstand"),
        "innmateHast", "fraSted", "tilSted", "fraInstitusjonID", "tilInstitusjonID",
        texts([d.fag for d in profile.departments], frame["_d"].to_numpy()).alias("episodeFag"),
        "kommTjeneste", "permisjonsdogn", "behandlingsstedID", "fagenhetID", "avdelingID", "tjenesteenhetID",
    )  # fmt: skip


def _condition_on_arrival() -> pl.Expr:
    born = pl.col("newborn") & (pl.col("k") == 0)
    return pl.when(born).then(pl.lit("3")).when("dead_before").then(pl.lit("2")).otherwise(pl.lit("1"))


def _ways(dice: Dice, profile: Profile, frame: pl.DataFrame) -> pl.DataFrame:
    """Who pays, how urgent, whence and whither."""
    n = len(frame)
    stay, old = pl.col("level") == STAY, pl.col("old")
    urgent = pl.col("acute") & (pl.col("k") == 0)
    alive = stay & pl.col("ut").is_not_null() & ~pl.col("dead")
    drawn = frame.with_columns(
        payer=dice.pick(n, profile.debitor),
        whence=dice.pick(n, {"1": 0.86, "2": 0.05, "11": 0.03, "7": 0.02, "99": 0.04}),
        whither=dice.pick(n, {"1": 0.9, "88": 0.03, "7": 0.03, "99": 0.04}),
        whither_old=dice.pick(n, {"1": 0.74, "11": 0.18, "3": 0.04, "99": 0.04}),
        municipal=dice.pick(n, {"1": 0.5, "3": 0.3, "4": 0.2}),
        leave=pl.Series(dice.whole(n, 1, 5)),
        on_leave=pl.Series(dice.hit(n, 0.3)),
        mental=frame["_d"].is_in([i for i, d in enumerate(profile.departments) if d.kind in ("mental", "tsb")]),
    )
    ways = drawn.with_columns(
        debitor=pl.when(pl.col("abroad") & urgent).then(pl.lit("11"))
        .when("abroad").then(pl.lit("30")).otherwise("payer"),
        fraSted=pl.when(stay & ~pl.col("newborn")).then("whence"),
        tilSted=pl.when(alive).then(pl.when(old).then("whither_old").otherwise("whither")),
        permisjonsdogn=pl.when(stay & pl.col("mental") & pl.col("on_leave"), pl.col("ut") - pl.col("inn") > 9 * A_DAY)
        .then("leave"),
    ).with_columns(
        innmateHast=pl.when(urgent).then(pl.lit("1")).when(pl.col("fraSted") == "99").then(pl.lit("5"))
        .otherwise(pl.lit("4")),
        fraInstitusjonID=pl.when(pl.col("fraSted") == "99").then(pl.lit(OTHER_HOSPITAL)),
        tilInstitusjonID=pl.when(pl.col("tilSted") == "99").then(pl.lit(OTHER_HOSPITAL)),
        kommTjeneste=pl.when(pl.col("tilSted") == "11").then(pl.lit("3"))
        .when(alive & old & pl.col("on_leave")).then("municipal"),
    )  # fmt: skip
    return ways.select("debitor", "innmateHast", "fraSted", "tilSted", "fraInstitusjonID", "tilInstitusjonID",
                       "kommTjeneste", "permisjonsdogn")  # fmt: skip


def _units_of(profile: Profile, departments: pl.Series, *, ward: bool) -> pl.DataFrame:
    keys = unit_keys(profile)
    if not ward:
        keys.pop("tjenesteenhetID")
    return pl.DataFrame({name: texts(options, departments.to_numpy()) for name, options in keys.items()})


def units_of_referrals(profile: Profile, departments: pl.Series) -> pl.DataFrame:
    """The three units a referral names."""
    return _units_of(profile, departments, ward=False)


def contacts(dice: Dice, profile: Profile, visits: pl.DataFrame) -> pl.DataFrame:
    """One contact for each episode."""
    n = len(visits)
    mental = visits["_d"].is_in([i for i, d in enumerate(profile.departments) if d.kind in ("mental", "tsb")])
    drawn = visits.with_columns(
        mental=mental,
        first=dice.pick(n, {"1": 0.55, "2": 0.45}),
        later=dice.pick(n, {"2": 0.58, "3": 0.38, "12": 0.02, "13": 0.02}),
        place=dice.pick(n, {"1": 0.95, "3": 0.01, "4": 0.02, "5": 0.02}),
        how=dice.pick(n, {"1": 0.2, "2": 0.25, "5": 0.1, "7": 0.2, "12": 0.1, "22": 0.15}),
        form=dice.pick(n, {"1": 0.74, "2": 0.04, "3": 0.08, "4": 0.1, "7": 0.02, "8": 0.02}),
    )
    direct = pl.when(pl.col("level") != CLINIC).then(pl.lit("2")).otherwise(pl.when(pl.col("k") == 0).then("first")
                                                                           .otherwise("later"))  # fmt: skip
    return drawn.select(
        episode_key(pl.col("_e")).alias("episodeID"),
        pl.when("indirect").then(pl.lit("5")).otherwise(direct).alias("kontaktType"),
        pl.when((pl.col("level") == CLINIC) & ~pl.col("indirect")).then("place").otherwise(pl.lit("1"))
        .alias("stedAktivitet"),
        pl.when("indirect").then("how").alias("polIndir"),
        pl.when("mental").then("form").alias("polkonAktivitet"),
    )  # fmt: skip


def health_personnel(dice: Dice, profile: Profile, visits: pl.DataFrame) -> pl.DataFrame:
    """One responsible person for each contact, a second one for every fifth."""
    n = len(visits)
    second = dice.hit(n, 0.2)
    department = np.concatenate([visits["_d"].to_numpy(), visits["_d"].to_numpy()[second]])
    number = np.concatenate([np.ones(n, np.int64), np.full(int(second.sum()), 2)])
    names = sorted({name for d in profile.departments for name in d.staff}, key=int)
    profession = dice.rows(department, matrix([d.staff for d in profile.departments], names))
    person = dice.below(np.full(len(department), 12 + n // 2000))
    return pl.DataFrame({
        "_e": np.concatenate([visits["_e"].to_numpy(), visits["_e"].to_numpy()[second]]),
        "helsepersonNr": number,
        "polUtforende": texts(names, profession),
        "spesialist": dice.pick(len(department), {"1": 0.55, "2": 0.4, "9": 0.05}),
        "rolle": texts(["1", "2"], number - 1),
        "hpr": _STAFF + department * 100_000 + profession * 1000 + person % 1000,
    }).sort("_e", "helsepersonNr").select(
        episode_key(pl.col("_e")).alias("episodeID"), "helsepersonNr", "polUtforende", "spesialist", "rolle",
        pl.col("hpr").cast(pl.String).alias("helsepersonHPR"),
    )  # fmt: skip


def conditions(dice: Dice, profile: Profile, visits: pl.DataFrame, window: Window) -> pl.DataFrame:
    """The main condition of the course, and what the patient has besides."""
    n = len(visits)
    leaving = visits["ut"].fill_null(window.taken_minute)
    # Who leaves after the last day of the window was coded before it: in the edition of that year.
    version = np.minimum(year_of(leaving), window.last.year)
    base = visits.select("_e").with_columns(
        main=_main_codes(profile, visits), also=_other_codes(profile, visits, dice.share(n)),
        third=_other_codes(profile, visits, dice.share(n)), kodeVersjon=pl.Series(version).cast(pl.String),
        second_there=pl.Series(dice.hit(n, 0.45)) | _of_kind(profile, visits, "birth"),
        third_there=pl.Series(dice.hit(n, 0.35)),
    )  # fmt: skip
    second = base.filter("second_there")
    third = second.filter(pl.col("third_there") & (pl.col("third") != pl.col("also")))
    paired = base.filter(pl.col("main").is_in(list(PAIRS)))
    parts = [
        _codes(base, 1, 1, pl.col("main")),
        _codes(paired, 1, 2, pl.col("main").replace_strict(PAIRS, default=None, return_dtype=pl.String)),
        _codes(second, 2, 1, pl.col("also")),
        _codes(third, 3, 1, pl.col("third")),
    ]
    return pl.concat(parts).sort("_e", "tilstNr", "kodeNr").select(
        episode_key(pl.col("_e")).alias("episodeID"), "tilstNr", "kodeNr", pl.lit("D").alias("Kodeverk"),
        "kodeVersjon", "kodeVerdi",
    )  # fmt: skip


def _codes(frame: pl.DataFrame, tilst: int, kode: int, value: pl.Expr) -> pl.DataFrame:
    return frame.select("_e", "kodeVersjon", kodeVerdi=value, tilstNr=pl.lit(tilst), kodeNr=pl.lit(kode))


def _of_kind(profile: Profile, visits: pl.DataFrame, kind: str) -> pl.Series:
    return visits["_d"].is_in([number for number, d in enumerate(profile.departments) if d.kind == kind])


def _main_codes(profile: Profile, visits: pl.DataFrame) -> pl.Series:
    names = sorted({code for d in profile.departments for code in d.codes})
    edges = np.cumsum(matrix([d.codes for d in profile.departments], names), axis=1)
    edges = edges / edges[:, -1:]
    places = (visits["disease"].to_numpy()[:, None] >= edges[visits["_d"].to_numpy()]).sum(axis=1)
    main = texts(names, places.astype(np.int64))
    again = _of_kind(profile, visits, "newborn") & (visits["k"] > 0)
    # A newborn who comes back is no longer born here.
    return pl.select(pl.when(again).then(pl.lit("P599")).otherwise(main)).to_series()


def _other_codes(profile: Profile, visits: pl.DataFrame, share: Real) -> pl.Series:
    return _from_lists([d.also for d in profile.departments], visits["_d"].to_numpy(), share)


def _from_lists(lists: Sequence[Sequence[str]], which: Whole, share: Real) -> pl.Series:
    """One of the list of each row, evenly by its share."""
    flat = [item for options in lists for item in options]
    length = np.array([len(options) for options in lists])
    start = np.cumsum(length) - length
    return texts(flat, (start[which] + np.floor(share * length[which])).astype(np.int64))


def procedures(dice: Dice, profile: Profile, visits: pl.DataFrame, window: Window) -> pl.DataFrame:
    """Services with one measure each, one or two procedures, and the side for some of the surgical ones."""
    level = visits["level"].to_numpy()
    n = len(level)
    count = np.where(level == STAY, 1 + dice.poisson(np.full(n, 0.7)), 1) * np.where(
        level == CLINIC, dice.hit(n, 0.78), 1
    )
    count = np.where(visits["indirect"].to_numpy(), 0, count)
    frame = visits.select("_e", "_d", "level", "inn", "ut", "disease").with_columns(count=pl.Series(count))
    frame = frame.filter(pl.col("count") > 0).select(pl.all().repeat_by("count").explode())
    frame = frame.with_columns(tjenesteNr=pl.int_range(1, pl.len() + 1).over("_e"))
    frame = frame.hstack(_service_times(dice, frame, window)).hstack(_codes_of_services(dice, profile, frame))
    alike = (pl.col("letter") == "R") == (pl.col("next_letter") == "R")  # a measure is imaging or it is not
    two = frame.filter(pl.Series(dice.hit(len(frame), 0.25)) & alike & (pl.col("code") != pl.col("next_code")))
    sided = frame.filter((pl.col("letter") == "K") & pl.Series(dice.hit(len(frame), 0.4)))
    # The side of the illness, so the same at every visit of the course.
    side = (
        pl.when((pl.col("disease") * 1000).cast(pl.Int64) % 2 == 0).then(pl.lit(SIDES[0])).otherwise(pl.lit(SIDES[1]))
    )
    parts = [
        _procedure(frame, 1, 1, "letter", pl.col("code")),
        _procedure(sided, 1, 2, "letter", side),
        _procedure(two, 2, 1, "next_letter", pl.col("next_code")),
    ]  # fmt: skip
    return pl.concat(parts).sort("_e", "tjenesteNr", "prosNr", "kodeNr").select(
        episode_key(pl.col("_e")).alias("episodeID"), "tjenesteNr", "startDatoTid", "sluttDatoTid",
        pl.lit(1).alias("tiltakNr"), "typeTiltak", "prosNr",
        pl.when(pl.col("prosNr") == 1).then(1).alias("tilstNr"), "kodeNr", "Kodeverk", "kodeVersjon", "kodeVerdi",
    )  # fmt: skip


def _service_times(dice: Dice, frame: pl.DataFrame, window: Window) -> pl.DataFrame:
    n = len(frame)
    inn = frame["inn"].to_numpy()
    until = np.minimum(frame["ut"].fill_null(window.taken_minute).to_numpy(), inn + 5 * A_DAY)
    start = inn + np.floor(dice.share(n) * 0.8 * (until - inn)).astype(np.int64)
    # No service begins after the window, or it would need the codes of the next year.
    start = np.minimum(start, np.maximum(inn, (int(window.days[-1]) + 1) * A_DAY - 60))
    end = np.minimum(start + dice.whole(n, 5, 90), until)
    return pl.DataFrame({"start": start, "end": end}).select(
        at_minute(pl.col("start")).alias("startDatoTid"),
        at_minute(pl.col("end")).alias("sluttDatoTid"),
        kodeVersjon=pl.Series(years(start // A_DAY)).cast(pl.String),
    )


def _codes_of_services(dice: Dice, profile: Profile, frame: pl.DataFrame) -> pl.DataFrame:
    department, share = frame["_d"].to_numpy(), dice.share(len(frame))
    again = (share + 0.37) % 1.0
    beams = frame["level"] == WITHIN_STAY
    lists = [[code for _, code in d.procedures] for d in profile.departments]
    letters = {code: letter for d in profile.departments for letter, code in d.procedures} | {RADIOTHERAPY: "M"}
    first, second = (_from_lists(lists, department, part) for part in (share, again))
    codes = pl.select(code=pl.when(beams).then(pl.lit(RADIOTHERAPY)).otherwise(first), next_code=second)
    with_letters = codes.with_columns(
        letter=pl.col("code").replace_strict(letters, return_dtype=pl.String),
        next_letter=pl.col("next_code").replace_strict(letters, return_dtype=pl.String),
    )
    return with_letters.with_columns(
        typeTiltak=pl.when(pl.col("letter") == "R").then(pl.lit("2")).otherwise(pl.lit("1"))
    )


def _procedure(frame: pl.DataFrame, pros: int, kode: int, letter: str, value: pl.Expr) -> pl.DataFrame:
    return frame.select(
        "_e", "tjenesteNr", "startDatoTid", "sluttDatoTid", "typeTiltak", "kodeVersjon",
        prosNr=pl.lit(pros), kodeNr=pl.lit(kode), Kodeverk=pl.col(letter), kodeVerdi=value,
    )  # fmt: skip


def costs(dice: Dice, visits: pl.DataFrame) -> pl.DataFrame:
    """Costs of every twentieth finished episode: lines that add up to the total, for some a total only."""
    chosen = visits.filter(pl.Series(dice.hit(len(visits), 0.05)) & pl.col("ut").is_not_null())
    n = len(chosen)
    lines = np.where(dice.hit(n, 0.15), 0, dice.whole(n, 1, len(COST_CODES)))
    frame = chosen.select("_e").with_columns(
        drg=texts(DRGS, dice.whole(n, 0, len(DRGS) - 1)), count=pl.Series(np.maximum(lines, 1)),
        detailed=pl.Series(lines > 0),
    ).select(pl.all().repeat_by("count").explode())  # fmt: skip
    amount = pl.Series(np.round(dice.gamma(len(frame), 1.5, 600_000)).astype(np.int64) + 100)
    frame = frame.with_columns(kostnadNr=pl.int_range(1, pl.len() + 1).over("_e"), amount=amount)
    frame = frame.with_columns(sum=pl.col("amount").sum().over("_e"))
    code = pl.col("kostnadNr").replace_strict(dict(enumerate(COST_CODES, 1)), return_dtype=pl.String)
    return frame.sort("_e", "kostnadNr").select(
        episode_key(pl.col("_e")).alias("episodeID"), "drg", _crowns(pl.col("sum")).alias("total"), "kostnadNr",
        pl.when("detailed").then(code).alias("kostnadKode"),
        pl.when("detailed").then(_crowns(pl.col("amount"))).alias("kostnad"),
    )  # fmt: skip


def _crowns(hundredths: pl.Expr) -> pl.Expr:
    text = pl.format("{}.{}", hundredths // 100, (hundredths % 100).cast(pl.String).str.zfill(2))
    return text.cast(pl.Decimal(18, 2))
