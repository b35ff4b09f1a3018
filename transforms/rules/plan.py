"""Rules made ready for one module of one version: every name found, every expression tried on no rows.

Belongs here: what a name in a rule means (columns below), whether a rule speaks in a version, and the refusal of what
no version knows. Does not belong here: looking at rows (``transforms.content.findings``).

What a rule of a class may name:

    attribute            of the class                       Episode_innDatoTid   attribute of a class above (``_id``
    period_from, _to     first and last day of the period                        after the line: the row itself)
    n_Helseperson        rows of that class below           Pasient_kjonn        attribute of the patient
    n_RefEnhet_typeEnhet_7   those with that value          refs_7               of Enhet: how many name it in that role
    nth, Tilstand_nth    place among rows of the same parent, from 1   Melding_uttakDato    attribute of the message
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import polars as pl

from schemas.code_formats import packaged_formats
from schemas.contract import Contract
from schemas.layout import Attribute, Layout, Node
from schemas.layouts import load_layout
from schemas.models import DTYPES
from schemas.period import Period
from schemas.rulebook import ContentRule, untrusted
from schemas.versions import packaged_versions
from transforms.code_validity import CodeTables, verdict
from transforms.message.class_tables import nodes_of_patients
from transforms.rules import codes, episode, referral, units  # noqa: F401 - their functions make themselves known
from transforms.rules.functions import FUNCTIONS
from transforms.rules.rows import NTH, Rows

ROLES: Final = "refs_"
_ID: Final = "_id"
_XSD_TYPES: Final[Mapping[str, pl.DataType]] = {
    "date": pl.Date(),
    "dateTime": pl.Datetime("us"),
    "integer": pl.Int64(),
    "int": pl.Int64(),
    "nonNegativeInteger": pl.Int64(),
    "decimal": pl.Float64(),
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column that a rule asks for. kind: own, period, above, beside, count, message. place: node it comes from."""

    name: str
    kind: str
    place: str
    attribute: str
    dtype: pl.DataType
    value: str | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """One rule at one node. wrong: true where a row is wrong. unchecked: true where no list could be asked."""

    rule: ContentRule
    node: str
    columns: tuple[Column, ...]
    wrong: pl.Expr | None = None
    unchecked: pl.Expr | None = None
    day: pl.Expr | None = None  # on which a code must stand in its list
    others: Mapping[str, tuple[str, tuple[Column, ...]]] | None = None  # name in the rule -> node, its columns


@dataclass(frozen=True, slots=True)
class Plan:
    """The rules of one module. silent: rule -> why it does not speak in this version or year."""

    layout: Layout
    contract: Contract
    period: Period
    ready: tuple[Ready, ...]
    silent: Mapping[str, str]

    def nodes(self) -> tuple[str, ...]:
        """Nodes that rules look at, in document order."""
        asked = {one.node for one in self.ready}
        return tuple(node.id for node in self.layout.nodes if node.id in asked)

    def needed(self) -> dict[str, set[str]]:
        """Node -> attributes that must be read for rules, departments and the way up to the patient."""
        wanted: dict[str, set[str]] = {}
        for one in self.ready:
            self._ask(wanted, one.node, one.columns)
            for other, columns in (one.others or {}).values():
                self._ask(wanted, other, columns)
        for node in self.layout.nodes:
            if node.name == "RefEnhet" and node.parent in wanted:
                wanted.setdefault(node.id, set()).update({"enhetID", "typeEnhet"})
        return wanted

    def _ask(self, wanted: dict[str, set[str]], node: str, columns: Iterable[Column]) -> None:
        current: str | None = node
        while current is not None:
            wanted.setdefault(current, set())
            current = self.layout.node(current).parent
        for column in columns:
            if column.place:
                wanted.setdefault(column.place, set()).add(column.attribute)


class _Silent(Exception):
    pass


def plan(rules: Iterable[ContentRule], contract: Contract, layout: Layout, period: Period, tables: CodeTables) -> Plan:
    """Make the rules of the layout's module ready. tables: the code lists at hand.

    WrongUse names rule and file where a rule asks for what no version of its module has, does not parse, does not fit
    the types of its columns, or names a function or a carried list that is not there.
    """
    ready: list[Ready] = []
    silent: dict[str, str] = {}
    for rule in rules:
        _insist_modules(rule)
        if layout.module not in rule.modules:
            continue
        try:
            ready += _at_nodes(rule, contract, layout, period, tables)
        except _Silent as why:
            silent[rule.id] = str(why)
    return Plan(layout, contract, period, tuple(ready), silent)


