"""`EmbeddedManagementGroups`: the controls of the management groups."""

from __future__ import annotations

from aiomsi.testing._arm.call import ArmState
from aiomsi.testing._state.resource_store import Resource

_TYPE = "Microsoft.Management/managementGroups"


class EmbeddedManagementGroups:
    """The management groups of the tenant, a part of ARM: `EmbeddedArm.management_groups`.

    What has no other place is in the tenant's root group, whose name is the tenant's id.
    """

    def __init__(self, state: ArmState) -> None:
        self._state = state

    def add(self, name: str, *, parent: str | None = None, display_name: str | None = None) -> str:
        """Add a group, or move and rename one, and return its id.

        Args:
            name: name of the group.
            parent: name of the group above; None for the tenant's root group.
            display_name: name that lists show; by default `name`.

        Raises:
            ValueError: the parent does not exist, is inside the group, or is too deep.

        """
        group = self._state.azure.tree.put(name, display_name or name, parent)
        group_id, now = f"/providers/{_TYPE}/{group.name}", self._state.wall()
        self._state.resources.put(Resource(group_id, _TYPE, {}, now, now))
        return group_id

    def place(self, subscription_id: str, group: str | None) -> None:
        """Move a subscription into a group; None for the root group.

        Raises:
            ValueError: the subscription or the group does not exist.

        """
        held = self._state.azure.subscription(subscription_id)
        self._state.azure.tree.place(held.subscription_id, group)

    def remove(self, name: str) -> None:
        """Remove a group.

        Raises:
            ValueError: the group does not exist, or has children.

        """
        self._state.azure.tree.remove(name)
        self._state.resources.remove(f"/providers/{_TYPE}/{name}")
