"""The clients that are compared: one file each, and one line here.

A client's module has `tokens`, `groups`, or both: asynchronous context managers that are given the origin's URL and give a
function. `tokens` gives one that brings a token for a scope (scenarios `herd` and `warm`), `groups` one that GETs a resource
group by its name and gives back the name that the decoded answer has (scenario `fanout`).
"""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol


class Token(Protocol):
    """What brings a token gives back."""

    @property
    def token(self) -> str: ...


class GetToken(Protocol):
    """Brings a token for one scope."""

    def __call__(self, scope: str, /) -> Coroutine[Any, Any, Token]: ...


GetGroup = Callable[[str], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Client:
    """Where a client's code is, what it needs, and which scenarios it runs in."""

    module: str
    packages: tuple[str, ...]
    scenarios: frozenset[str]


_ALL = frozenset({"herd", "fanout", "warm"})

CLIENTS = {
    "aiomsi": Client("clients.aiomsi_", ("aiomsi",), _ALL),
    "azure_identity": Client("clients.azure_identity", ("azure-identity",), frozenset({"herd", "warm"})),
    "azure_mgmt_resource": Client(
        "clients.azure_mgmt_resource", ("azure-identity", "azure-mgmt-resource"), frozenset({"fanout"})
    ),
    "aiohttp_naive": Client("clients.aiohttp_naive", ("aiohttp",), _ALL),
    "aiohttp_tuned": Client("clients.aiohttp_tuned", ("aiohttp",), _ALL),
}

CONNECTIONS = 128
"""The limit that every client's connector gets; aiomsi has it built in."""
