"""`bearer`: a client middleware that gives the requests of an aiohttp session a token.

Source: https://docs.aiohttp.org/en/stable/client_middleware_cookbook.html
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import aiohttp
import attrs

from aiomsi._tokens.access_token import AccessToken
from aiomsi.integrations._auth.aiohttp_body import BodyWatch
from aiomsi.integrations._auth.token_source import (
    MAX_BODY,
    TokenSource,
    is_short,
    make_token_source,
    read_refusal,
)

_AUTHORIZATION = "Authorization"
_PLAIN = ("http", "ws")

__all__ = ["bearer"]


def bearer(credential: Any, scope: str, hosts: Iterable[str]) -> aiohttp.ClientMiddlewareType:
    """Return a client middleware that sends a token to the listed hosts, and to no other one.

    Pass it last in ``aiohttp.ClientSession(middlewares=[...])``, or in `middlewares` of a request;
    an empty tuple there sends the request without a token. It may serve any number of sessions,
    event loops and threads.

    The host is compared for each request of a redirect. A request to another host, over plain http
    beyond loopback, or with an `Authorization` header of the caller is sent as it is.

    After a 401 that does not accept the token, or that demands claims, the credential fetches
    another one, once for all such requests, and the request is sent once more. A body that was read
    from a stream, or a file that was not sent to its end, can't be sent again: the caller receives
    the 401, and the next request has the other token.

    The wait for a token counts in the ``total=`` of `aiohttp.ClientTimeout`.

    Args:
        credential: a credential of this package, or whatever `SharedCredential` takes. A credential
            of another library is put under a separate `SharedCredential`; to share its tokens
            between several middlewares, pass all of them one `SharedCredential`.
        scope: the scope of the tokens, for example ``"https://vault.azure.net/.default"``.
        hosts: the hosts that may receive the token: ``"NAME.vault.azure.net"``, with or without a
            port, or ``"https://..."``; ``"http://..."`` is for loopback only.

    Raises:
        ConfigurationError: the scope or a host is malformed, or the credential is synchronous or
            no credential. The requests raise the errors of `get_token`.

    """
    return _Bearer(make_token_source(credential, scope, hosts))


@attrs.frozen(eq=False, repr=False)
class _Bearer:
    """The middleware that `bearer` returns."""

    source: TokenSource

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Send a request, with a token if its host is pinned."""
        if _AUTHORIZATION in request.headers or not self._is_pinned(request):
            return await handler(request)
        token = await self.source.get_token()
        watch = BodyWatch(request.body)
        with watch:
            response = await _send(request, handler, token)
        if response.status != 401:
            return response
        try:
            other = await self._renew(request, response, token, watch)
            if other is None:
                return response
            await _discard(response)
        except BaseException:
            response.close()
            raise
        # The wait for "100 Continue" ends with its request.
        request.update_expect_continue()
        return await _send(request, handler, other)

    def _is_pinned(self, request: aiohttp.ClientRequest) -> bool:
        url = request.url
        # An HTTP proxy sees a request without TLS, and it may be another machine.
        exposed = request.proxy is not None and url.scheme in _PLAIN
        return not exposed and self.source.pins.allows(url.scheme, url.raw_host, url.port)

    async def _renew(
        self,
        request: aiohttp.ClientRequest,
        response: aiohttp.ClientResponse,
        token: AccessToken,
        watch: BodyWatch,
    ) -> AccessToken | None:
        """Return the token for a second request; None if the caller receives the response."""
        # Another middleware may have sent the request elsewhere.
        if not self._is_pinned(request):
            return None
        refusal = read_refusal(response.headers, await _read_body(response))
        if refusal is None:
            return None
        return await self.source.renew(token, refusal, repeatable=watch.is_repeatable)

    def __repr__(self) -> str:
        return f"<bearer middleware of {self.source!r}>"


async def _send(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType, token: AccessToken
) -> aiohttp.ClientResponse:
    request.headers[_AUTHORIZATION] = token.authorization
    try:
        return await handler(request)
    finally:
        # A middleware that repeats the request must not repeat this token, and the headers are
        # shown in errors.
        request.headers.popall(_AUTHORIZATION, None)


async def _read_body(response: aiohttp.ClientResponse) -> bytes:
    """Return the body of a response if it is known to be short, else nothing.

    The response keeps a body that was read, for a caller that receives it.
    """
    content = response.content
    has_arrived = content.is_eof() and content.total_bytes <= MAX_BODY
    if not (is_short(response.headers) or has_arrived):
        return b""
    try:
        return await response.read()
    except aiohttp.ClientError:
        # The headers may be enough.
        return b""


async def _discard(response: aiohttp.ClientResponse) -> None:
    """Release a response's connection, to be used again if little of the body is left."""
    size = 0
    with suppress(aiohttp.ClientError):
        while size <= MAX_BODY and (piece := await response.content.readany()):
            size += len(piece)
    response.release()
