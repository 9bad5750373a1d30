"""No test compares a moment of a real clock for equality; read from the sources of the tests."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

TESTS = Path(__file__).parents[1]
CLOCKS = frozenset({"monotonic", "perf_counter", "process_time", "thread_time", "time"})
READING = re.compile(
    rf"\.when\(\)|loop(?:\(\))?\.time\(\)|\btime\.(?:{'|'.join(sorted(CLOCKS))})\(\)"
)


def reads_clock(node: ast.expr) -> bool:
    """Return whether an expression calls a clock, an event loop's time or a timer's `when`."""
    for each in ast.walk(node):
        match each:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="time"), attr=name)):
                found = name in CLOCKS
            case ast.Call(func=ast.Attribute(value=ast.Name(id="loop"), attr="time")):
                found = True
            case ast.Call(func=ast.Attribute(value=ast.Attribute(attr="loop"), attr="time")):
                found = True
            case ast.Call(func=ast.Attribute(value=ast.Call(func=made), attr="time")):
                found = ast.unparse(made).endswith("get_running_loop")
            case ast.Call(func=ast.Attribute(attr="when"), args=[]):
                found = True
            case _:
                found = False
        if found:
            return True
    return False


def is_rounded(node: ast.expr) -> bool:
    """Return whether an expression is `pytest.approx(...)`."""
    return isinstance(node, ast.Call) and ast.unparse(node.func).endswith("approx")


def find_comparisons(source: str) -> Iterator[str]:
    """Yield the comparisons for equality with a moment that no `pytest.approx` rounds."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        equal = any(isinstance(each, ast.Eq | ast.NotEq | ast.In) for each in node.ops)
        if equal and any(map(reads_clock, sides)) and not any(map(is_rounded, sides)):
            yield ast.unparse(node)


@pytest.mark.slow
def test_moments_are_not_compared_for_equality() -> None:
    sources = {path: path.read_text(encoding="utf-8") for path in TESTS.rglob("*.py")}
    # To parse all of the tests takes seconds.
    read = {path: text for path, text in sources.items() if READING.search(text)}
    assert len(read) > 10
    found = {str(path.relative_to(TESTS)): [*find_comparisons(text)] for path, text in read.items()}
    assert {path: each for path, each in found.items() if each} == {}


@pytest.mark.parametrize(
    ("source", "number"),
    [
        ("timer.when() == waiter.fails_at", 1),
        ("assert 1.5 == loop.time() - began", 1),
        ("self.loop.time() != 3", 1),
        ("asyncio.get_running_loop().time() == at", 1),
        ("time.monotonic() in moments", 1),
        ("timer.when() == pytest.approx(waiter.fails_at, abs=1)", 0),
        ("timer.when() < other.when()", 0),
        ("manual.clock.monotonic() == 3.0", 0),
        ("when(condition) == 3", 0),
    ],
)
def test_equality_of_moments_is_found(source: str, number: int) -> None:
    assert len(list(find_comparisons(source))) == number
