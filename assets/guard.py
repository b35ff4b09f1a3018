"""The guard around everything that leaves: fail closed.

Belongs here: reading what is about to leave (bytes before encryption, finished mails, identity class table, records)
and stopping. Does not belong here: what is a breach (``transforms.content.guard``).

Three places ask it: the first stage, before anything is kept of an extract; the packing of each part, with the bytes
that are about to be encrypted; and whoever hands a submission over, right before (``guard``). There is no switch. What
cannot be judged does not leave: an exception, a missing table, record or list refuses like a breach.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from assets.lake import IDENTITY_MODULES
from assets.ports import Store
from schemas.config import Unit
from schemas.contract import load_contract
from schemas.errors import Bug, DataRefused, NprError, of_system
from schemas.guard import PROFILES, REHEARSAL, VERSION, Inspected, guard_facts
from schemas.records import FileRecord, FragmentSet, Key, Manifest, MessageSet, Snapshot, digest
from transforms.content import guard as judge
from transforms.content.guard import Breach, Expected

SHOWN = 20
ACTIVITY_FILES = ("episodes", "referrals")


def guard(store: Store, key: Key, manifest: Manifest, profile: str) -> None:
    """Refuse unless every check of a submission could be made and none found anything. To call before each hand-over.

    profile: of whoever sends, by the settings; that of the manifest must be the same. Raises DataRefused with counts
    only, or Bug when the guard itself fails.
    """
    with _without_values():
        _insist(_breaches(store, key, manifest, profile), profile)


def inspect_part(document: bytes, body: bytes, place: tuple[str, int], expected: Expected, profile: str) -> Inspected:
    """Read the bytes of one part right before they are encrypted, and refuse them when they may not leave."""
    with _without_values():
        seen = judge.inspect(document, body, place, expected)
        _insist(judge.of_part(seen, profile), profile)
    return seen


def expected_of(store: Store, key: Key, unit: Unit) -> Expected:
    """What a message of the unit must say."""
    staged = pl.read_parquet(store.table("staging", "units", key), columns=["enhetNavn", "enhetLokal"])
    names = {name for column in staged for name in column.drop_nulls()}
    return Expected(unit.institusjonID, frozenset(known.what for known in unit.known), frozenset(names))


def fingerprint_of_facts() -> str:
    """Digest of what the guard judges by: a submission prepared under other rules is made anew."""
    return digest({"version": VERSION, "facts": guard_facts().model_dump(mode="json")})


def insist_fresh(store: Store, files: Iterable[FileRecord], profile: str) -> None:
    """Before an extract is kept: none of its files was delivered as test data before. DataRefused otherwise.

    A rehearsal takes them, and begins the list in a new home like any other run.
    """
    labelled = list(_labelled(store, prints_of_files(files)))
    if profile != REHEARSAL:
        _insist(labelled, profile)


def prints_of_files(files: Iterable[FileRecord]) -> dict[str, str]:
    """Fingerprint -> what it is, of delivered files that change with every day of activity.

    Small tables and lists of units can be the same in a copy of the production system, and do not count. Raw files of
    a foreign extract have names of their own, and count together.
    """
    delivered, contract = list(files), load_contract()
    main = {file.sha256: f"file of {file.table}" for file in delivered if file.rows and file.table in ACTIVITY_FILES}
    raw = sorted(file.sha256 for file in delivered if file.table not in contract.tables)
    return main | ({digest(raw): "raw files"} if raw else {})


def label_files(store: Store, unit: str, files: Iterable[FileRecord]) -> None:
    """Label delivered files as test content, for good."""
    store.label_test(unit, prints_of_files(files))


def label_content(store: Store, key: Key, manifest: Manifest) -> None:
    """Label a submission as test content, for good, when its origin or an identity in it says so.

    By its origin all of its activity is; by a synthetic identity the identities are, since what other patients did is
    the same in the next extract.
    """
    snapshot = manifest.snapshot
    with _without_values():
        if judge.is_test_system(snapshot.environment):
            store.label_test(key.unit, prints_of_files(snapshot.files) | _prints_of_messages(store, key, manifest))
        if any(one.synthetic for one in manifest.guard):
            store.label_test(key.unit, _prints_of_identities(store, key, manifest))


@contextmanager
def _without_values() -> Iterator[None]:
    """What goes wrong in here stops whoever asked, with no text but our own."""
    try:
        yield
    except NprError as refused:
        raise refused from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a panic in Polars is no Exception; its text can quote a number
        raise of_system(error) or Bug(error) from None


# --- what is judged


def _breaches(store: Store, key: Key, manifest: Manifest, profile: str) -> Iterator[Breach]:
    if profile not in PROFILES or manifest.profile != profile or manifest.key != key:
        yield Breach("MSG-17", f"made for {manifest.key} in profile {manifest.profile}, sent as {key} in {profile}")
    snapshot = manifest.snapshot
    _insist_same(store, key, manifest)
    yield from judge.of_origin(snapshot.environment, snapshot.source_system, (f.name for f in snapshot.files), profile)
    yield from _of_parts(store, key, manifest, profile)
    yield from _of_identities(store, key, manifest, profile)
    prints = prints_of_files(snapshot.files) | _prints_of_messages(store, key, manifest)
    prints |= _prints_of_identities(store, key, manifest)
    if profile != REHEARSAL:
        yield from _labelled(store, prints)


def _insist_same(store: Store, key: Key, manifest: Manifest) -> None:
    """What the lake holds now is what the submission was made of; its own label counts, and not a copy of it."""
    snapshot = manifest.snapshot
    if store.load("snapshot", key, Snapshot) != snapshot or store.load_snapshot(key.unit, snapshot.id) != snapshot:
        raise _run_since("the snapshot that the submission names is not the one that the partition has", key, manifest)


def _of_parts(store: Store, key: Key, manifest: Manifest, profile: str) -> Iterator[Breach]:
    folder = store.shipments(key, manifest.submission)
    seen = {(one.module, one.part): one for one in manifest.guard}
    if len(seen) != len(manifest.shipments) or not manifest.shipments:
        raise _unjudged("not every part was inspected before it was encrypted")
    for part in manifest.shipments:
        inspected = seen.get((part.module, part.part))
        if inspected is None or inspected.body_sha256 != part.body_sha256:
            raise _unjudged(f"{part.module} part {part.part} was not inspected before it was encrypted")
        yield from judge.of_part(inspected, profile)
        path = folder / part.path
        if not path.is_file() or _sha256(path) != part.sha256:
            raise _unjudged(f"{part.path} is not the file that was made")
        with path.open("rb") as file:
            found = judge.addressed(file.read(judge.MAIL_HEAD), part.path)
        yield from judge.of_mail(part.path, found, profile)


def _of_identities(store: Store, key: Key, manifest: Manifest, profile: str) -> Iterator[Breach]:
    """The identity class table, what the hospital delivered of the same patients, and that the bytes hold them all."""
    modules = {message.module: message.patients for message in manifest.messages}
    made = store.load("messages", key, MessageSet)
    if made.made_of() != {manifest.snapshot.id} or {m.schema_use.module for m in made.modules} != set(modules):
        raise _run_since("the message tables are not those of this submission", key, manifest)
    for module in IDENTITY_MODULES & set(modules):
        sent = _identities(store, key, module, made)
        parsed = sum(one.persons for one in manifest.guard if one.module == module)
        if sent.height != modules[module] or parsed != modules[module]:
            raise _unjudged("identities in the parts, in the table and in the manifest are not the same number")
        delivered = _parquet(store.table("staging", "identities", key, identity=True)).join(
            sent.select("_patient"), on="_patient", how="semi"
        )
        if profile != REHEARSAL:
            yield from judge.of_identities("identity table", judge.synthetic(sent))
            yield from judge.of_identities("identities as delivered", judge.synthetic(delivered))


def _identities(store: Store, key: Key, module: str, made: MessageSet) -> pl.DataFrame:
    nodes = [node for one in made.modules if one.schema_use.module == module for node in one.rows]
    tables = [_parquet(store.table("message", f"{module}_{node}", key, identity=True)) for node in nodes]
    holding = [table.select("_patient", judge.FID, judge.TYPE_ID) for table in tables if judge.FID in table.columns]
    if not holding:
        raise _unjudged("the identity table is not there")
    return pl.concat(holding)


def _parquet(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise _unjudged("the identity table is not there")
    return pl.read_parquet(path)


def _prints_of_messages(store: Store, key: Key, manifest: Manifest) -> dict[str, str]:
    """Of the rendered patients of all activity: the same whatever number, time, receiver or split a message has."""
    activity = {name: sums for name, sums in _rendered(store, key, manifest).items() if name not in IDENTITY_MODULES}
    return {digest(activity): "activity of the messages"} if activity else {}


def _prints_of_identities(store: Store, key: Key, manifest: Manifest) -> dict[str, str]:
    """The same of the rendered identities, and of the file they came from."""
    own = {name: sums for name, sums in _rendered(store, key, manifest).items() if name in IDENTITY_MODULES}
    identity = {table.name for table in load_contract() if table.identity}
    files = {file.sha256: f"file of {file.table}" for file in manifest.snapshot.files if file.table in identity}
    return files | ({digest(own): "identities of the messages"} if own else {})


def _rendered(store: Store, key: Key, manifest: Manifest) -> dict[str, list[str]]:
    rendered = store.load("fragments", key, FragmentSet)
    if rendered.made_of() != {manifest.snapshot.id}:
        raise _run_since("the rendered patients are not those of this submission", key, manifest)
    sums = {one.module: [batch.sha256 for batch in one.batches if batch.bytes] for one in rendered.modules}
    return {module: found for module, found in sums.items() if found}


def _labelled(store: Store, prints: dict[str, str]) -> Iterator[Breach]:
    known = {label.fingerprint for label in store.test_labels()}
    if hits := [what for sha256, what in prints.items() if sha256 in known]:
        yield Breach("TEST-08", f"labelled as test content before: {', '.join(sorted(set(hits)))}")


def _insist(breaches: Iterable[Breach], profile: str) -> None:
    found = list(breaches)
    if found:
        told = [breach.what for breach in found[:SHOWN]]
        more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
        raise DataRefused(
            f"the guard: {len(found)} reasons why this must not leave in profile {profile}; nothing was handed over",
            where="\n         ".join([*told, *more]),
            rule=", ".join(sorted({breach.rule for breach in found})),
            fix="see docs/guard.md; test data runs with --profile rehearsal only",
        )


def _unjudged(what: str, fix: str = "make the report again with npr run; tell of it if it stays") -> DataRefused:
    return DataRefused(
        f"the guard cannot judge the submission: {what}; nothing was handed over",
        rule="GUARD-00: what cannot be judged does not leave",
        fix=fix,
    )


def _run_since(what: str, key: Key, manifest: Manifest) -> DataRefused:
    """The guard reads what the last run of a partition left, so an older submission is judged by a run of its own."""
    made = f"{manifest.snapshot.extracted_at:%Y-%m-%d %H:%M}, snapshot {manifest.snapshot.id}"
    return _unjudged(
        what,
        f"where {key.period} {key.unit} was run again since submission {manifest.submission}: npr submit without "
        f"--submission sends what the newer run made. What submission {manifest.submission} says (extract of {made}) "
        f"goes when made anew: npr run {key.period} --unit {key.unit} --profile {manifest.profile} --extract DIR; "
        "the same extract gives the same content, as a submission with a new number",
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
