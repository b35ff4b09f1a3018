"""From values of a database to the text form of a snapshot.

Belongs here: one canonical text for each value, the same in every batch, and refusing types that cannot mean what the
contract asks. Does not belong here: asking the database (``pipelines.database``), judging values
(``transforms.extract.checks``): a text is let through as it is, and what it is worth is for the checks to say.

Whole numbers are written without point, decimals with a point and without closing zeros, dates 2020-04-30, times
2020-04-30T12:00:00: a time with offset becomes Norwegian local time, fractions of a second are cut.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import polars as pl

from schemas.contract import Column, Table
from schemas.errors import DataRefused, WrongUse

# What a column of the contract takes, by Python type; text it always takes. Exactly these: a bool is no int here, and
# a day is no time.
TAKES: Mapping[str, tuple[type, ...]] = {
    "string": (int, Decimal),
    "code": (int, Decimal),
    "integer": (int, Decimal, float),
    "decimal": (int, Decimal, float),
    "date": (dt.date,),
    "datetime": (dt.datetime,),
}
ASKS = {"string": "text", "code": "text", "integer": "integer", "decimal": "numeric", "date": "date"}
TIMES = "%Y-%m-%dT%H:%M:%S"


def matched(names: Sequence[str], table: Table, place: str) -> dict[str, int]:
    """Contract column -> place in the result, in contract order. Case does not count: databases fold it.

    WrongUse for columns the table does not have, lacks, or gets twice.
    """
    known = {name.casefold(): name for name in table.names}
    found = [known.get(name.casefold()) for name in names]
    if unknown := sorted(name for name, column in zip(names, found, strict=True) if column is None):
        raise WrongUse(
            f"{place} yields columns that {table.name} does not have",
            where=", ".join(unknown),
            fix=f"columns are {', '.join(table.names)}",
        )
    if twice := sorted({str(name) for name in found if found.count(name) > 1}):
        raise WrongUse(f"{place} yields a column twice", where=", ".join(twice), fix="name each column once")
    if missing := [column.name for column in table.columns if column.required and column.name not in found]:
        raise WrongUse(
            f"{place} lacks columns that {table.name} must have",
            where=", ".join(missing),
            fix="what the source does not know is NULL AS column; each such row is quarantined",
        )
    return {name: found.index(name) for name in table.names if name in found}


def as_text(rows: Sequence[tuple[Any, ...]], columns: Mapping[str, int], table: Table, place: str) -> pl.DataFrame:
    """One batch as text, contract columns only. DataRefused names column and fix where a type cannot be meant.

    rows: values as the driver gives them. columns: as ``matched`` gives them.
    """
    across = list(zip(*rows, strict=True)) or [()] * len(columns)
    return pl.DataFrame(
        {name: _column(across[number], table.column(name), place) for name, number in columns.items()},
        schema=dict.fromkeys(columns, pl.String),
    )


def _column(values: Sequence[Any], column: Column, place: str) -> pl.Series:
    kinds = set(map(type, values)) - {type(None)}
    if not kinds:
        return pl.Series(column.name, [None] * len(values), dtype=pl.String)
    if kinds == {str}:
        return pl.Series(column.name, values, dtype=pl.String)
    if len(kinds) > 1 or not kinds <= set(TAKES[column.type]):
        raise _wrong_type(kinds, column, place)
    kind = kinds.pop()
    if kind in (dt.date, dt.datetime):
        return _moments(values, column.name, kind)
    # The driver's own text: a frame of numbers would take its scale from the batch they came in.
    text = pl.Series(column.name, [None if value is None else format(value, _form(kind)) for value in values])
    return text.str.replace(r"(\.[0-9]*?)0+$", "$1").str.strip_suffix(".")


def _form(kind: type) -> str:
    return "f" if kind is Decimal else ""


def _moments(values: Sequence[Any], name: str, kind: type) -> pl.Series:
    moments = pl.Series(name, values, strict=True)
    if kind is dt.date:
        return moments.dt.to_string("%Y-%m-%d")
    if isinstance(moments.dtype, pl.Datetime) and moments.dtype.time_zone:
        moments = moments.dt.convert_time_zone("Europe/Oslo").dt.replace_time_zone(None)
    return moments.dt.to_string(TIMES)


def _wrong_type(kinds: set[type], column: Column, place: str) -> DataRefused:
    got = " and ".join(sorted(kind.__name__ for kind in kinds))
    asks = ASKS.get(column.type, "timestamp")
    return DataRefused(
        f"{place}: column {column.name} is of type {got}, and the contract asks {column.type}",
        where=f"{place}, column {column.name}",
        rule="a value is not bent into another type on its way",
        fix=f"cast it in the query: CAST(… AS {asks}) AS {column.name}",
    )
