"""Service Fabric: the token endpoint of a node, over TLS with a certificate known by thumbprint.

Source:
https://learn.microsoft.com/azure/service-fabric/how-to-managed-identity-service-fabric-app-code
"""

import hashlib
import re
from collections.abc import Mapping

import attrs

from aiomsi._errors import ConfigurationError
from aiomsi._hosts.base import HostSetting, TokenRequest
from aiomsi._hosts.endpoint_host import (
    EndpointHost,
    add_query,
    check_endpoint,
    read_header,
    refuse_id,
)
from aiomsi._tokens.state import FetchRequest
from aiomsi._util.secret import Secret, SecretBytes

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


def make(setting: HostSetting) -> "ServiceFabric":
    """Create the host from the environment of a service.

    Raises:
        ConfigurationError: an identity is named, or a variable is missing or malformed.

    """
    refuse_id(ServiceFabric.kind, setting.identity, _MANIFEST)
    return ServiceFabric(
        url=check_endpoint(
            setting.environment.get("IDENTITY_ENDPOINT") or "", "IDENTITY_ENDPOINT", https=True
        ),
        header=read_header(setting.environment, "IDENTITY_HEADER"),
        thumbprint=_read_thumbprint(setting.environment),
        identity=setting.identity,
        chosen_by=setting.chosen_by,
        surroundings=setting.surroundings,
    )


def _read_thumbprint(environment: Mapping[str, str]) -> str:
    given = environment.get("IDENTITY_SERVER_THUMBPRINT") or ""
    digits = given.replace(":", "").replace(" ", "").lower()
    if _THUMBPRINT.fullmatch(digits):
        return digits
    msg = (
        "IDENTITY_SERVER_THUMBPRINT must be the SHA-1 of a certificate, 40 hexadecimal digits, "
        f"and has {len(digits)} characters"
    )
    raise ConfigurationError(msg, help="Without it IDENTITY_HEADER might reach another server")


@attrs.frozen(eq=False, repr=False, kw_only=True)
class ServiceFabric(EndpointHost):
    """The token endpoint of a Service Fabric node, for the identity of one service.

    Attributes:
        header: the secret that the endpoint requires.
        thumbprint: the SHA-1 of the server's certificate, in lower-case hex.

    """

    kind = "Service Fabric"
    variable = "IDENTITY_ENDPOINT"
    program = "the service"

    header: Secret
    thumbprint: str

    @property
    def cache_key(self) -> tuple[object, ...]:
        """A key that is equal for two hosts that issue the same tokens."""
        return *self.throttle_key, self.thumbprint, self.identity.key

    @property
    def unreachable_help(self) -> str:
        """The remedy if no connection to the endpoint succeeds."""
        return f"{_NODE}{self.surroundings}"

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
            add_query(self.url, parameters),
            {"Secret": self.header},
            thumbprint=self.thumbprint,
        )

    def find_remedy(self, status: int, text: str) -> str:  # noqa: ARG002 (one signature)
        """Return the remedy for a refused request, or an empty string."""
        return _HEADER if status in (401, 403) else ""

    def is_absent(self, status: int, code: str | None, text: str) -> bool:
        """Return whether the cluster's manifest gives the application no identity."""
        return status == 404 or super().is_absent(status, code, text)

    def _find_help(self, status: int, code: str | None, text: str) -> str:
        if self.is_absent(status, code, text):
            return _NO_IDENTITY
        if code == "SecretHeaderNotFound":
            return _HEADER
        return super()._find_help(status, code, text)
