"""Stage 5: content rules over the class tables, and identity against activity.

Belongs here: reading class tables batch by batch, writing findings. Does not belong here: the rules
(``schemas/rules``, ``transforms.content.findings``), identity against activity (``assets.identity``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import polars as pl

from assets.identity import agreement
from assets.lake import Tables, current, growing, message_path
from assets.ports import Run
from assets.review import review
from schemas.errors import DataRefused
from schemas.layout import Layout
from schemas.records import Findings, MessageRows, MessageSet, Snapshot, Staged
from schemas.rulebook import CONSEQUENCES, rulebook
from transforms.content.findings import SCHEMA, Found, dropped_units, find, roles, with_roles
from transforms.message.class_tables import nodes_of_patients
from transforms.rules.plan import Plan, plan

DROPPING = ("drop_message", "drop_record")


def findings(run: Run) -> Findings:
    """Write one table of findings; stop when a finding would make NPR drop the whole message."""
    made = current(run, "messages", MessageSet)
    staged = current(run, "staging", Staged)
    contract = run.registry.contract(run.store.load("snapshot", run.key, Snapshot).contract)
    codes = run.codes()
    # Every rule that can be asked is tried before the first row is looked at, also those of messages not sent today.
    version = run.registry.version_of(run.period.year).version
    layouts = {m.schema_use.module: run.registry.as_recorded(m.schema_use) for m in made.modules}
    rest = sorted({module for rule in rulebook() for module in rule.modules} & _held(run, version) - set(layouts))
    for layout in [run.registry.layout(module, version) for module in rest]:
        plan(rulebook(), contract, layout, run.period, codes.tables)
    count = _Count()
    with growing(run, "finding") as tables:
        tables.add("findings", pl.DataFrame(schema=SCHEMA))
        for module in made.modules:
            ready = plan(rulebook(), contract, layouts[module.schema_use.module], run.period, codes.tables)
            count.silent |= ready.silent
            _module(run, module, ready, staged, tables, count)
        identity = agreement(run, made, staged)
        tables.add("findings", identity.findings)
        count.add(Found(identity.findings))
    record = count.record(staged.snapshot, codes.digest).model_copy(update={"nprid_reg": identity.nprid_reg})
    run.store.save("findings", run.key, record)
    review(run)
    _insist_kept(record)
    return record


class _Count:
    """Figures of a run, by rule."""

    def __init__(self) -> None:
        self.by_rule: Counter[str] = Counter()
        self.by_consequence: Counter[str] = Counter(dict.fromkeys(CONSEQUENCES, 0))
        self.under: Counter[str] = Counter()
        self.dropping: Counter[str] = Counter()
        self.unchecked: Counter[str] = Counter()
        self.silent: dict[str, str] = {}

    def add(self, found: Found) -> None:
        """Take one batch in. What falls with a dropped record is counted under the rule that drops it."""
        own = found.findings.filter(pl.col("under").is_null())
        self.by_rule.update(_by(own, "rule"))
        self.by_consequence.update(_by(own, "consequence"))
        self.dropping.update(_by(own.filter(pl.col("consequence").is_in(DROPPING)), "module"))
        self.under.update(_by(found.findings.drop_nulls("under"), "under"))
        self.unchecked.update(found.unchecked)

    def record(self, snapshot: str, codes: str) -> Findings:
        """The record of the stage."""
        return Findings(
            snapshot=snapshot,
            by_rule=dict(sorted(self.by_rule.items())),
            by_consequence=dict(self.by_consequence),
            under=dict(sorted(self.under.items())),
            dropping=dict(sorted(self.dropping.items())),
            unchecked=dict(sorted(self.unchecked.items())),
            silent=dict(sorted(self.silent.items())),
            codes=codes,
        )


def _by(frame: pl.DataFrame, column: str) -> dict[str, int]:
    return dict(frame.group_by(column).len().iter_rows())


def _held(run: Run, version: str) -> set[str]:
    return {held.module for held in run.registry.held() if held.version == version}


def _module(run: Run, module: MessageRows, ready: Plan, staged: Staged, tables: Tables, count: _Count) -> None:
    """The classes above the patients first: what a dropped unit takes along is marked in the batches."""
    message = _shell(run, module, ready)
    shell = find(ready, message)
    tables.add("findings", shell.findings)
    count.add(shell)
    gone = dropped_units(shell.findings)
    wanted = {node: names for node, names in ready.needed().items() if node in module.rows}
    for number, (first, last) in enumerate(staged.batches):
        batch = {node: _read(run, module, node, names, (first, last)) for node, names in wanted.items()}
        found = find(ready, batch, message, gone)
        tables.add("findings", found.findings)
        count.add(found)
        run.progress(f"rules {module.schema_use.module}", number + 1, len(staged.batches))


def _read(run: Run, module: MessageRows, node: str, names: Iterable[str], span: tuple[int, int]) -> pl.DataFrame:
    scan = pl.scan_parquet(message_path(run, module.schema_use.module, node))
    there = scan.collect_schema().names()
    keep = [name for name in there if name.startswith("_") or name in set(names)]
    return scan.filter(pl.col("_patient").is_between(*span, closed="left")).select(keep).collect()


def _shell(run: Run, module: MessageRows, ready: Plan) -> dict[str, pl.DataFrame]:
    """Classes above the patients; units with how often each role names them."""
    layout = ready.layout
    below = {node.id for node in nodes_of_patients(layout)}
    names = [node.id for node in layout.nodes if node.id not in below]
    paths = {name: message_path(run, module.schema_use.module, name) for name in names}
    tables = {name: pl.read_parquet(path) for name, path in paths.items() if path.is_file()}
    if "Enhet" in tables:
        tables["Enhet"] = with_roles(ready, tables["Enhet"], roles(_references(run, layout, module.rows)))
    return tables


def _references(run: Run, layout: Layout, rows: Mapping[str, int]) -> pl.DataFrame:
    nodes = [node.id for node in layout.nodes if node.name == "RefEnhet" and node.id in rows]
    paths = [message_path(run, layout.module, node) for node in nodes]
    frames = [pl.scan_parquet(path).select("enhetID", "typeEnhet") for path in paths]
    empty = pl.LazyFrame(schema={"enhetID": pl.String(), "typeEnhet": pl.String()})
    return pl.concat([empty, *frames]).group_by("enhetID", "typeEnhet").len().collect()


def _insist_kept(record: Findings) -> None:
    if record.by_consequence["drop_message"]:
        raise DataRefused(
            f"{record.by_consequence['drop_message']} findings would make NPR drop a whole message",
            where="table finding.findings, consequence drop_message",
            fix="correct the source and extract again",
        )
