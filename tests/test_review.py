"""From findings to what is sent: the verdict against a message, the life over runs, decisions, comparisons."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
import stages
from conftest import ROOT, SAMPLE, Outcome, call
from lxml import etree
from shipment import melding, opened

from assets import baselines, permits
from assets.ports import Options, Run
from assets.rulings import with_overrides
from pipelines.settings import load_settings
from pipelines.workbench import DiskWorkbench
from schemas.errors import DataRefused
from schemas.layouts import load_layout
from schemas.records import Key, Manifest

UNIT = "nordfjell"
Rows = list[dict[str, str]]


class Extract:
    """A copy of the sample extract, to change and write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for path in (SAMPLE / UNIT).iterdir():
            (folder / path.name).write_bytes(path.read_bytes())

    def table(self, name: str) -> Rows:
        with (self.folder / f"{name}.csv").open(encoding="cp1252", newline="") as file:
            return list(csv.DictReader(file, delimiter=";"))

    def write(self, name: str, rows: Rows) -> None:
        with (self.folder / f"{name}.csv").open("w", encoding="cp1252", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter=";")
            writer.writeheader()
            writer.writerows(rows)
        path = self.folder / "extract.toml"
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(rf"(\[files\.{name}\][^\[]*?rows = )\d+", rf"\g<1>{len(rows)}", text), encoding="utf-8")

    def change(self, name: str, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
        self.write(name, [change(row) for row in self.table(name)])

    def leave_out(self, episodes: set[str]) -> None:
        for name in ("episodes", "contacts", "health_personnel", "conditions", "procedures", "costs"):
            self.write(name, [row for row in self.table(name) if row["episodeID"] not in episodes])


def npr(home: Path, *args: str | Path, code: int = 0) -> Any:  # noqa: ANN401 - any JSON value
    outcome: Outcome = call(*args, "--json", home=home)
    assert outcome.code == code, outcome.err
    return outcome.json


def report(home: Path, period: str, extract: Extract) -> Any:  # noqa: ANN401
    return stages.through(stages.opened(home, period, UNIT, Options(extract=extract.folder)))


def opened_run(home: Path, period: str) -> Run:
    settings = load_settings(config=ROOT / "npr.toml", home=home)
    return DiskWorkbench(settings, Options()).open(f"{period}|{UNIT}")


# --- one report with two hundred faults -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Faulty:
    """A run over planted faults. lost: class -> keys of the records that NPR would leave out."""

    home: Path
    summary: Any
    lost: dict[str, set[str]]


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Faulty:
    """A tertial: stays without utTilstand, contacts without condition, and others (some the same) without personnel."""
    folder = tmp_path_factory.mktemp("faulty")
    extract = Extract(folder / "extract")
    within = [row for row in extract.table("episodes") if "2020-01-01" <= row["utDatoTid"][:10] <= "2020-04-30"]
    stays = {row["episodeID"] for row in within if row["omsorgsniva"] == "1"}
    contacts = [row["episodeID"] for row in within if row["omsorgsniva"] == "3"]
    no_code, no_person = set(contacts[:90]), set(contacts[60:150])
    extract.change("episodes", lambda row: row | ({"utTilstand": ""} if row["episodeID"] in stays else {}))
    extract.change("procedures", lambda row: row | ({"tilstNr": ""} if row["episodeID"] in no_code else {}))
    for name, without in (("conditions", no_code), ("health_personnel", no_person)):
        extract.write(name, [row for row in extract.table(name) if row["episodeID"] not in without])
    right = [
        row for row in extract.table("referrals") if row["rettTilHelsehjelp"] == "3" and row["fristStartBehandling"]
    ]
    no_deadline = {next(row for row in right if "2020-01" <= row["vurdDato"] < "2020-03-20")["henvisningsperiodeID"]}
    extract.change(
        "referrals",
        lambda row: row | ({"fristStartBehandling": ""} if row["henvisningsperiodeID"] in no_deadline else {}),
    )
    home = folder / "var"
    lost = {"Episode": stays | no_code, "Kontakt": no_person, "Henvisningsperiode": no_deadline}
    return Faulty(home, report(home, "2020-T1", extract), lost)


def test_the_verdict_is_what_is_left_of_the_message(faulty: Faulty) -> None:
    """An independent reading of the message: elements of lost records are taken out, and the rest is counted."""
    (part,) = [part for part in faulty.summary["shipments"] if part["module"] == "ord"]
    message = melding(opened(Path(part["path"]), faulty.home))
    lost: Counter[str] = Counter()
    for element in list(message.iter("{*}Episode", "{*}Kontakt", "{*}Henvisningsperiode")):
        name, parent = etree.QName(element).localname, element.getparent()
        assert parent is not None
        key = parent.get("episodeID") if name == "Kontakt" else element.get(f"{name[0].lower()}{name[1:]}ID")
        if key in faulty.lost[name]:
            parent.remove(element)
            lost[name] += 1
    (told,) = npr(faulty.home, "verdict", "2020-T1", "--unit", UNIT)
    kept = {row["class"]: row["kept"] for row in told["classes"] if row["module"] == "ord"}
    assert kept == _counted(message)
    total = next(row for row in told["classes"] if row["class"] == "Episode")
    assert (lost["Episode"], lost["Kontakt"], lost["Henvisningsperiode"]) == (total["dropped"], 90, 1)
    assert told["sentence"] == (
        f"NPR would keep {total['kept']} of {total['rows']} episodes; {lost['Episode']} are lost to 2 rules."
    )
    assert sum(row["rows"] for row in told["lost"]["by_rule"]) == sum(row["dropped"] for row in told["classes"])
    assert {row["rule"]: row["records"] for row in told["overrides"]} == {
        "DX-01": 90,
        "EPI-10": 60,  # 30 more lie in episodes that are lost already
        "EPI-20": lost["Episode"] - 90,
        "WAIT-17": 1,
    }
    (listed,) = npr(faulty.home, "findings", "2020-T1", "--unit", UNIT, "--by", "rule")
    assert {row["rule"]: row["below"] for row in listed["findings"] if row["below"]} == {"DX-01": 30}


def _counted(message: etree._Element) -> dict[str, int]:
    """Elements by class table; a class that stands in several places is told with its parent."""
    names = {node.id for node in load_layout("ord", "54.0.1").nodes}
    found: Counter[str] = Counter()
    for element in message.iter():
        own = etree.QName(element).localname
        parent = element.getparent()
        below = f"{etree.QName(parent).localname}_{own}" if parent is not None else own
        found[below if below in names else own] += 1
    return dict(found)


def test_what_is_not_checked_against_a_list_is_told_apart(faulty: Faulty) -> None:
    home = faulty.home
    (told,) = npr(home, "verdict", "2020-T1", "--unit", UNIT)
    assert told["not_checked"]["rows"]["DX-03"] > 0
    text = call("verdict", "2020-T1", "--unit", UNIT, home=home).out
    assert "not checked against a list: " in text
    assert text.splitlines()[0].startswith("2020-T1 nordfjell: NPR would keep ")
    assert "npr override 2020-T1 EPI-20 --unit nordfjell --count" in " ".join(text.split())


def test_findings_are_told_by_rule_department_and_one_by_one(faulty: Faulty) -> None:
    home = faulty.home
    (single,) = npr(home, "findings", "2020-T1", "--unit", UNIT)
    (by_rule,) = npr(home, "findings", "2020-T1", "--unit", UNIT, "--by", "rule")
    (by_department,) = npr(home, "findings", "2020-T1", "--unit", UNIT, "--by", "department")
    open_ones = Counter(row["rule"] for row in single["findings"])
    assert {row["rule"]: row["open"] for row in by_rule["findings"]} == open_ones
    assert sum(row["open"] for row in by_department["findings"]) == sum(open_ones.values())
    assert all(row["enhet"] for row in by_department["findings"])
    assert single["counts"] == {"new": sum(open_ones.values()), "persisting": 0, "resolved": 0, "waived": 0}
    for args in ([], ["--by", "rule"], ["--by", "department"]):
        assert "DX-01" in call("findings", "2020-T1", "--unit", UNIT, *args, home=home).out


def test_explain_tells_the_rule_and_the_fields_of_a_record_and_no_identity(
    faulty: Faulty,
) -> None:
    home = faulty.home
    (listed,) = npr(home, "findings", "2020-T1", "--unit", UNIT)
    finding = next(row for row in listed["findings"] if row["rule"] == "EPI-20")
    told = npr(home, "explain", "EPI-20", "--record", finding["record"])
    assert all(told[name] for name in ("text_no", "text_en", "source", "basis", "expression", "fix"))
    (one,) = told["records"]
    assert one["file"] == "episodes.csv"
    assert one["row"] == finding["_row"]
    assert one["fields"] == {"omsorgsniva": "1", "utDatoTid": one["fields"]["utDatoTid"], "utTilstand": None}
    path = home / f"lake/staging/episodes/period=2020-T1/unit={UNIT}/data.parquet"
    row = pl.read_parquet(path).filter(pl.col("_row") == finding["_row"]).row(0, named=True)
    same = npr(home, "explain", "EPI-20", "--record", row["episodeID"])
    assert same == told
    text = call("explain", "EPI-20", "--record", finding["fingerprint"], home=home).out
    assert "utTilstand = (empty)" in text
    assert row["pasientNr"] not in text + json.dumps(told)
    assert npr(home, "explain", "EPI-21", "--record", finding["record"], code=1)
    assert call("explain", "EPI-2O", home=home).code == 2


# --- over several runs ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def months(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Extract]:
    """February as delivered but for nine episodes, then March with these, without three others and five changed."""
    folder = tmp_path_factory.mktemp("months")
    home, extract = folder / "var", Extract(folder / "extract")
    january = sorted(
        row["episodeID"]
        for row in extract.table("episodes")
        if row["innDatoTid"] >= "2020-01-01" and row["utDatoTid"] and row["utDatoTid"] < "2020-02-25"
    )
    late, gone, changed = set(january[:9]), set(january[9:12]), set(january[12:17])
    first = Extract(folder / "first")
    first.leave_out(late)
    report(home, "2020-M02", first)
    extract.leave_out(gone)
    extract.change("episodes", lambda row: row | ({"debitor": "99"} if row["episodeID"] in changed else {}))
    report(home, "2020-M03", extract)
    return home, extract


def test_late_changed_and_vanished_since_the_previous_report(months: tuple[Path, Extract]) -> None:
    home, _ = months
    (told,) = npr(home, "verdict", "2020-M03", "--unit", UNIT)
    overlap = {kind: told["overlap"][kind] for kind in ("late", "changed", "vanished")}
    assert overlap == {"late": 9, "changed": 5, "vanished": 3}
    assert told["overlap"]["against"] == "2020-M02 submission 1 (handed over)"
    with duckdb.connect(str(home / "npr.duckdb"), read_only=True) as db:
        rows = db.execute(
            "select kind, count(*) from finding.overlap where period = '2020-M03' group by 1 order by 1"
        ).fetchall()
    assert dict(rows) == overlap


def test_open_findings_go_over_into_the_next_period_and_the_same_run_changes_nothing(
    months: tuple[Path, Extract],
) -> None:
    home, extract = months
    (february,) = npr(home, "findings", "2020-M02", "--unit", UNIT)
    (march,) = npr(home, "findings", "2020-M03", "--unit", UNIT)
    before = {row["fingerprint"] for row in february["findings"]}
    carried = {row["fingerprint"] for row in march["findings"] if row["status"] == "persisting"}
    assert carried
    assert carried <= before
    assert {row["first_period"] for row in march["findings"] if row["status"] == "persisting"} == {"2020-M02"}
    tables = sorted((home / "lake" / "finding").rglob("*period=2020-M03*/unit=*/data.parquet"))
    assert len(tables) >= 10
    content = {path: pl.read_parquet(path) for path in tables}
    kept = {path: path.read_bytes() for path in (home / "submissions").rglob("kept/*")}
    names = {"classes.parquet", "episode_keys.parquet", "figures.json"}
    assert {path.name for path in kept} == names, {path.name for path in kept}
    assert len(kept) == 2 * len(names)
    report(home, "2020-M03", extract)
    for path, frame in content.items():
        assert pl.read_parquet(path).equals(frame), path
    assert {path: path.read_bytes() for path in (home / "submissions").rglob("kept/*")} == kept


def test_waivers_have_an_end_and_can_be_taken_back(months: tuple[Path, Extract]) -> None:
    home, _ = months
    waive = ("waive", "2020-M02", "WAIT-04", "--unit", UNIT, "--by", "Kari Analytiker", "--why", "known")
    assert npr(home, *waive, "--until", "2020-06-30")["findings"] > 0
    assert npr(home, "findings", "2020-M02", "--unit", UNIT, "--status", "waived")[0]["counts"]["waived"] == 0
    npr(home, *waive)
    # Waived in February, and so in March.
    (march,) = npr(home, "findings", "2020-M03", "--unit", UNIT, "--status", "waived")
    assert {row["rule"] for row in march["findings"]} == {"WAIT-04"}
    assert {row["waived_by"] for row in march["findings"]} == {"Kari Analytiker"}
    with duckdb.connect(str(home / "npr.duckdb"), read_only=True) as db:
        rows = db.execute(
            "select distinct waived_by from finding.work_list where period = '2020-M02' and status = 'waived'"
        ).fetchall()
    assert rows == [("Kari Analytiker",)]
    npr(home, *waive, "--withdraw")
    assert npr(home, "findings", "2020-M03", "--unit", UNIT)[0]["counts"]["waived"] == 0
    assert call("waive", "2020-M02", "NO-SUCH", "--unit", UNIT, "--by", "K A", "--why", "x", home=home).code == 2


def test_records_are_lost_only_by_an_override_for_as_many(faulty: Faulty) -> None:
    home = faulty.home
    run = opened_run(home, "2020-T1")
    manifest = run.store.load("manifest", run.key, Manifest).model_copy(update={"profile": "production"})
    assert set(manifest.dropped) == {"DX-01", "EPI-10", "EPI-20", "WAIT-17"}

    def given(rule: str, count: int) -> None:
        npr(
            home,
            "override",
            "2020-T1",
            rule,
            "--unit",
            UNIT,
            "--count",
            str(count),
            "--by",
            "Ola Leder",
            "--why",
            "agreed",
        )

    def refusal() -> DataRefused:
        with pytest.raises(DataRefused) as stopped:
            permits.insist_overridden(manifest, permits.overrides(run, manifest.dropped))
        return stopped.value

    lost = manifest.dropped["EPI-20"]
    assert f"npr override 2020-T1 EPI-20 --unit {UNIT} --count {lost} --by NAME --why TEXT" in refusal().fix
    given("EPI-20", lost - 1)
    assert f"EPI-20: {lost} records, override by Ola Leder" in refusal().where
    assert "too few" in refusal().where
    with pytest.raises(DataRefused):
        permits.insist_allowed(manifest, permits.overrides(run, manifest.dropped))
    for rule, count in manifest.dropped.items():
        given(rule, count)
    taken = permits.overrides(run, manifest.dropped)
    permits.insist_overridden(manifest, taken)
    permits.insist_allowed(manifest, taken)
    ruling = next(one for one in with_overrides(manifest.rulings, taken) if one.requirement == "REQ-CONTENT")
    assert ruling.verdict == "warn"
    assert f"EPI-20: {lost} records, override by Ola Leder" in ruling.text
    assert (
        call(
            "override", "2020-T1", "WAIT-04", "--unit", UNIT, "--count", "1", "--by", "K A", "--why", "x", home=home
        ).code
        == 2
    )


def test_all_stays_on_one_site_and_a_short_report_stop_until_a_named_person_confirms(
    months: tuple[Path, Extract], tmp_path: Path
) -> None:
    home, _ = months
    extract = Extract(tmp_path / "extract")
    extract.leave_out({row["episodeID"] for row in extract.table("episodes")[::2]})
    extract.change("episodes", lambda row: row | ({"behandlingsstedID": "B1"} if row["omsorgsniva"] == "1" else {}))
    report(home, "2020-T1", extract)
    run = opened_run(home, "2020-T1")
    manifest = run.store.load("manifest", run.key, Manifest)

    def refusal() -> DataRefused:
        with pytest.raises(DataRefused) as stopped:
            baselines.insist_confirmed(run, manifest)
        return stopped.value

    def confirm(guard: str) -> tuple[str, ...]:
        decided = ("--by", "Kari Analytiker", "--why", "B2 is closed")
        return ("confirm", "2020-T1", "--unit", UNIT, "--guard", guard, *decided)

    assert re.search(r"UNIT-11: all \d+ inpatient stays on treatment site B1; 2020-M03 submission 1", refusal().where)
    assert re.search(r"\d+ episodes, \d+ in 2020-M03 submission 1 \(handed over\): \d+ % fewer", refusal().where)
    (told,) = npr(home, "verdict", "2020-T1", "--unit", UNIT)
    assert {row["guard"] for row in told["guards"] if row["status"] == "stop"} == {"site", "fall"}
    assert call(*confirm("month"), home=home).code == 2
    npr(home, *confirm("site"))
    assert "UNIT-11" not in refusal().where
    npr(home, *confirm("fall"))
    baselines.insist_confirmed(run, manifest)
    (told,) = npr(home, "verdict", "2020-T1", "--unit", UNIT)
    assert {row["guard"] for row in told["guards"] if row["status"] == "confirmed"} == {"site", "fall"}
    earlier = run.store.kept(Key(period="2020-M03", unit=UNIT), 1) / baselines.FIGURES
    table = pl.DataFrame({"dimension": ["records"], "value": ["episodes"], "n": [10**9]})
    old = earlier.with_name(baselines.OLD_FIGURES)
    table.write_parquet(old)  # as it was kept before
    assert f"{10**9} in 2020-M03 submission 1" in refusal().where
    old.write_bytes(b"no table")
    assert "no figures to compare" in refusal().what
    old.unlink()
    earlier.rename(earlier.with_name("away"))
    assert refusal().what.startswith(f"submission 1 of 2020-M03 {UNIT} has no figures to compare")
    assert "backup" in refusal().fix
    folder = run.store.kept(run.key, manifest.submission)
    folder.rename(folder.with_name("away"))
    assert refusal().what.startswith(f"submission {manifest.submission} of {run.key} has no figures to compare")
    assert f"npr run 2020-T1 --unit {UNIT}" in refusal().fix


def test_tables_of_findings_have_comments(months: tuple[Path, Extract]) -> None:
    home, _ = months
    with duckdb.connect(str(home / "npr.duckdb"), read_only=True) as db:
        views = dict(
            db.execute("select view_name, comment from duckdb_views() where schema_name = 'finding'").fetchall()
        )
    wanted = {"findings", "ledger", "work_list", "waivers", "verdict", "lost", "waiting_list", "guards", "overlap"}
    assert wanted <= set(views)
    assert all(views[name] for name in wanted)
