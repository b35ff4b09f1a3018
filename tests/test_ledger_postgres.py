"""The same ledger in a real PostgreSQL: tables, numbers, states, answers, audit, and two who want the same at once."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from authority import private_file
from ledgers import M02, NOW, T1, begin, begun, ids, prepared, sent
from servers import Postgres

from assets.ports import LopenrTaken, Note
from pipelines.ledger.book import SqlLedger, ledger_of
from pipelines.ledger.owner import owner
from pipelines.ledger.tables import decisions, events, fitted, metadata, parts
from schemas.decisions import Decision, DecisionKind
from schemas.errors import DataRefused
from schemas.records import Key
from schemas.sending import Answer, Fate
from schemas.submission_states import Event, State

RACES = 20


@pytest.fixture
def url(postgres: Postgres, request: pytest.FixtureRequest) -> str:
    return postgres.create(request.node.name.lower()[:40])


@pytest.fixture
def ledger(home: Path, url: str, tmp_path: Path) -> SqlLedger:
    secret = tmp_path / "url"
    secret.touch(mode=0o600)
    secret.write_text(url, encoding="utf-8")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    return ledger_of(home, None, secret)


def test_the_whole_way(ledger: SqlLedger, home: Path, url: str) -> None:
    first, second = sent(ledger, prepared(ledger, home, profile="production"))
    answer = Answer(digest="d", kind="apprec", events=(Event.APPREC_OK,), received_at=NOW, msg_id=first)
    assert [ledger.take(answer).fate for _ in range(2)] == [Fate.TAKEN, Fate.KNOWN]
    assert ledger.take(answer.model_copy(update={"digest": "e", "msg_id": "nobody"})).fate is Fate.PARKED
    decision = Decision(
        kind=DecisionKind.WAIVE, period="2020-T1", unit="nordfjell", subject="R", by="Kari Nordmann", at=NOW
    )
    ledger.decide(decision)
    assert ledger.decisions(T1) == [decision]
    assert (ledger.part(first).state, ledger.part(second).state) == (State.RECEIVED, State.HANDED_OVER)
    assert [row.state for row in ledger.states(NOW)] == [State.RECEIVED, State.HANDED_OVER]
    assert ledger.baseline(T1) == ledger.submissions(T1)[0]
    assert ledger.audit_broken_at() is None
    assert not (home / "ledger.sqlite").exists()
    engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"), poolclass=sa.NullPool)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_what_people_read_is_cut_to_what_the_columns_hold(ledger: SqlLedger, home: Path) -> None:
    """SQLite takes a text of any length; PostgreSQL refused the answer, and with it every look into the inbox."""
    (msg_id,) = begin(ledger, prepared(ledger, home, modules=("ord",)))
    ledger.record(msg_id, Event.HANDED_OVER, Note("test", NOW, reference="r" * 600))
    assert ledger.part(msg_id).reference == "r" * 499 + "…"
    doubtful = Answer(
        digest="d", kind="apprec", events=(Event.APPREC_OK,), received_at=NOW, msg_id=msg_id, suspect="s" * 500
    )
    said = "s" * 199 + "…"
    assert ledger.take(doubtful).reason == "s" * 500
    assert [row.reason for row in ledger.parked()] == [said]
    assert ledger.take(doubtful.model_copy(update={"msg_id": "nobody"})).reason == said
    assert [len(row.detail) for row in ledger.audit() if row.what == "answer parked"] == [502]
    ledger.retry_parked(NOW)
    assert [(row.reason, row.tries) for row in ledger.parked()] == [(said, 2)]


def test_every_word_of_ours_has_room_in_its_column() -> None:
    words = {parts.c.state: State, events.c.event: Event, events.c.before: State, decisions.c.kind: DecisionKind}
    for column, kind in words.items():
        assert {word for word in kind if fitted(column, word.value) != word.value} == set()


def test_of_many_at_once_each_number_goes_to_one_and_one_sends(ledger: SqlLedger, home: Path) -> None:
    prepared(ledger, home, M02, "m", ("ord",))
    machine = owner().rpartition("/")[0]

    def taken(n: int) -> bool:
        key = Key(period=f"2020-M{n % 4 + 3:02}", unit="nordfjell")
        for _ in range(RACES):
            submission = begun(ledger, key, f"{n}")
            try:
                ledger.keep_ids(submission, submission.ids or ids(submission, ("ord",)))
                break
            except LopenrTaken:
                continue
        return ledger.claim(M02, 1, f"{machine}/{n}", NOW)

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(taken, range(RACES)))
    assert won.count(True) == 1
    numbers = [part.lopenr for part in ledger.parts_in(frozenset(State))]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    assert ledger.audit_broken_at() is None


READ = "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}"
WRITE = (
    "GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO {}; "
    "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {}"
)


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(("role", "granted"), [("nobody", ""), ("reader", READ), ("clerk", WRITE)])
def test_a_role_without_rights_is_told_what_to_grant(
    home: Path, tmp_path: Path, postgres: Postgres, url: str, role: str, granted: str
) -> None:
    database = url.rpartition("/")[2]
    with postgres.connect(database) as db:
        db.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'; {granted.format(role, role)}")
    secret = private_file(tmp_path / "theirs", postgres.url(database, user=role, password="x").encode())
    if granted == WRITE:
        assert prepared(ledger_of(home, None, secret), home).shipments
        return
    with pytest.raises(DataRefused, match="may not read or write there") as refused:
        prepared(ledger_of(home, None, secret), home)
    assert "GRANT SELECT, INSERT, UPDATE" in refused.value.fix
    assert "permission denied" not in str(refused.value)


def test_a_database_that_is_gone_is_told_without_its_address(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPR_LEDGER_URL", "postgresql://npr:hemmelig@127.0.0.1:1/npr")
    with pytest.raises(DataRefused, match="the ledger cannot be read or written") as refused:
        ledger_of(home)
    assert "hemmelig" not in str(refused.value)
