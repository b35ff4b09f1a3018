"""What needs the whole table or several tables: keys, groups, references, and whose patient a row is.

Belongs here: faults between rows, found on key columns alone, and the numbering of patients. Does not belong here:
faults within a row (``transforms.extract.checks``).

Order of judgement: a key that occurs twice goes first, since none of its rows can be told right; then rows that lack
what the message cannot do without (``has``); then, parents before children, rows that point nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from schemas.contract import Contract, Rule, Table
from transforms.extract import faults

Keys = Mapping[str, pl.DataFrame]


def key_columns(table: Table) -> tuple[str, ...]:
    """Columns of a table that ``resolve`` needs, besides ``_row``."""
    groups = [(*rule.group, *rule.columns) for rule in table.rules if rule.kind == "constant_within"]
    return tuple(dict.fromkeys([*table.key, *table.refs, *(name for group in groups for name in group)]))


def resolve(
    contract: Contract, sound: Keys, delivered: Keys
) -> tuple[dict[str, pl.DataFrame], dict[str, pl.DataFrame]]:
    """Judge all tables together.

    sound: table -> ``_row`` and key columns of the rows that are right in themselves. delivered: table -> the key of
    every row delivered, to tell "its parent was quarantined" from "no such parent".
    Returns (table -> faults, table -> ``_row`` and ``_patient`` of the rows that remain; ``_patient`` is the ordinal of
    the patient in the order of pasientNr, null for tables without patients).
    """
    found: dict[str, list[pl.DataFrame]] = {name: [] for name in sound}
    rows = dict(sound)

    def drop(name: str, wrong: pl.DataFrame) -> None:
        found[name].append(wrong)
        rows[name] = faults.without(rows[name], wrong)

    for table in contract:
        drop(table.name, _twice(rows[table.name], table, delivered[table.name]))
        for rule in table.rules:
            drop(table.name, _unlike(rows[table.name], rule))
    for table in contract:
        for child in table.has:
            drop(table.name, _lacking(rows[table.name], table, rows[child], delivered[child], child))
    owners = _Owners()
    for table in contract:
        for column, parent in table.refs.items():
            key = contract.tables[parent].key[0]
            drop(table.name, _nowhere(rows[table.name], column, rows[parent], delivered[parent], key))
        drop(table.name, owners.strangers(contract, table, rows[table.name]))
        owners.number(contract, table, rows[table.name])
    return {name: faults.together(parts) for name, parts in found.items()}, owners.of_rows


def _twice(rows: pl.DataFrame, table: Table, delivered: pl.DataFrame) -> pl.DataFrame:
    # Of all that was delivered: that the other row of the key is wrong in itself does not make this one right.
    twice = delivered.filter(pl.struct(table.key).is_duplicated()).select(table.key).unique()
    return faults.at(rows.join(twice, on=table.key, how="semi"), table.key[-1], "duplicate_key")


def _unlike(rows: pl.DataFrame, rule: Rule) -> pl.DataFrame:
    if rule.kind != "constant_within" or rows.is_empty():
        return faults.none()
    several = pl.any_horizontal(pl.col(name).n_unique().over(rule.group) > 1 for name in rule.columns)
    return faults.at(rows.filter(several), rule.columns[0], rule.id)


def _lacking(
    rows: pl.DataFrame, table: Table, children: pl.DataFrame, delivered: pl.DataFrame, child: str
) -> pl.DataFrame:
    key = table.key[0]
    without = rows.join(children.select(key).unique(), on=key, how="anti")
    return _by_delivery(without, key, delivered[key], child, ("child_quarantined", "missing_child"))


def _nowhere(rows: pl.DataFrame, column: str, parents: pl.DataFrame, delivered: pl.DataFrame, key: str) -> pl.DataFrame:
    lost = rows.filter(pl.col(column).is_not_null()).join(parents.select(key), left_on=column, right_on=key, how="anti")
    return _by_delivery(lost, column, delivered[key], column, ("parent_quarantined", "orphan"))


def _by_delivery(
    rows: pl.DataFrame, column: str, delivered: pl.Series, place: str, rules: tuple[str, str]
) -> pl.DataFrame:
    """Faults under the first rule where the key was delivered (and quarantined), else under the second."""
    known = pl.col(column).is_in(delivered.drop_nulls().unique().implode())
    return pl.concat([faults.at(rows.filter(known), place, rules[0]), faults.at(rows.filter(~known), place, rules[1])])


class _Owners:
    """Key of a row -> ordinal of its patient, filled table by table, parents first."""

    def __init__(self) -> None:
        self.of_rows: dict[str, pl.DataFrame] = {}
        self._of_keys: dict[str, pl.DataFrame] = {}

    def number(self, contract: Contract, table: Table, rows: pl.DataFrame) -> None:
        """Give each remaining row of the table its patient."""
        keyed = self._keyed(contract, table, rows)
        self.of_rows[table.name] = keyed.select("_row", "_patient")
        if any(table.name in other.refs.values() for other in contract.tables.values()):
            self._of_keys[table.name] = keyed.select(table.key[0], "_patient")

    def strangers(self, contract: Contract, table: Table, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows that point into a row of another patient, e.g. an episode with somebody else's referral."""
        found = [faults.none()]
        own = self._keyed(contract, table, rows)
        for column, parent in table.refs.items():
            if column == table.owner or self._of_keys[parent]["_patient"].null_count():
                continue
            key = contract.tables[parent].key[0]
            theirs = self._of_keys[parent].rename({key: column, "_patient": "_theirs"})
            joined = own.join(theirs, on=column, how="inner")
            found.append(faults.at(joined.filter(pl.col("_patient") != pl.col("_theirs")), column, "other_patient"))
        return pl.concat(found)

    def _keyed(self, contract: Contract, table: Table, rows: pl.DataFrame) -> pl.DataFrame:
        parent = contract.owner_path(table)
        if parent is not None and table.owner is not None:
            key = contract.tables[parent].key[0]
            owners = self._of_keys[parent].rename({key: table.owner})
            return rows.join(owners, on=table.owner, how="left", maintain_order="left")
        if table.name == "patients":
            ordered = rows.sort(table.key[0]).with_row_index("_patient")
            return ordered.with_columns(pl.col("_patient").cast(pl.UInt32))
        return rows.with_columns(_patient=pl.lit(None, pl.UInt32))
