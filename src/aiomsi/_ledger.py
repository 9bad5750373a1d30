"""What is known of one token, and how every event changes it: values and pure functions, no clock, lock or loop."""

import enum
import json
from typing import Any

import attrs

from aiomsi._errors import CredentialError, TokenUnavailableError
from aiomsi._foreign import without_secrets
from aiomsi._policy import Policy
from aiomsi._retry import pause_after
from aiomsi._token import AccessToken, Draw, Grant, Now, State, date_token, state_of


@attrs.frozen
class Failure:
    """What went wrong with a fetch, as a value: each caller makes an exception of its own from it.

    Attributes:
        error: the class of the exception.
        kind: a word for the statistics, for example ``"throttled"``.
        summary, help: what happened, and what to do about it.
        details: further keyword arguments of the exception.
        permanent: whether asking again is known to change nothing.
        retry_after: seconds until the next request, as the response or the inner credential asks for.
        from_host: whether that is the host's own `Retry-After`, and so holds for other slots of that host too.

    """

    error: type[CredentialError]
    kind: str
    summary: str
    help: str = ""
    details: dict[str, Any] = attrs.field(factory=dict)
    permanent: bool = False
    retry_after: float | None = None
    from_host: bool = False

    def exception(self, retry_after: float | None = None) -> CredentialError:
        """Make an exception that nobody else has; `retry_after` is the time until the host will be asked again."""
        return self.error(self.summary, help=self.help, retry_after=retry_after, **self.details)


@attrs.frozen
class Order:
    """What the next fetch must know beyond the resource.

    Attributes:
        claims: the claims that a challenge asked for.
        rejected: the token whose rejection is the reason for the fetch.

    """

    claims: str | None = None
    rejected: str | None = attrs.field(default=None, repr=False)


@attrs.frozen
class Confirmed:
    """The host's response to a rejection. Until `until`, a further rejection starts no fetch.

    Attributes:
        rejected: the token of that response; None if it may be rejected at any time, because the
            fetch carried claims and brought a new token.
        claims: the claims that the fetch carried, or None.
        until: on the monotonic clock; `span` is the time from the response until then, in seconds.
        same: whether the response brought the rejected token again.
        ended: the span of the confirmation that a new token has ended. If that token is rejected
            at once, the next span is twice as long.

    """

    rejected: str | None = attrs.field(repr=False)
    claims: str | None
    until: float
    span: float
    same: bool
    ended: float = 0.0


@attrs.frozen
class Ledger:
    """What is known of one token.

    Attributes:
        token: the one to hand out, or None.
        order: what the next fetch must carry.
        failure: what callers are told who come before `quiet_unserved`; None if the last fetch did not fail.
        failing: failed and lost fetches since the last good one.
        losses: lost ones in close succession, each of which somebody waited for.
        unattended: lost flights in a row that no caller waited for.
        quiet_served: before this, on the monotonic clock, no fetch is begun while a usable token is served;
        quiet_unserved: and before this none is begun without one.
        confirmed: the host's answer to the last rejection.

    """

    token: AccessToken | None = None
    order: Order = Order()
    failure: Failure | None = None
    failing: int = 0
    losses: int = 0
    unattended: int = 0
    quiet_served: float = float("-inf")
    quiet_unserved: float = float("-inf")
    confirmed: Confirmed | None = None


BLANK = Ledger()


class Verdict(enum.Enum):
    """What a caller does."""

    SERVE = "take the token"
    SERVE_AND_START = "take the token and start a flight in the background"
    JOIN = "wait for the flight that is under way"
    START = "start a flight and wait for it"
    FAIL = "raise the last failure"


def decide(
    ledger: Ledger, now: Now, policy: Policy, *, flying: bool, patient: bool, held_off: float = 0.0
) -> tuple[Verdict, float | None]:
    """Decide what a caller does and, if it waits while a usable token is held, for how many seconds at the most.

    `flying`: a flight is under way. `patient`: the caller has not yet waited for one in vain. `held_off`: the
    seconds until the host's `Retry-After` is over, whichever slot received it. A fetch that begins before that waits for it.
    """
    state = state_of(ledger.token, now, policy)
    if state is State.FRESH:
        return Verdict.SERVE, None
    if ledger.token is None or state is State.EXPIRED:
        if flying:
            return Verdict.JOIN, None
        told = ledger.failure is not None and now.monotonic < ledger.quiet_unserved
        return (Verdict.FAIL if told or held_off > policy.deadline else Verdict.START), None
    may_start = not flying and held_off <= 0 and now.monotonic >= ledger.quiet_served
    bound = min(policy.late_wait, ledger.token.left(now) - policy.late_reserve)
    awaits = state is State.LATE or is_starved(ledger, policy)
    if awaits and patient and bound > 0 and (flying or may_start):
        return (Verdict.JOIN if flying else Verdict.START), bound
    return (Verdict.SERVE_AND_START if may_start else Verdict.SERVE), None


