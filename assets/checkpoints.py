"""Named points at which a test may kill the process or make an operation fail.

Belongs here: the hook. Does not belong here: tests, and any branch of production code: without the environment
variable a point costs one comparison.

``NPR_TEST_KILL=NAME#N`` kills the process (SIGKILL, as power loss would) when the point is passed for the N-th time;
``NPR_TEST_FAIL=NAME#N:ERRNO`` raises that OSError there; ``NPR_TEST_POINTS=FILE`` writes the names passed to a file.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

_KILL = os.environ.get("NPR_TEST_KILL")
_FAIL = os.environ.get("NPR_TEST_FAIL")
_POINTS = os.environ.get("NPR_TEST_POINTS")
_ON = bool(_KILL or _FAIL or _POINTS)
_passed: Counter[str] = Counter()


def checkpoint(name: str) -> None:
    """Pass a named point."""
    if _ON:
        _passes(name)


def _passes(name: str) -> None:
    _passed[name] += 1
    _passed["*"] += 1
    if _POINTS:
        with Path(_POINTS).open("a", encoding="utf-8") as file:
            file.write(name + "\n")
    if _KILL in {f"{name}#{_passed[name]}", f"*#{_passed['*']}"}:
        os.kill(os.getpid(), signal.SIGKILL)
    place, _, error = (_FAIL or "").partition(":")
    if place in {f"{name}#{_passed[name]}", f"*#{_passed['*']}"}:
        raise OSError(int(error), os.strerror(int(error)))
