"""Known faults in load data: all rules find exactly these, and nothing in the same data without them.

The same over 1 000 000 episodes: ``benchmarks/planted_faults.py``.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl
from planted import asked, clean, codes_of, spoiled

from schemas.known_rules import known_rules
from transforms.sample.faults import NOT_PLANTED, PLANTED

EPISODES, PATIENTS, OF_A_KIND = 1000, 700, 4


def test_findings_are_the_planted_faults_exactly(tmp_path: Path) -> None:
    whole = clean(EPISODES, PATIENTS)
    codes = codes_of(whole)
    faulty, planted = spoiled(whole, OF_A_KIND)
    assert planted["fault"].n_unique() >= 300
    assert set(planted["rule"]) | set(NOT_PLANTED) == set(known_rules())
    assert not set(planted["rule"]) & set(NOT_PLANTED)
    nothing = asked(tmp_path / "clean", whole, codes, pl.DataFrame(schema=PLANTED))
    assert nothing.false.rows() == []
    assert not nothing.record.unchecked
    told = asked(tmp_path / "faulty", faulty, codes, planted)
    assert told.missed.rows() == []
    assert told.false.rows() == []
    assert not told.record.unchecked
    # The comparison sees a fault that is not looked for, and one that nothing finds.
    fewer = asked(tmp_path / "clean", whole, codes, planted.head(1))
    assert fewer.missed.height == 1
