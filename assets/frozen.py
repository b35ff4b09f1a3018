"""What every frozen extract has in common, wherever it came from.

Belongs here: gates that any extract must pass, absent tables, and the search for lost letters. Does not belong here:
reading files (``assets.snapshot``) or a database (``assets.pulling``).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from assets.ports import Run
from schemas.contract import Table
from schemas.errors import DataRefused
from transforms.extract import decoding

RECORD = "snapshot.json"
ROW_GROUP = 100_000


def insist_environment(run: Run, environment: str, where: str) -> None:
    """DataRefused for test data outside a rehearsal."""
    if environment != "production" and run.config.profile != "rehearsal":
        raise DataRefused(
            f"the extract comes from a {environment} environment and the profile is {run.config.profile}",
            where=where,
            rule="TEST-01: test data must never reach the register",
            fix="extract from the production system, or run with --profile rehearsal",
        )


def insist_whole_period(run: Run, extracted_at: dt.datetime, where: str) -> None:
    """DataRefused for an extract taken before the period ended."""
    if extracted_at.date() < run.period.end:
        raise DataRefused(
            f"the extract was taken before {run.period.key} ended ({run.period.end})",
            where=where,
            rule="MSG-06: uttakDato is not before tilDatoPeriode; an early report must hold the whole period",
            fix="extract again after the period, or report an earlier period",
        )


def absent(table: Table, target: Path, where: str, fix: str) -> None:
    """Stand in for a table that was not delivered. DataRefused when the contract requires it."""
    if table.required:
        raise DataRefused(f"{table.name}: not delivered", where=where, fix=fix)
    pl.DataFrame(schema={"_row": pl.UInt32}).write_parquet(target)


def insist_letters(target: Path, file: str) -> None:
    """DataRefused, with the first place, where letters were lost before the extract came here."""
    frame = pl.scan_parquet(target).select("_row", pl.selectors.string())
    for batch in slices(frame):
        lost = decoding.lost_letters(batch)
        if not lost.is_empty():
            row, column = lost.row(0)
            raise DataRefused(
                f"{file}: letters such as æ, ø, å were lost in {lost.height} places",
                where=f"{file}, row {row}, field {column} (first place)",
                rule="encoding",
                fix="extract again in UTF-8, or declare the encoding the file really has",
            )


def slices(frame: pl.LazyFrame, rows: int = 250_000) -> Iterator[pl.DataFrame]:
    """The rows of a Parquet file, so many at a time."""
    total = frame.select(pl.len()).collect().item()
    for start in range(0, total, rows):
        yield frame.slice(start, rows).collect()
