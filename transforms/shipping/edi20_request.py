"""The body of a request that posts one head message to NHN's EDI 2.0, and its exact size.

Belongs here: the words of version 2 and 3 around a document, and the arithmetic of the whole body, which is what the
limit of 35 MB is taken to be about. Does not belong here: sending it (``pipelines.channels.edi20``), where a part ends.
"""

from __future__ import annotations

import json
from typing import Any, Final

from schemas.config import Edi20Settings, Unit
from schemas.errors import WrongUse

V3: Final = 3
CLOSING: Final = b'"}'


def opening(settings: Edi20Settings, unit: Unit, to_her: str, message_type: str, *, gzip: bool) -> bytes:
    """The body before the document's base64; ``CLOSING`` comes after it. UTF-8.

    message_type: code of list 8279. gzip: the service shall compress what it sends. WrongUse where the version has no
    word for that. Source: NHN developer portal, EDI 2.0, POST /messages and /Messages.
    """
    sender, epj = unit.sender.her_id, unit.epj
    words: dict[str, Any] = {"contentType": "application/xml", "contentTransferEncoding": "base64"}
    if settings.version == V3:
        if gzip:
            raise WrongUse(
                "version 3 of EDI 2.0 has no documented word for gzip",
                where="npr.toml, shipping.gzip",
                fix="use version = 2 of the channel, or agree without gzip",
            )
        words |= {
            "senderHerId": int(sender),
            "receiverHerIds": [int(to_her)],
            "messageTypeIdentificator": message_type,
            "applicationName": epj.navnEPJ,
            "applicationVersion": epj.versjonEPJ,
        }
    else:
        words["receiverHerIdsSubset"] = [int(to_her)]
        words["ebXmlOverrides"] = {
            "applicationName": epj.navnEPJ,
            "applicationVersion": epj.versjonEPJ,
            **({"compressPayload": True} if gzip else {}),
        }
    text = json.dumps(words, ensure_ascii=False).removesuffix("}")
    return f'{text}, "businessDocument": "'.encode()


def body_bytes(opening: bytes, document_bytes: int) -> int:
    """Bytes of the whole body for a document of that many bytes, exact."""
    return len(opening) + -(-document_bytes // 3) * 4 + len(CLOSING)
