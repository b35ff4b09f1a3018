"""``npr schema``: official files taken in, listed and compared, and messages rendered by them."""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import socket
import stat
import zipfile
from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest
from conftest import call
from spec import CONTRACT, layout, node
from test_registry import small

from pipelines.home import schemas as schemas_home
from pipelines.home.registry import registry_of
from pipelines.home.schemas import add
from schemas import layouts
from schemas.contract import load_contract
from schemas.errors import DataRefused, NprError, WrongUse
from schemas.layout import Attribute, Layout, Node
from schemas.xsd import compile_schema, compile_with_head, validate_stream
from transforms.message.render import render_patients, render_shell
from transforms.model.schema_diff import diff
from transforms.shipping.envelope import HeadMessage, Party, head

ROOT = Path(__file__).parents[1]
SHARED = ROOT / "../shared/reference/xsd"
DAY = dt.date(2026, 11, 2)
KPP = ("53.1.3", "54.0.1", "55.0.1", "56.0.1", "57.0.1", "58.0.1")

shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the official schemas (../shared/reference) are not at hand")


# Taking in


def test_a_folder_is_installed_with_its_record(tmp_path: Path) -> None:
    given = small(tmp_path / "given")
    (given / "README.txt").write_text("not a schema")
    outcome = call("schema", "add", given, "--json", home=tmp_path / "var")
    assert outcome.code == 0, outcome.err
    (row,) = outcome.json
    assert (row["module"], row["version"], row["state"]) == ("ide", "54.0.1", "added")
    assert (row["files"], row["data_years"]) == (["NPR(ide).xsd"], [2020])
    record = registry_of(tmp_path / "var").installed("ide", "54.0.1")
    assert record is not None
    assert (record.source, record.sha256) == ("given", row["sha256"])
    assert abs((record.added - dt.datetime.now(dt.UTC).date()).days) <= 1
    assert str(tmp_path) not in record.model_dump_json()


def test_the_same_again_changes_nothing_and_other_content_needs_replace(tmp_path: Path) -> None:
    home = tmp_path / "var"
    first, second = small(tmp_path / "a"), small(tmp_path / "b", more='<attribute name="fid" type="string"/>')
    assert [one.state for one in add(home, first, DAY)] == ["added"]
    before = {path: path.stat().st_mtime_ns for path in (home / "schemas").rglob("*")}
    assert [one.state for one in add(home, first, DAY + dt.timedelta(days=1))] == ["unchanged"]
    assert {path: path.stat().st_mtime_ns for path in (home / "schemas").rglob("*")} == before
    outcome = call("schema", "add", second, home=home)
    assert outcome.code == 1
    assert "--replace" in outcome.err
    assert {path: path.stat().st_mtime_ns for path in (home / "schemas").rglob("*")} == before
    assert call("schema", "add", second, "--replace", home=home).code == 0
    assert [a.name for a in registry_of(home).layout("ide", "54.0.1").node("PasientIdent").attributes] == ["pid", "fid"]


def zipped(path: Path, folder: Path, **texts: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"skjema/{file.name}")
        for name, text in texts.items():
            archive.writestr(name, text)
    return path


def test_a_zip_is_installed_like_the_folder(tmp_path: Path) -> None:
    given = small(tmp_path / "given")
    (one,) = add(tmp_path / "a", zipped(tmp_path / "files.zip", given, **{"les.txt": "x"}), DAY)
    (other,) = add(tmp_path / "b", given, DAY)
    assert one.record.files == other.record.files
    assert one.record.source == "files.zip"


@pytest.mark.parametrize("name", ["../x.xsd", "a/../../x.xsd", "/x.xsd", "a\\x.xsd", "c:x.xsd"])
def test_a_zip_that_leads_out_of_its_folder_is_refused(name: str, tmp_path: Path) -> None:
    path = zipped(tmp_path / "files.zip", small(tmp_path / "given"), **{name: "<x/>"})
    refused(tmp_path, path, "leads out")
    assert not list(tmp_path.rglob("x.xsd"))


