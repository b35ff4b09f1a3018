"""Whether the cases of the content rules notice a change of a rule.

    .venv/bin/python benchmarks/mutate_rules.py [--rule ID]

Each rule is changed in one small thing at a time (``tests/rule_mutants.py``), and its cases in ``tests/rules`` asked.
A change that gives every row the verdict it had before survives. Exits 1 when fewer than 95 in 100 are noticed. A rule
that cannot be asked any more is noticed too, without a case, and counted apart.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import click

sys.path[:0] = [str(Path(__file__).parent.parent), str(Path(__file__).parent.parent / "tests")]

from rule_cases import RULES, answers, read_cases  # noqa: E402 - after the path to it
from rule_mutants import changed, code_mutants, function_mutants, in_place_of, same_in_meaning, sql_mutants  # noqa: E402

GOAL = 0.95


SURVIVES, NOTICED, REFUSED = "survives", "noticed", "refused"


def verdicts(rule: str) -> Iterator[tuple[str, str]]:
    """Each change of a rule, and what becomes of it."""
    case, own = read_cases()[rule], RULES[rule]
    if own.wrong is not None:
        for what, sql in sql_mutants(own.wrong):
            mutant = changed(own, sql)
            if mutant is not None:
                yield what, _differs(partial(answers, case, mutant), case.expected)
    elif own.codes is not None:
        for what, mutant in code_mutants(own):
            yield what, _differs(partial(answers, case, mutant), case.expected)
    elif own.function is not None:
        for what, function in function_mutants(own.function):
            with in_place_of(own.function, function):
                yield what, _differs(partial(answers, case), case.expected)


def _differs(ask: Callable[[], list[str]], expected: list[str]) -> str:
    try:
        return NOTICED if ask() != expected else SURVIVES
    except Exception:  # noqa: BLE001 - whatever it is that the rule cannot be asked for
        return REFUSED


@click.command()
@click.option("--rule", "only", multiple=True, help="only this rule, repeatable")
def main(*, only: tuple[str, ...]) -> None:
    """Change, ask, count."""
    counts: Counter[str] = Counter()
    for rule in only or RULES:
        for what, became in verdicts(rule):
            if became == SURVIVES and same_in_meaning(rule, what):
                counts["same"] += 1
                continue
            counts[became] += 1
            if became == SURVIVES:
                click.echo(f"survives: {rule}: {what}")
    killed = counts[NOTICED] + counts[REFUSED]
    total = killed + counts[SURVIVES]
    share = killed / total if total else 1.0
    click.echo(
        f"{killed} of {total} changes noticed ({share:.1%}), {counts[REFUSED]} of them because the rule cannot be "
        f"asked any more; {counts['same']} more mean the same"
    )
    sys.exit(share < GOAL)


if __name__ == "__main__":
    main()
