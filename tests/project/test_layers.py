"""The rules of the layers. The modules' imports are read from their sources, not run."""

import ast
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

import aiomsi

pytestmark = pytest.mark.once

HOME = Path(aiomsi.__file__).parent

ORDER = (
    "_cli",
    "integrations",
    "inventory",
    "",
    "_arm",
    "_credentials",
    "_hosts",
    "_tokens",
    "_clouds",
    "_util",
    "_errors",
    "_tracing",
    "_azure_core",
    "_clock",
)
"""The folders and the modules beside them. Each imports only from those further right."""
AT_THE_TOP = {"__main__": "_cli", "_version": "_util"}
"""Modules that count as part of a folder."""
PURE_FOLDERS = ("_arm.protocol", "_hosts")
WAITING_TOKENS = {
    "_tokens",
    "_tokens.flight",
    "_tokens.host_backoff",
    "_tokens.slot",
    "_tokens.slot_table",
}
"""The modules of `_tokens` that wait. All others are pure."""
DISCOVER = ("_clouds", "_arm.discovery")
"""The one import to the left: `Cloud.discover` sends a request when it is called."""
TESTING_USES = {"_clock", "_clouds", "_util.lazy"}
TRACER = "_tracing.tracer"
IO = {"asyncio", "aiohttp", "anyio", "socket", "ssl", "threading"}
HTTP = {"aiohttp", "http", "urllib", "yarl", "multidict", "socket", "ssl"}
MOST_MODULES = 16


def name_module(path: Path) -> str:
    """Return the name of a file's module within the package; the root is the empty name."""
    parts = path.relative_to(HOME).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def find_modules() -> dict[str, Path]:
    return {name_module(path): path for path in sorted(HOME.rglob("*.py"))}


def walk_at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a tree, except those that only a type checker sees."""
    todo = [node]
    while todo:
        for child in ast.iter_child_nodes(todo.pop()):
            test = child.test if isinstance(child, ast.If) else None
            if isinstance(child, ast.If) and getattr(test, "id", "") == "TYPE_CHECKING":
                yield from child.orelse
                todo += child.orelse
                continue
            yield child
            todo.append(child)


def read_source(module: str) -> str:
    return find_modules()[module].read_text(encoding="utf-8")


def parse_module(module: str) -> ast.Module:
    return ast.parse(read_source(module))


def read_imports(nodes: Iterator[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, ast.unparse(node)
            base = node.module or ""
            for alias in node.names:
                inner = f"{base}.{alias.name}".removeprefix("aiomsi.")
                yield f"{base}.{alias.name}" if inner in find_modules() else base


@cache
def read_all_imports(module: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the imports at run time, and those that a type checker sees."""
    tree = parse_module(module)
    return frozenset(read_imports(walk_at_run_time(tree))), frozenset(read_imports(ast.walk(tree)))


def list_imports(module: str, *, typing: bool = False) -> frozenset[str]:
    """Return the full names of the modules that a module imports, at its top or later."""
    return read_all_imports(module)[typing]


def list_own_imports(module: str, *, typing: bool = False) -> set[str]:
    names = (name for name in list_imports(module, typing=typing) if name.split(".")[0] == "aiomsi")
    return {name.removeprefix("aiomsi").removeprefix(".") for name in names}


def list_foreign_imports(module: str) -> set[str]:
    return {name.split(".")[0] for name in list_imports(module)} - {"aiomsi"}


def get_folder(module: str) -> str:
    first = module.partition(".")[0]
    return AT_THE_TOP.get(first, first)


def is_below(module: str, folder: str) -> bool:
    return module == folder or module.startswith(f"{folder}.")


def states_pure(module: str) -> bool:
    """Return whether a module's docstring has the words "No I/O", so that it must hold them."""
    return "no i/o" in (ast.get_docstring(parse_module(module)) or "").lower()


@cache
def find_pure_modules() -> list[str]:
    """Return the modules that state, or whose folders state, that they do no I/O."""
    folders = [
        module for module, path in find_modules().items() if path.stem == "__init__" and module
    ]
    stating = [folder for folder in folders if states_pure(folder)]
    return [
        module
        for module in find_modules()
        if states_pure(module) or any(is_below(module, folder) for folder in stating)
    ]


def list_library() -> list[str]:
    return [module for module in find_modules() if get_folder(module) != "testing"]


def test_every_module_belongs_to_a_folder_of_the_order() -> None:
    assert {get_folder(module) for module in list_library()} == set(ORDER)


@pytest.mark.parametrize("folder", ORDER)
def test_folder_imports_only_itself_and_folders_below(folder: str) -> None:
    allowed = ORDER[ORDER.index(folder) :] + (("testing",) if folder == "_cli" else ())
    for module in (each for each in list_library() if get_folder(each) == folder):
        beyond = {name for name in list_own_imports(module) if get_folder(name) not in allowed}
        assert beyond <= ({DISCOVER[1]} if module == DISCOVER[0] else set()), module


def test_hooks_of_tracing_read_the_tracer_once() -> None:
    hooks = 0
    for module in (each for each in list_library() if TRACER in read_source(each)):
        for function in ast.walk(parse_module(module)):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                reads = [
                    node
                    for node in ast.walk(function)
                    if isinstance(node, ast.Attribute)
                    and isinstance(node.ctx, ast.Load)
                    and ast.unparse(node) == TRACER
                ]
                hooks += len(reads)
                assert len(reads) <= 1, f"{module}, {function.name}"
    assert hooks > 0


