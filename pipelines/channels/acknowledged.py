"""Whether an acknowledgment speaks of the very mail that left.

Belongs here: reading what we signed out of a part's file. Does not belong here: comparing digests
(``transforms.answers.transport``), whose signature the acknowledgment carries (``pipelines.parties.receipt_trust``).
"""

from __future__ import annotations

from pipelines.home.store import DiskStore
from schemas.errors import DataRefused
from schemas.sending import SentPart
from transforms.answers.transport import References, other_bytes
from transforms.shipping.ebms import signed_references
from transforms.shipping.packing import OUTSIDE_BYTES, outside


def of_other_bytes(store: DiskStore, part: SentPart, told: References) -> str:
    """Why digests of an acknowledgment are not those of a part; "" where they are, or nothing tells.

    Nothing tells where the file was purged, or another's program signs what we pack: then the acknowledgment counts as
    one without digests does.
    """
    if not told:
        return ""
    path = store.shipments(part.key, part.submission) / part.path
    try:
        with path.open("rb") as file:
            sent = signed_references(outside(file.read(OUTSIDE_BYTES)).soap)
    except (FileNotFoundError, IsADirectoryError, DataRefused):
        return ""
    return other_bytes(told, sent) if sent else ""
