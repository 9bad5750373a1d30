"""`EndpointHost`, the base of the hosts whose token endpoint is named by an environment variable.

App Service, Azure Machine Learning, Cloud Shell and others differ in their requests, in the ids
that they accept, and in the remedies of their errors. A 408, 429 or 5xx of any of them may pass.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote, urlencode, urlsplit

import attrs

from aiomsi._clouds import masked_url
from aiomsi._errors import ConfigurationError
from aiomsi._hosts.base import (
    FileRequest,
    TokenError,
    TokenHttpResponse,
    TokenRequest,
    read_error,
    read_object,
    read_request_id,
    read_token_response,
)
from aiomsi._hosts.identity import Identity
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import TokenResponse
from aiomsi._util.foreign import without_secrets
from aiomsi._util.secret import Secret, SecretBytes, read_secret

if TYPE_CHECKING:
    from aiomsi._tokens.host_limits import RequestLimits

_IN_URL = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:/?[]@!$&'()*+,;=%"
)
_PASSING = frozenset({408, 429})
_MOST_LOCATION = 160
_LEFT_OVER = (
    "The variables may be left over from another host, or this process may run outside of {0}: "
    "correct or unset them, or restart {0}"
)


@attrs.frozen(eq=False, repr=False, kw_only=True)
class EndpointHost(ABC):
    """A host whose token endpoint is at a URL that an environment variable names.

    Attributes:
        url: the URL of the endpoint, as the variable has it.
        identity: the identity whose tokens are requested.
        chosen_by: the variables or the argument that chose this host.
        surroundings: sentences about the environment that may explain a failure.

    """

    kind: ClassVar[str]
    limits: ClassVar[RequestLimits | None] = None

    url: str
    identity: Identity
    chosen_by: str
    surroundings: str = ""

    @property
    def endpoint(self) -> str:
        """The URL of the token endpoint, without its query."""
        return masked_url(self.url)

    @property
    def throttle_key(self) -> tuple[str, str]:
        """A key that is equal for all hosts with the same rate limits, whatever their identity."""
        return self.kind, self.url

    @property
    def cache_key(self) -> tuple[object, ...]:
        """A key that is equal for two hosts that issue the same tokens."""
        return *self.throttle_key, self.identity.key

    @property
    def unreachable_help(self) -> str:
        """The remedy if no connection to the endpoint succeeds."""
        return f"{_LEFT_OVER.format(self.kind)}{self.surroundings}"

    @abstractmethod
    def build_request(
        self, resource: str, fetch_request: FetchRequest, content: SecretBytes | None = None
    ) -> TokenRequest | FileRequest | TokenError:
        """Return the request for a token of that resource."""

    @abstractmethod
    def find_remedy(self, status: int, code: str | None, text: str) -> str:
        """Return the remedy for a refused request, or an empty string."""

    def check_token(self, token: TokenResponse | TokenError) -> TokenResponse | TokenError:
        """Return the result, or an error if the token belongs to another identity."""
        return token

    def parse(self, response: TokenHttpResponse) -> TokenResponse | TokenError | FileRequest:
        """Return the token or the error of a response: 408, 429 and 5xx are temporary."""
        document = read_object(response.body)
        if response.status == 200:
            return self.check_token(read_token_response(document, response))
        if 300 <= response.status < 400:
            target = without_secrets(response.headers.get("Location", "").partition("?")[0])
            return self.make_impostor_error(f"it redirects to {target[:_MOST_LOCATION]!r}")
        code, text = read_error(document, response.body)
        # App Service repeats the status in the body.
        code = None if code == str(response.status) else code
        passing = response.status in _PASSING or response.status >= 500
        remedy = "" if passing else self.find_remedy(response.status, code, text)
        return TokenError(text, code, passing, remedy, read_request_id(document))

    def make_impostor_error(self, other: str) -> TokenError:
        """Return the error for a response of another server, which `other` describes."""
        return TokenError(
            f"a server other than the token endpoint of {self.kind} responded: {other}",
            help=self.unreachable_help,
        )


def read_url(environment: Mapping[str, str], variable: str, *, https: bool = False) -> str:
    """Return the URL in a variable.

    Raises:
        ConfigurationError: the variable is not set, or its value is no URL with a host, or has a
            user, a fragment, or plain http although the host requires https.

    """
    url = environment.get(variable, "")
    schemes = ("https",) if https else ("http", "https")
    try:
        parts = urlsplit(url)
        is_valid = (
            parts.scheme in schemes
            and bool(parts.hostname)
            and parts.username is None
            and parts.port != 0
            and _IN_URL.issuperset(url)
        )
    except ValueError:
        is_valid = False
    if is_valid:
        return url
    what = f"is {masked_url(url)!r}" if url else "is not set"
    form = " or ".join(f"'{scheme}://host/path'" for scheme in schemes)
    msg = f"{variable} must be a URL such as {form}, and {what}"
    raise ConfigurationError(msg)


def read_header(environment: Mapping[str, str], variable: str) -> Secret:
    """Return the secret in a variable, which a header of each request contains.

    Raises:
        ConfigurationError: the variable is not set, or no header accepts its value.

    """
    value = read_secret(environment.get(variable, ""))
    if isinstance(value, Secret):
        return value
    msg = f"{variable} {value if environment.get(variable) else 'is not set'}"
    raise ConfigurationError(msg)


def refuse_id(identity: Identity, message: str, *, accepted: Iterable[str] = ()) -> None:
    """Raise an error with that message if the identity is named by an id that is not accepted.

    Raises:
        ConfigurationError: the host can't select an identity by that kind of id.

    """
    if identity.kind is None or identity.kind in accepted:
        return
    others = " or ".join(f"{kind}=" for kind in accepted)
    help_text = f"Name it by {others}" if others else "Leave it out"
    raise ConfigurationError(message.format(identity.kind), help=help_text)


def add_query(url: str, fields: Mapping[str, str]) -> str:
    """Return the URL with further query parameters, each percent-encoded."""
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in fields.items())
    return f"{url}{'&' if '?' in url else '?'}{query}"


def make_form_request(
    url: str, fields: Mapping[str, str], headers: Mapping[str, str]
) -> TokenRequest:
    """Return a POST request with a form as its body."""
    body = SecretBytes(urlencode(fields).encode())
    typed = {**headers, "Content-Type": "application/x-www-form-urlencoded"}
    return TokenRequest("POST", url, typed, body)
