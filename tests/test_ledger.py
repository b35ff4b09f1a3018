"""The ledger: numbers given once, states written before the act, decisions, answers in any order, the audit chain."""

from __future__ import annotations

import datetime as dt
import errno
import os
import sqlite3
from contextlib import closing
from itertools import permutations
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from conftest import call
from ledgers import M02, NOW, T1, begin, begun, ids, manifest_for, numbered, prepared, resent, sent

from assets.ports import LopenrTaken, Note
from pipelines.ledger.book import LEASE, SqlLedger, ledger_of
from pipelines.ledger.owner import is_gone, owner
from pipelines.ledger.tables import metadata
from schemas.decisions import Decision, DecisionKind
from schemas.errors import DataRefused, WrongUse
from schemas.records import Key
from schemas.sending import Answer, Fate
from schemas.submission_states import Event, State

HOUR = dt.timedelta(hours=1)


@pytest.fixture
def ledger(home: Path) -> SqlLedger:
    return ledger_of(home)


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_the_same_inputs_are_the_same_submission(ledger: SqlLedger, home: Path) -> None:
    first = numbered(ledger)
    later = ledger_of(home)
    assert begun(later) == first


def test_other_inputs_are_a_new_submission_with_numbers_never_used(ledger: SqlLedger) -> None:
    made = [
        numbered(ledger, T1, "x", ("ord", "ide", "sbs")),
        numbered(ledger, T1, "y"),
        numbered(ledger, M02, "z", ("ord",)),
    ]
    assert [one.number for one in made] == [1, 2, 1]
    assert [[part.lopenr for part in one.ids] for one in made] == [[1, 2, 3], [4, 5], [6]]


def test_a_profile_has_submissions_of_its_own_in_one_row_of_numbers(ledger: SqlLedger) -> None:
    made = [numbered(ledger, inputs=f"v{n % 2}", profile=p) for n, p in enumerate(["validation", "production"] * 2)]
    assert [one.number for one in made] == [1, 2, 1, 2]


def test_a_run_that_died_takes_no_number_that_went_to_another(ledger: SqlLedger) -> None:
    died = begun(ledger)
    other = numbered(ledger, M02, "z")
    again = begun(ledger)
    assert (died.first_lopenr, other.first_lopenr, again.first_lopenr) == (1, 1, 3)
    assert again.number == died.number


def test_of_two_that_pack_at_once_the_slower_is_told(ledger: SqlLedger) -> None:
    slow, fast = begun(ledger), begun(ledger, M02, "z")
    ledger.keep_ids(fast, ids(fast, ("ord",)))
    with pytest.raises(LopenrTaken):
        ledger.keep_ids(slow, ids(slow, ("ord",)))
    assert begun(ledger).first_lopenr == 2


def test_institutions_and_years_count_by_themselves(ledger: SqlLedger) -> None:
    numbered(ledger)
    assert begun(ledger, Key(period="2020-T1", unit="sorvik")).first_lopenr == 1
    assert begun(ledger, Key(period="2021-T1", unit="nordfjell")).first_lopenr == 1


def test_numbers_of_an_installation_without_a_ledger_stay_taken(tmp_path: Path) -> None:
    home = tmp_path / "old"
    for given in [numbered(ledger_of(tmp_path / "a")), numbered(ledger_of(tmp_path / "a"), M02, "z")]:
        place = home / "submissions" / given.key.period / given.key.unit / "0001" / "submission.json"
        place.parent.mkdir(parents=True)
        place.write_text(given.model_dump_json(), encoding="utf-8")
    adopted = ledger_of(home)
    assert [one.number for one in adopted.submissions(T1)] == [1]
    assert numbered(adopted) == numbered(ledger_of(tmp_path / "a"))
    assert begun(adopted, T1, "other").first_lopenr == 5


# --- the database -----------------------------------------------------------------------------------------------------