def test_a_zip_that_unpacks_to_far_more_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "files.zip", small(tmp_path / "given"), **{"big.xsd": " " * 10_000_000})
    refused(tmp_path, path, "100 times")


def test_a_zip_of_too_many_entries_is_refused(tmp_path: Path) -> None:
    texts = {f"{number}.txt": "" for number in range(1_000)}
    refused(tmp_path, zipped(tmp_path / "files.zip", small(tmp_path / "given"), **texts), "1001 entries")


def test_too_many_bytes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = small(tmp_path / "given")
    monkeypatch.setattr(schemas_home, "MOST_BYTES", 100)
    refused(tmp_path, zipped(tmp_path / "files.zip", given), "more than 100 bytes")
    refused(tmp_path, given, "more than 100 bytes")


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas_home, "MOST_ENTRIES", 0)
    refused(tmp_path, small(tmp_path / "given"), "more than 0 files")


def test_links_are_refused(tmp_path: Path) -> None:
    given = small(tmp_path / "given")
    with zipfile.ZipFile(tmp_path / "files.zip", "w") as archive:
        link = zipfile.ZipInfo("NPR.xsd")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/hostname")
    refused(tmp_path, tmp_path / "files.zip", "is a link")
    (given / "NPR.xsd").symlink_to("/etc/hostname")
    refused(tmp_path, given, "a link")


def test_a_damaged_zip_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "files.zip", small(tmp_path / "given"))
    data = bytearray(path.read_bytes())
    data[60:90] = bytes(30)
    path.write_bytes(data)
    refused(tmp_path, path, "files.zip: ")


def refused(tmp_path: Path, path: Path, word: str, **given: Any) -> NprError:  # noqa: ANN401 - options of add
    """Assert that nothing of it is installed and no private place is named."""
    home = tmp_path / "home"
    with pytest.raises(DataRefused, match=re.escape(word)) as caught:
        add(home, path, DAY, **given)
    assert not (home / "schemas").exists()
    assert not list((home / "tmp").iterdir())
    assert str(home) not in str(caught.value)
    return caught.value


def changed(folder: Path, old: str, new: str) -> Path:
    path = small(folder) / "NPR(ide).xsd"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("</schema>", "", "NPR(ide).xsd: not well formed"),
        ('encoding="UTF-8"?>', 'encoding="UTF-8"?><!DOCTYPE schema>', "DOCTYPE"),
        ('name="pid" type="string"', 'name="pid" type="x:nowhere"', "NPR(ide).xsd is not a schema that compiles"),
        ('<element name="Melding">', '<include schemaLocation="b.xsd"/><element name="Melding">', "loads b.xsd"),
        ('<element name="Melding">', '<include schemaLocation="../b.xsd"/><element name="Melding">', "loads ../b.xsd"),
        ('fixed="54.0.1"', 'fixed="55.0.1"', "fixed to another version"),
        ("54_0_1_ide", "ide", "tells no version"),
        ('element name="Melding"', 'element name="Annet"', "declares Melding"),
        ('ref="x:PasientIdent" maxOccurs="unbounded"', 'ref="x:PasientIdent"', "no patients"),
    ],
)
def test_files_that_cannot_decide_are_refused_by_name(old: str, new: str, word: str, tmp_path: Path) -> None:
    refused(tmp_path, changed(tmp_path / "given", old, new), word)


def test_one_bad_module_keeps_out_the_good_one_beside_it(tmp_path: Path) -> None:
    small(tmp_path / "given" / "a", "9.0.1")
    changed(tmp_path / "given" / "b", "</schema>", "")
    refused(tmp_path, tmp_path / "given", "not well formed")


