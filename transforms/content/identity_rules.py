"""Identity against activity: what of an identity NPR gets, whom the messages hold, and NPR's flags of the person link.

Belongs here: the decision per delivered number (sent, corrected, birth date in its place), differences between
messages, flags. Does not belong here: judging a number (``transforms.identity_numbers``), texts
(``schemas/identity/rules.toml``), test data (``transforms.content.guard``). Frames with numbers come in and go out;
nothing of them stands in an exception.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Final

import polars as pl

from schemas.identity_rules import CLASS, MODULE, NPRID_REG, TABLE, identity_rules
from transforms.content.findings import SCHEMA
from transforms.identity_numbers import accept, birth_date_fid, classify

FID, TYPE_ID, BIRTH = "fid", "typeID", "fodselsdato"
OTHER_TYPE: Final = "9"
TYPE_OF: Final = {"fnr": "1", "dnr": "2"}
# What became of a number, and the rule that says so; what is sent as delivered has none.
ACTIONS: Final = {"corrected": "IDE-11", "birth_date": "IDE-10", "kept": "IDE-05"}
SETTLED: Final[dict[str, pl.DataType]] = {
    "_patient": pl.UInt32(), "_row": pl.UInt32(), "action": pl.String(), "kind": pl.String(), "reason": pl.String(),
}  # fmt: skip
DIFFERENCE: Final[dict[str, pl.DataType]] = {"_patient": pl.UInt32(), "rule": pl.String(), "missing_in": pl.String()}
DEAD: Final = ("2", "3")  # utTilstand: dead, suicide
INDIRECT: Final = "5"  # kontaktType


def settle(rows: pl.DataFrame, patients: pl.DataFrame, on: dt.date) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What NPR gets of each delivered identity, and what was not sent as delivered (SETTLED).

    rows: class rows with ``_patient``, ``_row``, ``fid``, ``typeID``. patients: ``_patient``, ``fodselsar``, and
    ``fodselsdato`` as delivered, which may be null. on: the day by which numbers are judged.

    By the matrix of ``schemas/identity/acceptance.csv``: what it lets pass or warns of is sent as delivered; a valid
    fødselsnummer or D-number under another typeID, or written with marks, is corrected; for any other the birth date
    goes with typeID 9, where it is known; what is left is kept as delivered. A number that is synthetic in any reading
    is never changed: the guard must see it as it came.
    """
    known = rows.join(patients.select("_patient", "fodselsar", BIRTH), on="_patient", how="left", maintain_order="left")
    as_is = _judged(known, FID, TYPE_ID, on)
    bare = known.with_columns(pl.col(FID).str.replace_all(r"[^0-9]", ""))
    bare = bare.with_columns(typeID=_type_of(classify(bare[FID], on=on)["kind"]).fill_null(pl.col(TYPE_ID)))
    mended = _judged(bare, FID, TYPE_ID, on)
    # Without a typeID every doubt counts as synthetic.
    doubtful = (as_is["synthetic"] != "") | (classify(known[FID])["synthetic"] != "")
    frame = known.with_columns(
        kind=as_is["kind"],
        reason=as_is["reason"],
        _fine=as_is["verdict"].is_in(["ok", "warn", "stop"]) | doubtful,
        _mend=(mended["verdict"] == "ok") & mended["kind"].is_in(list(TYPE_OF)),
        _fid=bare[FID],
        _type=bare[TYPE_ID],
        _day=pl.coalesce(birth_date_fid(pl.col(BIRTH)), _day_of_digits(as_is["kind"])),
    ).with_columns(
        action=pl.when("_fine").then(pl.lit("")).when("_mend").then(pl.lit("corrected"))
        .when(pl.col("_day").is_not_null()).then(pl.lit("birth_date")).otherwise(pl.lit("kept"))
    )  # fmt: skip
    sent = frame.with_columns(
        pl.when(action="corrected").then("_fid").when(action="birth_date").then("_day").otherwise(FID).alias(FID),
        pl.when(action="corrected").then("_type").when(action="birth_date").then(pl.lit(OTHER_TYPE))
        .otherwise(TYPE_ID).alias(TYPE_ID),
    ).select(rows.columns)  # fmt: skip
    return sent, frame.filter(pl.col("action") != "").select(SETTLED.keys()).cast(SETTLED)  # type: ignore[arg-type]


