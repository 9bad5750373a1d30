"""A user's programs with all defaults.

The tests run this file in a separate process, with the environment of a VM. ``python client.py
JOB`` prints one JSON object: the job's `value`, or the `error` and its `text`.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiomsi

GROUP = "/subscriptions/98f51385-2edc-4b79-bed9-7718de4cb861/resourceGroups/DevTest"
API_VERSION = "2016-06-01"
CALLS = 1_000


async def get() -> Any:
    """GET the tutorial's resource group."""
    async with aiomsi.ArmSession() as arm:
        return await arm.get(GROUP, api_version=API_VERSION)


async def get_many() -> Any:
    """GET the resource group `CALLS` times at once, without a token at the start."""
    async with aiomsi.ArmSession() as arm:
        calls = (arm.get(GROUP, api_version=API_VERSION) for _ in range(CALLS))
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    failures = [repr(outcome) for outcome in outcomes if isinstance(outcome, BaseException)]
    answers = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    return {
        "answers": len(answers),
        "different": len({json.dumps(answer) for answer in answers}),
        "failures": failures,
    }


async def get_token() -> Any:
    """Get a token only."""
    async with aiomsi.ManagedIdentityCredential() as credential:
        return {
            "life": (await credential.get_token("https://management.azure.com/.default")).expires_on
            - time.time()
        }


JOBS: dict[str, Callable[[], Awaitable[Any]]] = {"get": get, "many": get_many, "token": get_token}


async def report(job: Callable[[], Awaitable[Any]]) -> dict[str, Any]:
    try:
        return {"value": await job()}
    except aiomsi.AiomsiError as error:
        return {"error": type(error).__name__, "text": str(error)}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(report(JOBS[sys.argv[1]]))))
