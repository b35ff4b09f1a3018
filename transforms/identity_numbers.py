"""Which kind of identity number stands in a field, whether it is right, and whether it can be a real person's.

Belongs here: one classifier for Norwegian and foreign numbers, whole columns at a time; what list 9032 allows for
each kind; ``fid`` made of a birth date. Does not belong here: facts (``schemas.identity_facts``), stopping a run (the
guard), comparing a patient's sex with the number.

No number leaves: results hold kinds and codes, and exceptions name no value. docs/identity-numbers.md explains them.
"""

from __future__ import annotations

import datetime as dt
import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from schemas.identity_facts import DayRange, Facts, identity_facts

Whole = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Days = npt.NDArray[np.datetime64]

KINDS: Final = ("none", "fnr", "dnr", "hnr", "fh", "duf", "foreign", "birth_date")
NONE, FNR, DNR, HNR, FH, DUF, FOREIGN, BIRTH_DATE = range(8)
SYNTHETIC: Final = ("", "nav", "nhn", "tenor", "test_person")
# The last that applies is shown: first notes on numbers that are right, then faults, the plainest fault last.
NOTES: Final = ("", "unchecked", "hnr_other_rule", "birth_date_differs", "k1_2032")
FAULTS: Final = (
    "blank", "future", "control_digits", "century", "date", "duf_year", "form", "length", "letters", "missing",
)  # fmt: skip
REASONS: Final = NOTES + FAULTS
SCHEMA: Final = {
    "kind": pl.String, "valid": pl.Boolean, "synthetic": pl.String, "sex": pl.String, "birth_date": pl.Date,
    "century_ok": pl.Boolean, "reason": pl.String,
}  # fmt: skip

_ELEVEN, _TWELVE, _SIX = 11, 12, 6
_LARGEST = 10**11
_LAST_DIGIT_SIGN = 0x20000  # Unicode has digits in its first two planes only
_MOST_DIGITS = 18  # that a 64-bit integer holds
_OTHER_TYPE, _H_TYPE, _NO_TYPE, _UNKNOWN_TYPE = 9, 3, 0, -1
_NOT_A_DAY = np.datetime64("NaT", "D")


@dataclass(frozen=True, slots=True)
class _Written:
    """What stands in the field. value: its digits as an integer, leading zeros gone; 0 beyond 18 digits."""

    value: Whole
    length: Whole  # of the digits, leading zeros counted
    letters: Flags
    marked: Flags  # blanks, hyphens, other marks
    shaped: Flags  # as a foreign number may be
    missing: Flags

    def of_length(self, digits: int) -> Flags:
        found: Flags = ~self.letters & (self.length == digits)
        return found


@dataclass(frozen=True, slots=True)
class _Read:
    """Eleven digits read by every rule; of other fields it means nothing."""

    first: Whole  # both digits of the day, as written
    born: Flags  # the day is one of a calendar
    d_number: Flags  # the day is one of a D-number
    series: Whole  # place in SYNTHETIC, 0 for real months, -1 for months of no series
    person: Whole  # individual number
    day: Days  # NaT where it cannot be; in the century of 2000 where the digits tell none
    date: Flags
    century: Flags
    strict: Flags  # control digits by the rule before 2032
    wide: Flags  # by the rule from 2032
    other: Flags  # with the 40 of an H-number taken off


def classify(
    numbers: pl.Series,
    type_ids: pl.Series | None = None,
    birth_dates: pl.Series | None = None,
    *,
    on: dt.date | None = None,
    facts: Facts | None = None,
) -> pl.DataFrame:
    """Judge each number; one row for each, in the same order, with the columns of ``SCHEMA``.

    numbers: text. type_ids: codes of list 9032, text or integer, null where not known. birth_dates: of the patient
    where known; they give the century that ddmmyy lacks, and are compared with the number's own. on: the day by which
    a number is judged (rule of 2032, birth dates to come); without it by the rule before 2032, and no date is too late.

    kind: none, fnr, dnr, hnr, fh, duf, foreign or birth_date, by the digits as they stand. valid: may be sent as it is
    written. synthetic: '', nav, nhn, tenor or test_person; also set where the number is not valid. sex: 1 or 2.
    century_ok: null where the kind has no century. reason: one of REASONS, '' when all is well.
    Raises ValueError when the columns have different lengths, or birth_dates holds no dates.
    """
    facts = facts or identity_facts()
    if any(column is not None and len(column) != len(numbers) for column in (type_ids, birth_dates)):
        raise ValueError("numbers, type_ids and birth_dates differ in length")
    # Polars quotes values when a cast fails, so no cast is tried.
    if birth_dates is not None and birth_dates.dtype not in {pl.Date, pl.Null}:
        raise ValueError("birth_dates is no column of dates")
    written = _written(numbers, facts)
    types = _types(type_ids, len(numbers))
    value = np.where(written.value < _LARGEST, written.value, 0)
    read = _read(value, facts)
    kinds = _kinds(written, read, types, facts)
    synthetic = _synthetic(written, read, types, value, facts)
    return _judged(_Case(written, read, types, kinds, on, facts), synthetic, birth_dates)


