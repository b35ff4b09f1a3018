"""Faults of rows as records: where and which rule, never the value.

Belongs here: the shape of the fault table and its small helpers. Does not belong here: finding faults, or deciding what
they mean for the run (``transforms.extract.accounting``).
"""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

# One record per row, column and rule. `_row` is the place in the delivered file, first data row = 1.
SCHEMA: dict[str, pl.DataType] = {"_row": pl.UInt32(), "column": pl.String(), "rule": pl.String()}


def none() -> pl.DataFrame:
    """An empty fault table."""
    return pl.DataFrame(schema=SCHEMA)


def at(rows: pl.DataFrame, column: str, rule: str) -> pl.DataFrame:
    """Faults of one column and rule, at the ``_row`` of each given row."""
    return rows.select(pl.col("_row").cast(pl.UInt32), column=pl.lit(column), rule=pl.lit(rule))


def together(parts: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """All faults in order of row; none where there is nothing."""
    return pl.concat([none(), *parts]).unique().sort("_row", "column", "rule")


def without(frame: pl.DataFrame, faults: pl.DataFrame) -> pl.DataFrame:
    """The rows that no fault names, order kept."""
    if faults.is_empty():
        return frame
    return frame.join(faults.select("_row").unique(), on="_row", how="anti", maintain_order="left")
