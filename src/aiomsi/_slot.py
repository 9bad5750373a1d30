"""A slot: one token, and every decision about the flight that renews it. The theory of operation is in `_flight`."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
import threading
import weakref
from collections.abc import Hashable

import attrs

from aiomsi import _ledger
from aiomsi._clock import SYSTEM_CLOCK, Clock
from aiomsi._compat import after_fork_in_child
from aiomsi._errors import CredentialClosedError, TokenUnavailableError, UsageError
from aiomsi._flight import Fetch, Flight, Lost, Outcome, Ping, Roster, Seat, Waiter, call, wake
from aiomsi._ledger import Failure, Ledger, Verdict
from aiomsi._policy import DEFAULT_POLICY, Policy
from aiomsi._token import AccessToken, Draw, Grant, Now, State, state_of

logger = logging.getLogger("aiomsi")

_MOST_ROUNDS = 12
"""A caller decides again after a loss, after a rejection by others, or when the clocks jump: never this often."""


@attrs.frozen
class SlotStats:
    """What one slot has done so far, and where it stands. Times in seconds.

    Attributes:
        state: the state of the token: ``"none"``, ``"fresh"``, ``"stale"``, ``"late"`` or ``"expired"``.
        expires_in: life left of the token, None without one.
        fetches: fetches begun.
        joined: callers that waited for a fetch which somebody else had begun.
        served_stale: calls answered with a token that was due for a refresh.
        failures: failed fetches by kind.
        failing: failed fetches since the last good one.
        next_attempt: time until the host may be asked again; 0 if it may be asked now.
        under_way: whether a fetch is under way.

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


# The slots whose fetch this code is part of: a flight's context holds nothing else, so a call from inside one is found out.
_inside: contextvars.ContextVar[frozenset[Slot]] = contextvars.ContextVar("aiomsi_inside", default=frozenset())


