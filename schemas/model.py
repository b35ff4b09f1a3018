"""Reader of the message model as data (``schemas/npr/model/``): what each module of each version is made of.

Belongs here: the tables, checked and typed, and picking from them what holds for one module of one version. Does not
belong here: the text of an XSD (``transforms.model.xsd_text``), or layouts, which are read from XSDs, ours or official
(``schemas.layouts``).

A row holds for the versions ``from`` to ``to``, both included, empty = open, so that what changed between two versions
is one row more. Its certainty is that of its source. Where the source does not speak for the version, it is B at most
and the note says from where it was carried.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Final

from schemas.codelists import code_lists
from schemas.errors import WrongUse
from schemas.packaged_csv import CERTAINTIES, Row, refuse, rows
from schemas.versions import packaged_versions

FOLDER: Final = Path(__file__).parent / "npr" / "model"
ROOT: Final = "Melding"
NAMESPACE: Final = "http://www.npr.no/xmlstds/"
BUILT_IN: Final = ("string", "integer", "nonNegativeInteger", "decimal", "date", "dateTime")
CODED: Final = "coded"
FIXED: Final = "fixed"
USES: Final = ("required", "optional", "prohibited", FIXED)
KINDS: Final = ("unique", "keyref")
ALL: Final = "all"

_SPAN: Final = ("from", "to")
_FACT: Final = ("certainty", "source", "note")
HEADERS: Final[Mapping[str, tuple[str, ...]]] = {
    "classes": ("class", *_FACT),
    "children": ("class", "child", "modules", *_SPAN, "occurs", *_FACT),
    "attributes": ("class", "attribute", "modules", *_SPAN, "type", "list", "use", *_FACT),
    "keys": ("class", "kind", "name", "modules", *_SPAN, "selector", "fields", "refer", "source"),
    "types": ("type", *_SPAN, "base", "facets", *_FACT),
    "lists": ("list", "base"),
    "sources": ("source", "version", "title", "why"),
}


@dataclass(frozen=True, slots=True)
class Fact:
    """How sure something is in one version (A official, B third party, C inferred), and from where."""

    certainty: str
    source: str
    note: str


@dataclass(frozen=True, slots=True)
class Child:
    """A class at its place in another one. max_occurs None = unbounded."""

    name: str
    min_occurs: int
    max_occurs: int | None
    fact: Fact


@dataclass(frozen=True, slots=True)
class AttributeRow:
    """One attribute. type: a built-in type, a shared type or CODED. use: required, optional or prohibited."""

    name: str
    type: str
    use: str
    code_list: str
    fixed: str | None
    fact: Fact


@dataclass(frozen=True, slots=True)
class Key:
    """An identity constraint of a class. selector: path of class names below it. refer: the key a keyref points to."""

    kind: str
    name: str
    selector: str
    fields: tuple[str, ...]
    refer: str


@dataclass(frozen=True, slots=True)
class ModelClass:
    """One class of a module. level: least depth at which it stands, the root being 1."""

    name: str
    level: int
    fact: Fact
    children: tuple[Child, ...]
    attributes: tuple[AttributeRow, ...]
    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class SimpleType:
    """A type of our own. facets: name and value, as XML Schema has them."""

    name: str
    base: str
    facets: tuple[tuple[str, str], ...]
    fact: Fact


@dataclass(frozen=True, slots=True)
class Version:
    """One version of the model. year: of the data; coded: enumerated, typed or text."""

    name: str
    year: int
    evidence: str
    certainty: str
    encoding: str
    coded: str
    held: tuple[str, ...]

    @property
    def namespace(self) -> str:
        """Of the shared types; a module's has its name behind it."""
        return f"{NAMESPACE}{self.name.replace('.', '_')}"


@dataclass(frozen=True, slots=True)
class Message:
    """One module of one version. classes: root first, by level. lists: base and codes of each code list, by number."""

    module: str
    version: Version
    about: Mapping[str, str]
    classes: tuple[ModelClass, ...]
    lists: tuple[SimpleType, ...]

    def places(self) -> Iterator[tuple[tuple[str, ...], Child, ModelClass]]:
        """Every place in the tree, depth first: path with the class's own name last, its occurrence, the class."""
        found = {one.name: one for one in self.classes}

        def below(path: tuple[str, ...], child: Child) -> Iterator[tuple[tuple[str, ...], Child, ModelClass]]:
            path, here = (*path, child.name), found[child.name]
            yield path, child, here
            yield from chain.from_iterable(below(path, next_one) for next_one in here.children)

        return below((), Child(ROOT, 1, 1, found[ROOT].fact))

    def certainties(self) -> Mapping[str, int]:
        """How many attributes that may be sent carry each certainty, counted at each place as ``Layout`` does."""
        sent = (a.fact.certainty for _, _, here in self.places() for a in here.attributes if a.use != "prohibited")
        return dict.fromkeys(CERTAINTIES, 0) | Counter(sent)