def accept(found: pl.DataFrame, type_ids: pl.Series, taken: frozenset[str] | None = None) -> pl.Series:
    """What to do with each number under its typeID: ok, warn, reject or stop (matrix of docs/identity-numbers.md).

    found: from ``classify`` with the same type_ids. taken: typeIDs that NPR takes, without it those of 2021.
    """
    facts = identity_facts()
    took = list(facts.taken.types if taken is None else taken)
    table = {f"{name} {code}": verdict for (name, code), verdict in facts.acceptance.items()}
    code = pl.col("_type").cast(pl.String).str.strip_chars()
    verdict = pl.concat_str(_acceptance_class(), pl.lit(" "), code).replace_strict(table, default="reject")
    fallback = pl.when(code.is_in(took)).then(pl.lit("ok")).otherwise(pl.lit("reject"))
    settled = pl.when(verdict == "when_taken").then(fallback).otherwise(verdict)
    early = (pl.col("reason") == "k1_2032") & ~pl.col("valid") & (settled == "ok")
    stop = _acceptance_class() == "synthetic"
    wrong = ~pl.col("valid") & (pl.col("reason") != "k1_2032")
    return found.with_columns(_type=type_ids).select(
        verdict=pl.when(stop).then(pl.lit("stop")).when(wrong).then(pl.lit("reject"))
        .when(early).then(pl.lit("warn")).otherwise(settled.fill_null("reject"))
    ).to_series()  # fmt: skip


def birth_date_fid(date: pl.Expr) -> pl.Expr:
    """``fid`` of a patient without a valid number: the birth date as ddmmyy, to be sent with typeID 9. Null stays."""
    return date.dt.strftime("%d%m%y")


def _acceptance_class() -> pl.Expr:
    made = pl.col("synthetic").is_in(["nhn", "tenor", "test_person"])
    dolly_d = (pl.col("synthetic") == "nav") & (pl.col("kind") != "hnr")
    month_40 = pl.when(pl.col("kind") == "hnr").then(pl.lit("month_40")).otherwise("kind")
    return pl.when(made | dolly_d).then(pl.lit("synthetic")).otherwise(month_40)


# --- what is written


def _written(numbers: pl.Series, facts: Facts) -> _Written:
    """Eleven plain digits by the short way; the few other fields are cleaned first."""
    text = numbers.cast(pl.String).fill_null("").rename("text")
    plain = text.str.contains(r"\A[0-9]{11}\z")
    n = len(text)
    value = text.set(~plain, "0").cast(pl.Int64).to_numpy().copy()
    length = np.full(n, _ELEVEN, dtype=np.int64)
    letters, marked, missing = (np.zeros(n, dtype=np.bool_) for _ in range(3))
    shaped = np.ones(n, dtype=np.bool_)
    at = np.flatnonzero(~plain.to_numpy())
    if len(at):
        odd = _cleaned(text.filter(~plain), facts)
        value[at], length[at] = odd["value"].to_numpy(), odd["length"].to_numpy()
        letters[at], marked[at] = odd["letters"].to_numpy(), odd["marked"].to_numpy()
        shaped[at], missing[at] = odd["shaped"].to_numpy(), odd["missing"].to_numpy()
    return _Written(value, length, letters, marked, shaped, missing)


