"""Row accounting: every delivered row is reported, out of scope or quarantined, or the run stops.

Belongs here: counting, closing the account, and deciding whether what was quarantined has been accepted. Does not
belong here: finding faults or deciding scope.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from schemas.errors import DataRefused
from schemas.extract_file import Accepted

# Rows that fall only because another row fell: the fault lies, and is accepted or not, with the other row.
CASCADES = frozenset({"parent_quarantined", "child_quarantined"})
SHOWN_ROWS = 5


@dataclass(frozen=True, slots=True)
class Account:
    """The account of one table. All figures are rows."""

    delivered: int
    reported: int
    out_of_scope: Mapping[str, int]  # by reason
    quarantined: Mapping[str, int]  # by rule; a row with several faults counts under the first

    def as_record(self) -> dict[str, int]:
        """The four figures of the summary."""
        return {
            "in": self.delivered,
            "reported": self.reported,
            "out_of_scope": sum(self.out_of_scope.values()),
            "quarantined": sum(self.quarantined.values()),
        }


def close(accounts: Mapping[str, Account]) -> None:
    """Refuse when a table does not add up. DataRefused names table and figures."""
    for table, account in accounts.items():
        figures = account.as_record()
        if figures["in"] != figures["reported"] + figures["out_of_scope"] + figures["quarantined"]:
            raise DataRefused(
                f"{table}: rows do not add up: {figures}",
                rule="rows in = reported + out of scope + quarantined",
                fix="this is a fault of the pipeline; nothing was published. Report it with the figures above",
            )


def by_first_rule(faults: pl.DataFrame) -> dict[str, int]:
    """Rows per rule, each row under its first fault that is not a cascade (else its first)."""
    if faults.is_empty():
        return {}
    ranked = faults.with_columns(cascade=pl.col("rule").is_in(list(CASCADES)))
    first = ranked.sort("_row", "cascade", "column", "rule").unique("_row", keep="first")
    return {str(rule): int(rows) for rule, rows in sorted(first.group_by("rule").len().rows())}


def insist_accepted(faults: Mapping[str, pl.DataFrame], accepted: Iterable[Accepted], files: Mapping[str, str]) -> None:
    """Refuse when quarantined rows are not covered by an acceptance.

    faults: table -> fault records. files: table -> file name, for the message. Cascades need no acceptance.
    """
    allowed = list(accepted)
    refused = []
    for table, found in faults.items():
        own = found.filter(~pl.col("rule").is_in(list(CASCADES)))
        for (rule, column), rows in sorted(own.group_by("rule", "column"), key=lambda item: item[0]):
            if not _covered(str(table), str(rule), own, allowed):
                refused.append(_line(files.get(table, table), str(rule), str(column), rows))
    if refused:
        raise DataRefused(
            f"{len(refused)} kinds of faults in the extract are not accepted; nothing was published",
            where="\n         ".join(refused),
            rule="a quarantined row is a row NPR would lose, and the last submission is what NPR keeps",
            fix="correct the source and extract again, or take the fault on with [[accepted]] in extract.toml "
            "(table, rule, rows, why, by)",
        )


def _covered(table: str, rule: str, own: pl.DataFrame, allowed: list[Accepted]) -> bool:
    # A number given for any rule bounds the rows of all rules together.
    under = {"*": own["_row"].n_unique(), rule: own.filter(pl.col("rule") == rule)["_row"].n_unique()}
    fitting = [a for a in allowed if a.table in (table, "*") and a.rule in under]
    return any(a.rows == "any" or under[a.rule] <= int(a.rows) for a in fitting)


def _line(file: str, rule: str, column: str, rows: pl.DataFrame) -> str:
    places = rows["_row"].unique().sort()
    shown = ", ".join(str(place) for place in places.head(SHOWN_ROWS))
    more = f" and {len(places) - SHOWN_ROWS} more" if len(places) > SHOWN_ROWS else ""
    return f"{file}: row {shown}{more}, field {column}: {EXPLAINED.get(rule, rule)} [{rule}]"


EXPLAINED = {
    "type": "not of the column's type (dates as 2020-04-30, times as 2020-04-30T12:00:00, and real ones)",
    "required": "empty, but required",
    "code": "not in the code list",
    "pattern": "not of the required form",
    "range": "outside the allowed range",
    "length": "too long",
    "duplicate_key": "key occurs more than once",
    "orphan": "names something that was not delivered",
    "missing_child": "lacks what must be there",
    "other_patient": "names something of another patient",
    "IDE-03": "neither a number nor a date of birth",
    "CONTRACT-COST-1": "a cost and its code come together",
    "CONTRACT-GROUP-1": "rows of one service must agree on its start and end",
    "CONTRACT-GROUP-2": "rows of one measure must agree on its kind",
    "CONTRACT-GROUP-3": "rows of one procedure must agree on its condition",
    "CONTRACT-GROUP-4": "rows of one episode must agree on drg and total",
    "EPI-03": "ends before it starts",
    "EPI-29": "ends before it starts",
    "WAIT-01": "end date of waiting and its code must come together",
    "WAIT-02": "neither ansienDato nor mottaksDato",
    "WAIT-13": "assessed before it was received",
}


def total(counters: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Counters added up, by name."""
    summed: Counter[str] = Counter()
    for counter in counters:
        summed.update(counter)
    return dict(sorted(summed.items()))
