"""The time at which a process may send its next request to a host with limits. No I/O.

IMDS responds 429 to more than 20 token requests in any second, and to more than 5 at once, from one
VM. One process that uses many identities therefore sends its requests in turn.

The slots of one process see all of its responses, in contrast to the processes at a host-wide gate
(`gate_schedule`). So the decision is exact and does not need a fixed spacing. A request arrives at
the host after it was sent and before its response is received. The requests that may count in the
host's current window are those under way, and those whose response was received less than `WINDOW`
ago. If these are fewer than `per_second`, the window has room for one more.

A request that has to wait is decided on again after the returned delay. The requests ahead of it
count, so requests are sent in order. A request that is overdue by more than `GRACE` belongs to an
event loop that is blocked or gone, and no longer counts. A request without a response no longer
counts after `LEASE`. No request has to be woken by another one, so an event loop that never runs
again delays no request of another loop.

Source:
https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token#rate-limits
"""

WINDOW = 1.0
POLL, PATIENCE = 0.02, 0.25
"""The first waiting request checks whether a request under way has ended after the longer of two
times: `POLL`, and `PATIENCE` times the age of the youngest request."""
GRACE = 0.5
LEASE = 15.0


class RequestLimits:
    """The limits of one host for the requests of this process.

    Attributes:
        per_second: requests in any second.
        at_once: requests under way at the same time.

    """

    # Each import creates this class, so it is plain.
    __slots__ = ("at_once", "per_second")

    def __init__(self, per_second: int, at_once: int) -> None:
        self.per_second: int = per_second
        self.at_once: int = at_once


class Load:
    """The load of a host by this process, as far as it concerns the next request.

    Attributes:
        ahead: requests that came earlier and still wait.
        under_way: requests that were sent and have no response yet.
        youngest: seconds since the last of the requests under way was sent.
        responses: the times of the last responses on the monotonic clock, in order.

    """

    def __init__(
        self,
        ahead: int = 0,
        under_way: int = 0,
        youngest: float = 0.0,
        responses: tuple[float, ...] = (),
    ) -> None:
        self.ahead, self.under_way = ahead, under_way
        self.youngest, self.responses = youngest, responses


def get_request_delay(load: Load, limits: RequestLimits, now: float) -> float:
    """Return the seconds until the next decision about a request; 0 if it may be sent now."""
    recent = [at for at in load.responses if at > now - WINDOW]
    room_in_window = limits.per_second - load.under_way - len(recent)
    room_at_once = limits.at_once - load.under_way
    if load.ahead < min(room_in_window, room_at_once):
        return 0.0
    # This many requests under way must end first; each of them gets the time of one check.
    must_end = load.ahead - room_at_once + 1
    # The index in `recent` of the response that must leave the window first. If it is negative, the
    # window has room.
    must_leave = load.ahead - room_in_window
    if must_leave < 0:
        return max(POLL, load.youngest * PATIENCE) * must_end
    if must_leave < len(recent):
        return max(recent[must_leave] + WINDOW - now, POLL)
    # That response has not been received yet. After the last one of `recent`, estimate one response
    # for each interval that the limit demands.
    last = recent[-1] + WINDOW - now if recent else 0.0
    return max(last + (must_leave - len(recent)) * WINDOW / limits.per_second, POLL)
