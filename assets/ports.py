"""What a stage needs of the outside world, as small interfaces.

Belongs here: the protocols of store, ledger and channel, and the ``Run`` that carries them with the partition. Does
not belong here: any implementation (``pipelines``).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pydantic import BaseModel

from schemas.config import Config, Unit
from schemas.decisions import Decision, DecisionKind
from schemas.errors import DataRefused, WrongUse
from schemas.guard import TestLabel
from schemas.period import Period
from schemas.receivers import Receiver
from schemas.records import Key, Manifest, PartIds, ShipmentOut, Snapshot, Submission
from schemas.registry import Registry
from schemas.sending import (
    Answer,
    EventRow,
    ParkedRow,
    Receipt,
    SentPart,
    StateRow,
    SubmissionRow,
    Taken,
    TransportState,
)
from schemas.submission_states import Event, State

if TYPE_CHECKING:  # polars, cryptography and lxml: the ledger alone needs none of them
    from cryptography import x509

    from transforms.code_validity import CodeTables
    from transforms.shipping.ebms import Signer

R = TypeVar("R", bound=BaseModel)


class Store(Protocol):
    """Where data lies. Everything written becomes visible whole, by rename.

    ``identity`` selects the tree that only the identity path reads (mode 0700).
    """

    def table(self, layer: str, name: str, key: Key, *, identity: bool = False) -> Path:
        """Path of one Parquet table of a partition."""

    def snapshot(self, unit: str, snapshot: str, *, identity: bool = False) -> Path:
        """Folder of one frozen extract."""

    def load_snapshot(self, unit: str, snapshot: str) -> Snapshot:
        """The record inside that folder; DataRefused when it is not there."""

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

    def copy_submission(self, submission: Submission) -> None:
        """Write what the ledger knows of a submission beside its parts, for people. Nothing reads it back."""

    def shipments(self, key: Key, number: int) -> Path:
        """Folder of the packed parts of a submission."""

    def documents(self, key: Key, number: int) -> Path:
        """Folder of the head messages of a submission, in the identity tree, for channels that take them unpacked."""

    def kept(self, key: Key, number: int) -> Path:
        """Folder of what is kept of a submission to compare later ones with; no later run changes it."""

    def pseudonym_key(self) -> bytes:
        """The secret behind pseudonyms, the same for all runs of a home."""

    def test_labels(self) -> Sequence[TestLabel]:
        """All content that was ever labelled test. DataRefused when the list is gone or one entry cannot be read."""

    def label_test(self, unit: str, prints: Mapping[str, str]) -> None:
        """Label content as test for good. prints: fingerprint -> what it is. Labels are never taken away."""

    def publish_views(self) -> None:
        """Make ``npr.duckdb`` anew over what lies in the lake."""


class NotHandedOver(DataRefused):
    """It is certain that a part did not leave. retryable: the same part may go later as it is."""

    def __init__(self, what: str, *, retryable: bool, where: str = "", rule: str = "", fix: str = "") -> None:
        super().__init__(what, where=where, rule=rule, fix=fix)
        self.retryable = retryable


class Rejected(NotHandedOver):
    """The other side read the whole part and refused it for good. Only a deliberate resend sends it again."""

    def __init__(self, what: str, *, where: str = "", rule: str = "", fix: str = "") -> None:
        super().__init__(what, retryable=False, where=where, rule=rule, fix=fix)


class InDoubt(DataRefused):
    """Nobody knows whether a part left: the other side may have it. It is asked about, and never sent again by itself.

    A channel raises this from the moment on at which the other side may have taken the part; before, NotHandedOver.
    """


class Channel(Protocol):
    """Takes the finished parts of a submission away, one at a time.

    The ledger stands around it: ``hand_over`` is called once for a part, after this was written down. Any exception
    that is not NotHandedOver counts as doubt. A call ends within ``CHANNEL_SECONDS``, one way or the other.
    """

    @property
    def name(self) -> str:
        """Name of the channel, as in ``npr.toml``."""

    def hand_over(self, part: ShipmentOut, path: Path, manifest: Manifest) -> Receipt:
        """Hand over the file at ``path``, byte for byte. Raises NotHandedOver or InDoubt."""

    def ask(self, part: SentPart) -> TransportState:
        """What the other side says of a part, by MsgId or by the channel's reference. Never sends.

        ABSENT only where it is certain, for such a part is sent again. DataRefused where nobody can be asked now.
        """


CHANNEL_SECONDS = 300


class Channels(Protocol):
    """The channels of ``npr.toml`` for one unit and profile."""

    def __call__(self, name: str = "") -> Channel:
        """The channel that is chosen for what leaves now; with a name, the one that took a part before."""


class Decisions(Protocol):
    """What named persons have decided. Kept in the ledger, never changed."""

    def decide(self, decision: Decision) -> None:
        """Keep a decision, and write it to the audit log."""

    def decisions(self, key: Key, kind: DecisionKind | None = None) -> Sequence[Decision]:
        """Decisions about a partition, oldest first."""


class Ledger(Decisions, Protocol):
    """What is certain about every submission. Everything is written in one transaction, synced when it returns."""

    # --- making a submission ---

    def submission(self, key: Key, profile: str, unit: Unit, year: int, inputs: str, now: dt.datetime) -> Submission:
        """The newest submission of the profile if made of these inputs, else a new one with the next number.

        first_lopenr is the next free one of the institution and year, and is taken by ``keep_ids`` only.
        """

    def keep_ids(self, submission: Submission, ids: Sequence[PartIds]) -> Submission:
        """Take the numbers and ids of the parts for good. LopenrTaken when another submission was faster."""

    def seal(self, manifest: Manifest, now: dt.datetime) -> SubmissionRow:
        """Store the digests of the finished parts before anything may leave. DataRefused after a hand-over began."""

    # --- reading ---

    def submissions(self, key: Key) -> Sequence[SubmissionRow]:
        """Submissions of a partition, oldest first."""

    def parts(self, key: Key, submission: int) -> Sequence[SentPart]:
        """Parts of a submission, in the order in which they are sent."""

    def part(self, msg_id: str) -> SentPart:
        """One part. DataRefused for a MsgId that is not ours."""

    def parts_in(self, states: Collection[State]) -> Sequence[SentPart]:
        """All parts that stand in one of these states, oldest first."""

    def events(self, msg_id: str) -> Sequence[EventRow]:
        """All that happened to a part, oldest first."""

    def states(self, now: dt.datetime, periods: Sequence[str] = ()) -> Sequence[StateRow]:
        """State of each module of each submission. periods: empty = all."""

    def baseline(self, key: Key, profile: str = "production") -> SubmissionRow | None:
        """What the register keeps of a partition: the last submission accepted, else the last handed over."""

    # --- changing ---

    def record(self, msg_id: str, event: Event, note: Note) -> SentPart:
        """Write an event of a part. DataRefused when it cannot happen in the part's state."""

    def claim(self, key: Key, submission: int, owner: str, now: dt.datetime) -> bool:
        """Take the right to send a submission, or renew it; False while another process holds it."""

    def release(self, key: Key, submission: int, owner: str) -> None:
        """Give the right back."""

    def take(self, answer: Answer) -> Taken:
        """Take an answer of the register: stored once, joined to its part or parked with the reason."""

    def answers(self, key: Key, submission: int) -> Sequence[tuple[str, Answer]]:
        """Answers joined to the parts of a submission, in the order they came: MsgId and answer."""

    def parked(self) -> Sequence[ParkedRow]:
        """Answers that are not joined to a part, oldest first."""

    def retry_parked(self, now: dt.datetime) -> Sequence[Taken]:
        """Try to join them again, as after an event that was recorded late."""

    def note(self, who: str, what: str, at: dt.datetime, key: Key | None = None, detail: str = "") -> None:
        """Write a line to the audit log that no other method writes."""


