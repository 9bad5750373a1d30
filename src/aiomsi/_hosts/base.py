"""The protocol of token endpoints: requests and responses as values, and response parsing."""

import json
import re
from collections.abc import Mapping
from typing import Any, Protocol

from aiomsi._hosts.identity import RequestedIdentity
from aiomsi._hosts.token_times import parse_date, parse_http_date, parse_number
from aiomsi._tokens.host_limits import RequestLimits
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import BEARER, Now, TokenResponse
from aiomsi._util.foreign import strip_secrets
from aiomsi._util.secret import Secret, SecretBytes, read_secret

_MOST_TEXT = 300
_ABSENT = re.compile(r"\bidentity not found|\bno (?:[\w ]+ )?identity found", re.IGNORECASE)
"""The error texts for an identity that is not assigned: of IMDS and Arc, and of App Service."""
_MAX_QUOTED = 60
_DOUBTFUL_LIFE = 600.0
"""If less life is left by this machine's clock, the `Date` of the response is compared."""
_SKEW = 1.0
"""An HTTP date has a resolution of one second."""
_LONGEST_LIFE = 172_800.0
"""Managed identities' tokens live up to 24 hours; a `Date` that implies more than 48 is wrong."""

_RESOURCE = (
    "Check the audience: for ARM it is 'https://management.azure.com/', with its trailing slash"
)


class FileRequest:
    """A file that must be read before the host can build its request.

    Attributes:
        path: the path of the file.
        directory: the directory that must contain the file, once both are resolved; None if the
            file may lie anywhere.
        suffix: the required end of the file's name, or an empty string.
        most_bytes: the largest size that is read.
        purpose: the content of the file, for errors: "the key of the Azure Arc agent".
        help: the remedy if this process may not read the file, or an empty string.

    """

    # Each import creates this class, so it is plain.
    __slots__ = ("directory", "help", "most_bytes", "path", "purpose", "suffix")

    def __init__(
        self,
        path: str,
        directory: str | None,
        suffix: str,
        most_bytes: int,
        purpose: str,
        help: str = "",  # noqa: A002 (as in TokenError)
    ) -> None:
        self.path, self.directory, self.suffix = path, directory, suffix
        self.most_bytes, self.purpose, self.help = most_bytes, purpose, help


class TokenRequest:
    """A request for a token, ready to be sent.

    Attributes:
        method: the HTTP method.
        url: the URL, percent-encoded.
        headers: the headers of the request; a secret one is a `Secret`.
        body: the form of a POST, encoded, or None.
        thumbprint: the SHA-1 of the certificate that the server must have before the request is
            sent, in hexadecimal digits; None if the system's trusted certificates decide.

    """

    # Each import creates this class, so it is plain.
    __slots__ = ("body", "headers", "method", "thumbprint", "url")

    def __init__(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: SecretBytes | None = None,
        thumbprint: str | None = None,
    ) -> None:
        self.method, self.url, self.headers = method, url, headers
        self.body, self.thumbprint = body, thumbprint


class TokenHttpResponse:
    """A token endpoint's response.

    Attributes:
        status: the HTTP status.
        headers: the headers, in a mapping without case.
        body: the whole body, decompressed.
        received: the time at which the body was complete.
        took: seconds from the sending of the request to that time.

    """

    # Each import creates this class, so it is plain.
    __slots__ = ("body", "headers", "received", "status", "took")

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str],
        body: SecretBytes,
        received: Now,
        took: float,
    ) -> None:
        self.status, self.headers, self.body = status, headers, body
        self.received, self.took = received, took


class TokenError:
    """The error of a response without a usable token.

    Attributes:
        message: the error text of the body, or the defect of the body.
        code: the body's error code, or None.
        transient: whether a repeated request may succeed.
        help: the remedy, or an empty string.
        request_id: the endpoint's id of the request, if the body has one.
        no_identity: whether the host has no such identity, or is not on Azure.

    """

    # Each import creates this class, so it is plain.
    __slots__ = ("code", "help", "message", "no_identity", "request_id", "transient")

    def __init__(
        self,
        message: str,
        code: str | None = None,
        transient: bool = False,
        help: str = "",  # noqa: A002 (the attribute's name is the field's term)
        request_id: str | None = None,
        *,
        no_identity: bool = False,
    ) -> None:
        self.message, self.code, self.transient, self.help = message, code, transient, help
        self.request_id, self.no_identity = request_id, no_identity


