"""The model as XSD files, the reader that makes layouts of them, and loading and validating XML safely."""

from __future__ import annotations

import copy
import csv
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
import xmlschema
from lxml import etree

from schemas import layouts, versions, xsd
from schemas.contract import load_contract
from schemas.errors import DataRefused, WrongUse
from schemas.layout import Layout

ROOT = Path(__file__).parents[1]
SHARED = ROOT / "../shared/reference"
OURS = ROOT / "schemas/npr/54.0.1"
MODULES = ("ord", "ide", "sbs")

shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the official schemas (../shared/reference) are not at hand")


# What was written by us


def test_ord_has_the_order_of_the_model() -> None:
    layout = layouts.load_layout("ord", "54.0.1")
    assert [node.id for node in layout.nodes] == [
        "Melding", "Kontaktperson", "Institusjon", "Enhet", "Objektholder", "Pasient", "Henvisningsperiode",
        "Henvisningsperiode_RefEnhet", "Utsettelse", "Tidspunkt", "Episode", "Kontakt", "Kontakt_Helseperson", "Takst",
        "Episode_RefEnhet", "Tilstand", "Tilstand_Kode", "Tjeneste", "Tiltak", "Prosedyre", "Prosedyre_Kode",
        "Tiltak_Helseperson",
    ]  # fmt: skip
    assert [child.id for child in layout.children("Episode")] == ["Kontakt", "Episode_RefEnhet", "Tilstand", "Tjeneste"]
    assert [attribute.name for attribute in layout.node("Prosedyre_Kode").attributes] == [
        "kodeNr", "Kodeverk", "kodeVersjon", "kodeVerdi",
    ]  # fmt: skip
    assert layout.patient == "Objektholder"
    assert layout.namespace == "http://www.npr.no/xmlstds/54_0_1_ord"
    assert not layout.official


def test_types_uses_and_code_lists_are_read() -> None:
    layout = layouts.load_layout("ord", "54.0.1")
    of = {f"{node.id}@{attribute.name}": attribute for node in layout.nodes for attribute in node.attributes}
    assert (of["Melding@versjon"].fixed, of["Melding@versjon"].use) == ("54.0.1", "required")
    assert of["Melding@lopenr"].type == "integer"
    assert (of["Episode@omsorgsniva"].type, of["Episode@omsorgsniva"].code_list) == ("nonNegativeInteger", "8406")
    assert (of["Episode@komNrHjem"].type, of["Episode@innDatoTid"].type) == ("string", "dateTime")
    prohibited = [name for name, attribute in of.items() if attribute.use == "prohibited"]
    assert prohibited == ["Enhet@enhetNavn", "Episode@serieID"]
    contact = layout.node("Kontakt")
    assert (contact.min_occurs, contact.max_occurs) == (1, 1)
    assert layout.node("Episode").max_occurs is None


@pytest.mark.parametrize("module", MODULES)
def test_every_declaration_says_how_sure_and_from_where(module: str) -> None:
    tree = etree.parse(OURS / f"{module}.xsd", xsd.parser())
    declarations = list(tree.iter(f"{xsd.XSD}element", f"{xsd.XSD}attribute"))
    facts = [one.find(f"{xsd.XSD}annotation/{xsd.XSD}appinfo/{layouts.FACT}") for one in declarations]
    assert len(facts) > 20
    assert all(fact is not None and fact.get("certainty") in {"A", "B", "C"} and fact.get("source") for fact in facts)
    layout = layouts.load_layout(module, "54.0.1")
    told = [(node.certainty, node.source) for node in layout.nodes]
    told += [(attribute.certainty, attribute.source) for node in layout.nodes for attribute in node.attributes]
    assert all(source and certainty in {"A", "B", "C"} for certainty, source in told)


@pytest.mark.parametrize("module", MODULES)
def test_coded_attributes_are_of_their_list(module: str) -> None:
    for node in layouts.load_layout(module, "54.0.1").nodes:
        for attribute in node.attributes:
            assert attribute.type != "nonNegativeInteger" or attribute.code_list or attribute.name == "permisjonsdogn"


def test_contract_and_model_name_the_same_things() -> None:
    contract = load_contract()
    nodes = [node for module in MODULES for node in layouts.load_layout(module, "54.0.1").nodes]
    lists = {f"{node.name}@{attribute.name}": attribute.code_list for node in nodes for attribute in node.attributes}
    cost = {node for node, source in contract.classes.items() if source.table == "costs"}
    assert set(contract.classes) - cost <= {node.id for node in nodes}
    fed = {
        feed: column.code_list or None
        for t in contract
        if t.name != "costs"
        for column in t.columns
        for feed in column.feeds
    }
    assert {feed: lists[feed] for feed in fed} == fed


def test_layouts_are_the_same_each_time_and_their_digest_covers_the_shared_types(tmp_path: Path) -> None:
    for name in ("ide.xsd", "NPR.xsd"):
        (tmp_path / name).write_bytes((OURS / name).read_bytes())
    first = layouts.read_layout(tmp_path / "ide.xsd", "ide", "54.0.1", official=False)
    assert first.sha256 == layouts.load_layout("ide", "54.0.1").sha256
    (tmp_path / "NPR.xsd").write_bytes((OURS / "NPR.xsd").read_bytes() + b"\n")
    assert layouts.read_layout(tmp_path / "ide.xsd", "ide", "54.0.1", official=False).sha256 != first.sha256


