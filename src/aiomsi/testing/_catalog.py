"""The resource providers that the embedded Azure knows: types, api-versions and locations.

A small part of what Azure has; `EmbeddedAzure.add_provider` adds others. Versions are those that were published.

Source: https://learn.microsoft.com/azure/templates, https://learn.microsoft.com/rest/api/resources/providers/get
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs

from aiomsi.testing._versions import ARM_VERSIONS

LOCATIONS = (
    "East US", "East US 2", "Central US", "South Central US", "West US", "West US 2", "West US 3", "Canada Central",
    "Brazil South", "North Europe", "West Europe", "UK South", "France Central", "Germany West Central", "Sweden Central",
    "Switzerland North", "Norway East", "Japan East", "Southeast Asia", "East Asia", "Australia East", "Central India",
)  # fmt: skip
"""Display names of regions; without blanks and in lower case they are the regions' names."""


def location_name(text: str) -> str:
    """Return a region's name, for example ``"westus"``, of what people write, for example ``"West US"``."""
    return "".join(text.split()).lower()


@attrs.frozen
class ProviderType:
    """A resource type of a provider.

    Attributes:
        name: within the namespace, for example ``"virtualNetworks/subnets"``.
        versions: its api-versions.
        locations: where it is served, as display names; empty if it has no location of its own.

    """

    name: str
    versions: tuple[str, ...]
    locations: tuple[str, ...] = LOCATIONS

    def served_in(self, location: str) -> bool:
        """Tell whether there are resources of this type in a location."""
        return location_name(location) in {"global", *map(location_name, self.locations)}


@attrs.frozen
class Provider:
    """A resource provider: its namespace, and its types by folded name."""

    namespace: str
    types: Mapping[str, ProviderType]

    @classmethod
    def of(cls, namespace: str, types: Iterable[ProviderType]) -> Provider:
        """Make one of a list of types."""
        return cls(namespace, {one.name.lower(): one for one in types})


