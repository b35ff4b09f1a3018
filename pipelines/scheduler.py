"""What this machine would start now: ``transforms.starting`` over its calendar, ledger and extracts.

Belongs here: finding the facts that function asks for, and taking the right to start. Does not belong here: deciding
(``transforms.starting``), Dagster (``pipelines.automation``), printing (``pipelines.status_cli``).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from assets.dispatch import insist_allowed, insist_approved, insist_overridden, insist_validated
from assets.guards import insist_confirmed
from assets.ports import Options, Run
from assets.review import overrides
from pipelines import deliveries
from pipelines.agenda import agenda, today, unknown
from pipelines.deliveries import Delivery
from pipelines.ledger.book import SqlLedger
from pipelines.ledger.owner import owner
from pipelines.partitions import partition_key
from pipelines.settings import Settings
from pipelines.workbench import DiskWorkbench
from schemas.errors import DataRefused
from schemas.records import Key, Manifest
from transforms.due import Due
from transforms.starting import Facts, Need, Step, holds_period, steps


class Scheduler:
    """One look at everything that is due. now: with time zone.

    given: deliveries to go by in place of the newest of each unit, as a sensor found them.
    """

    def __init__(self, settings: Settings, now: dt.datetime, given: Mapping[str, Delivery] | None = None) -> None:
        self.settings = settings
        self.now = now
        self._bench = DiskWorkbench(settings, Options())
        self._given = given
        self._newest: dict[str, Delivery | None] = {}

    @property
    def ledger(self) -> SqlLedger:
        """The ledger of this installation."""
        return self._bench.ledger

    def due(self) -> list[Due]:
        """Every planned submission as it stands."""
        return agenda(self.settings, self.ledger, self.now)

    def unknown(self) -> list[str]:
        """What no calendar says, so that nothing due may mean that."""
        return unknown(self.settings, today(self.now))

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
        known = Facts(sealed=manifest.sealed() if manifest else "")
        if found and holds_period(found.extracted_at.date(), one.period):
            fresh = manifest is None or _naive(found.extracted_at) > _naive(manifest.snapshot.extracted_at)
            # A database always has news; that alone must not replace what was prepared and waits.
            fresh = fresh and not (found.folder is None and one.state == "prepared")
            known = replace(known, extract=found.print, fresh=fresh)
        if manifest and one.state in ("prepared", "approved", "not_sent"):
            needs, hindrance = self.hindrance(key, manifest)
            known = replace(known, hindrance=hindrance, needs=needs)
        return known

    def hindrance(self, key: Key, manifest: Manifest) -> tuple[Need, str]:
        """What keeps a prepared submission in the house, as far as records tell; empty when it may go.

        Dispatch asks the same once more, and reads the bytes besides.
        """
        run = self._bench.open(partition_key(key.period, key.unit))
        try:
            _insist_findings(run, manifest)
        except DataRefused as refused:
            return "findings", refused.what
        try:
            _insist_decided(run, manifest)
        except DataRefused as refused:
            return "approval", refused.what
        return "", ""

    def _manifest(self, key: Key) -> Manifest | None:
        """The newest submission made under the profile in force."""
        try:
            manifest = self._bench.store.load("manifest", key, Manifest)
        except DataRefused:
            return None
        return manifest if manifest.profile == self.settings.config.profile else None


def _insist_findings(run: Run, manifest: Manifest) -> None:
    taken = overrides(run, manifest.dropped)
    if manifest.profile != "rehearsal":
        insist_overridden(manifest, taken)
        insist_confirmed(run, manifest)
    insist_allowed(manifest, taken)


def _insist_decided(run: Run, manifest: Manifest) -> None:
    if manifest.profile == "production":
        insist_validated(run, manifest)
    if run.config.approved_first(manifest.profile):
        insist_approved(run, manifest)
    elif manifest.profile == "validation":
        raise DataRefused(
            f"submission {manifest.submission} of {run.key} is real data for an outside service; a person sends it",
            fix=f"npr submit {run.key.period} --unit {run.key.unit} --to validation; with approval = true in npr.toml "
            "it leaves by itself when it is approved",
        )


def _naive(moment: dt.datetime) -> dt.datetime:
    return moment.replace(tzinfo=None)
