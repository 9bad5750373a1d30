"""What must hold for calls: invariants I0, I2, I3, I4, I6 and I10, and the rules 12 and 13."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from simulation.flights import FlightChecks
from simulation.records import EXPIRED, LATE, LONGEST, PING, SLACK, Call, Flight, SimSlot, Token
from simulation.turns import DEADLINE
from simulation.world import Moment, World

from aiomsi import AccessToken, CredentialClosedError, CredentialError, UsageError
from aiomsi._tokens.failure import Failure
from aiomsi._tokens.flight import Fetch
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import Now, TokenResponse
from aiomsi._tokens.token import Token as HeldToken

LATE_WAIT = 5.0
LATE_RESERVE = 15.0
MOST_FRAMES = 3
MOST_FLIGHTS = 12
"""Flights that may start during one call: at most five that it waits for are lost, and others."""


class CallChecks:
    """Makes calls and judges what comes of them."""

    def __init__(
        self,
        world: World,
        flights: FlightChecks,
        fetch: Callable[[SimSlot, FetchRequest], Awaitable[TokenResponse | Failure]],
        *,
        calm: bool,
    ) -> None:
        self.world, self.flights, self.calm = world, flights, calm
        self.jumped = 0
        """The number of the last moment at which the wall clock jumped."""
        self._fetch = fetch
        self._errors: dict[int, BaseException] = {}

    async def perform(self, call: Call) -> AccessToken | None:
        """Call `get` and judge its exception; re-raise one that ends the call from outside."""
        self._arrive(call)
        slot = call.slot
        fetch: Fetch = partial(self._fetch, slot)
        token: AccessToken | None = None
        error: BaseException | None = None
        try:
            token = await slot.slot.get(call.credential, fetch, call.claims)
        except BaseException as caught:  # noqa: BLE001 (whatever comes is what is to be judged)
            error = caught
        self._leave(call)
        self._judge_place(call)
        if error is None:
            self._judge_token(call, token)
        else:
            self._judge_error(call, error)
            if not isinstance(error, Exception):
                raise error
        return token

    def _judge_place(self, call: Call) -> None:
        """Check rule 12: a fetch does not wait for the token that it brings."""
        inside, loop, began = call.inside, call.loop, call.began
        assert began is not None
        waited = self.world.now > began.now + SLACK and not loop.silence(began.now)
        if inside is not None and inside is call.slot.latest() and waited:
            self.world.violate(
                "rule 12", f"fetch #{inside.number} waited for the token that it is to bring"
            )

    def _arrive(self, call: Call) -> None:
        world, slot = self.world, call.slot
        self.flights.observe()
        call.began, call.step = world.moment(), call.loop.began.number
        call.flights = len(slot.flights) + slot.broken
        call.left = slot.held.left(call.began) if slot.held is not None else 0.0
        call.left_at_most = (
            slot.held.left_at_most(call.began, call.began) if slot.held is not None else 0.0
        )
        call.may_be_starved = slot.may_be_starved()
        slot.waiting[call] = None
        world.seen["calls"] += 1
        world.tell(
            call.loop.name, "call", call.number, slot.slot.name, call.credential.name, call.claims
        )
        if call.claims is not None:
            slot.disturbing += 1
            slot.disturb(world.moment())
            slot.forgotten = world.number
            self.flights.taken_out(slot)
        call.disturbances = slot.disturbances
        if self.calm:
            self.flights.refreshes[slot].arrive(call)

    def _leave(self, call: Call) -> None:
        slot = call.slot
        del slot.waiting[call]
        if call.claims is not None:
            slot.disturbing -= 1
            slot.disturb(self.world.moment())
            slot.forgotten = self.world.number
        self.flights.observe()

    # Tokens

    def _judge_token(self, call: Call, token: object) -> None:
        world, slot, loop = self.world, call.slot, call.loop
        here = world.moment()
        assert call.began is not None
        found = [each for each in slot.tokens if each.token is token]
        if isinstance(token, HeldToken) and not found:
            # Published and taken out of service within one step, so nobody has seen it come.
            brought = any(
                each.answer == "granted" and each.secret == token.token for each in slot.flights
            )
            if brought and token.left(Now(here.wall, here.now)) > EXPIRED:
                return
        if not isinstance(token, HeldToken) or not found:
            world.violate(
                "I0",
                f"call {call.number} gave {type(token).__name__}, which is no token of this slot",
            )
            return
        known = found[-1]
        world.tell(loop.name, "token for call", call.number, str(token.token))
        left = known.left_at_most(loop.began, here)
        if left <= EXPIRED - SLACK:
            world.violate("I4", f"call {call.number} was given a token with {left:.3f} s left")
        first, last = slot.rejections.get(token.token, (0, 0))
        assert known.flight.began is not None
        if last and last < call.began.number and known.flight.began.number < first:
            world.violate(
                "I4", f"call {call.number} was given a token that had been rejected before"
            )
        if call.claims is not None and known.flight.order is not None:
            self._judge_claims(call, known)
        self._judge_wait(call, here)
        self._count(call, known, here)

    def _judge_claims(self, call: Call, token: Token) -> None:
        """Check that the token is new, or for claims, or from a host that ignores claims."""
        order, began = token.flight.order, call.began
        assert order is not None
        assert began is not None
        is_new = token.published.number > began.number
        deaf = order.rejected == token.token.token
        self.world.seen["claims: a new token" if is_new else "claims: an earlier answer holds"] += 1
        if not is_new and order.claims is None and not deaf:
            self.world.violate(
                "I4",
                f"call {call.number} passed claims, and got the token that they reject",
            )

    def _judge_wait(self, call: Call, here: Moment) -> None:
        """Check I2: a call with a usable token waits five seconds at most, and only near expiry."""
        began, loop, slot = call.began, call.loop, call.slot
        assert began is not None
        begun = (
            len(slot.flights) + slot.broken - call.flights - (slot.disturbances - call.disturbances)
        )
        if begun > MOST_FLIGHTS and not loop.silence(began.now):
            self.world.violate("I2", f"{begun} flights were begun during call {call.number}")
        undisturbed = (
            call.disturbances == slot.disturbances
            and not slot.disturbing
            and self.jumped < call.step
        )
        if (
            not undisturbed
            or call.left <= EXPIRED + SLACK
            or loop.silence(began.now) > 0
            or call.inside is not None
        ):
            return
        may_wait = call.left <= LATE or call.may_be_starved or slot.may_be_starved()
        bound = max(0.0, min(LATE_WAIT, call.left_at_most - LATE_RESERVE)) if may_wait else 0.0
        if here.now - began.now > bound + SLACK:
            self.world.violate(
                "I2",
                f"call {call.number} waited {here.now - began.now:.3f} s, {call.left:.3f} s left",
            )
        if not may_wait and loop.began.number != call.step:
            self.world.violate(
                "rule 2", f"call {call.number} was suspended although a token was at hand"
            )

    def _count(self, call: Call, token: Token, here: Moment) -> None:
        began, seen = call.began, self.world.seen
        assert began is not None
        waited = here.now > began.now
        if token.published.number > began.number:
            state = "stale" if call.left > LATE else "late"
            kind = "given after a wait" if call.left <= EXPIRED else f"renewed while it was {state}"
        elif waited and EXPIRED < call.left <= LATE:
            kind = "served after waiting in vain"
        else:
            kind = "served at once"
        seen[f"token {kind}"] += 1
        brought = sum(each.published.number > began.number for each in call.slot.tokens)
        seen["what was brought was spoiled on its way"] += (
            brought > 1 and call.disturbances == call.slot.disturbances
        )
        seen["two loops shared a flight"] += (
            waited and token.published.number > began.number and token.flight.loop is not call.loop
        )
        latest = call.slot.latest()
        seen["token served in spite of a failure"] += (
            token.flight is not latest and latest is not None and latest.ended is not None
        )

    # Errors

    def _judge_error(self, call: Call, error: BaseException) -> None:
        world, loop = self.world, call.loop
        world.tell(loop.name, "error for call", call.number, type(error).__name__)
        world.seen[f"call ended with {type(error).__name__}"] += 1
        if isinstance(error, GeneratorExit):
            if loop.lives:
                world.violate("I0", f"call {call.number} was dropped by a loop that runs")
            return
        if isinstance(error, asyncio.CancelledError):
            ours = call.is_called_off(world.now) or loop.is_closing
            if not ours and not (
                call.inside is not None and (call.inside.sabotaged or call.inside.why_gone(world))
            ):
                world.violate(
                    "I3", f"call {call.number} was cancelled, and nobody had asked for that"
                )
            return
        if not isinstance(error, CredentialError | UsageError):
            world.violate("I0", f"call {call.number} raised {error!r}", error)
            return
        self._judge_object(call, error)
        if isinstance(error, CredentialClosedError):
            assert call.began is not None
            if not call.credential.was_closed_since(call.began):
                world.violate(
                    "rule 13", f"call {call.number} was told of a closing that was not its own"
                )
        elif isinstance(error, UsageError):
            if call.inside is None:
                world.violate("I0", f"call {call.number} raised {error!r}")
        else:
            self._judge_failure(call, error)

    def _judge_failure(self, call: Call, error: CredentialError) -> None:
        world, slot, began = self.world, call.slot, call.began
        here, step, held = world.moment(), call.loop.began, slot.held
        assert began is not None
        if (
            held is not None
            and held.published.number < step.number
            and self.jumped < step.number
            and held.is_usable(step, here)
        ):
            world.violate(
                "I10", f"call {call.number} raised {error!s:.60} with {held.left(here):.3f} s left"
            )
        text = str(error)
        seen = world.seen
        seen["error: lost too often"] += text.startswith("the token request was cancelled")
        seen["error: overdue"] += text.startswith("the token request did not end")
        if text.startswith("no request was sent"):
            self._judge_held_off(call)
        seen["error: replaced too often"] += text.startswith("the token was rejected or replaced")
        if call.flights == len(slot.flights) + slot.broken and here.now == began.now:
            seen["error: replayed"] += 1
            if not self.flights.pauses[slot].may_fail(step.now):
                world.violate(
                    "I8", f"call {call.number} was told of a failure that is over: {text:.60}"
                )
        self._judge_wait(call, here)

    def _judge_held_off(self, call: Call) -> None:
        """Check that the `Retry-After` was too long, and that the text is this slot's."""
        quiet, began = self.flights.turns[call.slot].quiet, call.began
        assert began is not None
        self.world.seen["told to leave the host alone because of another token"] += 1
        # A fetch that waited for a shorter one may have been held off by another one since then.
        unasked = (
            call.flights == len(call.slot.flights) + call.slot.broken
            and self.world.now == began.now
        )
        if unasked and quiet.at_most - self.world.now <= DEADLINE and not self._may_repeat(call):
            self.world.violate(
                "I8", f"call {call.number} failed unasked, and could have waited for the host"
            )

    def _may_repeat(self, call: Call) -> bool:
        """Return whether the failure may be the last fetch's, which was held off for too long."""
        latest = call.slot.latest()
        return latest is not None and latest.held_off

    def _judge_object(self, call: Call, error: BaseException) -> None:
        """Check I6: every caller has a separate exception, without the traces of other callers."""
        frames, trace = 0, error.__traceback__
        while trace is not None:
            frames, trace = frames + 1, trace.tb_next
        if id(error) in self._errors:
            self.world.violate("I6", f"call {call.number} shares its exception with another call")
        self._errors[id(error)] = error
        context, cause = error.__context__, error.__cause__
        foreign = context is not None and not any(
            context is handled for handled in self.world.handling
        )
        if foreign or cause is not None or frames > MOST_FRAMES:
            self.world.violate(
                "I6", f"call {call.number}: context {context!r}, cause {cause!r}, {frames} frames"
            )

    # While time passes

    def before_time_passes(self) -> None:
        """Check I2 and I3: a waiting call has a flight to wait for, and was not asked to leave."""
        world = self.world
        for slot in self.flights.slots.values():
            for call in slot.waiting:
                if not call.loop.is_free or call.began is None:
                    continue
                if call.must_end(world.now) and call.loop.silence(call.began.now) == 0:
                    world.violate("I3", f"call {call.number} goes on although it was called off")
                elif not world.depth and not self._is_hopeful(call, slot.latest()):
                    # Unless somebody is preempted who may be just about to begin a flight, or to
                    # wake its waiters.
                    world.violate("I2", f"call {call.number} waits for nothing")

    def _is_hopeful(self, call: Call, flight: Flight | None) -> bool:
        if flight is None or flight.task.running() is None:
            return False
        now, loop = self.world.now, flight.loop
        if loop.is_free:
            return now < (flight.began or flight.made).now + LONGEST + SLACK
        assert call.began is not None
        spoke = max((end for _, end in call.loop.silences), default=0.0)
        since = max(loop.silent_since or 0.0, flight.made.now, call.began.now, spoke)
        return now < since + 2 * PING + SLACK

    def check_rest(self) -> None:
        """Check that no call waits whose loop still runs."""
        for slot in self.flights.slots.values():
            for call in slot.waiting:
                if call.loop.lives:
                    self.world.violate(
                        "I2", f"call {call.number} waits, and nothing is scheduled any more"
                    )
