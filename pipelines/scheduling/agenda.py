"""What is due on this machine: its units, its calendar and its ledger put before ``transforms.scheduling.due``.

Belongs here: gathering what that function asks for. Does not belong here: deciding, printing, starting runs.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pipelines.home.calendar import CalendarHome
from pipelines.home.registry import registry_of
from pipelines.settings import Settings
from schemas.deadlines import Deadline, latest
from schemas.errors import WrongUse
from schemas.period import kinds
from schemas.reporting import Gap, Who, owed_gaps
from transforms.scheduling.due import OSLO, Due, Reporter, StateLine, outlook

DECEMBER = 12


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
        replace(unit, since=unit.since or since or asked_from(day, of_unit[unit.key]))
        for unit in _reporters(settings, units)
    ]
    mine = [line for lines in of_unit.values() for line in lines]
    calendar = CalendarHome(settings.home).deadlines()
    return outlook(reporters, calendar, mine, day, carriers=_carriers(settings))


def _reporters(settings: Settings, units: Sequence[str]) -> list[Reporter]:
    return [
        Reporter(name, unit.kind, unit.isf, unit.reports_since)
        for name, unit in settings.config.units.items()
        if not units or name in units
    ]


def insist_units(settings: Settings, units: Iterable[str]) -> None:
    """WrongUse for a unit that npr.toml does not have: of one that nobody knows nothing would ever be red."""
    if unknown := set(units) - set(settings.config.units):
        known = ", ".join(settings.config.units)
        raise WrongUse(f"no unit {min(unknown)!r} in {settings.path}", where="--unit", fix=f"units are {known}")


@dataclass(frozen=True, slots=True)
class Unknown:
    """Deadlines of what units owe that no table and no draft says: nothing due may mean that.

    lines: for a person, each with what to do. deadlines: how many. red: whether that is an alarm, which it is outside a
    rehearsal.
    """

    lines: tuple[str, ...] = ()
    deadlines: int = 0
    red: bool = False


def unknown(settings: Settings, on: dt.date, units: Sequence[str] = ()) -> Unknown:
    """What is in no calendar of that year, and of the year before for what falls due in this one.

    units: empty = all of npr.toml.
    """
    home = CalendarHome(settings.home)
    calendar = home.deadlines()
    reporters = _reporters(settings, units)
    lines, deadlines = [], 0
    if on.year > (last := kinds().years.last):
        # As many as the last year that is known had: nothing says more of a year without periods.
        deadlines += _owed(reporters, last, (), shifted=on.year - last)
        lines += (
            [f"there are no periods of {on.year} yet: install a later version, which has them"] if deadlines else []
        )
    for year in (on.year, on.year - 1):
        if lost := _owed(reporters, year, calendar, closing=year < on.year):
            deadlines += lost
            lines.append(_told(year, lost, drafted=(home.folder / f"{year}.csv").is_file()))
    return Unknown(tuple(lines), deadlines, red=deadlines > 0 and settings.config.profile != "rehearsal")


def _owed(
    reporters: Iterable[Reporter], year: int, calendar: Sequence[Deadline], *, closing: bool = False, shifted: int = 0
) -> int:
    """How many planned submissions of a year have no deadline. closing: only those of the whole year, due in the next.

    shifted: years to add to what is compared with the day from which a unit reports here.
    """
    found: set[tuple[str, int]] = set()
    by_kind: dict[Who, list[Gap]] = {}
    for unit in reporters:
        who = (unit.kind, unit.isf)
        if who not in by_kind:
            by_kind[who] = owed_gaps(year, calendar, [who])
        for gap in by_kind[who]:
            last = latest(gap.period.end)
            asked = unit.since is None or unit.since <= last.replace(year=last.year + shifted, day=28)
            if asked and (not closing or gap.period.end.month == DECEMBER):
                found.add((gap.period.key, gap.submission))
    return len(found)


def _told(year: int, lost: int, *, drafted: bool) -> str:
    which = f"{lost} deadlines of {year} are" if lost > 1 else f"1 deadline of {year} is"
    if drafted:
        return f"{which} in no table and not in the draft: correct NPR_HOME/calendar/{year}.csv"
    return f"{which} in no table: npr calendar propose {year}"


def _carriers(settings: Settings) -> dict[int, str]:
    """Data year -> module that carries NPR-melding-TSB, for the years that have a version."""
    registry = registry_of(settings.home)
    years = registry.versions()["years"]
    return {
        int(year): settings.config.tsb.module or registry.tsb_module(entry["version"]) for year, entry in years.items()
    }
