"""What may leave, when, and what becomes of it: approval, validation first, guard, doubt, resend, two at once."""

from __future__ import annotations

import datetime as dt
import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from channels import dressed
from conftest import Finished, call
from ledgers import M02, NOW, T1, begin, prepared, sent, settings

from assets.dispatch import hand_over, settle, submit
from assets.permits import insist_approved, insist_last_word, insist_validated
from assets.ports import Channels, InDoubt, Note, NotHandedOver, Run
from assets.program import code_digest, rules_digest
from assets.stages import _without_values
from pipelines.channels import OutboxFolder
from pipelines.commands.sending import told_of
from pipelines.commands.status import table
from pipelines.exchange import sending
from pipelines.home.store import DiskStore
from pipelines.ledger.book import SqlLedger, ledger_of
from pipelines.ledger.tables import submissions
from pipelines.scheduling.status import status
from schemas.decisions import DecisionKind
from schemas.errors import DataRefused, WrongUse, of_system
from schemas.records import Manifest, RulingOut, ShipmentOut
from schemas.sending import Presence, Receipt, SentPart, TransportState
from schemas.submission_states import Event, State

OUT = '[channels.out]\nkind = "outbox"\nprofiles = ["validation", "production"]\n'


class Wire:
    """A channel to a receiver in memory that counts what arrives, and fails as it is told to."""

    def __init__(self, name: str = "wire") -> None:
        self.name = name
        self.arrived: list[tuple[str, bytes]] = []
        self.fails: list[BaseException] = []
        self.before = False
        self.silent = False

    def hand_over(self, part: ShipmentOut, path: Path, manifest: Manifest) -> Receipt:
        failure = self.fails.pop(0) if self.fails else None
        if failure and self.before:
            raise failure
        assert manifest.submission
        self.arrived.append((part.msg_id, path.read_bytes()))
        if failure:
            raise failure
        return Receipt(reference=f"wire-{part.msg_id}", at=NOW)

    def ask(self, part: SentPart) -> TransportState:
        if self.silent:
            return TransportState(presence=Presence.UNKNOWN)
        there = part.msg_id in {msg_id for msg_id, _ in self.arrived}
        return TransportState(presence=Presence.THERE if there else Presence.ABSENT)


@pytest.fixture
def ledger(home: Path) -> SqlLedger:
    return ledger_of(home)


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def run(home: Path, wire: Wire) -> Run:
    return _run(home, wire, "rehearsal")


def _run(home: Path, wire: Wire, profile: str) -> Run:
    made = sending.run_of(settings(home, channels=OUT), T1, profile)  # type: ignore[arg-type]
    return replace(made, channel=_always(wire), guard=_content)


def _always(wire: Wire) -> Channels:
    def channel(name: str = "") -> Wire:
        assert name in {"", wire.name}
        return wire

    return channel


def _content(manifest: Manifest) -> None:
    """A guard that finds nothing."""
    assert manifest.shipments


def _states(run: Run, number: int = 1) -> list[str]:
    return [part.state.value for part in run.ledger.parts(T1, number)]


# --- once -------------------------------------------------------------------------------------------------------------


def test_every_part_leaves_once_however_often_it_is_asked_for(
    home: Path, ledger: SqlLedger, run: Run, wire: Wire
) -> None:
    manifest = prepared(ledger, home)
    first = submit(run, 1)
    assert submit(run, 1) == first
    assert [msg_id for msg_id, _ in wire.arrived] == [part.msg_id for part in manifest.shipments]
    assert first.files == {part.path: f"wire-{part.msg_id}" for part in manifest.shipments}
    assert _states(run) == ["handed_over", "handed_over"]


def test_what_certainly_did_not_leave_goes_the_next_time(home: Path, ledger: SqlLedger, run: Run, wire: Wire) -> None:
    prepared(ledger, home)
    wire.fails, wire.before = [NotHandedOver("no line", retryable=True)], True
    with pytest.raises(NotHandedOver):
        submit(run, 1)
    assert _states(run) == ["not_sent", "prepared"]
    submit(run, 1)
    assert len(wire.arrived) == len({msg_id for msg_id, _ in wire.arrived}) == 2


