"""Names and reasons of decisions: what every command takes, what it refuses, and what an older program let through."""

from __future__ import annotations

import json
from pathlib import Path

import ledgers
import pytest
from conftest import Outcome, call
from ledgers import NOW, T1
from pydantic import ValidationError

from pipelines.home.calendar import CalendarHome
from pipelines.ledger.book import SqlLedger, ledger_of
from schemas.config import Known
from schemas.decisions import Decision, DecisionKind
from schemas.errors import WrongUse
from schemas.words import KEPT, person, reason

OF_PERIOD = ("2020-T1", "--unit", "nordfjell")
# Every command that takes a name: what stands before it, and the option of its reason.
COMMANDS = {
    "approve": (("approve", *OF_PERIOD), "--because"),
    "approve --withdraw": (("approve", *OF_PERIOD, "--withdraw"), "--because"),
    "accept": (("accept", *OF_PERIOD), "--because"),
    "resend": (("resend", "some-msg-id"), "--because"),
    "waive": (("waive", *OF_PERIOD, "WAIT-04"), "--why"),
    "override": (("override", *OF_PERIOD, "DX-01", "--count", "1"), "--why"),
    "confirm": (("confirm", *OF_PERIOD, "--guard", "shares"), "--why"),
    "calendar confirm": (("calendar", "confirm", "2026"), ""),
    "purge": (("purge", "--before", "2000-01-01"), ""),
}
REASONED = sorted(name for name, (_, option) in COMMANDS.items() if option)
NO_NAMES = {
    "empty": "",
    "blank": "   ",
    "one letter": "K",
    "too long": "x" * 101,
    "a line of its own": "Kari Nordmann\n    2 2020-05-05 Ola Nordmann: approve",
    "a tab": "Kari\tNordmann",
    "moves the cursor": "Kari \x1b[2K Ola",
    "another line separator": "Kari\u2028Ola",
    "turns the writing around": "Kari \u202e Ola",
    "an identity number": "Kari 01010112345",
}
NO_REASONS = {
    "too long": "x" * 501,
    "a line of its own": "again\n    2 approve",
    "an identity number": "again 01010112345",
    "with a blank in it": "patient 010101 12345 called",
    "with a dash in it": "(010101-12345)",
    "with a long dash in it": "010101\u201312345",
}
REASONS = {
    "a sentence": "kjent siden 2019, se sak 2020/12345",
    "as long as may be": "x" * 500,
    "a number of twelve digits": "case 010101123456",
    "an organisation number": "974760673 told us",
    "a date and a count": "2020-05-05: 12345 rows",
}


def _said(name: str, by: str, why: str, home: Path) -> Outcome:
    before, option = COMMANDS[name]
    return call(*before, "--by", by, *((option, why) if option else ()), home=home)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("kind", NO_NAMES)
def test_no_command_takes_what_is_no_name(name: str, kind: str, home: Path) -> None:
    outcome = _said(name, NO_NAMES[kind], "known", home)
    assert (outcome.code, "--by is the name of a person" in outcome.err) == (2, True), outcome.err
    assert len(NO_NAMES[kind].strip()) < 2 or NO_NAMES[kind] not in outcome.err


@pytest.mark.parametrize("name", REASONED)
@pytest.mark.parametrize("kind", NO_REASONS)
def test_no_command_takes_what_is_no_reason(name: str, kind: str, home: Path) -> None:
    outcome = _said(name, "Kari Nordmann", NO_REASONS[kind], home)
    option = COMMANDS[name][1]
    assert (outcome.code, f"{option} is a reason of at most 500 printable" in outcome.err) == (2, True), outcome.err
    assert NO_REASONS[kind] not in outcome.err


@pytest.mark.parametrize("name", [name for name in REASONED if not name.startswith("approve")])
def test_where_a_reason_is_asked_for_a_blank_is_none(name: str, home: Path) -> None:
    assert _said(name, "Kari Nordmann", "  ", home).code == 2


@pytest.mark.parametrize("why", REASONS.values(), ids=REASONS)
def test_reasons_that_are_taken(why: str) -> None:
    assert reason(f" {why} ") == why


@pytest.mark.parametrize("name", ["Kari Nordmann", "Åse O'Brien-Þór", "K. A.", "李明", "x" * 100])
def test_names_that_are_taken(name: str) -> None:
    assert person(f"  {name} ") == name


def test_an_approval_is_kept_under_the_name_without_blanks(home: Path) -> None:
    ledger = ledger_of(home)
    ledgers.prepared(ledger, home, profile="production")
    outcome = call("approve", *OF_PERIOD, "--by", " Kari Nordmann ", "--because", "", home=home)
    assert outcome.code == 0, outcome.err
    assert "approved by Kari Nordmann\n" in outcome.out
    assert [(one.by, one.why) for one in ledger.decisions(T1)] == [("Kari Nordmann", "")]


def test_no_record_is_made_with_other_words() -> None:
    place = {"kind": "approve", "period": "2020-T1", "unit": "nordfjell", "subject": "production", "at": NOW}
    for words in ({"by": "  "}, {"by": "Kari Nordmann", "why": "again 01010112345"}):
        with pytest.raises(ValidationError, match="nothing like an identity number"):
            Decision.model_validate(place | words)
        assert Decision.model_validate(place | words, context=KEPT).by == words["by"]
    with pytest.raises(ValidationError):
        Known(what="episodeID", why="running number", by=" ")


# --- what an older program let through --------------------------------------------------------------------------------


def _old(ledger: SqlLedger, by: str) -> None:
    """A decision as it was taken before names were checked."""
    ledger.decide(
        Decision.model_construct(
            kind=DecisionKind.APPROVE,
            period=T1.period,
            unit=T1.unit,
            subject="production",
            by=by,
            at=NOW,
            why="again 01010112345",
        )
    )


def test_old_decisions_stay_readable_and_forge_no_line_of_the_log(home: Path) -> None:
    ledger = ledger_of(home)
    forged = "Kari\n    2 2020-05-05T09:00:00Z Ola Nordmann: approve 2020-T1 nordfjell"
    for by in (forged, "Kari \x1b[2K\x9b2K", "\u202eK"):
        _old(ledger, by)
    assert ledger.decisions(T1)[0].by == forged
    lines = call("audit", home=home).out.splitlines()
    assert len(lines) == len(ledger.audit()) == 3
    assert all(line.isprintable() for line in lines)
    assert "Kari\\n    2" in lines[0]
    assert json.loads(call("audit", "--json", home=home).out)[0]["who"] == forged


def test_an_old_confirmation_of_the_calendar_stays_readable(home: Path) -> None:
    calendar = CalendarHome(home)
    calendar.propose(2026)
    calendar.confirm(2026, " Kari Nordmann ", NOW)
    path = home / "calendar" / "2026.confirmed.json"
    assert json.loads(path.read_text(encoding="utf-8"))["by"] == "Kari Nordmann"
    path.write_text(path.read_text(encoding="utf-8").replace("Kari Nordmann", "  "), encoding="utf-8")
    assert [draft.status for draft in calendar.drafts()] == ["confirmed"]
    with pytest.raises(WrongUse, match="--by is the name of a person"):
        calendar.confirm(2026, "  ", NOW)
