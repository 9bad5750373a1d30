"""Tracing that is not asked for, ends, or has no SDK."""

import asyncio
import gc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from arm_server import GROUP, VERSION, Canned, Says, make_error_body
from opentelemetry import trace
from otel_calls import get, run
from otel_recorder import Recorder

import aiomsi
from aiomsi import ArmSession, _tracing
from aiomsi._arm.operation import Operation
from aiomsi.integrations import opentelemetry
from aiomsi.integrations._otel.spans import SpanTracer


def test_uninstrument_restores_every_method() -> None:
    def methods() -> list[object]:
        names = ("get", "put", "begin", "list", "query", "fan_out", "fan_out_list")
        return [*(getattr(ArmSession, name) for name in names), Operation.result]

    before = methods()
    recorder = Recorder()
    recorder.instrument()
    recorder.instrument()
    assert [one.__qualname__ for one in methods()] == [one.__qualname__ for one in before]  # type: ignore[attr-defined]
    assert all(one is not other for one, other in zip(methods(), before, strict=True))
    opentelemetry.uninstrument()
    opentelemetry.uninstrument()
    assert methods() == before
    assert _tracing.tracer is None
    run(get, Says(body=1))
    assert recorder.spans == ()


def test_nothing_of_it_runs_unless_asked_for() -> None:
    ran = set[str]()
    home = Path(aiomsi.__file__).parent
    api = Path(str(trace.__file__)).parents[1]
    places = (str(home / "_tracing.py"), str(home / "integrations"), str(api))

    def profile(frame: FrameType, event: str, _: object) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(places):
            ran.add(frame.f_code.co_qualname)

    async def work(server: Canned, arm: ArmSession) -> None:
        gc.collect()
        sys.setprofile(profile)
        try:
            await arm.get(GROUP, api_version=VERSION)
            assert [one async for one in arm.list(GROUP, api_version=VERSION)] == [1]
            async for outcome in arm.fan_out([GROUP], api_version=VERSION):
                assert outcome.error is None
        finally:
            sys.setprofile(None)

    run(
        work,
        Says(429, make_error_body("X"), {"Retry-After": "2"}),
        Says(body=1),
        Says(body={"value": [1]}),
        Says(body=1),
    )
    # A token fetch asks for OpenTelemetry's suppression flags, because this process has loaded it.
    assert ran <= {"get_current", "ContextVarsRuntimeContext.get_current"}


def test_traced_function_returns_its_own_coroutine_while_off() -> None:
    async def work(value: int) -> int:
        return value

    call = _tracing.trace_calls("work")(work)(1)
    assert call.cr_code is work.__code__  # type: ignore[attr-defined]  # a coroutine of a function
    assert asyncio.run(call) == 1


@pytest.mark.slow
def test_package_imports_no_opentelemetry() -> None:
    code = (
        "import sys, aiomsi, aiomsi.inventory, aiomsi.integrations; aiomsi.ArmSession;"
        "print(*[name for name in sys.modules if 'opentelemetry' in name])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.split() == []


def test_missing_api_is_an_error_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "aiomsi.integrations.opentelemetry")
    with pytest.raises(ImportError, match=r"install aiomsi\[otel\]"):
        __import__("aiomsi.integrations.opentelemetry")


@pytest.fixture
def no_sdk() -> Iterator[SpanTracer]:
    opentelemetry.instrument()
    found = _tracing.tracer
    assert isinstance(found, SpanTracer)
    yield found
    opentelemetry.uninstrument()


@pytest.mark.usefixtures("azure_environment")
def test_without_an_sdk_nothing_is_started(no_sdk: SpanTracer) -> None:
    async def main() -> None:
        async with ArmSession() as arm:
            await arm.get(GROUP, api_version=VERSION)
            assert [one async for one in arm.list("/subscriptions", api_version="2022-12-01")]
            assert (await anext(arm.fan_out([GROUP]))).error is None
        assert await no_sdk.trace_call("x", asyncio.sleep(0, 1)) == 1

    asyncio.run(main())
    assert not no_sdk.is_live


def test_sdk_that_is_set_later_is_found(
    no_sdk: SpanTracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = [no_sdk.is_live]
    recorder = Recorder()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", recorder.tracer_provider)
    run(get, Says(body=1))
    assert [*states, no_sdk.is_live] == [False, True]
    assert recorder.tree()[:2] == ["ArmSession.get", "  GET 200"]


def test_call_that_a_finalizer_closes_is_no_error_of_the_context(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    tracer: Any = _tracing.tracer
    loop = asyncio.new_event_loop()
    work = tracer.trace_call("left", never())

    async def start() -> None:
        work.send(None)

    loop.run_until_complete(start())
    loop.close()
    work.close()
    assert recorder.tree() == ["left GeneratorExit"]
    # OpenTelemetry logs a context that is left in another one.
    assert [record for record in caplog.records if record.name != "asyncio"] == []
