"""Bad input: a clear message with file, row, field, rule and fix; the right exit code; nothing published."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SAMPLE, Outcome, call, call_process

Spoil = Callable[[Path], None]
Copy = Callable[[str], Path]


def _run(folder: Path, home: Path, *more: str, period: str = "2020-T1") -> Outcome:
    return call("run", period, "--unit", "nordfjell", "--extract", folder, "--json", *more, home=home)


def _edit(name: str, change: Callable[[str], str]) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / name
        path.write_bytes(change(path.read_bytes().decode("utf-8-sig")).encode())

    return spoil


def _cell(name: str, column: str, value: str, row: int = 7) -> Spoil:
    """Set one field of one data row (row 1 is the first after the header)."""

    def change(text: str) -> str:
        lines = text.splitlines(keepends=True)
        place = lines[0].rstrip().split(";").index(column)
        fields = lines[row].rstrip("\n").split(";")
        fields[place] = value
        lines[row] = ";".join(fields) + "\n"
        return "".join(lines)

    return _edit(name, change)


def _recount(folder: Path, name: str, more: int) -> None:
    path = folder / "extract.toml"
    text = path.read_text(encoding="utf-8")
    pattern = rf"(\[files\.{name}\][^\[]*?rows = )(\d+)"
    path.write_text(re.sub(pattern, lambda m: f"{m[1]}{int(m[2]) + more}", text), encoding="utf-8")


def _twice(folder: Path) -> None:
    path = folder / "episodes.csv"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([*lines, lines[5]]), encoding="utf-8")
    _recount(folder, "episodes", 1)


def _gone(name: str) -> Spoil:
    return lambda folder: (folder / name).unlink()


def _without_column(name: str, column: str) -> Spoil:
    def change(text: str) -> str:
        rows = [line.split(";") for line in text.splitlines()]
        place = rows[0].index(column)
        return "\n".join(";".join(f for n, f in enumerate(row) if n != place) for row in rows) + "\n"

    return _edit(name, change)


def _cut(name: str) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / name
        content = path.read_bytes()
        path.write_bytes(content[: content.rindex(b";", 0, len(content) - 30)])

    return spoil


def _declare(name: str, line: str) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / "extract.toml"
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(rf"(\[files\.{name}\]\n)", rf"\1{line}\n", text), encoding="utf-8")

    return spoil


def _latin_as_utf8(folder: Path) -> None:
    path = folder / "units.csv"
    path.write_bytes(path.read_bytes().decode("utf-8-sig").encode("cp1252"))
    _declare("units", 'encoding = "utf-8"')(folder)


CASES: list[tuple[str, Spoil, int, list[str]]] = [
    ("missing file", _gone("episodes.csv"), 1, ["episodes.csv", "missing", "files.episodes", "fix:"]),
    ("no extract.toml", _gone("extract.toml"), 2, ["no extract.toml", "fix:"]),
    ("missing column", _without_column("episodes.csv", "debitor"), 1, ["episodes.csv", "debitor", "missing", "fix:"]),
    ("wrong separator", _declare("episodes", 'separator = ","'), 1, ["episodes.csv", "comma", "semicolon", "fix:"]),
    (
        "wrong encoding",
        _latin_as_utf8,
        1,
        ["units.csv", "line", "utf-8", "fix:"],
    ),
    (
        "lost letters",
        _edit("units.csv", lambda t: t.replace("ø", "?")),
        1,
        ["units.csv", "row", "field enhet", "letters", "fix:"],
    ),
    (
        "read as the wrong encoding",
        _edit("units.csv", lambda t: t.encode().decode("cp1252", "replace")),
        1,
        ["units.csv", "letters"],
    ),
    ("cut file", _cut("episodes.csv"), 1, ["episodes.csv", "cut", "fix:"]),
    (
        "fewer rows than the control total",
        lambda f: _recount(f, "episodes", 3),
        1,
        ["episodes.csv", "control total", "1600", "1603", "fix:"],
    ),
    ("duplicate keys", _twice, 1, ["episodes.csv: row 5, 1601", "field episodeID", "duplicate_key", "fix:"]),
    (
        "orphan row",
        _cell("contacts.csv", "episodeID", "E-nowhere"),
        1,
        ["contacts.csv: row 7", "field episodeID", "orphan", "fix:"],
    ),
    (
        "impossible date",
        _cell("referrals.csv", "mottaksDato", "2020-02-31"),
        1,
        ["referrals.csv: row 7", "field mottaksDato", "type", "fix:"],
    ),
    (
        "ends before it starts",
        _cell("episodes.csv", "utDatoTid", "1999-01-01T00:00:00"),
        1,
        ["episodes.csv: row 7", "field utDatoTid", "EPI-03"],
    ),
    (
        "unknown code",
        _cell("episodes.csv", "omsorgsniva", "7"),
        1,
        ["episodes.csv: row 7", "field omsorgsniva", "code"],
    ),
    (
        "required field empty",
        _cell("episodes.csv", "debitor", ""),
        1,
        ["episodes.csv: row 7", "field debitor", "required"],
    ),
    (
        "identity of nobody",
        _cell("identities.csv", "pasientNr", "P-nowhere"),
        1,
        ["identities.csv: row 7", "orphan", "missing_child"],
    ),
    ("unknown setting", _declare("episodes", "colour = 1"), 2, ["extract.toml", "files.episodes.colour", "fix:"]),
    (
        "another unit's extract",
        _edit("extract.toml", lambda t: t.replace('"nordfjell"', '"sorvik"', 1)),
        1,
        ["another unit", "--unit sorvik"],
    ),
    (
        "taken before the period ended",
        _edit("extract.toml", lambda t: t.replace("2021-01-04", "2020-04-01", 1)),
        1,
        ["before 2020-T1 ended", "MSG-06"],
    ),
]


@pytest.mark.parametrize(("spoil", "code", "words"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_bad_input(spoil: Spoil, code: int, words: list[str], extract: Copy, home: Path) -> None:
    folder = extract("nordfjell")
    spoil(folder)
    outcome = _run(folder, home)
    assert outcome.code == code, outcome.err
    for word in words:
        assert word in outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.json["what"] in outcome.err
    assert not (home / "outbox").exists()
    assert not list(home.glob("submissions/*/*/*/parts"))
    assert not [room for tmp in ("tmp", "identity/tmp") for room in (home / tmp).glob("*")]


def test_values_are_in_no_message(extract: Copy, home: Path) -> None:
    """A marker in every field of every file: whatever is said of the rows, it is not in it."""
    folder = extract("nordfjell")
    for path in folder.glob("*.csv"):
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        width = lines[0].count(";") + 1
        lines[3] = ";".join(["MARKØR31129956715"] * width)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    outcome = call_process("run", "2020-T1", "--unit", "nordfjell", "--extract", folder, "--json", home=home)
    assert outcome.code == 1
    assert "row 3" in outcome.err
    for text in (outcome.err, outcome.out):
        assert "MARKØR" not in text
    events = b"".join(path.read_bytes() for path in (home / "dagster").rglob("*") if path.is_file())
    assert len(events) > 10_000
    assert "MARKØR".encode() not in events
    assert b"31129956715" not in events


@pytest.mark.parametrize("period", ["2020-M04", "2020-T3", "2020", "2020-t1", "1.1.2020", ""])
def test_unknown_period(period: str, home: Path) -> None:
    outcome = call("run", period, "--json", home=home)
    assert outcome.code == 2
    assert "2020-T1" in outcome.err
    assert not (home / "outbox").exists()


def test_empty_period(extract: Copy, home: Path) -> None:
    folder = extract("nordfjell")
    for name in (
        "episodes",
        "contacts",
        "health_personnel",
        "conditions",
        "procedures",
        "referrals",
        "postponements",
        "referral_events",
        "tsb_starts",
        "costs",
    ):
        path = folder / f"{name}.csv"
        rows = len(path.read_text(encoding="utf-8").splitlines()) - 1
        path.write_text(path.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
        _recount(folder, name, -rows)
    outcome = _run(folder, home)
    assert outcome.code == 1
    assert "nothing to report" in outcome.err
    assert not (home / "outbox").exists()


def test_a_test_extract_under_a_production_profile(home: Path) -> None:
    outcome = call("run", "2020-T1", "--profile", "production", "--json", home=home)
    assert outcome.code == 1
    assert "TEST-01" in outcome.err
    assert not (home / "outbox").exists()
    assert not (home / "lake").exists()


def test_unknown_unit_source_and_limit(home: Path) -> None:
    assert call("run", "2020-T1", "--unit", "nowhere", home=home).code == 2
    assert call("run", "2020-T1", "--unit", "sorvik", "--source", "nothing", home=home).code == 2
    outcome = call("run", "2020-T1", "--unit", "sorvik", "--limit-bytes", "60000000", home=home)
    assert outcome.code == 2
    assert "51200000" in outcome.err


def test_one_patient_above_the_limit_is_named_with_the_way_out(home: Path) -> None:
    outcome = call("run", "2020-T1", "--unit", "sorvik", "--limit-bytes", "15500", home=home)
    assert outcome.code == 1
    assert re.search(r"patient ~[0-9a-f]{16}, patients\.csv: row \d+", outcome.err), outcome.err
    assert "pasientNr" not in outcome.err
    assert "NHN-EDI-STOR" in outcome.err
    assert not (home / "outbox").exists()


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("profile = 'live'", "profile"),
        ("institusjonID = '12'", "units.a.institusjonID"),
        ("kind = 'hospital'", "units.a.kind"),
        ("contacts = []", "units.a.contacts"),
        ("colour = 1", "units.a.colour"),
    ],
)
def test_wrong_settings_name_the_key(text: str, key: str, tmp_path: Path, home: Path) -> None:
    good = (SAMPLE.parent.parent / "npr.toml").read_text(encoding="utf-8")
    unit = good[good.index("[units.nordfjell]") : good.index("[units.sorvik]")].replace("nordfjell]", "a]", 1)
    name = text.split(" ", maxsplit=1)[0]
    if name == "contacts":
        unit = re.sub(r"contacts = \[.*?\n\]", text, unit, flags=re.DOTALL)
    elif name != "profile":
        unit = re.sub(rf"^{name} = .*$\n?", "", unit, flags=re.MULTILINE) + text
    path = tmp_path / "npr.toml"
    path.write_text((text if name == "profile" else "") + "\n" + unit, encoding="utf-8")
    outcome = call("--config", str(path), "run", "2020-T1", home=home)
    assert outcome.code == 2
    assert key in outcome.err