def test_folders_of_protocols_and_most_of_tokens_are_pure() -> None:
    pure = set(find_pure_modules())
    for module in find_modules():
        if module in WAITING_TOKENS:
            assert module not in pure, module
        elif any(is_below(module, folder) for folder in ("_tokens", *PURE_FOLDERS)):
            assert module in pure, module


def test_pure_modules_import_no_io() -> None:
    pure = find_pure_modules()
    for module in pure:
        assert not list_foreign_imports(module) & IO, module
        assert all(
            name in pure
            or get_folder(name) in {"_clouds", "_errors", "_azure_core", "_clock", "_util"}
            for name in list_own_imports(module)
        ), module


def test_tokens_import_no_http() -> None:
    for module in (each for each in find_modules() if is_below(each, "_tokens")):
        assert not list_foreign_imports(module) & HTTP, module


def test_import_to_the_left_is_late() -> None:
    module, other = DISCOVER
    assert other in list_own_imports(module)
    top = {node.module for node in parse_module(module).body if isinstance(node, ast.ImportFrom)}
    assert f"aiomsi.{other}" not in top


def test_testing_is_imported_only_by_the_command_line() -> None:
    users = {
        each
        for each in list_library()
        if any(is_below(name, "testing") for name in list_own_imports(each))
    }
    assert {get_folder(module) for module in users} <= {"_cli"}
    inner = (module for module in find_modules() if get_folder(module) == "testing")
    used = {
        name
        for module in inner
        for name in list_own_imports(module)
        if get_folder(name) != "testing"
    }
    assert used == TESTING_USES


def test_core_needs_three_packages_and_optional_extras() -> None:
    needed = {
        name
        for each in list_library()
        if get_folder(each) not in {"_cli", "integrations"}
        for name in list_foreign_imports(each)
    }
    third = needed - set(sys.stdlib_module_names)
    assert third == {"aiohttp", "anyio", "attrs", "multidict", "yarl"} | {
        "filelock",
        "fsspec",
        "matplotlib",
        "orjson",
        "pyarrow",
    }


def find_circles(graph: Mapping[str, set[str]]) -> set[frozenset[str]]:
    """Return the sets of modules that import one another, directly or not."""
    reach: dict[str, set[str]] = {}
    for module in graph:
        seen: set[str] = set()
        todo = [module]
        while todo:
            for other in graph[todo.pop()] - seen:
                seen.add(other)
                todo.append(other)
        reach[module] = seen
    return {
        frozenset({module, *(other for other in reach[module] if module in reach[other])})
        for module in graph
        if module in reach[module]
    }


def read_graph(*, typing: bool) -> dict[str, set[str]]:
    graph = {
        module: list_own_imports(module, typing=typing) & set(find_modules())
        for module in find_modules()
    }
    graph[DISCOVER[0]] -= {DISCOVER[1]}
    return graph


def test_modules_import_each_other_in_no_circle() -> None:
    assert not find_circles(read_graph(typing=False))


def test_at_most_one_circle_exists_for_type_checkers_only() -> None:
    assert len(find_circles(read_graph(typing=True))) <= 1


def test_circle_is_found() -> None:
    assert find_circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}) == {frozenset("abc")}


def test_folder_has_at_most_sixteen_modules() -> None:
    folders = {path.parent for path in find_modules().values()}
    for folder in folders:
        names = [path.stem for path in folder.glob("*.py") if path.stem != "__init__"]
        assert len(names) <= MOST_MODULES, f"{folder}: {len(names)}"


def find_prefixes(names: list[str]) -> set[str]:
    """Return the first words that more than two of these modules have in common."""
    words = Counter(name.strip("_").split("_")[0] for name in names)
    return {word for word, count in words.items() if count > 2}


def test_no_prefix_of_modules_stands_for_a_folder() -> None:
    for folder in {path.parent for path in find_modules().values()}:
        names = [path.stem for path in folder.glob("*.py") if path.stem != "__init__"]
        assert not find_prefixes(names), folder


def test_prefix_of_three_modules_is_found() -> None:
    assert find_prefixes(["_arm_call", "arm", "arm_error", "slot", "slot_table"]) == {"arm"}


def test_private_folder_is_named_by_one_docstring() -> None:
    inits = {
        module: parse_module(module)
        for module, path in find_modules().items()
        if path.stem == "__init__"
        and module.rpartition(".")[2].startswith("_") | ("protocol" in module)
    }
    assert inits
    for module, tree in inits.items():
        assert len(tree.body) == 1, module
        assert ast.get_docstring(tree), module


def test_every_kind_of_import_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
from typing import TYPE_CHECKING
import aiomsi
import aiomsi._arm.protocol.links as links
from aiomsi import _clock, ArmSession
from aiomsi._hosts import imds, detect
if TYPE_CHECKING:
    from aiomsi import _clouds
else:
    import json
    if True:
        import socket
def f():
    import asyncio.events
"""
    path = tmp_path / "made_up.py"
    path.write_text(text)
    monkeypatch.setitem(find_modules(), "made_up", path)
    seen = {"", "_arm.protocol.links", "_clock", "_hosts.imds", "_hosts.detect"}
    assert list_own_imports("made_up") == seen
    assert list_own_imports("made_up", typing=True) == seen | {"_clouds"}
    assert list_foreign_imports("made_up") == {"typing", "json", "socket", "asyncio"}
    read_all_imports.cache_clear()
