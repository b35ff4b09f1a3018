"""Pseudonyms of records, and the secret they hang on."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from pipelines.home.pseudonym_key import FILE, pseudonym_key
from schemas.errors import WrongUse
from transforms.pseudonyms import SEPARATOR, pseudonym, pseudonyms


def test_one_and_many_are_told_alike() -> None:
    keys = ["nordfjell", "E1"], ["nordfjell", "E2"], ["sorvik", "E1"]
    told = pseudonyms([*(SEPARATOR.join(key) for key in keys), None], b"s" * 32)
    assert told == [*(pseudonym(key, b"s" * 32).hex() for key in keys), None]
    assert len(set(told)) == 4
    assert pseudonyms(["E1"], b"t" * 32) != pseudonyms(["E1"], b"s" * 32)


def test_the_secret_is_made_once_and_private(home: Path) -> None:
    first = pseudonym_key(home)
    assert (len(first), pseudonym_key(home)) == (32, first)
    assert stat.S_IMODE((home / FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE((home / FILE).parent.stat().st_mode) == 0o700
    assert [path.name for path in (home / FILE).parent.iterdir()] == [FILE.name]
    assert pseudonym_key(home.with_name("other")) != first


@pytest.mark.parametrize("spoil", [lambda path: path.chmod(0o640), lambda path: path.write_bytes(b"short")])
def test_a_secret_that_is_open_or_cut_is_not_used(spoil: object, home: Path) -> None:
    pseudonym_key(home)
    assert callable(spoil)
    spoil(home / FILE)
    with pytest.raises(WrongUse):
        pseudonym_key(home)