def test_migrations_make_the_tables_the_code_has(ledger: SqlLedger, home: Path) -> None:
    assert ledger.audit_head() == (0, "")
    with sa.create_engine(f"sqlite:///{home / 'ledger.sqlite'}").connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_every_transaction_is_on_the_disk(ledger: SqlLedger) -> None:
    with ledger._database.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_a_folder_that_cannot_be_made_is_told_as_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def no(*_: object, **__: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(Path, "mkdir", no)
    with pytest.raises(DataRefused, match=os.strerror(error)) as refused:
        ledger_of(tmp_path / "var")
    assert "mend access to the ledger" in refused.value.fix


def test_a_password_in_npr_toml_is_refused_and_not_shown(home: Path) -> None:
    with pytest.raises(WrongUse) as refused:
        ledger_of(home, "postgresql://npr:hemmelig@db.example/npr")
    assert "hemmelig" not in str(refused.value)


def test_a_file_with_the_address_must_be_private(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(f"sqlite:///{tmp_path / 'elsewhere.sqlite'}\n", encoding="utf-8")
    file.chmod(0o640)
    with pytest.raises(WrongUse, match="others than the owner"):
        ledger_of(home, None, file)
    file.chmod(0o600)
    numbered(ledger_of(home, None, file))
    assert (tmp_path / "elsewhere.sqlite").exists()
    assert not (home / "ledger.sqlite").exists()


# --- sealing and sending ----------------------------------------------------------------------------------------------


def test_bytes_are_known_before_anything_may_leave(ledger: SqlLedger, tmp_path: Path) -> None:
    submission = numbered(ledger)
    assert {part.state for part in ledger.parts(T1, 1)} == {State.RESERVED}
    with pytest.raises(DataRefused, match="begin cannot happen to a part that is reserved"):
        begin(ledger, manifest_for(submission, tmp_path / "parts"))


def test_parts_made_again_before_sending_take_the_place_of_the_old(
    ledger: SqlLedger, home: Path, tmp_path: Path
) -> None:
    first = prepared(ledger, home)
    other = manifest_for(numbered(ledger), tmp_path / "again", "validation")
    assert ledger.seal(other, NOW).sealed == other.sealed() != first.sealed()


def test_what_was_sent_is_never_overwritten(ledger: SqlLedger, home: Path, tmp_path: Path) -> None:
    first = prepared(ledger, home)
    sent(ledger, first)
    other = manifest_for(numbered(ledger), tmp_path / "again", "validation")
    with pytest.raises(DataRefused, match="was handed over with other bytes"):
        ledger.seal(other, NOW)
    assert ledger.seal(first, NOW).sealed == first.sealed()
    assert [part.packed_sha256 for part in ledger.parts(T1, 1)] == [part.sha256 for part in first.shipments]


def test_the_way_of_a_part_is_kept_with_who_and_when(ledger: SqlLedger, home: Path) -> None:
    first, _ = sent(ledger, prepared(ledger, home))
    part = ledger.part(first)
    assert (part.state, part.attempts, part.channel, part.reference) == (State.HANDED_OVER, 1, "test", f"ref-{first}")
    assert part.handed_over_at == NOW
    assert [(one.event.value, one.before.value, one.after.value) for one in ledger.events(first)] == [
        ("seal", "reserved", "prepared"),
        ("begin", "prepared", "handing_over"),
        ("handed_over", "handing_over", "handed_over"),
    ]


def test_only_the_holder_of_the_claim_sends(ledger: SqlLedger, home: Path) -> None:
    manifest = prepared(ledger, home)
    elsewhere = "another-machine:0:0/1/abc"
    assert ledger.claim(T1, 1, elsewhere, NOW)
    assert not ledger.claim(T1, 1, owner(), NOW + LEASE / 2)
    with pytest.raises(DataRefused, match="another process sends"):
        ledger.record(manifest.shipments[0].msg_id, Event.BEGIN, Note("test", NOW, owner=owner()))
    assert ledger.claim(T1, 1, owner(), NOW + LEASE)
    ledger.release(T1, 1, elsewhere)  # too late: it is no longer theirs
    assert not ledger.claim(T1, 1, elsewhere, NOW + LEASE)


def test_a_process_of_this_machine_that_is_over_holds_nothing(ledger: SqlLedger, home: Path) -> None:
    prepared(ledger, home)
    machine, pid, _ = owner().split("/")
    gone = f"{machine}/4194400/abc"
    assert is_gone(gone)
    assert not is_gone(f"{machine}/{pid}/abc")
    assert not is_gone("another-machine:0:0/4194400/abc")
    assert ledger.claim(T1, 1, gone, NOW)
    assert ledger.claim(T1, 1, owner(), NOW)


def test_states_tell_each_module_of_each_submission(ledger: SqlLedger, home: Path) -> None:
    sent(ledger, prepared(ledger, home))
    prepared(ledger, home, inputs="y")
    found = ledger.states(NOW + 49 * HOUR)
    assert [(one.submission, one.module, one.state.value, one.silent) for one in found] == [
        (1, "ord", "handed_over", 48),
        (1, "ide", "handed_over", 48),
        (2, "ord", "prepared", 0),
        (2, "ide", "prepared", 0),
    ]
    assert ledger.states(NOW, ["2020-T2"]) == []


def test_the_baseline_is_the_last_accepted_else_the_last_handed_over(ledger: SqlLedger, home: Path) -> None:
    def make(inputs: str) -> list[str]:
        return sent(ledger, prepared(ledger, home, inputs=inputs, profile="production"))

    assert ledger.baseline(T1) is None
    first = make("x")
    make("y")
    assert ledger.baseline(T1) == ledger.submissions(T1)[1]
    for msg_id in first:
        ledger.record(msg_id, Event.CONTENT_CLEAN, Note("test", NOW))
    assert ledger.baseline(T1) == ledger.submissions(T1)[0]
    assert ledger.baseline(T1, "validation") is None


def test_a_look_is_of_one_moment(ledger: SqlLedger, home: Path) -> None:
    other = ledger_of(home)
    msg_id = sent(ledger, prepared(ledger, home))[0]
    with ledger.look():
        before = ledger.states(NOW)
        other.record(msg_id, Event.ACKNOWLEDGED, Note("test", NOW))
        with ledger.look():
            assert ledger.states(NOW) == before
        assert ledger.part(msg_id).state is State.HANDED_OVER
    assert ledger.part(msg_id).state is State.ACKNOWLEDGED


# --- decisions --------------------------------------------------------------------------------------------------------


def test_decisions_are_kept_in_order(ledger: SqlLedger) -> None:
    made = [
        Decision(
            kind=kind, period="2020-T1", unit="nordfjell", subject="production", by="Kari Nordmann", at=NOW, content="c"
        )
        for kind in (DecisionKind.APPROVE, DecisionKind.ACCEPT)
    ]
    for one in made:
        ledger.decide(one)
    assert ledger.decisions(T1) == made
    assert ledger.decisions(T1, DecisionKind.ACCEPT) == made[1:]
    assert ledger.decisions(M02) == []
    assert [(row.who, row.what) for row in ledger.audit(T1)] == [
        ("Kari Nordmann", "approve"),
        ("Kari Nordmann", "accept"),
    ]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM decisions WHERE kind = 'approve'",
        """UPDATE decisions SET record = replace(record, 'Kari', 'Mari') WHERE kind = 'approve'""",
        "UPDATE decisions SET period = '2020-M02', record = replace(record, '2020-T1', '2020-M02')",
        "INSERT INTO decisions (period, unit, kind, record) SELECT period, unit, kind, record FROM decisions",
    ],
)
def test_a_decision_that_is_not_that_of_the_audit_log_is_found(statement: str, ledger: SqlLedger, home: Path) -> None:
    manifest = prepared(ledger, home)
    sent(ledger, manifest)
    resent(ledger, manifest)  # an event with the name of a decision is none
    approval = Decision(
        kind=DecisionKind.APPROVE, period=T1.period, unit=T1.unit, subject="production", by="Kari Nordmann", at=NOW
    )
    for one in (approval, approval.model_copy(update={"withdrawn": True})):
        ledger.decide(one)
    assert ledger.other_decisions() == []
    with closing(sqlite3.connect(home / "ledger.sqlite")) as database, database:
        database.execute(statement)
    assert T1 in ledger.other_decisions()
    assert ledger.audit_broken_at() is None
    outcome = call("audit", "--verify", home=home)
    assert (outcome.code, "not those that the audit log tells of" in outcome.err) == (1, True), outcome.err


