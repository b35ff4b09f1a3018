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
Executor = Literal["in_process", "multiprocess"]
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


class TsbModule(_Part):
    """Overrides which module carries NPR-melding-TSB (tsb or sbs); empty = as versions.toml says."""

    module: Literal["sbs", "tsb"] | None = None


class LedgerSettings(_Part):
    """Where the ledger lies; empty = ledger.sqlite in NPR_HOME. Credentials never stand here, see docs/sending.md."""

    url: Short | None = None
    url_file: Path | None = None


class ChannelSettings(_Part):
    """One way out. units: empty = all. profiles: empty = it serves nothing new, and can still be asked.

    Settings of a kind stand in a subclass of its own, told apart by ``kind``.
    """

    units: tuple[UnitKey, ...] = ()
    profiles: tuple[Profile, ...] = ()

    def serves(self, unit: str, profile: str) -> bool:
        """Whether it is the way of this unit under this profile."""
        return profile in self.profiles and (not self.units or unit in self.units)


class OutboxSettings(ChannelSettings):
    """The outbox folder of NPR_HOME."""

    kind: Literal["outbox"]


AnyChannel = OutboxSettings


class Config(_Part):
    """The whole of ``npr.toml``."""

    profile: Profile = "rehearsal"
    executor: Executor = "in_process"
    units: dict[UnitKey, Unit] = Field(min_length=1)
    shipping: Shipping = Shipping()
    tsb: TsbModule = TsbModule()
    ledger: LedgerSettings = LedgerSettings()
    channels: dict[UnitKey, AnyChannel] = Field(default_factory=dict)
