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

SQL = Path(__file__).parent.parent / "sql" / "views"
LAYERS = {
    "staging": "Typed rows of the extract that hold the contract, and the quarantine of those that do not",
    "scope": "One decision per row: reason is empty where the period reports it",
    "message": "One table per module and NPR class, as it is rendered",
    "finding": "What content rules say of class rows",
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
    "enhet": "enhetID of the department of the record",
    "fields": "attributes or classes that the rule speaks of",
    "class": "node of the message, and name of its class table",
    "under": "rule by which a record above, or the department, is dropped already; counted there",
}


def publish(home: Path, writing: Callable[[Path], AbstractContextManager[Path]]) -> None:
    """Make ``npr.duckdb`` anew; whoever has the old one open keeps it, and sees new partitions through it."""
    contract = load_contract()
    with writing(home / "npr.duckdb") as path, duckdb.connect(str(path)) as db:
        for layer in LAYERS:
            db.execute(f"CREATE SCHEMA {layer}")
            for folder in sorted((home / "lake" / layer).glob("*")):
                _view(db, contract, layer, folder)
        if any((home / "submissions").glob("*/*/*/parts/manifest.json")):
            place = str(home).replace("'", "''")
            db.execute((SQL / "ops.sql").read_text(encoding="utf-8").replace("{home}", place))


def _view(db: duckdb.DuckDBPyConnection, contract: Contract, layer: str, folder: Path) -> None:
    name = f'{layer}."{folder.name}"'
    pattern = _text(str(folder / "*" / "*" / "data.parquet"))
    if not any(folder.glob("*/*/data.parquet")):
        return
    reader = f"read_parquet({pattern}, hive_partitioning = true, hive_types_autocast = false, union_by_name = true)"
    db.execute(f"CREATE VIEW {name} AS SELECT * FROM {reader}")  # noqa: S608 - names of our own folders
    table = contract.tables.get(folder.name)
    if table is not None:
        db.execute(f"COMMENT ON VIEW {name} IS {_text(table.title)}")
    described = {c.name: f"{c.description} {' '.join(c.feeds)} ({c.certainty})" for c in table.columns} if table else {}
    for column, *_ in db.execute(f"DESCRIBE {name}").fetchall():
        text = described.get(column) or OWN_COLUMNS.get(column)
        if text:
            db.execute(f'COMMENT ON COLUMN {name}."{column}" IS {_text(text)}')


def _text(value: str) -> str:
    quoted = value.replace("'", "''")
    return f"'{quoted}'"
