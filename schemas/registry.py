"""Which schema speaks for a module of a version: an official one that was installed, else ours.

Belongs here: finding and reading what lies in the folders it is given (installed official schemas, the table of
versions and the mapping laid over ours). Does not belong here: installing (``pipelines.home.schemas``), where those
folders are, and what a schema says (``schemas.layouts``).

    <official>/<version>/<module>/installed.json  which files count, in the folder beside it that it names
    <official>/versions.toml                      years, versions: laid over schemas/npr/versions.toml
    <mapping>/v<contract>/columns.csv, classes.toml   laid over schemas/extract/v<contract>
"""

from __future__ import annotations

import datetime as dt
import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from schemas import versions as tables
from schemas.contract import CURRENT, Contract, load_contract, overlaid
from schemas.errors import DataRefused, WrongUse
from schemas.layout import Layout
from schemas.records import SchemaUse
from schemas.strict import STRICT

RECORD = "installed.json"
SECTIONS = ("years", "versions")


class Installed(BaseModel):
    """The record of one installed schema: replaced as one file, so that old or new counts and never neither.

    folder: beside the record. files: name -> SHA-256. sha256: of the layout. source: name of what was added, no path.
    """

    model_config = STRICT

    module: str
    version: str
    namespace: str
    folder: str
    xsd: str
    files: dict[str, str]
    sha256: str
    added: dt.date
    source: str


@dataclass(frozen=True, slots=True)
class Held:
    """A module of a version that there is a schema for. years: data years reported in the version."""

    version: str
    module: str
    official: bool
    years: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Registry:
    """Schemas by module and version. official, mapping: folders as in the module docstring; None = ours alone."""

    official: Path | None = None
    mapping: Path | None = None

    def layout(self, module: str, version: str) -> Layout:
        """The layout that counts. WrongUse when there is none, or when installed files are not as they were added."""
        place = self._place(module, version)
        if place is not None:
            return _installed_layout(place, (place / RECORD).read_text(encoding="utf-8"))
        self._insist_held(module, version)
        return _ours(module, version)

    def ours(self, module: str, version: str) -> Layout:
        """Our own layout, also where an official one counts. WrongUse when there is none."""
        return _ours(module, version)

    def xsd(self, module: str, version: str) -> Path:
        """The file of the schema that counts."""
        return self.layout(module, version).xsd

    def as_recorded(self, use: SchemaUse) -> Layout:
        """The layout that an earlier stage worked with. DataRefused when another one has taken its place since."""
        layout = self.layout(use.module, use.version)
        if layout.sha256 != use.sha256:
            raise DataRefused(
                f"{use.module} {use.version}: another schema counts now than when the message tables were made",
                where=layout.xsd.name,
                rule="one run, one schema",
                fix="run the period again from the start",
            )
        return layout

    def installed(self, module: str, version: str) -> Installed | None:
        """The record of the official schema, where one is installed."""
        place = self._place(module, version)
        return _record(place, (place / RECORD).read_text(encoding="utf-8")) if place is not None else None

    def held(self) -> tuple[Held, ...]:
        """Everything there is a schema for, by version and module; official where one is installed."""
        table = self.versions()
        ours = {(v, m) for v, entry in table["versions"].items() for m in entry.get("held", ())}
        official = self._official()
        years = {v: tuple(int(y) for y, e in table["years"].items() if e["version"] == v) for v, _ in ours | official}
        found = sorted(ours | official, key=lambda pair: (_number(pair[0]), pair[1]))
        return tuple(Held(version, module, (version, module) in official, years[version]) for version, module in found)

    def before(self, module: str, version: str) -> Layout | None:
        """The layout of the nearest lower version of the module, None when there is none."""
        lower = [h.version for h in self.held() if h.module == module and _number(h.version) < _number(version)]
        return self.layout(module, lower[-1]) if lower else None

    def version_of(self, year: int) -> tables.VersionFact:
        """As ``schemas.versions.version_of``, over the laid-over table."""
        return tables.version_of(year, self.versions())

    def tsb_module(self, version: str) -> str:
        """As ``schemas.versions.tsb_module``, over the laid-over table."""
        return tables.tsb_module(version, self.versions())

    def versions(self) -> tables.Versions:
        """The packaged table with ``versions.toml`` of the official folder laid over it. WrongUse names a bad entry."""
        path = self.official / "versions.toml" if self.official else None
        text = path.read_text(encoding="utf-8") if path is not None and path.is_file() else ""
        return _laid_over(text, str(path))

    def contract(self, version: str = CURRENT) -> Contract:
        """The extract contract with the mapping laid over it. WrongUse for a mapping that does not fit."""
        base = load_contract(version)
        folder = self.mapping / f"v{version}" if self.mapping else None
        if folder is None or not folder.is_dir():
            return base
        columns, classes = (_text(folder / name) for name in ("columns.csv", "classes.toml"))
        return overlaid(version, columns, classes, str(folder)) if columns or classes else base

    def _official(self) -> set[tuple[str, str]]:
        records = self.official.glob(f"*/*/{RECORD}") if self.official else ()
        return {(record.parent.parent.name, record.parent.name) for record in records}

    def _place(self, module: str, version: str) -> Path | None:
        # Names come from outside too, so they are looked up and never put together to a path unseen.
        known = self.official is not None and (version, module) in self._official()
        return self.official / version / module if known and self.official is not None else None

    def _insist_held(self, module: str, version: str) -> None:
        if version not in tables.packaged_versions()["versions"]:
            raise WrongUse(
                f"{module} {version}: there is no schema, neither official nor ours",
                where="schemas",
                fix="put official files in with `npr schema add PATH`; `npr schema list` shows what there is",
            )


