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
    "_slot",
    "        if self._flight is not flight:\n            # Not even the lock",
    "        if False:\n            # Not even the lock",
)
"""Takes away the look that `_land` has before its lock: it would hide what is wrong under the lock."""

MUTANTS = (
    Mutant(
        "await the shared task bare",
        Change(
            "_slot",
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
            "_slot",
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
        Change("_slot", "\n_MOST_ROUNDS = 12\n", "\n_MOST_ROUNDS = 12\n_errors: dict[int, Exception] = {}\n"),
        Change(
            "_slot",
            "return failure.exception(max(0.0, quiet - self.clock.monotonic()))",
            "return _errors.setdefault(id(failure), failure.exception(max(0.0, quiet - self.clock.monotonic())))",
        ),
    ),
    Mutant(
        "publish without the generation check",
        UNGUARDED,
        Change(
            "_slot",
            """
            if self._flight is not flight:
                return
            self._flight = None
""",
            """
            if self._flight is flight:
                self._flight = None
            elif not isinstance(result, Grant):
                return
""",
        ),
    ),
    Mutant(
        'lose the "lost" outcome',
        Change(
            "_slot",
            "wake(flight.rosters.values(), outcome or Lost.LOST)",
            "wake(flight.rosters.values() if outcome else (), outcome or Lost.LOST)",
        ),
    ),
    Mutant(
        "treat lost as a token",
        Change(
            "_slot",
            """
            elif outcome is Lost.LOST and elections:
                elections -= 1
                continue
""",
            """
            elif outcome is Lost.LOST and elections:
                return outcome
""",
        ),
    ),
    Mutant(
        "no second check when starting",
        Change("_slot", "flying, held_off = self._flight is not None,", "flying, held_off = flight is not None,"),
    ),
    Mutant(
        "error beats a valid token",
        Change(
            "_slot",
            "elif outcome is Lost.CLOSED or (outcome is not Lost.WAITED and not self._is_usable()):",
            "elif outcome is Lost.CLOSED or isinstance(outcome, Failure):",
        ),
    ),
    Mutant(
        "ignore the back-off",
        Change("_ledger", "held_off <= 0 and now.monotonic >= ledger.quiet_served", "held_off <= 0"),
        Change("_ledger", "told = ledger.failure is not None and now.monotonic < ledger.quiet_unserved", "told = False"),
    ),
    Mutant(
        "no expiry check on delivery",
        Change("_slot", "if token.left(self._now()) <= self.policy.expired:", "if not token:"),
    ),
    Mutant(
        "wall clock only",
        Change(
            "_token",
            "return min(self._ends_wall - now.wall, self._ends_monotonic - now.monotonic)",
            "return self._ends_wall - now.wall",
        ),
    ),
    Mutant(
        "store the flight after starting it (eager)",
        Change("_slot", "self._flight = started = Flight(", "started = Flight("),
        Change("_slot", "elif self._flight is not None:\n", "elif (flown := started or self._flight) is not None:\n"),
        Change("_slot", "roster = self._flight.rosters.get(loop)", "roster = flown.rosters.get(loop)"),
        Change("_slot", "roster = self._flight.rosters[loop] =", "roster = flown.rosters[loop] ="),
        Change("_slot", "who, self._flight, roster, bound", "who, flown, roster, bound"),
        Change(
            "_slot",
            "        if self._flight is not flight:\n            return\n        flight.timer = ",
            "        flight.timer = ",
        ),
        Change("_slot", "        flight.task = task\n", "        flight.task = task\n        self._flight = flight\n"),
    ),
    Mutant(
        "let a collected flight want the lock",
        UNGUARDED,
        Change(
            "_slot",
            """
            flight.timer.cancel()
        self._land(flight, result)
""",
            """
            flight.timer.cancel()
            self._land(flight, result if "result" in locals() else Lost.LOST)
""",
        ),
    ),
    Mutant(
        "take a silent loop for a living one",
        Change("_slot", "(ping is None or ping.answered or now > ping.due + TOLERANCE)", "True"),
    ),
    Mutant(
        "don't look whether anyone in another loop still waits",
        Change("_slot", "and outcome.roster.watch is None:", "and False:"),
    ),
    Mutant(
        "never give up a fetch that hangs",
        Change("_slot", "self.policy.longest, self._overdue", "self.policy.longest * 9, self._overdue"),
    ),
    Mutant("wake a waiter in another thread's loop directly", Change("_flight", "if roster.loop is here:", "if roster.loop:")),
    Mutant("tell everybody of one credential's closing", Change("_slot", "if waiter.who is who]", "]")),
    Mutant(
        "cancel a flight that other credentials want",
        Change("_slot", "or bool(self._users) or flight.is_waited_for()", ""),
    ),
    Mutant(
        "leave a private slot's flight that nobody wants",
        Change("_slot", "wanted = not self.private or bool(self._users) or flight.is_waited_for()", "wanted = True"),
    ),
    Mutant(
        "cancel a shared slot's flight on closing",
        Change("_slot", "wanted = not self.private or bool(self._users)", "wanted = bool(self._users)"),
    ),
    Mutant(
        "give a private slot's flight up without a back-off",
        Change(
            "_slot",
            "        self._land(flight, Lost.LOST)\n        self._drop(flight)\n        return flight\n",
            "        self._enter_and_supersede(self._ledger)\n        self._drop(flight)\n        return flight\n",
        ),
    ),
    Mutant(
        "lose a flight without a back-off",
        Change(
            "_ledger",
            "return attrs.evolve(after, losses=losses, unattended=unattended, failure=None), None",
            'return attrs.evolve(after, losses=losses, unattended=unattended, failure=None, quiet_served=float("-inf")), None',
        ),
    ),
    Mutant(
        "never wait for a refresh, however many flights were lost",
        Change("_ledger", "awaits = state is State.LATE or is_starved(ledger, policy)", "awaits = state is State.LATE"),
    ),
    Mutant(
        "wait for a refresh after the first loss",
        Change("_ledger", "return ledger.unattended >= policy.losses_stale", "return ledger.unattended > 0"),
    ),
    Mutant(
        "fetch another token for every new one that is refused",
        Change(
            "_ledger",
            "    if is_first and before.same:\n",
            "    if is_first:\n",
        ),
    ),
    Mutant(
        "ignore the rejection of a new token",
        Change("_ledger", "return 0.0 if is_first else policy.confirmed, 0.0", "return policy.confirmed, 0.0"),
    ),
    Mutant(
        "ignore the rejection of a new token after a confirmed one",
        Change("_ledger", "if is_first and before.same:", "if False:"),
    ),
    Mutant(
        "take a task that a fetch has started for the fetch itself",
        Change(
            "_flight",
            "return flights if any(own is task or _awaits(own, task) for own in list(flights[-1].own)) else ()",
            "return flights",
        ),
    ),
    Mutant(
        "let a fetch wait for itself",
        Change("_slot", "        flight.own.add(asyncio.current_task())\n", ""),
    ),
    Mutant(
        "ask again for a token that the host has confirmed",
        Change("_ledger", "confirmed.rejected == secret and now", "not secret and now"),
    ),
    Mutant(
        "let a late 401 throw the fresh token away",
        Change("_ledger", "ledger.token is None or ledger.token.token != secret:", "ledger.token is None:"),
    ),
    Mutant(
        "forget Retry-After for the host's other tokens",
        Change("_slot", "if result.retry_after is not None and result.from_host", "if False"),
    ),
    Mutant(
        "hold all slots off for an inner credential's own back-off",
        Change("_slot", "result.retry_after is not None and result.from_host", "result.retry_after is not None"),
    ),
    Mutant(
        "fail unasked although the Retry-After fits the deadline",
        Change("_ledger", "told or held_off > policy.deadline", "told or held_off > 0"),
    ),
    Mutant(
        "send the request before the Retry-After is over",
        Change("_host_backoff", "delay = self.retry_at - now", "delay = 0.0"),
    ),
    Mutant(
        "send requests without taking turns",
        Change("_host_backoff", "idle = limits is None or (", "idle = True or ("),
    ),
    Mutant(
        "forget the requests of the last second",
        Change("_pacing", "limits.per_second - load.under_way - len(recent)", "limits.per_second"),
    ),
    Mutant(
        "take a request without a response for one that has ended",
        Change("_host_backoff", "if ended is None and now < other.sent + LEASE:", "if ended is None and now < other.sent:"),
    ),
    Mutant(
        "keep a cancelled ticket in the queue",
        Change(
            "_host_backoff",
            "        finally:\n            self._waiting.pop(ticket, None)",
            "        finally:\n            pass",
        ),
    ),
    Mutant(
        "elect for ever",
        Change("_ledger", "if losses > policy.elections:", "if losses > 10**6:"),
        Change("_slot", "                elections -= 1\n", ""),
    ),
    Mutant(
        "wait for a late token's refresh without a bound",
        Change(
            "_slot",
            "        if waiter.bound is not None:\n",
            "        if waiter.bound is None:\n            pass\n        elif waiter.bound < 0:\n",
        ),
    ),
    Mutant(
        "throw a token away that is due for a refresh",
        Change("_token", "return State.LATE if left <= policy.late else State.STALE", "return State.EXPIRED"),
    ),
    Mutant(
        "let a failure be told for ever",
        Change(
            "_ledger",
            "told = ledger.failure is not None and now.monotonic < ledger.quiet_unserved",
            "told = ledger.failure is not None",
        ),
    ),
    Mutant(
        "draw the jitter again and again",
        Change(
            "_token",
            "return self._ends_wall - wall > self._refresh_left <",
            "import random\n\n        return self._ends_wall - wall > self._refresh_left * random.uniform(0.9, 1.1) <",
        ),
    ),
    Mutant(
        "ignore what a challenge asked for",
        Change("_slot", "        if claims is not None:\n            self._challenge(claims)\n", ""),
    ),
    Mutant(
        "leave a superseded fetch running",
        Change(
            "_slot",
            "            wake(flight.rosters.values(), Lost.SUPERSEDED)\n            self._drop(flight)\n",
            "            wake(flight.rosters.values(), Lost.SUPERSEDED)\n",
        ),
    ),
    Mutant(
        "leave a timer behind",
        Change("_slot", "            if timer is not None:\n                timer.cancel()\n", "            pass\n"),
    ),
    Mutant(
        "ping on although the last waiter has left",
        Change("_slot", "                if not waiter.roster.waiters:\n                    waiter.roster.rest()\n", ""),
    ),
    Mutant(
        "leave a flight's own timer behind",
        Change(
            "_slot",
            "            flight.timer.cancel()\n        self._land(flight, result)",
            "            pass\n        self._land(flight, result)",
        ),
    ),
)
