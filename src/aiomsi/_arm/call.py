"""`Call`, the state of one ARM call, and the interfaces that it needs.

Credentials return tokens; `ProviderSupport` resolves api-versions and registers subscriptions.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, MutableMapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from aiomsi._arm.protocol.retry import is_read
from aiomsi._errors import AiomsiError, ArmConnectionError, ArmError, PreconditionFailedError
from aiomsi._tokens.access_token import AccessToken
from aiomsi._util.json import loads

if TYPE_CHECKING:
    from aiomsi._arm.protocol.api_versions import ResourceType
    from aiomsi._arm.protocol.pacing.lane import Ticket

_CONDITIONS = frozenset({"if-match", "if-none-match", "if-modified-since", "if-unmodified-since"})

E = TypeVar("E", bound=AiomsiError)


class TokenLike(Protocol):
    """The token that a credential's `get_token` returns."""

    @property
    def token(self) -> str:
        """The text of the token."""

    @property
    def expires_on(self) -> int:
        """The token's expiry, in seconds since the epoch."""


class AsyncCredential(Protocol):
    """The part of the Azure SDK's async credential protocol that a session uses."""

    async def get_token(self, *scopes: str, claims: str | None = None) -> TokenLike:
        """Return a token for the scope."""


class OwnCredential(Protocol):
    """A credential of this package: its callers share one fetch, and can reject a token."""

    async def get_token(self, *scopes: str, claims: str | None = None) -> AccessToken:
        """Return a token for the scope."""

    def reject(self, token: str | AccessToken) -> bool:
        """Reject a token that a service refused; return whether it was dropped."""

    async def close(self) -> None:
        """Close the credential."""


class NoResponse:
    """The reason why a request got no readable response.

    Attributes:
        why: the failure, as text.
        arrived: whether the request may have reached the server.
        untrusted: whether the server's certificate was refused.
        permanent: whether the same request would fail again in the same way.
        unreadable: whether a response was received in part, or could not be parsed.
        help: advice for the caller; empty for the usual advice.

    """

    # Each import creates this class, so it is plain.
    __slots__ = ("arrived", "help", "permanent", "unreadable", "untrusted", "why")

    def __init__(
        self,
        why: str,
        arrived: bool = True,
        untrusted: bool = False,
        permanent: bool = False,
        unreadable: bool = False,
        help: str = "",  # noqa: A002 (the attribute's name is the field's term)
    ) -> None:
        self.why = why
        self.arrived = arrived
        self.untrusted = untrusted
        self.permanent = permanent
        self.unreadable = unreadable
        self.help = help


def make_request_id() -> str:
    """Return a random GUID (version 4, variant a) as text.

    It takes a third of the time of `str(uuid.uuid4())`.
    """
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


