"""The sample hospital: seed and size in, the tables of the extract contract out.

Belongs here: putting the invented people, courses and tables together; the deliberate faults; the text form for CSV.
Does not belong here: files (``pipelines.sample``), values and weights (``transforms.sample.values``).

The same arguments give the same rows: every draw comes from one PCG64 generator, in a fixed order, and nothing here
knows the clock, the locale, the environment or the hash seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime

import numpy as np
import polars as pl

from schemas.contract import Table, load_contract
from schemas.errors import WrongUse
from schemas.extract_file import Accepted
from schemas.models import dtypes
from transforms.sample import referrals as waiting_list
from transforms.sample import tables
from transforms.sample.dice import Dice, Whole
from transforms.sample.people import identity_numbers, people
from transforms.sample.values import NEWBORN, OLD_MAN, OLD_WOMAN, PROFILES, Profile
from transforms.sample.visits import CLINIC, Window, courses, kept, visits

Frames = dict[str, pl.DataFrame]

TAKEN = datetime(2021, 1, 4, 3, 0)  # noqa: DTZ001 local Norwegian time, as the register's times are
TWO_YEARS = Window(date(2019, 1, 1), date(2020, 12, 31), TAKEN)
YEAR_2020 = Window(date(2020, 1, 1), date(2020, 12, 31), TAKEN)
SMALLEST = 50
FEWEST_PATIENTS = 10
_MOST_PATIENTS = 5_000_000  # keys of patients have seven digits


def profile_of(unit_key: str) -> Profile:
    """The kind of hospital of a unit; units of other names get the health trust."""
    return PROFILES.get(unit_key, PROFILES["nordfjell"])


def generate(profile: Profile, *, episodes: int, patients: int, seed: int, window: Window) -> Frames:
    """Table -> frame in the contract's columns, order and types. No row breaks the contract.

    episodes: exactly so many rows of episodes. patients: how many people, newborns among them; whoever has neither
    episode nor referral is left out. Raises WrongUse for sizes that make no hospital.
    """
    if episodes < SMALLEST or not FEWEST_PATIENTS <= patients <= min(episodes, _MOST_PATIENTS):
        raise WrongUse(
            "sample: the size makes no hospital",
            where="episodes, patients",
            fix=f"at least {SMALLEST} episodes, and {FEWEST_PATIENTS} patients up to as many as there are episodes",
        )
    dice = Dice(seed)
    persons = _known(people(dice, profile, patients, window.first, window.last))
    drawn = courses(dice, profile, persons, episodes, window)
    came = _indirect(dice, profile, visits(dice, profile, drawn, episodes, window))
    planned = kept(drawn, came)
    persons = persons.filter(pl.col("_p").is_in(planned["_p"].unique().implode()))
    found = _frames(dice, profile, persons, planned, came, window)
    contract = load_contract()
    return {name: _as_contract(frame, contract.tables[name]) for name, frame in found.items()}


def with_faults(text: Mapping[str, pl.DataFrame]) -> tuple[Frames, tuple[Accepted, ...]]:
    """The known faults of the sample, put into frames of text, and the acceptance of those the contract refuses.

    Only rows that nothing else hangs on are touched; patients, identities and units stay as they are.
    """
    spoiled = dict(text)
    spoiled["conditions"] = _spoiled_conditions(text["conditions"])
    spoiled["procedures"] = _spoiled_procedures(text["procedures"])
    personnel = text["health_personnel"]
    # A second person of the contact: both rows fall, and the contact still has its first.
    second = personnel.filter(pl.col("helsepersonNr") == "2")
    spoiled["health_personnel"] = pl.concat([personnel, second.slice(len(second) // 2, 1)])
    # What the contract lets through and content rules tell of, without a record lost: WAIT-04, WAIT-02 and EPI-23.
    spoiled["referrals"] = _emptied(
        _emptied(text["referrals"], "vurdDato", 2, pl.col("mottaksDato").str.starts_with("2020-02")),
        "ansienDato",
        1,
        (pl.col("ansienDato") == pl.col("mottaksDato")) & pl.col("vurdDato").str.starts_with("2020-01"),
    )
    elsewhere = (pl.col("fraSted") == "99") & pl.col("innDatoTid").str.contains("^2020-0[1-4]")
    spoiled["episodes"] = _emptied(text["episodes"], "fraInstitusjonID", 1, elsewhere)
    return spoiled, FAULTS


def _emptied(frame: pl.DataFrame, column: str, rows: int, where: pl.Expr) -> pl.DataFrame:
    """The frame with a column empty in the first rows for which the condition holds."""
    filled = where.fill_null(value=False) & pl.col(column).is_not_null()
    return frame.with_columns(pl.when(filled & (filled.cum_sum() <= rows)).then(None).otherwise(column).alias(column))


def as_text(frame: pl.DataFrame, *, decimal: str) -> pl.DataFrame:
    """A typed frame as a CSV has it: ISO dates, ``decimal`` as decimal sign, nothing where there is no value."""
    columns = []
    for name, kind in frame.schema.items():
        column = pl.col(name)
        if isinstance(kind, pl.Datetime):
            column = column.dt.strftime("%Y-%m-%dT%H:%M:%S")
        elif kind == pl.Date:
            column = column.dt.strftime("%Y-%m-%d")
        else:
            column = column.cast(pl.String)
        columns.append(column.str.replace(".", decimal, literal=True) if isinstance(kind, pl.Decimal) else column)
    return frame.select(columns)


def _fault(table: str, rule: str, rows: int, why: str) -> Accepted:
    return Accepted(table=table, rule=rule, rows=rows, why=why, by="Seksjon for pasientdata, Nordfjell sjukehus")


FAULTS = (
    _fault("conditions", "orphan", 1, "Condition left behind by an episode that was deleted; reported to the vendor."),
    _fault(
        "conditions", "pattern", 1, "Code typed with a point in the old coding form; corrected in the next extract."
    ),
    _fault("procedures", "type", 1, "Converted from the old operating theatre system with an impossible date."),
    _fault(
        "health_personnel", "duplicate_key", 2, "Registered twice at a merge of departments; the two rows are equal."
    ),
)


def _known(persons: pl.DataFrame) -> pl.DataFrame:
    group = pl.col("group")
    return persons.with_row_index("_p").with_columns(
        pl.col("_p").cast(pl.Int64), newborn=group == NEWBORN, old=group.is_in([OLD_WOMAN, OLD_MAN])
    )


def _indirect(dice: Dice, profile: Profile, frame: pl.DataFrame) -> pl.DataFrame:
    """Work for a patient who is not there: never the first contact, since that ends the waiting."""
    chance = np.array([department.indirect for department in profile.departments])[frame["_d"].to_numpy()]
    drawn = pl.Series(dice.hit(len(frame), chance))
    return frame.with_columns(indirect=drawn & (pl.col("level") == CLINIC) & (pl.col("k") > 0))


def _frames(
    dice: Dice, profile: Profile, persons: pl.DataFrame, planned: pl.DataFrame, came: pl.DataFrame, window: Window
) -> Frames:
    listed = waiting_list.waiting(dice, planned, came, window)
    found = {
        "patients": tables.patients(dice, persons),
        "identities": _identities(dice, persons),
        "units": tables.units(profile),
        "referrals": waiting_list.referrals(dice, profile, listed, persons),
        "postponements": waiting_list.postponements(dice, listed, window),
        "referral_events": waiting_list.referral_events(dice, listed, window),
        "episodes": tables.episodes(dice, profile, came, persons),
        "contacts": tables.contacts(dice, profile, came),
        "health_personnel": tables.health_personnel(dice, profile, came),
        "conditions": tables.conditions(dice, profile, came, window),
        "procedures": tables.procedures(dice, profile, came, window),
        "tsb_starts": waiting_list.tsb_starts(dice, profile, listed),
    }
    return found | ({"costs": tables.costs(dice, came)} if profile.costs else {})


def _identities(dice: Dice, persons: pl.DataFrame) -> pl.DataFrame:
    kind: Whole = persons["typeID"].to_numpy()
    numbers = identity_numbers(dice, persons["birth"].to_numpy(), persons["male"].to_numpy(), kind)
    return persons.select(
        tables.patient_key(pl.col("_p")).alias("pasientNr"), numbers.alias("fid"), pl.col("typeID").cast(pl.String)
    )


def _as_contract(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    """The contract's columns; of those that may be left out, the ones that were made."""
    wanted = {
        name: kind for name, kind in dtypes(table).items() if name in frame.columns or table.column(name).required
    }
    return frame.select(pl.col(name).cast(kind) for name, kind in wanted.items())