def _cleaned(text: pl.Series, facts: Facts) -> pl.DataFrame:
    """Digits of any script made plain, marks and a spreadsheet's ``.0`` taken off."""
    signs, plain = _digits_of_all_scripts()
    # \z and no $: a field that ends in a line break is not as it must be.
    bare = pl.col("text").str.replace_many(signs, plain).str.replace(r"\.0+\s*\z", "")
    body = bare.str.replace_all(r"[^\p{L}0-9]", "")
    digits = body.str.replace_all(r"[^0-9]", "")
    core = digits.str.strip_chars_start("0")
    small = pl.when(core.str.len_bytes().is_between(1, _MOST_DIGITS)).then(core)
    return text.to_frame("text").select(
        value=small.cast(pl.Int64).fill_null(0),
        length=digits.str.len_bytes().cast(pl.Int64),
        letters=body.str.contains(r"[^0-9]"),
        marked=body != pl.col("text"),
        shaped=pl.col("text").str.contains(facts.foreign.shape.replace("^", r"\A").replace("$", r"\z")),
        missing=body.str.len_bytes() == 0,
    )


@cache
def _digits_of_all_scripts() -> tuple[list[str], list[str]]:
    signs = [chr(code) for code in range(128, _LAST_DIGIT_SIGN)]
    found = [(sign, unicodedata.digit(sign, None)) for sign in signs]
    known = [(sign, str(digit)) for sign, digit in found if digit is not None]
    return [sign for sign, _ in known], [digit for _, digit in known]


def _types(type_ids: pl.Series | None, n: int) -> Whole:
    if type_ids is None:
        return np.full(n, _NO_TYPE, dtype=np.int64)
    number = type_ids.cast(pl.String).str.strip_chars().cast(pl.Int64, strict=False).fill_null(_UNKNOWN_TYPE)
    return number.set(type_ids.is_null(), _NO_TYPE).to_numpy()


# --- eleven digits by every rule


def _read(value: Whole, facts: Facts) -> _Read:
    first, month = value // 10**9, value // 10**7 % 100
    year, person = value // 10**5 % 100, value // 100 % 1000
    series, born_month = _series(month, facts)
    born, d_number = _within(first, facts.birth_day), _within(first, facts.d_number)
    full, century = _years(year, person, facts)
    day, date = _days(full, born_month, np.where(d_number, first - facts.d_number.first_day + 1, first))
    return _Read(first, born, d_number, series, person, day, date, century, *_controls(value, facts))


def _within(first: Whole, days: DayRange) -> Flags:
    return (first >= days.first_day) & (first <= days.last_day)


def _series(month: Whole, facts: Facts) -> tuple[Whole, Whole]:
    series = np.full(len(month), -1, dtype=np.int64)
    born = np.ones(len(month), dtype=np.int64)
    for entry in facts.series:
        within = (month >= entry.first_month) & (month <= entry.last_month)
        series[within] = SYNTHETIC.index(entry.name.removeprefix("plain"))
        born = np.where(within, month - entry.offset, born)
    return series, born


def _years(year: Whole, person: Whole, facts: Facts) -> tuple[Whole, Flags]:
    """Full years; where the digits tell no century, that of 2000 stands in for the calendar alone."""
    full = 2000 + year
    known = np.zeros(len(year), dtype=np.bool_)
    for entry in facts.centuries:
        fits = (person >= entry.first_individual) & (person <= entry.last_individual)
        fits &= (year >= entry.first_year) & (year <= entry.last_year)
        full = np.where(fits, entry.century + year, full)
        known |= fits
    return full, known


def _days(year: Whole, month: Whole, day: Whole) -> tuple[Days, Flags]:
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    first = months.astype("datetime64[D]")
    last = ((months + 1).astype("datetime64[D]") - first).astype(np.int64)
    real = (day >= 1) & (day <= last)
    return np.where(real, first + (day - 1), _NOT_A_DAY), real


def _controls(value: Whole, facts: Facts) -> tuple[Flags, Flags, Flags]:
    """Whether both control digits fit: by the rule before 2032, by that from 2032, and for H-numbers without the 40."""
    first = np.zeros(len(value), dtype=np.int64)
    second = np.zeros(len(value), dtype=np.int64)
    rest = value
    weights = list(zip((*facts.control.first, 1, 0), (*facts.control.second, 1), strict=True))
    for weight_1, weight_2 in reversed(weights):
        rest, digit = np.divmod(rest, 10)
        first += weight_1 * digit
        second += weight_2 * digit
    remainder, right = first % _ELEVEN, second % _ELEVEN == 0
    # 40 on the month is 4 on the third digit.
    other = ((first - 4 * facts.control.first[2]) % _ELEVEN == 0) & (
        (second - 4 * facts.control.second[2]) % _ELEVEN == 0
    )
    return right & (remainder == 0), right & (remainder <= facts.rule_2032.largest_remainder), other


