"""Resource ids: parsed, compared and built. No I/O.

Source: https://learn.microsoft.com/rest/api/resources/resources/get-by-id,
https://github.com/Azure/azure-resource-manager-rpc/blob/master/v1.0/common-api-details.md
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import NoReturn
from urllib.parse import unquote

import attrs

from aiomsi._errors import ConfigurationError

# ARM's own ids hold '#', '&', '%', percent-encodings and empty segments.
_NEVER = re.compile(r"[\\?\x00-\x1f\x7f]")
_NEVER_IN_NAME = re.compile(r"[/\\?\x00-\x1f\x7f]|%[0-9A-Fa-f]{2}")


@attrs.frozen(eq=False, slots=False)
class ResourceId:
    """The id of a subscription, resource group, resource, extension or collection.

    Parsing keeps every character, including percent-encodings and empty segments of ARM's ids.
    Comparison ignores case, as ARM does. Builders write ``resourceGroups``, and take names
    unchanged, without percent-encodings.

    Attributes:
        text: the id exactly as it was passed; `str` returns it, too.
        subscription_id: the subscription's id as written; None without one, or if it is empty.
        resource_group: the resource group's name as written; None without one, or if it is empty.
        namespace: the namespace of the last ``providers`` part, for example
            ``"Microsoft.Network"``; None without one.
        types: the types of the last ``providers`` part, for example ``("virtualNetworks",
            "subnets")``; a collection has one more type than names.
        names: the names of the last ``providers`` part, for example ``("vnet1", "default")``.

    Raises:
        ConfigurationError: the text is no resource id.

    """

    text: str

    def __attrs_post_init__(self) -> None:
        text: object = self.text
        if not isinstance(text, str) or not text.startswith("/") or len(text) < 2:
            _raise_malformed(text, "it must begin with a slash and name something")
        segments = text[1:].rstrip("/").split("/")
        if not segments[0]:
            _raise_malformed(text, "it begins with two slashes, or names nothing")
        if _NEVER.search(text) or any(unquote(segment) in (".", "..") for segment in segments):
            _raise_malformed(text, "it has a character or a segment that no name may have")
        # At an odd index the word is a name, for example of a resource group.
        if segments[-1].lower() == "providers" and len(segments) % 2 == 1:
            _raise_malformed(text, "it ends with 'providers'")

    @classmethod
    def parse(cls, text: str) -> ResourceId:
        """Parse an id.

        Raises:
            ConfigurationError: the text is no resource id.

        """
        return cls(text)

    @classmethod
    def subscription(cls, subscription_id: str) -> ResourceId:
        """Build the id of a subscription."""
        return cls(f"/subscriptions/{_check_name(subscription_id)}")

    @classmethod
    def group(cls, subscription_id: str, name: str) -> ResourceId:
        """Build the id of a resource group."""
        return cls(
            f"/subscriptions/{_check_name(subscription_id)}/resourceGroups/{_check_name(name)}"
        )

    @classmethod
    def management_group(cls, name: str) -> ResourceId:
        """Build the id of a management group."""
        return cls(f"/providers/Microsoft.Management/managementGroups/{_check_name(name)}")

    def resource(self, type_: str, *names: str) -> ResourceId:
        """Build the id of a resource or extension in this scope.

        `type_` is the full type, for example ``"Microsoft.Network/virtualNetworks/subnets"``, with
        as many names as it has types.

        Raises:
            ConfigurationError: the numbers of types and names differ.

        """
        namespace, *types = type_.split("/")
        if not types or len(types) != len(names):
            msg = f"{type_!r} needs {len(types)} names and got {len(names)}"
            raise ConfigurationError(msg)
        pairs = "".join(
            f"/{_check_name(kind)}/{_check_name(name)}"
            for kind, name in zip(types, names, strict=True)
        )
        return ResourceId(f"{self.text.rstrip('/')}/providers/{_check_name(namespace)}{pairs}")

    def child(self, kind: str, name: str) -> ResourceId:
        """Build the id of a child resource, for example ``vnet.child("subnets", "default")``."""
        return ResourceId(f"{self.text.rstrip('/')}/{_check_name(kind)}/{_check_name(name)}")

    @cached_property
    def segments(self) -> tuple[str, ...]:
        """The parts between the slashes."""
        return tuple(self.text[1:].rstrip("/").split("/"))

    @cached_property
    def _folded(self) -> tuple[str, ...]:
        return tuple(self.text[1:].casefold().rstrip("/").split("/"))

    @property
    def subscription_id(self) -> str | None:
        """The subscription's id as written, or None."""
        return self._after("subscriptions", 0)

    @property
    def resource_group(self) -> str | None:
        """The resource group's name as written, or None."""
        return self._after("resourcegroups", 2) if self.subscription_id is not None else None

    def _after(self, word: str, at: int) -> str | None:
        if len(self._folded) > at + 1 and self._folded[at] == word:
            return self.segments[at + 1] or None
        return None

    @cached_property
    def _provider(self) -> int | None:
        """The index of the last ``providers`` keyword; at an odd index the word is a name."""
        words = [word.lower() for word in self.segments[:-1:2]]
        if "providers" not in words:
            return None
        return 2 * (len(words) - 1 - words[::-1].index("providers"))

    @property
    def namespace(self) -> str | None:
        """The namespace of the last ``providers`` part, or None."""
        return None if self._provider is None else self.segments[self._provider + 1]

    @property
    def types(self) -> tuple[str, ...]:
        """The types after the namespace, outermost first."""
        return () if self._provider is None else self.segments[self._provider + 2 :: 2]

    @property
    def names(self) -> tuple[str, ...]:
        """The names that belong to `types`; one fewer in a collection."""
        return () if self._provider is None else self.segments[self._provider + 3 :: 2]

    @property
    def type(self) -> str | None:
        """The full type, for example ``"Microsoft.Network/virtualNetworks/subnets"``, or None."""
        return None if self.namespace is None else "/".join((self.namespace, *self.types))

    @property
    def name(self) -> str:
        """The last segment."""
        return self.segments[-1]

    @property
    def parent(self) -> ResourceId | None:
        """The parent resource, extension scope, group or subscription; None at the top."""
        segments, provider = self.segments, self._provider
        keep = len(segments) - (2 if len(segments) % 2 == 0 else 1)
        if provider is not None and keep <= provider + 2:
            keep = provider
        return ResourceId("/" + "/".join(segments[:keep])) if keep > 0 else None

    def __str__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return self._folded == other._folded if isinstance(other, ResourceId) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._folded)


def read_path(url: str) -> ResourceId:
    """Return the path of a URL as an id, without the checks of `ResourceId.parse`.

    `url` may be a path, and may be that of an action. Its query is left out.
    """
    address = url.partition("#")[0].partition("?")[0]
    if "://" in address:
        address = address.partition("://")[2].partition("/")[2]
    address = address.strip("/")
    parsed = ResourceId.__new__(ResourceId)
    vars(parsed).update(text=f"/{address}", segments=tuple(address.split("/")))
    return parsed


def _check_name(text: object) -> str:
    if not isinstance(text, str) or not text or text in (".", "..") or _NEVER_IN_NAME.search(text):
        msg = f"{text!r} can't be part of a resource id"
        raise ConfigurationError(msg)
    return text


def _raise_malformed(text: object, why: str) -> NoReturn:
    msg = f"{text!r} is no resource id: {why}"
    raise ConfigurationError(msg)
