"""Errors meant for the person at the keyboard.

Belongs here: exceptions that are shown without a traceback, with what, where, rule and fix. Does not belong here:
faults of single rows (those are records, see ``transforms.extract.faults``) and bugs (any other exception is one).

None of these may carry a value out of a row: no number, name or date of a patient.
"""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator

SHOWN_FRAMES = 6
SYSTEM = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EIO,
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.EMFILE,
        errno.ENFILE,
        errno.EFBIG,
    }
)
"""What a disk or its owner may say no with; any other error of the system is a bug of ours."""


class NprError(Exception):
    """A refusal the user can act on. Shown without traceback.

    what: one sentence, the offender first. where: file, row, field, key of a setting (never a value of a row).
    rule: id or name of the rule that speaks. fix: what to do next.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", rule: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.rule = rule
        self.fix = fix

    def __str__(self) -> str:
        lines = [self.what]
        lines += [f"  {name}: {text}" for name, text in self._details() if text]
        return "\n".join(lines)

    def _details(self) -> list[tuple[str, str]]:
        return [("where", self.where), ("rule", self.rule), ("fix", self.fix)]

    def as_record(self) -> dict[str, str]:
        """The same as a mapping, for ``--json``."""
        return {"error": type(self).__name__, "what": self.what} | {k: v for k, v in self._details() if v}


class DataRefused(NprError):
    """The data or a gate refused (exit code 1)."""


class CannotKeep(DataRefused):
    """The ledger or the disk of this installation says no. Nothing is wrong with what was to be written down."""


def led_to(error: BaseException) -> Iterator[BaseException]:
    """An exception and those that led to it, the newest first. Contexts can run in a circle; each comes once."""
    met: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in met:
        yield one
        met.add(id(one))
        one = one.__cause__ or one.__context__


def of_system(error: BaseException) -> DataRefused | None:
    """The refusal that a no of the disk or its owner is, whoever met it; None for anything else."""
    if not isinstance(error, OSError) or error.errno not in SYSTEM:
        return None
    return CannotKeep(
        f"a file cannot be read or written: {error.strerror}; what was there before is unharmed",
        where=str(error.filename) if isinstance(error.filename, str) else "",
        fix="make room, or mend disk or permissions, and run again",
    )


class Bug(RuntimeError):
    """What no user can mend. Holds the kind of the first exception and places in code, and none of its text.

    Text of foreign exceptions can quote a value of a row, and Dagster keeps the text of what a stage raises.
    """

    def __init__(self, error: BaseException) -> None:
        frames = traceback.extract_tb(error.__traceback__)[-SHOWN_FRAMES:]
        self.kind = type(error).__name__
        self.places = [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
        super().__init__(f"{self.kind} at {', '.join(self.places)}")


class WrongUse(NprError):
    """Wrong use or configuration (exit code 2)."""

    exit_code = 2
