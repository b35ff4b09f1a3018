"""What the guard holds a submission against, read from ``schemas/guard/guard.toml``, and the record of what it read.

Belongs here: who may be addressed in which profile, words that mean a test system, and the typed figures of an
inspection. Does not belong here: judging (``transforms.content.guard``), series of numbers
(``schemas.identity_facts``).

The HER-ids stand here once more, beside ``schemas/receivers``, on purpose: a wrong entry in one of the two is then
found out, and does not send a rehearsal to the register.
"""

from __future__ import annotations

import re
import tomllib
from datetime import date
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, ValidationError, field_serializer

from schemas.errors import WrongUse
from schemas.strict import STRICT

PATH = Path(__file__).parent / "guard" / "guard.toml"
VERSION = 1
PROFILES = ("rehearsal", "validation", "production")
REHEARSAL, VALIDATION, PRODUCTION = PROFILES


class _Record(BaseModel):
    model_config = STRICT


class _Sourced(_Record):
    certainty: Literal["A", "B", "C"]
    source: str = Field(min_length=1)


class Address(_Sourced):
    """The unit that may be addressed in a profile, by HER-id."""

    her_id: str = Field(pattern=r"^[0-9]+$")


class Domains(_Sourced):
    """Mail domains of Norsk helsenett's test networks."""

    domains: tuple[str, ...] = Field(min_length=1)


class Words(_Sourced):
    """Whole words, in small letters."""

    words: frozenset[str] = Field(min_length=1)

    @field_serializer("words")
    def _in_order(self, words: frozenset[str]) -> list[str]:
        """In one order: the digest of the facts is part of what a submission is made of."""
        return sorted(words)


class GuardFacts(_Record):
    """All of it. environments: labels of extracts that may leave; every other label, however it is spelled, is test."""

    address: dict[str, Address]
    environments: tuple[str, ...] = Field(min_length=1)
    test_domains: Domains
    systems: Words
    units: Words


class Inspected(_Record):
    """What was read in the bytes of one part right before they were encrypted. Figures only, never a number.

    document_sha256, body_sha256: of the very bytes. persons: elements that carry ``fid``. synthetic: series -> numbers
    in ``fid``. hidden: attribute -> values that are somebody's number where none belongs. sentinels: 777777777.
    strangers: institutions that are not the unit's own. test_units: names of units that say test. to: HER-ids of the
    receiver in the head message. status: ProcessingStatus of the head, empty when there is none.
    """

    module: str
    part: int
    document_sha256: str
    body_sha256: str
    persons: int
    synthetic: dict[str, int]
    hidden: dict[str, int]
    sentinels: int
    strangers: int
    test_units: int
    to: tuple[str, ...]
    status: str


class TestLabel(_Record):
    """Content that was labelled test once and can never be sent. what: kind of content, never a value. since: day."""

    __test__ = False  # pytest takes the name for a test

    fingerprint: str = Field(pattern="^[0-9a-f]{64}$")
    what: str
    unit: str
    since: date


@cache
def guard_facts() -> GuardFacts:
    """The packaged facts. WrongUse when they are not whole: without them nothing is judged, and nothing leaves."""
    return read_guard_facts(PATH.read_text(encoding="utf-8"))


def read_guard_facts(text: str) -> GuardFacts:
    """Facts out of the text of the file. WrongUse as ``guard_facts``."""
    try:
        facts = GuardFacts.model_validate(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, ValidationError):
        facts = None
    if facts is None or set(facts.address) != set(PROFILES):
        raise WrongUse("the facts of the guard are not whole", where="schemas/guard/guard.toml", fix="install again")
    return facts


def says_test(text: str, words: Words) -> bool:
    """Whether one of the words stands in a text as a word: between marks, digits or a change to capital letters."""
    apart = re.sub(r"(?<=[a-zæøå])(?=[A-ZÆØÅ])", " ", text)
    return bool(set(re.findall(r"[^\W\d_]+", apart.casefold())) & words.words)
