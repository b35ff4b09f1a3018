"""``npr validate`` and ``npr show``: the same verdict as the schema gives to the whole, told in plain words."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import re
import sys
import time
import zipfile
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # has no stubs
import pytest
from conftest import call, call_process, cases
from lxml import etree

from pipelines.validation import validator
from pipelines.validation.key_book import KeyBook
from pipelines.validation.validator import Crew, Options, Source, validate, validate_source
from schemas.controls import CONSEQUENCES, controls_for
from schemas.layouts import load_layout
from schemas.xsd import compile_schema
from transforms.validation.report import FORMS, FileReport

ROOT = Path(__file__).parents[1]
SHARED = ROOT / "../shared"
ORD = "http://www.npr.no/xmlstds/54_0_1_ord"
N = f"{{{ORD}}}"
SECRET = b"a key for tests"
OPENING = (
    f'<Melding xmlns="{ORD}" versjon="54.0.1" meldingstype="B" fraDatoPeriode="2020-01-01" uttakDato="2020-05-04" '
    'leverandor="E" navnEPJ="E" versjonEPJ="1" versjonUt="1" lopenr="1" tilDatoPeriode="2020-04-30">\n'
    '<Kontaktperson kontPerson="Kari Hemmelig" meldEpost1="npr@sykehus.example" typeKontaktperson="15"/>\n'
)
UNITS = '<Enhet enhetID="A"/>\n<Enhet enhetID="B"/>\n'


def episode(key: str, referral: str = "", stay: str = "2020-02-01T10:00:00") -> str:
    return (
        f'<Episode episodeID="{key}"{referral} innDatoTid="{stay}" debitor="1" komNrHjem="4640" '
        'inntilstand="1" innmateHast="1" omsorgsniva="1">'
        '<Kontakt kontaktType="1" stedAktivitet="1"><Helseperson polUtforende="1"/></Kontakt>\n'
        '<RefEnhet enhetID="A" typeEnhet="1"/><RefEnhet enhetID="B" typeEnhet="2"/>'
        '<Tilstand tilstNr="1"><Kode kodeNr="1" Kodeverk="D" kodeVersjon="2020" kodeVerdi="A00"/></Tilstand>\n'
        '<Tilstand tilstNr="2"><Kode kodeNr="1" Kodeverk="D" kodeVersjon="2020" kodeVerdi="B00"/>'
        '<Kode kodeNr="2" Kodeverk="D" kodeVersjon="2020" kodeVerdi="B01"/></Tilstand></Episode>\n'
    )


def patient(number: int) -> str:
    key, referral = f"P{number:05}", f' henvisningsperiodeID="H{number}"'
    return (
        f'<Objektholder pasientNr="{key}"><Pasient pasientNr="{key}" kjonn="1" fodselsar="1950"/>\n'
        f'<Henvisningsperiode{referral} henvType="10"/>'
        f"{episode(f'E{number}a', referral)}{episode(f'E{number}b')}</Objektholder>\n"
    )


def institution(key: str, numbers: range) -> str:
    patients = "".join(patient(number) for number in numbers)
    return f'<Institusjon institusjonID="{key}" foretakID="1">\n{UNITS}{patients}</Institusjon>\n'


def message(patients: int = 8, second: int = 4) -> str:
    """A valid message of two institutions with the same patient numbers in both."""
    parts = [institution("900000014", range(patients))]
    parts += [institution("900000022", range(second))] if second else []
    return f"{OPENING}{''.join(parts)}</Melding>\n"


def source(data: bytes, name: str = "message.xml") -> Source:
    @contextmanager
    def opened() -> Iterator[Iterator[bytes]]:
        yield iter([data])

    return Source(name, "plain", opened)


def report_of(text: str | bytes, **wanted: int | bool) -> FileReport:
    data = text if isinstance(text, bytes) else text.encode()
    options = Options(Path("/nowhere"), **{"chunk": 600, "alone": 10**9, **wanted})  # type: ignore[arg-type]
    return validate_source(source(data), options, SECRET, Crew(1))


def faults(report: FileReport) -> dict[tuple[str | None, str | None], int]:
    return {(g.cls, g.attribute): n for g, n, _ in report.groups() if g.kind != "control"}


def lines(report: FileReport) -> list[int]:
    return sorted(p.line or 0 for g, _, places in report.groups() if g.kind != "control" for p in places)


@pytest.fixture(scope="module")
def schema() -> etree.XMLSchema:
    return compile_schema(load_layout("ord", "54.0.1").xsd)


# Verdicts equal those of the whole

Mutation = Callable[[etree._Element, random.Random], None]


def _any(root: etree._Element, dice: random.Random) -> etree._Element:
    return dice.choice([e for e in root.iter(etree.Element) if e.getparent() is not None])


def _drop_attribute(root: etree._Element, dice: random.Random) -> None:
    element = _any(root, dice)
    if element.attrib:
        del element.attrib[dice.choice(list(element.attrib))]


def _bad_value(root: etree._Element, dice: random.Random) -> None:
    element = _any(root, dice)
    if element.attrib:
        values = ["", "01", "+1", "x", "-1", "2020-02-30", "2020-01-01T00:00:00", "A", "B", "1", "2", "E1a", "P00001"]
        element.set(dice.choice(list(element.attrib)), dice.choice(values))


def _add_attribute(root: etree._Element, dice: random.Random) -> None:
    _any(root, dice).set(dice.choice(["serieID", "enhetNavn", "lokalident", "henvisningsperiodeID"]), "H1")


def _remove(root: etree._Element, dice: random.Random) -> None:
    element = _any(root, dice)
    parent = element.getparent()
    assert parent is not None
    parent.remove(element)


def _copy(root: etree._Element, dice: random.Random) -> None:
    element = _any(root, dice)
    copied = etree.fromstring(etree.tostring(element))
    dice.choice([element, element, _any(root, dice)]).addnext(copied)


def _swap(root: etree._Element, dice: random.Random) -> None:
    one, other = _any(root, dice), _any(root, dice)
    if other not in one.iterdescendants() and one is not other:
        one.addprevious(other) if one not in other.iterdescendants() else None


def _rename(root: etree._Element, dice: random.Random) -> None:
    _any(root, dice).tag = dice.choice([f"{N}Epizode", f"{N}Episode", f"{N}Objektholder", f"{N}Enhet", "{urn:x}Enhet"])


def _write_text(root: etree._Element, dice: random.Random) -> None:
    _any(root, dice).text = dice.choice(["x", " ", "\n"])


def _write_comment(root: etree._Element, dice: random.Random) -> None:
    text = dice.choice([" note ", "<Objektholder ", "</Institusjon>", "<Institusjon institusjonID='1'>"])
    _any(root, dice).addnext(etree.Comment(text))


def _same_key(root: etree._Element, dice: random.Random) -> None:
    cls, key = dice.choice(
        [("Objektholder", "pasientNr"), ("Episode", "episodeID"), ("Tilstand", "tilstNr"), ("Enhet", "enhetID"),
         ("Institusjon", "institusjonID"), ("RefEnhet", "enhetID"), ("Kode", "kodeNr")]
    )  # fmt: skip
    elements = list(root.iter(f"{N}{cls}"))
    if len(elements) > 1:
        one, other = dice.sample(elements, 2)
        one.set(key, other.get(key, ""))


MUTATIONS: tuple[Mutation, ...] = (
    _drop_attribute, _bad_value, _bad_value, _add_attribute, _remove, _copy, _swap, _rename, _write_text,
    _write_comment, _same_key, _same_key,
)  # fmt: skip


def held_against_the_whole(
    schema: etree.XMLSchema, dice: random.Random, count: int, read: Callable[[bytes, int], FileReport]
) -> dict[bool, int]:
    """Messages spoiled in one or two ways: ``read`` finds those valid that the schema does; how many of each."""
    base = message(5, 3).encode()
    verdicts = {True: 0, False: 0}
    for number in range(count):
        root = etree.fromstring(base)
        for _ in range(dice.choice([1, 1, 2])):
            dice.choice(MUTATIONS)(root, dice)
        text = etree.tostring(root)
        expected = schema.validate(etree.fromstring(text))
        found = read(text, number)
        assert (found.refused is None and not faults(found)) == expected, number
        verdicts[expected] += 1
    return verdicts


@pytest.mark.parametrize("seed", range(cases(2, 6)))
def test_verdicts_are_those_of_the_whole_document(seed: int, schema: etree.XMLSchema) -> None:
    dice = random.Random(seed)

    def read(text: bytes, number: int) -> FileReport:
        return report_of(text, chunk=dice.choice([300, 700, 2000]), controls=number % 2 == 0)

    assert min(held_against_the_whole(schema, dice, 200, read).values()) > 20


@pytest.mark.parametrize("seed", range(cases(1, 2)))
def test_a_text_that_is_spoiled_anywhere_has_the_verdict_of_the_whole(seed: int, schema: etree.XMLSchema) -> None:
    dice = random.Random(seed)
    base = message(4, 2).encode()
    for number in range(150):
        at = dice.randrange(len(base))
        piece = dice.choice(
            [b"", b"<", b">", b'"', b"&", b"\xff", b"<!--", b"]]>", b"</Objektholder>", b"<Objektholder>"]
        )
        text = base[:at] + piece + base[at + dice.choice([0, 1, 30]) :]
        try:
            expected = schema.validate(etree.fromstring(text))
        except etree.XMLSyntaxError:
            expected = False
        found = report_of(text, chunk=dice.choice([300, 2000]))
        assert (found.refused is None and not faults(found)) == expected, (seed, number)


def test_a_valid_message_is_valid_in_pieces_and_with_several_processes(tmp_path: Path) -> None:
    assert report_of(message()).verdict == "valid"
    path = tmp_path / "m.xml"
    path.write_text(message(60))
    (report,) = validate([path], Options(tmp_path, chunk=2000, alone=1))
    assert report.verdict == "valid"
    path.write_text(
        message(60).replace('pasientNr="P00051"', 'pasientNr="P00003"').replace('typeEnhet="2"', 'typeEnhet="x"')
    )
    (report,) = validate([path], Options(tmp_path, chunk=2000, alone=1))
    assert faults(report) == {("Objektholder", "pasientNr"): 1, ("RefEnhet", "typeEnhet"): 128}


@pytest.fixture
def uncut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every message is read as one stream, as one is that cannot be cut."""
    monkeypatch.setattr(validator, "spanning", lambda _: None)


