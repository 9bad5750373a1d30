"""A call on its way, and the parts that others play in it: those who give tokens, and the one who takes causes of errors away."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import attrs

from aiomsi._arm.protocol.links import path_of
from aiomsi._arm.protocol.retry import reads
from aiomsi._errors import AiomsiError, ArmConnectionError, ArmError, PreconditionFailedError
from aiomsi._tokens.token import AccessToken
from aiomsi._util.json import loads

if TYPE_CHECKING:
    from aiomsi._arm.protocol.api_versions import ResourceType

_CONDITIONS = frozenset({"if-match", "if-none-match", "if-modified-since", "if-unmodified-since"})

E = TypeVar("E", bound=AiomsiError)


class TokenLike(Protocol):
    """What a credential's `get_token` gives."""

    @property
    def token(self) -> str:
        """The token."""

    @property
    def expires_on(self) -> int:
        """When it ends, in seconds since the epoch."""


class AsyncCredential(Protocol):
    """A credential by the Azure SDK's async protocol, as far as a session uses it."""

    async def get_token(self, *scopes: str, claims: str | None = None) -> TokenLike:
        """Give a token for the scope."""


class OwnCredential(Protocol):
    """A credential of this package: all its callers share one fetch, and a token of its can be rejected."""

    async def get_token(self, *scopes: str, claims: str | None = None) -> AccessToken:
        """Give a token for the scope."""

    def reject(self, token: str | AccessToken) -> bool:
        """Say that this token was not accepted."""

    async def close(self) -> None:
        """Give up the interest in its tokens."""


@attrs.frozen
class NoResponse:
    """Why a request got no response that can be read.

    Attributes:
        why: what happened.
        arrived: whether the request may have reached the server.
        untrusted: whether the certificate of the other side was not accepted.
        permanent: whether the same request would fail again in the same way.
        unreadable: whether a response came that could not be parsed, or only a part of one.
        help: what to do about it; empty for the usual advice.

    """

    why: str
    arrived: bool = True
    untrusted: bool = False
    permanent: bool = False
    unreadable: bool = False
    help: str = ""


def _path_alone(url: str) -> str:
    return repr(url.partition("?")[0])


def new_request_id() -> str:
    """Give a random GUID (version 4, variant a), in a third of the time that `uuid.uuid4` takes to be a text."""
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


@attrs.define(eq=False)
class Call:
    """One call, with what has become of it so far.

    Attributes:
        url: encoded; it goes out byte for byte. Its query may be signed.
        data: the body as it is sent; encoded, because the caller may change its own objects
            meanwhile.
        kind: the resource type whose api-version is looked up; None: the caller has named one.
        lacks_version: whether that is still to be done.
        until: when it has to be over, in the loop's time.
        lists: whether it requests a page of a list, which changes nothing, whatever the verb.
        timed: whether its caller limits its time in any case, so that its requests may be silent
            for as long as that.
        attempts: requests sent.
        doubt: what the last of them met that may have been carried out although it brought no
            answer to go by.
        unsettled: the same, where the answer is a look at a resource that is being changed, so that
            the doubt remains.
        failed_looks: how many requests failed that were to show whether the call was carried out.
        fixes: how often an api-version was replaced, or a subscription registered, for this call.
        registered: for each registration that this call needed, until when ARM may still deny it.
        fault, repeats: the last error's status and code, and how often in a row it came.
        unreadable: whether a response to a request of this call came that could not be read.
        excused: seconds that registrations took: the rule's budget does not count them.

    """

    method: str
    url: str = attrs.field(repr=_path_alone)
    headers: MutableMapping[str, str] = attrs.field(repr=False)
    data: bytes | None = attrs.field(repr=False)
    began: float
    kind: ResourceType | None = None
    lacks_version: bool = False
    until: float | None = None
    timed: bool = False
    lists: bool = False
    attempts: int = 0
    doubt: ArmError | ArmConnectionError | None = None
    unsettled: ArmError | ArmConnectionError | None = None
    failed_looks: int = 0
    fixes: int = 0
    registered: dict[str, float] = attrs.field(factory=dict, repr=False)
    fault: tuple[int | None, str | None] | None = None
    repeats: int = 0
    unreadable: bool = False
    excused: float = 0.0

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
        """Return whether the call changes nothing."""
        return self.lists or reads(self.method, path_of(self.url))

    @property
    def is_repeatable(self) -> bool:
        """Return whether a PUT or PATCH may be sent again although it may have been carried out.

        A conditional write may not: its own first request makes the condition false. A JSON Patch
        may append twice. A write with an unreadable response has reached ARM, and a second
        response would be as unreadable.
        """
        conditional = any(name.lower() in _CONDITIONS for name in self.headers)
        return (
            not self.unreadable
            and not conditional
            and not (self.method == "PATCH" and isinstance(self.sent, list))
        )

    def in_doubt(self, error: E) -> E:
        """Mark the error that ends the call if ARM may have carried out an earlier request."""
        doubt = self.doubt
        if doubt is None:
            return error
        error.uncertain = True
        if error is doubt:
            return error
        # Without its frames, which would keep the whole call alive.
        error.earlier = doubt.with_traceback(None)
        # The help of a 412 presumes another client's change; that of an unsent request, no change.
        kept = "" if isinstance(error, PreconditionFailedError) else error.help
        if isinstance(error, ArmConnectionError) and not error.arrived:
            error.arrived, kept = True, ""
        said = f"An earlier attempt of this call may have done it: {doubt.args[0]}. Look at the resource before you repeat it"
        error.help = f"{said}. {kept}" if kept else said
        return error

    def renew_budget(self, now: float) -> None:
        """Count the limits of the call from now on, as after a change of the resource that took its time."""
        self.began, self.excused, self.until, self.unsettled = now, 0.0, None, None

    def renew_id(self) -> None:
        """Take a request id that was not used yet: ARM may answer a known one from memory."""
        self.headers["x-ms-client-request-id"] = new_request_id()


class ProviderSupport(Protocol):
    """Takes causes of errors away."""

    async def resolve_api_version(self, call: Call, kind: ResourceType) -> None:
        """Look up the api-version that the call lacks."""

    async def fix(self, call: Call, error: ArmError) -> bool:
        """Take away the cause of an error, if that can be done; return whether the call is to be sent again."""