_Placed = tuple[str, Row]


@dataclass(frozen=True)
class Model:
    """All tables, checked. Rows are kept in the order of the files, which is the order of the XSD."""

    versions: tuple[Version, ...]
    modules: Mapping[str, Mapping[str, str]]
    tables: Mapping[str, tuple[_Placed, ...]]

    def version(self, name: str) -> Version:
        """The version of that name. WrongUse names those there are."""
        for version in self.versions:
            if version.name == name:
                return version
        raise WrongUse(f"{name}: not in the model", fix=f"there are {', '.join(v.name for v in self.versions)}")

    def message(self, module: str, version: str) -> Message:
        """One module of one version. WrongUse when it is not held, or the tables contradict each other there."""
        held = self.version(version)
        if module not in held.held:
            raise WrongUse(f"{module}: not held in {version}", fix=f"there are {', '.join(held.held)}")
        classes = tuple(self._classes(module, held))
        numbers = sorted({a.code_list for one in classes for a in one.attributes if a.type == CODED})
        lists = tuple(self._list(number, held) for number in numbers)
        return Message(module, held, self.modules[module], classes, lists)

    def shared_types(self, version: str) -> tuple[SimpleType, ...]:
        """The types that all modules of a version share."""
        held = self.version(version)
        return tuple(
            SimpleType(row["type"], row["base"], _facets(row["facets"]), self._fact(row, held))
            for _, row in self._pick("types", held)
        )

    def _pick(self, table: str, version: Version, module: str = "") -> list[_Placed]:
        """Rows that hold for the version, and for the module where the table has modules."""
        names = [one.name for one in self.versions]
        at = names.index(version.name)

        def holds(row: Row) -> bool:
            first = names.index(row["from"]) if row["from"] else 0
            last = names.index(row["to"]) if row["to"] else len(names)
            return first <= at <= last and (not module or bool({module, ALL} & set(row["modules"].split())))

        return [(where, row) for where, row in self.tables[table] if holds(row)]

    def _classes(self, module: str, version: Version) -> Iterator[ModelClass]:
        """From the root down, each class once."""
        parts = {table: self._pick(table, version, module) for table in ("children", "attributes", "keys")}
        facts = {row["class"]: row for _, row in self.tables["classes"]}
        level, waiting, done = 1, [ROOT], {ROOT}
        while waiting:
            following: list[str] = []
            for name in waiting:
                rows_of = {table: [one for one in found if one[1]["class"] == name] for table, found in parts.items()}
                one = self._class(name, level, rows_of, self._fact(facts[name], version), version)
                yield one
                following += [child.name for child in one.children if child.name not in {*done, *following}]
            done.update(following)
            level, waiting = level + 1, following

    def _class(
        self, name: str, level: int, parts: Mapping[str, list[_Placed]], fact: Fact, version: Version
    ) -> ModelClass:
        children = [self._child(row, version) for _, row in _once(parts["children"], "child")]
        attributes = [self._attribute(row, version) for _, row in _once(parts["attributes"], "attribute")]
        keys = [
            Key(row["kind"], row["name"], row["selector"], tuple(row["fields"].split()), row["refer"])
            for _, row in _once(parts["keys"], "name")
        ]
        return ModelClass(name, level, fact, tuple(children), tuple(attributes), tuple(keys))

    def _attribute(self, row: Row, version: Version) -> AttributeRow:
        # Only the version itself is ever fixed, so a row says so in place of `required`.
        use, fixed = ("required", version.name) if row["use"] == FIXED else (row["use"], None)
        return AttributeRow(row["attribute"], row["type"], use, row["list"], fixed, self._fact(row, version))

    def _child(self, row: Row, version: Version) -> Child:
        least, _, most = row["occurs"].partition("..")
        return Child(row["child"], int(least), None if most == "*" else int(most), self._fact(row, version))

    def _fact(self, row: Row, version: Version) -> Fact:
        """What the row's source lets us say of this version."""
        spoken = {one["version"]: one["title"] for _, one in self.tables["sources"] if one["source"] == row["source"]}
        if title := spoken.get("") or spoken.get(version.name):
            return Fact(row["certainty"], title, row["note"])
        names = [one.name for one in self.versions]
        nearest = min(spoken, key=lambda name: abs(names.index(name) - names.index(version.name)))
        title = spoken[nearest]
        carried = f"carried from {title.rpartition(' ')[2]}"
        note = f"{row['note']}; {carried}" if row["note"] else carried
        return Fact(max(row["certainty"], "B"), title, note)

    def _list(self, number: str, version: Version) -> SimpleType:
        base = next(row["base"] for _, row in self.tables["lists"] if row["list"] == number)
        known = code_lists().get(number) if version.coded == "enumerated" else None
        codes = [("enumeration", value.code) for value in known.values if value.valid_in(version.year)] if known else []
        base = "string" if version.coded == "text" else base
        return SimpleType(f"list{number}", base, tuple(codes), Fact("", "", ""))