# --- kind and series


def _kinds(written: _Written, read: _Read, types: Whole, facts: Facts) -> Whole:
    eleven = written.of_length(_ELEVEN)
    month = eleven & (read.series >= 0)
    month_40 = read.series == SYNTHETIC.index("nav")
    norwegian = np.select(
        [eleven & _within(read.first, facts.fh_number), month & read.d_number, month & read.born & month_40,
         month & read.born, written.of_length(_TWELVE), written.of_length(_SIX)],
        [FH, DNR, HNR, FNR, DUF, BIRTH_DATE], NONE,
    )  # fmt: skip
    # Under a foreign typeID eleven digits are taken for Norwegian only where nothing speaks against it.
    dated = np.isin(norwegian, (FNR, DNR, HNR)) & read.date & read.century
    return np.where(_foreign(types, facts) & ~(dated & read.strict), FOREIGN, norwegian)


def _foreign(types: Whole, facts: Facts) -> Flags:
    return np.isin(types, [int(code) for code in facts.foreign.types])


def _synthetic(written: _Written, read: _Read, types: Whole, value: Whole, facts: Facts) -> Whole:
    """Series of each number, places in SYNTHETIC.

    Anything that holds eleven digits once marks, letters and leading zeros are set aside is looked at, so that a number
    is caught however it is dressed. Beyond eleven digits under a typeID that asks for them, the control digits
    must be right: foreign numbers can have such digits by chance.
    """
    foreign = _foreign(types, facts)
    norwegian = ~foreign & (types != _OTHER_TYPE)
    # A zero in front is lost easily (ten digits), but foreign numbers have ten digits of their own.
    dressed = np.where(foreign, written.length == _ELEVEN, written.length >= _ELEVEN - 1) & (value > 0)
    right = np.where(norwegian, read.wide, read.strict) & read.date
    likely = (norwegian & written.of_length(_ELEVEN)) | (dressed & right)
    series = (read.born | read.d_number) & (read.series > 0) & likely
    h_number = (types == _H_TYPE) & read.born & (read.series == SYNTHETIC.index("nav"))
    found = np.where(series & ~h_number, read.series, 0)
    return np.where(dressed & _published(value, facts), SYNTHETIC.index("test_person"), found)


def _published(value: Whole, facts: Facts) -> Flags:
    """Whether a number stands in the list of published test persons."""
    people = facts.test_persons
    found = np.zeros(len(value), dtype=np.bool_)
    maybe = np.flatnonzero(np.isin(value % people.modulus, list(people.buckets)))
    candidates, place = np.unique(value[maybe], return_inverse=True)
    # Only one number in two hundred comes here, so hashing one by one costs nothing that can be measured.
    hit = np.array(
        [people.digest(f"{number:011d}") in people.digests for number in candidates.tolist()], dtype=np.bool_
    )
    found[maybe] = hit[place]
    return found


# --- the verdict


@dataclass(frozen=True, slots=True)
class _Case:
    written: _Written
    read: _Read
    types: Whole
    kinds: Whole
    on: dt.date | None
    facts: Facts

    @property
    def dated(self) -> Flags:
        """Kinds that hold a birth date and control digits."""
        return np.isin(self.kinds, (FNR, DNR, HNR))

    @property
    def relaxed(self) -> Flags:
        """Right by the rule of 2032 alone; FH- and H-numbers are not part of it."""
        return np.isin(self.kinds, (FNR, DNR)) & self.read.wide & ~self.read.strict

    @property
    def other_rule(self) -> Flags:
        found: Flags = (self.kinds == HNR) & (self.types == _H_TYPE) & self.read.other & ~self.read.strict
        return found

    @property
    def controlled(self) -> Flags:
        return self.read.strict | self.relaxed | self.other_rule


