"""The command ``npr worker``.

Belongs here: arguments and starting Celery. Does not belong here: what a worker does (``pipelines.workers``).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import click

Body = Callable[..., Any]


def register(cli: click.Group, command: Callable[[str, click.Group], Callable[[Body], click.Command]]) -> None:
    """Hang ``npr worker`` under the command line. command: its way of making a command of a group."""
    command("worker", cli)(worker)


@click.option("--name", default="npr", show_default=True, help="name in logs; several workers need several names")
@click.option("--loglevel", type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"]), default="WARNING")
@click.pass_context
def worker(context: click.Context, name: str, loglevel: str) -> tuple[Any, str]:
    """Take stages from the broker, one at a time (stop with Ctrl-C: the stage at hand is finished)."""
    from pipelines.settings import export, load_settings  # noqa: PLC0415
    from pipelines.workers import addresses, insist_installed  # noqa: PLC0415

    settings = load_settings(**context.obj)
    insist_installed()
    addresses()
    export(settings)
    # Solo: a stage runs in the worker itself. The other way, forking, does not go with the threads of polars.
    arguments = ["-m", "celery", "-A", "pipelines.celery_app", "worker", "--pool", "solo", "--queues", "dagster"]
    arguments += ["--hostname", f"{name}@%h", "--loglevel", loglevel, "--without-gossip", "--without-mingle"]
    os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606 - our own program
