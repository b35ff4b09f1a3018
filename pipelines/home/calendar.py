"""The calendar of this machine: published tables, and drafts for the years without one under ``NPR_HOME/calendar/``.

Belongs here: writing, reading and confirming drafts. Does not belong here: how a draft is made
(``transforms.scheduling.proposal``), what a row may say (``schemas.deadlines``), printing.

    NPR_HOME/calendar/2026.csv             the draft, in the columns of schemas/calendar/deadlines.csv; open to edits
    NPR_HOME/calendar/2026.confirmed.json  who vouches for it, when, and the SHA-256 of what was confirmed

An edit after confirming voids it: the hash no longer fits, and the deadlines are proposed again.
"""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.home.store import DiskStore
from schemas.deadlines import (
    DEADLINES_HEADER,
    Deadline,
    Status,
    corrections_of,
    deadlines,
    doubts,
    read_deadlines,
    readings,
    tables,
    together,
)
from schemas.errors import WrongUse
from schemas.period import kinds
from schemas.reporting import owed_gaps
from schemas.words import KEPT, PersonName, person
from transforms.scheduling.proposal import propose

FOLDER = "calendar"


class Confirmation(BaseModel):
    """A person's word that a draft is right. sha256: of the file that was confirmed. at: UTC."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    year: int
    by: PersonName
    at: dt.datetime
    sha256: str


@dataclass(frozen=True, slots=True)
class Draft:
    """One file of drafted deadlines. confirmation: what was confirmed, whether or not it still fits."""

    year: int
    path: Path
    status: Status
    rows: tuple[Deadline, ...]
    confirmation: Confirmation | None

    @property
    def voided(self) -> bool:
        """Whether the file was edited after it was confirmed."""
        return self.confirmation is not None and self.status == "proposed"


class CalendarHome:
    """Drafts under ``NPR_HOME/calendar``, and the whole calendar with them."""

    def __init__(self, home: Path) -> None:
        self.store = DiskStore(home)
        self.folder = self.store.home / FOLDER

    def deadlines(self) -> tuple[Deadline, ...]:
        """Every deadline as it is read: published, then confirmed, then proposed; the surer takes the other's place."""
        drafts = sorted(self.drafts(), key=lambda draft: (draft.status != "confirmed", draft.year))
        return together(readings(), (row for draft in drafts for row in draft.rows))

    def drafts(self) -> tuple[Draft, ...]:
        """All drafts, by year. WrongUse names file and line of what cannot be."""
        return tuple(self._draft(path) for path in sorted(self.folder.glob("[0-9][0-9][0-9][0-9].csv")))

    def propose(self, year: int, *, again: bool = False) -> Draft:
        """Write the draft of a year, for what no table says. again: in place of an earlier draft.

        WrongUse when the year is published, has no keys, or has a draft.
        """
        path = self._path(year)
        if path.exists() and not again:
            raise WrongUse(
                f"there is a draft for {year}", where=str(path), fix=f"edit it, or npr calendar propose {year} --again"
            )
        if fault := no_periods(year):
            raise WrongUse(f"nothing to propose for {year}", where="YEAR", fix=fault)
        known = readings()
        past = [row for row in known if _table_year(row) <= year]
        rows = propose(year, past, known)
        if not rows:
            raise WrongUse(
                f"nothing to propose for {year}",
                where="YEAR",
                fix=f"all its deadlines are published: npr calendar --year {year}",
            )
        with self.store.writing(path) as beside:
            beside.write_text(_as_csv(rows), encoding="utf-8")
        return self._draft(path)

    def confirm(self, year: int, by: str, now: dt.datetime) -> Draft:
        """Record that a person vouches for the draft as it lies there. WrongUse when it is missing or has gaps."""
        name = person(by)
        path = self._path(year)
        if not path.is_file():
            raise WrongUse(f"no draft for {year}", where=str(path), fix=f"npr calendar propose {year}")
        draft = self._draft(path)
        if missing := owed_gaps(year, together(readings(), draft.rows)):
            raise WrongUse(
                f"the draft for {year} has no deadline for {'; '.join(map(str, missing))}",
                where=str(path),
                fix=f"add the rows, or npr calendar propose {year} --again",
            )
        word = Confirmation(year=year, by=name, at=now, sha256=_digest(path))
        with self.store.writing(self._confirmed(year)) as beside:
            beside.write_text(word.model_dump_json(indent=1), encoding="utf-8")
        return self._draft(path)

    def _path(self, year: int) -> Path:
        return self.folder / f"{year:04}.csv"

    def _confirmed(self, year: int) -> Path:
        return self.folder / f"{year:04}.confirmed.json"

    def _draft(self, path: Path) -> Draft:
        year = int(path.stem)
        word = self._confirmation(year)
        status: Status = "confirmed" if word and word.sha256 == _digest(path) else "proposed"
        again = f"npr calendar propose {year} --again"
        text = _text(path)
        _insist_commas(path, text, again)
        try:
            rows = read_deadlines(text, name=str(path), status=status)
        except WrongUse as fault:
            raise WrongUse(fault.what, where=fault.where, fix=f"correct that line, or {again}") from None
        if other := next((row for row in rows if row.period_to.year != year), None):
            raise WrongUse(f"{other.period} is no period of {year}", where=str(path), fix="take that line out")
        return Draft(year, path, status, rows, word)

    def _confirmation(self, year: int) -> Confirmation | None:
        path = self._confirmed(year)
        if not path.is_file():
            return None
        try:
            return Confirmation.model_validate_json(path.read_bytes(), context=KEPT)
        except ValidationError:
            raise WrongUse(
                f"{path}: no record of a confirmation", where=str(path), fix=f"npr calendar confirm {year} --by NAME"
            ) from None


