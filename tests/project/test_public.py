"""Public names are sorted, importable, complete and documented."""

import importlib
import importlib.metadata
import inspect
import pickle
import subprocess
import sys
import types
import typing
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import pytest

import aiomsi
from aiomsi import inventory, testing
from aiomsi._arm.protocol import retry
from aiomsi._version import VERSION

PACKAGES = [aiomsi, inventory, testing]
CLASSES = sorted(
    {
        value
        for package in PACKAGES
        for name in package.__all__
        if isinstance(value := getattr(package, name), type)
    },
    key=str,
)
SUBMODULES = {"arm", "cli", "hosts", "inventory", "testing"}


def sort_key(name: str) -> tuple[int, str]:
    """Sort as ruff does: constants, classes, functions."""
    return 0 if name.isupper() else 1 if name[0].isupper() else 2, name


@pytest.mark.parametrize("package", PACKAGES)
def test_the_list_of_names_is_sorted_and_has_no_doubles(package: types.ModuleType) -> None:
    assert package.__all__ == sorted(set(package.__all__), key=sort_key)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_can_be_imported(package: types.ModuleType) -> None:
    for name in package.__all__:
        assert getattr(importlib.import_module(package.__name__), name) is not None, name


@pytest.mark.slow
def test_list_contains_every_public_name() -> None:
    code = "import aiomsi; print(*vars(aiomsi), *aiomsi._HOMES)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert (
        {name for name in done.stdout.split() if not name.startswith("_")}
        - SUBMODULES
        - {"TYPE_CHECKING"}
        == set(aiomsi.__all__)
        == set(dir(aiomsi))
    )


@pytest.mark.slow
def test_late_modules_are_not_imported() -> None:
    code = "import sys, aiomsi; print(*sys.modules); aiomsi.SharedCredential; aiomsi.Missing"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30
    )
    modules = set(done.stdout.split())
    assert {"aiomsi._credentials.managed_identity", "aiomsi._arm.session"} <= modules
    assert (
        not {
            "aiomsi._credentials.gate",
            "aiomsi._credentials.shared",
            "aiomsi._tokens.stats",
            "aiomsi._tokens.token_identity",
            "aiomsi._arm.protocol.resource_ids",
            "importlib.metadata",
            "aiomsi.testing",
            "filelock",
        }
        & modules
    )
    assert (
        done.stderr.splitlines()[-1] == "AttributeError: module 'aiomsi' has no attribute 'Missing'"
    )


ATTRS_CLASSES = {
    *("ArmResponse", "ArmRetry", "Clock", "Cloud", "Failure", "RefreshPolicy", "SlotState"),
    *("Token", "TokenResponse"),
}
"""Those that each import builds: attrs compiles methods of each one, up to a millisecond long."""


def test_session_builds_no_further_attrs_classes() -> None:
    code = """
import sys, attrs, aiomsi
aiomsi.ArmSession()
for name in [name for name in sys.modules if name.startswith("aiomsi.")]:
    for value in vars(sys.modules[name]).values():
        if isinstance(value, type) and attrs.has(value):
            print(value.__name__)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert set(done.stdout.split()) == ATTRS_CLASSES


EXTRAS = {
    *("adlfs", "azure", "click", "cryptography", "dask", "distributed", "filelock", "fsspec"),
    "orjson",
    *("httpx", "httpx2", "jwt", "matplotlib", "opentelemetry", "pyarrow", "rich", "trustme"),
}
"""Import names of the packages that the extras need, and of those that integrations serve."""


@pytest.mark.slow
def test_no_public_name_imports_an_extra() -> None:
    packages = "aiomsi, aiomsi.inventory, aiomsi.integrations, aiomsi.integrations.dask"
    code = f"""
import sys, {packages}
for package in ({packages}):
    for name in getattr(package, "__all__", ()):
        getattr(package, name)
