"""What the registry's dated requirements say of the messages of a run, for the manifest.

Belongs here: which requirements a run can answer for, and by what. Does not belong here: the requirements
(``schemas.requirements``), the ruling itself (``transforms.content.gates``), and stopping: schema and message faults
stop the run where they are found, on any date (docs/requirements.md).
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Sequence
from zoneinfo import ZoneInfo

from schemas.layout import Layout
from schemas.records import Findings, MessageOut, RulingOut, ShipmentOut
from schemas.requirements import requirement
from transforms.content.decided import Overridden
from transforms.content.gates import gate

OSLO = ZoneInfo("Europe/Oslo")
DROPPING = ("drop_message", "drop_record")


def sending_day(made: dt.datetime) -> dt.date:
    """The day in Norway on which a submission was made; it is taken as the day of sending."""
    return made.astimezone(OSLO).date()


def rulings(
    messages: Iterable[MessageOut],
    shipments: Iterable[ShipmentOut],
    findings: Findings,
    version: str,
    sending: dt.date,
) -> tuple[RulingOut, ...]:
    """The ruling of every requirement that a run can answer for, for each message. version: that of the data's year.

    The head message is made with all that is asked of it or not at all (``transforms.shipping.envelope``), so it always
    holds. Use of the validation service is not known here, and REQ-VALIDATION is not ruled on.
    """
    faults: Counter[str] = Counter()
    for part in shipments:
        faults[part.module] += part.schema_faults
    found = []
    for message in messages:
        holds = {
            "REQ-HEAD": True,
            "REQ-HEAD-FORM": True,
            "REQ-VERSION": message.version == version,
            "REQ-SCHEMA": not faults[message.module],
            "REQ-CONTENT": not findings.dropping.get(message.module, 0),
        }
        found += [_of(name, message.module, sending, holds=held) for name, held in holds.items()]
    return tuple(found)


def with_overrides(found: Iterable[RulingOut], taken: Sequence[Overridden]) -> tuple[RulingOut, ...]:
    """The same rulings where named persons have taken on what is lost: REQ-CONTENT stops no more, and says who.

    taken: every rule that drops records. One that no override covers leaves the stop as it is.
    """
    if not taken or not all(one.holds for one in taken):
        return tuple(found)
    text = f"Taken on: {'; '.join(one.text() for one in taken)}."
    return tuple(
        one.model_copy(update={"verdict": "warn", "text": f"{one.text} {text}"})
        if (one.requirement, one.verdict) == ("REQ-CONTENT", "stop")
        else one
        for one in found
    )


def _of(name: str, module: str, sending: dt.date, *, holds: bool) -> RulingOut:
    ruling = gate(requirement(name), module, sending, holds)
    return RulingOut(
        requirement=ruling.requirement,
        module=ruling.module,
        verdict=ruling.verdict,
        since=ruling.since,
        text=ruling.text,
    )


def schema_rule(layout: Layout, sending: dt.date) -> str:
    """The rule that a message breaks which does not validate, with the requirement that speaks on the day."""
    whose = "official" if layout.official else "ours"
    ruling = gate(requirement("REQ-SCHEMA"), layout.module, sending, holds=False)
    return f"MSG-15: schema {layout.version}, {whose}. {ruling.text}"
