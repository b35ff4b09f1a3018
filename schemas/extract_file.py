"""``extract.toml``: what the hospital says of its delivery, as a typed record.

Belongs here: the shape of the file and the acceptance of known faults. Does not belong here: reading data files,
or deciding whether the run may go on (``transforms.extract.accounting``).
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field, field_validator

from schemas.strict import STRICT

Encoding = Literal["utf-8", "iso-8859-1", "windows-1252"]


class _Record(BaseModel):
    model_config = STRICT


class DeliveredFile(_Record):
    """One data file: where, how many rows, and (where the sender knows) how it is written."""

    path: str
    rows: int = Field(ge=0, description="control total: data rows, header not counted")
    encoding: Encoding | None = None
    separator: Literal[",", ";", "\t"] | None = None
    decimal: Literal[".", ","] | None = None
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")


class Accepted(_Record):
    """Faults somebody knows of and takes on: without this, a quarantined row stops the run.

    rows: how many rows may fall under the rule in the table; "any" for foreign sources whose gaps are by nature.
    """

    table: str
    rule: str = Field(description="id of the rule, or * for any")
    rows: int | Literal["any"]
    why: str = Field(min_length=3)
    by: str = Field(min_length=1)


class ExtractFile(_Record):
    """The whole of ``extract.toml``. ``files`` maps table name (or raw file stem, for foreign extracts) to file."""

    contract: str = "1"
    source_system: str = Field(min_length=1)
    environment: Literal["production", "test"]
    extracted_at: datetime
    reporting_unit: str = Field(min_length=1, description="key of the unit in npr.toml")
    files: dict[str, DeliveredFile] = Field(min_length=1)
    accepted: tuple[Accepted, ...] = ()

    @field_validator("extracted_at")
    @classmethod
    def _local_time(cls, value: datetime) -> datetime:
        # The register's times carry no zone; an offset here would make uttakDato depend on the reader's zone.
        if value.tzinfo is not None:
            raise ValueError("give local Norwegian time without offset, e.g. 2020-05-04T03:00:00")
        return value
