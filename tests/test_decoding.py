"""Encodings, separators, lost letters and cut files, as the hospitals of a country with æ, ø and å deliver them."""

from __future__ import annotations

import codecs
import traceback
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spec import same

from schemas.errors import DataRefused
from transforms.extract.decoding import (
    detect_encoding,
    detect_separator,
    lost_letters,
    recode,
    short_record,
    split_header,
)

MARKER = "Hemmelig"
KNOWN = ("enhetID", "enhetNavn", "orgNr")
TEXT = "enhetID;enhetNavn\n1;Øye, Ålesund sjúkrahús\n2;Bjørnøya\n"


def chunks(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize(
    ("what", "data", "encoding"),
    [
        ("UTF-8", "Bjørnøya".encode(), "utf-8"),
        ("UTF-8 with BOM", codecs.BOM_UTF8 + "Bjørnøya".encode(), "utf-8"),
        ("plain ASCII", b"Oslo", "utf-8"),
        ("nothing at all", b"", "utf-8"),
        ("ISO-8859-1", "Bjørnøya".encode("iso-8859-1"), "iso-8859-1"),
        ("Windows-1252 by its dash", "Bjørnøya \u2013 øst".encode("cp1252"), "windows-1252"),
        ("Windows-1252 by its quotes", "\u2018øst\u2019".encode("cp1252"), "windows-1252"),
        ("without its extra letters the two are the same bytes", "øst".encode("cp1252"), "iso-8859-1"),
        ("UTF-8 cut within its last letter", "Tromsø".encode()[:-1], "iso-8859-1"),
    ],
)
def test_encoding_is_detected(what: str, data: bytes, encoding: str) -> None:
    for size in (1, 2, 3, 1000):
        assert detect_encoding(chunks(data, size)) == encoding, f"{what}, in chunks of {size}"


@given(
    text=st.text(st.sampled_from("aæøåÆØÅé;\n čšŋđ€—𝄞")),
    encoding=st.sampled_from(["utf-8", "iso-8859-1", "windows-1252"]),
    size=st.integers(1, 7),
)
def test_whatever_fits_an_encoding_comes_out_the_same_however_it_is_cut(text: str, encoding: str, size: int) -> None:
    codec = {"windows-1252": "cp1252"}.get(encoding, encoding)
    data = text.encode(codec, errors="ignore")
    assert b"".join(recode(chunks(data, size), encoding, "a.csv")).decode() == data.decode(codec)


@given(text=st.text(st.characters(codec="utf-8")), size=st.integers(1, 7))
def test_what_is_utf8_is_never_taken_for_anything_else(text: str, size: int) -> None:
    assert detect_encoding(chunks(text.encode(), size)) == "utf-8"


@pytest.mark.parametrize("size", [*range(1, 30), 1000])
def test_a_wrong_declaration_names_the_line_and_not_the_text(size: int) -> None:
    data = f"enhetID\n{MARKER}\n😀".encode() + b"\xff\n\n\n" + f"{MARKER}\n".encode()
    with pytest.raises(DataRefused) as refused:
        list(recode(chunks(data, size), "utf-8", "units.csv"))
    assert refused.value.where == "units.csv, line 3"
    assert MARKER not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    ("what", "data", "encoding"),
    [
        ("ISO-8859-1 declared as UTF-8", "1;Bjørn".encode("iso-8859-1"), "utf-8"),
        ("UTF-8 cut within its last letter", "1;Tromsø".encode()[:-1], "utf-8"),
        ("a byte that Windows-1252 does not have", b"1;\x81", "windows-1252"),
    ],
)
def test_bytes_that_do_not_fit_are_refused(what: str, data: bytes, encoding: str) -> None:
    with pytest.raises(DataRefused, match=f"not {encoding}"):
        list(recode([data], encoding, what))


@pytest.mark.parametrize(
    ("header", "declared", "separator"),
    [
        ("enhetID;enhetNavn;orgNr", None, ";"),
        ("enhetID,enhetNavn,orgNr", None, ","),
        ("enhetID\tenhetNavn\torgNr", None, "\t"),
        ('"enhetID","navn; lokalt, kort",orgNr', None, ","),
        ("enhetID ; orgNr", None, ";"),
        ("enhetID,ukjent;nytt;mer", None, ","),
        ("enhetID", None, ";"),
        ("enhetID", "\t", "\t"),
        ("enhetID,orgNr", ",", ","),
    ],
)
def test_separator_is_the_one_that_gives_most_columns_of_the_contract(
    header: str, declared: str | None, separator: str
) -> None:
    assert detect_separator(header, KNOWN, "units.csv", declared) == separator


