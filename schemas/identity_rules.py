"""Texts of the rules about identities, read from ``schemas/identity/rules.toml``, and NPR's flags of the person link.

Belongs here: the typed text of a rule, its reader, and the labels of ``nprid_reg``. Does not belong here: deciding
(``transforms.identity_rules``).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

PATH: Final = Path(__file__).parent / "identity" / "rules.toml"
# Label of delivered NPR data, kept by SKDE-Analyse/sas_codes formater/NPR_somatikk.sas.
NPRID_REG: Final[Mapping[str, str]] = {
    "1": "ok",
    "2": "other sex in the number",
    "3": "other birth year in the number",
    "4": "no number",
    "5": "episode after death",
}


class IdentityRule(BaseModel):
    """One rule: where it is decided, what its figure counts, what NPR would do, and the texts for people."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    fields: tuple[str, ...] = Field(min_length=1)
    decided: Literal["findings", "messages", "staging", "guard"]
    count: Literal["patients", "rows", "messages", "counter"]
    consequence: Literal["drop_message", "drop_record", "blank_value", "report_only"]
    basis: Literal["official", "practice", "inferred"]
    source: str = Field(min_length=1)
    text_no: str = Field(min_length=1)
    text_en: str = Field(min_length=1)
    fix: str = Field(min_length=1)


@cache
def identity_rules() -> dict[str, IdentityRule]:
    """Rule id -> rule, in the order of the file."""
    raw = tomllib.loads(PATH.read_text(encoding="utf-8"))
    return {name: IdentityRule.model_validate({"id": name, **spec}) for name, spec in raw.items()}
