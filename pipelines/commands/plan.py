"""Which units a command means.

Belongs here: the question a command answers before anything runs. Does not belong here: running, printing.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from pipelines.settings import Settings
from schemas.errors import DataRefused, WrongUse
from schemas.period import Period
from schemas.reporting import modules_allowed, modules_for
from transforms.extract.scope import ACTIVITY, CARRIED_BY

EXTRACT_TOML = "extract.toml"


def units_of(settings: Settings, period: Period, unit: str | None, extract: Path | None) -> list[str]:
    """The units to run: the one named, or all that report the period. WrongUse or DataRefused when there is none.

    A report without activity (kpp) is made of the units that deliver what it carries: not every unit has it.
    """
    units = settings.config.units
    if unit is not None and unit not in units:
        raise WrongUse(f"no unit {unit!r} in {settings.path}", where="--unit", fix=f"units are {', '.join(units)}")
    if unit is not None:
        return [unit]
    if extract is not None and len(units) > 1:
        raise WrongUse(
            "--extract is the delivery of one unit", where="--unit", fix=f"add --unit, one of {', '.join(units)}"
        )
    if set(ACTIVITY) & set(period.modules):
        due = [name for name, one in units.items() if modules_for(period, one.kind, one.isf)]
    else:
        due = [
            name
            for name, one in units.items()
            if modules_allowed(period, one.kind, one.isf) and _delivers(one.extract, period.modules)
        ]
    if not due:
        raise DataRefused(f"no unit of {settings.path} reports {period.key}", rule="docs/calendar.md")
    return due


def _delivers(extract: Path | None, modules: tuple[str, ...]) -> bool:
    """Whether the unit's extract names a table that one of these messages carries; a foreign extract may always."""
    try:
        text = (extract / EXTRACT_TOML).read_text(encoding="utf-8") if extract else ""
        files = tomllib.loads(text).get("files", {})
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        return True  # the run says what is wrong with it
    wanted = {name for name, carriers in CARRIED_BY.items() if set(carriers) & set(modules)}
    return not files or bool(wanted & set(files))
