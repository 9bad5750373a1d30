"""The middleware that keeps aiohttp from resending a request."""

from typing import Any

import aiohttp
import pytest

from aiomsi._credentials.send_once import make_send_once


class NotResentError(Exception):
    """An error after which aiohttp resends no request."""


def make_failing_middleware(error: Exception) -> Any:
    async def handler(_: object) -> aiohttp.ClientResponse:
        raise error

    return handler


RESENT = [aiohttp.ClientOSError(104, "reset"), aiohttp.ServerDisconnectedError()]


@pytest.mark.anyio
@pytest.mark.parametrize("error", RESENT)
async def test_error_that_causes_a_resend_is_converted(error: Exception) -> None:
    request: Any = None
    with pytest.raises(NotResentError) as raised:
        await make_send_once(lambda _: NotResentError())(request, make_failing_middleware(error))
    assert raised.value.__cause__ is error


@pytest.mark.anyio
@pytest.mark.parametrize("error", [*RESENT, aiohttp.InvalidURL("x"), ValueError("x")])
async def test_error_that_is_not_converted_is_raised(error: Exception) -> None:
    request: Any = None
    with pytest.raises(type(error)) as raised:
        await make_send_once(lambda _: None)(request, make_failing_middleware(error))
    assert raised.value is error
