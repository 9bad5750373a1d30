"""A call on its way, and the parts that others play in it: those who give tokens, and the one who takes causes of errors away."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import attrs

from aiomsi._errors import AiomsiError, ArmConnectionError, ArmError
from aiomsi._token import AccessToken

if TYPE_CHECKING:
    from aiomsi.arm._versions import ResourceType

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
        sent: the body before it was encoded: what a look at the resource is compared with. None: it is no JSON.
        kind: the resource type whose api-version is looked up; None: the caller has named one.
        lacks_version: whether that is still to be done.
        until: when it has to be over, in the loop's time.
        timed: whether its caller limits its time in any case, so that its requests may be silent for as long as that.
        attempts: requests sent.
        doubt: what the last of them met that may have been carried out although it brought no answer to go by.
        unsettled: the same, where the answer is a look at a resource that is being changed, so that the doubt remains.
        mended: how often the cause of an error was taken away.
        fault, repeats: the last error's status and code, and how often in a row it came.
        unreadable: whether a response to a request of this call came that could not be read.
        excused: seconds that registrations took: the rule's budget does not count them.

    """

    method: str
    url: str = attrs.field(repr=_path_alone)
    headers: MutableMapping[str, str] = attrs.field(repr=False)
    data: bytes | None = attrs.field(repr=False)
    sent: Any = attrs.field(repr=False)
    began: float
    kind: ResourceType | None = None
    lacks_version: bool = False
    until: float | None = None
    timed: bool = False
    attempts: int = 0
    doubt: ArmError | ArmConnectionError | None = None
    unsettled: ArmError | ArmConnectionError | None = None
    mended: int = 0
    fault: tuple[int | None, str | None] | None = None
    repeats: int = 0
    unreadable: bool = False
    excused: float = 0.0

    def in_doubt(self, error: E) -> E:
        """Record in the error that ends the call that ARM may have carried out an earlier request; return the error."""
        if self.doubt is not None and error is not self.doubt:
            said = f"An earlier attempt of this call may have done it: {self.doubt.args[0]}"
            error.help = f"{said}. {error.help}" if error.help else said
        return error

    def renew_id(self) -> None:
        """Take a request id that was not used yet: ARM may answer a known one from memory."""
        self.headers["x-ms-client-request-id"] = new_request_id()


class Mender(Protocol):
    """Takes causes of errors away."""

    async def complete(self, call: Call, kind: ResourceType) -> None:
        """Look up the api-version that the call lacks."""

    async def mend(self, call: Call, error: ArmError) -> bool:
        """Take away the cause of an error, if that can be done; tell whether the call is to be sent again."""
