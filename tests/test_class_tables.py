"""Contract rows become one table per NPR class, the same however the patients are batched."""

from __future__ import annotations

import random
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spec import CONTRACT, layout, node, same, staged

from schemas.layouts import load_layout
from schemas.models import dtypes
from transforms.message.class_tables import build, nodes_of_patients, with_content

ORD = layout(
    "ord",
    "Objektholder",
    node("Melding", None),
    node("Institusjon", "Melding"),
    node("Enhet", "Institusjon", "enhetID"),
    node("Objektholder", "Institusjon", "pasientNr"),
    node("Pasient", "Objektholder", "kjonn fodselsar:integer fodselsvekt:integer!"),
    node("Henvisningsperiode", "Objektholder", "henvisningsperiodeID mottaksDato:date"),
    node("Henvisningsperiode_RefEnhet", "Henvisningsperiode", "enhetID typeEnhet"),
    node("Utsettelse", "Henvisningsperiode", "utsettDato:date utsettKode"),
    node("Episode", "Objektholder", "episodeID innDatoTid:dateTime omsorgsniva"),
    node("Kontakt", "Episode", "kontaktType"),
    node("Kontakt_Helseperson", "Kontakt", "polUtforende"),
    node("Episode_RefEnhet", "Episode", "enhetID typeEnhet"),
    node("Tilstand", "Episode", "tilstNr:integer"),
    node("Tilstand_Kode", "Tilstand", "kodeNr:integer kodeVerdi"),
    node("Tjeneste", "Episode", "startDatoTid:dateTime"),
    node("Tiltak", "Tjeneste", "typeTiltak"),
    node("Prosedyre", "Tiltak", "prosNr:integer"),
    node("Prosedyre_Kode", "Prosedyre", "kodeNr:integer kodeVerdi"),
)
KPP = layout(
    "kpp",
    "EpisodeKPP",
    node("MeldingKPP", None),
    node("EpisodeKPP", "MeldingKPP", "episodeID drg total:decimal"),
    node("TjenesteKPP", "EpisodeKPP", "kostnadKode kostnad:decimal"),
)

Frames = dict[str, pl.DataFrame]


def rows(**texts: str) -> Frames:
    """Staged rows of every table; those not named are empty."""
    return {table.name: staged(table.name, texts.get(table.name, "_patient")) for table in CONTRACT}


def built(**texts: str) -> Frames:
    return build(CONTRACT, ORD, rows(**texts), {})


TWO = {
    "patients": """
        _patient | pasientNr | kjonn | fodselsar | fodselsvekt
        1        | p1        | 2     | 1950      |
        0        | p0        | 1     | 2020      | 3500
        """
}


def test_the_patient_node_and_all_below_it() -> None:
    names = [one.id for one in nodes_of_patients(ORD)]
    assert names[0] == "Objektholder"
    assert names == [one.id for one in ORD.nodes if one.id not in ("Melding", "Institusjon", "Enhet")]


def test_patients_come_in_the_order_of_their_ordinal_and_prohibited_attributes_stay_behind() -> None:
    tables = built(**TWO)
    same(tables["Objektholder"], "_id | _patient | _row | pasientNr \n 0 | 0 | 2 | p0 \n 1 | 1 | 1 | p1")
    same(
        tables["Pasient"],
        "_id | _parent | _patient | _row | kjonn | fodselsar \n 0 | 0 | 0 | 2 | 1 | 2020 \n 1 | 1 | 1 | 1 | 2 | 1950",
    )
    assert "fodselsvekt" not in tables["Pasient"].columns
    assert set(tables) == {one.id for one in nodes_of_patients(ORD)}


