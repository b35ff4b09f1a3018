"""The commands around sending: prepare, approve, accept, submit, resume, resend, audit, passport, diff.

Belongs here: arguments and printing. Does not belong here: anything else (``pipelines.exchange.sending``); commands
import what they need when they run, so that help is there at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pipelines.settings import Settings
    from schemas.config import Profile
    from schemas.records import Key

Body = Callable[..., Any]
PROFILES = click.Choice(["rehearsal", "validation", "production"])
BY = click.option("--by", required=True, help="name of the person who decides")
BECAUSE = click.option("--because", "why", required=True, help="why; everyone may read it, so name no patient")
UNIT = click.option("--unit", required=True, help="reporting unit of npr.toml")
NOBODYS = (
    "whole, which does not prove who signed it: the key is the one inside, and whoever edits a passport can sign it "
    "anew with a key of his own. Give --key, the unit's public key, had from the unit"
)
NUMBER = click.option("--submission", type=int, help="number of the submission [default: the newest]")


def register(cli: click.Group, command: Callable[[str, click.Group], Callable[[Body], click.Command]]) -> None:
    """Hang the commands under the command line. command: its way of making a command of a group."""
    for name, body in (
        ("prepare", prepare),
        ("approve", approve),
        ("accept", accept),
        ("submit", submit),
        ("resume", resume),
        ("resend", resend),
        ("audit", audit),
        ("passport", passport),
        ("diff", diff),
    ):
        command(name, cli)(body)


def _settings(context: click.Context, profile: str | None = None) -> Settings:
    from pipelines.settings import load_settings  # noqa: PLC0415 - imports pydantic

    return load_settings(**{**context.obj, **({"profile": profile} if profile else {})})


def _key(period: str, unit: str) -> Key:
    from schemas.period import Period  # noqa: PLC0415
    from schemas.records import Key  # noqa: PLC0415

    return Key(period=Period.parse(period).key, unit=unit)


@click.argument("period")
@click.option("--unit", help="reporting unit of npr.toml [default: all]")
@click.option("--profile", type=PROFILES, help="for whom: overrides npr.toml")
@click.pass_context
def prepare(context: click.Context, period: str, unit: str | None, profile: str | None) -> tuple[Any, str]:
    """Make the report of PERIOD and hand nothing over: all of `npr run` but its last stage."""
    from assets.ports import Options  # noqa: PLC0415
    from pipelines.commands import show  # noqa: PLC0415
    from pipelines.commands.plan import units_of  # noqa: PLC0415
    from pipelines.runner import rulings_of, run_partition  # noqa: PLC0415
    from schemas.period import Period  # noqa: PLC0415

    settings = _settings(context, profile)
    parsed = Period.parse(period)
    results = []
    units = units_of(settings, parsed, unit, None)
    for name in units:
        with show.progress(f"{parsed.key} {name}") as progress:
            results.append(run_partition(settings, parsed.key, name, Options(), progress, send=False))
    rulings = [rulings_of(settings, parsed.key, name) for name in units]
    return results[0] if len(results) == 1 else results, show.report(results, rulings, settings)


@click.argument("period")
@UNIT
@BY
@NUMBER
@click.option("--because", "why", default="", help="a remark; everyone may read it, so name no patient")
@click.option("--withdraw", is_flag=True, help="take the approval back")
@click.pass_context
def approve(
    context: click.Context,
    period: str,
    unit: str,
    by: str,
    submission: int | None,
    why: str,
    withdraw: bool,  # noqa: FBT001 - a flag of the command
) -> tuple[Any, str]:
    """Approve the prepared submission of PERIOD: these very bytes may be sent.

    It speaks of production, or of the profile in force where npr.toml says approval = true.
    """
    from pipelines.exchange import sending  # noqa: PLC0415

    key = _key(period, unit)
    decision, manifest = sending.approve(_settings(context), key, by, submission, why, withdraw=withdraw)
    parts = [f"  {part.path}: {part.patients} patients, sha256 {part.sha256[:16]}" for part in manifest.shipments]
    found = ", ".join(f"{n} {name}" for name, n in manifest.findings.items() if n) or "none"
    done = "approval withdrawn" if withdraw else "approved"
    lines = [f"{key}, submission {manifest.submission}: {done} by {decision.by}", *parts, f"  findings: {found}"]
    return decision.model_dump(mode="json"), "\n".join(lines)


@click.argument("period")
@UNIT
@BY
@BECAUSE
@NUMBER
@click.pass_context
def accept(
    context: click.Context, period: str, unit: str, by: str, why: str, submission: int | None
) -> tuple[Any, str]:
    """Take on what the validation service found of PERIOD, so that the same content may go to production."""
    from pipelines.exchange import sending  # noqa: PLC0415

    key = _key(period, unit)
    decision, row = sending.accept(_settings(context), key, by, submission, why)
    text = f"{key}, submission {row.number} to validation ({row.state.value}): taken on by {decision.by}"
    return decision.model_dump(mode="json"), text


@click.argument("period")
@UNIT
@click.option("--to", "profile", type=PROFILES, required=True, help="whom to send it to")
@NUMBER
@click.pass_context
def submit(context: click.Context, period: str, unit: str, profile: Profile, submission: int | None) -> tuple[Any, str]:
    """Hand over the prepared submission of PERIOD. What has left already is left alone."""
    from pipelines.exchange import sending  # noqa: PLC0415

    key = _key(period, unit)
    delivery, parts = sending.submit_to(_settings(context, profile), key, profile, submission)
    rows = [part.model_dump(mode="json") for part in parts]
    lines = [f"{key}, submission {delivery.submission}, by {delivery.channel}:", *map(_line, rows)]
    return delivery.model_dump() | {"parts": rows}, "\n".join(lines)


@click.option("--period", default="", help="only this period")
@click.option("--unit", default="", help="only this unit")
@click.pass_context
def resume(context: click.Context, period: str, unit: str) -> tuple[Any, str, int]:
    """Ask what became of everything under way, and say what is certain and what is not. Sends nothing.

    Exit code 1 when something stays in doubt.
    """
    import datetime as dt  # noqa: PLC0415

    from pipelines.exchange import sending  # noqa: PLC0415

    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    found = sending.resume(_settings(context), now, _key(period, "").period if period else "", unit)
    return found, told_of(found), int(bool(found["in_doubt"]))


def told_of(found: Mapping[str, Any]) -> str:
    """What ``npr resume`` prints. found: of ``sending.resume``."""
    lines = [f"{n} part{'' if n == 1 else 's'}: {state.replace('_', ' ')}" for state, n in found["states"].items()]
    lines += _section("In doubt: not sent again by itself; ask the receiver, or npr resend", found["in_doubt"])
    lines += _section("Certainly not sent: npr submit sends them", found["to_send"])
    for hours in sorted({row["silent"] for row in found["waiting"]}, reverse=True):
        title = (
            f"Unanswered for {hours} hours, which is no acceptance" if hours else "Handed over, waiting for an answer"
        )
        lines += _section(title, [row for row in found["waiting"] if row["silent"] == hours])
    lines += [
        f"Of {row['msg_id']} the channel says: {row['said']}" for row in found["asked"] if row["said"] and _open(row)
    ]
    lines += [f"Not told of {row['msg_id']}: {row['not_told']}" for row in found["asked"] if row["not_told"]]
    lines += [f"Parked answer {row['digest'][:16]} ({row['kind']}): {row['reason']}" for row in found["parked"]]
    return "\n".join(lines) or "nothing was ever prepared"


@click.argument("msg_id")
@BECAUSE
@BY
@click.pass_context
def resend(context: click.Context, msg_id: str, why: str, by: str) -> tuple[Any, str]:
    """Hand the identical bytes of MSG_ID over again, under the same MsgId: the deliberate exception, recorded."""
    from pipelines.exchange import sending  # noqa: PLC0415

    row = sending.resend(_settings(context), msg_id, by, why).model_dump(mode="json")
    return row, _line(row)


@click.option("--period", default="", help="only this period")
@click.option("--unit", default="", help="only this unit")
@click.option(
    "--verify", is_flag=True, help="check the chain of hashes, and decisions against it; exit code 1 if broken"
)
@click.option(
    "--passport",
    "passports",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    multiple=True,
    help="with --verify: a passport, which must name a line of this log; repeatable",
)
@click.pass_context
def audit(
    context: click.Context,
    period: str,
    unit: str,
    verify: bool,  # noqa: FBT001 - a flag
    passports: tuple[Path, ...],
) -> tuple[Any, str]:
    """Print who did what to which period, when."""
    from pipelines.exchange.audited import insist_whole  # noqa: PLC0415
    from pipelines.exchange.sending import insist_known, ledger_for  # noqa: PLC0415
    from schemas.errors import WrongUse  # noqa: PLC0415

    settings = _settings(context)
    ledger = ledger_for(settings)
    insist_known(settings, ledger, unit)
    if passports and not verify:
        raise WrongUse("passports are held against the log by --verify only", where="--passport", fix="add --verify")
    if verify:
        number, head = insist_whole(ledger, passports)
        held = f"; passports that fit: {len(passports)}" if passports else ""
        said = {"lines": number, "head": head, "whole": True, "passports": len(passports)}
        return said, f"{number} lines, whole, and the decisions are those told there{held}; last hash {head}"
    wanted = _key(period, "").period if period else ""
    rows = [
        row.model_dump(mode="json")
        for row in ledger.audit()
        if row.period == (wanted or row.period) and row.unit == (unit or row.unit)
    ]
    return rows, "\n".join(_audit_line(row) for row in rows) or "nothing was done yet"


@click.argument("what", metavar="PERIOD|verify")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--unit", default="", help="reporting unit of npr.toml, to issue one")
@NUMBER
@click.option("--key", type=click.Path(path_type=Path, dir_okay=False), help="public key of the unit, to verify")
@click.pass_context
def passport(
    context: click.Context, what: str, file: Path | None, unit: str, submission: int | None, key: Path | None
) -> tuple[Any, str]:
    """Issue the signed passport of a submission of PERIOD, or `npr passport verify FILE` offline."""
    from pipelines.exchange import passport as passports  # noqa: PLC0415
    from schemas.errors import WrongUse  # noqa: PLC0415

    if what == "verify":
        if file is None or not file.is_file() or (key is not None and not key.is_file()):
            raise WrongUse("no such file", where=str(file if file is None or not file.is_file() else key))
        said = passports.verify(file.read_bytes(), str(file), key.read_bytes() if key else None)
        whose = "whole, signed with the key given" if key else NOBODYS
        return said | {"signer": "the key given" if key else "not proven"}, f"{whose}\n{passports.told(said)}"
    from pipelines.exchange import sending  # noqa: PLC0415

    if not unit:
        raise WrongUse("a passport is that of one unit", where="--unit", fix="add --unit")
    said, place = sending.issue_passport(_settings(context), _key(what, unit), submission)
    return said | {"file": str(place)}, f"{passports.told(said)}\n{place}"


@click.argument("period")
@click.argument("first", type=click.IntRange(min=1))
@click.argument("second", type=click.IntRange(min=1))
@UNIT
@click.pass_context
def diff(context: click.Context, period: str, first: int, second: int, unit: str) -> tuple[Any, str]:
    """Show what changed from submission FIRST to SECOND of PERIOD, by table and department."""
    from pipelines.exchange import sending  # noqa: PLC0415

    found = sending.diff(_settings(context), _key(period, unit), first, second)
    lines = [f"{found['period']} {unit}, submission {first} to {second}: records by table and department"]
    for title, rows in (("all departments", found["totals"]), ("", found["rows"])):
        lines += [
            f"  {row['table']} {title or row['department'] or '(no department)'}: {row['rows_before']} rows before, "
            f"{row['rows_after']} after; {row['new']} new, {row['gone']} gone, {row['changed']} changed"
            for row in rows
        ]
    return found, "\n".join(lines)


def _audit_line(row: Mapping[str, Any]) -> str:
    """One line, whatever an older program let into the log: nobody's name may look like a line of its own."""
    from schemas.words import on_one_line  # noqa: PLC0415 - imports pydantic

    place = f"{row['period']} {row['unit']} {row['submission'] or ''}".strip()
    line = f"{row['number']:>5} {row['at'][:19]}Z {row['who']}: {row['what']} {place} {row['detail']}".rstrip()
    return on_one_line(line)


def _open(row: Mapping[str, Any]) -> bool:
    return row["state"] in ("handing_over", "in_doubt")


def _section(title: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"{title}:", *map(_line, rows)] if rows else []


def _line(row: Mapping[str, Any]) -> str:
    state = row["state"].replace("_", " ")
    reference = f", {row['reference']}" if row["reference"] else ""
    return f"  {row['module']} part {row['part']} lopenr {row['lopenr']} {row['msg_id']}: {state}{reference}"
