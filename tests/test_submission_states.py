"""The life of a part as a table a domain person can read, and what holds for every history."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.submission_states import (
    ANSWERED,
    BAD,
    BEGINS,
    OPEN,
    OURS,
    SENDABLE,
    SENT,
    TRANSITIONS,
    Event,
    IllegalStep,
    State,
    last_answer,
    silent_for,
    stands_without,
    step,
    together,
)

# before, event, after ("-": refused). One line for each thing that is worth saying.
SPEC = """
reserved          seal              prepared
prepared          seal              prepared
approved          seal              prepared
handing_over      seal              -
prepared          approve           approved
handed_over       approve           -
approved          void              prepared
prepared          begin             handing_over
approved          begin             handing_over
not_sent          begin             handing_over
reserved          begin             -
in_doubt          begin             -
handing_over      begin             -
handed_over       begin             -
handing_over      not_handed_over   not_sent
in_doubt          not_handed_over   not_sent
handed_over       not_handed_over   -
handing_over      doubt             in_doubt
handing_over      handed_over       handed_over
in_doubt          handed_over       handed_over
not_sent          handed_over       -
received          handed_over       received
in_doubt          resend            handing_over
handed_over       resend            handing_over
refused           resend            handing_over
accepted          resend            -
prepared          resend            -
not_sent          resend            -
handed_over       acknowledged      acknowledged
handed_over       acknowledged      acknowledged
abandoned         acknowledged      acknowledged
rejected          acknowledged      -
received          acknowledged      received
acknowledged      rejected          rejected
received          rejected          received
acknowledged      abandoned         abandoned
handing_over      apprec_ok         received
in_doubt          apprec_ok         received
not_sent          apprec_ok         received
acknowledged      apprec_ok         received
rejected          apprec_ok         received
prepared          apprec_ok         -
received          apprec_rejected   refused
refused           apprec_ok         -
accepted          apprec_rejected   -
acknowledged      apprec_partial    received_in_part
received_in_part  apprec_ok         -
received          schema_rejected   refused
accepted          schema_rejected   refused
received          content_errors    content_errors
accepted          content_errors    content_errors
content_errors    content_clean     -
received          content_clean     accepted
handed_over       content_clean     accepted
refused           content_clean     -
accepted          apprec_ok         accepted
"""


@pytest.mark.parametrize("line", SPEC.strip().splitlines())
def test_an_event_in_a_state(line: str) -> None:
    before, event, after = line.split()
    if after == "-":
        with pytest.raises(IllegalStep):
            step(State(before), Event(event))
    else:
        assert step(State(before), Event(event)) is State(after)


class Life:
    """A part and its hand-overs, as the ledger keeps them."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.begins: list[tuple[Event, State]] = []

    def happens(self, event: Event) -> State:
        after = step(self.state, event, stands_without(self.begins), last_answer(self.begins))
        if event in BEGINS:
            self.begins.insert(0, (event, self.state))
        self.state = after
        return after


# Before a resend, what becomes of it, after. What certainly did not go leaves the part where it stood.
RESENDS = """
handed_over     not_handed_over                   handed_over
acknowledged    not_handed_over                   acknowledged
rejected        not_handed_over                   rejected
received        not_handed_over                   received
content_errors  not_handed_over                   content_errors
in_doubt        not_handed_over                   in_doubt
handed_over     doubt                             in_doubt
handed_over     doubt not_handed_over             handed_over
handed_over     doubt resend not_handed_over      handed_over
in_doubt        doubt not_handed_over             in_doubt
in_doubt        doubt resend not_handed_over      in_doubt
in_doubt        not_handed_over not_handed_over   in_doubt
in_doubt        not_handed_over handed_over       handed_over
handed_over     handed_over                       handed_over
handed_over     apprec_ok not_handed_over         received
received        handed_over                       handed_over
received        rejected                          received
received        handed_over rejected              received
received        handed_over abandoned             received
received        doubt rejected                    received
received        handed_over resend rejected       received
content_errors  handed_over acknowledged rejected content_errors
received        handed_over apprec_rejected       refused
handed_over     rejected                          rejected
acknowledged    handed_over rejected              rejected
in_doubt        rejected                          rejected
"""


