"""A slot: one token, and the decisions about the flight that renews it.

The theory of operation is in `flight`.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
import sys
import threading
import weakref
from collections.abc import Callable

import attrs

from aiomsi._clock import SYSTEM_CLOCK, Clock
from aiomsi._errors import CredentialClosedError, CredentialError, UsageError, without_loop
from aiomsi._tokens.failure import (
    LOST_FAILURE,
    OVERDUE_FAILURE,
    UNSETTLED_FAILURE,
    Failure,
    make_held_off_failure,
    make_unexpected_failure,
)
from aiomsi._tokens.flight import (
    Fetch,
    Flight,
    LoopWaiters,
    NoResult,
    Outcome,
    Ping,
    Waiter,
    call_threadsafe,
    find_awaiting_flights,
    inside,
    wake,
)
from aiomsi._tokens.host_backoff import HostBackoff
from aiomsi._tokens.policy import DEFAULT_POLICY, RefreshPolicy
from aiomsi._tokens.state import (
    BLANK,
    Decision,
    SlotState,
    apply_challenge,
    apply_failure,
    apply_loss,
    apply_rejection,
    apply_response,
    covers_claims,
    decide,
    delay_of,
    is_idle,
    is_starved,
)
from aiomsi._tokens.token import (
    AccessToken,
    Freshness,
    Now,
    TokenIdentity,
    TokenResponse,
    Uniform,
    freshness_of,
)
from aiomsi._util.compat import after_fork_in_child
from aiomsi._util.running_time import TOLERANCE
from aiomsi._util.tasks import TRACING, create_task, suppress_tracing

logger = logging.getLogger("aiomsi")

_MOST_ROUNDS = 12
"""The most decisions of one call. It decides again after a loss, a rejection, or a clock's jump."""


_slots: weakref.WeakSet[Slot] = weakref.WeakSet()


@attrs.frozen
class SlotStats:
    """The counts of one slot, and its present state. Times in seconds.

    Attributes:
        state: the state of the token: ``"none"``, ``"fresh"``, ``"stale"``, ``"late"`` or
            ``"expired"``.
        expires_in: seconds until the token expires, None without one.
        fetches: fetches that were started.
        joined: callers that waited for a fetch which another caller had started.
        served_stale: calls that returned a token which was due for a refresh.
        failures: failed fetches by kind.
        failing: failed fetches since the last successful one.
        next_attempt: seconds until the next request may be sent to the host; 0 if it may be sent
            now.
        under_way: whether a fetch is under way.
        identity: the identity that the token was issued to, None without a token.

    """

    state: str
    expires_in: float | None
    fetches: int
    joined: int
    served_stale: int
    failures: dict[str, int]
    failing: int
    next_attempt: float
    under_way: bool
    identity: TokenIdentity | None = None


