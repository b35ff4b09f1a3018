"""Whose signature a receipt must carry, and whether it does.

Belongs here: NPR's signing certificates, from files or the Address Register, and what follows where none is known. Does
not belong here: the signature over a mail (``transforms.answers.signed``), the ledger.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from pipelines.home.store import DiskStore
from pipelines.parties.address_register import AddressRegister
from pipelines.parties.keys import certificates_in, trust_of
from schemas.config import Certificates, Config
from schemas.errors import NprError, WrongUse
from schemas.receivers import receiver
from transforms.answers.signed import Judge, Signature
from transforms.shipping.certificates import Holder, Purpose, faults

NOBODY = "nobody said whose signature it must be: npr.toml, certificates.receiver_signing"


@dataclass(frozen=True, slots=True)
class Believing:
    """What the answers of one look are held against. now: with time zone."""

    config: Config
    store: DiskStore
    now: dt.datetime

    def suspicion(self, signature: Signature, kind: str, profile: str, unit: str, *, open_news: bool = False) -> str:
        """Why an answer out of a mail may not be believed; "" where it may, or where this receiver need not sign.

        profile, unit: of the part it speaks of; "" where it is not ours. open_news: as for ``Signature.suspicion``; it
        is asked whatever the receiver signs.
        """
        to = receiver(profile or self.config.profile, self.now.date())
        if not to.answers.signed.value and not open_news:
            return ""
        whose = self.config.units.get(unit)
        given = self.config.certificates_of(whose) if whose else self.config.certificates
        return signature.suspicion(kind, self._judge(given, to.unit_her_id), open_news=open_news)

    def insist_known(self, unit: str) -> None:
        """WrongUse where the receiver must sign and nothing says whose signature that is: no receipt would count."""
        given = self.config.certificates_of(self.config.units[unit])
        signs = receiver(self.config.profile, self.now.date()).answers.signed.value
        known = given.receiver_signing or given.address_register or (given.trust and given.receiver_organisations)
        if signs and not known:
            raise WrongUse(
                "no receipt of the receiver would be believed",
                where="npr.toml, [certificates]",
                rule="schemas/receivers/npr.toml, answers.signed",
                fix="give certificates.receiver_signing, or trust and receiver_organisations",
            )

    def _judge(self, given: Certificates, her_id: str) -> Judge:
        def judge(certificate: x509.Certificate) -> str:
            try:
                return self._against(certificate, given, her_id)
            except NprError as error:
                return error.what
            except (ValueError, UnsupportedAlgorithm, x509.ExtensionNotFound, x509.DuplicateExtension):
                return "the certificate that signed it cannot be read"

        return judge

    def _against(self, certificate: x509.Certificate, given: Certificates, her_id: str) -> str:
        """Pinned certificates go first, then chain and organisation number, then the Address Register."""
        holder = Holder(her_id, frozenset(given.receiver_organisations))
        found = [*faults(certificate, Purpose.SIGNING, self.now, holder, trust_of(given))]
        if found:
            return f"the certificate that signed it is not the receiver's: {'; '.join(found)}"
        known = self._known(given, her_id)
        if known is None:
            return "" if given.trust and given.receiver_organisations else NOBODY
        return "" if certificate in known() else "it is signed by another certificate than the receiver's"

    def _known(self, given: Certificates, her_id: str) -> Callable[[], list[x509.Certificate]] | None:
        if given.receiver_signing:
            return lambda: [one for path in given.receiver_signing for one in certificates_in(path)]
        register = AddressRegister.of(given, self.store)
        if register and not (given.trust and given.receiver_organisations):
            return lambda: [register.certificate(her_id, Purpose.SIGNING)]
        return None
