"""``npr inbox``: takes the register's answers out of folders, and keeps each once.

Belongs here: folders and files, passwords, tries, what is set aside, the order of writing. Does not belong here: what
an answer says (``transforms.answers``), joining it to a part (``pipelines.ledger``), findings made of it
(``assets.answered``).

Answers hold health data. All of them lie under NPR_HOME/identity (0700), and nothing that they say but codes, counts
and ids of messages goes anywhere else:

    identity/answers/mail/<channel>/          messages of a channel's mailbox, as they were fetched
    identity/answers/raw/<sha256>             a file as it came, once however often it comes
    identity/answers/holds/<sha256>.json      which answers a file holds, and when it came; npr purge goes by it
    identity/answers/errors/<sha256>.parquet  errors of one report, row by row, named by the report's digest
    identity/answers/tries/<sha256>.json      how often a file could not be read, and why
    identity/answers/aside/                   files set aside after three tries

Order: raw file, then errors, then the ledger, then what the file holds, then the file leaves the folder. A kill in
between repeats and loses nothing: all are named by digest.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import os
import re
import shutil
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import polars as pl
from pydantic import BaseModel

from assets.checkpoints import checkpoint
from pipelines.channels.acknowledged import of_other_bytes
from pipelines.channels.mailbox import Mailbox
from pipelines.home.store import IDENTITY, DiskStore
from pipelines.ledger.book import SqlLedger, ledger_of
from pipelines.parties.keys import insist_private, reading_keys
from pipelines.parties.receipt_trust import Believing
from pipelines.settings import Settings
from schemas.answered import Answered
from schemas.config import Config, EbxmlSmtpSettings
from schemas.errors import Bug, CannotKeep, DataRefused, NprError, WrongUse, of_system
from schemas.feedback_fields import feedback_fields
from schemas.records import Key
from schemas.sending import Answer, Fate, SentPart, Taken
from schemas.submission_states import Event, State
from transforms.answers.error_table import error_table
from transforms.answers.reading import read
from transforms.answers.signed import Signature, signature_of
from transforms.answers.unpacking import NeedsPassword, documents, shown
from transforms.shipping.cms import decrypt
from transforms.shipping.ebms import message_id_of
from transforms.shipping.packing import mail_id_of

FOLDER: Final = "answers"
MAIL: Final = "mail"
INBOX: Final = "inbox"
TRIES: Final = 3
MOST_BYTES: Final = 64_000_000
SETTLED_SECONDS: Final = 10
"""A file that was changed since is left alone: someone may still be writing it."""
PASSWORD: Final = "NPR_FEEDBACK_PASSWORD"  # noqa: S105 - the name of a variable
_Place = tuple[str, int | None, int | None]  # institution, year, lopenr
_MONTH: Final = re.compile(r"20[0-9]{2}-(0[1-9]|1[0-2])")


class _Tried(BaseModel):
    name: str
    tries: int
    reason: str


class Holds(BaseModel):
    """What a file of the inbox held. answers: digests of its documents that are answers. at: UTC, when it came."""

    at: dt.datetime
    answers: tuple[str, ...]


@dataclass(slots=True)
class Report:
    """What one look did. parts: those of which something was learned.

    unread: mailboxes and folders that could not be read.
    """

    taken: list[dict[str, Any]] = field(default_factory=list)
    waiting: list[dict[str, str]] = field(default_factory=list)
    aside: list[dict[str, str]] = field(default_factory=list)
    unread: list[NprError] = field(default_factory=list)
    joined: int = 0
    parts: list[SentPart] = field(default_factory=list)

    def submissions(self) -> list[tuple[Key, int]]:
        """Submissions of which something was learned."""
        return sorted({(part.key, part.submission) for part in self.parts}, key=str)


def take_in(
    settings: Settings, now: dt.datetime, folders: Sequence[Path] = (), settled: float = SETTLED_SECONDS
) -> Report:
    """Take all answers out of mailboxes and folders, and try again to join what was parked.

    folders: empty = those of the settings, and the mailboxes of channels. A mailbox or folder that cannot be read is
    told of and holds up nothing. A file that cannot be read stays for the next look, and is set aside after three;
    one that is locked waits for its password, however long. All others flow on. A ledger or disk that says no is no
    fault of a file: it ends the look (CannotKeep), and counts as no try.
    """
    store = DiskStore(settings.home)
    store.prepare(FOLDER)
    look = _Look(settings, store, now)
    with store.locked("inbox"):
        for folder in folders or folders_of(settings):
            look.through(folder, settled)
        for name, mailbox in [] if folders else mailboxes_of(settings.config):
            look.into(mailbox, mail_folder(store, name))
        joined = look.ledger.retry_parked(now)
    look.report.joined = len(joined)
    look.report.parts += [one.part for one in joined if one.part]
    return look.report


def folders_of(settings: Settings) -> list[Path]:
    """Folders in which answers arrive: those of [inbox] and of channels, or inbox in NPR_HOME."""
    named = list(settings.config.inbox.folders)
    channels = [path for one in settings.config.channels.values() if (path := getattr(one, "inbox", None))]
    return list(dict.fromkeys([*named, *channels])) or [settings.home / INBOX]


def may_have_come(settings: Settings) -> bool:
    """Whether a look may find something: a file in a folder, or there is a mailbox, of which only a look can tell."""
    return bool(mailboxes_of(settings.config)) or any(files(folder) for folder in folders_of(settings))


def mailboxes_of(config: Config) -> list[tuple[str, Mailbox]]:
    """Mailboxes of channels, by the name of the channel. One that serves nothing new is still read."""
    given = {name: one.mailbox for name, one in config.channels.items() if isinstance(one, EbxmlSmtpSettings)}
    return [(name, Mailbox(box, name)) for name, box in given.items() if box is not None]


def mail_folder(store: DiskStore, channel: str) -> Path:
    """Where the messages of a channel's mailbox are put away."""
    return store.home / IDENTITY / FOLDER / MAIL / channel


