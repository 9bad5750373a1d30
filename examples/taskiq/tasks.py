"""The tasks of a taskiq worker, with one `ArmSession` for each worker process."""

import os
from typing import Any
from urllib.parse import quote

from taskiq import Context, TaskiqDepends, TaskiqEvents, TaskiqState
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

import aiomsi

REDIS = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379")
SUBSCRIPTION = os.environ["AZURE_SUBSCRIPTION_ID"]

results = RedisAsyncResultBackend[Any](REDIS, result_ex_time=3600)
broker = ListQueueBroker(REDIS).with_result_backend(results)


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def open_session(state: TaskiqState) -> None:
    """Open the session when a worker process starts."""
    state.arm = aiomsi.ArmSession(user_agent="tasks/1.0")


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def close_session(state: TaskiqState) -> None:
    """Close the session after the last task."""
    await state.arm.close()


def get_arm(context: Context = TaskiqDepends()) -> aiomsi.ArmSession:
    """Return the session of this worker process."""
    arm: aiomsi.ArmSession = context.state.arm
    return arm


@broker.task
async def locate_group(name: str, arm: aiomsi.ArmSession = TaskiqDepends(get_arm)) -> str:
    """Return the location of a resource group."""
    path = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{quote(name, safe='')}"
    group = await arm.get(path, api_version="2021-04-01")
    return str(group["location"])
