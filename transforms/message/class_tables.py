"""From contract rows in scope to one table per NPR class, columns named as NPR's attributes.

Belongs here: the generic build, driven by ``schemas/extract/<v>/classes.toml``, the ``feeds`` of the columns and
the layout. Does not belong here: knowledge of a particular class or year, rendering.

A class table has ``_id`` (contiguous, document order), ``_parent`` (``_id`` of the parent row; not on the patient
node), ``_patient`` (ordinal), ``_row`` (place in the delivered file) and the attributes that the version allows.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from schemas.contract import ClassSource, Contract
from schemas.layout import Layout, Node

OWN = ("_id", "_parent", "_patient", "_row")


def nodes_of_patients(layout: Layout) -> tuple[Node, ...]:
    """The patient node and all below it, parents first."""
    inside = {layout.patient}
    for node in layout.nodes:
        if node.parent in inside:
            inside.add(node.id)
    return tuple(node for node in layout.nodes if node.id in inside)


def build(
    contract: Contract, layout: Layout, rows: Mapping[str, pl.DataFrame], first_ids: Mapping[str, int]
) -> dict[str, pl.DataFrame]:
    """Class tables of one batch of whole patients.

    rows: contract table -> staged rows in scope (``_row``, ``_patient`` and columns). first_ids: node -> the first
    ``_id`` to give. Nodes that the contract has no source for are left out.
    """
    keyed: dict[str, pl.DataFrame] = {}
    for node in nodes_of_patients(layout):
        source = contract.classes.get(node.id)
        if source is not None and source.table in rows:
            keyed[node.id] = (
                _class_rows(contract, layout, node, source, rows[source.table], keyed)
                .with_row_index("_id", offset=first_ids.get(node.id, 0))
                .with_columns(pl.col("_id").cast(pl.Int64))
            )
    return {node_id: _public(layout.node(node_id), frame) for node_id, frame in keyed.items()}


def _class_rows(
    contract: Contract,
    layout: Layout,
    node: Node,
    source: ClassSource,
    rows: pl.DataFrame,
    built: Mapping[str, pl.DataFrame],
) -> pl.DataFrame:
    attributes = _attributes(contract, node, source)
    order = [pl.col(name).alias(f"_order_{name}") for name in source.order]
    keys = [pl.col(name).alias(f"_key_{name}") for name in source.key]
    if source.skip_if_null:
        rows = rows.filter(pl.col(source.skip_if_null).is_not_null())
    if source.unpivot:
        frame = _unpivot(source, rows)
    else:
        frame = rows.sort("_row").unique([*source.key], keep="first", maintain_order=True)
        frame = frame.select("_row", "_patient", *keys, *order, *(pl.col(c).alias(a) for a, c in attributes.items()))
    if node.id != layout.patient and node.parent is not None:
        frame = _with_parent(frame, source, built[node.parent], contract.classes[node.parent])
    leads = ("_patient", "_parent", "_order_", "_key_", "_row")
    sorting = [name for lead in leads for name in frame.columns if name.startswith(lead)]
    return frame.sort(sorting, nulls_last=True, maintain_order=True)


def _attributes(contract: Contract, node: Node, source: ClassSource) -> dict[str, str]:
    feeding = contract.tables[source.table].feeding(node.name)
    return {a.name: feeding[a.name] for a in node.attributes if a.name in feeding and a.use != "prohibited"}


def _unpivot(source: ClassSource, rows: pl.DataFrame) -> pl.DataFrame:
    assert source.unpivot is not None  # noqa: S101 - narrowed by the caller
    attribute, role = source.unpivot.attribute, source.unpivot.role
    parts = [
        rows.filter(pl.col(column).is_not_null()).select(
            "_row",
            "_patient",
            *(pl.col(name).alias(f"_key_{name}") for name in source.key),
            pl.lit(number, pl.UInt8).alias("_order_role"),
            pl.col(column).alias(attribute),
            pl.lit(code).alias(role),
        )
        for number, (column, code) in enumerate(source.unpivot.columns.items())
        if column in rows.columns
    ]
    return pl.concat(parts)


def _with_parent(
    frame: pl.DataFrame, source: ClassSource, parent: pl.DataFrame, parent_source: ClassSource
) -> pl.DataFrame:
    """Attach the ``_id`` of the parent: by key, or by patient directly under the patient node."""
    if not source.parent:
        ids = parent.select("_patient", pl.col("_id").alias("_parent"))
        return frame.join(ids, on="_patient", how="inner", maintain_order="left")
    own = [f"_key_{name}" for name in source.parent]
    theirs = [f"_key_{name}" for name in parent_source.key[: len(source.parent)]]
    ids = parent.select(*theirs, pl.col("_id").alias("_parent")).rename(dict(zip(theirs, own, strict=True)))
    return frame.join(ids, on=own, how="inner", maintain_order="left")


def _public(node: Node, frame: pl.DataFrame) -> pl.DataFrame:
    own = [name for name in OWN if name in frame.columns]
    return frame.select(*own, *(a.name for a in node.attributes if a.name in frame.columns))


def with_content(contract: Contract, layout: Layout, rows: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """The same rows, of patients only those that have something to tell in this module.

    A patient with a treatment start and nothing else belongs in sbs and not, as an empty holder, in ord.
    """
    holder = contract.classes[layout.patient].table
    direct = [contract.classes[n.id].table for n in layout.children(layout.patient) if n.id in contract.classes]
    telling = [rows[table].select("_patient") for table in direct if table != holder]
    if not telling:
        return dict(rows)
    active = pl.concat(telling).unique()
    return {**rows, holder: rows[holder].join(active, on="_patient", how="semi", maintain_order="left")}