@attrs.define(eq=False)
class Slot:
    """One token and the single flight that renews it; see the theory of operation above.

    Attributes:
        name: for task names and log lines; holds no secret.
        token: the current token, or None. Read it freely; only the slot sets it.

    """

    name: str
    clock: Clock = SYSTEM_CLOCK
    policy: Policy = DEFAULT_POLICY
    draw: Draw = random.uniform
    token: AccessToken | None = attrs.field(default=None, init=False)
    _ledger: Ledger = attrs.field(factory=Ledger, init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False, repr=False)
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
        if claims is None and (token := self._at_hand()) is not None:
            return token
        if self in _inside.get():
            msg = f"the fetch for {self.name} asked for the very token that it is to bring"
            raise UsageError(msg, help="Give the inner credential a session and a credential of its own")
        if claims is not None:
            self._challenge(claims)
        outcome: Outcome | Seat = Lost.LOST
        patient = True
        for _ in range(_MOST_ROUNDS):
            outcome = self._step(who, fetch, patient=patient)
            if not isinstance(outcome, Seat):
                break
            outcome = await self._wait(outcome)
            if isinstance(outcome, AccessToken) and state_of(outcome, self._now(), self.policy).usable:
                break
            if outcome is Lost.CLOSED or (isinstance(outcome, Failure) and not self._is_usable()):
                break
            patient = patient and outcome in (Lost.LOST, Lost.SUPERSEDED)
        if isinstance(outcome, AccessToken):
            return outcome
        raise self._exception(outcome)

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
            superseded = self._enter_and_supersede(Ledger())
        self._supersede(superseded)

    async def release(self, who: object) -> None:
        """Give up one credential's interest, and wait for the end of the flight if nobody else has any."""
        with self._lock:
            self._users.discard(who)
            flight = self._flight
            if flight is None:
                return
            told = []
            for roster in flight.rosters.values():
                leaving = [waiter for waiter in roster.waiters if waiter.who is who]
                told.append(Roster(roster.loop, dict.fromkeys(leaving)))
                for waiter in leaving:
                    del roster.waiters[waiter]
            wanted = bool(self._users) or any(roster.waiters for roster in flight.rosters.values())
            if not wanted:
                self._flight = None
        wake(told, Lost.CLOSED)
        if not wanted:
            await self._cancelled(flight)

    def stats(self) -> SlotStats:
        """Give a snapshot of the counts and of where the slot stands."""
        now = self._now()
        with self._lock:
            ledger = self._ledger
            state = state_of(ledger.token, now, self.policy)
            quiet = ledger.quiet_served if state.usable else ledger.quiet_unserved
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

    def _at_hand(self) -> AccessToken | None:
        """Give the token if there is nothing else to do; takes no lock."""
        token, now = self.token, self._now()
        state = state_of(token, now, self.policy)
        if state is State.FRESH:
            return token
        if state is State.STALE and (self._flight is not None or now.monotonic < self._ledger.quiet_served):
            self._served_stale += 1
            return token
        return None

    def _step(self, who: object, fetch: Fetch, *, patient: bool) -> AccessToken | Failure | Seat:
        """Decide, and do at once what was decided; only waiting is left to the caller."""
        loop = asyncio.get_running_loop()
        started: Flight | None = None
        with self._lock:
            now, ledger = self._now(), self._ledger
            verdict, bound = _ledger.decide(ledger, now, self.policy, flying=self._flight is not None, patient=patient)
            if verdict in (Verdict.START, Verdict.SERVE_AND_START):
                self._fetches += 1
                self._flight = started = Flight(self._fetches, loop, ledger.order)
            outcome: AccessToken | Failure | Seat | None = ledger.failure
            if verdict in (Verdict.SERVE, Verdict.SERVE_AND_START):
                self._served_stale += state_of(ledger.token, now, self.policy) is not State.FRESH
                outcome = ledger.token
            elif self._flight is not None:
                self._joined += started is None
                outcome = self._seat(self._flight, Waiter(loop.create_future(), who), bound)
        if started is not None:
            self._launch(started, fetch)
        elif isinstance(outcome, Seat) and outcome.flight.loop is not loop and outcome.roster.watch is None:
            self._watch(outcome.flight, outcome.roster)
        return outcome or _UNTOLD

    def _seat(self, flight: Flight, waiter: Waiter, bound: float | None) -> Seat:
        loop = waiter.future.get_loop()
        roster = flight.rosters.get(loop)
        if roster is None:
            roster = flight.rosters[loop] = Roster(loop)
        roster.waiters[waiter] = None
        return Seat(flight, roster, waiter, bound)

    def _challenge(self, claims: str) -> None:
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

    async def _wait(self, seat: Seat) -> Outcome:
        future = seat.waiter.future
        timer = None
        if seat.bound is not None:
            timer = seat.roster.loop.call_later(seat.bound, self._give_up_waiting, seat)
        try:
            return await future
        except asyncio.CancelledError:
            self._leave(seat)
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _give_up_waiting(self, seat: Seat) -> None:
        self._leave(seat)
        if not seat.waiter.future.done():
            seat.waiter.future.set_result(Lost.WAITED)

    def _leave(self, seat: Seat) -> None:
        with self._lock:
            # A flight that has left the slot is being told to its waiters, perhaps in another thread.
            if self._flight is seat.flight:
                seat.roster.waiters.pop(seat.waiter, None)
                if not seat.roster.waiters:
                    seat.roster.rest()

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
        flight.cancel()

    # Flying

    def _launch(self, flight: Flight, fetch: Fetch) -> None:
        context = contextvars.Context()
        context.run(_inside.set, _inside.get() | {self})
        coroutine = self._fly(flight, fetch)
        try:
            task = flight.loop.create_task(coroutine, name=f"aiomsi {self.name} #{flight.generation}", context=context)
        except BaseException:
            coroutine.close()
            self._land(flight, Lost.LOST)
            raise
        flight.task = task
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._landed(flight, done))

    async def _fly(self, flight: Flight, fetch: Fetch) -> None:
        if self._flight is not flight:
            return
        last_deadline = self.policy.deadline_gone + self.policy.ping
        timer = flight.loop.call_later(last_deadline, self._overdue, flight)
        result: Grant | Failure | Lost = Lost.LOST
        try:
            result = await fetch(flight.order)
        except Exception as error:  # noqa: BLE001 (whatever a fetch raises must end as a value that its waiters are told)
            result = _unexpected(error)
        finally:
            timer.cancel()
            self._land(flight, result)

    def _landed(self, flight: Flight, task: asyncio.Task[None]) -> None:
        """Make sure of the end: a task that is cancelled before its first step runs nothing of `_fly`."""
        self._tasks.discard(task)
        self._land(flight, Lost.LOST)

    def _overdue(self, flight: Flight) -> None:
        self._land(flight, _OVERDUE)
        flight.cancel()

    def _land(self, flight: Flight, result: Grant | Failure | Lost) -> None:
        """Publish what the flight brought, then wake its waiters; nothing at all if it has left the slot already."""
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
            else:
                ledger, outcome = _ledger.lost(self._ledger, now, self.policy, self.draw)
            self._ledger, self.token = ledger, ledger.token
            if not isinstance(outcome, AccessToken):
                kind = "lost" if outcome is None else outcome.kind
                self._failures[kind] = self._failures.get(kind, 0) + 1
        wake(flight.rosters.values(), outcome or Lost.LOST)
        self._log(ledger, outcome, now)

    def _log(self, ledger: Ledger, outcome: Outcome | None, now: Now) -> None:
        confirmed = ledger.confirmed
        if isinstance(outcome, Failure) and ledger.token is not None:
            left, pause = ledger.token.left(now), ledger.quiet_served - now.monotonic
            logger.warning(
                "%s: refresh failed, token good for %.0f s, next try in %.0f s: %s",
                self.name,
                left,
                pause,
                outcome.summary,
            )
        elif confirmed is not None and confirmed.rejected is not None and confirmed.span == self.policy.confirmed:
            logger.warning("%s: the token endpoint handed out again the token that a service had rejected", self.name)

    def _supersede(self, flight: Flight | None) -> None:
        if flight is not None:
            wake(flight.rosters.values(), Lost.SUPERSEDED)
            flight.cancel()

    async def _cancelled(self, flight: Flight) -> None:
        """Cancel a flight that nobody wants, in whatever loop it runs, and wait a bounded time for its end."""
        task = flight.task
        if task is None:
            return
        here = asyncio.get_running_loop()
        ended = here.create_future()

        def tell(_: object) -> None:
            call(here, _settle, ended)

        def cancel() -> None:
            task.add_done_callback(tell)
            task.cancel()

        if call(flight.loop, cancel):
            await asyncio.wait([ended], timeout=self.policy.ping)

    def _exception(self, outcome: object) -> Exception:
        if outcome is Lost.CLOSED:
            return CredentialClosedError(f"the credential was closed while this call waited for {self.name}")
        failure = outcome if isinstance(outcome, Failure) else _UNTOLD
        return failure.exception(max(0.0, self._ledger.quiet_unserved - self.clock.monotonic()))

    def _after_fork(self) -> None:
        """Begin anew in a forked child: the token stays, with a refresh point of its own; the flight is the parent's."""
        if self._flight is not None:
            _of_the_parent.append(self._flight)
        _of_the_parent.extend(self._tasks)
        self._lock = threading.Lock()
        self._flight = None
        self._tasks = set()
        if self.token is not None:
            self.token = self.token.redrawn(self.policy, self.draw)
            self._ledger = attrs.evolve(self._ledger, token=self.token)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _unexpected(error: Exception) -> Failure:
    return Failure(
        TokenUnavailableError,
        "unexpected",
        f"the fetch of a token failed with {type(error).__name__}: {error}",
    )


_OVERDUE = Failure(TokenUnavailableError, "overdue", "the token request did not end in time")
_UNTOLD = Failure(
    TokenUnavailableError,
    "unsettled",
    "the token was rejected or replaced again and again while this call waited for it",
)

_slots: weakref.WeakSet[Slot] = weakref.WeakSet()
_of_the_parent: list[object] = []
"""Kept in a forked child so that it does not report the parent's tasks as destroyed."""


SHARED: dict[Hashable, Slot] = {}
"""The slots that all of this process shares: one per host, identity and resource."""


def _after_fork() -> None:
    for slot in list(_slots):
        slot._after_fork()  # noqa: SLF001 (one module)


after_fork_in_child(_after_fork)
