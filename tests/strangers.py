"""Outputs of channels taken apart by programs that are not ours: ripmime, xmlsec1, openssl, gzip, base64, xmllint.

Belongs here: what any channel's output is compared with. Does not belong here: the channels and their servers.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

TOOLS = ("ripmime", "xmlsec1", "openssl", "gzip", "base64", "xmllint")
needs_tools = pytest.mark.skipif(
    not all(map(shutil.which, TOOLS)) and not os.environ.get("CI"),
    reason=f"{', '.join(TOOLS)} are not all installed on this machine",
)
DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'


@dataclass(frozen=True)
class Keys:
    """PEM files: of the receiver, and the certificate of the sender that is trusted."""

    receiver_key: Path
    receiver: Path
    sender: Path

    @classmethod
    def of_rehearsal(cls, home: Path) -> Keys:
        folder = home / "rehearsal"
        return cls(folder / "receiver-key.pem", folder / "receiver.pem", folder / "sender.pem")


def document_of_mail(mail: Path, keys: Keys, room: Path) -> bytes:
    """The head message of a packed mail: taken out, its signature verified, decrypted and, where it is gzip, opened."""
    shutil.rmtree(room, ignore_errors=True)
    _run("ripmime", "-i", mail, "-d", room)
    payload = room / "payload.p7m"
    soap = next(path for path in sorted(room.iterdir()) if path.read_bytes().startswith(b"<?xml"))
    href = _run("xmllint", "--xpath", "string(//*[local-name()='Manifest']/*/@*[local-name()='href'])", soap)
    trusted = ("--verify", "--enabled-key-data", "x509", "--trusted-pem", keys.sender)
    verified = _run("xmlsec1", *trusted, f"--url-map:{href.decode().strip()}", payload, soap)
    assert b"References (ok/all): 2/2" in verified
    opening = ("-inkey", keys.receiver_key, "-recip", keys.receiver, "-out", room / "opened")
    _run("openssl", "cms", "-decrypt", "-binary", "-inform", "DER", "-in", payload, *opening)
    opened = (room / "opened").read_bytes()
    return _run("gzip", "-dc", data=opened) if opened.startswith(b"\x1f\x8b") else opened


def body_of_document(document: bytes) -> bytes:
    """The very bytes of the Melding in a head message that xmllint finds well-formed."""
    _run("xmllint", "--huge", "--noout", "-", data=document)
    content = document.partition(b"<Content>")[2].rpartition(b"</Content>")[0]
    if not content.startswith(b"<Base64Container"):
        return content
    text = content.partition(b">")[2].rpartition(b"</Base64Container>")[0]
    return body_of_bare(_run("base64", "--decode", data=text))


def body_of_bare(file: bytes) -> bytes:
    """The very bytes of a Melding that stands alone, which xmllint finds well-formed."""
    _run("xmllint", "--huge", "--noout", "-", data=file)
    assert file.startswith(DECLARATION)
    return file.removeprefix(DECLARATION)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _run(*command: str | Path, data: bytes = b"") -> bytes:
    """What a program says, both ways; it must end well."""
    done = subprocess.run(list(command), input=data, capture_output=True, check=False)
    assert done.returncode == 0, f"{command[0]}: {done.stderr.decode(errors='replace')}"
    return done.stdout + (done.stderr if command[0] == "xmlsec1" else b"")