class LopenrTaken(DataRefused):
    """Another submission of the institution took the numbers since; the parts are made anew with the next ones."""


@dataclass(frozen=True, slots=True)
class Note:
    """Who and when of an event. owner: the claim under which a hand-over begins. detail: never a value of a row."""

    by: str
    at: dt.datetime
    owner: str = ""
    channel: str = ""
    reference: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Codes:
    """The code lists at hand. digest: of the loaded ones; those that come with the program have their own."""

    tables: CodeTables
    digest: str


def _no_codes() -> Codes:
    """No list at all: every rule that needs one refuses."""
    from transforms.code_validity import code_tables  # noqa: PLC0415 - imports polars

    return Codes(code_tables([], {}), "")


@dataclass(frozen=True, slots=True)
class Options:
    """What one run may override. modules: empty = what the period asks for."""

    extract: Path | None = None
    source: str | None = None
    limit_bytes: int | None = None
    modules: tuple[str, ...] = ()


def _silent(stage: str, done: int, total: int) -> None:
    """No progress shown."""


def _no_channel() -> Channel:
    raise WrongUse("the unit has no channel for parts above the limits", where="npr.toml, channels")


def _no_database() -> AbstractContextManager[Reading]:
    raise WrongUse("the unit has no database", where="npr.toml", fix="see docs/sources.md, From a database")


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
    ledger: Ledger
    sources: Path
    now: Callable[[], dt.datetime]
    receiver: Callable[[], tuple[Receiver, x509.Certificate]]
    channel: Channels
    pipeline: str
    owner: str  # this process, as the ledger's claims name it
    progress: Callable[[str, int, int], None] = field(default=_silent)
    registry: Registry = field(default_factory=Registry)
    signer: Callable[[], Signer | None] = field(default=lambda: None)
    codes: Callable[[], Codes] = field(default=_no_codes)
    database: Callable[[], AbstractContextManager[Reading]] = field(default=_no_database)
    large_channel: Callable[[], Channel] = field(default=_no_channel)  # for parts that the other cannot carry
    guard: Callable[[Manifest], None] | None = None  # in place of ``assets.guard``, for tests of what stands around it


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a source. place: its file, for messages. values: of the parameters it may name as ``:name``."""

    place: str
    sql: str
    values: Mapping[str, str | dt.date]


class Reading(Protocol):
    """One read-only transaction on a database: all its queries see the same moment.

    began: that moment by the database's clock, Norwegian local time in whole seconds. What it raises is DataRefused or
    WrongUse, with the place of the query and without any value of a row, user or password.
    """

    began: dt.datetime

    def count(self, query: Query) -> int:
        """How many rows the query has, counted by the database."""

    def rows(self, query: Query) -> tuple[Sequence[str], Iterator[Sequence[tuple[Any, ...]]]]:
        """Names of the columns, and the rows in batches; no more than one batch is held."""


class Workbench(Protocol):
    """Opens a partition. The one Dagster resource of the project."""

    def open(self, partition_key: str) -> Run:
        """The run of a Dagster partition key ``period|unit``."""
