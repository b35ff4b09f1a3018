"""The catalogue of content rules, read from ``schemas/rules/*.toml``, one file for each theme.

Belongs here: the typed rule, its reader, and the refusal of a rule that cannot be trusted. Does not belong here:
evaluating rules (``transforms.content.findings``), and what the model has (``transforms.rules.plan`` asks the layouts).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from schemas.errors import WrongUse
from schemas.packaged_csv import refuse, rows

FOLDER: Final = Path(__file__).parent / "rules"
CONSEQUENCES: Final = ("drop_message", "drop_record", "blank_value", "report_only")  # worst first
COVERAGE_HEADER: Final = ("rule", "theme", "decided", "where", "note")
# Where a rule of the notes is decided; "no" = not decided, and the note says why.
DECIDED: Final = ("rule", "staging", "schema", "scope", "guard", "drift", "settings", "packing", "report", "no")


class CodeUse(BaseModel):
    """A code must stand in a list on a day.

    value, on: SQL over the row that gives the code and its day. list: number or name of a list; or kodeverk: the
    attribute with the letter of list 8410, and letters: those of which this rule speaks.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: str
    on: str
    list: str | None = None
    kodeverk: str | None = None
    letters: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_source(self) -> CodeUse:
        if (self.list is None) == (self.kodeverk is None) or bool(self.letters) != bool(self.kodeverk):
            raise ValueError("codes takes list, or kodeverk and letters")
        return self


class ContentRule(BaseModel):
    """One rule over one class.

    Exactly one of: ``wrong``, SQL that is true where the row is wrong; ``codes``; ``function``, the name of one in
    ``transforms.rules`` that gets the columns of ``uses`` and, of other classes, those of ``needs``. from_year,
    to_year: data years it speaks for, both included; from_version: first version.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    file: str
    modules: tuple[str, ...] = Field(alias="module", min_length=1)
    npr_class: str = Field(alias="class")
    wrong: str | None = None
    codes: CodeUse | None = None
    function: str | None = None
    uses: tuple[str, ...] = ()
    needs: Mapping[str, tuple[str, ...]] = {}
    fields: tuple[str, ...] = Field(min_length=1)
    consequence: Literal["drop_message", "drop_record", "blank_value", "report_only"]
    basis: Literal["official", "practice", "inferred"]
    source: str = Field(min_length=1)
    text_no: str = Field(min_length=1)
    text_en: str = Field(min_length=1)
    fix: str = Field(min_length=1)
    from_year: int | None = None
    to_year: int | None = None
    from_version: str | None = None

    @field_validator("modules", mode="before")
    @classmethod
    def _several(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_form(self) -> ContentRule:
        if sum(form is not None for form in (self.wrong, self.codes, self.function)) != 1:
            raise ValueError("a rule has one of wrong, codes, function")
        if (self.uses or self.needs) and self.function is None:
            raise ValueError("uses and needs go with function")
        return self

    @property
    def where(self) -> str:
        """The file it stands in."""
        return f"schemas/rules/{self.file}"


class Coverage(BaseModel):
    """What became of one rule of the notes: where it is decided, or why it is not."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: str
    theme: str
    decided: Literal["rule", "staging", "schema", "scope", "guard", "drift", "settings", "packing", "report", "no"]
    where: str
    note: str


@cache
def rulebook() -> tuple[ContentRule, ...]:
    """All rules, by file and in the order of the file. WrongUse names rule and file of one that cannot be trusted."""
    return read_rules({path.name: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.toml"))})


def read_rules(files: Mapping[str, str]) -> tuple[ContentRule, ...]:
    """Rules out of file name -> text. WrongUse as ``rulebook``."""
    found: dict[str, ContentRule] = {}
    for name, text in files.items():
        for rule_id, spec in _sections(name, text).items():
            if rule_id in found:
                raise untrusted(rule_id, name, f"stands in {found[rule_id].file} too")
            found[rule_id] = _rule(rule_id, name, spec)
    return tuple(found.values())


def untrusted(rule: str, file: str, why: str) -> WrongUse:
    """The refusal of one rule; nothing is looked at while a rule cannot be trusted."""
    return WrongUse(
        f"rule {rule}: {why}",
        where=f"schemas/rules/{file}",
        rule="a rule that cannot be read or asked never counts as passed",
        fix="correct the rule; it comes with the program",
    )


def _sections(name: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise untrusted("?", name, f"not readable as TOML: {error}") from None


def _rule(rule_id: str, name: str, spec: object) -> ContentRule:
    try:
        return ContentRule.model_validate({"id": rule_id, "file": name, **(spec if isinstance(spec, dict) else {})})
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'rule'}: {one['msg']}" for one in error.errors())
        raise untrusted(rule_id, name, told) from None


@cache
def coverage() -> tuple[Coverage, ...]:
    """Every rule of the notes and what became of it. WrongUse where table and catalogue differ."""
    name = "schemas/rules/coverage.csv"
    text = (FOLDER / "coverage.csv").read_text(encoding="utf-8")
    found: dict[str, Coverage] = {}
    for where, row in rows(text, COVERAGE_HEADER, name):
        if row["rule"] in found or row["decided"] not in DECIDED or not (row["where"] or row["note"]):
            raise refuse(f"{row['rule']}: stands twice, is decided nowhere known, or says nothing", where)
        found[row["rule"]] = Coverage.model_validate(row)
    return tuple(found.values())
