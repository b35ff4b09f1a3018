"""Typed records of a run: what each stage writes down and the next one checks.

Belongs here: the shape of snapshot, stage, submission and manifest records, with a version each. Does not belong here:
writing them (the store) and values of rows: records hold keys of files, figures and digests only.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field

from schemas.guard import Inspected
from schemas.strict import STRICT

MANIFEST_VERSION = 1


class _Record(BaseModel):
    model_config = STRICT


class StageRecord(_Record):
    """What a stage made, and of which snapshot: the next stage refuses what was made of another."""

    def made_of(self) -> set[str]:
        """Ids of the snapshots."""
        modules = getattr(self, "modules", ())
        return {self.snapshot} if hasattr(self, "snapshot") else {module.snapshot for module in modules}


def digest(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """SHA-256 of a JSON value in canonical form (sorted keys, no blanks, UTF-8)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class Key(_Record):
    """One partition: reporting period and reporting unit."""

    period: str
    unit: str

    def __str__(self) -> str:
        return f"{self.period} {self.unit}"


class FileRecord(_Record):
    """One delivered file. bytes and rows as found; decided: how encoding and dialect were settled."""

    table: str
    name: str
    sha256: str
    bytes: int
    rows: int
    format: str
    encoding: str = ""
    separator: str = ""
    decimal: str = "."
    decided: str = ""
    columns_missing: tuple[str, ...] = ()
    columns_unknown: int = 0


class Snapshot(_Record):
    """A frozen extract. ``id`` names its content: files, extract.toml, contract and source mapping."""

    id: str
    unit: str
    contract: str
    source: str
    source_system: str
    environment: str
    extracted_at: dt.datetime
    files: tuple[FileRecord, ...]
    accepted: tuple[dict[str, Any], ...] = ()

    def rows(self) -> dict[str, int]:
        """Rows delivered, by table."""
        return {file.table: file.rows for file in self.files}


class Quarantined(StageRecord):
    """How many faults staging found in a snapshot; written before the run may stop for them."""

    snapshot: str
    faults: int


class Staged(StageRecord):
    """What staging found. batches: borders of patient ordinals (first, last exclusive)."""

    snapshot: str
    years: tuple[int, ...]
    rows: dict[str, int]
    quarantined: dict[str, dict[str, int]]
    batches: tuple[tuple[int, int], ...]


class Scoped(StageRecord):
    """Rows out of scope by table and reason, and rows that remain."""

    snapshot: str
    modules: tuple[str, ...]
    reported: dict[str, int]
    out_of_scope: dict[str, dict[str, int]]


class SchemaUse(_Record):
    """The schema that decided layout and validity of a module."""

    module: str
    version: str
    namespace: str
    official: bool
    sha256: str
    certainty: dict[str, int]


class MessageRows(_Record):
    """Class rows of one module."""

    snapshot: str
    schema_use: SchemaUse
    patients: int
    rows: dict[str, int]


class MessageSet(StageRecord):
    """All modules of a period."""

    modules: tuple[MessageRows, ...]


class Findings(StageRecord):
    """Findings counted by rule and by consequence on NPR's scale; what falls with a dropped record is left out there.

    under: rule that drops a record or unit -> findings below it. dropping: module -> findings that drop a record or the
    message. unchecked: rule -> rows not checked against a list, which is no pass. silent: rule -> why it does not speak
    in this version or year. codes: digest of the loaded code lists.
    nprid_reg: NPR's flag of a person link -> patients.
    """

    snapshot: str
    by_rule: dict[str, int]
    by_consequence: dict[str, int]
    under: dict[str, int] = Field(default_factory=dict)
    dropping: dict[str, int] = Field(default_factory=dict)
    unchecked: dict[str, int] = Field(default_factory=dict)
    silent: dict[str, str] = Field(default_factory=dict)
    codes: str = ""
    nprid_reg: dict[str, int] = Field(default_factory=dict)


class Batch(_Record):
    """One file of rendered patients."""

    patients: int
    bytes: int
    sha256: str


class Fragments(_Record):
    """Rendered patients of one module, in batches."""

    module: str
    snapshot: str
    batches: tuple[Batch, ...]


class FragmentSet(StageRecord):
    """All modules of a period."""

    modules: tuple[Fragments, ...]


class PartIds(_Record):
    """Ids and times of one part: made once, so that the same run again gives the same message."""

    module: str
    part: int
    lopenr: int
    msg_id: str
    gen_date: str


