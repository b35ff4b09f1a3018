"""Known faults in load data of any size: all rules must find these and nothing else.

    .venv/bin/python benchmarks/planted_faults.py --episodes 1000000

Makes clean load data, puts up to ``--of-a-kind`` faults of each kind into patients of their own, stages them, asks all
rules, and compares. Exits 1 for one fault missed or one false alarm.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
from pathlib import Path

import click

sys.path[:0] = [str(Path(__file__).parent.parent), str(Path(__file__).parent.parent / "tests")]

from planted import asked, clean, codes_of, spoiled  # noqa: E402 - after the path to it

PATIENTS_PER_EPISODE = 0.3


@click.command()
@click.option("--episodes", default=1_000_000, show_default=True)
@click.option("--of-a-kind", default=40, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(*, episodes: int, of_a_kind: int, as_json: bool) -> None:
    """Plant, ask, compare."""
    whole = clean(episodes, max(round(episodes * PATIENTS_PER_EPISODE), min(episodes, 700)))
    codes = codes_of(whole)
    faulty, planted = spoiled(whole, of_a_kind)
    del whole
    with tempfile.TemporaryDirectory() as room:
        told = asked(Path(room), faulty, codes, planted)
    figures = {
        "episodes": episodes,
        "faults": told.faults,
        "rules": planted["rule"].n_unique(),
        "findings": planted.height,
        "missed": told.missed.height,
        "false": told.false.height,
        "seconds": round(told.seconds, 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    if as_json:
        click.echo(json.dumps(figures))
    else:
        click.echo(
            f"{episodes} episodes: {told.faults} faults of {figures['rules']} rules, {planted.height} findings wanted: "
            f"{told.missed.height} missed, {told.false.height} false alarms; rules and review {told.seconds:.1f} s"
        )
        for name, lines in (("missed", told.missed), ("false alarm", told.false)):
            for line in lines.head(20).rows(named=True):
                click.echo(f"{name}: {line['rule']} {line['table']} {line['_row']}")
    sys.exit(bool(told.missed.height or told.false.height))


if __name__ == "__main__":
    main()
