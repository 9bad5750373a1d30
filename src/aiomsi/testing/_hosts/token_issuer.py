"""`TokenIssuer`: the identities of the embedded machine and their tokens, for all of its hosts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Literal

import attrs

from aiomsi.testing._state.azure_state import TENANT_ID, AzureState, Identity
from aiomsi.testing._state.tokens import ARM_AUDIENCES, IssuedToken, TokenAuthority

IdKind = Literal["client_id", "object_id", "resource_id"]

RESOURCES = (
    *ARM_AUDIENCES,
    "https://ai.azure.com",
    "https://api.loganalytics.io",
    "https://azconfig.io",
    "https://batch.core.windows.net/",
    "https://cognitiveservices.azure.com/",
    "https://containerregistry.azure.net",
    "https://cosmos.azure.com",
    "https://database.windows.net/",
    "https://dev.azuresynapse.net",
    "https://eventgrid.azure.net",
    "https://eventhubs.azure.net/",
    "https://graph.microsoft.com",
    "https://managedhsm.azure.com",
    "https://ml.azure.com",
    "https://monitor.azure.com",
    "https://ossrdbms-aad.database.windows.net",
    "https://redis.azure.com",
    "https://search.azure.com",
    "https://servicebus.azure.net/",
    "https://storage.azure.com/",
    "https://vault.azure.net",
)
"""The resources that nearly every tenant of Entra has; `EmbeddedAzure` takes further ones."""


@attrs.frozen
class NoIdentityError(Exception):
    """The machine does not have the requested identity, or several without one being named."""

    text: str


class TokenIssuer:
    """The issuer of the machine's tokens.

    Attributes:
        lifetime: seconds that a new token lives.
        repeats: whether a cached token is returned until it expires.

    """

    def __init__(
        self,
        world: AzureState,
        authority: TokenAuthority,
        wall: Callable[[], float],
        resources: Iterable[str],
    ) -> None:
        self.world = world
        self.authority = authority
        self.wall = wall
        self._resources = {_strip_slash(resource) for resource in (*RESOURCES, *resources)}
        self._cache: dict[tuple[Identity, str], IssuedToken] = {}
        self.lifetime: float = 86_400
        self.repeats = False

    def add_resource(self, resource: str) -> None:
        """Issue tokens for a resource from now on."""
        self._resources.add(_strip_slash(resource))

    def knows(self, resource: str) -> bool:
        """Return whether the tenant has the resource."""
        return _strip_slash(resource) in self._resources

    def find_identity(self, kind: IdKind | None = None, value: str = "") -> Identity:
        """Return the identity with this id.

        The default is the system-assigned identity, or else the only one.

        Raises:
            NoIdentityError: the machine has no such identity, or several and none was named.

        """
        assigned = self.world.identities
        if kind is not None:
            for identity in assigned:
                named: str = getattr(identity, kind)
                if named.lower() == value.lower():
                    return identity
            raise NoIdentityError("Identity not found")
        own = [identity for identity in assigned if identity.system_assigned] or assigned
        if len(own) > 1:
            raise NoIdentityError(
                "Multiple user assigned identities exist, please specify the clientId / resourceId "
                "of the identity in the token request"
            )
        if not own:
            raise NoIdentityError("Identity not found")
        return own[0]

    def issue(self, identity: Identity, resource: str, refused: str | None = None) -> IssuedToken:
        """Return a token of the identity for the resource.

        Args:
            identity: the identity that the token names.
            resource: the token's audience.
            refused: lower-case hexadecimal SHA-256 of a token that is not returned again.

        """
        now = int(self.wall())
        issued = self._cache.get((identity, resource)) if self.repeats else None
        if issued is not None and (issued.expires_on <= now or _hash(issued.token) == refused):
            issued = None
        if issued is None:
            issued = self.authority.issue(identity, resource, self.lifetime)
        if self.repeats:
            self._cache[identity, resource] = issued
        return issued

    def seconds_left(self, issued: IssuedToken) -> int:
        """Return the seconds until a token expires."""
        return issued.expires_on - int(self.wall())

    def forget(self) -> None:
        """Empty the cache of tokens."""
        self._cache.clear()


def describe_unknown_resource(resource: str) -> str:
    """Return Entra's text for a resource that the tenant does not have."""
    return (
        f"AADSTS500011: The resource principal named {resource} was not found in the tenant named "
        f"{TENANT_ID}. This can happen if the application has not been installed by the "
        "administrator of the tenant or consented to by any user in the tenant. You might have "
        "sent your authentication request to the wrong tenant."
    )


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _strip_slash(resource: str) -> str:
    return resource.rstrip("/").lower()
