"""`GeneratedTenant`: subscriptions with any number of resources, computed from a seed.

No group or resource is stored: its position in its subscription determines its name, type,
location and tags, and its name determines its position. All lists are sorted by id.
"""

from __future__ import annotations

import math
import random
import re
import uuid
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any

from aiomsi.testing._state.azure_state import ResourceGroup
from aiomsi.testing._state.lazy_sequence import LazySequence
from aiomsi.testing._state.paths import parse_group_name, parse_subscription_id
from aiomsi.testing._state.resource_store import Resource

_TYPES: tuple[tuple[str, str, float, dict[str, Any]], ...] = (
    ("Microsoft.Compute/disks", "disk", 16, {"sku": {"name": "Premium_LRS"}}),
    ("Microsoft.Compute/snapshots", "snap", 5, {"sku": {"name": "Standard_ZRS"}}),
    ("Microsoft.Compute/virtualMachines", "vm", 10, {}),
    ("Microsoft.ContainerRegistry/registries", "cr", 1, {"sku": {"name": "Standard"}}),
    ("Microsoft.ContainerService/managedClusters", "aks", 1, {"sku": {"name": "Base"}}),
    ("Microsoft.DocumentDB/databaseAccounts", "cosmos", 1, {"kind": "GlobalDocumentDB"}),
    ("Microsoft.Insights/actionGroups", "ag", 3, {}),
    ("Microsoft.Insights/components", "appi", 5, {"kind": "web"}),
    ("Microsoft.KeyVault/vaults", "kv", 6, {}),
    ("Microsoft.ManagedIdentity/userAssignedIdentities", "id", 5, {}),
    ("Microsoft.Network/networkInterfaces", "nic", 14, {}),
    ("Microsoft.Network/networkSecurityGroups", "nsg", 6, {}),
    ("Microsoft.Network/privateEndpoints", "pe", 4, {}),
    ("Microsoft.Network/publicIPAddresses", "pip", 5, {"sku": {"name": "Standard"}}),
    ("Microsoft.Network/virtualNetworks", "vnet", 3, {}),
    ("Microsoft.OperationalInsights/workspaces", "log", 1, {}),
    ("Microsoft.Sql/servers", "sql", 1, {"kind": "v12.0"}),
    ("Microsoft.Storage/storageAccounts", "st", 7, {"kind": "StorageV2"}),
    ("Microsoft.Web/serverfarms", "plan", 2, {"kind": "app"}),
    ("Microsoft.Web/sites", "app", 4, {"kind": "app"}),
)
"""Types with the prefix of a name, the share in per cent, and further members; sorted."""
_BOUNDS = tuple(accumulate((share / 100 for _, _, share, _ in _TYPES), initial=0.0))
"""Share of the resources whose type comes before a type, by its number."""
_KINDS = range(1, len(_TYPES))
"""The numbers of all types but the first."""
_LOCATIONS = ("westeurope", "eastus", "northeurope", "eastus2", "westus2", "uksouth", "japaneast")
_WORKLOADS = ("api", "batch", "core", "data", "edge", "jobs", "shop", "web")
_ENVIRONMENTS = ("prod", "prod", "prod", "test", "dev", "dev", "stage")
_SPREAD = 1.5
"""Standard deviation of the logarithm of a subscription's size: a few hold most resources."""
_PER_GROUP = 25
_SKEW = 1.7
"""Exponent of the sizes of groups: the last group of a subscription is the largest."""
_CREATED = 1_577_836_800
"""The earliest creation, 2020-01-01."""
_CREATION_SPAN = 5 * 365 * 86_400
_GROUP_SEGMENTS = 4
"""Segments of a group's path; a generated resource has no children."""
_MASK = (1 << 64) - 1
_GROUP_NAME = re.compile(r"rg-(\d{5,})-[a-z]+-[a-z]+")
_RESOURCE_NAME = re.compile(r"[a-z]+-(\d{7,})-[0-9a-f]{4}")


def _mix(*numbers: int) -> int:
    """Return 64 bits that look random, by the finalizer of SplitMix64."""
    bits = 0
    for number in numbers:
        bits = (bits + number + 0x9E3779B97F4A7C15) & _MASK
        bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & _MASK
        bits ^= bits >> 31
    return bits


