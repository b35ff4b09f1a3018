"""Processes of their own without their imports: one process imports what all of them need, and forks each.

Belongs here: the nursery and how it is spoken to. Does not belong here: what a child does (``kill_matrix``,
``test_killed``). A nursery must have asked Polars for nothing before it forks: its threads do not go with a fork.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from conftest import ROOT

Run = Callable[..., int]


def serve(job: Run) -> None:
    """In the nursery: for each line of the input, ``job`` with what the line says, in a child; answer with its end."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os._exit(job(**json.loads(line)))
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201 - the answer of the nursery


@contextmanager
def nursery(program: str, preload: str = "") -> Iterator[Run]:
    """A function that has a job done in a process of its own, and gives its exit code: -9 when it was killed.

    program: Python that ends in ``serve``. preload: a library that its processes load before all others.
    """
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}"}
    environment |= {"LD_PRELOAD": preload} if preload else {}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as server:
        assert server.stdin
        assert server.stdout
        pipe_in, pipe_out = server.stdin, server.stdout

        def run(**job: object) -> int:
            pipe_in.write(json.dumps(job) + "\n")
            pipe_in.flush()
            return int(pipe_out.readline())

        yield run
        pipe_in.close()