def files(folder: Path) -> list[Path]:
    """Finished files of a folder, in the order of their names: no links, none hidden, none half written."""
    if not folder.is_dir():
        return []
    found = sorted(path for path in folder.iterdir() if path.is_file() and not path.is_symlink())
    return [path for path in found if not path.name.startswith(".") and path.suffix not in (".tmp", ".part")]


class _Look:
    """One look into the folders."""

    def __init__(self, settings: Settings, store: DiskStore, now: dt.datetime) -> None:
        self.settings, self.store, self.now = settings, store, now
        self.ledger: SqlLedger = ledger_of(settings.home, settings.config.ledger.url, settings.config.ledger.url_file)
        self.fields = feedback_fields(settings.config.inbox.mapping)
        self.passwords = passwords_of(settings)
        self.report = Report()
        self.believing = Believing(settings.config, store, now)
        self._place = store.home / IDENTITY / FOLDER

    def through(self, folder: Path, settled: float) -> None:
        """Take all files of a folder. One that npr.toml names and that is not there is told of."""
        if not folder.is_dir() and folder != self.settings.home / INBOX:
            self.report.unread.append(
                WrongUse(
                    f"{folder}: no such folder, so no answer was taken from it",
                    where="npr.toml, [inbox] folders or a channel's inbox",
                    fix="make it, or mount what it lies on, or correct npr.toml",
                )
            )
        for path in files(folder):
            self.at(path, settled)

    def into(self, mailbox: Mailbox, folder: Path) -> None:
        """Put away what a mailbox holds, and take it; then what an earlier look had put away and not taken."""
        try:
            self.report.waiting += mailbox.take(self.store, folder).left
        except NprError as refused:
            self.report.unread.append(refused)
        for path in files(folder):
            self.at(path, 0, by_mail=True)

    def at(self, path: Path, settled: float, *, by_mail: bool = False) -> None:
        """Take one file, or say why not. by_mail: it came by a mailbox, so receipts in it must be signed."""
        name = shown(path.name)
        digest = self._digest(path, name, settled)
        if not digest:
            return
        try:
            self._take(path, digest, name, by_mail=by_mail)
        except NeedsPassword as locked:
            self._waits(name, locked.what)
            return
        except CannotKeep:
            raise  # nothing is wrong with the file: it stays where it is, and the look ends
        except NprError as refused:
            self._tried(path, digest, name, refused.what)
            return
        except Exception as error:  # noqa: BLE001 - one bad file never holds up the others
            if (ours := of_system(error)) is not None:
                raise ours from None
            self._tried(path, digest, name, str(Bug(error)))
            return
        (self._place / "tries" / f"{digest}.json").unlink(missing_ok=True)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            self._waits(name, f"was taken, and cannot be removed: {error.strerror}")

    def _digest(self, path: Path, name: str, settled: float) -> str:
        """SHA-256 of a file that may be taken now; empty for any other."""
        try:
            if time.time() - path.stat().st_mtime >= settled:
                return _sha256(path)
            self._waits(name, "was changed a moment ago")
        except FileNotFoundError:
            pass  # somebody else was faster
        except OSError as error:
            self._waits(name, f"cannot be read: {error.strerror}")
        return ""

    def _waits(self, name: str, why: str) -> None:
        self.report.waiting.append({"file": name, "why": why})

    def _take(self, path: Path, digest: str, name: str, *, by_mail: bool) -> None:
        data = _content(path, name)
        self._keep(data, digest)
        found: list[str] = []
        first = None
        signature = signature_of(data) if by_mail else None
        try:
            for answered in self._answers(data, name, signature):
                if isinstance(answered, DataRefused):
                    first = first or answered
                    continue
                judged = self._compared(answered)
                self._record(judged, name)
                found.append(judged.answer.digest)
        finally:
            self._hold(digest, found)
        if first is not None:
            raise first
        if not found:
            raise DataRefused(f"{name} holds no answer", rule="AppRec, ebMS, NPR_VAL or NPR_ERR")

    def _answers(self, data: bytes, name: str, signature: Signature | None) -> Iterator[Answered | DataRefused]:
        """Each answer of a file; a document that cannot be used does not hold up those beside it."""
        for document in documents(data, name, self.passwords, self._opener):
            try:
                answered = read(document, self.fields, self.now, lambda ref: self._ebms.get(ref, ""))
            except DataRefused as refused:
                yield refused
                continue
            if answered is not None:
                yield self._judged(answered, signature, locked=document.locked) if signature else answered

    def _judged(self, answered: Answered, signature: Signature, *, locked: bool) -> Answered:
        """The same with what speaks against believing it. locked: it came out of a locked archive."""
        answer = answered.answer
        profile, unit = self._whose.get(answer.msg_id or _place(answer), ("", ""))
        open_news = Event.CONTENT_CLEAN in answer.events and not locked
        suspect = self.believing.suspicion(signature, answer.kind, profile, unit, open_news=open_news)[:500]
        return replace(answered, answer=answer.model_copy(update={"suspect": suspect}))

    def _compared(self, answered: Answered) -> Answered:
        """The same, and suspect where it acknowledges other bytes than those that left."""
        answer = answered.answer
        part = next((one for one in self._parts if answered.references and one.msg_id == answer.msg_id), None)
        if part is None or answer.suspect:
            return answered
        suspect = of_other_bytes(self.store, part, answered.references)
        return replace(answered, answer=answer.model_copy(update={"suspect": suspect}))

    def _record(self, answered: Answered, name: str) -> None:
        digest = answered.answer.digest
        if answered.errors:
            checkpoint("inbox.errors")
            path = self._place / "errors" / f"{digest}.parquet"
            if not path.exists():
                with self._writing(path) as beside:
                    table = io.BytesIO()  # what the disk says while polars writes is no error of the system
                    error_table(answered.errors).write_parquet(table)
                    beside.write_bytes(table.getvalue())
        checkpoint("inbox.take")
        taken = self.ledger.take(answered.answer)
        checkpoint("inbox.taken")
        self.report.taken.append(_told(answered, taken, name))
        if taken.fate is Fate.TAKEN and taken.part:
            self.report.parts.append(taken.part)

    def _keep(self, data: bytes, digest: str) -> None:
        raw = self._place / "raw" / digest
        if not raw.exists():
            checkpoint("inbox.keep")
            with self._writing(raw) as beside:
                beside.write_bytes(data)

    @contextmanager
    def _writing(self, path: Path) -> Iterator[Path]:
        """As ``store.writing``; the file is its owner's alone, whatever the umask."""
        with self.store.writing(path) as beside:
            yield beside
            beside.chmod(0o600)

    def _hold(self, digest: str, found: Sequence[str]) -> None:
        path = self._place / "holds" / f"{digest}.json"
        before = Holds.model_validate_json(path.read_bytes()) if path.is_file() else Holds(at=self.now, answers=())
        holds = before.model_copy(update={"answers": tuple(dict.fromkeys((*before.answers, *found)))})
        if holds != before or not path.is_file():
            with self._writing(path) as beside:
                beside.write_text(holds.model_dump_json(), encoding="utf-8")

    def _tried(self, path: Path, digest: str, name: str, reason: str) -> None:
        record = self._place / "tries" / f"{digest}.json"
        before = _Tried.model_validate_json(record.read_bytes()).tries if record.is_file() else 0
        tried = _Tried(name=name, tries=before + 1, reason=reason)
        with self._writing(record) as beside:
            beside.write_text(tried.model_dump_json(), encoding="utf-8")
        if tried.tries < TRIES:
            self._waits(name, f"{reason} (try {tried.tries} of {TRIES})")
            return
        aside = self._place / "aside" / digest
        try:
            with self._writing(aside) as beside:
                shutil.copyfile(path, beside)
            path.unlink(missing_ok=True)
        except OSError as error:
            self._waits(name, f"{reason}; it cannot be moved: {error.strerror}")
            return
        self.ledger.note("inbox", "answer set aside", self.now, detail=f"{digest} {reason}"[:300])
        self.report.aside.append({"file": name, "why": reason, "place": str(aside)})

    @cached_property
    def _parts(self) -> Sequence[SentPart]:
        return self.ledger.parts_in(frozenset(State))

    @cached_property
    def _whose(self) -> dict[str | _Place, tuple[str, str]]:
        """MsgId, and institution, year and lopenr -> profile and unit."""
        found: dict[str | _Place, tuple[str, str]] = {}
        for part in self._parts:
            place = (part.institusjon_id, int(part.key.period[:4]), part.lopenr)
            found |= dict.fromkeys((part.msg_id, place), (part.profile, part.key.unit))
        return found

    @cached_property
    def _ebms(self) -> dict[str, str]:
        """eb:MessageId, and Message-ID of the mail -> MsgId of all parts that may have left."""
        found: dict[str, str] = {}
        for part in self._parts:
            try:
                found |= {message_id_of(part.msg_id): part.msg_id, mail_id_of(part.msg_id): part.msg_id}
            except ValueError:  # an id from before ids were UUIDs
                continue
        return found

    @cached_property
    def _opener(self) -> Callable[[bytes], bytes] | None:
        config = self.settings.config
        pairs = [pair for unit in config.units.values() for pair in reading_keys(config.certificates_of(unit))]
        return (lambda envelope: decrypt(envelope, pairs)) if pairs else None


