"""Decisions of the product, each broken in one way, and what the oracle of the simulation must say of it.

Belongs here: what stands in place of a decision. Does not belong here: running it (``test_simulation``).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from assets import dispatch
from pipelines.ledger.book import SqlLedger
from pipelines.scheduling.agenda import today
from pipelines.scheduling.scheduler import Scheduler
from schemas.deadlines import Deadline
from schemas.decisions import DecisionKind
from schemas.errors import DataRefused
from schemas.reporting import UnitKind, deadlines_for
from schemas.sending import SentPart
from schemas.submission_states import OPEN, Event
from transforms.scheduling.due import Due
from transforms.scheduling.starting import MAKES, Step

_start, _planned, _settle = SqlLedger.start, Scheduler.planned, dispatch.settle


@dataclass(frozen=True)
class Mutant:
    """What stands in place of what, and a word of the fault that must be told. units: whom it is about, empty: all."""

    patches: tuple[tuple[str, Any], ...]
    word: str
    units: str = ""


def _only_what_is_made(_scheduler: Any, found: Sequence[Step]) -> list[Step]:  # noqa: ANN401
    return [step for step in found if step.what not in MAKES]


def _nothing(*_: Any) -> None:  # noqa: ANN401
    """A gate that is always open."""


def _true(*_: Any) -> bool:  # noqa: ANN401
    return True


def _any_approval(run: Any, _manifest: Any) -> None:  # noqa: ANN401
    if not run.ledger.decisions(run.key, DecisionKind.APPROVE):
        raise DataRefused("waits for approval")


def _both_start(self: SqlLedger, run_key: str, owner: str, now: dt.datetime, *, going: bool = False) -> bool:
    """Whoever comes in the same moment gets the start as well."""
    given: dict[str, dt.datetime] = self.__dict__.setdefault("given", {})
    if _start(self, run_key, owner, now, going=going):
        given[run_key] = now
    return given.get(run_key) == now


def _doubt_is_no(run: Any, part: SentPart) -> SentPart:  # noqa: ANN401
    """What nobody can tell is taken for not sent."""
    part = _settle(run, part)
    if part.state in OPEN:
        return run.ledger.record(part.msg_id, Event.NOT_HANDED_OVER, dispatch._note(run))  # type: ignore[no-any-return]
    return part


def _only_what_opens_today(self: Scheduler, found: Sequence[Due]) -> list[Step]:
    """A clock in place of the ledger: what was missed on its day stays missed."""
    return _planned(self, [one for one in found if one.state or one.opens == today(self.settings, self.now)])


def _proposed_is_sure(self: Scheduler, found: Sequence[Due]) -> list[Step]:
    return _planned(self, [replace(one, status="published") for one in found])


def _as_others(kind: UnitKind, other: UnitKind) -> Callable[..., tuple[Deadline, ...]]:
    def found(period: Any, who: UnitKind, isf: bool, rows: Any = None) -> tuple[Deadline, ...]:  # noqa: ANN401, FBT001
        return deadlines_for(period, other if who is kind else who, isf, rows)

    return found


def _all_have_isf(period: Any, who: UnitKind, _isf: bool, rows: Any = None) -> tuple[Deadline, ...]:  # noqa: ANN401, FBT001
    return deadlines_for(period, who, True, rows)  # noqa: FBT003


GATES = ("assets.dispatch.insist_approved", "pipelines.scheduling.hindrance.insist_approved")
DEADLINES = "transforms.scheduling.due.deadlines_for"
PLANNED = "pipelines.scheduling.scheduler.Scheduler.planned"
MUTANTS: dict[str, Mutant] = {
    "no approval is asked for": Mutant(tuple((gate, _nothing) for gate in GATES), "sent unapproved"),
    "an approval is not held against the bytes": Mutant(
        tuple((gate, _any_approval) for gate in GATES), "sent unapproved"
    ),
    "everybody may send at once": Mutant(
        (("pipelines.ledger.book.SqlLedger.claim", _true), ("pipelines.ledger.book._insist_claim", _nothing)),
        "MsgId sent twice",
    ),
    "what is in doubt is sent again": Mutant((("assets.dispatch.settle", _doubt_is_no),), "MsgId sent twice"),
    "two schedulers get one start": Mutant(
        (("pipelines.ledger.book.SqlLedger.start", _both_start),), "two runs of one start", "amk"
    ),
    "a killed run waits twelve hours": Mutant(
        (("pipelines.ledger.book.RETRY", dt.timedelta(hours=12)),), "missed: could have left"
    ),
    "what was killed is nobody's": Mutant(
        (("pipelines.scheduling.automation.unattended", _only_what_is_made),), "missed: could have left"
    ),
    "nothing is caught up": Mutant(((PLANNED, _only_what_opens_today),), "missed: could have left", "health"),
    "a proposed deadline starts runs": Mutant(((PLANNED, _proposed_is_sure),), "nobody has confirmed"),
    "AMK is asked for a second submission": Mutant(
        ((DEADLINES, _as_others(UnitKind.AMK, UnitKind.AVTALESPESIALIST)),), "sent 2 times, 1 planned", "amk"
    ),
    "AMK is asked for monthly reports": Mutant(
        ((DEADLINES, _as_others(UnitKind.AMK, UnitKind.HEALTH_TRUST)),), "not owed by this unit", "amk"
    ),
    "the report due in July is for all": Mutant(((DEADLINES, _all_have_isf),), "not owed by this unit", "private-no"),
}
