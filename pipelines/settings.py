"""Finding and reading ``npr.toml`` and the environment.

Belongs here: where settings come from, and errors that name the key and the fix. Does not belong here: their shape
(``schemas.config``).

Order: command line, environment (NPR_PROFILE, NPR_EXECUTOR), npr.toml. NPR_HOME and NPR_CONFIG name the two places.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.config import Certificates, Config, Executor, KeyFile, Profile
from schemas.errors import WrongUse

M = TypeVar("M", bound=BaseModel)
CONFIG = "npr.toml"
HOME = "var"


class _Environment(BaseModel):
    """What the environment may set, as NPR_ and the name in capitals."""

    model_config = ConfigDict(frozen=True)

    home: Path | None = None
    config: Path | None = None
    profile: Profile | None = None
    executor: Executor | None = None


class Settings:
    """Configuration with the places it applies to. ``root``: paths in npr.toml are relative to its folder."""

    def __init__(self, config: Config, home: Path, path: Path) -> None:
        self.config = config
        self.home = home
        self.path = path


def load_settings(*, config: Path | None = None, home: Path | None = None, profile: str | None = None) -> Settings:
    """Read everything. WrongUse names file, key and fix."""
    given = {"config": config, "home": home, "profile": profile}
    said: dict[str, str | Path | None] = {
        name: os.environ.get(f"NPR_{name.upper()}") for name in _Environment.model_fields
    }
    said |= {name: value for name, value in given.items() if value}
    try:
        environment = _Environment.model_validate(said)
    except ValidationError as error:
        raise _wrong("environment", error, prefix="NPR_") from None
    path = (environment.config or Path(CONFIG)).resolve()
    raw = _read(path)
    raw |= {name: value for name in ("profile", "executor") if (value := getattr(environment, name))}
    try:
        parsed = Config.model_validate(raw)
    except ValidationError as error:
        raise _wrong(str(path), error) from None
    return Settings(_rooted(parsed, path.parent), (environment.home or Path(HOME)).resolve(), path)


def export(settings: Settings) -> None:
    """Let child processes (Dagster's) find the same configuration and home."""
    os.environ["NPR_CONFIG"] = str(settings.path)
    os.environ["NPR_HOME"] = str(settings.home)
    os.environ["NPR_PROFILE"] = settings.config.profile
    os.environ["NPR_EXECUTOR"] = settings.config.executor


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise WrongUse(f"{path}: no such file", fix="write an npr.toml (see README), or name one with --config")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WrongUse(f"{path}: not TOML", where=str(error), fix="write it as UTF-8 TOML") from None


def _wrong(where: str, error: ValidationError, prefix: str = "") -> WrongUse:
    lines = []
    for fault in error.errors(include_input=False):
        key = ".".join(str(part) for part in fault["loc"])
        lines.append(f"{prefix}{key.upper() if prefix else key}: {_hint(fault['type'], fault['msg'])}")
    return WrongUse(
        f"{where}: {len(lines)} settings are wrong", where="\n         ".join(lines), fix="see docs/settings.md"
    )


def _hint(kind: str, message: str) -> str:
    hints = {
        "missing": "is missing; add it",
        "extra_forbidden": "is no setting; check the spelling or take it out",
        "string_pattern_mismatch": f"has not the right form; {message[0].lower()}{message[1:]}",
    }
    return hints.get(kind, message.removeprefix("Value error, "))


def _rooted(config: Config, root: Path) -> Config:
    """Every path of npr.toml, taken as relative to the folder of the file."""
    units = {
        key: unit.model_copy(
            update={
                "extract": root / unit.extract if unit.extract else None,
                "certificates": _certificates(unit.certificates, root) if unit.certificates else None,
            }
        )
        for key, unit in config.units.items()
    }
    shipping = config.shipping
    if shipping.receiver_certificate:
        shipping = shipping.model_copy(update={"receiver_certificate": root / shipping.receiver_certificate})
    ledger = config.ledger
    if ledger.url_file:
        ledger = ledger.model_copy(update={"url_file": root / ledger.url_file})
    inbox = config.inbox.model_copy(
        update={
            "folders": tuple(root / folder for folder in config.inbox.folders),
            **{name: root / path for name in ("passwords", "mapping") if (path := getattr(config.inbox, name))},
        }
    )
    databases = {
        key: one.model_copy(update={"secrets": root / one.secrets}) if one.secrets else one
        for key, one in config.databases.items()
    }
    channels = {key: _with_paths(one, root) for key, one in config.channels.items()}
    update: dict[str, Any] = {"units": units, "shipping": shipping, "ledger": ledger, "databases": databases}
    update |= {"channels": channels, "inbox": inbox}
    if config.drop.folder:
        update["drop"] = config.drop.model_copy(update={"folder": root / config.drop.folder})
    if mail := config.notify.mail:
        paths = {name: root / path for name in ("ca", "password_file") if (path := getattr(mail, name))}
        update["notify"] = config.notify.model_copy(update={"mail": mail.model_copy(update=paths)})
    update |= {"dagster_yaml": root / config.dagster_yaml} if config.dagster_yaml else {}
    return config.model_copy(update={**update, "certificates": _certificates(config.certificates, root)})


def _with_paths(part: M, root: Path) -> M:
    """Paths of a part of the settings, and of the parts in it."""
    update: dict[str, Any] = {name: root / value for name, value in part if isinstance(value, Path)}
    update |= {name: _with_paths(value, root) for name, value in part if isinstance(value, BaseModel)}
    return part.model_copy(update=update)


def _certificates(given: Certificates, root: Path) -> Certificates:
    def key(one: KeyFile) -> KeyFile:
        paths = {name: getattr(one, name) for name in ("file", "certificate", "password_file")}
        return one.model_copy(update={name: root / path for name, path in paths.items() if path})

    files = {name: tuple(root / path for path in getattr(given, name)) for name in _CERTIFICATE_FILES}
    keys = {name: tuple(map(key, getattr(given, name))) for name in ("signing", "reading")}
    client = given.address_register_client
    asks = {"address_register_client": _with_paths(client, root)} if client else {}
    return given.model_copy(update=files | keys | asks)


_CERTIFICATE_FILES = ("receiver", "receiver_signing", "trust", "chain", "crl", "ocsp")