def _judged(frame: pl.DataFrame, number: str, type_id: str, on: dt.date) -> pl.DataFrame:
    found = classify(frame[number], frame[type_id], frame[BIRTH], on=on)
    return found.with_columns(verdict=accept(found, frame[type_id]))


def _type_of(kinds: pl.Series) -> pl.Expr:
    return pl.lit(kinds.replace_strict(TYPE_OF, default=None, return_dtype=pl.String))


def _day_of_digits(kinds: pl.Series) -> pl.Expr:
    """Birth date out of a wrong fødselsnummer, where it is a day and its year the one registered of the patient.

    Not of a D-number: its day can be that of the registration.
    """
    digits = pl.col(FID).str.replace_all(r"[^0-9]", "")
    short = (pl.col("fodselsar") % 100).cast(pl.String).str.zfill(2)
    same = (pl.col("fodselsar") > 0) & (digits.str.slice(4, 2) == short)
    day = (digits.str.slice(0, 4) + pl.col("fodselsar").cast(pl.String).str.zfill(4)).str.to_date(
        "%d%m%Y", strict=False
    )
    told = birth_date_fid(day)
    return pl.when(pl.lit(kinds == "fnr") & same & (told == digits.str.slice(0, 6))).then(told)


def difference(identified: pl.Series, active: Mapping[str, pl.Series]) -> pl.DataFrame:
    """Patients that ``ide`` and the other messages do not share (DIFFERENCE), by patient.

    identified: ``_patient`` of ide. active: module -> ``_patient``. A patient without identity has one row for each
    module that tells of it.
    """
    parts = [pl.DataFrame(schema=DIFFERENCE)]
    for module, patients in active.items():
        lacking = patients.unique().filter(~patients.unique().is_in(identified.implode()))
        parts.append(_difference(lacking, "IDE-01", f"ide, stands in {module}"))
    everyone = pl.concat([pl.Series([], dtype=pl.UInt32), *(one.cast(pl.UInt32) for one in active.values())])
    idle = identified.unique().filter(~identified.unique().is_in(everyone.implode()))
    parts.append(_difference(idle, "IDE-02", "every other message"))
    return pl.concat(parts).sort("_patient", "rule", "missing_in")


def _difference(patients: pl.Series, rule: str, missing_in: str) -> pl.DataFrame:
    frame = pl.DataFrame({"_patient": patients.cast(pl.UInt32)})
    return frame.with_columns(rule=pl.lit(rule), missing_in=pl.lit(missing_in)).select(DIFFERENCE.keys())


def shells_differ(shells: Mapping[str, tuple[pl.DataFrame, pl.DataFrame]]) -> list[str]:
    """Modules whose institution or period is not that of ``ide``. shells: module -> tables Melding, Institusjon."""
    told = {module: _told(*tables) for module, tables in shells.items()}
    return [module for module, one in told.items() if "ide" in told and one != told["ide"]]


def _told(melding: pl.DataFrame, institusjon: pl.DataFrame) -> tuple[object, ...]:
    period = melding.select("fraDatoPeriode", "tilDatoPeriode").rows()
    return tuple(period), tuple(sorted(institusjon["institusjonID"]))


def twice(sent: pl.DataFrame) -> pl.Series:
    """``_patient`` of those who share a number with another (IDE-07). Birth dates are nobody's number."""
    numbers = sent.filter(pl.col(TYPE_ID) != OTHER_TYPE).select("_patient", FID)
    return numbers.filter(pl.col(FID).is_duplicated())["_patient"]


def after_death(episodes: pl.DataFrame, contacts: pl.DataFrame) -> pl.Series:
    """``_patient`` with an episode of direct contact that begins after the day of death (PAT-07).

    episodes: class rows with ``_id``, ``_patient``, ``innDatoTid``, ``utDatoTid``, ``utTilstand``. contacts:
    ``_parent`` and ``kontaktType``. Death is what the unit's own reported episodes tell.
    """
    dead = episodes.filter(pl.col("utTilstand").is_in(list(DEAD))).group_by("_patient").agg(
        died=pl.col("utDatoTid").dt.date().min()
    )  # fmt: skip
    indirect = contacts.filter(kontaktType=INDIRECT)["_parent"]
    direct = episodes.filter(~pl.col("_id").is_in(indirect.implode()))
    late = direct.join(dead, on="_patient").filter(pl.col("innDatoTid").dt.date() > pl.col("died"))
    return late["_patient"].unique().sort()


