"""Cancellation at every `await` of credential, core, queue and fan-out; the next call then works.

The await points are read from the sources' syntax trees (`awaits`). Each scenario below is first
played undisturbed, to see where the library's tasks come to stand; every point must be among those
places. Then it is played once more for each of them, and the task that stands there is cancelled:
the caller's own, the flight's, or an errand's in another loop. Whoever adds an `await` adds a
scenario that comes by.
"""

import asyncio
import contextlib
import gc
import math
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any, Self, TypeAlias

import attrs
import gates
import pytest
from arm_server import Token
from await_points import Awaits, Point, Stand, Watch, Way, read
from filelock import BaseFileLock
from loops import LOOPS, wait_until

import aiomsi
from aiomsi import (
    AccessToken,
    AccessTokenInfo,
    Clock,
    CredentialClosedError,
    ManagedIdentityCredential,
    RefreshPolicy,
    SharedCredential,
    UsageError,
)
from aiomsi._arm.call import AsyncCredential
from aiomsi._clock import SYSTEM_CLOCK
from aiomsi._clouds import normalize_audience
from aiomsi._credentials import gate as _gate
from aiomsi._credentials.fetch import TokenFetch
from aiomsi._credentials.gate_schedule import FAR, GateState
from aiomsi._credentials.slot_credential import SlotCredential
from aiomsi._hosts.base import FileRequest, TokenRequest
from aiomsi._hosts.imds import Imds
from aiomsi._tokens import slot as _slot
from aiomsi._tokens.flight import Flight, Ping, Waiter
from aiomsi._tokens.host_backoff import HostBackoff
from aiomsi._tokens.slot import Slot
from aiomsi._tokens.state import FetchRequest
from aiomsi._util.secret import SecretBytes
from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, EmbeddedAzure, Fault, ManualClock

SOURCE = Path(aiomsi.__file__).parent
FOLDERS = ("_util", "_tokens", "_hosts", "_credentials")
"""The credentials and the core; most of `_arm` has tests of its own."""
FILES = sorted(
    [
        *(path for folder in FOLDERS for path in SOURCE.glob(f"{folder}/*.py")),
        SOURCE / "_arm" / "call_queue.py",
        SOURCE / "_arm" / "connection.py",
        SOURCE / "_arm" / "fan_out.py",
    ]
)
AWAITS = read(*FILES, package="aiomsi", home=SOURCE)
EACH_LOOP = [
    pytest.param(kind, marks=() if kind == "debug" else pytest.mark.loops) for kind in LOOPS
]

NEVER_SUSPENDS = {
    "fetch TokenFetch.__call__: async with scope: enter": "has no timer of its own",
    "fetch TokenFetch.__call__: async with scope: exit": "has no timer of its own",
    "fetch TokenFetch.__call__: async with aiohttp.ClientSession(...): enter": "returns itself",
    "fetch TokenFetch._send_at_gate: async with gate.admission(...): exit": "releases the place",
    "fetch TokenFetch._send: async with http.request(...): exit": "a GET has no body left to send",
    "instance_request instance_metadata: async with asyncio.timeout(...): enter": "sets a timer",
    "instance_request instance_metadata: async with asyncio.timeout(...): exit": "cancels it",
    "wrapped _close: async with asyncio.timeout(...): enter": "sets a timer",
    "wrapped _close: async with asyncio.timeout(...): exit": "cancels it",
    "wrapped WrappedFetch.__call__: async with scope: enter": "has no timer of its own",
    "wrapped WrappedFetch.__call__: async with scope: exit": "has no timer of its own",
}
"""Points that never suspend, so that no task can be cancelled there; and why."""

SUSPENDS = [point for point in AWAITS.points if str(point) not in NEVER_SUSPENDS]
SCOPE = "https://management.azure.com/.default"
DAY = 86_400.0
SOON = 0.001
"""As good as at once; but a task that sleeps for so long is suspended."""
WHILE = 20.0
"""A wait that a busy machine does not outlast; clocks of the scenarios sleep for less."""
TOLD = CredentialClosedError, AccessToken, AccessTokenInfo
"""Results of a call whose credential is closed.

A token only if its flight is lost at that moment, and the call starts another."""
PATIENT = RefreshPolicy(retry_first_delay=SOON)