@pytest.mark.parametrize("failure", [InDoubt("the line broke"), TimeoutError("x"), RuntimeError("x")])
@pytest.mark.parametrize("arrived", [True, False])
def test_doubt_is_settled_by_asking_and_never_by_sending(
    home: Path, ledger: SqlLedger, run: Run, wire: Wire, failure: Exception, *, arrived: bool
) -> None:
    prepared(ledger, home)
    wire.fails, wire.before, wire.silent = [failure], not arrived, True
    with pytest.raises(type(failure)):
        submit(run, 1)
    assert _states(run) == ["in_doubt", "prepared"]
    count = len(wire.arrived)
    for _ in range(3):
        with pytest.raises(InDoubt, match="not sent again"):
            submit(run, 1)
    assert len(wire.arrived) == count
    wire.silent = False
    submit(run, 1)
    assert _states(run) == ["handed_over", "handed_over"]
    assert len(wire.arrived) == len({msg_id for msg_id, _ in wire.arrived}) == 2


def test_a_process_that_died_in_the_act_leaves_doubt_and_nothing_else(
    home: Path, ledger: SqlLedger, run: Run, wire: Wire
) -> None:
    prepared(ledger, home)
    wire.fails, wire.silent = [KeyboardInterrupt()], True
    with pytest.raises(KeyboardInterrupt):
        submit(run, 1)
    assert _states(run) == ["handing_over", "prepared"]
    part = settle(run, ledger.parts(T1, 1)[0])
    assert part.state is State.IN_DOUBT


def test_bytes_that_are_not_those_of_the_ledger_do_not_leave(
    home: Path, ledger: SqlLedger, run: Run, wire: Wire
) -> None:
    manifest = prepared(ledger, home)
    path = run.store.shipments(T1, 1) / manifest.shipments[1].path
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(DataRefused, match="not the file the manifest names"):
        submit(run, 1)
    assert wire.arrived == []


# --- what must hold before --------------------------------------------------------------------------------------------


def test_production_waits_for_validation_and_approval(home: Path, ledger: SqlLedger, wire: Wire) -> None:
    prepared(ledger, home, inputs="v", profile="validation", content="same")
    prepared(ledger, home, inputs="p", profile="production", content="same")
    run, given = _run(home, wire, "production"), settings(home, "production", OUT)
    with pytest.raises(DataRefused, match="it is prepared there"):
        submit(run, 2)
    for msg_id in sent(ledger, _manifest(run, 1)):
        ledger.record(msg_id, Event.CONTENT_CLEAN, Note("test", NOW))
    with pytest.raises(DataRefused, match="waits for approval"):
        submit(run, 2)
    sending.approve(given, T1, "Kari Nordmann", None, "")
    assert _states(run, 2) == ["approved", "approved"]
    sending.approve(given, T1, "Kari Nordmann", None, "", withdraw=True)
    with pytest.raises(DataRefused, match="waits for approval"):
        submit(run, 2)
    assert wire.arrived == []
    sending.approve(given, T1, "Ola Nordmann", 2, "")
    submit(run, 2)
    assert _states(run, 2) == ["handed_over", "handed_over"]
    with pytest.raises(DataRefused, match="too late"):
        sending.approve(given, T1, "Kari Nordmann", 2, "", withdraw=True)


def _manifest(run: Run, number: int) -> Manifest:
    path = run.store.shipments(T1, number) / "manifest.json"
    return Manifest.model_validate_json(path.read_bytes())


def test_a_changed_hash_voids_the_approval(home: Path, ledger: SqlLedger, wire: Wire) -> None:
    prepared(ledger, home, inputs="p", profile="production")
    given, run = settings(home, "production", OUT), _run(home, wire, "production")
    sending.approve(given, T1, "Kari Nordmann", None, "")
    for msg_id in sent(ledger, prepared(ledger, home, inputs="v", profile="validation")):
        ledger.record(msg_id, Event.CONTENT_ERRORS, Note("test", NOW))
    sending.accept(settings(home, "validation", OUT), T1, "Kari Nordmann", None, "known")
    folder = run.store.shipments(T1, 1)
    changed = _manifest(run, 1).model_copy(update={"findings": {"report_only": 1}})
    (folder / "manifest.json").write_text(changed.model_dump_json(), encoding="utf-8")
    ledger.seal(changed, NOW)
    assert _states(run) == ["prepared", "prepared"]
    with pytest.raises(DataRefused, match="has changed since it was approved"):
        submit(run, 1)
    assert wire.arrived == []


