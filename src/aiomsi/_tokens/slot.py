"""A slot: one token, and the decisions about the flight that renews it.

The theory of operation is the docstring of the package `aiomsi._tokens`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from aiomsi._clock import SYSTEM_CLOCK, Clock
from aiomsi._errors import CredentialClosedError, CredentialError, UsageError, make_no_loop_error
from aiomsi._tokens.failure import (
    LOST_FAILURE,
    UNSETTLED_FAILURE,
    Failure,
    SlotOrigin,
    make_held_off_failure,
)
from aiomsi._tokens.flight import (
    Fetch,
    Flight,
    NoResult,
    Result,
    Waiter,
    find_awaiting_flights,
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
    describe_trouble,
    get_fetch_delay,
    is_idle,
    is_starved,
)
from aiomsi._tokens.token import (
    Freshness,
    Now,
    Token,
    TokenResponse,
    get_freshness,
)
from aiomsi._util.compat import call_after_fork
from aiomsi._util.jitter import Uniform
from aiomsi._util.lazy import late_import

if TYPE_CHECKING:
    from aiomsi._tokens.stats import SlotStats

logger = logging.getLogger("aiomsi")

_MOST_ROUNDS = 12
"""The most decisions of one call, as after a loss, a rejection or a clock's jump."""


_slots: weakref.WeakSet[Slot] = weakref.WeakSet()


