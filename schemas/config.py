"""The shape of ``npr.toml``: profile, units, limits, agreements.

Belongs here: typed records and their limits. Does not belong here: reading files or the environment
(``pipelines.settings``).
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from schemas.extract_file import Accepted
from schemas.reporting import UnitKind

Profile = Literal["rehearsal", "validation", "production"]
Executor = Literal["in_process", "multiprocess", "celery"]
Short = Annotated[str, StringConstraints(min_length=1, max_length=100)]
HerId = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}$")]
# Norwegian number by the model's own datatype 801 (hdir/DHHR.API).
Phone = Annotated[str, StringConstraints(pattern=r"^(\+47|0047|)( *[0-9] *){8}$")]
Email = Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$", max_length=254)]
FEED_DIGITS = 10  # organisation number and the digit of a feed of its own
UnitKey = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]

TECHNICAL, EPJ_VENDOR = "1", "15"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ContactPerson(_Part):
    """Kontaktperson. NPR answers by encrypted e-mail and sends its password by SMS, so both are needed."""

    type: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,2}$")] = Field(description="code of list 8471")
    name: Short
    email: Email
    mobile: Phone


class Epj(_Part):
    """The electronic patient record system, as Melding names it."""

    leverandor: Short
    navnEPJ: Short
    versjonEPJ: Short


class HerAddress(_Part):
    """One organisation level of the head message."""

    name: Short
    her_id: HerId


class Unit(_Part):
    """One reporting unit: one institusjonID, one set of messages per period."""

    name: Short
    institusjonID: Annotated[str, StringConstraints(pattern=r"^[0-9]{4,10}$")] = Field(
        description="9-digit organisation number, RESH-id of an avtalespesialist, or organisation number and one digit "
        "for a feed of its own (0, 1, 2, 3, 9)"
    )
    foretakID: Annotated[str, StringConstraints(pattern=r"^[0-9]{9}$")] | None = None
    kind: UnitKind
    isf: bool = Field(description="has an ISF agreement")
    organisation: HerAddress
    sender: HerAddress = Field(description="the unit that sends, below the organisation")
    contacts: tuple[ContactPerson, ...]
    epj: Epj
    extract: Path | None = None
    source: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,40}$")] | None = None
    database: UnitKey | None = Field(default=None, description="name of a [databases.NAME], for a source of that kind")
    accepted: tuple[Accepted, ...] = ()

    @field_validator("contacts")
    @classmethod
    def _needed_contacts(cls, value: tuple[ContactPerson, ...]) -> tuple[ContactPerson, ...]:
        missing = {TECHNICAL, EPJ_VENDOR} - {contact.type for contact in value}
        if missing:
            kinds = " and ".join(sorted(missing, key=int))
            raise ValueError(f"contact persons of type {kinds} are missing; NPR answers to types 1 and 15 only")
        return value

    @model_validator(mode="after")
    def _form_of_id(self) -> Unit:
        digits = len(self.institusjonID)
        if self.kind is UnitKind.AVTALESPESIALIST and digits not in (4, 5, 6, 7, 8, 9):
            raise ValueError("institusjonID: an avtalespesialist reports under the RESH-id (or 9 digits inside ISF)")
        if self.kind is not UnitKind.AVTALESPESIALIST and digits not in (9, 10):
            raise ValueError("institusjonID: 9 digits (organisation number), or 10 for a feed of its own")
        if digits == FEED_DIGITS and self.institusjonID[-1] not in "01239":
            raise ValueError(
                "institusjonID: the 10th digit is 0 radiotherapy, 1 radiology, 2 radiology dose, 3 injury or 9 AMK"
            )
        if self.kind is UnitKind.AMK and digits == FEED_DIGITS and self.institusjonID[-1] != "9":
            raise ValueError("institusjonID: AMK reports under the organisation number and 9")
        return self


class Database(_Part):
    """A database that extracts are pulled from. User and password never stand here (docs/sources.md).

    environment: what the database holds, by its owner's word; nothing is guessed from its name. secrets: TOML file with
    url, user or password, mode 0600. batch: rows held in memory at a time.
    """

    environment: Literal["production", "test"]
    url: str | None = None
    secrets: Path | None = None
    batch: int = Field(default=20_000, ge=1, le=1_000_000)

    @field_validator("url")
    @classmethod
    def _no_secret(cls, value: str | None) -> str | None:
        if value and "@" in value.partition("://")[2].partition("/")[0]:
            raise ValueError("user and password do not belong into npr.toml; give them by environment or secrets file")
        return value


class SplitAgreement(_Part):
    """NPR's word that several parts of one report add up; without it a split in production stops."""

    who: Short
    when: dt.date
    reference: Short


class Shipping(_Part):
    """How shipments are made. packed_bytes: limit in bytes of the finished file; empty = by the year of the data."""

    packed_bytes: int | None = Field(default=None, ge=20_000)
    gzip: bool = False
    split: bool = True
    split_agreement: SplitAgreement | None = None
    receiver_certificate: Path | None = None


class Workers(_Part):
    """Celery workers. redeliver_after: seconds after which a stage that a lost worker had is given to another one.

    Must be longer than the longest stage: a stage still at work would be begun once more beside itself.
    """

    redeliver_after: int = Field(default=3600, ge=1)


class TsbModule(_Part):
    """Overrides which module carries NPR-melding-TSB (tsb or sbs); empty = as versions.toml says."""

    module: Literal["sbs", "tsb"] | None = None


class Config(_Part):
    """The whole of ``npr.toml``."""

    profile: Profile = "rehearsal"
    executor: Executor = "in_process"
    units: dict[UnitKey, Unit] = Field(min_length=1)
    databases: dict[UnitKey, Database] = Field(default_factory=dict)
    shipping: Shipping = Shipping()
    tsb: TsbModule = TsbModule()
    workers: Workers = Workers()
    dagster_yaml: Path | None = None

    @model_validator(mode="after")
    def _known_databases(self) -> Config:
        for key, unit in self.units.items():
            if unit.database is not None and unit.database not in self.databases:
                raise ValueError(f"units.{key}.database: there is no [databases.{unit.database}]")
        return self
