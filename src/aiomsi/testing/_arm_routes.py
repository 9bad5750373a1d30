"""ARM's routes: one pure function from a call to its answer for each kind of URL.

Source: https://learn.microsoft.com/rest/api/resources
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar
from urllib.parse import quote, urlencode

import attrs

from aiomsi.testing._answers import Answer, Asked, json_answer
from aiomsi.testing._arm_errors import error_answer
from aiomsi.testing._state import TENANT_ID, ResourceGroup, World
from aiomsi.testing._tokens import ARM_AUDIENCES, Caller

_Item = TypeVar("_Item")
_FIRST_VERSION_WITH_TYPE = "2018-02-01"


@attrs.frozen
class ArmCall:
    """A request that has passed ARM's checks.

    Attributes:
        asked: the request itself.
        names: what the route's pattern found in the path.
        version: the api-version.
        caller: whom the token names.
        world: what there is.
        page_size: items on a page of a list.

    """

    asked: Asked
    names: Mapping[str, str]
    version: str
    caller: Caller
    world: World
    page_size: int


def _ignoring_case(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


@attrs.frozen
class Route:
    """A kind of URL.

    Attributes:
        pattern: of the decoded path. A group `subscription` must exist; a group `scope` is what the role is needed at.
        methods: those that are served.
        handler: makes the answer.
        action: what the role must allow.
        own_type: whether the api-version must be one of ARM's own; a resource provider has others.
        needs_token: whether the caller must be known.
        filters: whether a role somewhere inside the scope is enough, and the handler leaves out the rest.

    """

    pattern: re.Pattern[str] = attrs.field(converter=_ignoring_case)
    methods: tuple[str, ...]
    handler: Callable[[ArmCall], Answer]
    action: str = ""
    own_type: bool = True
    needs_token: bool = True
    filters: bool = False


def _subscriptions(call: ArmCall) -> Answer:
    """List the subscriptions in which the caller has any role."""
    who, world = call.caller.object_id, call.world
    visible = [
        _subscription_json(subscription_id, name)
        for subscription_id, name in world.subscriptions()
        if world.may_read(who, f"/subscriptions/{subscription_id}")
        or world.may_read_below(who, f"/subscriptions/{subscription_id}")
    ]
    return _page(call, visible, count={"type": "Total", "value": len(visible)})


def _subscription(call: ArmCall) -> Answer:
    return json_answer(200, _subscription_json(*call.world.subscription(call.names["subscription"])))


def _groups(call: ArmCall) -> Answer:
    """List the resource groups that the caller may read."""
    given = call.names["subscription"]
    subscription_id, _ = call.world.subscription(given)
    who, scope = call.caller.object_id, call.names["scope"]
    everything = call.world.may_read(who, scope)
    readable = [
        group
        for group in call.world.groups(given)
        if everything or call.world.may_read(who, f"{scope}/resourceGroups/{group.name}")
    ]
    return _page(call, readable, lambda group: _group_json(subscription_id, group, call.version))


def _group(call: ArmCall) -> Answer:
    given = call.names["subscription"]
    subscription_id, _ = call.world.subscription(given)
    group = call.world.group(given, call.names["group"])
    if group is None:
        return _no_group(call)
    if call.asked.method == "HEAD":
        return Answer(204)
    return json_answer(200, _group_json(subscription_id, group, call.version))


def _resource(call: ArmCall) -> Answer:
    """No resources are kept yet."""
    if call.world.group(call.names["subscription"], call.names["group"]) is None:
        return _no_group(call)
    text = (
        f"The Resource '{call.names['resource']}' under resource group '{call.names['group']}' was not found. "
        "For more details please go to https://aka.ms/ARMResourceNotFoundFix"
    )
    return error_answer(404, "ResourceNotFound", text)


def _provider(call: ArmCall) -> Answer:
    """No resource providers are registered yet."""
    text = f"The resource namespace '{call.names['namespace']}' is invalid."
    return error_answer(404, "InvalidResourceNamespace", text)


def _endpoints(call: ArmCall) -> Answer:
    """Describe the cloud, to anyone."""
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


def _subscription_json(subscription_id: str, name: str) -> dict[str, object]:
    return {
        "id": f"/subscriptions/{subscription_id}",
        "authorizationSource": "RoleBased",
        "managedByTenants": [],
        "subscriptionId": subscription_id,
        "tenantId": TENANT_ID,
        "displayName": name,
        "state": "Enabled",
        "subscriptionPolicies": {
            "locationPlacementId": "Public_2014-09-01",
            "quotaId": "PayAsYouGo_2014-09-01",
            "spendingLimit": "Off",
        },
    }


def _group_json(subscription_id: str, group: ResourceGroup, version: str) -> dict[str, object]:
    made: dict[str, object] = {
        "id": f"/subscriptions/{subscription_id}/resourceGroups/{group.name}",
        "name": group.name,
    }
    if version >= _FIRST_VERSION_WITH_TYPE:
        made["type"] = "Microsoft.Resources/resourceGroups"
    made["location"] = group.location
    if group.tags:
        made["tags"] = dict(group.tags)
    made["properties"] = {"provisioningState": "Succeeded"}
    return made


def _no_group(call: ArmCall) -> Answer:
    return error_answer(404, "ResourceGroupNotFound", f"Resource group '{call.names['group']}' could not be found.")


def _page(
    call: ArmCall,
    items: Sequence[_Item],
    as_json: Callable[[_Item], object] = lambda item: item,
    **extra: object,
) -> Answer:
    """Make a page of a list: from `$skiptoken` on, `$top` items at most, and a link to the next page."""
    start, top = 0, call.page_size
    wanted, token = call.asked.parameter("$top"), call.asked.parameter("$skiptoken")
    if wanted is not None:
        if not wanted.isascii() or not wanted.isdecimal() or not int(wanted):
            text = f"The value '{wanted}' of the query parameter '$top' is invalid."
            return error_answer(400, "InvalidTopQueryParameter", text)
        top = min(top, int(wanted))
    if token is not None:
        try:
            start = int(base64.urlsafe_b64decode(token))
        except (binascii.Error, ValueError):
            return error_answer(400, "InvalidSkipToken", "The provided skip token is invalid.")
    page: dict[str, object] = {"value": [as_json(item) for item in items[start : start + top]]}
    if start + top < len(items):
        kept = [(name, value) for name, value in call.asked.query if name.lower() != "$skiptoken"]
        next_token = base64.urlsafe_b64encode(str(start + top).encode()).decode()
        query = urlencode([*kept, ("$skiptoken", next_token)])
        page["nextLink"] = f"{call.asked.base_url}{quote(call.asked.path)}?{query}"
    return json_answer(200, page | extra)


_READ = ("GET",)
_SUBSCRIPTION = r"/subscriptions/(?P<subscription>[^/]+)"
_GROUP = rf"{_SUBSCRIPTION}/resourcegroups/(?P<group>[^/]+)"
_ROLE = "Microsoft.Resources/subscriptions"

ROUTES = (
    Route("/metadata/endpoints", _READ, _endpoints, own_type=False, needs_token=False),
    Route("/subscriptions", _READ, _subscriptions),
    Route(f"(?P<scope>{_SUBSCRIPTION})", _READ, _subscription, f"{_ROLE}/read", filters=True),
    Route(f"(?P<scope>{_SUBSCRIPTION})/resourcegroups", _READ, _groups, f"{_ROLE}/resourcegroups/read", filters=True),
    Route(f"(?P<scope>{_GROUP})", ("GET", "HEAD"), _group, f"{_ROLE}/resourcegroups/read", filters=True),
    Route(f"(?P<scope>{_GROUP}/providers/(?P<resource>[^/]+/.+))", ("GET", "HEAD"), _resource, own_type=False),
    Route(f"(?P<scope>{_SUBSCRIPTION})/providers/(?P<namespace>[^/]+)(/.*)?", ("GET", "HEAD"), _provider, own_type=False),
)
