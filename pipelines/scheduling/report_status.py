"""The asset ``report_status``: the matrix of reports as Dagster shows it.

Belongs here: taking answers in, asking what is under way, metadata (counts, periods, units), notices. Does not belong
here: working the matrix out (``pipelines.scheduling.status``).
"""

# No postponed annotations here: Dagster reads the type of `context` when it builds an asset.
import datetime as dt
from collections import Counter
from collections.abc import Callable
from typing import Any

import dagster as dg

from pipelines.exchange.answered import take
from pipelines.exchange.sending import resume
from pipelines.scheduling.notices import tell
from pipelines.scheduling.status import Status, coming, sentences, status
from pipelines.settings import Settings
from schemas.config import Schedule
from schemas.errors import NprError
from transforms.scheduling.matrix import Cell, is_red

SHOWN = 500
COLUMNS = ("colour", "period", "submission", "unit", "module", "text", "deadline", "days_left")


def report_status(settings: Settings, clock: Callable[[], dt.datetime]) -> dg.AssetsDefinition:
    """The asset over the settings."""

    @dg.asset(
        name="report_status",
        group_name="status",
        description="Where every message of every report stands: period x unit x message, with deadline and colour.",
    )
    def body(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
        answers = _answers(context, settings, clock())
        asked = resume(settings, clock())
        for row in asked["asked"]:
            names = ("period", "unit", "module", "before", "state")
            context.log.info("%s %s %s: %s, now %s", *(row[name] for name in names))
        found = status(settings, clock())
        shown = _metadata(found, settings.config.schedule)
        return dg.MaterializeResult(metadata={**answers, **shown, "told": tell(settings, found)})

    return body


def _answers(context: dg.AssetExecutionContext, settings: Settings, now: dt.datetime) -> dict[str, Any]:
    """What came into the inbox, in numbers. A fault there is told of, and keeps nobody from seeing where all stands."""
    try:
        report, _ = take(settings, now)
    except NprError as refused:
        context.log.warning("answers could not be taken in: %s", refused.what)
        return {"answers": f"could not be taken in: {refused.what}"}
    for unread in report.unread:
        context.log.warning("answers could not be read: %s", unread.what)
    counts = {"taken": len(report.taken), "waiting": len(report.waiting), "set aside": len(report.aside)}
    told = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    return {"answers": told or "nothing has come", "unread": len(report.unread)}


def _metadata(found: Status, schedule: Schedule) -> dict[str, Any]:
    shown = [cell for cell in found.cells if cell.standing == "due" or cell.colour != "green"]
    counts = Counter(cell.state for cell in found.cells)
    return {
        "red": is_red(found.cells) or found.unknown.red,
        "in no calendar": "; ".join(found.unknown.lines) or "nothing",
        "messages by state": dict(sorted(counts.items())),
        "what needs attention": dg.MetadataValue.table(
            [_record(cell) for cell in shown[:SHOWN]] or [],
            schema=dg.TableSchema(columns=[dg.TableColumn(name) for name in COLUMNS]),
        ),
        "not shown": max(0, len(shown) - SHOWN),
        "next": dg.MetadataValue.md(
            "\n".join(f"- {line}" for line in sentences(coming(found, schedule))[:SHOWN]) or "nothing"
        ),
    }


def _record(cell: Cell) -> dg.TableRecord:
    record = cell.as_record()
    return dg.TableRecord({name: record[name] for name in COLUMNS})
