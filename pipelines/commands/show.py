"""What a person reads: progress, tables and summaries.

Belongs here: turning records into text with rich. Does not belong here: figures (they come as records). Progress goes
to stderr, plain where that is no terminal.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from pipelines.settings import Settings

Record = Mapping[str, Any]
MEGA = 1_000_000


@contextmanager
def progress(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """A callback (stage, done, total) that draws on stderr."""
    columns = (TextColumn(title), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task("", total=None)

        def show(stage: str, done: int, total: int) -> None:
            bars.update(task, description=stage, completed=done, total=total)

        yield show


def as_text(*things: object) -> str:
    """Lines and tables as one text."""
    buffer = io.StringIO()
    console = Console(file=buffer, width=100, highlight=False)
    for thing in things:
        console.print(thing)
    return buffer.getvalue().rstrip()


def as_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A table with figures to the right, and a blank between thousands."""
    table = Table(title=title, title_justify="left")
    for number, name in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[number], int) for row in rows)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(f"{value:,}".replace(",", " ") if isinstance(value, int) else str(value) for value in row))
    return table


def report(results: Sequence[Record], rulings: Sequence[Sequence[Record]], settings: Settings) -> str:
    """Summary of one or several runs. rulings: of each run, what the registry's dated requirements say."""
    parts: list[object] = []
    for result, ruled in zip(results, rulings, strict=True):
        rows = [
            (name, *(figures[k] for k in ("in", "reported", "out_of_scope", "quarantined")))
            for name, figures in result["rows"].items()
        ]
        title = f"{result['period']} {result['unit']}"
        parts.append(as_table(f"{title}: rows", ("table", "in", "reported", "out of scope", "quarantined"), rows))
        parts.append(
            as_table(
                f"{title}: shipments",
                ("module", "part", "patients", "packed bytes", "limit", "file"),
                [
                    (
                        s["module"],
                        f"{s['part']} of {s['parts']}",
                        s["patients"],
                        s["packed_bytes"],
                        s["limit_bytes"],
                        s["path"].rpartition("/")[2],
                    )
                    for s in result["shipments"]
                ],
            )
        )
        found = ", ".join(f"{count} {name}" for name, count in result["findings"].items() if count)
        parts.append(f"Outbox:   {_short(result['shipments'][0]['path'].rpartition('/')[0], settings)}")
        parts.append(f"Manifest: {_short(result['manifest'], settings)}")
        parts.append(f"Findings: {found or 'none'} (what NPR would do; rows in finding.findings)")
        if result["unchecked"]:
            unchecked = ", ".join(f"{rule} {rows}" for rule, rows in result["unchecked"].items())
            parts.append(f"Not checked against a list (load it with npr codes add; never a pass), rows: {unchecked}")
        if result["nprid_reg"]:
            parts.append(f"Identity: {_person_link(result['nprid_reg'])} (NPR's flags nprid_reg 1 to 5)")
        parts.append(f"{_requirements(ruled)}\n")
    home = _short(str(settings.home), settings)
    profile = settings.config.profile
    left = " Nothing has left this machine." if profile == "rehearsal" else " npr resume shows what has left."
    parts.append(f"Profile {profile}.{left} Tables: duckdb -readonly {home}/npr.duckdb")
    return as_text(*parts)


def _person_link(counts: Mapping[str, int]) -> str:
    from schemas.identity_rules import NPRID_REG  # noqa: PLC0415 - imports pydantic

    return ", ".join(f"{counts.get(flag, 0)} {what}" for flag, what in NPRID_REG.items())


def _requirements(rulings: Sequence[Record]) -> str:
    """One line, and one more for each requirement that does not hold."""
    wrong = [f"  {ruling['verdict']}: {ruling['module']}: {ruling['text']}" for ruling in rulings if _is_wrong(ruling)]
    names = dict.fromkeys(ruling["requirement"] for ruling in rulings)
    outcome = f"{len(wrong)} do not hold" if wrong else "all hold"
    return "\n".join([f"Dated requirements ({', '.join(names)}): {outcome}", *wrong])


def _is_wrong(ruling: Record) -> bool:
    return bool(ruling["verdict"] != "pass")


def _short(path: str, settings: Settings) -> str:
    root = str(settings.path.parent) + "/"
    return path.removeprefix(root)


def calendar(rows: Sequence[Record], year: int | None) -> str:
    """Deadlines, and below them the notes by number."""
    notes = list(dict.fromkeys(row["note"] for row in rows if row["note"]))
    lines = [
        (
            row["deadline"],
            row["period"],
            row["to"],
            row["kind"],
            str(row["submission"]),
            row["audience"],
            " ".join(row["modules"]),
            f"[{notes.index(row['note']) + 1}]" if row["note"] else "",
        )
        for row in rows
    ]
    if not lines:
        from pipelines.home.calendar import no_periods  # noqa: PLC0415 - help and progress need no calendar

        fix = no_periods(year) if year is not None else ""
        return f"no table of deadlines was found for {year}, and there is no draft: " + (
            fix or f"npr calendar propose {year} drafts one"
        )
    head = ("deadline", "period", "to", "report", "no.", "audience", "messages", "note")
    table = as_table("Deadlines", head, lines)
    return as_text(table, *(escape(f"[{number}] {note}") for number, note in enumerate(notes, start=1)))


def due(rows: Sequence[Record], on: str) -> str:
    """What is due on a day, one line each."""
    if not rows:
        return f"nothing is due on {on}"
    width = max(len(row["unit"]) for row in rows)
    head = f"{'state':<11}{'period':<9}no. {'unit':<{width}}  {'deadline':<11}{'send by':<11}{'days':>5}  next"
    return "\n".join([head, *(_due_line(row, width) for row in rows)])


def _due_line(row: Record, width: int) -> str:
    state = row["colour"] if row["standing"] == "due" else row["standing"]
    sure = "" if row["status"] == "published" else f" [{row['status']} deadline]"
    days = f"{row['deadline']:<11}{row['send_by']:<11}{row['days_left']:>5}"
    return (
        f"{state:<11}{row['period']:<9}{row['submission']:<4}{row['unit']:<{width}}  {days}  {row['next_step']}{sure}"
    )


def trace(found: Sequence[Record]) -> str:
    """The way of one episode, per period and unit."""
    parts: list[object] = []
    for way in found:
        steps = [(step["stage"], step["what"]) for step in way["steps"]]
        parts.append(as_table(f"{way['period']} {way['unit']}", ("stage", "what"), steps))
    return as_text(*parts)


def doctor(found: Sequence[Record]) -> str:
    """What was examined."""
    lines = [(line["state"], line["check"], line["what"], line["fix"]) for line in found]
    return as_text(as_table("npr doctor", ("state", "check", "what", "fix"), lines))
