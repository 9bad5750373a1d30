"""A Quart service with one `ArmSession` for each process."""

import os
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import quote

from quart import Quart

import aiomsi

SUBSCRIPTION = os.environ["AZURE_SUBSCRIPTION_ID"]
MOST_WAITING = 100
"""Calls that may wait for ARM before the service reports that it is overloaded."""


class Service(Quart):
    """A Quart application with typed state."""

    arm: aiomsi.ArmSession


app = Service(__name__)


@app.while_serving
async def open_session() -> AsyncGenerator[None]:
    """Open the session at the start, and close it after the last request."""
    async with aiomsi.ArmSession(user_agent="groups/1.0") as app.arm:
        yield


@app.get("/subscriptions")
async def list_subscriptions() -> list[str]:
    """Return the names of the subscriptions that the identity can read."""
    items = app.arm.list("/subscriptions", api_version="2022-12-01")
    return [item["displayName"] async for item in items]


@app.get("/groups/<name>")
async def read_group(name: str) -> dict[str, Any]:
    """Return a resource group."""
    path = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{quote(name, safe='')}"
    group: dict[str, Any] = await app.arm.get(path, api_version="2021-04-01")
    return group


@app.get("/health")
async def check_health() -> tuple[dict[str, Any], int]:
    """Return how many calls are under way and wait: 503 if too many wait."""
    stats = app.arm.stats()
    state = {"under_way": stats.connections, "waiting": stats.waiting, "refused": stats.refusals}
    return state, 503 if stats.waiting > MOST_WAITING else 200


@app.errorhandler(aiomsi.AiomsiError)
async def respond_to_error(error: Exception) -> tuple[dict[str, str], int]:
    """Respond 404 for a resource that does not exist, 502 for any other error of ARM."""
    app.logger.warning("%s", error)
    status = 404 if isinstance(error, aiomsi.NotFoundError) else 502
    return {"error": type(error).__name__}, status
