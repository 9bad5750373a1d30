"""Expressions of ARM templates: parsed, then evaluated with the values of one deployment.

The functions are `parameters`, `variables`, `resourceId`, `concat` and `reference`; a result may be
followed by ``.name`` and ``[index]``. Every other expression raises `TemplateError`.

Source: https://learn.microsoft.com/azure/azure-resource-manager/templates/template-expressions
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import attrs

_TOKEN = re.compile(r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?\d+)|(?P<name>\w+)|(?P<mark>.))")
_FUNCTIONS = ("parameters", "variables", "resourceid", "concat", "reference")


@attrs.frozen
class TemplateError(Exception):
    """A template that cannot be carried out; the text names the cause."""

    text: str

    def __str__(self) -> str:
        return self.text


@attrs.frozen
class Literal:
    """A text or a number."""

    value: Any


@attrs.frozen
class FunctionCall:
    """A call of a template function; the name is in lower case."""

    name: str
    arguments: tuple[Node, ...]


@attrs.frozen
class Access:
    """A member, or an item, of the value of another node."""

    inner: Node
    key: Node


Node = Literal | FunctionCall | Access


class TemplateScope(Protocol):
    """The values of one deployment, from which expressions are evaluated."""

    def get_parameter(self, name: str) -> Any:
        """Return the value of a parameter."""

    def get_variable(self, name: str) -> Any:
        """Return the value of a variable."""

    def make_resource_id(self, parts: tuple[Any, ...]) -> str:
        """Return the id of a resource from the arguments of `resourceId`."""

    def get_reference(self, name: str, *, full: bool) -> Any:
        """Return the properties of a resource by its name or id, or the whole resource."""


def is_expression(value: object) -> bool:
    """Return whether a value of a template is an expression; ``[[`` begins a literal bracket."""
    return (
        isinstance(value, str)
        and value.startswith("[")
        and value.endswith("]")
        and not value.startswith("[[")
    )


def parse_expression(text: str) -> Node:
    """Return the parsed expression of a text in brackets.

    Raises:
        TemplateError: the text is not an expression of the functions that are supported.

    """
    parser = _Parser(text)
    node = parser.parse_node()
    parser.expect_end()
    return node


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_TOKEN.finditer(text[1:-1].rstrip()))
        self._at = 0

    def parse_node(self) -> Node:
        token = self._take()
        if token.lastgroup == "text":
            return Literal(token["text"][1:-1].replace("''", "'"))
        if token.lastgroup == "number":
            return Literal(int(token["number"]))
        if token.lastgroup != "name":
            raise self._refuse()
        return self._parse_accesses(self._parse_call(token["name"]))

    def _parse_call(self, name: str) -> Node:
        if name.lower() not in _FUNCTIONS:
            text = (
                f"The template function '{name}' in the expression '{self._text}' is not supported "
                "by the embedded ARM, which evaluates parameters, variables, resourceId, concat "
                "and reference."
            )
            raise TemplateError(text)
        self._expect("(")
        arguments: list[Node] = []
        while not self._accept(")"):
            if arguments:
                self._expect(",")
            arguments.append(self.parse_node())
        return FunctionCall(name.lower(), tuple(arguments))

    def _parse_accesses(self, node: Node) -> Node:
        while True:
            if self._accept("."):
                token = self._take()
                if token.lastgroup != "name":
                    raise self._refuse()
                node = Access(node, Literal(token["name"]))
            elif self._accept("["):
                node = Access(node, self.parse_node())
                self._expect("]")
            else:
                return node

    def expect_end(self) -> None:
        if self._at < len(self._tokens):
            raise self._refuse()

    def _take(self) -> re.Match[str]:
        if self._at >= len(self._tokens):
            raise self._refuse()
        self._at += 1
        return self._tokens[self._at - 1]

    def _accept(self, mark: str) -> bool:
        found = self._at < len(self._tokens) and self._tokens[self._at]["mark"] == mark
        self._at += found
        return found

    def _expect(self, mark: str) -> None:
        if not self._accept(mark):
            raise self._refuse()

    def _refuse(self) -> TemplateError:
        return TemplateError(f"The expression '{self._text}' is not valid.")


def evaluate_node(node: Node, scope: TemplateScope) -> Any:
    """Return the value of an expression.

    Raises:
        TemplateError: an argument has the wrong type, or a value does not exist.

    """
    if isinstance(node, Literal):
        return node.value
    if isinstance(node, Access):
        return _get_member(evaluate_node(node.inner, scope), evaluate_node(node.key, scope))
    values = tuple(evaluate_node(one, scope) for one in node.arguments)
    if not values:
        raise TemplateError(f"The template function '{node.name}' needs an argument.")
    if node.name == "concat":
        return _concatenate(values)
    if node.name == "resourceid":
        return scope.make_resource_id(values)
    if not isinstance(values[0], str):
        raise TemplateError(f"The first argument of '{node.name}' must be a text.")
    if node.name == "parameters":
        return scope.get_parameter(values[0])
    if node.name == "variables":
        return scope.get_variable(values[0])
    return scope.get_reference(values[0], full=str(values[-1]).lower() == "full")


def _concatenate(values: tuple[Any, ...]) -> Any:
    if all(isinstance(value, list) for value in values):
        return [item for value in values for item in value]
    if any(isinstance(value, list | dict) for value in values):
        text = "The arguments of 'concat' must be texts, or all of them arrays."
        raise TemplateError(text)
    return "".join(map(str, values))


def _get_member(value: Any, key: Any) -> Any:
    if isinstance(value, dict):
        for name, member in value.items():
            if name.lower() == str(key).lower():
                return member
    elif isinstance(value, list) and isinstance(key, int) and 0 <= key < len(value):
        return value[key]
    raise TemplateError(f"The expression's value has no member '{key}'.")


def evaluate_value(value: Any, scope: TemplateScope) -> Any:
    """Return a value of a template in which all expressions are evaluated.

    Raises:
        TemplateError: an expression is not supported, or cannot be evaluated.

    """
    if isinstance(value, str):
        if is_expression(value):
            return evaluate_node(parse_expression(value), scope)
        return value[1:] if value.startswith("[[") else value
    if isinstance(value, dict):
        return {name: evaluate_value(inner, scope) for name, inner in value.items()}
    if isinstance(value, list):
        return [evaluate_value(inner, scope) for inner in value]
    return value


def iter_references(value: Any) -> Iterator[Node]:
    """Return the first arguments of all calls of `reference` in a value of a template.

    Raises:
        TemplateError: an expression is not supported.

    """
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from iter_references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from iter_references(inner)
    elif is_expression(value):
        yield from _iter_calls(parse_expression(value))


def _iter_calls(node: Node) -> Iterator[Node]:
    if isinstance(node, Access):
        yield from _iter_calls(node.inner)
        yield from _iter_calls(node.key)
    elif isinstance(node, FunctionCall):
        if node.name == "reference":
            yield from node.arguments[:1]
        for argument in node.arguments:
            yield from _iter_calls(argument)
