"""The catalogue of content rules, read from ``schemas/rules/catalogue.toml``.

Belongs here: the typed rule and its reader. Does not belong here: evaluating rules (``transforms.findings``).
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

PATH = Path(__file__).parent / "rules" / "catalogue.toml"
CONSEQUENCES = ("drop_message", "drop_record", "blank_value", "report_only")  # worst first


class ContentRule(BaseModel):
    """One rule over one class. ``wrong`` is SQL, true where the row is wrong."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    module: str
    npr_class: str = Field(alias="class")
    wrong: str
    fields: tuple[str, ...]
    consequence: Literal["drop_message", "drop_record", "blank_value", "report_only"]
    basis: Literal["official", "practice", "inferred"]
    source: str
    text_no: str
    text_en: str
    fix: str


@cache
def rulebook() -> tuple[ContentRule, ...]:
    """All rules, in the order of the file."""
    raw = tomllib.loads(PATH.read_text(encoding="utf-8"))
    return tuple(ContentRule.model_validate({"id": name, **spec}) for name, spec in raw.items())
