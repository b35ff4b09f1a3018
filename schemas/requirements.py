"""The registry's dated requirements as typed records, read from ``schemas/requirements/requirements.toml``.

Belongs here: what is required, from when, of which messages, with source and certainty. Does not belong here: judging a
message or a date (``transforms.content.gates``).
"""

from __future__ import annotations

import tomllib
from datetime import date
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, model_validator

from schemas.errors import WrongUse
from schemas.strict import STRICT

FILE = Path(__file__).parent / "requirements" / "requirements.toml"
Certainty = Literal["A", "B", "C"]
Refuses = Literal["message", "record", "nothing"]


class _Fact(BaseModel):
    model_config = STRICT


class Dated(_Fact):
    """A date that was published, and where."""

    day: date
    source: str = Field(min_length=1)


class Exemption(_Fact):
    """Other dates for some modules. ``from``: first day on which it speaks; none = since ever."""

    modules: tuple[str, ...] = Field(min_length=1)
    effect: Literal["in_force", "exempt"]
    begins: date = Field(default=date.min, alias="from")
    certainty: Certainty
    source: str = Field(min_length=1)
    why: str = Field(min_length=1)


class Requirement(_Fact):
    """One requirement. modules: those it speaks of; empty = all. refuses: what the registry turns away."""

    id: str = Field(pattern=r"^REQ-[A-Z-]+$")
    text: str = Field(min_length=1)
    refuses: Refuses
    certainty: Certainty
    dates: tuple[Dated, ...] = Field(min_length=1)
    modules: tuple[str, ...] = ()
    exceptions: tuple[Exemption, ...] = Field(default=(), alias="exception")

    @property
    def in_force(self) -> Dated:
        """The date that counts: the last one published."""
        return self.dates[-1]

    @property
    def postponed(self) -> tuple[Dated, ...]:
        """Dates that were announced first and then moved, oldest first."""
        return self.dates[:-1]

    @model_validator(mode="after")
    def _in_order(self) -> Requirement:
        days = [dated.day for dated in self.dates]
        if days != sorted(set(days)):
            raise ValueError(f"{self.id}: dates stand oldest first, each once")
        return self


@cache
def requirements() -> dict[str, Requirement]:
    """Every requirement by id, in the order of the file. A fault in the packaged file is a bug (ValidationError)."""
    raw = tomllib.loads(FILE.read_text(encoding="utf-8"))["requirement"]
    return {entry.id: entry for entry in map(Requirement.model_validate, raw)}


def requirement(requirement_id: str) -> Requirement:
    """The requirement of that id. WrongUse names those there are."""
    found = requirements().get(requirement_id)
    if found is None:
        raise WrongUse(
            f"{requirement_id[:40]}: no such requirement", where=FILE.name, fix=f"one of {', '.join(requirements())}"
        )
    return found
