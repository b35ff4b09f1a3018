"""Who holds the claim of a submission: this process, told apart from every other.

Belongs here: the name of a process and whether a named one is gone. Does not belong here: the claim (``book``).
"""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path

_HERE = uuid.uuid4().hex[:12]


def owner() -> str:
    """Name of this process: machine, process number, and a number of its own."""
    return f"{_machine()}/{os.getpid()}/{_HERE}"


def is_gone(name: str) -> bool:
    """Whether it is certain that the process is over. False for one on another machine: only its lease can tell."""
    machine, _, rest = name.partition("/")
    pid = rest.partition("/")[0]
    if machine != _machine() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _machine() -> str:
    """Host and space of process numbers: two containers may share a host's name, and never its numbers."""
    space = Path("/proc/self/ns/pid")
    inode = space.stat().st_ino if space.exists() else 0
    boot = Path("/proc/sys/kernel/random/boot_id")
    started = boot.read_text(encoding="ascii").strip()[:8] if boot.exists() else ""
    return f"{socket.gethostname()}:{started}:{inode}"
