"""The budget of calls: the number of own functions that run on hot paths, and their stack depth.

A hop is the start of a function of this package, including those that attrs generates. The
resumption of a coroutine is no hop, nor is a comprehension, which newer Pythons do not call.
`benchmarks/` compares times; this count does not depend on the machine.
"""

import asyncio
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Self

import aiohttp
import pytest

import aiomsi
from aiomsi import ArmSession, ManagedIdentityCredential, SharedCredential
from aiomsi._util import running_time
from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, EmbeddedAzure, ManualClock

pytestmark = pytest.mark.usefixtures("azure_environment")

SCOPE = "https://management.azure.com/.default"
DEVTEST = f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}/resourceGroups/DevTest"
VERSION = "2021-04-01"
OURS = str(Path(aiomsi.__file__).parent)
NOT_OURS = str(Path(OURS, "testing"))
AIOHTTPS = str(Path(aiohttp.__file__).parent)
MIDDLEWARE = "make_send_once.<locals>.send_once"
NO_CALLS = {"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"}


def is_ours(code: CodeType) -> bool:
    name = code.co_filename
    if name.startswith("<attrs generated"):
        return "aiomsi." in name and "aiomsi.testing" not in name
    return name.startswith(OURS) and not name.startswith(NOT_OURS)


class Hops:
    """The calls in this thread from entry to exit.

    Attributes:
        started: the names of own functions by frame. The frames are kept so that no id is
            used twice.
        depth: the largest number of own frames on the stack at a call into aiohttp.

    """

    def __init__(self) -> None:
        self.started: dict[FrameType, str] = {}
        self.depth = 0

    def __enter__(self) -> Self:
        # Finalizers of earlier tests' objects are no part of the call.
        gc.collect()
        gc.disable()
        # Earlier tests may have loaded OpenTelemetry, whose suppression costs a call.
        self._tracing = sys.modules.pop("opentelemetry.context", None)
        sys.setprofile(self._profile)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        sys.setprofile(None)
        gc.enable()
        if self._tracing is not None:
            sys.modules["opentelemetry.context"] = self._tracing

    def _profile(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event != "call":
            return
        if is_ours(code) and code.co_name not in NO_CALLS:
            self.started[frame] = code.co_qualname
        elif code.co_filename.startswith(AIOHTTPS):
            depth, above = 0, frame.f_back
            while above is not None:
                depth += is_ours(above.f_code)
                above = above.f_back
            self.depth = max(self.depth, depth)

    @property
    def names(self) -> list[str]:
        """The started functions, in order."""
        return list(self.started.values())


def make_shared_credential() -> SharedCredential:
    manual = ManualClock()

    async def fetch(scope: str) -> tuple[str, float]:
        return "token", manual.clock.wall() + 86_400

    return SharedCredential(fetch)


@pytest.mark.parametrize(
    "make",
    [ManagedIdentityCredential, make_shared_credential],
    ids=["ManagedIdentityCredential", "SharedCredential"],
)
def test_warm_token_suspends_nowhere_and_costs_two_own_calls(
    make: Callable[[], ManagedIdentityCredential | SharedCredential],
) -> None:
    credential = make()
    token = asyncio.run(credential.get_token(SCOPE))
    call = credential.get_token(SCOPE)
    with Hops() as hops, pytest.raises(StopIteration) as stopped:
        call.send(None)
    assert stopped.value.value is token
    assert hops.names == [f"{type(credential).__name__}.get_token", "Token.is_fresh"]


@pytest.mark.usefixtures("azure_core")
@pytest.mark.parametrize("make", [ManagedIdentityCredential, make_shared_credential])
def test_warm_token_for_azure_core_costs_two_own_calls_too(
    make: Callable[[], ManagedIdentityCredential | SharedCredential],
) -> None:
    azure = pytest.importorskip("azure.core.credentials")
    credential = make()
    token = asyncio.run(credential.get_token(SCOPE))
    call = credential.get_token(SCOPE)
    with Hops() as hops, pytest.raises(StopIteration) as stopped:
        call.send(None)
    assert stopped.value.value is token
    assert isinstance(token, azure.AccessToken)
    assert hops.names == [f"{type(credential).__name__}.get_token", "Token.is_fresh"]


@pytest.mark.parametrize("classes", ["ours", "azure-core's"])
@pytest.mark.parametrize(("pacing", "most"), [(True, 20), (False, 15)])
def test_warm_get_costs_twenty_own_calls_and_three_frames(
    pacing: bool, most: int, classes: str
) -> None:
    if classes != "ours":
        # `tests/conftest.py` has taken the module out of `sys.modules`, so this imports it again.
        pytest.importorskip("azure.core.credentials")

    async def main() -> Hops:
        async with ArmSession(pacing=pacing) as arm:
            answers = [await arm.get(DEVTEST, api_version=VERSION) for _ in range(2)]
            with Hops() as hops:
                answers.append(await arm.get(DEVTEST, api_version=VERSION))
            assert [answer["name"] for answer in answers] == ["DevTest"] * 3
            return hops

    hops = asyncio.run(main())
    assert {
        "Verbs.get",
        "Sender.send",
        "Connection.send_once",
        "ManagedIdentityCredential.get_token",
    } <= set(hops.names)
    # An aiohttp whose sessions always resend a lost GET needs a middleware against that.
    names = [name for name in hops.names if name != MIDDLEWARE]
    assert len(names) <= most, hops.names
    assert 1 <= hops.depth <= 3


def test_cold_token_costs_25_own_calls_to_its_request_48_in_all(
    embedded_azure: EmbeddedAzure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The budget of 25 covers the calls up to the request, not those after the response.

    These are as many: the response is parsed, the token dated and published, and every waiter
    woken. Three more calls end the flight after its caller has returned.
    """
    # On a slow machine the timer of the deadline would check the event loop several times.
    monkeypatch.setattr(running_time, "_INTERVAL", 3_600.0)
    credential, ways = ManagedIdentityCredential(), list[list[str]]()

    async def caller() -> None:
        await credential.get_token(SCOPE)
        ways.append(hops.names)

    async def main() -> None:
        with embedded_azure.imds.hold() as hold, hops:
            call = asyncio.ensure_future(caller())
            await hold.arrived(1)
            ways.append(hops.names)
            hold.release()
            await call

    hops = Hops()
    asyncio.run(main())
    out, back = ways
    assert (out[-1], back[-1]) == (MIDDLEWARE, "Token.left")
    assert len(out) <= 25, out
    assert len(back) <= 48, back
    assert len(hops.names) <= 51, hops.names
    # The flight, its fetch and one request; and `send_once`, which aiohttp calls.
    assert 1 <= hops.depth <= 4


def test_function_counts_at_each_start_and_not_when_resumed() -> None:
    async def main() -> Hops:
        credential = make_shared_credential()
        with Hops() as hops:
            await asyncio.gather(*(credential.get_token(SCOPE) for _ in range(3)))
        return hops

    hops = asyncio.run(main())
    assert [
        hops.names.count(name)
        for name in ("Waiter.wait", "SharedCredential.get_token", "Flight._run")
    ] == [3, 3, 1]
    assert not [name for name in hops.names if "Clock" in name or name.endswith("comp>")]
