"""The row account of a partition, from the records of its stages.

Belongs here: putting the figures of snapshot, staging and scope together. Does not belong here: the rule that they must
close (``transforms.extract.accounting``).
"""

from __future__ import annotations

from assets.lake import current
from assets.ports import Run
from schemas.records import Account as AccountRecord
from schemas.records import Scoped, Snapshot, Staged
from transforms.extract.accounting import Account, close


def accounts(run: Run) -> dict[str, AccountRecord]:
    """Account of each contract table; DataRefused when one does not close."""
    delivered = run.store.load("snapshot", run.key, Snapshot).rows()
    staged = current(run, "staging", Staged)
    scoped = current(run, "scope", Scoped)
    found = {
        name: Account(delivered.get(name, 0), reported, scoped.out_of_scope[name], staged.quarantined[name])
        for name, reported in scoped.reported.items()
    }
    close(found)
    return {
        name: AccountRecord(
            delivered=account.delivered,
            reported=account.reported,
            out_of_scope=dict(account.out_of_scope),
            quarantined=dict(account.quarantined),
        )
        for name, account in found.items()
    }
