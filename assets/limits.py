"""How large a finished part may be, by what it leaves through: one limit for each thing that has one.

Belongs here: putting settings, the year of the data and the channels of a unit together. Does not belong here: where a
part ends (``transforms.shipping.split``), how large a mail or a request becomes (``transforms.shipping.packing``,
``transforms.shipping.edi20_request``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from assets.ports import Run
from schemas.config import ChannelSettings, Edi20Settings
from schemas.errors import WrongUse
from schemas.receivers import default_limit, nhn_ceiling
from transforms.shipping import edi20_request
from transforms.shipping.dressing import SAMPLE_IDS, Dress
from transforms.shipping.packing import SIGNATURE_ROOM, packed_size_of_payload
from transforms.shipping.split import Bound, Limits


@dataclass(frozen=True, slots=True)
class Limit:
    """Largest finished mail, in bytes, and how sure we are of it."""

    bytes: int
    certainty: str


def size_limit(run: Run) -> Limit:
    """The limit of this run: given, configured, or by the year of the data; never above what the network carries."""
    given = run.options.limit_bytes or run.config.shipping.packed_bytes
    ceiling = nhn_ceiling()
    if beyond := _file_area(_ways(run)):
        return Limit(min(given or beyond, beyond), "set by configuration")
    if given and given > ceiling.bytes:
        raise WrongUse(
            f"limit of {given} bytes is above what Norsk helsenett carries",
            where="shipping.packed_bytes or --limit-bytes",
            rule=ceiling.source,
            fix=f"give at most {ceiling.bytes}, or send over NHN-EDI-STOR",
        )
    default = default_limit(run.period.year)
    return Limit(given, "set by configuration") if given else Limit(default.bytes, default.certainty)


def large_limit(run: Run) -> int:
    """Most bytes of a file of one patient who is above the other limits; 0: no channel takes such."""
    return _file_area(run.config.ways(run.key.unit, run.config.profile, large=True))


def needs_documents(run: Run) -> bool:
    """Whether a channel takes the head messages themselves."""
    return any(way.needs_document for way in _ways(run).values())


def request_limit(run: Run) -> int | None:
    """The largest body of a request that takes a head message; None where no channel makes such requests."""
    return min((way.body_bytes for way in _ways(run).values() if isinstance(way, Edi20Settings)), default=None)


def limits_of(run: Run, dress: Dress, limit: int, document_bytes: Callable[[int], int]) -> Limits:
    """All limits on the parts of one message. document_bytes: of the document around a Melding of some length.

    Where this program does not sign, room is left for the signature of the message handler that does; nobody adds
    anything to what lies in a file area.
    """
    gzip, packing = dress.parties.gzip, dress.packing(SAMPLE_IDS)
    room = 0 if dress.parties.signer or _file_area(_ways(run)) else SIGNATURE_ROOM

    def of_melding(size_of: Callable[[int], int]) -> Callable[[int], int]:
        return lambda melding: size_of(document_bytes(melding))

    mail: Callable[[int], int] = partial(packed_size_of_payload, packing=packing)
    requests = []
    for way in _ways(run).values():
        if isinstance(way, Edi20Settings):
            words = edi20_request.opening(way, dress.unit, dress.parties.receiver.unit_her_id, dress.type.v, gzip=gzip)
            size_of = partial(edi20_request.body_bytes, words)
            requests.append(Bound("request to EDI 2.0", size_of if gzip else of_melding(size_of), way.body_bytes))
    finished = Bound("mail", mail if gzip else of_melding(mail), limit - room)
    return Limits(finished, tuple(requests), large_limit(run))


def _ways(run: Run) -> dict[str, ChannelSettings]:
    return run.config.ways(run.key.unit, run.config.profile)


def _file_area(ways: dict[str, ChannelSettings]) -> int:
    return max((way.most_mail_bytes or 0 for way in ways.values()), default=0)
