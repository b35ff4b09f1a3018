"""The two locks: hashes for everything, the same versions, and no tool of development where reports are made."""

from __future__ import annotations

import re
import tomllib

from assets.program import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

TOOLS = {"pytest", "pytest-xdist", "hypothesis", "atheris", "aiosmtpd", "mypy", "ruff", "import-linter", "pre-commit"}


def pins(name: str) -> dict[str, str]:
    """Package -> version."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"://|--(extra-)?index", text), "a lock says nothing of where packages come from"
    entries = re.split(r"^(?=[A-Za-z])", text, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in entry for entry in entries)
    return dict(re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==(\S+)", text, flags=re.MULTILINE))


def wanted(*extras: str) -> dict[str, str]:
    """What pyproject.toml asks for."""
    asked = PROJECT["dependencies"] + [line for name in extras for line in PROJECT["optional-dependencies"][name]]
    return dict(re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==([^;\s]+)", "\n".join(asked), flags=re.MULTILINE))


def test_operation_has_the_versions_that_were_tested_and_no_tools() -> None:
    everything, operation = pins("requirements.lock"), pins("requirements-operation.lock")
    assert operation.items() < everything.items()
    assert wanted("build", "workers", "dev").items() <= everything.items()
    assert wanted("build", "workers").items() <= operation.items()
    assert not TOOLS & operation.keys()
    assert wanted("dev").keys() >= TOOLS