def flags(sent: pl.DataFrame, patients: pl.DataFrame, late: pl.Series, on: dt.date) -> pl.DataFrame:
    """NPR's flag ``nprid_reg`` and what it rests on, for each patient of ide, in order.

    sent: ``_patient``, ``_row``, ``fid``, ``typeID`` as sent. patients: ``_patient``, ``kjonn``, ``fodselsar``. late:
    of ``after_death``. Columns: ``_patient``, ``_row``, ``kind``, other_sex, other_year, no_number, after_death,
    nprid_reg.
    Where several apply the flag is 4, then 2, 3, 5: which one NPR gives is not documented (C).
    """
    found = classify(sent[FID], sent[TYPE_ID], on=on)
    frame = sent.select("_patient", "_row").hstack(found.select("kind", "valid", "sex", "birth_date"))
    frame = frame.join(
        patients.select("_patient", "kjonn", "fodselsar"), on="_patient", how="left", maintain_order="left"
    )
    year = pl.col("birth_date").dt.year()
    frame = frame.select(
        "_patient",
        "_row",
        "kind",
        other_sex=(pl.col("valid") & pl.col("kjonn").is_in(["1", "2"]) & (pl.col("sex") != pl.col("kjonn"))).fill_null(
            value=False
        ),
        other_year=(pl.col("valid") & (pl.col("fodselsar") > 0) & (year != pl.col("fodselsar"))).fill_null(value=False),
        no_number=~pl.col("valid") | (pl.col("kind") == "birth_date"),
        after_death=pl.col("_patient").is_in(late.implode()),
    )
    flag = pl.when("no_number").then(pl.lit("4")).when("other_sex").then(pl.lit("2"))
    flag = flag.when("other_year").then(pl.lit("3")).when("after_death").then(pl.lit("5"))
    return frame.with_columns(nprid_reg=flag.otherwise(pl.lit("1")))


def counted(found: pl.DataFrame) -> dict[str, int]:
    """nprid_reg -> patients, every flag named."""
    counts = dict(found.group_by("nprid_reg").len().iter_rows())
    return {flag: counts.get(flag, 0) for flag in NPRID_REG}


def findings(flagged: pl.DataFrame, settled: pl.DataFrame, shared: pl.Series, sent: pl.DataFrame) -> pl.DataFrame:
    """Findings (``transforms.content.findings.SCHEMA``) of the rules about one patient, by rule and place in the file.

    flagged: of ``flags``. settled: of ``settle``. shared: of ``twice``. sent: ``_patient``, ``_id`` of the class rows.
    No value of an identity goes along, so they stand among the findings of every other rule.
    """
    told = {
        "PAT-04": flagged.filter("other_sex"),
        "PAT-05": flagged.filter("other_year"),
        "PAT-07": flagged.filter("after_death"),
        "IDE-07": flagged.filter(pl.col("_patient").is_in(shared.implode())),
    } | {rule: settled.filter(action=action) for action, rule in ACTIONS.items()}
    ids = sent.select("_patient", "_id")
    parts = [_found(name, rows.select("_patient", "_row")) for name, rows in sorted(told.items())]
    found = pl.concat(parts).join(ids, on="_patient", how="left", maintain_order="left")
    absent = [pl.lit(None).alias(name) for name in SCHEMA if name not in found.columns]
    return found.with_columns(absent).select(SCHEMA.keys()).cast(SCHEMA)  # type: ignore[arg-type]


def _found(name: str, rows: pl.DataFrame) -> pl.DataFrame:
    rule = identity_rules()[name]
    told = {
        "rule": name,
        "consequence": rule.consequence,
        "module": MODULE,
        "class": CLASS,
        "table": TABLE,
        "fields": " ".join(rule.fields),
    }
    return rows.with_columns(pl.lit(value).alias(column) for column, value in told.items())
