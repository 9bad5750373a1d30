"""An ARM on loopback that gives the answers a test has written down, and what a session needs to ask it."""

import json
import ssl as ssl_module
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import attrs
from aiohttp import web

import aiomsi
from aiomsi import ArmSession, Cloud
from aiomsi.testing import ManualClock

GROUP = "/subscriptions/98f51385-2edc-4b79-bed9-7718de4cb861/resourceGroups/DevTest"
VAULT = f"{GROUP}/providers/Microsoft.KeyVault/vaults/kv"
VERSION = "2021-04-01"
AUDIENCE = "https://management.azure.com/"


class Token(NamedTuple):
    """A token as azure-core has it."""

    token: str
    expires_on: int


@attrs.define(eq=False)
class Tokens:
    """A credential of another library; gives one of `texts` after the other, and at the end the last one again."""

    texts: tuple[str, ...] = ("token",)
    asked: list[tuple[tuple[str, ...], str | None]] = attrs.field(factory=list)

    async def get_token(self, *scopes: str, claims: str | None = None, **_: Any) -> Token:
        self.asked.append((scopes, claims))
        return Token(self.texts[min(len(self.asked), len(self.texts)) - 1], 4_000_000_000)


@attrs.frozen
class Says:
    """An answer; without a status the connection is dropped."""

    status: int | None = 200
    body: Any = None
    headers: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class Asked:
    """A request; `target` is as it came."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@attrs.define(eq=False)
class Canned:
    """The server: `answers` are given in order, and an answer may be a function of the request."""

    answers: list[Says | Callable[[Asked], Says | Awaitable[Says]]]
    url: str = ""
    asked: list[Asked] = attrs.field(factory=list)

    @property
    def cloud(self) -> Cloud:
        return Cloud("Canned", self.url, AUDIENCE)

    @property
    def targets(self) -> list[str]:
        return [f"{one.method} {one.target}" for one in self.asked]

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        asked = Asked(request.method, request.raw_path, request.headers, await request.read())
        self.asked.append(asked)
        answer: Any = self.answers.pop(0) if self.answers else Says(599, {"code": "Unexpected", "message": request.raw_path})
        if callable(answer):
            answer = answer(asked)
        if not isinstance(answer, Says):
            answer = await answer
        if answer.status is None:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        text = answer.body if isinstance(answer.body, str) else "" if answer.body is None else json.dumps(answer.body)
        return web.Response(status=answer.status, text=text, headers=answer.headers, content_type="application/json")


@asynccontextmanager
async def canned(*answers: Any, ssl: ssl_module.SSLContext | None = None) -> AsyncIterator[Canned]:
    """Serve in the running loop; every answer that was written down is to be asked for."""
    made = Canned(list(answers))
    runner = web.ServerRunner(web.Server(made.handle), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl)
    await site.start()
    made.url = f"{'http' if ssl is None else 'https'}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
        assert made.answers == []
    finally:
        await runner.cleanup()


def session(server: Canned, credential: Any = None, **options: Any) -> ArmSession:
    """Make a session for it, on a clock that moves on by itself."""
    options.setdefault("clock", ManualClock(autoadvance=True).clock)
    return ArmSession(credential or Tokens(), cloud=server.cloud, **options)


def error(code: str, message: str = "No", **more: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, **more}}


class Slept:
    """A clock that notes its sleeps, and moves on by itself."""

    def __init__(self) -> None:
        self.manual = ManualClock(autoadvance=True)
        self.sleeps: list[float] = []
        self.clock = attrs.evolve(self.manual.clock, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        await self.manual.clock.sleep(seconds)


def no_jitter(**options: Any) -> aiomsi.ArmRetry:
    """Make the usual rule without chance: each wait is as long as it may be."""
    return aiomsi.ArmRetry(draw=lambda _, most: most, **options)
