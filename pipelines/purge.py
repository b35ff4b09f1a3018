"""``npr purge``: removes the data of old, settled partitions, and keeps proof of it.

Belongs here: which partitions may go, removing them, the record of it. Does not belong here: backups
(docs/operations.md), and what the ledger, manifests and sealed parts say: those are evidence and stay.

A partition may go when the register has accepted its newest submission towards production and nothing of it is under
way; earlier ones are superseded by it. What never was accepted is never removed, however old. Gone are its tables, its
fragments and what guards kept, in both trees, the register's answers about it, and snapshots that no other partition
was made of. An answer that belongs to no partition (parked, set aside, in no form we know) goes by the day it came.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pipelines.exchange.inbox import FOLDER as ANSWERS
from pipelines.exchange.inbox import Holds
from pipelines.home.store import IDENTITY, SNAPSHOT, DiskStore
from pipelines.ledger.book import SqlLedger, ledger_of
from pipelines.settings import Settings
from schemas.errors import WrongUse
from schemas.period import Period
from schemas.records import Key, Snapshot, digest
from schemas.submission_states import OPEN, UNDERWAY, State
from schemas.words import PersonName, person

FOLDER = "purges"
PRODUCTION = "production"
# Records of stages whose tables go; without them a later stage refuses and says what to run.
STAYS = frozenset({"manifest.json", "dispatch.json"})


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Removed(_Record):
    """One folder or file that goes. path: relative to NPR_HOME. sha256: over paths, sizes and contents of its files."""

    path: str
    files: int
    bytes: int
    sha256: str


class Kept(_Record):
    """A partition that is old enough and stays, and why."""

    period: str
    unit: str
    why: str


class Purge(_Record):
    """The proof. state: "planned" (dry run), "begun" (written before the first removal) or "done" (nothing is left)."""

    state: str
    at: dt.datetime
    by: PersonName
    before: dt.date
    retention_days: int
    partitions: tuple[Key, ...]
    removed: tuple[Removed, ...]
    kept: tuple[Kept, ...]
    files: int
    bytes: int


def purge(settings: Settings, before: dt.date, by: str, now: dt.datetime, *, dry: bool) -> tuple[Purge, Path | None]:
    """Remove what ended and was settled before a day. Returns the proof and where it lies (None for a dry run).

    WrongUse when by is no name of a person, the day lies within the retention of npr.toml, or another run works on a
    partition.
    """
    name = person(by)
    _insist_retention(settings, before, now)
    store = DiskStore(settings.home)
    ledger = ledger_of(settings.home, settings.config.ledger.url, settings.config.ledger.url_file)
    with ExitStack() as stack:
        going, kept = _chosen(store.home, ledger, before)
        for key in () if dry else going:
            stack.enter_context(store.locked(f"run-{key.period}-{key.unit}", timeout=1))
        places = sorted({*_places(store.home, going, before), *_answers(store.home, ledger, going, before, now)})
        removed = tuple(_described(store.home, place) for place in places)
        proof = Purge(
            state="planned" if dry else "begun",
            at=now,
            by=name,
            before=before,
            retention_days=settings.config.retention_days,
            partitions=tuple(going),
            removed=removed,
            kept=tuple(kept),
            files=sum(one.files for one in removed),
            bytes=sum(one.bytes for one in removed),
        )
        if dry:
            return proof, None
        return _carried_out(store, ledger, proof, places)


def _carried_out(store: DiskStore, ledger: SqlLedger, proof: Purge, places: Sequence[Path]) -> tuple[Purge, Path]:
    path = store.home / FOLDER / f"{proof.at:%Y%m%dT%H%M%SZ}.json"
    _write(store, path, proof)
    for place in places:
        shutil.rmtree(place) if place.is_dir() else place.unlink()
        _tidy(place.parent)
    store.publish_views()
    done = proof.model_copy(update={"state": "done"})
    _write(store, path, done)
    # The chain of the audit log holds the digest of the proof, so that neither can be changed alone.
    detail = f"{done.files} files, {done.bytes} bytes, proof {digest(done.model_dump(mode='json'))}"
    ledger.note(done.by, f"purged {len(done.partitions)} partitions before {done.before}", done.at, detail=detail)
    return done, path


def _tidy(folder: Path) -> None:
    """Take away a folder that stands empty now (``period=…``)."""
    if not any(folder.iterdir()):
        folder.rmdir()


def _write(store: DiskStore, path: Path, proof: Purge) -> None:
    with store.writing(path) as beside:
        beside.write_text(proof.model_dump_json(indent=1), encoding="utf-8")


def _insist_retention(settings: Settings, before: dt.date, now: dt.datetime) -> None:
    last = now.date() - dt.timedelta(days=settings.config.retention_days)
    if before > last:
        raise WrongUse(
            f"{before} lies within the retention of {settings.config.retention_days} days",
            where="--before; npr.toml, retention_days",
            fix=f"give {last} or an earlier day",
        )


# --- what goes --------------------------------------------------------------------------------------------------------


def _chosen(home: Path, ledger: SqlLedger, before: dt.date) -> tuple[list[Key], list[Kept]]:
    """Partitions that go, and old ones that stay with the reason."""
    going, kept = [], []
    for key in _partitions(home):
        if Period.parse(key.period).end >= before:
            continue
        why = _unsettled(ledger, key, before)
        if why:
            kept.append(Kept(period=key.period, unit=key.unit, why=why))
        else:
            going.append(key)
    return going, kept


def _partitions(home: Path) -> list[Key]:
    folders = sorted(path for path in (home / "runs").glob("*/*") if path.is_dir())
    return [Key(period=folder.parent.name, unit=folder.name) for folder in folders]


def _unsettled(ledger: SqlLedger, key: Key, before: dt.date) -> str:
    rows = ledger.submissions(key)
    production = [row for row in rows if row.profile == PRODUCTION]
    if open_ := [row for row in rows if row.state in OPEN | UNDERWAY]:
        return f"submission {open_[-1].number} is {open_[-1].state.value}"
    if not production:
        return "never submitted towards production"
    if production[-1].state is not State.ACCEPTED:
        return f"submission {production[-1].number} is {production[-1].state.value}, not accepted"
    if production[-1].state_at.date() >= before:
        return f"submission {production[-1].number} was accepted on {production[-1].state_at.date()}"
    return ""


def _places(home: Path, going: Sequence[Key], before: dt.date) -> Iterator[Path]:
    for key in going:
        for root in (home, home / IDENTITY):
            yield from root.glob(f"lake/*/*/period={key.period}/unit={key.unit}")
            yield from root.glob(f"fragments/*/{key.period}/{key.unit}")
        yield from (home / IDENTITY).glob(f"documents/{key.period}/{key.unit}")
        yield from home.glob(f"submissions/{key.period}/{key.unit}/*/kept")
        records = (home / "runs" / key.period / key.unit).glob("*.json")
        yield from (path for path in records if path.name not in STAYS)
    yield from _snapshots(home, set(map(str, going)), before)


def _answers(home: Path, ledger: SqlLedger, going: Sequence[Key], before: dt.date, now: dt.datetime) -> Iterator[Path]:
    """Files of the register's answers that go: whole mails and archives as they came, and the errors read from them.

    They quote what was sent, so they go with the partition they speak of. A file that speaks of one that stays, stays.
    """
    folder = home / IDENTITY / ANSWERS
    joined = _joined(ledger, now)
    gone = {digest for digest, key in joined.items() if key in going}
    yield from (path for path in folder.glob("errors/*.parquet") if path.stem in gone)
    for path in folder.glob("holds/*.json"):
        held = Holds.model_validate_json(path.read_bytes())
        keys = {joined[digest] for digest in held.answers if digest in joined}
        if keys <= set(going) if keys else held.at.date() < before:
            yield path
            raw = folder / "raw" / path.stem
            yield from (one for one in (raw,) if one.is_file())
            lone = set(held.answers) - joined.keys()
            errors = (folder / "errors" / f"{digest}.parquet" for digest in lone)
            yield from (one for one in errors if not keys and one.is_file())
    for path in (*folder.glob("aside/*"), *folder.glob("tries/*")):
        if dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC).date() < before:
            yield path


def _joined(ledger: SqlLedger, now: dt.datetime) -> dict[str, Key]:
    """Digest of each answer that was joined to a part -> its partition."""
    return {
        answer.digest: key
        for key in {Key(period=row.period, unit=row.unit) for row in ledger.states(now)}
        for row in ledger.submissions(key)
        for _, answer in ledger.answers(key, row.number)
    }


def _snapshots(home: Path, going: set[str], before: dt.date) -> Iterator[Path]:
    """Folders of old snapshots that no partition which stays was made of."""
    needed = set()
    for key in _partitions(home):
        record = home / "runs" / key.period / key.unit / SNAPSHOT
        if str(key) not in going and record.is_file():
            needed.add((key.unit, Snapshot.model_validate_json(record.read_bytes()).id))
    for folder in home.glob("lake/snapshot/*/*"):
        record = folder / SNAPSHOT
        if (folder.parent.name, folder.name) in needed or not record.is_file():
            continue
        if Snapshot.model_validate_json(record.read_bytes()).extracted_at.date() < before:
            yield folder
            private = home / IDENTITY / folder.relative_to(home)
            if private.is_dir():
                yield private


def _described(home: Path, place: Path) -> Removed:
    paths = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
    facts = [(str(path.relative_to(home)), path.stat().st_size, _sha256(path)) for path in paths]
    return Removed(
        path=str(place.relative_to(home)),
        files=len(facts),
        bytes=sum(size for _, size, _ in facts),
        sha256=digest(facts),
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
