"""Receivers of a report and the largest mail they take, read from ``receivers/npr.toml``.

Belongs here: HER-ids, form of the message, routing words and size limits, each with certainty and source. Does not
belong here: the message type of a module (``MsgInfo/Type``), certificates, and what the sender has agreed with NPR.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, Field

from schemas.errors import WrongUse
from schemas.strict import STRICT

Profile = Literal["rehearsal", "validation", "production"]
Certainty = Literal["A", "B", "C"]
Environment = Literal["production", "test", "nowhere"]
T = TypeVar("T")
HerId = Field(pattern=r"^[0-9]+$")


class _Fact(BaseModel):
    model_config = STRICT

    certainty: Certainty
    source: str = Field(min_length=1)


class Routing(BaseModel):
    """The words of the ebXML header for one message."""

    model_config = STRICT

    service: str
    action: str
    from_role: str
    to_role: str
    cpa_id: str


class _Told(_Fact, Generic[T]):
    """One field of a form, with who says so."""

    value: T


class Code(BaseModel):
    """A coded value of the head message; an empty code leaves the element out."""

    model_config = STRICT

    v: str
    dn: str


DocumentForm = Literal["Document", "PatientReport"]
ContentForm = Literal["inline", "base64"]


class Form(BaseModel):
    """How a message to NPR is dressed. The routing words hold ``{type}``, ``{from}`` and ``{to}``.

    gzip: of the whole head message, before encryption. case_no: for PatientReport, where the schema asks for one.
    MsgInfo/Type stands with each message in ``schemas/npr/versions.toml``.
    """

    model_config = STRICT

    document: _Told[DocumentForm]
    case_no: _Told[str]
    content: _Told[ContentForm]
    gzip: _Told[bool]
    ref_type: _Told[Code]
    mime_type: _Told[str]
    ack: _Told[Code]
    service: _Told[str]
    action: _Told[str]
    from_role: _Told[str]
    to_role: _Told[str]
    cpa_id: _Told[str]
    description: _Told[bool]

    @property
    def certainty(self) -> Certainty:
        """Of the least certain field."""
        return max((getattr(self, name).certainty for name in Form.model_fields), key="ABC".index)

    def values(self) -> dict[str, Any]:
        """What the fields say, without who says so: two forms with equal values make equal messages."""
        return {name: told["value"] for name, told in self.model_dump(mode="json").items()}

    def routing(self, message_type: str, from_her: str, to_her: str) -> Routing:
        """The routing words for a message type of code list 8279 between two HER-ids."""
        words = {"type": message_type, "from": from_her, "to": to_her}
        return Routing(**{name: getattr(self, name).value.format_map(words) for name in Routing.model_fields})

    def agreed(self, fields: Mapping[str, Any], source: str) -> Form:
        """The same with fields that NPR has confirmed to the hospital (certainty A, by that source)."""
        told = {name: {"value": value, "certainty": "A", "source": source} for name, value in fields.items()}
        return Form.model_validate(self.model_dump() | told)


class Answers(BaseModel):
    """What a receiver's own messages are like. signed: a receipt without its signature counts as nobody's."""

    model_config = STRICT

    signed: _Told[bool]


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
    answers: Answers

    @property
    def real(self) -> bool:
        """Whether somebody receives what is sent there."""
        return self.profile != "rehearsal"


class Domain(_Fact):
    """A domain of the network's mail, and which side of the wall it is on."""

    suffix: str
    environment: Environment


class _Dated(SizeLimit):
    valid_from: date = date.min


class _Book(BaseModel):
    model_config = STRICT

    receivers: tuple[Receiver, ...]
    limits: tuple[_Dated, ...]
    domains: tuple[Domain, ...]
    ceiling: SizeLimit


@cache
def _book() -> _Book:
    raw = tomllib.loads((files("schemas") / "receivers" / "npr.toml").read_text(encoding="utf-8"))
    receivers = [
        entry | {name: raw[name] | entry.get(name, {}) for name in ("form", "answers")} for entry in raw["receiver"]
    ]
    tables = {"receivers": receivers, "limits": raw["limit"], "domains": raw["domain"], "ceiling": raw["ceiling"]}
    return _Book.model_validate(tables)


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


def receivers() -> tuple[Receiver, ...]:
    """All receivers of all profiles and times."""
    return _book().receivers


def domain_of(mail: str) -> Domain | None:
    """The domain an address belongs to; None for one the network does not name."""
    host = mail.rpartition("@")[2].lower()
    return next((d for d in _book().domains if host == d.suffix or host.endswith(f".{d.suffix}")), None)