def test_a_newer_program_voids_no_approval(home: Path, ledger: SqlLedger, wire: Wire) -> None:
    """The digests of the program stand in the manifest and are no part of what is approved."""
    prepared(ledger, home, inputs="p", profile="production")
    given, run = settings(home, "production", OUT), _run(home, wire, "production")
    sending.approve(given, T1, "Kari Nordmann", None, "")
    older = _manifest(run, 1)
    newer = older.model_copy(update={"code_sha256": "1" * 64, "rules_sha256": "2" * 64})
    assert (newer.sealed(), newer.content) == (older.sealed(), older.content)
    ledger.seal(newer, NOW)
    assert _states(run) == ["approved", "approved"]
    insist_approved(run, newer)
    bare = older.model_dump(mode="json", exclude={"code_sha256", "rules_sha256"})
    assert Manifest.model_validate(bare) == older, "a manifest of an older program is read"


def test_an_acceptance_speaks_of_one_content(home: Path, ledger: SqlLedger, wire: Wire) -> None:
    given, run = settings(home, "production", OUT), _run(home, wire, "production")
    validation = prepared(ledger, home, inputs="v", profile="validation", content="old")
    with pytest.raises(DataRefused, match="nothing was found yet"):
        sending.accept(given, T1, "Kari Nordmann", None, "known")
    for msg_id in sent(ledger, validation):
        ledger.record(msg_id, Event.CONTENT_ERRORS, Note("test", NOW))
    sending.accept(given, T1, "Kari Nordmann", None, "known since 2019")
    for number, content in ((2, "old"), (3, "new")):
        prepared(ledger, home, inputs=content, profile="production", content=content)
        sending.approve(given, T1, "Kari Nordmann", number, "")
    with pytest.raises(DataRefused, match="has not come back clean"):
        submit(run, 3)
    submit(run, 2)
    assert _states(run, 2) == ["handed_over", "handed_over"]


NO_ANSWER: dict[str, tuple[Event, ...]] = {
    "handed over": (),
    "confirmed by the transport": (Event.ACKNOWLEDGED,),
    "refused by the transport": (Event.REJECTED,),
    "given up by the transport": (Event.ABANDONED,),
}
ANSWERS: dict[str, tuple[Event, ...]] = {
    "received": (Event.APPREC_OK,),
    "received in part": (Event.APPREC_PARTIAL,),
    "refused": (Event.APPREC_REJECTED,),
    "refused by the schema check": (Event.SCHEMA_REJECTED,),
    "errors in the content": (Event.CONTENT_ERRORS,),
}


@pytest.mark.parametrize("second", NO_ANSWER.values(), ids=NO_ANSWER)
def test_what_nobody_answered_cannot_be_accepted(home: Path, ledger: SqlLedger, second: tuple[Event, ...]) -> None:
    """Not even when another part of the submission was answered, nor after any silence."""
    ord_, ide = sent(ledger, prepared(ledger, home, profile="validation"))
    ledger.record(ord_, Event.CONTENT_ERRORS, Note("test", NOW))
    for event in second:
        ledger.record(ide, event, Note("test", NOW))
    with pytest.raises(DataRefused, match="nothing was found yet") as refused:
        sending.accept(settings(home, "validation", OUT), T1, "Kari Nordmann", None, "known")
    assert (refused.value.where.startswith("ide 1: "), "npr inbox" in refused.value.fix) == (True, True)
    assert ledger.decisions(T1) == []


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_every_answer_can_be_accepted_and_is_written_down(
    home: Path, ledger: SqlLedger, wire: Wire, answer: tuple[Event, ...]
) -> None:
    ids = sent(ledger, prepared(ledger, home, profile="validation"))
    for msg_id in ids:
        for event in answer:
            ledger.record(msg_id, event, Note("test", NOW))
    decision, _ = sending.accept(settings(home, "validation", OUT), T1, "Kari Nordmann", None, "known")
    assert ledger.decisions(T1, DecisionKind.ACCEPT) == [decision]
    assert decision.found == {part.place: part.state for part in ledger.parts(T1, 1)}
    insist_validated(_run(home, wire, "production"), prepared(ledger, home, inputs="p", profile="production"))


