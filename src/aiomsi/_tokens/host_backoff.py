"""The state that the slots of one host share: its `Retry-After`, and their turns to send."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterator

from aiomsi._clock import Clock
from aiomsi._tokens.flight import current_flights
from aiomsi._tokens.host_limits import (
    GRACE,
    LEASE,
    WINDOW,
    Load,
    RequestLimits,
    get_request_delay,
)
from aiomsi._util.compat import call_after_fork
from aiomsi._util.running_time import RunningTimeout


class HeldOffError(Exception):
    """The host's `Retry-After` lasts for longer than the fetch may wait."""


class HostTurn:
    """The turn of one request to be sent to a host, owned by the fetch that sends it.

    Attributes:
        due: the time of the next decision about a turn that has not come yet.
        sent: the time at which the turn came, and the request was sent.
        ended: the time at which the response was received, or the fetch gave up waiting for it;
            the fetch sets it.

    """

    due: float
    sent: float
    ended: float | None = None


class HostBackoff:
    """The state of a host, which its slots share in any event loop and thread.

    The lock is held for the decision only. A turn is ended without the lock, because the
    garbage collector may finalize a fetch of a closed loop on a thread that holds the lock.

    Attributes:
        limits: the limits of the host. If its requests are not limited, this is None, and only
            `retry_at` counts.
        retry_at: the time on the monotonic clock before which the host is sent no request.

    """

    def __init__(self, limits: RequestLimits | None = None) -> None:
        self.limits = limits
        self.retry_at: float = float("-inf")
        self._lock = threading.RLock()
        self._waiting: dict[HostTurn, None] = {}
        self._sent: dict[HostTurn, None] = {}
        _all.add(self)

    def hold_off(self, until: float) -> None:
        """Send no request before that time."""
        self.retry_at = max(self.retry_at, until)

    def forget(self) -> None:
        """Forget the host's `Retry-After`."""
        self.retry_at = float("-inf")

    def take(self, turn: HostTurn, now: float) -> float:
        """Take the turn and return 0.0, or return the seconds until the next check."""
        limits = self.limits
        with self._lock:
            delay = max(0.0, self.retry_at - now)
            if (
                not delay
                and limits is not None
                and (self._waiting or len(self._sent) >= limits.at_once)
            ):
                delay = get_request_delay(self._load(turn, now), limits, now)
            if delay:
                turn.due = now + delay
                self._waiting[turn] = None
                return delay
            self._waiting.pop(turn, None)
            if limits is not None:
                turn.sent = now
                self._sent[turn] = None
            return 0.0

    async def wait(self, turn: HostTurn, clock: Clock, patience: float) -> tuple[float, float]:
        """Wait for a turn, and take it.

        The waiting time does not count for the fetches and flights that this task belongs to.

        Args:
            turn: the turn of the request.
            clock: the clock to wait by.
            patience: the longest wait in seconds for a `Retry-After`.

        Returns:
            The seconds of the wait, and how many of those the `Retry-After` demanded.

        Raises:
            HeldOffError: the host's `Retry-After` lasts for longer than `patience`.

        """
        came = now = clock.monotonic()
        held = 0.0
        try:
            with _pause_timeouts():
                while delay := self.take(turn, now):
                    pause = max(0.0, self.retry_at - now)
                    if held + pause > patience:
                        raise HeldOffError
                    await clock.sleep(delay)
                    now = clock.monotonic()
                    held += pause
        finally:
            self._waiting.pop(turn, None)
        return now - came, held

    def _load(self, turn: HostTurn, now: float) -> Load:
        ahead, sent, responses = 0, [], []
        # Copies, because a fetch may end its turn meanwhile.
        for other in list(self._waiting):
            if other is turn:
                break
            ahead += now < other.due + GRACE
            if now >= other.due + LEASE:
                self._waiting.pop(other, None)
        for other in list(self._sent):
            ended = other.ended
            if ended is None and now < other.sent + LEASE:
                sent.append(other.sent)
            elif ended is not None and now < ended + WINDOW:
                responses.append(ended)
            else:
                self._sent.pop(other, None)
        return Load(ahead, len(sent), now - max(sent, default=now), tuple(sorted(responses)))

    def _after_fork(self) -> None:
        """Reset in a forked child, where all turns belong to the parent."""
        self._lock = threading.RLock()
        self._waiting, self._sent = {}, {}


@contextlib.contextmanager
def _pause_timeouts() -> Iterator[None]:
    timeouts: list[RunningTimeout] = [
        each for flight in current_flights.get() for each in flight.timeouts_here()
    ]
    for timeout in timeouts:
        timeout.pause()
    try:
        yield
    finally:
        for timeout in timeouts:
            timeout.resume()


_all: weakref.WeakSet[HostBackoff] = weakref.WeakSet()


def _reset_after_fork() -> None:
    for each in list(_all):
        each._after_fork()  # noqa: SLF001 (one module)


call_after_fork(_reset_after_fork)
