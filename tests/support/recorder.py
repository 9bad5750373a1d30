"""A service on loopback that records each request and its token, and an issuer of tokens."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
from aiohttp import web
from https_server import serve


@attrs.frozen
class Seen:
    """A request, as the service received it."""

    method: str
    host: str
    path: str
    token: str | None
    body: bytes = attrs.field(repr=False)
    port: int | None = None


class Issuer:
    """An async credential of another library, which numbers its tokens."""

    def __init__(self, *, fixed: bool = False) -> None:
        self.claims: list[str | None] = []
        self.fixed = fixed
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None

    async def get_token(self, *scopes: str, claims: str | None = None, **_: Any) -> Any:
        self.claims.append(claims)
        if self.gate is not None:
            await self.gate.wait()
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        number = 1 if self.fixed else len(self.claims)
        return f"token-{number}", int(time.time()) + 3600


def refuse(**headers: str) -> web.Response:
    """Return a 401; by default its challenge says that the token is invalid."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.Response(
        status=401,
        headers={"WWW-Authenticate": 'Bearer error="invalid_token"', **named},
        text="refused",
    )


def accept_only(token: str) -> Callable[[Seen], web.StreamResponse]:
    """Return a service that accepts one token."""
    return lambda seen: web.Response(text="ok") if seen.token == token else refuse()


def redirect(to: str, status: int = 307) -> web.Response:
    return web.Response(status=status, headers={"Location": to})


@attrs.define(eq=False)
class Recorder:
    """The services of a test, which record into one list.

    Attributes:
        respond: returns the response to a request.
        seen: the requests.

    """

    respond: Callable[[Seen], web.StreamResponse | Awaitable[web.StreamResponse]] = lambda _: (
        web.Response(text="ok")
    )
    seen: list[Seen] = attrs.field(factory=list)

    @property
    def tokens(self) -> list[str | None]:
        return [each.token for each in self.seen]

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        given = request.headers.get("Authorization")
        seen = Seen(
            request.method,
            request.headers["Host"].rpartition(":")[0],
            request.path,
            None if given is None else given.removeprefix("Bearer "),
            await request.read(),
            int(request.headers["Host"].rpartition(":")[2]),
        )
        self.seen.append(seen)
        response = self.respond(seen)
        return response if isinstance(response, web.StreamResponse) else await response

    @asynccontextmanager
    async def serve(self, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        async with serve(self.handle, context) as url:
            yield url
