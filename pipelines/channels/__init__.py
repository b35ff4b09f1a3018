"""Channels: how a part leaves. One module for each kind, the choice by ``npr.toml`` in ``choice``.

Belongs here: everything that takes finished bytes out of the house, and asks about them. Does not belong here: packing
(done before), approval and ledger (around it), reading the register's answers.
"""

from pipelines.channels.choice import channel_of
from pipelines.channels.outbox import MANIFEST, OUTBOX, OutboxFolder

__all__ = ["MANIFEST", "OUTBOX", "OutboxFolder", "channel_of"]
