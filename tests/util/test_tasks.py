"""Tasks of this package: with any task factory, and with suppressed tracing as their context."""

import asyncio
import contextvars
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from tracing import FakeTracing
from virtual_loop import VirtualLoop, run

from aiomsi._util.tasks import TRACING, create_empty_context, create_task, retrieve

VALUE: contextvars.ContextVar[str] = contextvars.ContextVar("value", default="none")


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.close()


def create_plain_task(loop: Any, coroutine: Any) -> Any:
    return asyncio.Task(coroutine, loop=loop)


def create_task_in_context(loop: Any, coroutine: Any, *, context: Any = None) -> Any:
    return asyncio.Task(coroutine, loop=loop, context=context)


def create_task_with_options(loop: Any, coroutine: Any, **options: Any) -> Any:
    return asyncio.Task(coroutine, loop=loop, **options)


FACTORIES: list[Any] = [None, create_plain_task, create_task_in_context, create_task_with_options]
if sys.version_info >= (3, 12):
    FACTORIES.append(asyncio.eager_task_factory)


async def get_value() -> str:
    return VALUE.get()


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_task_has_name_and_context_under_any_factory(loop: VirtualLoop, factory: Any) -> None:
    context = contextvars.Context()
    context.run(VALUE.set, "passed")

    async def main() -> None:
        VALUE.set("caller's")
        loop.set_task_factory(factory)
        task = create_task(loop, get_value(), "aiomsi x", context)
        assert task.get_name() == "aiomsi x"
        assert await task == "passed"
        assert await create_task(loop, get_value(), "aiomsi y") == "caller's"
        # `asyncio.Runner` passes a context to whatever factory there is.
        loop.set_task_factory(None)

    run(main(), loop)


def test_a_failing_factory_leaves_no_coroutine(loop: VirtualLoop) -> None:
    def broken(loop: Any, coroutine: Any) -> Any:
        raise OSError("no tasks today")

    async def main() -> None:
        loop.set_task_factory(broken)
        coroutine = get_value()
        with pytest.raises(OSError, match="no tasks today"):
            create_task(loop, coroutine, "aiomsi x")
        loop.set_task_factory(None)
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            await coroutine

    run(main(), loop)


def test_retrieve_takes_a_cancelled_task(loop: VirtualLoop) -> None:
    async def main() -> None:
        task = asyncio.create_task(asyncio.sleep(1))
        task.add_done_callback(retrieve)
        task.cancel()
        await asyncio.wait([task])

    run(main(), loop)


def test_the_empty_context_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    VALUE.set("caller's")
    assert list(create_empty_context()) == []
    monkeypatch.delitem(sys.modules, TRACING, raising=False)
    assert list(create_empty_context()) == []


@pytest.mark.parametrize(
    "key",
    ["suppress_instrumentation", "suppress_instrumentation-1f", "suppress_http_instrumentation-2e"],
)
def test_the_empty_context_holds_suppression_alone(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    tracing = FakeTracing()
    monkeypatch.setitem(sys.modules, "opentelemetry.context", tracing)
    tracing.attach({"baggage": "x", "current-span": "y"})
    assert list(create_empty_context()) == []
    tracing.attach({"baggage": "x", "current-span": "y", key: True})
    context = create_empty_context()
    assert context.run(tracing.get_current) == {key: True}
    assert len(context) == 1


def test_opentelemetrys_own_suppression_is_carried_over() -> None:
    context = pytest.importorskip("opentelemetry.context")
    utils = pytest.importorskip("opentelemetry.instrumentation.utils")
    context.attach(context.set_value("tenant", "x"))
    with utils.suppress_instrumentation():
        empty = create_empty_context()
    assert utils.is_instrumentation_enabled()
    assert not empty.run(utils.is_instrumentation_enabled)
    assert empty.run(context.get_value, "tenant") is None


@pytest.mark.parametrize(
    "module", [None, SimpleNamespace(), SimpleNamespace(get_current=lambda: {1: True})]
)
def test_a_broken_tracing_library_costs_no_context(
    monkeypatch: pytest.MonkeyPatch, module: object
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.context", module)
    assert list(create_empty_context()) == []
