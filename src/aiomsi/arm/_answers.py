"""ARM's answers as values: what they say, which error they are, and what to do about it. No I/O.

Source: https://learn.microsoft.com/azure/azure-resource-manager/management/common-deployment-errors,
https://github.com/Azure/azure-resource-manager-rpc/blob/master/v1.0/common-api-details.md
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import attrs
from multidict import CIMultiDict

from aiomsi import _errors
from aiomsi._json import loads
from aiomsi.hosts._protocol import retry_after as read_retry_after

_MOST_TEXT = 500


@attrs.frozen(eq=False)
class ArmResponse:
    """A whole answer.

    Attributes:
        method, url: the request; the URL as it was sent.
        status: the HTTP status.
        headers: a mapping that ignores case.
        body: the bytes, unpacked if they came compressed.

    """

    method: str
    url: str = attrs.field(repr=False)
    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)

    def json(self) -> Any:
        """Decode the body, whatever its Content-Type says; None for an empty one.

        Raises:
            ServiceError: the body is not JSON.

        """
        if not self.body:
            return None
        try:
            return loads(self.body)
        except (ValueError, RecursionError) as error:
            msg = f"{self.method} {self.path} answered {self.status} with a body that is not JSON"
            raise _errors.ServiceError(
                msg,
                help="Use request() to get it as bytes",
                status=self.status,
                code=None,
                message=_plain(self.body),
                response=self.portable(),
            ) from error

    @property
    def path(self) -> str:
        """The URL's path, without the query: ARM signs some, and those are not for logs."""
        return "/" + self.url.partition("?")[0].partition("://")[2].partition("/")[2]

    @property
    def request_id(self) -> str | None:
        """``x-ms-request-id``: what Microsoft's support asks for first."""
        return self.headers.get("x-ms-request-id")

    @property
    def correlation_id(self) -> str | None:
        """``x-ms-correlation-request-id``: the same for calls that belong together."""
        return self.headers.get("x-ms-correlation-request-id")

    @property
    def client_request_id(self) -> str | None:
        """``x-ms-client-request-id``, where the service was asked to echo it."""
        return self.headers.get("x-ms-client-request-id")

    def portable(self) -> ArmResponse:
        """Give the same answer with headers that can be pickled."""
        return attrs.evolve(self, headers=CIMultiDict(self.headers))


@attrs.frozen
class Refusal:
    """A 401 that speaks against the token itself; `claims` is what a challenge asks for, as JSON text."""

    claims: str | None = None


_REJECTING = frozenset({"ExpiredAuthenticationToken", "InvalidAuthenticationToken"})
_NOT_REJECTING = frozenset({"AuthenticationFailed", "InvalidAuthenticationTokenTenant", "InvalidAuthenticationTokenAudience"})
_CLAIMS = re.compile(r'claims="([^"]+)"', re.IGNORECASE)
_CHALLENGE_ERROR = re.compile(r'\berror="([^"]+)"', re.IGNORECASE)


def refusal_of(response: ArmResponse) -> Refusal | None:
    """Tell whether a 401 means that the token is invalid, expired or lacks claims; None: another token would not help.

    A token of the wrong tenant or audience is a good one in the wrong place, and a missing header is no fault of the token.
    """
    challenge = response.headers.get("WWW-Authenticate", "")
    if (claims := _CLAIMS.search(challenge)) is not None and (decoded := _decoded_claims(claims[1])) is not None:
        return Refusal(decoded)
    code, _ = read_error(response.body)
    if code in _REJECTING:
        return Refusal()
    said = _CHALLENGE_ERROR.search(challenge)
    invalid = said is not None and said[1].lower() == "invalid_token"
    return Refusal() if invalid and code not in _NOT_REJECTING else None


def _decoded_claims(text: str) -> str | None:
    """Decode base64url, with or without its padding, or percent-encoded JSON; None if it is neither."""
    if "%7b" in text.lower():
        return unquote(text)
    try:
        return base64.urlsafe_b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4)).decode() or None
    except ValueError:
        return None


