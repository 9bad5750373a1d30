"""`SlotStats`: the counts and the state of a slot, for the user. No I/O."""

from collections.abc import Mapping

import attrs

from aiomsi._tokens.policy import RefreshPolicy
from aiomsi._tokens.state import SlotState
from aiomsi._tokens.token import Now, get_freshness
from aiomsi._tokens.token_identity import TokenIdentity


@attrs.frozen
class SlotStats:
    """The counts of one slot, and its present state. Times in seconds.

    Attributes:
        state: the state of the token: ``"none"``, ``"fresh"``, ``"stale"``, ``"late"`` or
            ``"expired"``.
        expires_in: seconds until the token expires, None without one.
        fetches: fetches that were started.
        joined: callers that waited for a fetch which another caller had started.
        served_stale: calls that returned a token which was due for a refresh.
        failures: failed fetches by kind.
        failing: failed fetches since the last successful one.
        next_attempt: seconds until the next request may be sent to the host; 0 if it may be sent
            now.
        under_way: whether a fetch is under way.
        identity: the identity that the token was issued to, None without a token.

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
    identity: TokenIdentity | None = None


def summarize(
    state: SlotState,
    now: Now,
    policy: RefreshPolicy,
    *,
    counts: Mapping[str, int],
    failures: Mapping[str, int],
    host_retry_at: float,
    under_way: bool,
) -> SlotStats:
    """Return the snapshot of a slot.

    Args:
        state: the slot's state.
        now: the current time.
        policy: the slot's policy.
        counts: the slot's other counts, by the names of the fields.
        failures: the failed fetches by kind.
        host_retry_at: the end of the host's `Retry-After`, on the monotonic clock.
        under_way: whether a fetch is under way.

    """
    token, freshness = state.token, get_freshness(state.token, now, policy)
    retry_at = host_retry_at
    if freshness.usable:
        retry_at = max(retry_at, state.retry_at_usable)
    elif state.failure is not None:
        retry_at = max(retry_at, state.retry_at_unusable)
    return SlotStats(
        state=freshness.value,
        expires_in=None if token is None else max(0.0, token.left(now)),
        fetches=counts["fetches"],
        joined=counts["joined"],
        served_stale=counts["served_stale"],
        failures=dict(failures),
        failing=state.failing,
        next_attempt=max(0.0, retry_at - now.monotonic),
        under_way=under_way,
        identity=None if token is None else token.identity,
    )
