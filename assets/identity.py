"""Identity within stages 4 and 5: what NPR gets of an identity, and whether identity and activity agree.

Belongs here: reading the tables of both trees, writing flags to the identity tree and counts and pseudonyms to the
other. Does not belong here: the decisions (``transforms.content.identity_rules``), test data
(``assets.guard``).

    NPR_HOME/identity/lake/message/ide_settled        numbers that are not sent as delivered, and why
    NPR_HOME/identity/lake/finding/identity_flags     NPR's flag of each patient, and what it rests on
    NPR_HOME/lake/finding/identity_difference         patients that ide and the other messages do not share
    NPR_HOME/lake/finding/identity_counts             patients by flag
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from assets.lake import IDENTITY_MODULES, message_path, read
from assets.ports import Run
from schemas.errors import DataRefused
from schemas.identity_rules import NPRID_REG, identity_rules
from schemas.layout import Layout
from schemas.records import MessageRows, MessageSet, Snapshot, Staged
from transforms.content import identity_rules as rules
from transforms.content.findings import SCHEMA
from transforms.pseudonyms import pseudonyms

IDE = "ide"
SETTLED, FLAGS = "ide_settled", "identity_flags"
DIFFERENCE, COUNTS = "identity_difference", "identity_counts"
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Agreement:
    """Identity against activity, empty where no identities are reported.

    findings: ``transforms.content.findings.SCHEMA``; they hold no number. nprid_reg: flag -> patients.
    """

    findings: pl.DataFrame
    nprid_reg: dict[str, int]


def settled(run: Run, rows: pl.DataFrame, first: int, last: int, on: dt.date) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Class rows of identities as NPR gets them, and what was changed. rows: of the patients first up to last."""
    patients = read(run.store.table("staging", "patients", run.key), first, last).select("_patient", "fodselsar")
    born = read(run.store.table("staging", "identities", run.key, identity=True), first, last)
    patients = patients.join(born.select("_patient", rules.BIRTH), on="_patient", how="left")
    return rules.settle(rows, patients, on)


def agreement(run: Run, made: MessageSet, staged: Staged) -> Agreement:
    """Compare identity with activity, batch by batch. DataRefused when they are not of the same patients or report."""
    modules = {one.schema_use.module: one for one in made.modules}
    if IDE not in modules:
        return Agreement(pl.DataFrame(schema=SCHEMA), {})
    insist_same_report(run, made)
    insist_same_patients(run, made)
    on = run.store.load("snapshot", run.key, Snapshot).extracted_at.date()
    counts = Counter[str](dict.fromkeys(NPRID_REG, 0))
    flagged, found = [], []
    shared = rules.twice(_sent(run, modules[IDE]))
    for first, last in staged.batches:
        sent = read(_identity_path(run, modules[IDE]), first, last)
        patients = read(run.store.table("staging", "patients", run.key), first, last)
        marked = rules.flags(sent, patients, _late(run, modules, first, last), on)
        changed = read(run.store.table("message", SETTLED, run.key, identity=True), first, last)
        flagged.append(marked)
        found.append(rules.findings(marked, changed, shared, sent))
        counts.update(rules.counted(marked))
    _write(run, FLAGS, pl.concat(flagged), identity=True)
    labels = [(flag, NPRID_REG[flag], counts[flag]) for flag in NPRID_REG]
    table = pl.DataFrame(labels, schema={"nprid_reg": pl.String, "what": pl.String, "patients": pl.Int64}, orient="row")
    _write(run, COUNTS, table)
    return Agreement(pl.concat(found), dict(counts))


