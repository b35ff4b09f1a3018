"""Stage 5: content rules over the class tables, and identity against activity.

Belongs here: reading class tables batch by batch, writing findings. Does not belong here: the rules
(``schemas/rules``, ``transforms.findings``), identity against activity (``assets.identity``).
"""

from __future__ import annotations

from collections import Counter

import polars as pl

from assets.identity import agreement
from assets.lake import current, growing, message_path, read
from assets.ports import Run
from schemas.errors import DataRefused
from schemas.records import Findings, MessageRows, MessageSet, Staged
from schemas.rulebook import CONSEQUENCES, rulebook
from transforms.findings import SCHEMA, find


def findings(run: Run) -> Findings:
    """Write one table of findings; stop when a finding would make NPR drop the whole message."""
    made = current(run, "messages", MessageSet)
    staged = current(run, "staging", Staged)
    by_rule: Counter[str] = Counter()
    by_consequence: Counter[str] = Counter(dict.fromkeys(CONSEQUENCES, 0))
    with growing(run, "finding") as tables:
        tables.add("findings", pl.DataFrame(schema=SCHEMA))
        for module in made.modules:
            for first, last in staged.batches:
                found = _batch(run, module, first, last)
                tables.add("findings", found)
                by_rule.update(dict(found.group_by("rule").len().iter_rows()))
                by_consequence.update(dict(found.group_by("consequence").len().iter_rows()))
    identity = agreement(run, made, staged)
    by_rule.update(identity.by_rule)
    by_consequence.update(identity.by_consequence)
    record = Findings(
        snapshot=staged.snapshot,
        by_rule=dict(sorted(by_rule.items())),
        by_consequence=dict(by_consequence),
        nprid_reg=identity.nprid_reg,
    )
    run.store.save("findings", run.key, record)
    _insist_kept(record)
    return record


def _batch(run: Run, module: MessageRows, first: int, last: int) -> pl.DataFrame:
    use = module.schema_use
    layout = run.registry.as_recorded(use)
    tables = {node: read(message_path(run, use.module, node), first, last) for node in module.rows}
    return find(rulebook(), layout, run.period, tables)


def _insist_kept(record: Findings) -> None:
    if record.by_consequence["drop_message"]:
        raise DataRefused(
            f"{record.by_consequence['drop_message']} findings would make NPR drop a whole message",
            where="table finding.findings, consequence drop_message",
            fix="correct the source and extract again",
        )