def _days(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_COMPUTE = _days(
    "2025-04-01 2024-11-01 2024-07-01 2024-03-01 2023-09-01 2023-07-01 2023-03-01 2022-11-01 2022-08-01 2022-03-01 2021-11-01 "
    "2021-07-01 2021-04-01 2021-03-01 2020-12-01 2020-06-01 2019-12-01 2019-07-01 2019-03-01 2018-10-01 2018-06-01 2018-04-01 "
    "2017-12-01 2017-03-30 2016-03-30 2015-06-15"
)
_DISKS = _days("2025-01-02 2024-03-02 2023-10-02 2023-04-02 2023-01-02 2022-07-02 2022-03-02 2021-12-01 2020-12-01 2019-07-01")
_NETWORK = _days(
    "2024-10-01 2024-07-01 2024-05-01 2024-03-01 2024-01-01 2023-11-01 2023-09-01 2023-06-01 2023-05-01 2023-04-01 2023-02-01 "
    "2022-11-01 2022-09-01 2022-07-01 2022-05-01 2022-01-01 2021-08-01 2021-05-01 2021-02-01 2020-11-01 2020-06-01 2019-11-01 "
    "2018-08-01 2017-10-01 2016-06-01 2015-06-15"
)
_STORAGE = _days(
    "2025-01-01 2024-01-01 2023-05-01 2023-04-01 2023-01-01 2022-09-01 2022-05-01 2021-09-01 2021-08-01 2021-06-01 2021-04-01 "
    "2021-02-01 2021-01-01 2020-08-01-preview 2019-06-01 2019-04-01 2018-11-01 2018-07-01 2018-02-01 2017-06-01 2016-12-01"
)
_VAULTS = _days("2024-11-01 2023-07-01 2023-02-01 2022-07-01 2021-10-01 2021-06-01-preview 2019-09-01 2018-02-14 2016-10-01")
_WEB = _days(
    "2024-11-01 2024-04-01 2023-12-01 2023-01-01 2022-09-01 2022-03-01 2021-03-01 2021-02-01 2021-01-15 2020-12-01 2020-06-01 "
    "2019-08-01 2018-11-01 2018-02-01 2016-09-01 2016-08-01"
)
_IDENTITIES = _days("2024-11-30 2023-01-31 2022-01-31-preview 2018-11-30 2015-08-31-preview")
_CLUSTERS = _days("2025-03-01 2025-01-01 2024-09-01 2024-05-01 2024-02-01 2023-11-01 2023-08-01 2023-01-01 2022-09-01 2021-05-01")
_BUS = _days("2024-01-01 2022-10-01-preview 2021-11-01 2021-06-01-preview 2018-01-01-preview 2017-04-01 2015-08-01")
_SQL = _days("2023-08-01 2023-05-01-preview 2021-11-01 2021-02-01-preview 2014-04-01")
_WORKSPACES = _days("2025-02-01 2023-09-01 2022-10-01 2021-06-01 2020-08-01 2015-11-01-preview")
_ROLES = _days("2022-04-01 2020-10-01-preview 2020-04-01-preview 2018-09-01-preview 2015-07-01")
_APPS = _days("2025-01-01 2024-03-01 2023-05-01 2022-10-01 2022-03-01")


def _types(versions: Sequence[str], tracked: str, nested: str = "") -> tuple[ProviderType, ...]:
    """Make types with one list of versions; the nested ones have no location of their own."""
    located = (ProviderType(name, tuple(versions)) for name in tracked.split())
    return (*located, *(ProviderType(name, tuple(versions), ()) for name in nested.split()))


CATALOG = (
    Provider.of("Microsoft.App", _types(_APPS, "containerApps managedEnvironments")),
    Provider.of(
        "Microsoft.Authorization",
        (
            *_types(_ROLES, "", "roleAssignments roleDefinitions"),
            *_types(_days("2020-05-01 2017-04-01 2016-09-01"), "", "locks"),
            *_types(_days("2024-04-01 2023-04-01 2022-06-01 2021-06-01"), "", "policyAssignments policyDefinitions"),
        ),
    ),
    Provider.of(
        "Microsoft.Compute",
        (
            *_types(_COMPUTE, "virtualMachines virtualMachines/extensions virtualMachineScaleSets availabilitySets images"),
            *_types(_DISKS, "disks snapshots"),
        ),
    ),
    Provider.of("Microsoft.ContainerService", _types(_CLUSTERS, "managedClusters", "managedClusters/agentPools")),
    Provider.of("Microsoft.EventHub", _types(_BUS, "namespaces", "namespaces/eventhubs namespaces/eventhubs/consumergroups")),
    Provider.of(
        "Microsoft.Insights",
        (
            *_types(_days("2020-02-02 2018-05-01-preview 2015-05-01"), "components"),
            *_types(_days("2021-05-01-preview 2017-05-01-preview"), "", "diagnosticSettings"),
        ),
    ),
    Provider.of("Microsoft.KeyVault", _types(_VAULTS, "vaults", "vaults/secrets vaults/keys vaults/accessPolicies")),
    Provider.of(
        "Microsoft.ManagedIdentity",
        _types(_IDENTITIES, "userAssignedIdentities", "userAssignedIdentities/federatedIdentityCredentials"),
    ),
    Provider.of("Microsoft.Management", _types(_days("2023-04-01 2021-04-01 2020-05-01"), "", "managementGroups")),
    Provider.of(
        "Microsoft.Network",
        _types(
            _NETWORK,
            "virtualNetworks networkInterfaces networkSecurityGroups publicIPAddresses loadBalancers routeTables",
            "virtualNetworks/subnets networkSecurityGroups/securityRules routeTables/routes",
        ),
    ),
    Provider.of("Microsoft.OperationalInsights", _types(_WORKSPACES, "workspaces", "workspaces/tables")),
    Provider.of("Microsoft.ResourceGraph", _types(_days("2024-04-01 2022-10-01 2021-03-01"), "", "resources")),
    Provider.of(
        "Microsoft.Resources",
        (
            ProviderType("resourceGroups", ARM_VERSIONS),
            ProviderType("subscriptions", ARM_VERSIONS, ()),
            ProviderType("subscriptions/resourceGroups", ARM_VERSIONS),
            ProviderType("deployments", ARM_VERSIONS, ()),
        ),
    ),
    Provider.of(
        "Microsoft.ServiceBus",
        _types(_BUS, "namespaces", "namespaces/queues namespaces/topics namespaces/topics/subscriptions"),
    ),
    Provider.of("Microsoft.Sql", _types(_SQL, "servers servers/databases", "servers/firewallRules")),
    Provider.of(
        "Microsoft.Storage",
        _types(_STORAGE, "storageAccounts", "storageAccounts/blobServices storageAccounts/blobServices/containers"),
    ),
    Provider.of("Microsoft.Web", _types(_WEB, "serverfarms sites sites/slots", "sites/config sites/slots/config")),
)
