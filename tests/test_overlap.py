"""Two cumulative reports: what came late, was changed or vanished."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest
from spec import CONTRACT, same, staged

from schemas.period import Period
from transforms.content.overlap import EPISODES, KEPT, compare, counts, kept, told

FEBRUARY, MARCH = Period.parse("2020-M02"), Period.parse("2020-M03")
SECRET = b"s" * 32


def rows(n: int = 40) -> dict[str, pl.DataFrame]:
    """Episodes E0 to E39, one every second day from 1 January, each with a condition and a procedure."""
    start = dt.datetime(2020, 1, 1, 9)
    lines = [
        (f"E{i}", f"P{i % 7}", start + dt.timedelta(days=2 * i), start + dt.timedelta(days=2 * i, hours=3))
        for i in range(n)
    ]
    text = "\n".join(f"{e} | {p} | {a} | {b} | 3 | A1" for e, p, a, b in lines)
    coded = "\n".join(f"{e} | 1 | 1 | J18{i % 9}" for i, (e, *_) in enumerate(lines))
    done = "\n".join(f"{e} | 1 | {a} | 1 | 1 | 1 | ABC{i % 9}0" for i, (e, _, a, _) in enumerate(lines))
    return {
        "episodes": staged(
            "episodes", "episodeID | pasientNr | innDatoTid | utDatoTid | omsorgsniva | avdelingID\n" + text
        ),
        "conditions": staged("conditions", "episodeID | tilstNr | kodeNr | kodeVerdi\n" + coded),
        "procedures": staged(
            "procedures",
            "episodeID | tjenesteNr | startDatoTid | tiltakNr | prosNr | kodeNr | kodeVerdi\n" + done,
        ),
    }


def only(tables: dict[str, pl.DataFrame], keep: pl.Expr) -> dict[str, pl.DataFrame]:
    wanted = tables["episodes"].filter(keep)["episodeID"]
    return {name: frame.filter(pl.col("episodeID").is_in(wanted.implode())) for name, frame in tables.items()}


def report(tables: dict[str, pl.DataFrame], period: Period, earlier: Period | None = None) -> pl.DataFrame:
    reported = only(tables, pl.col("innDatoTid").dt.date() <= period.end)
    return told(CONTRACT, reported, period, earlier, "nordfjell", SECRET)


def number() -> pl.Expr:
    return pl.col("episodeID").str.slice(1).cast(pl.Int64)


def test_three_deleted_five_changed_nine_late() -> None:
    whole = rows()
    february = kept(report(only(whole, ~number().is_in([2, 3, 5, 7, 11, 13, 17, 19, 23])), FEBRUARY))
    corrected = only(whole, ~number().is_in([0, 1, 4]))
    changed = number().is_in([6, 8, 9, 10, 12])
    corrected["episodes"] = corrected["episodes"].with_columns(
        omsorgsniva=pl.when(changed).then(pl.lit("2")).otherwise("omsorgsniva")
    )
    found = compare(report(corrected, MARCH, FEBRUARY), february, FEBRUARY)
    assert counts(found) == {"late": 9, "changed": 5, "vanished": 3}
    assert found["record"].n_unique() == 17
    # Twelve episodes more began in March: they are no news about February.
    assert report(corrected, MARCH).height - february.height == 12 - 3 + 9 - 2


@pytest.mark.parametrize(
    ("what", "table", "spoil", "expected"),
    [
        ("nothing", "episodes", {}, 0),
        ("a code of a condition", "conditions", {"kodeVerdi": "Z000"}, 1),
        ("the department", "episodes", {"avdelingID": "A2"}, 1),
        ("another patient", "episodes", {"pasientNr": "P99"}, 1),
        ("the place in the file", "episodes", {"_row": 99}, 0),
        ("a column that was empty", "episodes", {"bydel": "030101"}, 1),
    ],
)
def test_what_counts_as_a_change(what: str, table: str, spoil: dict[str, object], expected: int) -> None:
    before = kept(report(rows(5), FEBRUARY))
    after = rows(5)
    hit = pl.col("episodeID") == "E3"
    after[table] = after[table].with_columns(
        pl.when(hit).then(pl.lit(value)).otherwise(pl.col(name)).cast(after[table].schema[name]).alias(name)
        for name, value in spoil.items()
    )
    found = compare(report(after, FEBRUARY, FEBRUARY), before, FEBRUARY)
    assert counts(found) == {"late": 0, "changed": expected, "vanished": 0}, what


def test_a_stay_that_was_open_and_has_ended_since_is_no_change() -> None:
    open_stay = staged(
        "episodes",
        """
        episodeID | pasientNr | innDatoTid       | utDatoTid | utTilstand | omsorgsniva
        E1        | P1        | 2020-02-20 10:00 |           |            | 1
        """,
    )
    ended = staged(
        "episodes",
        """
        episodeID | pasientNr | innDatoTid       | utDatoTid        | utTilstand | omsorgsniva
        E1        | P1        | 2020-02-20 10:00 | 2020-03-03 10:00 | 1          | 1
        """,
    )
    operated = staged(
        "procedures",
        "episodeID | tjenesteNr | startDatoTid | tiltakNr | prosNr | kodeNr\n E1 | 1 | 2020-03-01 08:00 | 1 | 1 | 1",
    )
    before = kept(report({"episodes": open_stay}, FEBRUARY))
    now = {"episodes": ended, "procedures": operated}
    assert counts(compare(report(now, MARCH, FEBRUARY), before, FEBRUARY)) == dict.fromkeys(
        ("late", "changed", "vanished"), 0
    )
    # Against a report of March it would be one.
    assert counts(compare(report(now, MARCH, MARCH), before, MARCH))["changed"] == 1


def test_the_order_of_rows_does_not_matter() -> None:
    whole = rows(10)
    turned = {name: frame.reverse() for name, frame in whole.items()}
    assert kept(report(whole, FEBRUARY)).equals(kept(report(turned, FEBRUARY)))


def test_neither_key_nor_value_is_kept() -> None:
    frame = kept(report(rows(3), FEBRUARY))
    assert frame.schema == KEPT
    assert not {"E1", "P1", "J181"} & set(str(frame.rows()).split("'"))
    other = told(CONTRACT, rows(3), FEBRUARY, None, "nordfjell", b"t" * 32)
    assert set(other["record"]).isdisjoint(frame["record"])
    assert other.schema == EPISODES


def test_the_department_of_what_came_late_is_told() -> None:
    found = compare(report(rows(3), FEBRUARY, FEBRUARY), kept(report(rows(1), FEBRUARY)), FEBRUARY)
    same(found, "kind | enhet\n late | A1\n late | A1")