def test_episodes_come_by_patient_then_time_then_key_and_carry_what_belongs_to_them() -> None:
    tables = built(
        **TWO,
        episodes="""
            _patient | episodeID | innDatoTid       | behandlingsstedID | fagenhetID | avdelingID | tjenesteenhetID
            1        | e1        | 2020-01-01 10:00 | u1                | u2         | u3         |
            0        | e2        | 2020-03-01 10:00 | u1                | u2         | u3         | u4
            0        | e4        | 2020-02-01 10:00 | u1                | u2         | u3         |
            0        | e3        | 2020-02-01 10:00 | u1                | u2         | u3         |
            """,
        contacts="_patient | episodeID | kontaktType \n 1 | e1 | 1 \n 0 | e2 | 2 \n 0 | e3 | 3 \n 0 | e4 | 4",
        health_personnel="""
            _patient | episodeID | helsepersonNr | polUtforende
            1        | e1        | 10            | 1
            1        | e1        | 9             | 2
            0        | e4        | 1             | 3
            """,
    )
    same(
        tables["Episode"],
        """
        _id | _parent | _patient | _row | episodeID
        0   | 0       | 0        | 4    | e3
        1   | 0       | 0        | 3    | e4
        2   | 0       | 0        | 2    | e2
        3   | 1       | 1        | 1    | e1
        """,
    )
    same(tables["Kontakt"], "_id | _parent | kontaktType \n 0 | 0 | 3 \n 1 | 1 | 4 \n 2 | 2 | 2 \n 3 | 3 | 1")
    same(tables["Kontakt_Helseperson"], "_id | _parent | polUtforende \n 0 | 1 | 3 \n 1 | 3 | 2 \n 2 | 3 | 1")
    same(
        tables["Episode_RefEnhet"].filter(pl.col("_parent") >= 2),
        """
        _id | _parent | _row | enhetID | typeEnhet
        6   | 2       | 2    | u1      | 1
        7   | 2       | 2    | u2      | 2
        8   | 2       | 2    | u3      | 7
        9   | 2       | 2    | u4      | 3
        10  | 3       | 1    | u1      | 1
        11  | 3       | 1    | u2      | 2
        12  | 3       | 1    | u3      | 7
        """,
    )


def test_rows_of_codes_become_the_tree_above_them() -> None:
    tables = built(
        patients="_patient | pasientNr \n 0 | p0",
        episodes="_patient | episodeID \n 0 | e1",
        conditions="""
            _patient | episodeID | tilstNr | kodeNr | kodeVerdi
            0        | e1        | 2       | 1      | I10
            0        | e1        | 1       | 2      | J449
            0        | e1        | 1       | 1      | J189
            """,
        procedures="""
            _patient | episodeID | tjenesteNr | startDatoTid     | tiltakNr | typeTiltak | prosNr | kodeNr | kodeVerdi
            0        | e1        | 10         | 2020-01-01 12:00 | 1        | 2          | 1      | 1      | AAA
            0        | e1        | 9          | 2020-01-01 13:00 | 1        | 1          | 1      | 1      | BBB
            0        | e1        | 9          | 2020-01-01 13:00 | 1        | 1          | 1      | 2      | CCC
            0        | e1        | 9          | 2020-01-01 13:00 | 2        | 2          | 1      | 1      | DDD
            0        | e1        | 9          | 2020-01-01 13:00 | 1        | 1          | 2      | 1      | EEE
            """,
    )
    same(tables["Tilstand"], "_id | _parent | tilstNr \n 0 | 0 | 1 \n 1 | 0 | 2")
    same(
        tables["Tilstand_Kode"],
        "_id | _parent | kodeNr | kodeVerdi \n 0 | 0 | 1 | J189 \n 1 | 0 | 2 | J449 \n 2 | 1 | 1 | I10",
    )
    same(tables["Tjeneste"], "_id | _parent | startDatoTid \n 0 | 0 | 2020-01-01 13:00 \n 1 | 0 | 2020-01-01 12:00")
    same(tables["Tiltak"], "_id | _parent | typeTiltak \n 0 | 0 | 1 \n 1 | 0 | 2 \n 2 | 1 | 2")
    same(tables["Prosedyre"], "_id | _parent | prosNr \n 0 | 0 | 1 \n 1 | 0 | 2 \n 2 | 1 | 1 \n 3 | 2 | 1")
    same(
        tables["Prosedyre_Kode"],
        """
        _id | _parent | kodeNr | kodeVerdi
        0   | 0       | 1      | BBB
        1   | 0       | 2      | CCC
        2   | 1       | 1      | EEE
        3   | 2       | 1      | DDD
        4   | 3       | 1      | AAA
        """,
    )


