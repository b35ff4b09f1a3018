"""Class tables of one batch of whole patients, with the ways between them.

Belongs here: which row stands above which, values of rows above, counts of rows below. Does not belong here: rules.

Tables are in document order, so ``_id`` rises in each of them and ``_parent`` in those below.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.layout import Layout

Places = NDArray[np.int64]
NTH: Final = "nth"


class Rows:
    """The tables of a batch: node id -> frame. Nodes without rows may be missing."""

    def __init__(
        self, layout: Layout, tables: Mapping[str, pl.DataFrame], message: Mapping[str, pl.DataFrame] | None = None
    ) -> None:
        """Hold the tables. message: those above the patients, of one row each, for their attributes alone."""
        self.layout = layout
        self.tables = tables
        self._message = message if message is not None else tables
        self._parents: dict[str, Places] = {}
        self._paths: dict[tuple[str, str], Places] = {}

    def above(self, node: str, ancestor: str) -> Places:
        """Place, in the table of the ancestor, of the row that each row of the node stands under; -1 = none."""
        if node == ancestor:
            return np.arange(len(self.tables[node]), dtype=np.int64)
        found = self._paths.get((node, ancestor))
        if found is None:
            parent = self.layout.node(node).parent
            if parent is None or parent not in self.tables:
                return np.full(len(self.tables[node]), -1, dtype=np.int64)
            own = self._under(node, parent)
            higher = self.above(parent, ancestor)
            found = own if parent == ancestor else _through(own, higher)
            self._paths[node, ancestor] = found
        return found

    def value(self, node: str, name: str, dtype: pl.DataType) -> pl.Series:
        """An attribute of the rows themselves, or ``nth``; empty where the class has it and nothing feeds it."""
        if name == NTH:
            return self.nth(node)
        own = self.tables[node]
        return own[name] if name in own.columns else pl.repeat(None, own.height, dtype=dtype, eager=True)

    def value_above(self, node: str, ancestor: str, name: str, dtype: pl.DataType) -> pl.Series:
        """An attribute of the row above, for each row of the node."""
        return self._taken(ancestor, name, self.above(node, ancestor), dtype)

    def value_beside(self, node: str, other: str, name: str, dtype: pl.DataType) -> pl.Series:
        """An attribute of the one row that the patient has in another table (Pasient)."""
        if other not in self.tables:
            return pl.repeat(None, len(self.tables[node]), dtype=dtype, eager=True)
        theirs = self.tables[other]["_patient"].to_numpy()
        own = self.tables[node]["_patient"].to_numpy()
        return self._taken(other, name, _places(theirs, own), dtype)

    def value_of_message(self, node: str, place: str, name: str, dtype: pl.DataType) -> pl.Series:
        """An attribute of Melding or Institusjon, the same for every row."""
        found = self._message.get(place)
        rows = len(self.tables[node])
        if found is None or found.is_empty() or name not in found.columns:
            return pl.repeat(None, rows, dtype=dtype, eager=True)
        return pl.repeat(found[name][0], rows, dtype=found.schema[name], eager=True)

    def nth(self, node: str) -> pl.Series:
        """Place of each row among those of the same parent, from 1."""
        parent = self.layout.node(node).parent
        alone = np.zeros(len(self.tables[node]), np.int64)
        places = self._under(node, parent) if parent is not None and parent in self.tables else alone
        starts = np.flatnonzero(np.r_[True, places[1:] != places[:-1]]) if len(places) else places
        lengths = np.diff(np.r_[starts, len(places)])
        return pl.Series(np.arange(len(places)) - np.repeat(starts, lengths) + 1, dtype=pl.Int64)

    def count(self, node: str, child: str, attribute: str | None, value: str | None) -> pl.Series:
        """How many rows of the child stand under each row; with an attribute, only those that have its value."""
        rows = len(self.tables[node])
        if child not in self.tables:
            return pl.zeros(rows, pl.Int64, eager=True)
        places = self._under(child, node)
        if attribute is not None:
            places = places[(self.tables[child][attribute].cast(pl.String) == value).fill_null(value=False).to_numpy()]
        return pl.Series(np.bincount(places[places >= 0], minlength=rows).astype(np.int64))

    def _under(self, node: str, parent: str) -> Places:
        if node not in self._parents:
            ids = self.tables[parent]["_id"].to_numpy()
            if "_parent" in self.tables[node].columns:
                self._parents[node] = _places(ids, self.tables[node]["_parent"].to_numpy())
            else:
                self._parents[node] = np.full(len(self.tables[node]), -1, dtype=np.int64)
        return self._parents[node]

    def _taken(self, table: str, name: str, places: Places, dtype: pl.DataType) -> pl.Series:
        if table not in self.tables or (name != NTH and name not in self.tables[table].columns):
            return pl.repeat(None, len(places), dtype=dtype, eager=True)
        taken = pl.Series(np.where(places < 0, 0, places))
        column = self.nth(table) if name == NTH else self.tables[table][name]
        if column.is_empty():
            return pl.repeat(None, len(places), dtype=column.dtype, eager=True)
        values = column.gather(taken)
        return values if (places >= 0).all() else pl.select(pl.when(pl.Series(places >= 0)).then(values)).to_series()


def _places(ids: NDArray[np.int64], wanted: NDArray[np.int64]) -> Places:
    """Place of each wanted value in rising values; -1 where it is not there."""
    if not len(ids):
        return np.full(len(wanted), -1, dtype=np.int64)
    places = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1).astype(np.int64)
    return np.where(ids[places] == wanted, places, -1)


def _through(own: Places, higher: Places) -> Places:
    if not len(higher):
        return np.full(len(own), -1, dtype=np.int64)
    return np.where(own < 0, -1, higher[np.where(own < 0, 0, own)])
