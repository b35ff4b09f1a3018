"""Renders the same class tables three ways, in turns, and compares CPU time: ours, lxml tree, lxml xmlfile.

Belongs here: a seeded table maker shaped like an activity report, the two peers as a careful engineer would write
them, and the measuring. Does not belong here: real data, and anything the product needs.

Every way starts from the same polars tables and ends with the bytes of all patients in memory. The outputs are compared
in canonical form (C14N) before anything is measured. Exit code 1 when a goal is missed or the outputs differ.
"""

from __future__ import annotations

import gc
import hashlib
import io
import json
import platform
import resource
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import polars as pl
from lxml import etree

sys.path.insert(0, str(Path(__file__).parents[1]))

from schemas.layout import Attribute, Layout, Node
from transforms.message.render import render_patients

GOALS = {"lxml tree": 15.0, "lxml xmlfile": 5.0}
OURS = "render_patients"
SEED = 20201

Tables = dict[str, pl.DataFrame]
Seconds = dict[str, list[float]]
Renderer = Callable[[Layout, Tables], bytes | memoryview]

# --- layout and tables: names from the register's model, numbers of rows near those of somatic hospitals


def _node(node_id: str, parent: str | None, names: str) -> Node:
    """``names``: attributes, a question mark after those that may be absent."""
    marked = names.split()
    uses = [(name.rstrip("?"), "optional" if name.endswith("?") else "required") for name in marked]
    attributes = tuple(Attribute(name, "string", use) for name, use in uses)
    return Node(node_id, node_id.rpartition("_")[2], parent, 0, None, attributes)


def make_layout() -> Layout:
    """The part of an activity report that stands below one patient."""
    kode = "kodeNr Kodeverk kodeVersjon kodeVerdi"
    episode = (
        "episodeID henvisningsperiodeID? fraInstitusjonID? innDatoTid utDatoTid? fraSted? tilSted? debitor komNrHjem "
        "inntilstand utTilstand? innmateHast omsorgsniva"
    )
    henvisning = (
        "henvisningsperiodeID henvType fagomrade mottaksDato ansienDato vurdDato? ventetidSluttDato? sluttDato?"
    )
    nodes = (
        _node("Objektholder", None, "pasientNr"),
        _node("Pasient", "Objektholder", "pasientNr kjonn fodselsar"),
        _node("Henvisning", "Objektholder", henvisning),
        _node("Episode", "Objektholder", episode),
        _node("Kontakt", "Episode", "kontaktType stedAktivitet"),
        _node("Kontakt_Helseperson", "Kontakt", "polUtforende spesialist? helsepersonHPR?"),
        _node("RefEnhet", "Episode", "enhetID typeEnhet"),
        _node("Tilstand", "Episode", "tilstNr"),
        _node("Tilstand_Kode", "Tilstand", kode),
        _node("Tjeneste", "Episode", "startDatoTid sluttDatoTid?"),
        _node("Tiltak", "Tjeneste", "typeTiltak startDatoTid"),
        _node("Prosedyre", "Tiltak", "prosNr tilstNr?"),
        _node("Prosedyre_Kode", "Prosedyre", kode),
    )
    return Layout("ord", "bench", "urn:bench", "Objektholder", nodes, Path(), "", official=False)


class Maker:
    """Makes columns and child tables from one seeded generator."""

    def __init__(self) -> None:
        """Seed the generator."""
        self.random = np.random.default_rng(SEED)

    def child(self, parents: pl.DataFrame, shares: list[float]) -> pl.DataFrame:
        """Keys of a child table; ``shares[k]`` of the parents have ``k`` children."""
        count = self.random.choice(len(shares), parents.height, p=shares)
        parent = np.repeat(parents["_id"].to_numpy(), count)
        return pl.DataFrame({"_id": np.arange(1, len(parent) + 1), "_parent": parent})

    def coded(self, rows: int, values: list[str], missing: float = 0.0) -> pl.Series:
        """One of the values, null in a share of the rows."""
        return self._thin(pl.Series(values).gather(self.random.integers(0, len(values), rows)), missing)

    def number(self, rows: int, digits: int, missing: float = 0.0) -> pl.Series:
        """Texts of digits."""
        numbers = self.random.integers(10 ** (digits - 1), 10**digits, rows)
        return self._thin(pl.Series(numbers).cast(pl.String), missing)

    def day(self, rows: int, missing: float = 0.0) -> pl.Series:
        """Days of 2020."""
        return self._thin(pl.Series(self.random.integers(18_262, 18_628, rows)).cast(pl.Int32).cast(pl.Date), missing)

    def minute(self, rows: int, missing: float = 0.0) -> pl.Series:
        """Minutes of 2020."""
        ticks = self.random.integers(18_262 * 1_440, 18_628 * 1_440, rows) * 60_000
        return self._thin(pl.Series(ticks).cast(pl.Datetime("ms")), missing)

    def _thin(self, column: pl.Series, missing: float) -> pl.Series:
        if not missing:
            return column
        gone = pl.Series(self.random.random(len(column)) < missing)
        return pl.select(pl.when(~gone).then(column)).to_series()

    def kode(self, parents: pl.DataFrame, verk: list[str], codes: list[str], second: float) -> pl.DataFrame:
        """Codes of conditions or procedures; a share of the parents has two."""
        keys = self.child(parents, [0, 1 - second, second])
        rank = pl.int_range(1, pl.len() + 1).over("_parent").cast(pl.Int32)
        return keys.with_columns(
            kodeNr=rank,
            Kodeverk=self.coded(keys.height, verk),
            kodeVersjon=pl.lit("2020"),
            kodeVerdi=self.coded(keys.height, codes),
        )


