"""Refuse to build a wheel: it would hold the code without the tables, schemas and SQL that it reads.

The project runs from its checkout, found by an editable install (docs/operations.md). All else is in pyproject.toml.
"""

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel


class NoWheel(bdist_wheel):
    """An editable install makes its own files and never runs this."""

    def run(self) -> None:
        """SystemExit with what to do instead."""
        raise SystemExit("npr-pipeline runs from its checkout: pip install --no-deps -e . (see docs/operations.md)")


setup(cmdclass={"bdist_wheel": NoWheel})
