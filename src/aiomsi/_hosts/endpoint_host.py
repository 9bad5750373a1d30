"""The parts that hosts other than IMDS have in common: variables, requests, and responses.

Hosts differ in their requests, in the ids that they accept, and in the remedies of their errors.
`EndpointHost` has the rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote, urlencode, urlsplit

import attrs

from aiomsi._clouds import is_host, mask_url
from aiomsi._errors import ConfigurationError
from aiomsi._hosts.base import (
    FileRequest,
    TokenError,
    TokenHttpResponse,
    TokenRequest,
    find_resource_remedy,
    is_absent,
    read_error,
    read_object,
    read_request_id,
    read_token_response,
)
from aiomsi._hosts.identity import RequestedIdentity
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import TokenResponse
from aiomsi._util.foreign import strip_secrets
from aiomsi._util.secret import Secret, SecretBytes, read_secret

if TYPE_CHECKING:
    from aiomsi._tokens.host_limits import RequestLimits

_IN_URL = frozenset(map(chr, range(0x21, 0x7F))) - frozenset('#\\"<>')
_MAX_LOCATION = 160
_NO_ENDPOINT = frozenset({404, 405, 410})


@attrs.frozen(eq=False, repr=False, kw_only=True)
class EndpointHost(ABC):
    """A host whose token endpoint is at a URL that an environment variable names.

    Attributes:
        url: the URL of the endpoint, as the variable has it.
        identity: the identity whose tokens are requested.
        chosen_by: the variables or the argument that chose this host.
        surroundings: sentences about the environment that may explain a failure.
        variable: the name of the variable with the URL.
        program: the program that gets a new environment when it is restarted.

    """

    kind: ClassVar[str]
    variable: ClassVar[str]
    program: ClassVar[str]
    limits: ClassVar[RequestLimits | None] = None

    url: str
    identity: RequestedIdentity
    chosen_by: str
    surroundings: str = ""

    @property
    def endpoint(self) -> str:
        """The URL of the token endpoint, without its query."""
        return mask_url(self.url)

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
        return (
            f"{self.variable} may be left over from another environment, or this process may run "
            f"outside of it: correct or unset it, or restart {self.program}{self.surroundings}"
        )

    @abstractmethod
    def build_request(
        self, resource: str, fetch_request: FetchRequest, content: SecretBytes | None = None
    ) -> TokenRequest | FileRequest | TokenError:
        """Return the request for a token of that resource."""

    @abstractmethod
    def find_remedy(self, status: int, text: str) -> str:
        """Return the remedy for a refusal whose cause is not known yet, or an empty string."""

    def is_absent(self, status: int, code: str | None, text: str) -> bool:  # noqa: ARG002 (one signature)
        """Return whether a refusal says that the host has no such identity."""
        return is_absent(code, text)

    def check_token(self, token: TokenResponse | TokenError) -> TokenResponse | TokenError:
        """Return the result, or an error if the token belongs to another identity."""
        return token

    def parse(self, response: TokenHttpResponse) -> TokenResponse | TokenError | FileRequest:
        """Return the token or the error of a response: 429 and 5xx are temporary."""
        status, document = response.status, read_object(response.body)
        if status == 200:
            return self.check_token(read_token_response(document, response))
        if 300 <= status < 400:
            target = strip_secrets(response.headers.get("Location", "").partition("?")[0])
            where = f" to {target[:_MAX_LOCATION]}" if target else ""
            return TokenError(
                f"the endpoint redirects{where}, which a token endpoint never does",
                help=self._find_help(status, None, ""),
            )
        code, text = read_error(document, response.body)
        # App Service repeats the status in the body.
        code = None if code == str(status) else code
        transient, request_id = status == 429 or status >= 500, read_request_id(document)
        if transient:
            return TokenError(text, code, transient=True, request_id=request_id)
        advice, absent = self._find_help(status, code, text), self.is_absent(status, code, text)
        return TokenError(text, code, help=advice, request_id=request_id, no_identity=absent)

    def _find_help(self, status: int, code: str | None, text: str) -> str:
        if status < 400 or status in _NO_ENDPOINT:
            return f"{self.variable} names no token endpoint: correct it, or restart {self.program}"
        return find_resource_remedy(code, text) or self.find_remedy(status, text)

    def make_impostor_error(self, other: str) -> TokenError:
        """Return the error for a response of another server, which `other` describes."""
        return TokenError(
            f"a server other than the token endpoint of {self.kind} responded: {other}",
            help=self.unreachable_help,
        )


def check_endpoint(url: str, variable: str, *, https: bool = False) -> str:
    """Return the URL of a token endpoint.

    Args:
        url: the value of the variable.
        variable: its name.
        https: whether plain http is refused.

    Raises:
        ConfigurationError: the URL is malformed, or its scheme is not allowed.

    """
    try:
        parts = urlsplit(url)
        well_formed = is_host(parts.hostname or "") and parts.port != 0 and parts.username is None
    except ValueError:
        well_formed = False
    schemes = ("https",) if https else ("http", "https")
    if (
        not well_formed
        or not _IN_URL.issuperset(url)
        or not url.lower().startswith(tuple(f"{scheme}://" for scheme in schemes))
    ):
        form = " or ".join(f"'{scheme}://host[:port]/path'" for scheme in schemes)
        found = repr(mask_url(url)) if url else "not set"
        msg = f"{variable} must look like {form} and is {found}"
        raise ConfigurationError(msg, help=f"Correct {variable}, or unset it" if url else "")
    return url


def add_query(url: str, parameters: Mapping[str, str]) -> str:
    """Return the URL with further query parameters, percent-encoded."""
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters.items())
    return f"{url}{'&' if '?' in url else '?'}{query}"


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


def refuse_id(
    kind: str, identity: RequestedIdentity, remedy: str, *, accepted: Iterable[str] = ()
) -> None:
    """Raise an error if the identity is named by an id that the kind of host does not accept.

    Raises:
        ConfigurationError: the identity is named by another id than the accepted ones.

    """
    if identity.kind is not None and identity.kind not in accepted:
        msg = f"{kind} can't be asked for an identity by its {identity.kind}"
        raise ConfigurationError(msg, help=remedy)


def make_form_request(
    url: str, fields: Mapping[str, str], headers: Mapping[str, str]
) -> TokenRequest:
    """Return a POST request with a form as its body."""
    body = SecretBytes(urlencode(fields).encode())
    typed = {**headers, "Content-Type": "application/x-www-form-urlencoded"}
    return TokenRequest("POST", url, typed, body)
