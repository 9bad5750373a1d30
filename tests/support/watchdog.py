"""A watchdog: one thread that ends the test that hangs, for all tests."""

import threading
import time
from collections.abc import Callable

INTERVAL = 1.0
"""Seconds between two looks at the deadline."""


class Watchdog:
    """A thread that calls a function once, if its deadline passes before `release`.

    pytest-timeout starts and joins a thread for each test, which takes longer than most tests do.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._watched: tuple[float, Callable[[], object]] | None = None

    def start(self) -> None:
        """Start the thread, which ends with the process."""
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def watch(self, seconds: float, expire: Callable[[], object]) -> None:
        """Call `expire` in the thread after these seconds, in place of an earlier function."""
        self._watched = (self._now() + seconds, expire)

    def release(self) -> None:
        """Forget the deadline."""
        self._watched = None

    def check(self) -> None:
        """Call the function whose deadline has passed."""
        watched = self._watched
        if watched is not None and watched[0] <= self._now():
            self._watched = None
            watched[1]()

    def _run(self) -> None:
        while True:
            self.check()
            time.sleep(INTERVAL)
