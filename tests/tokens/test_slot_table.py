"""Which slots a process keeps, and when it lets go of them."""

import asyncio
import gc
import pickle
import time
import weakref
from collections.abc import Iterator

import pytest
from fake_host import DAY, DOWN, REFUSED, Caller, FakeHost
from virtual_loop import VirtualLoop, run

from aiomsi import Clock
from aiomsi._tokens import slot_table as _table
from aiomsi._tokens.slot import Slot
from aiomsi._tokens.slot_table import Pace, SlotTable, get_shared_backoff, get_shared_slots
from aiomsi.testing import ManualClock


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.close()


def attach(table: SlotTable, scope: str, credential: object, owner: str = "identity") -> Slot:
    return table.attach(
        owner,
        scope,
        credential,
        lambda: Slot(scope, table.clock, users=weakref.WeakSet((credential,))),
    )


async def use(table: SlotTable, scope: str, host: FakeHost) -> weakref.ref[Slot]:
    """Open a credential, ask it for a token of that scope, and close it."""
    credential = Caller()
    slot = attach(table, scope, credential)
    await asyncio.gather(slot.get(credential, host), return_exceptions=True)
    slot.detach(credential)
    return weakref.ref(slot)


def is_kept(slot: weakref.ref[Slot]) -> bool:
    gc.collect()
    return slot() is not None


def test_sweep_is_due_each_second_and_when_the_table_has_doubled() -> None:
    pace = Pace()
    assert pace.is_due(0.0, 0)
    pace.note_sweep(0.0, 3)
    assert not pace.is_due(0.9, 15)
    assert pace.is_due(0.9, 16)
    pace.note_sweep(0.9, 10)
    assert not pace.is_due(1.8, 19)
    assert pace.is_due(1.8, 20)
    assert pace.is_due(1.9, 1)


def test_a_slot_with_a_usable_token_outlives_its_credentials(loop: VirtualLoop) -> None:
    async def main() -> None:
        table = SlotTable(loop.clock)
        slot = await use(table, "a", FakeHost())
        await asyncio.sleep(DAY - 11)
        attach(table, "b", Caller())
        assert is_kept(slot)
        await asyncio.sleep(2)
        attach(table, "c", Caller())
        assert not is_kept(slot)
        assert len(table.list_slots("identity")) == 1
        assert table.list_slots("other") == []

    run(main(), loop)


def test_a_slot_in_use_is_kept(loop: VirtualLoop) -> None:
    async def main() -> None:
        table, credential = SlotTable(loop.clock), Caller()
        slot = attach(table, "a", credential)
        await asyncio.sleep(100)
        attach(table, "b", credential)
        assert attach(table, "a", credential) is slot

    run(main(), loop)


@pytest.mark.parametrize(("answer", "quiet"), [(DOWN, 1.0), (REFUSED, 1.0)])
def test_a_slot_is_kept_for_a_minute_after_its_backoff(
    loop: VirtualLoop, answer: object, quiet: float
) -> None:
    async def main() -> None:
        table = SlotTable(loop.clock)
        slot = await use(table, "a", FakeHost([answer]))  # type: ignore[list-item]  # either of two failures
        await asyncio.sleep(60)
        attach(table, "b", Caller())
        assert is_kept(slot)
        await asyncio.sleep(quiet)
        attach(table, "c", Caller())
        assert not is_kept(slot)

    run(main(), loop)


def test_a_slot_with_a_flight_or_its_task_is_kept(loop: VirtualLoop) -> None:
    async def main() -> None:
        table, credential = SlotTable(loop.clock), Caller()
        slot = attach(table, "a", credential)
        call = asyncio.create_task(slot.get(credential, FakeHost(latency=5)))
        await asyncio.sleep(1)
        call.cancel()
        slot.detach(credential)
        reference = weakref.ref(slot)
        del slot, call
        table.sweep()
        assert is_kept(reference)
        kept = reference()
        assert kept is not None
        kept.forget()
        del kept
        table.sweep()
        assert is_kept(reference), "its task has not ended yet"
        await asyncio.sleep(0.1)
        table.sweep()
        assert not is_kept(reference)

    run(main(), loop)


def test_a_flight_of_a_closed_loop_does_not_keep_its_slot() -> None:
    manual = ManualClock()
    table, credential = SlotTable(manual.clock), Caller()
    slot = attach(table, "a", credential)
    stopped = asyncio.new_event_loop()
    call = stopped.create_task(slot.get(credential, FakeHost(latency=5)))
    stopped.run_until_complete(asyncio.sleep(0))
    stopped.run_until_complete(asyncio.sleep(0))
    (task,) = slot._tasks
    for each in (call, task):
        # Closing a loop without cancelling its tasks makes asyncio complain, and that is not the
        # subject.
        setattr(each, "_log_destroy_pending", False)  # noqa: B010 (no attribute of the type)
    stopped.close()
    slot.detach(credential)
    table.sweep()
    assert len(table.list_slots("identity")) == 1
    manual.advance(120)
    table.sweep()
    assert table.list_slots("identity") == []
    assert not slot._tasks


def test_a_clock_that_is_gone_takes_its_slots_along() -> None:
    clock = Clock(time.time, time.monotonic)
    slot = weakref.ref(attach(get_shared_slots(clock), "a", Caller()))
    assert get_shared_slots(clock) is get_shared_slots(clock)
    del clock
    assert not is_kept(slot)


def test_a_hosts_retry_after_is_shared_for_as_long_as_it_is_used() -> None:
    clock = ManualClock().clock
    backoff = get_shared_backoff(clock, "host", None)
    assert get_shared_backoff(clock, "host", None) is backoff
    assert get_shared_backoff(clock, "another", None) is not backoff
    reference = weakref.ref(backoff)
    del backoff
    gc.collect()
    assert reference() is None


def test_a_pickled_clock_holds_no_slots() -> None:
    clock = Clock(time.time, time.monotonic)
    attach(get_shared_slots(clock), "a", Caller())
    assert pickle.loads(pickle.dumps(clock)).shared == {}  # noqa: S301 (our own)


def test_a_forked_child_makes_its_lock_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    lock = _table._locks[0]
    monkeypatch.setattr(_table, "_locks", [lock])
    _table._reset_after_fork()
    assert _table._locks[0] is not lock
