"""A FastAPI service with one `ArmSession` for each process."""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypedDict
from urllib.parse import quote

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse

import aiomsi

SUBSCRIPTION = os.environ["AZURE_SUBSCRIPTION_ID"]
MOST_WAITING = 100
"""Calls that may wait for ARM before the service reports that it is overloaded."""

logger = logging.getLogger(__name__)


class State(TypedDict):
    """The state of the process, which FastAPI copies to each request."""

    arm: aiomsi.ArmSession


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[State]:
    """Open the session at the start, and close it after the last request."""
    async with aiomsi.ArmSession(user_agent="groups/1.0") as arm:
        yield {"arm": arm}


async def get_arm(request: Request) -> aiomsi.ArmSession:
    """Return the session of this process."""
    arm: aiomsi.ArmSession = request.state.arm
    return arm


Arm = Annotated[aiomsi.ArmSession, Depends(get_arm)]
app = FastAPI(lifespan=lifespan)


@app.get("/subscriptions")
async def list_subscriptions(arm: Arm) -> list[str]:
    """Return the names of the subscriptions that the identity can read."""
    items = arm.list("/subscriptions", api_version="2022-12-01")
    return [item["displayName"] async for item in items]


@app.get("/groups/{name}")
async def read_group(name: str, arm: Arm) -> dict[str, Any]:
    """Return a resource group."""
    path = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{quote(name, safe='')}"
    group: dict[str, Any] = await arm.get(path, api_version="2021-04-01")
    return group


@app.get("/health")
async def check_health(arm: Arm, response: Response) -> dict[str, Any]:
    """Return how many calls are under way and wait: 503 if too many wait."""
    stats = arm.stats()
    response.status_code = 503 if stats.waiting > MOST_WAITING else 200
    return {"under_way": stats.connections, "waiting": stats.waiting, "refused": stats.refusals}


@app.exception_handler(aiomsi.AiomsiError)
async def respond_to_error(_: Request, error: aiomsi.AiomsiError) -> JSONResponse:
    """Respond 404 for a resource that does not exist, 502 for any other error of ARM."""
    logger.warning("%s", error)
    status = 404 if isinstance(error, aiomsi.NotFoundError) else 502
    return JSONResponse({"error": type(error).__name__}, status)
