"""What the answers of a mail server mean for a mail, as data (``smtp/outcomes.toml``).

Belongs here: the table and its reader. Does not belong here: SMTP (``pipelines.channels.ebxml_smtp``).
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.receivers import Certainty

LINE, TRANSIENT, PERMANENT = "line", "4xx", "5xx"


class Outcome(BaseModel):
    """One row of the table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    when: Literal["before", "after"]
    on: str = Field(pattern=r"^(line|[45]xx|[45][0-9]{2})$")
    does: Literal["retry", "stop", "reject", "ask"]
    why: str = Field(min_length=1)
    fix: str = Field(min_length=1)
    certainty: Certainty
    source: str = Field(min_length=1)


@cache
def outcomes() -> dict[tuple[str, str], Outcome]:
    """(when, on) -> row."""
    raw = tomllib.loads((files("schemas") / "smtp" / "outcomes.toml").read_text(encoding="utf-8"))
    rows = [Outcome.model_validate(row) for row in raw["outcome"]]
    return {(row.when, row.on): row for row in rows}


def of_reply(code: int, *, whole: bool) -> Outcome:
    """What a reply other than the one hoped for says. whole: the final dot was given to the line.

    A code that is no refusal where one was due counts as no answer at all.
    """
    when = "after" if whole else "before"
    kind = {4: TRANSIENT, 5: PERMANENT}.get(code // 100, LINE)
    table = outcomes()
    return table.get((when, str(code)), table[when, kind])


def of_line(*, whole: bool) -> Outcome:
    """What a broken line says."""
    return outcomes()["after" if whole else "before", LINE]
