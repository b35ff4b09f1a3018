"""Every rule of the catalogue, told by rows that it finds wrong and rows that it does not (``tests/rules``)."""

from __future__ import annotations

import pytest
from rule_cases import RULES, answers, read_cases
from rule_mutants import changed, code_mutants, function_mutants, in_place_of, same_in_meaning, sql_mutants

CASES = read_cases()


def test_every_rule_has_cases_of_both_kinds() -> None:
    assert set(CASES) == set(RULES)
    for case in CASES.values():
        assert {"right", "wrong"} <= set(case.expected) <= {"right", "wrong", "unchecked"}, case.rule


@pytest.mark.parametrize("name", list(CASES))
def test_a_rule_finds_what_is_wrong_and_nothing_else(name: str) -> None:
    assert answers(CASES[name]) == CASES[name].expected


# All rules: benchmarks/mutate_rules.py.
@pytest.mark.parametrize("name", ["EPI-04", "EPI-19", "WAIT-17", "WAIT-14", "MSG-05"])
def test_a_small_change_of_a_rule_is_noticed_by_its_cases(name: str) -> None:
    rule, case, made = RULES[name], CASES[name], 0
    for what, sql in sql_mutants(rule.wrong or ""):
        mutant = changed(rule, sql)
        if mutant is not None and not same_in_meaning(name, what):
            made += 1
            assert answers(case, mutant) != case.expected, what
    assert made > 1


@pytest.mark.parametrize("name", ["EPI-27-REF", "PRO-03"])
def test_another_list_letter_or_day_is_noticed_by_its_cases(name: str) -> None:
    made = list(code_mutants(RULES[name]))
    assert len(made) > 3
    for what, mutant in made:
        assert answers(CASES[name], mutant) != CASES[name].expected, what


@pytest.mark.parametrize("name", ["EPI-21", "PRO-05"])
def test_a_small_change_of_a_function_is_noticed_by_its_cases(name: str) -> None:
    function = RULES[name].function or ""
    made = list(function_mutants(function))
    assert len(made) > 1
    for what, mutant in made:
        with in_place_of(function, mutant):
            assert answers(CASES[name]) != CASES[name].expected, what
    assert answers(CASES[name]) == CASES[name].expected
