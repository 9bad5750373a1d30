"""A clock at which garbage is collected: wherever the library reads it, under its locks too."""

import gc
import threading
import time
from collections.abc import Callable
from typing import Self

from aiomsi import Clock


class Collecting:
    """Keeps the collector off while it is entered, but for the calls that it is asked to make.

    Attributes:
        clock: the system's, otherwise.

    """

    def __init__(self) -> None:
        self._armed = False
        self.clock = Clock(wall=self._wall)

    def _wall(self) -> float:
        if self._armed:
            gc.collect()
        return time.time()

    def __enter__(self) -> Self:
        gc.disable()
        return self

    def __exit__(self, *_: object) -> None:
        self._armed = False
        gc.enable()

    def ends(self, call: Callable[[str], object], argument: str) -> bool:
        """Call a function during a collection, in a thread, and return whether it ended."""
        self._armed = True
        thread = threading.Thread(target=call, args=(argument,), daemon=True)
        thread.start()
        thread.join(30)
        return not thread.is_alive()
