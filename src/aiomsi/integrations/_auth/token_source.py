"""`TokenSource`: the tokens of one scope for the pinned hosts, and other ones after a 401.

The tokens come from the credential alone, whose requests use a separate HTTP session. So a
client's middleware can't call itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from aiomsi._arm.protocol.errors.classify import TokenRefusal, find_refusal
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._clouds import parse_resource
from aiomsi._credentials.shared import SharedCredential
from aiomsi._credentials.slot_credential import SlotCredential
from aiomsi._errors import CredentialError
from aiomsi._tokens.access_token import AccessToken
from aiomsi.integrations._auth.host_pins import HostPins, parse_hosts

MAX_BODY = 65_536
"""Bytes of a 401's body that are read."""


@attrs.frozen(eq=False, repr=False)
class TokenSource:
    """The tokens of one scope for the pinned hosts.

    Attributes:
        credential: the source of the tokens, whose callers share one fetch.
        scope: the scope of the tokens.
        pins: the hosts that may receive them.

    """

    credential: SlotCredential
    scope: str
    pins: HostPins

    async def get_token(self) -> AccessToken:
        """Return the current token.

        Raises:
            CredentialError: no usable token is available.

        """
        return await self.credential.get_token(self.scope)

    async def renew(
        self, refused: AccessToken, refusal: TokenRefusal, *, repeatable: bool
    ) -> AccessToken | None:
        """Return another token after a refusal; None if the request is not to be sent again.

        If the request can't be repeated, the caller's next request has the other token.

        Args:
            refused: the token that the service refused.
            refusal: the reason.
            repeatable: whether the request can be sent again.

        Raises:
            CredentialError: no other token is available, and the request is repeatable.

        """
        if refusal.claims is None:
            self.credential.reject(refused)
            if not repeatable:
                return None
        try:
            token = await self.credential.get_token(self.scope, claims=refusal.claims)
        except CredentialError:
            if repeatable:
                raise
            return None
        return token if repeatable and token.token != refused.token else None

    def __repr__(self) -> str:
        # The repr of another library's credential may show a secret.
        return f"{type(self.credential).__name__}, {self.scope}, for {self.pins!r}"


def make_token_source(credential: Any, scope: str, hosts: Iterable[str]) -> TokenSource:
    """Return a token source; a credential of another library is put under a `SharedCredential`.

    Raises:
        ConfigurationError: the scope or a host is malformed, or the credential is synchronous or
            no credential.

    """
    parse_resource(scope)
    pins = parse_hosts(hosts)
    if isinstance(credential, SlotCredential) and not credential.is_overridden:
        return TokenSource(credential, scope, pins)
    return TokenSource(SharedCredential(credential), scope, pins)


def is_short(headers: Mapping[str, str]) -> bool:
    """Return whether a response declares a body of at most `MAX_BODY` bytes.

    The length of a compressed body is unknown until it has been read.
    """
    length = headers.get("Content-Length", "")
    return (
        length.isascii()
        and length.isdecimal()
        and len(length) <= len(str(MAX_BODY))
        and int(length) <= MAX_BODY
        and "Content-Encoding" not in headers
    )


def read_refusal(headers: Mapping[str, str], body: bytes) -> TokenRefusal | None:
    """Return the refusal in a 401 to a request that had a token, None without one."""
    return find_refusal(ArmResponse("", "", 401, headers, body), of_arm=False)
