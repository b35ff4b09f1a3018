"""Checks within one row: the pandera model of the table, and the rules between its columns.

Belongs here: running the contract on an eager slice and turning what pandera says into faults. Does not belong here:
keys and references (``transforms.extract.relations``), content rules (``transforms.content.findings``).

Pandera's own messages quote values of rows, so nothing of them goes on: column, rule and place only.
"""

from __future__ import annotations

import polars as pl
from pandera.config import ValidationDepth, config_context
from pandera.errors import SchemaErrors

from schemas.contract import Rule, Table
from schemas.errors import DataRefused
from schemas.models import dtypes, model, rules
from transforms.extract import faults


def check(frame: pl.DataFrame, table: Table, years: tuple[int, ...]) -> pl.DataFrame:
    """Faults of one typed, eager slice (``_row`` and contract columns) by the contract of its table."""
    found = [_by_model(frame, table, years), *(_by_rule(frame, rule) for rule in table.rules)]
    return faults.together(found)


def insist(frame: pl.DataFrame, table: Table, years: tuple[int, ...]) -> None:
    """Refuse a frame that the contract does not hold for; what goes on has passed here. DataRefused, no values."""
    wrong = _by_model(frame, table, years)
    if not wrong.is_empty():
        names = ", ".join(sorted({f"{row[1]} ({row[2]})" for row in wrong.iter_rows()}))
        raise DataRefused(f"{table.name}: {wrong['_row'].n_unique()} rows break the contract in {names}")


def _by_model(frame: pl.DataFrame, table: Table, years: tuple[int, ...]) -> pl.DataFrame:
    # Depth and switch are set here and not by the environment: with PANDERA_VALIDATION_ENABLED=False or
    # SCHEMA_ONLY a bad frame would pass unseen.
    with config_context(validation_enabled=True, validation_depth=ValidationDepth.SCHEMA_AND_DATA):
        try:
            model(table, years).validate(frame.select(table.names), lazy=True)
        except SchemaErrors as error:
            cases = error.failure_cases.select("column", "check", "check_number", "index")
        else:
            return faults.none()
    if cases["index"].null_count():
        # Only a wrong type or a missing column has no row: the caller gave what parse() did not make.
        raise DataRefused(f"{table.name}: columns are not of the contract's types {dtypes(table)}")
    return _faults_of(frame, table, years, cases)


def _faults_of(frame: pl.DataFrame, table: Table, years: tuple[int, ...], cases: pl.DataFrame) -> pl.DataFrame:
    names = {
        (column.name, number): rule for column in table.columns for number, (rule, _) in enumerate(rules(column, years))
    }
    rule_names = pl.DataFrame(
        [(column, number, rule) for (column, number), rule in names.items()],
        schema={"column": pl.String, "check_number": pl.Int32, "rule": pl.String},
        orient="row",
    )
    placed = cases.join(rule_names, on=["column", "check_number"], how="left")
    return placed.select(
        frame["_row"].gather(placed["index"]).cast(pl.UInt32).alias("_row"),
        "column",
        pl.col("rule").fill_null("required"),
    )


def _by_rule(frame: pl.DataFrame, rule: Rule) -> pl.DataFrame:
    if rule.kind == "constant_within":
        return faults.none()  # needs the whole table: transforms.extract.relations
    columns = [pl.col(name) for name in rule.columns]
    match rule.kind:
        case "both_or_none":
            broken = columns[0].is_null() != columns[1].is_null()
        case "any_of":
            broken = pl.all_horizontal(column.is_null() for column in columns)
        case "not_before":
            broken = columns[0] < columns[1]
        case _:
            raise ValueError(f"unknown kind of rule: {rule.kind}")
    return faults.at(frame.filter(broken.fill_null(value=False)), rule.columns[0], rule.id)
