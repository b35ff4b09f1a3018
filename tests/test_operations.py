"""The commands of docs/operations.md and the units of deploy/, as they stand there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from conftest import ROOT, Finished, call

from pipelines.cli import cli
from pipelines.ledger.book import ledger_of
from transforms.scheduling.matrix import WORDS

pytestmark = pytest.mark.xdist_group("main_job")


UNITS = sorted((ROOT / "deploy" / "systemd").iterdir())
CALM = {"sent", "received", "accepted", "ahead", "superseded"}


def _commands(name: str) -> str:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    found = re.search(rf"```bash\n# {name}\n(.*?)```", text, re.DOTALL)
    assert found
    return found[1]


def test_a_restored_home_goes_on_where_the_old_one_was(finished: Finished, tmp_path: Path) -> None:
    moved = tmp_path / "another place" / "var"
    for name, home in (("backup", finished.home), ("restore", moved)):
        environment = {**os.environ, "NPR_HOME": str(home), "BACKUP": str(tmp_path / "npr.tar")}
        subprocess.run(["bash", "-euc", _commands(name)], env=environment, check=True)
    assert (moved / "identity").stat().st_mode & 0o077 == 0
    assert (moved / "rehearsal" / "receiver-key.pem").stat().st_mode & 0o077 == 0
    heads = [ledger_of(home).audit_head() for home in (finished.home, moved)]
    assert heads[0] == heads[1] != (0, "")
    again = call("run", "2020-T1", "--unit", "sorvik", "--json", home=moved)
    assert again.code == 0, again.err
    before = finished.unit("sorvik")
    for name in ("messages", "rows", "findings"):
        assert again.json[name] == before[name]
    assert [part["sha256"] for part in again.json["shipments"]] == [part["sha256"] for part in before["shipments"]]
    assert len(list((moved / "submissions" / "2020-T1" / "sorvik").iterdir())) == 1


def _insist_known(words: list[str]) -> None:
    """The words after ``npr`` name a command and options it has."""
    group: click.Command = cli
    for word in words:
        if word.startswith("-"):
            options = [name for one in group.params for name in one.opts]
            assert word in options, f"{' '.join(words)}: {word}"
        elif isinstance(group, click.Group) and word in group.commands:
            group = group.commands[word]
    assert group is not cli, words


def _documented() -> list[str]:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    return re.findall(r"`npr ([^`]+)`", text) + re.findall(r"^npr ([^#\n]+)", text, re.MULTILINE)


@pytest.mark.parametrize("line", _documented())
def test_commands_of_the_page_exist_with_their_options(line: str) -> None:
    _insist_known(shlex.split(line))


def test_each_state_that_is_not_calm_has_a_row() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8").partition("### Red and amber")[2]
    first = " ".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| "))
    assert [word for word in WORDS if word not in CALM and f"`{word}" not in first] == []


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_units_start_programs_that_are_there_with_options_they_have(unit: Path) -> None:
    started = re.findall(
        r"^Exec\w+=/opt/npr/current/.venv/bin/(\S+) (.+)$", unit.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert started or unit.suffix == ".timer"
    for program, rest in started:
        if program == "npr":
            _insist_known(rest.split())
        else:
            assert (Path(sys.executable).parent / program).is_file()
            assert rest.endswith("-m pipelines.location")


def test_dagster_home_is_prepared_without_opening_pages(tmp_path: Path) -> None:
    home = tmp_path / "var"
    told = call("ui", "--prepare", home=home)
    assert (told.code, told.out) == (0, f"DAGSTER_HOME={home / 'dagster'}\n")
    assert (home / "dagster" / "dagster.yaml").read_bytes() == (ROOT / "dagster.yaml").read_bytes()
    assert list((home / "dagster" / "history").iterdir()), "its tables are made, so that two programs may start at once"
    again = call("ui", "--prepare", "--json", home=home)
    assert again.json == {"DAGSTER_HOME": str(home / "dagster")}


def test_no_wheel_is_built(tmp_path: Path) -> None:
    command = [sys.executable, "setup.py", "-q", "bdist_wheel", "--dist-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "runs from its checkout" in done.stderr
    assert not list(tmp_path.iterdir())