print(*(name.partition(".")[0] for name in sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    modules = set(done.stdout.split())
    assert {"aiomsi", "aiohttp"} <= modules
    assert not modules & EXTRAS


def test_the_version_is_that_of_the_package() -> None:
    assert importlib.metadata.version("aiomsi") == VERSION


@pytest.mark.parametrize("package", PACKAGES)
def test_dir_contains_the_late_names(package: types.ModuleType) -> None:
    assert dir(package) == sorted(package.__all__)


def test_every_error_is_exported() -> None:
    from aiomsi import _errors

    errors = {
        name
        for name, value in vars(_errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert errors <= set(aiomsi.__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_public_classes_are_named_by_their_public_module(package: types.ModuleType) -> None:
    values = {name: getattr(package, name) for name in package.__all__}
    named = {
        name: value
        for name, value in values.items()
        if isinstance(value, type | types.FunctionType)
    }
    assert {name: value.__module__ for name, value in named.items()} == dict.fromkeys(
        named, package.__name__
    )
    others = values.keys() - named.keys()
    assert {type(values[name]) for name in others} <= {aiomsi.Cloud, str, tuple}


def test_public_classes_can_be_pickled() -> None:
    for owner in CLASSES:
        assert pickle.loads(pickle.dumps(owner)) is owner  # noqa: S301 (our own)


@pytest.mark.slow
def test_late_class_is_unpickled_in_a_new_process() -> None:
    code = f"import pickle; print(pickle.loads({pickle.dumps(aiomsi.ResourceId)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == "<class 'aiomsi.ResourceId'>\n"


@pytest.mark.slow
def test_traceback_names_an_error_by_its_public_module() -> None:
    code = "import aiomsi; aiomsi.Cloud('', 'http://example.com', 'x')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.stderr.splitlines()[-1].startswith("aiomsi.ConfigurationError: ")


@pytest.mark.slow
def test_error_of_testing_has_its_public_module_at_once() -> None:
    code = "from aiomsi.testing._state.tokens import MissingExtraError; print(MissingExtraError)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == "<class 'aiomsi.testing.MissingExtraError'>\n"


def list_members(owner: type) -> Iterator[tuple[str, object]]:
    # Members of bases that are not public count too: a session has its verbs from one.
    bases = [base for base in reversed(owner.__mro__) if base.__module__.startswith("aiomsi")]
    for name, value in [item for base in bases for item in vars(base).items()]:
        if name.startswith("_"):
            continue
        if isinstance(value, staticmethod | classmethod):
            yield name, value.__func__
        elif inspect.isfunction(value):
            yield name, value
        elif isinstance(value, property):
            yield name, value.fget
        elif isinstance(value, cached_property):
            yield name, value.func


def test_every_public_class_and_method_is_documented() -> None:
    for owner in CLASSES:
        text = owner.__doc__ or "Method generated by attrs for"
        assert not text.startswith("Method generated by attrs for"), owner
        for name, member in list_members(owner):
            assert inspect.getdoc(member), f"{owner.__name__}.{name}"


def test_constructor_annotations_resolve_at_run_time() -> None:
    """As frameworks do that make objects by the annotations of their classes."""
    # `ErrorDetail` contains its own class, and users do not create it.
    for owner in (each for each in CLASSES if each is not aiomsi.ErrorDetail):
        if not issubclass(owner, Exception):
            assert typing.get_type_hints(vars(owner).get("__init__", owner)) is not None, owner


def test_the_packages_are_documented() -> None:
    for package in PACKAGES:
        assert package.__doc__
    assert aiomsi.__doc__ is not None
    assert len(aiomsi.__doc__.splitlines()) == 1


def test_every_attribute_of_a_public_value_is_documented() -> None:
    for owner in CLASSES:
        names = [attribute.name for attribute in getattr(owner, "__attrs_attrs__", ())]
        text = owner.__doc__ or ""
        missing = [name for name in names if not name.startswith("_") and name not in text]
        assert missing == [], owner


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    for package in PACKAGES:
        with pytest.raises(AttributeError):
            package.no_such_name  # noqa: B018


@pytest.mark.parametrize(("former", "name"), retry._FORMER_NAMES.items())
def test_former_names_of_retry_fields_work_with_a_warning(former: str, name: str) -> None:
    options: dict[str, Any] = {former: 7}
    value = getattr(aiomsi.ArmRetry(), name)
    with pytest.warns(DeprecationWarning, match=f"ArmRetry.{former} is now ArmRetry.{name}$"):
        assert getattr(aiomsi.ArmRetry(), former) == value
    with pytest.warns(DeprecationWarning, match=f"ArmRetry.{former} is now ArmRetry.{name}$"):
        rule = aiomsi.ArmRetry(**options)
    assert getattr(rule, name) == 7
