"""Cumulative reports held against each other: episodes that came late, were changed, or vanished.

Belongs here: the content of an episode as one hash, and comparing two reports. Does not belong here: which reports are
compared (``assets.baselines``).

What is kept of a report is a pseudonym and a hash for each episode, both keyed, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl

from schemas.contract import Contract
from schemas.period import Period
from transforms.extract.scope import as_of
from transforms.pseudonyms import SEPARATOR, pseudonyms

LATE, CHANGED, VANISHED = "late", "changed", "vanished"
KINDS = (LATE, CHANGED, VANISHED)
KEPT: dict[str, pl.DataType] = {"record": pl.String(), "content": pl.String()}
# An episode as it is now. then: the hash it would have had in the earlier report; null where it began after that one.
EPISODES: dict[str, pl.DataType] = {
    **KEPT,
    "then": pl.String(),
    "first_day": pl.Date(),
    "enhet": pl.String(),
}
OVERLAP: dict[str, pl.DataType] = {"kind": pl.String(), "record": pl.String(), "enhet": pl.String()}
OWN = ("_row", "_patient", "_source_row")
LINES = "\x1e"


def episodes_of(contract: Contract) -> tuple[str, ...]:
    """Tables whose rows are part of an episode in the activity message. Costs have a message of their own."""
    return tuple(t.name for t in contract if contract.owner_path(t) == "episodes" and t.name != "costs")


def told(
    contract: Contract,
    rows: Mapping[str, pl.DataFrame],
    period: Period,
    earlier: Period | None,
    unit: str,
    secret: bytes,
) -> pl.DataFrame:
    """EPISODES of one batch of whole patients.

    rows: staged rows in scope of ``episodes`` and the tables that are part of it. earlier: the period of the report to
    compare with.
    """
    episodes = rows["episodes"]
    if episodes.is_empty():
        return pl.DataFrame(schema=EPISODES)
    keys = episodes.select(
        key=pl.concat_str(pl.lit(unit), pl.lit("episodes"), "episodeID", separator=SEPARATOR)
    ).to_series()
    made = episodes.select(
        pl.Series("record", pseudonyms(keys, secret), pl.String),
        pl.Series("content", pseudonyms(_contents(contract, rows, period), secret), pl.String),
        first_day=pl.col("innDatoTid").dt.date(),
        enhet=pl.col("avdelingID"),
        then=pl.lit(None, pl.String),
    )
    if earlier is not None:
        there = pl.col("first_day") <= earlier.end
        then = pl.Series("then", pseudonyms(_contents(contract, rows, earlier), secret), pl.String)
        made = made.with_columns(then).with_columns(then=pl.when(there).then("then"))
    return made.select(*EPISODES).cast(EPISODES)  # type: ignore[arg-type]


def _contents(contract: Contract, rows: Mapping[str, pl.DataFrame], period: Period) -> pl.Series:
    """What each episode says as it stood at the end of a period, as one text. Columns that are empty do not count.

    In the order of the rows of ``episodes``: theirs are the first lines of the pile, and groups keep the order in which
    they begin.
    """
    episodes = as_of(rows["episodes"], period)
    piled = [_lines("episodes", episodes)]
    for name in episodes_of(contract):
        part = rows.get(name)
        if part is None or part.is_empty():
            continue
        if name == "procedures":
            part = part.filter(pl.col("startDatoTid").dt.date() <= period.end)
        piled.append(_lines(name, part))
    grouped = pl.concat(piled).group_by("episodeID", maintain_order=True).agg("line").head(episodes.height)
    return grouped.select(pl.col("line").list.sort().list.join(LINES)).to_series()


def _lines(name: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Each row as a line that begins with its table; the lines of an episode are sorted as they lie in one list."""
    line = pl.concat_str(pl.lit(name + SEPARATOR), line_of(rows, leave_out=("episodeID",)))
    return rows.select("episodeID", line=line)


def line_of(frame: pl.DataFrame, *, leave_out: tuple[str, ...] = ()) -> pl.Expr:
    """A row as name=value of all that is given, so that a new empty column changes nothing.

    Dates and times are written as the numbers they are kept as: that tells them apart as well, at a third of the cost.
    """
    named = [
        pl.concat_str(pl.lit(f"{name}="), pl.col(name).to_physical() if kind.is_temporal() else pl.col(name))
        for name, kind in sorted(frame.schema.items())
        if name not in OWN and name not in leave_out
    ]
    return pl.concat_str(named, separator=SEPARATOR, ignore_nulls=True)


def kept(episodes: pl.DataFrame) -> pl.DataFrame:
    """What is kept of a report (KEPT), in an order that says nothing."""
    return episodes.select(*KEPT).sort("record")


def compare(now: pl.DataFrame, before: pl.DataFrame, earlier: Period) -> pl.DataFrame:
    """OVERLAP of a report (EPISODES) with an earlier one (KEPT) of period ``earlier``.

    late: began within the earlier period and was not in that report. changed: was, and says something else about the
    time up to the end of that period. vanished: was, and is in this report no more.
    """
    known = before.rename({"content": "_content"})
    both = now.join(known, on="record", how="left", maintain_order="left")
    missing = pl.col("_content").is_null()
    kind = (
        pl.when(missing & (pl.col("first_day") <= earlier.end))
        .then(pl.lit(LATE))
        .when(~missing & pl.col("then").ne_missing(pl.col("_content")))
        .then(pl.lit(CHANGED))
    )
    here = both.select(kind.alias("kind"), "record", "enhet").drop_nulls("kind")
    gone = before.join(now, on="record", how="anti").select(
        pl.lit(VANISHED).alias("kind"), "record", pl.lit(None, pl.String).alias("enhet")
    )
    return pl.concat([here, gone]).sort("kind", "enhet", "record").cast(OVERLAP)  # type: ignore[arg-type]


def counts(overlap: pl.DataFrame) -> dict[str, int]:
    """How many of each kind, 0 included."""
    found = dict(overlap.group_by("kind").len().iter_rows())
    return {kind: found.get(kind, 0) for kind in KINDS}


def summed(batches: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Episodes of several batches as one table."""
    return pl.concat([pl.DataFrame(schema=EPISODES), *batches])
