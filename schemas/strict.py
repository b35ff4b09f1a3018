"""How records of this package behave: unknown fields are refused, nothing changes, each is built when first used.

Belongs here: that one setting. Does not belong here: any record.

A command uses a few of the hundred records and would wait for all of them. pydantic builds under a lock since 2.14, so
threads that use a record for the first time together are safe; ``tests/test_records.py`` builds every one.
"""

from __future__ import annotations

from typing import Final

from pydantic import ConfigDict

STRICT: Final = ConfigDict(extra="forbid", frozen=True, defer_build=True)