def read_error(body: bytes) -> tuple[str | None, str]:
    """Find code and message in an error's body, of whatever shape; never fails, and the message is never empty.

    ARM's own shape is ``{"error": {"code", "message"}}``, but providers answer with anything from capital letters to HTML.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None, _plain(body)
    for _ in range(3):
        inner = _any(document, "error", "ErrorResponse", "odata.error")
        if not isinstance(inner, dict):
            break
        document = inner
    if not isinstance(document, dict):
        return None, (document if isinstance(document, str) and document.strip() else _plain(body))
    code, message = (
        _any(document, "code", "ErrorCode", "error"),
        _any(document, "message", "title", "error_description"),
    )
    if isinstance(message, dict):
        message = _any(message, "value")
    text = message.strip() if isinstance(message, str) else ""
    known = str(code) if isinstance(code, str | int) and code != "" else None
    return known, text or (f"the service gave the code {known} and no text" if known else _plain(body))


def _any(document: object, *names: str) -> Any:
    """Give the first of these members that is there and not null, whatever its case."""
    if not isinstance(document, dict):
        return None
    folded = {name.lower(): value for name, value in document.items() if value is not None}
    return next((folded[name.lower()] for name in names if name.lower() in folded), None)


_TAGS = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^>]*>", re.IGNORECASE | re.DOTALL)


def _plain(body: bytes) -> str:
    text = " ".join(_TAGS.sub(" ", body[:20_000].decode("utf-8", "replace")).split())
    return text[:_MOST_TEXT] or "the answer has no text"


_BY_STATUS: dict[int, type[_errors.ArmError]] = {
    401: _errors.AuthenticationError,
    403: _errors.AuthorizationError,
    404: _errors.NotFoundError,
    409: _errors.ConflictError,
    412: _errors.PreconditionFailedError,
    429: _errors.ThrottledError,
}


def error_of(response: ArmResponse, *, wall: float, attempts: int = 1, elapsed: float = 0.0) -> _errors.ArmError:
    """Make the exception that an error answer is; `wall` is now, for a `Retry-After` that is a date."""
    code, message = read_error(response.body)
    if response.status < 400:
        target = response.headers.get("Location", "nowhere").partition("?")[0]
        message = f"a redirect to {target}, which is not followed because the token belongs to this host alone"
    error = _BY_STATUS.get(response.status, _errors.ServiceError if response.status >= 500 else _errors.ArmError)
    named = f"{response.status} {code}" if code else str(response.status)
    ids = f" (request id {response.request_id})" if response.request_id else ""
    return error(
        f"{response.method} {response.path} answered {named}: {message.rstrip('.')}{ids}",
        help=_help(response, code, message),
        status=response.status,
        code=code,
        message=message,
        response=response.portable(),
        attempts=attempts,
        elapsed=elapsed,
        retry_after=read_retry_after(response.headers, wall),
    )


_DENIED = re.compile(
    r"client '(?P<client>[^']*)'(?: with object id '(?P<object>[^']*)')?.*?"
    r"action '(?P<action>[^']*)' over scope '(?P<scope>[^']*)'",
    re.DOTALL,
)


def _help(response: ArmResponse, code: str | None, message: str) -> str:
    match response.status, code:
        case 401, "InvalidAuthenticationTokenAudience":
            return "Ask for the audience 'https://management.azure.com/', or pass the ArmSession a Cloud with the right one"
        case 401, "InvalidAuthenticationTokenTenant":
            return "The subscription belongs to another tenant than the identity: use an identity of that tenant"
        case 401, _:
            return "If this goes on with a fresh token, check this machine's clock and that the session's cloud is the right one"
        case 403, "AuthorizationFailed":
            return _grant_help(message)
        case 404, "SubscriptionNotFound":
            return "Check the subscription's id, and that the identity has a role in it: without one ARM may deny that it exists"
        case 404, _ if "/resourcegroups" in response.path:
            return "The path says 'resourcegroups': write 'resourceGroups', with a capital G"
        case 404, "ResourceGroupNotFound":
            return "Check the group's name and the subscription's id"
    return ""


def _grant_help(message: str) -> str:
    denied = _DENIED.search(message)
    if denied is None:
        return "Grant the identity a role under Access control (IAM)"
    who = denied["object"] or denied["client"]
    role = "Reader" if denied["action"].lower().endswith("/read") else "a role that allows it, such as Contributor,"
    return (
        f"To allow '{denied['action']}', grant {role} to the identity with object id {who} on the scope '{denied['scope']}' "
        "under Access control (IAM), Add role assignment; a new assignment takes some minutes to be seen"
    )
