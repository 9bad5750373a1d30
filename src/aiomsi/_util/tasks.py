"""Creation of asyncio tasks: with any task factory, and in an empty context."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

TRACING = "opentelemetry.context"
"""OpenTelemetry's module of the current context; used only if the application has imported it."""
_SUPPRESSION = ("suppress_instrumentation", "suppress_http_instrumentation")
"""Prefixes of OpenTelemetry's two suppression keys; a key may end in a random part."""


def create_task(
    loop: asyncio.AbstractEventLoop,
    coroutine: Coroutine[Any, Any, T],
    name: str,
    context: contextvars.Context | None = None,
) -> asyncio.Task[T]:
    """Create a named task, in a copy of the context if one is passed.

    A task factory receives the loop and the coroutine only: factories of applications and tracing
    libraries accept `context` and `name` in some versions of either, and asyncio forwards what it
    is passed. A task copies the context in which it is created, so the result is the same.

    Raises:
        Exception: the loop's task factory failed. The coroutine is closed.

    """
    try:
        if loop.get_task_factory() is None:
            return loop.create_task(coroutine, name=name, context=context)
        task = (
            loop.create_task(coroutine)
            if context is None
            else context.run(loop.create_task, coroutine)
        )
    except BaseException:
        coroutine.close()
        raise
    task.set_name(name)
    return task


def retrieve(task: asyncio.Task[Any]) -> None:
    """Retrieve the exception of a finished task, so that asyncio does not log it as unhandled."""
    if not task.cancelled():
        task.exception()


def create_empty_context() -> contextvars.Context:
    """Return a context that is empty except for the caller's suppression of tracing."""
    context = contextvars.Context()
    if TRACING in sys.modules:
        suppress_tracing(context)
    return context


def suppress_tracing(context: contextvars.Context) -> None:
    """Suppress tracing in a context if it is suppressed in the current one.

    A token request that an exporter causes must not become a span: that span would be exported,
    and would need a token in turn.

    Source: https://opentelemetry.io/docs/specs/otel/context/
    """
    tracing: Any = sys.modules[TRACING]
    # A broken or half-imported tracing library must not prevent a token request.
    with suppress(Exception):
        flags = {
            key: value
            for key, value in tracing.get_current().items()
            if key.startswith(_SUPPRESSION)
        }
        if flags:
            context.run(tracing.attach, tracing.Context(flags))
