"""Typed records of sending: what a channel says, what the ledger keeps of a part, what an answer says.

Belongs here: the shape of these records. Does not belong here: states and events (``schemas.submission_states``),
decisions (``schemas.decisions``), and keeping anything.
"""

from __future__ import annotations

import datetime as dt
from enum import StrEnum

from pydantic import BaseModel, Field

from schemas.records import Key
from schemas.strict import STRICT
from schemas.submission_states import Event, State


class _Record(BaseModel):
    model_config = STRICT


class Receipt(_Record):
    """What a channel gives for a part it took. reference: its own name for it (a path, an id). at: UTC."""

    reference: str
    at: dt.datetime


class Presence(StrEnum):
    """Whether the other side has a part."""

    THERE = "there"
    ABSENT = "absent"  # certain: it is not there and will not come by what was begun
    UNKNOWN = "unknown"


class TransportState(_Record):
    """What the other side says of a part. events: transport and AppRec events it tells of, oldest first."""

    presence: Presence
    events: tuple[Event, ...] = ()
    reference: str = ""
    detail: str = Field(default="", max_length=500)


class SentPart(_Record):
    """What the ledger knows of one part.

    state_at, handed_over_at: UTC. attempts: how often a hand-over began. channel, reference: of the last one.
    """

    key: Key
    submission: int
    profile: str
    module: str
    part: int
    lopenr: int
    msg_id: str
    gen_date: str
    institusjon_id: str
    state: State
    state_at: dt.datetime
    attempts: int = 0
    path: str = ""
    packed_bytes: int = 0
    packed_sha256: str = ""
    body_sha256: str = ""
    channel: str = ""
    reference: str = ""
    handed_over_at: dt.datetime | None = None

    @property
    def place(self) -> str:
        """Its place in the submission, the same in every submission of the same content."""
        return f"{self.module} {self.part}"


class SubmissionRow(_Record):
    """What the ledger knows of one submission.

    inputs: digest of what it was made of. content: digest of what it says, the same whatever its numbers, ids and
    receiver. sealed: digest of the very parts and findings, what an approval names. Empty while it is being made.
    """

    key: Key
    number: int
    profile: str
    institusjon_id: str
    year: int
    inputs: str
    created_at: dt.datetime
    content: str = ""
    sealed: str = ""
    state: State = State.RESERVED
    state_at: dt.datetime


class StateRow(_Record):
    """State of one module of one submission: the worst of its parts.

    silent: hours without an answer of the part that waits longest, 0, 24, 48 or 72.
    """

    period: str
    unit: str
    module: str
    submission: int
    profile: str
    state: State
    at: dt.datetime
    handed_over_at: dt.datetime | None = None
    silent: int = 0


class EventRow(_Record):
    """One event of one part. before, after: its states; equal where the event came late or twice."""

    number: int
    msg_id: str
    event: Event
    before: State
    after: State
    at: dt.datetime
    by: str
    detail: str = ""


class Answer(_Record):
    """One answer of the register about one part.

    digest: SHA-256 of the document as it came; an answer is stored once however often it comes. It is matched by
    msg_id where given, else by lopenr with institusjon_id and year. original_sha256: digest of our bytes, where the
    answer carries one. generated_at: by the sender's clock. events: what it says, oldest first. source: file or mail
    id, for people. suspect: why it may not be believed, such as a missing signature; "" where it may.
    """

    digest: str
    kind: str
    events: tuple[Event, ...]
    received_at: dt.datetime
    generated_at: dt.datetime | None = None
    msg_id: str = ""
    lopenr: int | None = None
    institusjon_id: str = ""
    year: int | None = None
    original_sha256: str = ""
    source: str = ""
    detail: str = Field(default="", max_length=500)
    suspect: str = Field(default="", max_length=500)


class Fate(StrEnum):
    """What became of an answer."""

    TAKEN = "taken"
    KNOWN = "known"  # the same document came before
    PARKED = "parked"


class Taken(_Record):
    """What the ledger did with an answer. part: the part it speaks of; reason: why it was parked."""

    fate: Fate
    part: SentPart | None = None
    reason: str = ""


class ParkedRow(_Record):
    """An answer that could not be joined to a part, and why."""

    digest: str
    kind: str
    msg_id: str
    reason: str
    parked_at: dt.datetime
    tries: int
    source: str = ""


class AuditRow(_Record):
    """One line of the audit log. hash covers the line and the hash before it."""

    number: int
    at: dt.datetime
    who: str
    what: str
    period: str = ""
    unit: str = ""
    submission: int | None = None
    detail: str = ""
    hash: str = ""
