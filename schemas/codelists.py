"""Code lists that the extract and the messages need, with the years in which each code is valid.

Belongs here: the typed lists and the checked reader of ``schemas/codes/``. Does not belong here: the large yearly
classifications (ICD-10, NCSP ...), and judging rows by a list (``schemas.models``, rules). Sources:
``schemas/codes/SOURCES.md``.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from schemas.errors import WrongUse
from schemas.packaged_csv import CERTAINTIES, Row, refuse, rows

FOLDER = Path(__file__).parent / "codes"
OID_PREFIX = "2.16.578.1.12.4.1.1."
LISTS_HEADER = ("oid", "name_no", "name_en", "certainty", "source")
VALUES_HEADER = ("oid", "code", "text_no", "valid_from", "valid_to", "certainty", "source")


@dataclass(frozen=True, slots=True)
class CodeValue:
    """One code. Years are years of the data, both ends included; None is open."""

    code: str
    text_no: str
    valid_from: int | None
    valid_to: int | None
    certainty: str
    source: str

    def valid_in(self, year: int) -> bool:
        """Whether the code may be used in data of that year."""
        return (self.valid_from is None or self.valid_from <= year) and (self.valid_to is None or year <= self.valid_to)


@dataclass(frozen=True, slots=True)
class CodeList:
    """One list. ``oid`` is its number without OID_PREFIX; certainty and source speak of the link to its attribute."""

    oid: str
    name_no: str
    name_en: str
    certainty: str
    source: str
    values: tuple[CodeValue, ...]


def code_list(oid: str) -> CodeList:
    """The list of that number, with or without OID_PREFIX. Raises WrongUse with the nearest numbers."""
    known = code_lists()
    if found := known.get(oid.removeprefix(OID_PREFIX)):
        return found
    nearest = ", ".join(get_close_matches(oid.removeprefix(OID_PREFIX), known, n=3, cutoff=0))
    raise WrongUse(f"there is no code list {oid[:40]!r}", where="code list", fix=f"nearest: {nearest}")


@cache
def codes_valid(oid: str, year: int) -> frozenset[str]:
    """All codes of a list that are valid in data of that year. Raises WrongUse for an unknown list."""
    return frozenset(value.code for value in code_list(oid).values if value.valid_in(year))


@cache
def code_lists() -> dict[str, CodeList]:
    """Every list that comes with the program, by number. Raises WrongUse where the files are not consistent."""
    lists, values = ((FOLDER / name).read_text(encoding="utf-8") for name in ("lists.csv", "values.csv"))
    return read_code_lists(lists, values)


def read_code_lists(lists_csv: str, values_csv: str) -> dict[str, CodeList]:
    """Lists by number out of the text of both files. Raises WrongUse naming file and line."""
    heads = _heads(lists_csv)
    values: dict[str, dict[str, CodeValue]] = {oid: {} for oid in heads}
    for where, row in rows(values_csv, VALUES_HEADER, "schemas/codes/values.csv"):
        if row["oid"] not in heads:
            raise refuse(f"list {row['oid']} does not stand in lists.csv", where)
        if row["code"] in values[row["oid"]]:
            raise refuse(f"code {row['code']} stands twice in list {row['oid']}", where)
        values[row["oid"]][row["code"]] = _value(row, where)
    if empty := [oid for oid, found in values.items() if not found]:
        raise refuse(f"lists without a code: {', '.join(empty)}", "schemas/codes/values.csv")
    return {oid: CodeList(**head, values=tuple(values[oid].values())) for oid, head in heads.items()}


def _heads(lists_csv: str) -> dict[str, Row]:
    heads: dict[str, Row] = {}
    for where, row in rows(lists_csv, LISTS_HEADER, "schemas/codes/lists.csv"):
        if row["oid"] in heads:
            raise refuse(f"list {row['oid']} stands twice", where)
        _complete(row, LISTS_HEADER, where)
        heads[row["oid"]] = row
    return heads


def _value(row: Row, where: str) -> CodeValue:
    _complete(row, ("code", "text_no", "source"), where)
    first, last = _year(row["valid_from"], where), _year(row["valid_to"], where)
    if first is not None and last is not None and first > last:
        raise refuse(f"valid from {first} to {last}", where)
    return CodeValue(row["code"], row["text_no"], first, last, row["certainty"], row["source"])


def _complete(row: Row, needed: tuple[str, ...], where: str) -> None:
    for name in needed:
        if not row[name].strip():
            raise refuse(f"{name} is empty", where)
    if row["certainty"] not in CERTAINTIES:
        raise refuse(f"certainty {row['certainty']!r}; it is one of {', '.join(CERTAINTIES)}", where)


def _year(text: str, where: str) -> int | None:
    if not text:
        return None
    if not re.fullmatch(r"(19|20)[0-9]{2}", text):
        raise refuse(f"{text!r} is not a year", where)
    return int(text)


@cache
def codes_digest() -> str:
    """SHA-256 over the packaged code lists, for the manifest: which codes a report was checked against."""
    folder = Path(__file__).parent / "codes"
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.glob("*.csv")))).hexdigest()
