"""The model as data, the XSDs made from it, and how far they agree with the official ones of each version."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
import xmlschema
from lxml import etree

from pipelines.docs import schema_files
from schemas import layouts, versions, xsd
from schemas.errors import WrongUse
from schemas.layout import Layout
from schemas.model import FOLDER, HEADERS, AttributeRow, Model, load_model, read_model
from transforms.model.xsd_text import message_xsd
from transforms.pages.messages import message_pages, messages_page

SHARED: Final = Path(__file__).parents[1] / "../shared/reference/xsd"
VERSIONS: Final = ("53.1.2", "53.1.3", "54.0.1", "55.0.1", "56.0.1", "57.0.1", "58.0.1")
HELD: Final = [(version.name, module) for version in load_model().versions for module in version.held]
OFFICIAL: Final = {
    ("53.1.2", "ide"): "xpr-ide-53.1.2/XPR(ide).xsd",
    ("53.1.3", "kpp"): "npr-kpp/53.1.3/XPR(kpp).xsd",
    **{(version, "kpp"): f"npr-kpp/{version}/NPR(kpp).xsd" for version in VERSIONS[2:]},
}

shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the official schemas (../shared/reference) are not at hand")
each = pytest.mark.parametrize(("version", "module"), HELD)


# The XSDs are the model


def test_every_version_has_its_modules() -> None:
    assert [version.name for version in load_model().versions] == list(VERSIONS)
    assert {module for _, module in HELD} == {"ord", "ide", "sbs", "kpp", "str"}
    assert [version for version, module in HELD if module == "str"] == ["57.0.1"]
    assert len(HELD) == 4 * len(VERSIONS) + 1


def test_the_xsds_are_current_and_made_the_same_each_time() -> None:
    files = schema_files(load_model())
    assert files == schema_files(load_model())
    assert {path: path.read_bytes() for path in files} == files
    assert set(versions.FOLDER.glob("*/*.xsd")) == set(files)


@each
def test_an_xsd_gives_back_the_model_it_was_made_from(version: str, module: str) -> None:
    message, layout = load_model().message(module, version), layouts.load_layout(module, version)
    places = list(message.places())
    assert [node.name for node in layout.nodes] == [child.name for _, child, _ in places]
    assert [(n.min_occurs, n.max_occurs, n.certainty, n.source) for n in layout.nodes] == [
        (child.min_occurs, child.max_occurs, child.fact.certainty, child.fact.source) for _, child, _ in places
    ]
    assert [[(a.name, a.use, a.fixed, a.certainty, a.source) for a in node.attributes] for node in layout.nodes] == [
        [(a.name, a.use, a.fixed, a.fact.certainty, a.fact.source) for a in one.attributes] for _, _, one in places
    ]
    assert layout.certainties() == message.certainties()
    assert not layout.official


@each
def test_an_xsd_compiles_alone_and_with_its_head(version: str, module: str) -> None:
    layout = layouts.load_layout(module, version)
    assert xsd.compile_schema(layout.xsd) is not None
    assert xsd.compile_with_head(layout) is not None


@pytest.mark.parametrize("version", VERSIONS)
def test_files_have_the_encoding_of_the_official_ones(version: str) -> None:
    name = "UTF-8" if version == "58.0.1" else "ISO-8859-1"
    for path in (versions.FOLDER / version).glob("*.xsd"):
        assert path.read_bytes().startswith(f'<?xml version="1.0" encoding="{name}"?>'.encode())


# How sure


@each
def test_nothing_is_surer_than_its_source_for_that_version(version: str, module: str) -> None:
    message = load_model().message(module, version)
    facts = [attribute.fact for one in message.classes for attribute in one.attributes]
    facts += [child.fact for one in message.classes for child in one.children]
    facts += [one.fact for one in message.classes]
    assert all(fact.certainty in {"A", "B", "C"} and fact.source for fact in facts)
    carried = [fact for fact in facts if "carried from" in fact.note]
    assert all(fact.certainty != "A" for fact in carried)
    of = {"54.0.1": {"54.0.1", "53.1.2", "56.0.0"}, "56.0.1": {"56.0.1", "56.0.0"}}.get(version, {version})
    assert {fact.source.rpartition(" ")[2] for fact in facts if fact.certainty == "A"} <= of


def test_what_was_known_of_54_0_1_is_still_known() -> None:
    counts = {module: layouts.load_layout(module, "54.0.1").certainties() for module in ("ord", "ide", "sbs", "kpp")}
    assert counts == {
        "ord": {"A": 39, "B": 62, "C": 29},
        "ide": {"A": 22, "B": 0, "C": 0},
        "sbs": {"A": 29, "B": 1, "C": 17},
        "kpp": {"A": 19, "B": 0, "C": 0},
    }


def rows_of(version: str, module: str) -> dict[str, AttributeRow]:
    classes = load_model().message(module, version).classes
    return {f"{one.name}@{attribute.name}": attribute for one in classes for attribute in one.attributes}


def test_a_fact_carried_over_says_so_and_loses_its_a() -> None:
    facts = [rows_of(version, "ide")["PasientIdent@fid"].fact for version in VERSIONS]
    assert [fact.certainty for fact in facts] == ["A", "B", "A", "B", "B", "B", "B"]
    assert facts[-1].note == "carried from 53.1.2"
    assert rows_of("53.1.2", "kpp")["TjenesteKPP@kostnad"].fact.note == "NOK; carried from 53.1.3"


# What differs between versions


def test_known_differences_are_real() -> None:
    found = {version: rows_of(version, "ord") for version in VERSIONS}
    assert [found[version]["Melding@lopenr"].type for version in VERSIONS] == ["string"] * 2 + ["integer"] * 5
    assert ["Institusjon@foretakID" in found[version] for version in VERSIONS] == [False] * 2 + [True] * 5
    assert ["Melding@uttakTidspunkt" in found[version] for version in VERSIONS] == [False] * 5 + [True] * 2
    assert ["codes B, E and K" in found[v]["Melding@meldingstype"].fact.note for v in VERSIONS] == [False] * 4 + [
        True
    ] * 3
    assert ["compulsory" in found[v]["Enhet@sektor"].fact.note for v in VERSIONS] == [False] * 3 + [True] * 4
    assert {found[version]["Enhet@sektor"].use for version in VERSIONS} == {"optional"}
    assert [found[version]["Melding@versjon"].fixed for version in VERSIONS] == list(VERSIONS)


@pytest.mark.parametrize(
    ("version", "taken"),
    [("53.1.2", "1 12"), ("53.1.3", "1 12"), ("54.0.1", "1 12 0301 030101"), ("57.0.1", "1 12 0301 030101"),
     ("58.0.1", "030101")],
)  # fmt: skip
def test_the_length_of_a_city_district(version: str, taken: str) -> None:
    bydel = xmlschema.XMLSchema10(str(versions.FOLDER / version / "NPR.xsd"), allow="local").types["bydelNr"]
    values = ["", "1", "12", "0301", "030101", "0301010"]
    assert [value for value in values if bydel.is_valid(value)] == taken.split()


COST: Final = (
    '<Melding xmlns="http://www.npr.no/xmlstds/{space}_kpp" versjon="{version}" meldingstype="{kind}"'
    ' fraDatoPeriode="2020-01-01" uttakDato="2021-05-04"{stamp} leverandor="L" navnEPJ="E" versjonEPJ="1" versjonUt="1"'
    ' lopenr="{number}" tilDatoPeriode="2020-12-31">{institutions}</Melding>'
)
UNIT: Final = (
    '<Institusjon institusjonID="777777777"{trust}><Objektholder pasientNr="1"><EpisodeKPP episodeID="e">'
    '<TjenesteKPP kostnadKode="X" kostnad="1.50"/></EpisodeKPP></Objektholder></Institusjon>'
)


def verdict(version: str, **parts: str) -> bool:
    """Whether our kpp of that version takes the cost message with these parts."""
    filled = {"kind": "B", "stamp": "", "number": "7", "institutions": UNIT.format(trust="")} | parts
    body = COST.format(space=version.replace(".", "_"), version=version, **filled)
    return not xsd.validate_stream(xsd.compile_schema(versions.FOLDER / version / "kpp.xsd"), [body.encode()])


TWO: Final = UNIT.format(trust=' foretakID="1"') + UNIT.format(trust=' foretakID="2"')


@pytest.mark.parametrize(
    ("parts", "taken"),
    [
        ({}, VERSIONS),
        ({"number": "a7"}, VERSIONS[:2]),
        ({"kind": "K"}, VERSIONS[2:]),
        ({"kind": "E"}, VERSIONS),
        ({"stamp": ' uttakTidspunkt="2021-05-04T03:00:00"'}, VERSIONS[5:]),
        ({"institutions": UNIT.format(trust=' foretakID="1"')}, VERSIONS[2:]),
        ({"institutions": TWO}, VERSIONS[2:3]),
    ],
    ids=["plain", "lopenr", "K", "E", "uttakTidspunkt", "foretakID", "one institution in two trusts"],
)
def test_messages_are_judged_by_their_version(parts: dict[str, str], taken: tuple[str, ...]) -> None:
    assert tuple(version for version in VERSIONS if verdict(version, **parts)) == taken


@pytest.mark.parametrize(("version", "kinds"), [("53.1.2", 16), ("53.1.3", 17), ("54.0.1", 0), ("58.0.1", 0)])
def test_only_53_enumerates_codes(version: str, kinds: int) -> None:
    lists = {one.name: one for one in load_model().message("ide", version).lists}
    assert len(lists["list8471"].facets) == kinds
    assert bool(lists["list7371"].facets) == (kinds > 0)
    assert lists["list9032"].base == ("string" if version == "58.0.1" else "nonNegativeInteger")


# Official schemas


def shape(layout: Layout) -> list[object]:
    return [
        (n.id, n.parent, n.min_occurs, n.max_occurs, [(a.name, a.type, a.use, a.fixed) for a in n.attributes])
        for n in layout.nodes
    ]


def paths(key: etree._Element) -> list[str | None]:
    return [part.get("xpath") for part in key.iter(f"{xsd.XSD}selector", f"{xsd.XSD}field")]


def keys(path: Path) -> set[object]:
    root = etree.parse(path, xsd.parser()).getroot()
    kinds = [f"{xsd.XSD}{kind}" for kind in ("unique", "key", "keyref")]
    return {
        (element.get("name"), key.tag, key.get("name"), key.get("refer"), *paths(key))
        for element in root.iterchildren(f"{xsd.XSD}element")
        for key in element.iterchildren(*kinds)
    }


@shared
@pytest.mark.parametrize(("version", "module"), OFFICIAL)
def test_ours_agrees_with_the_official_one(version: str, module: str) -> None:
    theirs = layouts.read_layout(SHARED / OFFICIAL[version, module], module, version, official=True)
    ours = layouts.load_layout(module, version)
    assert shape(ours) == shape(theirs)
    assert (ours.namespace, ours.patient) == (theirs.namespace, theirs.patient)
    assert keys(ours.xsd) == keys(theirs.xsd)
    assert ours.certainties() == theirs.certainties()
    told = [a.code_list for node in theirs.nodes for a in node.attributes]
    mine = [a.code_list for node in ours.nodes for a in node.attributes]
    assert [(o, t) for o, t in zip(mine, told, strict=True) if t and o != t] == []


@shared
def test_codes_of_53_are_those_of_the_official_ide() -> None:
    theirs = enumerations(SHARED / "xpr-ide-53.1.2/XPR(ide)_CodingSchemes.xsd")
    ours = enumerations(versions.FOLDER / "53.1.2/ide.xsd")
    pairs = {"list7371": "meldingstype", "list8471": "kontaktperson_type", "list9032": "type_personidentifikasjon"}
    assert {name: ours[name] for name in pairs} == {name: theirs[name_of] for name, name_of in pairs.items()}


def enumerations(path: Path) -> dict[str, tuple[str | None, set[str | None]]]:
    """Simple type -> base without prefix, and its values."""
    found: dict[str, tuple[str | None, set[str | None]]] = {}
    for one in etree.parse(path, xsd.parser()).getroot().iterchildren(f"{xsd.XSD}simpleType"):
        base = one[0].get("base", "").rpartition(":")[2]
        found[one.get("name", "")] = (base, {value.get("value") for value in one.iter(f"{xsd.XSD}enumeration")})
    return found


GUID: Final = "0f8fad5b-d9cb-469f-a165-70867728950e"
VALUES: Final = [
    *("", "1", "12", "0301", "03011", "030101", "0301010", "    ", GUID, f"{{{GUID}}}", f"{{{GUID}", GUID[:-1]),
    *("2.16.578.1", "2.16.", ".2", "2..16", "1 2", " 12 ", "2a"),
]


@shared
@pytest.mark.parametrize(("version", "module"), OFFICIAL)
def test_shared_types_take_what_the_official_ones_of_the_version_take(version: str, module: str) -> None:
    ours, theirs = (
        xmlschema.XMLSchema10(str(path), allow="local").types
        for path in (versions.FOLDER / version / "NPR.xsd", (SHARED / OFFICIAL[version, module]).parent / "NPR.xsd")
    )
    for name in ("kommNr", "bydelNr", "takstNr", "oid", "guid"):
        assert [ours[name].is_valid(value) for value in VALUES] == [theirs[name].is_valid(value) for value in VALUES]


# The tables


def tables() -> dict[str, str]:
    return {name: (FOLDER / f"{name}.csv").read_text(encoding="utf-8") for name in HEADERS}


def read(change: Callable[[dict[str, str]], None]) -> Model:
    """The packaged tables after a change to their text."""
    texts = tables()
    change(texts)
    modules = tomllib.loads((FOLDER / "modules.toml").read_text(encoding="utf-8"))
    return read_model(texts, modules, versions.packaged_versions())


@pytest.mark.parametrize(
    ("table", "old", "new", "told"),
    [
        ("attributes", "lopenr,all,54.0.1", "lopenr,all,54.0.2", r"from '54\.0\.2'"),
        ("attributes", "lopenr,all,54.0.1,,integer", "lopenr,all,54.0.1,,number", "type 'number'"),
        ("attributes", "PasientIdent,pid,ide", "PasientIdent,pid,idx", "modules idx"),
        ("attributes", "coded,9032,", "coded,,", r"list ''"),
        ("attributes", "string,,fixed,A,header", "string,,fixed,A,bkm", "names its version"),
        ("attributes", "string,,fixed,A,header", "string,,fixed,D,header", "certainty 'D'"),
        ("attributes", "string,,fixed,A,header", "string,,must,A,header", "use 'must'"),
        ("children", "Kontakt,Takst", "Kontakt,Fee", "child 'Fee'"),
        ("sources", "ide,53.1.2,", "ide,50.0.0,", "version '50.0.0'"),
        ("keys", "Melding,unique,", "Melding,once,", "kind 'once'"),
        ("types", "from,to", "to,from", "columns are"),
    ],
)
def test_a_wrong_row_is_refused_with_its_line(table: str, old: str, new: str, told: str) -> None:
    def change(texts: dict[str, str]) -> None:
        assert old in texts[table]
        texts[table] = texts[table].replace(old, new, 1)

    with pytest.raises(WrongUse, match=rf"{told}[\s\S]*{table}\.csv, line \d+"):
        read(change)


def test_two_rows_for_one_attribute_of_a_version_are_refused() -> None:
    def overlap(texts: dict[str, str]) -> None:
        texts["attributes"] = texts["attributes"].replace("lopenr,all,54.0.1", "lopenr,all,53.1.3")

    model = read(overlap)
    assert model.message("ide", "54.0.1") == load_model().message("ide", "54.0.1")
    with pytest.raises(WrongUse, match=r"Melding lopenr stands twice[\s\S]*attributes\.csv, line"):
        model.message("ide", "53.1.3")


def test_a_version_without_a_data_year_is_refused() -> None:
    packaged = versions.packaged_versions()
    years = {year: fact for year, fact in packaged["years"].items() if fact["version"] != "55.0.1"}
    with pytest.raises(WrongUse, match=r"55\.0\.1[\s\S]*versions\.toml"):
        read_model(tables(), {}, {**packaged, "years": years})


def test_one_row_changes_one_version_and_nothing_else() -> None:
    def add(texts: dict[str, str]) -> None:
        texts["attributes"] += "PasientIdent,kilde,ide,58.0.1,,string,,required,C,inferred,made up\n"

    model = read(add)
    changed = [
        (version, module)
        for version, module in HELD
        if message_xsd(model.message(module, version)) != message_xsd(load_model().message(module, version))
    ]
    assert changed == [("58.0.1", "ide")]
    assert "| `PasientIdent@kilde` | none | string, required, made up |" in messages_page(model)


def test_what_is_not_held_is_refused_with_what_there_is() -> None:
    with pytest.raises(WrongUse, match="ord, ide, sbs, kpp"):
        load_model().message("str", "58.0.1")
    with pytest.raises(WrongUse, match=r"53\.1\.2, 53\.1\.3"):
        load_model().message("ord", "52.0.0")


# The page


def test_the_page_of_each_message_shows_what_its_schema_says() -> None:
    pages = message_pages(load_model())
    assert set(pages) == {f"{version}-{module}.md" for version, module in HELD}
    for version, module in HELD:
        page, layout = pages[f"{version}-{module}.md"], layouts.load_layout(module, version)
        assert shown_tree(page) == [node.name for node in layout.nodes]
        shown = shown_attributes(page)
        for node in layout.nodes:
            expected = {
                a.name: (a.use, a.code_list or "", a.certainty, a.source.removesuffix(".xsd")) for a in node.attributes
            }
            assert shown[node.name] == expected, (version, module, node.name)


def shown_tree(page: str) -> list[str]:
    return [line.split()[0] for line in page.partition("```\n")[2].partition("```")[0].splitlines()]


def shown_attributes(page: str) -> dict[str, dict[str, tuple[str, ...]]]:
    """Class -> attribute -> use, code list, certainty and source."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for part in page.partition("## Attributes")[2].partition("## Code lists")[0].split("\n**")[1:]:
        rows = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| `")]
        found[part.partition("**")[0]] = {
            name.strip("`"): (use.partition(",")[0], code_list.strip(), sure, source)
            for name, _, use, code_list, sure, source, *_ in rows
        }
    return found


def test_the_page_of_a_message_lists_the_codes_of_its_year() -> None:
    pages = message_pages(load_model())
    assert "| 7371 | Meldingstype | A | B, E | `Melding@meldingstype` |" in pages["53.1.2-ide.md"]
    assert "| 7371 | Meldingstype | A | B, E, K | `Melding@meldingstype` |" in pages["58.0.1-ide.md"]
    assert "242 codes" in pages["58.0.1-ord.md"]


def test_the_index_links_every_page_counts_certainties_and_says_what_differs() -> None:
    page = messages_page(load_model())
    for version, module in HELD:
        assert f"[{module} {version}](messages/{version}-{module}.md)" in page
        counts = " / ".join(str(count) for count in layouts.load_layout(module, version).certainties().values())
        assert re.search(rf"^\| {re.escape(version)} \|.*{counts}", page, re.MULTILINE)
    assert "| `Melding@lopenr` | string, required | integer, required |" in page
    assert "| `Objektholder@pasientGUID` | guid, prohibited, not declared from 58.0.1 | none |" in page
