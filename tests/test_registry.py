"""Which schema counts, what it asks for that nothing feeds, and what is laid over the packaged tables."""

from __future__ import annotations

import dataclasses
import datetime as dt
import shutil
from pathlib import Path

import pytest
from spec import CONTRACT, layout, node, staged

from pipelines.home.registry import registry_of
from pipelines.home.schemas import add
from schemas import layouts, versions
from schemas.config import Unit
from schemas.contract import load_contract
from schemas.errors import DataRefused, WrongUse
from schemas.layout import Layout
from schemas.period import Period
from schemas.records import SchemaUse
from schemas.registry import RECORD, Registry
from transforms.message.shell import shell_tables
from transforms.model.coverage import SHELL, Gap, gaps

ROOT = Path(__file__).parents[1]
SHARED = ROOT / "../shared/reference/xsd"
DAY = dt.date(2026, 11, 2)
OURS = Registry()

shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the official schemas (../shared/reference) are not at hand")

SMALL = """<?xml version="1.0" encoding="UTF-8"?>
<schema xmlns="http://www.w3.org/2001/XMLSchema" xmlns:x="http://www.npr.no/xmlstds/{space}_ide"
  targetNamespace="http://www.npr.no/xmlstds/{space}_ide" elementFormDefault="qualified">
  <element name="Melding"><complexType>
    <sequence><element ref="x:Institusjon" maxOccurs="unbounded"/></sequence>
    <attribute name="versjon" type="string" use="required" fixed="{version}"/>
  </complexType></element>
  <element name="Institusjon"><complexType>
    <sequence><element ref="x:PasientIdent" maxOccurs="unbounded"/></sequence>
    <attribute name="institusjonID" type="string" use="required"/>
  </complexType></element>
  <element name="PasientIdent"><complexType>
    <attribute name="pid" type="string" use="required"/>{more}
  </complexType></element>
</schema>
"""


def small(folder: Path, version: str = "54.0.1", more: str = "") -> Path:
    """A folder with a made-up ``ide``."""
    folder.mkdir(parents=True, exist_ok=True)
    text = SMALL.format(space=version.replace(".", "_"), version=version, more=more)
    (folder / "NPR(ide).xsd").write_text(text, encoding="utf-8")
    return folder


# Which schema counts


def test_without_a_home_ours_count() -> None:
    found = OURS.layout("ide", "54.0.1")
    assert found is layouts.load_layout("ide", "54.0.1")
    assert not found.official
    assert OURS.xsd("ide", "54.0.1") == found.xsd
    assert OURS.installed("ide", "54.0.1") is None


def test_an_official_schema_counts_instead_of_ours_and_is_certain(tmp_path: Path) -> None:
    add(tmp_path / "var", small(tmp_path / "given"), DAY)
    registry = registry_of(tmp_path / "var")
    found = registry.layout("ide", "54.0.1")
    assert found.official
    assert found.certainties() == {"A": 3, "B": 0, "C": 0}
    assert registry.xsd("ide", "54.0.1").is_relative_to(tmp_path / "var" / "schemas" / "54.0.1" / "ide")
    assert not registry.ours("ide", "54.0.1").official
    assert not registry.layout("ord", "54.0.1").official
    held = {(h.version, h.module): h for h in registry.held()}
    assert held["54.0.1", "ide"].official
    assert held["54.0.1", "ide"].years == (2020,)
    assert not held["54.0.1", "ord"].official


def test_what_is_added_while_a_process_runs_counts_at_once(tmp_path: Path) -> None:
    registry = registry_of(tmp_path / "var")
    assert not registry.layout("ide", "54.0.1").official
    add(tmp_path / "var", small(tmp_path / "given"), DAY)
    assert registry.layout("ide", "54.0.1").official