def _at_nodes(rule: ContentRule, contract: Contract, layout: Layout, period: Period, tables: CodeTables) -> list[Ready]:
    if (rule.from_year or 0) > period.year or period.year > (rule.to_year or period.year):
        raise _Silent(f"not for data of {period.year}")
    if rule.from_version and _number(layout.version) < _number(rule.from_version):
        raise _Silent(f"not before version {rule.from_version}")
    places = [node for node in layout.nodes if rule.npr_class in {node.id, node.name}]
    if not places:
        _insist_elsewhere(rule, layout, lambda other: any(rule.npr_class in {n.id, n.name} for n in other.nodes))
        raise _Silent(f"{layout.module} {layout.version} has no {rule.npr_class}")
    made = [_ready(rule, node, _Names(rule, contract, layout, node), tables) for node in places]
    for one in made:
        _try(one, period)
    return made


def _ready(rule: ContentRule, node: Node, names: _Names, tables: CodeTables) -> Ready:
    if rule.function is not None:
        return _of_function(rule, node, names)
    if rule.codes is not None:
        return _of_codes(rule, node, names, tables)
    expression = _parsed(rule, rule.wrong or "")
    return Ready(rule, node.id, names.columns(_roots(expression)), wrong=expression)


def _of_function(rule: ContentRule, node: Node, names: _Names) -> Ready:
    if rule.function not in FUNCTIONS:
        known = ", ".join(sorted(FUNCTIONS))
        raise untrusted(rule.id, rule.file, f"there is no function {rule.function}; there are {known}")
    others = {name: names.other(name, asked) for name, asked in rule.needs.items()}
    return Ready(rule, node.id, names.columns(rule.uses), others=others)


def _of_codes(rule: ContentRule, node: Node, names: _Names, tables: CodeTables) -> Ready:
    assert rule.codes is not None  # noqa: S101 - narrowed by the caller
    use = rule.codes
    day = _parsed(rule, use.on)
    value = _parsed(rule, use.value)
    asked = [*_roots(value), *_roots(day), *([use.kodeverk] if use.kodeverk else [])]
    if use.list is not None:
        if use.list not in tables.intervals and use.list not in packaged_formats():
            raise untrusted(rule.id, rule.file, f"code list {use.list} does not come with the program")
        refuted, unchecked = verdict(value, day.cast(pl.Date), [use.list], tables)
        return Ready(rule, node.id, names.columns(asked), wrong=refuted, unchecked=unchecked, day=day)
    letter = pl.col(use.kodeverk or "")
    parts = [
        [(letter == one) & expr for expr in verdict(value, day.cast(pl.Date), tables.kodeverk.get(one, ()), tables)]
        for one in use.letters
    ]
    wrong, unchecked = (pl.any_horizontal(part[side] for part in parts) for side in (0, 1))
    return Ready(rule, node.id, names.columns(asked), wrong=wrong, unchecked=unchecked, day=day)


def _parsed(rule: ContentRule, sql: str) -> pl.Expr:
    try:
        return pl.sql_expr(sql)
    except (pl.exceptions.PolarsError, pl.exceptions.SQLInterfaceError) as error:
        raise untrusted(rule.id, rule.file, f"not readable as SQL: {error}") from None


def _roots(expression: pl.Expr) -> list[str]:
    return list(dict.fromkeys(expression.meta.root_names()))


def _try(one: Ready, period: Period) -> None:
    """Ask no rows at all: what does not fit the types of its columns is found here, and not where it would matter."""
    empty = pl.DataFrame(schema={column.name: column.dtype for column in one.columns})
    frame = with_period(empty, one.columns, period)
    try:
        found = flags(one, frame, _no_others(one))
        day = frame.select(one.day).to_series().dtype if one.day is not None else pl.Date()
    except (pl.exceptions.PolarsError, TypeError, ValueError, KeyError) as error:
        told = str(error).partition("\n")[0]
        raise untrusted(one.rule.id, one.rule.file, f"cannot be asked: {type(error).__name__} {told}") from None
    if set(found.dtypes) - {pl.Boolean()}:
        raise untrusted(one.rule.id, one.rule.file, f"gives {found.dtypes[0]} and not true or false")
    if not (day == pl.Date or isinstance(day, pl.Datetime)):
        raise untrusted(one.rule.id, one.rule.file, f"on is {day} and no day")


