"""The scopes whose remaining requests `fan_out(on_error="skip-scope")` does not send. No I/O."""

from __future__ import annotations

import attrs

from aiomsi._arm.protocol.errors.codes import is_of_whole_subscription, is_out_of_reach
from aiomsi._arm.protocol.links import get_path
from aiomsi._errors import ArmError

_CONTAINERS = (("subscriptions",), ("providers", "microsoft.management", "managementgroups"))
"""The words before the name of a subscription or a management group."""


@attrs.frozen
class RequestScope:
    """The scope of a request.

    Attributes:
        container: the path of the subscription or the management group, in lower case.
        kind: the method, and the words of the path without its names, in lower case. Permissions
            differ between kinds.

    """

    container: str
    kind: tuple[str, ...]


def find_scope(method: str, url: str) -> RequestScope | None:
    """Return the scope of a request; None outside of subscriptions and management groups."""
    segments = get_path(url).strip("/").lower().split("/")
    for words in _CONTAINERS:
        end = len(words)
        if tuple(segments[:end]) == words and len(segments) > end:
            return RequestScope(
                "/".join(segments[: end + 1]), (method, *_strip_names(segments[end + 1 :]))
            )
    return None


def _strip_names(segments: list[str]) -> list[str]:
    kept, at = list[str](), 0
    while at < len(segments):
        # The name of a provider is part of the kind.
        step = 2 if segments[at] == "providers" else 1
        kept += segments[at : at + step]
        at += 2
    return kept


@attrs.define
class SkippedScopes:
    """The scopes that have refused a request, each with its first error."""

    _errors: dict[str | RequestScope, ArmError] = attrs.field(factory=dict)

    def add(self, scope: RequestScope, error: BaseException) -> bool:
        """Add a scope if the error means that it refuses such requests; return whether it does.

        The scope is the whole container, if the error concerns it, and otherwise the requests of
        the same kind in it.
        """
        if not isinstance(error, ArmError) or not is_out_of_reach(error.code):
            return False
        key = scope.container if is_of_whole_subscription(error.code) else scope
        return self._errors.setdefault(key, error) is error

    def find(self, scope: RequestScope) -> ArmError | None:
        """Return the error with which the scope has refused such requests; None if it has not."""
        return self._errors.get(scope.container) or self._errors.get(scope)
