"""What one feedback document tells, gathered name by name: of the message it answers, and error by error.

Belongs here: which name means which field, and rows with a heading (CSV, html). Does not belong here: XML, CSV and html
themselves (``transforms.answers.feedback``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from sys import intern
from typing import Final

from schemas.answered import ContentError
from schemas.errors import DataRefused
from schemas.feedback_fields import ERROR, HEAD, FeedbackFields, plain

MOST_ERRORS: Final = 200_000
LONGEST: Final = 500
HEADING: Final = 2
"""Columns of an error that a line must name to be a heading."""
_SAME: Final = frozenset({"msg_id", "lopenr", "institusjon_id", "lokalident", "sha256", "errors_total"})
# What a record of an error is known by; a line without any of these and without a code is no error.
_REPEATED: Final = frozenset({"code", "check", "npr_class", "attribute", "enhet_id"})


class Told:
    """Fields of the head, and errors, as they are found."""

    def __init__(self, fields: FeedbackFields, where: str) -> None:
        self.fields = fields
        self.where = where
        self.names = fields.by_name()
        self.head: dict[str, str] = {}
        self.errors: list[ContentError] = []
        self._consequences: dict[str, str] = {}

    def field(self, name: str) -> str:
        """The field that a name means; empty for none."""
        return self.names.get(plain(name), "")

    def heads(self, field: str, value: str) -> None:
        """Take what is said of the message answered. DataRefused when it speaks of two messages."""
        value = value.strip()[:LONGEST]
        if field not in HEAD or not value:
            return
        known = self.head.setdefault(field, value)
        if known != value and field in _SAME:
            raise DataRefused(
                f"{self.where} speaks of more than one message",
                where=self.where,
                rule=f"one answer, one message: it gives two values of {field}",
                fix="look at it yourself, and record what it says part by part",
            )

    def error(self, values: Mapping[str, str]) -> None:
        """Take an error, given field by field. DataRefused beyond what is taken."""
        if len(self.errors) >= MOST_ERRORS:
            raise DataRefused(
                f"{self.where} holds too many errors", where=self.where, rule=f"at most {MOST_ERRORS} in a document"
            )
        given = {name: values.get(name, "").strip()[:LONGEST] for name in ERROR}
        action = given.pop("action")
        if action not in self._consequences:
            self._consequences[action] = self.fields.consequence(action)
        told = {name: intern(value) if name in _REPEATED else value for name, value in given.items()}
        self.errors.append(ContentError(consequence=self._consequences[action], **told))


def is_error(values: Mapping[str, str]) -> bool:
    """Whether these fields make an error: its code, or a text about an attribute."""
    return bool(values.get("code", "").strip() or (values.get("text", "").strip() and values.get("attribute")))


class Lines:
    """Lines of cells: a heading is looked for, what stands before it as name and value is of the head."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._columns: list[str] = []
        self.headings = 0

    def table(self) -> None:
        """A new table begins: its heading is its own."""
        self._columns = []

    def line(self, cells: Sequence[str]) -> None:
        """Take one line."""
        if not self._columns:
            fields = [self._told.field(cell) for cell in cells]
            if len({field for field in fields if field in ERROR}) >= HEADING:
                self._columns = fields
                self.headings += 1
            else:
                self._pairs(cells)
            return
        values = {field: cell for field, cell in zip(self._columns, cells, strict=False) if field}
        if not any(value.strip() for value in values.values()):
            return
        for field, value in values.items():
            self._told.heads(field, value)
        if is_error(values):
            self._told.error(values)

    def _pairs(self, cells: Sequence[str]) -> None:
        """``name; value`` or ``name: value``."""
        filled = [cell for cell in cells if cell.strip()]
        if len(filled) == 1:
            name, colon, value = filled[0].partition(":")
            filled = [name, value] if colon else []
        if len(filled) == HEADING:
            self._told.heads(self._told.field(filled[0].strip().removesuffix(":")), filled[1])
