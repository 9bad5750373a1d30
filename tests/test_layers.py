"""Imports point one way: the modules' imports are read, not run."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import aiomsi

HOME = Path(aiomsi.__file__).parent

VALUES = {"_awaitable", "_clock", "_clouds", "_compat", "_errors", "_foreign", "_json", "_late", "_policy", "_secret", "_stats"}
VALUES |= {"_token", "_version"}
ARM_SAYS = {"_answers", "_attempts", "_codes", "_encoding", "_failures", "_help", "_limits", "_links"}
ARM_SAYS |= {"_paging", "_polling", "_queries", "_records", "_response", "_turn", "_waits"}
ARM_WANTS = {"_call", "_ids", "_look", "_progress", "_requests", "_retry", "_versions"}
ARM = {"arm"} | {f"arm.{name}" for name in ARM_SAYS | ARM_WANTS}
KNOWLEDGE = {"_ledger", "_pacing", "_retry", "_turns", "hosts", "hosts._protocol", "hosts.imds"}
KNOWLEDGE |= {"hosts._body", "hosts._network", "hosts._not_imds", "hosts._times"} | ARM
ARM_SENDS = {"_discovery", "_http", "_recovery", "_wire"}
ARM_OFFERS = {"_graph", "_joined", "_operations", "_pages", "_providers", "_session", "_settling", "_verbs"}
ARM_SHELLS = ARM_SENDS | ARM_OFFERS
MECHANISM = {"_flight", "_host_backoff", "_running_time", "_slot", "_table", "_tasks"}
SHELLS = {"_asking", "_credential", "_fetch", "_gate", "_inner", "_shared"} | {f"arm.{name}" for name in ARM_SHELLS}
TOP = {"", "__main__", "_demo", "cli"}

MAY_IMPORT = {
    "values": VALUES,
    "knowledge": VALUES | KNOWLEDGE,
    # Of knowledge, only what is known of a token, and of a host's limits.
    "mechanism": VALUES | MECHANISM | {"_ledger", "_pacing"},
    "shells": VALUES | KNOWLEDGE | MECHANISM | SHELLS,
}
LAYERS = {"values": VALUES, "knowledge": KNOWLEDGE, "mechanism": MECHANISM, "shells": SHELLS, "top": TOP}
TESTING_USES = {"_clock", "_clouds", "_late"}
LATE = {("_clouds", "arm._discovery")}
"""The one import against the arrows: `Cloud.discover` is where users look for it, and it has to ask somebody."""
WAITS_AND_SENDS = {"asyncio", "aiohttp", "anyio", "socket", "http", "ssl", "threading"}


def module_of(path: Path) -> str:
    """Name a file's module within the package; the root is the empty name."""
    parts = path.relative_to(HOME).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, Path]:
    return {module_of(path): path for path in sorted(HOME.rglob("*.py"))}


