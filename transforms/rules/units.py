"""Rules over units that one expression cannot say.

Belongs here: the functions named in ``schemas/rules/unit.toml``. Does not belong here: their texts.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from transforms.organisation_numbers import classify_organisations
from transforms.rules.functions import rule_function


@rule_function
def wrong_organisation_number(units: pl.DataFrame, _: Mapping[str, pl.DataFrame]) -> pl.Series:
    """UNIT-02: neither nine digits that pass mod 11 nor such nine and the digit of a feed."""
    valid = classify_organisations(units["orgNr"], validation=True)["valid"]
    return ~valid & units["orgNr"].is_not_null()
