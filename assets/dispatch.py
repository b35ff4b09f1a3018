"""Stage 8: hand the prepared parts to the channel of the profile.

Belongs here: calling the channel once, after everything was checked. Does not belong here: how a channel works
(``pipelines.channels``).
"""

from __future__ import annotations

from assets.ports import Run
from schemas.records import Delivery, Manifest


def dispatch(run: Run) -> Delivery:
    """Hand over the submission; repeating it changes nothing. Then make the analysts' views anew."""
    manifest = run.store.load("manifest", run.key, Manifest)
    channel = run.channel()
    delivered = channel.hand_over(run.store.shipments(run.key, manifest.submission), manifest)
    record = Delivery(submission=manifest.submission, channel=channel.name, files=dict(delivered))
    run.store.save("dispatch", run.key, record)
    run.store.publish_views()
    return record
