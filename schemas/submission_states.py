"""The life of one part on its way to the register: states, events, and what each event does in each state.

Belongs here: the transition table and the pure functions that read it. Does not belong here: keeping states (the
ledger), acting on them (``assets.dispatch``), and reading answers.

Three rules stand behind the table:

* What goes out is written down before the act (``begin``), so a part of which an answer comes is always at least
  ``handing_over``. An answer to a part that never began is no event but a riddle, and is parked.
* A stronger witness wins: an application receipt proves that the transport arrived, content feedback proves the
  receipt. An event of a weaker witness that comes late changes nothing and is kept all the same.
* Between equal witnesses bad news counts at once; good news after bad is refused and parked for a person, unless a
  deliberate resend lies between.

A resend that certainly did not go says nothing of the try before it: the part stands again where it stood
(``stands_without``), and is not sent by itself.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class State(StrEnum):
    """Where a part stands."""

    RESERVED = "reserved"  # number and MsgId are given, the bytes are not made yet
    PREPARED = "prepared"  # bytes made and validated
    APPROVED = "approved"  # a named person has approved these very bytes
    HANDING_OVER = "handing_over"  # written before the act; the act may have begun
    IN_DOUBT = "in_doubt"  # nobody knows whether it went; only asking may settle it
    NOT_SENT = "not_sent"  # it is certain that it did not go; it may be tried again
    HANDED_OVER = "handed_over"  # the channel took it
    ACKNOWLEDGED = "acknowledged"  # the transport of the other side confirmed it
    REJECTED = "rejected"  # the transport of the other side refused it
    ABANDONED = "abandoned"  # the transport gave up
    RECEIVED = "received"  # AppRec OK
    RECEIVED_IN_PART = "received_in_part"  # AppRec: OK, error in a part of the message
    REFUSED = "refused"  # AppRec: refused, or feedback that the schema check refused it
    CONTENT_ERRORS = "content_errors"  # content feedback with errors
    ACCEPTED = "accepted"  # content feedback without errors


class Event(StrEnum):
    """What happened to a part."""

    SEAL = "seal"
    APPROVE = "approve"
    VOID = "void"  # the approval fell: withdrawn, or the bytes changed
    BEGIN = "begin"
    RESEND = "resend"  # a named person decided to hand the same bytes over again
    NOT_HANDED_OVER = "not_handed_over"
    DOUBT = "doubt"
    HANDED_OVER = "handed_over"
    ACKNOWLEDGED = "acknowledged"
    REJECTED = "rejected"
    ABANDONED = "abandoned"
    APPREC_OK = "apprec_ok"
    APPREC_PARTIAL = "apprec_partial"
    APPREC_REJECTED = "apprec_rejected"
    SCHEMA_REJECTED = "schema_rejected"  # NPR_VAL: sent only when the schema check refuses
    CONTENT_ERRORS = "content_errors"  # NPR_ERR with errors
    CONTENT_CLEAN = "content_clean"  # NPR_ERR without


S, E = State, Event
OURS: Final = frozenset({S.RESERVED, S.PREPARED, S.APPROVED})
"""It has never been tried to hand over such a part."""
SENDABLE: Final = frozenset({S.PREPARED, S.APPROVED, S.NOT_SENT})
"""Such a part may be handed over without a deliberate resend."""
BEGINS: Final = frozenset({E.BEGIN, E.RESEND})
"""Written before a channel is called."""
FAILURES: Final = frozenset({E.NOT_HANDED_OVER, E.REJECTED, E.ABANDONED})
"""A hand-over came to nothing: what that means hangs on what was known before it."""
OPEN: Final = frozenset({S.HANDING_OVER, S.IN_DOUBT})
"""Only asking may settle such a part."""
BAD: Final = frozenset({S.REJECTED, S.ABANDONED, S.REFUSED, S.CONTENT_ERRORS, S.RECEIVED_IN_PART})
"""A person must act."""
UNDERWAY: Final = frozenset({S.HANDING_OVER, S.IN_DOUBT, S.NOT_SENT, S.HANDED_OVER})
TRANSPORT: Final = frozenset({S.ACKNOWLEDGED, S.REJECTED, S.ABANDONED})
RECEIPT: Final = frozenset({S.RECEIVED, S.RECEIVED_IN_PART, S.REFUSED})
CONTENT: Final = frozenset({S.CONTENT_ERRORS, S.ACCEPTED})
ANSWERED: Final = RECEIPT | CONTENT
"""The register itself has said something of such a part; its transport does not speak for it."""
SENT: Final = frozenset(S) - OURS - OPEN - {S.NOT_SENT}
"""It is certain that such a part left."""
STANDING: Final = (SENT | OPEN) - {S.REJECTED, S.ABANDONED, S.REFUSED}
"""The registry has such a part, or may have it; what was refused replaced nothing."""

# (event, states it is taken in, state it leads to). What stands neither here nor in LATE is refused.
_TAKEN: Final[tuple[tuple[Event, frozenset[State], State], ...]] = (
    (E.SEAL, frozenset({S.RESERVED, S.PREPARED, S.APPROVED}), S.PREPARED),
    (E.APPROVE, frozenset({S.PREPARED}), S.APPROVED),
    (E.VOID, frozenset({S.APPROVED}), S.PREPARED),
    (E.BEGIN, SENDABLE, S.HANDING_OVER),
    (E.RESEND, frozenset(S) - OURS - {S.HANDING_OVER, S.NOT_SENT, S.ACCEPTED}, S.HANDING_OVER),
    (E.NOT_HANDED_OVER, OPEN, S.NOT_SENT),
    (E.DOUBT, frozenset({S.HANDING_OVER}), S.IN_DOUBT),
    (E.HANDED_OVER, OPEN, S.HANDED_OVER),
    (E.ACKNOWLEDGED, UNDERWAY | {S.ABANDONED}, S.ACKNOWLEDGED),
    (E.REJECTED, UNDERWAY | {S.ACKNOWLEDGED, S.ABANDONED}, S.REJECTED),
    (E.ABANDONED, UNDERWAY | {S.ACKNOWLEDGED}, S.ABANDONED),
    (E.APPREC_OK, UNDERWAY | TRANSPORT, S.RECEIVED),
    (E.APPREC_PARTIAL, UNDERWAY | TRANSPORT | {S.RECEIVED}, S.RECEIVED_IN_PART),
    (E.APPREC_REJECTED, UNDERWAY | TRANSPORT | {S.RECEIVED, S.RECEIVED_IN_PART}, S.REFUSED),
    (E.SCHEMA_REJECTED, UNDERWAY | TRANSPORT | (ANSWERED - {S.REFUSED}), S.REFUSED),
    (E.CONTENT_ERRORS, UNDERWAY | TRANSPORT | (RECEIPT - {S.REFUSED}) | {S.ACCEPTED}, S.CONTENT_ERRORS),
    (E.CONTENT_CLEAN, UNDERWAY | TRANSPORT | (RECEIPT - {S.REFUSED}), S.ACCEPTED),
)
# Events that say less than what is known already, or the same again: kept, and nothing changes.
_LATE: Final[tuple[tuple[Event, frozenset[State]], ...]] = (
    (E.APPROVE, frozenset({S.APPROVED})),
    (E.DOUBT, frozenset({S.IN_DOUBT}) | SENT),
    (E.NOT_HANDED_OVER, frozenset({S.NOT_SENT})),
    (E.HANDED_OVER, SENT),
    (E.ACKNOWLEDGED, frozenset({S.ACKNOWLEDGED}) | ANSWERED),
    (E.REJECTED, frozenset({S.REJECTED}) | ANSWERED),
    (E.ABANDONED, frozenset({S.ABANDONED, S.REJECTED}) | ANSWERED),
    (E.APPREC_OK, frozenset({S.RECEIVED}) | CONTENT),
    (E.APPREC_PARTIAL, frozenset({S.RECEIVED_IN_PART}) | CONTENT),
    (E.APPREC_REJECTED, frozenset({S.REFUSED})),
    (E.SCHEMA_REJECTED, frozenset({S.REFUSED})),
    (E.CONTENT_ERRORS, frozenset({S.CONTENT_ERRORS})),
    (E.CONTENT_CLEAN, frozenset({S.ACCEPTED})),
)


def _table() -> Mapping[tuple[State, Event], State]:
    late = {(state, event): state for event, states in _LATE for state in states}
    taken = {(state, event): to for event, states, to in _TAKEN for state in states}
    return MappingProxyType(late | taken)


TRANSITIONS: Final = _table()
"""(state, event) -> state after it. A state that stays the same is an event that comes late or twice."""


class IllegalStep(Exception):
    """An event that cannot happen in a state. Carries both and nothing else."""

    def __init__(self, state: State, event: Event) -> None:
        super().__init__(f"{event.value} cannot happen to a part that is {state.value}")
        self.state = state
        self.event = event


def stands_without(begins: Iterable[tuple[Event, State]]) -> State:
    """Where a part stands if its newest hand-over certainly came to nothing.

    begins: its BEGIN and RESEND events, newest first, each with the state before it. Without a resend that is NOT_SENT.
    A resend leaves what was certain before it; one of a part in doubt leaves the doubt, since what a channel says of
    the newest try does not settle an earlier one.
    """
    doubt = False
    for event, before in begins:
        if event is E.RESEND and before is not S.IN_DOUBT:
            return before
        if event is not E.RESEND:
            break
        doubt = True
    return S.IN_DOUBT if doubt else S.NOT_SENT


def last_answer(begins: Iterable[tuple[Event, State]]) -> State | None:
    """What the register had said of a part before it was sent again; begins: as for ``stands_without``."""
    return next((before for event, before in begins if event is E.RESEND and before in ANSWERED), None)


def step(state: State, event: Event, without: State = State.NOT_SENT, answered: State | None = None) -> State:
    """The state after an event; the same state where the event says nothing new. Raises IllegalStep.

    without: where the part stands without its newest hand-over (``stands_without``). answered: what the register had
    said before the part was sent again (``last_answer``).
    """
    if event in FAILURES - {E.NOT_HANDED_OVER} and answered and state not in ANSWERED and (state, event) in TRANSITIONS:
        return answered  # the transport failed with the copy; what the register has is what it has
    if event is E.NOT_HANDED_OVER and without is not S.NOT_SENT and state in OPEN | SENT:
        # An answer to an earlier try may have come while the resend failed: it stays.
        return without if state in OPEN else state
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalStep(state, event) from None


# Of several parts the one that needs a person first speaks for all, then the one that is least far.
_ORDER: Final = (
    S.IN_DOUBT,
    S.REFUSED,
    S.REJECTED,
    S.ABANDONED,
    S.CONTENT_ERRORS,
    S.RECEIVED_IN_PART,
    S.NOT_SENT,
    S.HANDING_OVER,
    S.RESERVED,
    S.PREPARED,
    S.APPROVED,
    S.HANDED_OVER,
    S.ACKNOWLEDGED,
    S.RECEIVED,
    S.ACCEPTED,
)
_RANK: Final = {state: rank for rank, state in enumerate(_ORDER)}


def together(states: Iterable[State]) -> State:
    """The state of a message or submission made of parts in these states (at least one)."""
    return min(states, key=_RANK.__getitem__)


def is_worse(state: State, found: State) -> bool:
    """Whether an answer of the register is worse than the one that was known before. What is no answer never is."""
    return state in ANSWERED and _RANK[state] < _RANK[found]


SILENCE_HOURS: Final = (24, 48, 72)
"""Norsk helsenett's transport gives up after 72 hours (nhn-transport.md 3.2); before that silence proves nothing."""
_WAITING: Final = frozenset({S.HANDED_OVER, S.ACKNOWLEDGED})


def silent_for(state: State, handed_over_at: dt.datetime | None, now: dt.datetime) -> int:
    """Hours of silence that were passed: 0, 24, 48 or 72. Not 0 only for what left and has no answer of the register.

    A transport acknowledgement is no answer: it says that the mail arrived, not that the register read it. Silence is
    never acceptance, since the register's schema feedback comes only when it refuses.
    """
    if state not in _WAITING or handed_over_at is None:
        return 0
    waited = (now - handed_over_at) / dt.timedelta(hours=1)
    return max((hours for hours in SILENCE_HOURS if waited >= hours), default=0)
