"""Errors of a report as a table.

Belongs here: its columns. Does not belong here: reading reports, and findings made of errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, fields

import polars as pl

from schemas.answered import ContentError

ERRORS: dict[str, pl.DataType] = {one.name: pl.String() for one in fields(ContentError)}


def error_table(errors: Sequence[ContentError]) -> pl.DataFrame:
    """One row per error, all columns text as the register wrote them."""
    return pl.DataFrame([astuple(error) for error in errors], schema=ERRORS, orient="row")
