"""What an answer of the register says, read: one document, the part it speaks of, and its errors row by row.

Belongs here: the shape of what was read. Does not belong here: reading (``transforms.answers``), what the ledger keeps
of it (``schemas.sending.Answer``, which holds nothing of a patient).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas.sending import Answer


@dataclass(frozen=True, slots=True)
class ContentError:
    """One error that the register found in a record. All of it may tell of a patient but code, check and consequence.

    code: the register's own. check: letter of list 8482. consequence: as rules have it. npr_class, attribute: names of
    the message model. pasient_nr, episode_id, referral_id, enhet_id: keys as we sent them.
    """

    code: str
    check: str
    consequence: str
    npr_class: str
    attribute: str
    pasient_nr: str = field(repr=False)
    episode_id: str = field(repr=False)
    referral_id: str = field(repr=False)
    enhet_id: str = field(repr=False)
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answered:
    """One document. errors: of content feedback; told: how many it says there are, where it says so.

    references: URI and DigestValue of what an ebMS acknowledgment says was received.
    """

    answer: Answer
    errors: tuple[ContentError, ...] = ()
    told: int | None = None
    references: tuple[tuple[str, str], ...] = ()
