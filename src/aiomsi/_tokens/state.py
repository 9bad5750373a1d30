"""`SlotState` and its transitions: values, and pure functions of (state, now). No I/O."""

import enum
import json

import attrs

from aiomsi._tokens.backoff import decide_pause
from aiomsi._tokens.failure import LOST_FAILURE, Failure, make_nearly_expired_failure
from aiomsi._tokens.policy import RefreshPolicy
from aiomsi._tokens.token import (
    Freshness,
    Now,
    Token,
    TokenResponse,
    get_freshness,
    make_token,
)
from aiomsi._util.jitter import Uniform


class FetchRequest:
    """The parameters of the next fetch beyond the resource.

    Attributes:
        claims: the claims that a challenge demanded.
        rejected: the token whose rejection causes the fetch.

    """

    # Each import creates this class, so it is plain.
    __slots__ = ("claims", "rejected")

    def __init__(self, claims: str | None = None, rejected: str | None = None) -> None:
        self.claims: str | None = claims
        self.rejected: str | None = rejected


_PLAIN = FetchRequest()


class ReissuedToken:
    """The host's response to a rejection. Until `until`, a further rejection starts no fetch.

    Attributes:
        rejected: the token of that response. None if the fetch carried claims and returned a new
            token: such a token may be rejected at any time.
        claims: the claims that the fetch carried, or None.
        until: a time on the monotonic clock.
        span: seconds from the response to `until`.
        same: whether the response held the rejected token again.
        ended: the `span` of the response before, which this response ended: that one held the
            rejected token again, and this one holds a new token. Else 0. If the new token is
            rejected at once, the next span is at least twice as long as `ended`.
        repeated: whether the response before was one to a rejection of the same kind.

    """

    # Each import creates this class, so it is plain.
    __slots__ = ("claims", "ended", "rejected", "repeated", "same", "span", "until")

    def __init__(
        self,
        rejected: str | None,
        claims: str | None,
        until: float,
        span: float,
        same: bool,
        ended: float = 0.0,
        repeated: bool = False,
    ) -> None:
        self.rejected, self.claims = rejected, claims
        self.until, self.span = until, span
        self.same, self.ended, self.repeated = same, ended, repeated


@attrs.frozen(eq=False, repr=False)
class SlotState:
    """The token of a slot, and the results of its last fetches.

    Attributes:
        token: the token to return, or None.
        request: the parameters of the next fetch.
        failure: raised for callers that come before `retry_at_unusable`; None if the last fetch
            did not fail.
        failing: failed and lost fetches since the last successful one.
        losses: lost fetches in close succession that each had a waiting caller.
        unattended: lost flights in a row that had no waiting caller.
        retry_at_usable: the time on the monotonic clock before which no fetch starts while the
            token is usable.
        retry_at_unusable: the time on the monotonic clock before which no fetch starts without a
            usable token.
        reissued: the host's response to the last rejection.

    """

    token: Token | None = None
    request: FetchRequest = _PLAIN
    failure: Failure | None = None
    failing: int = 0
    losses: int = 0
    unattended: int = 0
    retry_at_usable: float = float("-inf")
    retry_at_unusable: float = float("-inf")
    reissued: ReissuedToken | None = None


BLANK = SlotState()


class Decision(enum.Enum):
    """The next step of a caller."""

    SERVE = "return the token"
    SERVE_AND_START = "return the token and start a flight in the background"
    JOIN = "wait for the flight that is under way"
    START = "start a flight and wait for it"
    FAIL = "raise the last failure"


def decide(
    state: SlotState,
    now: Now,
    policy: RefreshPolicy,
    *,
    flying: bool,
    patient: bool,
    held_off: float = 0.0,
) -> tuple[Decision, Token | Failure | None, float | None]:
    """Decide on the next step of a caller.

    Args:
        state: the slot's state.
        now: the current time.
        policy: the slot's policy.
        flying: whether a flight is under way.
        patient: False once the caller has waited for a flight in vain, else True.
        held_off: the seconds until the host's `Retry-After` is over, whichever slot received it.
            A fetch that starts earlier waits for that time.

    Returns:
        Three values. The first is the decision. The second is the token to return or the failure to
        raise; it is None if the caller waits, or fails because of `held_off`. The third is the
        longest wait in seconds if the caller waits while a usable token is held, else None.

    """
    token = state.token
    freshness = Freshness.NONE if token is None else get_freshness(token, now, policy)
    if freshness is Freshness.FRESH:
        return Decision.SERVE, token, None
    if token is None or freshness is Freshness.EXPIRED:
        if flying:
            return Decision.JOIN, None, None
        is_recent = state.failure is not None and now.monotonic < state.retry_at_unusable
        if is_recent or held_off > policy.fetch_deadline:
            return Decision.FAIL, state.failure if is_recent else None, None
        return Decision.START, None, None
    may_start = not flying and held_off <= 0 and now.monotonic >= state.retry_at_usable
    bound = min(policy.late_wait, token.left(now) - policy.late_reserve)
    awaits = freshness is Freshness.LATE or is_starved(state, policy)
    if awaits and patient and bound > 0 and (flying or may_start):
        return (Decision.JOIN if flying else Decision.START), None, bound
    return (Decision.SERVE_AND_START if may_start else Decision.SERVE), token, None


