"""The year roll, rehearsed: a made-up 59.0.1 goes in as files only, is compared, mapped, rendered and validated."""

from __future__ import annotations

import datetime as dt
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest
from conftest import ROOT, call
from lxml import etree
from shipment import melding, opened

from pipelines.home.registry import registry_of
from schemas import layouts
from schemas.registry import Registry
from schemas.xsd import XSD, compile_with_head, local_files, parser, validate_stream
from transforms.sample.hospital import generate, profile_of
from transforms.sample.visits import Window

NEW, YEAR = "59.0.1", 2025
# The newest of ours, so that the year before the new one is what the register compares with.
OLD: Final = [held.version for held in Registry().held() if held.module == "ord"][-1]
MODULES: Final = ("ord", "ide", "sbs")
TAKEN = dt.datetime(2026, 1, 4, 3, 0)

VERSIONS = f"""
[years.{YEAR}]
version = "{NEW}"
certainty = "C"
evidence = "made up for the rehearsal"

[versions."{NEW}"]
tsb = {{ module = "sbs", certainty = "C" }}
"""
CLASSES = """
[Diagnose]
table = "conditions"
key = ["episodeID", "tilstNr"]
parent = ["episodeID"]

[Diagnose_Kode]
table = "conditions"
key = ["episodeID", "tilstNr", "kodeNr"]
parent = ["episodeID", "tilstNr"]
"""
COLUMNS = (
    "episodes,oppholdstype,string,no,,,[A-Z],,,,Episode@oppholdstype,C,made up,Kind of stay.\n"
    'conditions,tilstNr,integer,yes,,,,0,9999,,Tilstand@tilstNr Diagnose@tilstNr,C,made up,"Number, as before."\n'
)


def next_year(module: str, folder: Path) -> None:
    """The files of a module as the register might send them: without our facts, and changed in ``ord``."""
    main = layouts.load_layout(module, OLD).xsd
    folder.mkdir(parents=True, exist_ok=True)
    for path in local_files(main):
        root = etree.parse(path, parser()).getroot()
        for annotation in list(root.iter(f"{XSD}annotation")):
            parent = annotation.getparent()
            assert parent is not None
            parent.remove(annotation)
        if path == main and module == "ord":
            _changed(root)
        text = etree.tostring(root, encoding="unicode").replace(OLD, NEW).replace(OLD.replace(".", "_"), "59_0_1")
        name = f"NPR({module}).xsd" if path == main else path.name
        (folder / name).write_text(re.sub(r'schemaLocation="[^"]*/', 'schemaLocation="', text), encoding="utf-8")


def _changed(root: etree._Element) -> None:
    """One new required attribute, one changed type, one renamed class."""
    attributes = {a.get("name"): a for a in root.find(f"{XSD}element[@name='Episode']").iter(f"{XSD}attribute")}  # type: ignore[union-attr]
    new = etree.Element(f"{XSD}attribute", name="oppholdstype", type="xs:string", use="required")
    attributes["omsorgsniva"].addnext(new)
    attributes["permisjonsdogn"].set("type", "xs:string")
    for element in root.iter():
        for name in ("name", "ref", "xpath"):
            if name in element.attrib:
                element.set(name, re.sub(r"\bTilstand\b", "Diagnose", str(element.attrib[name])))


def write_extract(folder: Path) -> Path:
    """An extract of the new year. Its episodes carry what the new version asks for, as far as a mapping takes it."""
    window = Window(dt.date(YEAR, 1, 1), dt.date(YEAR, 12, 31), TAKEN)
    frames = generate(profile_of("nordfjell"), episodes=120, patients=30, seed=59, window=window)
    frames["episodes"] = frames["episodes"].with_columns(oppholdstype=pl.lit("D"))
    for name in ("episodes", "referrals"):
        # Six digits from 58.0.1 on; the generator writes those of 2020.
        frames[name] = frames[name].with_columns(pl.col("bydel").str.pad_start(6, "0"))
    folder.mkdir()
    lines = ['contract = "1"', 'source_system = "invented"', 'environment = "test"', 'reporting_unit = "nordfjell"']
    lines.append(f"extracted_at = {TAKEN.isoformat()}")
    for name, frame in frames.items():
        frame.write_parquet(folder / f"{name}.parquet")
        lines.append(f'[files.{name}]\npath = "{name}.parquet"\nrows = {frame.height}')
    (folder / "extract.toml").write_text("\n".join(lines), encoding="utf-8")
    return folder


@dataclass(frozen=True)
class Rolled:
    """A home in which 59.0.1 is installed and mapped to the new year, but nothing is mapped to its changes."""

    home: Path
    extract: Path

    def run(self) -> Any:  # noqa: ANN401 - outcome of the command line
        return call("run", f"{YEAR}-T1", "--unit", "nordfjell", "--extract", self.extract, "--json", home=self.home)

    def map(self, columns: str = COLUMNS, classes: str = CLASSES) -> None:
        folder = self.home / "contract" / "v1"
        folder.mkdir(parents=True, exist_ok=True)
        header = (ROOT / "schemas/extract/v1/columns.csv").read_text(encoding="utf-8").splitlines()[0]
        (folder / "columns.csv").write_text(f"{header}\n{columns}", encoding="utf-8")
        (folder / "classes.toml").write_text(classes, encoding="utf-8")


