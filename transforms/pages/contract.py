"""The page ``docs/extract-contract.md``, made from the contract.

Belongs here: the text as a function of the contract. Does not belong here: writing it (``pipelines.docs``).
"""

from __future__ import annotations

from schemas.codelists import OID_PREFIX, code_list
from schemas.contract import Column, Contract, Rule, Table

HEAD = """# Extract contract, version {version}

This page is made from `schemas/extract/v{version}/` by `make docs`; change it there.

An extract is a folder of one file per table and an `extract.toml`. Files are CSV (comma, semicolon or tab; UTF-8 with
or without BOM, ISO-8859-1 or Windows-1252; decimal point or comma; quoted newlines; also `.csv.gz`) or Parquet. The
first line of a CSV file names the columns; their order is free, columns that are not required may be left out, others
are ignored and counted. Dates are `2020-04-30`, times `2020-04-30T12:00:00` in Norwegian local time.

```toml
contract = "{version}"
source_system = "name of the record system"
environment = "production"          # or "test": a test extract never leaves a rehearsal
extracted_at = 2020-05-04T03:00:00  # local time; its day becomes uttakDato
reporting_unit = "nordfjell"        # key of the unit in npr.toml

[files.episodes]
path = "episodes.csv"
rows = 1710                         # control total: data rows; another number of rows stops the run
# encoding, separator, decimal and sha256 may be declared; what is not declared is detected, and recorded

[[accepted]]                        # a known fault taken on; every other quarantined row stops the run
table = "conditions"
rule = "orphan"
rows = 1
why = "deleted in the record system after the count, ticket 123"
by = "name"
```

**Certainty** of a column is that of the NPR attribute it feeds: A official, B third party or delivered data, C
inferred.

**Rules of a row**: `type` (not of the column's type), `required`, `code` (not in the code list in the years of the
extract), `pattern`, `range`, `length`, `duplicate_key` (all rows of the key go), `orphan` (names something not
delivered), `missing_child`, `other_patient`, and those named below. `parent_quarantined` and `child_quarantined`
follow from another row and need no acceptance.
"""


def contract_page(contract: Contract) -> str:
    """The whole page as Markdown."""
    tables = [_table(table) for table in contract.tables.values()]
    return HEAD.format(version=contract.version) + "\n" + "\n".join(tables)


def _table(table: Table) -> str:
    facts = [
        f"Delivery: {'required' if table.required else 'optional'}.",
        f"Key: {', '.join(f'`{name}`' for name in table.key)}.",
    ]
    if table.identity:
        facts.append("Identity: kept in a tree of its own, read only for `ide`.")
    if table.has:
        facts.append(f"Each row needs a row in {', '.join(f'`{name}`' for name in table.has)}.")
    rules = "".join(f"\n* `{rule.id}`: {_rule(rule)}" for rule in table.rules)
    rows = "\n".join(_row(table, column) for column in table.columns)
    return (
        f"## {table.name}\n\n{table.title}. {' '.join(facts)}\n{rules}\n\n"
        "| column | type | required | limits | feeds | certainty | source | meaning |\n"
        f"|---|---|---|---|---|---|---|---|\n{rows}\n"
    )


def _row(table: Table, column: Column) -> str:
    feeds = ", ".join(f"`{feed}`" for feed in column.feeds)
    unit = f" ({column.unit})" if column.unit else ""
    cells = [
        f"`{column.name}`",
        column.type + unit,
        "yes" if column.required else "",
        _limits(table, column),
        feeds,
        column.certainty,
        column.source,
        column.description,
    ]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _limits(table: Table, column: Column) -> str:
    parts = []
    if column.code_list:
        name = code_list(column.code_list).name_no
        parts.append(f"list {column.code_list} {name} ({OID_PREFIX}{column.code_list})")
    if column.name in table.refs:
        parts.append(f"in `{table.refs[column.name]}`")
    if column.pattern:
        parts.append(f"`{column.pattern}`")
    if column.max_length is not None:
        parts.append(f"at most {column.max_length} characters")
    if column.minimum is not None and column.maximum is not None:
        parts.append(f"{column.minimum} to {column.maximum}")
    return "; ".join(parts)


def _rule(rule: Rule) -> str:
    columns = [f"`{name}`" for name in rule.columns]
    texts = {
        "both_or_none": f"{' and '.join(columns)} come together or not at all",
        "any_of": f"one of {', '.join(columns)} is there",
        "not_before": f"{columns[0]} is not before {columns[-1]}",
        "constant_within": f"{', '.join(columns)} the same for one {', '.join(f'`{name}`' for name in rule.group)}",
    }
    return texts[rule.kind]
