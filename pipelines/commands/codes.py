"""The commands ``npr codes``: add, list, check.

Belongs here: arguments and printing. Does not belong here: anything else (``pipelines.home.codes``); commands import
what they need when they run, so that help is there at once.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from schemas.errors import DataRefused

if TYPE_CHECKING:
    from pipelines.home.codes import Answer, CodesHome

Body = Callable[..., Any]
DAY = click.DateTime(["%Y-%m-%d"])


def register(cli: click.Group, command: Callable[[str, click.Group], Callable[[Body], click.Command]]) -> None:
    """Hang ``npr codes`` under the command line. command: its way of making a command of a group."""
    group = click.Group("codes", help="Code lists: load the large ones, list all, check a code on a date.")
    cli.add_command(group)
    for name, body in (("add", add), ("list", show), ("check", check)):
        command(name, group)(body)


def _home(context: click.Context) -> Path:
    from pipelines.settings import load_settings  # noqa: PLC0415 - imports pydantic

    return load_settings(**context.obj).home


def _codes(context: click.Context) -> CodesHome:
    from pipelines.home.codes import CodesHome  # noqa: PLC0415 - imports polars

    return CodesHome(_home(context))


@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--year", type=int, help="year of the edition; it is valid in the whole year")
@click.option("--valid-from", type=DAY, help="first day the edition speaks of [default: 1 January]")
@click.option("--valid-to", type=DAY, help="last day the edition speaks of [default: 31 December]")
@click.option("--columns", type=click.Path(path_type=Path), help="TOML with other headings, or a list of your own")
@click.option("--sheet", default="", help="worksheet to read [default: the one with the headings]")
@click.option("--replace", is_flag=True, help="put it in the place of other codes of that year")
@click.pass_context
def add(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    context: click.Context,
    name: str,
    file: Path,
    year: int | None,
    valid_from: dt.datetime | None,
    valid_to: dt.datetime | None,
    columns: Path | None,
    sheet: str,
    replace: bool,  # noqa: FBT001 - a flag of the command
) -> tuple[Any, str]:
    """Load FILE (CSV or Excel, as downloaded) as list NAME: icd10, ncsp, ncmp, ncrp, resh, orgnr."""
    from pipelines.home.codes import Download  # noqa: PLC0415

    first, last = (day.date() if day else None for day in (valid_from, valid_to))
    download = Download(name, file, year, first, last, columns, sheet)
    codes = _codes(context)
    record, done = codes.add(download, dt.datetime.now(dt.UTC), replace=replace)
    doubt = codes.doubt(record)
    text = f"{record.name} {record.year}: {done}, {record.rows} codes, valid {record.valid_from} to {record.valid_to}"
    if record.left_out:
        text += f"; {record.left_out} rows left out (not reported to the register, or not of the year)"
    if doubt:
        text += f"\n{doubt}"
    return record.model_dump(mode="json") | {"done": done, "doubt": doubt}, text


@click.pass_context
def show(context: click.Context) -> tuple[Any, str]:
    """List every code list: carried, loaded or missing, with days, rows and hash."""
    from pipelines.home.codes import listing  # noqa: PLC0415

    rows = listing(_home(context))
    lines = [f"{'list':<14}{'rows':>7}  {'from':<11}{'to':<11}{'sha256':<13}source"]
    for row in rows:
        days = f"{row['from'] or '-':<11}{row['to'] or '-':<11}"
        lines.append(f"{row['name']:<14}{row['rows']:>7}  {days}{str(row['sha256'])[:12]:<13}{row['source']}")
    lines.append("missing: codes are not checked against a list, only by their form. Load with npr codes add.")
    return rows, "\n".join(lines)


@click.argument("name")
@click.argument("code")
@click.option("--on", type=DAY, help="day the code is used [default: today]")
@click.pass_context
def check(context: click.Context, name: str, code: str, on: dt.datetime | None) -> tuple[Any, str]:
    """Say whether CODE of list NAME is valid on a day. Exit code 0 for valid alone."""
    from transforms.code_validity import STATUS_TEXTS, VALID  # noqa: PLC0415

    day = on.date() if on else dt.datetime.now(dt.UTC).astimezone().date()
    answer = _codes(context).check(name, code, day)
    if answer.status != VALID:
        raise NotValidError(answer, STATUS_TEXTS[answer.status][1])
    return _as_record(
        answer
    ), f"{answer.name} {answer.code} on {answer.on}: valid{f' ({answer.text})' * bool(answer.text)}"


def _as_record(answer: Answer) -> dict[str, Any]:
    return {
        "list": answer.name,
        "code": answer.code,
        "on": answer.on.isoformat(),
        "status": answer.status,
        "text": answer.text,
        "covered": [[since.isoformat(), until.isoformat()] for since, until in answer.covered],
    }


class NotValidError(DataRefused):
    """The answer to ``npr codes check`` when it is not 'valid'; never a silent pass."""

    def __init__(self, answer: Answer, why: str) -> None:
        days = ", ".join(f"{since} to {until}" for since, until in answer.covered)
        missing = answer.loadable and not any(since <= answer.on <= until for since, until in answer.covered)
        super().__init__(
            f"{answer.name} {answer.code} on {answer.on}: {why}",
            where=f"editions at hand speak of: {days or 'no day'}",
            fix=f"npr codes add {answer.name} FILE --year {answer.on.year}" if missing else "",
        )
        self.answer = answer

    def as_record(self) -> dict[str, str]:
        """The answer, and the refusal's own fields."""
        return super().as_record() | _as_record(self.answer)
