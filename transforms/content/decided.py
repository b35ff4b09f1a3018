"""Which decisions of named persons hold, and what follows from them.

Belongs here: picking the decision that counts, and holding an override against what was found. Does not belong here:
the record of a decision (``schemas.decisions``), keeping it (the ledger).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from schemas.decisions import Decision, DecisionKind
from schemas.sending import SubmissionRow


def in_force(decisions: Iterable[Decision], on: dt.date) -> dict[str, Decision]:
    """Subject -> the decision that holds on a day: the latest, unless it has run out or takes an earlier one back.

    decisions: of one kind.
    """
    latest = {one.subject: one for one in sorted(decisions, key=lambda one: one.at)}
    return {subject: one for subject, one in latest.items() if one.holds(on)}


def speaking_of(decisions: Iterable[Decision], submission: SubmissionRow, on: dt.date) -> list[Decision]:
    """Decisions of a partition that hold on a day and speak of one submission, oldest first.

    An approval names the parts that it approved and an acceptance the content; those of other ones are left out.
    """
    about = [one for one in decisions if _is_about(one, submission)]
    held = [one for kind in DecisionKind for one in in_force((one for one in about if one.kind is kind), on).values()]
    named = {DecisionKind.APPROVE: submission.sealed, DecisionKind.ACCEPT: submission.content}
    same = [one for one in held if one.content == named.get(one.kind, one.content)]
    return sorted(same, key=lambda one: one.at)


def _is_about(decision: Decision, submission: SubmissionRow) -> bool:
    if decision.kind in (DecisionKind.APPROVE, DecisionKind.ACCEPT) and decision.subject != submission.profile:
        return False
    of_one = decision.kind in (DecisionKind.APPROVE, DecisionKind.RESEND)
    return decision.submission == submission.number or not of_one


@dataclass(frozen=True, slots=True)
class Overridden:
    """Records that a rule would drop, and whether a named person has taken that many on.

    found: records. decision: the override given last, if one holds; it may speak of fewer records than were found.
    """

    rule: str
    found: int
    decision: Decision | None

    @property
    def holds(self) -> bool:
        """Whether the override covers all that was found."""
        return self.decision is not None and (self.decision.count or 0) >= self.found

    def text(self) -> str:
        """One line for people: rule, count, and what was decided."""
        records = f"{self.rule}: {self.found} record{'s' if self.found != 1 else ''}"
        if self.decision is None:
            return f"{records}, no override"
        given = f"override by {self.decision.by} on {self.decision.at:%Y-%m-%d} of up to {self.decision.count or 0}"
        return f"{records}, {given}" if self.holds else f"{records}, {given}: too few"


def overridden(dropped: Mapping[str, int], overrides: Iterable[Decision], on: dt.date) -> list[Overridden]:
    """One entry per rule that drops records. dropped: rule -> records; overrides: of this period and unit."""
    held = in_force(overrides, on)
    return [Overridden(rule, found, held.get(rule)) for rule, found in sorted(dropped.items()) if found]
