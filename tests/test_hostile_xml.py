"""Hostile XML gets its expected verdict, quickly and in little memory; and one module makes all parsers."""

from __future__ import annotations

import ast
import csv
import io
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import call

from schemas import xsd
from schemas.errors import DataRefused, WrongUse

ROOT = Path(__file__).parents[1]
HOSTILE = ROOT / "../shared/reference/hostile-xml"
DEEP = b"<a>" * 300 + b"</a>" * 300

shared = pytest.mark.skipif(not HOSTILE.is_dir(), reason="the hostile files (../shared/reference) are not at hand")


def cases() -> list[tuple[str, str]]:
    if not HOSTILE.is_dir():
        return []
    rows = csv.DictReader(io.StringIO((HOSTILE / "manifest.csv").read_text(encoding="utf-8")))
    return [(row["file"], row["expected"]) for row in rows]


def verdict(path: Path) -> str:
    """Of the door that files of this kind come in by: schemas are compiled, all else is parsed."""
    try:
        if path.suffix == ".xsd":
            xsd.compile_schema(path)
        else:
            xsd.parse(path.read_bytes(), path.name)
    except (DataRefused, WrongUse):
        assert path.suffix == ".xsd" or xsd.well_formed([path.read_bytes()]) is not None
        return "refuse"
    assert xsd.well_formed([path.read_bytes()]) is None
    return "accept"


@shared
@pytest.mark.parametrize(("file", "expected"), cases())
def test_hostile_files_get_their_verdict_within_a_second(file: str, expected: str) -> None:
    started = time.monotonic()
    assert verdict(HOSTILE / file) == expected
    assert time.monotonic() - started < 1


@shared
def test_the_validator_refuses_them_all_by_name_and_in_little_memory(home: Path) -> None:
    outcome = call("validate", HOSTILE, "--json", home=home)
    assert outcome.code == 1
    told = {one["name"]: one for one in outcome.json["files"]}
    expected = dict(cases())
    assert len(told) == sum(file.endswith(".xml") for file in expected)
    for file, wanted in expected.items():
        if file.endswith(".xml"):
            one = told[Path(file).name]
            # The harmless ones are well formed, and refused for being no message.
            assert one["verdict"] == ("refused" if wanted == "accept" else "faults"), file
            assert wanted == "accept" or one["groups"][0]["rule"] in {"XML_DOCTYPE", "XML_NOT_WELL_FORMED"}


@shared
def test_one_process_takes_them_all_within_200_megabytes() -> None:
    script = (
        "import json, re, sys; from pathlib import Path; from pipelines.validation.validator import Options, validate;"
        "made = [one.verdict for one in validate([Path(sys.argv[1])], Options(Path('/nowhere')))];"
        # Not getrusage, which counts what the process was before it became this program.
        "peak = re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1];"
        "print(json.dumps([made, int(peak)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(HOSTILE)], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    verdicts, kibibytes = json.loads(done.stdout)
    assert "valid" not in verdicts
    assert kibibytes < 200_000


@pytest.mark.parametrize(
    ("document", "rule"),
    [
        (b"<!DOCTYPE a><a/>", "XML_DOCTYPE"),
        (b"<?xml version='1.0'?><!-- --><!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "XML_DOCTYPE"),
        (b"<a>&b;</a>", "XML_NOT_WELL_FORMED"),
        (b"<a b='" + b"x" * 9_000_000 + b"'/>", xsd.BEYOND),
        (b"<a><!--" + b"x" * 9_000_000 + b"--></a>", xsd.BEYOND),
        (b"<a>" + b"x" * 68_000_000 + b"</a>", xsd.BEYOND),
        (b"<a><![CDATA[" + b"<x>" * 23_000_000 + b"]]></a>", xsd.BEYOND),
        (DEEP, xsd.BEYOND),
        (b"<?xml version='1.0' encoding='UTN-8'?><a/>", "XML_ENCODING"),
        (b"<?xml version='1.0' encoding='big5'?><a/>", "XML_ENCODING"),
    ],
    ids=["doctype", "entity", "unknown entity", "attribute", "comment", "text", "cdata", "depth", "encoding", "big5"],
)
def test_limits_hold(document: bytes, rule: str) -> None:
    fault = xsd.well_formed([document])
    assert fault is not None
    assert fault.rule == rule


def test_what_is_within_the_limits_is_taken() -> None:
    assert xsd.well_formed([b"<a>" * 250 + b"</a>" * 250]) is None
    assert xsd.well_formed([b"<a b='" + b"x" * 8_000_000 + b"'>" + b"y" * 50_000_000 + b"</a>"]) is None


FORBIDDEN = {
    "XMLParser", "HTMLParser", "XMLPullParser", "ETCompatXMLParser", "iterparse", "fromstring", "fromstringlist", "XML",
    "HTML", "XMLID", "XMLDTDID", "parseid", "parse", "parseString", "ParserCreate", "make_parser", "XSLT",
}  # fmt: skip
XML_MODULES = ("lxml", "xml.")


def _parsers(path: Path) -> list[str]:
    """Uses of XML parsers in a module: names of XML libraries called, imported or handed on."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names: set[str] = set()
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(XML_MODULES):
            found += [f"{node.lineno}: {one.name}" for one in node.names if one.name in FORBIDDEN]
            names |= {one.asname or one.name for one in node.names}
        elif isinstance(node, ast.Import):
            names |= {(one.asname or one.name).split(".")[0] for one in node.names if one.name.startswith(XML_MODULES)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in FORBIDDEN:
            root = node.value
            while isinstance(root, ast.Attribute):
                root = root.value
            if isinstance(root, ast.Name) and root.id in names:
                found.append(f"{node.lineno}: {node.attr}")
    return found


def test_one_module_makes_all_parsers() -> None:
    modules = [p for room in ("schemas", "transforms", "assets", "pipelines") for p in (ROOT / room).rglob("*.py")]
    assert len(modules) > 50
    found = {str(path.relative_to(ROOT)): uses for path in modules if (uses := _parsers(path))}
    assert set(found) == {"schemas/xsd.py"}


def test_the_rule_sees_a_parser(tmp_path: Path) -> None:
    module = tmp_path / "m.py"
    for text in (
        "from lxml import etree\netree.fromstring(b'')",
        "import lxml.etree\nf = lxml.etree.parse",
        "from xml.etree.ElementTree import fromstring",
        "import xml.etree.ElementTree as E\nE.iterparse('a')",
        "from xml.parsers import expat\nexpat.ParserCreate()",
    ):
        module.write_text(text)
        assert _parsers(module), text
    module.write_text("import json\njson.loads('')\nfrom lxml import etree\netree.tostring")
    assert not _parsers(module)
