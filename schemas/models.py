"""Pandera models made from the extract contract.

Belongs here: one DataFrameSchema per contract table, and the Polars types of its columns. Does not belong here: running
them (``transforms.extract.checks``), keys, references and rules between columns (``transforms.extract.relations``).
"""

from __future__ import annotations

import datetime as dt
from functools import cache

import pandera.polars as pa
import polars as pl
from pandera.api.checks import Check

from schemas.codelists import codes_valid
from schemas.contract import Column, Table

DTYPES: dict[str, pl.DataType] = {
    "string": pl.String(),
    "code": pl.String(),
    "integer": pl.Int32(),
    "decimal": pl.Decimal(18, 2),
    "date": pl.Date(),
    "datetime": pl.Datetime("us"),
}
# The model's own bounds of a date: years 1900 to 2999 (content rule of XPR 56, hdir/DHHR.API).
FIRST_DAY = dt.date(1900, 1, 1)
LAST_DAY = dt.date(2999, 12, 31)


def dtypes(table: Table) -> dict[str, pl.DataType]:
    """Column -> Polars type, in contract order."""
    return {column.name: DTYPES[column.type] for column in table.columns}


def rules(column: Column, years: tuple[int, ...]) -> list[tuple[str, Check]]:
    """Rule id and pandera check for each limit of the column, besides type and presence.

    years: the code lists of these years count; a code valid in any of them passes, since an extract spans years
    and validity on the exact day is a content rule.
    """
    found: list[tuple[str, Check]] = []
    if column.code_list:
        valid = frozenset[str]().union(*(codes_valid(column.code_list, year) for year in years))
        found.append(("code", pa.Check.isin(sorted(valid))))
    if column.pattern:
        found.append(("pattern", pa.Check.str_matches(f"^(?:{column.pattern})$")))
    if column.max_length is not None:
        found.append(("length", pa.Check.str_length(max_value=column.max_length)))
    if column.minimum is not None or column.maximum is not None:
        found.append(("range", pa.Check.in_range(column.minimum, column.maximum)))
    if column.type == "date":
        found.append(("range", pa.Check.in_range(FIRST_DAY, LAST_DAY)))
    if column.type == "datetime":
        last = dt.datetime.combine(LAST_DAY, dt.time.max)
        found.append(("range", pa.Check.in_range(dt.datetime.combine(FIRST_DAY, dt.time.min), last)))
    return found


@cache
def model(table: Table, years: tuple[int, ...]) -> pa.DataFrameSchema:
    """The pandera schema of one contract table: exactly its columns, typed, with their limits."""
    columns = {
        column.name: pa.Column(
            DTYPES[column.type], [check for _, check in rules(column, years)], nullable=not column.required
        )
        for column in table.columns
    }
    return pa.DataFrameSchema(columns, strict=True, name=table.name)
