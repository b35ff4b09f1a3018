"""Measures what the guard adds to the making of a part: an identity message and an activity message of given sizes.

Belongs here: made-up documents of the real shape and the clock. Does not belong here: data of anybody. Exit code 1 when
the goal (25 MB of activity or 100 000 identities in a second) is missed by the processor time of this process.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import click
import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from guarded import numbers

from transforms.content.guard import Expected, inspect, numbers_in
from transforms.shipping.envelope import HeadMessage, Party, head

OWN = "900000022"
GOAL_BYTES, GOAL_PERSONS = 25_000_000, 100_000
EPISODE = (
    '<Episode episodeID="E{n:08d}" innDatoTid="2020-02-03T08:00:00" utDatoTid="2020-02-03T09:00:00" omsorgsniva="3" '
    'komNrHjem="0301" fraInstitusjonID="974633574"><Kontakt kontaktType="2" stedAktivitet="1"/>'
    '<RefEnhet enhetID="E1" typeEnhet="1"/></Episode>'
)


def document(module: str, inner: str) -> tuple[bytes, bytes]:
    """Document and body around the patients."""
    party = Party("NPR", "1", Party("NPR", "0"))
    around = head(HeadMessage(f"NPR_{module}", module, "m", "2020-05-04T03:00:00+02:00", Party("A", "2"), party))
    body = f'<Melding xmlns="urn:x"><Institusjon institusjonID="{OWN}">{inner}</Institusjon></Melding>'.encode()
    return around[0] + body + around[1], body


def measure(module: str, inner: str) -> tuple[float, int]:
    """Processor seconds and bytes of one inspection."""
    made, body = document(module, inner)
    start = time.process_time()
    inspect(made, body, (module, 1), Expected(OWN))
    return time.process_time() - start, len(made)


def by_chance(count: int) -> float:
    """Share of random eleven digits that are somebody's number by form."""
    digits = np.random.default_rng(1).integers(0, 10**11, count)
    text = " , ".join(pl.Series(digits).cast(pl.String).str.zfill(11))
    return sum(numbers_in(text.replace(",", "x")).values()) / count


@click.command()
@click.option("--persons", default=100_000, show_default=True)
@click.option("--episodes", default=200_000, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(*, persons: int, episodes: int, as_json: bool) -> None:
    """Processor seconds of both, and how often chance makes a number."""
    fids = numbers(persons)
    people = "".join(f'<PasientIdent pid="P{n:07d}" fid="{fid}" typeID="1"/>' for n, fid in enumerate(fids))
    ide, _ = measure("ide", people)
    activity, size = measure("ord", "".join(EPISODE.format(n=n) for n in range(episodes)))
    figures = {
        "persons": len(fids),
        "ide_seconds": round(ide, 2),
        "activity_bytes": size,
        "activity_seconds": round(activity, 2),
        "by_chance": round(by_chance(1_000_000), 5),
    }
    print(json.dumps(figures) if as_json else "\n".join(f"{name}: {value}" for name, value in figures.items()))
    sys.exit(1 if ide > len(fids) / GOAL_PERSONS or activity > size / GOAL_BYTES else 0)


if __name__ == "__main__":
    main()
