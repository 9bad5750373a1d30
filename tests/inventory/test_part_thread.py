"""The thread of the part files: order, bounds, errors, and cancellation."""

import asyncio
import threading
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from aiomsi import ArmSession, inventory
from aiomsi.inventory._parts import thread as thread_module
from aiomsi.inventory._parts.folder import PartFolder
from aiomsi.inventory._parts.thread import PartThread
from aiomsi.inventory._parts.writer import PartFile
from aiomsi.testing import EmbeddedAzure

pytestmark = pytest.mark.anyio


def fail() -> None:
    raise OSError("no space")


@contextmanager
def hold_thread(thread: PartThread) -> Iterator[threading.Event]:
    """Keep the thread busy until the event is set, at the end of the block at the latest."""
    event = threading.Event()
    thread.submit(event.wait, size=10)
    try:
        yield event
    finally:
        event.set()


async def start(awaitable: Awaitable[Any]) -> asyncio.Task[Any]:
    """Return a task that has run until it waits."""

    async def run() -> Any:
        return await awaitable

    task = asyncio.create_task(run(), name="waits")
    for _ in range(5):
        await asyncio.sleep(0)
    return task


async def test_calls_run_in_order_in_another_thread() -> None:
    seen: list[object] = []
    async with PartThread() as thread:
        thread.submit(seen.append, 1)
        thread.submit(lambda: seen.append(threading.current_thread().name))
        assert await thread.run(len, seen) == 2
        await thread.drain(0)
    assert seen[0] == 1
    assert str(seen[1]).startswith("aiomsi-parts")


async def test_drain_waits_only_while_much_is_pending() -> None:
    async with PartThread() as thread:
        with hold_thread(thread) as event:
            await thread.drain(10)
            more = await start(thread.drain(9))
            everything = await start(thread.drain(0))
            assert not more.done()
            assert not everything.done()
            event.set()
            await asyncio.gather(more, everything)


async def test_error_is_raised_by_the_next_drain() -> None:
    async with PartThread() as thread:
        thread.submit(fail)
        with pytest.raises(OSError, match="no space"):
            await thread.drain(0)
        await thread.drain(0)


async def test_error_of_a_read_is_raised_there() -> None:
    async with PartThread() as thread:
        with pytest.raises(OSError, match="no space"):
            await thread.run(fail)


async def test_error_that_no_drain_saw_ends_the_block() -> None:
    async def use() -> None:
        async with PartThread() as thread:
            thread.submit(fail)

    with pytest.raises(OSError, match="no space"):
        await use()


async def test_error_of_the_block_comes_first() -> None:
    async def use() -> None:
        async with PartThread() as thread:
            thread.submit(fail)
            raise KeyError

    with pytest.raises(KeyError):
        await use()


@pytest.mark.parametrize("method", ["run", "drain"])
async def test_cancelled_wait_leaves_the_call_to_its_end(method: str) -> None:
    done: list[int] = []
    async with PartThread() as thread:
        with hold_thread(thread) as event:
            wait = thread.run(done.append, 1) if method == "run" else thread.drain(0)
            task = await start(wait)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            thread.submit(done.append, 2)
            assert done == []
            event.set()
    assert done == [1, 2] if method == "run" else [2]


async def test_block_ends_after_its_calls_although_cancelled() -> None:
    done: list[int] = []
    entered, event = asyncio.Event(), threading.Event()

    async def use() -> None:
        async with PartThread() as thread:
            thread.submit(event.wait)
            thread.submit(done.append, 1)
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(use(), name="use")
    await entered.wait()
    task.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    # A second cancellation waits for the calls as well, without the event loop.
    threading.Timer(0, event.set).start()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [1]


@pytest.mark.usefixtures("azure_environment")
async def test_cancelled_run_leaves_whole_parts_alone(
    embedded_azure: EmbeddedAzure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by SIGTERM, while the thread writes a page and others are pending."""
    embedded_azure.arm.generate(subscriptions=6, resources=120)
    writing, go = threading.Event(), threading.Event()
    write = PartFile.write
    left = [4]

    def hold(file: PartFile, data: bytes) -> None:
        left[0] -= 1
        if not left[0]:
            writing.set()
            go.wait()
        write(file, data)

    async with ArmSession() as arm:
        plan = await inventory.plan(arm)
        with monkeypatch.context() as patch:
            patch.setattr(PartFile, "write", hold)
            run = asyncio.create_task(
                inventory.run_shard(arm, plan, plan.scopes, tmp_path), name="run"
            )
            await asyncio.to_thread(writing.wait)
            run.cancel()
            go.set()
            with pytest.raises(asyncio.CancelledError):
                await run
        parts = PartFolder(tmp_path)
        assert not [name for name in parts.place.list_names() if ".tmp-" in name]
        present = parts.find_present(plan.scopes)
        assert 3 <= len(present) < len(plan.scopes)
        assert all(parts.read_result(scope) for scope in present)
        results = await inventory.run_shard(arm, plan, plan.scopes, tmp_path)
    assert {result.state for result in results} == {"read"}


@pytest.mark.usefixtures("azure_environment")
async def test_pages_wait_for_a_slow_disk(
    embedded_azure: EmbeddedAzure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread_module, "MAX_PENDING", 0)
    embedded_azure.arm.generate(subscriptions=2, resources=60)
    async with ArmSession() as arm:
        plan = await inventory.plan(arm)
        results = await inventory.run_shard(arm, plan, plan.scopes, tmp_path)
    assert {result.state for result in results} == {"read"}
    assert all(result.received for result in results)


async def test_writer_without_a_thread_writes_at_once(tmp_path: Path) -> None:
    scope = inventory.Scope("0", "list")
    writer = PartFolder(tmp_path).make_writer(scope)
    writer.add([{"id": "/a"}])
    await writer.drain()
    writer.finish(inventory.ScopeResult(scope, "read", 1))
    assert list(PartFolder(tmp_path).iter_rows(scope)) == [{"id": "/a"}]


@pytest.mark.usefixtures("azure_environment")
async def test_part_that_an_open_file_blocks_is_read_again(
    embedded_azure: EmbeddedAzure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows refuses to replace an open file."""
    embedded_azure.arm.generate(subscriptions=2, resources=20)

    def refuse(_path: Path, target: Path) -> None:
        raise PermissionError(13, "in use", str(target))

    async with ArmSession() as arm:
        plan = await inventory.plan(arm)
        PartFolder(tmp_path).open(plan)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", refuse)
            with pytest.raises(PermissionError):
                await inventory.run_shard(arm, plan, plan.scopes, tmp_path)
        assert PartFolder(tmp_path).place.list_names() == ["plan.json"]
        results = await inventory.run_shard(arm, plan, plan.scopes, tmp_path)
    assert {result.state for result in results} == {"read"}
