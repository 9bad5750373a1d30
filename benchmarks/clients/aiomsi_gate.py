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

_OPTIONS: dict[str, Any] = {"gate": True}


def explain_absence(_: Job) -> str | None:
    if "gate" not in inspect.signature(aiomsi.ManagedIdentityCredential).parameters:
        return "this version of aiomsi has no gate"
    try:
        aiomsi.ManagedIdentityCredential(**_OPTIONS)
    except (aiomsi.ConfigurationError, ImportError) as error:
        return str(error)
    return None


@asynccontextmanager
async def open_tokens(_: Job) -> AsyncIterator[GetToken]:
    async with aiomsi.ManagedIdentityCredential(**_OPTIONS) as credential:
        yield credential.get_token