@attrs.define(eq=False)
class Stage:
    """What a scenario is given, and what is known of its callers.

    Attributes:
        folder: for a gate; the same one for all plays, so what one of them holds for ever is in the
            way of all others.

    """

    azure: EmbeddedAzure
    folder: Path
    watch: Watch
    kind: str
    calls: list[tuple[asyncio.Task[Any], tuple[type, ...]]] = attrs.field(factory=list)
    complaints: list[object] = attrs.field(factory=list)
    checks: list[Callable[[], list[object]]] = attrs.field(factory=list)
    # What other tests have left is none of this one's business.
    _others: frozenset[Slot] = attrs.field(init=False, factory=lambda: frozenset(_slot._slots))

    @property
    def slots(self) -> list[Slot]:
        """The slots that this play has made."""
        return [slot for slot in list(_slot._slots) if slot not in self._others]

    def __attrs_post_init__(self) -> None:
        self.watch.when_ended = self._look_for_ghosts

    def _look_for_ghosts(self) -> None:
        """Check that a cancelled caller is on no list of waiters."""
        for slot in self.slots:
            with slot._lock:
                waiters_by_loop = (
                    () if slot._flight is None else slot._flight.waiters_by_loop.values()
                )
                self.complaints += [
                    waiter
                    for loop_waiters in waiters_by_loop
                    for waiter in loop_waiters.waiters
                    if waiter.future.done()
                ]

    def left_over(self) -> list[object]:
        """Return everything that its calls should have closed or released by now."""
        return [each for check in self.checks for each in check()]

    def call(self, call: Coroutine[Any, Any, object], *may_end: type) -> asyncio.Task[Any]:
        """Start a call, which ends in a token or as `may_end` says, unless it is cancelled."""
        task = asyncio.ensure_future(call)
        self.calls.append((task, may_end or (AccessToken, AccessTokenInfo)))
        return task

    def prepare(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.set_exception_handler(lambda _, context: self.complaints.append(context))
        self.watch.install(loop, eager=self.kind == "eager")

    @contextlib.asynccontextmanager
    async def elsewhere(self) -> AsyncIterator["Elsewhere"]:
        """Run another loop in another thread."""
        other = Elsewhere(make_loop(self.kind))
        self.prepare(other.loop)
        other.thread.start()
        try:
            yield other
            # Not cancelled with this loop's callers: they end by themselves, or the test fails.
            await other.run(settle())
        finally:
            other.loop.call_soon_threadsafe(other.loop.stop)
            await asyncio.to_thread(other.thread.join)
            other.loop.close()


@attrs.define(eq=False)
class Elsewhere:
    """Another event loop, in a thread of its own."""

    loop: asyncio.AbstractEventLoop
    thread: threading.Thread = attrs.field(init=False)

    @thread.default
    def _runs_the_loop(self) -> threading.Thread:
        return threading.Thread(target=self.loop.run_forever)

    async def run(self, coroutine: Coroutine[Any, Any, object]) -> None:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self.loop))

    async def call(self, stage: Stage, call: Coroutine[Any, Any, object], *may_end: type) -> None:
        """Begin a call there."""

        async def begin() -> None:
            stage.call(call, *may_end)

        await self.run(begin())


async def settle() -> None:
    """Wait until this loop has no other task; then there is no timer of ours left either."""
    while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(tasks)
    # What is done when a task ends is done one step later.
    await asyncio.sleep(0)
    timers: list[asyncio.TimerHandle] = getattr(
        asyncio.get_running_loop(), "_scheduled", []
    )  # uvloop tells nobody
    assert not [timer for timer in timers if not timer.cancelled() and is_ours(timer)]


def is_ours(timer: asyncio.Handle) -> bool:
    return str(getattr(timer._callback, "__module__", "")).startswith("aiomsi.")  # type: ignore[attr-defined]  # asyncio's own


def make_loop(kind: str) -> asyncio.AbstractEventLoop:
    if kind == "uvloop":
        uvloop = pytest.importorskip("uvloop")
        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        return loop
    loop = asyncio.new_event_loop()
    loop.set_debug(kind == "debug")
    return loop


class Inner:
    """Somebody's credential, which takes a moment for whatever it does."""

    def __init__(self, *, held: bool = False) -> None:
        self.go_on = asyncio.Event()
        self.begun = asyncio.Event()
        self.closing = False
        if not held:
            self.go_on.set()

    async def get_token(self, *scopes: str, **options: Any) -> Token:
        await asyncio.sleep(SOON)
        self.begun.set()
        await self.go_on.wait()
        return Token("token", int(SYSTEM_CLOCK.wall() + DAY))

    async def close(self) -> None:
        self.closing = True
        await asyncio.sleep(SOON)


class Newer(Inner):
    """One with the newer of the two methods, and to be entered."""

    async def get_token_info(self, *scopes: str, options: dict[str, Any]) -> Token:
        return await self.get_token(*scopes, **options)

    async def __aenter__(self) -> Self:
        await asyncio.sleep(SOON)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


# The scenarios. Each gives the credential that the next call is made to.

Scenario: TypeAlias = Callable[[Stage], Coroutine[Any, Any, SlotCredential]]


async def play_cold(stage: Stage) -> SlotCredential:
    stage.azure.imds.inject(Fault(500), times=1)
    credential = ManagedIdentityCredential(policy=PATIENT)
    stage.call(credential.get_token(SCOPE))
    stage.call(ManagedIdentityCredential(policy=PATIENT).get_token(SCOPE))
    return credential


async def play_truncated_response(stage: Stage) -> SlotCredential:
    stage.azure.imds.inject(Fault.truncate(), times=1)
    credential = ManagedIdentityCredential(policy=PATIENT)
    stage.call(credential.get_token(SCOPE))
    stage.call(credential.get_token(SCOPE))
    return credential


class WithFile(Imds):
    """IMDS, if it were a host whose request needs the content of a file."""

    path = ""

    def build_request(  # type: ignore[override]  # as hosts with a file do
        self,
        resource: str,
        fetch_request: FetchRequest,
        content: SecretBytes | None = None,
    ) -> TokenRequest | FileRequest:
        if content is None:
            return FileRequest(self.path, None, "", 100, "the key")
        return super().build_request(resource, fetch_request, content)


async def play_request_with_a_file(stage: Stage) -> SlotCredential:
    (stage.folder / "key").write_bytes(b"content")
    WithFile.path = str(stage.folder / "key")
    credential = ManagedIdentityCredential(share=False)
    credential._host = WithFile(stage.azure.imds.url)
    block_executor(asyncio.get_running_loop())
    stage.call(credential.get_token(SCOPE))
    stage.call(credential.get_token(SCOPE))
    return credential


def block_executor(loop: asyncio.AbstractEventLoop, turns: int = 8) -> None:
    """Keep the only thread of a loop's executor busy until the loop has made some turns.

    Otherwise the thread may read a file before the loop's next turn, and no task stands there.
    """
    executor, free = ThreadPoolExecutor(1), threading.Event()
    loop.set_default_executor(executor)
    executor.submit(free.wait)

    def count(left: int) -> None:
        if left:
            loop.call_soon(count, left - 1)
        else:
            free.set()

    count(turns)


