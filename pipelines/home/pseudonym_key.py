"""The secret behind pseudonyms: one per NPR_HOME, made on first use, in the identity tree.

Belongs here: making and reading that one file. Does not belong here: what is told by pseudonyms
(``transforms.pseudonyms``). Whoever has the secret and a list of keys can tell whose record a pseudonym is; a new
secret makes all findings look new and all episodes late, so it is kept with the home and never made anew.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from schemas.errors import WrongUse

FILE = Path("identity") / "pseudonym.key"
LENGTH = 32
MOST = 64  # what BLAKE2b takes as a key


def pseudonym_key(home: Path) -> bytes:
    """The secret of a home; made with mode 0600 when there is none. WrongUse when others can read it or it is short."""
    path = home / FILE
    if not path.exists():
        _make(path)
    if path.stat().st_mode & 0o077:
        raise WrongUse("the key of pseudonyms is open to others", where=str(path), fix=f"chmod 600 {path}")
    secret = path.read_bytes()[:MOST]
    if len(secret) < LENGTH:
        raise WrongUse(
            "the key of pseudonyms is too short",
            where=str(path),
            fix=f"restore it from a backup; it has {LENGTH} bytes",
        )
    return secret


def _make(path: Path) -> None:
    """Write it whole: of two that make one at once, the first to be there is the one that counts."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(LENGTH))
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(beside)
        except FileExistsError:
            return
    finally:
        beside.unlink()
