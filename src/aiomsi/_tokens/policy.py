"""The numbers behind every decision about tokens, in one value that can be replaced. No I/O."""

import math

import attrs

from aiomsi._errors import ConfigurationError
from aiomsi._util.deprecation import rename_fields

_FORMER_NAMES = {
    "late": "late_before_expiry",
    "expired": "expired_before_expiry",
    "delivery": "delivery_margin",
    "half": "refresh_share_long",
    "most": "refresh_share_short",
    "jitter": "refresh_jitter",
    "same_again": "reissued_min_delay",
    "replay": "failure_replay",
    "backoff": "backoff_first",
    "backoff_served": "backoff_max_usable",
    "backoff_unserved": "backoff_max_unusable",
    "retry_after": "max_retry_after",
    "confirmed": "rejection_hold_off",
    "losses_stale": "max_unattended_losses",
    "ping": "loop_ping_timeout",
    "elections": "max_restarts",
    "tries": "max_attempts",
    "first_delay": "retry_first_delay",
    "connect": "connect_timeout",
    "read": "read_timeout",
    "deadline": "fetch_deadline",
    "gate": "gate_share",
    "tries_unreachable": "max_attempts_unreachable",
    "deadline_unreachable": "fetch_deadline_unreachable",
    "gone": "gone_retry_for",
    "deadline_gone": "fetch_deadline_gone",
    "longest": "longest_fetch",
}


@rename_fields(_FORMER_NAMES)
@attrs.frozen(eq=False, repr=False)
class RefreshPolicy:
    """When a token is refreshed, when callers wait for that, and how long a fetch may take.

    All times are in seconds.

    Attributes:
        late_before_expiry: callers wait for a due refresh from this long before expiry.
        late_wait: longest wait of a caller for a due refresh while the token is still valid.
        late_reserve: the wait for a due refresh ends at least this long before the token expires.
        expired_before_expiry: a token with this much life left, or less, is not returned.
        delivery_margin: a received token must live this much longer than `expired_before_expiry`,
            so that it reaches its callers.
        long_life: a token that lives at least this long is refreshed after `refresh_share_long` of
            its life, any other after `refresh_share_short`.
        refresh_share_long: the share of its life after which a long-lived token is refreshed.
        refresh_share_short: the share of its life after which any other token is refreshed.
        refresh_jitter: the refresh is moved earlier or later by a random part of its delay, at most
            this share. The part is drawn once per token. A `refresh_in` of the host is only moved
            later.
        reissued_min_delay: least delay of the next refresh after the host returned the same token
            again.
        failure_replay: least time for which a failure is raised to all callers without a new fetch.
        backoff_first: the first back-off after a failed fetch; it doubles with each further
            failure.
        backoff_max_usable: longest back-off while a usable token is served.
        backoff_max_unusable: longest back-off without a usable token.
        max_retry_after: longest `Retry-After` that is obeyed; a longer one counts as this long.
        rejection_hold_off: after the host confirmed a rejected token, further rejections of that
            token start no fetch for this long. The time doubles with each confirmation.
        max_unattended_losses: how many flights in a row may be lost because their event loops end
            while no caller waits. After that many, a caller with a STALE token waits for the next
            flight as if the token were LATE.
        loop_ping_timeout: an event loop that does not respond for this long has lost its fetch.
        max_restarts: how often in a row a lost fetch is started again at once, for one caller and
            for all of them.
        max_attempts: most requests of one fetch.
        retry_first_delay: upper bound of the random delay before the second request; it doubles
            with each further request.
        connect_timeout: time-out of the connection of one request.
        read_timeout: time-out of each read from the connection of one request.
        fetch_deadline: longest duration of one fetch. The time in which its event loop was blocked,
            or in which it waited for a turn, does not count.
        gate_share: the share of `fetch_deadline` for which a fetch waits at a host-wide gate before
            it continues without the gate.
        max_attempts_unreachable: `max_attempts` as long as no connection was made.
        fetch_deadline_unreachable: `fetch_deadline` as long as no connection was made.
        gone_retry_for: least time for which a request is repeated after a 410.
        fetch_deadline_gone: `fetch_deadline` after a 410.
        longest_fetch: computed from the other fields; a fetch is over by then, whatever the host
            responds.
        key: the values of the other fields but `longest_fetch`. Equal policies have equal keys, and
            a tuple is hashed faster than a policy.

    Raises:
        ConfigurationError: a value is not a finite number, or is out of range.

    """

    late_before_expiry: float = 120.0
    late_wait: float = 5.0
    late_reserve: float = 15.0
    expired_before_expiry: float = 10.0
    delivery_margin: float = 1.0
    long_life: float = 7200.0
    refresh_share_long: float = 0.5
    refresh_share_short: float = 0.8
    refresh_jitter: float = 0.1
    reissued_min_delay: float = 60.0
    failure_replay: float = 0.25
    backoff_first: float = 1.0
    backoff_max_usable: float = 60.0
    backoff_max_unusable: float = 5.0
    max_retry_after: float = 60.0
    rejection_hold_off: float = 60.0
    max_unattended_losses: int = 3
    loop_ping_timeout: float = 2.0
    max_restarts: int = 4
    max_attempts: int = 5
    retry_first_delay: float = 1.0
    connect_timeout: float = 2.0
    read_timeout: float = 10.0
    fetch_deadline: float = 30.0
    gate_share: float = 2 / 3
    max_attempts_unreachable: int = 3
    fetch_deadline_unreachable: float = 8.0
    gone_retry_for: float = 70.0
    fetch_deadline_gone: float = 90.0

    longest_fetch: float = attrs.field(init=False, default=0.0)
    key: tuple[float, ...] = attrs.field(init=False, default=())

    def __attrs_post_init__(self) -> None:
        given = {
            field.name: getattr(self, field.name)
            for field in attrs.fields(type(self))
            if field.init
        }
        for name, value in given.items():
            least = 1 if name in ("max_attempts", "max_attempts_unreachable") else 0
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not least <= value < math.inf
            ):
                msg = f"RefreshPolicy({name}={value!r}): it must be a number, {least} or more"
                raise ConfigurationError(msg)
        for name in ("refresh_share_long", "refresh_share_short", "refresh_jitter"):
            if given[name] >= 1:
                msg = f"RefreshPolicy({name}={given[name]!r}): it is a share, and less than 1"
                raise ConfigurationError(msg)
        deadline = max(self.fetch_deadline, self.fetch_deadline_gone)
        object.__setattr__(self, "key", tuple(given.values()))
        object.__setattr__(self, "longest_fetch", deadline + self.loop_ping_timeout)

    # attrs would generate these three for 30 fields each time that the package is imported.

    def __repr__(self) -> str:
        names = (field.name for field in attrs.fields(type(self)) if field.init)
        return f"RefreshPolicy({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


DEFAULT_POLICY = RefreshPolicy()