async def get_token_info(stage: Stage) -> SlotCredential:
    credential = ManagedIdentityCredential()
    stage.call(credential.get_token_info(SCOPE, options={"enable_cae": True}))
    stage.call(credential.get_token(SCOPE))
    return credential


async def play_warm_up(stage: Stage) -> SlotCredential:
    credential = ManagedIdentityCredential()
    stage.call(credential.warm_up(), NoneType)
    stage.call(credential.get_token(SCOPE))
    return credential


async def play_claims(stage: Stage) -> SlotCredential:
    credential = ManagedIdentityCredential()
    await credential.get_token(SCOPE)
    stage.call(credential.get_token(SCOPE, claims="c1"))
    stage.call(credential.get_token(SCOPE, claims="c1"))
    return credential


async def play_late_token(stage: Stage) -> SlotCredential:
    manual, begun, go_on = ManualClock(), asyncio.Event(), asyncio.Event()
    go_on.set()

    async def fetch(scope: str) -> tuple[str, float]:
        begun.set()
        await go_on.wait()
        return "token", manual.clock.wall() + DAY

    credential = SharedCredential(fetch, clock=manual.clock)
    await credential.get_token(SCOPE)
    manual.advance(DAY - 100)
    begun.clear()
    go_on.clear()
    for _ in range(2):
        stage.call(credential.get_token(SCOPE))
    await begun.wait()
    go_on.set()
    return credential


async def play_lost_flights(stage: Stage) -> SlotCredential:
    credential = ManagedIdentityCredential(clock=make_brief_clock())
    slot, _ = credential._hold((SCOPE,))
    slot._state = attrs.evolve(
        slot._state, unattended=3, retry_at_unusable=slot.clock.monotonic() + WHILE
    )
    stage.call(credential.get_token(SCOPE))
    stage.call(credential.get_token(SCOPE))
    return credential


async def play_flight_in_another_loop(stage: Stage) -> SlotCredential:
    credential = ManagedIdentityCredential()
    async with stage.elsewhere() as there:
        with stage.azure.imds.hold() as hold:
            await there.call(stage, credential.get_token(SCOPE))
            await hold.arrived(1)
            calls = [stage.call(credential.get_token(SCOPE)) for _ in range(2)]
            # They join that flight.
            await asyncio.sleep(0)
        await asyncio.wait(calls)
    return credential


async def play_close_in_mid_flight(stage: Stage) -> SlotCredential:
    credential, other = ManagedIdentityCredential(share=False), ManagedIdentityCredential()
    with stage.azure.imds.hold() as hold:
        stage.call(credential.get_token(SCOPE), *TOLD)
        stage.call(other.get_token(SCOPE))
        await hold.arrived(2)
        await asyncio.wait([stage.call(credential.close(), NoneType)])
    return credential


async def play_exit_in_mid_flight(stage: Stage) -> SlotCredential:
    credential, other = ManagedIdentityCredential(share=False), ManagedIdentityCredential()

    async def within() -> None:
        async with credential:
            stage.call(credential.get_token(SCOPE), *TOLD)
            await hold.arrived(2)

    with stage.azure.imds.hold() as hold:
        stage.call(other.get_token(SCOPE))
        await asyncio.wait([stage.call(within(), NoneType)])
    return credential


async def play_close_from_another_loop(stage: Stage) -> SlotCredential:
    credential, other = ManagedIdentityCredential(share=False), ManagedIdentityCredential()
    async with stage.elsewhere() as there:
        with stage.azure.imds.hold() as hold:
            await there.call(stage, credential.get_token(SCOPE), *TOLD)
            stage.call(other.get_token(SCOPE))
            await hold.arrived(2)
            await asyncio.wait([stage.call(credential.close(), NoneType)])
    return credential


async def play_instance(stage: Stage) -> SlotCredential:
    credential = SharedCredential(Inner())
    stage.call(credential.get_token(SCOPE))
    stage.call(credential.get_token(SCOPE))
    return credential


async def play_newer_instance(stage: Stage) -> SlotCredential:
    credential = SharedCredential(Newer())
    stage.call(credential.get_token(SCOPE))
    stage.call(credential.get_token_info(SCOPE))
    return credential


def hold_instance() -> tuple[Inner, SharedCredential]:
    """Return an instance that belongs to this loop and responds on demand, and its credential.

    Every ping will be answered, however busy the machine is; but what is lost is asked for again
    after a moment.
    """
    inner, clock = Inner(held=True), attrs.evolve(SYSTEM_CLOCK, sleep=lambda _: asyncio.sleep(SOON))
    return inner, SharedCredential(inner, policy=RefreshPolicy(loop_ping_timeout=10), clock=clock)


async def play_instance_from_another_loop(stage: Stage) -> SlotCredential:
    inner, credential = hold_instance()
    async with stage.elsewhere() as there:
        await there.call(stage, credential.get_token(SCOPE))
        await inner.begun.wait()
        calls = [stage.call(credential.get_token(SCOPE)) for _ in range(2)]
        await asyncio.sleep(0)
        inner.go_on.set()
        await asyncio.wait(calls)
    return credential


async def play_instance_that_is_cancelled(stage: Stage) -> SlotCredential:
    inner, credential = hold_instance()
    async with stage.elsewhere() as there:
        await there.call(stage, credential.get_token(SCOPE))
        await inner.begun.wait()
        # There is none if the play has cancelled it already.
        for question in (task for task in asyncio.all_tasks() if task.get_name() == "aiomsi Inner"):
            question.cancel()
        inner.go_on.set()
    return credential


async def play_factory(stage: Stage) -> SlotCredential:
    made: list[Inner] = []

    def make() -> Inner:
        made.append(Inner())
        return made[-1]

    stage.checks.append(lambda: [inner for inner in made if not inner.closing])
    credential = SharedCredential(make)
    stage.call(credential.get_token(SCOPE))
    stage.call(credential.get_token(SCOPE))
    return credential


