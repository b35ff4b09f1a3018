"""What is kept of a submission so that a later one of the same period can be held against it.

Belongs here: reading staged rows batch by batch, writing and reading what is kept. Does not belong here: what counts as
a change (``transforms.content.submission_diff``).
"""

from __future__ import annotations

import polars as pl

from assets.lake import current, read
from assets.ports import Run
from schemas.contract import load_contract
from schemas.errors import DataRefused
from schemas.records import Scoped, Staged
from transforms.content import submission_diff
from transforms.extract.scope import carried, in_scope

NAME = "classes.parquet"


def keep(run: Run, number: int) -> None:
    """Lay pseudonyms and hashes of all that is reported beside a submission. What is kept already stays as it is."""
    path = run.store.kept(run.key, number) / NAME
    if path.exists():
        return
    contract, secret = load_contract(), run.store.pseudonym_key()
    reported = run.store.load("scope", run.key, Scoped).reported
    names = [
        name
        for top in submission_diff.TOPS
        for name in submission_diff.below(contract, top)
        if carried(name, run.modules) and reported.get(name)
    ]
    batches = []
    for first, last in current(run, "staging", Staged).batches:
        scope = {name: read(run.store.table("scope", name, run.key), first, last) for name in names}
        rows = {name: read(run.store.table("staging", name, run.key), first, last) for name in names}
        kept = {name: in_scope(rows[name], scope[name]) for name in names}
        batches.append(submission_diff.told(contract, kept, run.key.unit, secret))
    with run.store.writing(path) as beside:
        submission_diff.summed(batches).write_parquet(beside)


def kept(run: Run, number: int) -> pl.DataFrame:
    """What was kept of a submission; DataRefused where nothing was."""
    path = run.store.kept(run.key, number) / NAME
    if not path.is_file():
        raise DataRefused(
            f"nothing to compare was kept of submission {number} of {run.key}",
            where=str(path.parent),
            fix="npr resume lists submissions; those of a release before this command kept nothing",
        )
    return pl.read_parquet(path)
