"""The environment of each kind of host, with endpoints on loopback that nothing listens on."""

GUID = "98f51385-2edc-4b79-bed9-7718de4cb861"

ENVIRONMENTS: dict[str, dict[str, str]] = {
    "imds": {},
    "app-service": {"IDENTITY_ENDPOINT": "http://127.0.0.1:1/msi/token", "IDENTITY_HEADER": "h"},
    "azure-ml": {"MSI_ENDPOINT": "http://127.0.0.1:1/msi/token", "MSI_SECRET": "s"},
    "azure-arc": {
        "IDENTITY_ENDPOINT": "http://127.0.0.1:1/metadata/identity/oauth2/token",
        "IMDS_ENDPOINT": "http://127.0.0.1:1",
    },
    "service-fabric": {
        "IDENTITY_ENDPOINT": "https://127.0.0.1:1/metadata/identity/oauth2/token",
        "IDENTITY_HEADER": "h",
        "IDENTITY_SERVER_THUMBPRINT": "0123456789abcdef0123456789ABCDEF01234567",
    },
    "cloud-shell": {"MSI_ENDPOINT": "http://127.0.0.1:1/oauth2/token"},
    "workload-identity": {
        "AZURE_AUTHORITY_HOST": "https://127.0.0.1:1/",
        "AZURE_TENANT_ID": GUID,
        "AZURE_FEDERATED_TOKEN_FILE": "/nowhere/token",
        "AZURE_CLIENT_ID": GUID,
    },
}
