"""Access tokens like those of Entra: JWTs, with a signature that is created and verified.

Source: https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
"""

from __future__ import annotations

import functools
import threading
import uuid
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import attrs

from aiomsi.testing._state.azure_state import TENANT_ID, Identity

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from jwt.types import Options

ARM_AUDIENCES = (
    "https://management.core.windows.net/",
    "https://management.core.windows.net",
    "https://management.azure.com/",
    "https://management.azure.com",
)
ASSERTION_AUDIENCE = "api://AzureADTokenExchange"
KEY_ID = "embedded"
NOT_BEFORE_OFFSET = 300
"""Seconds by which Entra antedates the token of a managed identity, because clocks may be slow."""
MAX_VERIFIED = 50_000
"""Most verified tokens in the cache."""
_SIGNATURE_ONLY: Options = {
    "require": ["aud", "exp", "nbf", "appid", "oid"],
    "verify_aud": False,
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_sub": False,
    "verify_jti": False,
}
"""`TokenAuthority.check` compares the times, because they follow the embedded Azure's clock."""


class MissingExtraError(ImportError):
    """A required package of the extra `aiomsi[testing]` is not installed."""

    def __init__(self, package: str) -> None:
        super().__init__(f"The embedded Azure needs {package}: pip install 'aiomsi[testing]'")


# Raised before users have imported it, so its tracebacks need the public module from the start.
MissingExtraError.__module__ = "aiomsi.testing"


@functools.cache
def get_signing_key(_owner: str) -> RSAPrivateKey:
    """Return an owner's key. It is created once per process, which takes about 100 ms.

    Raises:
        MissingExtraError: pyjwt or cryptography is not installed.

    """
    try:
        import jwt  # noqa: F401  # both are needed; fail before the server starts
        from cryptography.hazmat.primitives.asymmetric import rsa
    except ImportError as error:
        raise MissingExtraError("pyjwt[crypto]") from error
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@attrs.frozen
class IssuedToken:
    """A new token, and its times in seconds since the epoch."""

    token: str = attrs.field(repr=False)
    not_before: int
    expires_on: int


@attrs.frozen
class Caller:
    """The principal and the tenant of a valid token."""

    client_id: str
    object_id: str
    tenant_id: str = TENANT_ID


@attrs.frozen
class RejectedTokenError(Exception):
    """A token that ARM rejects.

    Attributes:
        code: ARM's error code.
        message: ARM's error message.
        description: ``error_description`` of the challenge.
        claims: claims that a new token must have, for the challenge; None for no such claims.

    """

    code: str
    message: str
    description: str
    claims: str | None = None


def _make_invalid() -> RejectedTokenError:
    text = "The access token is invalid."
    return RejectedTokenError("InvalidAuthenticationToken", text, text)


@attrs.frozen
class BadAssertionError(Exception):
    """A federated token that Entra refuses."""

    text: str


