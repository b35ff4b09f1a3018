"""What the register's errors of one code have in common, told without telling of a patient.

Belongs here: counts by check, field and consequence, and the code's text where it is the code's own. Does not belong
here: reading reports, the rows that errors are about.

The text of an error may name a patient. It is told only where it stands, word for word and with numbers taken out, at
errors of two records or more, and then without its numbers: what two records share is not about one of them.
"""

from __future__ import annotations

import polars as pl

from transforms.answers.findings import RULE, coded

RECORDS = ("episode_id", "referral_id", "pasient_nr", "enhet_id")
SHARED = 2
"""Records that must have a text in common."""
_NUMBER = r"\d[\d .:/-]{3,}\d"
_LONGEST = 200


def of_code(errors: pl.DataFrame, rule: str) -> pl.DataFrame:
    """Errors (``error_table.ERRORS``) whose rule this is, ``NPR:<code>``."""
    return errors.filter(pl.concat_str(pl.lit(f"{RULE}:"), coded(errors)) == rule)


def counts(errors: pl.DataFrame, column: str) -> dict[str, int]:
    """How many errors there are of each value of a column, the most first."""
    found = (
        errors.filter(pl.col(column).fill_null("") != "").group_by(column).len().sort("len", column, descending=True)
    )
    return {str(value): int(n) for value, n in found.iter_rows()}


def fields(findings: pl.DataFrame) -> dict[str, int]:
    """How many findings there are of each class@attribute; of what an answer does not tell, nothing stands there."""
    told = pl.concat_str(pl.col("class", "fields").fill_null(""), separator="@").str.strip_chars("@")
    return counts(findings.select(told.alias("field")), "field")


def texts(errors: pl.DataFrame) -> list[str]:
    """Texts that errors of several records share, numbers and control characters taken out, the commonest first."""
    plain = pl.col("text").str.replace_all(_NUMBER, "(number)").str.replace_all(r"[\x00-\x1f\x7f-\x9f]", " ")
    record = pl.concat_str([pl.col(name).fill_null("") for name in RECORDS], separator="\x1f")
    said = errors.select(plain.str.strip_chars().alias("text"), record.alias("record")).filter(pl.col("text") != "")
    shared = said.group_by("text").agg(pl.col("record").n_unique().alias("n")).filter(pl.col("n") >= SHARED)
    return [text[:_LONGEST] for text in shared.sort("n", "text", descending=[True, False])["text"]]
