"""Subscriptions, tenants, locations, and the metadata of the cloud.

Source: https://learn.microsoft.com/rest/api/resources/subscriptions,
https://learn.microsoft.com/rest/api/resources/tenants
"""

from __future__ import annotations

from aiomsi.testing._arm.call import ArmCall
from aiomsi.testing._arm.pages import make_page
from aiomsi.testing._server.messages import Answer, make_json_answer
from aiomsi.testing._state.azure_state import SubscriptionState
from aiomsi.testing._state.catalog import normalize_location
from aiomsi.testing._state.published import LOCATIONS
from aiomsi.testing._state.regions import REGIONS

_FIRST_VERSION_WITH_MANAGERS = "2019-06-01"
"""Earlier ones show the managing tenant as the tenant of a subscription."""


def get_readable_subscriptions(call: ArmCall) -> list[SubscriptionState]:
    """Return the subscriptions of the caller's tenant in which the caller has any role."""
    principal, azure = call.caller.object_id, call.azure
    return [
        subscription
        for subscription in azure.subscriptions()
        if subscription.accepts_tenant(call.caller.tenant_id)
        and (
            azure.is_assigned(principal, f"/subscriptions/{subscription.subscription_id}")
            or azure.has_role_below(principal, f"/subscriptions/{subscription.subscription_id}")
        )
    ]


def list_subscriptions(call: ArmCall) -> Answer:
    """Return a page of the subscriptions that the caller may read."""
    visible = get_readable_subscriptions(call)
    return make_page(
        call,
        visible,
        lambda subscription: _render(call, subscription),
        count={"type": "Total", "value": len(visible)},
    )


def get_subscription(call: ArmCall) -> Answer:
    """Return a subscription."""
    return make_json_answer(200, _render(call, call.azure.subscription(call.names["subscription"])))


def list_locations(call: ArmCall) -> Answer:
    """Return the regions of a subscription."""
    scope = f"/subscriptions/{call.azure.subscription(call.names['subscription']).subscription_id}"
    regions = [
        {
            "id": f"{scope}/locations/{normalize_location(place)}",
            "name": normalize_location(place),
            "type": "Region",
            "displayName": place,
            "regionalDisplayName": place,
            "metadata": _describe_region(scope, normalize_location(place)),
        }
        for place in LOCATIONS
    ]
    return make_json_answer(200, {"value": regions})


def _describe_region(scope: str, name: str) -> dict[str, object]:
    """Return the metadata of a region, with the ids of its paired regions."""
    known = REGIONS.get(name, {})
    pairs = known.get("pairedRegion")
    paired = [
        {"name": pair, "id": f"{scope}/locations/{pair}"}
        for pair in (pairs if isinstance(pairs, list) else ())
    ]
    return {**known, "pairedRegion": paired}


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
    return make_page(call, [tenant])


def _render(call: ArmCall, subscription: SubscriptionState) -> dict[str, object]:
    shown: dict[str, object] = {"tags": dict(subscription.tags)} if subscription.tags else {}
    tenant_id = subscription.tenant_id
    if call.version >= _FIRST_VERSION_WITH_MANAGERS:
        shown["managedByTenants"] = [{"tenantId": one} for one in subscription.managed_by]
    elif call.caller.tenant_id in subscription.managed_by:
        tenant_id = call.caller.tenant_id
    return shown | {
        "id": f"/subscriptions/{subscription.subscription_id}",
        "authorizationSource": "RoleBased",
        "subscriptionId": subscription.subscription_id,
        "tenantId": tenant_id,
        "displayName": subscription.display_name,
        "state": subscription.state,
        "subscriptionPolicies": {
            "locationPlacementId": "Public_2014-09-01",
            "quotaId": subscription.quota_id,
            "spendingLimit": "Off",
        },
    }
