"""A slot: one token, and every decision about the flight that renews it. The theory of operation is in `flight`."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
import sys
import threading
import weakref
from typing import TYPE_CHECKING

import attrs

from aiomsi._clock import SYSTEM_CLOCK, Clock
from aiomsi._errors import CredentialClosedError, UsageError, without_loop
from aiomsi._tokens import state as _ledger
from aiomsi._tokens.flight import (
    Fetch,
    Flight,
    LoopWaiters,
    NoResult,
    Outcome,
    Ping,
    Waiter,
    awaiting,
    call,
    inside,
    wake,
)
from aiomsi._tokens.host_backoff import HostBackoff
from aiomsi._tokens.policy import DEFAULT_POLICY, RefreshPolicy
from aiomsi._tokens.state import (
    BLANK,
    LOST,
    OVERDUE,
    UNTOLD,
    Decision,
    Failure,
    SlotState,
    unexpected,
)
from aiomsi._tokens.token import AccessToken, Freshness, Now, TokenResponse, Uniform, freshness_of
from aiomsi._util.compat import after_fork_in_child
from aiomsi._util.lazy import late_import
from aiomsi._util.running_time import TOLERANCE
from aiomsi._util.tasks import TRACING, create_task, suppress_tracing

if TYPE_CHECKING:
    from aiomsi._tokens.stats import SlotStats

logger = logging.getLogger("aiomsi")

_MOST_ROUNDS = 12
"""A caller decides again after a loss, after a rejection by others, or when the clocks jump: never this often."""


_slots: weakref.WeakSet[Slot] = weakref.WeakSet()


@attrs.define(eq=False)
class Slot:
    """One token and the single flight that renews it; see the theory of operation above.

    Attributes:
        name: for task names and log lines; holds no secret.
        backoff: shared with the other slots that the same `Retry-After` holds for.
        private: whether only the credentials that use the slot can reach it, so that closing the
            last of them ends the flight under way.
        token: the current token, or None. Read it freely; only the slot sets it.

    """

    name: str
    clock: Clock = SYSTEM_CLOCK
    policy: RefreshPolicy = DEFAULT_POLICY
    draw: Uniform = random.uniform
    backoff: HostBackoff = attrs.field(factory=HostBackoff)
    private: bool = False
    token: AccessToken | None = attrs.field(default=None, init=False)
    _ledger: SlotState = attrs.field(default=BLANK, init=False)
    # Reentrant: a signal handler, or the collector of somebody's `async with credential`, may come
    # in the midst of things.
    _lock: threading.RLock = attrs.field(factory=threading.RLock, init=False, repr=False)
    _flight: Flight | None = attrs.field(default=None, init=False)
    _tasks: set[asyncio.Task[None]] = attrs.field(factory=set, init=False, repr=False)
    _users: weakref.WeakSet[object] = attrs.field(factory=weakref.WeakSet, kw_only=True, repr=False)
    _fetches: int = attrs.field(default=0, init=False)
    _joined: int = attrs.field(default=0, init=False)
    _served_stale: int = attrs.field(default=0, init=False)
    _failures: dict[str, int] = attrs.field(factory=dict, init=False)
    # Registered as it is made, for `_after_fork`.
    _registered: None = attrs.field(
        default=attrs.Factory(_slots.add, takes_self=True), init=False, repr=False
    )

    # What credentials call

    def use(self, who: object) -> None:
        """Register an open credential, so that the slot is kept; a private slot's flight then goes on."""
        with self._lock:
            self._users.add(who)

    async def obtain(self, who: object, fetch: Fetch, claims: str | None = None) -> AccessToken:
        """Give a usable token: the one at hand, or the one that the slot's single flight brings.

        Raises:
            CredentialError: there is no usable token; a new object for every caller.
            UsageError: called by the slot's own fetch.

        """
        if (
            claims is None
            and self.token is not None
            and (token := self._at_hand(self.token)) is not None
        ):
            return token
        if self._flight is not None and self._flight in awaiting():
            msg = f"the fetch for {self.name} asked for the very token that it is to bring"
            raise UsageError(
                msg, help="Give the inner credential a session and a credential of its own"
            )
        if claims is not None:
            self._challenge(claims)
        failure: object = UNTOLD
        patient, elections = True, self.policy.max_restarts
        for _ in range(_MOST_ROUNDS):
            step = self._step(who, fetch, patient=patient)
            outcome = await self._wait(step) if isinstance(step, Waiter) else step
            if isinstance(outcome, AccessToken):
                if self._suits(outcome, step, claims):
                    return outcome
                self._challenge(claims)
            elif outcome is NoResult.LOST and elections:
                elections -= 1
                continue
            elif outcome is NoResult.SUPERSEDED:
                self._challenge(claims)
                continue
            elif outcome is NoResult.CLOSED or (
                outcome is not NoResult.TIMED_OUT and not self._is_usable()
            ):
                failure = LOST if outcome is NoResult.LOST else outcome
                break
            patient = False
        raise self._exception(failure)

    def reject(self, secret: str) -> bool:
        """Take the token out of service because a service did not accept it; tell whether that was done.

        Nothing happens if the slot holds another token by now, or if the host has handed this one
        out again after an earlier rejection and is being left alone.
        """
        with self._lock:
            after = _ledger.rejected(self._ledger, secret, self._now())
            superseded = self._enter_and_supersede(after)
        self._supersede(superseded)
        return after is not None

    def forget(self) -> None:
        """Drop the token, the last failure and what was learned from rejections; waiters get the next fetch's token."""
        with self._lock:
            superseded = self._enter_and_supersede(BLANK)
            self.backoff.forget()
        self._supersede(superseded)

    def release(self, who: object) -> Flight | None:
        """Unregister a closed credential and wake its callers; return a private slot's flight if that was cancelled.

        Any other flight goes on, and publishes its token for credentials that are opened later.
        """
        with self._lock:
            self._users.discard(who)
            flight = self._flight
            if flight is None:
                return None
            told = []
            for roster in flight.rosters.values():
                leaving = [waiter for waiter in roster.waiters if waiter.who is who]
                told.append(LoopWaiters(roster.loop, dict.fromkeys(leaving)))
                for waiter in leaving:
                    del roster.waiters[waiter]
            wanted = not self.private or bool(self._users) or flight.is_waited_for()
        wake(told, NoResult.CLOSED)
        if wanted:
            return None
        self._land(flight, NoResult.LOST)
        self._drop(flight)
        return flight

    def is_idle(self) -> bool:
        """Return whether the slot can be dropped without a loss: no token, back-off, flight or task."""
        now, flight = self._now(), self._flight
        if flight is not None and flight.is_gone(now.monotonic):
            self._land(flight, NoResult.LOST)
            self._drop(flight)
        for task in list(self._tasks):
            if task.done() or task.get_loop().is_closed():
                self._tasks.discard(task)
        with self._lock:
            return (
                self._flight is None
                and not self._tasks
                and _ledger.is_idle(self._ledger, now, self.policy)
            )

    def is_used(self) -> bool:
        """Return whether an open credential is registered."""
        return bool(self._users)

    def stats(self) -> SlotStats:
        """Give a snapshot of the counts and of where the slot stands."""
        with late_import:
            from aiomsi._tokens.stats import SlotStats

        now = self._now()
        with self._lock:
            ledger = self._ledger
            state = freshness_of(ledger.token, now, self.policy)
            own = (
                ledger.quiet_served
                if state.usable
                else ledger.quiet_unserved
                if ledger.failure
                else 0.0
            )
            quiet = max(own, self.backoff.retry_at)
            return SlotStats(
                state=state.value,
                expires_in=None if ledger.token is None else max(0.0, ledger.token.left(now)),
                fetches=self._fetches,
                joined=self._joined,
                served_stale=self._served_stale,
                failures=dict(self._failures),
                failing=ledger.failing,
                next_attempt=max(0.0, quiet - now.monotonic),
                under_way=self._flight is not None,
                identity=None if ledger.token is None else ledger.token.identity,
            )

    # Deciding is synchronous

    def _now(self) -> Now:
        return Now(self.clock.wall(), self.clock.monotonic())

    def _is_usable(self) -> bool:
        return freshness_of(self.token, self._now(), self.policy).usable

    def _at_hand(self, token: AccessToken) -> AccessToken | None:
        """Give the token back if there is nothing else to do; takes no lock."""
        now = self._now()
        state = freshness_of(token, now, self.policy)
        if state is Freshness.FRESH:
            return token
        if state is Freshness.STALE:
            flight, ledger = self._flight, self._ledger
            if flight is not None:
                is_served = not flight.is_gone(now.monotonic) and not _ledger.is_starved(
                    ledger, self.policy
                )
            else:
                is_served = now.monotonic < max(ledger.quiet_served, self.backoff.retry_at)
            if is_served:
                self._served_stale += 1
                return token
        return None

    def _step(self, who: object, fetch: Fetch, *, patient: bool) -> AccessToken | Failure | Waiter:
        """Decide, and do at once what was decided; only waiting is left to the caller."""
        try:
            loop, policy = asyncio.get_running_loop(), self.policy
        except RuntimeError:
            raise without_loop() from None
        started: Flight | None = None
        if (flight := self._flight) is not None and flight.is_gone(self.clock.monotonic()):
            self._land(flight, NoResult.LOST)
            self._drop(flight)
        with self._lock:
            now, ledger = Now(self.clock.wall(), self.clock.monotonic()), self._ledger
            flying, held_off = self._flight is not None, self.backoff.retry_at - now.monotonic
            verdict, bound = _ledger.decide(
                ledger, now, policy, flying=flying, patient=patient, held_off=held_off
            )
            if verdict in (Decision.START, Decision.SERVE_AND_START):
                self._fetches += 1
                overdue = now.monotonic + policy.longest_fetch
                delay = _ledger.delay_of(ledger, now, policy) if ledger.unattended else 0.0
                self._flight = started = Flight(self._fetches, loop, ledger.order, overdue, delay)
            outcome: AccessToken | Failure | Waiter | None = ledger.failure
            if verdict is Decision.FAIL and not (
                ledger.failure and now.monotonic < ledger.quiet_unserved
            ):
                outcome = _ledger.held_off(self.name)
            elif verdict in (Decision.SERVE, Decision.SERVE_AND_START):
                self._served_stale += (
                    freshness_of(ledger.token, now, self.policy) is not Freshness.FRESH
                )
                outcome = ledger.token
            elif self._flight is not None:
                self._joined += started is None
                roster = self._flight.rosters.get(loop)
                if roster is None:
                    roster = self._flight.rosters[loop] = LoopWaiters(loop)
                outcome = Waiter(loop.create_future(), who, self._flight, roster, bound)
                roster.waiters[outcome] = None
        if started is not None:
            self._launch(started, fetch)
        elif (
            isinstance(outcome, Waiter)
            and outcome.flight.loop is not loop
            and outcome.roster.watch is None
        ):
            self._watch(outcome.flight, outcome.roster)
        return outcome or UNTOLD

    def _suits(self, token: AccessToken, step: object, claims: str | None) -> bool:
        """Tell whether a token may be given to this caller.

        Between its publication and this moment anything may have passed: a stalled loop, a jump of
        the clock. And the fetch that was waited for may have been one for other claims.
        """
        if token.left(self._now()) <= self.policy.expired_before_expiry:
            return False
        return (
            claims is None
            or not isinstance(step, Waiter)
            or _ledger.answers(step.flight.order, claims)
        )

    def _challenge(self, claims: str | None) -> None:
        if claims is None:
            return
        with self._lock:
            under_way = None if self._flight is None else self._flight.order
            superseded = self._enter_and_supersede(
                _ledger.challenged(self._ledger, claims, under_way, self._now())
            )
        self._supersede(superseded)

    def _enter_and_supersede(self, ledger: SlotState | None) -> Flight | None:
        """Take over a ledger that makes the flight under way worthless, and take that out. Under the lock."""
        if ledger is None:
            return None
        self._ledger, self.token = ledger, ledger.token
        superseded, self._flight = self._flight, None
        return superseded

    # Waiting

    async def _wait(self, waiter: Waiter) -> Outcome:
        timer = None
        if waiter.bound is not None:
            timer = waiter.roster.loop.call_later(waiter.bound, self._give_up_waiting, waiter)
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
            # A flight that has left the slot is being told to its waiters, perhaps in another
            # thread.
            if self._flight is waiter.flight:
                waiter.roster.waiters.pop(waiter, None)
                if not waiter.roster.waiters:
                    waiter.roster.rest()

    def _watch(self, flight: Flight, roster: LoopWaiters, ping: Ping | None = None) -> None:
        """Ping the flight's loop for as long as anyone here waits. Runs in the roster's loop."""
        roster.watch = None
        if self._flight is not flight or not roster.waiters:
            return
        # If this loop was blocked too, the whole process may have been, and the other one gets
        # another chance.
        following, now = Ping(), roster.loop.time()
        following.due = now + self.policy.loop_ping_timeout
        if (ping is None or ping.answered or now > ping.due + TOLERANCE) and call(
            flight.loop, following.answer
        ):
            roster.watch = roster.loop.call_later(
                self.policy.loop_ping_timeout, self._watch, flight, roster, following
            )
            return
        self._land(flight, NoResult.LOST)
        self._drop(flight)

    # Flying

    def _launch(self, flight: Flight, fetch: Fetch) -> None:
        context = contextvars.Context()
        context.run(inside.set, (*awaiting(), flight) if inside.get() else (flight,))
        if TRACING in sys.modules:
            suppress_tracing(context)
        name = f"aiomsi {self.name} #{flight.generation}"
        try:
            task = create_task(flight.loop, self._fly(flight, fetch), name, context)
        except Exception as error:  # noqa: BLE001 (a task factory of the user's: a usable token is to be served all the same)
            self._land(flight, unexpected(error))
            return
        flight.task = task
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._landed(flight, done))
        if self._flight is not flight:
            # Taken out by another thread before there was a task that it could cancel.
            task.cancel()

    async def _fly(self, flight: Flight, fetch: Fetch) -> None:
        flight.own.add(asyncio.current_task())
        if self._flight is not flight:
            return
        flight.timer = flight.loop.call_later(self.policy.longest_fetch, self._overdue, flight)
        result: TokenResponse | Failure
        try:
            if flight.delay:
                await self.clock.sleep(flight.delay)
                flight.delay = 0.0
            result = await fetch(flight.order)
        except Exception as error:  # noqa: BLE001 (whatever a fetch raises must end as a value that its waiters are told)
            result = unexpected(error)
        finally:
            # No more than that: see `_land`.
            flight.timer.cancel()
        self._land(flight, result)

    def _landed(self, flight: Flight, task: asyncio.Task[None]) -> None:
        """Make sure of the end: a task that is cancelled runs no more of `_fly`, or nothing at all."""
        # `_fly` lets only `KeyboardInterrupt` and `SystemExit` through, which the loop itself has
        # raised.
        if not task.cancelled():
            task.exception()
        self._tasks.discard(task)
        flight.own.clear()
        self._land(flight, NoResult.LOST)

    def _overdue(self, flight: Flight) -> None:
        if (more := flight.extend()) > 0:
            flight.timer = flight.loop.call_later(more, self._overdue, flight)
            return
        self._land(flight, OVERDUE)
        self._drop(flight)

    def _land(self, flight: Flight, result: TokenResponse | Failure | NoResult) -> None:
        """Publish what the flight brought, then wake its waiters; nothing at all if it has left the slot already."""
        if self._flight is not flight:
            # Not even the lock is waited for: what is left of a closed loop is collected in any
            # thread, in the midst of whatever that is doing, and a fetch may answer its coroutine's
            # end with an exception.
            return
        now = Now(self.clock.wall(), self.clock.monotonic())
        outcome: Outcome | None
        with self._lock:
            if self._flight is not flight:
                return
            self._flight = None
            if isinstance(result, TokenResponse):
                ledger, outcome = _ledger.granted(
                    self._ledger, result, flight.order, now, self.policy, self.draw
                )
            elif isinstance(result, Failure):
                ledger, outcome = _ledger.failed(self._ledger, result, now, self.policy, self.draw)
                if result.retry_after is not None and result.from_host and not result.permanent:
                    self.backoff.hold_off(
                        now.monotonic + min(result.retry_after, self.policy.max_retry_after)
                    )
            elif flight.delay:
                # No request was sent, so the back-off before the next one stays as it is.
                ledger, outcome = self._ledger, None
            else:
                waited_for = flight.is_waited_for()
                ledger, outcome = _ledger.lost(
                    self._ledger, now, self.policy, self.draw, waited_for=waited_for
                )
            self._ledger, self.token = ledger, ledger.token
            if not isinstance(outcome, AccessToken):
                kind = "lost" if outcome is None else outcome.kind
                self._failures[kind] = self._failures.get(kind, 0) + 1
        wake(flight.rosters.values(), outcome or NoResult.LOST)
        if ledger.failure is not None or ledger.confirmed is not None:
            self._log(ledger, outcome, now)

    def _log(self, ledger: SlotState, outcome: Outcome | None, now: Now) -> None:
        confirmed = ledger.confirmed
        if (
            isinstance(outcome, Failure)
            and ledger.token is not None
            and ledger.token.left(now) > self.policy.expired_before_expiry
        ):
            left, pause = ledger.token.left(now), ledger.quiet_served - now.monotonic
            logger.warning(
                "%s: refresh failed, token good for %.0f s, next try in %.0f s: %s",
                self.name,
                left,
                pause,
                outcome.summary,
            )
        elif (
            isinstance(outcome, AccessToken)
            and confirmed is not None
            and confirmed.same
            and confirmed.span == self.policy.rejection_hold_off
        ):
            logger.warning(
                "%s: the token endpoint handed out again the token that a service had rejected",
                self.name,
            )

    def _supersede(self, flight: Flight | None) -> None:
        if flight is not None:
            wake(flight.rosters.values(), NoResult.SUPERSEDED)
            self._drop(flight)

    def _drop(self, flight: Flight) -> None:
        """Cancel the task of a flight that has left the slot; let go of it if its loop is closed and will never end it."""
        task = flight.task
        if task is not None and not call(flight.loop, task.cancel):
            self._tasks.discard(task)
            flight.task = None

    def _exception(self, outcome: object) -> Exception:
        if outcome is NoResult.CLOSED:
            return CredentialClosedError(
                f"the credential was closed while this call waited for {self.name}"
            )
        failure = outcome if isinstance(outcome, Failure) else UNTOLD
        quiet = max(self._ledger.quiet_unserved, self.backoff.retry_at)
        return failure.exception(max(0.0, quiet - self.clock.monotonic()))

    def _after_fork(self) -> None:
        """Begin anew in a forked child: the token stays, with a refresh point of its own; the flight is the parent's."""
        if self._flight is not None:
            _of_the_parent.append(self._flight)
        _of_the_parent.extend(self._tasks)
        self._lock = threading.RLock()
        self._flight = None
        self._tasks = set()
        # The fork may have come between the two that always change together.
        self.token = self._ledger.token
        if self.token is not None:
            self.token = self.token.redrawn(self.policy, self.draw)
            self._ledger = attrs.evolve(self._ledger, token=self.token)


_of_the_parent: list[object] = []
"""Kept in a forked child so that it does not report the parent's tasks as destroyed."""


def _after_fork() -> None:
    for slot in list(_slots):
        slot._after_fork()  # noqa: SLF001 (one module)


after_fork_in_child(_after_fork)