def make_tables(episodes: int) -> Tables:
    """Class tables of one batch: 5 episodes for each patient, 0.3 referrals, 1.6 conditions, 1.2 procedures."""
    make = Maker()
    patients = max(1, episodes // 5)
    holder = pl.DataFrame({"_id": np.arange(1, patients + 1)}).with_columns(pasientNr=make.number(patients, 10))
    tables = {"Objektholder": holder} | _patient_tables(make, holder)
    parent = np.sort(make.random.integers(1, patients + 1, episodes))
    episode = pl.DataFrame({"_id": np.arange(1, episodes + 1), "_parent": parent})
    tables["Episode"] = episode.with_columns(
        episodeID=make.number(episodes, 12),
        henvisningsperiodeID=make.number(episodes, 10, 0.3),
        fraInstitusjonID=make.number(episodes, 9, 0.9),
        innDatoTid=make.minute(episodes),
        utDatoTid=make.minute(episodes, 0.05),
        fraSted=make.coded(episodes, ["1", "2", "3"], 0.4),
        tilSted=make.coded(episodes, ["1", "2", "3"], 0.4),
        debitor=make.coded(episodes, ["1", "11", "20"]),
        komNrHjem=make.coded(episodes, [str(number) for number in range(1101, 1149)]),
        inntilstand=make.coded(episodes, ["1", "2"]),
        utTilstand=make.coded(episodes, ["1", "2", "3"], 0.1),
        innmateHast=make.coded(episodes, ["1", "2", "3", "4", "5"]),
        omsorgsniva=make.coded(episodes, ["1", "2", "3"]),
    )
    return tables | _episode_tables(make, tables["Episode"])


def _patient_tables(make: Maker, holder: pl.DataFrame) -> Tables:
    pasient = make.child(holder, [0, 1])
    referral = make.child(holder, [0.2, 0.3, 0.3, 0.2])
    rows, referrals = pasient.height, referral.height
    years = pl.Series(make.random.integers(1930, 2020, rows))
    return {
        "Pasient": pasient.with_columns(
            pasientNr=holder["pasientNr"], kjonn=make.coded(rows, ["1", "2"]), fodselsar=years
        ),
        "Henvisning": referral.with_columns(
            henvisningsperiodeID=make.number(referrals, 10),
            henvType=make.coded(referrals, ["1", "2", "3"]),
            fagomrade=make.coded(referrals, ["010", "020", "050", "220", "300"]),
            mottaksDato=make.day(referrals),
            ansienDato=make.day(referrals),
            vurdDato=make.day(referrals, 0.2),
            ventetidSluttDato=make.day(referrals, 0.4),
            sluttDato=make.day(referrals, 0.6),
        ),
    }


def _episode_tables(make: Maker, episode: pl.DataFrame) -> Tables:
    kontakt = make.child(episode, [0, 1])
    person = make.child(kontakt, [0.05, 0.85, 0.1])
    unit = make.child(episode, [0, 0, 0, 0.95, 0.05])
    condition = make.child(episode, [0.02, 0.58, 0.25, 0.1, 0.05])
    units = [f"E{number}" for number in range(4_000, 4_400)]
    icd = [f"{chapter}{number}" for chapter in "ABCDEFGHIJKLMNZ" for number in range(100, 999, 7)]
    return {
        "Kontakt": kontakt.with_columns(
            kontaktType=make.coded(kontakt.height, ["1", "2", "5"]),
            stedAktivitet=make.coded(kontakt.height, ["1", "4"]),
        ),
        "Kontakt_Helseperson": person.with_columns(
            polUtforende=make.coded(person.height, ["1", "2", "3", "8"]),
            spesialist=make.coded(person.height, ["1", "2"], 0.2),
            helsepersonHPR=make.number(person.height, 7, 0.1),
        ),
        "RefEnhet": unit.with_columns(
            enhetID=make.coded(unit.height, units), typeEnhet=make.coded(unit.height, ["1", "2", "7"])
        ),
        "Tilstand": condition.with_columns(tilstNr=pl.int_range(1, pl.len() + 1).over("_parent").cast(pl.Int32)),
        "Tilstand_Kode": make.kode(condition, ["D"], icd, 0.04),
    } | _service_tables(make, episode)


def _service_tables(make: Maker, episode: pl.DataFrame) -> Tables:
    service = make.child(episode, [0.4, 0.6])
    measure = make.child(service, [0, 0.9, 0.1])
    procedure = make.child(measure, [0.05, 0.4, 0.3, 0.15, 0.1])
    codes = [f"{letters}{number}" for letters in ("WDAG", "NFB", "JAH", "ZTX", "RXG") for number in range(10, 99)]
    return {
        "Tjeneste": service.with_columns(
            startDatoTid=make.minute(service.height), sluttDatoTid=make.minute(service.height, 0.3)
        ),
        "Tiltak": measure.with_columns(
            typeTiltak=make.coded(measure.height, ["1", "2"]), startDatoTid=make.minute(measure.height)
        ),
        "Prosedyre": procedure.with_columns(
            prosNr=pl.int_range(1, pl.len() + 1).over("_parent").cast(pl.Int32),
            tilstNr=make.coded(procedure.height, ["1"], 0.5),
        ),
        "Prosedyre_Kode": make.kode(procedure, ["K", "M", "Q"], codes, 0.02),
    }


# --- the peers

Row = tuple[object, dict[str, str]]
Rows = dict[str, dict[object, list[Row]]]


def _rows_by_parent(layout: Layout, tables: Tables) -> Rows:
    """For each class the rows under each parent, grouped once; values made text by polars, which is fastest."""
    return {node.id: _grouped(node, tables[node.id]) for node in layout.nodes if node.id in tables}


def _grouped(node: Node, frame: pl.DataFrame) -> dict[object, list[Row]]:
    names = [attribute.name for attribute in node.attributes if attribute.name in frame.columns]
    moment = pl.col(pl.Datetime).dt.to_string("%Y-%m-%dT%H:%M:%S")
    texts = frame.select(names).with_columns(moment).with_columns(pl.all().cast(pl.String))
    values = (dict(zip(names, row, strict=True)) for row in texts.iter_rows())
    if any(texts.null_count().row(0)):
        values = ({name: value for name, value in row.items() if value is not None} for row in values)
    parents = frame["_parent"].to_list() if "_parent" in frame.columns else [None] * frame.height
    groups: dict[object, list[Row]] = defaultdict(list)
    for parent, own, attributes in zip(parents, frame["_id"].to_list(), values, strict=True):
        groups[parent].append((own, attributes))
    return groups


def _below(layout: Layout, rows: Rows) -> dict[str, list[Node]]:
    return {node.id: [child for child in layout.children(node.id) if child.id in rows] for node in layout.nodes}


def lxml_tree(layout: Layout, tables: Tables) -> bytes:
    """All patients as one element tree, then as text."""
    rows = _rows_by_parent(layout, tables)
    below = _below(layout, rows)
    sub_element = etree.SubElement

    def fill(element: etree._Element, children: list[Node], own: object) -> None:
        for child in children:
            deeper = below[child.id]
            for key, attributes in rows[child.id].get(own, ()):
                made = sub_element(element, child.name, attributes)
                if deeper:
                    fill(made, deeper, key)

    root = etree.Element("Melding")
    fill(root, [layout.node(layout.patient)], None)
    return etree.tostring(root, encoding="UTF-8")


def lxml_xmlfile(layout: Layout, tables: Tables) -> bytes:
    """Written element by element, without a tree."""
    rows = _rows_by_parent(layout, tables)
    below = _below(layout, rows)
    target = io.BytesIO()
    with etree.xmlfile(target, encoding="UTF-8") as out:
        element = out.element

        def write(children: list[Node], own: object) -> None:
            for child in children:
                deeper = below[child.id]
                for key, attributes in rows[child.id].get(own, ()):
                    with element(child.name, attributes):
                        if deeper:
                            write(deeper, key)

        with element("Melding"):
            write([layout.node(layout.patient)], None)
    return target.getvalue()


def ours(layout: Layout, tables: Tables) -> memoryview:
    """The product's renderer."""
    return render_patients(layout, tables).data


# --- measuring


def canonical_digest(rendered: bytes | memoryview) -> str:
    """SHA-256 of the C14N form below one root."""
    text = bytes(rendered)
    if not text.startswith(b"<Melding") and not text.startswith(b"<?xml"):
        text = b"<Melding>" + text + b"</Melding>"
    parser = etree.XMLParser(huge_tree=True, resolve_entities=False, no_network=True)
    canonical = etree.tostring(etree.fromstring(text, parser), method="c14n")
    return hashlib.sha256(canonical).hexdigest()


def peak_mib() -> int:
    """Highest resident memory of this process so far (Linux counts KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def timed(way: Renderer, layout: Layout, tables: Tables) -> tuple[float, float]:
    """CPU seconds of all threads: user and system together, and user alone.

    The garbage collector is off, as in timeit: it costs the peers, who make millions of objects, up to a third more.
    """
    gc.collect()
    gc.disable()
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_utime, time.process_time()
    rendered = way(layout, tables)
    both, user = time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_utime - before
    gc.enable()
    del rendered
    return both, user


def measure(ways: Mapping[str, Renderer], layout: Layout, tables: Tables, rounds: int) -> tuple[Seconds, Seconds]:
    """For each way one figure for each round, of both kinds of ``timed``; the ways take turns."""
    both: Seconds = {name: [] for name in ways}
    user: Seconds = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            figures = timed(way, layout, tables)
            both[name].append(figures[0])
            user[name].append(figures[1])
    return both, user


def compare(seconds: Seconds) -> dict[str, float]:
    """For each peer the median of the ratios of pairs: its CPU time over ours in the same round."""
    own = seconds[OURS]
    return {
        peer: statistics.median(theirs / mine for theirs, mine in zip(seconds[peer], own, strict=True))
        for peer in GOALS
    }


def run(episodes: int, rounds: int) -> dict[str, object]:
    """Everything, as one record."""
    layout, tables = make_layout(), make_tables(episodes)
    ways: dict[str, Renderer] = {OURS: ours, "lxml tree": lxml_tree, "lxml xmlfile": lxml_xmlfile}
    memory = {"tables made": peak_mib()}
    first, _ = timed(ours, layout, tables)
    memory["after the first own call"] = peak_mib()
    digests = {name: canonical_digest(way(layout, tables)) for name, way in ways.items()}
    both, user = measure(ways, layout, tables, rounds)
    memory["whole run, trees of lxml included"] = peak_mib()
    equal, ratios = len(set(digests.values())) == 1, compare(both)
    return {
        "episodes": episodes,
        "rows": {name: frame.height for name, frame in tables.items()},
        "bytes": len(ours(layout, tables)),
        "canonical_equal": equal,
        "reached": equal and all(ratios[peer] >= goal for peer, goal in GOALS.items()),
        "goals": GOALS,
        "ratio_median_of_pairs": ratios,
        "ratio_user_alone": compare(user),
        "cpu_first_call": first,
        "cpu_median": {name: statistics.median(figures) for name, figures in both.items()},
        "cpu_all": both,
        "cpu_user_all": user,
        "peak_rss_mib": memory,
        "versions": {"python": platform.python_version(), "polars": pl.__version__, "lxml": etree.__version__},
        "threads": pl.thread_pool_size(),
    }


def _lines(record: dict[str, Any]) -> list[str]:
    """The record for a reader."""
    user = record["ratio_user_alone"]
    return [
        f"{record['episodes']} episodes, {record['bytes']} bytes, canonical equal: {record['canonical_equal']}",
        *(f"{name:16} {seconds:8.3f} CPU s (median)" for name, seconds in record["cpu_median"].items()),
        f"{OURS:16} {record['cpu_first_call']:8.3f} CPU s (first call)",
        *(
            f"{ratio:6.1f}x against {peer}, median pair (goal {GOALS[peer]:g}x); {user[peer]:.1f}x in user time"
            for peer, ratio in record["ratio_median_of_pairs"].items()
        ),
        *(f"peak RSS {mib} MiB: {when}" for when, mib in record["peak_rss_mib"].items()),
        "goals reached" if record["reached"] else "GOALS MISSED",
    ]


@click.command()
@click.option("--episodes", type=click.IntRange(1), default=100_000, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON record instead of text.")
def main(episodes: int, rounds: int, *, as_json: bool) -> None:
    """Measure the renderer against lxml."""
    record = run(episodes, rounds)
    click.echo(json.dumps(record, indent=2) if as_json else "\n".join(_lines(record)))
    sys.exit(0 if record["reached"] else 1)


if __name__ == "__main__":
    main()
