"""Reading from a hospital's database: connection, credentials, one read-only transaction, and errors without values.

Belongs here: SQLAlchemy, dialects, what may be told of a database's refusal. Does not belong here: what is asked
(``sql/sources``) and what becomes of the rows (``assets.pulling``).

Credentials come from the environment (NPR_DB_<NAME>_URL, _USER, _PASSWORD) or a TOML file with mode 0600, and go
nowhere else: messages of SQLAlchemy and of drivers quote addresses, users and values of rows, so none is passed on but
what a database says of the text of a query.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import stat
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import NullPool

from assets.ports import Query
from schemas.config import Database
from schemas.errors import DataRefused, NprError, WrongUse

OSLO = ZoneInfo("Europe/Oslo")
SECRETS = ("url", "user", "password")
CONNECT_SECONDS = 10
# Dialect -> driver, and what makes a transaction read one moment and write nothing. A dialect comes in with a test on
# a real server; until then it is refused, since what its levels promise differs.
DIALECTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "postgresql": (
        "postgresql+psycopg",
        {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
    ),
}
# What the session must not decide: the zone and the form of what a query turns into text itself.
SESSION = "SET LOCAL TIME ZONE 'Europe/Oslo'", "SET LOCAL datestyle = 'ISO, YMD'"
ABOUT_SQL = frozenset(
    ("42P01", "42703", "42501", "42601", "42702", "42704", "42803", "42804", "42809", "42883", "3F000")
)


class _Reading:
    """One transaction. See ``assets.ports.Reading``."""

    def __init__(self, connection: sa.Connection, database: Database, name: str) -> None:
        self._connection = connection
        self._batch = database.batch
        self._name = name
        self._open: sa.CursorResult[Any] | None = None
        moment: dt.datetime = connection.execute(sa.select(sa.func.now())).scalar_one()
        self.began = moment.astimezone(OSLO).replace(tzinfo=None, microsecond=0)

    def count(self, query: Query) -> int:
        """How many rows the query has, counted by the database."""
        # On lines of their own: a query may end in a comment.
        sql = f"SELECT count(*) FROM (\n{_bare(query.sql)}\n) AS counted"  # noqa: S608 - the source's own query
        with self._telling(query.place):
            return int(self._ask(Query(query.place, sql, query.values)).scalar_one())

    def rows(self, query: Query) -> tuple[Sequence[str], Iterator[Sequence[tuple[Any, ...]]]]:
        """Names of the columns, and the rows in batches from a cursor that the server holds."""
        with self._telling(query.place):
            self.close()
            self._open = result = self._ask(Query(query.place, _bare(query.sql), query.values), yield_per=self._batch)
        return list(result.keys()), self._batches(result, query.place)

    def close(self) -> None:
        """Close the cursor that is open, also one whose rows nobody asked for."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _batches(self, result: sa.CursorResult[Any], place: str) -> Iterator[Sequence[tuple[Any, ...]]]:
        with self._telling(place):
            while rows := result.fetchmany(self._batch):
                # Nothing here may hold a batch while the next one is fetched.
                room = [rows]
                del rows
                yield room.pop()  # type: ignore[misc]  # a Row is a tuple

    def _ask(self, query: Query, **options: Any) -> sa.CursorResult[Any]:  # noqa: ANN401 - SQLAlchemy's own options
        text = sa.text(query.sql)
        named = set(text.compile().params)
        if unknown := sorted(named - set(query.values)):
            raise WrongUse(
                f"{query.place} names parameters that there are not: {', '.join(unknown)}",
                where=query.place,
                fix=f"parameters are {', '.join(query.values)}; a colon that is none is written \\:",
            )
        values = {name: query.values[name] for name in named}
        return self._connection.execute(text.execution_options(**options), values)

    @contextmanager
    def _telling(self, place: str) -> Iterator[None]:
        try:
            yield
        except (exc.SQLAlchemyError, UnicodeError) as error:
            raise _refused(error, place, self._name) from None


@contextmanager
def reading(name: str, database: Database) -> Iterator[_Reading]:
    """One read-only transaction on a database that sees one moment; rolled back and closed at the end.

    WrongUse: credentials are missing, open to others or refused. DataRefused: the database cannot be reached.
    """
    url = address(name, database)
    driver, options = DIALECTS[url.get_backend_name()]
    # The pool would log the driver's own text of a lost connection; NullPool closes, and does not keep secrets open.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL + 1)
    engine = sa.create_engine(
        url.set(drivername=driver),
        poolclass=NullPool,
        hide_parameters=True,
        connect_args={"connect_timeout": CONNECT_SECONDS, "application_name": "npr-pipeline"} | dict(url.query),
    )
    try:
        connection = engine.connect().execution_options(**options)
    except exc.SQLAlchemyError as error:
        raise _unreachable(error, name) from None
    try:
        with connection, closing(_begun(connection, database, name)) as begun:
            yield begun
    except exc.SQLAlchemyError as error:
        raise _refused(error, f"database {name}", name) from None
    finally:
        engine.dispose()


def _begun(connection: sa.Connection, database: Database, name: str) -> _Reading:
    for line in SESSION:
        connection.execute(sa.text(line))
    return _Reading(connection, database, name)


def _bare(sql: str) -> str:
    return sql.rstrip().removesuffix(";")


# --- credentials ------------------------------------------------------------------------------------------------------