def _no_others(one: Ready) -> dict[str, pl.DataFrame]:
    keys = {"_id": pl.Int64(), "_parent": pl.Int64(), "_patient": pl.UInt32()}
    found = {}
    for name, (_, columns) in (one.others or {}).items():
        found[name] = pl.DataFrame(schema=keys | {column.name: column.dtype for column in columns})
    return found


def flags(one: Ready, frame: pl.DataFrame, others: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Columns wrong and, for codes, unchecked: Boolean, never null."""
    if one.rule.function is not None:
        keyed = frame if "_id" in frame.columns else frame.with_columns(_id=pl.lit(0), _patient=pl.lit(0, pl.UInt32))
        told = FUNCTIONS[one.rule.function](keyed, others)
        if len(told) != frame.height:
            raise ValueError("the function gives another number of rows than it got")
        return told.alias("wrong").to_frame().with_columns(pl.col("wrong").fill_null(value=False))
    asked = {"wrong": one.wrong, "unchecked": one.unchecked}
    return frame.select(expr.fill_null(value=False).alias(name) for name, expr in asked.items() if expr is not None)


def with_period(frame: pl.DataFrame, columns: Iterable[Column], period: Period) -> pl.DataFrame:
    """The frame with first and last day of the period, where they are asked for."""
    days = {"period_from": period.start, "period_to": period.end}
    wanted = dict.fromkeys(column.name for column in columns if column.kind == "period")
    return frame.with_columns(pl.lit(days[name]).alias(name) for name in wanted)


def shown(rows: Rows, node: str, columns: Iterable[Column]) -> pl.DataFrame:
    """Rows of a node: ``_id``, ``_parent``, ``_patient``, ``_row`` as there are, and the columns asked for."""
    own = rows.tables[node]
    frame = own.select(name for name in ("_id", "_parent", "_patient", "_row") if name in own.columns)
    made = {column.name: _made(rows, node, column) for column in columns if column.kind != "period"}
    return frame.with_columns(series.alias(name) for name, series in made.items())


def _made(rows: Rows, node: str, column: Column) -> pl.Series:
    match column.kind:
        case "above":
            return rows.value_above(node, column.place, column.attribute, column.dtype)
        case "beside":
            return rows.value_beside(node, column.place, column.attribute, column.dtype)
        case "message":
            return rows.value_of_message(node, column.place, column.attribute, column.dtype)
        case "count":
            attribute = column.attribute if column.value is not None else None
            return rows.count(node, column.place, attribute, column.value)
        case _:
            return rows.value(node, column.attribute, column.dtype)


# --- names ------------------------------------------------------------------------------------------------------------


class _Names:
    """What the names in a rule mean at a node."""

    def __init__(self, rule: ContentRule, contract: Contract, layout: Layout, node: Node) -> None:
        self._rule, self._contract, self._layout, self._node = rule, contract, layout, node

    def columns(self, names: Iterable[str]) -> tuple[Column, ...]:
        """Each name once. _Silent where this version lacks one, WrongUse where no version has it."""
        return tuple(self._column(name) for name in dict.fromkeys(names))

    def other(self, name: str, asked: Iterable[str]) -> tuple[str, tuple[Column, ...]]:
        """The node of another class, below the same patient, and its columns."""
        found = _named(name, self._layout)
        if not found:
            _insist_elsewhere(self._rule, self._layout, lambda layout: bool(_named(name, layout)), f"no class {name}")
            raise _Silent(f"{self._layout.module} {self._layout.version} has no {name}")
        if len(found) != 1:
            raise untrusted(self._rule.id, self._rule.file, f"{name} is not the name of one node")
        return found[0].id, _Names(self._rule, self._contract, self._layout, found[0]).columns(asked)

    def _column(self, name: str) -> Column:
        if found := resolve(name, self._layout, self._node, self._contract):
            return found
        here = self._node

        def known(other: Layout) -> bool:
            whole = _with_prohibited(other)
            places = [node for node in whole.nodes if node.name == here.name]
            return any(resolve(name, whole, node, self._contract) is not None for node in places)

        _insist_elsewhere(self._rule, self._layout, known, f"{here.name} has no {name}")
        raise _Silent(f"{self._layout.module} {self._layout.version} does not take {here.name}@{name}")


def _named(name: str, layout: Layout) -> list[Node]:
    return [node for node in nodes_of_patients(layout) if name in {node.id, node.name}]


def resolve(name: str, layout: Layout, node: Node, contract: Contract) -> Column | None:
    """What a name means at a node of a layout; None where this version does not have it, or prohibits it."""
    if name in {"period_from", "period_to"}:
        return Column(name, "period", "", "", pl.Date())
    if name.startswith("n_"):
        return _counted(name, layout, node)
    return _of_own(name, node, contract) or _of_another(name, layout, node, contract)


def _of_own(name: str, node: Node, contract: Contract) -> Column | None:
    if (name.startswith(ROLES) and node.name == "Enhet") or (name == NTH and node.parent is not None):
        return Column(name, "own", node.id, name, pl.Int64())
    dtype = _dtype(node, name, contract)
    return Column(name, "own", node.id, name, dtype) if dtype is not None else None


def _counted(name: str, layout: Layout, node: Node) -> Column | None:
    for child in layout.children(node.id):
        if name == f"n_{child.name}":
            return Column(name, "count", child.id, "_parent", pl.Int64())
        attribute, _, value = name.removeprefix(f"n_{child.name}_").partition("_")
        if name.startswith(f"n_{child.name}_") and value and _has(child, attribute):
            return Column(name, "count", child.id, attribute, pl.Int64(), value)
    return None


def _of_another(name: str, layout: Layout, node: Node, contract: Contract) -> Column | None:
    below = {one.id for one in nodes_of_patients(layout)}
    current = node.parent
    while current is not None:
        above = layout.node(current)
        attribute = name.removeprefix(f"{above.name}_")
        if attribute != name:
            kind = "above" if above.id in below else "message"
            if attribute in {_ID, NTH}:
                return Column(name, kind, above.id, attribute, pl.Int64())
            if (dtype := _dtype(above, attribute, contract)) is not None:
                return Column(name, kind, above.id, attribute, dtype)
        current = above.parent
    beside = next((one for one in layout.children(layout.patient) if one.max_occurs == 1), None)
    if beside is not None and name.startswith(f"{beside.name}_"):
        attribute = name.removeprefix(f"{beside.name}_")
        if (dtype := _dtype(beside, attribute, contract)) is not None:
            return Column(name, "beside", beside.id, attribute, dtype)
    return None


def _has(node: Node, attribute: str) -> bool:
    return any(one.name == attribute and one.use != "prohibited" for one in node.attributes)


def _dtype(node: Node, name: str, contract: Contract) -> pl.DataType | None:
    """Type of the column of a class table; None where the class does not have it, or must not."""
    for attribute in node.attributes:
        if attribute.name == name and attribute.use != "prohibited":
            return _of_attribute(node, attribute, contract)
    return None


def _of_attribute(node: Node, attribute: Attribute, contract: Contract) -> pl.DataType:
    source = contract.classes.get(node.id)
    if source is not None:
        table = contract.tables[source.table]
        fed = table.feeding(node.name)
        if source.unpivot and attribute.name in {source.unpivot.attribute, source.unpivot.role}:
            return pl.String()
        if attribute.name in fed:
            return DTYPES[table.column(fed[attribute.name]).type]
    return pl.String() if attribute.code_list else _XSD_TYPES.get(attribute.type, pl.String())


# --- versions ---------------------------------------------------------------------------------------------------------


def _held(module: str) -> tuple[str, ...]:
    versions = packaged_versions()["versions"]
    return tuple(name for name, entry in versions.items() if module in entry.get("held", ()))


def _insist_modules(rule: ContentRule) -> None:
    if unknown := [module for module in rule.modules if not _held(module)]:
        raise untrusted(rule.id, rule.file, f"no version has the module {', '.join(unknown)}")


def _with_prohibited(layout: Layout) -> Layout:
    """The layout as if it took every attribute that it declares: a name that stands there is no typo."""
    nodes = [
        replace(node, attributes=tuple(replace(attribute, use="optional") for attribute in node.attributes))
        for node in layout.nodes
    ]
    return replace(layout, nodes=tuple(nodes))


def _insist_elsewhere(rule: ContentRule, layout: Layout, known: Callable[[Layout], bool], told: str = "") -> None:
    # Newest first: what a version lacks was mostly added later. Reading a layout takes a moment.
    if not any(known(load_layout(layout.module, version)) for version in reversed(_held(layout.module))):
        raise untrusted(rule.id, rule.file, told or f"{layout.module} has no class {rule.npr_class} in any version")


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
