"""Rules over the codes of an episode taken together.

Belongs here: the functions named in ``schemas/rules/codes.toml``. Does not belong here: their texts.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from transforms.rules.functions import rule_function


@rule_function
def condition_not_there(procedures: pl.DataFrame, others: Mapping[str, pl.DataFrame]) -> pl.Series:
    """PRO-05: ``tilstNr`` names a condition that the episode of the procedure does not have."""
    there = others["Tilstand"].select(Episode__id="_parent", tilstNr="tilstNr").unique()
    named = procedures.select("_id", "Episode__id", "tilstNr").drop_nulls("tilstNr")
    lost = named.join(there, on=["Episode__id", "tilstNr"], how="anti")
    return procedures["_id"].is_in(lost["_id"].implode())
