"""A scripted credential of another library, and fetches of tokens from it."""

import asyncio
import threading
from typing import Any

from aiomsi import Clock, RefreshPolicy
from aiomsi._credentials.wrapped import WrappedFetch, wrap
from aiomsi._tokens.failure import Failure
from aiomsi._tokens.policy import DEFAULT_POLICY
from aiomsi._tokens.token import Now, TokenResponse

NOW = Now(1_000.0, 5.0)
CLOCK = Clock(wall=lambda: 1_000.0, monotonic=lambda: 5.0)
SCOPES = ("https://vault.azure.net/.default",)
HASTY = RefreshPolicy(fetch_deadline=0.05)


class Inner:
    """A credential by the older of the SDK's two protocols, which records loops and arguments."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.asked: list[tuple[tuple[str, ...], dict[str, Any]]] = []
        self.loops: list[asyncio.AbstractEventLoop] = []
        self.ends: list[str] = []
        self.answer: Any = ("text", 4_600)

    async def get_token(self, *scopes: str, **options: Any) -> Any:
        self.asked.append((scopes, options))
        self.loops.append(asyncio.get_running_loop())
        self.begun.set()
        if isinstance(self.answer, Exception):
            raise self.answer
        if isinstance(self.answer, asyncio.Event):
            try:
                await self.answer.wait()
            finally:
                self.ends.append("left")
        return self.answer

    async def close(self) -> None:
        self.ends.append("closed")


def fetch(inner: object, policy: RefreshPolicy = DEFAULT_POLICY, **options: Any) -> WrappedFetch:
    return WrappedFetch(wrap(inner), SCOPES, options, policy, CLOCK)


def require_failure(result: TokenResponse | Failure) -> Failure:
    assert isinstance(result, Failure)
    return result
