"""Where data lies: a folder tree in which everything becomes visible whole.

Belongs here: paths, atomic writing, private rooms, records of stages. Does not belong here: what is in the files; what
is certain about submissions (``pipelines.ledger``); the analysts' database (``pipelines.home.views``).

    NPR_HOME/lake/<layer>/<table>/period=P/unit=U/data.parquet    activity; layers snapshot, staging, scope, message,
    finding NPR_HOME/fragments/<module>/<period>/<unit>/                  rendered patients of activity modules
    NPR_HOME/identity/...                                         the same tree once more, 0700, for identity only
    NPR_HOME/runs/<period>/<unit>/<stage>.json                    records of stages
    NPR_HOME/submissions/<period>/<unit>/0001/                    packed parts in parts/, kept/, submission.json: a
                                                                  copy of what the ledger knows
    NPR_HOME/ledger.sqlite                                        the ledger, unless npr.toml names another place
    NPR_HOME/guard/                                               content labelled as test, one file each, for good
    NPR_HOME/outbox/<period>/<unit>/0001/                         what the outbox of a rehearsal handed over
    NPR_HOME/channels/<name>/                                     what a channel has begun and ended, one file a part
    NPR_HOME/identity/documents/<period>/<unit>/0001/             head messages for channels that take them unpacked
    NPR_HOME/tmp, NPR_HOME/identity/tmp                           private rooms, swept by the next run
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError

from assets.checkpoints import checkpoint
from pipelines.home import pseudonym_key
from schemas.errors import SYSTEM, CannotKeep, DataRefused, WrongUse
from schemas.guard import TestLabel
from schemas.records import Key, Snapshot, Submission

R = TypeVar("R", bound=BaseModel)
IDENTITY = "identity"
SUBMISSION = "submission.json"
FOREIGN_SECONDS = 7 * 24 * 3600
SNAPSHOT = "snapshot.json"
GUARD = "guard"


class DiskStore:
    """The store on a local or mounted file system. All under one folder, which is made on first use."""

    def __init__(self, home: Path) -> None:
        self.home = home.resolve()

    # --- places -------------------------------------------------------------------------------------------------------

    def _root(self, *, identity: bool) -> Path:
        return self.home / IDENTITY if identity else self.home

    def table(self, layer: str, name: str, key: Key, *, identity: bool = False) -> Path:
        """Path of one Parquet table of a partition."""
        place = Path("lake") / layer / name / f"period={key.period}" / f"unit={key.unit}" / "data.parquet"
        return self._root(identity=identity) / place

    def snapshot(self, unit: str, snapshot: str, *, identity: bool = False) -> Path:
        """Folder of one frozen extract."""
        return self._root(identity=identity) / "lake" / "snapshot" / unit / snapshot

    def load_snapshot(self, unit: str, snapshot: str) -> Snapshot:
        """The record inside the folder of a frozen extract; DataRefused when it is not there."""
        path = self.snapshot(unit, snapshot) / SNAPSHOT
        if not path.is_file():
            raise DataRefused(
                f"snapshot {snapshot} of {unit} is not there", where=str(path), fix="make the report again"
            )
        return Snapshot.model_validate_json(path.read_bytes())

    def fragments(self, module: str, key: Key, *, identity: bool = False) -> Path:
        """Folder of the rendered patients of one module."""
        return self._root(identity=identity) / "fragments" / module / key.period / key.unit

    def shipments(self, key: Key, number: int) -> Path:
        """Folder of the packed parts of a submission."""
        return self._submission(key, number) / "parts"

    def documents(self, key: Key, number: int) -> Path:
        """Folder of the head messages of a submission. They are not encrypted, so they lie in the identity tree."""
        return self.home / IDENTITY / "documents" / key.period / key.unit / f"{number:04}"

    def _submission(self, key: Key, number: int) -> Path:
        return self.home / "submissions" / key.period / key.unit / f"{number:04}"

    def _record(self, stage: str, key: Key) -> Path:
        return self.home / "runs" / key.period / key.unit / f"{stage}.json"

    # --- writing ------------------------------------------------------------------------------------------------------

    def prepare(self, *below: str) -> None:
        """Make the folders that must be private before anything is written. below: more of the identity tree."""
        self.home.mkdir(parents=True, exist_ok=True)
        identity = self.home / IDENTITY
        for private in (identity, self.home / "tmp", *(identity / name for name in ("tmp", *below))):
            private.mkdir(mode=0o700, exist_ok=True)
            private.chmod(0o700)

    @contextmanager
    def writing(self, path: Path) -> Iterator[Path]:
        """A path to write to; synced and renamed to ``path`` when the block ends without error."""
        with _clear_errors(path), self.scratch(identity=self._is_identity(path)) as room:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = room / path.name
            yield beside
            sync(beside)
            checkpoint("store.rename")
            beside.replace(path)
            checkpoint("store.renamed")
            sync(path.parent)

    @contextmanager
    def writing_folder(self, path: Path) -> Iterator[Path]:
        """A folder to fill; renamed to ``path`` when the block ends without error, in place of an earlier one."""
        with _clear_errors(path), self.scratch(identity=self._is_identity(path)) as room:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = room / "new"
            beside.mkdir()
            yield beside
            for file in beside.rglob("*"):
                sync(file)
            sync(beside)
            checkpoint("store.rename_folder")
            if path.exists():
                path.rename(room / "old")
                checkpoint("store.folder_moved_away")
            beside.rename(path)
            checkpoint("store.renamed_folder")
            sync(path.parent)

    @contextmanager
    def scratch(self, *, identity: bool = False) -> Iterator[Path]:
        """A private temporary folder, gone when the block ends. A killed run leaves it to the next ``sweep``."""
        self.prepare()
        room = self._root(identity=identity) / "tmp" / f"{os.getpid()}-{uuid.uuid4().hex[:12]}-{socket.gethostname()}"
        room.mkdir(mode=0o700)
        try:
            yield room
        finally:
            shutil.rmtree(room, ignore_errors=True)

    def sweep(self) -> None:
        """Remove the rooms of processes that are gone; of other machines on a shared folder, those long left alone."""
        for tmp in (self.home / "tmp", self.home / IDENTITY / "tmp"):
            for room in tmp.iterdir() if tmp.is_dir() else ():
                if _abandoned(room):
                    shutil.rmtree(room, ignore_errors=True)

    def _is_identity(self, path: Path) -> bool:
        return path.is_relative_to(self.home / IDENTITY)

    def pseudonym_key(self) -> bytes:
        """The secret behind pseudonyms of this home."""
        self.prepare()
        return pseudonym_key.pseudonym_key(self.home)

    def kept(self, key: Key, number: int) -> Path:
        """Folder of what is kept of a submission to compare later ones with; no later run changes it."""
        return self._submission(key, number) / "kept"

    def publish_views(self) -> None:
        """Make the analysts' database anew."""
        from pipelines.home import views  # noqa: PLC0415 - imports DuckDB

        with self.locked("views"):
            views.publish(self.home, self.writing)

    # --- records ------------------------------------------------------------------------------------------------------

    def save(self, stage: str, key: Key, record: BaseModel) -> None:
        """Write the record of a stage."""
        with self.writing(self._record(stage, key)) as path:
            path.write_text(record.model_dump_json(indent=1), encoding="utf-8")

    def load(self, stage: str, key: Key, kind: type[R]) -> R:
        """Read the record of a stage; DataRefused when it is not there."""
        path = self._record(stage, key)
        if not path.is_file():
            raise DataRefused(
                f"{key}: {stage} has not been made", where=str(path), fix=f"npr run {key.period} --unit {key.unit}"
            )
        return kind.model_validate_json(path.read_bytes())

    # --- test content -------------------------------------------------------------------------------------------------

    def test_labels(self) -> Sequence[TestLabel]:
        """All content that was ever labelled test. DataRefused when the list is gone or one entry cannot be read."""
        folder = self.home / GUARD
        if not folder.is_dir():
            self._begin_labels(folder)
        try:
            return [TestLabel.model_validate_json(path.read_bytes()) for path in sorted(folder.glob("*.json"))]
        except (OSError, ValidationError):
            raise _list_gone(folder, "an entry of the list of test content cannot be read") from None

    def label_test(self, unit: str, prints: Mapping[str, str]) -> None:
        """Label content as test for good. prints: fingerprint -> what it is."""
        known = {label.fingerprint for label in self.test_labels()}
        today = dt.datetime.now(dt.UTC).date()
        for fingerprint, what in prints.items():
            if fingerprint not in known:
                label = TestLabel(fingerprint=fingerprint, what=what, unit=unit, since=today)
                with self.writing(self.home / GUARD / f"{fingerprint}.json") as path:
                    path.write_text(label.model_dump_json(), encoding="utf-8")

    def _begin_labels(self, folder: Path) -> None:
        # A home that has made submissions has had the list: an empty one in its place would let test data pass.
        if any((self.home / "submissions").glob("*/*/*")):
            raise _list_gone(folder, "the list of test content is gone")
        folder.mkdir(parents=True, exist_ok=True)

    # --- submissions --------------------------------------------------------------------------------------------------

    def copy_submission(self, submission: Submission) -> None:
        """Write what the ledger knows of a submission beside its parts, for people. Nothing reads it back."""
        with self.writing(self._submission(submission.key, submission.number) / SUBMISSION) as path:
            path.write_text(submission.model_dump_json(indent=1), encoding="utf-8")

    @contextmanager
    def locked(self, name: str, timeout: float = 60) -> Iterator[None]:
        """Hold a named lock; freed by the system when the process dies."""
        folder = self.home / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(folder / f"{name}.lock", timeout=timeout):
                yield
        except Timeout:
            raise WrongUse(
                f"another run holds {name}", where=str(folder), fix="wait for it to end, then run again"
            ) from None


def _list_gone(folder: Path, what: str) -> DataRefused:
    return DataRefused(
        f"{what}; nothing can leave",
        where=str(folder),
        rule="TEST-08: content once labelled test is never sent",
        fix="restore the folder from a backup; a home from before this list begins it with an empty folder",
    )


@contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in SYSTEM:
            raise
        raise CannotKeep(
            f"{path.name} cannot be written: {error.strerror}; what was there before is unharmed",
            where=str(path.parent),
            fix="make room, or mend disk or permissions, and run again",
        ) from None


def sync(path: Path) -> None:
    """Have a file or folder on the disk."""
    checkpoint("store.fsync")
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    checkpoint("store.fsynced")


def _abandoned(room: Path) -> bool:
    """Whether nobody works in a room. What runs on another machine cannot be seen from here, so it gets time."""
    pid, _, rest = room.name.partition("-")
    _, _, host = rest.partition("-")
    if host in ("", socket.gethostname()):
        return not _alive(int(pid))
    try:
        return time.time() - room.stat().st_mtime > FOREIGN_SECONDS
    except FileNotFoundError:
        return False


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