def _told(answered: Answered, taken: Taken, name: str) -> dict[str, Any]:
    """What a person is told of an answer: nothing of what it says but kind and count."""
    part = taken.part
    place = {"period": part.key.period, "unit": part.key.unit, "submission": part.submission} if part else {}
    more = {"msg_id": part.msg_id, "module": part.module, "part": part.part, "state": part.state.value} if part else {}
    return {
        "file": name,
        "kind": answered.answer.kind,
        "fate": taken.fate.value,
        "reason": taken.reason,
        "errors": len(answered.errors),
        **place,
        **more,
    }


def _place(answer: Answer) -> _Place:
    return answer.institusjon_id, answer.year, answer.lopenr


def _content(path: Path, name: str) -> bytes:
    """A file of the inbox. DataRefused where the file is what stands in the way."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataRefused(f"{name} is larger than any answer", rule=f"at most {MOST_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        raise DataRefused(f"cannot be read: {error.strerror}") from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- passwords --------------------------------------------------------------------------------------------------------


def passwords_of(settings: Settings) -> list[str]:
    """Passwords of the register's archives, the newest month first.

    From NPR_FEEDBACK_PASSWORD and NPR_FEEDBACK_PASSWORD_2026_11, then the file of [inbox] passwords. WrongUse when
    others may read the file, or it is not as it must be.
    """
    variables = sorted((name for name in os.environ if name.startswith(f"{PASSWORD}_")), reverse=True)
    found = [value for name in (PASSWORD, *variables) if (value := os.environ.get(name))]
    path = settings.config.inbox.passwords
    if path is not None:
        insist_private(path)
        found += _of_file(path)
    return list(dict.fromkeys(found))


def _of_file(path: Path) -> list[str]:
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        given = {"": None}  # what the parser says quotes the line
    if not all(_MONTH.fullmatch(month) and isinstance(value, str) for month, value in given.items()):
        raise WrongUse(
            f"{path}: is not month by month", where="npr.toml, [inbox] passwords", fix='lines such as "2026-11" = "…"'
        )
    return [str(given[month]) for month in sorted(given, reverse=True)]


def errors_of(store: DiskStore, digest: str) -> pl.DataFrame | None:
    """Errors of one report, or None where it held none or they were purged."""
    path = store.home / IDENTITY / FOLDER / "errors" / f"{digest}.parquet"
    return pl.read_parquet(path) if path.is_file() else None
