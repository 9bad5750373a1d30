"""Subscriptions, tenants, locations, and the metadata of the cloud.

Source: https://learn.microsoft.com/rest/api/resources/subscriptions,
https://learn.microsoft.com/rest/api/resources/tenants
"""

from __future__ import annotations

from aiomsi.testing._arm.call import ArmCall
from aiomsi.testing._arm.pages import page
from aiomsi.testing._server.messages import Answer, json_answer
from aiomsi.testing._state.catalog import location_name
from aiomsi.testing._state.published import LOCATIONS
from aiomsi.testing._state.tokens import ARM_AUDIENCES
from aiomsi.testing._state.world import Holding


def readable_subscriptions(call: ArmCall) -> list[Holding]:
    """Return the subscriptions of the caller's tenant in which the caller has any role."""
    who, world = call.caller.object_id, call.world
    return [
        held
        for held in world.subscriptions()
        if held.tenant_id == call.caller.tenant_id
        and (
            world.may(who, f"/subscriptions/{held.subscription_id}")
            or world.may_read_below(who, f"/subscriptions/{held.subscription_id}")
        )
    ]


def list_subscriptions(call: ArmCall) -> Answer:
    """Return a page of the subscriptions that the caller may read."""
    visible = readable_subscriptions(call)
    return page(call, visible, _shown, count={"type": "Total", "value": len(visible)})


def get_subscription(call: ArmCall) -> Answer:
    """Return a subscription."""
    return json_answer(200, _shown(call.world.subscription(call.names["subscription"])))


def list_locations(call: ArmCall) -> Answer:
    """Return the regions of a subscription."""
    scope = f"/subscriptions/{call.world.subscription(call.names['subscription']).subscription_id}"
    regions = [
        {
            "id": f"{scope}/locations/{location_name(place)}",
            "name": location_name(place),
            "type": "Region",
            "displayName": place,
            "regionalDisplayName": place,
        }
        for place in LOCATIONS
    ]
    return json_answer(200, {"value": regions})


def list_tenants(call: ArmCall) -> Answer:
    """Return a list of one tenant, the caller's, because a managed identity has no other."""
    tenant = {
        "id": f"/tenants/{call.caller.tenant_id}",
        "tenantId": call.caller.tenant_id,
        "countryCode": "US",
        "displayName": "Embedded tenant",
        "domains": ["embedded.example"],
        "tenantCategory": "Home",
    }
    return page(call, [tenant])


def _shown(held: Holding) -> dict[str, object]:
    tags = {"tags": dict(held.tags)} if held.tags else {}
    return tags | {
        "id": f"/subscriptions/{held.subscription_id}",
        "authorizationSource": "RoleBased",
        "managedByTenants": [],
        "subscriptionId": held.subscription_id,
        "tenantId": held.tenant_id,
        "displayName": held.display_name,
        "state": "Enabled",
        "subscriptionPolicies": {
            "locationPlacementId": "Public_2014-09-01",
            "quotaId": "PayAsYouGo_2014-09-01",
            "spendingLimit": "Off",
        },
    }


def endpoints(call: ArmCall) -> Answer:
    """Return the metadata of the cloud; the request needs no token."""
    cloud = {
        "portal": "https://portal.azure.com",
        "authentication": {
            "loginEndpoint": "https://login.microsoftonline.com",
            "audiences": [audience for audience in ARM_AUDIENCES if audience.endswith("/")],
            "tenant": "common",
            "identityProvider": "AAD",
        },
        "graphAudience": "https://graph.windows.net/",
        "graph": "https://graph.windows.net/",
        "name": "EmbeddedAzure",
        "suffixes": {"keyVaultDns": "vault.azure.net", "storage": "core.windows.net"},
        "batch": "https://batch.core.windows.net/",
        "resourceManager": f"{call.asked.base_url}/",
        "microsoftGraphResourceId": "https://graph.microsoft.com/",
    }
    return json_answer(200, cloud)
