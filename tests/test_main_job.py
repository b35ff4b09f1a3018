"""The main job on the sample: what a data engineer gets from one command."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pytest
from conftest import ROOT, SAMPLE, Finished, call, call_process
from shipment import melding, opened, patients

from schemas import rulebook
from schemas.layouts import load_layout
from schemas.xsd import compile_with_head, validate_stream

if TYPE_CHECKING:
    from lxml import etree

pytestmark = pytest.mark.xdist_group("main_job")


def _messages(summary: dict[str, Any], home: Path) -> dict[str, list[etree._Element]]:
    found: dict[str, list[etree._Element]] = {}
    for part in summary["shipments"]:
        found.setdefault(part["module"], []).append(melding(opened(Path(part["path"]), home)))
    return found


def test_leaves_ord_ide_and_sbs_for_the_tertial(finished: Finished) -> None:
    for summary in finished.summaries:
        assert {part["module"] for part in summary["shipments"]} == {"ord", "ide", "sbs"}


def test_the_json_names_what_the_issue_of_the_run_is(finished: Finished) -> None:
    summary = finished.summaries[0]
    wanted = {"period", "unit", "rows", "messages", "shipments", "findings", "unchecked", "nprid_reg", "manifest"}
    assert set(summary) == wanted
    assert set(summary["rows"]["episodes"]) == {"in", "reported", "out_of_scope", "quarantined"}
    assert set(summary["messages"][0]) == {"module", "version", "patients", "records", "bytes", "sha256"}
    wanted = {"module", "part", "parts", "packed_bytes", "limit_bytes", "patients", "path", "sha256"}
    assert set(summary["shipments"][0]) == wanted
    assert set(summary["findings"]) == {"drop_message", "drop_record", "blank_value", "report_only"}
    assert json.loads(Path(summary["manifest"]).read_text(encoding="utf-8"))["version"] == 1


def test_rows_in_are_reported_or_out_of_scope_or_quarantined(finished: Finished) -> None:
    delivered = {"nordfjell": {}, "sorvik": {}}  # type: dict[str, dict[str, int]]
    for unit, rows in delivered.items():
        for name, text in re.findall(
            r"\[files\.(\w+)\][^\[]*?rows = (\d+)", (SAMPLE / unit / "extract.toml").read_text("utf-8")
        ):
            rows[name] = int(text)
        for table, figures in finished.unit(unit)["rows"].items():
            assert figures["in"] == rows.get(table, 0)
            assert figures["in"] == figures["reported"] + figures["out_of_scope"] + figures["quarantined"]


def test_the_file_on_disk_is_what_the_summary_says(finished: Finished) -> None:
    for summary in finished.summaries:
        for part in summary["shipments"]:
            content = Path(part["path"]).read_bytes()
            assert len(content) == part["packed_bytes"] <= part["limit_bytes"] == 10_000_000
            assert hashlib.sha256(content).hexdigest() == part["sha256"]


def test_every_part_is_valid_and_carries_the_right_head(finished: Finished) -> None:
    for summary in finished.summaries:
        for part in summary["shipments"]:
            document = opened(Path(part["path"]), finished.home)
            layout = load_layout(part["module"], "54.0.1")
            assert validate_stream(compile_with_head(layout), [document]) == []
            message = melding(document)
            assert message.tag == f"{{http://www.npr.no/xmlstds/54_0_1_{part['module']}}}Melding"
            assert (message.get("fraDatoPeriode"), message.get("tilDatoPeriode")) == ("2020-01-01", "2020-04-30")
            assert f'V="NPR_{part["module"].upper()}"'.encode() in document


def test_ide_holds_exactly_the_patients_of_the_activity(finished: Finished) -> None:
    for summary in finished.summaries:
        found = _messages(summary, finished.home)
        identified = set(patients(found["ide"][0]))
        assert identified == set(patients(found["ord"][0])) | set(patients(found["sbs"][0]))


def test_the_message_digest_is_that_of_the_body_of_an_unsplit_message(finished: Finished) -> None:
    for summary in finished.summaries:
        for message in summary["messages"]:
            part = next(p for p in summary["shipments"] if p["module"] == message["module"])
            document = opened(Path(part["path"]), finished.home)
            body = document[document.index(b"<Melding") : document.index(b"</Content>")]
            assert hashlib.sha256(body).hexdigest() == message["sha256"]
            assert len(body) == message["bytes"]


def test_reported_rows_stand_in_the_message(finished: Finished) -> None:
    for summary in finished.summaries:
        (message,) = _messages(summary, finished.home)["ord"]
        rows = summary["rows"]
        assert sum(1 for _ in message.iter("{*}Episode")) == rows["episodes"]["reported"]
        assert sum(1 for _ in message.iter("{*}Henvisningsperiode")) == rows["referrals"]["reported"]
        codes = rows["conditions"]["reported"] + rows["procedures"]["reported"]
        assert sum(1 for _ in message.iter("{*}Kode")) == codes


def test_findings_say_what_npr_would_do(finished: Finished) -> None:
    with duckdb.connect(str(finished.home / "npr.duckdb"), read_only=True) as db:
        rows = db.execute("select rule, count(*) from finding.findings where period = '2020-T1' group by 1").fetchall()
    assert dict(rows) == {"WAIT-04": 2, "WAIT-02": 1, "EPI-23": 1}
    assert finished.unit("nordfjell")["findings"] == {
        "drop_message": 0,
        "drop_record": 0,
        "blank_value": 0,
        "report_only": 4,
    }
    # No large list is loaded: that is said, and is no pass.
    assert finished.unit("nordfjell")["unchecked"].keys() == {"DX-03", "PRO-03", "UNIT-03", "UNIT-06-LIST"}


def test_the_person_link_of_every_patient_is_counted(finished: Finished) -> None:
    for summary in finished.summaries:
        patients = next(one["patients"] for one in summary["messages"] if one["module"] == "ide")
        assert list(summary["nprid_reg"]) == ["1", "2", "3", "4", "5"]
        assert sum(summary["nprid_reg"].values()) == patients
        assert summary["nprid_reg"]["1"] > patients * 0.9


def test_a_rule_with_a_typo_stops_the_run_by_name(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shutil.copytree(rulebook.FOLDER, tmp_path / "rules"))
    text = (folder / "episode.toml").read_text(encoding="utf-8")
    (folder / "episode.toml").write_text(text.replace("utDatoTid IS NULL", "utDatoTidd IS NULL", 1), encoding="utf-8")
    monkeypatch.setattr(rulebook, "FOLDER", folder)
    rulebook.rulebook.cache_clear()
    try:
        outcome = call("run", "2020-T1", "--unit", "sorvik", home=home)
    finally:
        rulebook.rulebook.cache_clear()
    assert outcome.code == 2
    assert "rule EPI-04: Episode has no utDatoTidd" in outcome.err
    assert not list(home.glob("outbox/*"))


def test_identity_numbers_are_nowhere_but_in_the_identity_tree(finished: Finished) -> None:
    numbers = set()
    for unit in ("nordfjell", "sorvik"):
        text = (SAMPLE / unit / "identities.csv").read_bytes().decode("cp1252")
        numbers |= set(re.findall(r"\b\d{11}\b", text))
    assert len(numbers) > 250
    pattern = re.compile(b"|".join(number.encode() for number in numbers))
    seen = 0
    for path in finished.home.rglob("*"):
        if (
            path.is_file()
            and "identity" not in path.relative_to(finished.home).parts
            and not path.name.startswith("ide-")
        ):
            seen += 1
            assert not pattern.search(_decoded(path)), path.relative_to(finished.home)
    assert seen > 100
    assert not pattern.search(finished.err.encode())
    assert not pattern.search(json.dumps(finished.summaries).encode())


def _decoded(path: Path) -> bytes:
    """Bytes of a file; of Parquet, whose pages are compressed, the values."""
    if path.suffix != ".parquet":
        return path.read_bytes()
    frame = pl.read_parquet(path).with_columns(pl.all().cast(pl.String, strict=False))
    return frame.write_csv().encode()


def test_the_search_for_identity_numbers_would_find_one(finished: Finished) -> None:
    found = list((finished.home / "identity").rglob("data.parquet"))
    number = re.search(rb"\b\d{11}\b", (SAMPLE / "nordfjell" / "identities.csv").read_bytes())
    assert number
    assert any(number.group() in _decoded(path) for path in found)


def test_the_identity_tree_is_private(finished: Finished) -> None:
    assert (finished.home / "identity").stat().st_mode & 0o077 == 0
    assert (finished.home / "rehearsal" / "receiver-key.pem").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("unit", "env"),
    [
        ("nordfjell", {"TZ": "Pacific/Auckland", "LC_ALL": "C", "PYTHONHASHSEED": "1"}),
        ("sorvik", {"TZ": "America/Los_Angeles", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "4242"}),
    ],
)
def test_same_extract_elsewhere_gives_the_same_bodies(
    unit: str, env: dict[str, str], finished: Finished, tmp_path: Path
) -> None:
    room = tmp_path / "place æøå"
    room.mkdir()
    outcome = call_process("run", "2020-T1", "--unit", unit, "--json", home=room / "var", cwd=room, **env)
    assert outcome.code == 0, outcome.err
    assert outcome.json["messages"] == finished.unit(unit)["messages"]


def test_the_same_run_again_changes_nothing(finished: Finished) -> None:
    before = {path: path.read_bytes() for path in (finished.home / "outbox").rglob("*") if path.is_file()}
    outcome = call("run", "2020-T1", "--unit", "nordfjell", "--json", home=finished.home)
    assert outcome.code == 0, outcome.err
    assert outcome.json == finished.unit("nordfjell")
    assert {path: path.read_bytes() for path in (finished.home / "outbox").rglob("*") if path.is_file()} == before


def test_an_open_shell_neither_blocks_a_run_nor_is_blocked(finished: Finished) -> None:
    script = (
        "import duckdb, sys\n"
        "db = duckdb.connect(sys.argv[1], read_only=True)\n"
        "print(db.execute('select count(*) from staging.episodes').fetchone()[0], flush=True)\n"
        "sys.stdin.readline()\n"
        "print(db.execute('select count(*) from staging.episodes').fetchone()[0], flush=True)\n"
    )
    database = finished.home / "npr.duckdb"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as shell:
        assert shell.stdin
        assert shell.stdout
        first = int(shell.stdout.readline())
        outcome = call("run", "2020-M02", "--unit", "sorvik", "--json", home=finished.home)
        assert outcome.code == 0, outcome.err
        shell.stdin.write("\n")
        shell.stdin.flush()
        # The shell keeps the file it opened, and sees the new partition through it.
        assert int(shell.stdout.readline()) > first


def test_analysts_find_tables_with_comments_and_no_identity(finished: Finished) -> None:
    with duckdb.connect(str(finished.home / "npr.duckdb"), read_only=True) as db:
        names = {
            f"{s}.{t}"
            for s, t in db.execute("select schema_name, view_name from duckdb_views() where not internal").fetchall()
        }
        comment = db.execute(
            "select comment from duckdb_columns() where schema_name = 'staging' and table_name = 'episodes' "
            "and column_name = 'debitor'"
        ).fetchone()
        columns = {c for (c,) in db.execute("select column_name from duckdb_columns() where not internal").fetchall()}
    assert {
        "staging.episodes",
        "staging.quarantine",
        "scope.episodes",
        "message.ord_Episode",
        "finding.findings",
        "ops.shipments",
    } <= names
    assert comment is not None
    assert comment[0].startswith("Payer.")
    assert "staging.identities" not in names
    assert not any(name.startswith("message.ide_") for name in names)
    assert "fid" not in columns


def test_trace_prints_the_way_of_an_episode(finished: Finished) -> None:
    path = finished.home / "lake/message/ord_Episode/period=2020-T1/unit=nordfjell/data.parquet"
    reported = pl.read_parquet(path)["episodeID"][3]
    outcome = call("trace", reported, "--period", "2020-T1", "--json", home=finished.home)
    assert outcome.code == 0, outcome.err
    (way,) = outcome.json
    assert [step["stage"] for step in way["steps"]] == ["snapshot", "staging", "scope", "message", "shipment"]
    assert "episodes.csv, row " in way["steps"][0]["what"]
    assert "ord-001.eml" in way["steps"][-1]["what"]
    assert call("trace", "no-such-episode", home=finished.home).code == 1


def test_doctor_is_content_with_the_sample(finished: Finished) -> None:
    outcome = call("doctor", "--json", home=finished.home)
    assert outcome.code == 0, outcome.err
    assert {line["state"] for line in outcome.json} <= {"ok", "warning"}


def test_doctor_sees_an_open_identity_tree(home: Path) -> None:
    (home / "identity").mkdir(parents=True, mode=0o755)
    (home / "identity").chmod(0o755)
    assert call("doctor", home=home).code == 1


def test_help_is_there_at_once() -> None:
    """Modules that take long to import are out of reach of ``npr --help``; its time is a benchmark's business."""
    script = (
        "import sys\n"
        "from pipelines.cli import main\n"
        "sys.argv = ['npr', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"dagster", "polars", "pandera", "lxml", "xmlschema", "duckdb", "pydantic", "rich"} & set(
        done.stderr.split()
    )
