"""The calendar runs the house: a short history of few units, and that the oracle speaks when a decision is broken.

The long form is ``benchmarks/simulate.py``; what is simulated and what is not stands in docs/scheduling.md.
"""

from __future__ import annotations

from contextlib import ExitStack
from unittest.mock import patch

import pytest
from simulated_world import MIX, World, world
from simulation import House
from simulation_mutants import MUTANTS
from simulation_oracle import judge, plans_of

from schemas.reporting import UnitKind


@pytest.fixture(scope="module")
def small() -> World:
    """One year with one unit of each kind, in which much goes wrong and a draft is confirmed late."""
    return world(14, 2021, 1, share=0.1, trouble=5)


def test_three_years_of_a_few_units_have_no_fault() -> None:
    history = world(0, 2018, share=0.1)
    house = House(history)
    verdict = judge(history, house.run())
    assert verdict.faults == []
    assert {unit.kind for unit in history.units} == set(UnitKind)
    planned = sum(len(plans) for plans in plans_of(history).values())
    assert verdict.met + sum(verdict.excused.values()) == planned
    assert verdict.met > planned / 2
    assert house.checked  # what is due was worked out anew now and then, and was what had been kept


def test_the_forty_units_are_of_all_kinds() -> None:
    assert sum(number for *_, number in MIX) == 40
    assert {kind for kind, *_ in MIX} == set(UnitKind)


def test_the_quick_way_to_sqlite_changes_nothing() -> None:
    tiny = world(1, 2022, 1, share=0.01).only("avtalespesialist")
    assert House(tiny).run() == House(tiny, through_sqlalchemy=True).run()


def test_the_same_year_unbroken_has_no_fault(small: World) -> None:
    assert judge(small, House(small).run()).faults == []


@pytest.mark.parametrize("name", MUTANTS)
def test_the_oracle_speaks_of_a_broken_decision(name: str, small: World) -> None:
    mutant, lived = MUTANTS[name], small.only(MUTANTS[name].units)
    with ExitStack() as stack:
        for place, stand_in in mutant.patches:
            stack.enter_context(patch(place, stand_in))
        log = House(lived).run()
    assert any(mutant.word in fault for fault in judge(lived, log).faults)