@pytest.mark.parametrize("seed", range(cases(1, 2)))
@pytest.mark.usefixtures("uncut")
def test_a_message_that_cannot_be_cut_has_the_verdict_of_the_whole(seed: int, schema: etree.XMLSchema) -> None:
    def read(text: bytes, number: int) -> FileReport:
        return report_of(text, controls=number % 2 == 0)

    assert min(held_against_the_whole(schema, random.Random(100 + seed), 150, read).values()) > 15


SPOILED = (
    (), (('pasientNr="P00007"', 'pasientNr="P00000"'),), (('omsorgsniva="1"', 'omsorgsniva="one"'),),
    (('RefEnhet enhetID="B"', 'RefEnhet enhetID="Z"'),), (("900000022", "900000014"),),
    (('henvisningsperiodeID="H3" henvType', 'henvisningsperiodeID="H8" henvType'),),
    (('episodeID="E3a"', 'episodeID="E3b"'), ('tilstNr="2"', 'tilstNr="01"')),
    (('typeEnhet="2"', 'typeEnhet="77"'), ('polUtforende="1"', 'polUtforende="123"'), ('orgNr="1"', 'orgNr="x"')),
    (('uttakDato="2020-05-04"', 'uttakDato="2020-03-04"'), ("<Pasient ", "<Pasjent ")),
    (('innDatoTid="2020', 'innDatoTid="2017'), ('polUtforende="1"', 'polUtforende="22"')),
)  # fmt: skip


