"""Judges seeded identity numbers with ``transforms.identity_numbers`` and with python-stdnum, in turns.

Belongs here: a seeded column of numbers, the measuring, and the check that both agree where they should. Does not
belong here: real data. Exit code 1 when the goal (2 s for 1 000 000 numbers) is missed or a verdict differs.

Numbers: plain and D-numbers with right control digits for the most part, some random digits; none is kept or printed.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import polars as pl
from stdnum.no import fodselsnummer

sys.path.insert(0, str(Path(__file__).parents[1]))

from schemas.identity_facts import identity_facts
from transforms.identity_numbers import classify

GOAL_SECONDS = 2.0
GOAL_NUMBERS = 1_000_000
SEED = 20201


def make_numbers(n: int) -> pl.Series:
    """``n`` numbers: 90 % with right control digits (one in fifty a D-number), 9 % random digits, 1 % with a blank."""
    rng = np.random.default_rng(SEED)
    control = identity_facts().control
    made: list[np.ndarray] = []
    while sum(map(len, made)) < n:
        born = np.datetime64("1940-01-01") + rng.integers(0, 365 * 60, n)
        months = born.astype("datetime64[M]")
        day = (born - months).astype(np.int64) + 1 + 40 * (rng.random(n) < 0.02)
        year = born.astype("datetime64[Y]").astype(np.int64) + 1970
        nine = (day * 100 + months.astype(np.int64) % 12 + 1) * 10**5 + year % 100 * 1000 + rng.integers(0, 500, n)
        digits = nine[:, None] // 10 ** np.arange(8, -1, -1) % 10
        k1 = -(digits @ np.array(control.first)) % 11
        k2 = -(np.column_stack([digits, k1]) @ np.array(control.second)) % 11
        made.append((nine * 100 + k1 * 10 + k2)[(k1 < 10) & (k2 < 10)])
    value = np.concatenate(made)[:n]
    chance = rng.random(n)
    value = np.where(chance < 0.09, rng.integers(0, 10**11, n), value)
    text = pl.Series(value).cast(pl.String).str.zfill(11)
    spaced = text.str.slice(0, 6) + " " + text.str.slice(6)
    return pl.select(pl.when(pl.Series(chance > 0.99)).then(spaced).otherwise(text)).to_series()


def ours(numbers: pl.Series) -> list[bool]:
    """All columns are made; one is handed back."""
    return classify(numbers)["valid"].to_list()


def theirs(numbers: pl.Series) -> list[bool]:
    """The control alone; kind, sex and birth date would come on top."""
    return [fodselsnummer.is_valid(number) for number in numbers.to_list()]


def differing(numbers: pl.Series) -> int:
    """Rows where the verdicts differ beyond the decisions of docs/identity-numbers.md (blanks, series, FH, future)."""
    found = classify(numbers).with_columns(theirs=pl.Series(theirs(numbers)))
    known = (pl.col("reason") == "blank") | pl.col("synthetic").is_in(["tenor", "nhn"]) | (pl.col("kind") == "fh")
    # python-stdnum asks the clock whether a person is born; those are its refusals and not ours.
    unborn = pl.col("birth_date").dt.year() >= time.localtime().tm_year
    return found.filter(~known & ~unborn.fill_null(value=False) & (pl.col("valid") != pl.col("theirs"))).height


def measure(way: Callable[[pl.Series], list[bool]], numbers: pl.Series) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    way(numbers)
    return time.perf_counter() - start


@click.command()
@click.option("--numbers", "count", default=GOAL_NUMBERS, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(*, count: int, rounds: int, as_json: bool) -> None:
    """Measure both in turns; wall-clock seconds, median."""
    numbers = make_numbers(count)
    seconds: dict[str, list[float]] = {"classify": [], "python-stdnum": []}
    for _ in range(rounds):
        seconds["classify"].append(measure(ours, numbers))
        seconds["python-stdnum"].append(measure(theirs, numbers))
    figures = {
        "numbers": count,
        "seconds": {name: round(statistics.median(times), 3) for name, times in seconds.items()},
        "first_call": round(seconds["classify"][0], 3),
        "differing": differing(numbers),
        "load_average": round(os.getloadavg()[0], 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(figures) if as_json else "\n".join(f"{name}: {value}" for name, value in figures.items()))
    late = statistics.median(seconds["classify"]) > GOAL_SECONDS * max(count, GOAL_NUMBERS) / GOAL_NUMBERS
    sys.exit(1 if late or figures["differing"] else 0)


if __name__ == "__main__":
    main()
