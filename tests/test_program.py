"""Which program made a report: one digest of its files, another of its rules."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from assets.program import ROOT, RULES, SOURCES, code_digest, digest_of, rules_digest

# A file that is changed, and whether that is another program and another set of rules.
CHANGES = {
    "a rule of the catalogue": ("schemas/rules/episode.toml", True, True),
    "a function of the rules": ("transforms/rules/functions.py", True, True),
    "a transform": ("transforms/content/decided.py", True, False),
    "a stage": ("assets/manifests.py", True, False),
    "the wiring": ("pipelines/cli.py", True, False),
    "a mapping of sources": ("sql/sources/new.sql", True, False),
    "a code list": ("schemas/codes/new.csv", True, False),
    "a page": ("schemas/rules/README.md", False, False),
    "a compiled module": ("transforms/rules/__pycache__/functions.cpython-311.pyc", False, False),
    "a file of an editor": ("transforms/rules/.functions.py", False, False),
    "a test": ("tests/test_program.py", False, False),
}


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program in another folder."""
    root = tmp_path_factory.mktemp("program")
    for name in SOURCES:
        shutil.copytree(ROOT / name, root / name)
    return root


def test_the_same_files_elsewhere_are_the_same_program(copied: Path) -> None:
    assert digest_of(copied, SOURCES) == code_digest()
    assert digest_of(copied, RULES) == rules_digest()


@pytest.mark.parametrize(("name", "code", "rules"), CHANGES.values(), ids=CHANGES)
def test_what_makes_it_another(copied: Path, name: str, *, code: bool, rules: bool) -> None:
    path = copied / name
    before = path.read_bytes() if path.exists() else None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((before or b"") + b"\n")
    try:
        assert (digest_of(copied, SOURCES) != code_digest()) == code
        assert (digest_of(copied, RULES) != rules_digest()) == rules
    finally:
        path.unlink() if before is None else path.write_bytes(before)


def test_a_name_is_part_of_it(copied: Path) -> None:
    path = copied / "assets" / "program.py"
    moved = path.rename(path.with_name("other.py"))
    assert digest_of(copied, SOURCES) != code_digest()
    moved.rename(path)
