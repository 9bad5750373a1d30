"""`compile_expression`: the function of a row that an expression stands for, and its type.

Names, types and the numbers of arguments are checked once, before any row is read, so that the
functions raise nothing.
"""

from __future__ import annotations

import operator as _operator
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from aiomsi.testing._kql.query_error import make_semantic, make_unknown_function, make_unresolved
from aiomsi.testing._kql.scalars.arithmetic import combine, find_arithmetic
from aiomsi.testing._kql.scalars.comparisons import TEXT_TESTS, make_comparison
from aiomsi.testing._kql.scalars.compiled import Compiled, Row, Scope, freeze
from aiomsi.testing._kql.scalars.dynamic_functions import get_member
from aiomsi.testing._kql.scalars.functions import CASTS, FUNCTIONS, Function
from aiomsi.testing._kql.scalars.patterns import compile_pattern
from aiomsi.testing._kql.scalars.special_functions import CLOCK_FUNCTIONS, SPECIAL_FUNCTIONS
from aiomsi.testing._kql.scalars.values import to_text
from aiomsi.testing._kql.syntax import (
    Arithmetic,
    Call,
    Comparison,
    Constant,
    Expression,
    Logical,
    Membership,
    Name,
    Negation,
    Path,
    Range,
    Type,
)


def compile_expression(node: Expression | None, scope: Scope) -> Compiled:
    """Return an expression that can be computed.

    Raises:
        QueryError: a name is unknown, or types do not fit.

    """
    if node is None:
        raise make_semantic("The argument '*' is not allowed here.")
    if isinstance(node, Constant):
        return freeze(node.type, node.value)
    compiled = _COMPILERS[type(node)](node, scope)
    if compiled.constant:
        return freeze(compiled.type, compiled.compute({}))
    return compiled


def compile_condition(node: Expression, scope: Scope) -> Callable[[Row], Any]:
    """Return the function of a condition, whose result is true, false or null."""
    condition = compile_expression(node, scope)
    if condition.type not in ("bool", "dynamic"):
        text = f"A condition is of type bool, and not of type {condition.type}."
        raise make_semantic(text)
    return condition.as_type("bool")


def _compile_name(node: Name, scope: Scope) -> Compiled:
    if node.name not in scope.columns:
        raise make_unresolved(node.name)
    return Compiled(scope.columns[node.name], _operator.itemgetter(node.name))


def _compile_path(node: Path, scope: Scope) -> Compiled:
    target = compile_expression(node.target, scope)
    if target.type != "dynamic":
        raise make_semantic(f"A path needs a value of type dynamic, and not of type {target.type}.")
    keys = [
        freeze("string", key) if isinstance(key, str) else compile_expression(key, scope)
        for key in node.keys
    ]
    steps, compute = [key.compute for key in keys], target.compute

    def follow(row: Row) -> Any:
        found = compute(row)
        for step in steps:
            if found is None:
                break
            found = get_member(found, step(row))
        return found

    return Compiled("dynamic", follow, target.constant and all(key.constant for key in keys))


def _compile_negation(node: Negation, scope: Scope) -> Compiled:
    zero = Constant(0, "long")
    operand = compile_expression(node.operand, scope)
    if operand.type == "timespan":
        zero = Constant(timedelta(), "timespan")
    return combine(freeze(zero.type, zero.value), "-", operand)


def _compile_arithmetic(node: Arithmetic, scope: Scope) -> Compiled:
    result = compile_expression(node.first, scope)
    steps: list[tuple[Callable[[Any, Any], Any], Callable[[Row], Any]]] = []
    kind, constant, first = result.type, result.constant, result.compute
    for sign, operand in node.rest:
        right = compile_expression(operand, scope)
        kind, compute = find_arithmetic(kind, sign, right.type)
        steps.append((compute, right.compute))
        constant = constant and right.constant

    def run(row: Row) -> Any:
        value = first(row)
        for compute, operand in steps:
            value = compute(value, operand(row))
        return value

    return Compiled(kind, run, constant)


def _compile_comparison(node: Comparison, scope: Scope) -> Compiled:
    left = compile_expression(node.left, scope)
    right = compile_expression(node.right, scope)
    constant = left.constant and right.constant
    if node.operator == "matches regex":
        return _compile_match(left, right)
    if node.operator in TEXT_TESTS:
        test = TEXT_TESTS[node.operator]
        one, other = left.as_type("string"), right.as_type("string")
        return Compiled("bool", lambda row: test(one(row), other(row)), constant)
    sign = "!=" if node.operator == "<>" else node.operator
    compare = make_comparison(sign, left.type, right.type)
    first, second = left.compute, right.compute
    return Compiled("bool", lambda row: compare(first(row), second(row)), constant)


def _compile_match(left: Compiled, right: Compiled) -> Compiled:
    if not right.constant:
        raise make_semantic("A regular expression is a constant.")
    search, text = compile_pattern(to_text(right.compute({}))).search, left.as_type("string")
    return Compiled("bool", lambda row: search(text(row)) is not None, left.constant)