class HostSetting:
    """The arguments of the function `make` of each host's module.

    Attributes:
        environment: such as `os.environ`.
        identity: the identity whose tokens are requested.
        chosen_by: the variables, the file or the argument that chose the host.
        surroundings: sentences about the environment that may explain a failure.
        platform: such as `sys.platform`.

    """

    # Each import creates this class, so it is plain.
    __slots__ = ("chosen_by", "environment", "identity", "platform", "surroundings")

    def __init__(
        self,
        environment: Mapping[str, str],
        identity: RequestedIdentity,
        *,
        chosen_by: str,
        surroundings: str,
        platform: str,
    ) -> None:
        self.environment, self.identity, self.platform = environment, identity, platform
        self.chosen_by, self.surroundings = chosen_by, surroundings


class Host(Protocol):
    """A kind of token endpoint, with the format of its requests and responses; does no I/O."""

    @property
    def kind(self) -> str:
        """The name of the host in messages."""

    @property
    def chosen_by(self) -> str:
        """The variables, the file or the argument that chose this host."""

    @property
    def endpoint(self) -> str:
        """The URL of the token endpoint, without secrets."""

    @property
    def throttle_key(self) -> tuple[str, str]:
        """A key that is equal for all hosts with the same rate limits, whatever their identity."""

    @property
    def limits(self) -> RequestLimits | None:
        """The limits for the requests of all slots of this process; None without a limit."""

    @property
    def cache_key(self) -> tuple[object, ...]:
        """A key that is equal for two hosts that issue the same tokens."""

    @property
    def unreachable_help(self) -> str:
        """The remedy if no connection to the endpoint succeeds."""

    def build_request(
        self, resource: str, fetch_request: FetchRequest, content: SecretBytes | None = None
    ) -> TokenRequest | FileRequest | TokenError:
        """Return the request for a token of that resource.

        A `FileRequest` asks the caller to read that file and to call again with its `content`.
        """

    def parse(self, response: TokenHttpResponse) -> TokenResponse | TokenError | FileRequest:
        """Return the token of a response, or its error.

        A `FileRequest` asks the caller to read that file, to call `build_request` with its content,
        and to send that request once.
        """

    def make_impostor_error(self, other: str) -> TokenError:
        """Return the error for a response of another server, which `other` describes."""


def describe_choice(kind: str, chosen_by: str) -> str:
    """Return a sentence with the host, the reason of its choice, and the way to another one."""
    return f"{kind} was chosen: {chosen_by} (host= chooses another)"


def read_object(body: bytes) -> dict[str, Any] | None:
    """Return a JSON object, its token wrapped in a `Secret`; None if the body is not one."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        # The decoder's exception holds the whole document, so it must not become a context.
        return None
    if not isinstance(document, dict):
        return None
    token = document.get("access_token")
    if isinstance(token, str):
        document["access_token"] = Secret(token)
    return document


def parse_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the delay of a `Retry-After` header in seconds, from a number or an HTTP date.

    A date counts from the `Date` of the response, or without one from `now`, because this machine's
    clock may differ from the host's.
    """
    value = headers.get("Retry-After")
    number = parse_number(value)
    if number is None and (moment := parse_http_date(value)) is not None:
        sent = parse_http_date(headers.get("Date"))
        number = moment - (now if sent is None else sent)
    return None if number is None else max(0.0, number)


def read_token_response(
    document: Mapping[str, Any] | None, response: TokenHttpResponse
) -> TokenResponse | TokenError:
    """Return the token in the body of a 200, given as a JSON object.

    The life left at receipt is the smaller of `expires_in`, counted from sending, and `expires_on`.
    If `expires_on` leaves at most `_DOUBTFUL_LIFE`, this machine's clock may be ahead, so the
    `Date` of the response is used instead.
    """
    if document is None:
        return TokenError("the response is not a JSON object", transient=True)
    given = document.get("access_token")
    if not isinstance(given, Secret) or not given:
        return TokenError("the response has no access_token", transient=True)
    secret = read_secret(given)
    if not isinstance(secret, Secret):
        return TokenError(f"the access_token in the response {secret}")
    token_type = document.get("token_type") or BEARER
    if not isinstance(token_type, str) or token_type.lower() != BEARER.lower():
        return TokenError(f"the token is of the type {_quote(token_type)}, not {BEARER}")
    expiry = _read_expiry(document, response)
    if isinstance(expiry, TokenError):
        return expiry
    life, expires_on = expiry
    client_id, refresh_in = document.get("client_id"), document.get("refresh_in")
    return TokenResponse(
        secret,
        life=life,
        expires_on=None if expires_on is None else int(expires_on),
        refresh_in=None if refresh_in is None else parse_number(refresh_in),
        # The text of a value of another type equals no requested id.
        client_id=str(client_id)[:_MAX_QUOTED] if client_id else None,
    )


