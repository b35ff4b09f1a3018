"""Opening the database of the ledger and writing to it in whole transactions.

Belongs here: where it lies, how it is opened and brought up to date, what a failed write says. Does not belong here:
what is written (``pipelines.ledger.book``).

SQLite runs with WAL and ``synchronous=FULL``: a transaction is on the disk when it is over. On both databases there is
one writer at a time; the ledger writes a few rows per message, so nothing is gained by more.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from filelock import FileLock

from assets.checkpoints import checkpoint
from pipelines.ledger.tables import HEAD
from schemas.errors import CannotKeep, DataRefused, WrongUse

FILE = "ledger.sqlite"
URL = "NPR_LEDGER_URL"
_BUSY_MS = 30_000
_POSTGRES_LOCK = 0x4E5052  # one number for all who write to this ledger
_NO_RIGHT = "42501"  # SQLSTATE insufficient_privilege; the driver's text names tables, and may quote
_MIGRATIONS = Path(__file__).parent / "migrations"


def url_of(home: Path, url: str | None, url_file: Path | None) -> sa.URL:
    """Address of the ledger: environment, file, npr.toml, or the SQLite file of NPR_HOME.

    Credentials come from the environment or from a file that only its owner can read; never from npr.toml.
    """
    text = os.environ.get(URL) or (_secret(url_file) if url_file else None) or url
    if not text:
        return sa.URL.create("sqlite", database=str(home / FILE))
    try:
        made = sa.make_url(text)
    except sa.exc.ArgumentError:
        raise WrongUse("the address of the ledger is no database URL", where=f"ledger.url or {URL}") from None
    if made.password and text == url:
        raise WrongUse(
            "a password stands in npr.toml",
            where="ledger.url",
            rule="credentials come from the environment or a file of mode 0600",
            fix=f"put the whole URL into {URL} or into a file named by ledger.url_file, and change the password",
        )
    if made.get_backend_name() not in ("sqlite", "postgresql"):
        raise WrongUse("the ledger is kept in SQLite or PostgreSQL", where="ledger.url", fix="see docs/sending.md")
    return made.set(drivername="postgresql+psycopg") if made.get_backend_name() == "postgresql" else made


def _secret(path: Path) -> str:
    if not path.is_file():
        raise WrongUse(f"{path}: no such file", where="ledger.url_file")
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise WrongUse(f"{path}: others than the owner may read it", where="ledger.url_file", fix=f"chmod 600 {path}")
    return path.read_text(encoding="utf-8").strip()


class Database:
    """The database of the ledger."""

    def __init__(self, url: sa.URL, locks: Path) -> None:
        self.url = url
        self._locks = locks
        self._own = threading.local()  # of a thread: the connection of its look
        self._sqlite = url.get_backend_name() == "sqlite"
        # No pool: a connection outlives neither a fork nor the command, and a ledger is asked a few times a minute.
        self._engine = sa.create_engine(url, poolclass=sa.pool.NullPool, hide_parameters=True)
        if self._sqlite:
            sa.event.listen(self._engine, "connect", _open_sqlite)
            sa.event.listen(self._engine, "begin", _begin_sqlite)
        with _clear_errors():
            self._bring_up_to_date()

    def _bring_up_to_date(self) -> None:
        if self._sqlite and self.url.database:
            Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
        if self._version() == HEAD:
            return
        self._locks.mkdir(parents=True, exist_ok=True)
        with FileLock(self._locks / "ledger.lock"), self._transaction() as connection:
            if _version(connection) != HEAD:
                _migrate(connection)

    def _version(self) -> str | None:
        with self.reading() as connection:
            return _version(connection)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that only reads; it waits for no writer. Within a look it is the look's."""
        if (shared := getattr(self._own, "look", None)) is not None:
            with _clear_errors():
                yield shared
            return
        reader = self._engine.execution_options(npr_reads=True)
        with _clear_errors(), reader.begin() as connection:
            yield connection

    @contextmanager
    def look(self) -> Iterator[None]:
        """Reads of this thread within the block share one transaction: one connection, and in SQLite one moment."""
        with self.reading() as connection:
            before, self._own.look = getattr(self._own, "look", None), connection
            try:
                yield
            finally:
                self._own.look = before

    @contextmanager
    def writing(self, point: str) -> Iterator[sa.Connection]:
        """A transaction; on the disk when the block has ended, or as if it had never been. point: name for tests."""
        checkpoint(f"ledger.{point}.before")
        with _clear_errors(), self._transaction() as connection:
            yield connection
            checkpoint(f"ledger.{point}.uncommitted")
        checkpoint(f"ledger.{point}.committed")

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        with self._engine.begin() as connection:
            if not self._sqlite:
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRES_LOCK})
            yield connection


def _open_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's connection
    connection.isolation_level = None  # the driver would begin transactions by itself, and late
    for setting in (f"busy_timeout={_BUSY_MS}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {setting}")


def _begin_sqlite(connection: sa.Connection) -> None:
    reads = connection.get_execution_options().get("npr_reads")
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _version(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _migrate(connection: sa.Connection) -> None:
    from alembic import command  # noqa: PLC0415 - slow to import, and only needed once
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


@contextmanager
def _clear_errors() -> Iterator[None]:
    """What a database says may quote what was to be written, so only its kind is told; SQLite's texts are fixed."""
    try:
        yield
    except OSError as error:
        raise _refused(error.strerror or type(error).__name__) from None
    except sa.exc.DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == _NO_RIGHT:
            raise _no_right() from None
        if isinstance(error, sa.exc.IntegrityError | sa.exc.ProgrammingError):
            raise
        if isinstance(error, sa.exc.DataError):
            raise DataRefused(
                f"the ledger has no room for what was to be written ({type(error.orig).__name__})", where="ledger"
            ) from None
        said = str(error.orig) if "sqlite" in type(error.orig).__module__ else type(error.orig).__name__
        raise _refused(said) from None


def _refused(said: str) -> CannotKeep:
    return CannotKeep(
        f"the ledger cannot be read or written ({said}); what it held before is unharmed",
        where="ledger",
        rule="nothing is handed over that is not written down first",
        fix="make room, or mend access to the ledger, and run again",
    )


def _no_right() -> CannotKeep:
    return CannotKeep(
        "the role of the ledger may not read or write there; what it held before is unharmed",
        where="ledger",
        rule="nothing is handed over that is not written down first",
        fix="as owner of the database: GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO the role, and "
        "GRANT USAGE ON ALL SEQUENCES likewise; a new ledger or version needs the owner of the tables, with CREATE, "
        "once",
    )
