"""The faults that the simulation must find: first those that are older than it, then others."""

import attrs


@attrs.frozen
class Change:
    """One piece of a module, which must be there exactly once, and what stands there instead."""

    module: str
    old: str
    new: str


class Mutant:
    """A fault: its name, and the changes of the source that cause it."""

    def __init__(self, name: str, *changes: Change) -> None:
        self.name, self.changes = name, changes


UNGUARDED = Change(
    "_tokens/slot",
    "        if self._flight is not flight:\n            # Return before",
    "        if False:\n            # Return before",
)
"""Removes the check of `_publish` before its lock, which would hide a fault under the lock."""

MUTANTS = (
    Mutant(
        "await the shared task bare",
        Change(
            "_tokens/flight",
            """
            return await self.future
""",
            """
            if self.flight.loop is self.loop_waiters.loop and self.flight.task is not None:
                await self.flight.task
            return await self.future
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
            flight.is_out, self._flight = True, None
""",
            """
            current, self._flight = self._flight, None
            if current is not flight:
                return
            flight.is_out = True
""",
        ),
    ),
    Mutant(
        "share one exception",
        Change(
            "_tokens/slot",
            "\n_MOST_ROUNDS = 12\n",
            "\n_MOST_ROUNDS = 12\n_errors: dict[int, CredentialError] = {}\n",
        ),
        Change(
            "_tokens/slot",
            "return self._complete(failure.exception(max(0.0, retry_at - self.clock.monotonic())))",
            "error = failure.exception(max(0.0, retry_at - self.clock.monotonic()))\n"
            "        return _errors.setdefault(id(failure), self._complete(error))",
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
            flight.is_out, self._flight = True, None
""",
            """
            if self._flight is flight:
                flight.is_out, self._flight = True, None
            elif not isinstance(result, TokenResponse):
                return
""",
        ),
    ),
    Mutant(
        'lose the "lost" outcome',
        Change(
            "_tokens/slot",
            "wake(flight.waiters_by_loop.values(), outcome or NoResult.LOST)",
            "wake(flight.waiters_by_loop.values() if outcome else (), outcome or NoResult.LOST)",
        ),
    ),
    Mutant(
        "treat lost as a token",
        Change(
            "_tokens/slot",
            """
                case NoResult.LOST if restarts:
                    restarts -= 1
""",
            """
                case NoResult.LOST if restarts:
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
            "                case _ if self._is_usable():\n",
            "                case _ if not isinstance(outcome, Failure) and self._is_usable():\n",
        ),
    ),
    Mutant(
        "ignore the back-off",
        Change(
            "_tokens/state",
            "held_off <= 0 and now.monotonic >= state.retry_at_usable",
            "held_off <= 0",
        ),
        Change(
            "_tokens/state",
            "is_recent = state.failure is not None and now.monotonic < state.retry_at_unusable",
            "is_recent = False",
        ),
    ),
    Mutant(
        "no expiry check on delivery",
        Change(
            "_tokens/slot",
            "if token.left(now) <= self.policy.expired_before_expiry:",
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
        Change("_tokens/slot", "self._flight.add_waiter(", "flown.add_waiter("),
        Change(
            "_tokens/slot",
            '#{started.generation}")\n',
            '#{started.generation}")\n            self._flight = started\n',
        ),
    ),
    Mutant(
        "let a collected flight want the lock",
        UNGUARDED,
        Change(
            "_tokens/flight",
            """
            self.timer.cancel()
        self.on_end(self, result)
""",
            """
            self.timer.cancel()
            self.on_end(self, result if "result" in locals() else NoResult.LOST)
""",
        ),
    ),
    Mutant(
        "take a silent loop for a living one",
        Change(
            "_tokens/flight",
            "(last is None or last.answered or now > last.due + TOLERANCE)",
            "True",
        ),
    ),
    Mutant(
        "don't look whether anyone in another loop still waits",
        Change(
            "_tokens/slot",
            "            and outcome.loop_waiters.ping_timer is None\n",
            "            and False\n",
        ),
    ),
    Mutant(
        "never give up a fetch that hangs",
        Change(
            "_tokens/flight",
            "self.policy.longest_fetch, self._on_overdue",
            "self.policy.longest_fetch * 9, self._on_overdue",
        ),
    ),
    Mutant(
        "wake a waiter in another thread's loop directly",
        Change("_tokens/flight", "if group.loop is here:", "if group.loop:"),
    ),
    Mutant(
        "tell everybody of one credential's closing",
        Change("_tokens/flight", " if waiter.credential is credential]", "]"),
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
            "        flight.end(NoResult.LOST)\n        return flight\n",
            "        flight.is_out, self._flight = True, None\n"
            "        flight.cancel()\n        return flight\n",
        ),
    ),
    Mutant(
        "lose a flight without a back-off",
        Change(
            "_tokens/state",
            "failure=None), None\n\n\ndef apply_rejection",
            "failure=None, retry_at_usable=-1e9), None\n\n\ndef apply_rejection",
        ),
    ),
    Mutant(
        "never wait for a refresh, however many flights were lost",
        Change(
            "_tokens/state",
            "awaits = freshness is Freshness.LATE or is_starved(state, policy)",
            "awaits = freshness is Freshness.LATE",
        ),
    ),
    Mutant(
        "wait for a refresh after the first loss",
        Change(
            "_tokens/state",
            "return state.unattended >= policy.max_unattended_losses",
            "return state.unattended > 0",
        ),
    ),
    Mutant(
        "fetch another token for every new one that is refused",
        Change(
            "_tokens/state",
            "    if is_first and before.same:\n",
            "    if is_first:\n",
        ),
    ),
    Mutant(
        "ignore the rejection of a new token",
        Change(
            "_tokens/state",
            "return 0.0 if is_first else policy.rejection_hold_off, 0.0",
            "return policy.rejection_hold_off, 0.0",
        ),
    ),
    Mutant(
        "ignore the rejection of a new token after a confirmed one",
        Change("_tokens/state", "if is_first and before.same:", "if False:"),
    ),
    Mutant(
        "take a task that a fetch has started for the fetch itself",
        Change(
            "_tokens/flight",
            "    if any(own is task or _awaits(own, task) for own in list(flights[-1].own)):\n",
            "    if True:\n",
        ),
    ),
    Mutant(
        "let a fetch wait for itself",
        Change("_tokens/flight", "        self.own.add(asyncio.current_task())\n", ""),
    ),
    Mutant(
        "ask again for a token that the host has confirmed",
        Change("_tokens/state", "reissued.rejected == secret and now", "not secret and now"),
    ),
    Mutant(
        "let a late 401 throw the fresh token away",
        Change(
            "_tokens/state",
            "state.token is None or state.token.token != secret:",
            "state.token is None:",
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
        Change(
            "_tokens/state",
            "is_recent or held_off > policy.fetch_deadline",
            "is_recent or held_off > 0",
        ),
    ),
    Mutant(
        "send the request before the Retry-After is over",
        Change("_tokens/host_backoff", "delay = max(0.0, self.retry_at - now)", "delay = 0.0"),
    ),
    Mutant(
        "send requests without taking turns",
        Change(
            "_tokens/host_backoff",
            "and (self._waiting or len(self._sent) >= limits.at_once)",
            "and False",
        ),
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
        "keep a cancelled turn in the queue",
        Change(
            "_tokens/host_backoff",
            "        finally:\n            self._waiting.pop(turn, None)",
            "        finally:\n            pass",
        ),
    ),
    Mutant(
        "elect for ever",
        Change("_tokens/state", "if losses > policy.max_restarts:", "if losses > 10**6:"),
        Change("_tokens/slot", "                    restarts -= 1\n", "                    pass\n"),
    ),
    Mutant(
        "wait for a late token's refresh without a bound",
        Change(
            "_tokens/flight",
            "        if self.bound is not None:\n",
            "        if self.bound is None:\n            pass\n        elif self.bound < 0:\n",
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
            "is_recent = state.failure is not None and now.monotonic < state.retry_at_unusable",
            "is_recent = state.failure is not None",
        ),
    ),
    Mutant(
        "draw the jitter again and again",
        Change(
            "_tokens/token",
            "return self._ends_wall - wall > self._refresh_left <",
            "import random\n\n"
            "        share = random.uniform(0.9, 1.1)\n"
            "        return self._ends_wall - wall > self._refresh_left * share <",
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
            "            wake(flight.waiters_by_loop.values(), NoResult.SUPERSEDED)\n"
            "            flight.cancel()\n",
            "            wake(flight.waiters_by_loop.values(), NoResult.SUPERSEDED)\n",
        ),
    ),
    Mutant(
        "let a flight go on that has left its slot",
        Change(
            "_tokens/slot",
            "            if flight is not None:\n"
            "                flight.is_out, self._flight = True, None\n",
            "            self._flight = None\n",
        ),
    ),
    Mutant(
        "leave a timer behind",
        Change(
            "_tokens/flight",
            "            if timer is not None:\n                timer.cancel()\n",
            "            pass\n",
        ),
    ),
    Mutant(
        "ping on although the last waiter has left",
        Change(
            "_tokens/flight",
            "            if not loop_waiters.waiters:\n                loop_waiters.stop_ping()\n",
            "",
        ),
    ),
    Mutant(
        "leave a flight's own timer behind",
        Change(
            "_tokens/flight",
            "            self.timer.cancel()\n        self.on_end(self, result)",
            "            pass\n        self.on_end(self, result)",
        ),
    ),
)
