"""What a scheduler starts: a table of cases, and the words of the matrix."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from dataclasses import replace

import pytest

from transforms.scheduling.due import Due
from transforms.scheduling.matrix import Cell, Line, is_red, matrix, prometheus
from transforms.scheduling.starting import Facts, holds_period, monthly, steps

T1 = Due(
    period="2020-T1",
    unit="hospital",
    modules=("ord", "ide"),
    submission=1,
    deadline=dt.date(2020, 5, 5),
    opens=dt.date(2020, 5, 1),
    send_by=dt.date(2020, 5, 4),
    status="published",
    days_left=1,
    standing="due",
    state="",
    colour="amber",
    held_by="",
    next_step="",
)
NONE, OLD, NEW = Facts(), Facts("abc", fresh=False), Facts("abc", fresh=True)
WAITS = Facts("abc", fresh=False, sealed="s", hindrance="waits for approval", needs="approval")
FREE = Facts("abc", fresh=False, sealed="s")


@pytest.mark.parametrize(
    ("state", "facts", "what", "needs"),
    [
        # nothing was made
        ("", NONE, "wait", "extract"),
        ("", NEW, "prepare", ""),
        ("", OLD, "wait", "extract"),  # the very extract that was sent already makes no second submission
        # a run that died
        ("reserved", OLD, "prepare", ""),
        ("reserved", NONE, "wait", "extract"),
        # sealed in the ledger, but its run was killed before it had recorded that: made again, not sent, not forgotten
        ("prepared", NEW, "prepare", ""),
        ("approved", NEW, "prepare", ""),
        ("approved", NONE, "wait", "extract"),
        ("not_sent", OLD, "prepare", ""),
        # made
        ("prepared", WAITS, "wait", "approval"),
        ("prepared", replace(WAITS, needs="findings"), "wait", "findings"),
        ("prepared", replace(WAITS, needs="figures"), "wait", "figures"),
        ("prepared", FREE, "submit", ""),
        ("prepared", replace(WAITS, fresh=True), "prepare", ""),  # a corrected extract came before anyone approved
        ("approved", FREE, "submit", ""),
        ("approved", replace(FREE, fresh=True), "submit", ""),  # what is approved leaves first
        ("approved", WAITS, "wait", "approval"),  # approved, and taken back since
        ("not_sent", FREE, "submit", ""),
        ("not_sent", WAITS, "wait", "approval"),
        # nobody knows: it is never sent again by itself, whatever lies ready
        ("handing_over", NEW, "wait", "answer"),
        ("in_doubt", NEW, "wait", "answer"),
        # refused: only a new extract helps
        ("refused", OLD, "wait", "person"),
        ("rejected", FREE, "wait", "person"),
        ("abandoned", OLD, "wait", "person"),
        ("refused", NEW, "prepare", ""),
    ],
)
def test_what_is_started(state: str, facts: Facts, what: str, needs: str) -> None:
    (step,) = steps([replace(T1, state=state)], lambda _: facts)
    assert (step.what, step.needs) == (what, needs)
    assert step.of == ({"prepare": "abc", "submit": "s"}.get(what, ""))
    assert step.why


def test_an_extract_of_the_last_day_is_taken_and_the_sentence_says_so() -> None:
    (step,) = steps([T1], lambda _: NONE)
    assert step.why == "no extract taken on or after 2020-04-30 is there"
    assert holds_period(dt.date(2020, 4, 30), "2020-T1")
    assert not holds_period(dt.date(2020, 4, 29), "2020-T1")


@pytest.mark.parametrize(("state", "made"), [("", False), ("reserved", True), ("refused", True), ("abandoned", True)])
def test_a_step_tells_whether_the_report_was_made_before(state: str, made: bool) -> None:  # noqa: FBT001
    (step,) = steps([replace(T1, state=state)], lambda _: NEW)
    assert (step.what, step.made) == ("prepare", made)


@pytest.mark.parametrize(
    ("change", "needs"),
    [({"held_by": "2020-T2"}, "other report"), ({"status": "proposed"}, "calendar")],
)
def test_what_waits_whatever_lies_ready(change: dict[str, str], needs: str) -> None:
    for state in ("", "prepared", "approved", "not_sent"):
        (step,) = steps([replace(T1, state=state, **change)], lambda _: replace(NEW, sealed="s"))  # type: ignore[arg-type]
        assert (step.what, step.needs) == ("wait", needs)


@pytest.mark.parametrize(
    ("period", "deadline", "year"),
    [
        ("2025-A", dt.date(2026, 1, 5), 2025),
        ("2025-K", dt.date(2026, 4, 30), 2025),
        ("2026-M01", dt.date(2026, 2, 3), 2026),
    ],
)
def test_the_calendar_to_confirm_is_that_of_the_period(period: str, deadline: dt.date, year: int) -> None:
    (step,) = steps([replace(T1, period=period, deadline=deadline, status="proposed")], lambda _: NEW)
    assert step.needs == "calendar"
    assert f"npr calendar confirm {year} --by NAME" in step.why


@pytest.mark.parametrize("standing", ["ahead", "done", "superseded"])
def test_only_what_is_due_has_a_step(standing: str) -> None:
    assert steps([replace(T1, standing=standing)], lambda _: NEW) == []  # type: ignore[arg-type]


def test_a_second_submission_is_made_by_its_own_job() -> None:
    (step,) = steps([replace(T1, submission=2)], lambda _: NEW)
    assert step.what == "resubmit"
    assert step.run_key == "2020-T1|hospital|2|resubmit|abc"


def test_two_schedules_share_all_periods_between_them() -> None:
    from schemas.period import period_keys  # noqa: PLC0415

    kinds = {monthly(key): key[5:] for key in period_keys() if key.startswith("2020")}
    assert {key[5] for key in period_keys() if monthly(key)} == {"M"}
    assert {key[5] for key in period_keys() if not monthly(key)} == {"T", "A", "K"}
    assert len(kinds) == 2


# The matrix


def cells(state: str, facts: Facts = OLD, silent: int = 0, findings: int = 0, standing: str = "due") -> list[Cell]:
    one = replace(T1, state=state, number=1 if state else 0, standing=standing)  # type: ignore[arg-type]
    lines = {("2020-T1", "hospital", 1, module): Line(state, silent) for module in one.modules if state}
    blocked = {("2020-T1", "hospital"): findings} if findings else {}
    return matrix([one], steps([one], lambda _: facts), lines, blocked)


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("no extract", cells("", NONE)),
        ("extract ready", cells("", NEW)),
        ("blocked by 12 findings", cells("", NEW, findings=12)),
        ("blocked by 3 findings", cells("prepared", replace(WAITS, needs="findings"), findings=3)),
        ("blocked by unusual figures", cells("prepared", replace(WAITS, needs="figures"))),
        ("blocked", cells("prepared", replace(WAITS, needs="findings"))),
        ("waiting for approval", cells("prepared", WAITS)),
        ("prepared", cells("prepared", FREE)),
        ("approved", cells("approved", FREE)),
        ("in doubt", cells("in_doubt")),
        ("not sent", cells("not_sent", FREE)),
        ("refused", cells("refused")),
        ("sent", cells("handed_over", standing="done")),
        ("unanswered for 24 hours", cells("handed_over", silent=24, standing="done")),
        ("unanswered for 72 hours", cells("handed_over", silent=72, standing="done")),
        ("unanswered for 72 hours", cells("acknowledged", silent=72, standing="done")),
        ("received", cells("received", standing="done")),
        ("content errors", cells("content_errors", standing="done")),
        ("accepted", cells("accepted", standing="done")),
        ("superseded", cells("", standing="superseded")),
        ("ahead", cells("", standing="ahead")),
    ],
)
def test_words_of_the_matrix(word: str, found: list[Cell]) -> None:
    assert [(cell.module, cell.text) for cell in found] == [("ord", word), ("ide", word)]


def test_what_another_report_holds_is_neither_ready_nor_without_extract() -> None:
    one = replace(T1, held_by="2020-T2")
    assert {cell.text for cell in matrix([one], steps([one], lambda _: NEW), {}, {})} == {"held"}


def test_each_message_of_a_report_has_its_own_state() -> None:
    one = replace(T1, state="handed_over", number=2, standing="done")
    lines = {
        ("2020-T1", "hospital", 2, "ord"): Line("accepted", 0),
        ("2020-T1", "hospital", 2, "ide"): Line("refused", 0),
    }
    assert [cell.state for cell in matrix([one], [], lines, {})] == ["accepted", "refused"]


def test_red_is_what_is_due_and_red_or_missed() -> None:
    assert not is_red(cells("", NONE))
    for colour in ("red", "missed"):
        assert is_red([replace(cell, colour=colour) for cell in cells("", NONE)])
        assert not is_red([replace(cell, colour=colour, standing="ahead") for cell in cells("", NONE)])


def test_the_text_for_prometheus_is_read_by_its_own_parser() -> None:
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415

    text = prometheus([*cells("", NEW, findings=12), *cells("accepted", standing="done")], 1588572000.0)
    found: dict[str, list[tuple[dict[str, str], float]]] = defaultdict(list)
    for family in text_string_to_metric_families(text):
        assert family.type == "gauge"
        assert family.documentation
        for sample in family.samples:
            found[sample.name].append((sample.labels, sample.value))
    assert found["npr_report_messages"] == [
        ({"unit": "hospital", "state": "accepted", "colour": "amber"}, 2),
        ({"unit": "hospital", "state": "blocked", "colour": "amber"}, 2),
    ]
    assert found["npr_report_days_left"] == [({"unit": "hospital"}, 1)]
    assert found["npr_report_findings"] == [({"period": "2020-T1", "unit": "hospital"}, 12)]
    assert found["npr_status_red"] == [({}, 0)]
    assert found["npr_status_timestamp_seconds"] == [({}, 1588572000.0)]