def test_a_separator_that_is_declared_wrongly_is_refused_with_the_right_one() -> None:
    with pytest.raises(DataRefused, match=r"declared as separated by comma.*by semicolon") as refused:
        detect_separator("enhetID;enhetNavn", KNOWN, "units.csv", ",")
    assert refused.value.rule == "separator"


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("a row instead of the header", f"{MARKER};12;3"),
        ("an empty line", ""),
        ("names in another case", "ENHETID;ENHETNAVN"),
        ("UTF-16 read as something else", "enhetID;orgNr".encode("utf-16-le").decode("iso-8859-1")),
        ("lines ended by carriage returns alone", f"enhetID;orgNr\r1;{MARKER}\r2;x"),
    ],
)
def test_a_first_line_without_columns_is_refused_without_being_quoted(what: str, line: str) -> None:
    with pytest.raises(DataRefused, match="names no column") as refused:
        detect_separator(line, KNOWN, "units.csv", None)
    assert MARKER not in "".join(traceback.format_exception(refused.value)), what


def test_header_names_may_be_quoted_and_padded() -> None:
    assert split_header('"enhetID" ; orgNr;"a;b"', ";") == ["enhetID", "orgNr", "a;b"]


@pytest.mark.parametrize(
    ("what", "tail", "cut"),
    [
        ("whole", "a;b;c\n1;2;3\n", False),
        ("whole, no end of line", "a;b;c\n1;2;3", False),
        ("whole, Windows line ends", "a;b;c\r\n1;2;3\r\n", False),
        ("whole, empty last fields", "a;b;c\n1;;\n", False),
        ("whole, empty lines at the end", "a;b;c\n1;2;3\n\n\n", False),
        ("whole, a quoted field over two lines", 'a;b;c\n1;2;"x\ny"\n', False),
        ("whole, a separator within quotes", 'a;b;c\n1;"2;2";3\n', False),
        ("header alone", "a;b;c\n", False),
        ("nothing", "", False),
        ("whole, a line separator of Unicode as text", "a;b;c\n1;x\u2028y;3\n", False),
        ("whole, a next-line character as text", "a;b;c\n1;x\u0085y;3\n", False),
        ("whole, a vertical tab as text", "a;b;c\n1;x\vy;3\n", False),
        ("cut after a field", "a;b;c\n1;2;3\n4;5\n", True),
        ("cut within a field", "a;b;c\n1;2;3\n4", True),
        ("cut, Windows line ends", "a;b;c\r\n1;2;3\r\n4;5", True),
    ],
)
def test_a_cut_file_shows_in_its_last_record(what: str, tail: str, cut: bool) -> None:  # noqa: FBT001
    assert short_record(tail, ";", 3) is cut, what


def _mistaken(text: str, read_as: str) -> str:
    """UTF-8 read as another encoding."""
    return text.encode().decode(read_as)


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("Bjørnøya", False),
        ("Ærøskøbing Ålesund", False),
        ("São Paulo, Ãngela", False),
        ("Er det slik?", False),
        ("Hvem? Hva?", False),
        ("?", False),
        ("", False),
        *((_mistaken(letter, read_as), True) for letter in "æøåØÅÆéüá" for read_as in ("iso-8859-1", "cp1252")),
        ("Troms\ufffd", True),
        ("Bj?rn", True),
        ("?lesund", False),  # not told from a question: only a mark within a word is sure
    ],
)
def test_lost_letters(text: str, lost: bool) -> None:  # noqa: FBT001
    places = lost_letters(pl.DataFrame({"_row": [7], "enhetNavn": [text]}))
    assert places.rows() == ([(7, "enhetNavn")] if lost else [])


def test_lost_letters_come_in_the_order_of_rows_and_without_the_text() -> None:
    frame = pl.DataFrame(
        {"_row": [1, 2, 3], "a": [None, "Bj?rn", "x"], "n": [1, 2, 3], "b": [_mistaken("ø", "cp1252"), "x", None]}
    )
    same(lost_letters(frame), "_row | column \n 1 | b \n 2 | a")


def test_a_frame_without_text_has_lost_nothing() -> None:
    assert lost_letters(pl.DataFrame({"_row": [1], "n": [2]})).is_empty()


def test_every_border_within_a_letter_of_several_bytes_is_bridged() -> None:
    data = TEXT.encode()
    for first, last in pairwise(range(len(data) + 1)):
        parts = [data[:first], data[first:last], data[last:]]
        assert detect_encoding(parts) == "utf-8"
        assert b"".join(recode(parts, "utf-8", "units.csv")) == data