# Versions and message types


def test_versions_follow_the_data_year() -> None:
    assert [versions.version_of(year).version for year in range(2018, 2025)] == [
        "53.1.2", "53.1.3", "54.0.1", "55.0.1", "56.0.1", "57.0.1", "58.0.1",
    ]  # fmt: skip
    assert versions.version_of(2020).certainty == "A"
    assert versions.version_of(2020).held == (*MODULES, "kpp")
    assert all(versions.version_of(year).evidence for year in range(2018, 2025))


def test_unknown_things_are_refused_with_what_there_is() -> None:
    with pytest.raises(WrongUse, match=r"2031[\s\S]*2018, 2019, 2020, 2021, 2022, 2023, 2024"):
        versions.version_of(2031)
    with pytest.raises(WrongUse, match=r"str[\s\S]*ord, ide, sbs"):
        layouts.load_layout("str", "54.0.1")
    with pytest.raises(WrongUse, match=r"kpp, str"):
        layouts.load_layout("err", "57.0.1")
    with pytest.raises(WrongUse, match=r"52\.0\.0"):
        versions.tsb_module("52.0.0")
    with pytest.raises(WrongUse, match="ord"):
        versions.message_type("xyz")


def test_message_types_are_those_of_list_8279() -> None:
    found = {module: versions.message_type(module).v for module in ("ord", "ide", "sbs", "tsb", "kpp")}
    assert found == {"ord": "NPR_ORD", "ide": "NPR_IDE", "sbs": "NPR_SBS", "tsb": "NPR_TSB", "kpp": "NPR_KPP"}
    assert versions.message_type("ord").dn == "NPR Den vanlige NPR-meldingen (kombinasjon av flere sektorer)"
    assert versions.tsb_module("54.0.1") == "sbs"


@pytest.mark.parametrize("year", range(2018, 2025))
def test_what_is_named_as_held_is_there(year: int) -> None:
    fact = versions.version_of(year)
    folder = ROOT / "schemas/npr" / fact.version
    files = {path.stem for path in folder.glob("*.xsd")} - {"NPR"}
    assert files == set(fact.held)


# Official files

OFFICIAL: Final = {
    "kpp 53.1.3": ("npr-kpp/53.1.3/XPR(kpp).xsd", "53_1_3_kpp", "Objektholder"),
    **{
        f"kpp {v}": (f"npr-kpp/{v}/NPR(kpp).xsd", f"{v.replace('.', '_')}_kpp", "Objektholder")
        for v in ("54.0.1", "55.0.1", "56.0.1", "57.0.1", "58.0.1")
    },
    "ide 53.1.2": ("xpr-ide-53.1.2/XPR(ide).xsd", "53_1_2_ide", "PasientIdent"),
    "bkm 0.78": ("npr-bkm-0.78/bkm_078(bkm).xsd", "", "Pasient"),
}


def official(name: str) -> Layout:
    module, version = name.split()
    return layouts.read_layout(SHARED / "xsd" / OFFICIAL[name][0], module, version, official=True)


@shared
@pytest.mark.parametrize("name", OFFICIAL)
def test_official_schemas_give_layouts(name: str) -> None:
    layout = official(name)
    _, space, patient = OFFICIAL[name]
    assert layout.namespace == f"http://www.npr.no/xmlstds/{space}".rstrip("/")
    assert layout.patient == patient
    assert layout.certainties()["A"] > 10
    assert layout.certainties()["B"] == layout.certainties()["C"] == 0
    assert xsd.compile_with_head(layout) is not None


@shared
def test_prohibited_attributes_of_official_schemas_are_kept_in_their_place() -> None:
    found = [(a.name, a.use, a.type) for a in official("kpp 54.0.1").node("Objektholder").attributes]
    assert found == [("pasientGUID", "prohibited", "string"), ("pasientNr", "required", "string")]


@shared
@pytest.mark.parametrize(("name", "attribute"), [("kpp 54.0.1", "kostnadKode"), ("kpp 58.0.1", "kostnadKode")])
def test_code_lists_of_official_schemas_are_found(name: str, attribute: str) -> None:
    found = [a.code_list for a in official(name).node("TjenesteKPP").attributes if a.name == attribute]
    assert found == ["8491"]


def shape(layout: Layout) -> dict[str, tuple[str, str, str | None, str | None]]:
    return {
        f"{node.id}@{a.name}": (a.type, a.use, a.fixed, a.code_list) for node in layout.nodes for a in node.attributes
    }


@shared
def test_our_ide_differs_from_the_official_one_of_53_1_2_only_where_54_0_1_changed() -> None:
    ours, theirs = layouts.load_layout("ide", "54.0.1"), official("ide 53.1.2")
    assert [(n.id, n.parent, n.min_occurs, n.max_occurs) for n in ours.nodes] == [
        (n.id, n.parent, n.min_occurs, n.max_occurs) for n in theirs.nodes
    ]
    mine, old = shape(ours), shape(theirs)
    assert list(mine) == [*list(old)[:17], "Institusjon@foretakID", *list(old)[17:]]
    different = {name: (old.get(name), mine[name]) for name in mine if old.get(name) != mine[name]}
    assert different == {
        "Melding@versjon": (("string", "required", "53.1.2", None), ("string", "required", "54.0.1", None)),
        "Melding@lopenr": (("string", "required", None, None), ("integer", "required", None, None)),
        "Institusjon@foretakID": (None, ("string", "optional", None, None)),
    }