# What was accepted of both parts, what is said of the second one afterwards, and whether the acceptance falls.
AFTERWARDS = [
    (Event.APPREC_OK, Event.CONTENT_ERRORS, True),
    (Event.APPREC_OK, Event.SCHEMA_REJECTED, True),
    (Event.APPREC_PARTIAL, Event.CONTENT_ERRORS, True),
    (Event.CONTENT_ERRORS, Event.SCHEMA_REJECTED, True),
    (Event.CONTENT_ERRORS, Event.CONTENT_ERRORS, False),
    (Event.CONTENT_ERRORS, Event.APPREC_PARTIAL, False),
    (Event.APPREC_PARTIAL, Event.CONTENT_CLEAN, False),
    (Event.APPREC_REJECTED, Event.APPREC_REJECTED, False),
]


@pytest.mark.parametrize(("before", "after", "falls"), AFTERWARDS)
def test_a_worse_answer_voids_the_acceptance(
    home: Path, ledger: SqlLedger, wire: Wire, before: Event, after: Event, *, falls: bool
) -> None:
    ids = sent(ledger, prepared(ledger, home, profile="validation"))
    for msg_id in ids:
        ledger.record(msg_id, before, Note("test", NOW))
    production = prepared(ledger, home, inputs="p", profile="production")
    given, run = settings(home, "validation", OUT), _run(home, wire, "production")
    sending.accept(given, T1, "Kari Nordmann", None, "known")
    insist_validated(run, production)
    ledger.record(ids[1], after, Note("test", NOW))
    if not falls:
        insist_validated(run, production)
        return
    with pytest.raises(DataRefused, match=r"ide 1 became \w+ there after a person took on \w+"):
        insist_validated(run, production)
    sending.accept(given, T1, "Kari Nordmann", None, "known as well")
    insist_validated(run, production)


def test_one_more_part_with_errors_voids_it_though_the_whole_had_errors_before(
    home: Path, ledger: SqlLedger, wire: Wire
) -> None:
    first, second = sent(ledger, prepared(ledger, home, profile="validation"))
    ledger.record(first, Event.CONTENT_ERRORS, Note("test", NOW))
    ledger.record(second, Event.CONTENT_CLEAN, Note("test", NOW))
    sending.accept(settings(home, "validation", OUT), T1, "Kari Nordmann", None, "known")
    ledger.record(second, Event.CONTENT_ERRORS, Note("test", NOW))
    with pytest.raises(DataRefused, match="ide 1 became content_errors there"):
        insist_validated(_run(home, wire, "production"), prepared(ledger, home, inputs="p", profile="production"))


def test_a_refusal_before_the_accepted_attempt_voids_nothing(home: Path, ledger: SqlLedger, wire: Wire) -> None:
    """Of one content: the first attempt was refused, errors of the second were accepted, the third is refused."""
    run, given = _run(home, wire, "production"), settings(home, "validation", OUT)
    production = prepared(ledger, home, inputs="p", profile="production")
    answers = {"first": Event.APPREC_REJECTED, "second": Event.CONTENT_ERRORS, "third": Event.APPREC_REJECTED}
    for inputs, event in answers.items():
        for msg_id in sent(ledger, prepared(ledger, home, inputs=inputs, profile="validation")):
            ledger.record(msg_id, event, Note("test", NOW))
        if inputs == "second":
            sending.accept(given, T1, "Kari Nordmann", None, "known")
            insist_validated(run, production)
    with pytest.raises(DataRefused, match="ord 1 became refused there after a person took on content_errors"):
        insist_validated(run, production)


@pytest.mark.parametrize("profile", ["validation", "production"])
def test_without_a_guard_nothing_goes_to_the_register(home: Path, ledger: SqlLedger, wire: Wire, profile: str) -> None:
    prepared(ledger, home, profile=profile)
    run = _run(home, wire, profile)

    def broken(_: Manifest) -> None:
        raise ZeroDivisionError

    with pytest.raises(DataRefused, match="has not been made"):
        submit(replace(run, guard=None), 1)
    with pytest.raises(ZeroDivisionError):
        submit(replace(run, guard=broken), 1)
    assert (wire.arrived, _states(run)) == ([], ["prepared", "prepared"])


