"""Attribute text: every character XML 1.0 can carry comes back unchanged; the others are found."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from transforms.message.escape import escape, escape_text, forbidden, suspicious


def allowed(character: str) -> bool:
    """The production ``Char`` of XML 1.0, Fifth Edition, 2.2."""
    code = ord(character)
    return code in {0x9, 0xA, 0xD} or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or 0x10000 <= code <= 0x10FFFF


# Every surrogate is left out: polars text cannot hold one.
CHARACTERS = st.characters(exclude_categories=["Cs"])
TRICKY = st.sampled_from("&<>\"'\t\n\r\0\x1f\x7f\x85\u2028\u0301\ufeff\ufffd\ufffe\uffff\U0001f600\U0010ffff")
TEXTS = st.text(CHARACTERS | TRICKY, max_size=12)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("", ""),
        ("Blåbærøy", "Blåbærøy"),
        ("a & b", "a &amp; b"),
        ("&amp;", "&amp;amp;"),
        ("<>\"'", "&lt;&gt;&quot;'"),
        ("\t\n\r", "&#9;&#10;&#13;"),
        ("\x7f\x85\u2028\ufffd", "\x7f\x85\u2028\ufffd"),
    ],
)
def test_text_in_text_out(text: str, written: str) -> None:
    assert escape(pl.Series([text, None])).to_list() == [written, None]
    assert escape_text(text) == written


@given(st.lists(TEXTS | st.none(), max_size=5))
def test_allowed_text_comes_back_from_a_parser(texts: list[str | None]) -> None:
    kept = [text if text is None else "".join(filter(allowed, text)) for text in texts]
    written = escape(pl.Series(kept, dtype=pl.String)).to_list()
    read = [text if text is None else etree.fromstring(f'<a b="{text}"/>'.encode()).get("b") for text in written]
    assert read == kept


@given(st.lists(TEXTS | st.none(), max_size=5))
def test_forbidden_is_what_the_standard_forbids(texts: list[str | None]) -> None:
    found = forbidden(pl.Series(texts, dtype=pl.String)).to_list()
    assert found == [text is not None and not all(map(allowed, text)) for text in texts]


@given(st.lists(TEXTS | st.none(), max_size=5))
def test_a_column_without_suspicion_needs_nothing(texts: list[str | None]) -> None:
    column = pl.Series(texts, dtype=pl.String)
    needed = forbidden(column).any() or escape(column).to_list() != texts
    assert suspicious(column) or not needed


def test_plain_norwegian_text_is_not_suspicious() -> None:
    assert not suspicious(pl.Series(["Ærlig øy på Å", "", None, "2020-01-01", "O'Brien"]))
