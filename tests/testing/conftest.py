from concurrent.futures import ThreadPoolExecutor

import pytest


@pytest.fixture
def concurrently():
    """Run a function several times at once, in threads; the result waits for theirs."""
    with ThreadPoolExecutor(32) as pool:

        def start(number, function):
            futures = [pool.submit(function) for _ in range(number)]
            return lambda: [future.result(10) for future in futures]

        yield start
