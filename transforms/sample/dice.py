"""Draws for the sample: the same seed gives the same values.

Belongs here: numpy's PCG64 behind a few names. Does not belong here: what is drawn (``transforms.sample.hospital``).
The seed is an argument; nothing here looks at a clock, the environment or the hash seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

Whole = npt.NDArray[np.int64]
Real = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class Dice:
    """Vectorised draws from one seed. n: how many values; every answer has that length."""

    def __init__(self, seed: int) -> None:
        """Start from a seed of 0 or more."""
        self._rng = np.random.Generator(np.random.PCG64(seed))

    def share(self, n: int) -> Real:
        """Uniform in [0, 1)."""
        return self._rng.random(n)

    def hit(self, n: int, chance: float | Real) -> Flags:
        """True with the given chance, one for all or one each."""
        return self.share(n) < chance

    def whole(self, n: int, low: int, high: int) -> Whole:
        """Integers low..high, both included."""
        return self._rng.integers(low, high, n, dtype=np.int64, endpoint=True)

    def below(self, limit: Whole) -> Whole:
        """One integer in 0..limit-1 for each limit (0 where the limit is 0 or less)."""
        return np.floor(self.share(len(limit)) * np.maximum(limit, 1)).astype(np.int64)

    def poisson(self, mean: Real) -> Whole:
        """Counts with the given means."""
        return self._rng.poisson(mean).astype(np.int64)

    def gamma(self, n: int, shape: float, mean: float | Real) -> Real:
        """Skewed positive values with the given mean."""
        drawn: Real = self._rng.gamma(shape, 1.0, n) * (np.asarray(mean) / shape)
        return drawn

    def index(self, n: int, weights: Sequence[float]) -> Whole:
        """Places in ``weights``, by weight."""
        edges = np.cumsum(np.asarray(weights, dtype=np.float64))
        return np.searchsorted(edges / edges[-1], self.share(n), side="right").astype(np.int64)

    def rows(self, which: Whole, weights: Real) -> Whole:
        """Column of ``weights`` for each row number in ``which``, by the weights of that row."""
        edges = np.cumsum(weights, axis=1)
        edges = edges / edges[:, -1:]
        column: Whole = (self.share(len(which))[:, None] >= edges[which]).sum(axis=1).astype(np.int64)
        return column

    def pick(self, n: int, options: Mapping[str, float]) -> pl.Series:
        """Texts, by weight."""
        return texts(list(options), self.index(n, list(options.values())))


def texts(options: Sequence[str | None], places: Whole) -> pl.Series:
    """The option at each place."""
    return pl.Series(options, dtype=pl.String).gather(places)


def matrix(rows: Sequence[Mapping[str, float]], columns: Sequence[str]) -> Real:
    """Weights as a matrix: one row each, one column per option."""
    return np.array([[row.get(column, 0.0) for column in columns] for row in rows], dtype=np.float64)
