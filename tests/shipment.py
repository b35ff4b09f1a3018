"""Opening shipments as anybody would: Python's email package and openssl."""

from __future__ import annotations

import email
import email.policy
import subprocess
from pathlib import Path

from lxml import etree

MSGHEAD = "{http://www.kith.no/xmlstds/msghead/2006-05-24}"


def opened(path: Path, home: Path) -> bytes:
    """The MsgHead document of a packed part, by openssl."""
    mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.SMTP)
    part = next(part for part in mail.walk() if part.get_content_type() == "application/pkcs7-mime")
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    done = subprocess.run(
        [
            "openssl",
            "cms",
            "-decrypt",
            "-inform",
            "DER",
            "-binary",
            "-inkey",
            str(home / "rehearsal" / "receiver-key.pem"),
            "-recip",
            str(home / "rehearsal" / "receiver.pem"),
        ],
        input=payload,
        capture_output=True,
        check=True,
    )
    return done.stdout


def melding(document: bytes) -> etree._Element:
    """The Melding inside a MsgHead document."""
    content = next(etree.fromstring(document).iter(f"{MSGHEAD}Content"))
    return content[0]


def patients(message: etree._Element) -> dict[str, bytes]:
    """Key of each patient -> canonical XML of what is told of it."""
    found = {}
    for element in message.iter("{*}Objektholder", "{*}PasientIdent"):
        key = element.get("pasientNr") or element.get("pid")
        assert key is not None
        assert key not in found, "a patient stands in a message once"
        found[key] = etree.tostring(element, method="c14n")
    return found