@pytest.mark.parametrize("line", RESENDS.strip().splitlines())
def test_a_resend_that_did_not_go_takes_nothing_back(line: str) -> None:
    before, *events, after = line.split()
    life = Life(State.APPROVED)
    life.happens(Event.BEGIN)
    life.state = State(before)
    for event in ("resend", *events):
        life.happens(Event(event))
    assert life.state is State(after)


def test_a_first_try_that_did_not_go_may_go_again() -> None:
    life = Life(State.APPROVED)
    for event in (Event.BEGIN, Event.DOUBT, Event.NOT_HANDED_OVER, Event.BEGIN, Event.NOT_HANDED_OVER):
        life.happens(event)
    assert life.state is State.NOT_SENT


@given(st.lists(st.sampled_from(Event), max_size=30))
def test_every_history_keeps_what_was_certain(events: list[Event]) -> None:
    life, begun = Life(State.RESERVED), False
    for event in events:
        state = life.state
        try:
            after = life.happens(event)
        except IllegalStep:
            continue
        begun = begun or event is Event.BEGIN
        assert after in OURS or begun  # nothing is under way or answered that never began
        if state in SENT and event is not Event.RESEND:
            assert after in SENT  # what left stays left
        if state in OPEN and after in SENDABLE:
            assert event is Event.NOT_HANDED_OVER  # doubt ends in sending again by certainty only
            assert life.begins[0][0] is Event.BEGIN  # and never after a deliberate resend
        if state in BAD and after in {State.RECEIVED, State.ACCEPTED}:
            assert state in {State.ABANDONED, State.REJECTED, State.RECEIVED_IN_PART}


@pytest.mark.parametrize("state", State)
def test_the_same_event_twice_says_nothing_new(state: State) -> None:
    for event in Event:
        if event in {Event.BEGIN, Event.RESEND, Event.VOID} or (state, event) not in TRANSITIONS:
            continue
        after = step(state, event)
        assert step(after, event) is after


def test_the_groups_of_states_share_none() -> None:
    assert OURS | OPEN | {State.NOT_SENT} | SENT == set(State)
    assert not OURS & SENT
    assert not OPEN & SENT
    assert ANSWERED < SENT


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (["accepted", "accepted"], "accepted"),
        (["accepted", "received"], "received"),
        (["handed_over", "refused"], "refused"),
        (["accepted", "in_doubt", "refused"], "in_doubt"),
        (["prepared", "approved"], "prepared"),
        (["handed_over", "not_sent"], "not_sent"),
    ],
)
def test_the_part_that_needs_a_person_speaks_for_all(states: list[str], expected: str) -> None:
    assert together(map(State, states)) is State(expected)


@pytest.mark.parametrize(
    ("state", "hours", "silent"),
    [
        ("handed_over", 23.99, 0),
        ("handed_over", 24, 24),
        ("handed_over", 47.99, 24),
        ("handed_over", 48, 48),
        ("acknowledged", 71.99, 48),
        ("acknowledged", 72, 72),
        ("acknowledged", 1000, 72),
        ("received", 1000, 0),
        ("accepted", 1000, 0),
        ("prepared", 1000, 0),
        ("in_doubt", 1000, 0),
    ],
)
def test_silence_is_a_state_and_no_acceptance(state: str, hours: float, silent: int) -> None:
    sent_at = dt.datetime(2020, 5, 5, 9, 0, tzinfo=dt.UTC)
    assert silent_for(State(state), sent_at, sent_at + dt.timedelta(hours=hours)) == silent


def test_nothing_is_silent_that_never_left() -> None:
    assert silent_for(State.HANDED_OVER, None, dt.datetime(2020, 5, 5, tzinfo=dt.UTC)) == 0
