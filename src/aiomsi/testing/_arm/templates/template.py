"""Templates: the values of their expressions, and their resources in the order of creation.

Source: https://learn.microsoft.com/azure/azure-resource-manager/templates/syntax
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from itertools import zip_longest
from typing import Any

import attrs

from aiomsi.testing._arm.templates.template_expressions import (
    TemplateError,
    evaluate_node,
    evaluate_value,
    iter_references,
)
from aiomsi.testing._state.paths import parse_group_name, parse_subscription_id

_MOST_NESTED = 50
_UNSUPPORTED = ("copy", "scope", "resourceGroup", "subscriptionId", "existing", "resources")
_NOT_IN_BODY = frozenset({"type", "name", "apiversion", "dependson", "condition", "comments"})
_SECURE = frozenset({"securestring", "secureobject"})
_NESTED = "microsoft.resources/deployments"


@attrs.frozen(eq=False)
class TemplateResource:
    """A resource of a template, whose body is evaluated only when the resource is created.

    Attributes:
        id: id of the resource.
        type: type of the resource, with its namespace.
        name: name, with the parents' names.
        version: api-version of the request that creates it.
        body: the document, with its expressions.
        depends_on: evaluated ``dependsOn``.

    """

    id: str
    type: str
    name: str
    version: str
    body: Mapping[str, Any]
    depends_on: tuple[str, ...]

    @property
    def aliases(self) -> Iterator[str]:
        """The texts by which `dependsOn` and `reference` may name the resource, in lower case."""
        return (text.lower() for text in (self.id, f"{self.type}/{self.name}", self.name))


class Values:
    """The values of a deployment: the `TemplateScope` of its expressions.

    Args:
        template: the template.
        given: parameters of the request.
        scope: path of the resource group or subscription.
        find: a function that returns the document of a resource by its id, or None.

    Raises:
        TemplateError: a parameter is missing, unknown, or a reference to a vault.

    """

    def __init__(
        self,
        template: Mapping[str, Any],
        given: Mapping[str, Any],
        scope: str,
        find: Callable[[str], Any],
    ) -> None:
        self._scope = scope
        self._find = find
        self._depth = 0
        self._variables = {
            name.lower(): value for name, value in _get_mapping(template, "variables").items()
        }
        self._declared = _get_mapping(template, "parameters")
        self._given = {name.lower(): value for name, value in given.items()}
        self.resources: dict[str, str] = {}
        names = {name.lower() for name in self._declared}
        unknown = sorted(name for name in given if name.lower() not in names)
        if unknown:
            text = f"The template has no parameter '{unknown[0]}'."
            raise TemplateError(text)
        self._parameters: dict[str, Any] = {}
        for name in self._declared:
            self._parameters[name.lower()] = self._read(name)

    def _read(self, name: str) -> Any:
        value = self._given.get(name.lower())
        if isinstance(value, Mapping) and "value" in value:
            return value["value"]
        declared = self._declared[name]
        if value is None and isinstance(declared, Mapping) and "defaultValue" in declared:
            return evaluate_value(declared["defaultValue"], self)
        text = f"The value for the template parameter '{name}' is not provided: it needs a 'value'."
        raise TemplateError(text)

    def get_parameter(self, name: str) -> Any:
        """Return the value of a parameter.

        Raises:
            TemplateError: the template has no such parameter.

        """
        if name.lower() not in self._parameters:
            raise TemplateError(f"The template parameter '{name}' is not found.")
        return self._parameters[name.lower()]

    def get_variable(self, name: str) -> Any:
        """Return the value of a variable.

        Raises:
            TemplateError: the template has no such variable, or the variable depends on itself.

        """
        if name.lower() not in self._variables:
            raise TemplateError(f"The template variable '{name}' is not found.")
        if self._depth >= _MOST_NESTED:
            raise TemplateError(f"The template variable '{name}' depends on itself.")
        self._depth += 1
        try:
            return evaluate_value(self._variables[name.lower()], self)
        finally:
            self._depth -= 1

    def make_resource_id(self, parts: tuple[Any, ...]) -> str:
        """Return the id of a resource: `[subscription], [group], type, names`.

        Raises:
            TemplateError: the type has another number of segments than there are names.

        """
        texts = [str(part) for part in parts]
        at = next((index for index, text in enumerate(texts) if "/" in text), len(texts))
        before, after = texts[:at], texts[at:]
        kinds = after[0].split("/") if after else []
        if len(before) > 2 or not kinds or len(kinds) != len(after):
            text = f"The arguments of 'resourceId' are not valid: {', '.join(texts)}."
            raise TemplateError(text)
        subscription = before[0] if len(before) == 2 else parse_subscription_id(self._scope)
        group = before[-1] if before else parse_group_name(self._scope)
        scope = f"/subscriptions/{subscription}" + (f"/resourceGroups/{group}" if group else "")
        return make_id(scope, after[0], "/".join(after[1:]))

    def get_reference(self, name: str, *, full: bool) -> Any:
        """Return the properties of a resource by its name or id, or the whole resource.

        Raises:
            TemplateError: the resource does not exist.

        """
        found = self._find(self.resources.get(name.lower(), name))
        if found is None:
            raise TemplateError(f"The resource '{name}' of a reference is not found.")
        return found if full else found.get("properties", {})

    def render_parameters(self) -> dict[str, object]:
        """Return the parameters as the deployment's document shows them: secure ones by type."""
        return {
            name: {"type": str(kind)}
            | ({} if str(kind).lower() in _SECURE else {"value": self._parameters[name.lower()]})
            for name, declared in self._declared.items()
            for kind in [declared.get("type", "String") if isinstance(declared, Mapping) else ""]
        }


