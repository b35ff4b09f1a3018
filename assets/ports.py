"""What a stage needs of the outside world, as small interfaces.

Belongs here: the protocols of store and channel, and the ``Run`` that carries them with the partition. Does not
belong here: any implementation (``pipelines``).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from cryptography import x509
from pydantic import BaseModel

from schemas.config import Config, Unit
from schemas.decisions import Decision, DecisionKind
from schemas.period import Period
from schemas.receivers import Receiver
from schemas.records import Key, Manifest, PartIds, Submission
from schemas.registry import Registry
from transforms.ebms import Signer

R = TypeVar("R", bound=BaseModel)


class Store(Protocol):
    """Where data lies. Everything written becomes visible whole, by rename.

    ``identity`` selects the tree that only the identity path reads (mode 0700).
    """

    def table(self, layer: str, name: str, key: Key, *, identity: bool = False) -> Path:
        """Path of one Parquet table of a partition."""

    def snapshot(self, unit: str, snapshot: str, *, identity: bool = False) -> Path:
        """Folder of one frozen extract."""

    def fragments(self, module: str, key: Key, *, identity: bool = False) -> Path:
        """Folder of the rendered patients of one module."""

    def writing(self, path: Path) -> AbstractContextManager[Path]:
        """A path beside ``path`` to write to; renamed to it when the block ends without error."""

    def writing_folder(self, path: Path) -> AbstractContextManager[Path]:
        """The same for a folder, which replaces an earlier one as a whole."""

    def scratch(self, *, identity: bool = False) -> AbstractContextManager[Path]:
        """A private temporary folder, gone when the block ends."""

    def save(self, stage: str, key: Key, record: BaseModel) -> None:
        """Write the record of a stage."""

    def load(self, stage: str, key: Key, kind: type[R]) -> R:
        """Read the record of a stage; DataRefused when it is not there."""

    def submission(self, key: Key, institusjon_id: str, year: int, inputs: str, now: dt.datetime) -> Submission:
        """The submission made of these inputs, or a new one with the next number and the next free lopenr."""

    def keep_ids(self, submission: Submission, ids: Sequence[PartIds]) -> Submission:
        """Store the ids of the parts; they are never changed afterwards."""

    def shipments(self, key: Key, number: int) -> Path:
        """Folder of the packed parts of a submission."""

    def publish_views(self) -> None:
        """Make ``npr.duckdb`` anew over what lies in the lake."""


class Channel(Protocol):
    """Hands a prepared submission over."""

    name: str

    def hand_over(self, folder: Path, manifest: Manifest) -> Mapping[str, str]:
        """Deliver the files of the folder; file name -> where it went. Safe to repeat."""


class Decisions(Protocol):
    """What named persons have decided. Kept in the ledger, never changed."""

    def decide(self, decision: Decision) -> None:
        """Keep a decision, and write it to the audit log."""

    def decisions(self, key: Key, kind: DecisionKind | None = None) -> Sequence[Decision]:
        """Decisions about a partition, oldest first."""


@dataclass(frozen=True, slots=True)
class Options:
    """What one run may override. modules: empty = what the period asks for."""

    extract: Path | None = None
    source: str | None = None
    limit_bytes: int | None = None
    modules: tuple[str, ...] = ()


def _silent(stage: str, done: int, total: int) -> None:
    """No progress shown."""


@dataclass(frozen=True, slots=True)
class Run:
    """One partition on its way through the stages, with all it needs."""

    key: Key
    period: Period
    unit: Unit
    modules: tuple[str, ...]
    config: Config
    options: Options
    store: Store
    sources: Path
    now: Callable[[], dt.datetime]
    receiver: Callable[[], tuple[Receiver, x509.Certificate]]
    channel: Callable[[], Channel]
    pipeline: str
    progress: Callable[[str, int, int], None] = field(default=_silent)
    registry: Registry = field(default_factory=Registry)
    signer: Callable[[], Signer | None] = field(default=lambda: None)


class Workbench(Protocol):
    """Opens a partition. The one Dagster resource of the project."""

    def open(self, partition_key: str) -> Run:
        """The run of a Dagster partition key ``period|unit``."""
