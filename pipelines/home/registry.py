"""The registry of schemas over an NPR_HOME.

Belongs here: where official schemas and mappings lie. Does not belong here: installing them, which reads XML
(``pipelines.home.schemas``); which schema counts (``schemas.registry``).
"""

from __future__ import annotations

from pathlib import Path

from schemas.registry import Registry


def registry_of(home: Path) -> Registry:
    """The registry over what lies in an NPR_HOME."""
    return Registry(home / "schemas", home / "contract")
