"""The command ``npr purge``.

Belongs here: arguments and printing. Does not belong here: anything else (``pipelines.purge``).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pipelines.purge import Purge

Body = Callable[..., Any]


def register(cli: click.Group, command: Callable[[str, click.Group], Callable[[Body], click.Command]]) -> None:
    """Hang ``npr purge`` under the command line. command: its way of making a command of a group."""
    command("purge", cli)(purge)


@click.option("--before", required=True, type=click.DateTime(["%Y-%m-%d"]), help="what was settled before this day")
@click.option("--by", required=True, help="who does it; stands in the proof and in the audit log")
@click.option("--dry-run", "dry", is_flag=True, help="say what would go, and remove nothing")
@click.pass_context
def purge(
    context: click.Context,
    before: dt.datetime,
    by: str,
    dry: bool,  # noqa: FBT001 - a flag of the command
) -> tuple[Any, str]:
    """Remove data of old periods that the register has accepted, and keep proof of it."""
    from pipelines.purge import purge as carry_out  # noqa: PLC0415
    from pipelines.settings import load_settings  # noqa: PLC0415

    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    proof, path = carry_out(load_settings(**context.obj), before.date(), by, now, dry=dry)
    return proof.model_dump(mode="json") | {"proof": str(path) if path else None}, _text(proof, path)


def _text(proof: Purge, path: Path | None) -> str:
    verb = "would go" if path is None else "are gone"
    lines = [f"{len(proof.partitions)} partitions, {proof.files} files, {proof.bytes} bytes {verb}"]
    lines += [f"  {key}" for key in proof.partitions]
    lines += [f"  kept: {one.period} {one.unit}: {one.why}" for one in proof.kept]
    return "\n".join([*lines, f"proof: {path}"] if path else lines)
