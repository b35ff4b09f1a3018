"""The generated page about the calendar: who reports what, what is wrong on the published pages, how good drafts are.

Belongs here: the text of ``docs/reporting-calendar.md`` and of the table of holidays. Does not belong here: the facts
(``schemas/calendar/``, and the package ``holidays``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from schemas.deadlines import Deadline, corrections, doubts, readings, tables
from schemas.period import Period, kinds
from schemas.reporting import Duty, UnitKind, duties, duty
from schemas.workdays import HOLIDAY_YEARS, HOLIDAYS_HEADER, named_holidays
from transforms.scheduling.proposal import Line, back_test, waits

HEAD = """# Who reports what, and the deadlines

Generated from `schemas/calendar/` by `make docs`; [calendar.md](calendar.md) explains it. Certainty: A official,
B third party, C inferred.

"""
# One period of every kind, and what it stands for, of the newest table.
SHOWN = (
    ("monthly", "2022-M01"),
    ("to 30 June (due in July)", "2022-M06"),
    ("tertial", "2022-T1"),
    ("annual", "2022-A"),
    ("cost per patient", "2021-K"),
)


def calendar_page() -> str:
    """The whole page, in Markdown."""
    parts = (_duties(), _exceptions(), _numbers(), _corrections(), _pattern(), _back_test())
    return HEAD + "\n".join(line for part in parts for line in part) + "\n"


def holidays_table() -> str:
    """``schemas/calendar/holidays.csv``: what the package says of the years that are kept."""
    days = [f"{day},{name}" for year in HOLIDAY_YEARS for day, name in named_holidays(year).items()]
    return "\n".join([",".join(HOLIDAYS_HEADER), *days]) + "\n"


def _duties() -> Iterable[str]:
    yield "## Who reports what\n"
    yield "`tsb` is NPR-melding-TSB, carried by `sbs` or `tsb` as the version says. ISF: an ISF agreement.\n"
    rows = []
    for title, key in SHOWN:
        period = Period.parse(key)
        who: dict[Duty, list[str]] = {}
        for kind in UnitKind:
            with_isf, without = (duty(period, kind, isf=isf) for isf in (True, False))
            same = with_isf == without
            who.setdefault(with_isf, []).append(kind.value if same else f"{kind.value} with ISF")
            if not same:
                who.setdefault(without, []).append(f"{kind.value} without ISF")
        rows += [(title, ", ".join(names), *_owed(period, entry)) for entry, names in who.items()]
    yield from _table(("report", "unit", "messages", "submissions", "certainty", "source", "why"), rows)


def _owed(period: Period, entry: Duty) -> tuple[str, ...]:
    modules = " ".join(period.modules) if entry.due else "none owed; may be sent" if entry.may else "none"
    numbers = " and ".join(map(str, entry.submissions)) or "-"
    return modules, numbers, entry.certainty, f"`{'` `'.join(entry.source.split())}`", entry.why


def _exceptions() -> Iterable[str]:
    yield "\nOther years differ by:\n"
    rows = [
        (
            " to ".join(map(str, dict.fromkeys(entry.years))),
            ", ".join(entry.units),
            ", ".join(entry.reports),
            entry.certainty,
            entry.why,
        )
        for entry in duties().duty
        if entry.years
    ]
    yield from _table(("data years", "units", "reports", "certainty", "what holds then"), rows)


def _numbers() -> Iterable[str]:
    yield "\n## Under which number\n"
    rows = [
        (entry.unit.value, entry.number, entry.certainty, f"`{'` `'.join(entry.source.split())}`")
        for entry in duties().reports_as
    ]
    yield from _table(("unit", "institusjonID", "certainty", "source"), rows)


def _corrections() -> Iterable[str]:
    yield "\n## What is wrong on the published pages\n"
    yield "The rows are kept as printed; this is how they are read.\n"
    rows = [
        (
            f"`{one.source}`",
            str(one.deadline),
            f"{one.report}, {one.submission}",
            one.field,
            one.printed,
            one.read_as,
            one.reason,
        )
        for one in corrections()
    ]
    yield from _table(("table", "deadline", "report, submission", "what", "printed", "read as", "reason"), rows)
    yield f"\nKept as printed, with a warning: {'; '.join(doubts(readings()))}."
    yield "\n| table | page | rows | whole |\n|---|---|--:|---|"
    for table in tables():
        number = sum(row.source == table.source for row in readings())
        repeated = sum(one.field == "repeated" for one in corrections() if one.source == table.source)
        yield f"| `{table.source}` | {table.page} | {number + repeated} | {table.cut or 'yes'} |"


def _pattern() -> Iterable[str]:
    yield "\n## The pattern behind drafts\n"
    yield "Working days from the end of the period to the deadline, in all published rows. A draft takes the fewest.\n"
    rows = [(_name(line), _range(days), str(len(days))) for line, days in waits(readings()).items()]
    yield from _table(("report", "working days", "rows"), rows)


def _name(line: Line) -> str:
    report, submission, late = line
    return f"{report}, submission {submission}{', avtalespesialister' if late else ''}"


def _range(days: Sequence[int]) -> str:
    return str(min(days)) if min(days) == max(days) else f"{min(days)} to {max(days)}"


def _back_test() -> Iterable[str]:
    yield "\n## How far off drafts would have been\n"
    yield "Each published table beside a draft made of the tables before it alone.\n"
    rows = []
    for place, table in enumerate(tables()[1:], start=1):
        earlier = {one.source for one in tables()[:place]}
        found = back_test(
            [row for row in readings() if row.source == table.source],
            [row for row in readings() if row.source in earlier],
        )
        off = [f"{_slot(one.published)}: {one.days:+} days" for one in found if one.days]
        none = [_slot(one.published) for one in found if one.days is None]
        exact = sum(one.days == 0 for one in found)
        rows.append((str(table.year), str(len(found)), str(exact), "; ".join(off) or "-", "; ".join(none) or "-"))
    yield from _table(("table", "rows", "same day", "off (+ is later)", "no earlier row to draft from"), rows)
    yield f"\nKeys of periods run to {kinds().years.last}."


def _slot(row: Deadline) -> str:
    return f"{row.period} submission {row.submission}{' (avtalespesialister)' if row.late else ''}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