@pytest.fixture(scope="module")
def rolled_once(tmp_path_factory: pytest.TempPathFactory) -> Rolled:
    room = tmp_path_factory.mktemp("rolled")
    home = room / "var"
    for module in MODULES:
        next_year(module, room / "official" / module)
    (home / "schemas").mkdir(parents=True)
    (home / "schemas" / "versions.toml").write_text(VERSIONS, encoding="utf-8")
    outcome = call("schema", "add", room / "official", "--json", home=home)
    assert outcome.code == 0, outcome.err
    assert [(row["module"], row["state"], row["data_years"]) for row in outcome.json] == [
        (module, "added", [YEAR]) for module in sorted(MODULES)
    ]
    return Rolled(home, write_extract(room / "extract"))


@pytest.fixture
def rolled(rolled_once: Rolled, tmp_path: Path) -> Rolled:
    """A copy of the home, to go on in."""
    return Rolled(Path(shutil.copytree(rolled_once.home, tmp_path / "var")), rolled_once.extract)


@pytest.fixture
def spoil(rolled: Rolled) -> Callable[..., Any]:
    def spoil(**texts: str) -> Any:  # noqa: ANN401 - outcome of the command line
        rolled.map(**texts)
        return rolled.run()

    return spoil


def test_a_year_without_a_version_is_refused_by_name(tmp_path: Path) -> None:
    outcome = call("run", f"{YEAR}-T1", "--unit", "nordfjell", home=tmp_path / "var")
    assert outcome.code == 2
    assert f"{YEAR}: no message version is known" in outcome.err


def test_the_diff_names_all_three_and_the_columns_they_touch(rolled: Rolled) -> None:
    outcome = call("schema", "diff", f"ord:{OLD}", f"ord:{NEW}", "--json", home=rolled.home)
    assert outcome.code == 0, outcome.err
    found = {(c["kind"], c["what"], c["place"], c["aspect"]): c for c in outcome.json["changes"]}
    lists = {key for key in found if key[3] == "code_list"}  # files without our facts name no code lists
    added = ("added", "attribute", "Episode@oppholdstype", "")
    renamed = ("renamed", "class", "Tilstand", "name")
    typed = ("changed", "attribute", "Episode@permisjonsdogn", "type")
    assert set(found) - lists == {added, renamed, typed}
    assert (found[added]["after"], found[added]["columns"]) == ("required string", [])
    assert (found[renamed]["after"], found[renamed]["columns"]) == ("Diagnose", ["conditions.tilstNr"])
    assert (found[typed]["before"], found[typed]["after"]) == ("nonNegativeInteger", "string")
    assert found[typed]["columns"] == ["episodes.permisjonsdogn"]
    unfed = {(gap["kind"], gap["place"]) for gap in outcome.json["nothing_feeds"]}
    assert unfed == {("attribute", "Episode@oppholdstype"), ("lost", "Tilstand"), ("lost", "Tilstand_Kode")}


def test_without_mapping_the_run_stops_before_anything_is_rendered(rolled: Rolled) -> None:
    outcome = rolled.run()
    assert outcome.code == 1
    for named in ("Episode@oppholdstype", "Tilstand", "NPR(ord).xsd", "docs/schemas.md", "ord 59.0.1"):
        assert named in outcome.err
    assert not (rolled.home / "fragments").exists()
    assert not (rolled.home / "outbox").exists()
    assert not list((rolled.home / "lake").glob("message/*"))


def test_half_a_mapping_is_not_enough(spoil: Callable[..., Any]) -> None:
    outcome = spoil(columns=COLUMNS.splitlines(keepends=True)[0])
    assert outcome.code == 1
    assert "Diagnose@tilstNr" in outcome.err
    assert "oppholdstype" not in outcome.err


def test_after_mapping_it_renders_and_validates(rolled: Rolled) -> None:
    refused = rolled.run()
    assert refused.code == 1
    rolled.map()
    outcome = rolled.run()
    assert outcome.code == 0, outcome.err
    registry = registry_of(rolled.home)
    assert {part["module"] for part in outcome.json["shipments"]} >= {"ord", "ide"}
    for part in outcome.json["shipments"]:
        document = opened(Path(part["path"]), rolled.home)
        layout = registry.layout(part["module"], NEW)
        assert layout.official
        assert validate_stream(compile_with_head(layout), [document]) == []
        if part["module"] == "ord":
            message = melding(document)
            assert (message.get("versjon"), message.tag) == (NEW, "{http://www.npr.no/xmlstds/59_0_1_ord}Melding")
            assert {e.get("oppholdstype") for e in message.iter("{*}Episode")} == {"D"}
            rows = outcome.json["rows"]["conditions"]["reported"]
            assert rows > 0
            assert sum(len(diagnosis) for diagnosis in message.iter("{*}Diagnose")) == rows
            assert next(message.iter("{*}Tilstand"), None) is None


def test_the_old_year_is_reported_as_before(rolled: Rolled) -> None:
    rolled.map()
    outcome = call("run", "2020-M01", "--unit", "sorvik", "--json", home=rolled.home)
    assert outcome.code == 0, outcome.err
    ways = {message["version"] for message in outcome.json["messages"]}
    assert ways == {"54.0.1"}


@pytest.mark.parametrize(
    ("texts", "word"),
    [
        ({"classes": "[Diagnose]\ntable = 'nowhere'\nkey = ['episodeID']"}, "does not have the form"),
        ({"classes": "[Diagnose]\ntable = 'identities'\nkey = ['pasientNr']"}, "identity table"),
        ({"columns": "nowhere,a,string,no,,,,,,,,C,made up,A.\n"}, "does not have the form"),
        ({"columns": "episodes,a,text,no,,,,,,,,C,made up,A.\n"}, "does not have the form"),
        ({"classes": "[Diagnose"}, "does not have the form"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused(texts: dict[str, str], word: str, spoil: Callable[..., Any]) -> None:
    outcome = spoil(**texts)
    assert outcome.code == 2
    assert word in outcome.err
