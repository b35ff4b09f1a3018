"""Partitions: reporting period x reporting unit.

Belongs here: Dagster's view of the keys. Does not belong here: what a period means (``schemas.period``).

Static, since Dagster can neither rename nor remove a partition: keys come from the calendar and npr.toml, new years are
appended. Dagster joins the two by ``|`` in the order of the dimension names, hence ``2020-T1|unit``.
"""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

from schemas.period import period_keys


def partitions(units: Iterable[str]) -> dg.MultiPartitionsDefinition:
    """All periods of the calendar for all units."""
    return dg.MultiPartitionsDefinition(
        {
            "period": dg.StaticPartitionsDefinition(list(period_keys())),
            "unit": dg.StaticPartitionsDefinition(sorted(units)),
        }
    )


def partition_key(period: str, unit: str) -> dg.MultiPartitionKey:
    """The key of one partition."""
    return dg.MultiPartitionKey({"period": period, "unit": unit})
