"""The clients that are compared: one file each, found by this registry.

A client's module begins with literals, which are read without importing what the client needs:

- `ABOUT`: what it stands for, for the report;
- `NEEDS`: the packages that must be installed;
- `READY`: the body of an `async def` that makes it ready for a GET without any I/O (scenario
`import`), or nothing.

It has `tokens`, `groups`, or both: asynchronous context managers that are given the job and give a
function. `tokens` gives one that brings a token for a scope (`herd`, `warm`, `processes`), `groups`
one that GETs a resource group by its name and gives back the name that the decoded answer has
(`fanout`, `rollover`, `outage`). A client that is no Python has `elsewhere(job)` instead: it does a
whole scenario and gives the same numbers. `lacking(job)` may say what else is missing on this
machine.
"""

import ast
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class Token(Protocol):
    """What brings a token gives back."""

    @property
    def token(self) -> str: ...


class GetToken(Protocol):
    """Brings a token for one scope."""

    def __call__(self, scope: str, /) -> Coroutine[Any, Any, Token]: ...


GetGroup = Callable[[str], Awaitable[str]]

CONNECTIONS = 128
"""The limit that every client's connector gets; aiomsi has it built in."""


@dataclass(frozen=True, slots=True)
class Client:
    """What is known of a client before it is imported."""

    name: str
    module: str
    about: str
    needs: tuple[str, ...]
    ready: str


def _read(path: Path) -> Client | None:
    literals = {}
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name = statement.targets[0].id
            if name in {"ABOUT", "NEEDS", "READY"}:
                literals[name] = ast.literal_eval(statement.value)
    if "ABOUT" not in literals:
        return None
    return Client(
        path.stem.rstrip("_"),
        f"clients.{path.stem}",
        literals["ABOUT"],
        literals["NEEDS"],
        literals.get("READY", ""),
    )


CLIENTS = {
    client.name: client
    for path in sorted(Path(__file__).parent.glob("*.py"))
    if (client := _read(path)) is not None
}
