"""How the official downloads of the large code lists look: headings, form of a code, worksheets.

Belongs here: the typed description and its checked reader, for the packaged file and for one that a site writes. Does
not belong here: reading a download (``transforms.code_files``) and keeping it (``pipelines.home.codes``).
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from schemas.codelists import FOLDER, code_list, code_lists
from schemas.dated_codes import dated_lists
from schemas.errors import WrongUse

PACKAGED = "schemas/codes/formats.toml"
LETTERS = "8410"
NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")


def heading(text: str) -> str:
    """A heading in the form in which headings are compared: no case, ``_`` as a space, no double spaces."""
    return " ".join(text.replace("_", " ").split()).casefold()


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error.msg}") from None
    return text


def _letters(letters: tuple[str, ...]) -> tuple[str, ...]:
    known = {value.code for value in code_list(LETTERS).values}
    if unknown := sorted(set(letters) - known):
        raise ValueError(f"{', '.join(unknown)}: no letter of list {LETTERS}")
    return letters


Headings = tuple[Annotated[str, AfterValidator(heading)], ...]


class CodeFormat(BaseModel):
    """One large list. What each field says stands at the top of ``schemas/codes/formats.toml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    download: str = ""
    kodeverk: Annotated[tuple[str, ...], AfterValidator(_letters)] = ()
    code: Headings = Field(min_length=1)
    text: Headings = ()
    valid_from: Headings = ()
    valid_to: Headings = ()
    reported: Headings = ()
    years: Headings = ()
    pattern: Annotated[str, AfterValidator(_pattern)]
    drop: str = ""
    sheets: tuple[str, ...] = ()


@cache
def packaged_formats() -> dict[str, CodeFormat]:
    """The lists that come described, by name."""
    return _read((FOLDER / "formats.toml").read_text(encoding="utf-8"), PACKAGED, {})


def code_format(name: str, own: str = "", where: str = "--columns") -> CodeFormat:
    """The format of a list: the packaged one, with what a site's own TOML text says laid over it.

    own: TOML of the same shape, one table for each list; ``where`` names it in errors. WrongUse for an unknown list,
    a name that a carried list has, and faults in the TOML.
    """
    known = packaged_formats() | _read(own, where, packaged_formats())
    if name not in known:
        raise WrongUse(
            f"{name[:40]!r} is no list that can be loaded",
            where="NAME",
            fix=f"lists there are: {', '.join(known)}; another one is described by --columns FILE.toml (docs/codes.md)",
        )
    return known[name]


def _read(text: str, where: str, base: dict[str, CodeFormat]) -> dict[str, CodeFormat]:
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise WrongUse(f"{where}: not TOML", where=str(error), fix="see docs/codes.md") from None
    return {name: _format(name, table, where, base.get(name)) for name, table in tables.items()}


def _format(name: str, table: Any, where: str, base: CodeFormat | None) -> CodeFormat:  # noqa: ANN401 - of the TOML
    if not NAME.fullmatch(name) or name in dated_lists() or name in code_lists():
        raise WrongUse(f"{name[:40]!r} cannot be the name of a list", where=where, fix="small letters, not one carried")
    if not isinstance(table, dict):
        raise WrongUse(f"{name} is no table", where=where, fix=f"write [{name}] on a line of its own")
    try:
        return CodeFormat.model_validate((base.model_dump() if base else {}) | {**table, "name": name})
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise WrongUse(f"{where}: [{name}] is not right", where=faults, fix="see docs/codes.md") from None
