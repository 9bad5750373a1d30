"""The slots of a process: found by key, shared by credentials, and dropped once they are idle."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from weakref import WeakValueDictionary

from aiomsi._clock import Clock
from aiomsi._tokens.host_backoff import HostBackoff
from aiomsi._tokens.host_limits import RequestLimits
from aiomsi._tokens.slot import Slot
from aiomsi._util.compat import call_after_fork

_SHARED = "aiomsi"


class Pace:
    """The times at which a growing table is swept: after a second, or once its size has doubled.

    A service may add thousands of scopes in a row. Not each of them causes a sweep, because a sweep
    reads the whole table.
    """

    def __init__(self, interval: float = 1.0) -> None:
        self.interval = interval
        self._next, self._most = float("-inf"), 16

    def is_due(self, monotonic: float, size: int) -> bool:
        """Return whether to sweep now."""
        return monotonic >= self._next or size >= self._most

    def note_sweep(self, monotonic: float, size: int) -> None:
        """Note a sweep, and how many entries it has left."""
        self._next, self._most = monotonic + self.interval, max(16, 2 * size)


class SlotTable:
    """Slots by identity and scope.

    A slot outlives the credentials that use it, because the next credential is often opened after
    the last one was closed. An example is a web server with one `ArmSession` for each request. A
    slot is dropped when no open credential uses it and it is idle: it has no usable token, flight,
    task or recent back-off.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._slots: dict[tuple[Hashable, Hashable], Slot] = {}
        self._pace = Pace()

    def attach(
        self, owner: Hashable, scope: Hashable, credential: object, make: Callable[[], Slot]
    ) -> Slot:
        """Return the slot of an owner's scope, with the credential registered.

        If the table has no such slot, `make` creates one in which the credential is registered.
        """
        key = owner, scope
        with _locks[0]:
            slot = self._slots.get(key)
            if slot is None:
                if self._slots and self._pace.is_due(self.clock.monotonic(), len(self._slots)):
                    self.sweep()
                slot = self._slots[key] = make()
            else:
                slot.attach(credential)
            return slot

    def list_slots(self, owner: Hashable) -> list[Slot]:
        """Return all slots of an owner."""
        with _locks[0]:
            return [slot for (each, _), slot in list(self._slots.items()) if each == owner]

    def sweep(self) -> None:
        """Drop the slots that are idle and unused."""
        with _locks[0]:
            for key, slot in list(self._slots.items()):
                if not slot.is_used() and slot.is_idle():
                    # A finalizer that ran meanwhile may have swept, too.
                    self._slots.pop(key, None)
            # A dictionary does not shrink when entries are deleted.
            self._slots = dict(self._slots)
            self._pace.note_sweep(self.clock.monotonic(), len(self._slots))


class _Shared:
    def __init__(self, clock: Clock) -> None:
        self.slots = SlotTable(clock)
        self.backoffs: WeakValueDictionary[Hashable, HostBackoff] = WeakValueDictionary()


def get_shared_slots(clock: Clock) -> SlotTable:
    """Return the slots that all credentials with this clock share."""
    return _get_shared(clock).slots


def get_shared_backoff(clock: Clock, place: Hashable, limits: RequestLimits | None) -> HostBackoff:
    """Return the state that the slots of a host share. It lives as long as any of them."""
    with _locks[0]:
        return _get_shared(clock).backoffs.setdefault(place, HostBackoff(limits))


def _get_shared(clock: Clock) -> _Shared:
    # The clock itself keeps the slots and host states. A dictionary by clock would keep every clock
    # for ever, even with weak keys, because the slots refer to their clock.
    shared: _Shared | None = clock.shared.get(_SHARED)
    return clock.shared.setdefault(_SHARED, _Shared(clock)) if shared is None else shared


# In a list, so that a forked child can replace it. Reentrant, because a signal handler, or a
# finalizer that closes a credential, may run while it is held.
_locks = [threading.RLock()]


def _reset_after_fork() -> None:
    _locks[0] = threading.RLock()


call_after_fork(_reset_after_fork)
