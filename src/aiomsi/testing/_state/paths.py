"""Resource paths, parsed into scope, namespace, types and names.

Source: https://learn.microsoft.com/rest/api/resources/resources/get-by-id
"""

from __future__ import annotations

import re
from itertools import zip_longest
from urllib.parse import unquote

import attrs

_SUBSCRIPTION = re.compile(r"/subscriptions/([^/]+)", re.IGNORECASE)
_GROUP = re.compile(r"/subscriptions/[^/]+/resourcegroups/([^/]+)", re.IGNORECASE)


def fold_path(text: str) -> str:
    """Return the form of a path or id in which two of them can be compared.

    ARM ignores case, a trailing slash, and percent-encoding.
    """
    return unquote(text).rstrip("/").lower()


@attrs.frozen
class ResourcePath:
    """A path with a ``providers`` segment: of a resource, a collection or an action.

    Attributes:
        scope: the path before the last ``/providers/``; empty for the tenant.
        namespace: namespace of the provider, for example ``"Microsoft.Network"``.
        types: segments of the type, for example ``("virtualNetworks", "subnets")``.
        names: names of the resources; one fewer than `types` for a collection or an action.

    """

    scope: str
    namespace: str
    types: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    def parse(cls, path: str) -> ResourcePath | None:
        """Parse a decoded path; return None if it has no ``providers`` segment with a type."""
        segments = [segment for segment in path.split("/") if segment]
        # At an odd position "providers" is a name, for example of a resource group.
        places = [
            at for at, word in enumerate(segments) if word.lower() == "providers" and at % 2 == 0
        ]
        if not places or len(segments) < places[-1] + 3:
            return None
        at = places[-1]
        return cls(
            "".join(f"/{segment}" for segment in segments[:at]),
            segments[at + 1],
            tuple(segments[at + 2 :: 2]),
            tuple(segments[at + 3 :: 2]),
        )

    @property
    def is_resource(self) -> bool:
        """Whether the path is one of a resource: every type has a name."""
        return len(self.types) == len(self.names)

    @property
    def type(self) -> str:
        """The type within the namespace, for example ``"virtualNetworks/subnets"``."""
        return "/".join(self.types)

    @property
    def parent(self) -> str | None:
        """The id of the parent resource; None for a top-level type."""
        if len(self.types) < 2:
            return None
        pairs = zip(self.types[:-1], self.names, strict=False)
        return f"{self.scope}/providers/{self.namespace}" + "".join(
            f"/{kind}/{name}" for kind, name in pairs
        )

    @property
    def subscription(self) -> str | None:
        """The id of the subscription, as written; None outside of a subscription."""
        return parse_subscription_id(self.scope)

    @property
    def group(self) -> str | None:
        """The name of the resource group, as written; None outside of a resource group."""
        return parse_group_name(self.scope)

    @property
    def id(self) -> str:
        """The full path."""
        pairs = zip_longest(self.types, self.names)
        inner = "".join(f"/{kind}" if name is None else f"/{kind}/{name}" for kind, name in pairs)
        return f"{self.scope}/providers/{self.namespace}{inner}"


def parse_subscription_id(path: str) -> str | None:
    """Return the subscription id of a path or id, as written; None if it has none."""
    found = _SUBSCRIPTION.match(path)
    return found[1] if found else None


def parse_group_name(path: str) -> str | None:
    """Return the resource group's name of a path or id, as written; None if it has none."""
    found = _GROUP.match(path)
    return found[1] if found else None
