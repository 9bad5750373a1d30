"""What a credential tells of itself."""

import attrs

from aiomsi._tokens.token import TokenIdentity


@attrs.frozen
class SlotStats:
    """What one slot has done so far, and where it stands. Times in seconds.

    Attributes:
        state: the state of the token: ``"none"``, ``"fresh"``, ``"stale"``, ``"late"`` or
            ``"expired"``.
        expires_in: life left of the token, None without one.
        fetches: fetches begun.
        joined: callers that waited for a fetch which somebody else had begun.
        served_stale: calls answered with a token that was due for a refresh.
        failures: failed fetches by kind.
        failing: failed fetches since the last good one.
        next_attempt: time until the host may be asked again; 0 if it may be asked now.
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
