"""What is due on this machine: its units, its calendar and its ledger put before ``transforms.scheduling.due``.

Belongs here: gathering what that function asks for. Does not belong here: deciding, printing, starting runs.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence

from pipelines.home.calendar import CalendarHome
from pipelines.home.registry import registry_of
from pipelines.settings import Settings
from schemas.deadlines import gaps
from schemas.errors import WrongUse
from schemas.period import kinds
from transforms.scheduling.due import OSLO, Due, Reporter, StateLine, outlook


def today(settings: Settings, now: dt.datetime) -> dt.date:
    """The day in Norway, or in a rehearsal the day that npr.toml names in its place. now: with time zone."""
    config = settings.config
    rehearsed = config.schedule.rehearsal_day if config.profile == "rehearsal" else None
    return rehearsed or now.astimezone(OSLO).date()


def asked_from(day: dt.date) -> dt.date:
    """Deadlines before that day are not asked about where nobody says otherwise."""
    return dt.date(day.year, 1, 1)


def agenda(
    settings: Settings,
    states: Iterable[StateLine],
    now: dt.datetime,
    *,
    on: dt.date | None = None,
    since: dt.date | None = None,
    units: Sequence[str] = (),
) -> list[Due]:
    """Every planned submission as it stands on a day, see ``transforms.scheduling.due.outlook``.

    states: rows of the ledger, of any profile. on: by default today in Norway. since: by default 1 January of that
    year, so that a machine that begins is not told of all it never sent; a unit's ``reports_since`` goes before.
    units: empty = all of npr.toml.
    """
    insist_units(settings, units)
    day = on or today(settings, now)
    reporters = [
        Reporter(name, unit.kind, unit.isf, unit.reports_since)
        for name, unit in settings.config.units.items()
        if not units or name in units
    ]
    calendar = CalendarHome(settings.home).deadlines()
    mine = [line for line in states if line.profile == settings.config.profile]
    begin = since or asked_from(day)
    return outlook(reporters, calendar, mine, day, since=begin, carriers=_carriers(settings))


def insist_units(settings: Settings, units: Iterable[str]) -> None:
    """WrongUse for a unit that npr.toml does not have: of one that nobody knows nothing would ever be red."""
    if unknown := set(units) - set(settings.config.units):
        known = ", ".join(settings.config.units)
        raise WrongUse(f"no unit {min(unknown)!r} in {settings.path}", where="--unit", fix=f"units are {known}")


def unknown(settings: Settings, on: dt.date) -> list[str]:
    """What no table and no draft says of that year, and of the annual report before it: nothing due may mean that."""
    calendar = CalendarHome(settings.home).deadlines()
    if on.year > kinds().years.last:
        return [f"there are no periods of {on.year} yet"]
    lost = gaps(on.year, calendar), [gap for gap in gaps(on.year - 1, calendar) if gap.startswith(f"{on.year - 1}-A")]
    return [
        f"{len(missing)} deadlines of {year} are in no table: npr calendar propose {year}"
        for year, missing in zip((on.year, on.year - 1), lost, strict=True)
        if missing
    ]


def _carriers(settings: Settings) -> dict[int, str]:
    """Data year -> module that carries NPR-melding-TSB, for the years that have a version."""
    registry = registry_of(settings.home)
    years = registry.versions()["years"]
    return {
        int(year): settings.config.tsb.module or registry.tsb_module(entry["version"]) for year, entry in years.items()
    }
