"""Tables of the ledger.

Belongs here: columns and constraints, the same for SQLite and PostgreSQL. Does not belong here: how an older ledger
becomes this one (``migrations``; a test compares the two).

Rows are added and, in ``submissions``, ``parts``, ``parked`` and ``starts``, brought up to date; none is ever deleted,
so a number that was given stays given.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import sqlalchemy as sa

HEAD = "0004"
"""Newest migration. A ledger that is there already costs no import of alembic."""


class Moment(sa.types.TypeDecorator[dt.datetime]):
    """A UTC time as ISO text: equal in both databases, sortable, and stable under the audit hash."""

    impl = sa.String(32)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: sa.Dialect) -> str | None:  # noqa: ARG002
        """To text."""
        return None if value is None else value.astimezone(dt.UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: Any | None, dialect: sa.Dialect) -> dt.datetime | None:  # noqa: ANN401, ARG002
        """From text."""
        return None if value is None else dt.datetime.fromisoformat(value)


metadata = sa.MetaData()

submissions = sa.Table(
    "submissions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("period", sa.String(20), nullable=False),
    sa.Column("unit", sa.String(40), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("profile", sa.String(20), nullable=False),
    sa.Column("institusjon_id", sa.String(10), nullable=False),
    sa.Column("year", sa.Integer, nullable=False),
    sa.Column("inputs", sa.String(64), nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("first_lopenr", sa.Integer, nullable=False),
    sa.Column("content", sa.String(64), nullable=False),
    sa.Column("sealed", sa.String(64), nullable=False),
    sa.Column("owner", sa.String(200)),
    sa.Column("lease_until", Moment),
    sa.UniqueConstraint("period", "unit", "number", name="submission_number"),
)

parts = sa.Table(
    "parts",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("submission_id", sa.Integer, sa.ForeignKey("submissions.id"), nullable=False),
    sa.Column("place", sa.Integer, nullable=False),
    sa.Column("module", sa.String(10), nullable=False),
    sa.Column("part", sa.Integer, nullable=False),
    sa.Column("institusjon_id", sa.String(10), nullable=False),
    sa.Column("year", sa.Integer, nullable=False),
    sa.Column("lopenr", sa.Integer, nullable=False),
    sa.Column("msg_id", sa.String(64), nullable=False, unique=True),
    sa.Column("gen_date", sa.String(40), nullable=False),
    sa.Column("path", sa.String(200), nullable=False),
    sa.Column("packed_bytes", sa.BigInteger, nullable=False),
    sa.Column("packed_sha256", sa.String(64), nullable=False),
    sa.Column("body_sha256", sa.String(64), nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("state_at", Moment, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("channel", sa.String(40), nullable=False),
    sa.Column("reference", sa.String(500), nullable=False),
    sa.Column("handed_over_at", Moment),
    sa.UniqueConstraint("submission_id", "module", "part", name="part_of_module"),
    sa.UniqueConstraint("institusjon_id", "year", "lopenr", name="lopenr_once"),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("part_id", sa.Integer, sa.ForeignKey("parts.id"), nullable=False, index=True),
    sa.Column("event", sa.String(20), nullable=False),
    sa.Column("before", sa.String(20), nullable=False),
    sa.Column("after", sa.String(20), nullable=False),
    sa.Column("at", Moment, nullable=False),
    sa.Column("by", sa.String(100), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    # Of a hand-over that begins: who had the part until then, so that a resend that does not go changes nothing.
    sa.Column("channel_before", sa.String(40), nullable=False, server_default=""),
    sa.Column("reference_before", sa.String(500), nullable=False, server_default=""),
)

decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("period", sa.String(20), nullable=False),
    sa.Column("unit", sa.String(40), nullable=False),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("record", sa.Text, nullable=False),
    sa.Index("decisions_of", "period", "unit"),
)

answers = sa.Table(
    "answers",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False, unique=True),
    sa.Column("part_id", sa.Integer, sa.ForeignKey("parts.id")),
    sa.Column("record", sa.Text, nullable=False),
)

parked = sa.Table(
    "parked",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("answer_id", sa.Integer, sa.ForeignKey("answers.id"), nullable=False, unique=True),
    sa.Column("reason", sa.String(200), nullable=False),
    sa.Column("parked_at", Moment, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("joined_at", Moment),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.String(32), nullable=False),
    sa.Column("who", sa.String(100), nullable=False),
    sa.Column("what", sa.String(60), nullable=False),
    sa.Column("period", sa.String(20), nullable=False),
    sa.Column("unit", sa.String(40), nullable=False),
    sa.Column("submission", sa.Integer),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
)

starts = sa.Table(
    "starts",
    metadata,
    sa.Column("run_key", sa.String(200), primary_key=True),
    sa.Column("at", Moment, nullable=False),
    sa.Column("by", sa.String(200), nullable=False),
    sa.Column("tries", sa.Integer, nullable=False, server_default="1"),
    sa.Column("runner", sa.String(200), nullable=False, server_default=""),
)


def fitted(column: sa.Column[str], text: str) -> str:
    """Text for people, cut to what its column holds: PostgreSQL refuses more, and SQLite does not look."""
    most = column.type.length if isinstance(column.type, sa.String) else None
    return text if most is None or len(text) <= most else f"{text[: most - 1]}…"
