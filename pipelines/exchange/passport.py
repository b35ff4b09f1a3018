"""The passport of a submission: one signed file that a third party can check without us.

Belongs here: gathering what is known of a submission, signing, checking offline. Does not belong here: keeping it
(the ledger and the manifest do), and the certificates that talk to the register.

The signature is Ed25519 over the canonical JSON of the passport (sorted keys, no blanks). The file must be the one
canonical form of what it holds, byte for byte, so that no byte of it can change and the check still pass. The key is
the unit's own, made on first use; its public half is given to whoever shall check. A key inside the file alone proves
that the file is whole, and not who made it.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from pydantic import BaseModel, ConfigDict, ValidationError

from assets.manifests import manifest_of
from assets.ports import Run
from pipelines.home.store import DiskStore, sync
from pipelines.ledger.book import SqlLedger
from schemas.errors import DataRefused, WrongUse
from schemas.records import Manifest, ShipmentOut
from schemas.sending import Answer
from schemas.words import on_one_line
from transforms.content.decided import speaking_of

VERSION = 2
NAME = "passport.json"
Passport = dict[str, Any]


class _Part(BaseModel):
    """Of what a passport holds only that which is told to people; a passport of another version may hold more."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _Word(_Part):
    kind: str
    by: str
    at: dt.datetime
    submission: int | None = None
    content: str | None = None
    withdrawn: bool = False


class _Sent(_Part):
    path: str
    state: str
    lopenr: int
    packed_sha256: str
    document_sha256: str = ""


class _Head(_Part):
    line: int
    hash: str


class _Place(_Part):
    period: str
    unit: str


class _Said(_Part):
    key: _Place
    submission: int
    profile: str
    sealed: str
    issued_at: dt.datetime
    audit: _Head
    decisions: tuple[_Word, ...]
    parts: tuple[_Sent, ...]


def issue(run: Run, ledger: SqlLedger, store: DiskStore, number: int, by: str) -> tuple[Passport, Path]:
    """Make, sign and store the passport of a submission as it stands now. Returns what it says, and the file."""
    manifest = manifest_of(run, number)
    passport = _gathered(run, ledger, manifest)
    key = _private_key(store, run.key.unit)
    body = _canonical(passport)
    signed = {"passport": passport, "signature": {"public_key": _raw(key.public_key()), "value": key.sign(body).hex()}}
    place = store.shipments(run.key, number).parent / NAME
    with store.writing(place) as path:
        path.write_bytes(_canonical(signed))
    ledger.note(by, "passport", run.now(), run.key, f"submission {number}: {hashlib.sha256(body).hexdigest()}")
    return passport, place


def _gathered(run: Run, ledger: SqlLedger, manifest: Manifest) -> Passport:
    number = manifest.submission
    row = next(one for one in ledger.submissions(run.key) if one.number == number)
    line, last = ledger.audit_head()
    decisions, answers = ledger.decisions(run.key), ledger.answers(run.key, number)
    told = manifest.model_dump(mode="json")
    names = ("key", "submission", "profile", "created_at", "pipeline", "snapshot", "schemas")
    digests = ("code_sha256", "rules_sha256", "codes_sha256", "code_lists_sha256")
    counts = ("tables", "messages", "findings", "rulings")
    return {
        "version": VERSION,
        **{name: told[name] for name in (*names, *digests, *counts)},
        "content": row.content,
        "sealed": row.sealed,
        "parts": [_part(ledger, part, answers) for part in manifest.shipments],
        "decisions": [one.model_dump(mode="json") for one in speaking_of(decisions, row, run.now().date())],
        "audit": {"line": line, "hash": last},
        "issued_at": run.now().isoformat(),
    }


def _part(ledger: SqlLedger, shipment: ShipmentOut, answers: Sequence[tuple[str, Answer]]) -> dict[str, Any]:
    """One part, its receipts, and the digest of the head message where the channel takes that and not the mail."""
    msg_id = shipment.msg_id
    part = ledger.part(msg_id).model_dump(mode="json", exclude={"key", "submission", "profile"})
    document = {name: getattr(shipment, name) for name in ("document_sha256", "document_bytes")}
    events = [one.model_dump(mode="json", exclude={"msg_id", "number"}) for one in ledger.events(msg_id)]
    receipts = [_receipt(answer) for of, answer in answers if of == msg_id]
    return part | document | {"events": events, "receipts": receipts}


def _receipt(answer: Answer) -> dict[str, Any]:
    """What the register answered: digest of the document as it came, and what it says."""
    told = answer.model_dump(mode="json", include={"kind", "events", "received_at", "generated_at", "original_sha256"})
    return {"sha256": answer.digest} | told