def is_starved(state: SlotState, policy: RefreshPolicy) -> bool:
    """Return whether so many flights were lost unattended that a caller waits for the next one.

    An event loop that ends before the host responds, as with one `asyncio.run` per job, ends each
    of its flights that has no waiting caller.
    """
    return state.unattended >= policy.max_unattended_losses


def get_fetch_delay(state: SlotState, now: Now, policy: RefreshPolicy) -> float:
    """Return the seconds that a flight waits before its fetch; 0 while a usable token is held.

    After a lost flight a caller without a token starts the next one at once. If the callers'
    time-outs end each event loop before the host responds, every call would send a request.
    """
    if get_freshness(state.token, now, policy).usable or not is_starved(state, policy):
        return 0.0
    return max(0.0, state.retry_at_unusable - now.monotonic)


def is_idle(state: SlotState, now: Now, policy: RefreshPolicy) -> bool:
    """Return whether the state holds neither a usable token nor a recent back-off."""
    if get_freshness(state.token, now, policy).usable:
        return False
    until = max(state.retry_at_usable, state.retry_at_unusable)
    if state.reissued is not None:
        until = max(until, state.reissued.until)
    return now.monotonic >= until + policy.backoff_max_usable


def apply_response(
    state: SlotState,
    response: TokenResponse,
    request: FetchRequest,
    now: Now,
    policy: RefreshPolicy,
    uniform: Uniform,
) -> tuple[SlotState, Token | Failure]:
    """Return the state after a token response; a token that is about to expire is a failure."""
    if response.life <= policy.expired_before_expiry + policy.delivery_margin:
        return apply_failure(
            state, make_nearly_expired_failure(response.life), now, policy, uniform
        )
    again = response.secret == request.rejected
    same_again = again or (state.token is not None and response.secret == state.token.token)
    token = make_token(response, now, same_again=same_again, policy=policy, uniform=uniform)
    reissued = None
    if request.rejected is not None or request.claims is not None:
        before = state.reissued
        repeated = before is not None and _is_repeated(before, request, now, policy, again=again)
        span, ended = _decide_span(before if repeated else None, request, now, policy, again=again)
        # If a new token was fetched for claims, the next challenge may reject it at any time.
        secret = response.secret if again or request.claims is None else None
        until = now.monotonic + span
        reissued = ReissuedToken(secret, request.claims, until, span, again, ended, repeated)
    return SlotState(token, reissued=reissued), token


def _decide_span(
    before: ReissuedToken | None,
    request: FetchRequest,
    now: Now,
    policy: RefreshPolicy,
    *,
    again: bool,
) -> tuple[float, float]:
    """Return `span` and `ended` of the response to a rejection.

    The span is 0 after the first new token, so that a rejection of that token starts a fetch. One
    rejection, that of the token before, does not show that the service refuses every token. Any
    other response starts a span, which doubles with each further response of the same kind.

    Args:
        before: the response before, if it was one to a rejection of the same kind; else None.
        request: the parameters of the fetch.
        now: the time of the response.
        policy: the slot's policy.
        again: whether the response holds the rejected token again.

    """
    is_first = not again and request.claims is None
    if before is None:
        return 0.0 if is_first else policy.rejection_hold_off, 0.0
    if is_first and before.same:
        return 0.0, before.span
    ended = before.ended if now.monotonic <= before.until + policy.rejection_hold_off else 0.0
    return max(policy.rejection_hold_off, before.span * 2, ended * 2), 0.0


def _is_repeated(
    before: ReissuedToken, request: FetchRequest, now: Now, policy: RefreshPolicy, *, again: bool
) -> bool:
    """Return whether this rejection continues the one that `before` responded to.

    `before.until` is the first time at which a rejection of its token starts a fetch. A rejection
    soon after that shows that the service refuses every token, so it continues the one before. A
    later one shows that the token was accepted in between and then revoked, so it is a new one. The
    same holds for claims that differ from the earlier ones in their times only.
    """
    window = max(policy.rejection_hold_off, before.span)
    is_soon = now.monotonic <= before.until + window
    if request.claims is not None:
        return (
            before.claims == request.claims
            or (is_soon and _differs_in_times(before.claims, request.claims))
            or (again and before.rejected == request.rejected)
        )
    return before.rejected == request.rejected and (again or is_soon)


def apply_failure(
    state: SlotState, failure: Failure, now: Now, policy: RefreshPolicy, uniform: Uniform
) -> tuple[SlotState, Failure]:
    """Return the state after a failed fetch; a token that is held stays."""
    failing = state.failing + 1
    usable, unusable = decide_pause(
        failing,
        retry_after=failure.retry_after,
        permanent=failure.permanent,
        policy=policy,
        uniform=uniform,
    )
    return attrs.evolve(
        state,
        failure=failure,
        failing=failing,
        losses=0,
        unattended=0,
        retry_at_usable=now.monotonic + usable,
        retry_at_unusable=now.monotonic + unusable,
    ), failure


