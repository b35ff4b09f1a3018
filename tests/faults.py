"""A file system that says no at the n-th call: what must hold then, whichever call it was.

Belongs here: arming ``failing_calls.c`` in a process of ``kill_matrix.nursery``, real limits (a full tmpfs, a largest
file size, rights taken away), and what is looked at afterwards. Does not belong here: how many calls
(``test_kill_matrix``, ``benchmarks``).

The calls are those of the C library, so what SQLite does counts as well as what Python does.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kill_matrix import Count, Matrix, work

from pipelines.ledger.book import ledger_of
from schemas.submission_states import OPEN

SOURCE = Path(__file__).parent / "failing_calls.c"
OPEN_READ, OPEN_WRITE, READ, WRITE, SYNC, NAME, REMOVE, MODE = (1 << n for n in range(8))
KINDS = {
    errno.ENOSPC: OPEN_WRITE | WRITE | SYNC | NAME,
    errno.EIO: OPEN_READ | OPEN_WRITE | READ | WRITE | SYNC | NAME,
    errno.EACCES: OPEN_READ | OPEN_WRITE | NAME | REMOVE | MODE,
}
"""Which calls may say this."""
ENOUGH = 64 << 20
BELOW = ("home", "drop", ".staging-drop")
"""Folders of a history whose calls fail; the receiver's own are not among them."""


@contextmanager
def preload(room: Path) -> Iterator[str]:
    """The library to start a nursery with; "" where there is no compiler."""
    compiler, made = shutil.which("cc"), room / "failing_calls.so"
    if compiler:
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(made), str(SOURCE), "-ldl"], check=True)
    yield str(made) if compiler else ""


# --- acts of the nursery's processes ----------------------------------------------------------------------------------


def work_failing(home: Path, error: int, call: int, for_good: bool, **given: Any) -> None:  # noqa: ANN401, FBT001
    """``kill_matrix.work`` with one call, or all from that one on, failing. call 0: only count them."""
    library = ctypes.CDLL(None)
    library.failing_passed.restype = ctypes.c_long
    for name in BELOW:
        library.failing_below(os.fsencode(home.parent / name))
    library.failing_arm(KINDS[error], error, ctypes.c_long(call), int(for_good))
    try:
        work(home, **given)
    finally:
        number = library.failing_passed()
        library.failing_arm(0, 0, ctypes.c_long(0), 0)
        (home.parent / "calls").write_text(str(number), encoding="utf-8")


def work_limited(home: Path, largest: int, **given: Any) -> None:  # noqa: ANN401
    """``kill_matrix.work`` where no file may grow beyond so many bytes; the system says EFBIG."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    try:
        work(home, **given)
    finally:
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


class _Head(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


PASSES_RIGHTS = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


def work_by_rights(home: Path, **given: Any) -> None:  # noqa: ANN401
    """``kill_matrix.work`` where rights of files hold: root gives up passing them by, and stays who he is.

    So the project itself stays readable, wherever it lies.
    """
    if os.geteuid() == 0:
        library, head, sets = ctypes.CDLL(None), _Head(0x20080522, 0), (_Sets * 2)()  # _LINUX_CAPABILITY_VERSION_3
        assert library.capget(ctypes.byref(head), sets) == 0
        sets[0].effective &= ~PASSES_RIGHTS
        sets[0].permitted &= ~PASSES_RIGHTS
        assert library.capset(ctypes.byref(head), sets) == 0
    work(home, **given)


# --- what must hold ---------------------------------------------------------------------------------------------------


@dataclass
class Said:
    """What became of histories with a fault. bad: what must not be, one line each."""

    runs: int = 0
    refused: int = 0
    unharmed: int = 0  # the call did not matter
    bad: list[str] = field(default_factory=list)
    count: Count = field(default_factory=Count)


def calls(made: Matrix, room: Path, error: int) -> int:
    """How many calls of an undisturbed run may say this error."""
    room.mkdir()
    home = room / "home"
    assert made.run(home, act="faults.work_failing", error=error, call=0, for_good=False) == 0, made.said(home)
    return int((room / "calls").read_text(encoding="utf-8"))


def failing(made: Matrix, room: Path, error: int, call: int, said: Said, *, for_good: bool) -> None:
    """One history with one fault, then let run to its end."""
    room.mkdir()
    home, name = room / "home", f"{made.channel}, {errno.errorcode[error]} at call {call}{' and on' * for_good}"
    code = made.run(home, act="faults.work_failing", error=error, call=call, for_good=for_good)
    look(made, home, code, name, said)


def look(made: Matrix, home: Path, code: int, name: str, said: Said) -> None:
    """The fault was refused with a clear message or did not matter, what was there is whole, and all goes on."""
    said.runs += 1
    said.refused += code == 1
    said.unharmed += code == 0
    if code not in {0, 1}:
        said.bad.append(f"{name}: ended with {code}: {made.said(home)}")
    elif code == 1 and not _is_clear(made.said(home)):
        said.bad.append(f"{name}: no clear message: {made.said(home)}")
    if (home / "ledger.sqlite").exists():
        if (broken := _broken(home)) != "ok":
            said.bad.append(f"{name}: the ledger: {broken}")
        said.count.in_doubt += len(ledger_of(home).parts_in(OPEN))
    made.arrived(home)  # the receiver deals with what it got, and answers
    made.once(home.parent, [], said.count)


def full(made: Matrix, room: Path, size: int, said: Said) -> None:
    """One history on a disk of so many bytes, then made larger. Where none may be mounted, a largest file size."""
    with small_disk(room / "disk", size) as mounted:
        home = room / "disk" / "home"
        if mounted:
            code = made.run(home)
            grow(room / "disk", ENOUGH)
        else:
            code = made.run(home, act="faults.work_limited", largest=size)
        look(made, home, code, f"{made.channel}, {'a disk' if mounted else 'files'} of {size} bytes", said)


def _is_clear(text: str) -> bool:
    """What, and how to mend it; no word of Python."""
    return "\n  fix: " in text and "Error(" not in text and "Traceback" not in text


def _broken(home: Path) -> str:
    with sqlite3.connect(home / "ledger.sqlite") as link:
        found = str(link.execute("PRAGMA integrity_check").fetchone()[0])
    link.close()
    return found


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[bool]:
    """A tmpfs of so many bytes at a new folder; False where this user may not mount one. Gone when the block ends."""
    place.mkdir(parents=True)
    if os.geteuid() or not (mount := shutil.which("mount")):
        yield False
        return
    done = subprocess.run([mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=False)
    try:
        yield done.returncode == 0
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", str(place)], check=True)


def grow(place: Path, size: int) -> None:
    """Make room on a small disk."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(place)], check=True)
