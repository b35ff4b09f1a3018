"""Content rules over class tables: what NPR would do with a row.

Belongs here: evaluating the catalogue, vectorised, on one batch. Does not belong here: the rules themselves
(``schemas/rules``), and faults of the extract (``transforms.checks``). A finding says where and which rule, never the value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl

from schemas.layout import Layout, Node
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

    A rule that names an attribute which the version does not have does not speak in that version.
    """
    found = [pl.DataFrame(schema=SCHEMA)]
    for rule in rules:
        nodes = [n for n in layout.nodes if n.name == rule.npr_class and n.id in tables]
        if rule.module == layout.module:
            found += [_of_rule(rule, _prepared(layout, node, period, tables, rule)) for node in nodes]
    return pl.concat(found)


def _prepared(
    layout: Layout, node: Node, period: Period, tables: Mapping[str, pl.DataFrame], rule: ContentRule
) -> pl.DataFrame:
    """The class rows with what a rule may ask for besides attributes."""
    frame = tables[node.id].with_columns(period_from=pl.lit(period.start), period_to=pl.lit(period.end))
    absent = {a.name for a in node.attributes} - set(frame.columns)
    frame = frame.with_columns(pl.lit(None, pl.String).alias(name) for name in sorted(absent))
    for child in layout.children(node.id):
        if f"n_{child.name}" in rule.wrong:
            frame = _counted(frame, child, tables.get(child.id))
    return frame


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
