"""Resource types of Azure's providers, and their api-versions: a small part, the most common ones.

Each row: namespace, api-versions, types with a location, types without one.

Source: https://learn.microsoft.com/azure/templates,
https://learn.microsoft.com/azure/azure-resource-manager/management/azure-services-resource-providers
"""

from __future__ import annotations

from aiomsi.testing._state.api_versions import ARM_VERSIONS

LOCATIONS = (
    "East US", "East US 2", "Central US", "North Central US", "South Central US", "West Central US",
    "West US", "West US 2", "West US 3", "Canada Central", "Canada East", "Mexico Central",
    "Brazil South", "North Europe", "West Europe", "UK South", "UK West", "France Central",
    "France South", "Germany West Central", "Germany North", "Switzerland North",
    "Switzerland West", "Sweden Central", "Norway East", "Norway West", "Poland Central",
    "Italy North", "Spain Central", "Israel Central", "UAE North", "UAE Central", "Qatar Central",
    "South Africa North", "South Africa West", "Central India", "South India", "West India",
    "East Asia", "Southeast Asia", "Japan East", "Japan West", "Korea Central", "Korea South",
    "Australia East", "Australia Southeast", "Australia Central", "New Zealand North",
    "East US 2 EUAP", "Central US EUAP",
)  # fmt: skip
"""Display names of regions; in lower case and without spaces they are the regions' names."""

_COMPUTE = (
    "2025-04-01 2024-11-01 2024-07-01 2024-03-01 2023-09-01 2023-07-01 2023-03-01 2022-11-01 "
    "2022-08-01 2022-03-01 2021-11-01 2021-07-01 2021-04-01 2021-03-01 2020-12-01 2020-06-01 "
    "2019-12-01 2019-07-01 2019-03-01 2018-10-01 2018-06-01 2018-04-01 2017-12-01 2017-03-30 "
    "2016-08-30 2016-04-30-preview 2016-03-30 2015-06-15"
)
_DISKS = (
    "2025-01-02 2024-03-02 2023-10-02 2023-04-02 2023-01-02 2022-07-02 2022-03-02 2021-12-01 "
    "2021-08-01 2021-04-01 2020-12-01 2020-09-30 2020-06-30 2020-05-01 2019-11-01 2019-07-01 "
    "2019-03-01 2018-09-30 2018-06-01 2018-04-01 2017-03-30"
)
_NETWORK = (
    "2024-10-01 2024-07-01 2024-05-01 2024-03-01 2024-01-01 2023-11-01 2023-09-01 2023-06-01 "
    "2023-05-01 2023-04-01 2023-02-01 2022-11-01 2022-09-01 2022-07-01 2022-05-01 2022-01-01 "
    "2021-12-01 2021-08-01 2021-06-01 2021-05-01 2021-04-01 2021-03-01 2021-02-01 2021-01-01 "
    "2020-11-01 2020-08-01 2020-07-01 2020-06-01 2020-05-01 2020-04-01 2020-03-01 2020-01-01 "
    "2019-12-01 2019-11-01 2019-09-01 2019-08-01 2019-07-01 2019-06-01 2019-04-01 2019-02-01 "
    "2018-12-01 2018-11-01 2018-10-01 2018-08-01 2018-07-01 2018-06-01 2018-04-01 2018-02-01 "
    "2018-01-01 2017-11-01 2017-10-01 2017-09-01 2017-08-01 2017-06-01 2016-09-01 2016-06-01 "
    "2016-03-30 2015-06-15"
)
_STORAGE = (
    "2025-01-01 2024-01-01 2023-05-01 2023-04-01 2023-01-01 2022-09-01 2022-05-01 2021-09-01 "
    "2021-08-01 2021-06-01 2021-05-01 2021-04-01 2021-02-01 2021-01-01 2020-08-01-preview "
    "2019-06-01 2019-04-01 2018-11-01 2018-07-01 2018-02-01 2017-10-01 2017-06-01 2016-12-01 "
    "2016-05-01 2016-01-01 2015-06-15"
)
_VAULTS = (
    "2024-11-01 2024-04-01-preview 2023-07-01 2023-02-01 2022-11-01 2022-07-01 2022-02-01-preview "
    "2021-11-01-preview 2021-10-01 2021-06-01-preview 2021-04-01-preview 2020-04-01-preview "
    "2019-09-01 2018-02-14 2018-02-14-preview 2016-10-01 2015-06-01"
)
_WEB = (
    "2024-11-01 2024-04-01 2023-12-01 2023-01-01 2022-09-01 2022-03-01 2021-03-01 2021-02-01 "
    "2021-01-15 2021-01-01 2020-12-01 2020-10-01 2020-09-01 2020-06-01 2019-08-01 2018-11-01 "
    "2018-02-01 2016-09-01 2016-08-01 2016-03-01 2015-08-01"
)
_CLUSTERS = (
    "2025-04-01 2025-03-01 2025-01-01 2024-10-01 2024-09-01 2024-08-01 2024-07-01 2024-05-01 "
    "2024-02-01 2024-01-01 2023-11-01 2023-10-01 2023-09-01 2023-08-01 2023-07-01 2023-06-01 "
    "2023-05-01 2023-04-01 2023-03-01 2023-02-01 2023-01-01 2022-09-01 2022-07-01 2022-06-01 "
    "2022-04-01 2022-03-01 2022-01-01 2021-10-01 2021-09-01 2021-05-01 2020-12-01 2020-03-01"
)
_BUS = (
    "2024-01-01 2023-01-01-preview 2022-10-01-preview 2021-11-01 2021-06-01-preview "
    "2018-01-01-preview 2017-04-01"
)
_SQL = (
    "2023-08-01 2023-05-01-preview 2022-05-01-preview 2021-11-01 2021-02-01-preview "
    "2020-11-01-preview 2014-04-01"
)
_POSTGRES = "2024-08-01 2023-12-01-preview 2023-06-01-preview 2022-12-01 2021-06-01"
_COSMOS = (
    "2025-04-15 2024-11-15 2024-08-15 2024-05-15 2023-11-15 2023-04-15 2022-11-15 2022-05-15 "
    "2021-10-15 2020-04-01"
)
_REGISTRIES = "2025-04-01 2023-07-01 2023-01-01-preview 2022-12-01 2021-09-01 2019-05-01 2017-10-01"
_AI = "2025-06-01 2024-10-01 2023-05-01 2022-12-01 2022-03-01 2021-10-01 2021-04-30 2017-04-18"

