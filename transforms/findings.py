"""Content rules over class tables: what NPR would do with a row.

Belongs here: evaluating the catalogue, vectorised, on one batch. Does not belong here: the rules themselves
(``schemas/rules``), and faults of the extract (``transforms.checks``). A finding says where and which rule, never the
value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

import polars as pl

from schemas.layout import Attribute, Layout, Node
from schemas.period import Period
from schemas.rulebook import ContentRule

SCHEMA: dict[str, pl.DataType] = {
    "rule": pl.String(),
    "consequence": pl.String(),
    "module": pl.String(),
    "class": pl.String(),
    "_id": pl.Int64(),
    "_patient": pl.UInt32(),
    "_row": pl.UInt32(),
}


def find(
    rules: Iterable[ContentRule], layout: Layout, period: Period, tables: Mapping[str, pl.DataFrame]
) -> pl.DataFrame:
    """Findings (SCHEMA) of one batch of class tables of a module, in the order of rules and rows.

    A rule that names an attribute or child class which the version does not have, or prohibits, does not speak in it.
    """
    found = [pl.DataFrame(schema=SCHEMA)]
    for rule in rules:
        asked = set(pl.sql_expr(rule.wrong).meta.root_names())
        nodes = [n for n in layout.nodes if n.name == rule.npr_class and n.id in tables]
        if rule.module == layout.module:
            frames = [_prepared(layout, node, period, tables, asked) for node in nodes]
            found += [_of_rule(rule, frame) for frame in frames if asked <= set(frame.columns)]
    return pl.concat(found)


def _prepared(
    layout: Layout, node: Node, period: Period, tables: Mapping[str, pl.DataFrame], asked: AbstractSet[str]
) -> pl.DataFrame:
    """The class rows with what a rule may ask for besides attributes."""
    frame = tables[node.id].with_columns(period_from=pl.lit(period.start), period_to=pl.lit(period.end))
    # Allowed, but fed by no column of the contract: empty in the message, and so for the rule.
    empty = [a for a in node.attributes if a.use != "prohibited" and a.name in asked - set(frame.columns)]
    frame = frame.with_columns(pl.lit(None, _no_value(a)).alias(a.name) for a in empty)
    for child in layout.children(node.id):
        if f"n_{child.name}" in asked:
            frame = _counted(frame, child, tables.get(child.id))
    return frame


def _no_value(attribute: Attribute) -> pl.DataType:
    # The null type compares with dates and numbers alike; functions of text want text.
    return pl.String() if attribute.type == "string" else pl.Null()


def _counted(frame: pl.DataFrame, child: Node, children: pl.DataFrame | None) -> pl.DataFrame:
    name = f"n_{child.name}"
    if children is None:
        return frame.with_columns(pl.lit(0).alias(name))
    counts = children.group_by("_parent").len(name=name)
    joined = frame.join(counts, left_on="_id", right_on="_parent", how="left", maintain_order="left")
    return joined.with_columns(pl.col(name).fill_null(0))


def _of_rule(rule: ContentRule, frame: pl.DataFrame) -> pl.DataFrame:
    wrong = frame.filter(pl.sql_expr(rule.wrong).fill_null(value=False))
    return wrong.select(
        pl.lit(rule.id).alias("rule"),
        pl.lit(rule.consequence).alias("consequence"),
        pl.lit(rule.module).alias("module"),
        pl.lit(rule.npr_class).alias("class"),
        "_id",
        "_patient",
        "_row",
    ).cast(SCHEMA)  # type: ignore[arg-type]
