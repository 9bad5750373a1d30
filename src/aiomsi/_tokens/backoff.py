"""Pure decisions about asking again: within one fetch, and between a failed fetch and the next."""

import attrs

from aiomsi._tokens.policy import RefreshPolicy
from aiomsi._tokens.token import Uniform

_MOST_DOUBLINGS = 16
_GONE_DELAY = 8.0


@attrs.frozen(eq=False)
class Attempt:
    """How one request for a token went wrong, and what came before it.

    Attributes:
        number: 1 for the first request of the fetch.
        elapsed: seconds since the fetch began.
        status: the HTTP status, None if there was no answer.
        passing: whether the host's table of answers calls this one passing.
        retry_after: what the answer asked for, in seconds.
        connected: whether any request of this fetch was ever answered or at least connected.
        gone: whether any answer of this fetch was 410.
        gated: how many of the elapsed seconds were spent waiting at a host-wide gate.

    """

    number: int
    elapsed: float
    status: int | None = None
    passing: bool = True
    retry_after: float | None = None
    connected: bool = True
    gone: bool = False
    gated: float = 0.0


def deadline(attempt: Attempt, policy: RefreshPolicy) -> float:
    """Give the number of seconds that this fetch may take in all, as far as is known after this attempt."""
    if attempt.gone:
        return policy.fetch_deadline_gone
    if attempt.connected:
        return policy.fetch_deadline
    # Waiting for other processes is no sign that nobody is there.
    return min(policy.fetch_deadline, policy.fetch_deadline_unreachable + attempt.gated)


def next_try(attempt: Attempt, policy: RefreshPolicy, draw: Uniform) -> float | None:
    """Decide after how many seconds the fetch sends its next request; None: it has failed.

    Waits have full jitter, so that processes which know nothing of each other spread out, and are
    never shorter than `Retry-After`. 410 means that IMDS is being updated, which takes up to 70 s:
    from then on the number of tries does not count, even if the service is not there at all for a
    while.

    Source:
    https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
    """
    if not attempt.passing:
        return None
    doubled = policy.retry_first_delay * 2 ** min(attempt.number - 1, _MOST_DOUBLINGS)
    if attempt.gone:
        if attempt.elapsed >= policy.gone_retry_for:
            return None
        doubled = min(doubled, _GONE_DELAY)
        delay = draw(doubled / 2, doubled)
    else:
        if attempt.number >= (
            policy.max_attempts if attempt.connected else policy.max_attempts_unreachable
        ):
            return None
        delay = draw(0, doubled)
    delay = max(delay, min(attempt.retry_after or 0.0, policy.max_retry_after))
    return delay if attempt.elapsed + delay < deadline(attempt, policy) else None


@attrs.frozen
class Pause:
    """How long no fetch is begun after a failed one, in seconds.

    Attributes:
        served: while a usable token is served.
        unserved: without one; every caller is told of the failure meanwhile.

    """

    served: float = 0.0
    unserved: float = 0.0


def pause_after(
    failures: int,
    *,
    retry_after: float | None,
    permanent: bool,
    policy: RefreshPolicy,
    draw: Uniform,
) -> Pause:
    """Decide how long to leave the host alone after that many failed fetches in a row.

    A permanent refusal is told for the shortest time only: somebody may be repairing its cause
    right now.
    """
    asked = min(retry_after or 0.0, policy.max_retry_after)
    doubled = policy.backoff_first * 2 ** min(failures - 1, _MOST_DOUBLINGS)
    share = draw(0.5, 1.0)
    served = max(asked, policy.failure_replay, share * min(doubled, policy.backoff_max_usable))
    if permanent:
        return Pause(served, policy.failure_replay)
    return Pause(
        served, max(asked, policy.failure_replay, share * min(doubled, policy.backoff_max_unusable))
    )
