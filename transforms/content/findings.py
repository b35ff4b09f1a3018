"""Content rules over class tables: what NPR would do with a row.

Belongs here: asking all rules of a table in one pass, what was found, and what falls with a dropped record. Does not
belong here: the rules themselves (``schemas/rules``), what their names mean (``transforms.rules.plan``), faults of the
extract (``transforms.extract.checks``). A finding says where and which rule, never the value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from schemas.errors import DataRefused
from schemas.layout import Layout
from schemas.rulebook import ContentRule
from transforms.rules.plan import ROLES, Plan, Ready, flags, shown, with_period
from transforms.rules.rows import Rows

# One row per finding.
#   class      node of the message, also the name of its class table (Episode, Tilstand_Kode)
#   table      table of the extract that the row came from; empty for what the pipeline makes (Melding, Institusjon)
#   fields     attributes or classes that the rule speaks of, parted by blanks
#   enhet      enhetID of the department of the record: type 7 of list 8476, else 2, else 1; null where there is none
#   _id        of the row in its class table   _patient  ordinal of the patient, null above the patients
#   _row       place of the row in the extract
#   under      rule by which a record above, or the department, is dropped already: counted there and not here
SCHEMA: Final[dict[str, pl.DataType]] = {
    "rule": pl.String(),
    "consequence": pl.String(),
    "module": pl.String(),
    "class": pl.String(),
    "table": pl.String(),
    "fields": pl.String(),
    "enhet": pl.String(),
    "_id": pl.Int64(),
    "_patient": pl.UInt32(),
    "_row": pl.UInt32(),
    "under": pl.String(),
}
# Which unit of a record is its department: Avdeling, else Fagenhet, else Behandlingssted (list 8476).
DEPARTMENT: Final = ("7", "2", "1")
DROPPED_UNITS: Final[dict[str, pl.DataType]] = {"enhet": pl.String(), "by": pl.String()}


@dataclass(frozen=True, slots=True)
class Found:
    """findings: SCHEMA, in the order of rules and rows. unchecked: rule -> rows that no list could be asked about."""

    findings: pl.DataFrame
    unchecked: Mapping[str, int] = field(default_factory=dict)


def find(
    plan: Plan,
    tables: Mapping[str, pl.DataFrame],
    message: Mapping[str, pl.DataFrame] | None = None,
    dropped: pl.DataFrame | None = None,
) -> Found:
    """Ask the rules of a plan about one batch of whole patients, or about the classes above the patients.

    tables: node -> rows, in document order. message: the classes above the patients, of which batches ask attributes
    only. dropped: units whose records fall with them (DROPPED_UNITS). DataRefused names the rule that failed; what it
    failed over is not shown.
    """
    rows = Rows(plan.layout, tables, message)
    asked: dict[str, list[Ready]] = {}
    for one in plan.ready:
        if one.node in tables and tables[one.node].height:
            asked.setdefault(one.node, []).append(one)
    parts: dict[tuple[str, str], pl.DataFrame] = {}
    unchecked: dict[str, int] = {}
    for node, ready in asked.items():
        for rule, wrong, silent in _of_node(plan, rows, node, ready):
            if silent:
                unchecked[rule.id] = unchecked.get(rule.id, 0) + silent
            if wrong.height:
                parts[rule.id, node] = _told(plan, rule, node, wrong)
    order = [parts[one.rule.id, one.node] for one in plan.ready if (one.rule.id, one.node) in parts]
    found = pl.concat([pl.DataFrame(schema=SCHEMA), *order])
    found = _with_departments(plan.layout, rows, found)
    return Found(_with_dropped(plan.layout, rows, found, dropped), unchecked)


def roles(references: pl.DataFrame) -> pl.DataFrame:
    """Each unit with how often it is named in each role: enhetID, refs_1, refs_2 ... out of enhetID, typeEnhet, len."""
    named = sorted(set(references["typeEnhet"]))
    wide = references.pivot(on="typeEnhet", index="enhetID", values="len", on_columns=named)
    return wide.rename({name: f"{ROLES}{name}" for name in wide.columns if name != "enhetID"}).with_columns(
        pl.exclude("enhetID").cast(pl.Int64)
    )


def with_roles(plan: Plan, units: pl.DataFrame, counts: pl.DataFrame) -> pl.DataFrame:
    """Rows of Enhet with every ``refs_`` column that a rule asks for; 0 where nothing names the unit so."""
    joined = units.join(counts, on="enhetID", how="left", maintain_order="left")
    asked = [c.name for one in plan.ready if one.node == "Enhet" for c in one.columns if c.name.startswith(ROLES)]
    missing = [pl.lit(0, pl.Int64).alias(name) for name in dict.fromkeys(asked) if name not in joined.columns]
    return joined.with_columns(pl.col(f"^{ROLES}.*$").fill_null(0)).with_columns(missing)


def dropped_units(findings: pl.DataFrame) -> pl.DataFrame:
    """The units that findings drop (DROPPED_UNITS), for the batches that follow."""
    gone = findings.filter((pl.col("class") == "Enhet") & (pl.col("consequence") == "drop_record"))
    return gone.select("enhet", by="rule").unique("enhet", keep="first", maintain_order=True)


def _of_node(plan: Plan, rows: Rows, node: str, ready: Sequence[Ready]) -> list[tuple[ContentRule, pl.DataFrame, int]]:
    """Each rule of a node with its wrong rows and how many it could not check."""
    columns = list(dict.fromkeys(column for one in ready for column in one.columns))
    frame = with_period(shown(rows, node, columns), columns, plan.period)
    judged = _judged(plan, rows, frame, ready)
    totals = judged.sum().row(0, named=True)
    keys = frame.select(name for name in ("_id", "_patient", "_row") if name in frame.columns)
    nothing = keys.clear()
    return [
        (
            one.rule,
            keys.filter(judged[f"{one.rule.id} wrong"]) if totals[f"{one.rule.id} wrong"] else nothing,
            int(totals.get(f"{one.rule.id} unchecked") or 0),
        )
        for one in ready
    ]


def _judged(plan: Plan, rows: Rows, frame: pl.DataFrame, ready: Sequence[Ready]) -> pl.DataFrame:
    """One Boolean column for each rule, all expressions in one pass."""
    asked = {
        f"{one.rule.id} {name}": expr.fill_null(value=False)
        for one in ready
        for name, expr in (("wrong", one.wrong), ("unchecked", one.unchecked))
        if expr is not None
    }
    try:
        judged = frame.select(expr.alias(name) for name, expr in asked.items())
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        for one in ready:
            if one.wrong is not None:
                _alone(plan, rows, frame, one)
        raise
    told = [_alone(plan, rows, frame, one)["wrong"].alias(f"{one.rule.id} wrong") for one in ready if one.rule.function]
    return pl.DataFrame([*judged.get_columns(), *told])


def _alone(plan: Plan, rows: Rows, frame: pl.DataFrame, one: Ready) -> pl.DataFrame:
    """What one rule says. DataRefused when it fails; the text of the failure can quote a row, so it stays out."""
    try:
        others = {name: _other(rows, node, columns) for name, (node, columns) in (one.others or {}).items()}
        return flags(one, frame, others)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a panic in Polars is no Exception
        raise DataRefused(
            f"rule {one.rule.id} failed over the rows of {one.node} ({type(error).__name__})",
            where=f"{one.rule.where}, {plan.layout.module} {plan.layout.version}",
            rule="a rule that fails never counts as passed",
            fix="this is a fault of the rule; nothing was published. Report it with the lines above",
        ) from None


def _other(rows: Rows, node: str, columns: Iterable[object]) -> pl.DataFrame:
    if node in rows.tables:
        return shown(rows, node, columns)  # type: ignore[arg-type]
    keys = {"_id": pl.Int64(), "_parent": pl.Int64(), "_patient": pl.UInt32()}
    return pl.DataFrame(schema=keys | {column.name: column.dtype for column in columns})  # type: ignore[attr-defined]


def _told(plan: Plan, rule: ContentRule, node: str, wrong: pl.DataFrame) -> pl.DataFrame:
    source = plan.contract.classes.get(node)
    told = {
        "rule": rule.id,
        "consequence": rule.consequence,
        "module": plan.layout.module,
        "class": node,
        "table": source.table if source else "",
        "fields": " ".join(rule.fields),
    }
    absent = [pl.lit(None).alias(name) for name in SCHEMA if name not in told and name not in wrong.columns]
    frame = wrong.with_columns(*(pl.lit(value).alias(name) for name, value in told.items()), *absent)
    return frame.select(list(SCHEMA)).cast(SCHEMA)  # type: ignore[arg-type]


# --- departments ------------------------------------------------------------------------------------------------------


def _with_departments(layout: Layout, rows: Rows, found: pl.DataFrame) -> pl.DataFrame:
    holders = {node.parent: node.id for node in layout.nodes if node.name == "RefEnhet" and node.id in rows.tables}
    parts = []
    for (node,), part in found.with_row_index("_at").group_by("class", maintain_order=True):
        parts.append(_department_of(layout, rows, str(node), part, holders))
    return pl.concat(parts).sort("_at").drop("_at") if parts else found


def _department_of(
    layout: Layout, rows: Rows, node: str, part: pl.DataFrame, holders: Mapping[str | None, str]
) -> pl.DataFrame:
    if node == "Enhet":
        own = rows.tables["Enhet"].select("_id", enhet="enhetID")
        return part.drop("enhet").join(own, on="_id", how="left", maintain_order="left").select(part.columns)
    holder = next((one for one in [node, *_way_up(layout, node)] if one in holders), None)
    if holder is None:
        return part
    ids = _ids_above(rows, node, holder, part["_id"])
    rank = pl.col("typeEnhet").replace_strict(list(DEPARTMENT), range(len(DEPARTMENT)), default=None)
    units = rows.tables[holders[holder]].filter(pl.col("_parent").is_in(ids.implode()))
    chosen = units.with_columns(rank=rank).drop_nulls("rank").sort("_parent", "rank").unique("_parent", keep="first")
    keyed = part.with_columns(_holder=ids).drop("enhet")
    named = chosen.select(_holder="_parent", enhet="enhetID")
    return keyed.join(named, on="_holder", how="left", maintain_order="left").select(part.columns)


def _way_up(layout: Layout, node: str) -> list[str]:
    """Nodes above, nearest first."""
    way: list[str] = []
    parent = layout.node(node).parent
    while parent is not None:
        way.append(parent)
        parent = layout.node(parent).parent
    return way


def _ids_above(rows: Rows, node: str, ancestor: str, ids: pl.Series) -> pl.Series:
    """``_id`` of the row above each of these rows of the node; null where there is none."""
    own = rows.tables[node]["_id"].search_sorted(ids)
    places = pl.Series(rows.above(node, ancestor)).gather(own)
    there = pl.select(pl.when(places >= 0).then(places)).to_series()
    return rows.tables[ancestor]["_id"].gather(there)


# --- what falls with another record -----------------------------------------------------------------------------------


def _with_dropped(layout: Layout, rows: Rows, found: pl.DataFrame, units: pl.DataFrame | None) -> pl.DataFrame:
    """Mark findings below a dropped record with the outermost rule that drops it; a department stands outside all."""
    gone = found.filter(pl.col("consequence") == "drop_record")
    dropped: dict[str, pl.DataFrame] = {
        str(node): part.select("_id", by="rule").unique("_id", keep="first", maintain_order=True)
        for (node,), part in gone.group_by("class", maintain_order=True)
    }
    parts = []
    for (node,), part in found.with_row_index("_at").group_by("class", maintain_order=True):
        marked = part
        for ancestor in _way_up(layout, str(node)):
            if ancestor in dropped and ancestor in rows.tables:
                ids = _ids_above(rows, str(node), ancestor, part["_id"])
                above = marked.with_columns(_above=ids).join(
                    dropped[ancestor], left_on="_above", right_on="_id", how="left", maintain_order="left"
                )
                marked = above.with_columns(under=pl.coalesce("by", "under")).select(part.columns)
        if units is not None and str(node) != "Enhet":
            above = marked.join(units, on="enhet", how="left", maintain_order="left")
            marked = above.with_columns(under=pl.coalesce("by", "under")).select(part.columns)
        parts.append(marked)
    return pl.concat(parts).sort("_at").drop("_at") if parts else found
