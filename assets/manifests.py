"""The manifest of a submission: written when its parts are made, read by all that comes after, held against the bytes.

Belongs here: putting the records of all stages into one, and whether the files on disk are still those it names. Does
not belong here: making the parts (``assets.parts``), what must hold before they leave (``assets.dispatch``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from assets.accounts import accounts
from assets.lake import current
from assets.limits import Limit
from assets.parts import Done
from assets.permits import overrides
from assets.ports import Run
from assets.program import code_digest, rules_digest
from assets.review import dropped
from assets.rulings import rulings, sending_day, with_overrides
from schemas.codelists import codes_digest
from schemas.errors import DataRefused
from schemas.records import Findings, Manifest, MessageSet, Snapshot, Submission, digest

MANIFEST = "manifest.json"


def manifest_of(run: Run, number: int) -> Manifest:
    """The manifest of a submission. DataRefused when it was not prepared to the end."""
    path = run.store.shipments(run.key, number) / MANIFEST
    if not path.is_file():
        raise DataRefused(
            f"submission {number} of {run.key} is not prepared",
            where=str(path),
            fix=f"npr prepare {run.key.period} --unit {run.key.unit}",
        )
    return Manifest.model_validate_json(path.read_bytes())


def manifest_for(run: Run, submission: Submission, made: MessageSet, done: Sequence[Done], limit: Limit) -> Manifest:
    """The manifest of parts that are made."""
    found = current(run, "findings", Findings)
    shipping = run.config.shipping
    agreement = shipping.split_agreement
    dropping = dropped(run)
    messages = tuple(one.message for one in done)
    parts = tuple(part for one in done for part in one.shipments)
    return Manifest(
        key=run.key,
        submission=submission.number,
        profile=run.config.profile,
        created_at=submission.created_at,
        pipeline=run.pipeline,
        snapshot=run.store.load("snapshot", run.key, Snapshot),
        tables=accounts(run),
        schemas=tuple(module.schema_use for module in made.modules),
        codes_sha256=codes_digest(),
        code_sha256=code_digest(),
        rules_sha256=rules_digest(),
        code_lists_sha256=found.codes,
        findings=found.by_consequence,
        unchecked=found.unchecked,
        nprid_reg=found.nprid_reg,
        messages=messages,
        shipments=parts,
        limit_certainty=limit.certainty,
        split={
            "allowed": str(shipping.split).lower(),
            "certainty": "C: how parts combine at the register is documented nowhere",
            "agreement": agreement.reference if agreement else "",
        },
        rulings=with_overrides(
            rulings(
                messages,
                parts,
                found,
                run.registry.version_of(run.period.year).version,
                sending_day(submission.created_at),
            ),
            overrides(run, dropping),
        ),
        dropped=dropping,
        guard=tuple(read for one in done for read in one.inspected),
        content=digest(
            {
                "bodies": {one.message.module: one.content for one in done},
                "parts": [(part.module, part.part, part.patients) for part in parts],
                "findings": found.by_rule,
            }
        ),
    )


def insist_bytes(run: Run, manifest: Manifest) -> None:
    """Refuse when a packed part is not, byte for byte, the one that was made and validated."""
    folder = run.store.shipments(run.key, manifest.submission)
    documents = run.store.documents(run.key, manifest.submission)
    for part in manifest.shipments:
        path, document = folder / part.path, (documents / part.path).with_suffix(".xml")
        if part.document_sha256 and not (document.is_file() and _sha256(document) == part.document_sha256):
            raise DataRefused(
                f"{document.name}: not the head message that the manifest names",
                where=str(documents),
                fix="remove the parts folder and run again; it is made anew from the same data",
            )
        if not path.is_file() or _sha256(path) != part.sha256 or part.packed_bytes > part.limit_bytes:
            raise DataRefused(
                f"{part.path}: not the file the manifest names",
                where=str(folder),
                fix="remove the folder and run again; it is made anew from the same data",
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
