"""Count the cases of the nine checks, fail the tests of failed ones, and print the sums."""

from collections.abc import Generator

import pytest
from recorded.checks import format_table, take_failures
from recorded.sequences import FOLDER

_MOST_SHOWN = 20


@pytest.fixture
def anyio_backend() -> str:
    """Run in one kind of event loop: recorded traffic does not depend on it."""
    return "asyncio"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    try:
        result = yield
    finally:
        failed = take_failures()
    if failed:
        pytest.fail(
            "\n".join([f"{len(failed)} cases failed in {item.name}", *failed[:_MOST_SHOWN]]),
            pytrace=False,
        )
    return result


# In quotes, because the lowest tested version lacks the name.
def pytest_terminal_summary(terminalreporter: "pytest.TerminalReporter") -> None:
    if FOLDER and (lines := format_table()):
        terminalreporter.section("recorded traffic")
        for line in lines:
            terminalreporter.line(line)
