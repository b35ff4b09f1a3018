"""The whole way by the commands: validation, approval, production; answers in every form and order."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from guarded import PERIOD, UNIT, delivery, numbers
from test_inbox import HOSTILE, PASSWORD, locked, mailed
from test_receipts import receipt
from walk import KEY, Installation, content_report, episodes, installation

from schemas.decisions import DecisionKind

BY = ("--unit", UNIT, "--by", "Kari Nordmann")
WHY = ("--because", "known since 2019")


@pytest.fixture
def place(tmp_path: Path) -> Installation:
    return installation(tmp_path)


def refused(place: Installation, because: str) -> None:
    """Production is refused for a reason, and nothing leaves."""
    before = place.dropped
    outcome = place.submit("production")
    assert (outcome.code, because in outcome.err) == (1, True), outcome.err
    assert place.dropped == before


def clean(place: Installation, number: int, name: str) -> None:
    """The register has found nothing in a submission."""
    for module, part in place.parts(number).items():
        place.arrive(f"{name}-{module}.xml", receipt(original=f"<Id>{part.msg_id}</Id>"))
        place.arrive(f"NPR_ERR-{name}-{module}.csv", content_report(part, total=0))
    told = place.take_in()
    assert {row["fate"] for row in told["taken"]} == {"taken"}


def test_from_validation_by_approval_to_production(place: Installation) -> None:
    given = delivery()
    place.prepare(given, "validation")
    first = place.prepare(given, "production")
    refused(place, "has not come back clean from the validation service: it is prepared there")
    assert place.submit("validation").code == 0
    refused(place, "it is handed_over there")
    clean(place, 1, "first")
    assert place.states(1) == {"accepted"}
    refused(place, "waits for approval")
    assert place.npr("approve", PERIOD, *BY).code == 0

    # Another content: neither the clean answer nor the approval speaks of it.
    given.put(
        "episodes", "episodeFag", given.tables["episodes"]["episodeID"].to_list().index(episodes(given)[0]), "010"
    )
    second = place.prepare(given, "production")
    assert (second.submission, second.content == first.content) == (3, False)
    refused(place, "it was never sent there")
    assert place.npr("accept", PERIOD, *BY, *WHY).code == 0  # of submission 1 to validation, so of its content alone
    refused(place, "it was never sent there")
    place.prepare(given, "validation")
    outcome = place.npr("accept", PERIOD, *BY, *WHY)
    assert (outcome.code, "nothing was found yet" in outcome.err) == (1, True)
    assert place.submit("validation").code == 0
    for module, part in place.parts(4).items():
        rows = f"K12;Episode;episodeFag;{episodes(given)[0]};9;x\n" if module == "ord" else ""
        place.arrive(f"NPR_ERR-{module}.csv", content_report(part, rows, total=len(rows.splitlines())))
    place.take_in()
    assert place.states(4) == {"content_errors", "accepted"}
    refused(place, "it is content_errors there")
    assert place.npr("accept", PERIOD, *BY, *WHY).code == 0
    refused(place, "waits for approval")
    assert place.npr("approve", PERIOD, *BY).code == 0
    assert place.submit("production").code == 0
    assert (place.states(2), place.states(3)) == ({"approved"}, {"handed_over"})
    assert [name.split("-")[3] for name in place.dropped].count("0003") == 2
    again = place.submit("production")
    assert (again.code, len(place.dropped)) == (0, 6)
    said = place.ledger.decisions(KEY, DecisionKind.APPROVE)
    assert [(one.submission, one.by) for one in said] == [(2, "Kari Nordmann"), (3, "Kari Nordmann")]
    assert place.json("audit", "--verify")["whole"] is True
    clean(place, 3, "last")
    assert place.states(3) == {"accepted"}


def _answers(place: Installation, episode: str) -> list[tuple[str, bytes]]:
    """What the register says of submission 1, in every form."""
    ord_, ide = (place.parts(1)[module] for module in ("ord", "ide"))
    rows = f"K12;Episode;episodeFag;{episode};2;Ola Nordmann {numbers(1)[0]} mangler\n"
    more = f"{rows}K12;Episode;omsorgsniva;{episode};9;Ola Nordmann {numbers(1)[0]} mangler\n"
    xml = (
        f'<NPR_ERR><Melding lopenr="{ord_.lopenr}" fraDatoPeriode="2020-01-01"/><Institusjon institusjonID='
        f'"{ord_.institusjon_id}"/><Episode episodeID="{episode}"><Feil feilkode="K12" klasse="Episode" '
        'attributt="episodeFag" handling="2"/></Episode></NPR_ERR>'
    )
    schema = (
        f"Feilkode;Attributt;lopenr;institusjonID;fraDatoPeriode\nX1;pid;{ide.lopenr};{ide.institusjon_id};2020-01-01\n"
    )
    return [
        ("1 NPR_VAL.csv", schema.encode()),
        ("2 svar.xml", xml.encode()),
        ("3 NPR_ERR.html", content_report(ord_, rows, name="html")),
        ("4 svar.eml", mailed(locked(content_report(ord_, more)), "svar.zip")),
        ("5 kvittering.xml", receipt(original=f"<Id>{ord_.msg_id}</Id>")),
        ("6 kvittering.xml", receipt(original=f"<Id>{ide.msg_id}</Id>")),
        ("7 ukjent.xml", receipt(original="<Id>nobody-knows</Id>")),
    ]


def test_answers_in_every_form_and_order_become_findings(place: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    given = delivery()
    place.prepare(given, "validation")
    episode = episodes(given)[0]
    answers = _answers(place, episode)
    early = answers[4]
    place.arrive(*early)
    (row,) = place.take_in()["taken"]
    assert (row["fate"], row["reason"]) == ("parked", "the part it answers was never handed over by this ledger")
    assert place.submit("validation").code == 0

    place.arrive("0 poison.zip", HOSTILE["slip"])
    for copy in ("a", "b"):
        for name, data in answers:
            place.arrive(f"{name.partition('.')[0]}-{copy}.{name.partition('.')[2]}", data)
    first = place.take_in()
    assert first["joined"] == 1
    assert [row["file"] for row in first["waiting"]] == ["0 poison.zip", "4 svar-a.eml", "4 svar-b.eml"]
    fates = [
        (row["kind"], row["fate"]) for row in first["taken"] if row["file"].endswith(("-a.xml", "-a.csv", "-a.html"))
    ]
    assert fates == [
        ("NPR_VAL csv", "taken"), ("NPR_ERR xml", "taken"), ("NPR_ERR html", "taken"), ("apprec 1.0", "known"),
        ("apprec 1.0", "parked"), ("apprec 1.0", "parked"),
    ]  # fmt: skip
    assert {row["fate"] for row in first["taken"] if "-b." in row["file"] and "7" not in row["file"]} == {"known"}
    monkeypatch.setenv("NPR_FEEDBACK_PASSWORD", PASSWORD)
    second = place.take_in()
    assert [(row["file"], row["fate"]) for row in second["taken"]] == [
        ("4 svar-a.eml", "taken"),
        ("4 svar-b.eml", "known"),
    ]
    assert [row["file"] for row in place.take_in()["aside"]] == ["0 poison.zip"]
    assert list((place.place / "inbox").iterdir()) == []
    assert {module: part.state.value for module, part in place.parts(1).items()} == {
        "ord": "content_errors", "ide": "refused",
    }  # fmt: skip
    told = place.json("resume")
    # Whether a refusal by the schema check or the receipt speaks last is for a person to say; the refusal stands.
    assert [row["reason"].partition(":")[0] for row in told["parked"]] == [
        "it contradicts an earlier answer", "no part of ours has this MsgId or lopenr",
    ]  # fmt: skip
    _insist_private(place)
    _insist_findings(place, episode)
    _insist_mended(place, episode)


def _insist_private(place: Installation) -> None:
    """Answers lie in the identity tree alone, for their owner alone; nothing else holds what they say of a person."""
    for path in (place.home / "identity").rglob("*"):
        assert path.is_dir() or not stat.S_IMODE(path.stat().st_mode) & 0o077 or path.parent.name != "answers"
    for path in place.home.rglob("*"):
        if path.is_file() and "identity" not in path.relative_to(place.home).parts:
            assert b"Ola Nordmann" not in path.read_bytes(), path


def _insist_findings(place: Installation, episode: str) -> None:
    lines = place.theirs()
    row = place.rows()[episode]
    found = {
        (line["rule"], line["class"], line["fields"], line["_row"], line["status"], line["module"]) for line in lines
    }
    assert found == {
        ("NPR:K12", "Episode", "episodeFag", row, "new", "ord"),
        ("NPR:K12", "Episode", "omsorgsniva", row, "new", "ord"),
        ("NPR:X1", "", "pid", None, "new", "ide"),
    }
    text = place.npr("findings", PERIOD, "--unit", UNIT).out
    assert "origin" in text
    counted: list[dict[str, Any]] = place.json("findings", PERIOD, "--unit", UNIT, "--by", "rule")[0]["findings"]
    assert {line["origin"] for line in counted if line["rule"].startswith("NPR:")} == {"NPR"}
    assert {line["origin"] for line in counted if not line["rule"].startswith("NPR:")} == {"own"}

    explained = place.npr("explain", "NPR:K12", "--record", episode)
    assert explained.code == 0, explained.err
    assert "NPR's word and no rule of ours" in explained.out
    assert "episodeFag = " in explained.out
    assert "Ola Nordmann" not in explained.out
    for args in (("explain", "NPR:NONE"), ("override", PERIOD, "NPR:K12", *BY, *WHY, "--count", "1")):
        assert place.npr(*args).code == 2
    assert place.npr("waive", PERIOD, "NPR:NONE", *BY, *WHY).code == 2
    waived = place.npr("waive", PERIOD, "NPR:K12", *BY, *WHY, "--until", "2999-01-01")
    assert (waived.code, "NPR's verdict stands" in waived.out) == (0, True)
    assert {line["waived_by"] for line in place.theirs("--status", "waived")} == {"Kari Nordmann"}
    assert {line["rule"] for line in place.theirs()} == {"NPR:X1"}
    assert place.states(1) == {"content_errors", "refused"}
    assert place.npr("waive", PERIOD, "NPR:K12", *BY, *WHY, "--withdraw").code == 0


def _insist_mended(place: Installation, episode: str) -> None:
    """The source is corrected and sent anew: what the next answer no longer tells is resolved, the rest persists."""
    given = delivery()
    at = given.tables["episodes"]["episodeID"].to_list().index(episode)
    given.put("episodes", "episodeFag", at, "010")
    place.prepare(given, "validation")
    since = {line["fields"]: line["since"] for line in place.theirs() if line["rule"] == "NPR:K12"}
    assert since == {"episodeFag": "changed", "omsorgsniva": "changed"}
    assert place.submit("validation").code == 0
    parts = place.parts(2)
    rows = f"K12;Episode;omsorgsniva;{episode};9;x\nK13;Episode;debitor;{episode};9;x\n"
    place.arrive("NPR_ERR-2-ord.csv", content_report(parts["ord"], rows))
    place.take_in()
    status = {
        line["fields"]: line["status"]
        for line in place.theirs("--status", "new", "--status", "persisting", "--status", "resolved")
    }
    assert status == {"episodeFag": "resolved", "omsorgsniva": "persisting", "debitor": "new", "pid": "new"}
    place.arrive("NPR_ERR-2-ide.csv", content_report(parts["ide"], total=0))
    place.take_in()
    assert {line["rule"] for line in place.theirs("--status", "resolved")} == {"NPR:K12", "NPR:X1"}
