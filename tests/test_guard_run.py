"""The guard on the whole way, in profile production with a receiver whose key only the test has.

Each way in is tried through the real stages and the real hand-over to a folder. The control group runs the same reports
with the guard taken out: they do get out, so what stops them is the guard.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from guarded import PATIENTS, PERIOD, UNIT, Delivery, Desk, delivery, numbers

from assets import dispatch, guard, shipments, snapshot
from assets.ports import Run
from schemas.errors import Bug, DataRefused, NprError
from schemas.records import Key, Manifest, MessageSet
from transforms.content import guard as judge
from transforms.shipping.cms import KeyPair
from transforms.shipping.packing import unpack

pytestmark = pytest.mark.xdist_group("guard_run")
TENOR, NHN, DOLLY_D = (
    numbers(90, series="tenor")[80], numbers(90, series="nhn")[80], numbers(90, series="nav", d_number=True)[80],
)  # fmt: skip
REAL = numbers(500)[400]
KEY = Key(period=PERIOD, unit=UNIT)


def nothing(_run: Run, _stage: str) -> None:
    """Nothing is broken between the stages."""


@dataclass(frozen=True)
class Way:
    """spoil: what is wrong with the delivery. between: what is broken on the way. traces: what gets out without it."""

    rule: str
    spoil: Callable[[Delivery], object] = lambda _: None
    between: Callable[[Run, str], None] = nothing
    traces: tuple[str, ...] = ()
    desk: tuple[tuple[str, object], ...] = ()


def with_type(number: str, type_id: str, place: int = 5) -> Callable[[Delivery], None]:
    def spoil(given: Delivery) -> None:
        given.put("identities", "fid", place, number)
        given.put("identities", "typeID", place, type_id)

    return spoil


def swapped(run: Run, stage: str) -> None:
    """A fault of the pipeline: the rendered identities are not those of the table."""
    if stage == "fragments":
        folder = run.store.fragments("ide", run.key, identity=True)
        for path in folder.glob("*.xml"):
            path.write_bytes(path.read_bytes().replace(numbers(3)[2].encode(), TENOR.encode()))


def last_identity(given: Delivery) -> None:
    """The last patient of the report, who stands in the second part."""
    last = given.tables["identities"]["pasientNr"].arg_max()
    assert last is not None
    given.put("identities", "fid", last, TENOR)


WAYS = {
    "a Tenor number": Way("TEST-02", with_type(TENOR, "1", 7), traces=(TENOR,)),
    "Norsk helsenett under typeID 9": Way("TEST-02", with_type(NHN, "9"), traces=(NHN,)),
    "a Dolly D-number": Way("TEST-02", with_type(DOLLY_D, "2", 6), traces=(DOLLY_D,)),
    "in the second part of a split": Way("TEST-02", last_identity, traces=(TENOR,), desk=(("limit", 28_192),)),
    "a fault of the renderer": Way("TEST-02", between=swapped, traces=(TENOR,)),
    "pasientNr that is somebody's number": Way("SEC-01", lambda d: d.rename("pasientNr", REAL), traces=(REAL,)),
    "episodeID that is somebody's number": Way("SEC-01", lambda d: d.rename("episodeID", REAL), traces=(REAL,)),
    "a unit that says test": Way("TEST-03", lambda d: d.put("units", "enhetNavn", 0, "Test 1")),
    "a local name that says test": Way(
        "TEST-03", lambda d: d.put("units", "enhetLokal", 1, "TEST 2"), traces=("TEST 2",)
    ),
    "777777777": Way("MSG-18", desk=(("institution", "777777777"),), traces=("777777777",)),
    "a test environment": Way("TEST-01", lambda d: setattr(d, "environment", "test")),
    "a file that says test": Way("TEST-01", lambda d: d.names.update(episodes="qa/episodes.csv")),
    "a source system that says test": Way("TEST-01", lambda d: setattr(d, "source_system", "EPJ TEST")),
}


def spoiled(way: Way) -> Delivery:
    given = delivery()
    way.spoil(given)
    return given


def desk_of(way: Way, home: Path) -> Desk:
    desk = Desk(home)
    for name, value in way.desk:
        setattr(desk, name, value)
    return desk


def opened(desk: Desk) -> str:
    """All that was handed over, decrypted with the receiver's key."""
    folder = desk.home.parent / "receiver"
    key = load_pem_private_key((folder / "receiver-key.pem").read_bytes(), None)
    certificate = x509.load_pem_x509_certificate((folder / "receiver.pem").read_bytes())
    assert isinstance(key, rsa.RSAPrivateKey)
    return "".join(unpack(path.read_bytes(), [KeyPair(key, certificate)]).decode() for path in desk.left)