def make_id(scope: str, kind: str, name: str) -> str:
    """Return the id of a resource by its type and its name, which has the parents' names.

    Raises:
        TemplateError: the type and the name have different numbers of segments.

    """
    namespace, *kinds = kind.split("/")
    pairs = list(zip_longest(kinds, name.split("/")))
    if not kinds or any(None in pair for pair in pairs):
        text = f"The template resource '{name}' of type '{kind}' has incorrect segment lengths."
        raise TemplateError(text)
    return f"{scope}/providers/{namespace}" + "".join(f"/{one}/{other}" for one, other in pairs)


def plan_resources(
    template: Mapping[str, Any], values: Values, scope: str
) -> list[TemplateResource]:
    """Return the resources of a template, each one after those that it depends on.

    Raises:
        TemplateError: the template is not valid, or has a member or an expression that the embedded
            ARM does not support.

    """
    entries = template.get("resources", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        text = "The member 'resources' of the template must be an array of objects."
        raise TemplateError(text)
    planned = [
        _plan_resource(entry, values, scope) for entry in entries if _get_condition(entry, values)
    ]
    known = {alias: one for one in planned for alias in reversed(list(one.aliases))}
    values.resources = {alias: one.id for alias, one in known.items()}
    skipped = {str(evaluate_value(entry.get("name"), values)).lower() for entry in entries}
    sorter: TopologicalSorter[TemplateResource] = TopologicalSorter()
    for one in planned:
        sorter.add(one, *_iter_needed(one, known, skipped, values))
    try:
        return list(sorter.static_order())
    except CycleError:
        text = "Circular dependency detected in the resources of the template."
        raise TemplateError(text) from None


def _iter_needed(
    one: TemplateResource,
    known: Mapping[str, TemplateResource],
    skipped: set[str],
    values: Values,
) -> Iterator[TemplateResource]:
    for text in one.depends_on:
        if text.lower() in known:
            yield known[text.lower()]
        elif text.lower().rpartition("/")[2] not in skipped:
            raise TemplateError(
                f"The resource '{text}' is not defined in the template, but '{one.name}' depends "
                "on it."
            )
    for node in iter_references(dict(one.body)):
        target = known.get(str(evaluate_node(node, values)).lower())
        if target is not None:
            yield target


def _get_condition(entry: Mapping[str, Any], values: Values) -> bool:
    wanted = evaluate_value(entry.get("condition", True), values)
    if not isinstance(wanted, bool):
        raise TemplateError("The 'condition' of a template resource must be true or false.")
    return wanted


def _plan_resource(entry: Mapping[str, Any], values: Values, scope: str) -> TemplateResource:
    for name in _UNSUPPORTED:
        if entry.get(name):
            text = (
                f"The member '{name}' of a template resource is not supported by the embedded ARM."
            )
            raise TemplateError(text)
    kind, name, version = (
        _evaluate_text(entry, member, values) for member in ("type", "name", "apiVersion")
    )
    if kind.lower() == _NESTED:
        raise TemplateError("Nested deployments are not supported by the embedded ARM.")
    listed = evaluate_value(entry.get("dependsOn", []), values)
    body = {key: value for key, value in entry.items() if key.lower() not in _NOT_IN_BODY}
    depends_on = tuple(map(str, listed)) if isinstance(listed, list) else ()
    return TemplateResource(make_id(scope, kind, name), kind, name, version, body, depends_on)


def _evaluate_text(entry: Mapping[str, Any], member: str, values: Values) -> str:
    value = evaluate_value(entry.get(member), values)
    if not isinstance(value, str) or not value:
        raise TemplateError(f"A template resource must have the member '{member}'.")
    return value


def evaluate_outputs(template: Mapping[str, Any], values: Values) -> dict[str, object]:
    """Return the outputs of a template, with type and value.

    Raises:
        TemplateError: an output's expression is not supported, or cannot be evaluated.

    """
    return {
        name: {
            "type": output.get("type", "String"),
            "value": evaluate_value(output.get("value"), values),
        }
        for name, output in _get_mapping(template, "outputs").items()
        if isinstance(output, Mapping) and _get_condition(output, values)
    }


def check_outputs(template: Mapping[str, Any]) -> None:
    """Parse the outputs of a template, before its resources are created.

    Raises:
        TemplateError: an output's expression is not supported.

    """
    list(iter_references(_get_mapping(template, "outputs")))


def _get_mapping(template: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = template.get(name)
    return value if isinstance(value, Mapping) else {}