def address(name: str, database: Database) -> URL:
    """The whole address, with user and password: environment before secrets file before npr.toml. WrongUse."""
    prefix = f"NPR_DB_{name.upper().replace('-', '_')}_"
    given = _secrets(name, database) | {
        key: value for key in SECRETS if (value := os.environ.get(f"{prefix}{key.upper()}"))
    }
    where = f"{prefix}URL; npr.toml, databases.{name}"
    text = given.get("url") or database.url
    if not text:
        raise WrongUse(
            f"database {name} has no address",
            where=where,
            fix=f"set {prefix}URL, or url under [databases.{name}] and {prefix}USER and {prefix}PASSWORD",
        )
    try:
        url = make_url(text)
        port = url.port
    except (exc.ArgumentError, ValueError):
        raise WrongUse(
            f"the address of database {name} is none",
            where=where,
            fix="write postgresql://host:5432/database; special characters of a password as %40",
        ) from None
    if url.get_backend_name() not in DIALECTS:
        raise WrongUse(
            f"database {name} is none of the kinds that can be read: {', '.join(DIALECTS)}",
            where=where,
            fix="docs/sources.md, From a database; or deliver files",
        )
    return url.set(
        username=given.get("user") or url.username, password=given.get("password") or url.password, port=port
    )


def _secrets(name: str, database: Database) -> dict[str, str]:
    path = database.secrets
    if path is None:
        return {}
    where = f"npr.toml, databases.{name}.secrets"
    try:
        with path.open("rb") as file:
            _insist_private(path, os.fstat(file.fileno()), where)
            found = tomllib.loads(file.read().decode())
    except OSError as error:
        raise WrongUse(f"{path}: {error.strerror}", where=where, fix="make the file, mode 0600") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise WrongUse(f"{path}: not TOML", where=where, fix='write url = "…" or user and password') from None
    if set(found) - set(SECRETS) or not all(isinstance(value, str) for value in found.values()):
        raise WrongUse(f"{path}: not as agreed", where=where, fix=f"keys are {', '.join(SECRETS)}, all text")
    return found


def _insist_private(path: Path, status: os.stat_result, where: str) -> None:
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise WrongUse(f"{path} is open to others", where=where, fix=f"chmod 600 {path}, and change the password")


# --- what may be told -------------------------------------------------------------------------------------------------

# Of a server that refuses a connection there is only its text; figures, names and addresses in it are not passed on.
UNREACHABLE: tuple[tuple[tuple[str, ...], type[NprError], str, str], ...] = (
    (
        ("password authentication failed", "no password supplied", 'role "', "fe_sendauth"),
        WrongUse,
        "refuses user or password",
        "set {prefix}USER and {prefix}PASSWORD, or the secrets file",
    ),
    (("pg_hba.conf",), WrongUse, "does not let this machine in", "have this machine and role added on the server"),
    (('database "',), WrongUse, "has no database of that name", "correct the address"),
    (
        ("refused", "no such file", "could not translate", "failed to resolve", "getaddrinfo", "timeout", "timed out"),
        DataRefused,
        "cannot be reached",
        "see that it runs and that this machine may reach host and port; then run again",
    ),
)


def _unreachable(error: Exception, name: str) -> NprError:
    said = str(getattr(error, "orig", error)).casefold()
    prefix = f"NPR_DB_{name.upper().replace('-', '_')}_"
    for words, kind, what, fix in UNREACHABLE:
        if any(word in said for word in words):
            return kind(f"database {name} {what}", where=f"npr.toml, databases.{name}", fix=fix.format(prefix=prefix))
    return DataRefused(
        f"database {name} gives no connection ({type(error).__name__})",
        where=f"npr.toml, databases.{name}",
        fix="try the same address with psql; then run again",
    )


# By class of SQLSTATE: what happened, what to do.
KNOWN: Mapping[str, tuple[str, str]] = {
    "08": ("the connection was lost", "run again; nothing was kept"),
    "22": ("a value does not convert", "deliver it as text and leave it to the checks: the row is then quarantined"),
    "25": ("the query writes; only reading is allowed", "write one SELECT without side effects"),
    "40": ("the database gave up the transaction", "run again"),
    "53": ("the database has no room or memory left", "have the server looked at, then run again"),
    "57": ("the database ended the query", "run again; ask for a longer statement_timeout if it was that"),
}


def _refused(error: Exception, place: str, name: str) -> NprError:
    """What can be told of an error in mid-work without a value of a row."""
    state = _state(error)
    where = f"{place}, database {name}"
    if state in ABOUT_SQL:
        said = getattr(getattr(error, "orig", None), "diag", None)
        return WrongUse(
            f"{place}: {getattr(said, 'message_primary', '')}",
            where=where,
            fix="correct the query, or have the table made and the role granted SELECT on it",
        )
    what, fix = KNOWN.get(state[:2], ("", ""))
    return DataRefused(
        f"{place}: {what or type(error).__name__}" + (f" (SQLSTATE {state})" if state else ""),
        where=where,
        rule="the database's own text can quote a value of a row and is not shown",
        fix=fix or "run the query by hand on the database",
    )


def _state(error: Exception) -> str:
    """The SQLSTATE, or one that means the same where the driver itself failed and has none."""
    state = getattr(getattr(error, "orig", None), "sqlstate", None)
    if state:
        return str(state)
    if isinstance(error, exc.DataError | UnicodeError):
        return "22"
    lost = isinstance(error, exc.DBAPIError) and error.connection_invalidated
    return "08" if lost or isinstance(error, exc.OperationalError) else ""
