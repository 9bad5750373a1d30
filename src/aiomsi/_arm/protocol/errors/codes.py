"""The meaning of ARM's error codes, and the values in their texts. No I/O.

Source:
https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors,
https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/error-register-resource-provider
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from aiomsi._arm.protocol.errors.detail import ErrorDetail
from aiomsi._arm.protocol.resource_ids import read_path

_REGISTRATION = frozenset({"missingsubscriptionregistration", "missingregistrationforlocation"})
_VERSION = frozenset(
    {
        "missingapiversionparameter",
        "invalidapiversionparameter",
        "noregisteredproviderfound",
        "unsupportedapiversion",
        "invalidapiversion",
        "apiversionunspecified",
    }
)
_TENANT = "invalidauthenticationtokentenant"
_OF_WHOLE_SUBSCRIPTION = frozenset({"subscriptionnotfound", _TENANT})
_OUT_OF_REACH = _OF_WHOLE_SUBSCRIPTION | {
    "authorizationfailed",
    "disallowedoperation",
    "disallowedprovider",
    "readonlydisabledsubscription",
    "resourcenotonboarded",
    "subscriptioncostdisabled",
    "subscriptionnotregistered",
    "tenantnotonboarded",
}
_NOTHING_THERE = frozenset(
    {
        "missingsubscriptionregistration",
        "noregisteredproviderfound",
        "invalidresourcetype",
        "subscriptionhasnousages",
    }
)
_LOCKS = frozenset(
    {"retryableerror", "retryableerrorduetoanotheroperation", "referencedresourcenotprovisioned"}
)
_IN_PROGRESS = _LOCKS | {
    "attachdiskwhilebeingdetached",
    "concurrencyconflict",
    "deploymentactive",
    "pessimisticconcurrencyconflict",
    "requestconflict",
    "resourcebusy",
    "serverbusy",
    "serverisbusy",
}
_IN_PROGRESS_CODE = re.compile(
    r"(?!no).*inprogress.*"
    r"|(?:another|conflicting|concurrent).*(?:operation|update|write|modification|request).*"
)
_PERMANENT = frozenset({"resourcegroupbeingdeleted", "scopelocked", *_REGISTRATION})
_PERMANENT_CODE = re.compile(r".*(?:exists|taken|inuse|deleted).*")

_NAMESPACE = re.compile(r"[A-Za-z0-9]+(?:\.[A-Za-z0-9]+)+", re.ASCII)
_NAMED_NAMESPACE = re.compile(
    rf"\b(?:namespace|provider)s?:?\s+['\"]?({_NAMESPACE.pattern})", re.IGNORECASE
)
_VERSIONS = re.compile(
    r"\b(?:supported|valid|available)\s+(?:api[- ]?)?versions?\s+(?:are|is):?\s*'?([^'\"]*)",
    re.IGNORECASE,
)
_ONE_VERSION = re.compile(r"\b\d{4}-\d{2}-\d{2}(?:-[A-Za-z][A-Za-z0-9.]*)?(?![\w-])", re.ASCII)
_LOCATIONS = re.compile(r"\bsupported\s+locations\s+are:?\s*'([^']*)'", re.IGNORECASE)
_GUID = re.compile(r"(?<![\w-])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![\w-])", re.IGNORECASE)
_AUTHORITY = re.compile(r'\bauthorization(?:_uri)?="([^"]*)"', re.IGNORECASE)
_RIGHT_TENANT = re.compile(r"must match(.*)", re.IGNORECASE | re.DOTALL)
_LOCKED_TEXT = re.compile(r"\b(?:exclusive\s+lock|another\s+operation)\b", re.IGNORECASE)
_MAX_SEARCHED = 2_000
_IN_PROGRESS_TEXT = re.compile(
    r"\bexclusive\s+lock\b"
    r"|\banother\s+(?:\w{1,40}\s+)?(?:operation|deployment|update|request)\b"
    r"|\bconcurrent\s+(?:operation|update|modification|write|request)"
    r"|\b(?:operation|update|upgrade|deployment|provisioning|request)\b"
    r"[^.]{0,80}\b(?:in\s+progress|under\s*way)\b"
    r"|\bstate\s+is\s+not\s+terminal\b"
    r"|\bin\s+['\"]?(?:creating|updating|provisioning)['\"]?\s+(?:provisioning\s+)?state\b"
    r"|\bbusy\b"
    r"|\b(?:re)?try\b[^.]{0,60}\b(?:later|after\s+some\s*time)\b",
    re.IGNORECASE,
)
_PERMANENT_TEXT = re.compile(
    r"\balready\s+(?:exists?|in\s+use|(?:been\s+)?taken)\b"
    r"|\b(?:exists|taken)\s+already\b"
    r"|\bsoft[- ]deleted\b"
    r"|\bdeleted\s+state\b",
    re.IGNORECASE,
)


def _fold(code: str | None) -> str:
    return "".join((code or "").split()).casefold()


def asks_for_registration(detail: ErrorDetail) -> bool:
    """Return whether the subscription must be registered for a provider's namespace first."""
    return _fold(detail.code) in _REGISTRATION