@pytest.mark.parametrize(
    ("module", "version"), [("ide", "99.0.1"), ("../ide", "54.0.1"), ("ide", "../54.0.1"), ("", "54.0.1"), ("xyz", "")]
)
def test_what_there_is_no_schema_for_is_refused(module: str, version: str, tmp_path: Path) -> None:
    add(tmp_path / "var", small(tmp_path / "given"), DAY)
    with pytest.raises(WrongUse, match=r"schema|XSD"):
        registry_of(tmp_path / "var").layout(module, version)


def test_installed_files_that_were_edited_are_refused_and_can_be_put_right(tmp_path: Path) -> None:
    given, home = small(tmp_path / "given"), tmp_path / "var"
    add(home, given, DAY)
    xsd = registry_of(home).xsd("ide", "54.0.1")
    xsd.write_text(xsd.read_text("utf-8").replace('use="required"', 'use="optional"'), encoding="utf-8")
    # Another process: nothing of the sound file is remembered.
    moved = shutil.copytree(home, tmp_path / "elsewhere")
    with pytest.raises(WrongUse, match=r"NPR\(ide\).xsd: not as it was installed"):
        registry_of(moved).layout("ide", "54.0.1")
    with pytest.raises(DataRefused, match="other official files"):
        add(moved, given, DAY)
    assert [one.state for one in add(moved, given, DAY, replace=True)] == ["replaced"]
    assert registry_of(moved).layout("ide", "54.0.1").official


def test_a_damaged_record_is_refused(tmp_path: Path) -> None:
    add(tmp_path / "var", small(tmp_path / "given"), DAY)
    (tmp_path / "var" / "schemas" / "54.0.1" / "ide" / RECORD).write_text("{}")
    with pytest.raises(WrongUse, match="not as it was installed"):
        registry_of(tmp_path / "var").layout("ide", "54.0.1")


def test_a_stage_does_not_go_on_with_another_schema_than_the_one_before(tmp_path: Path) -> None:
    registry = registry_of(tmp_path / "var")
    first = registry.layout("ide", "54.0.1")
    use = SchemaUse(
        module="ide", version="54.0.1", namespace=first.namespace, official=False, sha256=first.sha256, certainty={}
    )
    assert registry.as_recorded(use) is first
    add(tmp_path / "var", small(tmp_path / "given"), DAY)
    with pytest.raises(DataRefused, match="another schema counts now"):
        registry.as_recorded(use)


def test_the_version_before_is_the_nearest_lower_one(tmp_path: Path) -> None:
    home = tmp_path / "var"
    for version in ("9.0.1", "10.0.1", "11.0.1"):
        add(home, small(tmp_path / version, version), DAY)
    registry = registry_of(home)
    before = registry.before("ide", "11.0.1")
    assert before is not None
    assert before.version == "10.0.1"
    assert registry.before("ide", "9.0.1") is None
    assert registry.before("nothing", "9.0.1") is None


# The table of versions


def laid_over(tmp_path: Path, text: str) -> Registry:
    (tmp_path / "versions.toml").write_text(text, encoding="utf-8")
    return Registry(tmp_path)


YEAR = '[years.2031]\nversion = "65.0.1"\ncertainty = "A"\nevidence = "made up"\n'
VERSION = '[versions."65.0.1"]\ntsb = { module = "tsb", certainty = "A" }\n'


def test_a_year_is_added_as_a_file(tmp_path: Path) -> None:
    registry = laid_over(tmp_path, YEAR + VERSION)
    assert registry.version_of(2031) == versions.VersionFact(2031, "65.0.1", "A", "made up", ())
    assert registry.tsb_module("65.0.1") == "tsb"
    assert registry.version_of(2020) == versions.version_of(2020)
    with pytest.raises(WrongUse, match="2031"):
        versions.version_of(2031)


def test_a_year_is_corrected_as_a_file(tmp_path: Path) -> None:
    registry = laid_over(tmp_path, '[years.2019]\nversion = "53.1.2"\ncertainty = "B"\nevidence = "told"\n')
    assert registry.version_of(2019).version == "53.1.2"


