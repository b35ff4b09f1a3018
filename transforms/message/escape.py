"""Text of a column made fit for an XML attribute value.

Belongs here: which characters XML 1.0 allows, which must be written as references, and the cheap test that tells
whether a column needs any of it. Does not belong here: elements, attribute names, types other than text.

Source: XML 1.0 (Fifth Edition) 2.2 ``Char`` and 3.3.3 (a parser turns a literal tab, line feed or carriage return in
an attribute value into a space, so those three are written as character references).
"""

from __future__ import annotations

import numpy as np
import polars as pl

REFERENCES = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "\t": "&#9;",
    "\n": "&#10;",
    "\r": "&#13;",
}
FORBIDDEN = r"[\x00-\x08\x0B\x0C\x0E-\x1F\x{FFFE}\x{FFFF}]"

_MARKUP = tuple(character.encode() for character in REFERENCES if character > " ")
_FIRST_PRINTABLE = 0x20
_LEAD_OF_U_F000 = 0xEF  # first byte of U+F000 to U+FFFF in UTF-8


def escape_text(text: str) -> str:
    """One text as it stands in an attribute value; for constants of a schema."""
    return "".join(REFERENCES.get(character, character) for character in text)


def suspicious(column: pl.Series) -> bool:
    """Whether a column of text may hold a character of ``REFERENCES`` or ``FORBIDDEN``; false is certain, true is not.

    A test meant to be cheap enough for every column, so that the two functions below are called for few.
    """
    # One buffer for all values: a byte search over it costs a fraction of a search in each value.
    joined: bytes = column.str.join("").cast(pl.Binary).item()
    if not joined:
        return False
    codes = np.frombuffer(joined, dtype=np.uint8)
    if codes.min() < _FIRST_PRINTABLE or codes.max() >= _LEAD_OF_U_F000:
        return True
    return any(character in joined for character in _MARKUP)


def escape(column: pl.Series) -> pl.Series:
    """Write the column (String, nulls kept) with every character of ``REFERENCES`` written as its reference."""
    return column.str.replace_many(list(REFERENCES), list(REFERENCES.values()))


def forbidden(column: pl.Series) -> pl.Series:
    """Boolean for each row: the text holds a character that XML 1.0 cannot carry. Null gives false."""
    return column.str.contains(FORBIDDEN).fill_null(value=False)
