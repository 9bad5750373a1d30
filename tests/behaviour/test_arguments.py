"""A value of a wrong type, for every argument of the public interface, raises an `AiomsiError`."""

import inspect
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import pytest

import aiomsi
from aiomsi import ArmSession, ConfigurationError
from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, ManualClock

GROUP = f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}/resourceGroups/DevTest"
VALUES: tuple[Any, ...] = (
    *(None, 5, -1, float("nan"), True, "x", b"x", [], {}, object(), len, ManualClock()),
)
"""Some of them are of the right type for some arguments, which is no matter."""

CONSTRUCTORS: dict[Callable[..., Any], dict[str, Any]] = {
    aiomsi.ArmRetry: {},
    aiomsi.ArmSession: {},
    aiomsi.Cloud: {"name": "n", "resource_manager": "https://x", "audience": "https://x/"},
    aiomsi.ManagedIdentityCredential: {},
    aiomsi.RefreshPolicy: {},
    aiomsi.Request: {"method": "GET", "path": GROUP},
    aiomsi.SharedCredential: {"inner": len},
    aiomsi.instance_metadata: {},
    aiomsi.token_provider: {"credential": aiomsi.SharedCredential(len), "scope": "https://x"},
}
"""Constructors and functions, with the arguments that they need."""

METHODS = tuple(
    name
    for name, method in inspect.getmembers(ArmSession, inspect.isfunction)
    if not name.startswith("_") and name not in {"close", "stats"}
)
NEEDED: dict[str, Any] = {
    "path": GROUP,
    "method": "GET",
    "kql": "resources",
    "saved": {},
    "requests": [aiomsi.Request("GET", GROUP, api_version="2021-04-01")],
}


def iter_wrong_calls(
    function: Callable[..., Any], given: dict[str, Any]
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield a text and a call for each argument and each of `VALUES`."""
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
            continue
        for value in VALUES:
            first = [value] if parameter.kind is parameter.POSITIONAL_ONLY else []
            further = {**given} if first else {**given, name: value}
            yield f"{name}={value!r}", partial(function, *first, **further)


async def finish(result: object) -> None:
    if isinstance(result, AsyncIterable):
        async for _ in result:
            pass
    elif isinstance(result, Awaitable):
        await result


async def find_other_errors(function: Callable[..., Any], given: dict[str, Any]) -> list[str]:
    """Return the wrong calls that raise errors of other classes."""
    others = []
    for text, call in iter_wrong_calls(function, given):
        try:
            await finish(call())
        except aiomsi.AiomsiError:
            pass
        except Exception as error:  # noqa: BLE001 (the point of the test)
            others.append(f"{text}: {type(error).__name__}: {error}")
    return others


@pytest.mark.anyio
@pytest.mark.usefixtures("azure_environment")
@pytest.mark.parametrize("function", CONSTRUCTORS, ids=lambda each: each.__name__)
async def test_wrong_argument_of_a_constructor_has_its_own_error(
    function: Callable[..., Any],
) -> None:
    assert await find_other_errors(function, CONSTRUCTORS[function]) == []


@pytest.mark.anyio
@pytest.mark.usefixtures("azure_environment")
@pytest.mark.parametrize("name", METHODS)
async def test_wrong_argument_of_a_call_has_its_own_error(name: str) -> None:
    async with ArmSession(retry=None) as arm:
        method = getattr(arm, name)
        parameters = inspect.signature(method).parameters
        given = {each: NEEDED[each] for each in parameters if each in NEEDED}
        if "api_version" in parameters:
            given["api_version"] = "2021-04-01"
        assert await find_other_errors(method, given) == []


@pytest.mark.parametrize("name", ["auto_register", "pacing"])
def test_text_is_no_switch(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}= takes a bool, not str"):
        ArmSession(**{name: "no"})  # type: ignore[arg-type]


@pytest.mark.usefixtures("azure_environment")
@pytest.mark.anyio
async def test_wrong_argument_of_a_fan_out_is_an_error() -> None:
    async with ArmSession() as arm:
        wrong: dict[str, Any] = {"ordered": "no"}
        with pytest.raises(ConfigurationError, match="ordered= takes a bool, not str"):
            arm.fan_out([], **wrong)
        with pytest.raises(ConfigurationError, match="an iterable of requests, not bytes"):
            arm.fan_out(b"/path")  # type: ignore[arg-type]


def test_error_of_a_clock_names_the_right_one() -> None:
    with pytest.raises(ConfigurationError, match=r"not ManualClock\..* its attribute clock"):
        aiomsi.ManagedIdentityCredential(clock=ManualClock())  # type: ignore[arg-type]
