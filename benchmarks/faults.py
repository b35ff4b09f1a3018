"""The n-th call to the file system fails, for n = 1 to N by steps, over every channel that writes files.

    .venv/bin/python benchmarks/faults.py [--channel NAME|all] [--errors ENOSPC,EIO,EACCES] [--step 20] [--sizes 16]

For ENOSPC, EIO and EACCES, once and from that call on; then real disks (tmpfs) of growing size until all fits, where
this user may mount one. Prints one line of figures each, and what was not as it must be; exit code 1 then.
"""

from __future__ import annotations

import argparse
import errno
import random
import resource
import shutil
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent.parent), str(Path(__file__).parent.parent / "tests")]

import faults  # noqa: E402 - after the path to it
from kill_matrix import CHANNELS, Matrix, matrix, nursery, quick_room  # noqa: E402


def main() -> int:
    """Run it; 0 when each fault was refused clearly or did not matter, and all arrived once in the end."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--channel", choices=[*CHANNELS, "all"], default="all")
    words.add_argument("--errors", type=kinds, default=faults.KINDS)
    words.add_argument("--step", type=int, default=20)
    words.add_argument("--sizes", type=int, default=16)
    given = words.parse_args()
    channels = [name for name in CHANNELS if name != "wire"] if given.channel == "all" else [given.channel]
    bad = 0
    with quick_room() as own, faults.preload(own) as library, nursery(library) as job:
        for channel in channels:
            with quick_room() as room, matrix(job, channel, room) as made:
                for error in given.errors:
                    bad += by_call(made, room, error, given.step)
                bad += by_size(made, room, given.sizes)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(f"{sum(one.ru_utime + one.ru_stime for one in used):.0f} s CPU")
    return int(bad > 0)


def kinds(text: str) -> tuple[int, ...]:
    """Error numbers of names parted by commas; ValueError for one that is not tried here."""
    named = {errno.errorcode[kind]: kind for kind in faults.KINDS}
    if strange := [name for name in text.split(",") if name not in named]:
        raise ValueError(f"no such error: {', '.join(strange)}; known: {', '.join(named)}")
    return tuple(named[name] for name in text.split(","))


def by_call(made: Matrix, room: Path, error: int, step: int) -> int:
    """All histories of one error; how many were not as they must be."""
    number = faults.calls(made, room / f"calls-{error}", error)
    said = faults.Said()
    dice = random.Random(f"{made.channel} {error}")
    for for_good in (False, True):
        for call in range(dice.randint(1, step), number + 1, step):
            place = room / f"{error}-{call}-{for_good}"
            faults.failing(made, place, error, call, said, for_good=for_good)
            shutil.rmtree(place)
    return told(f"{made.channel}, {errno.errorcode[error]} {said.runs} histories over {number} calls", said)


def by_size(made: Matrix, room: Path, sizes: int) -> int:
    """Real disks that are full: of 16 KiB and more, in steps, until a whole run fits."""
    said = faults.Said()
    for size in range(16_384, 16_384 * (sizes + 1), 16_384):
        faults.full(made, room / f"disk-{size}", size, said)
    return told(f"{made.channel}, full disks of {sizes} sizes", said)


def told(what: str, said: faults.Said) -> int:
    """Print the figures, and what is wrong with them."""
    count = said.count
    print(
        f"{what}: refused {said.refused}, did not matter {said.unharmed}; in doubt {count.in_doubt}, "
        f"by a person {count.by_person}, lost {count.lost}, twice {count.twice}, unresolved {count.unresolved}",
        flush=True,
    )
    print("".join(f"  BAD {line}\n" for line in said.bad), end="", flush=True)
    return len(said.bad) + count.lost + count.twice + count.unresolved


if __name__ == "__main__":
    sys.exit(main())
