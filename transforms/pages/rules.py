"""The page docs/rules.md, made from the catalogue of content rules.

Belongs here: its text. Does not belong here: rules (``schemas/rules``), writing files (``pipelines.docs``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from schemas.identity_rules import IdentityRule
from schemas.rulebook import CONSEQUENCES, ContentRule, Coverage

THEMES: Final = {
    "message": "Message",
    "unit": "Units",
    "patient": "Patient and home",
    "identity": "Identity",
    "episode": "Episode",
    "codes": "Diagnosis and procedure codes",
    "referral": "Referral and waiting list",
    "other": "Other messages",
}
CONSEQUENCE_TEXTS: Final = {
    "drop_message": "Slettemerk melding",
    "drop_record": "Slettemerk rad med underelementer",
    "blank_value": "Sett verdi til NULL, 0 or -1",
    "report_only": "Ingen handling",
}
DECIDED_TEXTS: Final = {
    "rule": "a content rule, in the tables above",
    "staging": "when the extract is read: the row goes to quarantine",
    "schema": "by the XSD, on every part before it is packed",
    "scope": "when rows are chosen for the period",
    "guard": "by the guard and the identity rules",
    "drift": "by comparison with the last accepted report",
    "settings": "by settings, calendar and submission record",
    "packing": "when the message is packed",
    "report": "no fault of a row: a figure, or a test of the program",
    "no": "not decided, and why",
}
_HEAD: Final = """# Content rules

This page is made from `schemas/rules/` and `schemas/identity/rules.toml` by `make docs`; change it there.

What NPR would do with a row, found before sending. The register's own list of controls and its error codes are not
public; ids are those of our notes, and each rule says what it rests on: **official** (text of the registry or the law),
**practice** (users of NPR data), **inferred** (our reading). Only what is official can be held against the register.

| consequence | the register's words | findings are |
|---|---|---|
"""
_MEANING: Final = {
    "drop_message": "the period stops",
    "drop_record": "the record would be lost with all below it",
    "blank_value": "the value would be lost",
    "report_only": "on the work list",
}
_OUTCOMES: Final = """
**Outcomes of a rule** in a run: findings; none; **not checked against a list** (no list of that day is loaded: rows are
counted by rule in the run's output, manifest and Dagster metadata, and never pass); **does not speak** (the version
lacks or prohibits what it asks for, or it is not for that year; recorded with the reason). A rule that cannot be read,
asks for a column that no version has, or fails, stops the run before anything is published.

**A finding** names rule, consequence, class, table, fields, department (`enhet`) and place (`_row` of the extract),
never a value. What stands below a dropped record or in a dropped unit is marked in `under` and counted there once.
"""

_IDENTITY: Final = """Decided over both trees: when identity and activity are held against each other (findings), when a
number becomes a row of the message (messages), when the extract is read (staging), by the guard (guard). Their findings
stand in the same tables and name no number; see [identity-numbers](identity-numbers.md).
"""
Rule = ContentRule | IdentityRule


def rules_page(
    rules: Sequence[ContentRule], coverage: Sequence[Coverage], identity: Sequence[IdentityRule] = ()
) -> str:
    """The whole page."""
    consequences = [f"| `{name}` | {CONSEQUENCE_TEXTS[name]} | {_MEANING[name]} |" for name in CONSEQUENCES]
    parts = [_HEAD + "\n".join(consequences) + "\n" + _OUTCOMES, _figures([*rules, *identity])]
    for theme, title in THEMES.items():
        own = [rule for rule in rules if rule.file == f"{theme}.toml"]
        if own:
            parts.append(f"## {title}\n\n{_rules(own)}")
    parts += [f"## Identity against activity\n\n{_IDENTITY}\n{_rules(identity)}", _coverage(coverage)]
    return "\n".join(parts)


def _figures(rules: Sequence[Rule]) -> str:
    bases = Counter(rule.basis for rule in rules)
    told = ", ".join(f"{count} {basis}" for basis, count in sorted(bases.items()))
    return f"{len(rules)} rules: {told}.\n"


def _rules(rules: Iterable[Rule]) -> str:
    header = ("rule", "where", "fields", "consequence", "basis", "what is wrong", "how to mend it", "source")
    return _table(header, [_row(rule) for rule in rules])


def _row(rule: Rule) -> tuple[str, ...]:
    where = f"{' '.join(rule.modules)} {rule.npr_class}"
    if speaks := _speaks(rule):
        where = f"{where} ({speaks})"
    fields = ", ".join(f"`{name}`" for name in rule.fields)
    told = f"{rule.text_no} / {rule.text_en}"
    return (f"`{rule.id}`", where, fields, rule.consequence, rule.basis, told, rule.fix, rule.source)


def _speaks(rule: Rule) -> str:
    if isinstance(rule, IdentityRule):
        return rule.decided
    years = f"{rule.from_year or ''}-{rule.to_year or ''}" if rule.from_year or rule.to_year else ""
    version = f"from version {rule.from_version}" if rule.from_version else ""
    return ", ".join(text for text in (years, version) if text)


def _coverage(coverage: Sequence[Coverage]) -> str:
    counts = Counter[str](one.decided for one in coverage)
    kinds = _table(
        ("decided", "rules", "how"), [(name, str(counts[name]), text) for name, text in DECIDED_TEXTS.items()]
    )
    rows = [(f"`{one.rule}`", one.decided, one.where, one.note) for one in coverage]
    title = f"## All {len(coverage)} rules of the notes\n\n"
    return f"{title}{kinds}\n{_table(('rule', 'decided', 'where', 'note'), rows)}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
