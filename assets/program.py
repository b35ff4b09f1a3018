"""Which program this is: digests of its own files, for the manifest.

Belongs here: the digest of all that decides what a report says, and of its rules alone. Does not belong here: what a
report is made of (the snapshot, ``assets.shipments``): the same data under a newer program is the same submission.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import schemas

ROOT = Path(schemas.__file__).parents[1]
SOURCES = ("assets", "pipelines", "schemas", "sql", "transforms")
RULES = ("schemas/rules", "transforms/rules")
READ = frozenset({".py", ".toml", ".csv", ".sql", ".xsd"})
"""What the program reads; pages and the compiler's files change nothing."""


@cache
def code_digest() -> str:
    """SHA-256 over the files of this program, once per process."""
    return digest_of(ROOT, SOURCES)


@cache
def rules_digest() -> str:
    """SHA-256 over the rules as packaged: the catalogue, and the functions that it names."""
    return digest_of(ROOT, RULES)


def digest_of(root: Path, folders: Iterable[str]) -> str:
    """SHA-256 over relative paths and contents of the files in folders, in the order of their paths."""
    found = {path.relative_to(root).as_posix(): path for folder in folders for path in (root / folder).rglob("*")}
    whole = hashlib.sha256()
    for name, path in sorted(found.items()):
        if path.suffix in READ and not path.name.startswith(".") and path.is_file():
            whole.update(f"{name}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()
