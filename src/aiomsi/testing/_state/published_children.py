"""Types of child resources that clients ask for on the way to others, and their api-versions.

Each row: namespace, api-versions, types with a location, types without one.

Source: https://learn.microsoft.com/azure/templates
"""

from __future__ import annotations

_STORAGE = "2025-01-01 2024-01-01 2023-05-01 2023-01-01 2022-09-01 2021-09-01 2021-04-01 2019-06-01"
_RULES = "authorizationRules networkRuleSets"

CHILD_ROWS: tuple[tuple[str, str, str, str], ...] = (
    (
        "Microsoft.EventHub",
        "2024-01-01 2021-11-01 2017-04-01",
        "",
        " ".join(f"namespaces/{word}" for word in _RULES.split()),
    ),
    (
        "Microsoft.ServiceBus",
        "2024-01-01 2021-11-01 2017-04-01",
        "",
        " ".join(f"namespaces/{word}" for word in _RULES.split()),
    ),
    (
        "Microsoft.Sql",
        "2023-08-01 2021-11-01 2014-04-01",
        "",
        "servers/databases/transparentDataEncryption",
    ),
    (
        "Microsoft.Storage",
        _STORAGE,
        "",
        (
            "storageAccounts/fileServices storageAccounts/fileServices/shares "
            "storageAccounts/managementPolicies "
            "storageAccounts/queueServices storageAccounts/queueServices/queues "
            "storageAccounts/tableServices storageAccounts/tableServices/tables"
        ),
    ),
)
"""Rows like those of `published.ROWS`."""
