"""Stage 8: hand the prepared parts to the channel of the profile.

Belongs here: calling the channel once, after everything was checked. Does not belong here: how a channel works
(``pipelines.channels``).
"""

from __future__ import annotations

from assets.guard import guard, label_content
from assets.ports import Run
from schemas.errors import DataRefused
from schemas.records import Delivery, Manifest


def dispatch(run: Run) -> Delivery:
    """Hand over the submission; repeating it changes nothing. Then make the analysts' views anew."""
    manifest = run.store.load("manifest", run.key, Manifest)
    # Before anything else, so that test content stays known as such whatever stops it now.
    label_content(run.store, run.key, manifest)
    insist_allowed(manifest)
    guard(run.store, run.key, manifest, run.config.profile)
    channel = run.channel()
    delivered = channel.hand_over(run.store.shipments(run.key, manifest.submission), manifest)
    record = Delivery(submission=manifest.submission, channel=channel.name, files=dict(delivered))
    run.store.save("dispatch", run.key, record)
    run.store.publish_views()
    return record


def insist_allowed(manifest: Manifest) -> None:
    """Towards NPR a dated requirement stops from its date what it warned of before; a rehearsal only shows it."""
    stops = [ruling for ruling in manifest.rulings if ruling.verdict == "stop"]
    if stops and manifest.profile != "rehearsal":
        raise DataRefused(
            f"{len(stops)} dated requirements of the registry stop this submission; nothing was handed over",
            where="\n         ".join(f"{ruling.module}: {ruling.text}" for ruling in stops),
            rule=", ".join(sorted({ruling.requirement for ruling in stops})),
            fix="correct the source and extract again; finding.findings in npr.duckdb names the rows",
        )
