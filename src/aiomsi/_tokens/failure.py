"""`Failure`, a failed fetch as a value, and the failures of this package itself. No I/O."""

from typing import Any

import attrs

from aiomsi._errors import CredentialError, TokenUnavailableError
from aiomsi._util.foreign import strip_secrets


@attrs.frozen(eq=False, repr=False)
class Failure:
    """A failed fetch as a value, from which each caller creates a separate exception.

    Attributes:
        error: the class of the exception.
        kind: a word for the statistics, for example ``"throttled"``.
        summary: the exception's text.
        help: its advice.
        details: further keyword arguments of the exception.
        permanent: whether another request is known to fail in the same way.
        retry_after: seconds until the next request, as the response or the inner credential
            demands.
        from_host: whether `retry_after` is the host's `Retry-After`, and so holds for the other
            slots of that host too.

    """

    error: type[CredentialError]
    kind: str
    summary: str
    help: str = ""
    details: dict[str, Any] = attrs.field(factory=dict)
    permanent: bool = False
    retry_after: float | None = None
    from_host: bool = False

    def exception(self, retry_after: float | None = None) -> CredentialError:
        """Create a new exception; `retry_after` is the time until the next request to the host."""
        return self.error(self.summary, help=self.help, retry_after=retry_after, **self.details)


class SlotOrigin:
    """The host of a slot, for the errors that the slot raises.

    Attributes:
        host: the kind of the host.
        endpoint: the address of its token endpoint.
        choice: a sentence with the reason of its choice.

    """

    # Each import creates this class, so it is plain.
    __slots__ = ("choice", "endpoint", "host")

    def __init__(self, host: str, endpoint: str, choice: str) -> None:
        self.host: str = host
        self.endpoint: str = endpoint
        self.choice: str = choice

    def complete(self, error: CredentialError) -> None:
        """Add the host to an error, which may have arisen before a request or without one."""
        error.help = f"{error.help}. {self.choice}" if error.help else self.choice
        error.host, error.endpoint = error.host or self.host, error.endpoint or self.endpoint


LOST_FAILURE = Failure(
    TokenUnavailableError,
    "lost",
    "the token request was cancelled or its event loop is gone, several times in a row",
    "Look for code that cancels all tasks of a loop, or blocks it for seconds",
)
OVERDUE_FAILURE = Failure(TokenUnavailableError, "overdue", "the token request did not end in time")
UNSETTLED_FAILURE = Failure(
    TokenUnavailableError,
    "unsettled",
    "the token was rejected or replaced again and again while this call waited for it",
)


def make_unexpected_failure(error: Exception) -> Failure:
    """Return the failure for an exception that a fetch raised; it keeps the text only."""
    return Failure(
        TokenUnavailableError,
        "unexpected",
        f"the fetch of a token failed with {type(error).__name__}: {strip_secrets(str(error))}",
    )


def make_held_off_failure(name: str) -> Failure:
    """Return the failure of a call for which another slot's `Retry-After` lasts too long.

    The failure holds no text of the response with the `Retry-After`, which belongs to the other
    slot.
    """
    return Failure(
        TokenUnavailableError,
        "held off",
        f"no request was sent for {name}, because its host asked clients to retry later",
    )


def make_nearly_expired_failure(life: float) -> Failure:
    """Return the failure of a fetch whose token lives for only `life` more seconds."""
    return Failure(
        TokenUnavailableError,
        "expired",
        f"the token endpoint handed out a token with {max(life, 0.0):.0f} s left to live",
        "If that goes on, check this machine's clock",
    )
