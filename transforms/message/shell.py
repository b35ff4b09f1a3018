"""The part of a message around the patients: Melding, Kontaktperson, Institusjon, Enhet.

Belongs here: class tables of those classes from unit, period and extract. Does not belong here: rendering, and
lopenr and lokalident, which belong to each part.
"""

from __future__ import annotations

import datetime as dt

import polars as pl

from schemas.config import Unit
from schemas.contract import Contract
from schemas.layout import Layout
from schemas.period import Period

BATCH_MESSAGE = "B"  # list 7371: satsvis; E and K only by agreement with the registry


def shell_tables(
    contract: Contract, layout: Layout, unit: Unit, period: Period, taken: dt.date, tool: str, units: pl.DataFrame
) -> dict[str, pl.DataFrame]:
    """Class tables above the patients: node -> ``_id``, ``_parent`` and attributes that the layout allows.

    taken: day of the extraction (uttakDato). tool: name and version of what made the message (versjonUt).
    units: staged units in scope.
    """
    melding = {
        "_id": 0,
        "meldingstype": BATCH_MESSAGE,
        "fraDatoPeriode": period.start,
        "tilDatoPeriode": period.end,
        "uttakDato": taken,
        **unit.epj.model_dump(),
        "versjonUt": tool,
    }
    contacts = [
        {
            "_id": number,
            "_parent": 0,
            "kontPerson": contact.name,
            "meldTelefon": contact.mobile,
            "meldEpost1": contact.email,
            "typeKontaktperson": contact.type,
        }
        for number, contact in enumerate(unit.contacts)
    ]
    tables = {
        "Melding": pl.DataFrame([melding]),
        "Kontaktperson": pl.DataFrame(contacts),
        "Institusjon": pl.DataFrame(
            [{"_id": 0, "_parent": 0, "institusjonID": unit.institusjonID, "foretakID": unit.foretakID}],
            schema={"_id": pl.Int64, "_parent": pl.Int64, "institusjonID": pl.String, "foretakID": pl.String},
        ),
        "Enhet": _enhet(contract, units),
    }
    known = {node.id: {a.name for a in node.attributes if a.use != "prohibited"} for node in layout.nodes}
    return {
        node: frame.select(c for c in frame.columns if c.startswith("_") or c in known[node])
        for node, frame in tables.items()
        if node in known
    }


def _enhet(contract: Contract, units: pl.DataFrame) -> pl.DataFrame:
    feeding = contract.tables["units"].feeding("Enhet")
    ordered = units.sort("enhetID").with_row_index("_id")
    return ordered.select(
        pl.col("_id").cast(pl.Int64),
        pl.lit(0, pl.Int64).alias("_parent"),
        "_row",
        *(pl.col(column).alias(attribute) for attribute, column in feeding.items()),
    )