def verify(data: bytes, where: str, key: bytes | None = None) -> Passport:
    """What a passport says, when every byte of it is as it was signed. key: public key as PEM, else the one inside.

    DataRefused for anything else. Needs no network and no installation of ours but this module's library. Without a
    key it says that the file is whole, and nothing of who signed it: whoever edits a passport can sign it anew.
    """
    try:
        signed = json.loads(data)
        passport, signature = signed["passport"], signed["signature"]
        inside, value = (bytes.fromhex(signature[name]) for name in ("public_key", "value"))
        # Only one form of the same content passes: blanks, order, letter case and further keys are changes too.
        whole = {"passport": passport, "signature": {"public_key": inside.hex(), "value": value.hex()}}
        if _canonical(whole) != data or not isinstance(passport, dict):
            raise _broken(where)
        public = Ed25519PublicKey.from_public_bytes(inside)
        public.verify(value, _canonical(passport))
    except (ValueError, KeyError, TypeError, RecursionError, InvalidSignature):
        raise _broken(where) from None
    if key is not None and _raw(_public_key(key)) != inside.hex():
        raise DataRefused(
            f"{where} was signed with another key than the one given",
            where=where,
            rule="a passport is as good as the key it is checked with",
            fix="ask the unit for its public key by another way than the passport",
        )
    return _readable(passport, where)


def audit_line(passport: Passport) -> tuple[int, str]:
    """Number and hash of the last line of the audit log when a passport was issued."""
    head = _Said.model_validate(passport).audit
    return head.line, head.hash


def _readable(passport: Passport, where: str) -> Passport:
    """The same, where it says what a passport says: anyone can sign anything."""
    try:
        _Said.model_validate(passport)
    except ValidationError as error:
        missing = sorted({".".join(map(str, one["loc"][:1])) for one in error.errors(include_input=False)})
        raise DataRefused(
            f"{where} is signed and is no passport: not as it should be are {', '.join(missing)}",
            where=where,
            rule="a passport names submission, decisions, parts and audit line",
            fix="ask the unit for the passport, and for its public key",
        ) from None
    return passport


def _broken(where: str) -> DataRefused:
    return DataRefused(
        f"{where} is no whole passport: a byte of it was changed, or it is none",
        where=where,
        rule="the signature covers every byte",
        fix="ask whoever made it for the file as it was",
    )


def _public_key(pem: bytes) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(pem)
    except ValueError:
        raise WrongUse("--key holds no public key", fix="give the .pub.pem of the unit") from None
    if not isinstance(key, Ed25519PublicKey):
        raise WrongUse("--key holds no Ed25519 key", fix="give the .pub.pem of the unit")
    return key


def _private_key(store: DiskStore, unit: str) -> Ed25519PrivateKey:
    """The unit's own key, made on first use; private to its owner, with the public half beside it."""
    folder = store.home / "keys"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"passport-{unit}.pem"
    with store.locked("keys"):
        if not path.exists():
            made = Ed25519PrivateKey.generate()
            public = made.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            (folder / f"passport-{unit}.pub.pem").write_bytes(public)
            beside = path.with_suffix(".tmp")
            beside.unlink(missing_ok=True)
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            sync(beside)
            beside.replace(path)
            sync(folder)
    if path.stat().st_mode & 0o077:
        raise WrongUse(f"{path}: others than the owner may read it", where=str(path), fix=f"chmod 600 {path}")
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise WrongUse(f"{path} holds no Ed25519 key", where=str(path), fix="move it away; a new one is made")
    return key


def _raw(key: Ed25519PublicKey) -> str:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def _canonical(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def told(passport: Passport) -> str:
    """A passport in a few lines, for people; what somebody else may have written into it is on these lines alone."""
    said = _Said.model_validate(passport)
    issued = said.issued_at.strftime("%Y-%m-%d %H:%M UTC")
    lines = [
        f"{said.key.period} {said.key.unit}, submission {said.submission}, profile {said.profile}",
        f"issued {issued}, audit line {said.audit.line}; approved by {_approver(said)}",
    ]
    lines += [
        f"  {part.path}: {part.state.replace('_', ' ')}, lopenr {part.lopenr}, sha256 {_left(part)}"
        for part in said.parts
    ]
    return "\n".join(map(on_one_line, lines))


def _left(part: _Sent) -> str:
    """Digest of the file that a channel takes."""
    return f"{part.document_sha256} (head message)" if part.document_sha256 else part.packed_sha256


def _approver(said: _Said) -> str:
    """Whose approval of these very parts counts: the newest word. Older passports hold all decisions of a period."""
    mine = [one for one in said.decisions if one.kind == "approve" and one.submission == said.submission]
    newest = mine[-1] if mine else None
    holds = newest and not newest.withdrawn and newest.content == said.sealed
    return f"{newest.by} {newest.at:%Y-%m-%dT%H:%M}" if newest and holds else "nobody"
