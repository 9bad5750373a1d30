"""aiomsi with its gate between the processes of one machine."""

import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from job import Job

import aiomsi
from clients import GetToken

ABOUT = "aiomsi whose processes take turns: `ManagedIdentityCredential(gate=True)`"
NEEDS = ("aiomsi",)


def lacking(_: Job) -> str | None:
    if "gate" in inspect.signature(aiomsi.ManagedIdentityCredential).parameters:
        return None
    return "this version of aiomsi has no gate"


@asynccontextmanager
async def tokens(_: Job) -> AsyncIterator[GetToken]:
    options: dict[str, Any] = {"gate": True}
    async with aiomsi.ManagedIdentityCredential(**options) as credential:
        yield credential.get_token
