"""The command ``npr due``.

Belongs here: arguments and printing. Does not belong here: anything else (``pipelines.scheduling.agenda``); the command
imports what it needs when it runs, so that help is there at once.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import click

Body = Callable[..., Any]
DAY = click.DateTime(["%Y-%m-%d"])


def register(cli: click.Group, command: Callable[[str, click.Group], Callable[[Body], click.Command]]) -> None:
    """Hang ``npr due`` under the command line. command: its way of making a command."""
    command("due", cli)(due)


@click.option("--on", type=DAY, help="as it stands on this day [default: today in Norway]")
@click.option("--unit", "units", multiple=True, help="reporting unit of npr.toml, repeatable [default: all]")
@click.option("--since", type=DAY, help="first deadline asked about [default: 1 January of that year]")
@click.option("--early", type=click.IntRange(min=0), default=0, help="show what opens within so many days as well")
@click.option("--all", "everything", is_flag=True, help="show what is sent, superseded or still ahead as well")
@click.pass_context
def due(
    context: click.Context,
    on: dt.datetime | None,
    units: tuple[str, ...],
    since: dt.datetime | None,
    early: int,
    everything: bool,  # noqa: FBT001 - a flag of the command
) -> tuple[Any, str]:
    """Say which reports are due, for whom, until when, and what comes next."""
    from pipelines.commands import show  # noqa: PLC0415
    from pipelines.ledger.book import ledger_of  # noqa: PLC0415
    from pipelines.scheduling.agenda import agenda, today, unknown  # noqa: PLC0415
    from pipelines.settings import load_settings  # noqa: PLC0415
    from transforms.scheduling.due import to_do  # noqa: PLC0415

    now = dt.datetime.now(dt.UTC)
    begin = since.date() if since else None
    settings = load_settings(**context.obj)
    day = on.date() if on else today(settings, now)
    ledger = ledger_of(settings.home, settings.config.ledger.url, settings.config.ledger.url_file)
    found = agenda(settings, ledger.states(now), now, on=day, since=begin, units=units)
    for line in unknown(settings, day, units).lines:
        click.echo(f"npr: {line}", err=True)
    rows = [one.as_record() for one in (found if everything else to_do(found, day, early))]
    return rows, show.due(rows, day.isoformat())
