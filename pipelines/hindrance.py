"""What keeps a prepared submission in the house, as far as records tell.

Belongs here: asking the gates of ``assets.dispatch`` beforehand, so that no run is started that would refuse. Does not
belong here: the gates, deciding what is started (``transforms.starting``).
"""

from __future__ import annotations

from assets.dispatch import insist_allowed, insist_approved, insist_overridden, insist_validated
from assets.guards import insist_confirmed
from assets.ports import Options, Run
from assets.review import overrides
from pipelines.settings import Settings
from pipelines.workbench import DiskWorkbench
from schemas.errors import DataRefused
from schemas.records import Key, Manifest
from transforms.starting import Need


class Hindrances:
    """The gates over one installation."""

    def __init__(self, settings: Settings) -> None:
        self._bench = DiskWorkbench(settings, Options())

    def of(self, key: Key, manifest: Manifest) -> tuple[Need, str]:
        """What the submission needs and why; empty when it may go.

        Dispatch asks the same once more, and reads the bytes besides.
        """
        run = self._bench.open(f"{key.period}|{key.unit}")
        try:
            _insist_findings(run, manifest)
        except DataRefused as refused:
            return "findings", refused.what
        try:
            _insist_decided(run, manifest)
        except DataRefused as refused:
            return "approval", refused.what
        return "", ""


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