@pytest.mark.parametrize(
    "text",
    [
        "[years",
        YEAR,  # a version that is described nowhere
        YEAR.replace("2031", "next") + VERSION,
        YEAR.replace('"A"', '"D"') + VERSION,
        YEAR.replace("evidence", "why") + VERSION,
        '[versions."65.0.1"]\nheld = []\n',
        "[message_types.ord]\nv = 'X'\n",
        "years = 3",
    ],
)
def test_a_table_that_does_not_fit_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="table of versions"):
        laid_over(tmp_path, text).versions()


# The mapping

HEADER = (ROOT / "schemas/extract/v1/columns.csv").read_text(encoding="utf-8").splitlines()[0]


def mapped(tmp_path: Path, columns: str = "", classes: str = "") -> Registry:
    folder = tmp_path / "v1"
    folder.mkdir(parents=True, exist_ok=True)
    if columns:
        (folder / "columns.csv").write_text(f"{HEADER}\n{columns}", encoding="utf-8")
    if classes:
        (folder / "classes.toml").write_text(classes, encoding="utf-8")
    return Registry(mapping=tmp_path)


def test_without_files_the_contract_is_the_packaged_one(tmp_path: Path) -> None:
    assert OURS.contract() is load_contract("1")
    assert mapped(tmp_path).contract() is load_contract("1")
    assert load_contract().identity == "1"


def test_a_mapping_replaces_known_columns_in_their_place_and_adds_others_behind(tmp_path: Path) -> None:
    text = (
        "patients,kjonn,string,no,,,,,,,Pasient@sex,C,made up,Sex.\npatients,hoyde,integer,no,cm,,,,,,,C,made up,H.\n"
    )
    found = mapped(tmp_path, text).contract()
    base = load_contract().tables["patients"]
    assert found.tables["patients"].names == (*base.names, "hoyde")
    assert found.tables["patients"].column("kjonn").feeds == ("Pasient@sex",)
    assert found.tables["patients"].key == base.key
    assert found.tables["episodes"] is load_contract("1").tables["episodes"]
    assert found.identity.startswith("1+")


def test_another_mapping_is_another_contract(tmp_path: Path) -> None:
    first = mapped(tmp_path / "a", "patients,hoyde,integer,no,cm,,,,,,,C,made up,H.\n").contract()
    second = mapped(tmp_path / "b", "patients,vekt,integer,no,kg,,,,,,,C,made up,W.\n").contract()
    assert first.identity != second.identity
    assert first is mapped(tmp_path / "a").contract()


def test_a_contract_of_another_version_is_refused_as_before(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="no extract contract"):
        mapped(tmp_path).contract("7")


# What nothing feeds


def test_what_the_shell_gives_is_what_coverage_counts_on() -> None:
    contact = {"name": "Kari", "email": "kari@nordfjell.example", "mobile": "+47 900 00 000"}
    party = {"name": "Nordfjell", "her_id": "1001"}
    unit = Unit.model_validate(
        {
            "name": "Nordfjell sjukehus",
            "institusjonID": "974000001",
            "kind": "health_trust",
            "isf": True,
            "organisation": party,
            "sender": party,
            "contacts": [{"type": "1", **contact}, {"type": "15", **contact}],
            "epj": {"leverandor": "Leverandør AS", "navnEPJ": "Journal", "versjonEPJ": "7.1"},
        }
    )
    asking = [node("Melding", None, " ".join(sorted(SHELL["Melding"])))]
    asking += [node(name, "Melding", " ".join(sorted(SHELL[name]))) for name in SHELL if name != "Melding"]
    units = staged("units", "_row | enhetID \n 1 | u1")
    made = shell_tables(
        CONTRACT, layout("ord", "X", *asking), unit, Period.parse("2020-T1"), dt.date(2020, 5, 4), "npr", units
    )
    given = {name: {c for c in frame.columns if not c.startswith("_")} for name, frame in made.items()}
    given["Melding"] |= {"lopenr", "lokalident"}  # of each part
    assert given == {name: set(names) for name, names in SHELL.items()}


