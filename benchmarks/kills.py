"""kill -9 over every channel, two schedulers at once, and forced resends: what the receivers got is counted.

    .venv/bin/python benchmarks/kills.py [--channel NAME|all] [--histories 510] [--seed TEXT] [--resends 1000]
                                         [--races 1000] [--postgres-races 100]

Each history is killed at one to three points, chosen so that every point of an undisturbed run is met, and then let run
to its end. Prints one line of figures per channel; exit code 1 when anything was lost, sent twice or left in doubt, or
when the control without the ledger sent nothing twice. Races over PostgreSQL start a server of their own.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent.parent), str(Path(__file__).parent.parent / "tests")]

from contests import RESULT  # noqa: E402 - after the path to it
from kill_matrix import (  # noqa: E402
    CHANNELS,
    Count,
    Job,
    matrix,
    nursery,
    quick_room,
    random_kills,
    summary,
)
from servers import postgres_programs, running_postgres  # noqa: E402

CONTROLS = 12
ROUNDS = 50  # of races over one ledger


def main() -> int:
    """Run what was asked for; 0 when all figures are what they must be."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--channel", choices=[*CHANNELS, "all"], default="all")
    words.add_argument("--histories", type=int, default=510)
    words.add_argument("--races", type=int, default=1000)
    words.add_argument("--resends", type=int, default=1000)
    words.add_argument("--postgres-races", type=int, default=100)
    words.add_argument("--seed", default="", help="other histories than those of another seed")
    given = words.parse_args()
    channels = list(CHANNELS) if given.channel == "all" else [given.channel]
    places: set[str] = set()
    bad = 0
    with nursery() as job:
        for channel in channels:
            if given.histories:
                bad += histories(job, channel, -(-given.histories // len(channels)), given.seed, places)
            if given.resends:
                bad += resends(job, channel, given.resends)
        if given.races:
            bad += races(job, given.races, "")
        programs = postgres_programs()
        if given.postgres_races and programs:
            with running_postgres(programs) as server:
                bad += races(job, given.postgres_races, server.create("races"))
    print(f"named points killed at: {len(places)}: {', '.join(sorted(places))}")
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(f"{sum(one.ru_utime + one.ru_stime for one in used):.0f} s CPU")
    return int(bad > 0)


def histories(job: Job, channel: str, number: int, seed: str, places: set[str]) -> int:
    """Histories of one channel, and the control; how much of it is not as it must be."""
    count, control = Count(), Count()
    with quick_room() as room, matrix(job, channel, room) as made:
        points = made.points(room / "whole")
        dice = random.Random(channel + seed)
        offset = dice.randrange(len(points))
        for n in range(number):
            first = (n * max(len(points), number) // number + offset) % len(points) + 1
            made.once(room / str(n), [f"*#{first}", *random_kills(dice, len(points))[1:]], count)
        for n in range(CONTROLS):
            kill = f"*#{dice.randint(len(points) // 3, len(points))}"
            made.once(room / f"control-{n}", [kill], control, ledger_on=False)
    places |= set(count.places)
    told = summary(count) | {"control_twice": control.twice, "named_points": len(set(points))}
    print(f"{channel}: {told}", flush=True)
    return count.lost + count.twice + count.unresolved + (not control.twice)


def resends(job: Job, channel: str, times: int) -> int:
    """Forced resends of one part; 0 when all that arrived are the same bytes under one MsgId."""
    with quick_room() as room, matrix(job, channel, room) as made:
        code = made.run(room / "home", act="contests.resends", times=times)
        assert code == 0, made.said(room / "home")
        found = json.loads((room / RESULT).read_bytes())
    print(f"{channel}, forced resends: {found}", flush=True)
    return int((found["arrived"], found["forms"], found["ours"]) != (times + 1, 1, 1))


def races(job: Job, number: int, url: str) -> int:
    """Races of two processes; 0 when in each of them one submitted, and each part arrived once."""
    total: dict[str, int] = {}
    while total.get("rounds", 0) < number:
        with quick_room() as room:
            rounds = number if url else min(ROUNDS, number)  # one database, one ledger
            code = job(room / "home", act="contests.race", rounds=rounds, url=url)
            assert code == 0, (room / "said").read_text(encoding="utf-8")
            found = json.loads((room / RESULT).read_bytes())
        total = {name: total.get(name, 0) + value for name, value in found.items()}
    print(f"races over {'PostgreSQL' if url else 'SQLite'}: {total}", flush=True)
    return len({total[name] for name in ("rounds", "started", "sent", "arrived", "begun")}) - 1


if __name__ == "__main__":
    sys.exit(main())
