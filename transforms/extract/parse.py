"""From text as delivered to the types of the contract.

Belongs here: turning one slice of a snapshot into typed columns, with a fault where a text is not of its type. Does not
belong here: limits, codes and keys (``transforms.extract.checks``, ``transforms.extract.relations``), decoding of
files.
"""

from __future__ import annotations

import polars as pl

from schemas.contract import Table
from schemas.models import DTYPES
from transforms.extract import faults


def parse(frame: pl.DataFrame, table: Table, *, decimal: str = ".") -> tuple[pl.DataFrame, pl.DataFrame]:
    """Type one slice.

    frame: ``_row`` and contract columns, as text (from CSV) or already typed (from Parquet); columns that are
    missing count as empty. decimal: the decimal sign of the file.
    Returns the typed frame (``_row`` first, contract order) and the faults (rule ``type``).
    """
    raw = frame.with_columns(
        pl.lit(None, pl.String).alias(name) for name in table.names if name not in frame.columns
    ).with_columns(pl.col(pl.String).replace("", None))
    typed = raw.select(
        pl.col("_row").cast(pl.UInt32),
        *(_typed(raw.schema[column.name], column.name, column.type, decimal) for column in table.columns),
    )
    failed = [
        faults.at(raw.filter(raw[name].is_not_null() & typed[name].is_null()), name, "type") for name in table.names
    ]
    return typed, faults.together(failed)


def _typed(dtype: pl.DataType, name: str, kind: str, decimal: str) -> pl.Expr:
    column = pl.col(name)
    target = DTYPES[kind]
    if dtype == target:
        return column
    if dtype == pl.String:
        return _from_text(column, kind, decimal)
    if not _fits(dtype, kind):
        return pl.lit(None, target).alias(name)
    if isinstance(dtype, pl.Datetime) and dtype.time_zone and kind in ("date", "datetime"):
        column = column.dt.convert_time_zone("Europe/Oslo").dt.replace_time_zone(None)
    if kind == "integer" and not dtype.is_integer():
        # 12.5 is no integer; a silent cut would hide it.
        column = pl.when(column == column.floor()).then(column)
    return column.cast(target, strict=False)


def _fits(dtype: pl.DataType, kind: str) -> bool:
    """Whether a typed column can mean the kind. A cast alone would make 20200101 a day in the year 57275."""
    if dtype == pl.Null:
        return True
    match kind:
        case "integer" | "decimal":
            return dtype.is_numeric()
        case "date" | "datetime":
            return dtype in (pl.Date, pl.Datetime)
        case _:
            return dtype.is_integer() or dtype in (pl.Categorical, pl.Enum)


def _from_text(column: pl.Expr, kind: str, decimal: str) -> pl.Expr:
    match kind:
        case "integer":
            return pl.when(column.str.contains(r"^[+-]?[0-9]+$")).then(column).cast(pl.Int32, strict=False)
        case "decimal":
            text = column.str.replace(",", ".", literal=True) if decimal == "," else column
            right = text.str.contains(r"^[+-]?[0-9]+(\.[0-9]{1,2})?$")
            return pl.when(right).then(text).cast(pl.Decimal(18, 2), strict=False)
        case "date":
            right = column.str.contains(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")
            return pl.when(right).then(column).str.to_date("%Y-%m-%d", strict=False)
        case "datetime":
            # A second of 60 would be read as the next minute.
            right = column.str.contains(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-5][0-9]$")
            text = pl.when(right).then(column).str.replace(" ", "T", literal=True)
            return text.str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="us", strict=False)
        case _:
            return column