@pytest.mark.parametrize("changes", SPOILED)
def test_a_message_that_cannot_be_cut_is_told_of_like_one_that_can(
    changes: tuple[tuple[str, str], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = message()
    for old, new in changes:
        text = text.replace(old, new)
    cut = report_of(text)
    monkeypatch.setattr(validator, "spanning", lambda _: None)
    assert report_of(text).groups() == cut.groups()
    assert report_of(in_head(text)).verdict == cut.verdict


@pytest.mark.usefixtures("uncut")
def test_a_record_is_told_as_far_as_it_is_certain() -> None:
    text = message(3, 0).replace('episodeID="E1b" innDatoTid="2020-02-01T10:00:00"', 'episodeID="E1b" innDatoTid="x"')
    ((_, _, (place,)),) = report_of(text, show_keys=True).groups()
    assert place.record == "pasientNr P00001, episodeID E1b"
    # On one line both episodes of the patient may be meant.
    ((_, _, (place,)),) = report_of(text.replace("\n", ""), show_keys=True).groups()
    assert place.record in {"pasientNr P00001", ""}


@pytest.mark.usefixtures("uncut")
def test_an_end_of_reading_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validator, "MOST_OF_WHOLE", 5)
    told = FORMS["text"]([report_of(message().replace('omsorgsniva="1"', 'omsorgsniva="one"'))])
    assert "reading ended here, at 5 faults" in told


# Keys in a file


def test_keys_that_occur_twice_are_found_in_a_book_of_many() -> None:
    with KeyBook() as book:
        book.add(1, array("q", range(-50_000, 50_000)), array("q", range(100_000)))
        book.add(2, array("q", (7, -7)), array("q", (3, 4)))
        assert list(book.twice()) == []
        book.add(1, array("q", (-50_000, 49_999, 49_999)), array("q", (200_000, 50, 200_001)))
        assert list(book.twice()) == [(1, 99_999, 49_999), (1, 200_000, -50_000), (1, 200_001, 49_999)]
        assert [book.refer(place, told, 9, 5) for place, told in ((1, 7), (2, 7), (3, 7), (2, 8))] == [1, 2, 3, 4]
        assert list(book.strays()) == [(5, 9, 3), (5, 9, 4)]


IDE = (
    OPENING.replace("_ord", "_ide")
    + '<Institusjon institusjonID="900000014">\n'
    + "".join(f'<PasientIdent pid="P{n}" fid="F{n}" typeID="1"/>\n' for n in range(60))
    + "</Institusjon></Melding>"
)


@pytest.mark.parametrize("seed", range(2))
def test_patients_without_children_are_cut_apart_too(seed: int) -> None:
    dice = random.Random(seed)
    schema = compile_schema(load_layout("ide", "54.0.1").xsd)
    assert report_of(IDE).verdict == "valid"
    twice = report_of(IDE.replace('pid="P59"', 'pid="P3"'))
    assert (faults(twice), lines(twice)) == ({("PasientIdent", "pid"): 1}, [63])
    for number in range(100):
        root = etree.fromstring(IDE.encode())
        dice.choice(MUTATIONS)(root, dice)
        text = etree.tostring(root)
        found = report_of(text, chunk=300)
        assert (found.refused is None and not faults(found)) == schema.validate(etree.fromstring(text)), number


# What is told


def test_every_fault_has_its_line_class_attribute_and_record() -> None:
    text = message()
    text = text.replace('episodeID="E3b" innDatoTid="2020-02-01T10:00:00"', 'episodeID="E3b" innDatoTid="01.02.2020"')
    text = text.replace('episodeID="E5b" ', "")
    expected = [
        number for number, line in enumerate(text.splitlines(), 1) if "01.02.2020" in line or "<Episode inn" in line
    ]
    report = report_of(text)
    assert faults(report) == {("Episode", "innDatoTid"): 2, ("Episode", "episodeID"): 1}
    assert lines(report) == sorted(expected)
    told = FORMS["text"]([report])
    assert "write times as 2020-12-31T23:59:00" in told
    assert re.search(r"pasientNr ~[0-9a-f]{16}, episodeID ~[0-9a-f]{16}", told)


def test_no_value_is_told_unless_keys_are_asked_for() -> None:
    spoiled = message().replace('kjonn="1"', 'kjonn="12057900499"').replace('episodeID="E1a"', 'episodeID="E1b"')
    for form in FORMS.values():
        told = form([report_of(spoiled)])
        assert not re.search(r"12057900499|P0000\d|E1b|Hemmelig|sykehus", told)
    assert "pasientNr P00001" in FORMS["text"]([report_of(spoiled, show_keys=True)])


def test_totals_are_exact_where_lists_are_capped() -> None:
    report = report_of(message(40, 0).replace('omsorgsniva="1"', 'omsorgsniva="one"'), most=3)
    ((group, count, places), *_) = report.groups()
    assert (group.attribute, count, len(places)) == ("omsorgsniva", 80, 3)
    assert "and 77 more" in FORMS["text"]([report])


def test_a_broken_parent_counts_its_children_once() -> None:
    wrong = message(3, 0).replace('<Objektholder pasientNr="P00001">', '<Object pasientNr="P00001">')
    wrong = wrong.replace(f"{episode('E1b')}</Objektholder>", f"{episode('E1b')}</Object>")
    assert sum(faults(report_of(wrong, chunk=10**6)).values()) == 1


def test_keys_that_occur_twice_are_told_across_chunks_and_per_institution() -> None:
    report = report_of(message().replace('Objektholder pasientNr="P00007"', 'Objektholder pasientNr="P00000"'))
    assert faults(report) == {("Objektholder", "pasientNr"): 1}
    twice = message().replace('Objektholder pasientNr="P00007"', 'Objektholder pasientNr="P00000"')
    ((_, _, (place,)),) = report_of(twice, show_keys=True).groups()
    assert place.record == "pasientNr P00000"
    again = report_of(message().replace("900000022", "900000014"))
    assert faults(again) == {("Institusjon", None): 1}


def test_a_unit_of_the_other_institution_is_no_unit_of_this_one() -> None:
    text = message()
    first, second = text.split('<Institusjon institusjonID="900000022"')
    second = second.replace('<Enhet enhetID="B"/>', '<Enhet enhetID="C"/>').replace(
        'RefEnhet enhetID="B"', 'RefEnhet enhetID="C"'
    )
    assert report_of(f'{first}<Institusjon institusjonID="900000022"{second}').verdict == "valid"
    stray = second.replace('RefEnhet enhetID="C"', 'RefEnhet enhetID="B"', 1)
    assert faults(report_of(f'{first}<Institusjon institusjonID="900000022"{stray}')) == {("RefEnhet", "enhetID"): 1}


def test_faults_before_the_place_where_a_file_is_cut_off_are_told_too() -> None:
    text = message(20, 0).replace('omsorgsniva="1"', 'omsorgsniva="one"', 3)
    report = report_of(text[:-900])
    assert report.verdict == "faults"
    assert faults(report) == {("Episode", "omsorgsniva"): 3, (None, None): 1}
    assert "get the file anew" in FORMS["text"]([report])


def test_an_unknown_namespace_is_refused_with_what_there_is() -> None:
    report = report_of(message().replace("54_0_1_ord", "99_0_1_ord"))
    assert report.verdict == "refused"
    told = FORMS["text"]([report])
    assert "there is no schema for ord 99.0.1" in told
    assert re.search("ord [0-9., ]*54.0.1", told)
    assert report_of("<a/>").verdict == report_of("hello").verdict.replace("faults", "refused") == "refused"


def test_comments_are_no_reason_to_read_a_message_as_a_whole() -> None:
    text = message().replace("<Pasient ", "<!-- <Institusjon institusjonID='1'> --><Pasient ")
    assert "Episode@initiativtaker (8433)" in report_of(text).unchecked
    stray = text.replace('RefEnhet enhetID="B"', 'RefEnhet enhetID="Z"', 1)
    ((group, _, (place,)),) = [one for one in report_of(stray).groups() if one[0].kind == "schema"]
    assert (group.cls, place.record[:11]) == ("RefEnhet", "pasientNr ~")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the official schemas (../shared) are not at hand")
def test_an_official_schema_that_was_put_in_decides(home: Path) -> None:
    sent = SHARED / "reference/messages/npr_kpp/TestMelding.expected.xml"
    assert call("schema", "add", SHARED / "reference/xsd/npr-kpp/58.0.1", home=home).code == 0
    outcome = call("validate", sent, "--json", home=home)
    assert outcome.code == 0, outcome.out
    (told,) = outcome.json["files"]
    assert (told["module"], told["version"], told["official"]) == ("kpp", "58.0.1", True)
    assert told["codes_not_checked"] == ["TjenesteKPP@kostnadKode (8491)"]


# Controls of the register


def outcomes(report: FileReport) -> dict[tuple[str, str | None, str | None], tuple[int, str]]:
    return {
        (g.rule, g.cls, g.attribute): (n, CONSEQUENCES[g.consequence])
        for g, n, _ in report.groups()
        if g.kind == "control"
    }


def test_controls_tell_what_the_register_does() -> None:
    text = message(3, 0)
    text = text.replace('enhetID="A"/>\n<Enhet', 'enhetID="A" orgNr="12345678901"/>\n<Enhet')
    text = text.replace('uttakDato="2020-05-04"', 'uttakDato="2020-03-04"').replace(
        'typeEnhet="2"', 'typeEnhet="77"', 2
    )
    text = text.replace('polUtforende="1"', 'polUtforende="123"', 1)
    assert outcomes(report_of(text)) == {
        ("type", "Enhet", "orgNr"): (1, "Sett verdi til -1"),
        ("range", "Melding", "tilDatoPeriode"): (1, "Ingen handling"),
        ("range", "Melding", "uttakDato"): (1, "Ingen handling"),
        ("code", "RefEnhet", "typeEnhet"): (2, "Sett verdi til -1"),
        ("type", "Helseperson", "polUtforende"): (1, "Ingen handling"),
        ("code", "Helseperson", "polUtforende"): (1, "Sett verdi til -1"),
    }
    assert not outcomes(report_of(text, controls=False))


def test_a_code_is_judged_by_the_date_of_its_episode() -> None:
    late = message(3, 0).replace('polUtforende="1"', 'polUtforende="22"')
    assert outcomes(report_of(late)) == {}
    early = late.replace(f"{episode('E1b')[:40]}", episode("E1b", stay="2017-12-31T10:00:00")[:40])
    early = early.replace('episodeID="E1b" innDatoTid="2020', 'episodeID="E1b" innDatoTid="2017')
    assert outcomes(report_of(early)) == {("code", "Helseperson", "polUtforende"): (1, "Sett verdi til -1")}


def test_a_remark_without_consequence_leaves_a_message_valid() -> None:
    report = report_of(message().replace("npr@sykehus.example", "npr"))
    assert (report.verdict, outcomes(report)) == (
        "valid",
        {("type", "Kontaktperson", "meldEpost1"): (1, "Ingen handling")},
    )


def test_lists_that_are_not_held_are_named_as_not_checked() -> None:
    assert "Episode@initiativtaker (8433)" in FORMS["text"]([report_of(message())])


@pytest.mark.skipif(not SHARED.is_dir(), reason="the controls as published (../shared) are not at hand")
def test_our_patterns_take_what_the_published_ones_take() -> None:
    text = (SHARED / "domain/data/xpr56-attribute-controls.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    ours = {(c.cls, c.attribute): c for c in controls_for(load_layout("ord", "54.0.1")).values()}
    dice = random.Random(1)
    corpus = [
        "",
        "1",
        "12",
        "-1",
        "123456789",
        "1234567890",
        "A",
        "AB",
        "æøå",
        "2020-01-31",
        "2020-13-01",
        "+4790000001",
        "0047 900 00 001",
        "90000001",
        "a@b.no",
        "a.b@c-d.example",
        "@",
        "x" * 100,
        "x" * 101,
        "2020-01-01T23:59:59",
    ]
    corpus += ["".join(dice.choices("0123456789-T:ABæ@. +", k=dice.randrange(1, 22))) for _ in range(2000)]
    compared = 0
    for row in rows:
        control = ours.get((row["cls"], row["attr"]))
        if control is not None and control.pattern and row["type_regex"]:
            published = re.compile(row["type_regex"].removeprefix("^").removesuffix("$"))
            assert [v for v in corpus if bool(published.fullmatch(v)) != bool(re.fullmatch(control.pattern, v))] == []
            compared += 1
    assert compared > 15


def test_every_control_has_a_certainty_and_a_source() -> None:
    found = controls_for(load_layout("ord", "54.0.1"))
    assert {key for key in found if key[0] == "Melding"} >= {("Melding", "versjon"), ("Melding", "uttakDato")}
    assert all(control.certainty in {"A", "B", "C"} and control.source for control in found.values())
    assert {c.certainty for k, c in found.items() if k == ("Enhet", "enhetID")} == {"C"}


# Files, packing, forms


def packed(name: str, data: bytes, folder: Path) -> Path:
    path = folder / name
    if name.endswith("zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("inner/one.xml", data)
            archive.writestr("inner/two.xml", data.replace(b'omsorgsniva="1"', b'omsorgsniva="x"', 1))
    else:
        path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    return path


def test_files_folders_and_packed_files(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sent"
    folder.mkdir()
    for name in ("a.xml", "b.xml.gz", "c.zip"):
        packed(name, message().encode(), folder)
    (folder / "readme.txt").write_text("no message")
    outcome = call("validate", folder, "--json", home=home)
    assert outcome.code == 1, outcome.err
    told = [(one["name"], one["packing"], one["verdict"]) for one in outcome.json["files"]]
    assert told == [
        ("a.xml", "plain", "valid"), ("b.xml.gz", "gzip", "valid"),
        ("c.zip: inner/one.xml", "zip", "valid"), ("c.zip: inner/two.xml", "zip", "faults"),
    ]  # fmt: skip
    assert outcome.json["totals"] == {"valid": 3, "faults": 1, "refused": 0}


def test_exit_codes(home: Path, tmp_path: Path) -> None:
    good, bad = packed("g.xml", message().encode(), tmp_path), packed("b.xml", b"<a", tmp_path)
    assert call("validate", good, home=home).code == 0
    assert call("validate", good, bad, home=home).code == 1
    assert call("validate", tmp_path / "none.xml", home=home).code == 2
    assert call("validate", home=home).code == 2


def test_no_configuration_is_needed(tmp_path: Path) -> None:
    good = packed("g.xml", message().encode(), tmp_path)
    outcome = call_process("validate", good, home=tmp_path / "h", cwd=tmp_path, NPR_CONFIG=str(tmp_path / "none.toml"))
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "iso-8859-1", "windows-1252"]
)
def test_encodings_give_the_right_verdict_and_lines(encoding: str) -> None:
    declared = {"utf-8-sig": "utf-8", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16"}.get(encoding, encoding)
    text = f'<?xml version="1.0" encoding="{declared}"?>\n' + message().replace("Hemmelig", "Hemmeligærø")
    assert report_of(text.encode(encoding)).verdict == "valid"
    wrong = text.replace('omsorgsniva="1"', 'omsorgsniva="x"', 1)
    report = report_of(wrong.encode(encoding))
    assert lines(report) == [next(n for n, line in enumerate(text.splitlines(), 1) if "omsorgsniva" in line)]


def in_head(text: str) -> str:
    party = (
        "<Organisation><OrganisationName>{}</OrganisationName>"
        "<Ident><Id>{}</Id><TypeId V='HER'/></Ident></Organisation>"
    )
    return (
        '<MsgHead xmlns="http://www.kith.no/xmlstds/msghead/2006-05-24"><MsgInfo><Type V="NPR_ORD" DN="NPR"/>'
        "<MIGversion>v1.2 2006-05-24</MIGversion><GenDate>2020-05-04T08:00:00+02:00</GenDate><MsgId>m-1</MsgId>"
        f"<Sender>{party.format('Sykehuset', 1)}</Sender><Receiver>{party.format('NPR', 2)}</Receiver></MsgInfo>"
        '<Document><RefDoc><MsgType V="XML" DN="XML"/><MimeType>text/xml</MimeType><Content>'
        f"{text}</Content></RefDoc></Document></MsgHead>"
    )


def test_messages_under_msghead() -> None:
    report = report_of(in_head(message()))
    assert (report.verdict, report.in_head) == ("valid", True)
    assert faults(report_of(in_head(message()).replace("<MsgId>m-1</MsgId>", ""))) == {("Sender", None): 1}
    twice = in_head(message()).replace('Objektholder pasientNr="P00007"', 'Objektholder pasientNr="P00000"')
    assert faults(report_of(twice)) == {("Objektholder", "pasientNr"): 1}


def test_csv_has_one_row_for_each_place_and_no_formulas() -> None:
    report = report_of(message().replace('omsorgsniva="1"', 'omsorgsniva="x"', 2))
    report.name = "=cmd|' /C calc'!A0"
    rows = list(csv.DictReader(io.StringIO(FORMS["csv"]([report]))))
    assert [(row["kind"], row["attribute"]) for row in rows] == [("schema", "omsorgsniva")] * 2 + [
        ("control", "omsorgsniva")
    ] * 2
    assert all(row["file"].startswith("'=") and row["line"].isdigit() for row in rows)


def test_html_is_one_page_that_loads_nothing() -> None:
    report = report_of(message().replace('omsorgsniva="1"', 'omsorgsniva="x"', 2))
    report.name = "<script>alert(1)</script>.xml"
    page = FORMS["html"]([report, report_of("<a/>")])
    assert not re.search(r"<script|<img|<link|https?://|@import|url\(", page)
    root = etree.fromstring(page.split("\n", 1)[1].replace("<meta ", "<m ").replace('">', '"/>', 0), etree.HTMLParser())
    assert [one.get("lang") for one in root.iter("html")] == ["en"]
    assert {one.get("scope") for one in root.iter("th")} == {"col"}
    targets = {one.get("id") for one in root.iter() if one.get("id")}
    assert {one.get("href", "")[1:] for one in root.iter("a")} <= targets


def test_json_is_the_record() -> None:
    report = report_of(message())
    assert json.loads(FORMS["json"]([report]))["files"][0]["verdict"] == "valid"


def test_pseudonyms_stay_the_same_with_a_key_and_only_then(home: Path, tmp_path: Path) -> None:
    bad = packed("b.xml", message().replace('omsorgsniva="1"', 'omsorgsniva="x"', 1).encode(), tmp_path)
    first, second = (call("validate", bad, "--format", "csv", home=home).out for _ in range(2))
    assert first != second
    (home / "identity").mkdir(parents=True)
    (home / "identity" / "pseudonym.key").write_bytes(b"k" * 32)
    first, second = (call("validate", bad, "--format", "csv", home=home).out for _ in range(2))
    assert first == second


# Large ones


def test_texts_above_ten_megabytes_and_large_patients_get_the_right_verdict() -> None:
    padded = message().replace("<Kontakt ", "<!-- " + "x" * 3_000_000 + " -->" + " " * 11_000_000 + "<Kontakt ", 1)
    assert faults(report_of(padded, chunk=262_144)) == {}
    text = message().replace(
        '<Kontakt kontaktType="1" stedAktivitet="1">',
        "<Kontakt " + 'kontaktType="1" stedAktivitet="1">' + "x" * 11_000_000,
        1,
    )
    assert faults(report_of(text, chunk=262_144)) == {("Kontakt", None): 1}
    huge = message(3, 0).replace(episode("E1b"), "".join(episode(f"E1b{n}") for n in range(8000)))
    assert faults(report_of(huge, chunk=262_144)) == {}
    twice = huge.replace('episodeID="E1b7999"', 'episodeID="E1b1"')
    report = report_of(twice.replace('typeEnhet="2"', 'typeEnhet="77"', 1), chunk=262_144)
    assert faults(report) == {("Episode", "episodeID"): 1}
    assert outcomes(report) == {("code", "RefEnhet", "typeEnhet"): (1, "Sett verdi til -1")}


MANY = (60_000_000, "".join(patient(number) for number in range(400)), 'pasientNr="P', "</Institusjon></Melding>")
ONE = (
    12_000_000,
    "".join(episode(f"E{n}") for n in range(400)),
    'episodeID="E',
    "</Objektholder></Institusjon></Melding>",
)


@pytest.mark.parametrize(("size", "block", "key", "end"), [MANY, ONE], ids=["many patients", "one patient"])
def test_memory_does_not_grow_with_the_message(size: int, block: str, key: str, end: str, tmp_path: Path) -> None:
    """All processes together, pages that they share counted once; a message of one patient cannot be cut."""
    path = tmp_path / "large.xml"
    with path.open("w") as file:
        file.write(f'{OPENING}<Institusjon institusjonID="1">{UNITS}')
        file.write(patient(1).removesuffix("</Objektholder>\n") if block.startswith("<Episode") else "")
        for repeat in range(size // len(block) + 1):
            file.write(block.replace(key, f"{key}{repeat}-"))
        file.write(end)
    script = [sys.executable, "-m", "pipelines.cli", "validate", str(path)]
    with psutil.Popen(script, cwd=ROOT, stdout=-3, stderr=-3) as process:
        most = 0
        while process.poll() is None:
            most = max(most, sum(_memory(one) for one in _family(process)))
            try:
                process.wait(0.05)
            except psutil.TimeoutExpired:
                continue
    assert process.returncode == 0
    assert 20_000_000 < most < 96_000_000


def test_no_process_is_left_when_the_first_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "large.xml"
    with path.open("w") as file:
        file.write(f'{OPENING}<Institusjon institusjonID="1">{UNITS}')
        file.writelines(patient(number) for number in range(30_000))
        file.write("</Institusjon></Melding>")
    script = [sys.executable, "-m", "pipelines.cli", "validate", str(path)]
    with psutil.Popen(script, cwd=ROOT, stdout=-3, stderr=-3) as process:
        family = _family(process)
        while len(family) < 3 and process.poll() is None:
            family = _family(process)
            time.sleep(0.01)
        process.kill()
    assert len(family) == 3
    _, left = psutil.wait_procs(family, timeout=20)
    assert left == []


def _family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _memory(process: psutil.Process) -> int:
    """Proportional: a page that two processes share counts half in each."""
    try:
        return int(process.memory_full_info().pss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0


# npr show


def test_show_tells_head_period_units_and_counts_without_identities(home: Path, tmp_path: Path) -> None:
    path = packed("m.xml.gz", in_head(message()).encode(), tmp_path)
    outcome = call("show", path, "--json", home=home)
    assert outcome.code == 0, outcome.err
    told = outcome.json
    assert told["head"]["Sender name"] == "Sykehuset"
    assert (told["melding"]["tilDatoPeriode"], told["units"], told["packing"]) == ("2020-04-30", 4, "gzip")
    assert (told["counts"]["Objektholder"], told["counts"]["Episode"]) == (12, 24)
    text = call("show", path, home=home).out
    assert "2020-01-01 to 2020-04-30" in text
    assert not re.search(r"Hemmelig|sykehus\.example|P0000|E1a", outcome.out + text)


def test_show_refuses_what_is_no_message(home: Path, tmp_path: Path) -> None:
    assert call("show", packed("a.xml", b"<a/>", tmp_path), home=home).code == 1
    assert call("show", tmp_path / "none.xml", home=home).code == 2
