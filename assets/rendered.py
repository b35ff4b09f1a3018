"""The rendered patients of one module as one long run of bytes, read piece by piece.

Belongs here: finding the bytes of a range of patients across batch files. Does not belong here: making them
(``assets.fragments``) or deciding ranges (``transforms.shipping.split``).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

CHUNK = 4 << 20


class Rendered:
    """ends: place where each patient ends, over all batches. patients: their ordinals in the same order."""

    def __init__(self, folder: Path) -> None:
        files = sorted(folder.glob("*.xml"))
        index = [pl.read_parquet(file.with_suffix(".parquet")) for file in files]
        sizes = [file.stat().st_size for file in files]
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._files = list(zip(files, starts[:-1].tolist(), starts[1:].tolist(), strict=True))
        shifted = [part["end"].to_numpy() + start for part, start in zip(index, starts, strict=False)]
        self.ends: NDArray[np.int64] = np.concatenate([np.empty(0, np.int64), *shifted])
        self.patients: NDArray[np.uint32] = np.concatenate(
            [np.empty(0, np.uint32), *(part["_patient"].to_numpy() for part in index)]
        )

    def pieces(self, first: int, last: int) -> Iterator[bytes]:
        """Bytes of the patients at places ``first`` up to, not including, ``last``, in pieces."""
        start = int(self.ends[first - 1]) if first else 0
        end = int(self.ends[last - 1]) if last else 0
        for file, begins, stops in self._files:
            low, high = max(start, begins), min(end, stops)
            if low < high:
                yield from _read(file, low - begins, high - begins)

    def bytes(self, first: int, last: int) -> bytes:
        """The same in one piece."""
        return b"".join(self.pieces(first, last))


def _read(file: Path, low: int, high: int) -> Iterator[bytes]:
    with file.open("rb") as opened:
        opened.seek(low)
        while low < high:
            piece = opened.read(min(CHUNK, high - low))
            low += len(piece)
            yield piece
