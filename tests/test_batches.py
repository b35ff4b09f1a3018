"""Batches are ranges of whole patients that together are all patients."""

from __future__ import annotations

from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.batches import borders


def episodes(counts: list[int]) -> pl.Series:
    """``_patient`` of each episode: so many for the first patient, so many for the next."""
    owners = [patient for patient, count in enumerate(counts) for _ in range(count)]
    return pl.Series("_patient", owners[::-1], dtype=pl.UInt32)


@pytest.mark.parametrize(
    ("what", "counts", "size", "expected"),
    [
        ("nobody", [], 10, ()),
        ("all in one", [1, 2, 3], 100, ((0, 3),)),
        ("each patient weighs one more than its episodes", [4, 4, 4, 4], 10, ((0, 2), (2, 4))),
        ("a patient larger than a batch is not cut", [1, 50, 1, 1], 10, ((0, 2), (2, 4))),
        ("patients without episodes", [0] * 25, 10, ((0, 10), (10, 20), (20, 25))),
        ("the last patients have none", [9, 0, 0], 10, ((0, 1), (1, 3))),
    ],
)
def test_borders(what: str, counts: list[int], size: int, expected: tuple[tuple[int, int], ...]) -> None:
    assert borders(len(counts), episodes(counts), size) == expected, what


@given(counts=st.lists(st.integers(0, 12), max_size=40), size=st.integers(1, 30))
def test_batches_cover_every_patient_once_and_are_about_as_large_as_asked(counts: list[int], size: int) -> None:
    found = borders(len(counts), episodes(counts), size)
    assert [patient for first, last in found for patient in range(first, last)] == list(range(len(counts)))
    weights = [sum(counts[first:last]) + last - first for first, last in found]
    assert all(0 < weight < size + max(counts) + 1 for weight in weights)
    # And no more of them than needed: two neighbours together are more than one.
    assert all(one + other > size - max(counts) for one, other in pairwise(weights))