@shared
@pytest.mark.parametrize("module", MODULES)
def test_our_message_header_is_that_of_the_official_kpp_54_0_1(module: str) -> None:
    ours, theirs = layouts.load_layout(module, "54.0.1"), official("kpp 54.0.1")
    for node in ("Melding", "Institusjon"):
        assert [shape(ours)[key] for key in shape(ours) if key.startswith(f"{node}@")] == [
            shape(theirs)[key] for key in shape(theirs) if key.startswith(f"{node}@")
        ]
        assert [a.name for a in ours.node(node).attributes] == [a.name for a in theirs.node(node).attributes]


GUID: Final = "0f8fad5b-d9cb-469f-a165-70867728950e"
VALUES: Final = [
    *("", "1", "12", "0301", "03011", "030101", "0301010", "æøåé", "    "),
    *(GUID, f"{{{GUID}}}", f"{{{GUID}", f"{GUID}}}", GUID.upper(), GUID[:-1], GUID.replace("-", ""), f" {GUID}"),
    *("2.16.578.1.12.4.1.1.8406", "2.16.", ".2", "2..16", "1 2", " 12 ", "2a"),
]


@shared
@pytest.mark.parametrize("name", ["kommNr", "bydelNr", "takstNr", "oid", "guid"])
def test_our_shared_types_take_what_the_official_ones_take(name: str) -> None:
    ours, theirs = (
        xmlschema.XMLSchema10(str(folder / "NPR.xsd"), allow="local").types[name]
        for folder in (OURS, SHARED / "xsd/npr-kpp/54.0.1")
    )
    verdicts = [theirs.is_valid(value) for value in VALUES]
    assert True in verdicts
    assert False in verdicts
    assert [ours.is_valid(value) for value in VALUES] == verdicts


@shared
def test_the_one_public_message_of_the_register_validates_and_its_mutation_does_not() -> None:
    layout = official("kpp 58.0.1")
    schema = xsd.compile_schema(layout.xsd)
    message = (SHARED / "messages/npr_kpp/TestMelding.expected.xml").read_bytes()
    assert xsd.validate_stream(schema, [message]) == []
    (fault,) = xsd.validate_stream(schema, [message.replace(b'versjon="58.0.1"', b'versjon="57.0.1"')])
    assert (fault.element, fault.attribute, fault.text) == ("Melding", "versjon", "differs from the fixed value")


# Messages by hand

MELDING: Final = (
    '<Melding xmlns="http://www.npr.no/xmlstds/54_0_1_{}" versjon="54.0.1" meldingstype="B" fraDatoPeriode="2020-01-01"'
    ' uttakDato="2020-05-04" leverandor="L" navnEPJ="E" versjonEPJ="1" versjonUt="1" lopenr="7"'
    ' tilDatoPeriode="2020-04-30">'
    '<Kontaktperson kontPerson="K" meldEpost1="k@example.org" typeKontaktperson="1"/>'
)
REFS: Final = '<RefEnhet enhetID="u1" typeEnhet="1"/><RefEnhet enhetID="u1" typeEnhet="2"/>'
KODE: Final = '<Kode kodeNr="{}" Kodeverk="D" kodeVersjon="2020" kodeVerdi="E702"/>'
MESSAGES: Final = {
    "ord": MELDING.format("ord")
    + '<Institusjon institusjonID="777777777" foretakID="1"><Enhet enhetID="u1"/><Enhet enhetID="u2" sektor="400"/>'
    '<Objektholder pasientNr="secret1"><Pasient pasientNr="secret1" kjonn="1" fodselsar="1950"/>'
    f'<Henvisningsperiode henvisningsperiodeID="h1" mottaksDato="2020-01-02">{REFS}'
    '<Utsettelse utsettDato="2020-02-02" utsettKode="1"/>'
    '<Tidspunkt typeTidspunkt="31" tidspunkt="2020-02-02T10:00:00"/></Henvisningsperiode>'
    '<Episode episodeID="e1" henvisningsperiodeID="h1" innDatoTid="2020-03-01T08:00:00" debitor="1" komNrHjem="0301"'
    ' bydel="030101" inntilstand="1" innmateHast="4" omsorgsniva="3">'
    '<Kontakt kontaktType="2" stedAktivitet="1"><Helseperson polUtforende="1"/><Takst kode="2ad" antall="1"/></Kontakt>'
    f'{REFS}<Tilstand tilstNr="1">{KODE.format(1)}{KODE.format(2)}</Tilstand><Tilstand tilstNr="2">{KODE.format(1)}'
    '</Tilstand><Tjeneste startDatoTid="2020-03-01T08:30:00"><Tiltak typeTiltak="1">'
    f'<Prosedyre prosNr="1">{KODE.format(1)}</Prosedyre><Prosedyre prosNr="2">{KODE.format(1)}</Prosedyre>'
    '<Helseperson polUtforende="2"/></Tiltak></Tjeneste></Episode></Objektholder>'
    '<Objektholder pasientNr="secret2"><Episode episodeID="e1" innDatoTid="2020-03-01T08:00:00" debitor="1"'
    ' komNrHjem="0301" inntilstand="1" innmateHast="4" omsorgsniva="3"><Kontakt kontaktType="2" stedAktivitet="1"/>'
    "</Episode></Objektholder></Institusjon></Melding>",
    "ide": MELDING.format("ide")
    + '<Institusjon institusjonID="777777777"><PasientIdent pid="secret1" fid="12345678901" typeID="1"/>'
    '<PasientIdent pid="secret2" fid="010150" typeID="9"/></Institusjon></Melding>',
    "sbs": MELDING.format("sbs")
    + '<Institusjon institusjonID="777777777"><Enhet enhetID="u1"/><Objektholder pasientNr="secret1">'
    '<Behandlingsstart episodeID="e1" startDato="2020-02-01" hovedrusmiddel="1"><RefEnhet enhetID="u1" typeEnhet="1"/>'
    "</Behandlingsstart></Objektholder></Institusjon></Melding>",
}
SECRETS: Final = re.compile("secret|12345678901|010150|not-a-date|nobody|k@example")

