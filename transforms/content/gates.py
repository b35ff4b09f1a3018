"""What a dated requirement of the registry says of a message on the day it is sent.

Belongs here: the ruling of one gate, as a pure function of requirement, module, day and whether it holds. Does not
belong here: the requirements themselves (``schemas.requirements``), finding out whether one holds, acting on a ruling.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

from schemas.requirements import Exemption, Requirement

Verdict = Literal["pass", "warn", "stop"]


@dataclass(frozen=True, slots=True)
class Ruling:
    """What one gate says.

    verdict: pass (it holds, or does not speak of this message), warn (it does not hold, and is not in force or only
    advice), stop (the registry turns the message or its records away). since: first day in force; None where exempt.
    """

    requirement: str
    module: str
    verdict: Verdict
    since: date | None
    text: str


def gate(requirement: Requirement, module: str, sending: date, holds: bool) -> Ruling:  # noqa: FBT001 - agreed signature
    """The ruling on a message of ``module`` sent on ``sending``, of which the requirement holds or not."""
    since, because = _since(requirement, module, sending)
    if since is None:
        text = f"{requirement.id}: does not speak of {module} ({because})"
        return Ruling(requirement.id, module, "pass", None, text)
    verdict = _verdict(requirement, since, sending, holds=holds)
    return Ruling(requirement.id, module, verdict, since, _text(requirement, since, because, verdict))


def _verdict(requirement: Requirement, since: date, sending: date, *, holds: bool) -> Verdict:
    if holds:
        return "pass"
    return "warn" if sending < since or requirement.refuses == "nothing" else "stop"


def _since(requirement: Requirement, module: str, sending: date) -> tuple[date | None, str]:
    """From when the requirement is in force for a module, None where it is exempt, and who says so."""
    if requirement.modules and module not in requirement.modules:
        return None, f"it is about {', '.join(requirement.modules)}"
    exemption = _speaking(requirement, module, sending)
    if exemption is None:
        return requirement.in_force.day, requirement.in_force.source
    because = f"{exemption.source}: {exemption.why}"
    return (exemption.begins, because) if exemption.effect == "in_force" else (None, because)


def _speaking(requirement: Requirement, module: str, sending: date) -> Exemption | None:
    """The exception that speaks of the module on the day: the last that has begun."""
    begun = [e for e in requirement.exceptions if module in e.modules and e.begins <= sending]
    return max(begun, key=lambda exemption: exemption.begins, default=None)


def _text(requirement: Requirement, since: date, because: str, verdict: Verdict) -> str:
    when = f"since {since}" if since > date.min else "already"
    if verdict == "warn" and requirement.refuses != "nothing":
        when = f"from {since}"
    moved = ", ".join(str(dated.day) for dated in requirement.postponed)
    postponed = f", postponed from {moved}" if moved and since == requirement.in_force.day else ""
    return f"{requirement.id}: {requirement.text} ({when}{postponed}; {because}). {_outcome(requirement, verdict)}"


def _outcome(requirement: Requirement, verdict: Verdict) -> str:
    thing = "message" if requirement.refuses == "message" else "records at fault"
    match verdict:
        case "pass":
            return "It holds."
        case "warn" if requirement.refuses == "nothing":
            return "It does not hold; the registry refuses nothing for it."
        case "warn":
            return f"It does not hold; from that day the registry refuses the {thing}."
        case _:
            return f"It does not hold; the registry refuses the {thing}."
