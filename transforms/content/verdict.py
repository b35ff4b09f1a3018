"""What NPR would keep of a message: each class row kept, lost with its record, or kept with a value blanked.

Belongs here: following dropped records down to their sub-elements, counting, and the sentence that says it. Does not
belong here: rules, and where the counts lie.

A row is lost when a rule drops it, a record above it, or the department it belongs to (Slettemerk rad med
underelementer, annotations of XPR 56.0.0). It is counted once, under the outermost rule that drops it, and the first of
several.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from schemas.layout import Layout

# Class rows of one module: kept + dropped = rows. blanked: kept rows in which a value is blanked; values: how many.
FATE: dict[str, pl.DataType] = {
    "module": pl.String(),
    "class": pl.String(),
    "rows": pl.Int64(),
    "kept": pl.Int64(),
    "dropped": pl.Int64(),
    "blanked": pl.Int64(),
    "values": pl.Int64(),
}
# Rows lost, by the rule and department they are lost to.
LOST: dict[str, pl.DataType] = {
    "module": pl.String(),
    "rule": pl.String(),
    "enhet": pl.String(),
    "class": pl.String(),
    "rows": pl.Int64(),
}
ROLES = ("7", "2", "1")  # of list 8476: the department of a record is its Avdeling, else Fagenhet, else Behandlingssted
# What a message is about, in the words of the sentence.
RECORDS = {
    "Episode": "episodes",
    "Henvisningsperiode": "referrals",
    "Behandlingsstart": "treatment starts",
    "EpisodeKPP": "costs of episodes",
    "PasientIdent": "identities",
}


def fates(
    layout: Layout, tables: Mapping[str, pl.DataFrame], found: pl.DataFrame, units: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """FATE and LOST of one batch of whole patients, or of the classes above them.

    tables: node -> ``_id``, ``_parent`` (of RefEnhet with enhetID and typeEnhet). found: its findings. units:
    departments that fall with all their records, as enhet and the rule ``by`` which they do.
    """
    gone: dict[str, pl.DataFrame] = {}
    fate, lost = [pl.DataFrame(schema=FATE)], [pl.DataFrame(schema=LOST)]
    for node in (node for node in layout.nodes if node.id in tables):
        rows = tables[node.id].select(name for name in ("_id", "_parent") if name in tables[node.id].columns)
        own = found.filter(pl.col("class") == node.id)
        dropped = _dropped(layout, node.id, rows, own, tables, units, gone.get(node.parent or ""))
        gone[node.id] = dropped
        blank = own.filter(pl.col("consequence") == "blank_value").join(dropped, on="_id", how="anti")
        told = {"module": layout.module, "class": node.id}
        figures = {
            "rows": rows.height,
            "kept": rows.height - dropped.height,
            "dropped": dropped.height,
            "blanked": blank["_id"].n_unique(),
            "values": blank.height,
        }
        fate.append(pl.DataFrame([told | figures], schema=FATE))
        by = (
            dropped.group_by("rule", "enhet", maintain_order=True)
            .len(name="rows")
            .with_columns(pl.lit(t).alias(n) for n, t in told.items())
        )
        lost.append(by.select(*LOST).cast(LOST))  # type: ignore[arg-type]
    return pl.concat(fate), pl.concat(lost)


def _dropped(
    layout: Layout,
    node: str,
    rows: pl.DataFrame,
    own: pl.DataFrame,
    tables: Mapping[str, pl.DataFrame],
    units: pl.DataFrame,
    above: pl.DataFrame | None,
) -> pl.DataFrame:
    """Rows of a node that are lost: ``_id``, rule and enhet of what they are lost to."""
    causes = []
    if above is not None and "_parent" in rows.columns:
        causes.append(
            rows.join(above.rename({"_id": "_parent"}), on="_parent", maintain_order="left").select(
                "_id", "rule", "enhet"
            )
        )
    causes += [
        _of_departments(tables[child.id], units)
        for child in layout.children(node)
        if child.name == "RefEnhet" and child.id in tables and units.height
    ]
    mine = own.filter(pl.col("consequence") == "drop_record").select("_id", "rule", "enhet")
    return pl.concat([*causes, mine]).unique("_id", keep="first", maintain_order=True)


def _of_departments(references: pl.DataFrame, units: pl.DataFrame) -> pl.DataFrame:
    """Records (as ``_id``) whose department is one of the units."""
    rank = pl.col("typeEnhet").replace_strict(list(ROLES), range(len(ROLES)), default=None)
    ranked = references.with_columns(rank=rank).drop_nulls("rank").sort("_parent", "rank")
    departments = ranked.unique("_parent", keep="first", maintain_order=True)
    named = departments.join(units, left_on="enhetID", right_on="enhet", maintain_order="left")
    return named.select(pl.col("_parent").alias("_id"), pl.col("by").alias("rule"), pl.col("enhetID").alias("enhet"))


def summed(frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """The counts of several batches as one: text columns are the keys, figures are added."""
    frame = pl.concat(list(frames))
    keys = [name for name, dtype in frame.schema.items() if dtype == pl.String]
    return frame.group_by(keys, maintain_order=True).agg(pl.exclude(keys).sum())


def sentence(fate: pl.DataFrame, lost: pl.DataFrame, refused: int = 0) -> str:
    """The verdict in one sentence: NPR would keep 1 234 of 1 240 episodes; 6 are lost to 2 rules.

    refused: findings for which a whole message is refused.
    """
    if refused:
        return f"NPR would keep nothing: {refused} finding{'s' * (refused != 1)} would make it refuse a whole message."
    told = [line for line in (_of_class(fate, lost, name, words) for name, words in RECORDS.items()) if line]
    return f"NPR would keep {told[0]}." if told else "There is nothing to keep."


def more(fate: pl.DataFrame, lost: pl.DataFrame) -> list[str]:
    """The same of the other records of the report, one line each."""
    told = [line for line in (_of_class(fate, lost, name, words) for name, words in RECORDS.items()) if line]
    return told[1:]


def _of_class(fate: pl.DataFrame, lost: pl.DataFrame, npr_class: str, words: str) -> str:
    own = fate.filter(pl.col("class") == npr_class)
    rows, kept, dropped = (int(own[name].sum()) for name in ("rows", "kept", "dropped"))
    if not rows:
        return ""
    rules = lost.filter(pl.col("class") == npr_class)["rule"].n_unique()
    if not dropped:
        return f"all of {figure(rows)} {words}"
    are = "is" if dropped == 1 else "are"
    return f"{figure(kept)} of {figure(rows)} {words}; {figure(dropped)} {are} lost to {rules} rule{'s' * (rules != 1)}"


def figure(value: int) -> str:
    """A count with a blank between thousands, as it is written in Norway."""
    return f"{value:,}".replace(",", " ")


def unchecked_line(unchecked: Mapping[str, int], silent: Mapping[str, str] | Sequence[str]) -> str:
    """What no list could be asked about: a status of its own, never a pass."""
    if not unchecked and not silent:
        return ""
    rows = f"{figure(sum(unchecked.values()))} values by {len(unchecked)} rules" if unchecked else ""
    rules = f"rules without a say: {len(silent)}" if silent else ""
    return f"not checked against a list: {'; '.join(part for part in (rows, rules) if part)}"