def test_a_referral_without_day_comes_last_and_names_only_the_units_it_has() -> None:
    tables = built(
        patients="_patient | pasientNr \n 0 | p0",
        referrals="""
            _patient | henvisningsperiodeID | mottaksDato | behandlingsstedID | avdelingID
            0        | h1                   |             | u1                | u2
            0        | h2                   | 2020-01-02  |                   |
            0        | h3                   | 2020-01-01  |                   | u3
            """,
        postponements="_patient | henvisningsperiodeID | utsettNr | utsettKode \n 0 | h1 | 1 | 1",
    )
    same(tables["Henvisningsperiode"], "_id | henvisningsperiodeID \n 0 | h3 \n 1 | h2 \n 2 | h1")
    same(
        tables["Henvisningsperiode_RefEnhet"], "_parent | enhetID | typeEnhet \n 0 | u3 | 7 \n 2 | u1 | 1 \n 2 | u2 | 7"
    )
    same(tables["Utsettelse"], "_id | _parent | utsettKode \n 0 | 2 | 1")


def test_an_episode_of_costs_is_one_row_and_a_line_without_code_no_row_below_it() -> None:
    costs = """
        _patient | episodeID | drg | total  | kostnadNr | kostnadKode | kostnad
        0        | e1        | 1A  | 300.00 | 1         | K2          | 200.00
        0        | e1        | 1A  | 300.00 | 2         | K1          | 100.00
        0        | e2        | 2B  | 50.00  | 1         |             |
        """
    tables = build(CONTRACT, KPP, rows(costs=costs), {})
    same(tables["EpisodeKPP"], "_id | episodeID | drg | total \n 0 | e1 | 1A | 300.00 \n 1 | e2 | 2B | 50.00")
    same(tables["TjenesteKPP"], "_id | _parent | kostnadKode | kostnad \n 0 | 0 | K2 | 200.00 \n 1 | 0 | K1 | 100.00")


def test_ids_go_on_from_the_batch_before() -> None:
    tables = build(CONTRACT, ORD, rows(**TWO), {"Objektholder": 40, "Pasient": 7})
    same(tables["Objektholder"], "_id | pasientNr \n 40 | p0 \n 41 | p1")
    same(tables["Pasient"], "_id | _parent | kjonn \n 7 | 40 | 1 \n 8 | 41 | 2")


def test_patients_with_nothing_to_tell_in_the_module_are_left_out_of_it() -> None:
    given_rows = rows(
        patients="_patient | pasientNr \n 0 | p0 \n 1 | p1 \n 2 | p2",
        identities="_patient | pasientNr \n 0 | p0 \n 1 | p1 \n 2 | p2",
        episodes="_patient | episodeID \n 2 | e1",
        referrals="_patient | henvisningsperiodeID \n 0 | h1 \n 0 | h2",
        tsb_starts="_patient | behandlingsstartID \n 1 | b1",
    )
    of_ord = with_content(CONTRACT, ORD, given_rows)
    assert of_ord["patients"]["pasientNr"].to_list() == ["p0", "p2"]
    sbs = layout("sbs", "Objektholder", node("Objektholder", None), node("Behandlingsstart", "Objektholder"))
    assert with_content(CONTRACT, sbs, given_rows)["patients"]["pasientNr"].to_list() == ["p1"]
    ide = layout("ide", "PasientIdent", node("PasientIdent", None, "pid fid typeID"))
    assert with_content(CONTRACT, ide, given_rows)["identities"]["pasientNr"].to_list() == ["p0", "p1", "p2"]