def no_periods(year: int) -> str:
    """Why a year can have no draft, empty when it can: the program knows periods of some years only."""
    years = kinds().years
    if years.first <= year <= years.last:
        return ""
    known = f"this version knows periods of {years.first} to {years.last}"
    return f"{known}; a later year comes with a new version" if year > years.last else known


def listing(home: CalendarHome, year: int | None) -> list[dict[str, Any]]:
    """Deadlines as rows: those of the year's published table; without one, what is known of the year's periods.

    A row: deadline, period, from, to, kind, modules, audience, submission, note. Published rows are shown as printed,
    with what was corrected in the note.
    """
    drafts = [row for draft in home.drafts() for row in draft.rows]
    known = {row.about for row in readings()}
    rows = (*deadlines(), *(row for row in drafts if row.about not in known))
    if year is not None:
        in_table = {table.source for table in tables() if table.year == year}
        rows = tuple(
            row
            for row in rows
            if row.source in in_table or (row.period_to.year == year and (row.status != "published" or not in_table))
        )
    return [_as_row(row) for row in rows]


def _as_row(row: Deadline) -> dict[str, Any]:
    return {
        "deadline": row.deadline.isoformat(),
        "period": row.period,
        "from": row.period_from.isoformat(),
        "to": row.period_to.isoformat(),
        "kind": row.report,
        "modules": list(row.modules),
        "audience": row.audience,
        "submission": row.submission,
        "note": "; ".join(_notes(row)),
    }


def _notes(row: Deadline) -> Iterable[str]:
    if row.status != "published":
        yield row.status
    if row.our_reading_note:
        yield row.our_reading_note
    for entry in corrections_of(row) if row.status == "published" else ():
        yield f"{entry.field}: printed '{entry.printed}', read as {entry.read_as}: {entry.reason}"
    for doubt in doubts([row]):
        yield doubt.partition(" (")[0]


def _table_year(row: Deadline) -> int:
    return next(table.year for table in tables() if table.source == row.source)


def _text(path: Path) -> str:
    """A draft as it lies there; spreadsheets put a mark before UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise WrongUse(f"{path}: not UTF-8", where=str(path), fix="save it as CSV in UTF-8") from None


def _insist_commas(path: Path, text: str, again: str) -> None:
    """WrongUse for a file whose first line has semicolons for commas."""
    head = text.partition("\n")[0]
    if ";" in head and "," not in head:
        raise WrongUse(
            "columns are separated by semicolons; the separator must be a comma",
            where=f"{path}, line 1",
            fix=f"save it with commas (a spreadsheet set to Norwegian writes semicolons), or {again}",
        )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _as_csv(rows: Iterable[Deadline]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(DEADLINES_HEADER)
    for row in rows:
        values = [getattr(row, name) for name in DEADLINES_HEADER]
        writer.writerow([" ".join(value) if isinstance(value, tuple) else value for value in values])
    return text.getvalue()
