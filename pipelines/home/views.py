"""``npr.duckdb``: views and comments over the lake, for analysts.

Belongs here: making that file anew and renaming it into place. Does not belong here: data; the file holds none, so an
open shell never locks a run, nor a run a shell. Identity has no view.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import duckdb

from schemas.contract import Contract, load_contract

SQL = Path(__file__).parents[2] / "sql" / "views"
LAYERS = {
    "staging": "Typed rows of the extract that hold the contract, and the quarantine of those that do not",
    "scope": "One decision per row: reason is empty where the period reports it",
    "message": "One table per module and NPR class, as it is rendered",
    "finding": "What content rules say of class rows, what NPR would keep, and how it compares with earlier ones",
    "ops": "Runs, messages and shipments",
}
OWN_COLUMNS = {
    "_row": "place in the delivered file, first data row = 1",
    "_patient": "ordinal of the patient within the extract, in the order of pasientNr",
    "_id": "number of the class row, in document order",
    "_parent": "_id of the parent class row",
    "period": "key of the reporting period",
    "unit": "key of the reporting unit",
    "reason": "why the row is out of scope; empty where it is reported",
    "rule": "rule that speaks",
    "column": "field that the fault lies in",
    "table": "contract table",
    "patient": "pseudonym of pasientNr under the secret of NPR_HOME, as npr validate shows it",
    "missing_in": "message that the patient is not in",
    "nprid_reg": "NPR's flag of the person link",
}
FINDING_TABLES = {
    "findings": "Findings of the last run, as the rules gave them",
    "ledger": "Findings followed from run to run and period to period; one line per fault of a record",
    "work_list": "The ledger as it stands today, with waivers",
    "waivers": "Rules and single findings that a named person has waived",
    "verdict": "What NPR would keep, by class: rows = kept + dropped; blanked = kept rows with a blanked value",
    "lost": "Rows NPR would leave out, by the rule and department they are lost to; each row once",
    "waiting_list": "The waiting list as it would be published; NPR's measures, our formulas (certainty C)",
    "figures": "Counts of the report that later ones are compared with",
    "guards": "What the guards say against earlier submissions, as of the last run",
    "episode_keys": "A pseudonym and a keyed hash for each reported episode",
    "overlap": "Episodes that came late, were changed or vanished since the previous report of the year",
}
FINDING_COLUMNS = {
    "consequence": "what NPR would do: drop_message, drop_record, blank_value or report_only",
    "class": "NPR class, as a node of the message",
    "fields": "attributes or classes the rule speaks of",
    "enhet": "enhetID of the department",
    "under": "rule by which a record above is dropped already",
    "record": "keyed pseudonym of unit, table and business key",
    "fingerprint": "name of the finding: rule, record and fields",
    "count": "findings of this fingerprint in the run",
    "below": "findings below the record, which is lost with all below it",
    "status": "new, persisting, resolved or waived; of a guard: ok, unusual, stop or no_baseline",
    "first_seen": "when it was found first (UTC)",
    "last_seen": "when it was found last (UTC)",
    "first_period": "period in which it was found first",
    "last_period": "period in which it was found last",
    "subject": "rule or fingerprint",
    "until": "last day the waiver holds; empty = no end",
    "values": "values blanked",
    "certainty": "A official, B third party, C inferred",
    "excluded": "referrals that NPR leaves out of all figures, as far as the contract can tell",
    "ordinary": "care started, not postponed by the patient or for medical reasons",
    "mean_days": "of the ordinarily ended, calendar days",
    "against": "the earlier submission compared with",
    "kind": "late, changed or vanished",
    "content": "keyed hash of all the episode says",
    "then": "the hash it would have had in the previous report",
}


def publish(home: Path, writing: Callable[[Path], AbstractContextManager[Path]]) -> None:
    """Make ``npr.duckdb`` anew; whoever has the old one open keeps it, and sees new partitions through it."""
    contract = load_contract()
    with writing(home / "npr.duckdb") as path, duckdb.connect(str(path)) as db:
        for layer in LAYERS:
            db.execute(f"CREATE SCHEMA {layer}")
            for folder in sorted((home / "lake" / layer).glob("*")):
                _view(db, contract, layer, folder)
        if all((home / "lake" / "finding" / name).is_dir() for name in ("ledger", "waivers")):
            db.execute((SQL / "finding.sql").read_text(encoding="utf-8"))
            _describe(db, contract, "finding", "work_list")
        if any((home / "submissions").glob("*/*/*/parts/manifest.json")):
            place = str(home).replace("'", "''")
            db.execute((SQL / "ops.sql").read_text(encoding="utf-8").replace("{home}", place))


def _view(db: duckdb.DuckDBPyConnection, contract: Contract, layer: str, folder: Path) -> None:
    pattern = _text(str(folder / "*" / "*" / "data.parquet"))
    if not any(folder.glob("*/*/data.parquet")):
        return
    reader = f"read_parquet({pattern}, hive_partitioning = true, hive_types_autocast = false, union_by_name = true)"
    db.execute(f'CREATE VIEW {layer}."{folder.name}" AS SELECT * FROM {reader}')  # noqa: S608 - names of our own folders
    _describe(db, contract, layer, folder.name)


def _describe(db: duckdb.DuckDBPyConnection, contract: Contract, layer: str, view: str) -> None:
    """Comments on a view and its columns."""
    name = f'{layer}."{view}"'
    table = contract.tables.get(view)
    title = FINDING_TABLES.get(view) if layer == "finding" else table.title if table else None
    if title:
        db.execute(f"COMMENT ON VIEW {name} IS {_text(title)}")
    own = OWN_COLUMNS | (FINDING_COLUMNS if layer == "finding" else {})
    described = {c.name: f"{c.description} {' '.join(c.feeds)} ({c.certainty})" for c in table.columns} if table else {}
    for column, *_ in db.execute(f"DESCRIBE {name}").fetchall():
        text = described.get(column) or own.get(column)
        if text:
            db.execute(f'COMMENT ON COLUMN {name}."{column}" IS {_text(text)}')


def _text(value: str) -> str:
    quoted = value.replace("'", "''")
    return f"'{quoted}'"
