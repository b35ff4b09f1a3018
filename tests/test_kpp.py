"""Cost per patient (kpp): through the whole way for every data year, and the register's own example made again."""

from __future__ import annotations

import csv
import re
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest
import stages
from conftest import ROOT, SAMPLE, Outcome, call
from lxml import etree
from shipment import melding, opened, patients
from spec import CONTRACT

from assets.ports import Options
from schemas.layout import Layout
from schemas.layouts import load_layout, read_layout
from schemas.versions import version_of
from schemas.xsd import compile_schema, compile_with_head, validate_stream
from transforms.extract.parse import parse
from transforms.message.class_tables import build
from transforms.message.render import render_patients

SHARED: Final = ROOT / "../shared/reference"
KPP: Final = SHARED / "xsd/npr-kpp"
shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the official schemas (../shared/reference) are not at hand")
YEARS: Final = tuple(range(2018, 2025))


def official(version: str) -> Path | None:
    """The official schema of a version; none is public for 53.1.2."""
    return next((KPP / version).glob("*(kpp).xsd"), None)


def moved(folder: Path, years: int) -> Path:
    """The sample with every date moved by whole years."""

    def later(found: re.Match[bytes]) -> bytes:
        day = b"28" if found[2] == b"02-29" else found[2][3:]
        return b"%d-%b%b" % (int(found[1]) + years, found[2][:3], day)

    shutil.copytree(SAMPLE / "nordfjell", folder)
    for path in folder.iterdir():
        path.write_bytes(re.sub(rb"\b(20[0-3]\d|19\d\d)-(\d\d-\d\d)", later, path.read_bytes()))
    return folder


def ran(period: str, home: Path, options: Options = Options()) -> dict[str, Any]:  # noqa: B008 - never changed
    return stages.through(stages.opened(home, period, "nordfjell", options))


def documents(summary: dict[str, Any], home: Path) -> dict[str, bytes]:
    return {part["module"]: opened(Path(part["path"]), home) for part in summary["shipments"]}


@pytest.mark.parametrize("year", YEARS)
def test_every_data_year_goes_in_its_version_and_is_valid(year: int, tmp_path: Path) -> None:
    home = tmp_path / "var"
    extract = moved(tmp_path / "extract", year - 2020)
    summary = ran(f"{year}-K", home, Options(extract=extract))
    version = version_of(year).version
    (message,) = summary["messages"]
    assert (message["module"], message["version"]) == ("kpp", version)
    (document,) = documents(summary, home).values()
    assert validate_stream(compile_with_head(load_layout("kpp", version)), [document]) == []
    assert b'<Type V="NPR_KPP" DN="KPP melding"/>' in document
    body = melding(document)
    assert body.get("versjon") == version
    assert etree.QName(body).namespace == f"http://www.npr.no/xmlstds/{version.replace('.', '_')}_kpp"
    assert (body.get("fraDatoPeriode"), body.get("tilDatoPeriode")) == (f"{year}-01-01", f"{year}-12-31")
    if (schema := official(version)) is not None:
        assert validate_stream(compile_schema(schema), [etree.tostring(body)]) == []


@shared
def test_an_official_schema_was_at_hand_for_all_years_but_the_first() -> None:
    assert [year for year in YEARS if official(version_of(year).version) is None] == [2018]


def test_every_reported_cost_stands_in_the_message_and_nothing_else_is_reported(home: Path) -> None:
    summary = ran("2020-K", home)
    rows = summary["rows"]
    assert {name for name, figures in rows.items() if figures["reported"]} == {"patients", "units", "costs"}
    body = melding(documents(summary, home)["kpp"])
    costs = pl.read_parquet(home / "lake/staging/costs/period=2020-K/unit=nordfjell/data.parquet")
    decided = pl.read_parquet(home / "lake/scope/costs/period=2020-K/unit=nordfjell/data.parquet")
    kept = costs.join(decided.filter(pl.col("reason").is_null()), on="_row", how="semi")
    lines = kept.filter(pl.col("kostnadKode").is_not_null())
    assert rows["costs"]["reported"] == kept.height > lines.height
    assert len(list(body.iter("{*}TjenesteKPP"))) == lines.height > 50
    # An episode with a sum only is told all the same.
    assert {e.get("episodeID") for e in body.iter("{*}EpisodeKPP")} == set(kept["episodeID"])
    told = sum(Decimal(str(e.get("kostnad"))) for e in body.iter("{*}TjenesteKPP"))
    assert told == sum(lines["kostnad"])
    assert {etree.QName(e).localname for e in body.iter()} == {
        "Melding", "Institusjon", "Objektholder", "EpisodeKPP", "TjenesteKPP",
    }  # fmt: skip
    assert {part["module"] for part in summary["shipments"]} == {"kpp"}


