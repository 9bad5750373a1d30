"""An aiohttp service with one `ArmSession` for each process."""

import logging
import os
from collections.abc import AsyncIterator
from urllib.parse import quote

from aiohttp import web
from aiohttp.typedefs import Handler

import aiomsi

SUBSCRIPTION = os.environ["AZURE_SUBSCRIPTION_ID"]
MOST_WAITING = 100
"""Calls that may wait for ARM before the service reports that it is overloaded."""

ARM = web.AppKey("ARM", aiomsi.ArmSession)
logger = logging.getLogger(__name__)
routes = web.RouteTableDef()


async def open_session(app: web.Application) -> AsyncIterator[None]:
    """Open the session at the start, and close it after the last request."""
    async with aiomsi.ArmSession(user_agent="groups/1.0") as app[ARM]:
        yield


@routes.get("/subscriptions")
async def list_subscriptions(request: web.Request) -> web.Response:
    """Return the names of the subscriptions that the identity can read."""
    items = request.app[ARM].list("/subscriptions", api_version="2022-12-01")
    return web.json_response([item["displayName"] async for item in items])


@routes.get("/groups/{name}")
async def read_group(request: web.Request) -> web.Response:
    """Return a resource group."""
    name = quote(request.match_info["name"], safe="")
    path = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{name}"
    return web.json_response(await request.app[ARM].get(path, api_version="2021-04-01"))


@routes.get("/health")
async def check_health(request: web.Request) -> web.Response:
    """Return how many calls are under way and wait: 503 if too many wait."""
    stats = request.app[ARM].stats()
    state = {"under_way": stats.connections, "waiting": stats.waiting, "refused": stats.refusals}
    return web.json_response(state, status=503 if stats.waiting > MOST_WAITING else 200)


@web.middleware
async def respond_to_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Respond 404 for a resource that does not exist, 502 for any other error of ARM."""
    try:
        return await handler(request)
    except aiomsi.AiomsiError as error:
        logger.warning("%s", error)
        status = 404 if isinstance(error, aiomsi.NotFoundError) else 502
        return web.json_response({"error": type(error).__name__}, status=status)


async def make_app() -> web.Application:
    """Return the service."""
    app = web.Application(middlewares=[respond_to_errors])
    app.cleanup_ctx.append(open_session)
    app.add_routes(routes)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
