"""The command line ``npr``.

Belongs here: arguments, printing, exit codes. Does not belong here: anything else; commands import what they need
when they run, so that help is there at once.

Exit codes: 0 done, 1 the data or a gate refused, 2 wrong use or configuration, 70 a bug.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import click

from pipelines.commands import calendar, codes, due, findings, inbox, purge, schema, sending, status, validate, worker
from schemas.errors import Bug, NprError, led_to, of_system

if TYPE_CHECKING:
    from pipelines.settings import Settings

P = ParamSpec("P")
BUG = 70


def main() -> None:
    """Entry point of ``npr``."""
    cli(prog_name="npr")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="npr-pipeline")
@click.option("--config", type=click.Path(path_type=Path), help="npr.toml to use [default: ./npr.toml, or NPR_CONFIG]")
@click.option("--home", type=click.Path(path_type=Path), help="the only place written to [default: ./var, or NPR_HOME]")
@click.option("--profile", type=click.Choice(["rehearsal", "validation", "production"]), help="overrides npr.toml")
@click.pass_context
def cli(context: click.Context, config: Path | None, home: Path | None, profile: str | None) -> None:
    """From a hospital's extract to shipments ready for Norsk pasientregister (NPR)."""
    context.obj = {"config": config, "home": home, "profile": profile}


def _settings(context: click.Context, **overrides: Any) -> Settings:  # noqa: ANN401 - handed on to load_settings
    from pipelines.settings import load_settings  # noqa: PLC0415 - imports pydantic

    return load_settings(**{**context.obj, **{name: value for name, value in overrides.items() if value}})


def command(name: str, group: click.Group | None = None) -> Callable[[Callable[P, Any]], click.Command]:
    """A command of ``npr`` or a group in it. The body returns (record, text): the record is printed with --json.

    A third value is the exit code of what is printed all the same, for whoever watches by exit codes.
    """

    def decorate(body: Callable[P, Any]) -> click.Command:
        @wraps(body)
        def inner(*args: P.args, **kwargs: P.kwargs) -> None:
            as_json = bool(kwargs.pop("as_json", False))
            with _exit_codes(as_json=as_json):
                record, text, *code = body(*args, **kwargs)
                click.echo(json.dumps(record, ensure_ascii=False, indent=1) if as_json else text)
                if any(code):
                    sys.exit(code[0])

        option = click.option(
            "--json", "as_json", is_flag=True, help="print one JSON value on stdout, all else on stderr"
        )
        return (group or cli).command(name)(option(inner))

    return decorate


@contextmanager
def _exit_codes(*, as_json: bool) -> Iterator[None]:
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - the last line of defence; a panic in Polars is no Exception
        refused = _refusal(error)
        if refused is None:
            bug = _bug(error)
            click.echo(f"npr: a bug ({bug.kind}); please report it with these lines:", err=True)
            click.echo("\n".join(f"  {place}" for place in bug.places), err=True)
            sys.exit(BUG)
        click.echo(f"npr: {refused}", err=True)
        if as_json:
            click.echo(json.dumps(refused.as_record(), ensure_ascii=False, indent=1))
        sys.exit(refused.exit_code)


def _bug(error: BaseException) -> Bug:
    """The bug inside what was raised, or what was raised as one."""
    found = next((one for one in led_to(error) if isinstance(one, Bug)), None)
    return found or Bug(error)


def _refusal(error: BaseException) -> NprError | None:
    if isinstance(error, NprError):
        return error
    from pipelines.runner import user_error  # noqa: PLC0415 - imports Dagster

    return user_error(error) or of_system(error)


