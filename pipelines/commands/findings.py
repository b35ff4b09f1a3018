"""The commands about findings: findings, explain, verdict, and the decisions waive, override, confirm.

Belongs here: arguments. Does not belong here: anything else (``pipelines.commands.work_list``,
``pipelines.commands.show_findings``); commands import what they need when they run, so that help is there at once.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pipelines.settings import Settings

Body = Callable[..., Any]
DAY = click.DateTime(["%Y-%m-%d"])
STATUSES = ("new", "persisting", "resolved", "waived")
OPEN = ("new", "persisting")


def register(cli: click.Group, command: Callable[[str, click.Group], Callable[[Body], click.Command]]) -> None:
    """Hang the commands under the command line. command: its way of making a command of a group."""
    bodies = (findings, explain, verdict, waive, override, confirm)
    for body in bodies:
        command(body.__name__, cli)(body)


def _settings(context: click.Context) -> Settings:
    from pipelines.settings import load_settings  # noqa: PLC0415 - imports pydantic

    return load_settings(**context.obj)


def _decided(body: Body) -> Body:
    """Options of every decision: who, why, and taking it back."""
    for option in (
        click.option("--withdraw", "withdrawn", is_flag=True, help="take the decision back"),
        click.option("--why", "--because", "why", required=True, help="reason; it must not name a patient"),
        click.option("--by", required=True, help="the named person who decides"),
        click.option("--unit", help="reporting unit [default: the only one of the period]"),
        click.argument("period"),
    ):
        body = option(body)
    return click.pass_context(body)


@click.argument("period")
@click.option("--unit", help="reporting unit [default: all]")
@click.option("--by", type=click.Choice(["rule", "department"]), help="counts instead of single findings")
@click.option("--new", "only_new", is_flag=True, help="only what the last run found for the first time")
@click.option(
    "--status", "statuses", multiple=True, type=click.Choice(STATUSES), help="repeatable [default: open ones]"
)
@click.pass_context
def findings(
    context: click.Context,
    period: str,
    unit: str | None,
    by: str | None,
    only_new: bool,  # noqa: FBT001 - a flag of the command
    statuses: tuple[str, ...],
) -> tuple[Any, str]:
    """List the findings of PERIOD: new, persisting, resolved or waived, with row and department."""
    from pipelines.commands import show_findings, work_list  # noqa: PLC0415

    wanted = ("new",) if only_new else statuses or OPEN
    records = [work_list.listed(run, by, wanted) for run in work_list.runs(_settings(context), period, unit)]
    return work_list.plain(records), show_findings.work_lists(records, by)


@click.argument("rule")
@click.option("--record", help="a finding or record as npr findings names it, or the episodeID")
@click.option("--period", help="look there only [default: all periods that were run]")
@click.option("--unit", help="look there only")
@click.pass_context
def explain(
    context: click.Context, rule: str, record: str | None, period: str | None, unit: str | None
) -> tuple[Any, str]:
    """Explain RULE: text, consequence, basis and source, expression, fix; with --record what it found there."""
    from pipelines.commands import show_findings, work_list  # noqa: PLC0415

    told = work_list.explained(_settings(context), rule, record, period, unit)
    return told, show_findings.explanation(told)


@click.argument("period")
@click.option("--unit", help="reporting unit [default: all]")
@click.pass_context
def verdict(context: click.Context, period: str, unit: str | None) -> tuple[Any, str]:
    """Say what NPR would keep of PERIOD, what is lost to which rule, and what stops it from being sent."""
    from pipelines.commands import show_findings, work_list  # noqa: PLC0415

    records = [work_list.judged(run) for run in work_list.runs(_settings(context), period, unit)]
    return work_list.plain(records), show_findings.verdicts(records)


@_decided
@click.argument("subject")
@click.option("--until", type=DAY, help="last day it holds [default: no end]")
def waive(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    context: click.Context,
    period: str,
    subject: str,
    unit: str | None,
    by: str,
    why: str,
    withdrawn: bool,  # noqa: FBT001 - a flag of the command
    until: dt.datetime | None,
) -> tuple[Any, str]:
    """Take SUBJECT, a rule or the fingerprint of one finding, off the work list. It lets no record through."""
    from pipelines.commands import show_findings, work_list  # noqa: PLC0415

    said = {"by": by, "why": why, "withdrawn": withdrawn, "until": until.date() if until else None}
    record = work_list.waive(_settings(context), period, unit, subject, said)
    return record, show_findings.decision(record)


@_decided
@click.argument("rule")
@click.option("--count", type=click.IntRange(min=0), required=True, help="how many records are taken on")
def override(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    context: click.Context,
    period: str,
    rule: str,
    unit: str | None,
    by: str,
    why: str,
    withdrawn: bool,  # noqa: FBT001 - a flag of the command
    count: int,
) -> tuple[Any, str]:
    """Send PERIOD although NPR will leave out up to --count records for RULE."""
    from pipelines.commands import show_findings, work_list  # noqa: PLC0415

    said = {"by": by, "why": why, "withdrawn": withdrawn, "count": count}
    record = work_list.override(_settings(context), period, unit, rule, said)
    return record, show_findings.decision(record)


@_decided
@click.option("--guard", required=True, help="guard that stops, as npr verdict names it")
def confirm(
    context: click.Context,
    period: str,
    unit: str | None,
    by: str,
    why: str,
    withdrawn: bool,  # noqa: FBT001 - a flag of the command
    guard: str,
) -> tuple[Any, str]:
    """Confirm that the figures which stop PERIOD are right, these and no others."""
    from pipelines.commands import show_findings, work_list  # noqa: PLC0415

    said = {"by": by, "why": why, "withdrawn": withdrawn}
    record = work_list.confirm(_settings(context), period, unit, guard, said)
    return record, show_findings.decision(record)
