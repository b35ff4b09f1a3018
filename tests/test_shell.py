"""The classes above the patients, made of unit, period and extract."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest
from spec import CONTRACT, layout, node, same, staged

from schemas.config import Unit
from schemas.layout import Layout
from schemas.layouts import load_layout
from schemas.period import Period
from transforms.message.shell import shell_tables

CONTACT = {"email": "kari@nordfjell.example", "mobile": "+47 900 00 000"}
UNIT = Unit.model_validate(
    {
        "name": "Nordfjell sjukehus",
        "institusjonID": "974000001",
        "foretakID": "983000001",
        "kind": "health_trust",
        "isf": True,
        "organisation": {"name": "Helse Nordfjell", "her_id": "1001"},
        "sender": {"name": "Nordfjell sjukehus", "her_id": "1002"},
        "contacts": [{"type": "1", "name": "Kari", **CONTACT}, {"type": "15", "name": "Ola", **CONTACT}],
        "epj": {"leverandor": "Leverandør AS", "navnEPJ": "Journal", "versjonEPJ": "7.1"},
    }
)
UNITS = staged("units", "_row | enhetID | orgNr | enhetNavn \n 7 | u2 | 974000002 | Føde \n 3 | u1 | | Akutt")
T1 = Period.parse("2020-T1")


def made(of: Layout, unit: Unit = UNIT, units: pl.DataFrame = UNITS) -> dict[str, pl.DataFrame]:
    return shell_tables(CONTRACT, of, unit, T1, dt.date(2020, 5, 4), "npr 0.1.0", units)


SMALL = layout(
    "ord",
    "Objektholder",
    node(
        "Melding",
        None,
        "meldingstype fraDatoPeriode:date tilDatoPeriode:date uttakDato:date leverandor navnEPJ! versjonUt",
    ),
    node("Kontaktperson", "Melding", "kontPerson typeKontaktperson meldEpost1 meldTelefon"),
    node("Institusjon", "Melding", "institusjonID foretakID"),
    node("Enhet", "Institusjon", "enhetID orgNr! enhetNavn"),
    node("Objektholder", "Institusjon"),
)


def test_the_classes_above_the_patients() -> None:
    tables = made(SMALL)
    same(
        tables["Melding"],
        """
        _id | meldingstype | fraDatoPeriode | tilDatoPeriode | uttakDato  | leverandor    | versjonUt
        0   | B            | 2020-01-01     | 2020-04-30     | 2020-05-04 | Leverandør AS | npr 0.1.0
        """,
    )
    same(
        tables["Kontaktperson"],
        """
        _id | _parent | kontPerson | typeKontaktperson | meldEpost1             | meldTelefon
        0   | 0       | Kari       | 1                 | kari@nordfjell.example | +47 900 00 000
        1   | 0       | Ola        | 15                | kari@nordfjell.example | +47 900 00 000
        """,
    )
    same(tables["Institusjon"], "_id | _parent | institusjonID | foretakID \n 0 | 0 | 974000001 | 983000001")
    same(
        tables["Enhet"], "_id | _parent | _row | enhetID | enhetNavn \n 0 | 0 | 3 | u1 | Akutt \n 1 | 0 | 7 | u2 | Føde"
    )


def test_what_the_version_prohibits_or_does_not_have_stays_behind() -> None:
    tables = made(SMALL)
    assert not {"navnEPJ", "versjonEPJ"} & set(tables["Melding"].columns)
    assert "orgNr" not in tables["Enhet"].columns
    without = layout("ide", "PasientIdent", node("Melding", None, "meldingstype"), node("PasientIdent", "Melding"))
    assert {name: table.columns for name, table in made(without).items()} == {"Melding": ["_id", "meldingstype"]}


@pytest.mark.parametrize("module", ["ord", "ide", "sbs"])
def test_the_real_layout_gets_what_it_asks_for(module: str) -> None:
    real = load_layout(module, "54.0.1")
    tables = made(real)
    assert set(tables) == {"Melding", "Kontaktperson", "Institusjon", "Enhet"} & {one.id for one in real.nodes}
    for name, table in tables.items():
        required = {a.name for a in real.node(name).attributes if a.use == "required" and a.fixed is None}
        # Which part of how many a message is belongs to each part.
        assert required - {"lopenr"} <= set(table.columns), name


def test_a_unit_without_foretak_and_without_enheter_keeps_the_types() -> None:
    alone = UNIT.model_copy(update={"foretakID": None})
    tables = made(SMALL, alone, staged("units", "enhetID"))
    same(tables["Institusjon"], "institusjonID | foretakID \n 974000001 |")
    assert tables["Institusjon"].schema["foretakID"] == pl.String
    assert tables["Enhet"].height == 0
    assert tables["Enhet"].schema == made(SMALL)["Enhet"].schema
