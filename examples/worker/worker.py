"""A worker that reports resource groups without an owner, until SIGTERM or Ctrl-C."""

import asyncio
import contextlib
import logging
import os
import signal

import aiomsi

INTERVAL = float(os.environ.get("INTERVAL", "3600"))
"""Seconds between two reports."""

logger = logging.getLogger(__name__)


async def report(arm: aiomsi.ArmSession) -> None:
    """Print each resource group without a tag "owner", of all subscriptions."""
    subscriptions = arm.list("/subscriptions", api_version="2022-12-01")
    paths = [f"{item['id']}/resourceGroups" async for item in subscriptions]
    async for request, page in arm.fan_out_list(paths, api_version="2021-04-01"):
        if not isinstance(page, aiomsi.Outcome):
            for group in page:
                if "owner" not in (group.get("tags") or {}):
                    print(group["id"], flush=True)
        elif page.error is not None:
            logger.warning("%s: %s", request.path, page.error)


async def work() -> None:
    """Report at intervals; after a signal, finish the report under way."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    async with aiomsi.ArmSession(user_agent="owners/1.0") as arm:
        while not stop.is_set():
            try:
                await report(arm)
            except aiomsi.AiomsiError as error:
                logger.warning("%s", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), INTERVAL)


if __name__ == "__main__":
    asyncio.run(work())
