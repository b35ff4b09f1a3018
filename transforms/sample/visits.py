"""Courses of care and their visits: who comes when, where to, and for how long.

Belongs here: dates, levels of care, stays and deaths of the sample. Does not belong here: the contract's columns
(``transforms.sample.tables``).

Times are whole minutes since 1970-01-01 of local Norwegian time, days are day numbers since then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import polars as pl

from transforms.sample.dice import Dice, Flags, Real, Whole, matrix
from transforms.sample.people import years
from transforms.sample.values import (
    ACUTE_HOURS,
    ACUTE_MONTHS,
    ACUTE_WEEK,
    GROUPS,
    NEWBORN,
    PLANNED_MONTHS,
    PLANNED_WEEK,
    Profile,
)

LEVELS = ("1", "2", "3")
STAY, DAY_CARE, CLINIC, WITHIN_STAY = 1, 2, 3, 8  # list 8406
A_DAY = 24 * 60
_LONGEST_COURSE = 40
_WAITING = 0.27  # share of referrals that get no care here
_WARM_UP = 120  # days before the window in which courses begin whose later visits lie in it


@dataclass(frozen=True, slots=True)
class Window:
    """first, last: days on which care begins. taken: when the extract is taken."""

    first: date
    last: date
    taken: datetime

    @property
    def days(self) -> Whole:
        """Day number of each day."""
        return np.arange((self.first - date(1970, 1, 1)).days, (self.last - date(1970, 1, 1)).days + 1)

    @property
    def taken_minute(self) -> int:
        """The minute of the extract."""
        return int((self.taken - datetime(1970, 1, 1)).total_seconds()) // 60  # noqa: DTZ001 local time, no zone


def courses(dice: Dice, profile: Profile, persons: pl.DataFrame, episodes: int, window: Window) -> pl.DataFrame:
    """Draw more courses than the wanted number of episodes needs; ``kept`` says which remain.

    persons: as of ``sample_people.people``. Columns: _c, _p, _d (department), acute, waiting (ends or waits without
    care), start (day), visits (number of episodes), old, disease (share that picks the main code).
    """
    n = int(episodes * 0.62) + len(persons) // 4 + 400
    group = persons["group"].to_numpy()
    older = np.flatnonzero(group != NEWBORN)
    again = older[dice.below(np.full(max(n - len(persons), 0), len(older)))]
    person = np.concatenate([np.arange(len(persons)), again])[:n]
    department = dice.rows(group[person], _department_weights(profile))
    acute = dice.hit(n, _of(profile, "acute")[department])
    born = group[person] == NEWBORN
    waiting = ~acute & ~born & dice.hit(n, _WAITING)
    visits = np.where(waiting, 0, np.minimum(1 + dice.poisson(_further(dice, profile, department)), _LONGEST_COURSE))
    days = np.arange(window.days[0] - _WARM_UP, window.days[-1] + 1)
    begun = np.where(
        acute, _start(dice, n, days, ACUTE_MONTHS, ACUTE_WEEK), _start(dice, n, days, PLANNED_MONTHS, PLANNED_WEEK)
    )
    # Most who wait were referred lately.
    recent = days[-1] - np.floor(dice.share(n) ** 2 * len(days)).astype(np.int64)
    start = np.where(born, persons["birth"].to_numpy()[person], np.where(waiting, recent, begun))
    return pl.DataFrame({
        "_p": person, "_d": department, "acute": acute, "waiting": waiting, "visits": visits, "start": start,
        "old": persons["old"].to_numpy()[person], "disease": dice.share(n),
    }).with_row_index("_c")  # fmt: skip


def visits(dice: Dice, profile: Profile, drawn: pl.DataFrame, episodes: int, window: Window) -> pl.DataFrame:
    """Exactly ``episodes`` episodes of the courses drawn, in order of start.

    Columns of the course, and: _e, k (number within the course), level, inn, ut (minutes; null while it lasts), dead,
    dead_before. Care before the window was reported by an earlier extract and is not there; care after it has not been.
    """
    frame = drawn.filter(pl.col("visits") > 0)
    frame = frame.select(pl.all().repeat_by("visits").explode()).with_columns(k=pl.int_range(pl.len()).over("_c"))
    frame = frame.with_columns(day=pl.Series(_days(dice, profile, frame)))
    frame = frame.filter(pl.col("day").is_between(window.days[0], window.days[-1])).head(episodes)
    level = _levels(dice, profile, frame)
    inn = frame["day"].to_numpy() * A_DAY + _arrival(dice, frame, level)
    stay = np.maximum(dice.gamma(len(inn), 1.3, _of(profile, "stay")[frame["_d"].to_numpy()]), 1).astype(np.int64)
    frame = frame.with_columns(
        level=pl.Series(level), inn=pl.Series(inn), ut=pl.Series(_leaving(dice, inn, level, stay))
    )
    frame = _apart(_within_stays(_no_overlap(frame.drop("day")), profile, int(window.days[-1])))
    frame = frame.with_columns(ut=pl.when(pl.col("ut") < window.taken_minute).then("ut"))
    return _deaths(dice, profile, frame, kept(drawn, frame)).sort("inn", "_c", "k").with_row_index("_e")


def kept(drawn: pl.DataFrame, came: pl.DataFrame) -> pl.DataFrame:
    """The courses that have an episode, and those without care that were drawn before the last of them."""
    seen = pl.col("_c").is_in(came["_c"].unique().implode())
    return drawn.filter(seen | (pl.col("waiting") & (pl.col("_c") <= came["_c"].max())))


def _of(profile: Profile, name: str) -> Real:
    return np.array([getattr(department, name) for department in profile.departments], dtype=np.float64)


def _kinds(profile: Profile, kind: str) -> list[int]:
    return [number for number, department in enumerate(profile.departments) if department.kind == kind]


def _department_weights(profile: Profile) -> Real:
    weights = [[d.weight if group in d.groups else 0.0 for d in profile.departments] for group in range(GROUPS)]
    # Groups that the hospital does not take: its first department, so that every patient has one.
    return np.array([row if any(row) else [1.0, *row[1:]] for row in weights])


def _further(dice: Dice, profile: Profile, department: Whole) -> Real:
    # Gamma around the mean makes some courses long, as some illnesses are.
    return dice.gamma(len(department), 1.2, 0.8 * _of(profile, "visits")[department])


def _start(dice: Dice, n: int, days: Whole, months: Sequence[float], week: Sequence[float]) -> Whole:
    month = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12
    weights = np.asarray(months)[month] * np.asarray(week)[(days + 3) % 7]
    closed = (days >= _number(date(2020, 3, 12))) & (days < _number(date(2020, 4, 20)))
    weights = np.where(closed, weights * 0.6, weights)  # hospitals put much off in the spring of 2020
    if week is PLANNED_WEEK:
        weights = np.where(np.isin(days, _holidays(days)), 0.0, weights)
    return days[dice.index(n, list(weights))]


def _holidays(days: Whole) -> Whole:
    fixed = ((1, 1), (5, 1), (5, 17), (12, 24), (12, 25), (12, 26), (12, 31))
    return np.array([_number(date(year, *day)) for year in np.unique(years(days)).tolist() for day in fixed])


def _number(day: date) -> int:
    return (day - date(1970, 1, 1)).days


def _days(dice: Dice, profile: Profile, frame: pl.DataFrame) -> Whole:
    k, start = frame["k"].to_numpy(), frame["start"].to_numpy()
    gap = _of(profile, "gap")[frame["_d"].to_numpy()]
    later = np.maximum(np.floor(gap * (k + 0.8 * dice.share(len(k)) - 0.4)), 1).astype(np.int64)
    day = start + np.where(k > 0, later, 0)
    planned = (k > 0) | ~frame["acute"].to_numpy()
    day = _past_weekend(day, planned)
    free = planned & np.isin(day, _holidays(np.arange(start.min(), day.max() + 1)))
    return _past_weekend(day + free, planned)


def _past_weekend(day: Whole, planned: Flags) -> Whole:
    weekday = (day + 3) % 7
    return np.where(planned & (weekday > 4), day + 7 - weekday, day)  # noqa: PLR2004 Saturday on


def _levels(dice: Dice, profile: Profile, frame: pl.DataFrame) -> Whole:
    department = frame["_d"].to_numpy()
    names = ("first_acute", "first", "later")
    drawn = [
        dice.rows(department, matrix([getattr(d, name) for d in profile.departments], LEVELS)) + 1 for name in names
    ]
    k, acute = frame["k"].to_numpy(), frame["acute"].to_numpy()
    return np.where(k > 0, drawn[2], np.where(acute, drawn[0], drawn[1]))


def _arrival(dice: Dice, frame: pl.DataFrame, level: Whole) -> Whole:
    """Minutes after midnight."""
    n = len(level)
    acute = (frame["acute"] & (frame["k"] == 0)).to_numpy()
    any_time = dice.index(n, [float(hour) for hour in ACUTE_HOURS]) * 60 + dice.whole(n, 0, 59)
    clinic = 8 * 60 + 5 * dice.whole(n, 0, 84)
    ward = 8 * 60 + 5 * dice.whole(n, 0, 48)
    day_care = 7 * 60 + 30 + 5 * dice.whole(n, 0, 30)
    # An acute visit to the clinic must be over before midnight.
    night = np.where(level == STAY, any_time, np.minimum(any_time, 22 * 60 + 30))
    return np.where(acute, night, np.where(level == STAY, ward, np.where(level == DAY_CARE, day_care, clinic)))


def _leaving(dice: Dice, inn: Whole, level: Whole, stay: Whole) -> Whole:
    n = len(inn)
    home = (inn // A_DAY + stay) * A_DAY + 10 * 60 + 5 * dice.whole(n, 0, 84)
    day_care = inn + 150 + 5 * dice.whole(n, 0, 42)
    clinic = inn + 15 + 5 * dice.whole(n, 0, 11)
    night = (inn // A_DAY + 1) * A_DAY - 1
    return np.where(level == STAY, home, np.minimum(np.where(level == DAY_CARE, day_care, clinic), night))


def _no_overlap(frame: pl.DataFrame) -> pl.DataFrame:
    """Stays that begin inside another stay of the same patient become visits to the clinic."""
    stay_end = pl.when(pl.col("level") == STAY).then("ut").otherwise(0)
    earlier = stay_end.cum_max().shift(1, fill_value=0).over("_p")
    inside = (pl.col("inn") <= earlier) & (pl.col("level") == STAY)
    marked = frame.sort("_p", "inn", "_c", "k").with_columns(inside=inside)
    late = pl.min_horizontal(pl.col("inn") + 45, (pl.col("inn") // A_DAY + 1) * A_DAY - 1)
    return marked.with_columns(
        level=pl.when("inside").then(CLINIC).otherwise("level"), ut=pl.when("inside").then(late).otherwise("ut")
    ).drop("inside")


def _within_stays(frame: pl.DataFrame, profile: Profile, last: int) -> pl.DataFrame:
    """Radiotherapy for inpatients: a clinic visit right after a stay of the course is put on its second day."""
    before = pl.col("level", "inn", "ut").shift(1).over("_c").name.suffix("_before")
    frame = frame.sort("_c", "k").with_columns(before)
    day = pl.col("inn_before") // A_DAY + 1
    moved = (
        pl.col("_d").is_in(_kinds(profile, "cancer"))
        & (pl.col("level") == CLINIC)
        & (pl.col("level_before") == STAY)
        & (pl.col("ut_before") // A_DAY > day)
        & (day <= last)
    ).fill_null(value=False)
    start = day * A_DAY + 10 * 60 + 5 * (pl.col("k") % 12)
    return frame.with_columns(
        level=pl.when(moved).then(WITHIN_STAY).otherwise("level"),
        inn=pl.when(moved).then(start).otherwise("inn"),
        ut=pl.when(moved).then(start + 20).otherwise("ut"),
    ).drop("level_before", "inn_before", "ut_before")


def _apart(frame: pl.DataFrame) -> pl.DataFrame:
    """No two episodes of a patient begin in the same minute."""
    nth = pl.int_range(pl.len()).over("_p", "inn")
    ordered = frame.sort("_p", "inn", "_c", "k").with_columns(shift=nth)
    return ordered.with_columns(pl.col("inn") + pl.col("shift"), pl.col("ut") + pl.col("shift")).drop("shift")


def _deaths(dice: Dice, profile: Profile, frame: pl.DataFrame, courses_kept: pl.DataFrame) -> pl.DataFrame:
    """dead: left dead, or (dead_before) came so. Only where nothing of the patient comes later."""
    waits = courses_kept.filter("waiting")["_p"].unique()
    n = len(frame)
    ordered = frame.sort("_p", "inn")
    final = (pl.col("inn") == pl.col("inn").max().over("_p")) & ~pl.col("_p").is_in(waits.implode())
    final = final & pl.col("ut").is_not_null() & (pl.col("ut") >= pl.col("ut").max().over("_p"))
    final = final & pl.col("ut").is_not_null().all().over("_p")
    chance = _of(profile, "died")[ordered["_d"].to_numpy()] * np.where(ordered["old"].to_numpy(), 1.4, 0.5)
    in_ward: Flags = dice.hit(n, chance)
    on_arrival: Flags = dice.hit(n, chance * 0.1)
    return ordered.with_columns(in_ward=pl.Series(in_ward), on_arrival=pl.Series(on_arrival)).with_columns(
        dead=final & (pl.col("level") == STAY) & pl.col("in_ward"),
        dead_before=final & (pl.col("level") == CLINIC) & (pl.col("k") == 0) & pl.col("acute") & pl.col("on_arrival"),
    ).drop("in_ward", "on_arrival")  # fmt: skip