async def play_newer_factory(stage: Stage) -> SlotCredential:
    credential = SharedCredential(Newer)
    stage.call(credential.get_token(SCOPE))
    stage.call(credential.get_token(SCOPE))
    return credential


class Wrapper:
    """A credential that is asynchronous without a coroutine function."""

    def __init__(self) -> None:
        self.inner = Inner()
        self.loop = asyncio.get_running_loop()
        self.suspended = threading.Event()

    def get_token(self, *scopes: str, **options: Any) -> Awaitable[tuple[str, float]]:
        # The first call runs in a thread. From Python 3.14 on its caller is not suspended if the
        # thread ends before the caller awaits it, so the thread waits until the loop runs.
        self.loop.call_soon_threadsafe(self.suspended.set)
        self.suspended.wait(30)
        return self.inner.get_token(*scopes, **options)


async def play_wrapper(stage: Stage) -> SlotCredential:
    credential = SharedCredential(Wrapper())
    stage.call(credential.get_token(SCOPE))
    stage.call(credential.get_token(SCOPE))
    return credential


async def play_asynchronous_factory(stage: Stage) -> SlotCredential:
    made: list[Inner] = []

    async def make() -> Inner:
        await asyncio.sleep(SOON)
        made.append(Inner())
        return made[-1]

    stage.checks.append(lambda: [inner for inner in made if not inner.closing])
    credential = SharedCredential(make)
    stage.call(credential.get_token(SCOPE))
    stage.call(credential.get_token(SCOPE))
    return credential


async def play_function_with_a_credential(stage: Stage) -> SlotCredential:
    def make(*_scopes: str, **_options: Any) -> Newer:
        return Newer()

    credential = SharedCredential(make)
    stage.call(credential.get_token(SCOPE))
    stage.call(credential.get_token(SCOPE))
    return credential


async def play_function(stage: Stage) -> SlotCredential:
    async def fetch(*scopes: str) -> tuple[str, float]:
        return await Inner().get_token(*scopes)

    credential = SharedCredential(fetch)
    stage.call(credential.get_token(SCOPE))
    stage.call(credential.get_token(SCOPE))
    return credential


def make_gated_credential(
    stage: Stage, turns: GateState, *events: Callable[[], object]
) -> tuple[ManagedIdentityCredential, Clock]:
    """Return a credential behind a gate whose turns are taken for some seconds, and its clock.

    On that clock every sleep takes a moment, however long it is, and at the end of each the next of
    the events happens. It goes by whole seconds: so who comes to wait does not depend on what is
    drawn, nor on how it is rounded.
    """
    manual, following = ManualClock(int(time.time())), iter(events)

    async def sleep(seconds: float) -> None:
        try:
            await asyncio.sleep(SOON)
        finally:
            manual.advance(math.ceil(seconds))
            next(following, bool)()

    clock = attrs.evolve(manual.clock, sleep=sleep)
    gates.store(stage.folder, GateState(turns.queue + clock.wall(), turns.send + clock.wall()))
    stage.checks.append(lambda: [*gates.list_held(stage.folder)])
    return ManagedIdentityCredential(gate=stage.folder, policy=PATIENT, clock=clock), clock


async def play_free_gate(stage: Stage) -> SlotCredential:
    credential, _ = make_gated_credential(stage, GateState())
    stage.call(credential.get_token(SCOPE))
    stage.call(credential.get_token(SCOPE))
    return credential


async def play_busy_gate(stage: Stage) -> SlotCredential:
    credential, clock = make_gated_credential(stage, GateState(queue=5, send=10))
    stage.call(credential.get_token(SCOPE))
    stage.call(credential.get_token(SCOPE))
    stage.call(
        ManagedIdentityCredential(gate=stage.folder, share=False, clock=clock).get_token(SCOPE)
    )
    return credential


async def play_locked_turns(stage: Stage) -> SlotCredential:
    """Lock the turns at first, and again when the turn of the queue has come."""
    turns = gates.hold(stage.folder / "turns.lock")
    credential, _ = make_gated_credential(
        stage, GateState(queue=5), turns.release, turns.acquire, turns.release
    )
    await asyncio.wait([stage.call(credential.get_token(SCOPE)) for _ in range(2)])
    turns.release()
    return credential


async def play_full_gate(stage: Stage) -> SlotCredential:
    places = gates.hold_all(stage.folder)
    credential, _ = make_gated_credential(
        stage, GateState(), lambda: None, lambda: gates.release_all(places)
    )
    await asyncio.wait([stage.call(credential.get_token(SCOPE)) for _ in range(2)])
    gates.release_all(places)
    return credential


async def play_late_turn(stage: Stage) -> SlotCredential:
    credential, _ = make_gated_credential(stage, GateState(send=FAR))
    stage.call(credential.get_token(SCOPE))
    stage.call(credential.get_token(SCOPE))
    return credential


async def play_hold_off_at_the_gate(stage: Stage) -> SlotCredential:
    """Lock the turns until the first request waits for them, and hold off the host meanwhile."""
    turns = gates.hold(stage.folder / "turns.lock")
    credential, _ = make_gated_credential(stage, GateState(), *[turns.release] * 100)
    turns.release()
    stage.azure.imds.inject(Fault(429, {"Retry-After": "5"}), times=1)
    with stage.azure.imds.hold() as answer:
        calls = [stage.call(credential.get_token(SCOPE)) for _ in range(2)]
        await answer.arrived(1)
        turns.acquire()
    await asyncio.wait(calls)
    turns.release()
    return credential


