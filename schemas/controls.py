"""The register's own control of each attribute: type, mandatory, code, range, and what it does to what fails.

Belongs here: the typed controls and the checked reader of ``schemas/controls/``. Does not belong here: judging a
message by them (``transforms.validation.controls``). Source: the annotations of XPR hst and ipl 56.0.0
(hdir/DHHR.API@eaac238), of the same information model; no such file of ord is public, so for other modules they are
certainty C.
Patterns are ours, in the part of regular expressions that Python and XML Schema share, for a whole value.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final

from schemas.codelists import code_lists
from schemas.layout import Attribute, Layout
from schemas.packaged_csv import CERTAINTIES, Row, refuse, rows

FOLDER: Final = Path(__file__).parent / "controls"
TYPES_HEADER: Final = ("type", "pattern", "note", "certainty", "source")
HEADER: Final = (
    "class", "attribute", "modules", "off_in", "type", "type_action", "mandatory_action", "code_list", "code_date",
    "code_action", "range_from", "range_to", "range_action", "certainty", "source",
)  # fmt: skip

# What the register does, worst first, with its own words. The order is a reading of the texts (npr-model.md 7).
CONSEQUENCES: Final = {
    "message": "Slettemerk melding",
    "row": "Slettemerk rad med underelementer",
    "null": "Sett verdi til NULL",
    "minus_one": "Sett verdi til -1",
    "zero": "Sett verdi til 0",
    "none": "Ingen handling",
    "": "consequence not known",
}
PERIOD_END: Final = "Melding/@tilDatoPeriode"


@dataclass(frozen=True, slots=True)
class Control:
    """The controls of one attribute. A check that is None, or whose list is None, is not made.

    Actions are keys of CONSEQUENCES. code_date, low, high: an attribute of the element (``./@a``), its parent
    (``../@a``), an ancestor (``ancestor::Episode/@a``) or the message (``Melding/@a``).
    """

    cls: str
    attribute: str
    type: str | None = None
    pattern: str = ""
    type_action: str = ""
    mandatory: bool = False
    mandatory_action: str = ""
    code_list: str | None = None
    code_date: str = PERIOD_END
    code_action: str = ""
    low: str = ""
    high: str = ""
    range_action: str = ""
    certainty: str = "C"
    source: str = ""

    @property
    def held(self) -> bool:
        """Whether the code list comes with the program."""
        return self.code_list in code_lists()


Controls = dict[tuple[str, str], Control]


def controls_for(layout: Layout) -> Controls:
    """Class and attribute -> control, for all attributes of a layout that may be sent and have one.

    A coded attribute without a control of the register gets the check of its code, consequence not known.
    """
    found: Controls = {}
    for node in layout.nodes:
        for attribute in node.attributes:
            control = _control_of(node.name, attribute, layout.module)
            if control is not None and attribute.use != "prohibited":
                found.setdefault((node.name, attribute.name), control)
    return found


def _control_of(cls: str, attribute: Attribute, module: str) -> Control | None:
    official = _official().get((cls, attribute.name))
    if official is not None and not _off(official, module):
        control, own = official[0], module in official[1]
        certainty = control.certainty if own else "C"
        return _with(control, certainty, attribute.code_list)
    if attribute.code_list is None:
        return None
    return Control(
        cls, attribute.name, code_list=attribute.code_list, certainty=attribute.certainty, source=attribute.source
    )


def _with(control: Control, certainty: str, code_list: str | None) -> Control:
    return replace(control, certainty=certainty, code_list=code_list or control.code_list)


Official = tuple[Control, tuple[str, ...], tuple[str, ...]]


def _off(official: Official, module: str) -> bool:
    _, modules, off = official
    return module in off or (module not in modules and set(off) == set(modules))


@cache
def _official() -> dict[tuple[str, str], Official]:
    """Controls with the modules they stand in, and those in which they are switched off."""
    patterns = _patterns()
    found: dict[tuple[str, str], Official] = {}
    name = "schemas/controls/attributes.csv"
    for where, row in rows((FOLDER / "attributes.csv").read_text(encoding="utf-8"), HEADER, name):
        key = (row["class"], row["attribute"])
        if key in found:
            raise refuse(f"{row['class']}@{row['attribute']} stands twice", where)
        found[key] = (_control(row, patterns, where), tuple(row["modules"].split()), tuple(row["off_in"].split()))
    return found


def _control(row: Row, patterns: dict[str, str], where: str) -> Control:
    actions = [row[name] for name in ("type_action", "mandatory_action", "code_action", "range_action")]
    if unknown := [action for action in actions if action not in CONSEQUENCES]:
        raise refuse(f"consequence {unknown[0]!r}; it is one of {', '.join(CONSEQUENCES)}", where)
    if row["type"] and row["type"] not in patterns:
        raise refuse(f"type {row['type']!r} does not stand in types.csv", where)
    if row["certainty"] not in CERTAINTIES:
        raise refuse(f"certainty {row['certainty']!r}", where)
    return Control(
        cls=row["class"],
        attribute=row["attribute"],
        type=row["type"] or None,
        pattern=patterns.get(row["type"], ""),
        type_action=row["type_action"],
        mandatory=bool(row["mandatory_action"]),
        mandatory_action=row["mandatory_action"],
        code_list=row["code_list"] or None,
        code_date=row["code_date"] or PERIOD_END,
        code_action=row["code_action"],
        low=row["range_from"],
        high=row["range_to"],
        range_action=row["range_action"],
        certainty=row["certainty"],
        source=row["source"],
    )


def _patterns() -> dict[str, str]:
    text = (FOLDER / "types.csv").read_text(encoding="utf-8")
    return {row["type"]: row["pattern"] for _, row in rows(text, TYPES_HEADER, "schemas/controls/types.csv")}
