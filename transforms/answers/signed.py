"""Who signed a mail of the register: its ebMS envelope, with everything that comes in it.

Belongs here: finding envelope and attachments of a mail, and which kinds of answers need a signature. Does not belong
here: the signature itself (``transforms.shipping.ebms``), whether the signer is the right one (it comes as a function).
"""

from __future__ import annotations

import email
import email.policy
from collections.abc import Callable
from dataclasses import dataclass
from email.errors import MessageError
from email.message import Message
from typing import Final

from cryptography import x509

from schemas.errors import DataRefused
from transforms.shipping import ebms

UNSIGNED: Final = "it came without the signed envelope that this receiver's receipts have"
OPEN_NEWS: Final = (
    "it says that all is well, in a mail without signature and outside a locked archive: anybody may write that"
)
_START: Final = 4_096
_MOST_PARTS: Final = 100
_RECEIPTS: Final = ("apprec", "ebms")
_BROKEN: Final = (MessageError, ValueError, LookupError, RecursionError, TypeError, AttributeError, IndexError)

Judge = Callable[[x509.Certificate], str]
"""Why a certificate is not that of the receiver; "" where it is."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What the envelope of a mail shows. signer: None where there is none; fault: why its signature does not count."""

    signer: x509.Certificate | None
    fault: str = ""

    def suspicion(self, kind: str, judge: Judge, *, open_news: bool = False) -> str:
        """Why an answer of a kind, out of this mail, may not be believed; "" where it may.

        Feedback (NPR_VAL, NPR_ERR) and delivery reports come as plain mails without envelope, so none is asked of them;
        where they come in one, its signature counts. open_news: it is good news from outside a locked archive, which
        opens the way to production and so needs a signature.
        """
        if self.fault:
            return self.fault
        if self.signer is None:
            return UNSIGNED if kind.startswith(_RECEIPTS) else OPEN_NEWS if open_news else ""
        return judge(self.signer)


def signature_of(mail: bytes) -> Signature:
    """The signature of a mail, whatever is wrong with it."""
    try:
        return Signature(signer_of(mail))
    except DataRefused as wrong:
        return Signature(None, wrong.what)


def signer_of(mail: bytes) -> x509.Certificate | None:
    """The certificate that signed the one ebMS envelope of a mail and all its attachments; None where it has none.

    DataRefused where the signature is missing or wrong, or leaves out a part of the mail: what stands beside a signed
    envelope is not signed for that.
    """
    try:
        found = email.message_from_bytes(mail, policy=email.policy.compat32)
        parts = [part for part in found.walk() if not part.is_multipart()]
        contents = [(_name(part), content) for part in parts[:_MOST_PARTS] if (content := _content(part)) is not None]
    except _BROKEN:
        raise DataRefused("the mail cannot be taken apart", where="mail") from None
    envelopes = [place for place, (_, content) in enumerate(contents) if _is_envelope(content)]
    if not envelopes:
        return None
    if len(envelopes) > 1 or len(parts) > len(contents):
        raise DataRefused("the mail has more than one SOAP envelope, or parts that cannot be read", where="mail")
    _, envelope = contents.pop(envelopes[0])
    attachments = dict(contents)
    if len(attachments) < len(contents):
        raise DataRefused("two parts of the mail have the same Content-ID", where="mail")
    return ebms.verify(envelope, attachments)


def _name(part: Message) -> str:
    return str(part.get("Content-ID") or "").strip().removeprefix("<").removesuffix(">")


def _content(part: Message) -> bytes | None:
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else None


def _is_envelope(content: bytes) -> bool:
    start = content[:_START].replace(b"\0", b"")
    return ebms.SOAP.encode() in start and b"Envelope" in start
