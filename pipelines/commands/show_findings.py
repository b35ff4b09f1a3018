"""What a person reads of findings: work list, verdict, explanation, decisions.

Belongs here: turning records of ``pipelines.commands.work_list`` into text. Does not belong here: figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.commands.show import as_table, as_text
from transforms.content.verdict import RECORDS, unchecked_line

Record = Mapping[str, Any]
MOST = 40
STATUSES = ("new", "persisting", "waived", "resolved")
WORDS = {
    "drop_message": "NPR refuses the whole message",
    "drop_record": "NPR leaves the record out, with all below it",
    "blank_value": "NPR blanks the value and keeps the record",
    "report_only": "NPR reports it and keeps the record",
}
WAITING = {
    "new": "new",
    "started": "started",
    "ordinary": "ordinary",
    "mean_days": "mean",
    "median_days": "median",
    "p90_days": "p90",
    "waiting": "waiting",
    "breaches_started": "late",
    "breaches_waiting": "overdue",
    "excluded": "left out",
}


def work_lists(records: Sequence[Record], by: str | None) -> str:
    """Findings of one or several units."""
    return "\n\n".join(_work_list(record, by) for record in records)


def _work_list(record: Record, by: str | None) -> str:
    counts = ", ".join(f"{record['counts'][name]} {name}" for name in STATUSES)
    title = f"{record['period']} {record['unit']}: {counts}"
    rows = record["findings"]
    if not rows:
        return f"{title}\nnothing to show"
    more = f"{len(rows) - MOST} more; --json has all" if len(rows) > MOST else ""
    shown = rows[:MOST]
    columns: tuple[str, ...]
    lines: list[tuple[object, ...]]
    if by is None:
        columns = ("status", "origin", "rule", "department", "row", "finding", "what")
        lines = [
            (
                row["status"],
                row["origin"],
                row["rule"],
                row["enhet"] or "",
                f"{row['table']} {'' if row['_row'] is None else row['_row']}",
                row["fingerprint"],
                _with_below(row),
            )
            for row in shown
        ]
    else:
        keys = ("rule",) if by == "rule" else ("enhet", "rule")
        names = ("department" if key == "enhet" else key for key in keys)
        columns = (*names, "origin", "consequence", "open", *STATUSES, "what")
        lines = [
            (
                *(row[key] or "" for key in keys),
                row["origin"],
                row["consequence"],
                row["open"],
                *(row[name] for name in STATUSES),
                _with_below(row),
            )
            for row in shown
        ]
    return as_text(as_table(title, columns, lines), *([more] if more else []))


def _with_below(row: Record) -> str:
    if row.get("since"):
        return f"{row['text']}; {row['since']} since it was sent"
    return f"{row['text']} ({row['below']} findings below it)" if row["below"] else str(row["text"])


def verdicts(records: Sequence[Record]) -> str:
    """What NPR would keep, one sentence first."""
    return "\n\n".join(_verdict(record) for record in records)


def _verdict(record: Record) -> str:
    parts: list[object] = [f"{record['period']} {record['unit']}: {record['sentence']}"]
    parts += [f"  {line}" for line in record["more"]]
    parts += [f"  {line}" for line in _short(record)]
    columns: tuple[str, ...]
    rows: list[tuple[object, ...]]
    classes = [row for row in record["classes"] if row["dropped"] or row["values"]]
    if classes:
        columns = ("module", "class", "rows", "kept", "dropped", "blanked", "values")
        parts.append(as_table("by class", columns, [tuple(row[name] for name in columns) for row in classes]))
    lost = [row for row in record["lost"]["by_department"] if row["class"] in RECORDS]
    if lost:
        columns = ("rule", "department", "class", "rows")
        rows = sorted((row["rule"], row["enhet"] or "", row["class"], row["rows"]) for row in lost)
        parts.append(as_table("records lost, by rule and department", columns, rows[:MOST]))
    guards = [row for row in record["guards"] if row["status"] not in ("ok", "no_baseline")]
    if guards:
        rows = [(row["guard"], row["status"], row["text"]) for row in guards]
        parts.append(as_table("unlike earlier submissions", ("guard", "status", "what"), rows))
    if record["waiting_list"]:
        parts.append(_waiting(record["waiting_list"]))
    return as_text(*parts)


def _short(record: Record) -> list[str]:
    lines = []
    not_checked = record["not_checked"]
    if line := unchecked_line(not_checked["rows"], not_checked["rules"]):
        lines.append(f"{line} (npr codes list)")
    lines += [
        str(one["text"]) if one["holds"] else f"{one['text']}: {_command(record, one)}" for one in record["overrides"]
    ]
    silent_guards = [row["guard"] for row in record["guards"] if row["status"] == "no_baseline"]
    if silent_guards:
        lines.append(f"no baseline, so not compared with earlier submissions: {', '.join(silent_guards)}")
    overlap = record["overlap"]
    if overlap["against"]:
        kinds = ", ".join(f"{overlap[kind]} {kind}" for kind in ("late", "changed", "vanished"))
        lines.append(f"episodes since {overlap['against']}: {kinds}")
    return lines


def _command(record: Record, one: Record) -> str:
    where = f"{record['period']} {one['rule']} --unit {record['unit']}"
    return f"npr override {where} --count {one['records']} --by NAME --why TEXT"


def _waiting(rows: Sequence[Record]) -> object:
    first = rows[0]
    days = f"{first['from_day']} to {first['to_day']}"
    title = f"waiting list {days}, referrals and calendar days (certainty {first['certainty']})"
    shown = [(row["sektor"] or "not given", *(_number(row[name]) for name in WAITING)) for row in rows]
    return as_table(title, ("sector", *WAITING.values()), shown)


def _number(value: float | None) -> object:
    return "" if value is None else value if isinstance(value, int) else f"{value:.1f}"


def explanation(told: Record) -> str:
    """A rule, and what it found about a record."""
    lines = (
        _of_npr(told)
        if told["origin"] == "NPR"
        else [
            f"{told['rule']} ({', '.join(told['modules'])}, {told['class']}): {told['text_no']}",
            f"  in English:  {told['text_en']}",
            f"  consequence: {told['consequence']}: {WORDS[told['consequence']]}",
            f"  basis:       {told['basis']}: {told['source']}",
            f"  wrong when:  {told['expression']}",
            f"  fields:      {', '.join(told['fields'])}",
            f"  stands in:   {told['where']}",
            f"  how to fix:  {told['fix']}",
        ]
    )
    for one in told.get("records", ()):
        lines += [
            "",
            f"{one['period']} {one['unit']}: record {one['record']}, {one['status']}, finding {one['fingerprint']}",
        ]
        lines.append(
            f"  {one.get('file', one['table'])} row {one['row']}, department {one['department'] or 'not given'}"
        )
        lines += [f"  {name} = {'(empty)' if value is None else value}" for name, value in one["fields"].items()]
    return "\n".join(lines)


def _of_npr(told: Record) -> list[str]:
    """A code of the register: its word, not ours, and how sure the reading of it is."""
    texts = told["texts"] or [
        "not shown: no two records share one, and what one record has to itself may name a patient"
    ]
    checks = [f"{letter}: {text}" for letter, text in told["checks"].items() if text]
    lines = [
        f"{told['rule']}: a code of NPR's answers, NPR's word and no rule of ours; NPR's list of codes is not public",
        *(f"  NPR's text:  {text}" for text in texts),
        *(f"  check:       {text} (list 8482)" for text in checks),
        *(f"  consequence: {name}: {WORDS[name]} ({n} findings)" for name, n in told["consequences"].items()),
        *(f"  field:       {name} ({n} findings)" for name, n in told["fields"].items()),
        f"  certainty:   {told['certainty']}: {told['source']}",
        "  how to fix:  correct the source and send the period anew; the next answer shows what was mended",
    ]
    for one in told["partitions"]:
        counts = ", ".join(f"{one[status]} {status}" for status in STATUSES if one[status])
        lines.append(f"  {one['period']} {one['unit']}: {counts}")
    return lines


def decision(record: Record) -> str:
    """What was decided, and what it means now."""
    done = "taken back" if record.get("withdrawn") else "kept"
    lines = [
        f"{record['kind']} of {record['subject']} for {record['period']} {record['unit']} {done}, by {record['by']}"
    ]
    if record["kind"] == "waive" and not record.get("withdrawn"):
        until = record.get("until")
        lines.append(
            f"{record['findings']} findings, until {until}" if until else f"{record['findings']} findings, without end"
        )
    if record.get("origin") == "NPR" and not record.get("withdrawn"):
        lines.append("NPR found this, and NPR's verdict stands: the state of the submission is what it was")
    if record["kind"] == "override":
        state = "holds" if record["holds"] else "does not hold"
        lines.append(f"it {state}: {record['found']} records found, up to {record.get('count') or 0} taken on")
    lines += [str(text) for text in record.get("confirmed", ())]
    return "\n".join(lines)