def test_with_ide_the_same_patients_are_identified(home: Path) -> None:
    found = documents(ran("2020-K", home, Options(modules=("ide", "kpp"))), home)
    assert set(found) == {"kpp", "ide"}
    assert set(patients(melding(found["ide"]))) == set(patients(melding(found["kpp"])))


def test_a_report_without_kpp_leaves_the_costs_out_and_says_so(home: Path) -> None:
    summary = ran("2020-A", home)
    assert {message["module"] for message in summary["messages"]} == {"ord", "ide", "sbs"}
    costs = summary["rows"]["costs"]
    assert (costs["reported"], costs["out_of_scope"]) == (0, costs["in"])


def test_the_cost_report_and_the_annual_report_leave_each_other_alone(home: Path) -> None:
    """Asked for as a message of the annual report, kpp means the report of its own, and says so."""
    annual = ran("2020-A", home)
    records = sorted((home / "runs/2020-A/nordfjell").iterdir())
    before = [path.read_bytes() for path in records]
    outcome = call("run", "2020-A", "--unit", "nordfjell", "--module", "kpp", "--json", home=home)
    assert (outcome.code, outcome.json["period"]) == (0, "2020-K"), outcome.err
    assert "kpp is a report of its own, 2020-K; 2020-A is left as it is" in outcome.err
    assert [path.read_bytes() for path in records] == before
    assert Path(annual["manifest"]).is_file()
    assert (home / "submissions/2020-K/nordfjell/0001/submission.json").is_file()
    assert [path.name for path in (home / "submissions/2020-A/nordfjell").iterdir()] == ["0001"]
    costs = pl.read_parquet(home / "lake/scope/costs/period=2020-K/unit=nordfjell/data.parquet")
    told = pl.read_parquet(home / "lake/staging/costs/period=2020-K/unit=nordfjell/data.parquet").join(
        costs.filter(pl.col("reason").is_null()), on="_row", how="semi"
    )
    ways = call("trace", told["episodeID"][0], "--json", home=home).json
    assert [(way["period"], [step["stage"] for step in way["steps"]]) for way in ways] == [
        (period, ["snapshot", "staging", "scope", "message", "shipment"]) for period in ("2020-A", "2020-K")
    ]
    assert ways[0]["steps"][3]["what"].startswith("ord_Episode")
    assert ways[1]["steps"][3]["what"].startswith("kpp_EpisodeKPP")
    assert "kpp" in ways[1]["steps"][4]["what"]


def test_without_a_unit_the_units_that_deliver_costs_are_run(home: Path) -> None:
    outcome = call("run", "2020-K", home=home)
    assert outcome.code == 0, outcome.err
    assert "2020-K nordfjell: shipments" in outcome.out
    assert "sorvik" not in outcome.out
    assert "REQ-SCHEMA, REQ-CONTENT): all hold" in outcome.out


def _refused(home: Path, *args: str) -> Outcome:
    outcome = call("run", *args, home=home)
    assert not (home / "outbox").exists()
    return outcome


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("2020-K", "--unit", "sorvik"), 1, "nothing to report"),
        (("2020-A", "--module", "kpp", "--module", "ord", "--unit", "nordfjell"), 2, "ord and kpp are not one report"),
        (("2020-T1", "--module", "kpp", "--unit", "nordfjell"), 2, "use one or more of: ord, ide, sbs"),
        (("2020-A", "--module", "xyz", "--unit", "nordfjell"), 2, "kpp is a report of its own: 2020-K"),
        (("2020-A", "--module", "ide", "--unit", "nordfjell"), 2, "ide alone says nothing"),
    ],
)
def test_what_cannot_be_made_is_refused(home: Path, args: tuple[str, ...], code: int, said: str) -> None:
    outcome = _refused(home, *args)
    assert (outcome.code, said in outcome.err) == (code, True), outcome.err


# The register's own example: two files in, one message out (FHI's KppParser, 58.0.1)


