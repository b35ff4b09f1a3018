"""What a named person has decided about a period, a rule or a finding.

Belongs here: the typed record of a decision and the kinds there are. Does not belong here: keeping decisions (the
ledger), and what follows from one (the stage or command that asks for it).

A decision speaks of one thing (``subject``) of one period and unit, and holds as long as what it was made about is the
same: an approval names the hash of what was approved, an override the number of records it takes on. Nobody edits or
deletes a decision; a later one of the same kind and subject takes its place, and ``withdrawn`` takes it back.
"""

from __future__ import annotations

import datetime as dt
from enum import StrEnum

from pydantic import BaseModel, Field

from schemas.strict import STRICT
from schemas.submission_states import State
from schemas.words import PersonName, Reason


class DecisionKind(StrEnum):
    """What was decided."""

    APPROVE = "approve"  # a prepared submission may be sent; subject: profile; content: hash of what was approved
    WAIVE = "waive"  # a finding, or all of a rule, is known and left; subject: rule or fingerprint; until: last day
    OVERRIDE = "override"  # records that the registry will drop are sent all the same; subject: rule; count: how many
    CONFIRM = "confirm"  # an unusual figure is right; subject: guard and what it found; content: hash of its figures
    ACCEPT = "accept"  # what the validation service found is taken on; subject: profile; content: as for approve
    RESEND = "resend"  # what is in doubt is handed over again on purpose; subject: MsgId


class Decision(BaseModel):
    """One decision. period and unit: the partition it speaks of. at: UTC. until: last day it holds, None = no end.

    ``by`` and ``why`` are shown to everyone who reads the audit log, so they must not name a patient. They are checked
    when a decision is made; one out of the ledger is read with ``schemas.words.KEPT``.
    found: of an acceptance, what the validation service had said of each part ("ord 1"); no worse answer is taken on.
    """

    model_config = STRICT

    kind: DecisionKind
    period: str
    unit: str
    subject: str
    by: PersonName
    at: dt.datetime
    why: Reason = ""
    submission: int | None = None
    content: str | None = None
    count: int | None = Field(default=None, ge=0)
    until: dt.date | None = None
    withdrawn: bool = False
    found: dict[str, State] = Field(default_factory=dict)

    def holds(self, on: dt.date) -> bool:
        """Whether it still holds on a day."""
        return not self.withdrawn and (self.until is None or on <= self.until)