@pytest.mark.parametrize(("module", "version"), [(h.module, h.version) for h in OURS.held() if h.module != "str"])
def test_our_own_schemas_are_fed(module: str, version: str) -> None:
    assert gaps(load_contract(), OURS.layout(module, version)) == []


def required(found: Layout, *names: str) -> Layout:
    """The layout with these ``Class@attribute`` required."""
    changed = tuple(
        dataclasses.replace(
            one,
            attributes=tuple(
                dataclasses.replace(a, use="required") if f"{one.id}@{a.name}" in names else a for a in one.attributes
            ),
        )
        for one in found.nodes
    )
    return dataclasses.replace(found, nodes=changed)


ORD = layout(
    "ord",
    "Objektholder",
    node("Melding", None, "lopenr:integer nytt"),
    node("Institusjon", "Melding", "institusjonID"),
    node("Enhet", "Institusjon", "enhetID nace"),
    node("Objektholder", "Institusjon", "pasientNr"),
    node("Episode", "Objektholder", "episodeID nytt"),
    node("Episode_RefEnhet", "Episode", "enhetID typeEnhet"),
    node("Tilstand", "Episode", "tilstNr:integer"),
    node("Tilstand_Kode", "Tilstand", "kodeNr:integer kodeVerdi"),
)


@pytest.mark.parametrize("place", ["Melding@nytt", "Enhet@nace", "Episode@nytt"])
def test_a_required_attribute_without_a_column_or_value_is_a_gap(place: str) -> None:
    fed = ("Melding@lopenr", "Enhet@enhetID", "Episode_RefEnhet@typeEnhet", "Tilstand_Kode@kodeVerdi")
    assert gaps(CONTRACT, required(ORD, *fed)) == []
    assert gaps(CONTRACT, required(ORD, *fed, place)) == [Gap("attribute", place, "required, string")]


def test_a_required_class_without_rows_is_a_gap_an_optional_one_is_none() -> None:
    optional = node("Ukjent", "Episode", "kode")
    assert gaps(CONTRACT, dataclasses.replace(ORD, nodes=(*ORD.nodes, optional))) == []
    needed = dataclasses.replace(optional, min_occurs=1)
    found = gaps(CONTRACT, dataclasses.replace(ORD, nodes=(*ORD.nodes, needed)))
    assert found == [Gap("class", "Ukjent", "required")]


def test_a_class_between_fed_classes_is_a_gap() -> None:
    moved = (*ORD.nodes[:-2], node("Funn", "Episode", "nr"), dataclasses.replace(ORD.nodes[-2], parent="Funn"))
    found = gaps(CONTRACT, dataclasses.replace(ORD, nodes=moved))
    assert found[0] == Gap("class", "Funn", "holds classes that are fed")


def test_a_fed_class_that_is_gone_is_lost_unless_said_to_end(tmp_path: Path) -> None:
    without = dataclasses.replace(ORD, version="0.0.2", nodes=ORD.nodes[:-2])
    assert [gap.place for gap in gaps(CONTRACT, without, ORD)] == ["Tilstand", "Tilstand_Kode"]
    assert gaps(CONTRACT, without) == []
    ended = "".join(
        f'[{name}]\ntable = "conditions"\nkey = ["episodeID"]\nparent = ["episodeID"]\nuntil = "0.0.1"\n'
        for name in ("Tilstand", "Tilstand_Kode")
    )
    assert gaps(mapped(tmp_path, classes=ended).contract(), without, ORD) == []


@shared
@pytest.mark.parametrize("version", ["53.1.3", "54.0.1", "55.0.1", "56.0.1", "57.0.1", "58.0.1"])
def test_the_official_kpp_is_fed(version: str, tmp_path: Path) -> None:
    (added,) = add(tmp_path / "var", SHARED / "npr-kpp" / version, DAY)
    assert gaps(load_contract(), added.layout) == []
