"""Versions of the message model: which version a data year is reported in, type codes, who carries NPR-melding-TSB.

Belongs here: the typed reader of ``schemas/npr/versions.toml``. Does not belong here: what a schema of a version says
(``schemas.layouts``), official entries laid over it (``schemas.registry``). No XML is read here, so that asking what is
due costs none.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

from schemas.errors import WrongUse

FOLDER: Final = Path(__file__).parent / "npr"
Versions = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class VersionFact:
    """The version of the model that a data year is reported in, how sure that is, and the modules we hold for it."""

    year: int
    version: str
    certainty: str
    evidence: str
    held: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CodedValue:
    """A code with its text, as MsgHead wants it (V and DN)."""

    v: str
    dn: str
    certainty: str
    source: str


def version_of(year: int, table: Versions | None = None) -> VersionFact:
    """The version for a data year. WrongUse names the years there are. table: in place of the packaged one."""
    years = (table or packaged_versions())["years"]
    if str(year) not in years:
        raise WrongUse(
            f"{year}: no message version is known for this data year",
            where="schemas/npr/versions.toml",
            rule="version follows the data year",
            fix=f"years there are: {', '.join(sorted(years))}",
        )
    fact = years[str(year)]
    held = tuple(version_entry(fact["version"], table).get("held", ()))
    return VersionFact(year, fact["version"], fact["certainty"], fact["evidence"], held)


def message_type(module: str) -> CodedValue:
    """Code and text of MsgInfo/Type (Volven 8279) for a module. WrongUse names the modules there are."""
    types = packaged_versions()["message_types"]
    if module not in types:
        raise WrongUse(f"{module}: no message type is known", fix=f"modules there are: {', '.join(types)}")
    return CodedValue(**types[module])


def tsb_module(version: str, table: Versions | None = None) -> str:
    """The module that carries NPR-melding-TSB. WrongUse for an unknown version. table: as for ``version_of``."""
    return str(version_entry(version, table)["tsb"]["module"])


@cache
def packaged_versions() -> Versions:
    """``versions.toml`` of this package: years, versions and message_types."""
    return tomllib.loads((FOLDER / "versions.toml").read_text(encoding="utf-8"))


def version_entry(version: str, table: Versions | None = None) -> Mapping[str, Any]:
    """The entry of a version. WrongUse for an unknown one. table: as for ``version_of``."""
    versions = (table or packaged_versions())["versions"]
    if version not in versions:
        raise WrongUse(f"{version}: unknown message version", fix=f"versions there are: {', '.join(versions)}")
    return cast("Mapping[str, Any]", versions[version])