def make_brief_clock(backoffs: Sequence[HostBackoff] = ()) -> Clock:
    """Return a clock whose sleeps are brief; after one, the host's `Retry-After` is over."""

    async def sleep(_: float) -> None:
        await asyncio.sleep(SOON)
        for backoff in backoffs:
            backoff.forget()

    return attrs.evolve(SYSTEM_CLOCK, sleep=sleep)


def hold_off(stage: Stage, backoff: HostBackoff) -> None:
    """Hold off the host, and check that the requests give all turns back."""
    backoff.hold_off(SYSTEM_CLOCK.monotonic() + WHILE)
    stage.checks.append(lambda: [*backoff._waiting])
    stage.checks.append(lambda: [turn for turn in backoff._sent if turn.ended is None])


async def play_host_backoff(stage: Stage) -> SlotCredential:
    backoffs = list[HostBackoff]()
    clock = make_brief_clock(backoffs)
    credential = ManagedIdentityCredential(policy=PATIENT, clock=clock)
    backoffs.append(credential._backoff)
    hold_off(stage, credential._backoff)
    stage.call(credential.get_token(SCOPE))
    stage.call(ManagedIdentityCredential(policy=PATIENT, clock=clock).get_token(SCOPE))
    return credential


async def play_inner_host_backoff(stage: Stage) -> SlotCredential:
    backoff = HostBackoff()
    credential = SharedCredential(Inner(), clock=make_brief_clock([backoff]))
    credential._shared.backoffs[(normalize_audience(SCOPE),), None] = backoff
    hold_off(stage, backoff)
    stage.call(credential.get_token(SCOPE))
    stage.call(credential.get_token(SCOPE))
    return credential


def fan_out_with(
    stage: Stage, clock: Clock, requests: Callable[[], AsyncIterator[aiomsi.Request]], most: int = 0
) -> SlotCredential:
    """Consume two fan-outs of one session, each up to a number of outcomes, or to its end."""
    credential = ManagedIdentityCredential()
    opened, closed = list[int](), list[int]()

    async def source(taken: list[aiomsi.Request]) -> AsyncIterator[aiomsi.Request]:
        opened.append(id(taken))
        try:
            await asyncio.sleep(SOON)
            # From here on the fan-out waits for its limit, and not for this generator.
            async for request in requests():
                taken.append(request)
                yield request
        finally:
            closed.append(id(taken))
            await asyncio.sleep(SOON)

    async def consume(session: aiomsi.ArmSession) -> int:
        count, taken = 0, list[aiomsi.Request]()
        async with contextlib.aclosing(session.fan_out(source(taken), limit=3)) as outcomes:
            async for _ in outcomes:
                count += 1
                if count == most:
                    # So that the generator is closed while the fan-out waits for its limit.
                    await wait_until(lambda: len(taken) == most + 3 or id(taken) in closed)
                    await asyncio.sleep(0)
                    break
        return count

    async def both() -> None:
        async with aiomsi.ArmSession(credential, clock=clock) as session:
            await asyncio.wait([stage.call(consume(session), int, UsageError) for _ in range(2)])

    stage.checks.append(lambda: [*opened[len(closed) :]])
    stage.call(both(), NoneType)
    return credential


GROUP = f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}/resourceGroups/DevTest"
NETWORKS = "Microsoft.Network/virtualNetworks"
NET = f"{GROUP}/providers/{NETWORKS}/net"


async def play_reads_of_a_fan_out(stage: Stage) -> SlotCredential:
    async def requests() -> AsyncIterator[aiomsi.Request]:
        while True:
            yield aiomsi.Request("GET", GROUP, api_version="2021-04-01")

    return fan_out_with(stage, SYSTEM_CLOCK, requests, most=5)


async def play_bad_requests_of_a_fan_out(stage: Stage) -> SlotCredential:
    credential = ManagedIdentityCredential()

    async def consume() -> int:
        async with aiomsi.ArmSession(credential) as session:
            return len([one async for one in session.fan_out([""] * 100)])

    stage.call(consume(), int, UsageError)
    return credential


async def play_writes_of_a_fan_out(stage: Stage) -> SlotCredential:
    stage.azure.arm.long_running(NETWORKS, "azure-async-operation", polls=1)

    async def requests() -> AsyncIterator[aiomsi.Request]:
        for _ in range(3):
            yield aiomsi.Request("PUT", NET, api_version="2023-09-01", json={"location": "westus"})

    return fan_out_with(stage, make_brief_clock(), requests)


def send_gets(stage: Stage, clock: Clock, *credentials: AsyncCredential, number: int = 3) -> None:
    """Send some requests of a session at once; its queue has to be empty in the end."""
    arms = list[aiomsi.ArmSession]()

    async def calls() -> None:
        first, *further = credentials
        async with aiomsi.ArmSession(first, auxiliary=further, clock=clock) as arm:
            arms.append(arm)
            gets = [arm.get(GROUP, api_version="2021-04-01") for _ in range(number)]
            await asyncio.wait([stage.call(get, dict, UsageError) for get in gets])

    def left() -> list[object]:
        pacers = [arm._connection.queue.pacer for arm in arms if hasattr(arm._connection, "queue")]
        return [pacer for pacer in pacers if pacer.in_flight or pacer.waiting]

    stage.checks.append(left)
    stage.call(calls(), NoneType)


async def play_wait_for_a_limit(stage: Stage) -> SlotCredential:
    stage.azure.arm.inject(Fault(429), times=2)
    credential = ManagedIdentityCredential()
    send_gets(stage, ManualClock(autoadvance=True).clock, credential)
    return credential


@attrs.define(eq=False)
class Brief:
    """A credential whose tokens expire half a minute after they were returned."""

    inner: ManagedIdentityCredential
    clock: Clock

    async def get_token(self, *scopes: str, **options: Any) -> Token:
        token = await self.inner.get_token(*scopes, **options)
        await asyncio.sleep(SOON)
        return Token(token.token, int(self.clock.wall()) + 30)


