"""The `help` of ARM's errors: a sentence or two of advice. No I/O.

Source:
https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors,
https://learn.microsoft.com/azure/role-based-access-control/troubleshooting
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aiomsi._arm.protocol.errors.codes import (
    asks_for_registration,
    is_about_version,
    is_in_progress,
    is_locked,
    is_wrong_tenant,
)
from aiomsi._arm.protocol.errors.detail import ErrorDetail
from aiomsi._arm.protocol.resource_ids import read_path
from aiomsi._arm.protocol.retry import TEMPORARY_STATUSES

# Two patterns, because one with ".*" between them would search the rest of the text at each
# "client".
_DENIED_CLIENT = re.compile(r"client '(?P<client>[^']*)'(?: with object id '(?P<object>[^']*)')?")
_DENIED_ACTION = re.compile(r"action '(?P<action>[^']*)' over scope '(?P<scope>[^']*)'")


def suggest_help(
    method: str, path: str, status: int, detail: ErrorDetail, found: Mapping[str, Any]
) -> str:
    """Return advice, with the values that were `found` in the response; empty without any."""
    if asks_for_registration(detail):
        return _suggest_registration(path, found["namespace"])
    if is_about_version(detail):
        return _suggest_version(found["supported"], found["locations"])
    if status == 401:
        return _suggest_identity(detail, found.get("tenant_id"))
    if status == 404:
        return _suggest_path(path, detail.code)
    if status == 403 and detail.code == "AuthorizationFailed":
        return _suggest_role(detail)
    if is_in_progress(status, detail) or (status == 429 and is_locked(detail)):
        return "Another operation holds the resource: repeat the call after some seconds"
    if status == 412:
        return "Read the resource again, and repeat the call with its new etag"
    if status in TEMPORARY_STATUSES and method not in ("GET", "HEAD"):
        return "The call may have been carried out: read the resource before you repeat it"
    return ""


def _suggest_registration(path: str, namespace: str | None) -> str:
    subscription = read_path(path).subscription_id or "<subscription>"
    named = f"{subscription}/providers/{namespace or '<namespace>'}"
    return (
        f"Register the subscription with POST /subscriptions/{named}/register, "
        "wait for the registration, and send the call anew"
    )


def _suggest_version(supported: tuple[str, ...], locations: tuple[str, ...]) -> str:
    if not supported:
        return "Pass an api_version that the resource type has: the provider's document lists them"
    advice = f"Use one of these api-versions: {', '.join(supported)}"
    return f"{advice}; in one of these locations: {', '.join(locations)}" if locations else advice


def _suggest_identity(detail: ErrorDetail, tenant_id: str | None) -> str:
    if is_wrong_tenant(detail):
        owner = (
            f"to the tenant {tenant_id} and not to the identity's"
            if tenant_id
            else "to another tenant than the identity"
        )
        return f"The subscription belongs {owner}: use an identity of that tenant"
    if detail.code == "InvalidAuthenticationTokenAudience":
        return (
            "Request a token for the audience 'https://management.azure.com/', "
            "or pass the ArmSession a Cloud with the right one"
        )
    return (
        "If a fresh token is rejected, too, "
        "check this machine's clock and that the session's cloud is the right one"
    )


def _suggest_path(path: str, code: str | None) -> str:
    if code == "SubscriptionNotFound":
        return (
            "Check the subscription's id, and that the identity has a role in it: "
            "without one ARM may deny that it exists"
        )
    if "/resourcegroups" in path:
        return "The path has 'resourcegroups': write 'resourceGroups', with a capital G"
    return (
        "Check the group's name and the subscription's id"
        if code == "ResourceGroupNotFound"
        else ""
    )


def _suggest_role(detail: ErrorDetail) -> str:
    message = next(detail.texts())
    client = _DENIED_CLIENT.search(message)
    denied = None if client is None else _DENIED_ACTION.search(message, client.end())
    if client is None or denied is None:
        return "Grant the identity a role under Access control (IAM)"
    identity = client["object"] or client["client"]
    role = (
        "Reader"
        if denied["action"].lower().endswith("/read")
        else "a role that allows it, such as Contributor,"
    )
    return (
        f"To allow '{denied['action']}', grant {role} to the identity with object id {identity} "
        f"on the scope '{denied['scope']}' under Access control (IAM), Add role assignment; "
        "a new assignment takes effect after some minutes"
    )
