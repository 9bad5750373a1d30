"""The numbers behind every decision about tokens, in one value that can be replaced."""

import math

import attrs

from aiomsi._errors import ConfigurationError


@attrs.frozen
class Policy:
    """When a token is refreshed, when callers wait for that, and how long anything may take. All times in seconds.

    Attributes:
        late: this long before expiry callers begin to wait for a refresh that is due,
        late_wait: but no longer than this,
        late_reserve: and never into the last seconds of the old token, of which this many stay.
        expired: a token with this little life left is not handed out any more,
        delivery: and one that is received must have this much more, so that it reaches its callers.
        long_life: tokens that live at least this long are refreshed at `half` of their life, others
            at `most` of it.
        jitter: the refresh point is moved by up to this share of itself either way, drawn once per
            token.
        same_again: the earliest next refresh after the host has handed the same token out once
            more.
        replay: the least time for which a failure is told to every caller without asking again.
        backoff: the first wait after a failed fetch; it doubles with each further failure.
        backoff_served: the longest such wait while a usable token is served,
        backoff_unserved: and without one.
        retry_after: the longest `Retry-After` that is obeyed.
        confirmed: for how long no rejection of a token that the host has confirmed starts a fetch;
            doubles each time.
        losses_stale: after this many flights in a row that were lost with no caller waiting,
        because their event loops ended, a caller with a STALE token waits for the next one as if it
            were LATE.
        ping: a loop that has not answered for this long has lost its fetch. elections: how often in
        a row a lost fetch is begun again at once, for one caller and for all of them. tries: how
        many requests one fetch sends at the most, first_delay: and the upper end of the random wait
        before the second one; it doubles with each further one. connect, read: the time-outs of one
        request. deadline: how long one fetch may take, without the time in which its event loop was
        blocked or it waited for a turn, gate: and which share of that it may spend waiting at a
        host-wide gate before it goes on without it.
        tries_unreachable, deadline_unreachable: the same two while no connection was ever made.
        gone: an answer of 410 is asked again for at least this long; `deadline_gone` is the deadline then.
        longest: follows from these; whatever the host answers, a fetch is over by then.
        key: all numbers that were passed. Equal policies have equal keys, and a tuple is hashed faster.

    Raises:
        ConfigurationError: a number that is none, or makes no sense.

    """

    late: float = 120.0
    late_wait: float = 5.0
    late_reserve: float = 15.0
    expired: float = 10.0
    delivery: float = 1.0
    long_life: float = 7200.0
    half: float = 0.5
    most: float = 0.8
    jitter: float = 0.1
    same_again: float = 60.0
    replay: float = 0.25
    backoff: float = 1.0
    backoff_served: float = 60.0
    backoff_unserved: float = 5.0
    retry_after: float = 60.0
    confirmed: float = 60.0
    losses_stale: int = 3
    ping: float = 2.0
    elections: int = 4
    tries: int = 5
    first_delay: float = 1.0
    connect: float = 2.0
    read: float = 10.0
    deadline: float = 30.0
    gate: float = 2 / 3
    tries_unreachable: int = 3
    deadline_unreachable: float = 8.0
    gone: float = 70.0
    deadline_gone: float = 90.0

    longest: float = attrs.field(init=False, default=0.0, repr=False)
    key: tuple[float, ...] = attrs.field(init=False, default=(), repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        given = {
            field.name: getattr(self, field.name)
            for field in attrs.fields(type(self))
            if field.init
        }
        for name, value in given.items():
            least = 1 if name in ("tries", "tries_unreachable") else 0
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not least <= value < math.inf
            ):
                msg = f"Policy({name}={value!r}): it must be a number, {least} or more"
                raise ConfigurationError(msg)
        for name in ("half", "most", "jitter"):
            if getattr(self, name) >= 1:
                msg = f"Policy({name}={getattr(self, name)!r}): it is a share, and less than 1"
                raise ConfigurationError(msg)
        object.__setattr__(self, "key", tuple(given.values()))
        object.__setattr__(self, "longest", max(self.deadline, self.deadline_gone) + self.ping)


DEFAULT_POLICY = Policy()
