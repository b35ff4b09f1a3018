"""What follows from answers: content errors as findings, and the verdict held against them.

Belongs here: going through the answered submissions of a partition, and the tables ``answered`` and ``predicted`` of
layer ``finding``. Does not belong here: taking answers in (``pipelines.exchange.inbox``), formulas
(``transforms.answers.findings``).
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from assets import guards, review
from assets.ports import Options, Run
from pipelines.exchange import inbox
from pipelines.exchange.inbox import errors_of
from pipelines.home.store import DiskStore
from pipelines.partitions import partition_key
from pipelines.settings import Settings
from pipelines.workbench import DiskWorkbench
from schemas.errors import DataRefused
from schemas.records import Key, Snapshot, digest
from schemas.sending import Answer, SentPart, SubmissionRow
from schemas.submission_states import CONTENT, Event, State
from transforms.answers import findings
from transforms.answers.error_table import error_table
from transforms.content import finding_ledger as life

ANSWERED, PREDICTED = "answered", "predicted"
_CONTENT = frozenset({Event.CONTENT_ERRORS, Event.CONTENT_CLEAN, Event.SCHEMA_REJECTED})
_ANSWERED = CONTENT | {State.REFUSED}


def take(
    settings: Settings, now: dt.datetime, folders: Sequence[Path] = ()
) -> tuple[inbox.Report, list[dict[str, Any]]]:
    """Take answers in, and make what follows from them: the report of the look, and what ``follow`` says of each."""
    report = inbox.take_in(settings, now, folders)
    keys = dict.fromkeys(key for key, _ in report.submissions())
    return report, [row for key in keys for row in follow(settings, key)]


def follow(settings: Settings, key: Key) -> list[dict[str, Any]]:
    """Make the findings of the register anew from all its answers about a partition, in the order of submissions.

    Whatever order answers came in, the outcome is the same. Returns how the verdict did on the newest answered
    submission, a row per table.
    """
    run = DiskWorkbench(settings, Options()).open(partition_key(key.period, key.unit))
    store = DiskStore(settings.home)
    ledger = _of_earlier_period(run)
    rows = _rows(run)
    told = pl.DataFrame(schema=findings.PREDICTED)
    newest: SubmissionRow | None = None
    for row in run.ledger.submissions(key):
        answers = [(i, one) for i, one in run.ledger.answers(key, row.number) if _CONTENT & set(one.events)]
        if not answers:
            continue
        newest = row
        parts = run.ledger.parts(key, row.number)
        found = _found(run, store, parts, answers, rows)
        ledger = findings.merged(ledger, found, _whole(parts), _seen(run, row, found, answers))
        told = findings.predicted(_own(run, row), found)
    if newest is None:
        return []
    review.write(run, ANSWERED, ledger)
    review.write(run, PREDICTED, told.with_columns(submission=pl.lit(newest.number)))
    place = {"period": key.period, "unit": key.unit, "submission": newest.number}
    return [place | one for one in told.to_dicts()]


def _found(
    run: Run,
    store: DiskStore,
    parts: Sequence[SentPart],
    answers: Sequence[tuple[str, Answer]],
    rows: dict[str, pl.DataFrame],
) -> pl.DataFrame:
    """Lines of one submission; the same error in several forms of one report is one line."""
    modules = {part.msg_id: part.module for part in parts}
    made = [pl.DataFrame(schema=life.LINE)]
    secret = store.pseudonym_key()
    for msg_id, answer in answers:
        errors = errors_of(store, answer.digest)
        if errors is not None:
            made.append(findings.lines(errors, rows, modules[msg_id], run.key.unit, secret))
    return pl.concat(made).unique("fingerprint", keep="first", maintain_order=True)


def _whole(parts: Sequence[SentPart]) -> set[str]:
    """Modules all of whose parts have the register's word on their content."""
    modules = {part.module for part in parts}
    return modules - {part.module for part in parts if part.state not in _ANSWERED}


def _seen(run: Run, row: SubmissionRow, found: pl.DataFrame, answers: Sequence[tuple[str, Answer]]) -> life.Seen:
    prints = hashlib.sha256("\n".join(found["fingerprint"].sort()).encode()).hexdigest()
    at: dt.datetime = max(answer.received_at for _, answer in answers)
    return life.Seen(
        run=digest([run.key.period, row.number, prints])[:20],
        period=run.key.period,
        snapshot=f"submission {row.number}",
        at=at,
    )


def _rows(run: Run) -> dict[str, pl.DataFrame]:
    """``_row`` and key of the staged rows that errors may name; none where they were purged."""
    found = {}
    for table, key in findings.HANDLES.values():
        path = run.store.table("staging", table, run.key)
        if path.is_file():
            found[table] = pl.scan_parquet(path).select("_row", key).collect()
    return found


def _own(run: Run, row: SubmissionRow) -> pl.DataFrame:
    """Our own lines that stood when a submission was made."""
    ledger = review.read(run, "ledger")
    if ledger is None:
        return life.empty()
    made = pl.lit(row.created_at).cast(pl.Datetime("us", "UTC"))
    there = (pl.col("first_seen") <= made) & (
        (pl.col("last_seen") >= made) | (pl.col("last_snapshot") == _snapshot(run))
    )
    return ledger.filter(there, pl.col("under").is_null())


def _snapshot(run: Run) -> str:
    try:
        return run.store.load("snapshot", run.key, Snapshot).id
    except DataRefused:
        return ""


def _of_earlier_period(run: Run) -> pl.DataFrame:
    for key in review.earlier_periods(run.period):
        ledger = review.read(run, ANSWERED, Key(period=key, unit=run.key.unit))
        if ledger is not None:
            return life.carried(ledger)
    return life.empty()


def errors(run: Run, store: DiskStore) -> pl.DataFrame:
    """All errors that the register told of a partition, of which the files are still kept. They may name patients."""
    made = [error_table([])]
    for row in run.ledger.submissions(run.key):
        for _, answer in run.ledger.answers(run.key, row.number):
            found = errors_of(store, answer.digest)
            if found is not None:
                made.append(found)
    return pl.concat(made)


def standing(run: Run) -> pl.DataFrame:
    """The register's findings as they stand today: rows of today's tables, waivers applied, and ``since``.

    since: what became of each record after it was sent.
    """
    ledger = review.read(run, ANSWERED)
    ledger = _of_earlier_period(run) if ledger is None else ledger
    if not ledger.is_empty():
        ledger = findings.placed(ledger, _rows(run), run.key.unit, run.store.pseudonym_key())
    waived = life.waived(ledger, review.waivers(run), run.now().date())
    answered = [
        row.number
        for row in run.ledger.submissions(run.key)
        if any(_CONTENT & set(one.events) for _, one in run.ledger.answers(run.key, row.number))
    ]
    then = run.store.kept(run.key, answered[-1]) / f"{guards.EPISODES}.parquet" if answered else None
    now = run.store.table(review.LAYER, guards.EPISODES, run.key)
    there = then is not None and then.is_file() and now.is_file()
    return findings.since(
        waived, pl.read_parquet(then) if there and then else None, pl.read_parquet(now) if there else None
    )