def at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """Walk a tree, but for what only a type checker sees."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            for other in child.orelse:
                yield other
                yield from at_run_time(other)
            continue
        yield child
        yield from at_run_time(child)


@cache
def imports_of(module: str) -> frozenset[str]:
    """Give the full names of the modules that a module imports, wherever it does."""
    found: set[str] = set()
    for node in at_run_time(ast.parse(modules()[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            base = node.module or ""
            for alias in node.names:
                inner = f"{base}.{alias.name}".removeprefix("aiomsi.")
                found.add(f"{base}.{alias.name}" if inner in modules() else base)
    return frozenset(found)


def own_imports(module: str) -> set[str]:
    return {name.removeprefix("aiomsi").removeprefix(".") for name in imports_of(module) if name.split(".")[0] == "aiomsi"}


def foreign_imports(module: str) -> set[str]:
    return {name.split(".")[0] for name in imports_of(module)} - {"aiomsi"}


def in_testing(module: str) -> bool:
    return module.partition(".")[0] == "testing"


def test_every_module_has_a_layer_and_only_one() -> None:
    known = [name for names in LAYERS.values() for name in names]
    assert sorted(known) == sorted(name for name in modules() if not in_testing(name))


@pytest.mark.parametrize("layer", MAY_IMPORT)
def test_a_layer_imports_itself_and_what_lies_below(layer: str) -> None:
    for module in LAYERS[layer]:
        beyond = {name for name in own_imports(module) - MAY_IMPORT[layer] if (module, name) not in LATE}
        assert not beyond, f"{module} imports {beyond}"


def test_knowledge_and_values_neither_wait_nor_send() -> None:
    for module in KNOWLEDGE:
        assert not foreign_imports(module) & WAITS_AND_SENDS, module
    # The clock's default is anyio's sleep.
    waiting = {module for module in VALUES if foreign_imports(module) & WAITS_AND_SENDS}
    assert waiting == {"_clock"}


def test_the_core_knows_neither_hosts_nor_http() -> None:
    for module in MECHANISM:
        assert not any(name.split(".")[0] in ("hosts", "arm") for name in own_imports(module)), module
        assert not foreign_imports(module) & {"aiohttp", "http", "urllib", "yarl", "multidict", "socket", "ssl"}, module


def at_the_top(module: str) -> set[str | None]:
    tree = ast.parse(modules()[module].read_text(encoding="utf-8"))
    return {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}


def test_the_session_knows_no_hosts_and_credentials_only_to_make_the_default_and_to_share_others() -> None:
    credentials = {"_credential", "_fetch", "_inner", "_shared"}
    for module in sorted(ARM):
        assert not own_imports(module) & credentials, module
    for module in sorted(f"arm.{name}" for name in ARM_SHELLS):
        assert not any(name.split(".")[0] == "hosts" for name in own_imports(module)), module
        assert own_imports(module) & credentials == ({"_credential", "_shared"} if module == "arm._session" else set()), module
    assert not at_the_top("arm._session") & {"aiomsi._credential", "aiomsi._shared"}
    assert not any(name.startswith("arm") for module in credentials for name in own_imports(module))


def test_an_import_against_the_arrows_is_late() -> None:
    for module, other in LATE:
        assert other in own_imports(module)
        assert f"aiomsi.{other}" not in at_the_top(module)


def test_nothing_imports_the_package_root() -> None:
    for module in modules():
        assert "" not in own_imports(module), module


def test_testing_is_imported_by_the_command_line_only_and_uses_next_to_nothing() -> None:
    users = {module for module in modules() if not in_testing(module) and any(map(in_testing, own_imports(module)))}
    assert users <= {"__main__", "_demo", "cli"}
    used = {name for module in modules() if in_testing(module) for name in own_imports(module) if not in_testing(name)}
    assert used == TESTING_USES
    assert own_imports("_clock") == set()
    assert own_imports("_clouds") == {"_errors", "_late", "arm._discovery"}
    assert own_imports("_errors") == set()


def test_only_the_top_imports_the_top() -> None:
    for module in modules():
        assert module in TOP or not own_imports(module) & TOP, module
    assert not own_imports("") & TOP


def test_the_core_needs_three_packages() -> None:
    import sys

    needed = {name for module in VALUES | KNOWLEDGE | MECHANISM | SHELLS | {""} for name in foreign_imports(module)}
    assert needed - set(sys.stdlib_module_names) == {"aiohttp", "anyio", "attrs", "filelock", "multidict", "orjson", "yarl"}


def test_there_is_no_cycle() -> None:
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, f"a cycle: {' -> '.join((*way, module))}"
        if module in done:
            return
        for other in own_imports(module):
            if (module, other) in LATE:
                continue
            visit(other, (*way, module))
        done.add(module)

    for module in modules():
        visit(module, ())


def test_the_reader_sees_every_kind_of_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
from typing import TYPE_CHECKING
import aiomsi
import aiomsi.arm._ids as ids
from aiomsi import _slot, ArmSession
from aiomsi.hosts import imds, detect
if TYPE_CHECKING:
    from aiomsi import cli
else:
    import json
    if True:
        import socket
def f():
    import asyncio.events
"""
    path = tmp_path / "made_up.py"
    path.write_text(text)
    monkeypatch.setitem(modules(), "made_up", path)
    assert own_imports("made_up") == {"", "arm._ids", "_slot", "hosts", "hosts.imds"}
    assert foreign_imports("made_up") == {"typing", "json", "socket", "asyncio"}
    imports_of.cache_clear()
