"""A module for the worker of examples/taskiq that prints its session, before and after its life."""

from taskiq import TaskiqEvents, TaskiqState
from tasks import broker


async def print_session(state: TaskiqState) -> None:
    print(repr(state.arm), flush=True)


# The example's handlers come first.
broker.add_event_handler(TaskiqEvents.WORKER_STARTUP, print_session)
broker.add_event_handler(TaskiqEvents.WORKER_SHUTDOWN, print_session)
