"""kill -9 in 500 histories and more over every channel, and the control without the ledger.

    .venv/bin/python benchmarks/kills.py [HISTORIES]

Each history is killed at one to three points, chosen so that every point of an undisturbed run is met, and then let run
to its end. Prints one line of figures per channel; exit code 1 when anything was lost, sent twice or left in doubt.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent.parent), str(Path(__file__).parent.parent / "tests")]

from kill_matrix import (  # noqa: E402 - after the path to it
    CHANNELS,
    Count,
    nursery,
    once,
    points_of,
    quick_room,
    random_kills,
    summary,
)


def main(histories: int) -> int:
    """Run the matrix; 0 when all its figures are what they must be."""
    bad = 0
    places: set[str] = set()
    for channel in CHANNELS:
        count, control = Count(), Count()
        with nursery() as run, quick_room() as room:
            points = points_of(run, room / "whole", channel)
            dice = random.Random(channel)
            for n in range(histories // len(CHANNELS) + 1):
                kills = [f"*#{n % len(points) + 1}", *random_kills(dice, len(points))[1:]]
                once(run, room / str(n), channel, kills, count)
            for n in range(20):
                kill = random_kills(dice, len(points))[:1]
                once(run, room / f"control-{n}", channel, kill, control, ledger_on=False)
        places |= set(count.places)
        figures = {name: value for name, value in summary(count).items() if name != "places"}
        print(f"{channel}: {figures}, named points killed at {len(count.places)}; control: {control.twice} sent twice")
        bad += count.lost + count.twice + count.unresolved
        bad += channel == "wire" and not control.twice  # an outbox is safe to fill twice: its control shows nothing
    print(f"named points killed at: {len(places)}: {', '.join(sorted(places))}")
    return int(bad > 0 or len(places) < 40)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 500))