@pytest.mark.parametrize("name", list(WAYS))
def test_a_way_in_is_stopped_and_nothing_is_handed_over(name: str, tmp_path: Path) -> None:
    way = WAYS[name]
    desk = desk_of(way, tmp_path / "var")
    with pytest.raises(DataRefused) as refused:
        desk.send(spoiled(way).write(tmp_path / "extract"), way.between)
    assert way.rule in refused.value.rule
    assert desk.left == []
    assert not any(number in str(refused.value) for number in (TENOR, NHN, DOLLY_D, REAL, *numbers(PATIENTS)))


@contextmanager
def guard_off(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Without the guard, in all three places, and without the gates on the label of the extract."""
    with patch.context() as off:
        off.setattr(guard, "_insist", lambda _breaches, _profile: None)
        off.setattr(snapshot, "_gate", lambda *_: None)
        off.setattr(shipments, "_insist_agreement", lambda *_: None)
        yield


def test_control_group_without_the_guard_the_same_reports_get_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All in one report, but for the split.
    alone = "in the second part of a split"
    for number, names in enumerate([[name for name in WAYS if name != alone], [alone]]):
        chosen = [WAYS[name] for name in names]
        given = delivery()
        desk = Desk(tmp_path / str(number) / "var")
        for way in chosen:
            way.spoil(given)
            for key, value in way.desk:
                setattr(desk, key, value)
        with guard_off(monkeypatch):
            desk.send(given.write(tmp_path / str(number) / "extract"), together(chosen))
        told = opened(desk)
        assert {trace for way in chosen for trace in way.traces if trace not in told} == set()
        assert len(desk.left) > 2 or not desk.limit


def together(chosen: list[Way]) -> Callable[[Run, str], None]:
    def between(run: Run, stage: str) -> None:
        for way in chosen:
            way.between(run, stage)

    return between


# --- one report without a fault


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A report that may leave, ready to be handed over."""
    room = tmp_path_factory.mktemp("sound")
    desk = Desk(room / "var")
    desk.decide(desk.prepare(delivery().write(room / "extract")))
    return desk


@pytest.fixture
def ready(sound: Desk, tmp_path: Path) -> tuple[Desk, Run]:
    """A copy of it to break."""
    shutil.copytree(sound.home, tmp_path / "var")
    shutil.copytree(sound.home.parent / "receiver", tmp_path / "receiver")
    desk = Desk(tmp_path / "var")
    return desk, desk.run(sound.home.parent / "extract")


def test_a_report_without_a_fault_leaves(ready: tuple[Desk, Run]) -> None:
    desk, run = ready
    dispatch.dispatch(run)
    assert {path.name for path in desk.left} == {"ord-001.eml", "ide-001.eml"}
    assert all(number in opened(desk) for number in numbers(PATIENTS))
    assert run.store.test_labels() == []


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def raising(*_: object, **__: object) -> None:
    raise RuntimeError(f"a text that quotes {numbers(1)[0]}")


def rewrite(run: Run, manifest: Manifest) -> None:
    """Put another manifest in the place of the one that was made."""
    run.store.save("manifest", KEY, manifest)
    path = run.store.shipments(KEY, manifest.submission) / "manifest.json"
    path.write_text(manifest.model_dump_json(indent=1), encoding="utf-8")


def without_inspections(run: Run, patch: pytest.MonkeyPatch) -> None:
    del patch
    manifest = run.store.load("manifest", KEY, Manifest)
    rewrite(run, manifest.model_copy(update={"guard": manifest.guard[:1]}))


def of_other_bytes(run: Run, patch: pytest.MonkeyPatch) -> None:
    del patch
    manifest = run.store.load("manifest", KEY, Manifest)
    changed = tuple(part.model_copy(update={"body_sha256": "0" * 64}) for part in manifest.shipments)
    rewrite(run, manifest.model_copy(update={"shipments": changed}))


def relabelled(run: Run, patch: pytest.MonkeyPatch) -> None:
    """Somebody edits the copy of the label in the manifest, and forgets where it came from."""
    del patch
    manifest = run.store.load("manifest", KEY, Manifest)
    record = run.store.snapshot(UNIT, manifest.snapshot.id) / "snapshot.json"
    record.write_text(record.read_text().replace('"production"', '"test"'))


def other_identity(run: Run, patch: pytest.MonkeyPatch) -> None:
    del patch
    path = run.store.table("message", "ide_PasientIdent", KEY, identity=True)
    pl.read_parquet(path).head(PATIENTS - 1).write_parquet(path)


def swapped_mail(run: Run, patch: pytest.MonkeyPatch) -> None:
    del patch
    manifest = run.store.load("manifest", KEY, Manifest)
    folder = run.store.shipments(KEY, manifest.submission)
    (folder / "ord-001.eml").write_bytes((folder / "ide-001.eml").read_bytes())


def unreadable_label(run: Run, patch: pytest.MonkeyPatch) -> None:
    del patch
    (run.store.home / "guard" / "x.json").write_text("{")  # type: ignore[attr-defined]


FAULTS: dict[str, Callable[[Run, pytest.MonkeyPatch], object]] = {
    "the identity table is gone": lambda run, _: remove(
        run.store.table("message", "ide_PasientIdent", KEY, identity=True)
    ),
    "the delivered identities are gone": lambda run, _: remove(
        run.store.table("staging", "identities", KEY, identity=True)
    ),
    "the snapshot is gone": lambda run, _: remove(
        run.store.snapshot(UNIT, run.store.load("manifest", KEY, Manifest).snapshot.id)
    ),
    "the list of test content is gone": lambda run, _: remove(run.store.home / "guard"),  # type: ignore[attr-defined]
    "the list of test content cannot be read": unreadable_label,
    "a part was not inspected": without_inspections,
    "a part is not the one that was inspected": of_other_bytes,
    "the label of the snapshot was changed": relabelled,
    "the identity table lacks a patient": other_identity,
    "a mail was put in the place of another": swapped_mail,
    "the classifier fails": lambda _, patch: patch.setattr(judge, "classify", raising),
    "a panic while reading a table": lambda _, patch: patch.setattr(pl, "read_parquet", raising),
    "the facts are gone": lambda _, patch: patch.setattr(judge, "guard_facts", raising),
    "the record of the tables is of another snapshot": lambda run, _: run.store.save(
        "messages", KEY, MessageSet(modules=run.store.load("messages", KEY, MessageSet).modules[:1])
    ),
    "the record of rendered patients is gone": lambda run, _: remove(
        run.store.home / "runs" / PERIOD / UNIT / "fragments.json"  # type: ignore[attr-defined]
    ),
}


@pytest.mark.parametrize("name", list(FAULTS))
def test_where_the_guard_cannot_judge_nothing_leaves(
    name: str, ready: tuple[Desk, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, run = ready
    with monkeypatch.context() as patch:
        FAULTS[name](run, patch)
        with pytest.raises((NprError, Bug)) as refused:
            guard.guard(run.store, KEY, run.store.load("manifest", KEY, Manifest), "production")
        with pytest.raises((NprError, Bug)):
            dispatch.dispatch(run)
    assert desk.left == []
    assert numbers(1)[0] not in f"{refused.value}{refused.value.__cause__}"


def test_a_disk_that_says_no_to_the_guard_is_a_refusal(
    ready: tuple[Desk, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    _, run = ready
    monkeypatch.setattr(pl, "read_parquet", no)
    with pytest.raises(NprError, match="Input/output error"):
        guard.guard(run.store, KEY, run.store.load("manifest", KEY, Manifest), "production")


def test_an_older_submission_than_the_last_run_says_how_it_can_go(ready: tuple[Desk, Run]) -> None:
    desk, run = ready
    manifest = run.store.load("manifest", KEY, Manifest)
    run.store.save("snapshot", KEY, manifest.snapshot.model_copy(update={"id": "later"}))
    with pytest.raises(NprError, match="is not the one that the partition has") as refused:
        dispatch.dispatch(run)
    assert f"run again since submission {manifest.submission}" in refused.value.fix
    assert f"npr run {PERIOD} --unit {UNIT} --profile production --extract" in refused.value.fix
    assert manifest.snapshot.id in refused.value.fix
    assert desk.left == []


@pytest.mark.parametrize(
    ("made", "sent"), [("production", "validation"), ("production", "rehearsal"), ("production", "")]
)
def test_what_was_made_for_one_profile_is_not_sent_in_another(made: str, sent: str, ready: tuple[Desk, Run]) -> None:
    _, run = ready
    manifest = run.store.load("manifest", KEY, Manifest)
    assert manifest.profile == made
    with pytest.raises(DataRefused) as refused:
        guard.guard(run.store, KEY, manifest, sent)
    assert "MSG-17" in refused.value.rule


def test_a_manifest_that_claims_another_profile_gives_itself_away_by_its_bytes(ready: tuple[Desk, Run]) -> None:
    _, run = ready
    manifest = run.store.load("manifest", KEY, Manifest).model_copy(update={"profile": "validation"})
    with pytest.raises(DataRefused) as refused:
        guard.guard(run.store, KEY, manifest, "validation")
    assert refused.value.rule == "MSG-17"
    assert "ebXML header" in refused.value.where


# --- once test, always test


def test_an_extract_that_was_test_once_stays_test_whatever_its_label_says_later(tmp_path: Path) -> None:
    given = delivery()
    given.environment = "test"
    Desk(tmp_path / "var", profile="rehearsal").send(given.write(tmp_path / "extract"))
    given.environment, given.names = "production", {"episodes": "renamed.csv"}
    production = Desk(tmp_path / "var")
    before = production.left
    with pytest.raises(DataRefused) as refused:
        production.send(given.write(tmp_path / "extract"))
    assert refused.value.rule == "TEST-08"
    assert production.left == before


def test_a_test_extract_that_was_refused_is_remembered_too(tmp_path: Path) -> None:
    given, desk = delivery(), Desk(tmp_path / "var")
    for label, rule in (("test", "TEST-01"), ("production", "TEST-08")):
        given.environment = label
        with pytest.raises(DataRefused) as refused:
            desk.send(given.write(tmp_path / "extract"))
        assert rule in refused.value.rule


def test_test_patients_are_known_again_in_other_files(tmp_path: Path) -> None:
    """The files differ in a column that no message has, so only what is rendered is the same."""
    given = delivery()
    given.environment = "test"
    Desk(tmp_path / "var", profile="rehearsal").send(given.write(tmp_path / "extract"))
    given.environment = "production"
    for name, frame in given.tables.items():
        given.tables[name] = frame.with_columns(unknown=pl.lit("x"))
    desk = Desk(tmp_path / "var")
    before = desk.left
    with pytest.raises(DataRefused) as refused:
        desk.send(given.write(tmp_path / "extract"))
    assert refused.value.rule == "TEST-08"
    assert "activity of the messages" in refused.value.where
    assert desk.left == before


def test_a_test_patient_taken_out_lets_the_rest_go(tmp_path: Path) -> None:
    """A rehearsal of real patients finds a synthetic one; the next extract is the same but for this one."""
    with_one, desk = spoiled(WAYS["a Tenor number"]), Desk(tmp_path / "var", profile="rehearsal")
    desk.send(with_one.write(tmp_path / "extract"))
    assert {label.what for label in desk.run(tmp_path / "extract").store.test_labels()} == {
        "file of identities", "identities of the messages",
    }  # fmt: skip
    production = Desk(tmp_path / "var")
    production.send(delivery().write(tmp_path / "extract"))
    assert len(production.left) == 4


def test_a_unit_list_may_be_the_same_in_test_and_production(tmp_path: Path) -> None:
    test, real = delivery(), delivery()
    test.environment = "test"
    test.tables = {name: frame.head(0) if name != "units" else frame for name, frame in test.tables.items()}
    with pytest.raises(DataRefused, match="test environment"):
        Desk(tmp_path / "var").send(test.write(tmp_path / "extract"))
    desk = Desk(tmp_path / "var")
    desk.send(real.write(tmp_path / "extract"))
    assert len(desk.left) == 2


def test_the_manifest_tells_what_was_read_in_the_bytes(sound: Desk) -> None:
    text = next((sound.home / "submissions").rglob("manifest.json")).read_text(encoding="utf-8")
    told = json.loads(text)
    assert [(one["module"], one["persons"], one["synthetic"], one["to"][-1]) for one in told["guard"]] == [
        ("ord", 0, {}, "94378"), ("ide", PATIENTS, {}, "94378"),
    ]  # fmt: skip
    assert [one["body_sha256"] for one in told["guard"]] == [one["body_sha256"] for one in told["shipments"]]
    assert not any(number in text for number in numbers(PATIENTS))
    assert told["nprid_reg"]["4"] == 0