def _costs(texts: list[dict[str, str]]) -> pl.DataFrame:
    """Cost rows as the contract has them, out of text with decimal commas."""
    raw = pl.DataFrame(texts, schema=dict.fromkeys(texts[0], pl.String)).with_row_index("_row", offset=1)
    typed, faults = parse(raw, CONTRACT.tables["costs"], decimal=",")
    assert faults.is_empty()
    return typed.with_columns(_patient=pl.lit(0, pl.UInt32))


def _rendered(layout: Layout, costs: pl.DataFrame) -> etree._Element:
    """The Objektholder of one patient with these costs."""
    holder = pl.DataFrame({"_row": [1], "_patient": [0], "pasientNr": ["-1"]}, schema_overrides={"_patient": pl.UInt32})
    tables = build(CONTRACT, layout, {"patients": holder, "costs": costs}, {})
    return etree.fromstring(bytes(render_patients(layout, tables).data))


def _told(holder: etree._Element) -> list[tuple[Any, ...]]:
    """What a holder says, with amounts by value: 9 and 9.00 are the same decimal."""
    return [
        (
            episode.get("episodeID"),
            episode.get("drg"),
            Decimal(str(episode.get("total"))),
            [(line.get("kostnadKode"), Decimal(str(line.get("kostnad")))) for line in episode],
        )
        for episode in holder.iterchildren("{*}EpisodeKPP")
    ]


def _example(institution: str) -> list[dict[str, str]]:
    """The example's two files joined into contract rows; "(tom)" is its word for empty."""
    folder = SHARED / "messages/npr_kpp"
    with (folder / "episode.csv").open(encoding="utf-8-sig", newline="") as file:
        episodes = [row for row in csv.DictReader(file, delimiter=";") if row["institusjonsID"] == institution]
    with (folder / "tjeneste.csv").open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file, delimiter=";"))
    rows = []
    for episode in episodes:
        own = [line for line in lines if line["episodeID"] == episode["episodeID"]]
        for number, line in enumerate(own or [{"kostnadskode": "", "kostnad": ""}]):
            drg = episode["drg"].replace("(tom)", "")
            rows.append(
                {
                    "episodeID": episode["episodeID"],
                    "drg": drg,
                    "total": episode["total"],
                    "kostnadNr": str(number),
                    "kostnadKode": line["kostnadskode"],
                    "kostnad": line["kostnad"],
                }
            )
    return rows


@shared
@pytest.mark.parametrize("whose", ["ours", "official"])
def test_the_registers_own_example_is_made_again(whose: str) -> None:
    """Three institutions: decimals with comma or point, no drg, no cost lines, negative costs."""
    expected = etree.parse(SHARED / "messages/npr_kpp/TestMelding.expected.xml").getroot()
    layout = load_layout("kpp", "58.0.1")
    if whose == "official":
        layout = read_layout(KPP / "58.0.1/NPR(kpp).xsd", "kpp", "58.0.1", official=True)
    institutions = list(expected.iterchildren("{*}Institusjon"))
    assert len(institutions) == 3
    for institution in institutions:
        made = _rendered(layout, _costs(_example(str(institution.get("institusjonID")))))
        assert _told(made) == _told(institution[0])
        assert made.attrib == institution[0].attrib


def test_an_episode_with_a_sum_and_no_lines_stands_alone() -> None:
    row = {"episodeID": "e1", "drg": "", "total": "0", "kostnadNr": "0", "kostnadKode": "", "kostnad": ""}
    for version in ("53.1.3", "58.0.1"):
        made = _rendered(load_layout("kpp", version), _costs([row]))
        assert sorted(made[0].attrib.items()) == [("episodeID", "e1"), ("total", "0.00")]
        assert (len(made), len(made[0])) == (1, 0)


def test_amounts_keep_sign_and_cents() -> None:
    amounts = ["1,24", "9", "0,00", "-1", "-0,05", "123456789012,34"]
    rows = [
        {"episodeID": "e1", "drg": "39O", "total": "9", "kostnadNr": str(n), "kostnadKode": f"K{n}", "kostnad": amount}
        for n, amount in enumerate(amounts)
    ]
    made = _rendered(load_layout("kpp", "54.0.1"), _costs(rows))
    assert [line.get("kostnad") for line in made[0]] == ["1.24", "9.00", "0.00", "-1.00", "-0.05", "123456789012.34"]
