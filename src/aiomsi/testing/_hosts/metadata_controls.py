"""`EmbeddedImds`: the controls of the embedded IMDS, and of the machine's identities and tokens."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from aiomsi.testing._hosts.token_issuer import TokenIssuer
from aiomsi.testing._server.endpoint import Endpoint
from aiomsi.testing._server.http_service import ServiceContext
from aiomsi.testing._server.servers import Servers
from aiomsi.testing._state.azure_state import (
    DEFAULT_SUBSCRIPTION_ID,
    SYSTEM_ASSIGNED,
    TENANT_ID,
    Identity,
)

_ARM = "https://management.azure.com/"


class EmbeddedImds(Endpoint):
    """The embedded IMDS: `EmbeddedAzure.imds`."""

    def __init__(
        self,
        context: ServiceContext,
        servers: Servers,
        tokens: TokenIssuer,
    ) -> None:
        super().__init__("imds", context, servers)
        self._tokens = tokens

    @property
    def identities(self) -> tuple[Identity, ...]:
        """The identities assigned to the VM; at the start the system-assigned identity only."""
        return self._tokens.world.identities

    def assign_identity(
        self,
        *,
        client_id: str | None = None,
        object_id: str | None = None,
        resource_id: str | None = None,
        system_assigned: bool = False,
    ) -> Identity:
        """Assign an identity to the VM, by default a user-assigned one; generate ids left out.

        The identity has no role until `grant` gives it one.

        Raises:
            ValueError: `system_assigned`, and the VM already has a system-assigned identity.

        """
        name = f"identity-{uuid.uuid4().hex[:8]}"
        generated_id = (
            f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}/resourceGroups/DevTest"
            f"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}"
        )
        identity = Identity(
            client_id=client_id or str(uuid.uuid4()),
            object_id=object_id or str(uuid.uuid4()),
            resource_id=resource_id
            or (SYSTEM_ASSIGNED.resource_id if system_assigned else generated_id),
            system_assigned=system_assigned,
        )
        self._tokens.world.assign(identity)
        return identity

    def remove_identity(self, identity: Identity) -> None:
        """Remove an identity from the VM; its tokens stay valid until they expire.

        Raises:
            ValueError: the identity isn't assigned to the VM.

        """
        self._tokens.world.remove(identity)

    def set_token_lifetime(self, seconds: float) -> None:
        """Set the lifetime of the tokens that IMDS issues from now on.

        Raises:
            ValueError: `seconds` is less than one; `issue_token` issues tokens that have expired.

        """
        if seconds < 1:
            msg = f"The lifetime of a token must be at least 1 s and is {seconds!r}"
            raise ValueError(msg)
        self._tokens.lifetime = seconds

    def repeat_tokens(self, repeat: bool = True) -> None:  # reads as intended
        """Set whether IMDS returns a cached token until it expires, or a new token each time.

        The real IMDS caches. Every call of this method empties the cache; `revoke_tokens` does not
        change it.

        Source:
        https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
        ("Token caching").
        """
        self._tokens.repeats = repeat
        self._tokens.forget()

    def issue_token(
        self,
        audience: str = _ARM,
        *,
        expires_in: float | None = None,
        identity: Identity = SYSTEM_ASSIGNED,
        foreign_key: bool = False,
        tenant_id: str = TENANT_ID,
        claims: Mapping[str, object] | None = None,
    ) -> str:
        """Issue a token without a request to IMDS, and without counting it.

        Args:
            audience: the `aud` claim.
            expires_in: seconds until the token expires, by default as for IMDS's tokens; negative
                for a token that has expired.
            identity: the identity that the token names.
            foreign_key: whether the token is signed with a key that is not this Azure's.
            tenant_id: the tenant of the token; ARM accepts it for that tenant's subscriptions only.
            claims: other claims, which may replace the usual ones.

        """
        lifetime = self._tokens.lifetime if expires_in is None else expires_in
        more = dict(claims or {})
        return self._tokens.authority.issue(
            identity, audience, lifetime, foreign=foreign_key, tenant_id=tenant_id, **more
        ).token

    def revoke_tokens(self) -> None:
        """Revoke all tokens issued so far; ARM responds 401 InvalidAuthenticationToken to them."""
        self._tokens.authority.revoke_all()
