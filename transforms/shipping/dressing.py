"""What the head message and the mail of one part say: sender, receiver, form and routing, by settings and facts.

Belongs here: putting unit, receiver and ids into ``HeadMessage`` and ``Packing``. Does not belong here: the bytes of
either (``transforms.shipping.envelope``, ``transforms.shipping.packing``), the making of ids, reading settings.
"""

from __future__ import annotations

import datetime as dt
import json
import uuid
from dataclasses import dataclass
from typing import Final

from cryptography import x509

from schemas.config import Unit
from schemas.receivers import Receiver
from schemas.records import PartIds
from schemas.versions import CodedValue
from transforms.shipping import packing
from transforms.shipping.ebms import Signer
from transforms.shipping.envelope import Coded, HeadMessage, Party
from transforms.shipping.packing import Packing

SAMPLE_IDS: Final = PartIds(
    module="ord", part=1, lopenr=1, msg_id=str(uuid.UUID(int=0)), gen_date="2000-01-01T00:00:00+00:00"
)
"""Ids as long as any others: what is made with them has the size of every part."""


@dataclass(frozen=True, slots=True)
class Parties:
    """Who receives, with which certificate, and who signs; signer None: the message handler that sends does.

    gzip: whether messages are compressed before encryption.
    """

    receiver: Receiver
    certificate: x509.Certificate
    signer: Signer | None
    gzip: bool


@dataclass(frozen=True, slots=True)
class Dress:
    """What all parts of one message have in common. pipeline: name and version of this program."""

    parties: Parties
    unit: Unit
    type: CodedValue
    profile: str
    pipeline: str

    def head_message(self, ids: PartIds) -> HeadMessage:
        """The head message of a part."""
        unit, receiver, form = self.unit, self.parties.receiver, self.parties.receiver.form
        return HeadMessage(
            type_v=self.type.v,
            type_dn=self.type.dn,
            msg_id=ids.msg_id,
            gen_date=ids.gen_date,
            sender=Party(unit.organisation.name, unit.organisation.her_id, Party(unit.sender.name, unit.sender.her_id)),
            receiver=Party(receiver.name, receiver.her_id, Party(receiver.unit_name, receiver.unit_her_id)),
            processing_status=Coded("P", "Produksjon") if self.profile == "production" else None,
            ack=Coded(form.ack.value.v, form.ack.value.dn) if form.ack.value.v else None,
            document_form=form.document.value,
            case_no=form.case_no.value,
            ref_type=Coded(form.ref_type.value.v, form.ref_type.value.dn),
            mime_type=form.mime_type.value,
            content=form.content.value,
        )

    def packing(self, ids: PartIds) -> Packing:
        """How the mail of a part is packed."""
        parties, sender, receiver = self.parties, self.unit.sender, self.parties.receiver
        from_her, to_her, form = sender.her_id, receiver.unit_her_id, receiver.form
        return Packing(
            gzip=parties.gzip,
            certificate=parties.certificate,
            ids=packing.ids_of(ids.msg_id, dt.datetime.fromisoformat(ids.gen_date)),
            from_her=from_her,
            to_her=to_her,
            from_mail=sender.mail if sender.mail and receiver.real else f"{from_her}@sender.invalid",
            to_mail=receiver.mail or f"{to_her}@receiver.invalid",
            description=self._systems() if form.description.value else "",
            signer=parties.signer,
            **form.routing(self.type.v, from_her, to_her).model_dump(),
        )

    def _systems(self) -> str:
        """Names and versions of the systems, as the network's version monitoring reads them (HIS 1210:2018)."""
        name, _, version = self.pipeline.partition(" ")
        epj = self.unit.epj
        told = {
            "MSH-system": name,
            "MSH-versjon": version,
            "fagsystem": epj.navnEPJ,
            "fagsystem-versjon": epj.versjonEPJ,
        }
        return json.dumps(told, ensure_ascii=False)
