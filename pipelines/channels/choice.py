"""Which channel a unit and profile use, by ``npr.toml``.

Belongs here: the choice, and one line for each kind of channel. Does not belong here: how any of them works. A channel
is imported when it is chosen: most commands need none.
"""

from __future__ import annotations

from typing import Protocol

from assets.ports import Channel
from pipelines.channels.common import Way
from pipelines.channels.outbox import OUTBOX, OutboxFolder
from pipelines.home.store import DiskStore
from schemas.config import (
    ChannelSettings,
    Config,
    EbxmlSmtpSettings,
    Edi20Settings,
    FolderSettings,
    SftpSettings,
)
from schemas.errors import DataRefused, WrongUse


def channel_of(config: Config, unit: str, store: DiskStore, name: str = "", *, large: bool = False) -> Channel:
    """The channel of a unit under the profile in force, or the one of a name. large: the one with ``only_large``.

    DataRefused where nobody chose one, WrongUse where several were chosen or the named one is gone.
    """
    profile = config.profile
    found = (
        {key: one for key, one in config.channels.items() if key == name}
        if name
        else config.ways(unit, profile, large=large)
    )
    if not found and (name == OUTBOX or (not name and not large and profile == "rehearsal")):
        return OutboxFolder(store)
    if name and not found:
        raise WrongUse(
            f"channel {name} took a part before and is no longer there to be asked",
            where=f"npr.toml, channels.{name}",
            fix="put its settings back, without any profiles that it shall serve from now on",
        )
    if not found:
        raise DataRefused(
            f"no channel serves unit {unit} under profile {profile}; the parts are prepared and stay where they are",
            where="npr.toml, channels",
            rule="nothing leaves unasked",
            fix="name one with [channels.NAME] profiles and units, or rehearse with --profile rehearsal",
        )
    if len(found) > 1:
        raise WrongUse(
            f"channels {', '.join(found)} all serve unit {unit} under profile {profile}",
            where="npr.toml, channels",
            rule="a part leaves by one way",
            fix="give each [channels.NAME] the units and profiles that no other has",
        )
    ((key, settings),) = found.items()
    return made(Way(key, config, unit, store), settings)


class Looked(Channel, Protocol):
    """A channel that can be looked at without sending anything."""

    def look(self) -> str:
        """What is well with it, in a sentence; raises NprError with what is not."""


def made(way: Way, settings: ChannelSettings) -> Looked:
    """The channel of its settings: one branch per kind."""
    match settings:
        case FolderSettings():
            from pipelines.channels.folder import Folder  # noqa: PLC0415

            return Folder(way, settings)
        case Edi20Settings():
            from pipelines.channels.edi20 import Edi20  # noqa: PLC0415

            return Edi20(way, settings)
        case SftpSettings():
            from pipelines.channels.sftp import Sftp  # noqa: PLC0415

            return Sftp(way, settings)
        case EbxmlSmtpSettings():
            from pipelines.channels.ebxml_smtp import EbxmlSmtp  # noqa: PLC0415

            return EbxmlSmtp(way, settings)
        case _:
            return OutboxFolder(way.store, way.name)
