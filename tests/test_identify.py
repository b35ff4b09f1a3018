"""``npr identify``: what it prints, and that no number is ever in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import call

TENOR, TENOR_D = "17912099997", "57912075186"  # synthetic: navikt/fnrvalidator issue 116
FIELDS = ["line", "kind", "valid", "synthetic", "reason"]


def file_of(folder: Path, text: str | bytes) -> Path:
    path = folder / "numbers.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_one_record_a_line_in_order(tmp_path: Path) -> None:
    path = file_of(tmp_path, f"\ufeff{TENOR}\r\n\n{TENOR_D}\nabc\n010203")
    found = call("identify", path, "--json", home=tmp_path)
    assert found.code == 0
    assert [list(record) for record in found.json] == [FIELDS] * 5
    assert [tuple(record.values()) for record in found.json] == [
        (1, "fnr", True, "tenor", ""),
        (2, "none", False, "", "missing"),
        (3, "dnr", True, "tenor", ""),
        (4, "none", False, "", "letters"),
        (5, "birth_date", True, "", ""),
    ]


def test_the_table_counts_lines_that_are_alike(tmp_path: Path) -> None:
    found = call("identify", file_of(tmp_path, f"{TENOR_D}\n{TENOR}\n{TENOR}\n"), home=tmp_path)
    lines = [line.split() for line in found.out.splitlines()]
    assert lines[1:] == [["2", "fnr", "yes", "tenor", "2"], ["1", "dnr", "yes", "tenor", "1"]]


def test_an_empty_file_has_no_line(tmp_path: Path) -> None:
    path = file_of(tmp_path, "")
    assert call("identify", path, "--json", home=tmp_path).json == []
    assert call("identify", path, home=tmp_path).out.strip() == "no line in the file"


def test_a_day_to_judge_by(tmp_path: Path) -> None:
    path = file_of(tmp_path, TENOR)
    early = call("identify", path, "--json", "--on", "2019-01-01", home=tmp_path).json
    assert early[0]["reason"] == "future"


@pytest.mark.parametrize(
    "text",
    [TENOR, f" {TENOR}", f"{TENOR}x", f"{TENOR[:6]} {TENOR[6:]}", f"{TENOR};{TENOR_D}", TENOR[:10], f"{TENOR}\x00\xff"],
)
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_no_number_in_any_output(tmp_path: Path, text: str, form: list[str]) -> None:
    found = call("identify", file_of(tmp_path, text.encode("latin-1")), *form, home=tmp_path)
    assert found.code == 0
    printed = found.out + found.err
    assert not any(part in printed for part in (TENOR, TENOR[:10], TENOR[:6], TENOR[6:], TENOR_D, TENOR_D[6:]))


@pytest.mark.parametrize("name", ["missing.txt", ""])
def test_a_file_that_cannot_be_read_is_wrong_use(tmp_path: Path, name: str) -> None:
    found = call("identify", tmp_path / name, "--json", home=tmp_path)
    assert found.code == 2
    assert json.loads(found.out)["error"] == "WrongUse"


def test_a_file_without_numbers_of_text_is_judged_all_the_same(tmp_path: Path) -> None:
    found = call("identify", file_of(tmp_path, TENOR.encode("utf-16")), "--json", home=tmp_path)
    assert [(record["synthetic"], record["reason"]) for record in found.json] == [("tenor", "blank")]