def insist_same_patients(run: Run, made: MessageSet) -> None:
    """``ide`` holds exactly the patients of the other modules (IDE-01, IDE-02), both ways.

    The difference becomes table finding.identity_difference; DataRefused names the first of them by pseudonym.
    """
    holders = {module.schema_use.module: _patients(run, module) for module in made.modules}
    if IDE not in holders:
        return
    identified = holders.pop(IDE)
    table = _named(run, rules.difference(identified, holders))
    _write(run, DIFFERENCE, table)
    without, idle = (table.filter(rule=rule)["_patient"].n_unique() for rule in ("IDE-01", "IDE-02"))
    if without or idle:
        first = table["patient"].unique(maintain_order=True).head(SHOWN)
        raise DataRefused(
            f"identity and activity differ: {without} patients without identity, {idle} identities without activity",
            where=f"table finding.identity_difference; first of them {', '.join(first)}",
            rule="IDE-01, IDE-02: ide holds exactly the patients of the activity",
            fix="deliver an identity for each patient (typeID 9 with the birth date where there is no number)",
        )


def insist_same_report(run: Run, made: MessageSet) -> None:
    """Institution and period of ``ide`` are those of every other message (IDE-08). DataRefused otherwise."""
    names = [module.schema_use.module for module in made.modules]
    shells = {name: (_shell(run, name, "Melding"), _shell(run, name, "Institusjon")) for name in names}
    if wrong := rules.shells_differ(shells):
        rule = identity_rules()["IDE-08"]
        raise DataRefused(f"institution or period of {', '.join(wrong)} differ from ide", rule=rule.id, fix=rule.fix)


def _shell(run: Run, module: str, node: str) -> pl.DataFrame:
    return pl.read_parquet(message_path(run, module, node))


def _named(run: Run, difference: pl.DataFrame) -> pl.DataFrame:
    """With the pseudonym of pasientNr, in place of anything that names a person."""
    patients = pl.scan_parquet(run.store.table("staging", "patients", run.key)).select("_patient", "pasientNr")
    wanted = difference["_patient"].unique().implode()
    keys = patients.filter(pl.col("_patient").is_in(wanted)).collect()
    told = [f"~{one}" for one in pseudonyms(keys["pasientNr"], run.store.pseudonym_key())]
    names = keys.select("_patient", patient=pl.Series(told, dtype=pl.String))
    return difference.join(names, on="_patient", how="left").select("patient", "rule", "missing_in", "_patient")


def _patients(run: Run, module: MessageRows) -> pl.Series:
    use = module.schema_use
    path = message_path(run, use.module, run.registry.as_recorded(use).patient)
    return pl.read_parquet(path, columns=["_patient"])["_patient"]


def _identity_path(run: Run, module: MessageRows) -> Path:
    use = module.schema_use
    return message_path(run, use.module, run.registry.as_recorded(use).patient)


def _sent(run: Run, module: MessageRows) -> pl.DataFrame:
    return pl.read_parquet(_identity_path(run, module), columns=["_patient", rules.FID, rules.TYPE_ID])


def _late(run: Run, modules: dict[str, MessageRows], first: int, last: int) -> pl.Series:
    """Patients with an episode after death, by every message that has episodes with a condition on leaving."""
    late = [pl.Series("_patient", [], dtype=pl.UInt32)]
    for module in modules.values():
        if module.schema_use.module not in IDENTITY_MODULES:
            late += _late_of(run, module, run.registry.as_recorded(module.schema_use), (first, last))
    return pl.concat(late).unique()


def _late_of(run: Run, module: MessageRows, layout: Layout, span: tuple[int, int]) -> Iterable[pl.Series]:
    asked = ("innDatoTid", "utDatoTid", "utTilstand")
    for node in layout.nodes:
        if node.name != "Episode" or node.id not in module.rows:
            continue
        episodes = read(message_path(run, layout.module, node.id), *span)
        contacts = next((child.id for child in layout.children(node.id) if child.name == "Kontakt"), "")
        if set(asked) <= set(episodes.columns) and contacts in module.rows:
            yield rules.after_death(episodes, read(message_path(run, layout.module, contacts), *span))


def _write(run: Run, name: str, frame: pl.DataFrame, *, identity: bool = False) -> None:
    with run.store.writing(run.store.table("finding", name, run.key, identity=identity)) as path:
        frame.write_parquet(path)
