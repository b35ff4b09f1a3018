"""What a validation found, in plain words: as text, JSON, CSV and one HTML page.

Belongs here: sentences, fixes, grouping for the eye. Does not belong here: finding faults
(``transforms.validation.check``), printing and files (``pipelines.commands.validate``).
"""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from schemas.controls import CONSEQUENCES
from transforms.validation.check import Findings, Group, Place

VALID, FAULTS, REFUSED = "valid", "faults", "refused"
CSV_HEADER: Final = (
    "file", "verdict", "kind", "rule", "class", "attribute", "text", "fix", "consequence", "count", "line", "record",
)  # fmt: skip
# Consequences that take something away; the others leave the data as they are, or are not known.
HARMFUL: Final = ("message", "row", "null", "minus_one", "zero")

_FIXES: Final = {
    "SCHEMAV_CVC_COMPLEX_TYPE_4": "fill the attribute, or leave the record out",
    "SCHEMAV_CVC_COMPLEX_TYPE_3_2_1": "leave the attribute out; this version does not take it",
    "SCHEMAV_CVC_COMPLEX_TYPE_3_2_2": "leave the attribute out; this version does not take it",
    "SCHEMAV_CVC_COMPLEX_TYPE_2_1": "leave out what stands in the element",
    "SCHEMAV_CVC_COMPLEX_TYPE_2_3": "leave out the text; values stand in attributes",
    "SCHEMAV_ELEMENT_CONTENT": "write the classes that are needed, each in its place in the order of the schema",
    "SCHEMAV_CVC_WILDCARD": "correct the name of the class or its namespace",
    "SCHEMAV_CVC_ELT_1": "correct the name of the class or its namespace",
    "SCHEMAV_CVC_AU": "write the fixed value; a wrong version means a wrong namespace too",
    "XML_DOCTYPE": "write the file without a DOCTYPE",
    "XML_NOT_WELL_FORMED": "get the file anew; it may have been cut off or edited by hand",
    "XML_NOT_READ": "leave out what is that large or that deep",
}
_TYPE_FIXES: Final = {
    "type date": "write days as 2020-12-31",
    "type dateTime": "write times as 2020-12-31T23:59:00",
    "type integer": "write digits only",
    "type nonNegativeInteger": "write digits only",
    "type decimal": "write the number with a point and no spaces",
}
_CONTROL_FIXES: Final = {
    "mandatory": "fill the attribute",
    "type": "write the value in that form",
    "code": "use a code that was valid on the date",
    "range": "correct the one or the other date",
}


@dataclass(slots=True)
class FileReport:
    """One message. refused: what, where, rule and fix of a file that could not be read as a message."""

    name: str
    packing: str = "plain"
    encoding: str = ""
    module: str = ""
    version: str = ""
    namespace: str = ""
    official: bool = False
    in_head: bool = False
    bytes: int = 0
    findings: Findings = field(default_factory=lambda: Findings(0))
    unchecked: tuple[str, ...] = ()
    refused: dict[str, str] | None = None

    @property
    def verdict(self) -> str:
        """``refused``, ``faults`` or ``valid``; controls count where their consequence takes something away."""
        if self.refused is not None:
            return REFUSED
        return FAULTS if any(_counts(group) for group in self.findings.counts) else VALID

    def groups(self) -> list[tuple[Group, int, list[Place]]]:
        """Groups with their total and listed places: document, schema, controls; the largest first."""
        order = {"document": 0, "schema": 1, "control": 2}
        found = self.findings.counts.items()
        ordered = sorted(found, key=lambda item: (order[item[0].kind], -item[1], str(item[0])))
        return [(group, count, self.findings.places.get(group, [])) for group, count in ordered]


def _counts(group: Group) -> bool:
    return group.kind != "control" or group.consequence in HARMFUL


def sentence(group: Group) -> str:
    """Where and what, in one line without a value."""
    place = "@".join(name for name in (group.cls or "", group.attribute or "") if name)
    return f"{place}: {group.text}" if place else group.text


def fix(group: Group) -> str:
    """What to do about it."""
    if group.kind == "control":
        return _CONTROL_FIXES[group.rule]
    if group.rule == "SCHEMAV_CVC_IDC":
        twice = group.text.startswith("the key occurs twice")
        return "give each record its own key; it may have been written twice" if twice else _REFERENCE
    if re.search(r"code of list \d+$", group.text):
        return "write a code of that list"
    typed = next((text for name, text in _TYPE_FIXES.items() if group.text.endswith(name)), None)
    return typed or _FIXES.get(group.rule, "write the value as the schema says")