def is_starved(ledger: Ledger, policy: Policy) -> bool:
    """Return whether so many flights were lost unattended that a caller has to wait for the next.

    Event loops that end before the host responds, as with one `asyncio.run` per job, take every
    flight along that no caller waits for.
    """
    return ledger.unattended >= policy.losses_stale


def delay_of(ledger: Ledger, now: Now, policy: Policy) -> float:
    """Return the seconds that a flight waits before its fetch, if no usable token is held.

    A caller without a token starts a flight at once after a lost one. If time-outs of the callers
    end each event loop before the host responds, that would be one request for every call.
    """
    if state_of(ledger.token, now, policy).usable or not is_starved(ledger, policy):
        return 0.0
    return max(0.0, ledger.quiet_unserved - now.monotonic)


def is_idle(ledger: Ledger, now: Now, policy: Policy) -> bool:
    """Return whether the ledger holds neither a usable token nor a back-off that is recent."""
    if state_of(ledger.token, now, policy).usable:
        return False
    until = max(ledger.quiet_served, ledger.quiet_unserved)
    if ledger.confirmed is not None:
        until = max(until, ledger.confirmed.until)
    return now.monotonic >= until + policy.backoff_served


def granted(
    ledger: Ledger, grant: Grant, order: Order, now: Now, policy: Policy, draw: Draw
) -> tuple[Ledger, AccessToken | Failure]:
    """Enter what a fetch brought. A token that is as good as expired is a failure."""
    if grant.life <= policy.expired + policy.delivery:
        return failed(ledger, _nearly_expired(grant), now, policy, draw)
    again = grant.secret == order.rejected
    same_again = again or (ledger.token is not None and grant.secret == ledger.token.token)
    token = date_token(grant, now, same_again=same_again, policy=policy, draw=draw)
    confirmed = None
    if order.rejected is not None or order.claims is not None:
        span, ended = _span(ledger.confirmed, order, now, policy, again=again)
        # A new token that answers claims may be rejected at any time, by the next challenge.
        secret = grant.secret if again or order.claims is None else None
        confirmed = Confirmed(secret, order.claims, now.monotonic + span, span, again, ended)
    return Ledger(token, confirmed=confirmed), token


def _span(before: Confirmed | None, order: Order, now: Now, policy: Policy, *, again: bool) -> tuple[float, float]:
    """Return `span` and `ended` of the response to a rejection that follows the one that `before` is about.

    The first new token may be rejected at once, because its predecessor's rejection need not be about
    the service: neither if that token was new, nor if the host had handed it out again.
    """
    is_first = not again and order.claims is None
    if before is None or not _is_repeated(before, order, now, policy, again=again):
        return 0.0 if is_first else policy.confirmed, 0.0
    if is_first and before.same:
        return 0.0, before.span
    ended = before.ended if now.monotonic <= before.until + policy.confirmed else 0.0
    return max(policy.confirmed, before.span * 2, ended * 2), 0.0


def _is_repeated(before: Confirmed, order: Order, now: Now, policy: Policy, *, again: bool) -> bool:
    """Return whether this rejection continues the one that `before` is about.

    A new token that is rejected as soon as its rejection starts a fetch shows that the service
    refuses every token. One that served for longer was revoked.
    """
    if order.claims is not None:
        return before.claims == order.claims or (again and before.rejected == order.rejected)
    window = max(policy.confirmed, before.span)
    return before.rejected == order.rejected and (again or now.monotonic <= before.until + window)


def failed(ledger: Ledger, failure: Failure, now: Now, policy: Policy, draw: Draw) -> tuple[Ledger, Failure]:
    """Enter a failed fetch. The token, if one is held, stays."""
    failing = ledger.failing + 1
    pause = pause_after(failing, retry_after=failure.retry_after, permanent=failure.permanent, policy=policy, draw=draw)
    return attrs.evolve(
        ledger,
        failure=failure,
        failing=failing,
        losses=0,
        unattended=0,
        quiet_served=now.monotonic + pause.served,
        quiet_unserved=now.monotonic + pause.unserved,
    ), failure


