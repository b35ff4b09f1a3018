"""Small changes of a rule that its cases must notice.

Belongs here: making the changes, of SQL, of uses of code lists and of functions. Does not belong here: the cases
(``rule_cases``), counting (``benchmarks/mutate_rules.py``).
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from typing import Any

import polars as pl
from sqlglot import exp, parse_one

from schemas.rulebook import ContentRule
from transforms.rules.functions import FUNCTIONS, Function

SWAPPED: dict[type[exp.Expression], tuple[type[exp.Expression], ...]] = {
    exp.EQ: (exp.NEQ,),
    exp.NEQ: (exp.EQ,),
    exp.LT: (exp.LTE, exp.GT),
    exp.LTE: (exp.LT, exp.GTE),
    exp.GT: (exp.GTE, exp.LT),
    exp.GTE: (exp.GT, exp.LTE),
    exp.And: (exp.Or,),
    exp.Or: (exp.And,),
    exp.Add: (exp.Sub,),
    exp.Sub: (exp.Add,),
}


def sql_mutants(sql: str) -> Iterator[tuple[str, str]]:
    """What was changed, and the changed expression; each change by itself."""
    tree = parse_one(sql, dialect="duckdb")
    for place, node in enumerate(_walked(tree)):
        for what, change in _changes(node):
            copy = deepcopy(tree)
            target = _walked(copy)[place]
            new = change(target)
            whole = new if target is copy else copy
            if target is not copy:
                target.replace(new)
            yield f"{what} at {node.sql(dialect='duckdb')[:60]}", whole.sql(dialect="duckdb")


def _walked(tree: Any) -> list[exp.Expression]:  # noqa: ANN401 - the library's own types differ between calls
    return list(tree.walk())


Change = Callable[[exp.Expression], exp.Expression]


def _changes(node: exp.Expression) -> Iterator[tuple[str, Change]]:
    for other in SWAPPED.get(type(node), ()):
        yield other.__name__, partial(_as, other)
    if isinstance(node, exp.And | exp.Or):
        yield "left alone", lambda n: n.this.copy()
        yield "right alone", lambda n: n.expression.copy()
    if isinstance(node, exp.Not):
        yield "NOT gone", lambda n: n.this.copy()
    if isinstance(node, exp.Is):
        yield "NOT added", lambda n: exp.Not(this=n.copy())
    if isinstance(node, exp.In):
        yield "NOT added", lambda n: exp.Not(this=n.copy())
        for item in range(len(node.expressions)):
            if len(node.expressions) > 1:
                yield f"item {item + 1} gone", partial(_without, item)
    if isinstance(node, exp.Literal) and not isinstance(node.parent, exp.In | exp.Cast):
        yield "literal changed", _other_literal


def _as(other: type[exp.Expression], node: exp.Expression) -> exp.Expression:
    return other(this=node.this.copy(), expression=node.expression.copy())


def _without(item: int, node: exp.Expression) -> exp.Expression:
    left = [one.copy() for at, one in enumerate(node.expressions) if at != item]
    return exp.In(this=node.this.copy(), expressions=left)


def _other_literal(node: exp.Expression) -> exp.Expression:
    assert isinstance(node, exp.Literal)
    return exp.Literal.string(f"{node.this}x") if node.is_string else exp.Literal.number(str(int(node.this) + 1))


# --- functions --------------------------------------------------------------------------------------------------------

COMPARED: dict[type[ast.cmpop], ast.cmpop] = {
    ast.Lt: ast.LtE(),
    ast.LtE: ast.Lt(),
    ast.Gt: ast.GtE(),
    ast.GtE: ast.Gt(),
    ast.Eq: ast.NotEq(),
    ast.NotEq: ast.Eq(),
}
CALLED = {"is_null": "is_not_null", "is_not_null": "is_null", "min": "max", "max": "min"}
JOINED = {"anti": "semi", "semi": "anti", "left": "inner"}
SKIPPED = {"filter", "drop_nulls", "fill_null"}


def function_mutants(name: str) -> Iterator[tuple[str, Function]]:
    """What was changed, and the changed function; each change by itself."""
    body = FUNCTIONS[name]
    tree = ast.parse(inspect.getsource(body))
    tree.body[0].decorator_list = []  # type: ignore[attr-defined]
    for place, node in enumerate(ast.walk(tree)):
        for what, change in _code_changes(node):
            copy = deepcopy(tree)
            change(next(one for at, one in enumerate(ast.walk(copy)) if at == place))
            room = dict(vars(sys.modules[body.__module__]))
            exec(compile(ast.fix_missing_locations(copy), body.__module__, "exec"), room)  # noqa: S102 - our own code
            yield f"{what} in line {getattr(node, 'lineno', 0)}", room[name]


def _code_changes(node: ast.AST) -> Iterator[tuple[str, Callable[..., None]]]:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARED:
        yield "comparison", lambda n: n.ops.__setitem__(0, COMPARED[type(n.ops[0])])
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr):
        yield "and/or", lambda n: setattr(n, "op", ast.BitOr() if isinstance(n.op, ast.BitAnd) else ast.BitAnd())
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert):
        # Twice turned is not turned.
        yield "not", lambda n: setattr(n, "operand", ast.UnaryOp(op=ast.Invert(), operand=n.operand))
    if isinstance(node, ast.Compare) and isinstance(node.comparators[0], ast.Constant):
        yield "other constant", lambda n: n.comparators.__setitem__(0, _other_constant(n.comparators[0].value))
    if isinstance(node, ast.keyword) and isinstance(node.value, ast.Constant) and node.value.value in JOINED:
        yield "other join", lambda n: setattr(n, "value", ast.Constant(JOINED[n.value.value]))
    if isinstance(node, ast.List) and len(node.elts) > 1 and all(isinstance(one, ast.Constant) for one in node.elts):
        for place in range(len(node.elts)):
            yield f"key {place + 1} gone", partial(_without_element, place)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        yield from _call_changes(node.func.attr)


def _call_changes(name: str) -> Iterator[tuple[str, Callable[..., None]]]:
    if name in CALLED:
        yield CALLED[name], lambda n: setattr(n.func, "attr", CALLED[name])
    if name in SKIPPED:
        yield f"{name} left out", _pass_on


def _pass_on(node: ast.Call) -> None:
    """The call stays, and gives what it was called on."""
    assert isinstance(node.func, ast.Attribute)
    node.func.attr = "pipe"
    node.args, node.keywords = [ast.parse("lambda same: same", mode="eval").body], []


def _other_constant(value: object) -> ast.Constant:
    return ast.Constant(f"{value}x" if isinstance(value, str) else value + 1)  # type: ignore[operator]


def _without_element(place: int, node: ast.List) -> None:
    del node.elts[place]


# --- uses of code lists -----------------------------------------------------------------------------------------------

ANOTHER_LIST = {"8406": "8432"}


def code_mutants(rule: ContentRule) -> Iterator[tuple[str, ContentRule]]:
    """What was changed, and the rule with another list, other letters or another day; each change by itself."""
    use = rule.codes
    assert use is not None
    made: list[tuple[str, dict[str, Any]]] = [("day is the last of the period", {"on": "period_to"})]
    made += [(f"on: {what}", {"on": sql}) for what, sql in _arguments(use.on)]
    made += [(f"value: {what}", {"value": sql}) for what, sql in _arguments(use.value)]
    if use.list is not None:
        made.append(("another list", {"list": ANOTHER_LIST.get(use.list, "8406")}))
    for letter in use.letters:
        left = tuple(one for one in use.letters if one != letter)
        made.append((f"letter {letter} gone", {"letters": left or ("H",)}))
    for what, update in made:
        changed_use = use.model_copy(update=update)
        if changed_use != use:
            yield what, rule.model_copy(update={"codes": changed_use})


def _arguments(sql: str) -> Iterator[tuple[str, str]]:
    """Each argument of a COALESCE alone."""
    tree = parse_one(sql, dialect="duckdb")
    if isinstance(tree, exp.Coalesce):
        for one in (tree.this, *tree.expressions):
            yield f"{one.sql(dialect='duckdb')} alone", one.sql(dialect="duckdb")


@contextmanager
def in_place_of(name: str, function: Function) -> Iterator[None]:
    """The changed function is the one that the catalogue names."""
    own = FUNCTIONS[name]
    FUNCTIONS[name] = function
    try:
        yield
    finally:
        FUNCTIONS[name] = own


def changed(rule: ContentRule, sql: str) -> ContentRule | None:
    """The rule with another expression; None where Polars cannot read it."""
    try:
        pl.sql_expr(sql)
    except pl.exceptions.PolarsError:
        return None
    return rule.model_copy(update={"wrong": sql})


# Changes that give the same answer to every row there can be, by rule: how the change begins, and why.
EARLIER = {"LT at ansienDato <= mottaksDato": "the earlier of two days; equal ones are either"}
NOTHING = {"literal changed at ''": "stands for no code, and so does any text that is no code of the list"}
UNKNOWN = {"literal changed at 0": "0 is an unknown year of birth, and nobody was born in the year 1"}
SAME: dict[str, dict[str, str]] = {
    **dict.fromkeys(("WAIT-03", "WAIT-05", "WAIT-14"), EARLIER),
    **dict.fromkeys(("EPI-07", "EPI-22"), NOTHING),
    **dict.fromkeys(("EPI-18", "EPI-27-AGE", "PAT-12"), UNKNOWN),
    "WAIT-08": EARLIER | NOTHING,
    "WAIT-13": {
        "filter left out in line 4": "only fewer rows to count for; a day before the other is never ten days after it",
        "comparison in line 4": "the same: on the day itself no working day has passed",
    },
    "EPI-25": {"filter left out in line 8": "only fewer rows to look at"},
}


def same_in_meaning(rule: str, what: str) -> bool:
    """Whether a change is known to mean the same."""
    return any(what.startswith(begins) for begins in SAME.get(rule, {}))
