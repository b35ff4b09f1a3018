"""The matrix of reports: period x unit x message, each in words a scheduler uses.

Belongs here: words, colours and counts, and their forms for machines. Does not belong here: the ledger, files, printing
for people.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from transforms.scheduling.due import Due
from transforms.scheduling.starting import MAKES, Step

RED: Final = frozenset({"red", "missed"})
_WORDS: Final = {
    "reserved": "being prepared",
    "prepared": "prepared",
    "approved": "approved",
    "not_sent": "not sent",
    "handing_over": "being sent",
    "in_doubt": "in doubt",
    "handed_over": "sent",
    "acknowledged": "sent",
    "rejected": "refused",
    "abandoned": "not delivered",
    "received": "received",
    "received_in_part": "received in part",
    "refused": "refused",
    "content_errors": "content errors",
    "accepted": "accepted",
}
WORDS: Final = (
    "no extract",
    "extract ready",
    "held",
    "blocked",
    "waiting for approval",
    *dict.fromkeys(_WORDS.values()),
    "unanswered",
    "ahead",
    "superseded",
)
"""Every word a cell can have; ``blocked`` goes on with ``by N findings`` or ``by unusual figures``,
``unanswered`` with ``for N hours``."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One message of one planned submission. number: of the ledger's submission, 0 for none. findings: what blocks it.

    state: a word of ``WORDS``. ledger: the ledger's own state, empty where nothing was made. silent: hours without an
    answer that were passed, 0, 24, 48 or 72. needs: what a wait is for, of ``transforms.scheduling.starting.Need``.
    """

    period: str
    unit: str
    module: str
    submission: int
    number: int
    state: str
    ledger: str
    findings: int
    deadline: str
    send_by: str
    days_left: int
    standing: str
    colour: str
    next: str
    silent: int = 0
    needs: str = ""

    @property
    def text(self) -> str:
        """The state as people read it."""
        if self.state == "blocked":
            return f"blocked by {_blocking(self.findings, self.needs)}".removesuffix(" by ")
        return f"unanswered for {self.silent} hours" if self.state == "unanswered" else self.state

    def as_record(self) -> dict[str, Any]:
        """The same as JSON values."""
        return asdict(self) | {"text": self.text}


@dataclass(frozen=True, slots=True)
class Line:
    """What the ledger says of one message of one submission. silent: hours without an answer."""

    state: str
    silent: int


Lines = Mapping[tuple[str, str, int, str], Line]


def matrix(
    found: Iterable[Due], steps: Iterable[Step], lines: Lines, blocked: Mapping[tuple[str, str], int]
) -> list[Cell]:
    """One cell per message of each planned submission, in the order given.

    steps: of what is due. lines: by period, unit, number and module. blocked: findings by period and unit, where known.
    """
    by_report = {(step.period, step.unit, step.submission): step for step in steps}
    return [
        _cell(one, module, by_report.get((one.period, one.unit, one.submission)), lines, blocked)
        for one in found
        for module in one.modules
    ]


def _cell(one: Due, module: str, step: Step | None, lines: Lines, blocked: Mapping[tuple[str, str], int]) -> Cell:
    line = lines.get((one.period, one.unit, one.number, module), Line(one.state, 0))
    findings = blocked.get((one.period, one.unit), 0)
    return Cell(
        period=one.period,
        unit=one.unit,
        module=module,
        submission=one.submission,
        number=one.number,
        state=_word(one, line, step, findings),
        ledger=line.state,
        findings=findings if one.standing == "due" else 0,
        deadline=one.deadline.isoformat(),
        send_by=one.send_by.isoformat(),
        days_left=one.days_left,
        standing=one.standing,
        colour=one.colour,
        next=one.next_step if step is None else step.why,
        silent=line.silent,
        needs=step.needs if step else "",
    )


def _blocking(findings: int, needs: str) -> str:
    """What blocks, as far as it is known: unlike figures drop no record, so they are no findings to count."""
    if needs == "figures":
        return "unusual figures"
    return f"{findings} findings" if findings else ""


def _word(one: Due, line: Line, step: Step | None, findings: int) -> str:
    if one.standing in ("ahead", "superseded") and not line.state:
        return one.standing
    if line.state in ("handed_over", "acknowledged") and line.silent:
        return "unanswered"
    if line.state in ("", "prepared") and one.standing == "due":
        return _unsent(line, step, findings)
    return _WORDS.get(line.state, line.state)


def _unsent(line: Line, step: Step | None, findings: int) -> str:
    if findings or (step and step.needs in ("findings", "figures")):
        return "blocked"
    if line.state:
        return "waiting for approval" if step and step.needs == "approval" else "prepared"
    if step is None or step.needs == "extract":
        return "no extract"
    return "extract ready" if step.what in MAKES else "held"


def is_red(cells: Iterable[Cell]) -> bool:
    """Whether something needs a person today: a deadline missed, or about to be, or a refusal, or doubt."""
    return any(cell.standing == "due" and cell.colour in RED for cell in cells)


# --- for monitoring ---

_HELP: Final = {
    "npr_report_messages": "Messages of planned submissions by unit, state and colour.",
    "npr_report_days_left": "Days to the deadline of the next report due, by unit; negative when it has passed.",
    "npr_report_findings": "Findings that block a report that is due, by period and unit.",
    "npr_calendar_unknown": "Deadlines of reports that units owe which are in no table and no draft.",
    "npr_status_red": "1 when something is red or missed, or outside a rehearsal a deadline is in no calendar.",
    "npr_status_timestamp_seconds": "When the status was made, seconds since the epoch.",
}


def prometheus(cells: Sequence[Cell], at: float, *, unknown: int = 0, alarm: bool = False) -> str:
    """The matrix as counts, in the text exposition format 0.0.4 of Prometheus.

    unknown: deadlines in no calendar. alarm: that counts as red.
    """
    counts = Counter((cell.unit, cell.state, cell.colour) for cell in cells if cell.standing != "ahead")
    left: dict[str, int] = {}
    for cell in cells:
        if cell.standing == "due":
            left[cell.unit] = min(left.get(cell.unit, cell.days_left), cell.days_left)
    blocked = {(c.period, c.unit): c.findings for c in cells if c.state == "blocked"}
    samples: dict[str, list[str]] = {
        "npr_report_messages": [
            _sample("npr_report_messages", {"unit": unit, "state": state, "colour": colour}, n)
            for (unit, state, colour), n in sorted(counts.items())
        ],
        "npr_report_days_left": [
            _sample("npr_report_days_left", {"unit": unit}, days) for unit, days in sorted(left.items())
        ],
        "npr_report_findings": [
            _sample("npr_report_findings", {"period": period, "unit": unit}, n)
            for (period, unit), n in sorted(blocked.items())
        ],
        "npr_calendar_unknown": [_sample("npr_calendar_unknown", {}, unknown)],
        "npr_status_red": [_sample("npr_status_red", {}, int(alarm or is_red(cells)))],
        "npr_status_timestamp_seconds": [_sample("npr_status_timestamp_seconds", {}, at)],
    }
    lines = []
    for name, found in samples.items():
        lines += [f"# HELP {name} {_HELP[name]}", f"# TYPE {name} gauge", *found]
    return "\n".join(lines) + "\n"


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    # Keys of units, periods and our own words: no character of them needs an escape.
    inside = ",".join(f'{key}="{text}"' for key, text in labels.items())
    return f"{name}{{{inside}}} {value}" if inside else f"{name} {value}"
