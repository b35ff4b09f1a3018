"""Dated requirements: what each gate says of a message on a day, by the published dates."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from pydantic import ValidationError

from assets.permits import insist_allowed
from assets.rulings import rulings, schema_rule, sending_day
from schemas.errors import DataRefused, WrongUse
from schemas.layouts import load_layout
from schemas.records import Findings, Manifest, MessageOut, RulingOut
from schemas.requirements import Requirement, requirement, requirements
from transforms.content.gates import gate

LONG_AGO, TODAY = date(2019, 1, 1), date(2026, 11, 24)

# id, module, day, verdict where the requirement does not hold
CASES = [
    ("REQ-VALIDATION", "ord", "2019-09-30", "warn"),
    ("REQ-VALIDATION", "ord", "2026-11-24", "warn"),
    ("REQ-HEAD", "ord", "2020-08-31", "warn"),
    ("REQ-HEAD", "ord", "2020-09-01", "stop"),
    ("REQ-HEAD-FORM", "ide", "2020-05-01", "warn"),
    ("REQ-HEAD-FORM", "ide", "2021-02-28", "warn"),
    ("REQ-HEAD-FORM", "ide", "2021-03-01", "stop"),
    ("REQ-VERSION", "kpp", "2020-05-01", "warn"),
    ("REQ-VERSION", "kpp", "2020-08-31", "warn"),
    ("REQ-VERSION", "kpp", "2020-09-01", "stop"),
    ("REQ-VERSION", "vtk", "2020-09-01", "stop"),
    ("REQ-VERSION", "vtk", "2022-01-01", "pass"),
    ("REQ-SCHEMA", "ord", "2020-05-01", "warn"),
    ("REQ-SCHEMA", "ord", "2021-03-01", "warn"),
    ("REQ-SCHEMA", "ord", "2021-04-30", "warn"),
    ("REQ-SCHEMA", "ord", "2021-05-01", "stop"),
    ("REQ-SCHEMA", "pak", "2019-01-01", "stop"),
    ("REQ-SCHEMA", "pak", "2026-11-24", "stop"),
    ("REQ-SCHEMA", "rad", "2020-01-01", "stop"),
    ("REQ-SCHEMA", "raa", "2020-01-01", "stop"),
    ("REQ-SCHEMA", "str", "2020-01-01", "stop"),
    ("REQ-SCHEMA", "vtk", "2021-04-30", "stop"),
    ("REQ-SCHEMA", "vtk", "2021-05-01", "pass"),
    ("REQ-SCHEMA", "ext", "2021-04-30", "warn"),
    ("REQ-SCHEMA", "ext", "2021-05-01", "pass"),
    ("REQ-CONTENT", "ord", "2021-04-30", "warn"),
    ("REQ-CONTENT", "ord", "2021-05-01", "stop"),
]


@pytest.mark.parametrize(("name", "module", "day", "verdict"), CASES)
def test_a_gate_warns_before_its_date_and_stops_from_it(name: str, module: str, day: str, verdict: str) -> None:
    ruling = gate(requirement(name), module, date.fromisoformat(day), holds=False)
    assert (ruling.requirement, ruling.module, ruling.verdict) == (name, module, verdict)
    assert ruling.text.startswith(f"{name}: ")


@pytest.mark.parametrize("name", requirements())
@pytest.mark.parametrize("day", [LONG_AGO, TODAY])
def test_what_holds_passes_on_any_day(name: str, day: date) -> None:
    assert {gate(requirement(name), module, day, holds=True).verdict for module in ("ord", "pak", "ext")} == {"pass"}


@pytest.mark.parametrize("name", [name for name, one in requirements().items() if one.refuses != "nothing"])
def test_the_day_itself_is_in_force_and_the_day_before_is_not(name: str) -> None:
    first = requirement(name).in_force.day
    assert gate(requirement(name), "ord", first, holds=False).verdict == "stop"
    assert gate(requirement(name), "ord", first - timedelta(days=1), holds=False).verdict == "warn"


def test_a_ruling_names_requirement_dates_and_source() -> None:
    before = gate(requirement("REQ-SCHEMA"), "ord", date(2021, 4, 30), holds=False)
    assert before.since == date(2021, 5, 1)
    assert before.text == (
        "REQ-SCHEMA: a message validates against its schema (from 2021-05-01, postponed from 2020-05-01, 2021-03-01; "
        "hdir-technical). It does not hold; from that day the registry refuses the message."
    )
    after = gate(requirement("REQ-CONTENT"), "ord", date(2021, 5, 1), holds=False)
    assert after.text == (
        "REQ-CONTENT: episodes follow the published content requirements (since 2021-05-01; hdir-2020). "
        "It does not hold; the registry refuses the records at fault."
    )
    early = gate(requirement("REQ-SCHEMA"), "pak", date(2020, 1, 1), holds=False)
    assert early.text.startswith(
        "REQ-SCHEMA: a message validates against its schema (already; hdir-2020: already in force"
    )
    exempt = gate(requirement("REQ-SCHEMA"), "ext", TODAY, holds=False)
    assert exempt.since is None
    assert exempt.text.startswith("REQ-SCHEMA: does not speak of ext (hdir-technical: ")


def test_the_dates_are_those_of_the_sources() -> None:
    """Every date with its source: first the one announced, last the one that counts."""
    found = {name: [f"{dated.day} {dated.source}" for dated in one.dates] for name, one in requirements().items()}
    assert found == {
        "REQ-VALIDATION": ["2019-10-01 hdir-2020"],
        "REQ-HEAD": ["2020-09-01 hdir-2020"],
        "REQ-HEAD-FORM": ["2020-05-01 hdir-2020", "2021-03-01 hdir-2020"],
        "REQ-VERSION": ["2020-05-01 hdir-2020", "2020-09-01 hdir-2020"],
        "REQ-SCHEMA": ["2020-05-01 hdir-2020", "2021-03-01 hdir-2020", "2021-05-01 hdir-technical"],
        "REQ-CONTENT": ["2021-05-01 hdir-2020"],
    }


def test_a_requirement_of_some_modules_says_nothing_of_others() -> None:
    only = requirement("REQ-HEAD").model_copy(update={"modules": ("ord",)})
    assert gate(only, "ord", TODAY, holds=False).verdict == "stop"
    assert gate(only, "ide", TODAY, holds=False).verdict == "pass"


def test_faults_in_the_data_are_refused() -> None:
    with pytest.raises(WrongUse, match="no such requirement"):
        requirement("REQ-NONE")
    good = {"id": "REQ-X", "text": "x", "refuses": "message", "certainty": "A"}
    late, early = {"day": "2021-03-01", "source": "a"}, {"day": "2020-05-01", "source": "b"}
    assert Requirement.model_validate({**good, "dates": [early, late]}).in_force.source == "a"
    for dates in ([late, early], [late, late], []):
        with pytest.raises(ValidationError):
            Requirement.model_validate({**good, "dates": dates})


def _message(module: str, version: str) -> MessageOut:
    return MessageOut(module=module, version=version, patients=1, records=1, bytes=1, sha256="0" * 64)


@pytest.mark.parametrize(
    ("day", "version", "dropping", "expected"),
    [
        ("2021-01-05", "54.0.1", {}, {}),
        ("2021-01-05", "53.1.3", {}, {"REQ-VERSION": "stop"}),
        ("2020-08-31", "53.1.3", {}, {"REQ-VERSION": "warn"}),
        ("2021-04-30", "54.0.1", {"ord": 2}, {"REQ-CONTENT": "warn"}),
        ("2021-05-01", "54.0.1", {"ord": 2}, {"REQ-CONTENT": "stop"}),
        ("2021-05-01", "54.0.1", {"sbs": 2}, {}),
    ],
)
def test_a_run_is_ruled_on_by_what_it_knows(
    day: str, version: str, dropping: dict[str, int], expected: dict[str, str]
) -> None:
    findings = Findings(snapshot="s", by_rule={}, by_consequence={}, dropping=dropping)
    found = rulings([_message("ord", version)], [], findings, "54.0.1", date.fromisoformat(day))
    assert {one.requirement: one.verdict for one in found if one.verdict != "pass"} == expected
    assert [one.requirement for one in found] == [name for name in requirements() if name != "REQ-VALIDATION"]


def test_the_day_of_sending_is_that_of_norway() -> None:
    assert sending_day(datetime(2021, 4, 30, 21, 59, tzinfo=UTC)) == date(2021, 4, 30)
    assert sending_day(datetime(2021, 4, 30, 22, 0, tzinfo=UTC)) == date(2021, 5, 1)


def test_a_schema_fault_names_the_requirement_that_speaks() -> None:
    text = schema_rule(load_layout("ord", "54.0.1"), date(2021, 5, 1))
    assert text.startswith("MSG-15: schema 54.0.1, ours. REQ-SCHEMA: ")
    assert "hdir-technical" in text


@pytest.mark.parametrize(
    ("profile", "verdict", "refused"),
    [
        ("rehearsal", "stop", False),
        ("validation", "stop", True),
        ("production", "stop", True),
        ("production", "warn", False),
        ("production", "pass", False),
    ],
)
def test_a_stop_keeps_a_submission_from_npr(profile: str, verdict: str, refused: bool) -> None:  # noqa: FBT001
    ruling = RulingOut.model_construct(requirement="REQ-CONTENT", module="ord", verdict=verdict, text="says so")
    manifest = Manifest.model_construct(profile=profile, rulings=(ruling,))
    if not refused:
        insist_allowed(manifest)
        return
    with pytest.raises(DataRefused) as stopped:
        insist_allowed(manifest)
    assert "ord: says so" in stopped.value.where
    assert stopped.value.rule == "REQ-CONTENT"
