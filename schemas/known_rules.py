"""Every rule that a finding can name: content rules, and the rules about identities.

Belongs here: the two catalogues as one. Does not belong here: their texts and readers (``schemas.rulebook``,
``schemas.identity_rules``).
"""

from __future__ import annotations

from functools import cache

from schemas.identity_rules import IdentityRule, identity_rules
from schemas.rulebook import ContentRule, rulebook, untrusted

Rule = ContentRule | IdentityRule


@cache
def known_rules() -> dict[str, Rule]:
    """Rule id -> rule, content rules first. WrongUse as the two readers, and for an id that stands in both."""
    found: dict[str, Rule] = {rule.id: rule for rule in rulebook()}
    for name, rule in identity_rules().items():
        if name in found:
            raise untrusted(name, rule.where.removeprefix("schemas/"), f"stands in {found[name].where} too")
        found[name] = rule
    return found