async def play_tokens_that_expire_in_the_queue(stage: Stage) -> SlotCredential:
    stage.azure.arm.inject(Fault(429, {"Retry-After": "40"}), times=1)
    credential, clock = ManagedIdentityCredential(), ManualClock(autoadvance=True).clock
    # A second call might fetch the tokens first.
    send_gets(stage, clock, Brief(credential, clock), Brief(credential, clock), number=1)
    return credential


async def play_refused_tokens(stage: Stage) -> SlotCredential:
    credentials = [ManagedIdentityCredential(share=False) for _ in range(2)]
    for credential in credentials:
        await credential.get_token(SCOPE)
    stage.azure.imds.revoke_tokens()
    send_gets(stage, SYSTEM_CLOCK, *credentials)
    return credentials[0]


async def play_a_claims_challenge(stage: Stage) -> SlotCredential:
    credential = ManagedIdentityCredential()
    await credential.get_token(SCOPE)
    stage.azure.arm.challenge_tokens()
    send_gets(stage, SYSTEM_CLOCK, credential)
    return credential


async def play_unavailable_service(stage: Stage) -> SlotCredential:
    stage.azure.arm.inject(Fault(503), times=2)
    credential = ManagedIdentityCredential()
    send_gets(stage, ManualClock(autoadvance=True).clock, credential)
    return credential


async def play_body_in_parts(stage: Stage) -> SlotCredential:
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n"
    parts = {
        "await http.request(...)": head,
        "await answer.content.readany()": b"{",
        "await read_rest(...)": b"}",
    }

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def may_go_on(text: str) -> bool:
            points = (point for stand in list(stage.watch.seen) for point in stand.points)
            is_closed = reader.at_eof() or writer.is_closing()
            return is_closed or any(point.text == text for point in points)

        # A cancelled call closes its connection.
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            for text, part in parts.items():
                # A call waits for the part before it is sent.
                await wait_until(partial(may_go_on, text))
                # uvloop raises a RuntimeError for a closed connection.
                if not writer.is_closing():
                    writer.write(part)
        with contextlib.suppress(ConnectionError):
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    credential = ManagedIdentityCredential()
    with pytest.MonkeyPatch.context() as patch:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        patch.setenv("AIOMSI_RESOURCE_MANAGER", url)
        send_gets(stage, SYSTEM_CLOCK, credential)
        await asyncio.wait([task for task, _ in stage.calls])
    server.close()
    await server.wait_closed()
    return credential


async def play_end_of_a_session(stage: Stage) -> SlotCredential:
    """Leave a session that polls an operation, and whose credential fetches a token."""
    stage.azure.arm.long_running(NETWORKS, "azure-async-operation", polls=1)

    async def poll() -> None:
        async with aiomsi.ArmSession(clock=make_brief_clock()) as arm:
            body = {"location": "westus"}
            operation = await arm.begin("PUT", NET, api_version="2023-09-01", json=body)
            with stage.azure.arm.hold() as hold:
                result = stage.call(operation.result(), dict, UsageError)
                arrival = asyncio.ensure_future(hold.arrived(1))
                # No request arrives if the call is cancelled before.
                await asyncio.wait([result, arrival], return_when=asyncio.FIRST_COMPLETED)
                arrival.cancel()

    async def fetch() -> None:
        inner = Inner(held=True)
        async with aiomsi.ArmSession(inner) as arm:
            stage.call(arm.get(GROUP, api_version="2021-04-01"), UsageError)
            await inner.begun.wait()

    await asyncio.wait([stage.call(fetch(), NoneType)])
    await asyncio.wait([stage.call(poll(), NoneType)])
    return ManagedIdentityCredential()


async def play_instance_metadata(stage: Stage) -> SlotCredential:
    stage.call(aiomsi.instance_metadata(), aiomsi.InstanceMetadata)
    stage.call(aiomsi.instance_metadata(timeout=None), aiomsi.InstanceMetadata)
    return ManagedIdentityCredential()


async def play_token_provider(stage: Stage) -> SlotCredential:
    credential = ManagedIdentityCredential()
    provide = aiomsi.token_provider(credential, SCOPE)
    stage.call(provide(), str)
    stage.call(provide(), str)
    return credential


SCENARIOS: dict[Scenario, set[str]] = {
    play_cold: set(),
    play_truncated_response: set(),
    play_request_with_a_file: {"fetch"},
    get_token_info: {"managed_identity"},
    play_warm_up: {"managed_identity"},
    play_claims: {"managed_identity"},
    play_late_token: set(),
    play_lost_flights: set(),
    play_flight_in_another_loop: set(),
    play_close_in_mid_flight: set(),
    play_exit_in_mid_flight: set(),
    play_close_from_another_loop: set(),
    play_instance: set(),
    play_newer_instance: set(),
    play_instance_from_another_loop: set(),
    play_instance_that_is_cancelled: set(),
    play_factory: set(),
    play_newer_factory: set(),
    play_wrapper: set(),
    play_asynchronous_factory: set(),
    play_function_with_a_credential: set(),
    play_function: set(),
    play_host_backoff: {"host_backoff"},
    play_inner_host_backoff: {"host_backoff"},
    play_free_gate: set(),
    play_busy_gate: {"gate"},
    play_locked_turns: {"gate"},
    play_full_gate: {"gate"},
    play_late_turn: {"gate"},
    play_hold_off_at_the_gate: {"gate"},
    play_reads_of_a_fan_out: {"fan_out"},
    play_bad_requests_of_a_fan_out: {"fan_out"},
    play_writes_of_a_fan_out: {"fan_out"},
    play_wait_for_a_limit: {"call_queue"},
    play_tokens_that_expire_in_the_queue: {"connection"},
    play_refused_tokens: {"connection"},
    play_a_claims_challenge: {"connection"},
    play_unavailable_service: {"connection"},
    play_body_in_parts: {"connection"},
    play_end_of_a_session: {"connection"},
    play_instance_metadata: {"instance_request"},
    play_token_provider: {"token_provider"},
}
"""Each with the module that must be on the stack if the rest is as in others."""