def test_a_dated_requirement_stops_all_but_a_rehearsal(home: Path, ledger: SqlLedger, wire: Wire) -> None:
    ruling = RulingOut(requirement="REQ", module="ord", verdict="stop", since=None, text="REQ: no")
    for profile, number in (("rehearsal", 1), ("validation", 2)):
        manifest = prepared(ledger, home, profile=profile).model_copy(update={"rulings": (ruling,)})
        path = DiskStore(home).shipments(T1, number) / "manifest.json"
        path.write_text(manifest.model_dump_json(), encoding="utf-8")
    submit(_run(home, wire, "rehearsal"), 1)
    with pytest.raises(DataRefused, match="dated requirements"):
        submit(_run(home, wire, "validation"), 2)
    assert len(wire.arrived) == 2


# --- resume and resend ------------------------------------------------------------------------------------------------


def test_resume_says_what_is_certain_and_sends_nothing(home: Path, ledger: SqlLedger, run: Run, wire: Wire) -> None:
    prepared(ledger, home)
    wire.fails = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        submit(replace(run, channel=_always(wire)), 1)
    found = sending.resume(settings(home), NOW)
    (row,) = found["in_doubt"]
    assert "wire took a part before and is no longer there to be asked" in found["asked"][0]["not_told"]
    assert (row["module"], row["state"]) == ("ord", "handing_over")
    outcome = call("resume", "--json", home=home)
    assert outcome.code == 1, outcome.err  # what watches by exit codes hears of it
    assert outcome.json["in_doubt"][0]["msg_id"] == row["msg_id"]
    assert "In doubt: not sent again by itself" in call("resume", home=home).out
    assert len(wire.arrived) == 1
    settle(replace(run, channel=_always(wire)), ledger.part(row["msg_id"]))
    assert call("resume", "--json", home=home).code == 0


@pytest.mark.parametrize("command", [("resume",), ("audit",), ("audit", "--verify")])
def test_of_a_unit_that_nobody_knows_nothing_is_told(home: Path, ledger: SqlLedger, command: tuple[str, ...]) -> None:
    """One that was taken out of npr.toml stays readable, and one of which nothing was made yet is known."""
    begin(ledger, prepared(ledger, home))
    assert call(*command, "--unit", "sorvik", home=home).code == 0, "nothing was made of it yet"
    outcome = call(*command, "--unit", "nosuch", home=home)
    assert (outcome.code, "no unit 'nosuch' in" in outcome.err) == (2, True)
    assert "units are nordfjell, sorvik" in outcome.err
    with ledger._database.writing("test") as connection:
        connection.execute(sa.update(submissions).values(unit="closed"))
    outcome = call(*command, "--unit", "closed", "--json", home=home)
    assert outcome.code == int(command == ("resume",)), "in doubt, and nobody can be asked"
    if command == ("resume",):
        assert [row["state"] for row in outcome.json["in_doubt"]] == ["handing_over"] * 2


@pytest.mark.parametrize(("hours", "silent"), [(23, 0), (24, 24), (47, 24), (48, 48), (71, 48), (72, 72), (900, 72)])
def test_silence_is_told_in_hours_and_is_no_acceptance(home: Path, ledger: SqlLedger, hours: int, silent: int) -> None:
    first, second = sent(ledger, prepared(ledger, home))
    ledger.record(second, Event.CONTENT_CLEAN, Note("test", NOW))
    given, now = settings(home), NOW + dt.timedelta(hours=hours)
    found = sending.resume(given, now)
    assert [(row["msg_id"], row["silent"]) for row in found["waiting"]] == [(first, silent)]
    assert found["states"] == {"handed_over": 1, "accepted": 1}
    assert (f"Unanswered for {silent} hours" in told_of(found)) == bool(silent)
    cells = {cell.module: cell for cell in status(given, now).cells if (cell.period, cell.number) == (T1.period, 1)}
    assert cells["ord"].text == (f"unanswered for {silent} hours" if silent else "sent")
    assert (cells["ide"].text, cells["ide"].silent) == ("accepted", 0)
    assert (f"unanswered for {silent} hours" in table(list(cells.values()))) == bool(silent)


def test_a_hand_over_that_only_the_transport_proves_is_silent_from_then_on(home: Path, ledger: SqlLedger) -> None:
    msg_id = begin(ledger, prepared(ledger, home, modules=("ord",)))[0]
    ledger.record(msg_id, Event.ACKNOWLEDGED, Note("inbox", NOW))
    (row,) = sending.resume(settings(home), NOW + dt.timedelta(hours=50))["waiting"]
    assert (row["state"], row["silent"]) == ("acknowledged", 48)


