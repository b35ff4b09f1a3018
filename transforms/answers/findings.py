"""The register's content errors as findings on source rows, with the life of our own findings.

Belongs here: which row an error is about, its line in the ledger of findings, what became of the row since, and how our
verdict did. Does not belong here: reading reports, and where tables lie.

The record is the same pseudonym of unit, table and key as that of our own findings, so that the two can be compared.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import polars as pl

from transforms.content import finding_ledger as life
from transforms.pseudonyms import SEPARATOR, pseudonyms

RULE = "NPR"
# Column of an error -> contract table and its key, the closest first.
HANDLES = {
    "episode_id": ("episodes", "episodeID"),
    "referral_id": ("referrals", "henvisningsperiodeID"),
    "pasient_nr": ("patients", "pasientNr"),
    "enhet_id": ("units", "enhetID"),
}
PREDICTED: dict[str, pl.DataType] = {
    "table": pl.String(),
    "predicted_only": pl.Int64(),
    "both": pl.Int64(),
    "answered_only": pl.Int64(),
}
# What of an error may stand outside the identity tree as the register wrote it: words that cannot be a person. A report
# whose columns are shifted has anything anywhere.
_CODE = r"^[\w.:/-]{1,20}$"
_NAME = r"^[\w.@ -]{1,64}$"
_DIGITS = r"\d[ -]?\d[ -]?\d[ -]?\d[ -]?\d[ -]?\d"
NO_CODE = "?"
CHANGED, UNCHANGED, GONE = "changed", "unchanged", "gone"


def lines(
    errors: pl.DataFrame, rows: Mapping[str, pl.DataFrame], module: str, unit: str, secret: bytes
) -> pl.DataFrame:
    """Errors of one module as lines of the ledger of findings (life.LINE), one per code, record and field.

    What looks as if it could be a number of a person is let go where the line would show it as it is.

    errors: ``error_table.ERRORS``. rows: contract table -> ``_row`` and its key column; a key that is not there gives a
    line without a row. An error that names no record speaks of the unit.
    """
    given = errors.with_columns(pl.col(name).fill_null("").str.strip_chars() for name in errors.columns)
    table, key = pl.lit(""), pl.lit("")
    for column, (name, _) in reversed(HANDLES.items()):
        there = pl.col(column) != ""
        table = pl.when(there).then(pl.lit(name)).otherwise(table)
        key = pl.when(there).then(column).otherwise(key)
    made = given.select(
        pl.concat_str(pl.lit(f"{RULE}:"), coded(given)).alias("rule"),
        "consequence",
        pl.lit(module).alias("module"),
        _decent("npr_class", _NAME).fill_null("").alias("class"),
        table.alias("table"),
        _decent("attribute", _NAME).fill_null("").alias("fields"),
        _decent("enhet_id", _NAME, r"\d{11}").alias("enhet"),
        key.alias("_key"),
    )
    whole = made.select(pl.concat_str(pl.lit(unit), "table", "_key", separator=SEPARATOR)).to_series()
    made = made.with_columns(pl.Series("record", pseudonyms(whole, secret), pl.String))
    fault = made.select(pl.concat_str("rule", "record", "class", "fields", separator=SEPARATOR)).to_series()
    made = made.with_columns(pl.Series("fingerprint", pseudonyms(fault, secret), pl.String))
    made = _placed(made, rows)
    first = [pl.col(name).first() for name in life.LINE if name not in ("fingerprint", "count", "below", "under")]
    told = made.group_by("fingerprint", maintain_order=True).agg(*first, pl.len().alias("count"))
    told = told.with_columns(under=pl.lit(None, pl.String), below=pl.lit(0))
    return told.select(*life.LINE).cast(life.LINE)  # type: ignore[arg-type]


def coded(errors: pl.DataFrame) -> pl.Series:
    """The code of each error; where it has none, the letter of its check, else ``?``."""
    codes = pl.coalesce(_decent("code", _CODE), _decent("check", _CODE), pl.lit(NO_CODE))
    return errors.select(codes.alias("code")).to_series()


def _decent(column: str, shape: str, never: str = _DIGITS) -> pl.Expr:
    """The value where it has a shape and no row of digits that could be a person; else null."""
    value = pl.col(column).fill_null("").str.strip_chars()
    return pl.when(value.str.contains(shape) & ~value.str.contains(never)).then(value)


def placed(ledger: pl.DataFrame, rows: Mapping[str, pl.DataFrame], unit: str, secret: bytes) -> pl.DataFrame:
    """The ledger with ``_row`` of its open lines as the tables are now; an earlier extract had other rows.

    rows: as for ``lines``. A record that is no longer there has no row.
    """
    asked = set(ledger.filter(pl.col("status") != life.RESOLVED)["table"])
    known = [pl.DataFrame(schema={"table": pl.String, "record": pl.String, "_now": pl.UInt32})]
    for table, key in HANDLES.values():
        if table in rows and table in asked:
            whole = pl.concat_str(pl.lit(unit), pl.lit(table), pl.col(key).cast(pl.String), separator=SEPARATOR)
            records = pseudonyms(rows[table].select(whole).to_series(), secret)
            now = {"table": [table] * len(records), "record": records, "_now": rows[table]["_row"].cast(pl.UInt32)}
            known.append(pl.DataFrame(now, schema=known[0].schema))
    places = pl.concat(known).unique(["table", "record"], keep="first")
    told = ledger.join(places, on=["table", "record"], how="left", maintain_order="left")
    return told.with_columns(pl.when(pl.col("status") != life.RESOLVED).then("_now").alias("_row")).drop("_now")


def _placed(made: pl.DataFrame, rows: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """With ``_row``, the source row; null where the table has no such key."""
    known = [pl.DataFrame(schema={"table": pl.String, "_key": pl.String, "_row": pl.UInt32})]
    for table, key in HANDLES.values():
        if table in rows:
            known.append(
                rows[table].select(pl.lit(table).alias("table"), pl.col(key).cast(pl.String).alias("_key"), "_row")
            )
    places = pl.concat([frame.cast({"_row": pl.UInt32}) for frame in known]).unique(["table", "_key"], keep="first")
    return made.join(places, on=["table", "_key"], how="left", maintain_order="left")


def merged(before: pl.DataFrame, found: pl.DataFrame, whole: Collection[str], seen: life.Seen) -> pl.DataFrame:
    """The ledger after the answers to one submission.

    found: lines of all its modules. whole: modules all of whose parts are answered; of the others nothing is taken as
    mended, since the rest of the answer is still to come.
    """
    still = pl.col("status") != life.RESOLVED
    held = before.filter(still, ~pl.col("module").is_in(list(whole))).join(found, on="fingerprint", how="anti")
    rest = before.join(held, on="fingerprint", how="anti", maintain_order="left")
    return pl.concat([life.merge(rest, found, seen), held]).sort(life.ORDER)


def since(ledger: pl.DataFrame, then: pl.DataFrame | None, now: pl.DataFrame | None) -> pl.DataFrame:
    """The ledger with ``since``: what became of each open finding's episode since it was sent.

    then, now: ``record`` and ``content`` of the episodes as sent and as they are (``transforms.content.overlap``). Null
    where that is not known: other tables, and where nothing was kept.
    """
    if then is None or now is None:
        return ledger.with_columns(since=pl.lit(None, pl.String))
    told = ledger.join(then.select("record", _then="content"), on="record", how="left", maintain_order="left")
    told = told.join(now.select("record", _now="content"), on="record", how="left", maintain_order="left")
    what = (
        pl.when((pl.col("table") != "episodes") | pl.col("_then").is_null() | (pl.col("status") == life.RESOLVED))
        .then(None)
        .when(pl.col("_now").is_null())
        .then(pl.lit(GONE))
        .when(pl.col("_now") == pl.col("_then"))
        .then(pl.lit(UNCHANGED))
        .otherwise(pl.lit(CHANGED))
    )
    return told.with_columns(what.alias("since")).drop("_then", "_now")


def predicted(own: pl.DataFrame, answered: pl.DataFrame) -> pl.DataFrame:
    """How the verdict did (PREDICTED): records we said would be left out, held against those the register leaves out.

    own, answered: lines of one submission. Both sides count the record that is dropped, not what is lost below it.
    """
    sides = [
        frame.filter(pl.col("consequence") == life.DROPS, pl.col("table") != "").select("table", "record").unique()
        for frame in (own, answered)
    ]
    both = (
        sides[0]
        .with_columns(ours=pl.lit(value=True))
        .join(sides[1].with_columns(theirs=pl.lit(value=True)), on=["table", "record"], how="full", coalesce=True)
    )
    ours, theirs = pl.col("ours").fill_null(value=False), pl.col("theirs").fill_null(value=False)
    counts = both.group_by("table").agg(
        (ours & ~theirs).sum().alias("predicted_only"),
        (ours & theirs).sum().alias("both"),
        (~ours & theirs).sum().alias("answered_only"),
    )
    return counts.select(*PREDICTED).cast(PREDICTED).sort("table")  # type: ignore[arg-type]
