"""Rules that one expression cannot say, by name.

Belongs here: the register of functions. Does not belong here: the functions (one module for each theme), their texts
(``schemas/rules``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl

# Rows of the class and, by class, rows of others of the same patients -> Boolean for each row, true where it is wrong.
Function = Callable[[pl.DataFrame, Mapping[str, pl.DataFrame]], pl.Series]

FUNCTIONS: dict[str, Function] = {}


def rule_function(body: Function) -> Function:
    """Make a function known to the catalogue under its name."""
    FUNCTIONS[body.__name__] = body
    return body