def test_the_same_module_twice_is_refused(tmp_path: Path) -> None:
    for name in "ab":
        small(tmp_path / "given" / name)
    refused(tmp_path, tmp_path / "given", "ide 54.0.1: in several files")


def test_our_own_files_are_no_official_ones(tmp_path: Path) -> None:
    refused(tmp_path, layouts.load_layout("ide", "54.0.1").xsd.parent, "no official schema")


def test_version_and_module_are_asked_for_and_held_against_the_namespace(tmp_path: Path) -> None:
    nameless = changed(tmp_path / "given", "http://www.npr.no/xmlstds/54_0_1_ide", "urn:made-up")
    refused(tmp_path, nameless, "tells no version")
    refused(tmp_path, nameless, "tells no module", version="54.0.1")
    refused(tmp_path, small(tmp_path / "told"), "says version 54.0.1, not 55.0.1", version="55.0.1")
    refused(tmp_path, nameless, "tells no module", version="54.0.1", module="../ide")
    (one,) = add(tmp_path / "var", nameless, DAY, version="54.0.1", module="ide")
    assert one.layout.namespace == "urn:made-up"


def test_a_path_that_is_nothing_is_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    for name in ("a.txt", "nowhere"):
        with pytest.raises(WrongUse, match="neither a folder nor a zip"):
            add(tmp_path / "var", tmp_path / name, DAY)


