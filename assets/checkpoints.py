"""Named points at which a test may kill the process or make an operation fail.

Belongs here: the hook. Does not belong here: tests, and any branch of production code: without the environment
variable a point costs one comparison.

``NPR_TEST_KILL=NAME#N`` kills the process (SIGKILL, as power loss would) when the point is passed for the N-th time;
``NPR_TEST_FAIL=NAME#N:ERRNO`` raises that OSError there. NAME may be ``*`` for any point and ``store.*`` for any of the
store. ``arm`` does the same in a process that runs already.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable

_KILL, _FAIL = "NPR_TEST_KILL", "NPR_TEST_FAIL"


class _Armed:
    kill = os.environ.get(_KILL, "")
    fail = os.environ.get(_FAIL, "")
    seen: Callable[[str], None] | None = None
    passed: Counter[str] = Counter()  # noqa: RUF012 - one process, one count
    on = bool(kill or fail)


def arm(*, kill: str = "", fail: str = "", seen: Callable[[str], None] | None = None) -> None:
    """Set what happens from now on, and count from one. seen: called with the name of each point passed."""
    _Armed.kill, _Armed.fail, _Armed.seen = kill, fail, seen
    _Armed.on = bool(kill or fail or seen)
    _Armed.passed.clear()


def checkpoint(name: str) -> None:
    """Pass a named point."""
    if _Armed.on:
        _passes(name)


def _passes(name: str) -> None:
    if _Armed.seen:
        _Armed.seen(name)
    names = (name, f"{name.partition('.')[0]}.*", "*")
    _Armed.passed.update(names)
    here = {f"{one}#{_Armed.passed[one]}" for one in names}
    if _Armed.kill in here:
        os.kill(os.getpid(), signal.SIGKILL)
    place, _, error = _Armed.fail.partition(":")
    if place in here:
        raise OSError(int(error), os.strerror(int(error)))