# --- answers ----------------------------------------------------------------------------------------------------------


def _answer(msg_id: str, *events: Event, digest: str = "", **more: object) -> Answer:
    given = {"digest": digest or f"{msg_id} {events}", "kind": "apprec", "events": events, "received_at": NOW}
    return Answer.model_validate(given | {"msg_id": msg_id} | more)


def test_an_answer_is_stored_once_however_often_it_comes(ledger: SqlLedger, home: Path) -> None:
    first, _ = sent(ledger, prepared(ledger, home))
    answer = _answer(first, Event.APPREC_OK)
    assert [ledger.take(answer).fate for _ in range(3)] == [Fate.TAKEN, Fate.KNOWN, Fate.KNOWN]
    assert ledger.part(first).state is State.RECEIVED
    assert [one.event for one in ledger.events(first)].count(Event.APPREC_OK) == 1


@pytest.mark.parametrize("order", permutations([Event.ACKNOWLEDGED, Event.APPREC_OK, Event.CONTENT_CLEAN]))
def test_answers_come_in_any_order(ledger: SqlLedger, home: Path, order: tuple[Event, ...]) -> None:
    first, _ = sent(ledger, prepared(ledger, home))
    assert {ledger.take(_answer(first, event)).fate for event in order} == {Fate.TAKEN}
    assert ledger.part(first).state is State.ACCEPTED


