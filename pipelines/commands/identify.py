"""``npr identify FILE``: which kinds of number stand in a file.

Belongs here: reading one number a line, records and the table of counts. Does not belong here: judging a number
(``transforms.identity_numbers``). No number is printed, in no form and in no error.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import polars as pl

from schemas.errors import WrongUse
from transforms.identity_numbers import classify

COLUMNS = ("kind", "valid", "synthetic", "reason")


def identify(path: Path, on: dt.date | None = None) -> list[dict[str, Any]]:
    """``line`` (from 1), kind, valid, synthetic, reason for each line. Raises WrongUse when the file cannot be read."""
    found = classify(pl.Series(_lines(path), dtype=pl.String), on=on)
    return found.select(*COLUMNS).with_row_index("line", offset=1).to_dicts()


def summary(records: list[dict[str, Any]]) -> str:
    """A table of how many lines are alike, most frequent first."""
    if not records:
        return "no line in the file"
    counts = (
        pl.DataFrame(records)
        .group_by(COLUMNS)
        .agg(lines=pl.len(), first_line=pl.col("line").min().cast(pl.String))
        .sort(["lines", *COLUMNS], descending=[True, False, False, False, False])
    )
    yes = pl.when("valid").then(pl.lit("yes")).otherwise(pl.lit("no"))
    shown = counts.select(pl.col("lines").cast(pl.String), "kind", yes, "synthetic", "reason", "first_line")
    rows = [("lines", "kind", "valid", "synthetic", "reason", "first line"), *shown.rows()]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _lines(path: Path) -> list[str]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise WrongUse(
            f"the file cannot be read ({error.strerror})", where=str(path), fix="name a text file, one number a line"
        ) from None
    # Bytes that are no UTF-8 become marks, so the line is judged and not the run ended.
    lines = raw.decode("utf-8-sig", errors="replace").split("\n")
    return [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]