class TokenAuthority:
    """The issuer of tokens, which also validates them; thread-safe."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._key = get_signing_key("azure")
        self._public = self._key.public_key()
        self._lock = threading.Lock()
        self._issued: set[str] = set()
        self._revoked: set[str] = set()
        self._challenged: dict[str, str] = {}
        self._checked: dict[str, Mapping[str, Any]] = {}

    def issue(
        self,
        identity: Identity,
        audience: str,
        lifetime: float,
        *,
        foreign: bool = False,
        tenant_id: str = TENANT_ID,
        **claims: object,
    ) -> IssuedToken:
        """Return a new token that expires after `lifetime` seconds, which may be negative.

        A `foreign` token is signed with another key, so that ARM rejects it.
        """
        import jwt

        now = int(self._wall())
        token_id = str(uuid.uuid4())
        payload = {
            "aud": audience,
            "iss": f"https://sts.windows.net/{tenant_id}/",
            "iat": now - NOT_BEFORE_OFFSET,
            "nbf": now - NOT_BEFORE_OFFSET,
            "exp": now + int(lifetime),
            "appid": identity.client_id,
            "appidacr": "2",
            "idp": f"https://sts.windows.net/{tenant_id}/",
            "idtyp": "app",
            "jti": token_id,
            "oid": identity.object_id,
            "sub": identity.object_id,
            "tid": tenant_id,
            "ver": "1.0",
            "xms_mirid": identity.resource_id,
        } | claims
        key = get_signing_key("other") if foreign else self._key
        token = jwt.encode(payload, key, "RS256", {"kid": KEY_ID})
        with self._lock:
            self._issued.add(token_id)
        return IssuedToken(token, now - NOT_BEFORE_OFFSET, now + int(lifetime))

    def issue_assertion(self, lifetime: float) -> str:
        """Return a federated token of a workload, as Kubernetes issues them."""
        import jwt

        now = int(self._wall())
        payload = {
            "aud": [ASSERTION_AUDIENCE],
            "iss": "https://oidc.embedded.example/",
            "iat": now,
            "nbf": now,
            "exp": now + int(lifetime),
            "jti": str(uuid.uuid4()),
            "sub": "system:serviceaccount:default:workload",
        }
        return jwt.encode(payload, self._key, "RS256", {"kid": KEY_ID})

    def check_assertion(self, assertion: str) -> None:
        """Validate a federated token.

        Raises:
            BadAssertionError: it is not valid.

        """
        import jwt

        try:
            claims = jwt.decode(
                assertion, self._public, ["RS256"], options={**_SIGNATURE_ONLY, "require": ["exp"]}
            )
        except jwt.InvalidTokenError:
            text = "AADSTS700027: The client assertion's signature or format is not valid."
            raise BadAssertionError(text) from None
        if claims.get("aud") != [ASSERTION_AUDIENCE]:
            text = "AADSTS700212: No federated identity record matches the assertion's audience."
            raise BadAssertionError(text)
        if claims["exp"] <= self._wall():
            text = "AADSTS700024: The client assertion is not within its valid time range."
            raise BadAssertionError(text)

    def public_jwk(self) -> dict[str, Any]:
        """Return the public key of all tokens, as Entra's list of keys has it."""
        import jwt

        key = jwt.algorithms.RSAAlgorithm.to_jwk(self._public, as_dict=True)
        return {**key, "kid": KEY_ID, "use": "sig"}

    def revoke_all(self) -> None:
        """Revoke every token issued so far."""
        with self._lock:
            self._revoked |= self._issued
            self._issued.clear()

    def challenge_all(self, claims: str) -> None:
        """Reject every token issued so far with a claims challenge."""
        with self._lock:
            self._challenged.update(dict.fromkeys(self._issued, claims))

    def check(self, authorization: str | None, own_urls: Collection[str] = ()) -> Caller:
        """Validate an `Authorization` header, and return its caller.

        Args:
            authorization: the header's value; None without the header.
            own_urls: further audiences: the service's addresses, without a slash at the end.

        Raises:
            RejectedTokenError: the header or its token is missing or not valid.

        """
        claims = self._verify(_parse_bearer(authorization))
        now = self._wall()
        if claims["exp"] <= now:
            expiry, current = _format_us_time(claims["exp"]), _format_us_time(now)
            message = (
                f"The access token expiry UTC time '{expiry}' is earlier than current UTC time "
                f"'{current}'."
            )
            raise RejectedTokenError(
                "ExpiredAuthenticationToken", message, "The access token has expired."
            )
        if claims["nbf"] > now + NOT_BEFORE_OFFSET or claims.get("jti") in self._revoked:
            raise _make_invalid()
        if claims["aud"] not in ARM_AUDIENCES and claims["aud"].rstrip("/") not in own_urls:
            allowed = ",".join(f"'{audience}'" for audience in ARM_AUDIENCES)
            message = (
                "The access token has been obtained for wrong audience or resource "
                f"'{claims['aud']}'. "
                f"It should exactly match with one of the allowed audiences {allowed}."
            )
            raise RejectedTokenError(
                "InvalidAuthenticationTokenAudience",
                message,
                "The access token has been obtained from wrong audience.",
            )
        if (wanted := self._challenged.get(claims.get("jti", ""))) is not None:
            text = "The access token has been revoked; a new one is needed."
            raise RejectedTokenError("InvalidAuthenticationToken", text, text, wanted)
        return Caller(claims["appid"], claims["oid"], claims.get("tid", TENANT_ID))

    def _verify(self, token: str) -> Mapping[str, Any]:
        import jwt

        claims = self._checked.get(token)
        if claims is not None:
            return claims
        try:
            claims = jwt.decode(token, self._public, ["RS256"], options=_SIGNATURE_ONLY)
        except jwt.InvalidTokenError:
            raise _make_invalid() from None
        if len(self._checked) >= MAX_VERIFIED:
            self._checked.clear()
        self._checked[token] = claims
        return claims


def _parse_bearer(authorization: str | None) -> str:
    if not authorization:
        raise RejectedTokenError(
            "AuthenticationFailed",
            "Authentication failed. The 'Authorization' header is missing.",
            "The authentication failed because of missing 'Authorization' header.",
        )
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise RejectedTokenError(
            "AuthenticationFailedInvalidHeader",
            "Authentication failed. The 'Authorization' header is provided in an invalid format.",
            "The authentication scheme is not supported.",
        )
    return token.strip()


def _format_us_time(epoch: float) -> str:
    moment = datetime.fromtimestamp(int(epoch), UTC)
    half = "AM" if moment.hour < 12 else "PM"
    time = f"{(moment.hour % 12) or 12}:{moment.minute:02}:{moment.second:02} {half}"
    return f"{moment.month}/{moment.day}/{moment.year} {time}"