def test_forced_resends_are_byte_identical(home: Path, ledger: SqlLedger, run: Run, wire: Wire) -> None:
    """A hundred here, a thousand in ``benchmarks/kills.py``."""
    manifest = prepared(ledger, home, modules=("ord",))
    submit(run, 1)
    (file,) = manifest.shipments
    folder = run.store.shipments(T1, 1)
    assert ledger.claim(T1, 1, run.owner, dt.datetime.now(dt.UTC))
    for _ in range(100):
        hand_over(run, wire, manifest, file, folder, Event.RESEND, Note("Kari Nordmann", NOW, detail="no answer"))
    assert len(wire.arrived) == 101
    assert {(file.msg_id, (folder / file.path).read_bytes())} == set(wire.arrived)
    assert ledger.part(file.msg_id).attempts == 101


def test_a_resend_is_recorded_with_who_and_why(
    home: Path, ledger: SqlLedger, run: Run, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "run_of", lambda *_: run)
    manifest = prepared(ledger, home)
    msg_id = manifest.shipments[0].msg_id
    with pytest.raises(DataRefused, match="has not left"):
        sending.resend(settings(home), msg_id, "Kari Nordmann", "no answer")
    submit(run, 1)
    part = sending.resend(settings(home), msg_id, "Kari Nordmann", "no answer")
    assert (part.attempts, part.state) == (2, State.HANDED_OVER)
    assert wire.arrived[0] == wire.arrived[-1]
    (decision,) = ledger.decisions(T1, DecisionKind.RESEND)
    assert (decision.by, decision.why, decision.content) == ("Kari Nordmann", "no answer", part.packed_sha256)
    assert [one.by for one in ledger.events(msg_id) if one.event is Event.RESEND] == ["Kari Nordmann"]


def test_a_refused_resend_leaves_no_decision_and_no_byte_leaves_before_it(
    home: Path, ledger: SqlLedger, run: Run, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "run_of", lambda *_: run)
    msg_id = prepared(ledger, home, modules=("ord",)).shipments[0].msg_id
    submit(run, 1)
    seen: list[int] = []

    def hand_over_seeing(part: ShipmentOut, path: Path, manifest: Manifest) -> Receipt:
        seen.append(len(ledger.decisions(T1, DecisionKind.RESEND)))
        return Wire.hand_over(wire, part, path, manifest)

    monkeypatch.setattr(wire, "hand_over", hand_over_seeing)
    sending.resend(settings(home), msg_id, "Kari Nordmann", "no answer")
    assert seen == [1]
    ledger.record(msg_id, Event.CONTENT_CLEAN, Note("inbox", NOW))
    with pytest.raises(DataRefused, match="resend cannot happen to a part that is accepted"):
        sending.resend(settings(home), msg_id, "Kari Nordmann", "no answer")
    assert (len(seen), len(ledger.decisions(T1, DecisionKind.RESEND))) == (1, 1)