@command("run")
@click.argument("period")
@click.option("--unit", help="reporting unit of npr.toml [default: all]")
@click.option("--extract", type=click.Path(path_type=Path), help="folder of the extract [default: as in npr.toml]")
@click.option("--source", help="mapping of a foreign extract, a folder of sql/sources")
@click.option("--module", "modules", multiple=True, help="message to make, repeatable [default: what PERIOD asks for]")
@click.option("--limit-bytes", type=click.IntRange(min=1), help="largest packed shipment in bytes")
@click.option("--profile", type=click.Choice(["rehearsal", "validation", "production"]), help="overrides npr.toml")
@click.option("--config", type=click.Path(path_type=Path), help="npr.toml to use")
@click.pass_context
def run(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    context: click.Context,
    period: str,
    unit: str | None,
    extract: Path | None,
    source: str | None,
    modules: tuple[str, ...],
    limit_bytes: int | None,
    profile: str | None,
    config: Path | None,
) -> tuple[Any, str]:
    """Make the report of PERIOD (2020-M01, 2020-T1, 2020-A, 2020-K, ...) and put it into the outbox."""
    from pipelines.commands import show  # noqa: PLC0415
    from pipelines.commands.plan import units_of  # noqa: PLC0415
    from schemas.period import Period  # noqa: PLC0415

    settings = _settings(context, profile=profile, config=config)
    meant = Period.parse(period).carrying(modules)
    if (key := meant.key) != period:
        click.echo(
            f"npr: {', '.join(meant.modules)} is a report of its own, {key}; {period} is left as it is", err=True
        )
    units = units_of(settings, meant, unit, extract)
    from assets.ports import Options  # noqa: PLC0415
    from pipelines.runner import rulings_of, run_partition  # noqa: PLC0415

    results = []
    options = Options(extract, source, limit_bytes, modules)
    for name in units:
        with show.progress(f"{key} {name}") as progress:
            results.append(run_partition(settings, key, name, options, progress))
    rulings = [rulings_of(settings, key, name) for name in units]
    return results[0] if len(results) == 1 else results, show.report(results, rulings, settings)


@command("trace")
@click.argument("episode_id")
@click.option("--period", help="only this period")
@click.option("--unit", help="only this unit")
@click.pass_context
def trace(context: click.Context, episode_id: str, period: str | None, unit: str | None) -> tuple[Any, str]:
    """Print the way of EPISODE_ID from file and row to shipment part."""
    from pipelines.commands import show  # noqa: PLC0415
    from pipelines.commands.trace import trace_episode  # noqa: PLC0415

    found = trace_episode(_settings(context), episode_id, period, unit)
    return found, show.trace(found)


@command("doctor")
@click.pass_context
def doctor(context: click.Context) -> tuple[Any, str]:
    """Check configuration, certificates, disk and permissions. Exit code 1 when something is wrong."""
    from pipelines.commands import show  # noqa: PLC0415
    from pipelines.commands.doctor import examine, insist_well  # noqa: PLC0415

    found = examine(_settings(context))
    click.echo(show.doctor(found), err=True)
    insist_well(found)
    return found, "everything is in order"


@command("identify")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--on", type=click.DateTime(["%Y-%m-%d"]), help="judge by this day [default: by the rules before 2032]")
@click.pass_context
def identify(_context: click.Context, file: Path, on: datetime | None) -> tuple[Any, str]:
    """Say which kind of identity number stands in each line of FILE. No number is printed."""
    from pipelines.commands.identify import identify as judge  # noqa: PLC0415
    from pipelines.commands.identify import summary  # noqa: PLC0415

    records = judge(file, on.date() if on else None)
    return records, summary(records)


@command("ui")
@click.option("--port", type=int, default=3000, show_default=True)
@click.option("--prepare", is_flag=True, help="make DAGSTER_HOME ready, print where it is, and open nothing")
@click.pass_context
def ui(context: click.Context, port: int, prepare: bool) -> tuple[Any, str]:  # noqa: FBT001 - a flag of the command
    """Open Dagster's pages on the same instance (stop with Ctrl-C)."""
    import os  # noqa: PLC0415

    from pipelines.runner import instance  # noqa: PLC0415
    from pipelines.settings import export  # noqa: PLC0415

    settings = _settings(context)
    instance(settings.home, settings.config.dagster_yaml).dispose()
    folder = str(settings.home / "dagster")
    if not prepare:
        export(settings)
        os.environ["DAGSTER_HOME"] = folder
        program = str(Path(sys.executable).parent / "dagster")
        os.execv(program, [program, "dev", "-m", "pipelines.location", "-p", str(port)])  # noqa: S606 - our own program
    return {"DAGSTER_HOME": folder}, f"DAGSTER_HOME={folder}"


schema.register(cli, command)
calendar.register(cli, command, _exit_codes)
due.register(cli, command)
codes.register(cli, command)
findings.register(cli, command)
sending.register(cli, command)
inbox.register(cli, command)
purge.register(cli, command)
worker.register(cli, command)
status.register(cli, command, _exit_codes)
validate.register(cli, _exit_codes)


if __name__ == "__main__":
    main()
