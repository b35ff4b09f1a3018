"""Keys of one message in bounded memory: those that occur twice, and references to what is not there.

Belongs here: the private file they are sorted in. Does not belong here: which keys are compared
(``transforms.validation.check``, ``transforms.validation.stream``).

What is kept is a keyed hash of 64 bits and a line, no value. SQLite holds a few megabytes of it in memory and the rest
in a temporary file that has no name any more once it is open. Among ten million keys a false alarm has a chance of
3 in a million.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Self

from schemas.errors import WrongUse

_SET_UP: Final = """
pragma journal_mode = off;
pragma cache_size = -4096;
create table key (place integer, hash integer, line integer);
create table reference (place integer, hash integer, line integer, who integer);
begin;
"""
_ANY_TWICE: Final = "select 1 from key group by place, hash having count(*) > 1 limit 1"
_TWICE: Final = """
select place, line, hash
from (select *, row_number() over (partition by place, hash order by line) as occurrence from key)
where occurrence > 1
order by line
"""
_STRAY: Final = """
select who, line, rowid from reference
where not exists (select 1 from key where key.place = reference.place and key.hash = reference.hash)
order by line
"""


class KeyBook:
    """Keys by place, which is a number that stands for a constraint and the element in which it is to hold."""

    def __init__(self) -> None:
        # An empty name: a private file, deleted at the end.
        self._file = sqlite3.connect("", isolation_level=None)
        self._file.executescript(_SET_UP)
        self._referred = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, place: int, hashes: array[int], lines: array[int]) -> None:
        """Keys, each with its line."""
        if hashes:
            rows = ((place, told, line) for told, line in zip(hashes, lines, strict=True))
            with _room():
                self._file.executemany("insert into key values (?, ?, ?)", rows)

    def refer(self, place: int, told: int, line: int, who: int) -> int:
        """A reference to a key of that place, there already or to come. who: what to tell it by. Gives its number."""
        self._referred = True
        with _room():
            row = (place, told, line, who)
            return self._file.execute("insert into reference values (?, ?, ?, ?)", row).lastrowid or 0

    def twice(self) -> Iterator[tuple[int, int, int]]:
        """Place, line and hash of each occurrence of a key but the first, by line."""
        with _room():
            if self._file.execute(_ANY_TWICE).fetchone():
                yield from self._file.execute(_TWICE)

    def strays(self) -> Iterator[tuple[int, int, int]]:
        """Who, line and number of each reference to no key, by line."""
        if self._referred:
            with _room():
                self._file.execute("create index key_index on key (place, hash)")
                yield from self._file.execute(_STRAY)


@contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        fix = "make room in the folder for temporary files, or name another one in TMPDIR"
        raise WrongUse("the keys of this message find no room", where=str(error), fix=fix) from None
