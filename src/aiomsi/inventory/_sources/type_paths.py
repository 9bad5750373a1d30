"""The paths of the lists of a resource type, and the parents whose children they list. No I/O."""

from __future__ import annotations

import re

from aiomsi._arm.protocol.resource_ids import ResourceId
from aiomsi._errors import ArmError, ConfigurationError

_VERSION = re.compile(r"[?&]api-version=([^&]*)", re.IGNORECASE)
_PARENT_GONE = frozenset(
    {"resourcenotfound", "parentresourcenotfound", "resourcegroupnotfound", "notfound"}
)
_NOT_FOUND = 404


def make_first_path(subscription_id: str, kind: str) -> str:
    """Return the path of the list of a type, or of its outermost parents, in a subscription."""
    namespace, outermost = kind.split("/")[:2]
    return f"/subscriptions/{subscription_id}/providers/{namespace}/{outermost}"


def count_levels(kind: str) -> int:
    """Return the number of lists from the subscription to the resources of a type."""
    return kind.count("/")


def make_child_path(parent: object, subscription_id: str, kind: str, level: int) -> str:
    """Return the path of the list of a parent's children.

    Args:
        parent: the parent, as a list has it.
        subscription_id: the subscription.
        kind: the type that is to be read in the end.
        level: the number of types in the parent's id.

    Raises:
        ValueError: the parent has no id that can be part of a path.

    """
    id_ = parent.get("id") if isinstance(parent, dict) else None
    try:
        parsed = ResourceId.parse(id_)  # type: ignore[arg-type]  # which it checks
    except ConfigurationError as error:
        raise ValueError(str(error)) from None
    if not is_in_subscription(parsed.text, subscription_id):
        msg = "a parent is in another subscription"
        raise ValueError(msg)
    return f"{parsed.text.rstrip('/')}/{kind.split('/')[level + 1]}"


def is_in_subscription(id_: object, subscription_id: str) -> bool:
    """Return whether an id is in a subscription, because some lists show resources above it."""
    return isinstance(id_, str) and f"{id_.lower()}/".startswith(
        f"/subscriptions/{subscription_id}/"
    )


def is_parent_gone(error: BaseException | None) -> bool:
    """Return whether the list of children failed because the parent was deleted."""
    return (
        isinstance(error, ArmError)
        and error.status == _NOT_FOUND
        and (error.code or "").lower() in _PARENT_GONE
    )


def find_version(url: str) -> str | None:
    """Return the api-version of a request; None if the URL has none."""
    found = _VERSION.search(url)
    return None if found is None else found[1]