def lost(ledger: Ledger, now: Now, policy: Policy, draw: Draw, *, waited_for: bool) -> tuple[Ledger, Failure | None]:
    """Enter a fetch that was cancelled or whose loop is gone; `waited_for` tells whether anyone was left who waited for it.

    It counts as a failure wherever a usable token can be served meanwhile. Callers without one elect a successor at once,
    because nothing speaks against the host; only after `Policy.elections` in close succession is it a failure for them too.
    The flight after `Policy.losses_stale` unattended losses was waited for. If its callers are gone with it, waiting did not
    help, and counting begins anew; if some wait on in other event loops, the callers after the back-off wait again.
    """
    losses = (ledger.losses if now.monotonic < ledger.quiet_unserved else 0) + waited_for
    after, failure = failed(ledger, LOST, now, policy, draw)
    waited_on = waited_for and state_of(ledger.token, now, policy).usable
    unattended = 0 if is_starved(ledger, policy) and not waited_on else ledger.unattended + (not waited_for)
    if losses > policy.elections:
        return attrs.evolve(after, losses=losses, unattended=unattended), failure
    return attrs.evolve(after, losses=losses, unattended=unattended, failure=None), None


def rejected(ledger: Ledger, secret: str, now: Now) -> Ledger | None:
    """Enter a service's rejection of a token; None if it changes nothing."""
    confirmed = ledger.confirmed
    if ledger.token is None or ledger.token.token != secret:
        return None
    if confirmed is not None and confirmed.rejected == secret and now.monotonic < confirmed.until:
        return None
    return attrs.evolve(ledger, token=None, order=Order(rejected=ledger.token.token))


def challenged(ledger: Ledger, claims: str, under_way: Order | None, now: Now) -> Ledger | None:
    """Enter a challenge for claims; None if it changes nothing because the host is being or was just asked with some.

    A fetch with other claims is not superseded: its callers have been challenged too, and who comes last would win for ever.
    """
    confirmed, token = ledger.confirmed, ledger.token
    if under_way is not None and under_way.claims is not None:
        return None
    if confirmed is not None and now.monotonic < confirmed.until:
        # A host that has just given the same token for other claims does not understand claims.
        deaf = token is not None and confirmed.same and confirmed.rejected == token.token
        if confirmed.claims == claims or deaf:
            return None
    held = ledger.order.rejected if ledger.token is None else ledger.token.token
    return attrs.evolve(ledger, token=None, order=Order(claims, held))


def answers(order: Order, claims: str) -> bool:
    """Tell whether a fetch with this order was one for these claims.

    Continuous access evaluation challenges with the time of what has happened (`nbf`), which is another for every caller; a token
    that is issued later fits them all.

    Source: https://learn.microsoft.com/entra/identity-platform/app-resilience-continuous-access-evaluation
    """
    return order.claims is not None and _timeless(order.claims) == _timeless(claims)


def _timeless(claims: str) -> object:
    try:
        return _without_times(json.loads(claims))
    except (ValueError, RecursionError):
        return claims


def _without_times(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_times(one) for name, one in value.items() if name != "nbf"}
    return value


def _nearly_expired(grant: Grant) -> Failure:
    return Failure(
        TokenUnavailableError,
        "expired",
        f"the token endpoint handed out a token with {max(grant.life, 0.0):.0f} s left to live",
        "If that goes on, check this machine's clock",
    )


LOST = Failure(
    TokenUnavailableError,
    "lost",
    "the token request was cancelled or its event loop is gone, several times in a row",
    "Look for code that cancels all tasks of a loop, or blocks it for seconds",
)


def unexpected(error: Exception) -> Failure:
    """Make a failure of whatever a fetch raised; it travels as text."""
    return Failure(
        TokenUnavailableError,
        "unexpected",
        f"the fetch of a token failed with {type(error).__name__}: {without_secrets(str(error))}",
    )


def held_off(name: str) -> Failure:
    """Return the failure of a slot whose host sent another slot a `Retry-After` that is too long to wait for.

    It holds no text of that response, which belongs to the other slot.
    """
    return Failure(
        TokenUnavailableError,
        "held off",
        f"no request was sent for {name}, because its host asked clients to retry later",
    )


OVERDUE = Failure(TokenUnavailableError, "overdue", "the token request did not end in time")
UNTOLD = Failure(
    TokenUnavailableError,
    "unsettled",
    "the token was rejected or replaced again and again while this call waited for it",
)
