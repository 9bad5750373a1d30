"""Access tokens and their freshness, as values and pure functions of (token, now). No I/O."""

import enum
import sys
from types import ModuleType

import attrs

from aiomsi._azure_core import CREDENTIALS
from aiomsi._tokens.access_token import AccessToken, AccessTokenInfo
from aiomsi._tokens.policy import RefreshPolicy
from aiomsi._util.jitter import Uniform
from aiomsi._util.lazy import late_import
from aiomsi._util.secret import Secret

BEARER = "Bearer"


class Now:
    """One reading of both clocks, in seconds."""

    # Each import creates this class, so it is plain.
    __slots__ = ("monotonic", "wall")

    def __init__(self, wall: float, monotonic: float) -> None:
        self.wall: float = wall
        self.monotonic: float = monotonic


class Freshness(enum.Enum):
    """The usability of a slot's token."""

    NONE = "none"
    FRESH = "fresh"
    STALE = "stale"
    LATE = "late"
    EXPIRED = "expired"

    @property
    def usable(self) -> bool:
        """Whether the token may be handed out."""
        return self in (Freshness.FRESH, Freshness.STALE, Freshness.LATE)


@attrs.frozen(eq=False, repr=False)
class TokenResponse:
    """A token as an endpoint returned it, before it is dated.

    Attributes:
        secret: the token.
        life: seconds from receipt to expiry.
        expires_on: the expiry as the endpoint sent it, in epoch seconds; None if this machine's
            clock disagrees with it.
        refresh_in: seconds after which the endpoint recommends a refresh, None without one.
        token_type: ``"Bearer"``.
        client_id: the identity's client id as the endpoint sent it, None without one.

    """

    secret: Secret
    life: float
    expires_on: int | None = None
    refresh_in: float | None = None
    token_type: str = BEARER
    client_id: str | None = None


@attrs.frozen(eq=False, repr=False)
class Token(AccessToken, AccessTokenInfo):
    """A token with its times, as a slot holds it.

    Without azure-core this object itself is returned to callers; the public attributes are
    described in `AccessToken`.
    """

    # This class has a repr already. `repr=False` hides a field from other code that displays attrs
    # classes, such as rich's pretty printer.
    token: str = attrs.field(repr=False)
    expires_on: int
    refresh_on: int
    token_type: str = BEARER
    authorization: Secret = attrs.field(repr=False, kw_only=True)
    _ends_wall: float = attrs.field(repr=False, kw_only=True)
    _ends_monotonic: float = attrs.field(repr=False, kw_only=True)
    # The token is due for a refresh once either clock shows this many seconds left, or fewer. One
    # point in time would hold for one of the clocks only.
    _refresh_left: float = attrs.field(repr=False, kw_only=True)
    _client_id: str | None = attrs.field(repr=False, kw_only=True, default=None)
    # The module `azure.core.credentials`, and this token as an instance of its class. Both are None
    # until `to_azure_core` sets them.
    azure: tuple[ModuleType | None, AccessToken | None] = attrs.field(
        repr=False, init=False, default=(None, None)
    )

    def to_azure_core(self) -> AccessToken:
        """Return the token as an instance of azure-core's class, or itself without that class.

        Later callers read `azure`, and need not call this unless the module is another one.
        """
        module = sys.modules.get(CREDENTIALS)
        base = getattr(module, "AccessToken", None)
        # While another thread imports the module, it may lack `AccessTokenInfo`, which would be
        # missed until the next token.
        is_partial = getattr(getattr(module, "__spec__", None), "_initializing", False)
        if base is None or is_partial:
            return self
        with late_import:
            from aiomsi._tokens.azure_token import make_access_token

        made = make_access_token(self, base, getattr(module, "AccessTokenInfo", None))
        object.__setattr__(self, "azure", (module, made))
        return made

    def left(self, now: Now) -> float:
        """Return the seconds left, by the clock that shows fewer."""
        return min(self._ends_wall - now.wall, self._ends_monotonic - now.monotonic)

    def is_fresh(self, wall: float, monotonic: float) -> bool:
        """Return whether the token is usable and not yet due for a refresh."""
        return self._ends_wall - wall > self._refresh_left < self._ends_monotonic - monotonic

    def redraw(self, policy: RefreshPolicy, uniform: Uniform) -> "Token":
        """Return the same token with a later random refresh point.

        Without that, all children of a fork would refresh at the same time.
        """
        left = self._refresh_left * uniform(1 - policy.refresh_jitter, 1)
        left = max(left, policy.expired_before_expiry)
        return attrs.evolve(self, refresh_left=left)  # type: ignore[misc]  # mypy sees a tuple


def get_freshness(token: Token | None, now: Now, policy: RefreshPolicy) -> Freshness:
    """Return the freshness of a slot's token.

    A token that is not yet due for a refresh is FRESH however short its life, because no refresh
    is under way that a caller could wait for.
    """
    if token is None:
        return Freshness.NONE
    left = token.left(now)
    if left <= policy.expired_before_expiry:
        return Freshness.EXPIRED
    if token.is_fresh(now.wall, now.monotonic):
        return Freshness.FRESH
    return Freshness.LATE if left <= policy.late_before_expiry else Freshness.STALE


def draw_refresh_delay(
    response: TokenResponse, *, same_again: bool, policy: RefreshPolicy, uniform: Uniform
) -> float:
    """Return the seconds after which the token is due for a refresh. Random, so call it once.

    The random part only adds to a delay that the host recommends (`refresh_in`), because the host
    may return the same token before that.
    """
    if same_again:
        return max(policy.reissued_min_delay, response.life * policy.refresh_share_long)
    latest = response.life - policy.late_before_expiry
    if (
        response.refresh_in is not None
        and 0 < response.refresh_in <= latest
        and policy.reissued_min_delay <= latest
    ):
        return min(
            max(
                response.refresh_in * uniform(1, 1 + policy.refresh_jitter),
                policy.reissued_min_delay,
            ),
            latest,
        )
    share = (
        policy.refresh_share_long
        if response.life >= policy.long_life
        else policy.refresh_share_short
    )
    return response.life * share * uniform(1 - policy.refresh_jitter, 1 + policy.refresh_jitter)


def make_token(
    response: TokenResponse, now: Now, *, same_again: bool, policy: RefreshPolicy, uniform: Uniform
) -> Token:
    """Create the token of a response that was received at `now`."""
    after = draw_refresh_delay(response, same_again=same_again, policy=policy, uniform=uniform)
    ends = now.wall + response.life
    # 36 s for a token of one hour, 60 s for one of a day. A call at `refresh_on` is after this
    # package's own refresh point, even if the two clocks differ by a little.
    grace = min(60.0, response.life * 0.01)
    return Token(
        token=str(response.secret),
        expires_on=int(ends) if response.expires_on is None else response.expires_on,
        refresh_on=int(min(now.wall + after + grace, ends)),
        token_type=response.token_type,
        authorization=Secret(f"{response.token_type} {response.secret}"),
        ends_wall=ends,
        ends_monotonic=now.monotonic + response.life,
        refresh_left=max(response.life - after, policy.expired_before_expiry),
        client_id=response.client_id,
    )
