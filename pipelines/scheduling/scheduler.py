"""What this machine would start now: ``transforms.scheduling.starting`` over its calendar, ledger and extracts.

Belongs here: finding the facts that function asks for, and taking the right to start. Does not belong here: deciding
(``transforms.scheduling.starting``), Dagster (``pipelines.scheduling.automation``), printing
(``pipelines.commands.status``).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from pipelines.home.store import DiskStore
from pipelines.ledger.book import SqlLedger, ledger_of
from pipelines.ledger.owner import owner
from pipelines.scheduling import deliveries
from pipelines.scheduling.agenda import agenda, today, unknown
from pipelines.scheduling.deliveries import Delivery
from pipelines.settings import Settings
from schemas.errors import DataRefused
from schemas.records import Key, Manifest
from schemas.sending import StateRow
from transforms.scheduling.due import Due
from transforms.scheduling.starting import MADE, Facts, Need, Step, holds_period, steps

if TYPE_CHECKING:
    from pipelines.scheduling.hindrance import Hindrances


class Scheduler:
    """One look at everything that is due. now: with time zone.

    given: deliveries to go by in place of the newest of each unit, as a sensor found them.
    """

    def __init__(self, settings: Settings, now: dt.datetime, given: Mapping[str, Delivery] | None = None) -> None:
        self.settings = settings
        self.now = now
        self.ledger: SqlLedger = ledger_of(settings.home, settings.config.ledger.url, settings.config.ledger.url_file)
        self._store = DiskStore(settings.home)
        self._given = given
        self._hindrances: Hindrances | None = None
        self._newest: dict[str, Delivery | None] = {}

    @cached_property
    def states(self) -> Sequence[StateRow]:
        """Where every submission stands; asked once in a look."""
        return self.ledger.states(self.now)

    def due(self) -> list[Due]:
        """Every planned submission as it stands."""
        return agenda(self.settings, self.states, self.now)

    def unknown(self) -> list[str]:
        """What no calendar says, so that nothing due may mean that."""
        return list(unknown(self.settings, today(self.settings, self.now)).lines)

    def steps(self, wanted: Callable[[str], bool] = lambda _: True) -> list[Step]:
        """What is to be done about each report that is due. wanted: which periods."""
        return self.planned([one for one in self.due() if wanted(one.period)])

    def planned(self, found: Sequence[Due]) -> list[Step]:
        """The same for submissions that were looked up already."""
        return steps(found, self.facts)

    def start_key(self, step: Step) -> str:
        """Under which name the ledger keeps the start of a step."""
        return f"{self.settings.config.profile}|{step.run_key}"

    def start(self, step: Step, *, going: bool = False) -> bool:
        """Take the right to start a step; False while an earlier start counts. going: see ``SqlLedger.start``."""
        return self.ledger.start(self.start_key(step), owner(), self.now, going=going)

    def begun(self, found: Sequence[Step]) -> list[Step]:
        """Of these steps those that were started before: their run left no trace."""
        known = self.ledger.runners([self.start_key(step) for step in found])
        return [step for step in found if self.start_key(step) in known]

    def delivery(self, unit: str) -> Delivery | None:
        """The extract that a run of the unit would take."""
        if self._given is not None:
            return self._given.get(unit)
        if unit not in self._newest:
            self._newest[unit] = deliveries.newest(self.settings, unit, self.now.timestamp())
        return self._newest[unit]

    def facts(self, one: Due) -> Facts:
        """What lies ready for a report."""
        key = Key(period=one.period, unit=one.unit)
        manifest = self._manifest(key)
        found = self.delivery(one.unit)
        # A run that was killed may have sealed a submission and not recorded it: only its own record tells of it.
        whole = manifest is not None and manifest.submission == one.number
        known = Facts(sealed=manifest.sealed() if manifest and whole else "")
        if found and holds_period(found.extracted_at.date(), one.period):
            fresh = manifest is None or _naive(found.extracted_at) > _naive(manifest.snapshot.extracted_at)
            # A database always has news; that alone must not replace what was prepared and waits.
            fresh = fresh and not (found.folder is None and one.state == "prepared")
            known = replace(known, extract=found.print, fresh=fresh)
        if manifest and whole and one.state in MADE:
            needs, hindrance = self.hindrance(key, manifest)
            known = replace(known, hindrance=hindrance, needs=needs)
        return known

    def hindrance(self, key: Key, manifest: Manifest) -> tuple[Need, str]:
        """What keeps a prepared submission in the house, see ``pipelines.scheduling.hindrance``."""
        from pipelines.scheduling.hindrance import Hindrances  # noqa: PLC0415 - a look at what is due often has nothing prepared

        if self._hindrances is None:
            self._hindrances = Hindrances(self.settings, self.ledger, self.now)
        return self._hindrances.of(key, manifest)

    def _manifest(self, key: Key) -> Manifest | None:
        """The newest submission made under the profile in force."""
        try:
            manifest = self._store.load("manifest", key, Manifest)
        except DataRefused:
            return None
        return manifest if manifest.profile == self.settings.config.profile else None


def _naive(moment: dt.datetime) -> dt.datetime:
    return moment.replace(tzinfo=None)
