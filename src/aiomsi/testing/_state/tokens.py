"""Access tokens as Entra issues them: signed JWTs, really signed and really checked.

Source: https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
"""

from __future__ import annotations

import functools
import threading
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import attrs

from aiomsi.testing._state.world import TENANT_ID, Identity

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from jwt.types import Options

ARM_AUDIENCES = (
    "https://management.core.windows.net/",
    "https://management.core.windows.net",
    "https://management.azure.com/",
    "https://management.azure.com",
)
ISSUED_BEFORE = 300
"""Entra dates a managed identity's token back by so many seconds, against clocks that are behind."""
REMEMBERED = 50_000
_SIGNATURE_ONLY: Options = {
    "require": ["aud", "exp", "nbf", "appid", "oid"],
    "verify_aud": False,
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_sub": False,
    "verify_jti": False,
}
"""Times are checked by the embedded Azure's clock."""


class MissingExtraError(ImportError):
    """A package of the extra `aiomsi[testing]` is needed and isn't installed."""

    def __init__(self, package: str) -> None:
        super().__init__(f"The embedded Azure needs {package}: pip install 'aiomsi[testing]'")


# Raised before users have imported it, so its tracebacks need the public module from the start.
MissingExtraError.__module__ = "aiomsi.testing"


@functools.cache
def signing_key(_owner: str) -> RSAPrivateKey:
    """Return an owner's key, made once per process; that takes some 100 ms.

    Raises:
        MissingExtraError: pyjwt or its cryptography isn't installed.

    """
    try:
        import jwt  # noqa: F401  # both are needed, and the error should come at the start
        from cryptography.hazmat.primitives.asymmetric import rsa
    except ImportError as error:
        raise MissingExtraError("pyjwt[crypto]") from error
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@attrs.frozen
class IssuedToken:
    """A token and its times, in seconds since the epoch."""

    token: str = attrs.field(repr=False)
    not_before: int
    expires_on: int


@attrs.frozen
class Caller:
    """Whom a valid token names, and in which tenant."""

    client_id: str
    object_id: str
    tenant_id: str = TENANT_ID


@attrs.frozen
class RejectedTokenError(Exception):
    """ARM's reason not to take a token; `description` and `claims`, which a new token must have, go into the challenge."""

    code: str
    message: str
    description: str
    claims: str | None = None


def _invalid() -> RejectedTokenError:
    text = "The access token is invalid."
    return RejectedTokenError("InvalidAuthenticationToken", text, text)


class TokenAuthority:
    """Issues tokens and checks them; safe to use from any thread."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._key = signing_key("azure")
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
        """Issue a token that ends in `lifetime` seconds, which may be negative."""
        import jwt

        now = int(self._wall())
        token_id = str(uuid.uuid4())
        payload = {
            "aud": audience,
            "iss": f"https://sts.windows.net/{tenant_id}/",
            "iat": now - ISSUED_BEFORE,
            "nbf": now - ISSUED_BEFORE,
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
        key = signing_key("somebody else") if foreign else self._key
        token = jwt.encode(payload, key, "RS256", {"kid": "embedded"})
        with self._lock:
            self._issued.add(token_id)
        return IssuedToken(token, now - ISSUED_BEFORE, now + int(lifetime))

    def revoke_all(self) -> None:
        """Make every token issued so far worthless."""
        with self._lock:
            self._revoked |= self._issued
            self._issued.clear()

    def challenge_all(self, claims: str) -> None:
        """Let every token issued so far be answered with a claims challenge."""
        with self._lock:
            self._challenged.update(dict.fromkeys(self._issued, claims))

    def check(self, authorization: str | None) -> Caller:
        """Check an `Authorization` header as ARM does.

        Raises:
            RejectedTokenError: with ARM's code and text.

        """
        claims = self._verified(_bearer_token(authorization))
        now = self._wall()
        if claims["exp"] <= now:
            times = (
                f"'{_us_time(claims['exp'])}' is earlier than current UTC time '{_us_time(now)}'"
            )
            message = f"The access token expiry UTC time {times}."
            raise RejectedTokenError(
                "ExpiredAuthenticationToken", message, "The access token has expired."
            )
        if claims["nbf"] > now + ISSUED_BEFORE or claims.get("jti") in self._revoked:
            raise _invalid()
        if claims["aud"] not in ARM_AUDIENCES:
            allowed = ",".join(f"'{audience}'" for audience in ARM_AUDIENCES)
            message = (
                f"The access token has been obtained for wrong audience or resource '{claims['aud']}'. "
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

    def _verified(self, token: str) -> Mapping[str, Any]:
        import jwt

        claims = self._checked.get(token)
        if claims is not None:
            return claims
        try:
            claims = jwt.decode(token, self._public, ["RS256"], options=_SIGNATURE_ONLY)
        except jwt.InvalidTokenError:
            raise _invalid() from None
        if len(self._checked) >= REMEMBERED:
            self._checked.clear()
        self._checked[token] = claims
        return claims


def _bearer_token(authorization: str | None) -> str:
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


def _us_time(epoch: float) -> str:
    moment = datetime.fromtimestamp(int(epoch), UTC)
    half = "AM" if moment.hour < 12 else "PM"
    time = f"{(moment.hour % 12) or 12}:{moment.minute:02}:{moment.second:02} {half}"
    return f"{moment.month}/{moment.day}/{moment.year} {time}"