ROWS: tuple[tuple[str, str, str, str], ...] = (
    (
        "Microsoft.App",
        "2025-01-01 2024-03-01 2023-05-01 2022-10-01 2022-03-01",
        "containerApps jobs managedEnvironments",
        "",
    ),
    (
        "Microsoft.AppConfiguration",
        "2024-05-01 2023-03-01 2022-05-01 2020-06-01",
        "configurationStores",
        "",
    ),
    (
        "Microsoft.Authorization",
        "2022-04-01 2020-10-01-preview 2018-09-01-preview 2015-07-01",
        "",
        "roleAssignments",
    ),
    ("Microsoft.Authorization", "2022-04-01 2018-01-01-preview 2015-07-01", "", "roleDefinitions"),
    ("Microsoft.Authorization", "2020-05-01 2017-04-01 2016-09-01 2015-01-01", "", "locks"),
    (
        "Microsoft.Authorization",
        "2025-01-01 2024-04-01 2023-04-01 2022-06-01 2021-06-01",
        "",
        "policyAssignments policyDefinitions",
    ),
    (
        "Microsoft.Automation",
        "2023-11-01 2022-08-08 2021-06-22 2020-01-13-preview 2015-10-31",
        "automationAccounts",
        "",
    ),
    (
        "Microsoft.Batch",
        "2024-07-01 2023-11-01 2022-10-01 2021-06-01",
        "batchAccounts",
        "batchAccounts/pools",
    ),
    (
        "Microsoft.Cache",
        "2024-11-01 2023-08-01 2022-06-01 2021-06-01 2020-06-01",
        "redis",
        "redis/firewallRules",
    ),
    (
        "Microsoft.Cdn",
        "2024-02-01 2023-05-01 2021-06-01 2020-09-01",
        "profiles profiles/endpoints",
        "",
    ),
    ("Microsoft.CognitiveServices", _AI, "accounts", "accounts/deployments"),
    (
        "Microsoft.Compute",
        _COMPUTE,
        "virtualMachines virtualMachines/extensions virtualMachineScaleSets",
        "",
    ),
    (
        "Microsoft.Compute",
        _COMPUTE,
        "availabilitySets images proximityPlacementGroups sshPublicKeys",
        "",
    ),
    ("Microsoft.Compute", _DISKS, "disks snapshots diskEncryptionSets", ""),
    (
        "Microsoft.ContainerInstance",
        "2023-05-01 2022-09-01 2021-09-01 2019-12-01",
        "containerGroups",
        "",
    ),
    (
        "Microsoft.ContainerRegistry",
        _REGISTRIES,
        "registries registries/replications",
        "registries/scopeMaps",
    ),
    ("Microsoft.ContainerService", _CLUSTERS, "managedClusters", "managedClusters/agentPools"),
    (
        "Microsoft.DBforPostgreSQL",
        _POSTGRES,
        "flexibleServers",
        "flexibleServers/databases flexibleServers/configurations",
    ),
    ("Microsoft.DataFactory", "2018-06-01", "factories", "factories/pipelines factories/datasets"),
    ("Microsoft.Databricks", "2024-05-01 2023-02-01 2018-04-01", "workspaces", ""),
    (
        "Microsoft.Devices",
        "2023-06-30 2021-07-02 2020-03-01 2019-03-22",
        "IotHubs",
        "IotHubs/certificates",
    ),
    ("Microsoft.DocumentDB", _COSMOS, "databaseAccounts", "databaseAccounts/sqlDatabases"),
    (
        "Microsoft.EventGrid",
        "2025-02-15 2022-06-15 2021-12-01 2020-06-01",
        "topics domains",
        "eventSubscriptions",
    ),
    (
        "Microsoft.EventHub",
        _BUS,
        "namespaces",
        "namespaces/eventhubs namespaces/eventhubs/consumergroups",
    ),
    (
        "Microsoft.Insights",
        "2020-02-02 2020-02-02-preview 2018-05-01-preview 2015-05-01",
        "components",
        "",
    ),
    ("Microsoft.Insights", "2021-05-01-preview 2017-05-01-preview", "", "diagnosticSettings"),
    ("Microsoft.Insights", "2023-01-01 2022-06-01 2021-09-01 2019-06-01", "actionGroups", ""),
    ("Microsoft.KeyVault", _VAULTS, "vaults", "vaults/secrets vaults/keys vaults/accessPolicies"),
    ("Microsoft.Logic", "2019-05-01 2016-06-01", "workflows integrationAccounts", ""),
    (
        "Microsoft.MachineLearningServices",
        "2025-06-01 2024-10-01 2024-04-01 2023-10-01 2023-04-01 2020-08-01",
        "workspaces",
        "workspaces/computes",
    ),
    (
        "Microsoft.ManagedIdentity",
        "2024-11-30 2023-01-31 2022-01-31-preview 2018-11-30",
        "userAssignedIdentities",
        "",
    ),
    (
        "Microsoft.ManagedIdentity",
        "2024-11-30 2023-01-31 2022-01-31-preview",
        "",
        "userAssignedIdentities/federatedIdentityCredentials",
    ),
    (
        "Microsoft.Management",
        "2023-04-01 2021-04-01 2020-10-01 2020-05-01 2020-02-01",
        "",
        "managementGroups",
    ),
    (
        "Microsoft.Network",
        _NETWORK,
        "virtualNetworks networkInterfaces publicIPAddresses loadBalancers",
        "virtualNetworks/subnets",
    ),
    (
        "Microsoft.Network",
        _NETWORK,
        "networkSecurityGroups routeTables",
        "networkSecurityGroups/securityRules routeTables/routes",
    ),
    (
        "Microsoft.Network",
        _NETWORK,
        (
            "routeTables privateEndpoints natGateways applicationGateways networkWatchers "
            "azureFirewalls"
        ),
        "",
    ),
    (
        "Microsoft.Network",
        "2018-05-01 2017-10-01 2016-04-01",
        "dnsZones",
        "dnsZones/A dnsZones/CNAME dnsZones/TXT",
    ),
    (
        "Microsoft.Network",
        "2024-06-01 2020-06-01 2018-09-01",
        "privateDnsZones privateDnsZones/virtualNetworkLinks",
        "",
    ),
    (
        "Microsoft.OperationalInsights",
        (
            "2025-02-01 2023-09-01 2022-10-01 2021-12-01-preview 2021-06-01 2020-10-01 2020-08-01 "
            "2015-11-01-preview"
        ),
        "workspaces",
        "workspaces/tables workspaces/savedSearches",
    ),
    (
        "Microsoft.RecoveryServices",
        "2024-10-01 2023-08-01 2023-01-01 2022-10-01 2021-03-01",
        "vaults",
        "vaults/backupPolicies",
    ),
    (
        "Microsoft.ResourceGraph",
        "2024-04-01 2022-10-01 2021-06-01-preview 2021-03-01",
        "",
        "resources",
    ),
    (
        "Microsoft.Resources",
        " ".join(ARM_VERSIONS),
        "resourceGroups subscriptions/resourceGroups",
        "subscriptions deployments",
    ),
    ("Microsoft.Search", "2025-05-01 2023-11-01 2022-09-01 2020-08-01", "searchServices", ""),
    (
        "Microsoft.ServiceBus",
        _BUS,
        "namespaces",
        "namespaces/queues namespaces/topics namespaces/topics/subscriptions",
    ),
    (
        "Microsoft.SignalRService",
        "2024-03-01 2023-02-01 2022-02-01 2021-10-01",
        "signalR webPubSub",
        "",
    ),
    (
        "Microsoft.Sql",
        _SQL,
        "servers servers/databases servers/elasticPools managedInstances",
        "servers/firewallRules",
    ),
    (
        "Microsoft.Storage",
        _STORAGE,
        "storageAccounts",
        "storageAccounts/blobServices storageAccounts/blobServices/containers",
    ),
    ("Microsoft.Web", _WEB, "serverfarms sites sites/slots", "sites/config sites/slots/config"),
    ("Microsoft.Web", _WEB, "staticSites certificates", ""),
)