# Playing them


def play(scenario: Scenario, stage: Stage) -> None:
    """Play a scenario to its end, and hold what everybody was promised."""
    SYSTEM_CLOCK.shared.clear()
    stage.azure.clear_faults()
    stage.calls.clear()
    with asyncio.Runner(loop_factory=lambda: make_loop(stage.kind)) as runner:
        runner.run(_play(scenario, stage))


async def _play(scenario: Scenario, stage: Stage) -> None:
    stage.prepare(asyncio.get_running_loop())
    async with asyncio.timeout(30):
        credential = await scenario(stage)
        await settle()
        for task, may_end in stage.calls:
            assert task.done()
            if task is not stage.watch.victim:
                check_end(task, may_end)
        if stage.watch.victim is not None:
            assert stage.watch.victim.done()
            assert stage.watch.was_cancelled()
        stage.watch.target = None
        assert stage.left_over() == []
        check_token(await credential.get_token(SCOPE), credential)
        await settle()
    assert stage.left_over() == []
    for slot in stage.slots:
        assert slot._flight is None
        assert not slot._tasks
        with ThreadPoolExecutor(1) as pool:
            # Tried in another thread: for the one that holds it, it would be free.
            assert pool.submit(is_free, slot._lock).result()


def check_end(task: asyncio.Task[Any], may_end: tuple[type, ...]) -> None:
    assert not task.cancelled(), "cancelled, and it was another's cancellation"
    outcome = task.exception() or task.result()
    assert isinstance(outcome, may_end), outcome


def is_free(lock: threading.RLock) -> bool:
    free = lock.acquire(blocking=False)
    if free:
        lock.release()
    return free


def check_token(token: AccessToken, credential: SlotCredential) -> None:
    assert token.token
    assert token.expires_on > credential._clock.wall()


@pytest.fixture(scope="module")
def azure() -> Iterator[EmbeddedAzure]:
    # Without limits: hundreds of fetches a second are wanted here. And the garbage collector
    # releases nobody's lock.
    with EmbeddedAzure(imds_limits=None) as azure, pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseFileLock, "__del__", lambda _: None)
        yield azure


