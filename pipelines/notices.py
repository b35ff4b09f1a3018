"""Notices by webhook and e-mail when the state of reports changes.

Belongs here: what a notice says, when one is due, and sending it. Does not belong here: working out the state
(``pipelines.status``). A notice holds counts, periods and units; never a row, a name or a number of a patient.

A notice that could not be sent stops nothing: the next look tries again, for the change is noted only when all were
told.
"""

from __future__ import annotations

import json
import os
import smtplib
import ssl
from collections import Counter
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from pipelines.settings import Settings
from pipelines.status import Status
from pipelines.store import DiskStore
from schemas.config import Mail
from schemas.errors import WrongUse
from schemas.records import digest
from transforms.matrix import RED, Cell

TOLD = "told.json"
SECONDS = 20
LISTED = 40


def tell(settings: Settings, found: Status) -> str:
    """Tell everyone when something changed since the last time; returns what was done, for a log."""
    notify = settings.config.notify
    if not notify.webhook and not notify.mail:
        return "nobody to tell: npr.toml has no [notify]"
    notice = _notice(settings, found)
    mark = digest([notice["counts"], notice["attention"]])
    place = settings.home / TOLD
    if _noted(place) == mark:
        return "nothing changed since the last notice"
    failed = [name for name, send in (("webhook", _post), ("mail", _mail)) if not send(settings, notice)]
    if failed:
        return f"could not tell by {' and '.join(failed)}; the next look tries again"
    with DiskStore(settings.home).writing(place) as path:
        path.write_text(json.dumps({"mark": mark}), encoding="utf-8")
    return "told"


def _noted(place: Path) -> str:
    try:
        return str(json.loads(place.read_text(encoding="utf-8"))["mark"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _notice(settings: Settings, found: Status) -> dict[str, Any]:
    mine = [cell for cell in found.cells if cell.standing == "due" or cell.colour != "green"]
    needing = [cell for cell in mine if cell.colour in RED or cell.state in ("waiting for approval", "blocked")]
    counts = Counter(cell.text if cell.state != "blocked" else "blocked" for cell in mine)
    return {
        "profile": settings.config.profile,
        "red": sum(cell.colour in RED for cell in mine),
        "counts": dict(sorted(counts.items())),
        "attention": list(dict.fromkeys(_line(cell) for cell in needing)),
    }


def _line(cell: Cell) -> str:
    return f"{cell.colour}: {cell.period} {cell.unit}, submission {cell.submission}: {cell.text}, due {cell.deadline}"


def _post(settings: Settings, notice: dict[str, Any]) -> bool:
    import httpx  # noqa: PLC0415 - most installations have no webhook

    url = settings.config.notify.webhook
    if not url:
        return True
    try:
        return httpx.post(url, json=notice, timeout=SECONDS).is_success
    except httpx.HTTPError:
        return False


def _mail(settings: Settings, notice: dict[str, Any]) -> bool:
    mail = settings.config.notify.mail
    if mail is None:
        return True
    message = EmailMessage()
    message["From"], message["To"] = mail.sender, ", ".join(mail.to)
    message["Subject"] = f"NPR reports: {notice['red']} red, {len(notice['attention'])} need attention"
    lines = notice["attention"][:LISTED]
    more = len(notice["attention"]) - len(lines)
    counts = [f"{n} messages: {state}" for state, n in notice["counts"].items()]
    message.set_content("\n".join([*lines, *([f"and {more} more"] if more > 0 else []), "", *counts, "", "npr status"]))
    secret = _password(mail)
    try:
        with smtplib.SMTP(mail.host, mail.port, timeout=SECONDS) as server:
            if mail.starttls:
                server.starttls(context=ssl.create_default_context(cafile=mail.ca))
            if mail.user:
                server.login(mail.user, secret)
            server.send_message(message)
    except (OSError, smtplib.SMTPException):
        return False
    return True


def _password(mail: Mail) -> str:
    if mail.password_env:
        return os.environ.get(mail.password_env, "")
    if mail.password_file is None:
        return ""
    if mail.password_file.stat().st_mode & 0o077:
        raise WrongUse(
            f"{mail.password_file}: others than the owner may read it",
            where="notify.mail.password_file",
            fix=f"chmod 600 {mail.password_file}",
        )
    return mail.password_file.read_text(encoding="utf-8").strip()