def apply_loss(
    state: SlotState, now: Now, policy: RefreshPolicy, uniform: Uniform, *, waited_for: bool
) -> tuple[SlotState, Failure | None]:
    """Return the state after a fetch that was cancelled or whose event loop is gone.

    The loss counts as a failure for callers with a usable token. Callers without one start the
    next fetch at once, because the host has not failed. For them the loss is a failure only after
    `RefreshPolicy.max_restarts` losses in close succession.

    The flight after `RefreshPolicy.max_unattended_losses` unattended losses had a waiting caller.
    If its callers are gone with it, waiting did not help, and unattended losses are counted from 0
    again. If some still wait in other event loops for the refresh of a usable token, the count
    stays: the next caller after the back-off waits too. Without a usable token it never stays, so
    that the next flight of the callers that wait has no delay (`get_fetch_delay`).

    Args:
        state: the state before.
        now: the current time.
        policy: the slot's policy.
        uniform: for the jitter.
        waited_for: whether a caller still waited for the fetch.

    """
    losses = (state.losses if now.monotonic < state.retry_at_unusable else 0) + waited_for
    after, failure = apply_failure(state, LOST_FAILURE, now, policy, uniform)
    still_starved = waited_for and get_freshness(state.token, now, policy).usable
    is_in_vain = is_starved(state, policy) and not still_starved
    unattended = 0 if is_in_vain else state.unattended + (not waited_for)
    if losses > policy.max_restarts:
        return attrs.evolve(after, losses=losses, unattended=unattended), failure
    return attrs.evolve(after, losses=losses, unattended=unattended, failure=None), None


def apply_rejection(state: SlotState, secret: str, now: Now) -> SlotState | None:
    """Return the state after a service rejected a token; None if that has no effect."""
    reissued = state.reissued
    if state.token is None or state.token.token != secret:
        return None
    if reissued is not None and reissued.rejected == secret and now.monotonic < reissued.until:
        return None
    return attrs.evolve(state, token=None, request=FetchRequest(rejected=state.token.token))


def apply_challenge(
    state: SlotState, claims: str, under_way: FetchRequest | None, now: Now
) -> SlotState | None:
    """Return the state after a claims challenge; None if it has no effect.

    A challenge has no effect while a fetch with claims is under way, nor shortly after a fetch that
    these claims would repeat. Claims that differ in their times only may name a later event, so the
    first such challenge starts a fetch. A further one shows that the service refuses every token.

    A fetch under way with other claims is not superseded, because its callers have been challenged
    too. Otherwise each later challenge would cancel the fetch before it.
    """
    reissued, token = state.reissued, state.token
    if under_way is not None and under_way.claims is not None:
        return None
    if reissued is not None and now.monotonic < reissued.until:
        # A host that has just returned the same token for other claims does not support claims.
        ignores_claims = token is not None and reissued.same and reissued.rejected == token.token
        is_repeated = reissued.repeated and _differs_in_times(reissued.claims, claims)
        if reissued.claims == claims or ignores_claims or is_repeated:
            return None
    held = state.request.rejected if state.token is None else state.token.token
    return attrs.evolve(state, token=None, request=FetchRequest(claims, held))


def describe_trouble(
    state: SlotState, outcome: Token | Failure | None, now: Now, policy: RefreshPolicy
) -> str | None:
    """Return the warning to log after a flight, None without one.

    Callers don't notice a failed refresh while the token that is held is usable, nor that the host
    returned a rejected token again. A failure without a usable token is raised.
    """
    token, reissued = state.token, state.reissued
    if isinstance(outcome, Failure):
        if token is None or token.left(now) <= policy.expired_before_expiry:
            return None
        return (
            f"refresh failed, token good for {token.left(now):.0f} s, "
            f"next try in {state.retry_at_usable - now.monotonic:.0f} s: {outcome.summary}"
        )
    if outcome is None or reissued is None or not reissued.same:
        return None
    # Log the first such response. Each further one of the same kind has a longer span.
    if reissued.span != policy.rejection_hold_off:
        return None
    return "the token endpoint returned the token again that a service had rejected"


def covers_claims(request: FetchRequest, claims: str) -> bool:
    """Return whether a fetch with these parameters carried these claims, apart from their times.

    A challenge of continuous access evaluation names the time of the event (`nbf`), which differs
    from caller to caller; a token that is issued later satisfies them all.

    Source:
    https://learn.microsoft.com/entra/identity-platform/app-resilience-continuous-access-evaluation
    """
    return _differs_in_times(request.claims, claims)


def _differs_in_times(one: str | None, other: str) -> bool:
    """Return whether two claims differ in their times only, or not at all."""
    return one is not None and _parse_without_times(one) == _parse_without_times(other)


def _parse_without_times(claims: str) -> object:
    try:
        return _remove_times(json.loads(claims))
    except (ValueError, RecursionError):
        return claims


def _remove_times(value: object) -> object:
    if isinstance(value, dict):
        return {name: _remove_times(one) for name, one in value.items() if name != "nbf"}
    return value
