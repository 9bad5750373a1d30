"""A tenant of many subscriptions with the same resources, as the origin lists it. Pure.

The pages of all subscriptions are one text, in which the id of the subscription is replaced.
"""

import json

from clients.wire import SUBSCRIPTION, make_subscription_id

GROUPS = 10
"""The resource groups of each subscription."""
_SUBSCRIPTION = SUBSCRIPTION.encode()
_TENANT = make_subscription_id(0)


def list_subscriptions(count: int) -> bytes:
    """Return the body of the list of all subscriptions."""
    return json.dumps({"value": [_describe(number) for number in range(1, count + 1)]}).encode()


def list_groups() -> bytes:
    """Return the body of the list of a subscription's resource groups."""
    names = [f"group-{number:03d}" for number in range(GROUPS)]
    groups = [
        {
            "id": f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{name}",
            "name": name,
            "type": "Microsoft.Resources/resourceGroups",
            "location": "westeurope",
            "properties": {"provisioningState": "Succeeded"},
        }
        for name in names
    ]
    return json.dumps({"value": groups}).encode()


def move(page: bytes, subscription: bytes) -> bytes:
    """Return a page with the id of another subscription, which has the same length."""
    return page.replace(_SUBSCRIPTION, subscription)


def _describe(number: int) -> dict[str, object]:
    id_ = make_subscription_id(number)
    return {
        "id": f"/subscriptions/{id_}",
        "subscriptionId": id_,
        "displayName": f"Subscription {number}",
        "state": "Enabled",
        "tenantId": _TENANT,
        "subscriptionPolicies": {"quotaId": "EnterpriseAgreement_2014-09-01"},
        "authorizationSource": "RoleBased",
        "managedByTenants": [],
    }
