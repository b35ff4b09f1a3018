"""``npr doctor``: is this installation fit to run?

Belongs here: looking at configuration, certificates, disk and permissions. Does not belong here: changing any of them.
"""

from __future__ import annotations

import datetime as dt
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from pipelines.commands.certificate_lines import certificate_lines
from pipelines.commands.channel_lines import channel_lines
from pipelines.exchange.inbox import folders_of
from pipelines.home.registry import registry_of
from pipelines.scheduling.agenda import today, unknown
from pipelines.settings import Settings
from schemas.errors import DataRefused, WrongUse
from schemas.registry import Registry

OK, WARN, WRONG = "ok", "warning", "wrong"
ROOM = 5_000_000_000  # bytes; a million episodes need about 3 GB with fragments and parts
Line = dict[str, str]


def examine(settings: Settings) -> list[Line]:
    """All findings, in the order in which a person would look."""
    return [
        *_configuration(settings),
        *calendar_lines(settings, dt.datetime.now(dt.UTC)),
        *_extracts(settings),
        *certificate_lines(settings, dt.datetime.now(dt.UTC)),
        *channel_lines(settings),
        *_inbox(settings),
        *_disk(settings.home),
        *_permissions(settings.home),
        *_schemas(registry_of(settings.home)),
    ]


def insist_well(found: list[Line]) -> None:
    """DataRefused when a line is wrong."""
    wrong = [line["check"] for line in found if line["state"] == WRONG]
    if wrong:
        raise DataRefused(f"{len(wrong)} checks are wrong: {', '.join(wrong)}", fix="see the lines above")


def _line(state: str, check: str, what: str, fix: str = "") -> Line:
    return {"state": state, "check": check, "what": what, "fix": fix}


def _configuration(settings: Settings) -> Iterator[Line]:
    config = settings.config
    yield _line(OK, "configuration", f"{settings.path}: profile {config.profile}, {len(config.units)} units")
    if config.profile == "production" and config.shipping.split and not config.shipping.split_agreement:
        yield _line(
            WARN,
            "split",
            "no agreement with NPR is recorded; a report in several parts will stop",
            "record shipping.split_agreement (who, when, reference), or use gzip",
        )


def calendar_lines(settings: Settings, now: dt.datetime) -> Iterator[Line]:
    """Whether all that units owe has a deadline: without one nothing is ever due, and nothing turns red."""
    day = today(settings, now)
    try:
        lost = unknown(settings, day)
    except WrongUse as fault:
        yield _line(WRONG, "calendar", fault.what, fault.fix)
        return
    for line in lost.lines:
        what, _, fix = line.partition(": ")
        yield _line(WRONG if lost.red else WARN, "calendar", what, fix)
    if not lost.lines:
        yield _line(OK, "calendar", f"every report that is owed has its deadline on {day}")


def _extracts(settings: Settings) -> Iterator[Line]:
    for key, unit in settings.config.units.items():
        if unit.extract and not (unit.extract / "extract.toml").is_file():
            yield _line(WARN, f"extract {key}", f"{unit.extract}: no extract.toml", "deliver one, or give --extract")


def _inbox(settings: Settings) -> Iterator[Line]:
    """Folders of answers: what lies in one counts without a signature, and names patients."""
    for folder in folders_of(settings):
        if not folder.is_dir():
            if folder.parent != settings.home:
                yield _line(WARN, "inbox", f"{folder} is not there", "make it, or correct npr.toml")
            continue
        mode = stat.S_IMODE(folder.stat().st_mode)
        if settings.config.profile != "rehearsal" and mode & stat.S_IWOTH:
            what = f"{folder}: anybody may put an answer into it, and an answer there decides what counts as received"
            yield _line(WRONG, "inbox", what, f"chmod o-rwx {folder}")
        elif settings.config.profile != "rehearsal" and mode & stat.S_IRWXO:
            yield _line(WRONG, "inbox", f"{folder} is open to others; answers name patients", f"chmod o-rwx {folder}")
        else:
            yield _line(OK, "inbox", f"answers are taken from {folder}")


def _disk(home: Path) -> Iterator[Line]:
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    state = OK if free > ROOM else WARN
    yield _line(state, "disk", f"{free / 1e9:.1f} GB free below {place}", "" if state == OK else "make room")


def _permissions(home: Path) -> Iterator[Line]:
    keys = (home / "rehearsal" / f"{party}-key.pem" for party in ("receiver", "sender"))
    for private in (home / "identity", home / "tmp", *keys):
        if private.exists() and stat.S_IMODE(private.stat().st_mode) & 0o077:
            yield _line(WRONG, "permissions", f"{private} is open to others", f"chmod go-rwx {private}")
    if not (home / "identity").exists():
        yield _line(OK, "permissions", f"{home} is made with private folders at the first run")
    else:
        yield _line(OK, "permissions", "identity, tmp and keys examined")


def _schemas(registry: Registry) -> Iterator[Line]:
    try:
        version = registry.version_of(2020).version
        counts = {module: dict(registry.layout(module, version).certainties()) for module in ("ord", "ide", "sbs")}
    except WrongUse as error:
        yield _line(WRONG, "schemas", error.what, error.fix)
        return
    yield _line(OK, "schemas", f"{version}: attributes by certainty {counts}")
