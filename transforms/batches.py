"""Batches of whole patients.

Belongs here: where one batch ends and the next begins. Does not belong here: reading the rows of a batch.
"""

from __future__ import annotations

from itertools import pairwise

import polars as pl

EPISODES = 40_000  # per batch; memory of a batch grows with it, the output does not depend on it


def borders(patients: int, of_episodes: pl.Series, size: int = EPISODES) -> tuple[tuple[int, int], ...]:
    """Ranges of patient ordinals (first, last exclusive) with about ``size`` episodes each, covering all patients.

    of_episodes: ``_patient`` of each episode, in any order. A patient is never cut, however many episodes it has.
    """
    if patients == 0:
        return ()
    counts = of_episodes.value_counts().rename({of_episodes.name: "_patient"})
    every = pl.select(_patient=pl.int_range(patients, dtype=pl.UInt32))
    # Patients weigh something too, or a hundred thousand with a referral only would be one batch.
    weight = every.join(counts, on="_patient", how="left", maintain_order="left")["count"].fill_null(0) + 1
    batch = ((weight.cum_sum() - weight) // size).cast(pl.UInt32)
    first = every.with_columns(batch=batch).group_by("batch").agg(pl.col("_patient").min()).sort("batch")["_patient"]
    edges = [*(int(edge) for edge in first), patients]
    return tuple(pairwise(edges))
