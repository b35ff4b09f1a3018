"""The command ``npr inbox``.

Belongs here: arguments and printing. Does not belong here: anything else (``pipelines.exchange.inbox``,
``pipelines.exchange.answered``); the command imports what it needs when it runs, so that help is there at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

Body = Callable[..., Any]


def register(cli: click.Group, command: Callable[[str, click.Group], Callable[[Body], click.Command]]) -> None:
    """Hang the command under the command line. command: its way of making a command of a group."""
    command("inbox", cli)(inbox)


@click.argument("folder", required=False, type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.pass_context
def inbox(context: click.Context, folder: Path | None) -> tuple[Any, str, int]:
    """Take the register's answers out of FOLDER [default: folders and mailboxes of npr.toml], and match each.

    Exit code 1 when a file was set aside.
    """
    import datetime as dt  # noqa: PLC0415

    from pipelines.exchange.answered import take  # noqa: PLC0415
    from pipelines.settings import load_settings  # noqa: PLC0415

    settings = load_settings(**context.obj)
    report, predicted = take(settings, dt.datetime.now(dt.UTC), (folder,) if folder else ())
    told = {
        "taken": report.taken,
        "waiting": report.waiting,
        "aside": report.aside,
        "joined": report.joined,
        "predicted": predicted,
    }
    lines = [_line(row) for row in report.taken]
    lines += [f"joined after all: {report.joined} that were parked"] if report.joined else []
    lines += [f"stays: {row['file']}: {row['why']}" for row in report.waiting]
    lines += [f"set aside: {row['file']}: {row['why']} ({row['place']})" for row in report.aside]
    lines += [_predicted(row) for row in predicted]
    text = "\n".join(lines) or "nothing has come"
    if report.unread:
        click.echo(text, err=True)
        raise report.unread[0]
    return told, text, int(bool(report.aside))


def _line(row: Mapping[str, Any]) -> str:
    start = f"{row['fate']}: {row['kind']} in {row['file']}"
    if row["reason"]:
        return f"{start}: {row['reason']}"
    errors = f", {row['errors']} errors" if row["errors"] else ""
    where = f"{row['period']} {row['unit']} submission {row['submission']} {row['module']} part {row['part']}"
    return f"{start}{errors}: {where} is {row['state'].replace('_', ' ')}"


def _predicted(row: Mapping[str, Any]) -> str:
    return (
        f"{row['period']} {row['unit']} submission {row['submission']}, {row['table']}: "
        f"{row['both']} records predicted and answered, {row['predicted_only']} predicted only, "
        f"{row['answered_only']} answered only"
    )