@pytest.fixture(autouse=True)
def _at_this_azure(azure: EmbeddedAzure, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in azure.environment.items():
        monkeypatch.setenv(name, value)


@attrs.frozen
class Played:
    """What is seen when every scenario is played undisturbed, on one kind of loop."""

    azure: EmbeddedAzure
    folder: Path
    kind: str
    stands: list[tuple[Scenario, Stand]]

    def stage(self, target: Stand, way: Way = Way.TASK) -> Stage:
        """Prepare a play in which somebody is cancelled."""
        return Stage(self.azure, self.folder, Watch(AWAITS, target, way), self.kind)

    def of(self, point: Point) -> list[tuple[Scenario, Stand]]:
        """Return where to cancel for a point: all places where it is innermost, else one place."""
        innermost = [
            (scenario, stand) for scenario, stand in self.stands if stand.points[-1] == point
        ]
        return (
            innermost
            or [(scenario, stand) for scenario, stand in self.stands if point in stand.points][:1]
        )


@pytest.fixture(scope="module", params=EACH_LOOP)
def played(
    request: pytest.FixtureRequest, azure: EmbeddedAzure, tmp_path_factory: pytest.TempPathFactory
) -> Played:
    kind, stands, folder = str(request.param), [], tmp_path_factory.mktemp("gate")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in azure.environment.items():
            patch.setenv(name, value)
        for scenario, needed in SCENARIOS.items():
            stage = Stage(azure, folder, Watch(AWAITS), kind)
            play(scenario, stage)
            assert stage.complaints == []
            stands += [
                (scenario, stand)
                for stand in stage.watch.seen
                if needed <= {point.module for point in stand.points}
            ]
    # What there is by now is none of the garbage that each test looks through.
    gc.collect()
    gc.freeze()
    return Played(azure, folder, kind, stands)


def cancel_at(scenario: Scenario, stage: Stage) -> None:
    """Play a scenario in which somebody comes to stand at the target, and is cancelled there."""
    target = stage.watch.target
    for _ in range(3):
        # Where the operating system decides in which order things happen, nobody may come by.
        stage.watch.target = target
        play(scenario, stage)
        if stage.watch.delivered:
            return
    pytest.fail(f"nobody was cancelled at {target}")


@pytest.mark.slow
@pytest.mark.parametrize("way", Way, ids=lambda way: way.name.lower())
@pytest.mark.parametrize("point", SUSPENDS, ids=str)
def test_cancellation_at_an_await_harms_no_other_call(
    played: Played, point: Point, way: Way
) -> None:
    stages = []
    for scenario, stand in played.of(point):
        if stand.by_future or way is not Way.WOKEN:
            stages.append(played.stage(stand, way))
            cancel_at(scenario, stages[-1])
    # What only lets others go first is woken by nobody.
    assert stages or way is Way.WOKEN
    gc.collect()
    assert [complaint for stage in stages for complaint in stage.complaints] == []


def test_every_await_is_reached_or_known_not_to_suspend(
    played: Played,
) -> None:
    reached = {point for _, stand in played.stands for point in stand.points}
    assert {str(point) for point in AWAITS.points if point not in reached} == set(NEVER_SUSPENDS)
    assert NEVER_SUSPENDS.keys() <= set(map(str, AWAITS.points))


# What this file goes by can itself fail


def find_last_stand(played: Played, function: str) -> Stand:
    """Return the last place of a caller with that function innermost."""
    return [
        stand
        for scenario, stand in played.stands
        if scenario is play_cold and stand.points[-1].function == function
    ][-1]


def test_a_caller_that_does_not_leave_its_roster_is_noticed(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Flight, "remove_waiter", lambda *_: None)
    stage = played.stage(find_last_stand(played, "Waiter.wait"))
    cancel_at(play_cold, stage)
    assert [type(complaint) for complaint in stage.complaints] == [Waiter]


def test_callers_that_await_the_flights_task_are_noticed(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wait(waiter: Waiter) -> AccessToken | None:
        flight = waiter.flight
        assert flight.task is not None
        await flight.task
        (slot,) = (slot for slot in _slot._slots if slot._tasks is flight.tasks)
        return slot.token

    monkeypatch.setattr(Waiter, "wait", wait)
    points = find_last_stand(played, "Waiter.wait").points[:-1]
    stage = played.stage(Stand(points, wait.__qualname__, by_future=True))
    with pytest.raises(AssertionError, match="another's cancellation"):
        cancel_at(play_cold, stage)
    assert stage.watch.delivered


def test_a_fetch_that_swallows_its_cancellation_is_noticed(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = TokenFetch._send

    async def swallowing(fetch: TokenFetch, *arguments: Any) -> object:
        try:
            return await ask(fetch, *arguments)
        except asyncio.CancelledError:
            return await ask(fetch, *arguments)

    monkeypatch.setattr(TokenFetch, "_send", swallowing)
    stage = played.stage(find_last_stand(played, "make_send_once.<locals>.send_once"))
    with pytest.raises(AssertionError, match="was_cancelled"):
        cancel_at(play_cold, stage)
    assert stage.watch.delivered


def test_a_place_that_is_kept_is_noticed(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, release = list[BaseFileLock](), _gate._release

    def release_others(lock: BaseFileLock) -> None:
        if "place" in lock.lock_file:
            kept.append(lock)
        else:
            release(lock)

    monkeypatch.setattr(_gate, "_release", release_others)
    (target,) = {stand for scenario, stand in played.stands if scenario is play_late_turn}
    stage = played.stage(target)
    try:
        with pytest.raises(AssertionError, match=r"'place-0\.lock'"):
            cancel_at(play_late_turn, stage)
        assert stage.watch.delivered
    finally:
        gates.release_all(kept)


def test_a_timer_that_is_left_over_is_noticed() -> None:
    async def main() -> None:
        timer = asyncio.get_running_loop().call_later(60, Ping().answer)
        with pytest.raises(AssertionError):
            await settle()
        timer.cancel()
        await settle()

    asyncio.run(main())


EXAMPLE = """
async def outer(manager, rows):
    async with manager(), \\
            manager() as second:
        await second.step()
        await second.step()
    with manager():
        found = [row async for row in rows]
        async for row in rows:
            async def nested(): return await (await row)(1)
            await nested()
"""
GENERATOR = """
import contextlib
@contextlib.asynccontextmanager
async def manager(step):
    await step()
    try:
        yield
    finally:
        await step()
async def user(step, error):
    async with manager(step):
        if error: raise error
"""


def test_the_reader_names_every_kind_of_await_point() -> None:
    assert [
        f"{point.function} | {point.text}"
        for point in Awaits([("package.example", EXAMPLE)]).points
    ] == [
        "outer | async with manager(): enter",
        "outer | async with manager(): exit",
        "outer | async with manager(): enter #2",
        "outer | async with manager(): exit #2",
        "outer | await second.step()",
        "outer | await second.step() #2",
        "outer | async for rows",
        "outer | async for rows #2",
        "outer.<locals>.nested | await (await row)(...)",
        "outer.<locals>.nested | await row",
        "outer | await nested()",
    ]


def test_a_task_is_seen_at_each_point_in_turn() -> None:
    class Manager:
        async def step(self, *_: object) -> Self:
            await asyncio.sleep(0)
            return self

        __aenter__ = __aexit__ = step

    awaits = Awaits([("package.example", EXAMPLE)])
    watch, module = Watch(awaits), {"__name__": "package.example"}
    exec(EXAMPLE, module)  # noqa: S102 (the text above)

    async def main() -> None:
        watch.install(asyncio.get_running_loop(), eager=False)
        with pytest.raises(TypeError, match="context manager"):
            await asyncio.create_task(module["outer"](Manager, ()))  # type: ignore[operator]  # a function

    asyncio.run(main())
    assert [point.text for stand in watch.seen for point in stand.points] == [
        "async with manager(): enter",
        "async with manager(): enter #2",
        "await second.step()",
        "await second.step() #2",
        "async with manager(): exit #2",
        "async with manager(): exit",
    ]


@pytest.mark.parametrize("error", [None, LookupError()])
def test_a_task_is_seen_within_an_asynchronous_generator(error: LookupError | None) -> None:
    watch, module = Watch(Awaits([("package.example", GENERATOR)])), {"__name__": "package.example"}
    exec(GENERATOR, module)  # noqa: S102 (the text above)

    async def main() -> None:
        watch.install(asyncio.get_running_loop(), eager=False)
        with contextlib.nullcontext() if error is None else pytest.raises(LookupError):
            await asyncio.create_task(module["user"](lambda: asyncio.sleep(0), error))  # type: ignore[operator]  # a function

    asyncio.run(main())
    assert [[point.text for point in stand.points] for stand in watch.seen] == [
        ["async with manager(...): enter", "await step()"],
        ["async with manager(...): exit", "await step() #2"],
    ]
