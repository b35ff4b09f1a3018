"""What a delivery says of itself: reading ``extract.toml``.

Belongs here: that one file. Does not belong here: the data files it names (``assets.snapshot``, ``assets.sources``).
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import ValidationError

from schemas.errors import WrongUse
from schemas.extract_file import ExtractFile


def read_extract_file(folder: Path) -> ExtractFile:
    """``extract.toml`` of a folder. WrongUse names the key that is wrong and how to write it."""
    path = folder / "extract.toml"
    if not path.is_file():
        raise WrongUse(f"{folder}: no extract.toml", fix="see docs/extract-contract.md, or name a --source mapping")
    try:
        return ExtractFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WrongUse(f"{path}: not TOML", where=str(error), fix="write it as UTF-8 TOML") from None
    except ValidationError as error:
        lines = [f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors()]
        raise WrongUse(f"{path}: not as agreed", where="; ".join(lines), fix="see docs/extract-contract.md") from None
