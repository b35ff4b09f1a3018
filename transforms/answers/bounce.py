"""Delivery reports (bounces): what a mail server on the way says became of a mail of ours.

Belongs here: reading RFC 3464 reports. Does not belong here: acknowledgments of the receiver itself
(``transforms.answers.transport``). Nobody signs a bounce. So one never proves that a part arrived: it only says that it
did not, which makes a person look and sends nothing.
"""

from __future__ import annotations

import email
import email.policy
import re
from dataclasses import dataclass
from email.errors import MessageError
from email.message import Message
from typing import Final

from schemas.errors import DataRefused
from schemas.submission_states import Event

MOST: Final = 2_000_000
_START: Final = 16_384
_REPORT: Final = re.compile(rb"^content-type:\s*multipart/report\b", re.IGNORECASE | re.MULTILINE)
_ACTIONS: Final = ("failed", "delayed", "relayed", "expanded", "delivered")  # the first that is there speaks
_STATUS: Final = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
_EXPIRED: Final = "5.4.7"  # RFC 3463: delivery time expired; some servers say 4.4.7
_MAIL_ID: Final = re.compile(r"<([!-;=?-~]{1,64})>")
_BROKEN: Final = (MessageError, ValueError, LookupError, RecursionError, TypeError, AttributeError, IndexError)


@dataclass(frozen=True, slots=True)
class Bounce:
    """mail_id: Message-ID of the mail it speaks of, without angle brackets. action, status: words of RFC 3464."""

    mail_id: str
    action: str
    status: str

    @property
    def events(self) -> tuple[Event, ...]:
        """What it says of a part; nothing while the mail is still on its way, or only a mailbox has it."""
        if self.action != "failed":
            return ()
        gave_up = self.status.startswith("4.") or self.status == _EXPIRED
        return (Event.ABANDONED if gave_up else Event.REJECTED,)


def is_bounce(data: bytes) -> bool:
    """Whether a mail is a report by its headers."""
    head = re.split(rb"\r?\n\r?\n", data[:_START].lstrip(b"\r\n"), maxsplit=1)[0]
    return bool(_REPORT.search(head))


def read_bounce(data: bytes, where: str) -> Bounce:
    """The report in a mail. DataRefused where it does not say of which mail, or what became of it."""
    if len(data) > MOST:
        raise _refused(where, "is larger than any delivery report")
    try:
        parts = list(email.message_from_bytes(data, policy=email.policy.compat32).walk())
        statuses = [part for part in parts if part.get_content_type() == "message/delivery-status"]
        blocks = [block for part in statuses for block in _blocks(part)]
        told = {str(block.get("Action", "")).strip().lower(): block for block in blocks if block.get("Action")}
        action = next((one for one in _ACTIONS if one in told), "")
        status = _STATUS.search(str(told[action].get("Status", ""))) if action else None
        mail_id = next(filter(None, map(_mail_id, parts[1:])), "")
    except _BROKEN:
        raise _refused(where, "cannot be read as a delivery report") from None
    if not action or not mail_id:
        raise _refused(where, "does not say of which mail of ours it speaks, or what became of it")
    return Bounce(mail_id, action, status[0] if status else "")


def _blocks(part: Message) -> list[Message]:
    inside = part.get_payload()
    return [one for one in inside if isinstance(one, Message)] if isinstance(inside, list) else []


def _mail_id(part: Message) -> str:
    """Message-ID of what was returned: the mail itself, or its headers as a text."""
    text = str(part.get("Message-ID") or "")
    if part.get_content_type() == "text/rfc822-headers":
        content = part.get_payload(decode=True)
        inside = email.message_from_bytes(content if isinstance(content, bytes) else b"", policy=email.policy.compat32)
        text = str(inside.get("Message-ID") or "")
    found = _MAIL_ID.search(text)
    return found[1] if found else ""


def _refused(where: str, what: str) -> DataRefused:
    return DataRefused(
        f"{where} {what}",
        where=where,
        rule="RFC 3464: a report names the mail and the action",
        fix="look at it yourself; npr resume shows what is still open",
    )
