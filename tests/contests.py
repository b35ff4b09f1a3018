"""Two schedulers at once, and one part sent again a thousand times: acts for ``kill_matrix.nursery``.

Belongs here: the acts, run in processes of their own, and what they write down. Does not belong here: how often
(``test_kill_matrix``, ``benchmarks``).
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections import Counter
from multiprocessing.synchronize import Barrier
from pathlib import Path
from unittest.mock import patch

from kill_matrix import CHANNELS, Arrived, World, arrived_by_wire, digests, ready, run_over
from ledgers import NOW, T1, prepared, settings

from assets.dispatch import submit
from pipelines.exchange import sending
from pipelines.ledger.engine import URL
from pipelines.ledger.owner import owner
from schemas.errors import DataRefused
from schemas.submission_states import Event

RESULT = "result.json"
REFUSED = "another process sends"
WHO, WHY = "Kari Nordmann", "no answer"


def race(home: Path, rounds: int, url: str = "") -> None:
    """Two processes start the same run and send the same submission at the same time, round after round.

    Writes: rounds, started (by how many of both, over all rounds), sent (parts that arrived once), begun (hand-overs
    that began), refused (of both, told that another one sends). url: of the ledger, else SQLite.
    """
    if url:
        os.environ[URL] = url
    ledger = sending.ledger_for(settings(home))
    msg_ids = [prepared(ledger, home, T1, str(n), ("ord",)).shipments[0].msg_id for n in range(rounds)]
    gate = multiprocessing.get_context("fork").Barrier(2)
    children = [_forked(home, me, rounds, gate) for me in (0, 1)]
    ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    texts = [(home.parent / f"scheduler-{me}.json").read_text(encoding="utf-8") for me in (0, 1)]
    assert ends == [0, 0], texts
    said = [json.loads(text) for text in texts]
    arrived = Counter(msg_id for msg_id, _ in arrived_by_wire(home, {}))
    result = {
        "rounds": rounds,
        "started": sum(one["started"] for one in said),
        "sent": sum(arrived[msg_id] == 1 for msg_id in msg_ids),
        "arrived": arrived.total(),
        "begun": sum(one.event is Event.BEGIN for msg_id in msg_ids for one in ledger.events(msg_id)),
        "refused": sum(one["refused"] for one in said),
    }
    (home.parent / RESULT).write_text(json.dumps(result), encoding="utf-8")


def _forked(home: Path, me: int, rounds: int, gate: Barrier) -> int:
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            _scheduler(home, me, rounds, gate)
            code = 0
        except BaseException as error:  # noqa: BLE001 - the child must end here, whatever it was
            gate.abort()
            (home.parent / f"scheduler-{me}.json").write_text(repr(error), encoding="utf-8")
        os._exit(code)
    return pid


def _scheduler(home: Path, me: int, rounds: int, gate: Barrier) -> None:
    started = refused = 0
    ledger = sending.ledger_for(settings(home))
    for number in range(1, rounds + 1):
        run = run_over(home, "wire", {})
        gate.wait(60)
        started += ledger.start(f"race-{number}", owner(), NOW)
        gate.wait(60)
        try:
            submit(run, number)
        except DataRefused as other:
            if REFUSED not in other.what:
                raise
            refused += 1
    gate.wait(60)
    said = {"started": started, "refused": refused}
    (home.parent / f"scheduler-{me}.json").write_text(json.dumps(said), encoding="utf-8")


def resends(home: Path, channel: str, world: World, times: int) -> None:
    """Send one part, and again so many times because a named person says so; the receiver takes each away.

    Writes: times, arrived (all that the receiver got), forms (different pairs of MsgId and bytes among it), ours (how
    many of these are the bytes that were prepared), decisions (recorded).
    """
    (part,) = ready(home, ("ord",)).shipments
    submit(run_over(home, channel, world), 1)
    got: Arrived = CHANNELS[channel].arrived(home, world)
    assert len(got) == 1
    with patch.object(sending, "run_of", lambda *_: run_over(home, channel, world)):
        for _ in range(times):
            sending.resend(settings(home), part.msg_id, WHO, WHY)
            got = CHANNELS[channel].arrived(home, world)
    forms = set(got)
    ledger = sending.ledger_for(settings(home))
    result = {
        "times": times,
        "arrived": len(got),
        "forms": len(forms),
        "ours": sum(form in {(part.msg_id, digest) for digest in digests(part)} for form in forms),
        "decisions": len(ledger.decisions(T1)),
        "attempts": ledger.part(part.msg_id).attempts,
    }
    (home.parent / RESULT).write_text(json.dumps(result), encoding="utf-8")
