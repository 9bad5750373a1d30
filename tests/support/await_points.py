"""The library's await points, read from its syntax trees, and a task factory that cancels there."""

import ast
import asyncio
import dis
import enum
import functools
import gc
import inspect
import math
import threading
import types
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator
from pathlib import Path
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, GeneratorType
from typing import Any, TypeAlias

import anyio
import attrs

_KINDS = {0: "await", 1: "enter", 2: "exit"}
"""What the argument of GET_AWAITABLE says about where the instruction stems from."""

_AWAITING = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
"""Flags of the code that may have the instruction."""

_Place: TypeAlias = tuple[str, int, int | None, int, int | None]


@attrs.frozen
class Point:
    """A place in the source where a coroutine may be suspended; without its line, which changes."""

    module: str
    function: str
    text: str

    def __str__(self) -> str:
        return f"{self.module} {self.function}: {self.text}"


def _shorten(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        node = ast.Call(node.func, [ast.Constant(...)] if node.args or node.keywords else [], [])
    return ast.unparse(node)


def _get_place(kind: str, node: ast.stmt | ast.expr) -> _Place:
    return kind, node.lineno, node.end_lineno, node.col_offset, node.end_col_offset


class _Reader(ast.NodeTransformer):
    """Finds the points of a module, and marks them in its tree so that its byte code shows them.

    Of `async with a, b:` Python 3.11 gives all four points one and the same place; so it is
    rewritten as two statements, each with a place of its own. That changes nothing else (`Awaits`
    compares the byte code).
    """

    def __init__(self, module: str) -> None:
        self.points: dict[Point, None] = {}
        self.places: dict[_Place, Point] = {}
        self._module = module
        self._names: list[str] = []

    def _add(self, text: str, *places: _Place) -> None:
        point = Point(self._module, ".".join(self._names[:-1]), text)
        number = 1
        while point in self.points:
            number += 1
            point = attrs.evolve(point, text=f"{text} #{number}")
        self.points[point] = None
        for place in places:
            assert self.places.setdefault(place, point) is point, f"two points at {place}"

    def _named(self, node: ast.AST, *names: str) -> ast.AST:
        self._names += names
        self.generic_visit(node)
        del self._names[-len(names) :]
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._named(node, node.name)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._named(node, node.name, "<locals>")

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._named(node, node.name, "<locals>")

    def visit_Await(self, node: ast.Await) -> ast.AST:
        self._add(f"await {_shorten(node.value)}", _get_place("await", node))
        return self.generic_visit(node)

    def visit_AsyncWith(self, node: ast.AsyncWith) -> ast.AST:
        parts = []
        for number, item in enumerate(node.items):
            part = ast.AsyncWith([item], [], lineno=node.lineno, end_lineno=node.lineno)
            part.col_offset, part.end_col_offset = 10_000 * (number + 1), 10_000 * (number + 1) + 1
            for kind in ("enter", "exit"):
                # Which of the two it is depends on the Python.
                self._add(
                    f"async with {_shorten(item.context_expr)}: {kind}",
                    _get_place(kind, part),
                    _get_place(kind, item.context_expr),
                )
            parts.append(part)
        self.generic_visit(node)
        body = node.body
        for part in reversed(parts):
            part.body = body
            body = [part]
        return parts[0]

    # These two are found, so that the first of them in the library is missed by every scenario; to
    # see a coroutine stand there, `Awaits` would have to know their byte code.

    def visit_AsyncFor(self, node: ast.AsyncFor) -> ast.AST:
        self._add(f"async for {_shorten(node.iter)}")
        return self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        if node.is_async:
            self._add(f"async for {_shorten(node.iter)}")
        return self.generic_visit(node)


def _iter_codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _iter_codes(constant)


def _compile(tree: ast.AST) -> list[CodeType]:
    # Without the future statements of this module; and not as an interactive one.
    return list(_iter_codes(compile(tree, "<tree>", "exec", dont_inherit=True)))  # type: ignore[call-overload]  # a module's tree


@attrs.frozen
class Stand:
    """Where a task is suspended.

    Attributes:
        points: the library's on its stack, outermost first.
        below: the foreign coroutine that is suspended below the last of them, if one is.
        by_future: whether a future wakes it, and not just the next turn of the loop.

    """

    points: tuple[Point, ...]
    below: str
    by_future: bool


class Awaits:
    """The await points of some modules, and which of them a suspended coroutine stands at."""

    def __init__(self, sources: Iterable[tuple[str, str]]) -> None:
        """Take modules as pairs of name and source."""
        self.points: list[Point] = []
        self._read: list[tuple[str, str, _Reader, ast.AST]] = []
        for name, source in sources:
            reader = _Reader(name.rpartition(".")[2])
            self._read.append((name, source, reader, reader.visit(ast.parse(source))))
            self.points += reader.points

    @functools.cached_property
    def _at(self) -> dict[tuple[str, str, int], dict[int, Point]]:
        # Compiled where a coroutine stands, and not by a process that only collects the tests.
        found: dict[tuple[str, str, int], dict[int, Point]] = {}
        for name, source, reader, tree in self._read:
            for code, twin in zip(_compile(ast.parse(source)), _compile(tree), strict=True):
                assert code.co_code == twin.co_code, (
                    f"the rewritten {code.co_qualname} of {name} is another function"
                )
                if code.co_flags & _AWAITING:
                    offsets = dict(_map_offsets(twin, reader.places))
                    found[name, code.co_qualname, code.co_firstlineno] = offsets
        return found

    def stand(self, awaitable: object, awaited: object) -> Stand:
        """Return the place of a coroutine that is suspended until `awaited` is done."""
        points, below = [], ""
        while isinstance(
            awaitable := _get_generator(awaitable),
            CoroutineType | GeneratorType | AsyncGeneratorType,
        ):
            if isinstance(awaitable, CoroutineType):
                frame, awaitable = awaitable.cr_frame, awaitable.cr_await
            elif isinstance(awaitable, GeneratorType):
                frame, awaitable = awaitable.gi_frame, awaitable.gi_yieldfrom
            else:
                frame, awaitable = awaitable.ag_frame, awaitable.ag_await
            assert frame is not None, "it has ended"
            point = self._point(frame)
            below = "" if point else frame.f_code.co_qualname
            if point is not None:
                points.append(point)
        return Stand(tuple(points), below, asyncio.isfuture(awaited))

    def _point(self, frame: FrameType) -> Point | None:
        code = frame.f_code
        offsets = self._at.get(
            (frame.f_globals.get("__name__", ""), code.co_qualname, code.co_firstlineno)
        )
        return None if offsets is None else offsets.get(frame.f_lasti)


def _get_generator(awaitable: object) -> object:
    """Return the generator of a step of an asynchronous generator, any other object as is."""
    if type(awaitable).__name__ not in {"async_generator_asend", "async_generator_athrow"}:
        return awaitable
    return next(
        each for each in gc.get_referents(awaitable) if isinstance(each, AsyncGeneratorType)
    )


def _map_offsets(code: CodeType, places: dict[_Place, Point]) -> Iterator[tuple[int, Point]]:
    """Map each instruction to the point whose GET_AWAITABLE precedes it, as in suspended frames."""
    point: Point | None = None
    for instruction in dis.get_instructions(code):
        if instruction.opname == "GET_AWAITABLE":
            assert instruction.positions is not None
            # What is in none of these places is the await of an asynchronous comprehension, which
            # nobody has written.
            point = places.get((_KINDS[instruction.arg or 0], *instruction.positions))  # type: ignore[arg-type]  # full positions
        if point is not None:
            yield instruction.offset, point


class Way(enum.Enum):
    """How a task is cancelled."""

    TASK = "by its task"
    WOKEN = "by its task, as it is woken"
    SCOPE = "by an anyio scope"


@attrs.define(eq=False)
class Watch:
    """Observes where the tasks of its loops are suspended; cancels the first one at the target.

    Attributes:
        seen: where tasks stood, in the order in which they came there.
        victim: the task that was cancelled.
        delivered: whether it was woken from the target by that, or is shielded from it.
        shielded: whether it is shielded from the scope's cancellation, which it may never notice.
        when_ended: called as soon as the victim has ended, in its loop.

    """

    awaits: Awaits
    target: Stand | None = None
    way: Way = Way.TASK
    when_ended: Callable[[], object] = lambda: None
    seen: dict[Stand, None] = attrs.field(factory=dict)
    victim: asyncio.Task[Any] | None = None
    delivered: bool = False
    shielded: bool = False
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    def install(self, loop: asyncio.AbstractEventLoop, *, eager: bool) -> None:
        """Watch every task that is created in this loop from now on."""

        def factory(
            loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any
        ) -> asyncio.Task[Any]:
            if eager:
                options["eager_start"] = True
            task: asyncio.Task[Any] = asyncio.Task(self._run(coroutine), loop=loop, **options)
            # A task that is cancelled before its first step would else leave a coroutine that was
            # never awaited.
            task.add_done_callback(lambda _: coroutine.close())
            return task

        loop.set_task_factory(factory)

    async def _run(self, coroutine: Coroutine[Any, Any, Any]) -> object:
        task = asyncio.current_task()
        assert task is not None
        if self.way is not Way.SCOPE:
            return await self._follow(coroutine, task.cancel)
        with anyio.CancelScope() as scope:
            return await self._follow(coroutine, scope.cancel)
        return asyncio.CancelledError

    @types.coroutine
    def _follow(
        self, coroutine: Coroutine[Any, Any, Any], cancel: Callable[[], object]
    ) -> Generator[Any, None, Any]:
        step: Callable[[], Any] = functools.partial(coroutine.send, None)
        while True:
            try:
                awaited = step()
            except StopIteration as stop:
                return stop.value
            struck = self._strike(self.awaits.stand(coroutine, awaited), awaited, cancel)
            try:
                if struck and self.way is Way.SCOPE and not self._is_shielded():
                    yield from _wait_for_cancellation(awaited)
                else:
                    yield awaited
            except BaseException as error:  # noqa: BLE001 (handed on)
                self.delivered |= struck and isinstance(error, asyncio.CancelledError)
                step = functools.partial(coroutine.throw, error)
            else:
                step = functools.partial(coroutine.send, None)

    def _is_shielded(self) -> bool:
        """Return whether the scope's cancellation arrives only after the shield around an await."""
        self.shielded = anyio.current_effective_deadline() > -math.inf
        self.delivered |= self.shielded
        return self.shielded

    def _strike(self, stand: Stand, awaited: object, cancel: Callable[[], object]) -> bool:
        if not stand.points:
            return False
        with self._lock:
            self.seen[stand] = None
            if stand != self.target or self.victim is not None:
                return False
            self.victim = asyncio.current_task()
        assert self.victim is not None
        self.victim.add_done_callback(lambda _: self.when_ended())
        if self.way is Way.WOKEN and asyncio.isfuture(awaited):
            # Called before the task's own wake-up, which is added later.
            awaited.add_done_callback(lambda _: cancel())
        else:
            cancel()
        return True

    def was_cancelled(self) -> bool:
        """Return whether the victim, which has ended, ended as cancelled."""
        assert self.victim is not None
        # A scope takes its own cancellation back, but not that of somebody who had cancelled this
        # task before.
        return (
            self.shielded
            or self.victim.cancelled()
            or (self.way is Way.SCOPE and self.victim.result() is asyncio.CancelledError)
        )


def _wait_for_cancellation(awaited: Any) -> Generator[Any, None, None]:
    # A scope cancels one step later: nothing else may wake the task before. Then the same happens
    # as in `Task.cancel`.
    try:
        yield from asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        if asyncio.isfuture(awaited) and awaited.cancel():
            # So that what else is to be done when this future ends is done before the task goes on.
            awaited._asyncio_future_blocking = True
            yield awaited
        raise


def read(*paths: Path, package: str, home: Path) -> Awaits:
    """Read the await points of these files below `home`, the folder of that package."""
    names = (".".join((package, *path.relative_to(home).with_suffix("").parts)) for path in paths)
    return Awaits(
        (name, path.read_text(encoding="utf-8")) for name, path in zip(names, paths, strict=True)
    )
