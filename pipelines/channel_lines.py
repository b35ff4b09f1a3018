"""What ``npr doctor`` says of the channels that are configured.

Belongs here: one line for each channel that serves a unit under the profile in force. Does not belong here: the looking
itself, which each channel does without sending anything.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.channels.choice import made
from pipelines.channels.common import Way
from pipelines.settings import Settings
from pipelines.store import DiskStore
from schemas.errors import NprError

OK, WRONG = "ok", "wrong"


def channel_lines(settings: Settings) -> Iterator[dict[str, str]]:
    """Whether each channel can be reached, with its keys and the keys of the other side."""
    config, store = settings.config, DiskStore(settings.home)
    for name, one in config.channels.items():
        unit = next((key for key in config.units if one.serves(key, config.profile)), "")
        if not unit:
            continue
        check = f"channel {name}"
        try:
            what = made(Way(name, config, unit, store), one).look()
        except NprError as error:
            yield {"state": WRONG, "check": check, "what": error.what, "fix": error.fix}
        else:
            yield {"state": OK, "check": check, "what": what, "fix": ""}
