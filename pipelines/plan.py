"""Which units a command means, and the calendar as rows.

Belongs here: the questions a command answers before anything runs. Does not belong here: running, printing.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pipelines.settings import Settings
from schemas.errors import DataRefused, WrongUse
from schemas.layouts import tsb_module, version_of
from schemas.period import Period, period_keys
from schemas.reporting import REPORT_OF, deadlines, modules_for
from transforms.scope import CARRIED_BY

EXTRACT_TOML = "extract.toml"


def units_of(
    settings: Settings, period: Period, unit: str | None, extract: Path | None, modules: tuple[str, ...] = ()
) -> list[str]:
    """The units to run: the one named, or all that report the period. WrongUse or DataRefused when there is none.

    A message that is made on request only is made of the units that deliver what it carries.
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
    due = [name for name, one in units.items() if modules_for(period, one.kind, one.isf)]
    if modules and set(modules) <= set(period.on_request):
        due = [name for name in due if _delivers(units[name].extract, modules)]
    if not due:
        raise DataRefused(
            f"no unit of {settings.path} reports {' '.join((period.key, *modules))}", rule="docs/calendar.md"
        )
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


def calendar_rows(year: int | None) -> list[dict[str, Any]]:
    """One row per period key: bounds, modules, and the published deadlines (empty where no table was found)."""
    published = deadlines()
    years = {line.period_to.year for line in published}
    wanted = [Period.parse(key) for key in period_keys()]
    rows = []
    for period in (p for p in wanted if (p.year == year if year else p.year in years)):
        version = version_of(period.year).version if _has_version(period.year) else None
        carrier = tsb_module(version) if version else "tsb"
        lines = [
            {
                "deadline": line.deadline.isoformat(),
                "submission": line.submission,
                "audience": line.audience,
                "as_printed": line.text_as_printed,
            }
            for line in published
            if line.period_to == period.end and line.report == REPORT_OF[period.kind]
        ]
        rows.append(
            {
                "period": period.key,
                "from": period.start.isoformat(),
                "to": period.end.isoformat(),
                "modules": [carrier if module == "tsb" else module for module in period.modules],
                "version": version,
                "deadlines": lines,
            }
        )
    if not rows:
        raise WrongUse(f"no periods in {year}", fix=f"years are {period_keys()[0][:4]} to {period_keys()[-1][:4]}")
    return rows


def _has_version(year: int) -> bool:
    try:
        version_of(year)
    except WrongUse:
        return False
    return True