def _compile_membership(node: Membership, scope: Scope) -> Compiled:
    value = compile_expression(node.value, scope)
    choices = [compile_expression(choice, scope) for choice in node.choices]
    constant = value.constant and all(choice.constant for choice in choices)
    sign = node.operator.lstrip("!")
    test = {"in~": TEXT_TESTS["=~"], "has_any": TEXT_TESTS["has"], "has_all": TEXT_TESTS["has"]}
    combine = all if sign == "has_all" else any
    wanted = not node.operator.startswith("!")
    if sign == "in" and value.type not in ("string", "dynamic"):
        tests = [(make_comparison("==", value.type, one.type), one) for one in choices]
        compute = value.compute

        def is_in(row: Row) -> bool:
            found = compute(row)
            return any(compare(found, one.compute(row)) for compare, one in tests) is wanted

        return Compiled("bool", is_in, constant)
    compare = test.get(sign, str.__eq__)
    text, lists = value.as_type("string"), [_list_texts(choice) for choice in choices]

    def is_among(row: Row) -> bool:
        found = text(row)
        return combine(compare(found, one) for texts in lists for one in texts(row)) is wanted

    return Compiled("bool", is_among, constant)


def _list_texts(choice: Compiled) -> Callable[[Row], list[str]]:
    """Return the function of a choice's texts: an array stands for its elements."""
    compute = choice.compute
    if choice.constant:
        value = compute({})
        found = list(map(to_text, value)) if isinstance(value, list) else [to_text(value)]
        return lambda _: found

    def texts(row: Row) -> list[str]:
        value = compute(row)
        return list(map(to_text, value)) if isinstance(value, list) else [to_text(value)]

    return texts


def _compile_range(node: Range, scope: Scope) -> Compiled:
    value, low, high = (compile_expression(one, scope) for one in (node.value, node.low, node.high))
    over = make_comparison(">=", value.type, low.type)
    end = high
    if high.type == "timespan" and low.type == "datetime":
        end = combine(low, "+", high)
    under = make_comparison("<=", value.type, end.type)
    wanted = not node.negated

    def is_between(row: Row) -> bool | None:
        found = value.compute(row)
        above, below = over(found, low.compute(row)), under(found, end.compute(row))
        return None if above is None or below is None else (above and below) is wanted

    constant = value.constant and low.constant and high.constant
    return Compiled("bool", is_between, constant)


def _compile_logical(node: Logical, scope: Scope) -> Compiled:
    parts = [compile_condition(part, scope) for part in node.parts]
    decisive = node.operator == "or"

    def decide(row: Row) -> bool | None:
        unknown = False
        for part in parts:
            value: bool | None = part(row)
            if value is decisive:
                return decisive
            unknown = unknown or value is None
        return None if unknown else not decisive

    return Compiled("bool", decide)


def _compile_call(node: Call, scope: Scope) -> Compiled:
    special = SPECIAL_FUNCTIONS.get(node.name)
    if special is None and node.name not in FUNCTIONS and node.name not in CASTS:
        raise make_unknown_function(node.name)
    arguments = [compile_expression(one, scope) for one in node.arguments]
    if special is not None:
        least, most, compile_special = special
        _check_count(node.name, len(arguments), least, most)
        if node.name in CLOCK_FUNCTIONS:
            arguments.insert(0, freeze("datetime", scope.now))
        return compile_special(arguments)
    if node.name in CASTS:
        _check_count(node.name, len(arguments), 1, 1)
        kind = CASTS[node.name]
        return Compiled(kind, arguments[0].as_type(kind), arguments[0].constant)
    function = FUNCTIONS[node.name]
    _check_count(node.name, len(arguments), function.least, function.most)
    if node.name == "case" and len(arguments) % 2 == 0:
        raise make_semantic("The function 'case' takes an odd number of arguments.")
    return _compile_function(node.name, function, arguments)


def _check_count(name: str, count: int, least: int, most: int) -> None:
    if not least <= count <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        raise make_semantic(f"The function '{name}' takes {wanted} arguments, and not {count}.")


def _compile_function(name: str, function: Function, arguments: list[Compiled]) -> Compiled:
    takes: list[Type | None] = [
        function.takes[min(at, len(function.takes) - 1)] for at in range(len(arguments))
    ]
    kind: Type
    if function.type == "common":
        results = _list_results(name, len(arguments))
        kind = _find_common(name, [arguments[at].type for at in results])
        takes = [kind if at in results else "bool" for at in range(len(arguments))]
    elif function.type == "first":
        kind = arguments[0].type
        if kind == "dynamic":
            kind, takes[0] = "real", "real"
    else:
        kind = function.type
    computes = [
        one.compute if want is None else one.as_type(want)
        for one, want in zip(arguments, takes, strict=True)
    ]
    compute = function.compute
    constant = bool(arguments) and all(one.constant for one in arguments)
    if len(computes) == 1:
        (only,) = computes
        return Compiled(kind, lambda row: compute(only(row)), constant)
    return Compiled(kind, lambda row: compute(*[one(row) for one in computes]), constant)


def _list_results(name: str, count: int) -> list[int]:
    """Return the positions of the arguments that may be a function's result."""
    if name == "case":
        return [*range(1, count, 2), count - 1]
    return list(range(1 if name in ("iff", "iif") else 0, count))


def _find_common(name: str, kinds: list[Type]) -> Type:
    """Return the type of a result that may have any of several types."""
    known: list[Type] = [kind for kind in dict.fromkeys(kinds) if kind != "dynamic"]
    if not known:
        return "dynamic"
    if set(known) == {"long", "real"}:
        return "real"
    if len(known) > 1:
        text = f"The function '{name}' has results of different types: {', '.join(known)}."
        raise make_semantic(text)
    return known[0]


_COMPILERS: dict[type, Callable[[Any, Scope], Compiled]] = {
    Name: _compile_name,
    Path: _compile_path,
    Negation: _compile_negation,
    Arithmetic: _compile_arithmetic,
    Comparison: _compile_comparison,
    Membership: _compile_membership,
    Range: _compile_range,
    Logical: _compile_logical,
    Call: _compile_call,
}