def test_an_answer_before_the_hand_over_is_recorded_counts(ledger: SqlLedger, home: Path) -> None:
    first, _ = begin(ledger, prepared(ledger, home))
    assert ledger.take(_answer(first, Event.APPREC_OK)).fate is Fate.TAKEN
    part = ledger.record(first, Event.HANDED_OVER, Note("test", NOW, reference="late"))
    assert (part.state, part.reference, part.handed_over_at) == (State.RECEIVED, "late", NOW)


def test_an_answer_before_anything_was_sent_waits_until_it_was(ledger: SqlLedger, home: Path) -> None:
    manifest = prepared(ledger, home)
    first = manifest.shipments[0].msg_id
    taken = ledger.take(_answer(first, Event.APPREC_OK))
    assert (taken.fate, taken.reason) == (Fate.PARKED, "the part it answers was never handed over by this ledger")
    assert ledger.retry_parked(NOW) == []
    sent(ledger, manifest)
    assert [one.fate for one in ledger.retry_parked(NOW)] == [Fate.TAKEN]
    assert ledger.part(first).state is State.RECEIVED
    assert ledger.parked() == []
    assert ledger.retry_parked(NOW) == []


def test_unknown_ids_are_parked_with_the_reason(ledger: SqlLedger) -> None:
    cases = [
        _answer("nobody", Event.APPREC_OK),
        _answer("", Event.CONTENT_CLEAN, lopenr=7, institusjon_id="900000014", year=2020),
        _answer("", Event.CONTENT_ERRORS),
    ]
    assert [ledger.take(one).fate for one in cases * 2] == [Fate.PARKED] * 3 + [Fate.KNOWN] * 3
    assert [one.reason for one in ledger.parked()] == [
        "no part of ours has this MsgId or lopenr",
        "no part of ours has this MsgId or lopenr",
        "it names no message: neither MsgId nor lopenr with institution and year",
    ]


def test_an_answer_may_name_its_message_by_number(ledger: SqlLedger, home: Path) -> None:
    sent(ledger, prepared(ledger, home))
    answer = _answer("", Event.CONTENT_ERRORS, lopenr=2, institusjon_id="900000014", year=2020)
    taken = ledger.take(answer)
    assert taken.part
    assert (taken.part.module, taken.part.state) == ("ide", State.CONTENT_ERRORS)


def test_a_receipt_for_other_bytes_is_no_receipt(ledger: SqlLedger, home: Path) -> None:
    manifest = prepared(ledger, home)
    first, second = sent(ledger, manifest)
    taken = ledger.take(_answer(first, Event.APPREC_OK, original_sha256="0" * 64))
    assert (taken.fate, "other bytes" in taken.reason) == (Fate.PARKED, True)
    assert ledger.part(first).state is State.HANDED_OVER
    right = _answer(second, Event.APPREC_OK, original_sha256=manifest.shipments[1].sha256)
    assert ledger.take(right).fate is Fate.TAKEN


def test_good_news_after_bad_waits_for_a_person(ledger: SqlLedger, home: Path) -> None:
    first, _ = sent(ledger, prepared(ledger, home))
    assert ledger.take(_answer(first, Event.APPREC_REJECTED)).fate is Fate.TAKEN
    assert "contradicts" in ledger.take(_answer(first, Event.APPREC_OK)).reason
    assert ledger.part(first).state is State.REFUSED


# --- audit ------------------------------------------------------------------------------------------------------------


def test_any_change_of_the_audit_log_is_found(ledger: SqlLedger, home: Path) -> None:
    sent(ledger, prepared(ledger, home))
    whole = ledger.audit()
    assert ledger.audit_broken_at() is None
    assert ledger.audit_head() == (whole[-1].number, whole[-1].hash)
    changes = [
        ("UPDATE audit SET who = 'x' WHERE number = 3", 3),
        ("UPDATE audit SET submission = 9 WHERE number = 2", 2),
        ("DELETE FROM audit WHERE number = 2", 2),
        ("UPDATE audit SET hash = 'x' WHERE number = 4", 4),
    ]
    for statement, place in changes:
        with sqlite3.connect(home / "ledger.sqlite", isolation_level=None) as database:
            database.execute("BEGIN")
            before = database.execute("SELECT * FROM audit").fetchall()
            database.execute(statement)
            database.execute("COMMIT")
            assert ledger.audit_broken_at() == place
            database.execute("DELETE FROM audit")
            database.executemany(f"INSERT INTO audit VALUES ({','.join('?' * 9)})", before)  # noqa: S608
        database.close()
    assert ledger.audit_broken_at() is None
