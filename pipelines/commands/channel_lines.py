"""What ``npr doctor`` says of the channels that are configured.

Belongs here: one line for each channel that serves a unit under the profile in force. Does not belong here: the looking
itself, which each channel does without sending anything.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator

from pipelines.channels.choice import made
from pipelines.channels.common import Way
from pipelines.home.store import DiskStore
from pipelines.settings import Settings
from schemas.config import FolderSettings
from schemas.errors import NprError

OK, WARN, WRONG = "ok", "warning", "wrong"


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
        if isinstance(one, FolderSettings) and one.needs_document and config.profile != "rehearsal":
            yield _unencrypted(check, one)


def _unencrypted(check: str, folder: FolderSettings) -> dict[str, str]:
    """Head messages and bare messages of patients lie there as they are."""
    what = f"{folder.path}: with payload {folder.payload} the files in it are not encrypted, and ide holds identities"
    fix = "let only the message handler read it, delete what was taken, keep it out of backups; or payload = mail"
    mode = stat.S_IMODE(folder.path.stat().st_mode) if folder.path.is_dir() else 0
    if mode & stat.S_IRWXO:
        return {"state": WRONG, "check": check, "what": f"{what}; it is open to others", "fix": f"chmod o-rwx; {fix}"}
    return {"state": WARN, "check": check, "what": what, "fix": fix}
