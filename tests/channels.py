"""Parts for tests of channels: small, and dressed and addressed as real ones are.

Belongs here: what the tests of all channels share. Does not belong here: servers (``servers``, ``edi20_server``).
"""

from __future__ import annotations

import dataclasses
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from authority import Authority, key_of
from cryptography import x509
from ledgers import NOW, config, unit

from pipelines.channels.common import Way
from pipelines.channels.folder import Folder
from pipelines.home.store import DiskStore
from schemas.config import Config, FolderSettings
from schemas.receivers import receiver
from schemas.records import Manifest, ShipmentOut
from schemas.versions import message_type
from transforms.shipping.certificates import Purpose
from transforms.shipping.ebms import Signer, signer
from transforms.shipping.envelope import HeadMessage, Party, head
from transforms.shipping.packing import Packing, ids_of, pack

BODY = b'<Melding xmlns="http://www.npr.no/xmlstds/57_0_1" lopenr="1">' + b"x" * 200 + b"</Melding>"


def way_of(home: Path, name: str = "out", profile: str = "rehearsal") -> Way:
    """What a channel of the sample's unit is made of."""
    given: Config = config().model_copy(update={"profile": profile})
    return Way(name, given, "nordfjell", DiskStore(home))


def document(msg_id: str, module: str, profile: str, body: bytes = BODY) -> bytes:
    """A head message of the sample's unit around a body."""
    sender, to = unit(), receiver(profile, NOW.date())
    message = HeadMessage(
        type_v=message_type(module).v,
        type_dn=message_type(module).dn,
        msg_id=msg_id,
        gen_date=NOW.isoformat(),
        sender=Party(sender.organisation.name, sender.organisation.her_id, Party("unit", sender.sender.her_id)),
        receiver=Party(to.name, to.her_id, Party(to.unit_name, to.unit_her_id)),
    )
    before, after = head(message)
    return before + body + after


@cache
def parties() -> tuple[Signer, x509.Certificate, x509.Certificate]:
    """Who signs the unit's mails; what they are encrypted to (its key is ``key_of("receiver")``); the CA of both."""
    ca = Authority.root("parties", NOW)
    certificate = ca.issue(Purpose.SIGNING, key=key_of("unit"))
    to = ca.issue(Purpose.ENCRYPTION, key=key_of("receiver"))
    return signer(key_of("unit"), certificate), to, ca.certificate


def mail(msg_id: str, module: str, profile: str, addresses: tuple[str, str], body: bytes = BODY) -> bytes:
    """A mail as it leaves: head message around a body, encrypted, signed. addresses: from, to."""
    sender, to = unit().sender.her_id, receiver(profile, NOW.date())
    signs, encrypts_to, _ = parties()
    packing = Packing(
        gzip=False,
        certificate=encrypts_to,
        ids=ids_of(msg_id, NOW),
        from_her=sender,
        to_her=to.unit_her_id,
        from_mail=addresses[0],
        to_mail=addresses[1],
        signer=signs,
        **to.form.routing(message_type(module).v, sender, to.unit_her_id).model_dump(),
    )
    return pack(document(msg_id, module, profile, body), packing)


def dressed(
    manifest: Manifest,
    store: DiskStore,
    *,
    body: bytes = BODY,
    addresses: tuple[str, str] = ("unit@sender.invalid", "rehearsal@rehearsal.invalid"),
    folder: Path | None = None,
) -> Manifest:
    """The same submission with parts and head messages as they really look, written where they belong."""
    folder = folder or store.shipments(manifest.key, manifest.submission)
    documents = store.documents(manifest.key, manifest.submission)
    store.prepare()
    documents.mkdir(parents=True, exist_ok=True)
    parts: list[ShipmentOut] = []
    for part in manifest.shipments:
        packed = mail(part.msg_id, part.module, manifest.profile, addresses, body)
        inside = document(part.msg_id, part.module, manifest.profile, body)
        (folder / part.path).write_bytes(packed)
        (documents / part.path).with_suffix(".xml").write_bytes(inside)
        update: dict[str, Any] = {
            "sha256": hashlib.sha256(packed).hexdigest(),
            "packed_bytes": len(packed),
            "body_sha256": hashlib.sha256(body).hexdigest(),
            "document_sha256": hashlib.sha256(inside).hexdigest(),
            "document_bytes": len(inside),
        }
        parts.append(part.model_copy(update=update))
    made = manifest.model_copy(update={"shipments": tuple(parts)})
    (folder / "manifest.json").write_text(made.model_dump_json(), encoding="utf-8")
    return made


def folder_of(home: Path, payload: str, profile: str = "rehearsal", taken: Path | None = None) -> tuple[Folder, Path]:
    """A folder channel beside the home, and its folder."""
    place = home.parent / "drop"
    given = FolderSettings.model_validate({"kind": "folder", "path": place, "payload": payload, "taken": taken})
    return Folder(dataclasses.replace(way_of(home, profile=profile)), given), place