def _small(counts: list[tuple[int, int, int, int]]) -> Frames:
    """A delivery of patients with (referrals, episodes, conditions each, procedures each), rows in turned order."""
    found: dict[str, list[dict[str, object]]] = {name: [] for name in CONTRACT.tables}
    for patient, (referrals, episodes, conditions, procedures) in enumerate(counts):
        who = {"_patient": patient, "pasientNr": f"p{patient:02}"}
        found["patients"].append(who)
        found["referrals"] += [
            {**who, "henvisningsperiodeID": f"h{patient}-{n}", "avdelingID": "u"} for n in range(referrals)
        ]
        for number in range(episodes):
            key = {"_patient": patient, "episodeID": f"e{patient}-{number}"}
            found["episodes"].append(
                {**who, **key, "behandlingsstedID": "u", "tjenesteenhetID": "v" if number else None}
            )
            found["contacts"].append(key)
            found["conditions"] += [{**key, "tilstNr": n // 2, "kodeNr": n % 2} for n in range(conditions)]
            found["procedures"] += [
                {**key, "tjenesteNr": n // 4, "tiltakNr": n // 3 % 2, "prosNr": n // 2, "kodeNr": n}
                for n in range(procedures)
            ]
    schemas = {table.name: {"_patient": pl.UInt32(), **dtypes(table)} for table in CONTRACT}
    return {
        name: pl.DataFrame(list(reversed(own)), schema=schemas[name]).with_row_index("_row", offset=1)
        for name, own in found.items()
    }


COUNTS = st.lists(st.tuples(*[st.integers(0, 2)] * 2, *[st.integers(0, 7)] * 2), min_size=1, max_size=5)


@settings(max_examples=10, deadline=None)
@given(counts=COUNTS, cuts=st.sets(st.integers(1, 4)))
def test_batches_together_are_the_whole(counts: list[tuple[int, int, int, int]], cuts: set[int]) -> None:
    delivered = _small(counts)
    whole = build(CONTRACT, ORD, delivered, {})
    parts: dict[str, list[pl.DataFrame]] = {name: [] for name in whole}
    edges = [0, *sorted(cut for cut in cuts if cut < len(counts)), len(counts)]
    for first, last in pairwise(edges):
        batch = {name: rows.filter(pl.col("_patient").is_between(first, last - 1)) for name, rows in delivered.items()}
        next_ids = {name: sum(part.height for part in done) for name, done in parts.items()}
        for name, part in build(CONTRACT, ORD, batch, next_ids).items():
            parts[name].append(part)
    for name, table in whole.items():
        assert pl.concat(parts[name]).equals(table), name


@settings(max_examples=10, deadline=None)
@given(counts=COUNTS)
def test_ids_count_through_and_every_parent_is_there_and_of_the_same_patient(
    counts: list[tuple[int, int, int, int]],
) -> None:
    tables = build(CONTRACT, ORD, _small(counts), {})
    for one in nodes_of_patients(ORD):
        table = tables[one.id]
        assert table["_id"].to_list() == list(range(table.height))
        assert table["_patient"].is_sorted()
        if one.id != ORD.patient and one.parent:
            # In document order: children stand in the order of their parents.
            assert table["_parent"].is_sorted()
            owners = dict(tables[one.parent].select("_id", "_patient").iter_rows())
            assert table["_patient"].to_list() == [owners[parent] for parent in table["_parent"]]
    assert tables["Prosedyre_Kode"].height == sum(episodes * procedures for _, episodes, _, procedures in counts)


@settings(max_examples=6, deadline=None)
@given(counts=COUNTS, turn=st.randoms(use_true_random=False))
def test_the_order_of_the_file_does_not_matter(counts: list[tuple[int, int, int, int]], turn: random.Random) -> None:
    delivered = _small(counts)
    mixed = {name: rows[_shuffled(rows.height, turn)] for name, rows in delivered.items()}
    whole, again = build(CONTRACT, ORD, delivered, {}), build(CONTRACT, ORD, mixed, {})
    assert all(again[name].equals(table) for name, table in whole.items())


def _shuffled(length: int, turn: random.Random) -> list[int]:
    places = list(range(length))
    turn.shuffle(places)
    return places


@pytest.mark.parametrize("module", ["ord", "ide", "sbs"])
def test_the_real_layout_gets_every_node_that_the_contract_has_rows_for(module: str) -> None:
    real = load_layout(module, "54.0.1")
    tables = build(CONTRACT, real, _small([(1, 1, 2, 3)]), {})
    assert set(tables) == {one.id for one in nodes_of_patients(real) if one.id in CONTRACT.classes}
    for name, table in tables.items():
        node_attributes = real.node(name).attributes
        required = {a.name for a in node_attributes if a.use == "required" and a.fixed is None}
        allowed = {a.name for a in node_attributes if a.use != "prohibited"}
        assert required <= {column for column in table.columns if not column.startswith("_")} <= allowed