def test_a_resend_that_does_not_go_takes_nothing_back(
    home: Path, ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder cannot be written to while a person sends again what lies there already."""
    manifest = dressed(prepared(ledger, home, modules=("ord",)), DiskStore(home))
    ledger.seal(manifest, NOW)
    drop = home.parent / "drop"
    given = settings(home, channels=f'[channels.drop]\nkind = "folder"\npath = "{drop}"\nprofiles = ["rehearsal"]\n')
    run = replace(sending.run_of(given, T1, "rehearsal"), guard=_content)
    monkeypatch.setattr(sending, "run_of", lambda *_: run)
    msg_id = manifest.shipments[0].msg_id
    sending.submit_to(given, T1, "rehearsal", None)
    before = ledger.part(msg_id)
    away = drop.rename(home.parent / "away")
    drop.write_text("a file where the folder was", encoding="utf-8")
    with pytest.raises(NotHandedOver):
        sending.resend(given, msg_id, "Kari Nordmann", "no answer")
    drop.unlink()
    away.rename(drop)
    files = sorted(drop.iterdir())
    _, (part,) = sending.submit_to(given, T1, "rehearsal", None)
    assert (part.state, part.attempts, part.reference) == (State.HANDED_OVER, 2, before.reference)
    assert sorted(drop.iterdir()) == files
    found = sending.resume(given, NOW)
    assert (found["to_send"], found["in_doubt"], found["states"]) == ([], [], {"handed_over": 1})


def test_after_a_resend_that_does_not_go_its_first_channel_is_asked(
    home: Path, ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In doubt at one line, sent again over another that refuses: the first one still knows whether it came."""
    msg_id = prepared(ledger, home, modules=("ord",)).shipments[0].msg_id
    lines = {"old": Wire("old"), "new": Wire("new")}
    chosen = ["old"]
    run = replace(
        sending.run_of(settings(home, channels=OUT), T1, "rehearsal"),
        channel=lambda name="": lines[name or chosen[0]],
        guard=_content,
    )
    monkeypatch.setattr(sending, "run_of", lambda *_: run)
    lines["old"].fails = [InDoubt("the line broke")]
    with pytest.raises(InDoubt):
        submit(run, 1)
    chosen[0] = "new"
    lines["new"].fails, lines["new"].before = [NotHandedOver("no line", retryable=True)], True
    with pytest.raises(NotHandedOver):
        sending.resend(settings(home), msg_id, "Kari Nordmann", "another line")
    assert (ledger.part(msg_id).state, ledger.part(msg_id).channel) == (State.IN_DOUBT, "old")
    assert lines["old"].arrived
    assert sending.resume(settings(home), NOW)["states"] == {"handed_over": 1}
    assert lines["new"].arrived == []


def test_a_resend_that_does_not_go_ends_no_doubt(
    home: Path, ledger: SqlLedger, run: Run, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "run_of", lambda *_: run)
    msg_id = prepared(ledger, home, modules=("ord",)).shipments[0].msg_id
    wire.fails, wire.before = [InDoubt("the line broke"), NotHandedOver("no line", retryable=True)], True
    for sends in (lambda: submit(run, 1), lambda: sending.resend(settings(home), msg_id, "Kari Nordmann", "nothing")):
        with pytest.raises(DataRefused):
            sends()
        assert _states(run) == ["in_doubt"]
    for _ in range(2):  # the channel says absent, which may be meant of the newest try alone
        with pytest.raises(InDoubt, match="not sent again"):
            submit(run, 1)
    assert [one.event for one in ledger.events(msg_id)][-2:] == [Event.RESEND, Event.NOT_HANDED_OVER]
    assert wire.arrived == []
    assert sending.resend(settings(home), msg_id, "Kari Nordmann", "nothing").state is State.HANDED_OVER


@pytest.mark.xdist_group("main_job")
def test_the_commands_on_a_real_report(finished: Finished) -> None:
    home = finished.home
    found = call("resume", "--period", "2020-T1", "--unit", "sorvik", "--json", home=home).json
    assert (found["in_doubt"], found["to_send"], found["states"]) == ([], [], {"handed_over": 3})
    assert call("resend", "nobody", "--because", "x", "--by", "Kari Nordmann", home=home).code == 1
    submitted = call("submit", "2020-T1", "--unit", "sorvik", "--to", "rehearsal", "--json", home=home)
    assert [part["attempts"] for part in submitted.json["parts"]] == [1, 1, 1]
    assert call("submit", "2020-T1", "--unit", "sorvik", "--to", "production", home=home).code == 1
    for command in ("approve", "accept"):
        because = ("--because", "known") if command == "accept" else ()
        outcome = call(command, "2020-T1", "--unit", "sorvik", "--by", "Kari Nordmann", *because, home=home)
        assert (outcome.code, "has no prepared submission of profile" in outcome.err) == (1, True)
    passport = call("passport", "2020-T1", "--unit", "sorvik", "--json", home=home).json
    assert passport["tables"]["episodes"]["reported"] == finished.unit("sorvik")["rows"]["episodes"]["reported"]
    assert (passport["code_sha256"], passport["rules_sha256"]) == (code_digest(), rules_digest())
    checked = call("passport", "verify", passport["file"], home=home)
    assert (checked.code, "whole" in checked.out) == (0, True)
    same = call("diff", "2020-T1", "1", "1", "--unit", "sorvik", "--json", home=home).json
    reported = {name: figures["reported"] for name, figures in passport["tables"].items()}
    assert same["rows"] == []
    assert {row["table"]: row["rows_after"] for row in same["totals"]} == {
        name: n for name, n in reported.items() if n and name not in {"patients", "units", "identities", "costs"}
    }
    assert call("audit", "--verify", "--json", home=home).json["whole"] is True
    lines = call("audit", "--unit", "sorvik", "--json", home=home).json
    assert [line["what"] for line in lines][:4] == ["seal", "seal", "seal", "prepared"]
    assert {line["unit"] for line in lines} == {"sorvik"}


def test_a_disk_that_says_no_is_no_bug(home: Path, ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "some/file")

    prepared(ledger, home)
    monkeypatch.setattr(sending, "submit", no)
    outcome = call("submit", "2020-T1", "--unit", "nordfjell", "--to", "rehearsal", home=home)
    assert (outcome.code, "Input/output error" in outcome.err, "where: some/file" in outcome.err) == (1, True, True)
    with pytest.raises(DataRefused, match="Input/output error"):
        _without_values(no, None)  # type: ignore[arg-type]
    assert of_system(OSError(errno.ENOENT, "x")) is None
    assert of_system(ValueError()) is None


# --- channels ---------------------------------------------------------------------------------------------------------


def test_the_outbox_becomes_visible_whole(home: Path, ledger: SqlLedger) -> None:
    manifest = prepared(ledger, home)
    store = DiskStore(home)
    outbox, folder = OutboxFolder(store), store.shipments(T1, 1)
    place = home / "outbox" / "2020-T1" / "nordfjell" / "0001"
    first, second = manifest.shipments
    outbox.hand_over(first, folder / first.path, manifest)
    assert not place.exists()
    assert outbox.ask(ledger.part(first.msg_id)).presence is Presence.ABSENT
    for _ in range(2):
        receipt = outbox.hand_over(second, folder / second.path, manifest)
    assert Path(receipt.reference).read_bytes() == (folder / second.path).read_bytes()
    assert sorted(path.name for path in place.iterdir()) == ["ide-001.eml", "manifest.json", "ord-001.eml"]
    for path in place.glob("*.eml"):  # someone takes them away
        path.unlink()
    assert outbox.ask(ledger.part(first.msg_id)).presence is Presence.THERE
    outbox.hand_over(first, folder / first.path, manifest)
    assert sorted(path.name for path in place.iterdir()) == ["manifest.json", "ord-001.eml"]
    (folder / "manifest.json").write_text("{}", encoding="utf-8")
    with pytest.raises(NotHandedOver, match="other content") as refused:
        outbox.hand_over(first, folder / first.path, manifest)
    assert not refused.value.retryable


@pytest.mark.parametrize(
    ("channels", "profile", "message"),
    [
        ("", "validation", "no channel serves"),
        (
            '[channels.a]\nkind = "outbox"\nprofiles = ["validation"]\nunits = ["sorvik"]',
            "validation",
            "no channel serves",
        ),
        (f'{OUT}[channels.b]\nkind = "outbox"\nprofiles = ["validation"]', "validation", "channels out, b all serve"),
    ],
)
def test_the_channel_is_exactly_one(home: Path, channels: str, profile: str, message: str) -> None:
    run = sending.run_of(settings(home, channels=channels), T1, profile)  # type: ignore[arg-type]
    with pytest.raises(WrongUse if "all serve" in message else DataRefused, match=message):
        run.channel()


def test_nothing_leaves_behind_a_later_report_that_holds_it(home: Path, wire: Wire, ledger: SqlLedger) -> None:
    """The registry keeps what came last: months one and two would take the place of the tertial."""
    february = prepared(ledger, home, M02, profile="validation")
    earlier = replace(
        sending.run_of(settings(home, channels=OUT), M02, "validation"), channel=_always(wire), guard=_content
    )
    insist_last_word(earlier, february)
    tertial = prepared(ledger, home, modules=("ord", "ide", "sbs"), profile="validation")
    insist_last_word(earlier, february)  # nothing of it has left
    ids = begin(ledger, tertial)
    with pytest.raises(DataRefused, match="2020-T1 holds 2020-M02 and has left as submission 1") as refused:
        submit(earlier, february.submission)
    assert refused.value.fix == "correct 2020-T1: npr run 2020-T1 --unit nordfjell"
    assert wire.arrived == []
    for msg_id in ids:
        ledger.record(msg_id, Event.REJECTED, Note("test", NOW))
    insist_last_word(earlier, february)  # what was refused replaced nothing
