"""The calendar runs the house: simulated years of forty units, and what the oracle says of them.

    .venv/bin/python benchmarks/simulate.py [--years 510] [--jobs 1] [--first-seed 0]

Histories of three years, seed after seed, beginning in 2017, 2018, 2019 and 2020 in turns. Prints a line for each
history and the sum of all: submissions started, messages sent, deadlines met, excused by reason, and every fault with
the seed that shows it again. Exit code 1 when there is a fault. What is simulated stands in docs/scheduling.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent.parent), str(Path(__file__).parent.parent / "tests")]

from simulated_world import world  # noqa: E402 - after the path to it
from simulation import House  # noqa: E402
from simulation_oracle import Verdict, judge  # noqa: E402

YEARS = 3
FIRST_YEARS = (2017, 2018, 2019, 2020)


def history(seed: int) -> tuple[int, Verdict, Counter[str]]:
    """One history: its verdict and counts."""
    begin = time.process_time()
    lived = world(seed, FIRST_YEARS[seed % len(FIRST_YEARS)], YEARS)
    log = House(lived).run()
    verdict = judge(lived, log)
    count = Counter(
        units=len(lived.units),
        runs=log.starts,
        killed=log.kills,
        made=len(log.made),
        messages=len(log.handed),
        approvals=sum(said.given for said in log.said),
        refused=len(log.refused),
    )
    count["milliseconds"] = round(1000 * (time.process_time() - begin))
    return seed, verdict, count


def main() -> int:
    """Run them; 0 when no history has a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--years", type=int, default=510)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    given = parser.parse_args()
    seeds = range(given.first_seed, given.first_seed + -(-given.years // YEARS))
    whole, counts = Verdict(), Counter[str]()
    with ProcessPoolExecutor(given.jobs) as pool:
        for seed, verdict, count in pool.map(history, seeds):
            whole.add(verdict)
            counts += count
            faults = "".join(f"\n  {fault}" for fault in verdict.faults)
            print(
                f"seed {seed} from {FIRST_YEARS[seed % len(FIRST_YEARS)]}: {verdict.met} met, "
                f"{sum(verdict.excused.values())} excused, {len(verdict.faults)} faults{faults}",
                flush=True,
            )
    years = YEARS * len(seeds)
    seconds = counts.pop("milliseconds") / 1000
    print(f"{years} years, {seconds:.0f} s CPU, {seconds / years:.2f} s a year")
    print(", ".join(f"{name} {number}" for name, number in counts.items()))
    print(f"deadlines met {whole.met}; missed, and could not be met {sum(whole.excused.values())}:")
    for reason, number in whole.excused.most_common():
        print(f"  {number:6}  {reason}")
    print(f"faults {len(whole.faults)}")
    return int(bool(whole.faults))


if __name__ == "__main__":
    sys.exit(main())
