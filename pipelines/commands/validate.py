"""``npr validate`` and ``npr show``: any message file, no configuration.

Belongs here: the arguments of these commands and their exit codes. Does not belong here: validating
(``pipelines.validation.validator``), words (``transforms.validation.report``). Heavy imports wait until a command runs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import click

ExitCodes = Callable[..., AbstractContextManager[None]]
FORMATS: Final = ("text", "json", "csv", "html")
FILES: Final = click.Path(path_type=Path)


def _home(given: Path | None) -> Path:
    """NPR_HOME, without npr.toml."""
    return (given or Path(os.environ.get("NPR_HOME") or "var")).resolve()


def register(parent: click.Group, exit_codes: ExitCodes) -> None:
    """Hang both commands below ``npr``. exit_codes: prints refusals and gives their exit codes."""

    @parent.command("validate")
    @click.argument("files", type=FILES, nargs=-1, required=True)
    @click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True)
    @click.option("--json", "as_json", is_flag=True, help="the same as --format json")
    @click.option("--max", "most", type=click.IntRange(min=0), default=20, show_default=True, help="places per group")
    @click.option("--show-keys", is_flag=True, help="show pasientNr and episodeID instead of pseudonyms")
    @click.option("--no-controls", is_flag=True, help="the schema alone, not the register's controls")
    @click.pass_context
    def _validate(
        context: click.Context,
        files: tuple[Path, ...],
        form: str,
        as_json: bool,  # noqa: FBT001
        most: int,
        show_keys: bool,  # noqa: FBT001
        no_controls: bool,  # noqa: FBT001
    ) -> None:
        """Validate NPR messages in FILES and folders: bare or under MsgHead, also in zip and gzip.

        Exit code 0: all valid, 1: faults, or files that are no message, 2: wrong use.
        """
        with exit_codes(as_json=as_json or form == "json"):
            from pipelines.validation.validator import Options, validate  # noqa: PLC0415
            from transforms.validation.report import FORMS, VALID  # noqa: PLC0415

            options = Options(_home(context.obj["home"]), show_keys=show_keys, most=most, controls=not no_controls)
            reports = list(validate(files, options))
            click.echo(FORMS["json" if as_json else form](reports))
            context.exit(0 if all(report.verdict == VALID for report in reports) else 1)

    @parent.command("show")
    @click.argument("file", type=FILES)
    @click.option("--json", "as_json", is_flag=True, help="print one JSON value")
    @click.pass_context
    def _show(context: click.Context, file: Path, as_json: bool) -> None:  # noqa: FBT001
        """Print head, period, units and counts of the message in FILE, without identities."""
        with exit_codes(as_json=as_json):
            from pipelines.validation.validator import show  # noqa: PLC0415
            from transforms.validation.summary import as_text  # noqa: PLC0415

            found = show(file)
            click.echo(json.dumps(found, ensure_ascii=False, indent=1) if as_json else as_text(found))
            context.exit(0)
