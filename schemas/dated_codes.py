"""Carried code lists whose validity is known to the day: municipalities and city districts.

Belongs here: the typed lists and the checked reader of ``schemas/codes/dated.toml`` and its files. Does not belong
here: lists known by data year only (``schemas.codelists``), lists that are loaded (``schemas.code_formats``), and
judging rows (``transforms.code_validity``). Sources: ``schemas/codes/SOURCES.md``.
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from datetime import date
from functools import cache

from schemas.codelists import FOLDER
from schemas.errors import WrongUse
from schemas.packaged_csv import CERTAINTIES, Row, refuse, rows

HEADER = ("number", "name", "valid_from", "valid_to", "certainty", "source")


@dataclass(frozen=True, slots=True)
class DatedCode:
    """One code. Both dates are included; None is open."""

    code: str
    text_no: str
    valid_from: date | None
    valid_to: date | None
    certainty: str
    source: str


@dataclass(frozen=True, slots=True)
class DatedList:
    """One list. Its facts speak of the days ``known_from`` to ``known_to``, and of no other."""

    name: str
    title: str
    known_from: date
    known_to: date
    certainty: str
    source: str
    sha256: str  # of the file
    values: tuple[DatedCode, ...]


@cache
def dated_lists() -> dict[str, DatedList]:
    """Every such list by name. Raises WrongUse where the files are not consistent."""
    heads = tomllib.loads((FOLDER / "dated.toml").read_text(encoding="utf-8"))
    return {
        name: DatedList(
            name=name,
            title=head["title"],
            known_from=head["from"],
            known_to=head["to"],
            certainty=head["certainty"],
            source=head["source"],
            sha256=hashlib.sha256((FOLDER / head["file"]).read_bytes()).hexdigest(),
            values=read_dated((FOLDER / head["file"]).read_text(encoding="utf-8"), f"schemas/codes/{head['file']}"),
        )
        for name, head in heads.items()
    }


def read_dated(text: str, name: str) -> tuple[DatedCode, ...]:
    """The codes of one file. Raises WrongUse naming file and line."""
    found: dict[str, DatedCode] = {}
    for where, row in rows(text, HEADER, name):
        if row["number"] in found:
            raise refuse(f"{row['number']} stands twice", where)
        found[row["number"]] = _code(row, where)
    if not found:
        raise refuse("a list without a code", name)
    return tuple(found.values())


def _code(row: Row, where: str) -> DatedCode:
    if not row["number"].strip() or not row["name"].strip() or not row["source"].strip():
        raise refuse("number, name or source is empty", where)
    if row["certainty"] not in CERTAINTIES:
        raise refuse(f"certainty {row['certainty']!r}; it is one of {', '.join(CERTAINTIES)}", where)
    first, last = _day(row["valid_from"], where), _day(row["valid_to"], where)
    if first and last and first > last:
        raise refuse(f"valid from {first} to {last}", where)
    return DatedCode(row["number"], row["name"], first, last, row["certainty"], row["source"])


def _day(text: str, where: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise refuse(f"{text!r} is not a date", where) from None


def dated_list(name: str) -> DatedList:
    """The list of that name. WrongUse names the lists there are."""
    known = dated_lists()
    if name not in known:
        raise WrongUse(f"there is no dated list {name[:40]!r}", fix=f"lists there are: {', '.join(known)}")
    return known[name]
