"""Cases of content rules: tables of text in ``tests/rules/*.toml``, made into class tables and asked.

Belongs here: reading the cases and the answer of a rule to each row. Does not belong here: what the answer should be.

A table shows rows of the rule's class; columns are named as in the rule (``Episode_innDatoTid``, ``n_Tilstand``).
``verdict`` is right, wrong or unchecked. What stands above, beside and below a row is made from its columns: without
``_patient`` each row has a patient of its own. Tables of other classes name their ``_parent`` and ``_patient``.
"""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
from spec import cells, frame

from pipelines.home.codes import carried
from schemas.contract import load_contract
from schemas.layout import Layout, Node
from schemas.layouts import load_layout
from schemas.period import Period
from schemas.rulebook import ContentRule, rulebook
from transforms.code_validity import CodeTables, Edition, code_tables
from transforms.content.findings import find
from transforms.message.class_tables import nodes_of_patients
from transforms.rules.plan import Column, plan, resolve

FOLDER = Path(__file__).parent / "rules"
CONTRACT = load_contract()
YEAR_2020 = (dt.date(2020, 1, 1), dt.date(2020, 12, 31))
# Loaded lists, as `npr codes add` would make them: of 2020 and nothing else.
LOADED: dict[str, dict[str, dt.date | None]] = {
    "icd10": {"E702": None, "S525": None, "U071": dt.date(2020, 3, 25)},
    "ncsp": {"NGD11": None},
    "ncmp": {"WBGM00": None},
    "resh": {"99001000": None},
    "orgnr": {"900000103": None},
}
KODEVERK = {"D": ("icd10",), "K": ("ncsp",), "M": ("ncmp",), "R": ("ncrp",), "Q": ("ncsp", "ncmp", "ncrp")}
_ROW = "_row"


@dataclass(frozen=True)
class Case:
    """All rows of one rule. others: node -> table of another class."""

    rule: str
    rows: str
    period: str = "2020-T1"
    version: str = "54.0.1"
    others: Mapping[str, str] = field(default_factory=dict)

    @property
    def expected(self) -> list[str]:
        """The verdicts of the table."""
        header, *rows = cells(self.rows)
        return [row[header.index("verdict")] for row in rows]


def read_cases() -> dict[str, Case]:
    """Rule -> its case."""
    found = {}
    for path in sorted(FOLDER.glob("*.toml")):
        for rule, spec in tomllib.loads(path.read_text(encoding="utf-8")).items():
            assert rule not in found, rule
            own = {name: spec.pop(name) for name in ("rows", "period", "version") if name in spec}
            found[rule] = Case(rule, **own, others=spec)
    return found


RULES = {rule.id: rule for rule in rulebook()}


@cache
def lists() -> CodeTables:
    """Carried lists and LOADED."""
    loaded = [
        Edition(name, *YEAR_2020, pl.DataFrame(
            [(code, since, None) for code, since in codes.items()],
            schema={"code": pl.String, "valid_from": pl.Date, "valid_to": pl.Date}, orient="row",
        ))
        for name, codes in LOADED.items()
    ]  # fmt: skip
    return code_tables([*carried(), *loaded], KODEVERK)


def answers(case: Case, rule: ContentRule | None = None) -> list[str]:
    """What a rule (that of the case, or one given in its place) says of each row of its table."""
    rule = rule or RULES[case.rule]
    layout = load_layout(rule.modules[0], case.version)
    ready = plan([rule], CONTRACT, layout, Period.parse(case.period), lists())
    nodes = list(dict.fromkeys(one.node for one in ready.ready))
    assert nodes, f"{case.rule} does not speak in {case.version}"
    told = [_at_node(case, rule, layout, layout.node(node), ready) for node in nodes]
    assert all(one == told[0] for one in told), "the nodes of a class answer alike"
    return told[0]


def _at_node(case: Case, rule: ContentRule, layout: Layout, node: Node, ready: Any) -> list[str]:  # noqa: ANN401 - a Plan
    count = len(case.expected)
    together = [list(range(count))] if rule.function else [[row] for row in range(count)]
    said = dict.fromkeys(range(count), "right")
    for rows in together:
        tables, message = tables_of(case, layout, node, rows)
        found = find(ready, tables, message)
        wrong = found.findings.filter(pl.col("class") == node.id)[_ROW].to_list()
        said |= dict.fromkeys((row - 1 for row in wrong if row), "wrong")
        if found.unchecked.get(rule.id):
            assert not wrong
            assert len(rows) == 1
            said[rows[0]] = "unchecked"
    return [said[row] for row in range(count)]


Made = dict[str, dict[int, dict[str, Any]]]  # node -> _id -> attributes


