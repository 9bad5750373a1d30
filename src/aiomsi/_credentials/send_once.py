"""A middleware for aiohttp sessions, which would otherwise resend some requests."""

from __future__ import annotations

from collections.abc import Callable

import aiohttp


def make_send_once(
    convert: Callable[[Exception], Exception | None],
) -> aiohttp.ClientMiddlewareType:
    """Return a middleware that sends each request once.

    After a lost connection aiohttp resends a GET, HEAD, PUT or DELETE. It does so for
    `aiohttp.ClientOSError` and `aiohttp.ServerDisconnectedError`, so these become other exceptions.

    Args:
        convert: returns the exception to raise instead of such an error, which becomes its cause;
            None leaves the error, and the decision, to aiohttp.

    """

    async def send_once(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        try:
            return await handler(request)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            converted = convert(error)
            if converted is None:
                raise
            raise converted from error

    return send_once
