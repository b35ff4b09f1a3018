"""Invented people: sex, birth, home and a synthetic identity number.

Belongs here: patients and identities of the sample. Does not belong here: what happens to them
(``transforms.sample.visits``).

Identity numbers are of the Tenor form only (month + 80), which no living person has; their control digits are right.
D-numbers have day + 40 besides. Source: ehelse.no on structure and century; navikt/fnrvalidator issues 116 and 469 on
Tenor.
"""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl

from transforms.sample.dice import Dice, Flags, Whole, texts
from transforms.sample.values import CHILD, HOMES, MAN, NEWBORN, OLD_MAN, OLD_WOMAN, WOMAN, YOUNG_WOMAN, Profile

FNR, D_NUMBER, OTHER = 1, 2, 9  # list 9032
_K1 = np.array([3, 7, 6, 1, 8, 9, 4, 5, 2])
_K2 = np.array([5, 4, 3, 2, 7, 6, 5, 4, 3, 2])
_NO_DIGIT = 10  # the remainder that one digit cannot hold
_MILLENNIUM = 2000
_OLDEST = np.datetime64("1925-01-01", "D")


def people(dice: Dice, profile: Profile, n: int, first: dt.date, last: dt.date) -> pl.DataFrame:
    """Draw n patients who are alive on the first day, or born up to the last.

    Columns: male, birth (day number since 1970-01-01), group, home_2019, home_2020, bydel, abroad, typeID.
    """
    newborn = np.zeros(n, dtype=np.bool_)
    newborn[dice.whole(n, 0, n - 1)[: round(n * profile.newborns)]] = True
    male = dice.hit(n, 0.48)
    birth = _births(dice, newborn, _day(first), _day(last))
    kind = np.where(dice.hit(n, 0.012), OTHER, np.where(dice.hit(n, 0.02), D_NUMBER, FNR))
    kind = np.where(newborn, FNR, kind)
    frame = pl.DataFrame({"male": male, "birth": birth, "group": _groups(birth, male, newborn, _day(first))})
    return frame.hstack(_homes(dice, profile, n)).with_columns(typeID=pl.Series(_alone(kind, birth)))


def identity_numbers(dice: Dice, birth: Whole, male: Flags, kind: Whole) -> pl.Series:
    """A number for each: 11 digits for types 1 and 2, ddmmyy for type 9. No 11-digit number occurs twice."""
    n = len(birth)
    numbers = np.zeros(n, dtype=np.int64)
    wrong = np.arange(n)
    while len(wrong):
        numbers[wrong] = _numbers(dice, birth[wrong], male[wrong], kind[wrong])
        firsts = np.unique(numbers, return_index=True)[1]
        again = np.ones(n, dtype=np.bool_)
        again[firsts] = False
        wrong = np.flatnonzero(again | (numbers < 0))
    eleven = pl.Series(numbers).cast(pl.String).str.zfill(11)
    frame = pl.DataFrame({"eleven": eleven, "birth": _as_dates(birth), "kind": kind})
    six = pl.col("birth").dt.strftime("%d%m%y")
    return frame.select(fid=pl.when(pl.col("kind") == OTHER).then(six).otherwise("eleven")).to_series()


def _numbers(dice: Dice, birth: Whole, male: Flags, kind: Whole) -> Whole:
    """One try each: the number, or a negative value where no such number is issued."""
    year, month, day = _parts(birth)
    base = np.where(year >= _MILLENNIUM, 500, 0)  # series of the century
    person = base + 2 * dice.whole(len(birth), 0, 249) + male
    digits = np.column_stack([
        *_two(day + np.where(kind == D_NUMBER, 40, 0)), *_two(month + 80), *_two(year % 100),
        person // 100, person // 10 % 10, person % 10,
    ])  # fmt: skip
    k1 = -(digits @ _K1) % 11
    k2 = -(np.column_stack([digits, k1]) @ _K2) % 11
    whole = digits @ 10 ** np.arange(10, 1, -1) + k1 * 10 + k2
    # Each gets a negative of its own, so that two failures are not taken for the same number.
    return np.where((k1 == _NO_DIGIT) | (k2 == _NO_DIGIT), -1 - np.arange(len(birth)), whole)


def _two(value: Whole) -> tuple[Whole, Whole]:
    return value // 10, value % 10


def _as_dates(days: Whole) -> pl.Series:
    return pl.Series(days.astype(np.int32)).cast(pl.Date)


def _parts(days: Whole) -> tuple[Whole, Whole, Whole]:
    dates = days.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    year = dates.astype("datetime64[Y]").astype(np.int64) + 1970
    return year, months.astype(np.int64) % 12 + 1, (dates - months).astype(np.int64) + 1


def years(days: Whole) -> Whole:
    """Calendar year of each day number."""
    return _parts(days)[0]


def _day(day: dt.date) -> int:
    return (day - dt.date(1970, 1, 1)).days


def _births(dice: Dice, newborn: Flags, first: int, last: int) -> Whole:
    n = len(newborn)
    # Three bands of age (children, adults, old), since hospitals see more of the old than the country has.
    band = dice.index(n, (0.17, 0.48, 0.35))
    low = np.array([1, 18, 60])[band] * 365.25
    high = np.array([18, 60, 94])[band] * 365.25
    birth = first - (low + dice.share(n) * (high - low)).astype(np.int64)
    within = first + dice.whole(n, 0, last - first - 5)
    return np.where(newborn, within, np.maximum(birth, int(_OLDEST.astype(np.int64))))


def _groups(birth: Whole, male: Flags, newborn: Flags, first: int) -> Whole:
    age = (first - birth) / 365.25
    adult = np.where(male, MAN, np.where(age < 45, YOUNG_WOMAN, WOMAN))  # noqa: PLR2004 age of bearing children
    old = np.where(male, OLD_MAN, OLD_WOMAN)
    group = np.where(age < 18, CHILD, np.where(age < 70, adult, old))  # noqa: PLR2004 ages of departments
    return np.where(newborn, NEWBORN, group).astype(np.int64)


def _homes(dice: Dice, profile: Profile, n: int) -> pl.DataFrame:
    homes = [(kind, home, share) for kind, share in profile.homes.items() for home in HOMES[kind]]
    totals = {kind: sum(home[3] for home in HOMES[kind]) for kind in profile.homes}
    at = dice.index(n, [share * home[3] / totals[kind] for kind, home, share in homes])
    bydeler = np.array([home[2] for _, home, _ in homes])[at]
    bydel = pl.Series(dice.below(bydeler) + 1).cast(pl.String).str.zfill(2)
    return pl.DataFrame({
        "home_2019": texts([home[0] for _, home, _ in homes], at),
        "home_2020": texts([home[1] for _, home, _ in homes], at),
        "bydel": pl.select(pl.when(pl.Series(bydeler > 0)).then(bydel)).to_series(),
        "abroad": np.array([kind == "abroad" for kind, _, _ in homes])[at],
    })  # fmt: skip


def _alone(kind: Whole, birth: Whole) -> Whole:
    """Type 9 only where no other of that type has the birth date: two patients must not share a number."""
    other = np.flatnonzero(kind == OTHER)
    firsts = other[np.unique(birth[other], return_index=True)[1]]
    kept = np.where(kind == OTHER, FNR, kind)
    kept[firsts] = OTHER
    return kept
