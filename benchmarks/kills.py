"""kill -9 in 500 histories and more over every channel, and the control without the ledger.

    .venv/bin/python benchmarks/kills.py [HISTORIES]

Each history is killed at one to three points, chosen so that every point of an undisturbed run is met, and then let run
to its end. Prints one line of figures per channel; exit code 1 when anything was lost, sent twice or left in doubt.
"""

from __future__ import annotations

import datetime as dt
import random
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent.parent), str(Path(__file__).parent.parent / "tests")]

from kill_matrix import (  # noqa: E402 - after the path to it
    CHANNELS,
    Count,
    Wire,
    nursery,
    once,
    points_of,
    quick_room,
    random_kills,
    summary,
)
from ledgers import NOW, T1, prepared, settings  # noqa: E402

from assets.dispatch import hand_over  # noqa: E402
from assets.ports import Note  # noqa: E402
from pipelines import sending  # noqa: E402
from pipelines.ledger.book import ledger_of  # noqa: E402
from schemas.records import Manifest, ShipmentOut  # noqa: E402
from schemas.sending import Receipt  # noqa: E402
from schemas.submission_states import Event  # noqa: E402

RESENDS = 1000


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
    print(f"{RESENDS} forced resends: {resends()} form of the bytes and MsgId")
    return int(bad > 0 or len(places) < 40)


def resends() -> int:
    """How many forms of the bytes of one part arrive in a thousand forced resends; one is right."""
    forms = set()

    class Receiver(Wire):
        def hand_over(self, part: ShipmentOut, path: Path, manifest: Manifest) -> Receipt:
            forms.add((part.msg_id, manifest.submission, path.read_bytes()))
            return Receipt(reference="", at=NOW)

    with quick_room() as room:
        home = room / "home"
        ledger = ledger_of(home)
        manifest = prepared(ledger, home, modules=("ord",))
        run = sending.run_of(settings(home), T1, "rehearsal")
        assert ledger.claim(T1, 1, run.owner, dt.datetime.now(dt.UTC))
        (file,) = manifest.shipments
        folder = run.store.shipments(T1, 1)
        for n in range(RESENDS + 1):
            event = Event.RESEND if n else Event.BEGIN
            hand_over(run, Receiver(room), manifest, file, folder, event, Note("benchmark", NOW))
    return len(forms)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 500))