def _ours(module: str, version: str) -> Layout:
    from schemas.layouts import load_layout  # noqa: PLC0415 - imports lxml and xmlschema; the tables need neither

    return load_layout(module, version)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else ""
    except UnicodeDecodeError:
        raise WrongUse(f"{path.name}: not UTF-8", where=str(path), fix="write it as UTF-8") from None


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


def _record(place: Path, text: str) -> Installed:
    try:
        return Installed.model_validate_json(text)
    except ValidationError:
        raise _changed(place, RECORD) from None


def _changed(place: Path, name: str) -> WrongUse:
    return WrongUse(
        f"{name}: not as it was installed",
        where=str(place),
        rule="installed schemas are not edited",
        fix="add the official files again with `npr schema add PATH --replace`",
    )


@lru_cache(maxsize=64)
def _installed_layout(place: Path, text: str) -> Layout:
    """Read anew when the record changes: a process that lives long must see what was added meanwhile."""
    record = _record(place, text)
    for name, sha256 in record.files.items():
        path = place / record.folder / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            raise _changed(place, name)
    from schemas.layouts import read_layout  # noqa: PLC0415 - as in _ours

    return read_layout(place / record.folder / record.xsd, record.module, record.version, official=True)


@lru_cache(maxsize=8)
def _laid_over(text: str, where: str) -> tables.Versions:
    packaged = tables.packaged_versions()
    try:
        given: Mapping[str, Any] = tomllib.loads(text)
        merged = {name: {**packaged[name], **given.get(name, {})} for name in packaged}
        sound = set(given) <= set(SECTIONS) and all(map(_sound_year, merged["years"].items()))
        sound = sound and {entry["version"] for entry in merged["years"].values()} <= set(merged["versions"])
        sound = sound and all(entry["tsb"]["module"] for entry in merged["versions"].values())
    except (tomllib.TOMLDecodeError, TypeError, KeyError, AttributeError):
        sound = False
    if not sound:
        raise WrongUse(
            "the table of versions does not have the form of schemas/npr/versions.toml",
            where=where,
            rule='[years.YYYY] version, certainty, evidence; [versions."X.Y.Z"] tsb = { module, certainty }',
            fix="see docs/schemas.md",
        )
    return merged


def _sound_year(item: tuple[str, Any]) -> bool:
    year, entry = item
    texts = all(isinstance(entry[key], str) for key in ("version", "evidence"))
    return year.isdecimal() and entry["certainty"] in ("A", "B", "C") and texts
