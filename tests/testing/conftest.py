from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
from testing.embedded_client import Concurrently

_Result = TypeVar("_Result")


@pytest.fixture
def concurrently() -> Iterator[Concurrently]:
    """Return a function that runs another one concurrently, in threads."""
    with ThreadPoolExecutor(32) as pool:

        def start(number: int, function: Callable[[], _Result]) -> Callable[[], list[_Result]]:
            futures = [pool.submit(function) for _ in range(number)]
            return lambda: [future.result(30) for future in futures]

        yield start
