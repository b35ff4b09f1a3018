"""Tables as text, for tests: columns parted by ``|``, an empty cell is null.

Belongs here: reading such tables into frames, showing frames the same way, and building small layouts. Does not belong
here: anything of what the program decides; the cells are read without ``transforms.extract.parse``.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from schemas.contract import Column, Table, load_contract
from schemas.layout import Attribute, Layout, Node
from schemas.models import DTYPES, dtypes

CONTRACT = load_contract()
OWN: dict[str, pl.DataType] = {"_row": pl.UInt32(), "_patient": pl.UInt32(), "_id": pl.Int64(), "_parent": pl.Int64()}


def cells(text: str) -> list[list[str]]:
    """Header and rows; lines of dashes are left out."""
    lines = [line for line in text.strip().splitlines() if set(line) - set("-+ ")]
    return [[cell.strip() for cell in line.split("|")] for line in lines]


def frame(text: str, types: Mapping[str, pl.DataType] | None = None) -> pl.DataFrame:
    """The table as a frame; columns without a type are text."""
    header, *rows = cells(text)
    known = OWN | dict(types or {})
    schema = {name: known.get(name, pl.String()) for name in header}
    read = [[_value(cell, schema[name]) for name, cell in zip(header, row, strict=True)] for row in rows]
    return pl.DataFrame(read, schema=schema, orient="row")


def staged(table: str, text: str) -> pl.DataFrame:
    """Rows of a contract table, all its columns typed; those not shown are null. ``_row`` counts from 1."""
    types = dtypes(CONTRACT.tables[table])
    shown = frame(text, types)
    if "_row" not in shown.columns:
        shown = shown.with_row_index("_row", offset=1)
    hidden = {"_patient": OWN["_patient"], **types}
    return shown.with_columns(pl.lit(None, t).alias(n) for n, t in hidden.items() if n not in shown.columns)


def class_rows(npr_class: str, text: str) -> pl.DataFrame:
    """Rows of a class table, typed by the contract columns that feed the class."""
    fed = {
        attribute: DTYPES[table.column(name).type]
        for table in CONTRACT
        for attribute, name in table.feeding(npr_class).items()
    }
    return frame(text, fed)


def shown(frame: pl.DataFrame, header: list[str]) -> list[list[str]]:
    """The columns of the header, as they would stand in a table of text."""
    return [header, *([_text(value) for value in row] for row in frame.select(header).iter_rows())]


def same(frame: pl.DataFrame, expected: str) -> None:
    """Assert that the frame shows, in the columns of the expected table, just that table."""
    wanted = cells(expected)
    assert shown(frame, wanted[0]) == wanted


def _value(cell: str, dtype: pl.DataType) -> Any:  # noqa: ANN401 - a value of any column type
    if not cell:
        return None
    if dtype.is_integer():
        return int(cell)
    if dtype.is_decimal():
        return Decimal(cell)
    if dtype == pl.Date:
        return dt.date.fromisoformat(cell)
    return dt.datetime.fromisoformat(cell) if dtype == pl.Datetime else cell


def _text(value: object) -> str:
    if isinstance(value, dt.datetime):
        return value.isoformat(" ", "minutes")
    return "" if value is None else str(value)


def column(name: str, kind: str = "string", *, feeds: str = "") -> Column:
    """A contract column without limits."""
    return Column(name, kind, False, "", "", "", "", None, None, None, tuple(feeds.split()), "C", "test")  # noqa: FBT003


def table(*columns: Column, name: str = "things") -> Table:
    """A contract table of these columns; the first is its key."""
    return Table(name, name, True, (columns[0].name,), columns, {}, None, (), (), False)  # noqa: FBT003


def node(node_id: str, parent: str | None, attributes: str = "") -> Node:
    """Attributes are written ``name:type``, the type string where none is given; ``!`` after it marks prohibited."""
    return Node(node_id, node_id.rpartition("_")[2], parent, 0, None, tuple(map(_attribute, attributes.split())))


def _attribute(marked: str) -> Attribute:
    name, _, kind = marked.rstrip("!").partition(":")
    return Attribute(name, kind or "string", "prohibited" if marked.endswith("!") else "optional")


def layout(module: str, patient: str, *nodes: Node) -> Layout:
    """A layout of these nodes."""
    return Layout(module, "0.0.1", "urn:test", patient, nodes, Path("test.xsd"), "0" * 64, official=False)
