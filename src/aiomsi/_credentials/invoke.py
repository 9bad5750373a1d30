"""Calls of foreign credentials and functions, in the event loop only if they can't block it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import attrs

from aiomsi._credentials.awaitable import METHODS, Returns, classify, classify_credential
from aiomsi._errors import ConfigurationError, TokenRefusedError

_OLDER, _NEWER = METHODS
_NAMED = frozenset({"claims", "tenant_id", "enable_cae"})
"""The options that the protocol names. A credential ignores other options unless it knows them."""
_USE_AIO = "Take the class of the same name from the package's .aio module"


class SynchronousCredentialError(ConfigurationError, TokenRefusedError):
    """A credential or function that blocks the event loop: it returns a token, not an awaitable."""


def is_credential(value: object) -> bool:
    """Return whether this object has one of the SDK's token methods."""
    return any(hasattr(value, name) for name in METHODS)


def refuse_synchronous(credential: Any) -> None:
    """Raise an error if a credential, or a class of credentials, is known to be synchronous.

    Raises:
        SynchronousCredentialError: its token methods return plain values.

    """
    if classify_credential(credential) is Returns.VALUE:
        raise make_synchronous_error(
            credential.__name__ if isinstance(credential, type) else type(credential).__name__
        )


def make_synchronous_error(name: str, what: str = "credential") -> SynchronousCredentialError:
    """Return the error for a synchronous credential or function."""
    return SynchronousCredentialError(
        f"{name} is a synchronous {what}: it would block the event loop", help=_USE_AIO, host=name
    )


async def get_token(
    credential: Any, scopes: tuple[str, ...], options: Mapping[str, Any], proven: set[str]
) -> object:
    """Return the result of a credential's token method, the newer one if it has both.

    Args:
        credential: an object with at least one of the two methods.
        scopes: the audience of the token.
        options: the keyword arguments of the method.
        proven: the names of the methods that are known to return awaitables; this call adds to it.

    Raises:
        SynchronousCredentialError: the method returned no awaitable.

    """
    result: object = None
    for name in _list_methods(credential):
        method = getattr(credential, name)
        call = (
            partial(method, *scopes, options=dict(options))
            if name == _NEWER
            else partial(method, *scopes, **select_options(method, options))
        )
        certain = name in proven or classify(method) is Returns.AWAITABLE
        result, is_value = await call_and_await(call, certain=certain)
        if is_value:
            raise make_synchronous_error(type(credential).__name__)
        proven.add(name)
        if _is_token(result):
            break
    return result


def select_options(function: Callable[..., object], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options without those that the protocol does not name and the function refuses."""
    further = options.keys() - _NAMED
    if further:
        with suppress(TypeError, ValueError):
            parameters = inspect.signature(function).parameters
            if all(each.kind is not each.VAR_KEYWORD for each in parameters.values()):
                further -= parameters.keys()
                return {name: value for name, value in options.items() if name not in further}
    return dict(options)


async def call_and_await(call: Callable[[], object], *, certain: bool) -> tuple[object, bool]:
    """Return the awaited result of a call, and whether the call returned a plain value instead.

    Unless the call is certain to return an awaitable, it runs in a thread, because it may block.
    """
    made = call() if certain else await _run_in_thread(call)
    if not inspect.isawaitable(made):
        return made, True
    while inspect.isawaitable(made):
        made = await made
    return made, False


@attrs.define(eq=False)
class _ThreadCall:
    """A call in a thread; its coroutine is closed if the caller was cancelled in the meantime."""

    call: Callable[[], object] = attrs.field(repr=False)
    made: object = attrs.field(default=None, repr=False)
    dropped: bool = False

    def run(self) -> object:
        self.made = self.call()
        if self.dropped:
            self.drop()
        return self.made

    def drop(self) -> None:
        self.dropped = True
        if inspect.iscoroutine(self.made):
            self.made.close()


async def _run_in_thread(call: Callable[[], object]) -> object:
    thread_call = _ThreadCall(call)
    try:
        return await asyncio.to_thread(thread_call.run)
    except asyncio.CancelledError:
        thread_call.drop()
        raise
    except RuntimeError as error:
        # The call needs the running loop, for example to create a task: it is written for asyncio.
        if "event loop" not in str(error):
            raise
    return call()


def _list_methods(credential: Any) -> tuple[str, ...]:
    """Return the names of the methods to call, in order, until one returns a token."""
    newer, older = getattr(credential, _NEWER, None), getattr(credential, _OLDER, None)
    if newer is None or older is None:
        return (_OLDER if newer is None else _NEWER,)
    if classify(older) is Returns.AWAITABLE and classify(newer) is not Returns.AWAITABLE:
        return (_OLDER,)
    # A subclass that overrides only one of the methods intends that one to be called.
    if _get_depth(credential, _OLDER) < _get_depth(credential, _NEWER):
        return (_OLDER,)
    # A mock has every method, and returns a token only from a configured one.
    return _NEWER, _OLDER


def _get_depth(credential: Any, name: str) -> int:
    """Return at which position of the MRO a method is defined; -1 for the instance."""
    if name in getattr(credential, "__dict__", {}):
        return -1
    classes = type(credential).__mro__
    return next((number for number, cls in enumerate(classes) if name in vars(cls)), len(classes))


def _is_token(result: object) -> bool:
    return isinstance(result, tuple) or isinstance(getattr(result, "token", None), str)
