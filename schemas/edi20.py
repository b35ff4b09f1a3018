"""What the answers of NHN's EDI 2.0 mean for a message, as data (``edi20/outcomes.toml``).

Belongs here: the table and its reader. Does not belong here: HTTP (``pipelines.channels.edi20``).
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.receivers import Certainty

CLIENT_ERROR, SERVER_ERROR = 400, 500


class Outcome(BaseModel):
    """One row of the table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    on: Literal["code", "status", "connection"]
    value: str
    does: Literal["retry", "stop", "ask"]
    why: str = Field(min_length=1)
    fix: str = Field(min_length=1)
    certainty: Certainty
    source: str = Field(min_length=1)


@cache
def outcomes() -> dict[tuple[str, str], Outcome]:
    """(on, value) -> row."""
    raw = tomllib.loads((files("schemas") / "edi20" / "outcomes.toml").read_text(encoding="utf-8"))
    rows = [Outcome.model_validate(row) for row in raw["outcome"]]
    return {(row.on, row.value): row for row in rows}


def of_answer(status: int, code: int | None) -> Outcome:
    """What an HTTP answer other than success says. code: errorCode of its body, where it has one."""
    table, refused = outcomes(), CLIENT_ERROR <= status < SERVER_ERROR
    unlisted = table["status", "unlisted 4xx" if refused else "unlisted"]
    by_status = table.get(("status", str(status)), unlisted)
    return table.get(("code", str(code)), by_status) if refused else by_status


def of_connection(*, whole: bool) -> Outcome:
    """What a broken line says. whole: the last byte of the body was given to it."""
    return outcomes()["connection", "after" if whole else "before"]
