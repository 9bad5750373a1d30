"""`TokenIdentity`, the identity that a token was issued to, by the token's claims. No I/O."""

import binascii
import json
from collections.abc import Mapping
from typing import Any

import attrs


@attrs.frozen
class TokenIdentity:
    """The identity that a token was issued to, as far as it is known.

    The token's claims are not verified.

    Attributes:
        client_id: the application's id, also called app id.
        object_id: the id of the service principal, also called principal id.
        tenant_id: the tenant.
        resource_id: the Azure resource that has the identity: a user-assigned identity itself, or
            the VM of a system-assigned one.

    """

    client_id: str | None = None
    object_id: str | None = None
    tenant_id: str | None = None
    resource_id: str | None = None

    @property
    def is_system_assigned(self) -> bool | None:
        """Whether this is a system-assigned identity; None if that is not known."""
        if self.resource_id is None:
            return None
        return "/microsoft.managedidentity/userassignedidentities/" not in self.resource_id.lower()

    def __str__(self) -> str:
        if self.client_id is not None:
            return f"client_id={self.client_id}"
        return "unknown" if self.object_id is None else f"object_id={self.object_id}"


def read_identity(token: str, client_id: str | None = None) -> TokenIdentity:
    """Return the identity of a token by its claims and by the client id that its endpoint named.

    The claims are not verified.

    Source: https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
    """
    claims = read_claims(token)

    def claim(*names: str) -> str | None:
        return next(
            (value for name in names if isinstance(value := claims.get(name), str) and value), None
        )

    return TokenIdentity(
        client_id or claim("appid", "azp"), claim("oid"), claim("tid"), claim("xms_mirid")
    )


def read_claims(token: str) -> Mapping[str, Any]:
    """Read the claims of a JWT without checking its signature; empty if the token is no JWT."""
    parts = token.split(".")
    if len(parts) not in (3, 5):
        return {}
    payload = parts[1].replace("-", "+").replace("_", "/")
    try:
        claims = json.loads(binascii.a2b_base64(payload + "=" * (-len(payload) % 4)))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}
