"""The commands ``npr status`` and ``npr next``.

Belongs here: arguments, printing, the exit code. Does not belong here: anything else (``pipelines.scheduling.status``);
commands import what they need when they run, so that help is there at once.
"""

from __future__ import annotations

import datetime as dt
import gc
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from transforms.scheduling.matrix import Cell

Body = Callable[..., Any]
ExitCodes = Callable[..., AbstractContextManager[None]]


@contextmanager
def _in_a_hurry() -> Iterator[None]:
    """Without the garbage collector: it takes a tenth of the time, and a process that ends at once gains nothing."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def register(
    cli: click.Group, command: Callable[[str, click.Group], Callable[[Body], click.Command]], exit_codes: ExitCodes
) -> None:
    """Hang ``npr status`` and ``npr next`` under the command line. exit_codes: its way of ending commands."""
    command("next", cli)(following)

    @cli.command("status")
    @click.option("--format", "form", type=click.Choice(["text", "json", "prometheus"]), default="text")
    @click.option("--json", "as_json", is_flag=True, help="the same as --format json")
    @click.option("--unit", "units", multiple=True, help="reporting unit of npr.toml, repeatable [default: all]")
    @click.option("--all", "everything", is_flag=True, help="text: show what is done, superseded or ahead as well")
    @click.option("--notify", is_flag=True, help="tell those that [notify] names when something changed")
    @click.pass_context
    def status(
        context: click.Context,
        form: str,
        as_json: bool,  # noqa: FBT001 - flags of the command
        units: tuple[str, ...],
        everything: bool,  # noqa: FBT001
        notify: bool,  # noqa: FBT001
    ) -> None:
        """Print where each message of each report stands. Exit code 1 when something is red, missed or in no calendar.

        What is in no calendar is only said in a rehearsal.
        """
        form = "json" if as_json else form
        with exit_codes(as_json=form == "json"), _in_a_hurry():
            from pipelines.scheduling.agenda import insist_units, unknown  # noqa: PLC0415
            from pipelines.scheduling.status import status as look  # noqa: PLC0415
            from pipelines.settings import load_settings  # noqa: PLC0415
            from transforms.scheduling.matrix import is_red, prometheus  # noqa: PLC0415

            settings = load_settings(**context.obj)
            insist_units(settings, units)
            found = look(settings, dt.datetime.now(dt.UTC))
            lost = unknown(settings, found.day, units) if units else found.unknown
            for line in lost.lines:
                click.echo(f"npr: {line}", err=True)
            cells = [cell for cell in found.cells if not units or cell.unit in units]
            if notify:
                from pipelines.scheduling.notices import tell  # noqa: PLC0415

                click.echo(f"npr: {tell(settings, found)}", err=True)
            match form:
                case "json":
                    click.echo(json.dumps([cell.as_record() for cell in cells], ensure_ascii=False, indent=1))
                case "prometheus":
                    click.echo(
                        prometheus(cells, found.at.timestamp(), unknown=lost.deadlines, alarm=lost.red), nl=False
                    )
                case _:
                    click.echo(table(cells, everything=everything, whole=not lost.deadlines))
            if is_red(cells) or lost.red:
                sys.exit(1)


@click.option("--unit", "units", multiple=True, help="reporting unit of npr.toml, repeatable [default: all]")
@click.pass_context
def following(context: click.Context, units: tuple[str, ...]) -> tuple[Any, str]:
    """Say in one sentence each what runs next, when and why."""
    from pipelines.scheduling.agenda import insist_units, unknown  # noqa: PLC0415
    from pipelines.scheduling.status import coming, sentences  # noqa: PLC0415
    from pipelines.scheduling.status import status as look  # noqa: PLC0415
    from pipelines.settings import load_settings  # noqa: PLC0415

    settings = load_settings(**context.obj)
    insist_units(settings, units)
    found = look(settings, dt.datetime.now(dt.UTC))
    lost = unknown(settings, found.day, units) if units else found.unknown
    for line in lost.lines:
        click.echo(f"npr: {line}", err=True)
    rows = [row for row in coming(found, settings.config.schedule) if not units or row["unit"] in units]
    nothing = "nothing that the calendar knows of is due" if lost.deadlines else "nothing is due"
    return rows, "\n".join(sentences(rows)) or f"{nothing}, and nothing opens within a month"


def table(cells: Sequence[Cell], *, everything: bool = False, whole: bool = True) -> str:
    """The matrix as lines, the colour first; messages of a report in the same state share a line.

    whole: the calendar has every deadline, so that what is not here is not due.
    """
    shown = [cell for cell in cells if everything or cell.standing == "due" or cell.colour != "green" or cell.silent]
    if not shown:
        nothing = "nothing is due" if whole else "nothing that the calendar knows of is due"
        return f"{nothing}, and nothing that was sent needs attention"
    lines: dict[tuple[str, ...], list[str]] = {}
    for cell in shown:
        shade = cell.colour if cell.standing in ("due", "done") else cell.standing
        row = (shade, cell.period, str(cell.submission), cell.unit, cell.text, cell.deadline, str(cell.days_left))
        lines.setdefault(row, []).append(cell.module)
    rows = [(*row[:4], ",".join(modules), *row[4:]) for row, modules in lines.items()]
    heads = ("colour", "period", "no.", "unit", "messages", "state", "deadline", "days left")
    widths = [max(len(row[n]) for row in [heads, *rows]) for n in range(len(heads))]
    return "\n".join(
        "  ".join(f"{text:<{w}}" for text, w in zip(row, widths, strict=True)).rstrip() for row in [heads, *rows]
    )
