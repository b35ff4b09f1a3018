"""What keeps a prepared submission in the house, as far as records tell.

Belongs here: asking the gates of ``assets.dispatch`` beforehand, so that no run is started that would refuse. Does not
belong here: the gates, deciding what is started (``transforms.scheduling.starting``).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from assets import baselines
from assets.permits import insist_allowed, insist_approved, insist_overridden, insist_validated, overrides
from assets.ports import Options, Run
from pipelines.home.store import DiskStore
from pipelines.ledger.owner import owner
from pipelines.settings import Settings
from schemas.errors import DataRefused
from schemas.period import Period
from schemas.records import Key, Manifest
from transforms.scheduling.starting import Need

if TYPE_CHECKING:
    import datetime as dt

    from pipelines.ledger.book import SqlLedger


class Hindrances:
    """The gates over one installation. now: with time zone."""

    def __init__(self, settings: Settings, ledger: SqlLedger, now: dt.datetime) -> None:
        self._settings = settings
        self._ledger = ledger
        self._now = now

    def of(self, key: Key, manifest: Manifest) -> tuple[Need, str]:
        """What the submission needs and why; empty when it may go.

        Dispatch asks the same once more, and reads the bytes besides.
        """
        run = self._run(key)
        try:
            _insist_findings(run, manifest)
        except DataRefused as refused:
            return "findings", _told(refused)
        try:
            _insist_figures(run, manifest)
        except DataRefused as refused:
            return "figures", _told(refused)
        try:
            _insist_decided(run, manifest)
        except DataRefused as refused:
            return "approval", _told(refused)
        return "", ""

    def _run(self, key: Key) -> Run:
        """A run that can be asked and has no way out: it costs no keys, no channel and no schema."""
        config = self._settings.config
        return Run(
            key=key,
            period=Period.parse(key.period),
            unit=config.units[key.unit],
            modules=(),
            config=config,
            options=Options(),
            store=DiskStore(self._settings.home),
            ledger=self._ledger,
            sources=Path(),
            now=lambda: self._now,
            receiver=_no_way_out,
            channel=_no_way_out,
            pipeline="",
            owner=owner(),
        )


def _told(refused: DataRefused) -> str:
    """What stands in the way, and the command that takes it away. Of handing over nothing has been said here."""
    what = refused.what.removesuffix("; nothing was handed over")
    return f"{what}: {refused.fix}" if refused.fix else what


def _no_way_out(name: str = "") -> NoReturn:  # noqa: ARG001 - as a channel is asked for
    raise AssertionError("a look at what may leave sends nothing")


def _insist_findings(run: Run, manifest: Manifest) -> None:
    taken = overrides(run, manifest.dropped)
    if manifest.profile != "rehearsal":
        insist_overridden(manifest, taken)
    insist_allowed(manifest, taken)


def _insist_figures(run: Run, manifest: Manifest) -> None:
    if manifest.profile != "rehearsal":
        baselines.insist_confirmed(run, manifest)


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