def test_a_signature_is_found_in_the_catalogue_and_no_socket_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_socket(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", no_socket)
    remote = (
        '<import namespace="http://www.w3.org/2000/09/xmldsig#"'
        ' schemaLocation="http://www.w3.org/TR/xmldsig-core/xmldsig-core-schema.xsd"/>'
        '<import namespace="http://www.kith.no/xmlstds/base64container" schemaLocation="kith-base64.xsd"/>'
    )
    given = changed(tmp_path / "given", '<element name="Melding">', f'{remote}<element name="Melding">')
    (one,) = add(tmp_path / "var", given, DAY)
    assert list(one.record.files) == ["NPR(ide).xsd"]
    assert compile_schema(one.layout.xsd) is not None


# Listing and comparing


def test_the_list_shows_for_each_what_counts(tmp_path: Path) -> None:
    home = tmp_path / "var"
    add(home, small(tmp_path / "given"), DAY)
    outcome = call("schema", "list", "--json", home=home)
    assert outcome.code == 0, outcome.err
    rows = {(row["module"], row["version"]): row for row in outcome.json}
    ide, order = rows["ide", "54.0.1"], rows["ord", "54.0.1"]
    assert (ide["used"], ide["certainty"], ide["added"]) == ("official", {"A": 3, "B": 0, "C": 0}, "2026-11-02")
    assert (order["used"], order["added"], order["data_years"]) == ("ours", None, [2020])
    assert order["certainty"]["C"] > 0
    assert order["sha256"] == layouts.load_layout("ord", "54.0.1").sha256
    text = call("schema", "list", home=home).out
    assert re.search(r"54\.0\.1 +ide +official +" + ide["sha256"][:12] + r" +3 +0 +0 +2020 +http", text)


def test_ours_and_official_of_one_version_are_compared(tmp_path: Path) -> None:
    home = tmp_path / "var"
    add(home, small(tmp_path / "given"), DAY)
    outcome = call("schema", "diff", "ours:ide:54.0.1", "official:ide:54.0.1", "--json", home=home)
    assert (outcome.json["a"]["used"], outcome.json["b"]["used"]) == ("ours", "official")
    removed = {c["place"]: c["columns"] for c in outcome.json["changes"] if c["kind"] == "removed"}
    assert removed["PasientIdent@fid"] == ["identities.fid"]
    text = call("schema", "diff", "ours:ide:54.0.1", "ide:54.0.1", home=home).out
    assert "identities.fid" in text
    assert call("schema", "diff", "ide:54.0.1", "official:ide:54.0.1", "--json", home=home).json["changes"] == []


@pytest.mark.parametrize(
    ("one", "other", "word"),
    [
        ("ide", "ide:54.0.1", "names no schema"),
        ("mine:ide:54.0.1", "ide:54.0.1", "names no schema"),
        ("official:ide:54.0.1", "ide:54.0.1", "no official schema is installed"),
        ("ord:54.0.1", "ide:54.0.1", "different messages"),
        ("ord:1.0.0", "ord:54.0.1", "npr schema list"),
    ],
)
def test_what_cannot_be_compared_is_wrong_use(one: str, other: str, word: str, tmp_path: Path) -> None:
    outcome = call("schema", "diff", one, other, home=tmp_path / "var")
    assert outcome.code == 2
    assert word in outcome.err


OLD = layout(
    "ord",
    "Objektholder",
    node("Melding", None, "versjon"),
    node("Objektholder", "Melding", "pasientNr"),
    node("Pasient", "Objektholder", "pasientNr kjonn fodselsar:integer"),
    node("Episode", "Objektholder", "episodeID innDatoTid:dateTime"),
    node("Episode_RefEnhet", "Episode", "enhetID typeEnhet"),
    node("Tilstand", "Episode", "tilstNr:integer"),
)


def kinds(newer: Layout) -> list[tuple[str, str, str]]:
    return [(change.kind, change.place, change.aspect) for change in diff(CONTRACT, OLD, newer)]


def with_nodes(*nodes: Node) -> Layout:
    return layout("ord", "Objektholder", *nodes)


def test_the_same_layout_has_no_differences() -> None:
    assert diff(CONTRACT, OLD, OLD) == []


@pytest.mark.parametrize(
    ("number", "newer", "expected"),
    [
        (2, node("Pasient", "Objektholder", "pasientNr kjonn"), ("removed", "Pasient@fodselsar", "")),
        (2, node("Pasient", "Objektholder", "pasientNr kjonn fodselsar"), ("changed", "Pasient@fodselsar", "type")),
        (2, node("Pasient", "Objektholder", "pasientNr kjonn! fodselsar:integer"), ("changed", "Pasient@kjonn", "use")),
        (
            2,
            node("Pasient", "Objektholder", "kjonn pasientNr fodselsar:integer"),
            ("changed", "Pasient", "order of attributes"),
        ),
        (
            2,
            node("Pasient", "Objektholder", "pasientNr kjonn fodselsar:integer hoyde"),
            ("added", "Pasient@hoyde", ""),
        ),
        (4, node("Episode_Enhetsref", "Episode", "enhetID typeEnhet"), ("renamed", "Episode_RefEnhet", "name")),
    ],
)
def test_each_kind_of_difference_is_named(number: int, newer: Node, expected: tuple[str, str, str]) -> None:
    nodes = [*OLD.nodes[:number], newer, *OLD.nodes[number + 1 :]]
    assert kinds(with_nodes(*nodes)) == [expected]


def test_classes_come_and_go_and_change_places() -> None:
    gone = with_nodes(*OLD.nodes[:-1])
    assert kinds(gone) == [("removed", "Tilstand", "")]
    more = with_nodes(*OLD.nodes, node("Takst", "Episode", "kode"))
    assert kinds(more) == [("added", "Takst", "")]
    swapped = with_nodes(*OLD.nodes[:2], OLD.nodes[3], *OLD.nodes[4:], OLD.nodes[2])
    assert kinds(swapped) == [("changed", "Objektholder", "order of classes")]
    once = Node("Pasient", "Pasient", "Objektholder", 1, 1, OLD.nodes[2].attributes)
    assert kinds(with_nodes(*OLD.nodes[:2], once, *OLD.nodes[3:])) == [("changed", "Pasient", "occurs")]


def test_differences_name_the_columns_they_touch() -> None:
    newer = with_nodes(*OLD.nodes[:4], node("Episode_RefEnhet", "Episode", "enhetID:integer typeEnhet"), OLD.nodes[5])
    (change,) = diff(CONTRACT, OLD, newer)
    places = ("behandlingsstedID", "fagenhetID", "avdelingID", "tjenesteenhetID")
    assert sorted(change.columns) == sorted(f"episodes.{place}" for place in places)
    (gone,) = diff(CONTRACT, OLD, with_nodes(*OLD.nodes[:-1]))
    assert gone.columns == ("conditions.tilstNr",)


def test_limits_of_a_type_are_compared(tmp_path: Path) -> None:
    plain = small(tmp_path / "a")
    length = "<simpleType><restriction base='string'><maxLength value='6'/></restriction></simpleType>"
    limited = changed(tmp_path / "b", 'name="pid" type="string" use="required"/>', 'name="pid" use="required">')
    path = limited / "NPR(ide).xsd"
    path.write_text(
        path.read_text("utf-8").replace('name="pid" use="required">', f'name="pid" use="required">{length}</attribute>')
    )
    older, newer = (layouts.read_layout(f / "NPR(ide).xsd", "ide", "54.0.1", official=True) for f in (plain, limited))
    (change,) = diff(load_contract(), older, newer)
    assert (change.place, change.aspect, change.after) == ("PasientIdent@pid", "limits", "maxLength 6")


# Official files: layout, message, validity

GUID: Final = "00000000-0000-4000-8000-00000000000{}"
# What the official types take, where the name of the attribute and a number would not do.
VALUES: Final[dict[str, str]] = {
    "meldingstype": "B",
    "typeID": "1",
    "kjonn": "1",
    "kostnadKode": "LEGE",
    "versjon": "0.78",
    "typeKontaktperson": "1",
    "komNrHjem": "0301",
    "trygdenasjon": "NO",
    "statusNotifikasjon": "1",
}


def value(attribute: Attribute, number: int) -> object:  # noqa: PLR0911 - one line for each type
    """Something that the type of the attribute takes."""
    if attribute.fixed is not None:
        return attribute.fixed
    if "GUID" in attribute.name or attribute.name == "uuid":
        return GUID.format(number % 10)
    if attribute.name in VALUES:
        return VALUES[attribute.name]
    match attribute.type:
        case "integer" | "nonNegativeInteger":
            return number
        case "decimal":
            return number + 0.5
        case "date":
            return dt.date(2020, 1, 1 + number % 28)
        case "dateTime":
            return dt.datetime(2020, 1, 1 + number % 28, 8, 0)
    return str(number)


def small_tables(found: Layout, optional: frozenset[str]) -> dict[str, pl.DataFrame]:
    """Two patients with all that is required below them, and the classes named besides."""
    tables: dict[str, pl.DataFrame] = {}
    for one in found.nodes:
        parents = tables[one.parent].height if one.parent in tables else 0
        wanted = one.min_occurs or one.id in optional or one.id == found.patient
        each = 2 if one.id == found.patient or (one.max_occurs is None and one.id in optional) else 1
        rows = parents * each if one.parent else 1
        if not (wanted and rows):
            continue
        asked = [a for a in one.attributes if a.use == "required" and a.fixed is None]
        columns = {a.name: [value(a, number + 1) for number in range(rows)] for a in asked}
        own = {"_id": list(range(rows))} | ({"_parent": [n // each for n in range(rows)]} if one.parent else {})
        tables[one.id] = pl.DataFrame({**own, **columns})
    return tables


def documents(found: Layout, optional: frozenset[str]) -> tuple[bytes, bytes]:
    """The same message bare and under a head message."""
    tables = small_tables(found, optional)
    before, after = render_shell(found, tables)
    bare = before + bytes(render_patients(found, tables).data) + after
    party = Party("Nordfjell", "900001", Party("Rapportering", "900002"))
    message = HeadMessage("NPR", "NPR", GUID.format(1), "2020-05-04T08:00:00+02:00", party, party)
    opening, closing = head(message)
    return b'<?xml version="1.0" encoding="UTF-8"?>' + bare, opening + bare + closing


def given(name: str, tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """Folder of official files and the options to add it with."""
    module, version = name.split()
    if module == "kpp":
        return SHARED / "npr-kpp" / version, {}
    if module == "bkm":
        return SHARED / "npr-bkm-0.78", {"version": version, "module": module}
    folder = SHARED / f"xpr-{module}-{version}"
    if module == "hst":
        folder = Path(shutil.copytree(folder, tmp_path / "hst"))
        shutil.copyfile(SHARED / "xpr-ipl-56.0.0" / "NPR.xsd", folder / "NPR.xsd")
        for path in folder.iterdir():
            os.chmod(path, 0o644)  # noqa: PTH101 - as delivered they may be read-only
    return folder, {}


OFFICIAL: Final = {
    **{f"kpp {version}": frozenset({"EpisodeKPP", "TjenesteKPP"}) for version in KPP},
    "ide 53.1.2": frozenset({"Kontaktperson"}),
    "bkm 0.78": frozenset({"Episode", "Tilstand", "Tilstand_Kode", "Takst"}),
    "hst 56.0.0": frozenset({"Konsultasjon"}),
    "ipl 56.0.0": frozenset({"TjenesteStart"}),
}


@shared
@pytest.mark.parametrize("name", OFFICIAL)
def test_official_files_decide_layout_and_validity(name: str, tmp_path: Path) -> None:
    folder, options = given(name, tmp_path)
    module, version = name.split()
    (one,) = add(tmp_path / "var", folder, DAY, **options)  # type: ignore[arg-type]
    found = registry_of(tmp_path / "var").layout(module, version)
    assert found == one.layout
    assert found.official
    assert found.certainties()["A"] > 10
    assert found.certainties()["B"] == found.certainties()["C"] == 0
    bare, headed = documents(found, OFFICIAL[name])
    assert bare.count(f"<{found.node(found.patient).name}".encode()) >= 2
    assert validate_stream(compile_schema(found.xsd), [bare]) == []
    schema = compile_with_head(found)
    assert validate_stream(schema, [headed]) == []
    # What the schema demands is demanded below the head message too.
    required = next(a.name for a in found.nodes[0].attributes if a.use == "required" and a.fixed is None)
    assert validate_stream(schema, [re.sub(rf' {required}="[^"]*"'.encode(), b"", headed, count=1)]) != []


@shared
def test_hst_without_npr_xsd_is_refused_with_the_reason(tmp_path: Path) -> None:
    error = refused(tmp_path, SHARED / "xpr-hst-56.0.0", "XPR(hst).xsd loads NPR.xsd, which is not beside it")
    assert error.where == "XPR(hst).xsd, line 18"


@shared
def test_all_versions_of_kpp_go_in_at_once_and_are_compared(tmp_path: Path) -> None:
    home = tmp_path / "var"
    assert [one.record.version for one in add(home, SHARED / "npr-kpp", DAY)] == list(KPP)
    changes = call("schema", "diff", "kpp:53.1.3", "kpp:58.0.1", "--json", home=home).json["changes"]
    found = {(c["kind"], c["place"], c["aspect"]): (c["before"], c["after"]) for c in changes}
    assert found["changed", "Melding@lopenr", "type"] == ("string", "integer")
    assert found["added", "Melding@uttakTidspunkt", ""] == ("", "optional dateTime")
    assert found["added", "Institusjon@foretakID", ""] == ("", "optional string")


@shared
def test_annotations_go_along(tmp_path: Path) -> None:
    (one,) = add(tmp_path / "var", SHARED / "npr-kpp" / "53.1.3", DAY)
    assert "XPR(kpp)_Annotations.xsd" in one.record.files
    assert not {"MsgHead.xsd", "xmldsig-core-schema.xsd"} & set(one.record.files)
