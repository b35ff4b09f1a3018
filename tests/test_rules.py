"""Every rule of the catalogue, told by rows that it finds wrong and rows that it does not (``tests/rules``)."""

from __future__ import annotations

import pytest
from rule_cases import RULES, answers, read_cases

CASES = read_cases()


def test_every_rule_has_cases_of_both_kinds() -> None:
    assert set(CASES) == set(RULES)
    for case in CASES.values():
        assert {"right", "wrong"} <= set(case.expected) <= {"right", "wrong", "unchecked"}, case.rule


@pytest.mark.parametrize("name", list(CASES))
def test_a_rule_finds_what_is_wrong_and_nothing_else(name: str) -> None:
    assert answers(CASES[name]) == CASES[name].expected
