"""Texts of the rules about identities, read from ``schemas/identity/rules.toml``, and NPR's flags of the person link.

Belongs here: the typed text of a rule, its reader, and the labels of ``nprid_reg``. Does not belong here: deciding
(``transforms.content.identity_rules``).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

PATH: Final = Path(__file__).parent / "identity" / "rules.toml"
# What a finding of these rules is on: the identity of a patient, by its row in the extract.
MODULE, CLASS, TABLE = "ide", "PasientIdent", "identities"
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

    @property
    def modules(self) -> tuple[str, ...]:
        """As of a content rule."""
        return (MODULE,)

    @property
    def npr_class(self) -> str:
        """As of a content rule."""
        return CLASS

    @property
    def where(self) -> str:
        """The file it stands in."""
        return "schemas/identity/rules.toml"


@cache
def identity_rules() -> dict[str, IdentityRule]:
    """Rule id -> rule, in the order of the file."""
    raw = tomllib.loads(PATH.read_text(encoding="utf-8"))
    return {name: IdentityRule.model_validate({"id": name, **spec}) for name, spec in raw.items()}
