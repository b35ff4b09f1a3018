"""Receivers of a report and the largest mail they take, read from ``receivers/npr.toml``.

Belongs here: HER-ids, form of the message, routing words and size limits, each with certainty and source. Does not
belong here: the message type of a module (``MsgInfo/Type``), certificates, and what the sender has agreed with NPR.
"""

from __future__ import annotations

import tomllib
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.errors import WrongUse

Profile = Literal["rehearsal", "validation", "production"]
Certainty = Literal["A", "B", "C"]
HerId = Field(pattern=r"^[0-9]+$")


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    certainty: Certainty
    source: str = Field(min_length=1)


class Routing(BaseModel):
    """The words of the ebXML header for one message."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    service: str
    action: str
    from_role: str
    to_role: str
    cpa_id: str


class Form(_Fact):
    """How a message to NPR is dressed. The routing words hold ``{type}``, ``{from}`` and ``{to}``."""

    document: Literal["Document", "PatientReport"]
    content: Literal["inline"]
    gzip: bool
    service: str
    action: str
    from_role: str
    to_role: str
    cpa_id: str

    def routing(self, message_type: str, from_her: str, to_her: str) -> Routing:
        """The routing words for a message type of code list 8279 between two HER-ids."""
        words = {"type": message_type, "from": from_her, "to": to_her}
        return Routing(**{name: getattr(self, name).format_map(words) for name in Routing.model_fields})


class SizeLimit(_Fact):
    """The largest finished mail, in bytes."""

    bytes: int = Field(gt=0)


class Receiver(_Fact):
    """One receiver in one profile. Two levels: the organisation and, below it, the unit that is addressed."""

    profile: Profile
    valid_from: date = date.min
    valid_to: date = date.max
    name: str
    her_id: str = HerId
    unit_name: str
    unit_her_id: str = HerId
    mail: str = ""  # empty: only the Address Register knows
    form: Form


class _Dated(SizeLimit):
    valid_from: date = date.min


class _Book(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    receivers: tuple[Receiver, ...]
    limits: tuple[_Dated, ...]
    ceiling: SizeLimit


@cache
def _book() -> _Book:
    raw = tomllib.loads((files("schemas") / "receivers" / "npr.toml").read_text(encoding="utf-8"))
    receivers = [entry | {"form": raw["form"]} for entry in raw["receiver"]]
    return _Book.model_validate({"receivers": receivers, "limits": raw["limit"], "ceiling": raw["ceiling"]})


def receiver(profile: str, on: date) -> Receiver:
    """The receiver of a profile on the day of sending. Raises WrongUse for a profile that is not known."""
    for entry in _book().receivers:
        if entry.profile == profile and entry.valid_from <= on <= entry.valid_to:
            return entry
    known = ", ".join(sorted({entry.profile for entry in _book().receivers}))
    raise WrongUse(f"no receiver for profile {profile!r}", where="profile", fix=f"use one of: {known}")


def default_limit(year: int) -> SizeLimit:
    """The limit for a data year: the one in force on its last day, since the closing report is sent after it."""
    valid = [limit for limit in _book().limits if limit.valid_from <= date(year, 12, 31)]
    limit = max(valid, key=lambda entry: entry.valid_from)
    return SizeLimit(bytes=limit.bytes, certainty=limit.certainty, source=limit.source)


def nhn_ceiling() -> SizeLimit:
    """What the network carries at most, whatever a setting or NPR allows."""
    return _book().ceiling
