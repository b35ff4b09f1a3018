"""The commands ``npr calendar``: deadlines, drafts for years without a table, and confirming them.

Belongs here: arguments and printing. Does not belong here: anything else (``pipelines.home.calendar``); commands import
what they need when they run, so that help is there at once.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pipelines.home.calendar import CalendarHome, Draft

Body = Callable[..., Any]
ExitCodes = Callable[..., AbstractContextManager[None]]


def register(
    cli: click.Group, command: Callable[[str, click.Group], Callable[[Body], click.Command]], exit_codes: ExitCodes
) -> None:
    """Hang ``npr calendar`` under the command line. command, exit_codes: its way of making and ending commands."""

    @cli.group("calendar", invoke_without_command=True)
    @click.option("--year", type=int, help="year of the table; without a table, year of the data [default: all]")
    @click.option("--json", "as_json", is_flag=True, help="print one JSON value on stdout, all else on stderr")
    @click.pass_context
    def calendar(context: click.Context, year: int | None, as_json: bool) -> None:  # noqa: FBT001 - a flag
        """List deadlines: published, confirmed and proposed; draft those of a year without a table."""
        if context.invoked_subcommand is None:
            with exit_codes(as_json=as_json):
                rows, text = _list(context, year)
                click.echo(json.dumps(rows, ensure_ascii=False, indent=1) if as_json else text)

    for name, body in (("propose", propose), ("confirm", confirm)):
        command(name, calendar)(body)


def _calendar(context: click.Context) -> CalendarHome:
    """Drafts lie in NPR_HOME; npr.toml is not asked for."""
    from pipelines.home.calendar import CalendarHome  # noqa: PLC0415

    return CalendarHome(context.obj["home"] or Path(os.environ.get("NPR_HOME") or "var"))


def _list(context: click.Context, year: int | None) -> tuple[list[dict[str, Any]], str]:
    from pipelines.commands import show  # noqa: PLC0415
    from pipelines.home.calendar import listing  # noqa: PLC0415

    home = _calendar(context)
    for draft in home.drafts():
        if draft.voided:
            click.echo(f"npr: {_voided(draft)}", err=True)
    rows = listing(home, year)
    return rows, show.calendar(rows, year)


@click.argument("year", type=int)
@click.option("--again", is_flag=True, help="in place of an earlier draft")
@click.pass_context
def propose(context: click.Context, year: int, again: bool) -> tuple[Any, str]:  # noqa: FBT001 - a flag
    """Draft the deadlines of YEAR out of the published tables before it, for a person to check."""
    draft = _calendar(context).propose(year, again=again)
    lines = [f"{row.deadline} {row.period}, submission {row.submission}, {row.audience}" for row in draft.rows]
    lines.append(f"Written to {draft.path}. A proposed deadline warns and never sends.")
    lines.append(f"Compare it with NPR's page, correct the file, then: npr calendar confirm {year} --by NAME")
    return _as_record(draft), "\n".join(lines)


@click.argument("year", type=int)
@click.option("--by", required=True, help="who vouches for the deadlines: a person's name")
@click.pass_context
def confirm(context: click.Context, year: int, by: str) -> tuple[Any, str]:
    """Vouch for the drafted deadlines of YEAR. An edit of the file afterwards voids it."""
    from schemas.deadlines import doubts  # noqa: PLC0415

    draft = _calendar(context).confirm(year, by, dt.datetime.now(dt.UTC).replace(microsecond=0))
    for doubt in doubts(draft.rows):
        click.echo(f"npr: {doubt}", err=True)
    return _as_record(draft), f"{len(draft.rows)} deadlines of {year} confirmed by {by.strip()}"


def _as_record(draft: Draft) -> dict[str, Any]:
    word = draft.confirmation
    return {
        "year": draft.year,
        "status": draft.status,
        "file": str(draft.path),
        "deadlines": len(draft.rows),
        "confirmed": word.model_dump(mode="json") if word else None,
    }


def _voided(draft: Draft) -> str:
    from schemas.words import on_one_line  # noqa: PLC0415 - imports pydantic

    word = draft.confirmation
    who = f"{on_one_line(word.by)} confirmed it on {word.at:%Y-%m-%d}" if word else "it was confirmed"
    return f"{draft.path} was edited after {who}; its deadlines are proposed again"
