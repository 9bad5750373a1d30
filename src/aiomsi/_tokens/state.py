"""What is known of one token, and how every event changes it: values and pure functions, no clock, lock or loop."""

import enum
import json
from typing import Any

import attrs

from aiomsi._errors import CredentialError, TokenUnavailableError
from aiomsi._tokens.backoff import pause_after
from aiomsi._tokens.policy import RefreshPolicy
from aiomsi._tokens.token import (
    AccessToken,
    Freshness,
    Now,
    TokenResponse,
    Uniform,
    date_token,
    freshness_of,
)
from aiomsi._util.foreign import without_secrets


@attrs.frozen
class Failure:
    """What went wrong with a fetch, as a value: each caller makes an exception of its own from it.

    Attributes:
        error: the class of the exception.
        kind: a word for the statistics, for example ``"throttled"``.
        summary, help: what happened, and what to do about it.
        details: further keyword arguments of the exception.
        permanent: whether asking again is known to change nothing.
        retry_after: seconds until the next request, as the response or the inner credential asks
            for.
        from_host: whether that is the host's own `Retry-After`, and so holds for other slots of
            that host too.

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
class FetchRequest:
    """What the next fetch must know beyond the resource.

    Attributes:
        claims: the claims that a challenge asked for.
        rejected: the token whose rejection is the reason for the fetch.

    """

    claims: str | None = None
    rejected: str | None = attrs.field(default=None, repr=False)


@attrs.frozen
class ReissuedToken:
    """The host's response to a rejection. Until `until`, a further rejection starts no fetch.

    Attributes:
        rejected: the token of that response; None if it may be rejected at any time, because the
            fetch carried claims and brought a new token.
        claims: the claims that the fetch carried, or None.
        until: on the monotonic clock; `span` is the time from the response until then, in seconds.
        same: whether the response brought the rejected token again.

    """

    rejected: str | None = attrs.field(repr=False)
    claims: str | None
    until: float
    span: float
    same: bool


@attrs.frozen
class SlotState:
    """What is known of one token.

    Attributes:
        token: the one to hand out, or None.
        order: what the next fetch must carry.
        failure: what callers are told who come before `quiet_unserved`; None if the last fetch did
            not fail.
        failing: failed and lost fetches since the last good one.
        losses: lost ones in close succession, each of which somebody waited for.
        unattended: lost flights in a row that no caller waited for.
        quiet_served: before this, on the monotonic clock, no fetch is begun while a usable token is
            served;
        quiet_unserved: and before this none is begun without one.
        confirmed: the host's answer to the last rejection.

    """

    token: AccessToken | None = None
    order: FetchRequest = FetchRequest()
    failure: Failure | None = None
    failing: int = 0
    losses: int = 0
    unattended: int = 0
    quiet_served: float = float("-inf")
    quiet_unserved: float = float("-inf")
    confirmed: ReissuedToken | None = None


BLANK = SlotState()


class Decision(enum.Enum):
    """What a caller does."""

    SERVE = "take the token"
    SERVE_AND_START = "take the token and start a flight in the background"
    JOIN = "wait for the flight that is under way"
    START = "start a flight and wait for it"
    FAIL = "raise the last failure"


def decide(
    ledger: SlotState,
    now: Now,
    policy: RefreshPolicy,
    *,
    flying: bool,
    patient: bool,
    held_off: float = 0.0,
) -> tuple[Decision, float | None]:
    """Decide what a caller does and, if it waits while a usable token is held, for how many seconds at the most.

    `flying`: a flight is under way. `patient`: the caller has not yet waited for one in vain.
    `held_off`: the seconds until the host's `Retry-After` is over, whichever slot received it. A
    fetch that begins before that waits for it.
    """
    state = freshness_of(ledger.token, now, policy)
    if state is Freshness.FRESH:
        return Decision.SERVE, None
    if ledger.token is None or state is Freshness.EXPIRED:
        if flying:
            return Decision.JOIN, None
        told = ledger.failure is not None and now.monotonic < ledger.quiet_unserved
        return (Decision.FAIL if told or held_off > policy.fetch_deadline else Decision.START), None
    may_start = not flying and held_off <= 0 and now.monotonic >= ledger.quiet_served
    bound = min(policy.late_wait, ledger.token.left(now) - policy.late_reserve)
    awaits = state is Freshness.LATE or is_starved(ledger, policy)
    if awaits and patient and bound > 0 and (flying or may_start):
        return (Decision.JOIN if flying else Decision.START), bound
    return (Decision.SERVE_AND_START if may_start else Decision.SERVE), None


def is_starved(ledger: SlotState, policy: RefreshPolicy) -> bool:
    """Return whether so many flights were lost unattended that a caller has to wait for the next.

    Event loops that end before the host responds, as with one `asyncio.run` per job, take every
    flight along that no caller waits for.
    """
    return ledger.unattended >= policy.max_unattended_losses


def delay_of(ledger: SlotState, now: Now, policy: RefreshPolicy) -> float:
    """Return the seconds that a flight waits before its fetch, if no usable token is held.

    A caller without a token starts a flight at once after a lost one. If time-outs of the callers
    end each event loop before the host responds, that would be one request for every call.
    """
    if freshness_of(ledger.token, now, policy).usable or not is_starved(ledger, policy):
        return 0.0
    return max(0.0, ledger.quiet_unserved - now.monotonic)


def is_idle(ledger: SlotState, now: Now, policy: RefreshPolicy) -> bool:
    """Return whether the ledger holds neither a usable token nor a back-off that is recent."""
    if freshness_of(ledger.token, now, policy).usable:
        return False
    until = max(ledger.quiet_served, ledger.quiet_unserved)
    if ledger.confirmed is not None:
        until = max(until, ledger.confirmed.until)
    return now.monotonic >= until + policy.backoff_max_usable


def granted(
    ledger: SlotState,
    grant: TokenResponse,
    order: FetchRequest,
    now: Now,
    policy: RefreshPolicy,
    draw: Uniform,
) -> tuple[SlotState, AccessToken | Failure]:
    """Enter what a fetch brought. A token that is as good as expired is a failure."""
    if grant.life <= policy.expired_before_expiry + policy.delivery_margin:
        return failed(ledger, _nearly_expired(grant), now, policy, draw)
    again = grant.secret == order.rejected
    same_again = again or (ledger.token is not None and grant.secret == ledger.token.token)
    token = date_token(grant, now, same_again=same_again, policy=policy, draw=draw)
    confirmed = None
    if order.rejected is not None or order.claims is not None:
        # The first new token may be rejected at once: its predecessor's rejection need not be about
        # the service.
        span = policy.rejection_hold_off if again or order.claims is not None else 0.0
        before = ledger.confirmed
        if before is not None and _is_repeated(before, order, now, policy, again=again):
            span = max(policy.rejection_hold_off, before.span * 2)
        # A new token that answers claims may be rejected at any time, by the next challenge.
        secret = grant.secret if again or order.claims is None else None
        confirmed = ReissuedToken(secret, order.claims, now.monotonic + span, span, again)
    return SlotState(token, confirmed=confirmed), token


def _is_repeated(
    before: ReissuedToken, order: FetchRequest, now: Now, policy: RefreshPolicy, *, again: bool
) -> bool:
    """Return whether this rejection continues the one that `before` is about.

    A new token that is rejected as soon as its rejection starts a fetch shows that the service
    refuses every token. One that served for longer was revoked.
    """
    if order.claims is not None:
        return before.claims == order.claims or (again and before.rejected == order.rejected)
    window = max(policy.rejection_hold_off, before.span)
    return before.rejected == order.rejected and (again or now.monotonic <= before.until + window)


def failed(
    ledger: SlotState, failure: Failure, now: Now, policy: RefreshPolicy, draw: Uniform
) -> tuple[SlotState, Failure]:
    """Enter a failed fetch. The token, if one is held, stays."""
    failing = ledger.failing + 1
    pause = pause_after(
        failing,
        retry_after=failure.retry_after,
        permanent=failure.permanent,
        policy=policy,
        draw=draw,
    )
    return attrs.evolve(
        ledger,
        failure=failure,
        failing=failing,
        losses=0,
        unattended=0,
        quiet_served=now.monotonic + pause.served,
        quiet_unserved=now.monotonic + pause.unserved,
    ), failure


def lost(
    ledger: SlotState, now: Now, policy: RefreshPolicy, draw: Uniform, *, waited_for: bool
) -> tuple[SlotState, Failure | None]:
    """Enter a fetch that was cancelled or whose loop is gone; `waited_for` tells whether anyone was left who waited for it.

    It counts as a failure wherever a usable token can be served meanwhile. Callers without one
    elect a successor at once, because nothing speaks against the host; only after
    `RefreshPolicy.max_restarts` in close succession is it a failure for them too. The flight after
    `RefreshPolicy.max_unattended_losses` unattended losses was waited for: if it is lost as well,
    waiting did not help, and counting begins anew.
    """
    losses = (ledger.losses if now.monotonic < ledger.quiet_unserved else 0) + waited_for
    after, failure = failed(ledger, LOST, now, policy, draw)
    unattended = 0 if is_starved(ledger, policy) else ledger.unattended + (not waited_for)
    if losses > policy.max_restarts:
        return attrs.evolve(after, losses=losses, unattended=unattended), failure
    return attrs.evolve(after, losses=losses, unattended=unattended, failure=None), None


def rejected(ledger: SlotState, secret: str, now: Now) -> SlotState | None:
    """Enter a service's rejection of a token; None if it changes nothing."""
    confirmed = ledger.confirmed
    if ledger.token is None or ledger.token.token != secret:
        return None
    if confirmed is not None and confirmed.rejected == secret and now.monotonic < confirmed.until:
        return None
    return attrs.evolve(ledger, token=None, order=FetchRequest(rejected=ledger.token.token))


def challenged(
    ledger: SlotState, claims: str, under_way: FetchRequest | None, now: Now
) -> SlotState | None:
    """Enter a challenge for claims; None if it changes nothing because the host is being or was just asked with some.

    A fetch with other claims is not superseded: its callers have been challenged too, and who comes
    last would win for ever.
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
    return attrs.evolve(ledger, token=None, order=FetchRequest(claims, held))


def answers(order: FetchRequest, claims: str) -> bool:
    """Tell whether a fetch with this order was one for these claims.

    Continuous access evaluation challenges with the time of what has happened (`nbf`), which is
    another for every caller; a token that is issued later fits them all.

    Source:
    https://learn.microsoft.com/entra/identity-platform/app-resilience-continuous-access-evaluation
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


def _nearly_expired(grant: TokenResponse) -> Failure:
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