# module, what is replaced (first place), by what, element and attribute at fault, rule
Mutation = tuple[str, str, str, str | None, str | None, str]
IDC, TYPE, CONTENT = "SCHEMAV_CVC_IDC", "SCHEMAV_CVC_DATATYPE_VALID_1_2_1", "SCHEMAV_ELEMENT_CONTENT"
MISSING, EXTRA = "SCHEMAV_CVC_COMPLEX_TYPE_4", "SCHEMAV_CVC_COMPLEX_TYPE_3_2_1"
UNDECLARED = "SCHEMAV_CVC_ELT_1"
MUTATIONS: Final[list[Mutation]] = [
    ("ord", '<Enhet enhetID="u1"/>', "", "RefEnhet", None, IDC),
    ("ord", '<Enhet enhetID="u2"', '<Enhet enhetID="u1"', "Enhet", None, IDC),
    ("ord", '"secret2"', '"secret1"', "Objektholder", None, IDC),
    ("ord", 'henvisningsperiodeID="h1" innDatoTid', 'henvisningsperiodeID="nobody" innDatoTid', "Episode", None, IDC),
    ("ord", '<RefEnhet enhetID="u1"', '<RefEnhet enhetID="nobody"', "RefEnhet", None, IDC),
    ("ord", '<Tilstand tilstNr="2"', '<Tilstand tilstNr="1"', "Tilstand", None, IDC),
    ("ord", '<Prosedyre prosNr="2"', '<Prosedyre prosNr="1"', "Prosedyre", None, IDC),
    ("ord", 'kodeNr="2"', 'kodeNr="1"', "Kode", None, IDC),
    ("ord", "<Kontakt kontaktType", f"{REFS}<Kontakt kontaktType", "RefEnhet", None, CONTENT),
    ("ord", '<Pasient pasientNr="secret1" kjonn="1" fodselsar="1950"/>', "<Epikrise/>", "Epikrise", None, CONTENT),
    ("ord", '<Helseperson polUtforende="1"/>', "secret", "Kontakt", None, "SCHEMAV_CVC_COMPLEX_TYPE_2_3"),
    ("ord", 'mottaksDato="2020-01-02"', 'mottaksDato="not-a-date"', "Henvisningsperiode", "mottaksDato", TYPE),
    ("ord", "2020-03-01T08:00:00", "2020-03-01T08:60:00", "Episode", "innDatoTid", TYPE),
    ("ord", 'bydel="030101"', 'bydel="0301010"', "Episode", "bydel", "SCHEMAV_CVC_MAXLENGTH_VALID"),
    ("ord", 'komNrHjem="0301"', 'komNrHjem="301"', "Episode", "komNrHjem", "SCHEMAV_CVC_LENGTH_VALID"),
    ("ord", 'omsorgsniva="3"', 'omsorgsniva="x"', "Episode", "omsorgsniva", TYPE),
    ("ord", ' debitor="1"', "", "Episode", "debitor", MISSING),
    ("ord", ' Kodeverk="D"', ' kodeverk="D"', "Kode", "kodeverk", EXTRA),
    ("ord", 'episodeID="e1"', 'serieID="1" episodeID="e1"', "Episode", "serieID", EXTRA),
    ("ord", 'enhetID="u1"/>', 'enhetID="u1" enhetNavn="nobody"/>', "Enhet", "enhetNavn", EXTRA),
    ("ord", 'versjon="54.0.1"', 'versjon="55.0.1"', "Melding", "versjon", "SCHEMAV_CVC_AU"),
    ("ord", 'lopenr="7"', 'lopenr="nobody"', "Melding", "lopenr", TYPE),
    ("ide", '"secret2"', '"secret1"', "PasientIdent", None, IDC),
    ("ide", ' fid="12345678901"', "", "PasientIdent", "fid", MISSING),
    ("ide", 'typeID="1"', 'typeID="1a"', "PasientIdent", "typeID", TYPE),
    ("ide", 'pid="secret1"', f'pasientGUID="{GUID}x" pid="secret1"', "PasientIdent", "pasientGUID",
     "SCHEMAV_CVC_PATTERN_VALID"),
    ("ide", "54_0_1_ide", "54_0_1_ord", "Melding", None, UNDECLARED),
    ("sbs", ' startDato="2020-02-01"', "", "Behandlingsstart", "startDato", MISSING),
    ("sbs", "<RefEnhet", "<Kode/><RefEnhet", "Kode", None, CONTENT),
    ("sbs", 'hovedrusmiddel="1"', 'hovedrusmiddel="-1"', "Behandlingsstart", "hovedrusmiddel",
     TYPE),
    ("sbs", '<RefEnhet enhetID="u1"', '<RefEnhet enhetID="nobody"', "RefEnhet", None, IDC),
]  # fmt: skip


