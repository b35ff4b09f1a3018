"""Where data lies: a folder tree in which everything becomes visible whole.

Belongs here: paths, atomic writing, private rooms, stage and submission records. Does not belong here: what is in the
files; the analysts' database (``pipelines.views``).

    NPR_HOME/lake/<layer>/<table>/period=P/unit=U/data.parquet    activity; layers snapshot, staging, scope, message,
    finding NPR_HOME/fragments/<module>/<period>/<unit>/                  rendered patients of activity modules
    NPR_HOME/identity/...                                         the same tree once more, 0700, for identity only
    NPR_HOME/runs/<period>/<unit>/<stage>.json                    records of stages
    NPR_HOME/submissions/<period>/<unit>/0001/                    submission.json, parts/ with the packed parts
    NPR_HOME/outbox/<period>/<unit>/0001/                         what the folder channel handed over
    NPR_HOME/tmp, NPR_HOME/identity/tmp                           private rooms, swept by the next run
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel

from pipelines import views
from schemas.errors import DataRefused, WrongUse
from schemas.records import Key, PartIds, Submission

R = TypeVar("R", bound=BaseModel)
IDENTITY = "identity"
SUBMISSION = "submission.json"
FOREIGN_SECONDS = 7 * 24 * 3600


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

    def fragments(self, module: str, key: Key, *, identity: bool = False) -> Path:
        """Folder of the rendered patients of one module."""
        return self._root(identity=identity) / "fragments" / module / key.period / key.unit

    def shipments(self, key: Key, number: int) -> Path:
        """Folder of the packed parts of a submission."""
        return self._submission(key, number) / "parts"

    def _submission(self, key: Key, number: int) -> Path:
        return self.home / "submissions" / key.period / key.unit / f"{number:04}"

    def _record(self, stage: str, key: Key) -> Path:
        return self.home / "runs" / key.period / key.unit / f"{stage}.json"

    # --- writing ------------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make the folders that must be private before anything is written."""
        self.home.mkdir(parents=True, exist_ok=True)
        for private in (self.home / IDENTITY, self.home / "tmp", self.home / IDENTITY / "tmp"):
            private.mkdir(mode=0o700, exist_ok=True)
            private.chmod(0o700)

    @contextmanager
    def writing(self, path: Path) -> Iterator[Path]:
        """A path to write to; synced and renamed to ``path`` when the block ends without error."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with self.scratch(identity=self._is_identity(path)) as room:
            beside = room / path.name
            yield beside
            _sync(beside)
            beside.replace(path)
            _sync(path.parent)

    @contextmanager
    def writing_folder(self, path: Path) -> Iterator[Path]:
        """A folder to fill; renamed to ``path`` when the block ends without error, in place of an earlier one."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with self.scratch(identity=self._is_identity(path)) as room:
            beside = room / "new"
            beside.mkdir()
            yield beside
            for file in beside.rglob("*"):
                _sync(file)
            _sync(beside)
            if path.exists():
                path.rename(room / "old")
            beside.rename(path)
            _sync(path.parent)

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

    def publish_views(self) -> None:
        """Make the analysts' database anew."""
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

    # --- submissions --------------------------------------------------------------------------------------------------

    def submissions(self, key: Key) -> Sequence[Submission]:
        """Submissions of a partition, oldest first."""
        return self._read(f"{key.period}/{key.unit}/*/{SUBMISSION}")

    def submission(self, key: Key, institusjon_id: str, year: int, inputs: str, now: dt.datetime) -> Submission:
        """The newest submission if it was made of these inputs, else a new one with the next free numbers."""
        with self.locked(f"lopenr-{institusjon_id}-{year}"):
            known = self.submissions(key)
            same = known[-1] if known and known[-1].inputs == inputs else None
            if same and same.ids:
                return same
            # A run that died before its parts had ids begins anew: others may have taken its numbers since.
            fresh = Submission(
                number=same.number if same else len(known) + 1,
                key=key,
                institusjon_id=institusjon_id,
                year=year,
                inputs=inputs,
                created_at=same.created_at if same else now,
                first_lopenr=self._free_lopenr(institusjon_id, year),
            )
            self._write(fresh)
            return fresh

    def _free_lopenr(self, institusjon_id: str, year: int) -> int:
        """The next number of an institution's files in a year: from 1, and never used twice."""
        used = [s for s in self._read(f"*/*/*/{SUBMISSION}") if (s.institusjon_id, s.year) == (institusjon_id, year)]
        return max((s.first_lopenr + len(s.ids) for s in used), default=1)

    def keep_ids(self, submission: Submission, ids: Sequence[PartIds]) -> Submission:
        """Store the ids of the parts; they are never changed afterwards."""
        with self.locked(f"lopenr-{submission.institusjon_id}-{submission.year}"):
            kept = submission.model_copy(update={"ids": tuple(ids)})
            self._write(kept)
            return kept

    def _read(self, pattern: str) -> list[Submission]:
        paths = sorted((self.home / "submissions").glob(pattern))
        return [Submission.model_validate_json(path.read_bytes()) for path in paths]

    def _write(self, submission: Submission) -> None:
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


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
