"""`ManagementTree`: management groups, and the subscriptions in them.

Source: https://learn.microsoft.com/azure/governance/management-groups/overview
"""

from __future__ import annotations

import attrs

MANAGEMENT_GROUPS = "/providers/microsoft.management/managementgroups"
"""The path of the management groups, in lower case."""
ROOT_NAME = "Tenant Root Group"
MOST_LEVELS = 6
"""Most levels of groups below the root."""


@attrs.define(eq=False)
class ManagementGroup:
    """A management group.

    Attributes:
        name: name of the group, its id's last segment.
        display_name: name that people read.
        parent: lower-case name of the parent; None below the tenant's root group.

    """

    name: str
    display_name: str
    parent: str | None = None


class ManagementTree:
    """The management groups by lower-case name, and the group of each subscription.

    The tenant's root group is not stored: it is the parent of whatever has no other one.
    """

    def __init__(self) -> None:
        self._groups: dict[str, ManagementGroup] = {}
        self._places: dict[str, str] = {}

    def put(self, name: str, display_name: str, parent: str | None = None) -> ManagementGroup:
        """Add a group, or move and rename one.

        Raises:
            ValueError: the parent does not exist, is in the group, or is too deep.

        """
        key, above = name.lower(), None if parent is None else parent.lower()
        if above is not None:
            path = [one.name.lower() for one in self.list_path(above)]
            if not path or key in path or len(path) >= MOST_LEVELS:
                msg = (
                    f"The management group {parent!r} can't be the parent of {name!r}: it does not "
                    f"exist, is inside of it, or has {MOST_LEVELS} levels above"
                )
                raise ValueError(msg)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = ManagementGroup(name, display_name, above)
        else:
            group.display_name, group.parent = display_name, above
        return group

    def remove(self, name: str) -> None:
        """Remove a group without children.

        Raises:
            ValueError: the group does not exist, or has children.

        """
        key = name.lower()
        if key not in self._groups or self.list_children(key) or self.list_placed(key):
            msg = f"The management group {name!r} does not exist, or has children"
            raise ValueError(msg)
        del self._groups[key]

    def place(self, subscription_id: str, group: str | None) -> None:
        """Put a subscription into a group; None for the tenant's root group.

        Raises:
            ValueError: the group does not exist.

        """
        if group is None:
            self._places.pop(subscription_id.lower(), None)
            return
        if group.lower() not in self._groups:
            msg = f"The management group {group!r} does not exist here"
            raise ValueError(msg)
        self._places[subscription_id.lower()] = group.lower()

    def get(self, name: str) -> ManagementGroup | None:
        """Return a group; None if it does not exist."""
        return self._groups.get(name.lower())

    def get_place(self, subscription_id: str) -> ManagementGroup | None:
        """Return the group of a subscription; None for the root group."""
        return self._groups.get(self._places.get(subscription_id.lower(), ""))

    def list_groups(self) -> list[ManagementGroup]:
        """Return all groups, sorted by name."""
        return [self._groups[key] for key in sorted(self._groups)]

    def list_children(self, name: str | None) -> list[ManagementGroup]:
        """Return the groups directly below a group, or below the root for None."""
        above = None if name is None else name.lower()
        return [group for group in self.list_groups() if group.parent == above]

    def list_placed(self, name: str) -> list[str]:
        """Return the ids of the subscriptions directly in a group, sorted."""
        return sorted(one for one, place in self._places.items() if place == name.lower())

    def list_path(self, name: str) -> list[ManagementGroup]:
        """Return a group and the groups around it, innermost first."""
        path: list[ManagementGroup] = []
        group = self._groups.get(name.lower())
        while group is not None:
            path.append(group)
            group = self._groups.get(group.parent or "")
        return path

    def list_ancestors(self, scope: str) -> list[str]:
        """Return the lower-case ids of the groups around a group or subscription."""
        name = scope.rpartition("/")[2]
        if scope.startswith(f"{MANAGEMENT_GROUPS}/"):
            path = self.list_path(name)[1:]
        else:
            path = self.list_path(self._places.get(name, ""))
        return [f"{MANAGEMENT_GROUPS}/{group.name.lower()}" for group in path]
