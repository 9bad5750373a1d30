"""Decisions about retries: within one fetch, and between a failed fetch and the next. No I/O."""

import math

from aiomsi._tokens.policy import RefreshPolicy
from aiomsi._util.jitter import Uniform, draw_full_jitter, grow_delay

_GONE_DELAY = 8.0


class Attempt:
    """A failed token request, and its fetch up to then.

    Attributes:
        number: 1 for the first request of the fetch.
        elapsed: seconds since the fetch started.
        status: the HTTP status, None without a response.
        transient: whether the host's table of errors classifies this one as transient.
        retry_after: the `Retry-After` of the response, in seconds.
        connected: whether any request of this fetch got a connection or a response.
        gone: whether any response of this fetch was 410.
        gated: the part of `elapsed` in which the fetch waited at a host-wide gate.

    """

    # Each import creates this class, so it is plain.
    __slots__ = (
        "connected",
        "elapsed",
        "gated",
        "gone",
        "number",
        "retry_after",
        "status",
        "transient",
    )

    def __init__(
        self,
        number: int,
        elapsed: float,
        status: int | None = None,
        transient: bool = True,
        retry_after: float | None = None,
        connected: bool = True,
        gone: bool = False,
        gated: float = 0.0,
    ) -> None:
        self.number = number
        self.elapsed = elapsed
        self.status = status
        self.transient = transient
        self.retry_after = retry_after
        self.connected = connected
        self.gone = gone
        self.gated = gated


def get_deadline(attempt: Attempt, policy: RefreshPolicy) -> float:
    """Return the most seconds that the whole fetch may take, as far as this attempt shows."""
    if attempt.gone:
        return policy.fetch_deadline_gone
    if attempt.connected:
        return policy.fetch_deadline
    # Waiting for other processes does not show that the host is unreachable.
    return min(policy.fetch_deadline, policy.fetch_deadline_unreachable + attempt.gated)


def decide_delay(attempt: Attempt, policy: RefreshPolicy, uniform: Uniform) -> float | None:
    """Return the seconds until the fetch sends its next request; None if the fetch has failed.

    Waits have full jitter, so that independent processes spread out. A wait is never shorter than
    `Retry-After`. 410 means that IMDS is being updated, which takes up to 70 s. After a 410 the
    number of attempts does not count, even if IMDS is unreachable for a while.

    Source:
    https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
    """
    if not attempt.transient:
        return None
    if attempt.gone:
        if attempt.elapsed >= policy.gone_retry_for:
            return None
        bound = grow_delay(attempt.number, policy.retry_first_delay, _GONE_DELAY)
        delay = uniform(bound / 2, bound)
    else:
        if attempt.number >= (
            policy.max_attempts if attempt.connected else policy.max_attempts_unreachable
        ):
            return None
        delay = draw_full_jitter(attempt.number, policy.retry_first_delay, math.inf, uniform)
    delay = max(delay, min(attempt.retry_after or 0.0, policy.max_retry_after))
    return delay if attempt.elapsed + delay < get_deadline(attempt, policy) else None


def decide_pause(
    failures: int,
    *,
    retry_after: float | None,
    permanent: bool,
    policy: RefreshPolicy,
    uniform: Uniform,
) -> tuple[float, float]:
    """Return the seconds after `failures` failed fetches in a row in which no fetch starts.

    Returns:
        The pause while a usable token is held, and the pause without one, in which each call raises
        the failure. The latter is only `failure_replay` after a permanent failure, because its
        cause may be repaired at any time.

    """
    demanded = min(retry_after or 0.0, policy.max_retry_after)
    share, least = uniform(0.5, 1.0), max(demanded, policy.failure_replay)
    usable = grow_delay(failures, policy.backoff_first, policy.backoff_max_usable)
    unusable = grow_delay(failures, policy.backoff_first, policy.backoff_max_unusable)
    pause = policy.failure_replay if permanent else max(least, share * unusable)
    return max(least, share * usable), pause
