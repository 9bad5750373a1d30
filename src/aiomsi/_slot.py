"""A slot: one token, and every decision about the flight that renews it. The theory of operation is in `_flight`."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
import threading
import weakref
from collections.abc import Hashable
from typing import TYPE_CHECKING

import attrs

from aiomsi import _ledger
from aiomsi._clock import SYSTEM_CLOCK, Clock
from aiomsi._compat import after_fork_in_child
from aiomsi._errors import CredentialClosedError, UsageError
from aiomsi._flight import Fetch, Flight, Lost, Outcome, Ping, Roster, Waiter, call, wake
from aiomsi._late import late_import
from aiomsi._ledger import BLANK, LOST, OVERDUE, UNTOLD, Failure, Ledger, Verdict, unexpected
from aiomsi._policy import DEFAULT_POLICY, Policy
from aiomsi._token import AccessToken, Draw, Grant, Now, State, state_of

if TYPE_CHECKING:
    from aiomsi._stats import SlotStats

logger = logging.getLogger("aiomsi")

_MOST_ROUNDS = 12
"""A caller decides again after a loss, after a rejection by others, or when the clocks jump: never this often."""


# The flights that this code is part of: their context holds nothing else, so a call from inside one is found out.
_inside: contextvars.ContextVar[frozenset[Flight]] = contextvars.ContextVar("aiomsi_inside", default=frozenset())


@attrs.define(eq=False)
class Quiet:
    """When a host that said `Retry-After` may be asked again, for whichever token. Shared by all slots of that host.

    Attributes:
        until: on the monotonic clock.
        failure: what the host said.

    """

    until: float = float("-inf")
    failure: Failure | None = None


@attrs.define(eq=False)
class Slot:
    """One token and the single flight that renews it; see the theory of operation above.

    Attributes:
        name: for task names and log lines; holds no secret.
        quiet: shared with the other slots of the same host.
        token: the current token, or None. Read it freely; only the slot sets it.

    """

    name: str
    clock: Clock = SYSTEM_CLOCK
    policy: Policy = DEFAULT_POLICY
    draw: Draw = random.uniform
    quiet: Quiet = attrs.field(factory=Quiet)
    token: AccessToken | None = attrs.field(default=None, init=False)
    _ledger: Ledger = attrs.field(default=BLANK, init=False)
    # Reentrant: a signal handler, or the collector of somebody's `async with credential`, may come in the midst of things.
    _lock: threading.RLock = attrs.field(factory=threading.RLock, init=False, repr=False)
    _flight: Flight | None = attrs.field(default=None, init=False)
    _tasks: set[asyncio.Task[None]] = attrs.field(factory=set, init=False, repr=False)
    _users: weakref.WeakSet[object] = attrs.field(factory=weakref.WeakSet, init=False, repr=False)
    _fetches: int = attrs.field(default=0, init=False)
    _joined: int = attrs.field(default=0, init=False)
    _served_stale: int = attrs.field(default=0, init=False)
    _failures: dict[str, int] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        _slots.add(self)

    # What credentials call

    def use(self, who: object) -> None:
        """Count `who`, an open credential, among those for whose sake a flight goes on."""
        with self._lock:
            self._users.add(who)

    async def obtain(self, who: object, fetch: Fetch, claims: str | None = None) -> AccessToken:
        """Give a usable token: the one at hand, or the one that the slot's single flight brings.

        Raises:
            CredentialError: there is no usable token; a new object for every caller.
            UsageError: called from inside the slot's own fetch.

        """
        if claims is None and self.token is not None and (token := self._at_hand(self.token)) is not None:
            return token
        if self._flight in _inside.get():
            msg = f"the fetch for {self.name} asked for the very token that it is to bring"
            raise UsageError(msg, help="Give the inner credential a session and a credential of its own")
        if claims is not None:
            self._challenge(claims)
        failure: object = UNTOLD
        patient, elections = True, self.policy.elections
        for _ in range(_MOST_ROUNDS):
            step = self._step(who, fetch, patient=patient)
            outcome = await self._wait(step) if isinstance(step, Waiter) else step
            if isinstance(outcome, AccessToken):
                if self._suits(outcome, step, claims):
                    return outcome
                self._challenge(claims)
            elif outcome is Lost.LOST and elections:
                elections -= 1
                continue
            elif outcome is Lost.SUPERSEDED:
                self._challenge(claims)
                continue
            elif outcome is Lost.CLOSED or not self._is_usable():
                failure = LOST if outcome is Lost.LOST else outcome
                break
            patient = False
        raise self._exception(failure)

    def reject(self, secret: str) -> bool:
        """Take the token out of service because a service did not accept it; tell whether that was done.

        Nothing happens if the slot holds another token by now, or if the host has handed this one out again after an earlier
        rejection and is being left alone.
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
            self.quiet.until = float("-inf")
        self._supersede(superseded)

    def release(self, who: object) -> Flight | None:
        """Give up one credential's interest and tell its callers; give the flight if it was cancelled for want of any other."""
        with self._lock:
            self._users.discard(who)
            flight = self._flight
            if flight is None:
                return None
            told = []
            for roster in flight.rosters.values():
                leaving = [waiter for waiter in roster.waiters if waiter.who is who]
                told.append(Roster(roster.loop, dict.fromkeys(leaving)))
                for waiter in leaving:
                    del roster.waiters[waiter]
            wanted = bool(self._users) or flight.is_waited_for()
            if not wanted:
                self._flight = None
        wake(told, Lost.CLOSED)
        if wanted:
            return None
        self._drop(flight)
        return flight

    def stats(self) -> SlotStats:
        """Give a snapshot of the counts and of where the slot stands."""
        with late_import:
            from aiomsi._stats import SlotStats

        now = self._now()
        with self._lock:
            ledger = self._ledger
            state = state_of(ledger.token, now, self.policy)
            own = ledger.quiet_served if state.usable else ledger.quiet_unserved if ledger.failure else 0.0
            quiet = max(own, self.quiet.until)
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
            )

    # Deciding is synchronous

    def _now(self) -> Now:
        return Now(self.clock.wall(), self.clock.monotonic())

    def _is_usable(self) -> bool:
        return state_of(self.token, self._now(), self.policy).usable

    def _at_hand(self, token: AccessToken) -> AccessToken | None:
        """Give the token back if there is nothing else to do; takes no lock."""
        now = self._now()
        state = state_of(token, now, self.policy)
        if state is State.FRESH:
            return token
        if state is State.STALE:
            flight, quiet = self._flight, max(self._ledger.quiet_served, self.quiet.until)
            if now.monotonic < quiet if flight is None else not flight.is_gone(now.monotonic):
                self._served_stale += 1
                return token
        return None

    def _step(self, who: object, fetch: Fetch, *, patient: bool) -> AccessToken | Failure | Waiter:
        """Decide, and do at once what was decided; only waiting is left to the caller."""
        loop, policy = asyncio.get_running_loop(), self.policy
        started: Flight | None = None
        if (flight := self._flight) is not None and flight.is_gone(self.clock.monotonic()):
            self._land(flight, Lost.LOST)
            self._drop(flight)
        with self._lock:
            now, ledger = self._now(), self._ledger
            flying, barred = self._flight is not None, now.monotonic < self.quiet.until
            verdict, bound = _ledger.decide(ledger, now, policy, flying=flying, patient=patient, barred=barred)
            if verdict in (Verdict.START, Verdict.SERVE_AND_START):
                self._fetches += 1
                overdue = now.monotonic + policy.longest
                self._flight = started = Flight(self._fetches, loop, ledger.order, overdue)
            outcome: AccessToken | Failure | Waiter | None = ledger.failure
            if verdict is Verdict.FAIL and not (ledger.failure and now.monotonic < ledger.quiet_unserved):
                outcome = _ledger.unasked(self.name, self.quiet.failure)
            elif verdict in (Verdict.SERVE, Verdict.SERVE_AND_START):
                self._served_stale += state_of(ledger.token, now, self.policy) is not State.FRESH
                outcome = ledger.token
            elif self._flight is not None:
                self._joined += started is None
                roster = self._flight.rosters.get(loop)
                if roster is None:
                    roster = self._flight.rosters[loop] = Roster(loop)
                outcome = Waiter(loop.create_future(), who, self._flight, roster, bound)
                roster.waiters[outcome] = None
        if started is not None:
            self._launch(started, fetch)
        elif isinstance(outcome, Waiter) and outcome.flight.loop is not loop and outcome.roster.watch is None:
            self._watch(outcome.flight, outcome.roster)
        return outcome or UNTOLD

    def _suits(self, token: AccessToken, step: object, claims: str | None) -> bool:
        """Tell whether a token may be given to this caller.

        Between its publication and this moment anything may have passed: a stalled loop, a jump of the clock. And the fetch that
        was waited for may have been one for other claims.
        """
        if token.left(self._now()) <= self.policy.expired:
            return False
        return claims is None or not isinstance(step, Waiter) or _ledger.answers(step.flight.order, claims)

    def _challenge(self, claims: str | None) -> None:
        if claims is None:
            return
        with self._lock:
            under_way = None if self._flight is None else self._flight.order
            superseded = self._enter_and_supersede(_ledger.challenged(self._ledger, claims, under_way, self._now()))
        self._supersede(superseded)

    def _enter_and_supersede(self, ledger: Ledger | None) -> Flight | None:
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
            waiter.future.set_result(Lost.WAITED)

    def _leave(self, waiter: Waiter) -> None:
        with self._lock:
            # A flight that has left the slot is being told to its waiters, perhaps in another thread.
            if self._flight is waiter.flight:
                waiter.roster.waiters.pop(waiter, None)
                if not waiter.roster.waiters:
                    waiter.roster.rest()

    def _watch(self, flight: Flight, roster: Roster, ping: Ping | None = None) -> None:
        """Ping the flight's loop for as long as anyone here waits. Runs in the roster's loop."""
        roster.watch = None
        if self._flight is not flight or not roster.waiters:
            return
        following = Ping()
        if (ping is None or ping.answered) and call(flight.loop, following.answer):
            roster.watch = roster.loop.call_later(self.policy.ping, self._watch, flight, roster, following)
            return
        self._land(flight, Lost.LOST)
        self._drop(flight)

    # Flying

    def _launch(self, flight: Flight, fetch: Fetch) -> None:
        context = contextvars.Context()
        context.run(_inside.set, _inside.get() | {flight})
        coroutine = self._fly(flight, fetch)
        try:
            task = flight.loop.create_task(coroutine, name=f"aiomsi {self.name} #{flight.generation}", context=context)
        except Exception as error:  # noqa: BLE001 (a task factory of the user's: a usable token is to be served all the same)
            coroutine.close()
            self._land(flight, unexpected(error))
            return
        flight.task = task
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._landed(flight, done))
        if self._flight is not flight:
            # Taken out by another thread before there was a task that it could cancel.
            task.cancel()

    async def _fly(self, flight: Flight, fetch: Fetch) -> None:
        if self._flight is not flight:
            return
        timer = flight.loop.call_later(self.policy.longest, self._overdue, flight)
        result: Grant | Failure
        try:
            result = await fetch(flight.order)
        except Exception as error:  # noqa: BLE001 (whatever a fetch raises must end as a value that its waiters are told)
            result = unexpected(error)
        finally:
            # No more than that: see `_land`.
            timer.cancel()
        self._land(flight, result)

    def _landed(self, flight: Flight, task: asyncio.Task[None]) -> None:
        """Make sure of the end: a task that is cancelled runs no more of `_fly`, or nothing at all."""
        self._tasks.discard(task)
        self._land(flight, Lost.LOST)

    def _overdue(self, flight: Flight) -> None:
        self._land(flight, OVERDUE)
        self._drop(flight)

    def _land(self, flight: Flight, result: Grant | Failure | Lost) -> None:
        """Publish what the flight brought, then wake its waiters; nothing at all if it has left the slot already."""
        if self._flight is not flight:
            # Not even the lock is waited for: what is left of a closed loop is collected in any thread, in the midst of whatever
            # that is doing, and a fetch may answer its coroutine's end with an exception.
            return
        now = self._now()
        outcome: Outcome | None
        with self._lock:
            if self._flight is not flight:
                return
            self._flight = None
            if isinstance(result, Grant):
                ledger, outcome = _ledger.granted(self._ledger, result, flight.order, now, self.policy, self.draw)
            elif isinstance(result, Failure):
                ledger, outcome = _ledger.failed(self._ledger, result, now, self.policy, self.draw)
                if result.retry_after is not None and not result.permanent:
                    asked = now.monotonic + min(result.retry_after, self.policy.retry_after)
                    self.quiet.until, self.quiet.failure = max(self.quiet.until, asked), result
            else:
                waited_for = flight.is_waited_for()
                ledger, outcome = _ledger.lost(self._ledger, now, self.policy, self.draw, waited_for=waited_for)
            self._ledger, self.token = ledger, ledger.token
            if not isinstance(outcome, AccessToken):
                kind = "lost" if outcome is None else outcome.kind
                self._failures[kind] = self._failures.get(kind, 0) + 1
        wake(flight.rosters.values(), outcome or Lost.LOST)
        if ledger.failure is not None or ledger.confirmed is not None:
            self._log(ledger, outcome, now)

    def _log(self, ledger: Ledger, outcome: Outcome | None, now: Now) -> None:
        confirmed = ledger.confirmed
        if isinstance(outcome, Failure) and ledger.token is not None and ledger.token.left(now) > self.policy.expired:
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
            and confirmed.rejected is not None
            and confirmed.span == self.policy.confirmed
        ):
            logger.warning("%s: the token endpoint handed out again the token that a service had rejected", self.name)

    def _supersede(self, flight: Flight | None) -> None:
        if flight is not None:
            wake(flight.rosters.values(), Lost.SUPERSEDED)
            self._drop(flight)

    def _drop(self, flight: Flight) -> None:
        """Cancel the task of a flight that has left the slot; let go of it if its loop is closed and will never end it."""
        task = flight.task
        if task is not None and not call(flight.loop, task.cancel):
            self._tasks.discard(task)
            flight.task = None

    def _exception(self, outcome: object) -> Exception:
        if outcome is Lost.CLOSED:
            return CredentialClosedError(f"the credential was closed while this call waited for {self.name}")
        failure = outcome if isinstance(outcome, Failure) else UNTOLD
        quiet = max(self._ledger.quiet_unserved, self.quiet.until)
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


_slots: weakref.WeakSet[Slot] = weakref.WeakSet()
_of_the_parent: list[object] = []
"""Kept in a forked child so that it does not report the parent's tasks as destroyed."""


SHARED: dict[Hashable, dict[Hashable, Slot]] = {}
"""The slots that all of this process shares, by resource: a table for each identity at each host."""
QUIET: dict[Hashable, Quiet] = {}
"""What all of this process knows of hosts that asked to be left alone."""


def _after_fork() -> None:
    for slot in list(_slots):
        slot._after_fork()  # noqa: SLF001 (one module)


after_fork_in_child(_after_fork)
