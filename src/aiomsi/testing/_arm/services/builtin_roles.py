"""Built-in roles of Azure: the most common ones.

Source: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
"""

from __future__ import annotations

ROLES: tuple[tuple[str, str, str, str, str], ...] = (
    ("8e3af657-a8ff-443c-a75c-2fe8c4bcb635", "Owner", "*", "", ""),
    (
        "b24988ac-6180-42a0-ab88-20f7382dd24c",
        "Contributor",
        "*",
        (
            "Microsoft.Authorization/*/Delete Microsoft.Authorization/*/Write "
            "Microsoft.Authorization/elevateAccess/Action"
        ),
        "",
    ),
    ("acdd72a7-3385-48ef-bd42-f606fba81ae7", "Reader", "*/read", "", ""),
    (
        "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9",
        "User Access Administrator",
        "*/read Microsoft.Authorization/* Microsoft.Support/*",
        "",
        "",
    ),
    (
        "4d97b98b-1d4f-4787-a291-c67834d212e7",
        "Network Contributor",
        "Microsoft.Network/* Microsoft.Resources/deployments/*",
        "",
        "",
    ),
    (
        "9980e02c-c2be-4d73-94e8-173b1dc7cf3c",
        "Virtual Machine Contributor",
        "Microsoft.Compute/virtualMachines/* Microsoft.Compute/disks/read",
        "",
        "",
    ),
    (
        "17d1049b-9a84-46fb-8f53-869881c3d3ab",
        "Storage Account Contributor",
        "Microsoft.Storage/storageAccounts/*",
        "",
        "",
    ),
    (
        "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
        "Storage Blob Data Owner",
        "Microsoft.Storage/storageAccounts/blobServices/containers/*",
        "",
        "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/*",
    ),
    (
        "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
        "Storage Blob Data Contributor",
        "Microsoft.Storage/storageAccounts/blobServices/containers/read",
        "",
        "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write",
    ),
    (
        "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1",
        "Storage Blob Data Reader",
        "Microsoft.Storage/storageAccounts/blobServices/containers/read",
        "",
        "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read",
    ),
    (
        "974c5e8b-45b9-4653-ba55-5f855dd0fb88",
        "Storage Queue Data Contributor",
        "Microsoft.Storage/storageAccounts/queueServices/queues/read",
        "",
        "Microsoft.Storage/storageAccounts/queueServices/queues/messages/write",
    ),
    (
        "00482a5a-887f-4fb3-b363-3b7fe8e74483",
        "Key Vault Administrator",
        "Microsoft.KeyVault/vaults/*/read",
        "",
        "Microsoft.KeyVault/vaults/*",
    ),
    (
        "b86a8fe4-44ce-4948-aee5-eccb2c155cd7",
        "Key Vault Secrets Officer",
        "Microsoft.KeyVault/vaults/*/read",
        "",
        "Microsoft.KeyVault/vaults/secrets/*",
    ),
    (
        "4633458b-17de-408a-b874-0445c86b69e6",
        "Key Vault Secrets User",
        "",
        "",
        "Microsoft.KeyVault/vaults/secrets/getSecret/action",
    ),
    (
        "e40ec5ca-96e0-45a2-b4ff-59039f2c2b59",
        "Managed Identity Contributor",
        "Microsoft.ManagedIdentity/userAssignedIdentities/*",
        "",
        "",
    ),
    (
        "f1a07417-d97a-45cb-824c-7a7467783830",
        "Managed Identity Operator",
        (
            "Microsoft.ManagedIdentity/userAssignedIdentities/*/read "
            "Microsoft.ManagedIdentity/userAssignedIdentities/*/assign/action"
        ),
        "",
        "",
    ),
    (
        "7f951dda-4ed3-4680-a7ca-43fe172d538d",
        "AcrPull",
        "Microsoft.ContainerRegistry/registries/pull/read",
        "",
        "",
    ),
    ("43d0d8ad-25c7-4714-9337-8ba259a9fe05", "Monitoring Reader", "*/read", "", ""),
)
"""Each role: id, name, actions, excluded actions, data actions."""
