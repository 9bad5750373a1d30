"""The faults that the simulation must find: first those that were named before there was a simulation, then others."""

import attrs


@attrs.frozen
class Change:
    """One piece of a module, which must be there exactly once, and what stands there instead."""

    module: str
    old: str
    new: str


class Mutant:
    """A fault: its name, as in the list of faults that must be found, and the changes that make it."""

    def __init__(self, name: str, *changes: Change) -> None:
        self.name, self.changes = name, changes


UNGUARDED = Change(
    "_tokens/slot",
    "        if self._flight is not flight:\n            # Not even the lock",
    "        if False:\n            # Not even the lock",
)
"""Takes away the look that `_land` has before its lock: it would hide what is wrong under the lock."""

MUTANTS = (
    Mutant(
        "await the shared task bare",
        Change(
            "_tokens/slot",
            """
            return await waiter.future
""",
            """
            if waiter.flight.loop is waiter.roster.loop and waiter.flight.task is not None:
                await waiter.flight.task
            return await waiter.future
""",
        ),
    ),
    Mutant(
        "clear without identity",
        UNGUARDED,
        Change(
            "_tokens/slot",
            """
            if self._flight is not flight:
                return
            self._flight = None
""",
            """
            current, self._flight = self._flight, None
            if current is not flight:
                return
""",
        ),
    ),
    Mutant(
        "share one exception",
        Change(
            "_tokens/slot",
            "\n_MOST_ROUNDS = 12\n",
            "\n_MOST_ROUNDS = 12\n_errors: dict[int, Exception] = {}\n",
        ),
        Change(
            "_tokens/slot",
            "return failure.exception(max(0.0, quiet - self.clock.monotonic()))",
            "return _errors.setdefault(id(failure), failure.exception(max(0.0, quiet - self.clock.monotonic())))",
        ),
    ),
    Mutant(
        "publish without the generation check",
        UNGUARDED,
        Change(
            "_tokens/slot",
            """
            if self._flight is not flight:
                return
            self._flight = None
""",
            """
            if self._flight is flight:
                self._flight = None
            elif not isinstance(result, TokenResponse):
                return
""",
        ),
    ),
    Mutant(
        'lose the "lost" outcome',
        Change(
            "_tokens/slot",
            "wake(flight.rosters.values(), outcome or NoResult.LOST)",
            "wake(flight.rosters.values() if outcome else (), outcome or NoResult.LOST)",
        ),
    ),
    Mutant(
        "treat lost as a token",
        Change(
            "_tokens/slot",
            """
            elif outcome is NoResult.LOST and elections:
                elections -= 1
                continue
""",
            """
            elif outcome is NoResult.LOST and elections:
                return outcome
""",
        ),
    ),
    Mutant(
        "no second check when starting",
        Change(
            "_tokens/slot",
            "flying, held_off = self._flight is not None,",
            "flying, held_off = flight is not None,",
        ),
    ),
    Mutant(
        "error beats a valid token",
        Change(
            "_tokens/slot",
            "elif outcome is NoResult.CLOSED or (outcome is not NoResult.TIMED_OUT and not self._is_usable()):",
            "elif outcome is NoResult.CLOSED or isinstance(outcome, Failure):",
        ),
    ),
    Mutant(
        "ignore the back-off",
        Change(
            "_tokens/state",
            "held_off <= 0 and now.monotonic >= ledger.quiet_served",
            "held_off <= 0",
        ),
        Change(
            "_tokens/state",
            "told = ledger.failure is not None and now.monotonic < ledger.quiet_unserved",
            "told = False",
        ),
    ),
    Mutant(
        "no expiry check on delivery",
        Change(
            "_tokens/slot",
            "if token.left(self._now()) <= self.policy.expired_before_expiry:",
            "if not token:",
        ),
    ),
    Mutant(
        "wall clock only",
        Change(
            "_tokens/token",
            "return min(self._ends_wall - now.wall, self._ends_monotonic - now.monotonic)",
            "return self._ends_wall - now.wall",
        ),
    ),
    Mutant(
        "store the flight after starting it (eager)",
        Change("_tokens/slot", "self._flight = started = Flight(", "started = Flight("),
        Change(
            "_tokens/slot",
            "elif self._flight is not None:\n",
            "elif (flown := started or self._flight) is not None:\n",
        ),
        Change(
            "_tokens/slot",
            "roster = self._flight.rosters.get(loop)",
            "roster = flown.rosters.get(loop)",
        ),
        Change(
            "_tokens/slot",
            "roster = self._flight.rosters[loop] =",
            "roster = flown.rosters[loop] =",
        ),
        Change("_tokens/slot", "who, self._flight, roster, bound", "who, flown, roster, bound"),
        Change(
            "_tokens/slot",
            "        if self._flight is not flight:\n            return\n        flight.timer = ",
            "        flight.timer = ",
        ),
        Change(
            "_tokens/slot",
            "        flight.task = task\n",
            "        flight.task = task\n        self._flight = flight\n",
        ),
    ),
    Mutant(
        "let a collected flight want the lock",
        UNGUARDED,
        Change(
            "_tokens/slot",
            """
            flight.timer.cancel()
        self._land(flight, result)
""",
            """
            flight.timer.cancel()
            self._land(flight, result if "result" in locals() else NoResult.LOST)
""",
        ),
    ),
    Mutant(
        "take a silent loop for a living one",
        Change(
            "_tokens/slot", "(ping is None or ping.answered or now > ping.due + TOLERANCE)", "True"
        ),
    ),
    Mutant(
        "don't look whether anyone in another loop still waits",
        Change("_tokens/slot", "and outcome.roster.watch is None:", "and False:"),
    ),
    Mutant(
        "never give up a fetch that hangs",
        Change(
            "_tokens/slot",
            "self.policy.longest_fetch, self._overdue",
            "self.policy.longest_fetch * 9, self._overdue",
        ),
    ),
    Mutant(
        "wake a waiter in another thread's loop directly",
        Change("_tokens/flight", "if roster.loop is here:", "if roster.loop:"),
    ),
    Mutant(
        "tell everybody of one credential's closing",
        Change("_tokens/slot", "if waiter.who is who]", "]"),
    ),
    Mutant(
        "cancel a flight that other credentials want",
        Change("_tokens/slot", "or bool(self._users) or flight.is_waited_for()", ""),
    ),
    Mutant(
        "leave a private slot's flight that nobody wants",
        Change(
            "_tokens/slot",
            "wanted = not self.private or bool(self._users) or flight.is_waited_for()",
            "wanted = True",
        ),
    ),
    Mutant(
        "cancel a shared slot's flight on closing",
        Change(
            "_tokens/slot",
            "wanted = not self.private or bool(self._users)",
            "wanted = bool(self._users)",
        ),
    ),
    Mutant(
        "give a private slot's flight up without a back-off",
        Change(
            "_tokens/slot",
            "        self._land(flight, NoResult.LOST)\n        self._drop(flight)\n        return flight\n",
            "        self._enter_and_supersede(self._ledger)\n        self._drop(flight)\n        return flight\n",
        ),
    ),
    Mutant(
        "lose a flight without a back-off",
        Change(
            "_tokens/state",
            "return attrs.evolve(after, losses=losses, unattended=unattended, failure=None), None",
            'return attrs.evolve(after, losses=losses, unattended=unattended, failure=None, quiet_served=float("-inf")), None',
        ),
    ),
    Mutant(
        "never wait for a refresh, however many flights were lost",
        Change(
            "_tokens/state",
            "awaits = state is Freshness.LATE or is_starved(ledger, policy)",
            "awaits = state is Freshness.LATE",
        ),
    ),
    Mutant(
        "wait for a refresh after the first loss",
        Change(
            "_tokens/state",
            "return ledger.unattended >= policy.max_unattended_losses",
            "return ledger.unattended > 0",
        ),
    ),
    Mutant(
        "fetch another token for every new one that is refused",
        Change(
            "_tokens/state",
            "            span = max(policy.rejection_hold_off, before.span * 2)\n",
            "            span = span and max(policy.rejection_hold_off, before.span * 2)\n",
        ),
    ),
    Mutant(
        "ignore the rejection of a new token",
        Change(
            "_tokens/state",
            "span = policy.rejection_hold_off if again or order.claims is not None else 0.0",
            "span = policy.rejection_hold_off",
        ),
    ),
    Mutant(
        "take a task that a fetch has started for the fetch itself",
        Change(
            "_tokens/flight",
            "return flights if any(own is task or _awaits(own, task) for own in list(flights[-1].own)) else ()",
            "return flights",
        ),
    ),
    Mutant(
        "let a fetch wait for itself",
        Change("_tokens/slot", "        flight.own.add(asyncio.current_task())\n", ""),
    ),
    Mutant(
        "ask again for a token that the host has confirmed",
        Change("_tokens/state", "confirmed.rejected == secret and now", "not secret and now"),
    ),
    Mutant(
        "let a late 401 throw the fresh token away",
        Change(
            "_tokens/state",
            "ledger.token is None or ledger.token.token != secret:",
            "ledger.token is None:",
        ),
    ),
    Mutant(
        "forget Retry-After for the host's other tokens",
        Change(
            "_tokens/slot", "if result.retry_after is not None and result.from_host", "if False"
        ),
    ),
    Mutant(
        "hold all slots off for an inner credential's own back-off",
        Change(
            "_tokens/slot",
            "result.retry_after is not None and result.from_host",
            "result.retry_after is not None",
        ),
    ),
    Mutant(
        "fail unasked although the Retry-After fits the deadline",
        Change("_tokens/state", "told or held_off > policy.fetch_deadline", "told or held_off > 0"),
    ),
    Mutant(
        "send the request before the Retry-After is over",
        Change("_tokens/host_backoff", "delay = self.retry_at - now", "delay = 0.0"),
    ),
    Mutant(
        "send requests without taking turns",
        Change("_tokens/host_backoff", "idle = limits is None or (", "idle = True or ("),
    ),
    Mutant(
        "forget the requests of the last second",
        Change(
            "_tokens/host_limits",
            "limits.per_second - load.under_way - len(recent)",
            "limits.per_second",
        ),
    ),
    Mutant(
        "take a request without a response for one that has ended",
        Change(
            "_tokens/host_backoff",
            "if ended is None and now < other.sent + LEASE:",
            "if ended is None and now < other.sent:",
        ),
    ),
    Mutant(
        "keep a cancelled ticket in the queue",
        Change(
            "_tokens/host_backoff",
            "        finally:\n            self._waiting.pop(ticket, None)",
            "        finally:\n            pass",
        ),
    ),
    Mutant(
        "elect for ever",
        Change("_tokens/state", "if losses > policy.max_restarts:", "if losses > 10**6:"),
        Change("_tokens/slot", "                elections -= 1\n", ""),
    ),
    Mutant(
        "wait for a late token's refresh without a bound",
        Change(
            "_tokens/slot",
            "        if waiter.bound is not None:\n",
            "        if waiter.bound is None:\n            pass\n        elif waiter.bound < 0:\n",
        ),
    ),
    Mutant(
        "throw a token away that is due for a refresh",
        Change(
            "_tokens/token",
            "return Freshness.LATE if left <= policy.late_before_expiry else Freshness.STALE",
            "return Freshness.EXPIRED",
        ),
    ),
    Mutant(
        "let a failure be told for ever",
        Change(
            "_tokens/state",
            "told = ledger.failure is not None and now.monotonic < ledger.quiet_unserved",
            "told = ledger.failure is not None",
        ),
    ),
    Mutant(
        "draw the jitter again and again",
        Change(
            "_tokens/token",
            "return self._ends_wall - wall > self._refresh_left <",
            "import random\n\n        return self._ends_wall - wall > self._refresh_left * random.uniform(0.9, 1.1) <",
        ),
    ),
    Mutant(
        "ignore what a challenge asked for",
        Change(
            "_tokens/slot",
            "        if claims is not None:\n            self._challenge(claims)\n",
            "",
        ),
    ),
    Mutant(
        "leave a superseded fetch running",
        Change(
            "_tokens/slot",
            "            wake(flight.rosters.values(), NoResult.SUPERSEDED)\n            self._drop(flight)\n",
            "            wake(flight.rosters.values(), NoResult.SUPERSEDED)\n",
        ),
    ),
    Mutant(
        "leave a timer behind",
        Change(
            "_tokens/slot",
            "            if timer is not None:\n                timer.cancel()\n",
            "            pass\n",
        ),
    ),
    Mutant(
        "ping on although the last waiter has left",
        Change(
            "_tokens/slot",
            "                if not waiter.roster.waiters:\n                    waiter.roster.rest()\n",
            "",
        ),
    ),
    Mutant(
        "leave a flight's own timer behind",
        Change(
            "_tokens/slot",
            "            flight.timer.cancel()\n        self._land(flight, result)",
            "            pass\n        self._land(flight, result)",
        ),
    ),
)
