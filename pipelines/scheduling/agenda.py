"""What is due on this machine: its units, its calendar and its ledger put before ``transforms.scheduling.due``.

Belongs here: gathering what that function asks for. Does not belong here: deciding, printing, starting runs.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
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


def asked_from(day: dt.date, states: Iterable[StateLine] = ()) -> dt.date:
    """Deadlines before that day are not asked about where nobody says otherwise.

    That is 1 January, so that a machine that begins is not told of all it never sent; and 1 January of the year before
    for a unit that handed something over before this year, so that nothing it still owes is forgotten at New Year.
    states: rows of that unit.
    """
    begin = dt.date(day.year, 1, 1)
    sent = (one.handed_over_at.astimezone(OSLO).date() for one in states if one.handed_over_at)
    return dt.date(day.year - 1, 1, 1) if any(one < begin for one in sent) else begin


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

    states: rows of the ledger, of any profile. on: by default today in Norway. since: by default as ``asked_from`` says
    for each unit; a unit's ``reports_since`` goes before. units: empty = all of npr.toml.
    """
    insist_units(settings, units)
    day = on or today(settings, now)
    of_unit: dict[str, list[StateLine]] = defaultdict(list)
    for line in states:
        if line.profile == settings.config.profile:
            of_unit[line.unit].append(line)
    reporters = [
        Reporter(name, unit.kind, unit.isf, unit.reports_since or since or asked_from(day, of_unit[name]))
        for name, unit in settings.config.units.items()
        if not units or name in units
    ]
    mine = [line for lines in of_unit.values() for line in lines]
    calendar = CalendarHome(settings.home).deadlines()
    return outlook(reporters, calendar, mine, day, carriers=_carriers(settings))


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