def _facets(text: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, _, value in (one.partition("=") for one in text.split()))


def _once(placed: list[_Placed], column: str) -> list[_Placed]:
    """The rows as they are. WrongUse when two of them speak of the same thing."""
    seen: set[str] = set()
    for where, row in placed:
        if row[column] in seen:
            raise refuse(f"{row['class']} {row[column]} stands twice for one module and version", where)
        seen.add(row[column])
    return placed


@cache
def load_model() -> Model:
    """The model that comes with the program. WrongUse where its files are not consistent."""
    texts = {name: (FOLDER / f"{name}.csv").read_text(encoding="utf-8") for name in HEADERS}
    modules = tomllib.loads((FOLDER / "modules.toml").read_text(encoding="utf-8"))
    return read_model(texts, modules, packaged_versions())


def read_model(texts: Mapping[str, str], modules: Mapping[str, Any], versions: Mapping[str, Any]) -> Model:
    """The model out of the text of each table (HEADERS), modules.toml and versions.toml.

    WrongUse names file and line of the first row that is not as it should be.
    """
    tables = {name: tuple(rows(texts[name], header, f"{name}.csv")) for name, header in HEADERS.items()}
    model = Model(tuple(_versions(versions)), modules, tables)
    for name, placed in tables.items():
        for where, row in placed:
            if fault := _fault(name, row, model):
                raise refuse(fault, where)
    return model


def _versions(raw: Mapping[str, Any]) -> Iterator[Version]:
    """Versions that the model speaks of, in the order of the file; the others are XSDs alone."""
    for name, one in raw["versions"].items():
        if "model" not in one:
            continue
        years = {int(year): fact for year, fact in raw["years"].items() if fact["version"] == name}
        if not years:
            raise refuse(f"no data year is reported in {name}", "schemas/npr/versions.toml")
        year = min(years)
        evidence, certainty = years[year]["evidence"], years[year]["certainty"]
        encoding, coded = one["model"]["encoding"], one["model"]["coded"]
        yield Version(name, year, evidence, certainty, encoding, coded, tuple(one["held"]))


def _fault(table: str, row: Row, model: Model) -> str | None:
    """What is wrong with a row by itself and against the other tables, or None."""
    known = {
        "from": ["", *(one.name for one in model.versions)],
        "to": ["", *(one.name for one in model.versions)],
        "version": ["", *(one.name for one in model.versions)],
        "class": _column(model, "classes", "class"),
        "child": _column(model, "classes", "class"),
        "certainty": CERTAINTIES,
        "use": USES,
        "kind": KINDS,
    }
    if table != "sources":
        known["source"] = _column(model, "sources", "source")
    if table == "attributes":
        known["type"] = [*BUILT_IN, CODED, *_column(model, "types", "type")]
        known["list"] = _column(model, "lists", "list") if row["type"] == CODED else [""]
    for column, allowed in known.items():
        if column in row and row[column] not in allowed:
            return f"{column} {row[column]!r} is none of {', '.join(one or '(empty)' for one in allowed)}"
    if unknown := set(row.get("modules", ALL).split()) - {ALL, *model.modules}:
        return f"modules {', '.join(sorted(unknown))} do not stand in modules.toml"
    if row.get("certainty") == "A" and row["source"] in _timeless(model):
        return "certainty A needs a source that names its version"
    return None


def _column(model: Model, table: str, column: str) -> list[str]:
    return [row[column] for _, row in model.tables[table]]


def _timeless(model: Model) -> list[str]:
    return [row["source"] for _, row in model.tables["sources"] if not row["version"]]
