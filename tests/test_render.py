"""Tables in, XML out: by a table of small cases, against a slow renderer, and in batches against the whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from schemas.errors import DataRefused, WrongUse
from schemas.layout import Attribute, Layout, Node
from transforms.message.render import Fragments, render_patients, render_shell

Tables = dict[str, pl.DataFrame]


def node(node_id: str, parent: str | None, attributes: str) -> Node:
    """``attributes``: names; ``?`` marks optional, ``!`` prohibited, ``=text`` fixed."""
    return Node(node_id, node_id.rpartition("_")[2], parent, 0, None, tuple(map(attribute, attributes.split())))


def attribute(marked: str) -> Attribute:
    name, _, fixed = marked.partition("=")
    use = {"?": "optional", "!": "prohibited"}.get(name[-1], "required")
    return Attribute(name.rstrip("?!"), "string", use, fixed or None)


LAYOUT = Layout(
    "ord",
    "57.0.1",
    "urn:x&y",
    "Objektholder",
    (
        node("Melding", None, "versjon=57.0.1 uttakDato lopenr?"),
        node("Kontaktperson", "Melding", "kontPerson"),
        node("Institusjon", "Melding", "institusjonID"),
        node("Enhet", "Institusjon", "enhetID"),
        node("Objektholder", "Institusjon", "pasientNr? pasientGUID!"),
        node("Pasient", "Objektholder", "kjonn"),
        node("Episode", "Objektholder", "episodeID utDatoTid?"),
        node("Kontakt", "Episode", "stedAktivitet?"),
        node("RefEnhet", "Episode", "enhetID typeEnhet?"),
        node("Tilstand", "Episode", "tilstNr"),
        node("Tilstand_Kode", "Tilstand", "kodeVerdi Kodeverk=D"),
        node("Tjeneste", "Episode", ""),
        node("Slett", "Institusjon", "slettID"),
    ),
    Path("ord.xsd"),
    "0" * 64,
    official=False,
)
HOLDER = '<Objektholder pasientNr="p">{}</Objektholder>'


def table(first: int = 1, parents: list[int] | None = None, **columns: object) -> pl.DataFrame:
    """A class table; ``_id`` counts from ``first``."""
    rows = len(parents) if parents is not None else len(next(iter(columns.values())))  # type: ignore[arg-type]
    keys: dict[str, object] = {"_id": range(first, first + rows)} | ({"_parent": parents} if parents else {})
    return pl.DataFrame(keys | columns)


def patients(tables: Tables) -> str:
    return bytes(render_patients(LAYOUT, tables).data).decode()


def split(rendered: Fragments) -> list[bytes]:
    starts = [0, *rendered.ends.tolist()]
    return [bytes(rendered.data[start:end]) for start, end in zip(starts, rendered.ends.tolist(), strict=False)]


P1 = table(9, pasientNr=["p"])
E1 = table(4, [9], episodeID=["e"])
E2 = table(4, [9, 9], episodeID=["e", "f"])

CASES: dict[str, tuple[Tables, str]] = {
    "no patients": ({}, ""),
    "a patient without anything": ({"Objektholder": P1}, HOLDER.format("")),
    "children in the order of the layout, not of the tables": (
        {"Episode": E1, "Pasient": table(1, [9], kjonn=[2]), "Objektholder": P1},
        HOLDER.format('<Pasient kjonn="2"/><Episode episodeID="e"></Episode>'),
    ),
    "attributes in the order of the layout, not of the columns": (
        {"Objektholder": P1, "Episode": E1, "RefEnhet": table(1, [4], typeEnhet=["1"], enhetID=["u"])},
        HOLDER.format('<Episode episodeID="e"><RefEnhet enhetID="u" typeEnhet="1"/></Episode>'),
    ),
    "null of an optional attribute": (
        {"Objektholder": P1, "Episode": E2.with_columns(utDatoTid=pl.Series(["x", None]))},
        HOLDER.format('<Episode episodeID="e" utDatoTid="x"></Episode><Episode episodeID="f"></Episode>'),
    ),
    "nothing but null in an optional attribute": (
        {"Objektholder": P1, "Episode": E1.with_columns(utDatoTid=pl.lit(None))},
        HOLDER.format('<Episode episodeID="e"></Episode>'),
    ),
    "empty text is a value": (
        {"Objektholder": P1, "Episode": table(1, [9], episodeID=[""])},
        HOLDER.format('<Episode episodeID=""></Episode>'),
    ),
    "prohibited attributes and unknown columns": (
        {"Objektholder": table(1, pasientNr=["p"], pasientGUID=["g"], navn=["n"], _row=[812])},
        HOLDER.format(""),
    ),
    "a fixed attribute without column": (
        {
            "Objektholder": P1,
            "Episode": E1,
            "Tilstand": table(1, [4], tilstNr=[1]),
            "Tilstand_Kode": table(1, [1, 1], kodeVerdi=["A00", "B{}9"]),
        },
        HOLDER.format(
            '<Episode episodeID="e"><Tilstand tilstNr="1"><Kode kodeVerdi="A00" Kodeverk="D"/>'
            '<Kode kodeVerdi="B{}9" Kodeverk="D"/></Tilstand></Episode>'
        ),
    ),
    "no attributes at all": (
        {"Objektholder": P1, "Episode": E2, "Tjeneste": table(1, [5, 5])},
        HOLDER.format('<Episode episodeID="e"></Episode><Episode episodeID="f"><Tjeneste/><Tjeneste/></Episode>'),
    ),
    "one child everywhere, then some here and there": (
        {
            "Objektholder": P1,
            "Episode": E2,
            "Kontakt": table(1, [4, 5], stedAktivitet=["1", None]),
            "RefEnhet": table(1, [4, 5, 5], enhetID=["a", "b", "c"]),
            "Tilstand": table(1, [5], tilstNr=[1]),
        },
        HOLDER.format(
            '<Episode episodeID="e"><Kontakt stedAktivitet="1"/><RefEnhet enhetID="a"/></Episode>'
            '<Episode episodeID="f"><Kontakt/><RefEnhet enhetID="b"/><RefEnhet enhetID="c"/>'
            '<Tilstand tilstNr="1"></Tilstand></Episode>'
        ),
    ),
}


@pytest.mark.parametrize(("tables", "xml"), CASES.values(), ids=CASES.keys())
def test_tables_in_xml_out(tables: Tables, xml: str) -> None:
    assert patients(tables) == xml


@pytest.mark.parametrize(
    ("values", "dtype", "texts"),
    [
        ([date(2020, 2, 29), date(1899, 12, 31)], pl.Date, ["2020-02-29", "1899-12-31"]),
        ([datetime(2020, 1, 2, 3, 4, 5, 999_999)], pl.Datetime("us"), ["2020-01-02T03:04:05"]),
        ([datetime(1969, 12, 31, 23, 59, 59)] * 3, pl.Datetime("ms"), ["1969-12-31T23:59:59"] * 3),
        (
            [datetime(2020, 1, 1), None, datetime(2020, 1, 2)],
            pl.Datetime("ns"),
            ["2020-01-01T00:00:00", None, "2020-01-02T00:00:00"],
        ),
        ([-5, 0, 12], pl.Int8, ["-5", "0", "12"]),
        ([-128, 127, None] * 100, pl.Int8, ["-128", "127", None] * 100),
        ([2**64 - 1, 2**64 - 1], pl.UInt64, ["18446744073709551615"] * 2),
        ([Decimal("12.50"), Decimal(-1000000)], pl.Decimal(20, 2), ["12.50", "-1000000.00"]),
        ([1e-7, 2.5e20, 0.1, None], pl.Float64, ["0.0000001", "250000000000000000000", "0.1", None]),
        (["é", "e\u0301", "\U0001f600"], pl.String, ["é", "e\u0301", "\U0001f600"]),
    ],
)
def test_values_as_text(values: list[object], dtype: pl.DataType, texts: list[str | None]) -> None:
    holders = table(pasientNr=pl.Series(values, dtype=dtype))
    root = etree.fromstring(f"<a>{patients({'Objektholder': holders})}</a>".encode())
    assert [element.get("pasientNr") for element in root] == texts


# --- refusals: the place and the rows are named, never a value

SECRET = "13116900216"


@pytest.mark.parametrize(
    ("tables", "named"),
    [
        ({"Episode": table(1, [9, 9, 9], episodeID=[SECRET, None, None])}, ["Episode@episodeID", "2 rows", "_id 2, 3"]),
        (
            {"Episode": table(1, [9] * 7, utDatoTid=[SECRET] * 7)},
            ["Episode@episodeID", "7 rows", "_id 1, 2, 3, 4, 5 and 2 more"],
        ),
        ({"Episode": table(1, [9, 9], episodeID=["e", SECRET + "\0"])}, ["Episode@episodeID", "1 row.", "_id 2"]),
        ({"Episode": table(1, [9], episodeID=[SECRET + "\ufffe"])}, ["Episode@episodeID", "1 row.", "_id 1"]),
        ({"Episode": table(1, [8, 9, 10], episodeID=[SECRET] * 3)}, ["Episode._parent", "2 rows", "_id 1, 3"]),
        ({"Kontakt": table(1, [4])}, ["Kontakt._parent", "1 row.", "_id 1"]),
        ({"Pasient": table(1, [9], kjonn=[float("inf")])}, ["Pasient@kjonn", "1 row."]),
    ],
    ids=["null", "no column", "control character", "noncharacter", "orphan", "no parents at all", "infinite"],
)
def test_refused_data_names_place_and_rows(tables: Tables, named: list[str]) -> None:
    with pytest.raises(DataRefused) as refused:
        render_patients(LAYOUT, {"Objektholder": P1} | tables)
    assert [text for text in [*named, "fix:"] if text not in str(refused.value)] == []
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("tables", "named"),
    [
        ({"Episoder": E1}, "Episoder"),
        ({"Episode": pl.DataFrame({"_id": [1, 3], "_parent": [9, 9], "episodeID": ["e", "f"]})}, "Episode._id"),
        ({"Episode": pl.DataFrame({"_id": [1], "episodeID": ["e"]})}, "Episode._parent"),
        ({"Episode": pl.DataFrame({"_id": [1], "_parent": ["9"], "episodeID": ["e"]})}, "Episode._parent"),
        (
            {"Objektholder": table(1, pasientNr=["p", "q"]), "Episode": table(1, [2, 1], episodeID=["e", "f"])},
            "Episode._parent",
        ),
        ({"Episode": table(1, [9], episodeID=[True])}, "Episode@episodeID"),
    ],
    ids=["unknown table", "gap", "no _parent", "text as key", "unsorted", "unknown type"],
)
def test_tables_of_another_shape_are_wrong_use(tables: Tables, named: str) -> None:
    with pytest.raises(WrongUse, match=named):
        render_patients(LAYOUT, {"Objektholder": P1} | tables)


# --- the shell

SHELL: Tables = {
    "Melding": table(1, uttakDato=[date(2020, 5, 10)]),
    "Kontaktperson": table(1, [1, 1], kontPerson=["Æ & Å", "B"]),
    "Institusjon": table(3, [1], institusjonID=["974"]),
    "Enhet": table(1, [3, 3], enhetID=["a", "b"]),
    "Slett": table(1, [3], slettID=["s"]),
}


def test_shell_goes_around_the_patients() -> None:
    before, after = render_shell(LAYOUT, SHELL | {"Objektholder": P1})
    assert before.decode() == (
        '<Melding xmlns="urn:x&amp;y" versjon="57.0.1" uttakDato="2020-05-10"><Kontaktperson kontPerson="Æ &amp; Å"/>'
        '<Kontaktperson kontPerson="B"/><Institusjon institusjonID="974"><Enhet enhetID="a"/><Enhet enhetID="b"/>'
    )
    assert after == b'<Slett slettID="s"/></Institusjon></Melding>'


@pytest.mark.parametrize("rows", [[], [1, 1]])
def test_shell_needs_one_institution(rows: list[int]) -> None:
    institutions = pl.DataFrame({"_id": range(1, 1 + len(rows)), "_parent": rows, "institusjonID": ["974"] * len(rows)})
    with pytest.raises(WrongUse, match="Institusjon: exactly one row"):
        render_shell(LAYOUT, SHELL | {"Institusjon": institutions})


def test_shell_and_patients_make_one_document() -> None:
    before, after = render_shell(LAYOUT, SHELL)
    root = etree.fromstring(before + patients({"Objektholder": P1, "Episode": E2}).encode() + after)
    assert [element.tag for element in root.iter("{urn:x&y}Episode")] == ["{urn:x&y}Episode"] * 2


# --- against a slow renderer


@dataclass
class Element:
    """One element of a random message."""

    node: Node
    values: dict[str, str | None]
    children: list[Element] = field(default_factory=list)


# All that XML 1.0 allows (2.2 Char), the troublesome ones often; test_escape.py draws the rest of Unicode too.
ALLOWED = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")
    | st.sampled_from("&<>\"'{}\t\n\r\x7f\x85\u2028\u0301\ufeff\ufffd\U0001f600\U0010ffff"),
    max_size=12,
)


@st.composite
def elements(draw: st.DrawFn, of: Node) -> Element:
    made = Element(of, {})
    for each in of.attributes:
        if each.use != "prohibited":
            made.values[each.name] = draw(ALLOWED | st.none() if each.use == "optional" else ALLOWED)
    for child in LAYOUT.children(of.id):
        made.children += draw(st.lists(elements(child), max_size=2))
    return made


MESSAGES = st.lists(elements(LAYOUT.node("Objektholder")), max_size=4)


def slowly(element: Element, parent: etree._Element) -> None:
    made = etree.SubElement(parent, element.node.name)
    for name, value in element.values.items():
        if value is not None:
            made.set(name, value)
    for child in element.children:
        slowly(child, made)


def flat(message: list[Element], first: int = 1) -> Tables:
    """Class tables in document order; the ids of every class count from ``first``."""
    rows: dict[str, list[dict[str, object]]] = {each.id: [] for each in LAYOUT.nodes}

    def add(element: Element, parent: int) -> None:
        own = rows[element.node.id]
        own.append({"_id": first + len(own), "_parent": parent, **element.values})
        number = first + len(own) - 1
        for child in element.children:
            add(child, number)

    for element in message:
        add(element, 0)
    return {name: pl.DataFrame(own, schema=columns(LAYOUT.node(name))) for name, own in rows.items() if own}


def columns(of: Node) -> dict[str, type[pl.DataType]]:
    names = [each.name for each in of.attributes if each.use != "prohibited"]
    return {"_id": pl.UInt32, "_parent": pl.UInt32} | dict.fromkeys(names, pl.String)


def canonical(root: etree._Element) -> bytes:
    return etree.tostring(root, method="c14n")


@settings(max_examples=150, deadline=None)
@given(MESSAGES, st.integers(0, 1_000))
def test_same_as_a_slow_renderer(message: list[Element], first: int) -> None:
    expected = etree.Element("a")
    for element in message:
        slowly(element, expected)
    rendered = b"<a>" + bytes(render_patients(LAYOUT, flat(message, first)).data) + b"</a>"
    assert canonical(etree.fromstring(rendered)) == canonical(expected)


# --- batches


@settings(max_examples=60, deadline=None)
@given(MESSAGES, st.data())
def test_batches_of_patients_give_the_bytes_of_the_whole(message: list[Element], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(message)))
    whole = split(render_patients(LAYOUT, flat(message)))
    parts = [split(render_patients(LAYOUT, flat(some, 77))) for some in (message[:cut], message[cut:])]
    assert whole == parts[0] + parts[1]


def large(numbers: range) -> Tables:
    """Patients of 16 kB: every third without episodes, the others with two of them and uneven units."""
    holders = table(1, pasientNr=[str(number) for number in numbers])
    busy = [number for number in numbers for _ in range(2) if number % 3]
    parents = [number - numbers.start + 1 for number in busy]
    episodes = table(1, parents, episodeID=[f"{number}" * 2_000 for number in busy])
    units = [row + 1 for row, number in enumerate(busy) for _ in range(number % 4)]
    refs = table(1, units, enhetID=[f"E{row}" for row in range(len(units))])
    return {"Objektholder": holders, "Episode": episodes, "RefEnhet": refs.with_columns(enhetID=pl.lit("E"))}


def one_by_one(numbers: range) -> Iterator[bytes]:
    for number in numbers:
        yield from split(render_patients(LAYOUT, large(range(number, number + 1))))


def test_a_batch_larger_than_the_working_memory_is_seamless() -> None:
    """The renderer works in runs of some 16 MB; this is more than one of them."""
    numbers = range(1_000, 4_000)
    rendered = render_patients(LAYOUT, large(numbers))
    assert len(rendered.data) > 30_000_000
    assert rendered.ends[-1] == len(rendered.data)
    some = np.linspace(0, 2_999, 60, dtype=int)
    pieces = split(rendered)
    assert [pieces[place] for place in some] == [
        next(one_by_one(range(1_000 + place, 1_001 + place))) for place in some
    ]
