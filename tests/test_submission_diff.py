"""npr diff: what changed between two submissions of a period, by table and department."""

from __future__ import annotations

import polars as pl

from schemas.contract import load_contract
from transforms.content.submission_diff import compare, summed, told

SECRET = b"0" * 32


def _rows(episodes: dict[str, str], codes: dict[str, list[str]]) -> dict[str, pl.DataFrame]:
    """episodes: id -> department; codes: id -> its diagnoses."""
    lines = [(e, n, c) for e, found in codes.items() for n, c in enumerate(found)]
    return {
        "episodes": pl.DataFrame({"episodeID": list(episodes), "avdelingID": list(episodes.values()), "_row": 1}),
        "conditions": pl.DataFrame(
            {name: [line[n] for line in lines] for n, name in enumerate(("episodeID", "kodeNr", "kodeVerdi"))}
        ),
    }


def _told(episodes: dict[str, str], codes: dict[str, list[str]]) -> pl.DataFrame:
    return summed([told(load_contract(), _rows(episodes, codes), "unit", SECRET)])


BEFORE = _told({"e1": "A", "e2": "A", "e3": "B", "e4": "B"}, {"e1": ["J18"], "e2": ["I10", "E11"], "e3": ["K35"]})


def test_the_same_again_is_no_change() -> None:
    found = compare(BEFORE, BEFORE.sample(fraction=1, shuffle=True, seed=1))
    assert found.select("new", "gone", "changed").sum().row(0) == (0, 0, 0)
    assert found.select("table", "department", "rows_before", "rows_after").rows() == [
        ("conditions", "A", 3, 3),
        ("conditions", "B", 1, 1),
        ("episodes", "A", 2, 2),
        ("episodes", "B", 2, 2),
    ]


def test_new_gone_changed_and_moved_count_where_they_are() -> None:
    after = _told(
        {"e1": "A", "e2": "C", "e4": "B", "e5": "B"},  # e2 moved, e3 gone, e5 new
        {"e1": ["J18"], "e2": ["E11", "I10"], "e4": ["S72"], "e5": ["Z00", "Z01"]},
    )
    found = compare(BEFORE, after)
    columns = ("table", "department", "rows_before", "rows_after", "new", "gone", "changed")
    assert found.select(*columns).rows() == [
        ("conditions", "A", 1, 1, 0, 0, 0),
        ("conditions", "B", 1, 3, 2, 1, 0),
        ("conditions", "C", 2, 2, 0, 0, 1),  # the order of the codes changed, as their numbers say
        ("episodes", "A", 1, 1, 0, 0, 0),
        ("episodes", "B", 2, 2, 1, 1, 0),
        ("episodes", "C", 1, 1, 0, 0, 1),
    ]


def test_nothing_kept_tells_a_value_without_the_secret() -> None:
    text = BEFORE.select("record", "content").write_csv()
    assert not any(value in text for value in ("J18", "I10", "K35"))
    other = summed([told(load_contract(), _rows({"e1": "A"}, {"e1": ["J18"]}), "unit", b"1" * 32)])
    assert not set(other["content"]) & set(BEFORE["content"])
