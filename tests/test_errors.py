"""What led to an exception is looked through to its end, and the end is always reached."""

from __future__ import annotations

from schemas.errors import DataRefused, led_to


def test_causes_go_before_contexts() -> None:
    outer, cause, context = RuntimeError(), DataRefused("what"), ValueError()
    outer.__cause__, outer.__context__ = cause, context
    assert list(led_to(outer)) == [outer, cause]


def test_a_circle_of_contexts_has_an_end() -> None:
    one, two, three = RuntimeError(), ValueError(), KeyError()
    # The interpreter breaks a circle only where it begins at the exception that is raised; a loop further on stays.
    one.__context__, two.__context__, three.__context__ = two, three, two
    assert list(led_to(one)) == [one, two, three]
