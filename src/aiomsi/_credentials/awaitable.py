"""Classify callables by whether they return awaitables, without calling them.

A credential may be asynchronous without `async def`: a wrapper returns its inner credential's
coroutine, a decorator hides the coroutine function, a mock replaces it. A synchronous credential
must not be called in an event loop, which it would block.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Iterable, Iterator
from functools import partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

METHODS = ("get_token", "get_token_info")
"""The methods of the Azure SDK's credential protocols; a credential has at least one of them."""

_MAX_DEPTH = 3
_AWAITABLE_WORDS = ("Awaitable", "Coroutine", "Future", "Task")
_NEEDS_LOOP = frozenset(
    {"create_future", "create_task", "ensure_future", "run_in_executor", "to_thread", "wrap_future"}
)
"""Functions of asyncio that return awaitables; most of them require a running loop."""


class Returns(enum.Enum):
    """Results of the classification."""

    AWAITABLE = "an awaitable"
    UNKNOWN = "perhaps an awaitable"
    VALUE = "a plain value"


def classify(function: object, depth: int = _MAX_DEPTH) -> Returns:
    """Return the classification of a callable.

    Args:
        function: the callable.
        depth: how many levels of functions to follow that it refers to.

    """
    layers = list(_iter_layers(function))
    if any(inspect.iscoroutinefunction(layer) for layer in layers):
        return Returns.AWAITABLE
    plain = next((layer for layer in layers if isinstance(layer, FunctionType)), None)
    if plain is None:
        return Returns.UNKNOWN
    if _is_azure(plain):
        return Returns.VALUE
    if _NEEDS_LOOP.intersection(plain.__code__.co_names):
        return Returns.AWAITABLE
    owner = next((layer.__self__ for layer in layers if isinstance(layer, MethodType)), None)
    if depth and _refers_to_awaitables(plain, owner, depth - 1):
        return Returns.UNKNOWN
    return _classify_by_annotation(plain)


def classify_credential(credential: Any, depth: int = _MAX_DEPTH) -> Returns:
    """Return the classification of a credential's token methods, also of a class's."""
    methods = [
        method for name in METHODS if (method := getattr(credential, name, None)) is not None
    ]
    found = [classify(method, depth) for method in methods]
    if Returns.AWAITABLE in found:
        return Returns.AWAITABLE
    if hasattr(credential, "__aexit__"):
        return Returns.UNKNOWN
    if hasattr(credential, "__exit__") or Returns.UNKNOWN not in found:
        return Returns.VALUE
    return Returns.UNKNOWN


def takes_positional(function: Any) -> bool:
    """Return whether a callable requires or collects positional arguments, such as scopes."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(
        parameter.kind is parameter.VAR_POSITIONAL
        or (
            parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
            and parameter.default is parameter.empty
        )
        for parameter in parameters
    )


def is_class(function: object) -> bool:
    """Return whether this is a class, or a partial of one."""
    while isinstance(function, partial):
        function = function.func
    return isinstance(function, type)


def _iter_layers(function: object) -> Iterator[Any]:
    """Yield a callable and the callables behind it.

    These are the function of a partial or method, a decorated function, and an object's `__call__`.
    """
    for _ in range(20):
        yield function
        if type(function).__module__ == "unittest.mock":
            # A mock returns whatever its test configured.
            return
        following: Any
        if isinstance(function, partial):
            following = function.func
        elif isinstance(function, MethodType):
            following = function.__func__
        elif "__wrapped__" in getattr(function, "__dict__", {}):
            following = function.__dict__["__wrapped__"]
        elif isinstance(function, FunctionType | type):
            return
        else:
            following = getattr(function, "__call__", None)  # noqa: B004 (the method itself)
            if not isinstance(following, MethodType):
                return
        function = following


def is_synchronous_azure(function: object) -> bool:
    """Return whether this is a synchronous function of an Azure package.

    An example is azure-identity's token provider.
    """
    layers = list(_iter_layers(function))
    is_azure = any(isinstance(layer, FunctionType) and _is_azure(layer) for layer in layers)
    return is_azure and not any(inspect.iscoroutinefunction(layer) for layer in layers)


def _is_azure(function: FunctionType) -> bool:
    parts = (function.__module__ or "").split(".")
    return parts[0] == "azure" and "aio" not in parts


def _classify_by_annotation(function: FunctionType) -> Returns:
    try:
        annotation = function.__annotations__.get("return", "")
    except Exception:  # noqa: BLE001 (annotations that are evaluated late may raise anything)
        return Returns.VALUE
    words = (
        annotation
        if isinstance(annotation, str)
        else getattr(annotation, "__name__", "") + str(annotation)
    )
    return Returns.UNKNOWN if any(word in words for word in _AWAITABLE_WORDS) else Returns.VALUE


def _refers_to_awaitables(function: FunctionType, owner: object, depth: int) -> bool:
    """Return whether a plain function may return an awaitable, by the code that it refers to."""
    code = function.__code__
    if any(
        isinstance(constant, CodeType) and constant.co_flags & inspect.CO_COROUTINE
        for constant in code.co_consts
    ):
        # The function defines a coroutine function.
        return True
    values = [function.__globals__[name] for name in code.co_names if name in function.__globals__]
    values += _read_attributes(owner, code.co_names)
    try:
        values += [cell.cell_contents for cell in function.__closure__ or ()]
    except ValueError:
        # A variable of the closure is not assigned yet.
        return True
    if "__class__" in code.co_freevars:
        # The function calls `super()`.
        values += [
            vars(cls)[name] for cls in type(owner).__mro__ for name in METHODS if name in vars(cls)
        ]
    # Methods of the objects that the function uses, and functions of modules.
    values += [
        found
        for value in values
        if not isinstance(value, FunctionType | MethodType)
        for found in _read_attributes(value, code.co_names)
    ]
    kinds = [_classify_value(value, depth) for value in values if value is not function]
    delegates = any(name in code.co_names for name in METHODS) and Returns.VALUE not in kinds
    return delegates or Returns.AWAITABLE in kinds or Returns.UNKNOWN in kinds


def _classify_value(value: Any, depth: int) -> Returns | None:
    """Classify a value that a function refers to.

    Return None unless it is a credential, an awaitable, a class of these, or a Python function.
    """
    if any(inspect.getattr_static(value, name, None) is not None for name in METHODS):
        return classify_credential(value, depth)
    if inspect.getattr_static(value, "__await__", None) is not None:
        return Returns.AWAITABLE
    call = (
        value
        if isinstance(value, FunctionType | MethodType | partial)
        else inspect.getattr_static(value, "__call__", None)
    )
    if isinstance(call, FunctionType | MethodType | partial) and not is_class(call):
        found = classify(call, depth)
        return found if found is Returns.AWAITABLE or depth else None
    return None


def _read_attributes(owner: object, names: Iterable[str]) -> list[Any]:
    """Return the attributes with these names, without running the code of properties."""
    found = []
    for name in names:
        value = inspect.getattr_static(owner, name, None)
        if inspect.ismemberdescriptor(value):
            value = getattr(owner, name, None)
        elif isinstance(value, FunctionType) and not isinstance(owner, type | ModuleType):
            value = MethodType(value, owner)
        elif isinstance(value, staticmethod | classmethod):
            value = value.__func__
        if value is not None:
            found.append(value)
    return found