def in_head(body: str) -> bytes:
    party = (
        "<Organisation><OrganisationName>O</OrganisationName><Ident><Id>1</Id><TypeId V='HER'/></Ident></Organisation>"
    )
    return (
        '<MsgHead xmlns="http://www.kith.no/xmlstds/msghead/2006-05-24"><MsgInfo><Type V="NPR_ORD"/>'
        "<MIGversion>v1.2 2006-05-24</MIGversion><GenDate>2020-05-04T03:00:00</GenDate><MsgId>1</MsgId>"
        f"<Sender>{party}</Sender><Receiver>{party}</Receiver></MsgInfo><Document><RefDoc>"
        f'<MsgType V="XML"/><Content>{body}</Content></RefDoc></Document></MsgHead>'
    ).encode()


@pytest.fixture(scope="module")
def schemas() -> dict[str, etree.XMLSchema]:
    return {module: xsd.compile_with_head(layouts.load_layout(module, "54.0.1")) for module in MODULES}


@pytest.mark.parametrize("module", MODULES)
def test_a_message_by_hand_is_valid_alone_and_in_its_head(module: str, schemas: dict[str, etree.XMLSchema]) -> None:
    body = MESSAGES[module]
    assert xsd.validate_stream(xsd.compile_schema(OURS / f"{module}.xsd"), [body.encode()]) == []
    assert xsd.validate_stream(schemas[module], [in_head(body)]) == []


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: f"{m[0]}: {m[1][:30]} > {m[2][:30]}")
def test_a_mutation_is_rejected_and_nothing_of_it_is_told(
    mutation: Mutation, schemas: dict[str, etree.XMLSchema]
) -> None:
    module, old, new, element, attribute, rule = mutation
    assert old in MESSAGES[module]
    document = in_head(MESSAGES[module].replace(old, new, 1))
    faults = xsd.validate_stream(schemas[module], [document])
    assert (element, attribute, rule) in [(f.element, f.attribute, f.rule) for f in faults]
    assert not [fault for fault in faults if SECRETS.search(repr(fault))]
    tree = etree.fromstring(document, xsd.parser())
    assert not schemas[module].validate(tree)
    told = xsd.safe_errors(schemas[module].error_log)
    assert told
    assert not SECRETS.search(repr(told))
    assert all(fault.line == 1 for fault in told if fault.line)


def test_two_institutions_of_one_id_and_trust_are_rejected(schemas: dict[str, etree.XMLSchema]) -> None:
    institution = re.search("<Institusjon.*</Institusjon>", MESSAGES["ord"])
    assert institution is not None
    twice = MESSAGES["ord"].replace("</Melding>", f"{institution[0]}</Melding>")
    assert {fault.rule for fault in xsd.validate_stream(schemas["ord"], [in_head(twice)])} == {IDC}


# Reading streams


@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
def test_pieces_may_be_of_any_size(size: int, schemas: dict[str, etree.XMLSchema]) -> None:
    good = in_head(MESSAGES["ide"])
    bad = good.replace(b'typeID="9"', b'typeID="nine"')
    for document, faults in ((good, 0), (bad, 1)):
        pieces = [document[start : start + size] for start in range(0, len(document), size)]
        assert len(xsd.validate_stream(schemas["ide"], iter(pieces))) == faults


def test_a_document_that_is_cut_off_anywhere_is_rejected(schemas: dict[str, etree.XMLSchema]) -> None:
    document = in_head(MESSAGES["ide"])
    taken = [n for n in range(len(document)) if not xsd.validate_stream(schemas["ide"], [document[:n]])]
    assert taken == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace(b' typeID="9"', b' typeID="9" typeID="9"'),
        lambda text: text.replace(b"</Institusjon>", b""),
        lambda text: text.replace(b'"secret1"', b'"\xff"'),
        lambda text: text.replace(b'"secret1"', b'"&unknown;"'),
        lambda text: text.replace(b'"secret1"', b'"&#1;"'),
        lambda text: text.replace(b"<PasientIdent", b"<other:PasientIdent", 1),
        lambda text: text + b"<a/>",
        lambda text: text + b"secret",
        lambda _: b"",
        lambda _: b"secret",
    ],
)
def test_what_is_not_well_formed_is_a_fault_and_no_exception(
    spoil: Callable[[bytes], bytes], schemas: dict[str, etree.XMLSchema]
) -> None:
    document = spoil(in_head(MESSAGES["ide"]))
    faults = xsd.validate_stream(schemas["ide"], [document])
    assert faults[-1].rule == "XML_NOT_WELL_FORMED"
    assert faults[-1].line == 1
    assert not SECRETS.search(repr(faults))
    with pytest.raises(DataRefused) as caught:
        xsd.parse(document, "receipt.xml")
    assert not SECRETS.search(str(caught.value))


def test_a_value_beyond_the_limits_is_a_fault(schemas: dict[str, etree.XMLSchema]) -> None:
    long = in_head(MESSAGES["ide"].replace("secret1", "x" * 10_000_001, 1))
    (fault, *_) = xsd.validate_stream(schemas["ide"], [long])
    assert fault.rule == xsd.BEYOND
    with pytest.raises(DataRefused, match="beyond"):
        xsd.parse(long, "receipt.xml")


