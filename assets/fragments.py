"""Stage 6: the XML of each patient.

Belongs here: rendering class tables batch by batch and writing bytes with the place where each patient ends. Does not
belong here: the renderer (``transforms.message.render``), putting patients into parts (``assets.shipments``).
"""

from __future__ import annotations

import hashlib

import polars as pl

from assets.lake import IDENTITY_MODULES, current, message_path, read
from assets.ports import Run
from schemas.records import Batch, Fragments, FragmentSet, MessageRows, MessageSet, Staged
from transforms.message.class_tables import nodes_of_patients
from transforms.message.render import render_patients


def fragments(run: Run) -> FragmentSet:
    """Write the rendered patients of every module, those of ``ide`` apart."""
    made = current(run, "messages", MessageSet)
    staged = current(run, "staging", Staged)
    record = FragmentSet(modules=tuple(_module(run, module, staged) for module in made.modules))
    run.store.save("fragments", run.key, record)
    return record


def _module(run: Run, module: MessageRows, staged: Staged) -> Fragments:
    use = module.schema_use
    layout = run.registry.as_recorded(use)
    folder = run.store.fragments(use.module, run.key, identity=use.module in IDENTITY_MODULES)
    nodes = [node.id for node in nodes_of_patients(layout) if node.id in module.rows]
    batches = []
    with run.store.writing_folder(folder) as room:
        for number, (first, last) in enumerate(staged.batches):
            tables = {node: read(message_path(run, use.module, node), first, last) for node in nodes}
            rendered = render_patients(layout, tables)
            (room / f"{number:05}.xml").write_bytes(rendered.data)
            index = tables[layout.patient].select("_patient").with_columns(end=pl.Series(rendered.ends, dtype=pl.Int64))
            index.write_parquet(room / f"{number:05}.parquet")
            sha256 = hashlib.sha256(rendered.data).hexdigest()
            batches.append(Batch(patients=index.height, bytes=len(rendered.data), sha256=sha256))
            run.progress(f"rendering {use.module}", number + 1, len(staged.batches))
    return Fragments(module=use.module, snapshot=module.snapshot, batches=tuple(batches))
