"""No test asserts a real duration, because a busy machine takes any number of seconds."""

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

TESTS = Path(__file__).parents[1]
CLOCKS = {"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "time", "time_ns"}
"""Of the module `time`. CPU time is not among them: it does not depend on other processes."""
OF_MODULE = r"\btime\.(?:monotonic|perf_counter|time)(?:_ns)?\(\)"
READING = re.compile(rf"{OF_MODULE}|loop(?:\(\))?\.time\(\)")
VIRTUAL = re.compile(r"\b(?:virtual_loop|VirtualLoop)\b")
"""A module with such a loop may assert `loop.time()`, which passes only when the test says so."""


def is_reading(node: ast.AST, *, virtual: bool) -> bool:
    """Return whether a node reads a real clock: that of the module `time`, or a loop's."""
    if not isinstance(node, ast.Call) or node.args:
        return False
    name = ast.unparse(node.func)
    owner, _, method = name.rpartition(".")
    if owner == "time":
        return method in CLOCKS
    return method == "time" and "loop" in owner and not virtual


def name_targets(node: ast.AST) -> Iterator[str]:
    """Yield the names that a statement or call stores its values in, such as a list by `append`."""
    match node:
        case ast.Assign(targets=targets):
            parts = (each for one in targets for each in ast.walk(one))
            yield from (each.id for each in parts if isinstance(each, ast.Name))
        case ast.AnnAssign(target=ast.Name(name)) | ast.AugAssign(target=ast.Name(name)):
            yield name
        case ast.NamedExpr(target=ast.Name(name)):
            yield name
        case ast.Call(func=ast.Attribute(ast.Name(name), "append" | "put" | "set_result")):
            yield name
        case ast.FunctionDef(name) | ast.AsyncFunctionDef(name):
            yield name


def find_sources(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes whose values a statement stores; for a function, those that it returns."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        returned = (each for each in ast.walk(node) if isinstance(each, ast.Return | ast.Yield))
        yield from (part for each in returned for part in ast.walk(each))
    else:
        yield from ast.walk(node)


def find_timed_assertions(source: str) -> list[int]:
    """Return the lines of assertions that compare a duration on a real clock.

    A duration is a difference of which one part was read from a clock, or a name, a list or the
    result of a function of the module with such a difference.
    """
    # A search for plain texts is faster than one for a pattern.
    if "time.monotonic" not in source and "perf_counter" not in source and ".time()" not in source:
        return []
    virtual = VIRTUAL.search(source) is not None
    if not re.search(OF_MODULE if virtual else READING, source):
        return []
    timed = {
        statement.name
        for statement in read_statements(source, READING)
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)
        and statement.name in Durations([statement], virtual=virtual).names
    }
    reading = re.compile("|".join((READING.pattern, *(rf"\b{name}\(" for name in timed))))
    statements = list(read_statements(source, reading))
    functions = [[statement] for statement in statements if hasattr(statement, "body")]
    others = [statement for statement in statements if not hasattr(statement, "body")]
    return [
        line
        for part in (*functions, others)
        for line in Durations(part, timed, virtual=virtual).find_assertions()
    ]


def read_statements(source: str, pattern: re.Pattern[str]) -> Iterator[ast.stmt]:
    """Yield the statements at the top of a module, of the blocks that match a pattern.

    Only these are parsed, for speed. ruff separates blocks by two empty lines.
    """
    start = 0
    for block in source.split("\n\n\n"):
        if pattern.search(block):
            try:
                tree = ast.parse(block)
            except SyntaxError:
                # The block is a part of a text in quotes.
                continue
            yield from ast.increment_lineno(tree, start).body
        start += block.count("\n") + 3


class Durations:
    """The durations in some statements that share their names."""

    def __init__(
        self, statements: Sequence[ast.stmt], timed: Iterable[str] = (), *, virtual: bool
    ) -> None:
        self._nodes = [node for statement in statements for node in ast.walk(statement)]
        self._virtual = virtual
        self._moments: set[str] = set()
        self.names = set(timed)
        # A name may be stored before the statement, in the order of the walk, that reads it.
        for _ in range(3):
            for node in self._nodes:
                self._follow(node)

    def _follow(self, node: ast.AST) -> None:
        for name in name_targets(node):
            sources = list(find_sources(node))
            if any(map(self._lasts, sources)):
                self.names.add(name)
            elif any(map(self._reads, sources)):
                self._moments.add(name)

    def _reads(self, node: ast.AST) -> bool:
        known = isinstance(node, ast.Name) and node.id in self._moments
        return known or is_reading(node, virtual=self._virtual)

    def _lasts(self, node: ast.AST) -> bool:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub):
            return any(map(self._reads, ast.walk(node)))
        return isinstance(node, ast.Name) and node.id in self.names

    def find_assertions(self) -> list[int]:
        """Return the lines of the assertions that compare a duration."""
        return [
            node.lineno
            for node in self._nodes
            if isinstance(node, ast.Assert)
            for compared in ast.walk(node.test)
            if isinstance(compared, ast.Compare) and any(map(self._lasts, ast.walk(compared)))
        ]


def test_no_test_asserts_a_real_duration() -> None:
    found = {
        path.name: find_timed_assertions(path.read_text(encoding="utf-8"))
        for path in TESTS.rglob("*.py")
    }
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "text",
    [
        "began = time.monotonic()\nassert time.monotonic() - began < 5",
        "began = time.perf_counter()\ntook = time.perf_counter() - began\nassert took < 0.1",
        "began = loop.time()\nassert 1 < asyncio.get_running_loop().time() - began",
        "took = []\nbegan = time.time()\ntook.append(time.time() - began)\nassert max(took) < 1",
        "def run():\n    began = time.time()\n    return time.time() - began\nassert run() < 1",
        "end = time.monotonic() + 5\nassert end - time.monotonic() > 1",
    ],
)
def test_assertion_of_a_real_duration_is_found(text: str) -> None:
    assert find_timed_assertions(text) == [len(text.splitlines())]


@pytest.mark.parametrize(
    "text",
    [
        "began = manual.clock.monotonic()\nassert manual.clock.monotonic() - began == 7",
        "from virtual_loop import run\nbegan = loop.time()\nassert loop.time() - began == 7",
        "assert token.expires_on > time.time()",
        "began = time.monotonic()\nprint(time.monotonic() - began)\nassert count - 1 < 5",
        "began = time.process_time()\ncost = time.process_time() - began\nassert cost < 8 * other",
        "assert count - 1 < 5",
    ],
)
def test_virtual_time_and_moments_may_be_asserted(text: str) -> None:
    assert find_timed_assertions(text) == []
