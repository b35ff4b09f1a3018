"""Records are built when first used; here each one is, so that a broken definition does not wait for its user."""

from __future__ import annotations

import pkgutil
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

from conftest import ROOT
from pydantic import BaseModel

import schemas
from schemas.config import Config


def kinds(base: type[BaseModel] = BaseModel) -> Iterator[type[BaseModel]]:
    for kind in base.__subclasses__():
        if kind.__module__.startswith("schemas."):
            yield kind
        yield from kinds(kind)


def test_every_record_can_be_built() -> None:
    for module in pkgutil.iter_modules(schemas.__path__):
        import_module(f"schemas.{module.name}")
    found = set(kinds())
    assert len(found) > 100
    for kind in found:
        kind.model_rebuild(force=True)
        assert kind.__pydantic_complete__, kind


def test_threads_that_use_a_record_first_together_are_safe() -> None:
    class Fresh(Config):
        """One that nobody has used."""

    given = tomllib.loads((ROOT / "npr.toml").read_text(encoding="utf-8"))
    assert not Fresh.__pydantic_complete__
    with ThreadPoolExecutor(16) as threads:
        made = list(threads.map(lambda _: Fresh.model_validate(given), range(64)))
    assert all(one == made[0] for one in made)
