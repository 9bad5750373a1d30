"""The clients that are compared: one file each, found by this registry.

A client's module begins with literals, which are read without importing the client's packages:

- `ABOUT`: a description for the report;
- `NEEDS`: the packages that must be installed;
- `ORJSON`: True if the client may use orjson; may be omitted;
- `READY`: the body of an `async def` that prepares the client for a GET without any I/O (scenario
  `import`); may be omitted.

The module has one or more asynchronous context managers that take the job and yield a function:

- `open_tokens`: the function returns a token for a scope (`herd`, `warm`, `processes`);
- `open_groups`: the function GETs a resource group by its name and returns the name in the decoded
  response (`fanout`, `fair`, `rollover`, `outage`). In `throttle` it takes the id of a subscription
  as well;
- `open_lists`: the function lists all resources of the subscription and returns their names
  (`pages`);
- `open_inventories`: the function lists all resources of all subscriptions and returns the number
  of rows (`inventory`);
- `open_crawls`: the function GETs many resource groups, given as pairs of name and subscription,
  and yields each name or error with its response (`crawl`; `throttle` if `open_groups` is absent).

A client in another language has `run_elsewhere(job)` instead, which runs a whole scenario and
returns the same numbers. `explain_absence(job)` may return a requirement that this machine lacks.
"""

import ast
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class Token(Protocol):
    """A token, as `GetToken` returns it."""

    @property
    def token(self) -> str: ...


class GetToken(Protocol):
    """A function that returns a token for one scope."""

    def __call__(self, scope: str, /) -> Coroutine[Any, Any, Token]: ...


GetGroup = Callable[[str], Awaitable[str]]
ListNames = Callable[[], Awaitable[list[str]]]
TakeInventory = Callable[[], Awaitable[int]]
Target = tuple[str, str]
"""The name of a resource group and the id of its subscription."""


class GetGroupOf(Protocol):
    """A `GetGroup` that takes the id of a subscription, too."""

    def __call__(self, name: str, subscription: str = ..., /) -> Awaitable[str]: ...


class Crawl(Protocol):
    """A function that GETs many groups; `limit` bounds the calls that have begun."""

    def __call__(
        self, targets: Iterable[Target], limit: int = ..., /
    ) -> AsyncIterator[str | BaseException]: ...


CONNECTIONS = 128
"""The connection limit of every client; the least of aiomsi, which opens more for slow calls."""
LISTS = 64
"""The lists under way of clients that have no limit themselves, in the scenario `inventory`."""


@dataclass(frozen=True, slots=True)
class Client:
    """The literals of a client's module, read without importing it."""

    name: str
    module: str
    about: str
    needs: tuple[str, ...]
    ready: str
    orjson: bool


def _read(path: Path) -> Client | None:
    literals = {}
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name = statement.targets[0].id
            if name in {"ABOUT", "NEEDS", "ORJSON", "READY"}:
                literals[name] = ast.literal_eval(statement.value)
    if "ABOUT" not in literals:
        return None
    return Client(
        path.stem.rstrip("_"),
        f"clients.{path.stem}",
        literals["ABOUT"],
        literals["NEEDS"],
        literals.get("READY", ""),
        literals.get("ORJSON", False),
    )


CLIENTS = {
    client.name: client
    for path in sorted(Path(__file__).parent.glob("*.py"))
    if (client := _read(path)) is not None
}
