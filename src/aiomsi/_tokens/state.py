"""What is known of one token, and how every event changes it: values and pure functions, no clock, lock or loop."""

import enum
import json
from typing import Any

import attrs

from aiomsi._errors import CredentialError, TokenUnavailableError
from aiomsi._tokens.backoff import pause_after
from aiomsi._tokens.policy import Policy
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
        request: what the next fetch must carry.
        failure: what callers are told who come before `retry_at_unusable`; None if the last fetch did
            not fail.
        failing: failed and lost fetches since the last good one.
        losses: lost ones in close succession, each of which somebody waited for.
        unattended: lost flights in a row that no caller waited for.
        retry_at_usable: before this, on the monotonic clock, no fetch is begun while a usable token is
            served;
        retry_at_unusable: and before this none is begun without one.
        confirmed: the host's answer to the last rejection.

    """

    token: AccessToken | None = None
    request: FetchRequest = FetchRequest()
    failure: Failure | None = None
    failing: int = 0
    losses: int = 0
    unattended: int = 0
    retry_at_usable: float = float("-inf")
    retry_at_unusable: float = float("-inf")
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
    state: SlotState,
    now: Now,
    policy: Policy,
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
    freshness = freshness_of(state.token, now, policy)
    if freshness is Freshness.FRESH:
        return Decision.SERVE, None
    if state.token is None or freshness is Freshness.EXPIRED:
        if flying:
            return Decision.JOIN, None
        told = state.failure is not None and now.monotonic < state.retry_at_unusable
        return (Decision.FAIL if told or held_off > policy.deadline else Decision.START), None
    may_start = not flying and held_off <= 0 and now.monotonic >= state.retry_at_usable
    bound = min(policy.late_wait, state.token.left(now) - policy.late_reserve)
    awaits = freshness is Freshness.LATE or is_starved(state, policy)
    if awaits and patient and bound > 0 and (flying or may_start):
        return (Decision.JOIN if flying else Decision.START), bound
    return (Decision.SERVE_AND_START if may_start else Decision.SERVE), None


def is_starved(state: SlotState, policy: Policy) -> bool:
    """Return whether so many flights were lost unattended that a caller has to wait for the next.

    Event loops that end before the host responds, as with one `asyncio.run` per job, take every
    flight along that no caller waits for.
    """
    return state.unattended >= policy.losses_stale


def delay_of(state: SlotState, now: Now, policy: Policy) -> float:
    """Return the seconds that a flight waits before its fetch, if no usable token is held.

    A caller without a token starts a flight at once after a lost one. If time-outs of the callers
    end each event loop before the host responds, that would be one request for every call.
    """
    if freshness_of(state.token, now, policy).usable or not is_starved(state, policy):
        return 0.0
    return max(0.0, state.retry_at_unusable - now.monotonic)


def is_idle(state: SlotState, now: Now, policy: Policy) -> bool:
    """Return whether the state holds neither a usable token nor a back-off that is recent."""
    if freshness_of(state.token, now, policy).usable:
        return False
    until = max(state.retry_at_usable, state.retry_at_unusable)
    if state.confirmed is not None:
        until = max(until, state.confirmed.until)
    return now.monotonic >= until + policy.backoff_served


def apply_response(
    state: SlotState,
    response: TokenResponse,
    request: FetchRequest,
    now: Now,
    policy: Policy,
    draw: Uniform,
) -> tuple[SlotState, AccessToken | Failure]:
    """Enter what a fetch brought. A token that is as good as expired is a failure."""
    if response.life <= policy.expired + policy.delivery:
        return apply_failure(state, _nearly_expired(response), now, policy, draw)
    again = response.secret == request.rejected
    same_again = again or (state.token is not None and response.secret == state.token.token)
    token = date_token(response, now, same_again=same_again, policy=policy, draw=draw)
    confirmed = None
    if request.rejected is not None or request.claims is not None:
        # The first new token may be rejected at once: its predecessor's rejection need not be about
        # the service.
        span = policy.confirmed if again or request.claims is not None else 0.0
        before = state.confirmed
        if before is not None and _is_repeated(before, request, now, policy, again=again):
            span = max(policy.confirmed, before.span * 2)
        # A new token that answers claims may be rejected at any time, by the next challenge.
        secret = response.secret if again or request.claims is None else None
        confirmed = ReissuedToken(secret, request.claims, now.monotonic + span, span, again)
    return SlotState(token, confirmed=confirmed), token


def _is_repeated(
    before: ReissuedToken, request: FetchRequest, now: Now, policy: Policy, *, again: bool
) -> bool:
    """Return whether this rejection continues the one that `before` is about.

    A new token that is rejected as soon as its rejection starts a fetch shows that the service
    refuses every token. One that served for longer was revoked.
    """
    if request.claims is not None:
        return before.claims == request.claims or (again and before.rejected == request.rejected)
    window = max(policy.confirmed, before.span)
    return before.rejected == request.rejected and (again or now.monotonic <= before.until + window)


def apply_failure(
    state: SlotState, failure: Failure, now: Now, policy: Policy, draw: Uniform
) -> tuple[SlotState, Failure]:
    """Enter a failed fetch. The token, if one is held, stays."""
    failing = state.failing + 1
    pause = pause_after(
        failing,
        retry_after=failure.retry_after,
        permanent=failure.permanent,
        policy=policy,
        draw=draw,
    )
    return attrs.evolve(
        state,
        failure=failure,
        failing=failing,
        losses=0,
        unattended=0,
        retry_at_usable=now.monotonic + pause.served,
        retry_at_unusable=now.monotonic + pause.unserved,
    ), failure


def apply_loss(
    state: SlotState, now: Now, policy: Policy, draw: Uniform, *, waited_for: bool
) -> tuple[SlotState, Failure | None]:
    """Enter a fetch that was cancelled or whose loop is gone; `waited_for` tells whether anyone was left who waited for it.

    It counts as a failure wherever a usable token can be served meanwhile. Callers without one
    elect a successor at once, because nothing speaks against the host; only after
    `Policy.elections` in close succession is it a failure for them too. The flight after
    `Policy.losses_stale` unattended losses was waited for: if it is lost as well, waiting did not
    help, and counting begins anew.
    """
    losses = (state.losses if now.monotonic < state.retry_at_unusable else 0) + waited_for
    after, failure = apply_failure(state, LOST_FAILURE, now, policy, draw)
    unattended = 0 if is_starved(state, policy) else state.unattended + (not waited_for)
    if losses > policy.elections:
        return attrs.evolve(after, losses=losses, unattended=unattended), failure
    return attrs.evolve(after, losses=losses, unattended=unattended, failure=None), None


def apply_rejection(state: SlotState, secret: str, now: Now) -> SlotState | None:
    """Enter a service's rejection of a token; None if it changes nothing."""
    confirmed = state.confirmed
    if state.token is None or state.token.token != secret:
        return None
    if confirmed is not None and confirmed.rejected == secret and now.monotonic < confirmed.until:
        return None
    return attrs.evolve(state, token=None, request=FetchRequest(rejected=state.token.token))


