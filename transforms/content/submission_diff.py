"""Two submissions of one period held against each other, by table of the contract and department.

Belongs here: what is kept of a submission for that, and comparing two. Does not belong here: reports of different
periods (``transforms.content.overlap``), reading and writing (``assets.classes``).

What is kept of a record (an episode, a referral) and each table below it is a pseudonym, the department, the number of
rows and a keyed hash of what they say; no value of a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl

from schemas.contract import Contract
from transforms.content.overlap import LINES, line_of
from transforms.pseudonyms import SEPARATOR, pseudonyms

CLASSES: dict[str, pl.DataType] = {
    "table": pl.String(),
    "record": pl.String(),
    "department": pl.String(),
    "rows": pl.UInt32(),
    "content": pl.String(),
}
DIFF: dict[str, pl.DataType] = {
    "table": pl.String(),
    "department": pl.String(),
    "rows_before": pl.Int64(),
    "rows_after": pl.Int64(),
    "new": pl.Int64(),
    "gone": pl.Int64(),
    "changed": pl.Int64(),
}
TOPS = ("referrals", "episodes", "tsb_starts")
_DEPARTMENT = "avdelingID"


def below(contract: Contract, top: str) -> tuple[str, ...]:
    """The table of a record and those whose rows are part of it."""
    return (top, *(table.name for table in contract if contract.owner_path(table) == top))


def told(contract: Contract, rows: Mapping[str, pl.DataFrame], unit: str, secret: bytes) -> pl.DataFrame:
    """CLASSES of one batch of whole patients. rows: staged rows in scope, by table."""
    found = []
    for top in TOPS:
        if top not in rows or rows[top].is_empty():
            continue
        key = contract.tables[top].key[0]
        department = pl.col(_DEPARTMENT) if _DEPARTMENT in rows[top].columns else pl.lit(None, pl.String)
        names = rows[top].select(pl.concat_str(pl.lit(unit), pl.lit(top), key, separator=SEPARATOR)).to_series()
        owners = (
            rows[top]
            .select(key, department=department)
            .with_columns(record=pl.Series("record", pseudonyms(names, secret), pl.String))
        )
        for name in below(contract, top):
            part = rows.get(name)
            if part is not None and not part.is_empty():
                lines = part.select(key, line=line_of(part)).group_by(key, maintain_order=True).agg("line")
                said = lines.select(key, pl.col("line").list.len().alias("rows"), text=pl.col("line").list.sort())
                content = said.select(pl.col("text").list.join(LINES)).to_series()
                said = said.with_columns(content=pl.Series(pseudonyms(content, secret), dtype=pl.String))
                found.append(said.join(owners, on=key).with_columns(table=pl.lit(name)).select(*CLASSES))
    return summed(found)


def summed(batches: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Several batches as one table, in an order that says nothing."""
    made = [batch.select(*CLASSES).cast(CLASSES) for batch in batches]  # type: ignore[arg-type]
    return pl.concat([pl.DataFrame(schema=CLASSES), *made]).sort("table", "record")


def compare(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """DIFF of two submissions (CLASSES): one row per table and department in which anything stands or stood.

    new, gone, changed: records that have rows of the table now only, before only, or other rows than before. A record
    that moved to another department counts there.
    """
    both = before.join(after, on=["table", "record"], how="full", coalesce=True, suffix="_after")
    here, was = pl.col("content_after").is_not_null(), pl.col("content").is_not_null()
    counted = both.select(
        "table",
        department=pl.when(here).then("department_after").otherwise("department").fill_null(""),
        rows_before=pl.col("rows").fill_null(0),
        rows_after=pl.col("rows_after").fill_null(0),
        new=here & ~was,
        gone=was & ~here,
        changed=here & was & (pl.col("content") != pl.col("content_after")),
    )
    return counted.group_by("table", "department").agg(pl.all().sum()).sort("table", "department").cast(DIFF)  # type: ignore[arg-type]
