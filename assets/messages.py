"""Stage 4: one table per NPR class and module.

Belongs here: going through the patients batch by batch and writing class tables, those of ``ide`` apart. Does not
belong here: how a contract row becomes a class row (``transforms.message.class_tables``).
"""

from __future__ import annotations

from collections import Counter

import polars as pl

from assets.identity import SETTLED, settled
from assets.lake import IDENTITY_MODULES, current, growing, read
from assets.ports import Run
from schemas.contract import Contract
from schemas.errors import DataRefused
from schemas.layout import Layout
from schemas.records import MessageRows, MessageSet, SchemaUse, Scoped, Snapshot, Staged
from transforms.extract.scope import as_of, in_scope
from transforms.message.class_tables import build, nodes_of_patients, with_content
from transforms.message.shell import shell_tables
from transforms.model.coverage import gaps


def messages(run: Run) -> MessageSet:
    """Write the class tables of every module of the period."""
    snapshot = run.store.load("snapshot", run.key, Snapshot)
    staged = current(run, "staging", Staged)
    scoped = current(run, "scope", Scoped)
    contract = run.registry.contract(snapshot.contract)
    version = run.registry.version_of(run.period.year).version
    layouts = [run.registry.layout(module, version) for module in run.modules]
    for layout in layouts:
        _insist_fed(run, contract, layout)
    made = [_module(run, contract, layout, snapshot, staged) for layout in layouts]
    record = MessageSet(modules=tuple(rows for rows in made if rows.patients))
    _insist_complete(contract, scoped, record)
    run.store.save("messages", run.key, record)
    return record


def _insist_fed(run: Run, contract: Contract, layout: Layout) -> None:
    """Before anything is rendered: all that the layout demands has a column or a value of the unit."""
    # Our own schemas are written together with the mapping; only one from outside can leave a class behind.
    before = run.registry.before(layout.module, layout.version) if layout.official else None
    found = gaps(contract, layout, before)
    if found:
        raise DataRefused(
            f"{layout.module} {layout.version}: nothing feeds {', '.join(gap.place for gap in found)}",
            where="; ".join(f"{layout.xsd.name}, {gap.kind} {gap.place}: {gap.why}" for gap in found),
            rule=f"{'official' if layout.official else 'our'} schema, sha256 {layout.sha256[:12]}",
            fix="map a column or a class in schemas/extract/v1, or in NPR_HOME/contract/v1; see docs/schemas.md",
        )


def _module(run: Run, contract: Contract, layout: Layout, snapshot: Snapshot, staged: Staged) -> MessageRows:
    identity = layout.module in IDENTITY_MODULES
    counts: Counter[str] = Counter()
    taken = snapshot.extracted_at.date()
    with growing(run, "message", identity=identity) as tables:
        for node, frame in _shell(run, contract, layout, snapshot).items():
            tables.add(f"{layout.module}_{node}", frame)
        for number, (first, last) in enumerate(staged.batches):
            rows = _rows(run, contract, layout, first, last)
            built = build(contract, layout, rows, counts)
            if identity:
                built[layout.patient], changed = settled(run, built[layout.patient], first, last, taken)
                tables.add(SETTLED, changed)
            for node, frame in built.items():
                tables.add(f"{layout.module}_{node}", frame)
                counts[node] += frame.height
            run.progress(f"messages {layout.module}", number + 1, len(staged.batches))
    return MessageRows(
        snapshot=snapshot.id,
        schema_use=SchemaUse(
            module=layout.module,
            version=layout.version,
            namespace=layout.namespace,
            official=layout.official,
            sha256=layout.sha256,
            certainty=dict(layout.certainties()),
        ),
        patients=counts[layout.patient],
        rows=dict(counts),
    )


def _shell(run: Run, contract: Contract, layout: Layout, snapshot: Snapshot) -> dict[str, pl.DataFrame]:
    units = pl.read_parquet(run.store.table("staging", "units", run.key))
    taken = snapshot.extracted_at.date()
    return shell_tables(contract, layout, run.unit, run.period, taken, run.pipeline, units)


def _rows(run: Run, contract: Contract, layout: Layout, first: int, last: int) -> dict[str, pl.DataFrame]:
    """Staged rows in scope of the tables that the module needs."""
    sources = [contract.classes[node.id] for node in nodes_of_patients(layout) if node.id in contract.classes]
    rows = {}
    for name in dict.fromkeys(source.table for source in sources):
        identity = contract.tables[name].identity
        frame = read(run.store.table("staging", name, run.key, identity=identity), first, last)
        rows[name] = in_scope(frame, read(run.store.table("scope", name, run.key), first, last))
    if "episodes" in rows:
        rows["episodes"] = as_of(rows["episodes"], run.period)
    return with_content(contract, layout, rows)


def _insist_complete(contract: Contract, scoped: Scoped, made: MessageSet) -> None:
    """Every reported row of a table whose rows are one class has become a class row: counted on the other side."""
    rows = {module.schema_use.module: module.rows for module in made.modules}
    for node, source in contract.classes.items():
        if source.unpivot or source.skip_if_null or source.key != contract.tables[source.table].key:
            continue
        holders = [counts[node] for counts in rows.values() if node in counts]
        if source.table != "patients" and holders and max(holders) != scoped.reported[source.table]:
            raise DataRefused(
                f"{source.table}: {scoped.reported[source.table]} rows to report, {max(holders)} in class {node}",
                rule="rows in = reported + out of scope + quarantined",
                fix="this is a fault of the pipeline; nothing was published. Report it with the figures above",
            )
