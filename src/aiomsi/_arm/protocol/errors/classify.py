"""The exception for an error response, and whether a 401 rejects the token. No I/O.

Source:
https://learn.microsoft.com/azure/azure-resource-manager/management/common-deployment-errors,
https://github.com/Azure/azure-resource-manager-rpc/blob/master/v1.0/common-api-details.md
"""

from __future__ import annotations

import base64
import re
from typing import Any
from urllib.parse import unquote

import attrs

from aiomsi import _errors
from aiomsi._arm.protocol.errors.codes import (
    asks_for_registration,
    find_namespace,
    find_supported_locations,
    find_supported_versions,
    find_tenant,
    is_about_version,
    is_wrong_tenant,
)
from aiomsi._arm.protocol.errors.detail import ErrorDetail, read_detail
from aiomsi._arm.protocol.errors.hints import suggest_help
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._arm.protocol.throttling import read_wait

_MAX_SUMMARY = 2_000


@attrs.frozen
class TokenRefusal:
    """A 401 that rejects the token itself.

    Attributes:
        claims: the claims that the challenge requires, as JSON text; None without a claims
            challenge.

    """

    claims: str | None = None


_REJECTING = frozenset(
    {
        "ExpiredAuthenticationToken",
        "InvalidAuthenticationToken",
        "AuthenticationTokenExpired",
        "TokenExpired",
    }
)
_NOT_REJECTING = frozenset(
    {
        "AuthenticationFailed",
        "InvalidAuthenticationTokenTenant",
        "InvalidAuthenticationTokenAudience",
    }
)
_CLAIMS = re.compile(r'claims="([^"]+)"', re.IGNORECASE)
_CHALLENGE_ERROR = re.compile(r'\berror="([^"]+)"', re.IGNORECASE)


def find_refusal(response: ArmResponse, *, of_arm: bool = True) -> TokenRefusal | None:
    """Return the refusal if a 401 means that the token is invalid, expired or lacks claims.

    None if another token of this identity would be refused too: the token is valid for another
    tenant or audience, or the request had no token.

    Args:
        response: a 401.
        of_arm: whether ARM sent it. Other services respond to an expired token with a 401 that may
            name no error, so that such a 401 is a refusal if it is not ARM's.

    """
    # A response may have one header for each scheme.
    challenge = ", ".join(
        value for name, value in response.headers.items() if name.lower() == "www-authenticate"
    )
    if (claims := _CLAIMS.search(challenge)) is not None and (
        decoded := _decode_claims(claims[1])
    ) is not None:
        return TokenRefusal(decoded)
    code = read_detail(response.body, response.headers.get("Content-Type")).code
    if code in _REJECTING:
        return TokenRefusal()
    error = _CHALLENGE_ERROR.search(challenge)
    invalid = not of_arm if error is None else error[1].lower() == "invalid_token"
    return TokenRefusal() if invalid and code not in _NOT_REJECTING else None


def _decode_claims(text: str) -> str | None:
    """Decode base64url, with or without padding, or percent-encoded JSON; None for other texts."""
    if "%7b" in text.lower():
        return unquote(text)
    try:
        return (
            base64.urlsafe_b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4)).decode()
            or None
        )
    except ValueError:
        return None


_BY_STATUS: dict[int, type[_errors.ArmError]] = {
    401: _errors.AuthenticationError,
    403: _errors.AuthorizationError,
    404: _errors.NotFoundError,
    409: _errors.ConflictError,
    412: _errors.PreconditionFailedError,
    429: _errors.ThrottledError,
}


def make_error(
    response: ArmResponse,
    *,
    wall: float,
    client_request_id: str | None = None,
    attempts: int = 1,
    elapsed: float = 0.0,
) -> _errors.ArmError:
    """Return the exception for an error response.

    `wall` is the current time, because a service may name the instant until which to wait.
    """
    detail = read_detail(response.body, response.headers.get("Content-Type"))
    if response.status < 400:
        target = response.headers.get("Location", "nowhere").partition("?")[0]
        detail = ErrorDetail(
            None,
            f"a redirect to {target}, which is not followed because the token belongs to this host "
            "alone",
        )
    error_class, arguments = _choose_class(response, detail)
    named = f"{response.status} {detail.code}" if detail.code else str(response.status)
    ids = f" (request id {response.request_id})" if response.request_id else ""
    text = _shorten(detail.message).rstrip(".")
    return error_class(
        f"{response.method} {response.path} returned {named}: {text}{ids}",
        help=suggest_help(response.method, response.path, response.status, detail, arguments),
        status=response.status,
        response=response.portable(),
        client_request_id=client_request_id,
        attempts=attempts,
        elapsed=elapsed,
        retry_after=read_wait(response.status, response.headers, detail, wall),
        **detail.arguments(),
        **arguments,
    )


def _choose_class(
    response: ArmResponse, detail: ErrorDetail
) -> tuple[type[_errors.ArmError], dict[str, Any]]:
    """Return the exception's class, and the arguments that only this class has."""
    if asks_for_registration(detail):
        return _errors.RegistrationRequiredError, {
            "namespace": find_namespace(detail, response.path)
        }
    if is_about_version(detail):
        supported = find_supported_versions(detail, response.headers)
        return _errors.ApiVersionError, {
            "supported": supported,
            "locations": find_supported_locations(detail),
        }
    if response.status == 401 and is_wrong_tenant(detail):
        return _errors.WrongTenantError, {"tenant_id": find_tenant(detail, response.headers)}
    return _BY_STATUS.get(
        response.status, _errors.ServiceError if response.status >= 500 else _errors.ArmError
    ), {}


def _shorten(text: str) -> str:
    # A lone surrogate can't be printed.
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _MAX_SUMMARY else f"{text[:_MAX_SUMMARY]}…"