def test_names_that_may_mean_a_person_are_not_told(schemas: dict[str, etree.XMLSchema]) -> None:
    document = in_head(MESSAGES["ide"].replace(' fid="12345678901"', ' fid="1" p12345678901="1"'))
    (fault,) = xsd.validate_stream(schemas["ide"], [document])
    assert (fault.element, fault.attribute, fault.rule) == ("PasientIdent", None, EXTRA)


def many(count: int) -> Iterator[bytes]:
    before, after = in_head(MELDING.format("ide") + '<Institusjon institusjonID="1">|</Institusjon></Melding>').split(
        b"|"
    )
    yield before
    yield from (f'\n<PasientIdent pid="{i}" fid="{i}" typeID="nine"/>'.encode() for i in range(count))
    yield after


def test_reading_ends_at_the_limit_and_lines_tell_where(schemas: dict[str, etree.XMLSchema]) -> None:
    read = 0

    def watched() -> Iterator[bytes]:
        nonlocal read
        for piece in many(100_000):
            read += 1
            yield piece

    faults = xsd.validate_stream(schemas["ide"], watched(), limit=3)
    assert len(faults) == 3
    assert read < 20_000
    lines = [fault.line or 0 for fault in xsd.validate_stream(schemas["ide"], many(1000), limit=200)]
    assert lines == sorted(lines)
    # A line of these is about 50 bytes long, and a piece 4096.
    assert all(-1 <= number - line < 100 for number, line in enumerate(lines, start=2))
    assert len(xsd.validate_stream(schemas["ide"], many(1000))) == xsd.MOST_FAULTS


def test_what_was_read_is_let_go(schemas: dict[str, etree.XMLSchema]) -> None:
    validation = xsd._Validation(schemas["ide"], 1000)
    validation.feed(b"".join([*many(200)][:-1]))
    assert validation._root is not None
    assert len(list(validation._root.iter())) < 150


# Hostile files


def hostile(verdict: str) -> list[str]:
    manifest = SHARED / "hostile-xml/manifest.csv"
    if not manifest.exists():
        return []
    with manifest.open(encoding="utf-8", newline="") as file:
        return [row["file"] for row in csv.DictReader(file) if row["expected"] == verdict]


@shared
def test_there_are_hostile_files() -> None:
    assert len(hostile("refuse")) == 12
    assert len(hostile("accept")) == 2


@shared
@pytest.mark.parametrize("name", [name for name in hostile("refuse") if name.endswith(".xml")])
def test_hostile_files_are_refused(name: str, schemas: dict[str, etree.XMLSchema]) -> None:
    data = (SHARED / "hostile-xml" / name).read_bytes()
    with pytest.raises(DataRefused) as caught:
        xsd.parse(data, name)
    assert caught.value.rule in {"XML_DOCTYPE", "XML_NOT_WELL_FORMED"}
    (fault,) = xsd.validate_stream(schemas["ide"], [data])
    assert fault.rule == caught.value.rule


@shared
@pytest.mark.parametrize("name", [name for name in hostile("refuse") if name.endswith(".xsd")])
def test_a_schema_that_loads_from_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(WrongUse, match="never from the network"):
        xsd.compile_schema(SHARED / "hostile-xml" / name)


@shared
@pytest.mark.parametrize("name", hostile("accept"))
def test_harmless_files_are_taken(name: str) -> None:
    assert xsd.parse((SHARED / "hostile-xml" / name).read_bytes(), name).tag.endswith("root")


def test_a_doctype_is_refused_however_harmless(schemas: dict[str, etree.XMLSchema]) -> None:
    document = b"<!DOCTYPE MsgHead>" + in_head(MESSAGES["ide"])
    assert [fault.rule for fault in xsd.validate_stream(schemas["ide"], [document])] == ["XML_DOCTYPE"]
    for encoding in ("utf-16", "iso-8859-1"):
        text = f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'
        with pytest.raises(DataRefused, match="DOCTYPE"):
            xsd.parse(text.encode(encoding), "a.xml")


def test_a_document_cannot_bring_its_own_schema(tmp_path: Path, schemas: dict[str, etree.XMLSchema]) -> None:
    own = tmp_path / "own.xsd"
    own.write_text(f'<schema xmlns="{xsd.XSD[1:-1]}" targetNamespace="urn:own"><element name="Own"/></schema>')
    hint = f'xmlns:i="{xsd.XSD[1:-1]}-instance" i:schemaLocation="urn:own {own}"'
    faults = xsd.validate_stream(schemas["ide"], [in_head(f'<Own xmlns="urn:own" {hint}/>')])
    assert [fault.element for fault in faults] == ["Own"]


SCHEMA: Final = '<schema xmlns="http://www.w3.org/2001/XMLSchema" xmlns:x="urn:x" targetNamespace="urn:x">{}</schema>'


@pytest.mark.parametrize(
    "content",
    [
        '<include schemaLocation="../outside.xsd"/>',
        '<include schemaLocation="missing.xsd"/>',
        '<redefine schemaLocation="/etc/hostname"/>',
        '<import namespace="urn:y" schemaLocation="https://example.invalid/y.xsd"/>',
        '<element name="a" type="x:missing"/>',
    ],
)
def test_schemas_that_reach_out_or_do_not_compile_are_wrong_use(content: str, tmp_path: Path) -> None:
    (tmp_path / "outside.xsd").write_text(SCHEMA.format(""))
    path = tmp_path / "in" / "a.xsd"
    path.parent.mkdir()
    path.write_text(SCHEMA.format(content))
    with pytest.raises(WrongUse):
        xsd.compile_schema(path)
    with pytest.raises(WrongUse):
        layouts.read_layout(path, "a", "1", official=True)