class Submission(_Record):
    """One submission of a period: its number, what it was made of, and the ids of its parts."""

    number: int
    key: Key
    institusjon_id: str
    year: int
    inputs: str
    created_at: dt.datetime
    first_lopenr: int
    ids: tuple[PartIds, ...] = ()
    profile: str = ""


class MessageOut(_Record):
    """One message of the report as a whole. bytes and sha256: of the unsplit body with the first part's lopenr."""

    module: str
    version: str
    patients: int
    records: int
    bytes: int
    sha256: str


class ShipmentOut(_Record):
    """One packed part. packed_bytes: size of the finished file; sha256: its digest; body_sha256: of the XML body.

    document_sha256, document_bytes: of the head message, where the channel takes that and it was kept. large: one
    patient alone above the limits, who leaves by the channel for such.
    """

    module: str
    part: int
    parts: int
    packed_bytes: int
    limit_bytes: int
    patients: int
    path: str
    sha256: str
    body_sha256: str
    body_bytes: int
    lopenr: int
    msg_id: str
    schema_faults: int
    document_sha256: str = ""
    document_bytes: int = 0
    large: bool = False

    def unused(self) -> set[str]:
        """Fields that say nothing of this part."""
        kept = set() if self.document_sha256 else {"document_sha256", "document_bytes"}
        return kept if self.large else kept | {"large"}


class Account(_Record):
    """Row account of one table."""

    delivered: int
    reported: int
    out_of_scope: dict[str, int]
    quarantined: dict[str, int]


class RulingOut(_Record):
    """What a dated requirement of the registry says of one message. verdict: pass, warn or stop."""

    requirement: str
    module: str
    verdict: str
    since: dt.date | None
    text: str


class Manifest(_Record):
    """Everything about one prepared submission; also what lies in the outbox as manifest.json."""

    version: int = MANIFEST_VERSION
    key: Key
    submission: int
    profile: str
    created_at: dt.datetime
    pipeline: str
    snapshot: Snapshot
    tables: dict[str, Account]
    schemas: tuple[SchemaUse, ...]
    codes_sha256: str
    code_lists_sha256: str = ""
    findings: dict[str, int] = Field(default_factory=dict)
    unchecked: dict[str, int] = Field(default_factory=dict)
    nprid_reg: dict[str, int] = Field(default_factory=dict)
    messages: tuple[MessageOut, ...]
    shipments: tuple[ShipmentOut, ...]
    limit_certainty: str
    split: dict[str, str] = Field(default_factory=dict)
    rulings: tuple[RulingOut, ...] = ()
    guard: tuple[Inspected, ...] = ()  # what was read in the bytes of each part
    content: str = ""  # digest of what is said, the same whatever its numbers, ids, receiver and packing
    dropped: dict[str, int] = Field(default_factory=dict)  # rule -> records that NPR would leave out
    # Of the program that made it; no part of what is approved: a newer program that says the same voids no approval.
    code_sha256: str = ""
    rules_sha256: str = ""

    def sealed(self) -> str:
        """Digest of the very parts, what they say and what was found: what an approval names."""
        parts = [part.model_dump(mode="json", exclude=part.unused()) for part in self.shipments]
        return digest({"content": self.content, "parts": parts, "findings": self.findings, "profile": self.profile})


class Delivery(_Record):
    """What a channel took: file name -> where it went."""

    submission: int
    channel: str
    files: dict[str, str]


def summary(manifest: Manifest, path: str, outbox: Mapping[str, str]) -> dict[str, Any]:
    """The one JSON object that ``npr run --json`` prints. outbox: file name -> path as delivered."""
    rows = {
        name: {
            "in": account.delivered,
            "reported": account.reported,
            "out_of_scope": sum(account.out_of_scope.values()),
            "quarantined": sum(account.quarantined.values()),
        }
        for name, account in manifest.tables.items()
    }
    wanted = ("module", "part", "parts", "packed_bytes", "limit_bytes", "patients", "sha256")
    shipments = [
        {name: getattr(part, name) for name in wanted} | {"path": outbox.get(part.path, part.path)}
        for part in manifest.shipments
    ]
    return {
        "period": manifest.key.period,
        "unit": manifest.key.unit,
        "rows": rows,
        "messages": [message.model_dump() for message in manifest.messages],
        "shipments": shipments,
        "findings": manifest.findings,
        "unchecked": manifest.unchecked,
        "nprid_reg": manifest.nprid_reg,
        "manifest": path,
    }