_REFERENCE: Final = "write what is referred to, or correct the key"


def consequence(group: Group) -> str:
    """What the register does, in its own words; empty for faults of the schema."""
    return CONSEQUENCES[group.consequence] if group.kind == "control" else ""


def record(reports: Sequence[FileReport]) -> dict[str, Any]:
    """Everything as plain values."""
    verdicts = [report.verdict for report in reports]
    totals = {verdict: verdicts.count(verdict) for verdict in (VALID, FAULTS, REFUSED)}
    return {"totals": totals, "files": [_file(report) for report in reports]}


def _file(report: FileReport) -> dict[str, Any]:
    names = ("name", "packing", "encoding", "module", "version", "namespace", "official", "in_head", "bytes", "refused")
    return {
        **{name: getattr(report, name) for name in names},
        "verdict": report.verdict,
        "faults": sum(count for group, count, _ in report.groups() if group.kind != "control"),
        "groups": [_group(*group) for group in report.groups()],
        "codes_not_checked": list(report.unchecked),
    }


def _group(group: Group, count: int, places: list[Place]) -> dict[str, Any]:
    return {
        "kind": group.kind,
        "rule": group.rule,
        "class": group.cls,
        "attribute": group.attribute,
        "text": group.text,
        "fix": fix(group),
        "consequence": consequence(group),
        "count": count,
        "places": [place._asdict() for place in places],
    }


# Forms


def as_json(reports: Sequence[FileReport]) -> str:
    """One JSON value."""
    return json.dumps(record(reports), ensure_ascii=False, indent=1)


def as_csv(reports: Sequence[FileReport]) -> str:
    """One row for each listed place; a group without places and a file without groups have one row."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    for report in reports:
        writer.writerows([_cell(value) for value in row] for row in _rows(report))
    return out.getvalue().rstrip("\n")


def _cell(value: object) -> str:
    """Names of files come from outside, and a spreadsheet takes some texts for formulas."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t")) else text


def _rows(report: FileReport) -> Iterator[list[object]]:
    start = [report.name, report.verdict]
    if report.refused is not None:
        yield [
            *start,
            "document",
            report.refused["rule"],
            "",
            "",
            report.refused["what"],
            report.refused["fix"],
            "",
            1,
            "",
            "",
        ]
        return
    for group, count, places in report.groups():
        told = [*start, group.kind, group.rule, group.cls, group.attribute, group.text, fix(group), consequence(group)]
        for place in places or [Place(None, "")]:
            yield [*told, count, place.line, place.record]
    if not report.findings.counts:
        yield [*start, *[""] * 7, 0, "", ""]


def as_text(reports: Sequence[FileReport]) -> str:
    """For a terminal."""
    lines: list[str] = []
    for report in reports:
        lines += _text_of_file(report)
    return "\n".join([*lines, _summary(reports)])


def _text_of_file(report: FileReport) -> Iterator[str]:
    yield f"{report.name}: {_headline(report)}"
    if report.refused is not None:
        yield from (f"  {name}: {report.refused[name]}" for name in ("where", "rule", "fix") if report.refused[name])
    for group, count, places in report.groups():
        yield f"  {group.kind}  {sentence(group)}  ({_times(count)})"
        if told := consequence(group):
            yield f"    the register: {told}"
        yield f"    fix: {fix(group)}"
        yield from (f"    {_place(place)}" for place in places)
        if len(places) < count:
            yield f"    and {count - len(places)} more"
    if report.unchecked:
        yield f"  codes not checked, list not held: {', '.join(report.unchecked)}"
    yield ""


def _headline(report: FileReport) -> str:
    return f"{report.verdict}{': ' if report.refused else ', '}{_figures(report)}"


def _figures(report: FileReport) -> str:
    if report.refused is not None:
        return report.refused["what"]
    faults = sum(count for group, count, _ in report.groups() if group.kind != "control")
    controls = sum(count for group, count, _ in report.groups() if group.kind == "control")
    return f"{_times(faults, 'fault')}, {_times(controls, 'remark')} of the controls ({_about(report)})"