def _read_expiry(
    document: Mapping[str, Any], response: TokenHttpResponse
) -> tuple[float, float | None] | TokenError:
    """Return the life left in seconds, and `expires_on` if this machine's clock agrees with it."""
    given = {name: document.get(name) for name in ("expires_in", "expires_on")}
    expires_in, expires_on = parse_number(given["expires_in"]), parse_number(given["expires_on"])
    if expires_on is None and isinstance(given["expires_on"], str):
        expires_on = parse_date(given["expires_on"])
    if expires_in is None and expires_on is None:
        unread = [
            f"{name} {_quote(value)}" for name, value in given.items() if value not in (None, "")
        ]
        if unread:
            return TokenError(
                f"the response's {' and '.join(unread)} can't be read as a time in seconds "
                "or a date with a zone"
            )
        return TokenError("the response has neither expires_in nor expires_on", transient=True)
    lives = []
    if expires_in is not None:
        lives.append(expires_in - response.took)
    if expires_on is not None:
        life = expires_on - response.received.wall
        date = parse_http_date(response.headers.get("Date")) if life <= _DOUBTFUL_LIFE else None
        if date is not None and life + _SKEW < expires_on - date <= _LONGEST_LIFE:
            life, expires_on = expires_on - date, None
        lives.append(life)
    return min(lives), expires_on


def _quote(value: object) -> str:
    """Return a non-secret field of a response, quoted and shortened."""
    text = strip_secrets(
        str(value) if isinstance(value, int | float | str) else type(value).__name__
    )
    return repr(text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}…")


def compare_client_id(
    result: TokenResponse | TokenError, wanted: str, remedy: str
) -> TokenResponse | TokenError:
    """Return the result, or an error if the endpoint names another client id for its token."""
    if isinstance(result, TokenError) or result.client_id is None:
        return result
    if result.client_id.lower() == wanted.lower():
        return result
    echoed = strip_secrets(result.client_id)[:_MAX_QUOTED]
    return TokenError(f"the token is for client_id {echoed}, not for {wanted}", help=remedy)


def find_resource_remedy(code: str | None, text: str) -> str:
    """Return the remedy if the error says that Entra does not know the resource, else ""."""
    if code == "invalid_resource" or "AADSTS500011" in text or "AADSTS50001" in text:
        return _RESOURCE
    return ""


def is_absent(code: str | None, text: str) -> bool:
    """Return whether a refusal says that the host has no such identity."""
    return code == "ManagedIdentityNotFound" or _ABSENT.search(text) is not None


def read_request_id(document: Mapping[str, Any] | None) -> str | None:
    """Return the id of the request in an error's body, in the shapes that `read_error` knows."""
    if document is None:
        return None
    inner = document.get("error")
    document = inner if isinstance(inner, dict) else document
    found = document.get("correlationId") or document.get("CorrelationId")
    return strip_secrets(found)[:_MAX_QUOTED] if isinstance(found, str) else None


def read_request_id_header(headers: Mapping[str, str]) -> str | None:
    """Return the id of the request in the headers of a response, None without one."""
    found = headers.get("x-ms-request-id")
    return None if found is None else strip_secrets(found)[:_MAX_QUOTED]


def read_error(document: Mapping[str, Any] | None, body: bytes) -> tuple[str | None, str]:
    """Return code and text of an error's body, in any of the shapes that token endpoints use."""
    if document is None and b"access_token" in body:
        return None, "the response is broken JSON with a token in it, and is not shown"
    if document is None:
        text = strip_secrets(body[: 4 * _MOST_TEXT].decode("utf-8", "replace"))
        return None, text[:_MOST_TEXT] or "the response has no body"
    inner = document.get("error")
    if isinstance(inner, dict):
        document, inner = inner, None
    code = inner or document.get("code") or document.get("ErrorCode") or document.get("statusCode")
    names = ("error_description", "message", "Message", "ExceptionMessage")
    found = next((value for name in names if (value := document.get(name))), None)
    text = strip_secrets(str(found)) if found else "the response has no error text"
    return (None if code is None else strip_secrets(str(code))), text