def tables_of(
    case: Case, layout: Layout, node: Node, rows: list[int]
) -> tuple[dict[str, pl.DataFrame], dict[str, pl.DataFrame]]:
    """Class tables, and those above the patients, that hold these rows of the case."""
    made: Made = {}
    message: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(_typed(case.rows, layout, node)):
        if number in rows:
            _add(made, message, layout, node, {_ROW: number + 1, **row}, 10 * (number + 1))
    for name, text in case.others.items():
        other = layout.node(name)
        for number, row in enumerate(_typed(text, layout, other)):
            _add(made, message, layout, other, {_ROW: 0, **row}, 10_000 + 10 * number)
    below = {one.id for one in nodes_of_patients(layout)}
    tables = {name: _frame(layout, name, found) for name, found in made.items()}
    shell = {name: table for name, table in tables.items() if name not in below}
    shell |= {name: pl.DataFrame([values]) for name, values in message.items()}
    return tables, shell


def _columns(text: str, layout: Layout, node: Node) -> dict[str, Column]:
    found = {}
    for name in cells(text)[0]:
        if not name.startswith("_") and name != "verdict":
            column = resolve(name, layout, node, CONTRACT)
            assert column is not None, f"{node.id} has no {name} in {layout.version}"
            found[name] = column
    return found


def _typed(text: str, layout: Layout, node: Node) -> list[dict[str, Any]]:
    columns = _columns(text, layout, node)
    shown = frame(text, {name: column.dtype for name, column in columns.items()})
    return [{"columns": columns, **row} for row in shown.iter_rows(named=True)]


def _add(
    made: Made, message: dict[str, dict[str, Any]], layout: Layout, node: Node, row: dict[str, Any], default: int
) -> None:
    columns: dict[str, Column] = row["columns"]
    own = row.get("_id") or default
    patient = row.get("_patient") or own
    inside = {one.id for one in nodes_of_patients(layout)}
    place: Node | None = node
    ids = {node.id: own}
    while place is not None and place.parent is not None:
        above = layout.node(place.parent)
        ids[above.id] = _id_above(layout, above, row, own, patient, direct=place is node)
        place = above
    for name, key in ids.items():
        values = {"_patient": patient} if name in inside else {}
        parent = layout.node(name).parent
        if parent is not None and name != layout.patient:
            values["_parent"] = ids[parent]
        if name == node.id:
            values[_ROW] = row[_ROW]
        made.setdefault(name, {}).setdefault(key, values)
    for name, column in columns.items():
        _place(made, message, layout, column, row[name], ids, patient)


def _id_above(layout: Layout, above: Node, row: dict[str, Any], own: int, patient: int, *, direct: bool) -> int:
    if above.id == layout.patient:
        return patient
    return row.get(f"{above.name}__id") or (row.get("_parent") if direct else None) or own


def _place(
    made: Made, message: dict[str, dict[str, Any]], layout: Layout, column: Column, value: Any,  # noqa: ANN401
    ids: Mapping[str, int], patient: int,
) -> None:  # fmt: skip
    match column.kind:
        case "message":
            message.setdefault(column.place, {"_id": 0})[column.attribute] = value
        case "beside":
            made.setdefault(column.place, {}).setdefault(patient, {"_patient": patient, "_parent": patient})[
                column.attribute
            ] = value
        case "count":
            for _ in range(value or 0):
                there = made.setdefault(column.place, {})
                key = 100_000 + len(there)
                parent = layout.node(column.place).parent
                assert parent is not None
                there[key] = {"_parent": ids[parent], "_patient": patient, _ROW: 0}
                if column.value is not None:
                    there[key][column.attribute] = column.value
        case "own" | "above" if column.attribute == "nth":
            here = made[column.place]
            for before in range(1, value or 1):
                here[ids[column.place] - before] = {**_keys(here[ids[column.place]]), _ROW: 0}
        case "own" | "above" if column.attribute != "_id":
            made[column.place][ids[column.place]][column.attribute] = value
        case _:
            pass


def _keys(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("_parent", "_patient") if name in row}


def _frame(layout: Layout, name: str, found: Mapping[int, Mapping[str, Any]]) -> pl.DataFrame:
    node = layout.node(name)
    names = dict.fromkeys(key for values in found.values() for key in values)
    if node.name in {"Enhet", "RefEnhet"}:  # of whom the finding is
        names |= dict.fromkeys(["enhetID"] if node.name == "Enhet" else ["enhetID", "typeEnhet"])
    schema: dict[str, pl.DataType] = {"_id": pl.Int64()}
    own: dict[str, pl.DataType] = {"_parent": pl.Int64(), "_patient": pl.UInt32(), _ROW: pl.UInt32()}
    for key in names:
        column = resolve(key, layout, node, CONTRACT)
        schema[key] = own[key] if key in own else column.dtype if column else pl.String()
    rows = [
        {"_id": key, **{name: _fit(value, schema[name]) for name, value in values.items()}}
        for key, values in sorted(found.items())
    ]
    return pl.DataFrame(rows, schema=schema)


def _fit(value: Any, dtype: pl.DataType) -> Any:  # noqa: ANN401 - a value of any column
    return int(value) if isinstance(value, str) and dtype.is_integer() else value