def _about(report: FileReport) -> str:
    packed = "" if report.packing == "plain" else f", {report.packing}"
    if not report.module:
        return f"not seen to be a message, {report.encoding}{packed}"
    schema = "official schema" if report.official else "our schema, not the official one"
    head = "under MsgHead" if report.in_head else "bare"
    return f"{report.module} {report.version}, {schema}, {head}, {report.encoding}{packed}"


def _times(count: int, what: str = "time") -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")


def _place(place: Place) -> str:
    line = f"line {place.line}" if place.line is not None else "line not known"
    return f"{line}  {place.record}".rstrip()


def _summary(reports: Sequence[FileReport]) -> str:
    totals = record(reports)["totals"]
    return f"{_times(len(reports), 'message')}: " + ", ".join(f"{count} {name}" for name, count in totals.items())


# HTML

_STYLE: Final = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%;margin:.5rem 0 1rem}
caption{text-align:left;font-weight:600;padding:.3rem 0}
th,td{border:1px solid #8888;padding:.3rem .5rem;text-align:left;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums}
.scroll{overflow-x:auto}
.verdict{font-weight:700;border:2px solid;border-radius:.3rem;padding:0 .4rem}
summary{cursor:pointer}
"""


def as_html(reports: Sequence[FileReport]) -> str:
    """One page that loads nothing: no script, no picture, no font."""
    parts = "\n".join(_html_of_file(number, report) for number, report in enumerate(reports, 1))
    links = "".join(
        f'<tr><td><a href="#file-{number}">{html.escape(report.name)}</a></td><td>{_badge(report)}</td>'
        f"<td>{html.escape(_figures(report))}</td></tr>"
        for number, report in enumerate(reports, 1)
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>NPR messages validated</title><style>{_STYLE}</style></head><body><main>\n"
        f"<h1>NPR messages validated</h1><p>{html.escape(_summary(reports))}</p>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="Messages"><table><caption>Messages</caption>'
        '<thead><tr><th scope="col">Message</th><th scope="col">Verdict</th><th scope="col">What</th></tr></thead>'
        f"<tbody>{links}</tbody></table></div>\n{parts}\n</main></body></html>"
    )


def _badge(report: FileReport) -> str:
    return f'<span class="verdict">{html.escape(report.verdict)}</span>'


def _html_of_file(number: int, report: FileReport) -> str:
    title = f'<section aria-labelledby="file-{number}"><h2 id="file-{number}">{html.escape(report.name)}</h2>'
    if report.refused is not None:
        told = "".join(f"<dt>{name}</dt><dd>{html.escape(text)}</dd>" for name, text in report.refused.items() if text)
        return f"{title}<p>{_badge(report)}</p><dl>{told}</dl></section>"
    unchecked = ", ".join(report.unchecked)
    return (
        f"{title}<p>{_badge(report)} {html.escape(_about(report))}</p>{_html_table(report.groups())}"
        + (f"<p>Codes not checked, list not held: {html.escape(unchecked)}</p>" if unchecked else "")
        + "</section>"
    )


def _html_table(groups: Sequence[tuple[Group, int, list[Place]]]) -> str:
    if not groups:
        return "<p>No faults.</p>"
    columns = ("Kind", "Class and attribute", "What", "Fix", "The register", "Count", "Where")
    head = "".join(f'<th scope="col">{name}</th>' for name in columns)
    body = "".join(_html_row(*group) for group in groups)
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Faults"><table><caption>Faults by group</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _html_row(group: Group, count: int, places: list[Place]) -> str:
    name = "@".join(part for part in (group.cls or "", group.attribute or "") if part)
    items = "".join(f"<li>{html.escape(_place(place))}</li>" for place in places)
    more = f"<p>and {count - len(places)} more</p>" if len(places) < count else ""
    told = _times(count, "place") if len(places) == count else f"{len(places)} of {count} places"
    where = f"<details><summary>{told}</summary><ul>{items}</ul>{more}</details>"
    texts = (group.kind, name, group.text, fix(group), consequence(group))
    cells = "".join(f"<td>{html.escape(text)}</td>" for text in texts)
    return f'<tr>{cells}<td class="n">{count}</td><td>{where}</td></tr>'


FORMS: Final[Mapping[str, Callable[[Sequence[FileReport]], str]]] = {
    "text": as_text,
    "json": as_json,
    "csv": as_csv,
    "html": as_html,
}