@attrs.define(eq=False, repr=False)
class Slot:
    """One token and the single flight that renews it; `flight` holds the theory of operation.

    Attributes:
        name: for task names and log lines; holds no secret.
        backoff: the state of the host. All slots to which one `Retry-After` applies share it.
        private: whether only the registered credentials can reach the slot. Closing the last of
            them then ends the flight under way.
        token: the current token, or None. Other objects may read it; only the slot sets it.

    """

    name: str
    clock: Clock = SYSTEM_CLOCK
    policy: RefreshPolicy = DEFAULT_POLICY
    uniform: Uniform = random.uniform
    backoff: HostBackoff = attrs.field(factory=HostBackoff)
    private: bool = False
    token: AccessToken | None = attrs.field(default=None, init=False)
    _state: SlotState = attrs.field(default=BLANK, init=False)
    # Reentrant, because a signal handler or a finalizer may call into the slot on the thread that
    # holds the lock.
    _lock: threading.RLock = attrs.field(factory=threading.RLock, init=False, repr=False)
    _flight: Flight | None = attrs.field(default=None, init=False)
    _tasks: set[asyncio.Task[None]] = attrs.field(factory=set, init=False, repr=False)
    _users: weakref.WeakSet[object] = attrs.field(factory=weakref.WeakSet, kw_only=True, repr=False)
    _fetches: int = attrs.field(default=0, init=False)
    _joined: int = attrs.field(default=0, init=False)
    _served_stale: int = attrs.field(default=0, init=False)
    _failures: dict[str, int] = attrs.field(factory=dict, init=False)
    # Every new slot registers itself for `_after_fork`.
    _registered: None = attrs.field(
        default=attrs.Factory(_slots.add, takes_self=True), init=False, repr=False
    )

    # Called by credentials

    def attach(self, credential: object) -> None:
        """Register an open credential, which keeps the slot and a private slot's flight."""
        with self._lock:
            self._users.add(credential)

    async def get(  # noqa: C901, PLR0912 (one short case for each outcome)
        self, credential: object, fetch: Fetch, claims: str | None = None
    ) -> AccessToken:
        """Return a usable token: the current one, or the one that the slot's single flight fetches.

        Raises:
            CredentialError: no usable token could be fetched; a new object for every caller.
            CredentialClosedError: the credential was closed meanwhile.
            UsageError: the slot's own fetch called this.

        """
        if (
            claims is None
            and self.token is not None
            and (token := self._take_held(self.token)) is not None
        ):
            return token
        if self._flight is not None and self._flight in find_awaiting_flights():
            msg = f"the fetch for {self.name} called get_token for the very token that it fetches"
            raise UsageError(
                msg, help="Let the inner credential use a separate session and credential"
            )
        if claims is not None:
            self._challenge(claims)
        patient, elections = True, self.policy.max_restarts
        for _ in range(_MOST_ROUNDS):
            step = self._decide(credential, fetch, patient=patient)
            outcome = await self._wait(step) if isinstance(step, Waiter) else step
            match outcome:
                case AccessToken():
                    if self._may_return(outcome, step, claims):
                        return outcome
                    self._challenge(claims)
                    patient = False
                case NoResult.SUPERSEDED:
                    self._challenge(claims)
                case NoResult.CLOSED:
                    msg = f"the credential was closed while this call waited for {self.name}"
                    raise CredentialClosedError(msg)
                case NoResult.LOST if elections:
                    elections -= 1
                case NoResult.TIMED_OUT:
                    patient = False
                case _ if self._is_usable():
                    patient = False
                case NoResult.LOST:
                    raise self._exception(LOST_FAILURE)
                case failure:
                    raise self._exception(failure)
        raise self._exception(UNSETTLED_FAILURE)

    def reject(self, secret: str) -> bool:
        """Drop the token because a service rejected it; return whether it was dropped.

        If the slot holds another token by now, that one stays. The rejected token stays too if the
        host has just returned it again after an earlier rejection.
        """
        return self._replace(lambda state: apply_rejection(state, secret, self._now()))

    def forget(self) -> None:
        """Drop the token, the last failure and all back-offs; waiters wait for the next fetch."""

        def empty(_: SlotState) -> SlotState:
            self.backoff.forget()
            return BLANK

        self._replace(empty)

    def detach(self, credential: object) -> Flight | None:
        """Unregister a closed credential and wake its callers.

        A private slot's flight is cancelled and returned if neither another credential nor a
        caller needs it. Any other flight goes on, and publishes its token for credentials that are
        opened later.
        """
        with self._lock:
            self._users.discard(credential)
            flight = self._flight
            if flight is None:
                return None
            leaving = flight.remove_waiters(credential)
            wanted = not self.private or bool(self._users) or flight.is_waited_for()
        wake(leaving, NoResult.CLOSED)
        if wanted:
            return None
        self._publish(flight, NoResult.LOST)
        self._cancel_task(flight)
        return flight

    def is_idle(self) -> bool:
        """Return whether the slot can be dropped: no token, back-off, flight or task is left."""
        now, flight = self._now(), self._flight
        if flight is not None and flight.is_gone(now.monotonic):
            self._publish(flight, NoResult.LOST)
            self._cancel_task(flight)
        for task in list(self._tasks):
            if task.done() or task.get_loop().is_closed():
                self._tasks.discard(task)
        with self._lock:
            return (
                self._flight is None and not self._tasks and is_idle(self._state, now, self.policy)
            )

    def is_used(self) -> bool:
        """Return whether an open credential is registered."""
        return bool(self._users)

    def stats(self) -> SlotStats:
        """Return a snapshot of the counts and of the present state."""
        now = self._now()
        with self._lock:
            state = self._state
            freshness = freshness_of(state.token, now, self.policy)
            retry_at = self.backoff.retry_at
            if freshness.usable:
                retry_at = max(retry_at, state.retry_at_usable)
            elif state.failure is not None:
                retry_at = max(retry_at, state.retry_at_unusable)
            return SlotStats(
                state=freshness.value,
                expires_in=None if state.token is None else max(0.0, state.token.left(now)),
                fetches=self._fetches,
                joined=self._joined,
                served_stale=self._served_stale,
                failures=dict(self._failures),
                failing=state.failing,
                next_attempt=max(0.0, retry_at - now.monotonic),
                under_way=self._flight is not None,
                identity=None if state.token is None else state.token.identity,
            )

    # Decisions are synchronous

    def _now(self) -> Now:
        return Now(self.clock.wall(), self.clock.monotonic())

    def _is_usable(self) -> bool:
        return freshness_of(self.token, self._now(), self.policy).usable

    def _take_held(self, token: AccessToken) -> AccessToken | None:
        """Return the token if the call needs neither a flight nor the lock, else None."""
        now = self._now()
        freshness = freshness_of(token, now, self.policy)
        if freshness is Freshness.FRESH:
            return token
        if freshness is Freshness.STALE:
            flight, state = self._flight, self._state
            if flight is not None:
                is_served = not flight.is_gone(now.monotonic) and not is_starved(state, self.policy)
            else:
                is_served = now.monotonic < max(state.retry_at_usable, self.backoff.retry_at)
            if is_served:
                self._served_stale += 1
                return token
        return None

    def _decide(
        self, credential: object, fetch: Fetch, *, patient: bool
    ) -> AccessToken | Failure | Waiter:
        """Return a token or a failure, or a waiter for a flight; start the flight if it is due."""
        try:
            loop, policy = asyncio.get_running_loop(), self.policy
        except RuntimeError:
            raise without_loop() from None
        if (flight := self._flight) is not None and flight.is_gone(self.clock.monotonic()):
            self._publish(flight, NoResult.LOST)
            self._cancel_task(flight)
        started: Flight | None = None
        outcome: AccessToken | Failure | Waiter
        with self._lock:
            now, state = Now(self.clock.wall(), self.clock.monotonic()), self._state
            flying, held_off = self._flight is not None, self.backoff.retry_at - now.monotonic
            decision, ready, bound = decide(
                state, now, policy, flying=flying, patient=patient, held_off=held_off
            )
            if decision in (Decision.START, Decision.SERVE_AND_START):
                self._fetches += 1
                overdue = now.monotonic + policy.longest_fetch
                delay = delay_of(state, now, policy) if state.unattended else 0.0
                self._flight = started = Flight(self._fetches, loop, state.request, overdue, delay)
            if ready is not None:
                outcome = ready
                if isinstance(ready, AccessToken):
                    self._served_stale += not ready.is_fresh(now.wall, now.monotonic)
            elif self._flight is not None:
                self._joined += started is None
                outcome = self._flight.add_waiter(loop, credential, bound)
            else:
                outcome = make_held_off_failure(self.name)
        if started is not None:
            self._launch(started, fetch)
        elif (
            isinstance(outcome, Waiter)
            and outcome.flight.loop is not loop
            and outcome.loop_waiters.watch is None
        ):
            self._watch(outcome.flight, outcome.loop_waiters)
        return outcome

    def _may_return(self, token: AccessToken, step: object, claims: str | None) -> bool:
        """Return whether this caller may get the token.

        Since the publication the event loop may have been blocked, or a clock may have jumped, so
        the token may have expired. The flight may also have carried other claims.
        """
        if token.left(self._now()) <= self.policy.expired_before_expiry:
            return False
        return (
            claims is None
            or not isinstance(step, Waiter)
            or covers_claims(step.flight.request, claims)
        )

    def _challenge(self, claims: str | None) -> None:
        if claims is None:
            return

        def challenge(state: SlotState) -> SlotState | None:
            under_way = None if self._flight is None else self._flight.request
            return apply_challenge(state, claims, under_way, self._now())

        self._replace(challenge)

    def _replace(self, change: Callable[[SlotState], SlotState | None]) -> bool:
        """Replace the state by the result of `change`; return False if that is None.

        The flight under way is superseded, because its result would not fit the new state.
        `change` is called under the lock.
        """
        with self._lock:
            state = change(self._state)
            if state is None:
                return False
            self._state, self.token = state, state.token
            flight, self._flight = self._flight, None
        if flight is not None:
            wake(flight.waiters_by_loop.values(), NoResult.SUPERSEDED)
            self._cancel_task(flight)
        return True

    # Waiting

    async def _wait(self, waiter: Waiter) -> Outcome:
        timer = None
        if waiter.bound is not None:
            timer = waiter.loop_waiters.loop.call_later(waiter.bound, self._give_up_waiting, waiter)
        try:
            return await waiter.future
        except asyncio.CancelledError:
            self._leave(waiter)
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _give_up_waiting(self, waiter: Waiter) -> None:
        self._leave(waiter)
        if not waiter.future.done():
            waiter.future.set_result(NoResult.TIMED_OUT)

    def _leave(self, waiter: Waiter) -> None:
        with self._lock:
            # If the flight has left the slot, another thread may be waking its waiters.
            if self._flight is waiter.flight:
                waiter.loop_waiters.waiters.pop(waiter, None)
                if not waiter.loop_waiters.waiters:
                    waiter.loop_waiters.stop_ping()

    def _watch(self, flight: Flight, loop_waiters: LoopWaiters, ping: Ping | None = None) -> None:
        """Ping the flight's loop while callers wait. Runs in the loop of `loop_waiters`."""
        loop_waiters.watch = None
        if self._flight is not flight or not loop_waiters.waiters:
            return
        # If this loop was blocked, the whole process may have been, and a missing answer shows no
        # loss. The flight's loop is then pinged again.
        following, now = Ping(), loop_waiters.loop.time()
        following.due = now + self.policy.loop_ping_timeout
        if (ping is None or ping.answered or now > ping.due + TOLERANCE) and call_threadsafe(
            flight.loop, following.answer
        ):
            loop_waiters.watch = loop_waiters.loop.call_later(
                self.policy.loop_ping_timeout, self._watch, flight, loop_waiters, following
            )
            return
        self._publish(flight, NoResult.LOST)
        self._cancel_task(flight)

    # Flying

    def _launch(self, flight: Flight, fetch: Fetch) -> None:
        context = contextvars.Context()
        context.run(inside.set, (*find_awaiting_flights(), flight) if inside.get() else (flight,))
        if TRACING in sys.modules:
            suppress_tracing(context)
        name = f"aiomsi {self.name} #{flight.generation}"
        try:
            task = create_task(flight.loop, self._fly(flight, fetch), name, context)
        except Exception as error:  # noqa: BLE001 (a user's task factory may raise anything)
            self._publish(flight, make_unexpected_failure(error))
            return
        flight.task = task
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._on_task_done(flight, done))
        if self._flight is not flight:
            # Another thread took the flight out before it had a task to cancel.
            task.cancel()

    async def _fly(self, flight: Flight, fetch: Fetch) -> None:
        flight.own.add(asyncio.current_task())
        if self._flight is not flight:
            return
        flight.timer = flight.loop.call_later(self.policy.longest_fetch, self._on_overdue, flight)
        result: TokenResponse | Failure
        try:
            if flight.delay:
                await self.clock.sleep(flight.delay)
                flight.delay = 0.0
            result = await fetch(flight.request)
        except Exception as error:  # noqa: BLE001 (each waiter gets the failure as a value)
            result = make_unexpected_failure(error)
        finally:
            # This block may run in a finalizer, so it must not take the lock; see `_publish`.
            flight.timer.cancel()
        self._publish(flight, result)

    def _on_task_done(self, flight: Flight, task: asyncio.Task[None]) -> None:
        """Publish a loss if the task was cancelled: `_fly` has then ended early, or never begun."""
        # Apart from a cancellation `_fly` lets only `KeyboardInterrupt` and `SystemExit` through.
        # The loop itself has raised those already.
        if not task.cancelled():
            task.exception()
        self._tasks.discard(task)
        flight.own.clear()
        self._publish(flight, NoResult.LOST)

    def _on_overdue(self, flight: Flight) -> None:
        if (more := flight.extend()) > 0:
            flight.timer = flight.loop.call_later(more, self._on_overdue, flight)
            return
        self._publish(flight, OVERDUE_FAILURE)
        self._cancel_task(flight)

    def _publish(self, flight: Flight, result: TokenResponse | Failure | NoResult) -> None:
        """Publish the flight's result and wake its waiters, unless it has left the slot."""
        if self._flight is not flight:
            # Return before taking the lock. The garbage collector may finalize the coroutines of a
            # closed loop on any thread, including one that holds this lock. If a fetch responds to
            # that with an exception, `_fly` comes here.
            return
        now = Now(self.clock.wall(), self.clock.monotonic())
        outcome: Outcome | None
        with self._lock:
            if self._flight is not flight:
                return
            self._flight = None
            if isinstance(result, TokenResponse):
                state, outcome = apply_response(
                    self._state, result, flight.request, now, self.policy, self.uniform
                )
            elif isinstance(result, Failure):
                state, outcome = apply_failure(self._state, result, now, self.policy, self.uniform)
                if result.retry_after is not None and result.from_host and not result.permanent:
                    self.backoff.hold_off(
                        now.monotonic + min(result.retry_after, self.policy.max_retry_after)
                    )
            elif flight.delay:
                # The flight has sent no request, so the back-off before the next one stays.
                state, outcome = self._state, None
            else:
                waited_for = flight.is_waited_for()
                state, outcome = apply_loss(
                    self._state, now, self.policy, self.uniform, waited_for=waited_for
                )
            self._state, self.token = state, state.token
            if not isinstance(outcome, AccessToken):
                kind = "lost" if outcome is None else outcome.kind
                self._failures[kind] = self._failures.get(kind, 0) + 1
        wake(flight.waiters_by_loop.values(), outcome or NoResult.LOST)
        if state.failure is not None or state.reissued is not None:
            self._log(state, outcome, now)

    def _log(self, state: SlotState, outcome: Outcome | None, now: Now) -> None:
        reissued = state.reissued
        if (
            isinstance(outcome, Failure)
            and state.token is not None
            and state.token.left(now) > self.policy.expired_before_expiry
        ):
            left, pause = state.token.left(now), state.retry_at_usable - now.monotonic
            logger.warning(
                "%s: refresh failed, token good for %.0f s, next try in %.0f s: %s",
                self.name,
                left,
                pause,
                outcome.summary,
            )
        elif (
            isinstance(outcome, AccessToken)
            and reissued is not None
            and reissued.same
            and reissued.span == self.policy.rejection_hold_off
        ):
            logger.warning(
                "%s: the token endpoint returned the token again that a service had rejected",
                self.name,
            )

    def _cancel_task(self, flight: Flight) -> None:
        """Cancel the task of a flight that has left the slot; discard it if its loop is closed."""
        task = flight.task
        if task is not None and not call_threadsafe(flight.loop, task.cancel):
            self._tasks.discard(task)
            flight.task = None

    def _exception(self, failure: Failure) -> CredentialError:
        retry_at = max(self._state.retry_at_unusable, self.backoff.retry_at)
        return failure.exception(max(0.0, retry_at - self.clock.monotonic()))

    def _after_fork(self) -> None:
        """Reset the slot in a forked child, where the flight and its task belong to the parent.

        The token stays, with another refresh point.
        """
        if self._flight is not None:
            _of_the_parent.append(self._flight)
        _of_the_parent.extend(self._tasks)
        self._lock = threading.RLock()
        self._flight = None
        self._tasks = set()
        # The fork may have happened between the assignments of `_state` and `token`.
        self.token = self._state.token
        if self.token is not None:
            self.token = self.token.redrawn(self.policy, self.uniform)
            self._state = attrs.evolve(self._state, token=self.token)


_of_the_parent: list[object] = []
"""Keeps the parent's tasks in a forked child, so that asyncio does not report them as destroyed."""


def _after_fork() -> None:
    for slot in list(_slots):
        slot._after_fork()  # noqa: SLF001 (one module)


after_fork_in_child(_after_fork)
