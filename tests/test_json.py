"""JSON: by orjson where it is installed, else by the standard library, and the same either way."""

import importlib.util
import sys
from types import ModuleType
from typing import Any

import pytest

from aiomsi import _json

VALUES: list[Any] = [
    None,
    True,
    1,
    1.5,
    "ü\u2028\U0001f600",
    [],
    {},
    {"a": [1, {"b": None}]},
    {"name": "DevTest", "tags": {"x": "y"}},
]


def fresh(name: str) -> ModuleType:
    """Import the module anew, under another name."""
    spec = importlib.util.spec_from_file_location(name, _json.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def standard(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setitem(sys.modules, "orjson", None)
    return fresh("json_without_orjson")


@pytest.mark.parametrize("value", VALUES)
def test_what_is_encoded_decodes_to_the_same(standard: ModuleType, value: object) -> None:
    for one, other in [(_json, standard), (standard, _json), (standard, standard), (_json, _json)]:
        encoded = one.dumps(value)
        assert isinstance(encoded, bytes)
        assert other.loads(encoded) == value


def test_bodies_are_compact(standard: ModuleType) -> None:
    assert standard.dumps({"a": [1, 2]}) == _json.dumps({"a": [1, 2]}) == b'{"a":[1,2]}'


@pytest.mark.parametrize("body", [b"{", b"<html>", b"\xff", b"nul"])
def test_what_is_no_json_is_a_value_error(standard: ModuleType, body: bytes) -> None:
    for module in (_json, standard):
        with pytest.raises(ValueError, match=r".+"):
            module.loads(body)


def test_the_standard_library_serves_where_orjson_is_not_installed(standard: ModuleType) -> None:
    assert standard.loads.__module__ == "json_without_orjson"
    assert standard.loads(b" [1]") == standard.loads("\ufeff[1]".encode()) == [1]


def test_orjson_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = ModuleType("orjson")
    vars(quick).update(loads=lambda body: ("quick", body), dumps=lambda value: b"quick")
    monkeypatch.setitem(sys.modules, "orjson", quick)
    module = fresh("json_with_orjson")
    assert module.loads(b"1") == ("quick", b"1")
    assert module.dumps(1) == b"quick"
