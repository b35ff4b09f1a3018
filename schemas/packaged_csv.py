"""Strict reading of the CSV files that lie in this package.

Belongs here: header, row length and where a fault stands. Does not belong here: the meaning of columns, and reading
anything that a hospital delivers.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from io import StringIO

from schemas.errors import WrongUse

CERTAINTIES = ("A", "B", "C")

Row = dict[str, str]


def refuse(what: str, where: str) -> WrongUse:
    """The refusal of one line of a packaged file."""
    return WrongUse(what, where=where, rule="PACKAGED-DATA", fix="correct that line; it comes with the program")


def rows(text: str, header: tuple[str, ...], name: str) -> Iterator[tuple[str, Row]]:
    """Each row as a mapping, with where it stands (file and line). Raises WrongUse on another header or row length."""
    reader = csv.reader(StringIO(text, newline=""), strict=True)
    try:
        if (found := tuple(next(reader, ()))) != header:
            raise refuse(f"columns are {', '.join(found)}; expected {', '.join(header)}", f"{name}, line 1")
        for values in reader:
            where = f"{name}, line {reader.line_num}"
            if len(values) != len(header):
                raise refuse(f"row has {len(values)} columns; expected {len(header)}", where)
            yield where, dict(zip(header, values, strict=True))
    except csv.Error as error:
        raise refuse(f"not readable as CSV: {error}", f"{name}, line {reader.line_num}") from error
