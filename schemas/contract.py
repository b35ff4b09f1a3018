"""The extract contract: what an EHR delivers, as typed, documented, versioned tables.

Belongs here: the frozen types of the contract and the reader of ``schemas/extract/<version>/``. Does not belong here:
pandera (``schemas.models``), reading a hospital's files, rules about content beyond one row, key or reference.
"""

from __future__ import annotations

import csv
import hashlib
import io
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from schemas.errors import WrongUse

FOLDER = Path(__file__).parent / "extract"
CURRENT = "1"
TYPES = ("string", "code", "integer", "decimal", "date", "datetime")


@dataclass(frozen=True, slots=True)
class Column:
    """One column: type, limits, the NPR attributes it feeds, and how sure we are of that."""

    name: str
    type: str
    required: bool
    description: str
    unit: str
    code_list: str
    pattern: str
    minimum: int | None
    maximum: int | None
    max_length: int | None
    feeds: tuple[str, ...]  # Class@attribute
    certainty: str
    source: str


@dataclass(frozen=True, slots=True)
class Rule:
    """What must hold within a row (both_or_none, any_of, not_before) or a group (constant_within)."""

    id: str
    kind: str
    columns: tuple[str, ...]
    group: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)  # one object per contract, so identity is equality
class Table:
    """One table of the contract. ``identity`` tables never leave the identity tree."""

    name: str
    title: str
    required: bool
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    refs: Mapping[str, str]
    owner: str | None
    has: tuple[str, ...]
    rules: tuple[Rule, ...]
    identity: bool

    def column(self, name: str) -> Column:
        """The column of that name; KeyError otherwise."""
        return next(column for column in self.columns if column.name == name)

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in contract order."""
        return tuple(column.name for column in self.columns)

    def feeding(self, npr_class: str) -> dict[str, str]:
        """Attribute -> column, for the columns that feed this NPR class."""
        pairs = ((feed.partition("@"), column.name) for column in self.columns for feed in column.feeds)
        return {attribute: name for (cls, _, attribute), name in pairs if cls == npr_class}


@dataclass(frozen=True, slots=True)
class Unpivot:
    """Class rows out of columns that each name one thing in a role."""

    attribute: str
    role: str
    columns: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ClassSource:
    """Where the rows of one node of a message come from."""

    node: str
    table: str
    key: tuple[str, ...]
    parent: tuple[str, ...]
    order: tuple[str, ...]
    unpivot: Unpivot | None
    skip_if_null: str | None
    until: str | None = None  # last version that has the class, when the register took it away


@dataclass(frozen=True, slots=True)
class Contract:
    """All tables of one contract version, and how they become NPR classes."""

    version: str
    tables: Mapping[str, Table]
    classes: Mapping[str, ClassSource]
    overlay: str = ""  # SHA-256 of what was laid over the packaged contract; empty when nothing was

    @property
    def identity(self) -> str:
        """Version, and the beginning of the digest of what was laid over it."""
        return f"{self.version}+{self.overlay[:12]}" if self.overlay else self.version

    def __iter__(self) -> Iterator[Table]:
        """Tables in such an order that what a row refers to comes before it."""
        # Lists, not sets: the order must not depend on the hash seed.
        order = TopologicalSorter({t.name: sorted(set(t.refs.values())) for t in self.tables.values()}).static_order()
        return iter([self.tables[name] for name in order])

    def owner_path(self, table: Table) -> str | None:
        """Name of the table through which a row reaches its patient; None for units."""
        return table.refs[table.owner] if table.owner else None


@cache
def load_contract(version: str = CURRENT) -> Contract:
    """Read one version of the contract. WrongUse for an unknown version.

    Raises ValueError on an inconsistent contract (a bug, not a user error).
    """
    known = sorted(path.name.removeprefix("v") for path in FOLDER.glob("v*"))
    if version not in known:
        raise WrongUse(
            f"there is no extract contract {version[:20]!r}", where="contract", fix=f"one of {', '.join(known)}"
        )
    folder = FOLDER / f"v{version}"
    columns = _columns(folder / "columns.csv")
    raw = tomllib.loads((folder / "tables.toml").read_text(encoding="utf-8"))
    if raw.pop("version") != version or set(raw) != set(columns):
        raise ValueError(f"extract contract v{version}: tables.toml and columns.csv do not name the same tables")
    tables = {name: _table(name, spec, columns[name]) for name, spec in raw.items()}
    classes = tomllib.loads((folder / "classes.toml").read_text(encoding="utf-8"))
    return Contract(version, tables, {node: _class_source(node, spec) for node, spec in classes.items()})


@cache
def overlaid(version: str, columns: str, classes: str, where: str) -> Contract:
    """A packaged contract with columns and classes laid over it: how a new model year is mapped without code.

    columns: text in the form of columns.csv; a column that is known is replaced, another comes after the known ones.
    classes: text in the form of classes.toml; a class that is known is replaced. where: folder, for messages. WrongUse
    for what does not fit, for tables that are not there, and for a class that would be fed from an identity table.
    """
    base = load_contract(version)
    try:
        given = _read_columns(io.StringIO(columns)) if columns else {}
        tables = dict(base.tables) | {name: _widened(base.tables[name], given[name]) for name in given}
        sources = {node: _class_source(node, spec) for node, spec in tomllib.loads(classes).items()}
        private = [node for node, source in sources.items() if tables[source.table].identity]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WrongUse(
            "the mapping does not have the form of the contract",
            where=f"{where}: {type(error).__name__} {error}",
            rule="same columns as schemas/extract/v1/columns.csv, same keys as classes.toml, tables of the contract",
            fix="see docs/schemas.md",
        ) from None
    if private and any(base.classes.get(node) != sources[node] for node in private):
        raise WrongUse(
            f"{', '.join(private)}: fed from an identity table",
            where=f"{where}/classes.toml",
            rule="identity goes into the identity message alone",
            fix="feed the class from another table",
        )
    digest = hashlib.sha256(f"{len(columns)} {columns}{classes}".encode()).hexdigest()
    return Contract(version, tables, {**base.classes, **sources}, digest)


def _widened(table: Table, columns: tuple[Column, ...]) -> Table:
    given = {column.name: column for column in columns}
    known = tuple(given.pop(column.name, column) for column in table.columns)
    return replace(table, columns=(*known, *given.values()))


def _columns(path: Path) -> dict[str, tuple[Column, ...]]:
    with path.open(encoding="utf-8", newline="") as file:
        return _read_columns(file)


def _read_columns(file: Iterable[str]) -> dict[str, tuple[Column, ...]]:
    found: dict[str, list[Column]] = {}
    for row in csv.DictReader(file):
        found.setdefault(row["table"], []).append(_column(row))
    return {table: tuple(columns) for table, columns in found.items()}


def _column(row: Mapping[str, str]) -> Column:
    if row["type"] not in TYPES or (row["type"] == "code") != bool(row["code_list"]):
        raise ValueError(f"extract contract: type of {row['table']}.{row['column']}")
    return Column(
        name=row["column"],
        type=row["type"],
        required=row["required"] == "yes",
        description=row["description"],
        unit=row["unit"],
        code_list=row["code_list"],
        pattern=row["pattern"],
        minimum=int(row["min"]) if row["min"] else None,
        maximum=int(row["max"]) if row["max"] else None,
        max_length=int(row["max_length"]) if row["max_length"] else None,
        feeds=tuple(row["feeds"].split()),
        certainty=row["certainty"],
        source=row["source"],
    )


def _table(name: str, spec: Mapping[str, Any], columns: tuple[Column, ...]) -> Table:
    rules = tuple(
        Rule(r["id"], r["kind"], tuple(r["columns"]), tuple(r.get("group", ()))) for r in spec.get("rules", ())
    )
    table = Table(
        name=name,
        title=spec["title"],
        required=spec["delivery"] == "required",
        key=tuple(spec["key"]),
        columns=columns,
        refs=dict(spec.get("refs", {})),
        owner=spec.get("owner"),
        has=tuple(spec.get("has", ())),
        rules=rules,
        identity=bool(spec.get("identity", False)),
    )
    used = {*table.key, *table.refs, *(c for rule in rules for c in (*rule.columns, *rule.group))}
    if unknown := used - set(table.names):
        raise ValueError(f"extract contract: {name} names columns it does not have: {sorted(unknown)}")
    return table


def _class_source(node: str, spec: Mapping[str, Any]) -> ClassSource:
    unpivot = spec.get("unpivot")
    return ClassSource(
        node=node,
        table=spec["table"],
        key=tuple(spec["key"]),
        parent=tuple(spec.get("parent", ())),
        order=tuple(spec.get("order", ())),
        unpivot=Unpivot(unpivot["attribute"], unpivot["role"], unpivot["columns"]) if unpivot else None,
        skip_if_null=spec.get("skip_if_null"),
        until=spec.get("until"),
    )
