"""Calls of a session at a canned server, for the tests of tracing."""

import asyncio
from collections.abc import Callable
from typing import Any

from arm_server import GROUP, VERSION, Canned, Says, open_session, serve_canned
from otel_recorder import Recorder

from aiomsi import ArmSession


def run(
    work: Callable[[Canned, ArmSession], Any],
    *answers: Says,
    credential: Any = None,
    **options: Any,
) -> Any:
    async def main() -> Any:
        async with (
            serve_canned(*answers) as server,
            open_session(server, credential, **options) as arm,
        ):
            return await work(server, arm)

    return asyncio.run(main())


def list_calls(recorder: Recorder) -> list[str]:
    """Return the tree without the token fetches."""
    found, is_fetch = [], False
    for line in recorder.tree():
        is_fetch = line.startswith("aiomsi.fetch") or (is_fetch and line.startswith(" "))
        if not is_fetch:
            found.append(line)
    return found


async def get(_: Canned, arm: ArmSession) -> Any:
    return await arm.get(GROUP, api_version=VERSION)
