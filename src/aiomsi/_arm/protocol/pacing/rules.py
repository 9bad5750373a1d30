"""The numbers of pacing, each with its reason.

They were chosen in simulation. Most of them may be changed by half without much effect, because
each answer corrects the forecasts.
"""

from __future__ import annotations

import attrs


@attrs.frozen(eq=False, repr=False)
class PacingRules:
    """The numbers by which meters and the pacer decide.

    Attributes:
        first_window: requests of an unknown limit that may be under way at once. Several processes
            that start together would otherwise empty the bucket several times over.
        full_window: requests under way from which on the window limits no longer. It is the
            smallest number of connections.
        uncounted_window: requests of a limit without counts that may be under way at once. Its
            first 429 comes without a warning, and those under way may all be refused.
        unrefused_share: requests under way for each success of a limit without counts and 429s. It
            raises that window up to `full_window`, because many successes show that the limit is
            large.
        uncounted_share: the same for each success since the last 429, without an upper bound: the
            429s at the end are few among so many requests.
        window_after_pause: requests under way after a 429, whose own count is not known.
        caution: tokens set aside for each request without a known count. Other clients see the
            same count at the same moment, so that a client may take half of it.
        rivals_after: requests between two counts that show how many tokens go for one request. The
            quotient of fewer is mostly noise.
        rivals_weight: the weight of a new measurement of these tokens.
        most_rivals: the largest number of tokens per request that is believed, so that one burst of
            another client does not stop this one.
        reserve: tokens that stay in the bucket for the rounding of counts and reordered requests.
        plenty: share of the largest count above which the bucket is as good as full, so that
            learning from it would cost time and yield nothing.
        trust: share of the good news in a count that is believed. Other clients see it as well.
        refill_share: refill per second as a share of the largest count, until it is measured. ARM's
            documented buckets refill a tenth; half of it is safe.
        least_refill: the lowest refill that is assumed, per second. ARM's own buckets have more.
        most_refill: the highest refill that is assumed, per second.
        slowest_refill: share of the assumed refill that counts even if less was measured, so that
            the measurement, which includes the draws of other clients, never stops this client.
        learn_after: seconds between two counts that show the refill.
        refill_weight: the weight of a new measurement of the refill.
        stock: seconds of refill that a bucket holds at the least. A bucket may be nearly empty when
            its count is first seen.
        silence: seconds without a request after which one goes although the forecast says no.
        silence_when_empty: the same seconds if the last count was 0, because a request on an empty
            bucket is refused.
        rare: share of the requests below which a region's bucket delays no request.
        memory: answers over which the shares of the regions are averaged.
        pause: seconds of a pause for a 429 that names no wait.
        longest_pause: seconds to which pauses double while 429s follow one another.
        longest_asked_pause: seconds of the longest wait that is obeyed.
        jitter: the constant part of the random seconds after a pause, in which clients that were
            refused together return one by one.
        jitter_share: the part of these random seconds that is a share of the pause.
        most_jitter: the most random seconds after a pause.
        growth_time: seconds without a 429 after which a learned rate has doubled.
        growth_requests: requests within which a learned rate does not double, so that a slow rate
            grows slowly.
        long_queue: multiple of the average queue from which on a lane is long.
        urgent_run: urgent requests in a row after which a waiting bulk request is sent, so that
            single calls never stop a fan-out.
        forget_after: seconds without a request after which a limit is forgotten if its bucket must
            be full.
        forget_at_last: seconds without a request after which any limit is forgotten.
        throughput: requests per second that the number of connections is chosen for; one process
            sends hardly more.
        connection_growth: factor by which the number of connections grows at the most in a step.
        least_growth: factor by which the number grows at the least in a step. Every step opens
            connections, and a client that is nearly busy without them gains nothing.
        growth_period: seconds after which a step may be decided at the earliest; the clock of CPU
            time is coarse on some systems.
        judged_period: seconds over which the responses are counted at the least to judge a step, so
            that a busy moment of the machine decides nothing.
        busy: share of the time in which the client's thread runs, above which no step is taken.
        headroom: multiple of the connections that would just keep the client busy, because
            responses do not come evenly.
        growth_pays: share of the connections of a step by which the responses per second must grow
            at the least, else the step is taken back.
        growth_pause: seconds until the next step after one that was taken back.
        latency_weight: the weight of a new latency in the average that this choice needs.

    """

    first_window: int = 16
    full_window: int = 128
    uncounted_window: int = 64
    unrefused_share: float = 1 / 4
    uncounted_share: float = 1 / 32
    window_after_pause: int = 1
    caution: float = 2.0
    rivals_after: float = 8.0
    rivals_weight: float = 0.3
    most_rivals: float = 16.0
    reserve: float = 2.0
    plenty: float = 0.9
    trust: float = 0.25
    refill_share: float = 0.05
    least_refill: float = 10.0
    most_refill: float = 50.0
    slowest_refill: float = 0.1
    learn_after: float = 1.0
    refill_weight: float = 0.3
    stock: float = 10.0
    silence: float = 1.0
    silence_when_empty: float = 5.0
    rare: float = 0.01
    memory: int = 60
    pause: float = 1.0
    longest_pause: float = 60.0
    longest_asked_pause: float = 3600.0
    jitter: float = 0.25
    jitter_share: float = 0.05
    most_jitter: float = 2.0
    growth_time: float = 5.0
    growth_requests: float = 10.0
    long_queue: float = 2.0
    urgent_run: int = 16
    forget_after: float = 120.0
    forget_at_last: float = 3600.0
    throughput: float = 5_000.0
    connection_growth: float = 4.0
    least_growth: float = 1.4
    growth_period: float = 0.05
    judged_period: float = 0.5
    busy: float = 0.75
    headroom: float = 1.5
    growth_pays: float = 0.25
    growth_pause: float = 30.0
    latency_weight: float = 0.01


ARM_RULES = PacingRules()
"""The rules for the limits of ARM itself."""
PROVIDER_RULES = PacingRules(first_window=4, least_refill=1.0)
"""The rules for the limits of a resource provider, which may be small and slow."""
