"""Is a code valid on a date? Answered for whole columns, with 'not checked' as an answer of its own.

Belongs here: editions of code lists put together, the status of codes by list and date, the form of codes. Does not
belong here: finding or reading lists (``pipelines.home.codes``, ``transforms.code_files``), and choosing the date: the
caller gives the day the episode ends for diagnoses (DX-03), the day performed for procedures (PRO-03).

A code can be valid only where a list was looked at: without an edition for the day it is ``not_checked``, whatever it
looks like. Forms of codes come from rules DX-02, PRO-01 and PRO-02; they say nothing about validity.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.errors import WrongUse

VALID: Final = "valid"
NOT_ON_DATE: Final = "not_valid_on_date"
UNKNOWN: Final = "unknown_code"
NOT_CHECKED: Final = "not_checked"
STATUS: Final = pl.Enum([VALID, NOT_ON_DATE, UNKNOWN, NOT_CHECKED])
STATUS_TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    VALID: ("gyldig på datoen", "valid on the date"),
    NOT_ON_DATE: ("ikke gyldig på datoen", "not valid on the date"),
    UNKNOWN: ("koden finnes ikke i kodeverket", "not a code of the list"),
    NOT_CHECKED: ("ikke kontrollert mot kodeverk", "not checked against a list"),
}

_EPOCH: Final = date(1, 1, 1)
_OPEN: Final = date(9999, 12, 31)
_DAY: Final = timedelta(days=1)
_SAERKODE: Final = r"(?:[0-9][0-9A-Za-z]|[A-Za-z][0-9])[0-9A-Za-z]{3}"
_PROCEDURE: Final = rf"[A-Za-z]{{2}}[0-9A-Za-z]{{3,4}}|{_SAERKODE}"


@dataclass(frozen=True, slots=True)
class Shape:
    """The form of the codes of one letter of list 8410, and the rule that says so."""

    rule: str
    pattern: str


SHAPES: Final[Mapping[str, Shape]] = {
    "D": Shape("DX-02", r"(?:[TYWXV][0-9][nst]|[A-Z][0-9]{2})[0-9A-Za-z]*"),
    **dict.fromkeys("KMRQ", Shape("PRO-01", _PROCEDURE)),
    "F": Shape("PRO-02", r"[A-Z][0-9]{2}[A-Z][0-9A-Z]*"),
    "S": Shape("PRO-02", _SAERKODE),
}


@dataclass(frozen=True, slots=True)
class Edition:
    """One edition of one list: what it says of the days ``valid_from`` to ``valid_to``, both included.

    codes: code String, valid_from Date, valid_to Date (null: as the edition); other columns are not looked at. Rows of
    one code do not overlap.
    """

    name: str
    valid_from: date
    valid_to: date
    codes: pl.DataFrame


@dataclass(frozen=True, slots=True)
class CodeTables:
    """All lists at hand, ready to be asked.

    intervals: list name -> code, since, until; one row per code and unbroken time. A code that is in no day of any
    edition stands there with since after until. covered: list name -> days that some edition speaks of.
    kodeverk: letter of list 8410 -> all lists whose codes it may carry, loaded or not.
    """

    intervals: Mapping[str, pl.DataFrame]
    covered: Mapping[str, tuple[tuple[date, date], ...]]
    kodeverk: Mapping[str, tuple[str, ...]]


def code_tables(editions: Iterable[Edition], kodeverk: Mapping[str, tuple[str, ...]]) -> CodeTables:
    """Editions put together by list. WrongUse where two editions of a list speak of the same day."""
    by_name: dict[str, list[Edition]] = {}
    for edition in sorted(editions, key=lambda one: (one.name, one.valid_from)):
        by_name.setdefault(edition.name, []).append(edition)
    return CodeTables(
        intervals={name: _intervals(found) for name, found in by_name.items()},
        covered={name: _covered(name, found) for name, found in by_name.items()},
        kodeverk=dict(kodeverk),
    )


def _covered(name: str, editions: Sequence[Edition]) -> tuple[tuple[date, date], ...]:
    windows: list[tuple[date, date]] = []
    for edition in editions:
        if windows and edition.valid_from <= windows[-1][1]:
            raise WrongUse(
                f"two editions of {name} speak of {edition.valid_from}",
                where=f"code list {name}",
                fix="give each edition days of its own (--valid-from, --valid-to)",
            )
        if windows and edition.valid_from == windows[-1][1] + _DAY:
            windows[-1] = (windows[-1][0], edition.valid_to)
        else:
            windows.append((edition.valid_from, edition.valid_to))
    return tuple(windows)


def _intervals(editions: Sequence[Edition]) -> pl.DataFrame:
    """Time of each code over all editions; neighbours become one, so that most codes have one row."""
    clipped = pl.concat([_clipped(edition) for edition in editions])
    broken = pl.col("since") > pl.col("until").shift(1).over("code") + pl.duration(days=1)
    inside = clipped.filter(pl.col("since") <= pl.col("until")).sort("code", "since")
    merged = (
        inside.with_columns(part=broken.fill_null(value=False).cum_sum().over("code"))
        .group_by("code", "part")
        .agg(pl.col("since").min(), pl.col("until").max())
        .drop("part")
    )
    outside = clipped.join(merged, on="code", how="anti").unique("code")
    return pl.concat([merged, outside]).sort("code", "since")


def _clipped(edition: Edition) -> pl.DataFrame:
    since = pl.max_horizontal(pl.col("valid_from"), pl.lit(edition.valid_from, pl.Date))
    until = pl.min_horizontal(pl.col("valid_to"), pl.lit(edition.valid_to, pl.Date))
    return edition.codes.select("code", since=since, until=until)


def validity(codes: pl.Series, dates: pl.Series, kodeverk: pl.Series | str, tables: CodeTables) -> pl.Series:
    """The status of each code on its date.

    codes: String. dates: Date, or Datetime whose day counts. kodeverk: letters of list 8410, a column or one for all.
    Gives STATUS of the same length. A null code has no status (null); a null date, a null or unknown letter, a letter
    without a list at hand and a day that no edition speaks of are ``not_checked``. A letter of several lists (Q) is
    valid where one of them has the code, and refuted only where all of them speak of the day. WrongUse for other types.
    """
    letters = pl.lit(kodeverk) if isinstance(kodeverk, str) else kodeverk
    return _judged(codes, dates, letters, tables, tables.kodeverk)


def validity_in(name: str, codes: pl.Series, dates: pl.Series, tables: CodeTables) -> pl.Series:
    """The same, against one list by its name (``municipality``, ``bydel``, ``resh``, ``orgnr``, ``8406`` ...)."""
    return _judged(codes, dates, pl.lit(name), tables, {name: (name,)})


def validity_expr(code: pl.Expr, day: pl.Expr, kodeverk: pl.Expr, tables: CodeTables) -> pl.Expr:
    """``validity`` as an expression over three columns."""

    def judge(three: pl.Series) -> pl.Series:
        field = three.struct.field
        return validity(field("code"), field("day"), field("kodeverk"), tables)

    three = pl.struct(code.alias("code"), day.alias("day"), kodeverk.alias("kodeverk"))
    return three.map_batches(judge, return_dtype=STATUS)


def _judged(
    codes: pl.Series,
    dates: pl.Series,
    letters: pl.Series | pl.Expr,
    tables: CodeTables,
    lists: Mapping[str, tuple[str, ...]],
) -> pl.Series:
    frame = pl.select(code=codes.cast(pl.String), day=_days(dates)).with_columns(letter=letters).with_row_index("row")
    answers = _Answers.of(len(frame))
    # A handful of letters, each for all its rows at once.
    for letter in frame["letter"].unique().drop_nulls().to_list():
        for name in lists.get(letter, ()):
            answers.ask(frame.filter(pl.col("letter") == letter), name, tables)
    return answers.status(frame["code"])


def _days(dates: pl.Series) -> pl.Series:
    if not (dates.dtype == pl.Date or isinstance(dates.dtype, pl.Datetime) or dates.dtype == pl.Null):
        raise WrongUse("the dates of codes are no dates", where=str(dates.dtype), fix="parse them first")
    return dates.cast(pl.Date)


@dataclass(frozen=True, slots=True)
class _Answers:
    """What the lists said so far, by row. ``silent``: some list that should be asked does not speak of the day."""

    asked: NDArray[np.bool_]
    silent: NDArray[np.bool_]
    known: NDArray[np.bool_]
    valid: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: int) -> _Answers:
        return cls(*(np.zeros(rows, dtype=np.bool_) for _ in range(4)))

    def ask(self, part: pl.DataFrame, name: str, tables: CodeTables) -> None:
        windows = tables.covered.get(name, ())
        covered = pl.any_horizontal(pl.lit(value=False), *(pl.col("day").is_between(*window) for window in windows))
        rows = part["row"].to_numpy()
        self.asked[rows] = True
        self.silent[rows] |= ~part.select(covered.fill_null(value=False)).to_series().to_numpy()
        if name in tables.intervals:
            hits = part.select("row", "code", "day").join(tables.intervals[name], on="code")
            self.known[hits["row"].to_numpy()] = True
            now = hits.filter(pl.col("day").is_between("since", "until"))
            self.valid[now["row"].to_numpy()] = True

    def status(self, codes: pl.Series) -> pl.Series:
        checked = self.asked & ~self.silent
        chosen = np.select([self.valid, ~checked, self.known], [0, 3, 1], default=2).astype(np.uint8)
        physical = pl.Series("status", chosen)
        return pl.select(pl.when(codes.is_not_null()).then(physical).cat.to(STATUS).alias("status")).to_series()


def shape(codes: pl.Series, kodeverk: pl.Series | str) -> pl.Series:
    """Whether each code has the form of its letter; null where the letter has no such rule or the code is null.

    A procedure code fits PRO-01 or the form of a særkode (PRO-02), which the yearly lists carry too. Case counts.
    """
    frame = pl.select(code=codes.cast(pl.String)).with_columns(
        letter=pl.lit(kodeverk) if isinstance(kodeverk, str) else kodeverk
    )
    fits = pl.lit(None, pl.Boolean)
    for letter, found in SHAPES.items():
        fit = pl.col("code").str.contains(f"^(?:{found.pattern})$")
        fits = pl.when(pl.col("letter") == letter).then(fit).otherwise(fits)
    return frame.select(shape=fits).to_series()


def full_bydel(municipality: pl.Expr, bydel: pl.Expr) -> pl.Expr:
    """The six-digit number of a city district, where the register takes its last one or two digits alone.

    The model's bydelNr has one or two digits in 53.1.3 and up to six from 54.0.1.
    """
    short = bydel.str.len_chars() <= 2  # noqa: PLR2004 - the two digits that stand after the municipality
    return pl.when(short).then(pl.concat_str(municipality, bydel.str.zfill(2))).otherwise(bydel)


def open_edition(name: str, since: date | None, until: date | None, codes: pl.DataFrame) -> Edition:
    """An edition whose ends may be open (None)."""
    return Edition(name, since or _EPOCH, until or _OPEN, codes)


def verdict(code: pl.Expr, day: pl.Expr, names: Sequence[str], tables: CodeTables) -> tuple[pl.Expr, pl.Expr]:
    """(refuted, unchecked) of a code on its day against the lists of these names, as Boolean expressions without nulls.

    The same answers as ``validity``, for one pass over many columns: refuted is ``not_valid_on_date`` or
    ``unknown_code``. A null code is neither.
    """
    valid = pl.any_horizontal(
        pl.lit(value=False), *(_stands(code, day, tables.intervals[n]) for n in names if n in tables.intervals)
    )
    windows = [tables.covered.get(name, ()) for name in names]
    spoken = [
        pl.any_horizontal(pl.lit(value=False), *(day.is_between(*window) for window in found)) for found in windows
    ]
    asked = pl.all_horizontal(spoken).fill_null(value=False) if spoken else pl.lit(value=False)
    open_case = code.is_not_null() & ~valid.fill_null(value=False)
    return open_case & asked, open_case & ~asked


def _stands(code: pl.Expr, day: pl.Expr, intervals: pl.DataFrame) -> pl.Expr:
    spans = (
        intervals.filter(pl.col("since") <= pl.col("until")).group_by("since", "until", maintain_order=True).agg("code")
    )
    return pl.any_horizontal(
        pl.lit(value=False),
        *(day.is_between(since, until) & code.is_in(codes) for since, until, codes in spans.iter_rows()),
    )