def _judged(case: _Case, synthetic: Whole, birth_dates: pl.Series | None) -> pl.DataFrame:
    read, kinds = case.read, case.kinds
    carries = case.dated & read.date & case.controlled
    reads = carries & read.century & ~case.relaxed
    day = np.where(reads, read.day, _NOT_A_DAY)
    day, differs = _compared(case, day, carries, birth_dates)
    reason = _reasons(case, day, differs)
    faulty = reason >= len(NOTES)
    early = case.relaxed & (case.on is None or case.on < case.facts.rule_2032.valid_from)
    male = pl.Series(np.where(reads, 2 - read.person % 2, 0))
    return pl.DataFrame({
        "kind": _named(KINDS, kinds),
        "valid": ~faulty & ~early & (kinds != NONE),
        "synthetic": _named(SYNTHETIC, synthetic),
        "sex": male.replace_strict([0, 1, 2], [None, "1", "2"], return_dtype=pl.String),
        "birth_date": pl.Series(day).cast(pl.Date),
        "century_ok": pl.Series(read.century).set(pl.Series(~case.dated | case.relaxed), None),
        "reason": _named(REASONS, reason),
    })  # fmt: skip


def _named(names: tuple[str, ...], places: Whole) -> pl.Series:
    return pl.Series(names).gather(pl.Series(places))


def _reasons(case: _Case, day: Days, differs: Flags) -> Whole:
    written, read, kinds = case.written, case.read, case.kinds
    eleven, dated, foreign = written.of_length(_ELEVEN), case.dated, kinds == FOREIGN
    own = ~foreign
    known = np.isin(written.length, (_SIX, _ELEVEN, _TWELVE))
    no_date = (eleven & (kinds == NONE)) | (dated & ~read.date)
    faults = {
        "unchecked": foreign,
        "hnr_other_rule": case.other_rule,
        "birth_date_differs": differs,
        "k1_2032": case.relaxed,
        "blank": own & written.marked,
        "future": _future(day, case.on),
        "control_digits": (dated | (kinds == FH)) & ~case.controlled,
        # A number of 2032 tells no century, so none can be wrong.
        "century": dated & ~read.century & ~case.relaxed,
        "date": own & (no_date | ((kinds == BIRTH_DATE) & ~_six_day(written.value)[1])),
        "duf_year": (kinds == DUF) & ~_duf_year(written.value, case),
        "form": foreign & ~written.shaped,
        "length": own & ~known,
        "letters": own & written.letters,
        "missing": written.missing,
    }
    reason = np.zeros(len(kinds), dtype=np.int64)
    for place, name in enumerate(REASONS[1:], start=1):
        reason[faults[name]] = place
    return reason


def _future(day: Days, on: dt.date | None) -> Flags:
    late: Flags = day > np.datetime64(on or dt.date.max, "D")
    return late


def _duf_year(value: Whole, case: _Case) -> Flags:
    year = value // 10**8
    last = case.on.year if case.on else case.facts.duf.last_year
    return (year >= case.facts.duf.first_year) & (year <= last)


def _six_day(value: Whole) -> tuple[Days, Flags]:
    """The day of ddmmyy in some century. 29 February is real in every fourth year: 2000 was a leap year."""
    first, month = value // 10**4, value // 100 % 100
    real_month = (month >= 1) & (month <= 12)  # noqa: PLR2004 months of a year
    day, real = _days(2000 + value % 100, np.where(real_month, month, 1), first)
    return day, real & real_month


def _compared(case: _Case, day: Days, carries: Flags, birth_dates: pl.Series | None) -> tuple[Days, Flags]:
    """Birth dates completed by those known, and where the two differ. carries: a date stands in the eleven digits."""
    if birth_dates is None:
        return day, np.zeros(len(day), dtype=np.bool_)
    known = birth_dates.cast(pl.Date).to_numpy().astype("datetime64[D]")
    six_day, six = _six_day(case.written.value)
    six &= case.kinds == BIRTH_DATE
    given = (carries | six) & ~np.isnat(known)
    bare = given & np.isnat(day)
    # Day and month of a D-number can be those of its registration; its year is the person's.
    same = np.where(case.kinds == DNR, _year(known) == _year(day), known == day)
    short = np.where(six, six_day, case.read.day)
    same[bare] = (_without_century(known) == _without_century(short))[bare]
    return np.where(bare & same, known, day), given & ~same


def _year(day: Days) -> Whole:
    year: Whole = day.astype("datetime64[Y]").astype(np.int64)
    return year


def _without_century(day: Days) -> Whole:
    months = day.astype("datetime64[M]")
    since_year_0 = months.astype(np.int64) + 1970 * 12
    short: Whole = since_year_0 % 1200 * 100 + (day - months).astype(np.int64)
    return short
