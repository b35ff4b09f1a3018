"""Organisation numbers as NPR uses them: nine digits with a control digit, or ten for a feed of its own.

Belongs here: form, control digit, tenth digit, the number of suppliers without an agreement (777777777). Does not
belong here: whether a unit with that number exists or reports (code lists), RESH-ids, agreed numbers.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from schemas.identity_facts import Organisation, identity_facts

Whole = npt.NDArray[np.int64]

NINE, TEN = 9, 10
# The last that applies is shown; ``first_digit`` is a note, and the number stays valid.
REASONS: Final = ("", "first_digit", "control_digit", "feed_digit", "sentinel", "blank", "length", "letters", "missing")
NOTES: Final = ("", "first_digit")
SCHEMA: Final = {"kind": pl.String, "valid": pl.Boolean, "sentinel": pl.Boolean, "reason": pl.String}


def classify_organisations(numbers: pl.Series, *, validation: bool = False) -> pl.DataFrame:
    """Judge each number; one row for each, in the same order, with the columns of ``SCHEMA``.

    kind: orgnr (9 digits), feed (10 digits: organisation number and the digit of a feed), none. valid: may be sent as
    it is written. sentinel: 777777777, with or without a tenth digit; it passes the control digit, and is valid only
    with ``validation``, towards NPR's validation address. reason: one of REASONS.
    """
    facts = identity_facts().organisation
    text = numbers.cast(pl.String).fill_null("").rename("text")
    body = text.str.replace_all(r"[^\p{L}0-9]", "")
    length = body.str.len_bytes().to_numpy()
    letters = body.str.contains(r"[^0-9]").to_numpy()
    numeric = ~letters & np.isin(length, (NINE, TEN))
    value = body.set(pl.Series(~numeric), "0").cast(pl.Int64).to_numpy()
    nine = np.where(length == TEN, value // 10, value)
    sentinel = numeric & (nine == facts.sentinel)
    faults = {
        "first_digit": ~np.isin(nine // 10**8, facts.first_digits) & ~sentinel,
        "control_digit": ~_controlled(nine, facts),
        "feed_digit": (length == TEN) & ~np.isin(value % 10, list(facts.feeds)),
        "sentinel": sentinel & (not validation),
        "blank": (body != text).to_numpy(),
        "length": ~np.isin(length, (NINE, TEN)),
        "letters": letters,
        "missing": length == 0,
    }
    reason = np.zeros(len(text), dtype=np.int64)
    for place, name in enumerate(REASONS[1:], start=1):
        reason[faults[name]] = place
    kind = np.where(numeric, length - NINE + 1, 0)
    return pl.DataFrame({
        "kind": pl.Series(("none", "orgnr", "feed")).gather(pl.Series(kind)),
        "valid": reason < len(NOTES),
        "sentinel": sentinel,
        "reason": pl.Series(REASONS).gather(pl.Series(reason)),
    })  # fmt: skip


def _controlled(nine: Whole, facts: Organisation) -> npt.NDArray[np.bool_]:
    total = np.zeros(len(nine), dtype=np.int64)
    rest = nine
    for weight in reversed(facts.weights):
        rest, digit = np.divmod(rest, 10)
        total += weight * digit
    right: npt.NDArray[np.bool_] = total % 11 == 0
    return right
