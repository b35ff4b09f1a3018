"""How the register's feedback names what it says: field names, kinds and consequences, from a data file.

Belongs here: the typed mapping and its reader, packaged (``schemas/answers/feedback.toml``) or an official one in its
place. Does not belong here: reading feedback (``transforms.answers``).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from schemas.errors import WrongUse

PACKAGED: Final = Path(__file__).parent / "answers" / "feedback.toml"
# What a feedback may say of the message it answers, and of one error.
HEAD: Final = (
    "msg_id",
    "lopenr",
    "institusjon_id",
    "lokalident",
    "period_from",
    "sha256",
    "generated",
    "errors_total",
)
ERROR: Final = (
    "code",
    "check",
    "npr_class",
    "attribute",
    "action",
    "text",
    "pasient_nr",
    "episode_id",
    "referral_id",
    "enhet_id",
)
CONSEQUENCES: Final = ("drop_message", "drop_record", "blank_value", "report_only")
_SIGNS: Final = re.compile(r"[\W_]+")
_LONGEST_NAME: Final = 60

Certainty = Literal["A", "B", "C"]
Kind = Literal["schema_report", "content_report"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Named(_Part):
    """Names of one thing, and how sure they are."""

    names: tuple[str, ...]
    certainty: Certainty
    note: str = ""


class Actions(_Part):
    """Ids and texts of each consequence."""

    certainty: Certainty
    drop_message: tuple[str, ...]
    drop_record: tuple[str, ...]
    blank_value: tuple[str, ...]
    report_only: tuple[str, ...]


class FeedbackFields(_Part):
    """The mapping of one version of the feedback. checks: letter of list 8482 -> what it checks."""

    version: str
    source: str
    kinds: dict[Kind, Named]
    fields: dict[str, Named]
    actions: Actions
    checks: dict[str, str] = {}

    @model_validator(mode="after")
    def _whole(self) -> FeedbackFields:
        if unknown := set(self.fields) - {*HEAD, *ERROR}:
            raise ValueError(f"no field is called {', '.join(sorted(unknown))}")
        if lacking := {*HEAD, *ERROR} - set(self.fields):
            raise ValueError(f"lacks {', '.join(sorted(lacking))}; give it with no names where it is not told")
        names = [plain(name) for one in self.fields.values() for name in one.names]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two fields are called {', '.join(sorted(twice))}")
        return self

    def by_name(self) -> Mapping[str, str]:
        """Plain name of an attribute, element or column -> field."""
        return {plain(name): field for field, one in self.fields.items() for name in one.names}

    def kind_of(self, text: str) -> Kind | None:
        """What a type, title or file name says it is; None where it says nothing, or both."""
        words = plain(text)
        found: list[Kind] = [
            kind for kind, one in self.kinds.items() if any(plain(name) in words for name in one.names)
        ]
        return found[0] if len(found) == 1 else None

    def consequences(self) -> Mapping[str, str]:
        """Plain id or text of an action -> our consequence."""
        return {_action(text): name for name in CONSEQUENCES for text in getattr(self.actions, name)}

    def consequence(self, action: str) -> str:
        """Our consequence of an action; report_only for one that is not known, which claims least."""
        return self.consequences().get(_action(action), "report_only")


def plain(name: str) -> str:
    """A name without case, blanks and signs."""
    return _SIGNS.sub("", name[:_LONGEST_NAME]).casefold()


def _action(text: str) -> str:
    return " ".join(text[:_LONGEST_NAME].casefold().split())


def feedback_fields(path: Path | None = None) -> FeedbackFields:
    """The packaged mapping, or the one in a file. WrongUse when it cannot be used."""
    return _packaged() if path is None else _read(path)


@cache
def _packaged() -> FeedbackFields:
    return _read(PACKAGED)


def _read(path: Path) -> FeedbackFields:
    try:
        return FeedbackFields.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise WrongUse(
            f"{path}: cannot be read as TOML", where=type(error).__name__, fix="see docs/sending.md"
        ) from None
    except ValidationError as error:
        told = "; ".join(fault["msg"].removeprefix("Value error, ") for fault in error.errors(include_input=False))
        raise WrongUse(f"{path}: no mapping of the feedback", where=told, fix="see docs/sending.md") from None