@pytest.mark.parametrize("text", ["<a/>", "no xml", "<!DOCTYPE a><a/>"])
def test_files_that_are_no_schema_are_wrong_use(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.xsd"
    with pytest.raises(WrongUse, match=r"a\.xsd cannot be read"):
        xsd.compile_schema(path)
    path.write_text(text)
    with pytest.raises(WrongUse, match=r"a\.xsd"):
        xsd.compile_schema(path)


def test_schemas_that_load_each_other_in_a_circle_compile(tmp_path: Path) -> None:
    (tmp_path / "a.xsd").write_text(SCHEMA.format('<include schemaLocation="b.xsd"/><element name="a" type="x:t"/>'))
    inner = '<include schemaLocation="a.xsd"/><simpleType name="t"><restriction base="date"/></simpleType>'
    (tmp_path / "b.xsd").write_text(SCHEMA.format(inner))
    schema = xsd.compile_schema(tmp_path / "a.xsd")
    assert xsd.validate_stream(schema, [b'<a xmlns="urn:x">2020-01-01</a>']) == []
    assert [file.name for file in xsd.local_files(tmp_path / "b.xsd")] == ["a.xsd", "b.xsd"]


def test_a_class_within_itself_is_wrong_use_and_does_not_hang(tmp_path: Path) -> None:
    nested = (
        '<element name="{}"><complexType><sequence><element ref="x:{}" minOccurs="0"/></sequence></complexType>'
        "</element>"
    )
    path = tmp_path / "a.xsd"
    path.write_text(SCHEMA.format(nested.format("Melding", "Enhet") + nested.format("Enhet", "Enhet")))
    with pytest.raises(WrongUse, match="Enhet stands within itself"):
        layouts.read_layout(path, "a", "1", official=True)


@pytest.mark.parametrize(("content", "match"), [("", "no Melding"), ('<element name="Melding"/>', "no patients")])
def test_a_schema_without_message_or_patients_is_wrong_use(content: str, match: str, tmp_path: Path) -> None:
    path = tmp_path / "a.xsd"
    path.write_text(SCHEMA.format(content))
    with pytest.raises(WrongUse, match=match):
        layouts.read_layout(path, "a", "1", official=True)


# The head message

MH: Final = "{http://www.kith.no/xmlstds/msghead/2006-05-24}"
IDENT: Final = '<Ident><Id>1</Id><TypeId V="HER" S="2.16.578.1.12.4.1.1.9051" DN="d" OT="o"/></Ident>'
ADDRESS: Final = (
    '<Address><Type V="PST"/><StreetAdr>s</StreetAdr><PostalCode>1</PostalCode><City>c</City><Postbox>p</Postbox>'
    '<County V="3"/><Country V="NO"/></Address><TeleCom><TypeTelecom V="HP"/><TeleAddress V="tel:1"/></TeleCom>'
)
NAMED: Final = (
    "<FamilyName>f</FamilyName><MiddleName>m</MiddleName><GivenName>g</GivenName><DateOfBirth>1950-01-01</DateOfBirth>"
    '<Sex V="1"/><Nationality V="NO"/>'
)
HUMAN: Final = NAMED + IDENT + ADDRESS
WORKER: Final = (
    '<HealthcareProfessional><TypeHealthcareProfessional V="LE"/><RoleToPatient V="4"/>'
    f"{HUMAN}</HealthcareProfessional>"
)
ORG: Final = (
    f'<Organisation><OrganisationName>o</OrganisationName><TypeOrganisation V="1"/>{IDENT}{IDENT}{ADDRESS}'
    f"<Organisation/>{WORKER}</Organisation>"
)
OTHER: Final = '<OtherReceiver><ComMethod V="EDI"/><RoleReceiver V="KO"/>{}</OtherReceiver>'
DOCUMENT: Final = (
    '<Document><DocumentConnection V="H"/><ContentType V="1"/><ContentDescription>c</ContentDescription>'
    '<ContentCategory V="1"/><Consent V="1"/><Annotation>a</Annotation><FromDate V="2020"/><ToDate V="2020-05"/>'
    '<OidRef>2.16</OidRef><EnquiryRefId>e</EnquiryRefId><RefDoc><IssueDate V="2020-05-04T03:00:00"/><MsgType V="XML"/>'
    '<Id>i</Id><MimeType>text/xml</MimeType><Description>d</Description><Compression V="U"/>{}</RefDoc></Document>'
)
FULL: Final = (
    f'<MsgHead xmlns="{MH[1:-1]}"><MsgInfo><Type V="NPR_ORD" DN="d"/><MIGversion>v1.2 2006-05-24</MIGversion>'
    "<GenDate>2020-05-04T03:00:00</GenDate><MsgId>1</MsgId><ProcessingStatus V='P'/><RequestedPriority V='1'/>"
    "<Ack V='J'/><ConversationRef><RefToParent>p</RefToParent><RefToConversation>c</RefToConversation>"
    "</ConversationRef>"
    f"<Sender><ComMethod V='EDI'/>{ORG}</Sender><Receiver>{ORG}</Receiver>"
    + "".join(
        OTHER.format(one) for one in ("", ORG, WORKER, f"<Patient>{HUMAN}</Patient>", f"<Person>{HUMAN}</Person>")
    )
    + f"<Patient>{HUMAN}</Patient></MsgInfo>{{}}</MsgHead>"
)
CONTAINER: Final = (
    '<Content><B:Base64Container xmlns:B="http://www.kith.no/xmlstds/base64container">{}</B:Base64Container></Content>'
)
HEADS: Final = {
    "with a file": FULL.format(DOCUMENT.format("<FileReference>f</FileReference>")),
    "with base64": FULL.format(DOCUMENT.format(CONTAINER.format("AAAA"))),
    "with a report": FULL.format(
        '<PatientReport><DocumentConnection V="H"/><CaseNo>1</CaseNo>'
        + DOCUMENT.format("<Content/>") * 2
        + f"<Patient>{HUMAN}</Patient></PatientReport>"
    ),
}
EXAMPLES: Final = (
    "navikt_sykmeld_head.xml", "npr_bkm/eksempel.xml", "npr_bkm/npr-bkm-ncrp-eksempel-kith.xml",
)  # fmt: skip


def mutants(root: etree._Element) -> Iterator[etree._Element]:
    """Copies with one element or attribute of the head removed, doubled, moved, emptied or renamed."""
    tree = root.getroottree()
    places = [tree.getelementpath(element) for element in root.iter(f"{MH}*")]
    for change in (_remove, _double, _swap, _rename, _refill, _strip, _attribute, _spoil):
        for place in places:
            twin = copy.deepcopy(tree)
            element = twin.find(place)
            if element is not None and change(element):
                yield twin.getroot()


def _remove(element: etree._Element) -> bool:
    parent = element.getparent()
    if parent is not None:
        parent.remove(element)
    return parent is not None


def _double(element: etree._Element) -> bool:
    if element.getparent() is not None:
        element.addnext(copy.deepcopy(element))
    return element.getparent() is not None


def _swap(element: etree._Element) -> bool:
    following = element.getnext()
    if following is not None:
        following.addnext(element)
    return following is not None


def _rename(element: etree._Element) -> bool:
    element.tag = f"{MH}Unknown"
    return True


def _refill(element: etree._Element) -> bool:
    element.text = "x"
    return True


def _strip(element: etree._Element) -> bool:
    element.attrib.clear()
    return True


def _attribute(element: etree._Element) -> bool:
    element.set("unknown", "x")
    return True


def _spoil(element: etree._Element) -> bool:
    for name in ("V", "S"):
        if name in element.attrib:
            element.set(name, "x y")
    return bool(element.attrib)


def both_verdicts(root: etree._Element) -> list[tuple[bool, bool]]:
    bkm = SHARED / "xsd/npr-bkm-0.78/bkm_078(bkm).xsd"
    container = SHARED / "xsd/kith-base64.xsd"
    ours = xsd._driver([xsd.HEAD, bkm])
    theirs = xsd._driver([SHARED / "xsd/MsgHead-v1_2.xsd", bkm, container])
    return [(ours.validate(one), theirs.validate(one)) for one in (root, *mutants(root))]


@shared
@pytest.mark.parametrize("name", EXAMPLES)
def test_our_head_and_the_official_one_agree_on_official_examples(name: str) -> None:
    verdicts = both_verdicts(xsd.parse((SHARED / "messages" / name).read_bytes(), name))
    assert verdicts[0] == (True, True)
    assert [pair for pair in verdicts if pair[0] != pair[1]] == []
    assert sum(not ours for ours, _ in verdicts) > 100


@shared
@pytest.mark.parametrize("name", HEADS)
def test_our_head_and_the_official_one_agree_where_everything_is_filled(name: str) -> None:
    verdicts = both_verdicts(xsd.parse(HEADS[name].encode(), name))
    assert verdicts[0] == (True, True)
    assert [pair for pair in verdicts if pair[0] != pair[1]] == []
    assert sum(not ours for ours, _ in verdicts) > 1000


@pytest.mark.parametrize("name", HEADS)
def test_a_full_head_is_valid(name: str) -> None:
    schema = xsd.compile_schema(xsd.HEAD)
    assert xsd.validate_stream(schema, [HEADS[name].encode()]) == []
    assert xsd.validate_stream(schema, [HEADS[name].replace("v1.2", "v1.1").encode()])


def test_content_takes_only_what_is_declared() -> None:
    schema = xsd.compile_schema(xsd.HEAD)
    assert xsd.validate_stream(schema, [FULL.format(DOCUMENT.format(CONTAINER.format("not base64!"))).encode()])
    (fault, *_) = xsd.validate_stream(schema, [in_head(MESSAGES["ide"])])
    assert fault.element == "Melding"
    signature = '<Signature xmlns="http://www.w3.org/2000/09/xmldsig#"><SignedInfo/></Signature></MsgHead>'
    assert xsd.validate_stream(schema, [HEADS["with base64"].replace("</MsgHead>", signature).encode()]) == []


@shared
@pytest.mark.parametrize("version", ["53.1.3", "58.0.1"])
def test_the_registers_own_head_compiles_with_our_stand_ins_for_what_it_loads_from_the_network(version: str) -> None:
    schema = xsd.compile_schema(SHARED / "xsd/npr-kpp" / version / "MsgHead.xsd")
    assert xsd.validate_stream(schema, [HEADS["with base64"].encode()]) == []
