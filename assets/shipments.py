"""Stage 7: whole patients into parts, each a valid message of its own, packed below the limits.

Belongs here: the order of the stage: numbers and ids from the ledger, parts, what is kept of them, manifest, seal. Does
not belong here: making a part (``assets.parts``), limits (``assets.limits``), the manifest (``assets.manifests``),
handing over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from assets import classes, guards
from assets.guard import fingerprint_of_facts
from assets.lake import current
from assets.limits import Limit, large_limit, needs_documents, request_limit, size_limit
from assets.manifests import MANIFEST, insist_bytes, manifest_for, manifest_of
from assets.parts import Bench
from assets.ports import LopenrTaken, Run
from schemas.receivers import Receiver
from schemas.records import Findings, FragmentSet, Manifest, MessageSet, Snapshot, Submission, digest
from transforms.shipping.addressing import insist_agreement
from transforms.shipping.dressing import Parties

RACES = 5  # how often other units of an institution may be faster before a person is told


def shipments(run: Run) -> Manifest:
    """Make all parts of the period's messages. The same inputs again give the parts that are already there."""
    for _ in range(RACES):
        try:
            manifest = _made(run)
            break
        except LopenrTaken:
            continue
    else:
        raise LopenrTaken(
            f"other submissions of {run.unit.institusjonID} took lopenr {RACES} times in a row", fix="run again"
        )
    insist_bytes(run, manifest)
    run.ledger.seal(manifest, run.now())
    run.store.save("manifest", run.key, manifest)
    return manifest


def parties_of(run: Run) -> Parties:
    """Who sends and receives, by certificates and settings of the run."""
    receiver, certificate = run.receiver()
    gzip = run.config.shipping.compresses(usual=receiver.form.gzip.value)
    return Parties(receiver, certificate, run.signer(), gzip)


def _made(run: Run) -> Manifest:
    made = current(run, "messages", MessageSet)
    parties = parties_of(run)
    _insist_agreement(run, parties.receiver)
    limit = size_limit(run)
    inputs = _inputs(run, made, limit, parties)
    submission = run.ledger.submission(run.key, run.config.profile, run.unit, run.period.year, inputs, run.now())
    folder = run.store.shipments(run.key, submission.number)
    if not (folder / MANIFEST).exists():
        with run.store.writing_folder(folder) as room, _documents(run, submission) as private:
            bench = Bench(run, parties, limit, (room, private), submission)
            done = [bench.module(module) for module in made.modules]
            # From here on the numbers are taken; a run that dies now makes the same parts with the same ids again.
            kept = run.ledger.keep_ids(submission, list(bench.stored.values()))
            run.store.copy_submission(kept)
            guards.keep(run, submission.number)
            classes.keep(run, submission.number)
            manifest = manifest_for(run, submission, made, done, limit)
            (room / MANIFEST).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
    return manifest_of(run, submission.number)


@contextmanager
def _documents(run: Run, submission: Submission) -> Iterator[Path | None]:
    """Room for the head messages where a channel takes them; it is there before the parts are, or not needed."""
    if not needs_documents(run):
        yield None
        return
    with run.store.writing_folder(run.store.documents(run.key, submission.number)) as private:
        yield private


def _insist_agreement(run: Run, receiver: Receiver) -> None:
    snapshot = run.store.load("snapshot", run.key, Snapshot)
    known = [mail for mail in (run.unit.sender.mail, receiver.mail) if mail] if receiver.real else [receiver.mail]
    insist_agreement(run.config.profile, receiver.unit_her_id, snapshot.environment, known)


def _inputs(run: Run, made: MessageSet, limit: Limit, parties: Parties) -> str:
    rendered = current(run, "fragments", FragmentSet)
    return digest(
        {
            "pipeline": run.pipeline,
            "profile": run.config.profile,
            "unit": run.unit.model_dump(mode="json", exclude={"extract", "certificates"}),
            "messages": made.model_dump(mode="json"),
            # What was found is part of what a person approves, and code lists loaded since may find more.
            "findings": current(run, "findings", Findings).model_dump(mode="json"),
            "fragments": rendered.model_dump(mode="json"),
            "limit": limit.bytes,
            "guard": fingerprint_of_facts(),
            "gzip": parties.gzip,
            "form": parties.receiver.form.values(),
            "receiver": hashlib.sha256(parties.certificate.tbs_certificate_bytes).hexdigest(),
            **({"documents": request_limit(run)} if needs_documents(run) else {}),
            **({"large": large} if (large := large_limit(run)) else {}),
            "signer": parties.signer and hashlib.sha256(parties.signer.certificate.tbs_certificate_bytes).hexdigest(),
        }
    )
