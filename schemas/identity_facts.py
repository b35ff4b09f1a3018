"""What is known of identity and organisation numbers, read from ``schemas/identity/``.

Belongs here: the typed facts and their checked reader. Does not belong here: judging a number
(``transforms.identity_numbers``, ``transforms.organisation_numbers``).

No number of a person stands in these files. Published test persons whose numbers look real are kept as SHA-256 of salt
and number. That keeps the numbers out of the repository and its logs; it hides nothing from somebody who tries all
numbers, and need not, since they are published.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.errors import WrongUse
from schemas.packaged_csv import CERTAINTIES, Row, refuse, rows

FOLDER = Path(__file__).parent / "identity"
SERIES_HEADER = ("name", "offset", "first_month", "last_month", "certainty", "source")
CENTURIES_HEADER = (
    "first_individual", "last_individual", "first_year", "last_year", "century", "certainty", "source",
)  # fmt: skip
ACCEPTANCE_HEADER = ("class", "typeID", "verdict", "certainty", "source")
TEST_PERSONS_HEADER = ("sha256", "bucket", "source")
DECISIONS_HEADER = ("id", "question", "sources", "decision")
VERDICTS = ("ok", "warn", "reject", "stop", "when_taken")

Certainty = Literal["A", "B", "C"]


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class _Sourced(_Fact):
    certainty: Certainty
    source: str = Field(min_length=1)


class Series(_Sourced):
    """Months as they stand in a number, both ends included, and what was added to them."""

    name: Literal["plain", "nav", "nhn", "tenor"]
    offset: int
    first_month: int
    last_month: int


class Century(_Sourced):
    """Individual numbers and two-digit years, both ends included, that mean one century."""

    first_individual: int
    last_individual: int
    first_year: int
    last_year: int
    century: int


class Control(_Sourced):
    """Weights of both control digits."""

    first: tuple[int, ...] = Field(min_length=9, max_length=9)
    second: tuple[int, ...] = Field(min_length=10, max_length=10)


class Rule2032(_Sourced):
    """The wider rule of the first control digit, and the day from which numbers are issued by it."""

    valid_from: date = Field(alias="from")
    largest_remainder: int


class DayRange(_Sourced):
    """First two digits of a kind, both ends included."""

    first_day: int
    last_day: int


class Duf(_Sourced):
    """Years that may stand first in a DUF-number."""

    first_year: int
    last_year: int


class Foreign(_Sourced):
    """typeIDs of foreign numbers, and what such a number may look like."""

    types: tuple[str, ...]
    shape: str


class Taken(_Sourced):
    """typeIDs that the register takes."""

    types: tuple[str, ...]


class TestPersons(_Fact):
    """Published test persons: SHA-256 of salt and number, and the remainders that number leaves under ``modulus``."""

    __test__ = False  # pytest takes the name for a test

    salt: str = Field(min_length=1)
    modulus: int = Field(gt=1)
    sources: dict[str, str]
    digests: frozenset[str] = frozenset()
    buckets: frozenset[int] = frozenset()

    def digest(self, number: str) -> str:
        """The digest under which eleven digits would stand in the list."""
        return hashlib.sha256(f"{self.salt}{number}".encode()).hexdigest()


class Organisation(_Sourced):
    """Organisation numbers: weights, usual first digits, the number of suppliers, tenth digits by feed."""

    weights: tuple[int, ...] = Field(min_length=9, max_length=9)
    first_digits: tuple[int, ...]
    sentinel: int
    feeds: dict[int, str]


class Facts(_Fact):
    """All of it. ``acceptance``: class and typeID -> verdict (ok, warn, reject, stop, when_taken)."""

    control: Control
    rule_2032: Rule2032
    birth_day: DayRange
    d_number: DayRange
    fh_number: DayRange
    duf: Duf
    foreign: Foreign
    taken: Taken
    test_persons: TestPersons
    organisation: Organisation
    series: tuple[Series, ...]
    centuries: tuple[Century, ...]
    acceptance: dict[tuple[str, str], str]


@cache
def identity_facts() -> Facts:
    """The packaged facts. Raises WrongUse naming file and line where a file is not consistent."""
    return read_facts({path.name: path.read_text(encoding="utf-8") for path in sorted(FOLDER.iterdir())})


@cache
def decisions() -> tuple[Row, ...]:
    """Where public sources disagree: id, question, sources, decision."""
    text = (FOLDER / "decisions.csv").read_text(encoding="utf-8")
    return tuple(_filled(row, where) for where, row in rows(text, DECISIONS_HEADER, "schemas/identity/decisions.csv"))


def read_facts(texts: dict[str, str]) -> Facts:
    """Facts out of the texts of the packaged files, by file name. Raises WrongUse on the first inconsistency."""
    raw: dict[str, Any] = tomllib.loads(texts["facts.toml"])
    raw["series"] = _sourced(texts, "series.csv", SERIES_HEADER)
    raw["centuries"] = _sourced(texts, "centuries.csv", CENTURIES_HEADER)
    raw["acceptance"] = _acceptance(texts)
    raw["test_persons"] |= _test_persons(texts, raw["test_persons"]["sources"])
    try:
        return Facts.model_validate(raw)
    except ValidationError as error:
        places = "; ".join(".".join(map(str, fault["loc"])) for fault in error.errors())
        raise refuse(f"not as it must be: {places}", "schemas/identity") from None


def _sourced(texts: dict[str, str], name: str, header: tuple[str, ...]) -> list[Row]:
    return [_filled(row, where) for where, row in rows(texts[name], header, f"schemas/identity/{name}")]


def _filled(row: Row, where: str) -> Row:
    if empty := [name for name, value in row.items() if not value.strip()]:
        raise refuse(f"{', '.join(empty)} is empty", where)
    return row


def _acceptance(texts: dict[str, str]) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for where, row in rows(texts["acceptance.csv"], ACCEPTANCE_HEADER, "schemas/identity/acceptance.csv"):
        key = (row["class"], row["typeID"])
        if key in found:
            raise refuse(f"{row['class']} with typeID {row['typeID']} stands twice", where)
        if row["verdict"] not in VERDICTS or row["certainty"] not in CERTAINTIES:
            raise refuse(f"verdict is one of {', '.join(VERDICTS)}, certainty one of A, B, C", where)
        found[key] = _filled(row, where)["verdict"]
    return found


def _test_persons(texts: dict[str, str], sources: dict[str, str]) -> dict[str, frozenset[Any]]:
    digests: dict[str, int] = {}
    for where, row in rows(texts["test_persons.csv"], TEST_PERSONS_HEADER, "schemas/identity/test_persons.csv"):
        if not re.fullmatch("[0-9a-f]{64}", row["sha256"]) or not re.fullmatch("[0-9]{1,9}", row["bucket"]):
            raise refuse("sha256 is 64 hexadecimal digits, bucket a number", where)
        if row["sha256"] in digests or row["source"] not in sources:
            raise refuse("the digest stands twice, or its source is not in facts.toml", where)
        digests[row["sha256"]] = int(row["bucket"])
    if not digests:
        # An empty list would let every published test person through without a word.
        raise WrongUse("the list of test persons is empty", where="schemas/identity/test_persons.csv")
    return {"digests": frozenset(digests), "buckets": frozenset(digests.values())}