def apply_challenge(
    state: SlotState, claims: str, under_way: FetchRequest | None, now: Now
) -> SlotState | None:
    """Enter a challenge for claims; None if it changes nothing because the host is being or was just asked with some.

    A fetch with other claims is not superseded: its callers have been challenged too, and who comes
    last would win for ever.
    """
    confirmed, token = state.confirmed, state.token
    if under_way is not None and under_way.claims is not None:
        return None
    if confirmed is not None and now.monotonic < confirmed.until:
        # A host that has just given the same token for other claims does not understand claims.
        deaf = token is not None and confirmed.same and confirmed.rejected == token.token
        if confirmed.claims == claims or deaf:
            return None
    held = state.request.rejected if state.token is None else state.token.token
    return attrs.evolve(state, token=None, request=FetchRequest(claims, held))


def covers_claims(request: FetchRequest, claims: str) -> bool:
    """Tell whether a fetch with this order was one for these claims.

    Continuous access evaluation challenges with the time of what has happened (`nbf`), which is
    another for every caller; a token that is issued later fits them all.

    Source:
    https://learn.microsoft.com/entra/identity-platform/app-resilience-continuous-access-evaluation
    """
    return request.claims is not None and _timeless(request.claims) == _timeless(claims)


def _timeless(claims: str) -> object:
    try:
        return _without_times(json.loads(claims))
    except (ValueError, RecursionError):
        return claims


def _without_times(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_times(one) for name, one in value.items() if name != "nbf"}
    return value


def _nearly_expired(response: TokenResponse) -> Failure:
    return Failure(
        TokenUnavailableError,
        "expired",
        f"the token endpoint handed out a token with {max(response.life, 0.0):.0f} s left to live",
        "If that goes on, check this machine's clock",
    )


LOST_FAILURE = Failure(
    TokenUnavailableError,
    "lost",
    "the token request was cancelled or its event loop is gone, several times in a row",
    "Look for code that cancels all tasks of a loop, or blocks it for seconds",
)


def failure_of(error: Exception) -> Failure:
    """Make a failure of whatever a fetch raised; it travels as text."""
    return Failure(
        TokenUnavailableError,
        "unexpected",
        f"the fetch of a token failed with {type(error).__name__}: {without_secrets(str(error))}",
    )


def held_off_failure(name: str) -> Failure:
    """Return the failure of a slot whose host sent another slot a `Retry-After` that is too long to wait for.

    It holds no text of that response, which belongs to the other slot.
    """
    return Failure(
        TokenUnavailableError,
        "held off",
        f"no request was sent for {name}, because its host asked clients to retry later",
    )


OVERDUE_FAILURE = Failure(TokenUnavailableError, "overdue", "the token request did not end in time")
UNSETTLED_FAILURE = Failure(
    TokenUnavailableError,
    "unsettled",
    "the token was rejected or replaced again and again while this call waited for it",
)