class GeneratedSubscription:
    """A subscription whose groups and resources are computed.

    Args:
        key: number that determines the subscription.
        subscription_id: id of the subscription.
        display_name: name of the subscription.
        size: number of resources.

    """

    __slots__ = (
        "_key",
        "_last_group",
        "_type_counts",
        "display_name",
        "group_count",
        "size",
        "subscription_id",
    )

    def __init__(self, key: int, subscription_id: str, display_name: str, size: int) -> None:
        self._key = key
        self.subscription_id = subscription_id
        self.display_name = display_name
        self.size = size
        self.group_count = max(1, math.ceil(size / _PER_GROUP))
        self._last_group: tuple[int, ResourceGroup] | None = None
        self._type_counts: tuple[tuple[int, int], ...] | None = None

    def list_groups(self) -> LazySequence[ResourceGroup]:
        """Return all groups, sorted by name."""
        return LazySequence(range(self.group_count), self._make_group, by_id=True)

    def find_group(self, name: str) -> ResourceGroup | None:
        """Return a group by its name; None if it does not exist."""
        index = self._find_group_index(name)
        return None if index is None else self._make_group(index)

    def find_resource(self, resource_id: str) -> Resource | None:
        """Return a resource by its id; None if it does not exist."""
        found = _RESOURCE_NAME.fullmatch(resource_id.lower().rpartition("/")[2])
        if found is None or not int(found[1]) < self.size:
            return None
        resource = self._make_resource(int(found[1]))
        return resource if resource.id.lower() == resource_id.lower() else None

    def list_resources(
        self, group: str | None = None, wanted: str | None = None
    ) -> Sequence[Resource]:
        """Return the resources, sorted by id.

        Args:
            group: name of the resource group; None for all groups.
            wanted: resource type; None for all types.

        """
        groups = range(self.group_count)
        if group is not None:
            index = self._find_group_index(group)
            if index is None:
                return ()
            groups = range(index, index + 1)
        spans = range(self._get_start(groups[0]), self._get_start(groups[-1] + 1))
        if wanted is None:
            found = LazySequence(spans, self._make_resource, by_id=True)
            if group is None:
                found.count_alike = self._count_types
            return found
        at = next((at for at, one in enumerate(_TYPES) if one[0].lower() == wanted.lower()), None)
        if at is None:
            return ()
        parts = (LazySequence(self._get_span(number, at), self._make_resource) for number in groups)
        return LazySequence.chain(parts, by_id=True)

    def _count_types(self) -> Iterator[tuple[Resource, int]]:
        """Yield the first resource of each type, and the number of its resources."""
        if self._type_counts is None:
            self._type_counts = self._find_type_counts()
        for first, count in self._type_counts:
            yield self._make_resource(first), count

    def _find_type_counts(self) -> tuple[tuple[int, int], ...]:
        firsts, counts = dict[int, int](), Counter[int]()
        for group in range(self.group_count):
            bound, end = self._make_bound(group), self._get_start(group + 1)
            starts = [self._get_start(group), *map(bound, _KINDS), end]
            for at, (start, next_start) in enumerate(pairwise(starts)):
                if start < next_start:
                    firsts.setdefault(at, start)
                    counts[at] += next_start - start
        return tuple((first, counts[at]) for at, first in firsts.items())

    def _get_start(self, group: int) -> int:
        """Return the position of the first resource of a group."""
        return math.floor(self.size * math.pow(group / self.group_count, _SKEW))

    def _get_group_of(self, position: int) -> int:
        share = (position + 0.5) / self.size
        guess = math.floor(self.group_count * math.pow(share, 1 / _SKEW))
        group = min(guess, self.group_count - 1)
        while self._get_start(group + 1) <= position:
            group += 1
        return group

    def _make_bound(self, group: int) -> Callable[[int], int]:
        """Return the function from a type's number to the first position of it or a later type.

        Within a group the types are in order.
        """
        start, end = self._get_start(group), self._get_start(group + 1)
        # The offset differs by group, so that small groups do not all hold the same types.
        size, offset = end - start, (_mix(self._key, group, 1) >> 11) / (1 << 53)
        return lambda kind: start + math.ceil(_BOUNDS[kind] * size - offset)

    def _get_type(self, group: int, position: int) -> int:
        """Return the number of a resource's type."""
        return bisect_right(_KINDS, position, key=self._make_bound(group))

    def _get_span(self, group: int, kind: int) -> range:
        """Return the positions of a group's resources of one type."""
        bound = self._make_bound(group)
        start = bound(kind) if kind else self._get_start(group)
        end = bound(kind + 1) if kind < _KINDS[-1] else self._get_start(group + 1)
        return range(start, end)

    def _get_group(self, index: int) -> ResourceGroup:
        """Return a group; that of the resource before is kept, since most share it."""
        last = self._last_group
        if last is None or last[0] != index:
            last = self._last_group = (index, self._make_group(index))
        return last[1]

    def _make_group(self, index: int) -> ResourceGroup:
        bits = _mix(self._key, index, 2)
        workload = _WORKLOADS[bits % len(_WORKLOADS)]
        environment = _ENVIRONMENTS[(bits >> 8) % len(_ENVIRONMENTS)]
        tags = {"env": environment, "cost-center": str(1_000 + (bits >> 16) % 200)}
        return ResourceGroup(
            f"rg-{index:05}-{workload}-{environment}",
            _LOCATIONS[min((bits >> 24) % 16 // 2, len(_LOCATIONS) - 1)],
            tags if (bits >> 32) % 4 else {},
        )

    def _find_group_index(self, name: str) -> int | None:
        found = _GROUP_NAME.fullmatch(name.lower())
        if found is None or not int(found[1]) < self.group_count:
            return None
        index = int(found[1])
        return index if self._make_group(index).name == name.lower() else None

    def _make_resource(self, position: int) -> Resource:
        number = self._get_group_of(position)
        group = self._get_group(number)
        kind, prefix, _, members = _TYPES[self._get_type(number, position)]
        bits = _mix(self._key, position, 3)
        document: dict[str, Any] = {
            "location": group.location if bits % 8 else _LOCATIONS[(bits >> 8) % len(_LOCATIONS)]
        }
        if (bits >> 16) % 3:
            document["tags"] = {**group.tags, "owner": f"team-{(bits >> 24) % 40:02}"}
        document |= members
        document["properties"] = {"resourceGuid": f"{bits:016x}"}
        created = float(_CREATED + bits % _CREATION_SPAN)
        scope = f"/subscriptions/{self.subscription_id}/resourceGroups/{group.name}"
        name = f"{prefix}-{position:07}-{bits & 0xFFFF:04x}"
        return Resource(
            f"{scope}/providers/{kind}/{name}",
            kind,
            document,
            created,
            created + (bits >> 32) % 86_400,
            etag=str(uuid.UUID(int=bits << 64 | _mix(bits))),
        )


class GeneratedTenant:
    """The subscriptions of a tenant, with resources computed from a seed.

    The subscriptions differ widely in size, as in large tenants.

    Args:
        subscriptions: number of subscriptions.
        resources: number of resources of all subscriptions.
        seed: seed of all properties; the same arguments give the same tenant.

    Raises:
        ValueError: `subscriptions` is less than 1, or `resources` negative.

    """

    def __init__(self, subscriptions: int, resources: int, seed: int = 1) -> None:
        if subscriptions < 1 or resources < 0:
            msg = (
                "A generated tenant has at least 1 subscription and 0 resources, and these are "
                f"{subscriptions!r} and {resources!r}"
            )
            raise ValueError(msg)
        draw = random.Random(seed)
        weights = [draw.lognormvariate(0, _SPREAD) for _ in range(subscriptions)]
        ids = sorted(str(uuid.UUID(int=draw.getrandbits(128), version=4)) for _ in weights)
        ends = [0, *accumulate(weights)]
        starts = [math.floor(resources * end / ends[-1]) for end in ends[:-1]] + [resources]
        self._subscriptions = {
            one: GeneratedSubscription(
                _mix(seed & _MASK, number, 4),
                one,
                f"Generated subscription {number:05}",
                starts[number + 1] - starts[number],
            )
            for number, one in enumerate(ids)
        }

    @property
    def subscriptions(self) -> tuple[GeneratedSubscription, ...]:
        """All subscriptions, sorted by id."""
        return tuple(self._subscriptions.values())

    def find(self, subscription_id: str) -> GeneratedSubscription | None:
        """Return a subscription by its id; None if it is not a generated one."""
        return self._subscriptions.get(subscription_id.lower())

    def find_resource(self, resource_id: str) -> Resource | None:
        """Return a resource by its id; None if it does not exist."""
        subscription = self.find(parse_subscription_id(resource_id) or "")
        return None if subscription is None else subscription.find_resource(resource_id)

    def list_below(self, scope: str, wanted: str | None = None) -> Sequence[Resource] | None:
        """Return the resources of one type, or all, inside a subscription or group.

        None if the scope is not in a generated subscription.
        """
        subscription = self.find(parse_subscription_id(scope) or "")
        if subscription is None:
            return None
        segments = scope.rstrip("/").count("/")
        if segments > _GROUP_SEGMENTS:
            return ()
        return subscription.list_resources(parse_group_name(scope), wanted)
