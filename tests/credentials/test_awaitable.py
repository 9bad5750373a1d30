"""The classification of callables by whether they return awaitables."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterator
from types import ModuleType
from typing import Any, Self
from unittest.mock import AsyncMock, MagicMock, Mock

import pytest

from aiomsi._credentials.awaitable import (
    Returns,
    classify,
    classify_credential,
    is_class,
    takes_positional,
)


def fail_call(*_args: object, **_options: object) -> Any:
    raise AssertionError("it was called")


def decorate_plainly(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate without `functools.wraps`."""

    def inner(*args: Any, **options: Any) -> Any:
        return function(*args, **options)

    return inner


def decorate_with_wraps(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate with `functools.wraps`."""
    return functools.wraps(function)(decorate_plainly(function))


class Async:
    async def get_token(self, *scopes: str) -> str:
        return str(fail_call(self, scopes))


class Newer:
    async def get_token_info(self, *scopes: str, options: Any = None) -> str:
        return str(fail_call(self, scopes, options))


class Sync:
    def get_token(self, *scopes: str, **_options: Any) -> Any:
        return fail_call(scopes)


class Annotated:
    """A synchronous credential whose method calls other functions."""

    def get_token(self, *scopes: str) -> str:
        return self._fetch(scopes)

    def _fetch(self, scopes: tuple[str, ...]) -> str:
        return str(fail_call(scopes))


class Managed(Sync):
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


class AsyncManaged(Sync):
    async def __aexit__(self, *_: object) -> None: ...


class Delegating:
    def __init__(self, inner: object) -> None:
        self._inner: Any = inner

    def get_token(self, *scopes: str, **options: Any) -> Any:
        return self._inner.get_token(*scopes, **options)


class Slotted(Delegating):
    __slots__ = ("_inner",)


class Hidden:
    """A credential that delegates to a value that only a call returns."""

    def __init__(self, inner: object) -> None:
        self.all = [inner]

    def get_token(self, *scopes: str) -> Any:
        return self.all[0].get_token(*scopes)  # type: ignore[attr-defined]  # any credential


class Proxy:
    def __init__(self, inner: object) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Helped:
    async def _fetch(self) -> str:
        return str(fail_call())

    def get_token(self, *_scopes: str) -> Any:
        return self._fetch()


class Super(Async):
    def get_token(self, *scopes: str) -> Any:
        return super().get_token(*scopes)


class SuperSync(Sync):
    def get_token(self, *scopes: str, **options: Any) -> Any:
        return super().get_token(*scopes, **options)


class Promising:
    def get_token(self, *scopes: str) -> Awaitable[str]:
        return fail_call(scopes)  # type: ignore[no-any-return]  # it raises


class Quoted:
    def get_token(self, *scopes: str) -> "asyncio.Future[str]":
        return fail_call(scopes)  # type: ignore[no-any-return]  # it raises


class Tasks:
    def get_token(self, *scopes: str) -> Any:
        return asyncio.ensure_future(fail_call(scopes))


class Counting:
    """A credential with a property that fails the test if it is run."""

    @property
    def helper(self) -> Any:
        return fail_call(self)

    def get_token(self, *_scopes: str) -> Any:
        return self.helper


class Awaitable_:  # noqa: N801 (not the one of typing)
    def __await__(self) -> Iterator[None]:
        yield


class Waiting:
    def get_token(self, *_scopes: str) -> Any:
        return Awaitable_()


class Nesting:
    def get_token(self, *_scopes: str) -> Any:
        async def nested() -> str:
            return str(fail_call())

        return nested()


class Client:
    async def acquire(self) -> str:
        return str(fail_call(self))

    @staticmethod
    async def fetch() -> str:
        return str(fail_call())

    async def __call__(self) -> str:
        return str(fail_call(self))


class UsesClient:
    def __init__(self) -> None:
        self.client = Client()

    def get_token(self, *_scopes: str) -> Any:
        return self.client.acquire()


class UsesStatic(UsesClient):
    def get_token(self, *_scopes: str) -> Any:
        return self.client.fetch()


class CallsClient(UsesClient):
    def get_token(self, *_scopes: str) -> Any:
        return Client()()


class UsesModule:
    def get_token(self, *_scopes: str) -> Any:
        return loops_module.returning_soon()


loops_module = ModuleType("loops_module")
loops_module.returning_soon = Client.fetch  # type: ignore[attr-defined]  # made here


class Decorated:
    get_token = decorate_with_wraps(Async.get_token)


class Twice:
    get_token = decorate_plainly(decorate_plainly(Async.get_token))


class DecoratedSync:
    get_token = decorate_plainly(Sync.get_token)


class Partial:
    get_token = functools.partialmethod(Async.get_token)


class Callable_:  # noqa: N801 (not the one of typing)
    def __call__(self, *scopes: str) -> Any:
        return Async().get_token(*scopes)


def make_slotted() -> object:
    class Bare:
        __slots__ = ("inner",)

        def get_token(self, *scopes: str) -> Any:
            return self.inner.get_token(*scopes)  # type: ignore[attr-defined]  # set below

    bare: Any = Bare()
    bare.inner = Async()
    return bare


@pytest.mark.parametrize(
    "credential",
    [
        Async(),
        Async,
        Newer(),
        Tasks(),
        Proxy(Async()),
        Decorated(),
        Partial(),
        AsyncMock(),
        MagicMock(get_token=AsyncMock()),
    ],
    ids=lambda one: getattr(one, "__name__", type(one).__name__),
)
def test_coroutine_function_is_certain(credential: object) -> None:
    assert classify_credential(credential) is Returns.AWAITABLE


@pytest.mark.parametrize(
    "credential",
    [
        Delegating(Async()),
        Slotted(Async()),
        make_slotted(),
        Hidden(Async()),
        Helped(),
        Super(),
        Twice(),
        Waiting(),
        Nesting(),
        UsesClient(),
        UsesStatic(),
        CallsClient(),
        UsesModule(),
        Promising(),
        Quoted(),
        AsyncManaged(),
        MagicMock(),
        Mock(get_token=Mock(side_effect=Async().get_token)),
        Delegating(Delegating(Async())),
    ],
    ids=lambda one: type(one).__name__,
)
def test_function_that_refers_to_awaitables_is_unknown(credential: object) -> None:
    assert classify_credential(credential) is Returns.UNKNOWN


@pytest.mark.parametrize(
    "credential",
    [
        Sync(),
        Sync,
        Annotated(),
        Managed(),
        Delegating(Sync()),
        Delegating(Delegating(Sync())),
        Proxy(Sync()),
        SuperSync(),
        DecoratedSync(),
        Counting(),
    ],
    ids=lambda one: getattr(one, "__name__", type(one).__name__),
)
def test_function_without_awaitables_returns_a_value(credential: object) -> None:
    assert classify_credential(credential) is Returns.VALUE


def test_azures_own_classes_are_told_apart() -> None:
    synchronous = pytest.importorskip("azure.identity")
    asynchronous = pytest.importorskip("azure.identity.aio")
    for name in (
        "DefaultAzureCredential",
        "ManagedIdentityCredential",
        "ClientSecretCredential",
        "ChainedTokenCredential",
    ):
        assert classify_credential(getattr(asynchronous, name)) is Returns.AWAITABLE
        assert classify_credential(getattr(synchronous, name)) is Returns.VALUE
    inner = synchronous.ClientSecretCredential("tenant", "client", "secret")
    for wrapper in (inner, Delegating(inner), Proxy(inner)):
        assert classify_credential(wrapper) is Returns.VALUE


def test_annotation_that_cannot_be_evaluated_decides_nothing() -> None:
    class Annotations(dict[str, Any]):
        def get(self, *_: object) -> Any:
            raise NameError("later")

    def function(*_scopes: str) -> Any:
        return None

    function.__annotations__ = Annotations()
    assert classify(function) is Returns.VALUE


def test_function_with_an_empty_cell_is_unknown() -> None:
    def function(*_scopes: str) -> Any:
        return inner

    inner = Async()
    (cell,) = function.__closure__ or ()
    del cell.cell_contents
    assert classify(function) is Returns.UNKNOWN


def test_object_that_is_called_is_classified_by_its_method() -> None:
    assert classify(Client()) is Returns.AWAITABLE
    assert classify(Callable_()) is Returns.UNKNOWN


def test_recursion_ends() -> None:
    def function(*scopes: str) -> Any:
        return function(*scopes)

    def other(*scopes: str) -> Any:
        return third(*scopes)

    def third(*scopes: str) -> Any:
        return other(*scopes)

    endless: Any = functools.partial(fail_call)
    for _ in range(30):
        endless = decorate_with_wraps(endless)
    assert {classify(function), classify(other)} == {Returns.VALUE}
    assert classify(endless) is not Returns.AWAITABLE
    assert classify(len) is Returns.UNKNOWN


@pytest.mark.parametrize(
    ("function", "takes"),
    [
        (lambda: 1, False),
        (lambda *scopes: scopes, True),
        (lambda scope: scope, True),
        (lambda scope="x": scope, False),
        (lambda **options: options, False),
        (functools.partial(lambda scope: scope, "x"), False),
        (Callable_(), True),
        (dict, False),
        (7, False),
    ],
)
def test_callable_that_takes_scopes_is_known(function: Any, *, takes: bool) -> None:
    assert takes_positional(function) is takes


def test_partial_of_a_class_is_a_class() -> None:
    assert is_class(Sync)
    assert is_class(functools.partial(functools.partial(Delegating), 7))
    assert not is_class(functools.partial(decorate_plainly))