class Slot:
    """One token and the single flight that renews it.

    Attributes:
        name: for task names and log lines; holds no secret.
        backoff: the state of the host. All slots to which one `Retry-After` applies share it.
        private: whether only the registered credentials can reach the slot. Closing the last of
            them then ends the flight under way.
        token: the current token, or None. Other objects may read it; only the slot sets it.

    """

    def __init__(
        self,
        name: str,
        clock: Clock = SYSTEM_CLOCK,
        policy: RefreshPolicy = DEFAULT_POLICY,
        uniform: Uniform = random.uniform,
        *,
        backoff: HostBackoff | None = None,
        private: bool = False,
        users: weakref.WeakSet[object] | None = None,
        origin: SlotOrigin | None = None,
    ) -> None:
        self.origin = origin
        self.name: str = name
        self.clock: Clock = clock
        self.policy: RefreshPolicy = policy
        self.uniform: Uniform = uniform
        self.backoff: HostBackoff = HostBackoff() if backoff is None else backoff
        self.private = private
        self.token: Token | None = None
        self._state = BLANK
        # Reentrant, because a signal handler or a finalizer may call into the slot on the thread
        # that holds the lock.
        self._lock = threading.RLock()
        self._flight: Flight | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._users: weakref.WeakSet[object] = weakref.WeakSet() if users is None else users
        self._counts: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        _slots.add(self)

    # Called by credentials

    def attach(self, credential: object) -> None:
        """Register an open credential, which keeps the slot and a private slot's flight."""
        with self._lock:
            self._users.add(credential)

    async def get(  # noqa: C901, PLR0912 (one short case for each outcome)
        self, credential: object, fetch: Fetch, claims: str | None = None
    ) -> Token:
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
        patient, restarts = True, self.policy.max_restarts
        for _ in range(_MOST_ROUNDS):
            step = self._decide(credential, fetch, patient=patient)
            outcome = await step.wait() if isinstance(step, Waiter) else step
            match outcome:
                case Token():
                    if self._may_return(outcome, step, claims):
                        return outcome
                    self._challenge(claims)
                    patient = False
                case NoResult.SUPERSEDED:
                    self._challenge(claims)
                case NoResult.CLOSED:
                    msg = f"the credential was closed while this call waited for {self.name}"
                    raise self._complete(CredentialClosedError(msg))
                case NoResult.LOST if restarts:
                    restarts -= 1
                case NoResult.TIMED_OUT:
                    patient = False
                case _ if self._is_usable():
                    # The flight failed or was lost. The next decision returns the token held.
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
        flight.end(NoResult.LOST)
        return flight

    def is_idle(self) -> bool:
        """Return whether the slot can be dropped: no token, back-off, flight or task is left."""
        now, flight = self._now(), self._flight
        if flight is not None and flight.is_gone(now.monotonic):
            flight.end(NoResult.LOST)
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
        with late_import:
            from aiomsi._tokens.stats import summarize

        now = self._now()
        with self._lock:
            return summarize(
                self._state,
                now,
                self.policy,
                counts=self._counts,
                failures=self._failures,
                host_retry_at=self.backoff.retry_at,
                under_way=self._flight is not None,
            )

    # Decisions, all of them synchronous

    def _now(self) -> Now:
        # The way of a cold token has this expression in place of a call.
        return Now(self.clock.wall(), self.clock.monotonic())

    def _is_usable(self) -> bool:
        return get_freshness(self.token, self._now(), self.policy).usable

    def _take_held(self, token: Token) -> Token | None:
        """Return the token if the call needs neither a flight nor the lock, else None."""
        now = self._now()
        freshness = get_freshness(token, now, self.policy)
        if freshness is Freshness.FRESH:
            return token
        if freshness is Freshness.STALE:
            flight, state = self._flight, self._state
            if flight is not None:
                is_served = not flight.is_gone(now.monotonic) and not is_starved(state, self.policy)
            else:
                is_served = now.monotonic < max(state.retry_at_usable, self.backoff.retry_at)
            if is_served:
                self._counts["served_stale"] += 1
                return token
        return None

    def _decide(
        self, credential: object, fetch: Fetch, *, patient: bool
    ) -> Token | Failure | Waiter:
        """Return a token or a failure, or a waiter for a flight; start the flight if it is due."""
        try:
            loop, policy = asyncio.get_running_loop(), self.policy
        except RuntimeError:
            raise make_no_loop_error() from None
        if (flight := self._flight) is not None and flight.is_gone(self.clock.monotonic()):
            flight.end(NoResult.LOST)
        started: Flight | None = None
        outcome: Token | Failure | Waiter
        with self._lock:
            now, state = Now(self.clock.wall(), self.clock.monotonic()), self._state
            flying, held_off = self._flight is not None, self.backoff.retry_at - now.monotonic
            decision, ready, bound = decide(
                state, now, policy, flying=flying, patient=patient, held_off=held_off
            )
            if decision in (Decision.START, Decision.SERVE_AND_START):
                self._counts["fetches"] += 1
                self._flight = started = Flight(
                    self._counts["fetches"],
                    loop,
                    state.request,
                    overdue=now.monotonic + policy.longest_fetch,
                    delay=get_fetch_delay(state, now, policy) if state.unattended else 0.0,
                    clock=self.clock,
                    policy=policy,
                    lock=self._lock,
                    tasks=self._tasks,
                    on_end=self._publish,
                )
            if ready is not None:
                outcome = ready
                if isinstance(ready, Token):
                    self._counts["served_stale"] += not ready.is_fresh(now.wall, now.monotonic)
            elif self._flight is not None:
                self._counts["joined"] += started is None
                outcome = self._flight.add_waiter(loop, credential, bound)
            else:
                outcome = make_held_off_failure(self.name)
        if started is not None:
            started.launch(fetch, f"aiomsi {self.name} #{started.generation}")
        elif (
            isinstance(outcome, Waiter)
            and outcome.flight.loop is not loop
            and outcome.loop_waiters.ping_timer is None
        ):
            # The flight's loop may end, or has ended, without an event in this loop.
            outcome.flight.ping(outcome.loop_waiters)
        return outcome

    def _may_return(self, token: Token, step: object, claims: str | None) -> bool:
        """Return whether this caller may get the token.

        Since the publication the event loop may have been blocked, or a clock may have jumped, so
        the token may have expired. The flight may also have carried other claims.
        """
        now = Now(self.clock.wall(), self.clock.monotonic())
        if token.left(now) <= self.policy.expired_before_expiry:
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
            flight = self._flight
            if flight is not None:
                flight.is_out, self._flight = True, None
        if flight is not None:
            wake(flight.waiters_by_loop.values(), NoResult.SUPERSEDED)
            flight.cancel()
        return True

    def _publish(self, flight: Flight, result: Result) -> None:
        """Publish the flight's result and wake its waiters, unless it has left the slot."""
        if self._flight is not flight:
            # Return before taking the lock. The garbage collector may finalize the coroutines of a
            # closed loop on any thread, including one that holds this lock. If a fetch responds to
            # that with an exception, `Flight._run` calls this.
            return
        now = Now(self.clock.wall(), self.clock.monotonic())
        with self._lock:
            if self._flight is not flight:
                return
            flight.is_out, self._flight = True, None
            state, outcome = self._apply(flight, result, now)
            self._state, self.token = state, state.token
            if not isinstance(outcome, Token):
                self._failures["lost" if outcome is None else outcome.kind] += 1
        wake(flight.waiters_by_loop.values(), outcome or NoResult.LOST)
        if state.failure is not None or state.reissued is not None:
            warning = describe_trouble(state, outcome, now, self.policy)
            if warning is not None:
                logger.warning("%s: %s", self.name, warning)

    def _apply(
        self, flight: Flight, result: Result, now: Now
    ) -> tuple[SlotState, Token | Failure | None]:
        """Return the state after a flight, and its waiters' outcome; None for a loss."""
        state, policy = self._state, self.policy
        match result:
            case TokenResponse():
                return apply_response(state, result, flight.request, now, policy, self.uniform)
            case Failure():
                if result.retry_after is not None and result.from_host and not result.permanent:
                    seconds = min(result.retry_after, policy.max_retry_after)
                    self.backoff.hold_off(now.monotonic + seconds)
                return apply_failure(state, result, now, policy, self.uniform)
            case _ if flight.delay:
                # The flight has sent no request, so the back-off before the next one stays.
                return state, None
            case _:
                waited_for = flight.is_waited_for()
                return apply_loss(state, now, policy, self.uniform, waited_for=waited_for)

    def _exception(self, failure: Failure) -> CredentialError:
        retry_at = max(self._state.retry_at_unusable, self.backoff.retry_at)
        return self._complete(failure.exception(max(0.0, retry_at - self.clock.monotonic())))

    def _complete(self, error: CredentialError) -> CredentialError:
        if self.origin is not None:
            self.origin.complete(error)
        return error

    def _after_fork(self) -> None:
        """Reset the slot in a forked child, where the flight and its task belong to the parent.

        The token stays, with another refresh point.
        """
        if (flight := self._flight) is not None:
            flight.is_out, self._flight = True, None
            _of_the_parent.append(flight)
        _of_the_parent.extend(self._tasks)
        self._lock = threading.RLock()
        self._tasks = set()
        # The fork may have happened between the assignments of `_state` and `token`.
        self.token = self._state.token
        if self.token is not None:
            self.token = self.token.redraw(self.policy, self.uniform)
            self._state = attrs.evolve(self._state, token=self.token)


_of_the_parent: list[object] = []
"""Keeps the parent's tasks in a forked child, so that asyncio does not report them as destroyed."""


def _reset_after_fork() -> None:
    for slot in list(_slots):
        slot._after_fork()  # noqa: SLF001 (one module)


call_after_fork(_reset_after_fork)
