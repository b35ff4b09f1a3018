"""Figures of a report: what is counted of it, to be kept and compared with later reports.

Belongs here: counting by dimension, the tables of figures and of what the guards say. Does not belong here: the guards
(``transforms.content.drift``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

import polars as pl

from transforms.content.drift import INPATIENT_SITE, MONTH, RECORDS, SHARES, Counts, Line

INPATIENT = "1"
FIGURES: dict[str, pl.DataType] = {"dimension": pl.String(), "value": pl.String(), "n": pl.Int64()}
# The fields of Line.
GUARDS: dict[str, pl.DataType] = {
    "guard": pl.String(),
    "status": pl.String(),
    "value": pl.String(),
    "now": pl.Int64(),
    "before": pl.Int64(),
    "against": pl.String(),
    "text": pl.String(),
}


def figures(episodes: pl.DataFrame, records: Mapping[str, int]) -> pl.DataFrame:
    """FIGURES of a report.

    episodes: rows in scope with innDatoTid and the columns of SHARES, where the contract has them. records: table ->
    reported rows.
    """
    parts = [recorded(records)]
    month = episodes.select(value=pl.col("innDatoTid").dt.strftime("%Y-%m"))
    parts.append(_counts(MONTH, month.group_by("value").len(name="n")))
    there = [name for name in SHARES if name in episodes.columns]
    parts += [_counts(name, episodes.group_by(pl.col(name).alias("value")).len(name="n")) for name in there]
    stays = episodes.filter(pl.col("omsorgsniva") == INPATIENT)
    parts.append(_counts(INPATIENT_SITE, stays.group_by(value="behandlingsstedID").len(name="n")))
    return added(parts)


def recorded(records: Mapping[str, int]) -> pl.DataFrame:
    """FIGURES of rows reported by table."""
    return _counts(RECORDS, pl.DataFrame({"value": list(records), "n": list(records.values())}))


def _counts(dimension: str, frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(
        pl.lit(dimension).alias("dimension"), pl.col("value").cast(pl.String).fill_null(""), pl.col("n").cast(pl.Int64)
    )


def added(parts: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Figures of several batches as one."""
    frame = pl.concat([pl.DataFrame(schema=FIGURES), *parts])
    return frame.group_by("dimension", "value").agg(pl.col("n").sum()).sort("dimension", "value")


def counts(figures: pl.DataFrame) -> Counts:
    """FIGURES as the guards read them."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for dimension, value, n in figures.select("dimension", "value", "n").iter_rows():
        found[dimension][value] = n
    return dict(found)


def table(lines: Sequence[Line]) -> pl.DataFrame:
    """What the guards say, as GUARDS."""
    return pl.DataFrame([asdict(line) for line in lines], schema=GUARDS)
