"""Pure decisions about retries: within one fetch, and between a failed fetch and the next."""

import attrs

from aiomsi._tokens.policy import RefreshPolicy
from aiomsi._tokens.token import Uniform

_MOST_DOUBLINGS = 16
_GONE_DELAY = 8.0


@attrs.frozen(eq=False, repr=False)
class Attempt:
    """A failed token request, and its fetch up to then.

    Attributes:
        number: 1 for the first request of the fetch.
        elapsed: seconds since the fetch started.
        status: the HTTP status, None without a response.
        passing: whether the host's table of errors classifies this one as transient.
        retry_after: the `Retry-After` of the response, in seconds.
        connected: whether any request of this fetch got a connection or a response.
        gone: whether any response of this fetch was 410.
        gated: the part of `elapsed` in which the fetch waited at a host-wide gate.

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
    """Return the most seconds that the whole fetch may take, as far as this attempt shows."""
    if attempt.gone:
        return policy.fetch_deadline_gone
    if attempt.connected:
        return policy.fetch_deadline
    # Waiting for other processes does not show that the host is unreachable.
    return min(policy.fetch_deadline, policy.fetch_deadline_unreachable + attempt.gated)


def next_try(attempt: Attempt, policy: RefreshPolicy, draw: Uniform) -> float | None:
    """Return the seconds until the fetch sends its next request; None if the fetch has failed.

    Waits have full jitter, so that independent processes spread out. A wait is never shorter than
    `Retry-After`. 410 means that IMDS is being updated, which takes up to 70 s. After a 410 the
    number of attempts does not count, even if IMDS is unreachable for a while.

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


@attrs.frozen(repr=False)
class Pause:
    """The seconds after a failed fetch in which no fetch starts.

    Attributes:
        usable: the pause while a usable token is held.
        unusable: the pause while no usable token is held. Each call raises the failure meanwhile.

    """

    usable: float = 0.0
    unusable: float = 0.0


def pause_after(
    failures: int,
    *,
    retry_after: float | None,
    permanent: bool,
    policy: RefreshPolicy,
    draw: Uniform,
) -> Pause:
    """Return the pause after `failures` failed fetches in a row.

    Without a usable token the pause after a permanent failure is only `failure_replay`, because
    its cause may be repaired at any time.
    """
    demanded = min(retry_after or 0.0, policy.max_retry_after)
    doubled = policy.backoff_first * 2 ** min(failures - 1, _MOST_DOUBLINGS)
    share = draw(0.5, 1.0)
    served = max(demanded, policy.failure_replay, share * min(doubled, policy.backoff_max_usable))
    if permanent:
        return Pause(served, policy.failure_replay)
    return Pause(
        served,
        max(demanded, policy.failure_replay, share * min(doubled, policy.backoff_max_unusable)),
    )
