"""Service Fabric: the token endpoint of a node, over TLS with a certificate known by thumbprint.

Source:
https://learn.microsoft.com/azure/service-fabric/how-to-managed-identity-service-fabric-app-code
"""

import hashlib
import re
from collections.abc import Mapping

import attrs

from aiomsi._errors import ConfigurationError
from aiomsi._hosts.answer import read_answer
from aiomsi._hosts.base import TokenError, TokenHttpResponse, TokenRequest, read_object
from aiomsi._hosts.endpoint import add_query, check_endpoint
from aiomsi._hosts.identity import Identity
from aiomsi._tokens.host_limits import RequestLimits
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import TokenResponse
from aiomsi._util.secret import Secret, SecretBytes, read_secret

KIND = "Service Fabric"

_API_VERSION = "2019-07-01-preview"
_CAPABILITY = "cp1"
"""The capability to handle claims challenges, as Entra names it."""
_THUMBPRINT = re.compile("[0-9a-f]{40}")

_MANIFEST = (
    "The application manifest assigns a service its identity: leave client_id, object_id and "
    "resource_id out"
)
_NO_IDENTITY = (
    "Assign the identity to the application, and bind it to this service in the application "
    "manifest (IdentityBindingPolicy)"
)
_HEADER = "The platform sets IDENTITY_HEADER for each service: pass it to this process unchanged"
_NODE = (
    "The token endpoint of Service Fabric exists only on a node of a cluster: check "
    "IDENTITY_ENDPOINT, and the Managed Identity Token Service of the cluster"
)


def make(
    environment: Mapping[str, str],
    identity: Identity,
    *,
    chosen_by: str,
    surroundings: str,
    platform: str,  # noqa: ARG001 (one signature)
) -> "ServiceFabric":
    """Create the host from the environment of a service.

    Raises:
        ConfigurationError: an identity is named, or a variable is missing or malformed.

    """
    if identity.kind is not None:
        msg = f"{KIND} can't be asked for an identity by {identity.kind}"
        raise ConfigurationError(msg, help=_MANIFEST)
    endpoint, given, thumbprint = (
        environment.get(name) or ""
        for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "IDENTITY_SERVER_THUMBPRINT")
    )
    check_endpoint(endpoint, "IDENTITY_ENDPOINT", https=True)
    header = read_secret(Secret(given))
    if not isinstance(header, Secret):
        msg = f"IDENTITY_HEADER {header}"
        raise ConfigurationError(msg, help=_HEADER)
    digits = thumbprint.replace(":", "").replace(" ", "").lower()
    if not _THUMBPRINT.fullmatch(digits):
        msg = (
            "IDENTITY_SERVER_THUMBPRINT must be the SHA-1 of a certificate, 40 hexadecimal digits, "
            f"and has {len(digits)} characters"
        )
        raise ConfigurationError(msg, help="Without it the server can't be trusted with the secret")
    return ServiceFabric(
        endpoint, header, digits, identity, chosen_by=chosen_by, surroundings=surroundings
    )


@attrs.frozen(eq=False, repr=False)
class ServiceFabric:
    """The token endpoint of a Service Fabric node, with requests for the service's identity.

    Attributes:
        endpoint: the URL of the token endpoint.
        header: the secret of IDENTITY_HEADER.
        thumbprint: the SHA-1 of the server's certificate, in lower-case hex.
        identity: the system-assigned identity, because no other can be named.
        chosen_by: the variable or argument that selected this host.
        surroundings: sentences about the environment that may explain a failure.

    """

    endpoint: str
    header: Secret
    thumbprint: str
    identity: Identity
    chosen_by: str = attrs.field(kw_only=True)
    surroundings: str = attrs.field(default="", kw_only=True)

    kind = KIND
    limits: RequestLimits | None = None

    @property
    def unreachable_help(self) -> str:
        """The remedy if no connection to the endpoint succeeds."""
        return f"{_NODE}{self.surroundings}"

    @property
    def throttle_key(self) -> tuple[str, str]:
        """A key that is equal for all hosts with the same rate limits, whatever their identity."""
        return self.kind, self.endpoint.lower()

    @property
    def cache_key(self) -> tuple[object, ...]:
        """A key that is equal for two hosts that issue the same tokens."""
        return *self.throttle_key, self.thumbprint, self.identity.key

    def build_request(
        self,
        resource: str,
        fetch_request: FetchRequest,
        content: SecretBytes | None = None,  # noqa: ARG002 (one signature)
    ) -> TokenRequest:
        """Return the request; after a claims challenge it names the rejected token by its hash.

        The endpoint caches tokens itself. The hash makes it replace that token.
        """
        parameters = {"api-version": _API_VERSION, "resource": resource}
        if fetch_request.claims is not None:
            parameters["xms_cc"] = _CAPABILITY
            if fetch_request.rejected is not None:
                parameters["token_sha256_to_refresh"] = hashlib.sha256(
                    fetch_request.rejected.encode()
                ).hexdigest()
        return TokenRequest(
            "GET",
            add_query(self.endpoint, parameters),
            {"Secret": self.header},
            thumbprint=self.thumbprint,
        )

    def parse(self, response: TokenHttpResponse) -> TokenResponse | TokenError:
        """Return the token or the error of a response."""
        return read_answer(read_object(response.body), response, _find_help)

    def make_impostor_error(self, other: str) -> TokenError:
        """Return the error for a response of another server, which `other` describes."""
        return TokenError(
            f"a server other than Service Fabric's token endpoint responded: {other}",
            help=f"{_NODE}{self.surroundings}",
        )


def _find_help(status: int, code: str | None, text: str) -> str:  # noqa: ARG001 (one signature)
    if status == 404 or code == "ManagedIdentityNotFound":
        return _NO_IDENTITY
    return _HEADER if code == "SecretHeaderNotFound" or status in (401, 403) else ""