class Call:
    """One call and its state.

    It is a plain class, and most of its attributes are class attributes, because setting them takes
    the largest part of a call's time before its request. It has no repr, because that would show
    the token and the signed query of the URL.

    Attributes:
        method: the HTTP verb.
        url: the encoded URL, sent byte for byte. Its query may be signed.
        headers: the request headers. The bearer token is set before each request.
        data: the encoded body, so that the caller may change its objects during the call.
        began: the start of the call, in monotonic time.
        kind: the resource type whose api-version is looked up; None if the caller named a version.
        lacks_version: whether that look-up is still outstanding.
        until: the end of the caller's time-out, in the event loop's time; None without one.
        timed: whether the caller limits the time of the whole call. Its requests then have no
            read time-out.
        lists: whether the call requests a page of a list, which is a read with any verb.
        attempts: the number of requests sent.
        throttled: the number of 429s among their responses.
        uncertain_error: the error of the last request that ARM may have carried out although it
            sent no usable response.
        pending_error: the same error, if a GET then found the resource in the middle of a change,
            so that the outcome of the request is still unknown.
        failed_checks: the number of failed GETs of the resource after an uncertain write.
        fixes: the number of api-versions replaced and subscriptions registered for this call.
        registered: by registration that this call needed, the monotonic time until which ARM may
            still deny it.
        fault: the status and code of the last error.
        repeats: the number of times in a row that `fault` occurred.
        unreadable: whether a response to this call was received but could not be read.
        excused: seconds that the rule's budget does not count: registrations, and waits for limits
            of ARM.
        bulk: whether the call is one of many, which wait until other calls are sent.
        waited: seconds spent in the queue, by all requests of the call.
        waited_for: the limit that a request of the call waited for longest; None if they only
            waited for a connection, or not at all.
        longest_limit_wait: seconds of that wait.
        missed_turn: the name of the thing that the call lacked when its wait in the queue was
            ended, for an error text; None without such an end.
        on_held: called with the call when it begins to wait for a limit, and not only for a
            connection; None to call no function.
        turn: the ticket of the next request, if its turn came before the call had a task.
        refused_ticket: the ticket of the last request, if a rate limit refused it or ARM its token.
            The next request then goes before all others that wait for the same limits.

    """

    kind: ResourceType | None = None
    lacks_version: bool = False
    until: float | None = None
    attempts: int = 0
    throttled: int = 0
    uncertain_error: ArmError | ArmConnectionError | None = None
    pending_error: ArmError | ArmConnectionError | None = None
    failed_checks: int = 0
    fixes: int = 0
    registered: Mapping[str, float] = MappingProxyType({})
    fault: tuple[int | None, str | None] | None = None
    repeats: int = 0
    unreadable: bool = False
    excused: float = 0.0
    bulk: bool = False
    waited: float = 0.0
    waited_for: str | None = None
    longest_limit_wait: float = 0.0
    missed_turn: str | None = None
    on_held: Callable[[Call], None] | None = None
    turn: Ticket | None = None
    refused_ticket: Ticket | None = None

    def __init__(
        self,
        method: str,
        url: str,
        headers: MutableMapping[str, str],
        data: bytes | None,
        began: float,
        timed: bool = False,
        lists: bool = False,
    ) -> None:
        self.method: str = method
        self.url: str = url
        self.headers: MutableMapping[str, str] = headers
        self.data: bytes | None = data
        self.began: float = began
        self.timed: bool = timed
        self.lists: bool = lists

    @property
    def sent(self) -> Any:
        """Decode the body: an empty object without a body, None if the body is not JSON."""
        if not self.data:
            return {}
        try:
            return loads(self.data)
        except ValueError:
            return None

    @property
    def reads(self) -> bool:
        """Return whether the call is a read."""
        return self.lists or is_read(self.method, self.url)

    @property
    def is_repeatable(self) -> bool:
        """Return whether a PUT or PATCH may be sent again although it may have been carried out.

        Three kinds may not. After a conditional write, its first request may have made the
        condition false. A JSON Patch may append the same item twice. If the response of a write
        could not be read, ARM has received the write, and a second response could not be read
        either.
        """
        conditional = any(name.lower() in _CONDITIONS for name in self.headers)
        return (
            not self.unreadable
            and not conditional
            and not (self.method == "PATCH" and isinstance(self.sent, list))
        )

    def mark_uncertain(self, error: E) -> E:
        """Mark the error that ends the call if ARM may have carried out an earlier request."""
        earlier = self.uncertain_error
        return error if earlier is None else mark_uncertain(error, earlier)

    def renew_budget(self, now: float) -> None:
        """Restart the call's time limits, after a wait for the end of another change.

        The budget, the caller's time-out and the excused time are all reset.
        """
        self.began, self.excused, self.until, self.pending_error = now, 0.0, None, None

    def renew_id(self) -> None:
        """Use a new request id, because ARM may repeat its old response to a known id."""
        self.headers["x-ms-client-request-id"] = make_request_id()


def mark_uncertain(error: E, earlier: ArmError | ArmConnectionError) -> E:
    """Mark the error that ends a call whose `earlier` request ARM may have carried out."""
    error.uncertain = True
    if error is earlier:
        return error
    # Frames would keep the whole call alive.
    error.earlier = earlier.with_traceback(None)
    # The help of a 412 is for another client's change, that of an unsent request for a call that
    # sent none.
    kept = "" if isinstance(error, PreconditionFailedError) else error.help
    if isinstance(error, ArmConnectionError) and not error.arrived:
        error.arrived, kept = True, ""
    advice = (
        f"An earlier attempt of this call may have done it: {earlier.args[0]}. "
        "Look at the resource before you repeat it"
    )
    error.help = f"{advice}. {kept}" if kept else advice
    return error


class ProviderSupport(Protocol):
    """Fixes the causes of errors that concern resource providers."""

    async def resolve_api_version(self, call: Call, kind: ResourceType) -> None:
        """Look up the api-version that the call lacks, and set it."""

    async def fix(self, call: Call, error: ArmError) -> bool:
        """Fix the cause of an error, if possible; return whether to send the call again."""
