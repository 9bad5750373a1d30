"""The metadata of the cloud: an object, or a list of clouds, as the api-version asks for.

az reads the list where ``ARM_CLOUD_METADATA_URL`` names it.

Source: https://learn.microsoft.com/cli/azure/manage-clouds-azure-cli
"""

from __future__ import annotations

from aiomsi.testing._arm.call import ArmCall
from aiomsi.testing._server.messages import Answer, make_json_answer
from aiomsi.testing._state.tokens import ARM_AUDIENCES

_FIRST_WITH_LIST, _FIRST_WITH_OBJECT = "2019-05-01", "2022-09-01"
_SERVICES = {
    "media": "https://rest.media.azure.net",
    "graphAudience": "https://graph.windows.net/",
    "graph": "https://graph.windows.net/",
    "batch": "https://batch.core.windows.net/",
    "vmImageAliasDoc": (
        "https://raw.githubusercontent.com/Azure/azure-rest-api-specs/main/arm-compute/"
        "quickstart-templates/aliases.json"
    ),
    "activeDirectoryDataLake": "https://datalake.azure.net/",
    "sqlManagement": "https://management.core.windows.net:8443/",
    "microsoftGraphResourceId": "https://graph.microsoft.com/",
    "appInsightsResourceId": "https://api.applicationinsights.io",
    "appInsightsTelemetryChannelResourceId": "https://dc.applicationinsights.azure.com/v2/track",
    "attestationResourceId": "https://attest.azure.net",
    "synapseAnalyticsResourceId": "https://dev.azuresynapse.net",
    "logAnalyticsResourceId": "https://api.loganalytics.io",
    "ossrDbmsResourceId": "https://ossrdbms-aad.database.windows.net",
}
_SUFFIXES = {
    "azureDataLakeStoreFileSystem": "azuredatalakestore.net",
    "acrLoginServer": "azurecr.io",
    "sqlServerHostname": "database.windows.net",
    "azureDataLakeAnalyticsCatalogAndJob": "azuredatalakeanalytics.net",
    "keyVaultDns": "vault.azure.net",
    "storage": "core.windows.net",
    "storageSyncEndpointSuffix": "afs.azure.net",
    "mhsmDns": "managedhsm.azure.net",
    "mysqlServerEndpoint": "mysql.database.azure.com",
    "postgresqlServerEndpoint": "postgres.database.azure.com",
    "mariadbServerEndpoint": "mariadb.database.azure.com",
    "synapseAnalytics": "dev.azuresynapse.net",
    "attestationEndpoint": "attest.azure.net",
}


def get_endpoints(call: ArmCall) -> Answer:
    """Return the metadata of the cloud; the request needs no token."""
    authentication = {
        "loginEndpoint": call.state.login_url,
        "audiences": [audience for audience in ARM_AUDIENCES if audience.endswith("/")],
        "tenant": "common",
        "identityProvider": "AAD",
    }
    if call.version < _FIRST_WITH_LIST:
        early = {
            "galleryEndpoint": "https://gallery.azure.com/",
            "graphEndpoint": "https://graph.windows.net/",
            "portalEndpoint": "https://portal.azure.com/",
            "authentication": authentication,
        }
        return make_json_answer(200, early)
    cloud = {
        "portal": "https://portal.azure.com",
        "authentication": authentication,
        "name": "EmbeddedAzure",
        "gallery": "https://gallery.azure.com/",
        "suffixes": _SUFFIXES,
        "resourceManager": f"{call.request.base_url}/",
        **_SERVICES,
    }
    return make_json_answer(200, cloud if call.version >= _FIRST_WITH_OBJECT else [cloud])
