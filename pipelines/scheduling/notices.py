"""Notices by webhook and e-mail when the state of reports changes.

Belongs here: what a notice says, when one is due, and sending it. Does not belong here: working out the state
(``pipelines.scheduling.status``). A notice holds counts, periods and units; never a row, a name or a number of a
patient.

A notice that could not be sent stops nothing: it is said why, and the next look tries that way again. What was told is
noted for each way by itself, so that a webhook that is down does not mail the same thing every few minutes.
"""

from __future__ import annotations

import json
import os
import smtplib
import ssl
from collections import Counter
from collections.abc import Callable
from email.message import EmailMessage
from email.utils import localtime
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.home.store import DiskStore
from pipelines.scheduling.status import Status
from pipelines.settings import Settings
from schemas.config import Mail
from schemas.records import digest
from transforms.scheduling.matrix import RED, Cell

TOLD = "told.json"
PENDING = ""
SECONDS = 20
LISTED = 40


def tell(settings: Settings, found: Status) -> str:
    """Tell everyone when something changed since the last time; returns what was done, for a log."""
    notify = settings.config.notify
    ways: dict[str, Callable[[], str]] = {}
    notice = _notice(settings, found)
    if notify.webhook:
        ways["webhook"] = partial(_post, notify.webhook, notice)
    if notify.mail:
        ways["mail"] = partial(_mail, notify.mail, notice)
    if not ways:
        return "nobody to tell: npr.toml has no [notify]"
    mark = digest([notice["counts"], notice["attention"]])
    place = settings.home / TOLD
    known = _noted(place)
    due = {name: send for name, send in ways.items() if known.get(name) != mark}
    if not due:
        return "nothing changed since the last notice"
    said = {}
    for name, send in due.items():
        try:
            said[name] = send()
        except _Failed as failed:
            said[name] = f"{failed}; the next look tries again"
            known[name] = PENDING
        else:
            known[name] = mark
    with DiskStore(settings.home).writing(place) as path:
        path.write_text(json.dumps(known), encoding="utf-8")
    return "; ".join(f"{name}: {outcome}" for name, outcome in said.items())


class _Failed(Exception):
    """A notice was not taken, and why: kinds of errors alone, since their texts may quote anything."""


def pending(settings: Settings) -> bool:
    """Whether a notice is still to be told, since it could not be sent."""
    notify = settings.config.notify
    known = _noted(settings.home / TOLD)
    ways = {"webhook": notify.webhook, "mail": notify.mail}
    return any(given and known.get(name) == PENDING for name, given in ways.items())


def _noted(place: Path) -> dict[str, str]:
    """What each way told last."""
    try:
        read = json.loads(place.read_text(encoding="utf-8"))
        return {str(name): str(mark) for name, mark in read.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _notice(settings: Settings, found: Status) -> dict[str, Any]:
    mine = [cell for cell in found.cells if cell.standing == "due" or cell.colour != "green"]
    needing = [cell for cell in mine if cell.colour in RED or cell.state in ("waiting for approval", "blocked")]
    counts = Counter(cell.text if cell.state != "blocked" else "blocked" for cell in mine)
    lines = dict.fromkeys((_line(cell), cell.colour in RED) for cell in needing)
    alarm = found.unknown.red
    lines |= dict.fromkeys((f"{'red' if alarm else 'amber'}: {line}", alarm) for line in found.unknown.lines)
    return {
        "profile": settings.config.profile,
        "red": sum(red for _, red in lines),
        "counts": dict(sorted(counts.items())),
        "attention": [line for line, _ in lines],
    }


def _line(cell: Cell) -> str:
    return f"{cell.colour}: {cell.period} {cell.unit}, submission {cell.submission}: {cell.text}, due {cell.deadline}"


def _post(url: str, notice: dict[str, Any]) -> str:
    import httpx  # noqa: PLC0415 - most installations have no webhook

    try:
        # The CAs of the machine and not those of a package: a hospital's own monitoring has its own.
        answer = httpx.post(url, json=notice, timeout=SECONDS, verify=ssl.create_default_context())
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise _Failed(f"not reached ({type(error).__name__})") from None
    if not answer.is_success:
        raise _Failed(f"answered {answer.status_code}")
    return "told"


def _mail(mail: Mail, notice: dict[str, Any]) -> str:
    try:
        with smtplib.SMTP(mail.host, mail.port, timeout=SECONDS) as server:
            if mail.starttls:
                server.starttls(context=ssl.create_default_context(cafile=mail.ca))
            if mail.user:
                server.login(mail.user, _password(mail))
            refused = server.send_message(_message(mail, notice))
    except UnicodeError:  # smtplib knows ASCII alone here
        raise _Failed("user or password holds letters that the mail server cannot be told") from None
    except (OSError, smtplib.SMTPException) as error:
        raise _Failed(f"not sent ({type(error).__name__})") from None
    # Those that were not refused have it, and are not mailed again for the others.
    return f"told, but {len(refused)} of {len(mail.to)} recipients were refused" if refused else "told"


def _message(mail: Mail, notice: dict[str, Any]) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"] = mail.sender, ", ".join(mail.to)
    message["Date"] = localtime()
    message["Subject"] = f"NPR reports: {len(notice['attention'])} need attention, {notice['red']} red"
    lines = notice["attention"][:LISTED]
    more = len(notice["attention"]) - len(lines)
    counts = [f"{n} messages: {state}" for state, n in notice["counts"].items()]
    message.set_content("\n".join([*lines, *([f"and {more} more"] if more > 0 else []), "", *counts, "", "npr status"]))
    return message


def _password(mail: Mail) -> str:
    """The password of the mail server, which never stands in npr.toml."""
    if mail.password_env:
        secret = os.environ.get(mail.password_env, "")
        if not secret:
            raise _Failed(f"{mail.password_env} is not set (notify.mail.password_env)")
        return secret
    if mail.password_file is None:
        return ""
    try:
        if mail.password_file.stat().st_mode & 0o077:
            raise _Failed(f"others than the owner may read notify.mail.password_file: chmod 600 {mail.password_file}")
        return mail.password_file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise _Failed(f"notify.mail.password_file cannot be read ({error.strerror})") from None