def _spoiled_conditions(frame: pl.DataFrame) -> pl.DataFrame:
    """A point in the first further condition whose code can carry one, and a last row whose episode is not there."""
    row = pl.int_range(pl.len())
    fits = (pl.col("tilstNr") == "2") & (pl.col("kodeVerdi").str.len_chars() == 4)  # noqa: PLR2004 as F10.1
    target = frame.select(row.filter(fits).first()).item()
    pointed = pl.col("kodeVerdi").str.replace(r"^(...)", "$1.")
    spoiled = frame.with_columns(kodeVerdi=pl.when(row == target).then(pointed).otherwise("kodeVerdi"))
    lost = frame.tail(1).with_columns(episodeID=pl.lit("E-slettet"), tilstNr=pl.lit("1"), kodeNr=pl.lit("1"))
    return pl.concat([spoiled, lost])


def _spoiled_procedures(frame: pl.DataFrame) -> pl.DataFrame:
    """30 February as the end of a service that has one code only, so that no sister row is drawn along."""
    row = pl.int_range(pl.len())
    alone = (pl.len().over("episodeID") == 1) & (pl.col("startDatoTid").str.starts_with("2020-02"))
    target = frame.select(row.filter(alone).first()).item()
    impossible = pl.when(row == target).then(pl.lit("2020-02-30T10:15:00")).otherwise("sluttDatoTid")
    return frame.with_columns(sluttDatoTid=impossible)