def find_namespace(detail: ErrorDetail, path: str) -> str | None:
    """Return the namespace in a target, in a text, or in the call's path; None without one."""
    for one in detail.walk():
        if one.target is not None and _NAMESPACE.fullmatch(one.target):
            return one.target
    for text in detail.texts():
        if (named := _NAMED_NAMESPACE.search(text)) is not None:
            return named[1]
    namespace = read_path(path).namespace or ""
    return namespace if _NAMESPACE.fullmatch(namespace) else None


def is_about_version(detail: ErrorDetail) -> bool:
    """Return whether the call's api-version is missing, or the resource type does not have it."""
    code = _fold(detail.code)
    return code in _VERSION or (
        code == "invalidresourcetype" and bool(_find_listed_versions(detail))
    )


def find_supported_versions(detail: ErrorDetail, headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return the api-versions that the service lists in its text or else in a header."""
    return _find_listed_versions(detail) or _parse_versions(
        headers.get("api-supported-versions", "")
    )


def _find_listed_versions(detail: ErrorDetail) -> tuple[str, ...]:
    for text in detail.texts():
        if (listed := _VERSIONS.search(text)) is not None and (
            versions := _parse_versions(listed[1])
        ):
            return versions
    return ()


def _parse_versions(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_ONE_VERSION.findall(text)))


def find_supported_locations(detail: ErrorDetail) -> tuple[str, ...]:
    """Return the locations that the service lists for the resource type; empty without a list."""
    listed = _LOCATIONS.search(next(detail.texts()))
    return (
        ()
        if listed is None
        else tuple(name for part in listed[1].split(",") if (name := part.strip()))
    )


def is_wrong_tenant(detail: ErrorDetail) -> bool:
    """Return whether the token is valid, but of another tenant than the subscription."""
    return _fold(detail.code) == _TENANT


def find_tenant(detail: ErrorDetail, headers: Mapping[str, str]) -> str | None:
    """Return the tenant that a 401 requires, from its challenge or its text.

    None if the response names none, or more than one.
    """
    authority = _AUTHORITY.search(headers.get("WWW-Authenticate", ""))
    if authority is not None and (named := _GUID.search(authority[1])) is not None:
        return named[0]
    text = _RIGHT_TENANT.search(next(detail.texts()))
    tenants = {tenant.lower() for tenant in _GUID.findall(text[1])} if text is not None else set()
    return tenants.pop() if len(tenants) == 1 else None


def is_locked(detail: ErrorDetail) -> bool:
    """Return whether a 429 reports a resource that another operation holds, and no rate limit."""
    named = any(_fold(one.code) in _LOCKS for one in detail.walk())
    return named or any(_LOCKED_TEXT.search(text) for text in detail.texts())


def is_in_progress(status: int, detail: ErrorDetail, retry_after: float | None = None) -> bool:
    """Return whether the call was rejected because of another operation, and may succeed later.

    Most 409s report a permanent state, for example a name that is in use, a lock, or a vault that
    is soft-deleted. A 409 counts as temporary if its code is in `_IN_PROGRESS`, if its text names
    another operation, or if it has `retry_after`. Cosmos DB responds with 412 instead.

    Source:
    https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/error-another-operation-in-progress,
    https://learn.microsoft.com/rest/api/storagerp/srp_error_codes
    """
    parts = list(detail.walk())
    if status == 412:
        return any(_LOCKED_TEXT.search(one.message[:_MAX_SEARCHED]) for one in parts)
    if status not in (409, 423):
        return False
    codes = [_fold(one.code) for one in parts]
    if any(code in _PERMANENT or _PERMANENT_CODE.fullmatch(code) for code in codes):
        return False
    if any(code in _IN_PROGRESS or _IN_PROGRESS_CODE.fullmatch(code) for code in codes):
        return True
    texts = [one.message[:_MAX_SEARCHED] for one in parts]
    if any(_PERMANENT_TEXT.search(text) for text in texts):
        return False
    return bool(retry_after) or any(_IN_PROGRESS_TEXT.search(text) for text in texts)


def is_out_of_reach(code: str | None) -> bool:
    """Return whether the error applies to a scope, so that a fan-out may skip the rest of it.

    It does if the subscription is unknown to this identity or belongs to another tenant, if the
    identity may not send such requests in it, or if the subscription lacks the offer or feature
    that they need.
    """
    return _fold(code) in _OUT_OF_REACH


def is_of_whole_subscription(code: str | None) -> bool:
    """Return whether the error applies to every kind of request in the subscription."""
    return _fold(code) in _OF_WHOLE_SUBSCRIPTION


def is_nothing_there(code: str | None) -> bool:
    """Return whether the error means that the scope has no resources of the requested type.

    The subscription is not registered for the provider, or the provider does not have the type.
    """
    return _fold(code) in _NOTHING_THERE
