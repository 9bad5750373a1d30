"""`Scope`, `ScopeResult` and `ScopeError`: the unit of an inventory, and its end. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal, TypeAlias

import attrs

from aiomsi._arm.protocol.errors.codes import is_nothing_there
from aiomsi._errors import AiomsiError, ArmConnectionError, ArmError, CredentialError
from aiomsi.inventory._documents import check_documents
from aiomsi.inventory._row import Source

State: TypeAlias = Literal["read", "empty", "unavailable", "failed", "pending"]
MALFORMED = "MalformedItem"


@attrs.frozen
class Scope:
    """One list of one subscription: it is read whole, or counts as not read.

    Attributes:
        subscription_id: the subscription's id, in lower case.
        source: the list.
        kind: the table of Resource Graph, or the resource type in lower case; None for other lists.

    """

    subscription_id: str
    source: Source
    kind: str | None = None

    @property
    def key(self) -> str:
        """The name of the scope, which is unique in a plan and may name a file."""
        name = f"{self.subscription_id}.{self.source}"
        return name if self.kind is None else f"{name}.{self.kind.lower().replace('/', '~')}"

    def to_json(self) -> dict[str, Any]:
        """Return the scope as JSON values."""
        return attrs.asdict(self)

    @classmethod
    @check_documents("scope")
    def from_json(cls, document: Mapping[str, Any]) -> Scope:
        """Return the scope that `to_json` returned."""
        return cls(**document)


@attrs.frozen
class ScopeError:
    """The error that ended a scope.

    Attributes:
        code: the service's error code, or the name of the exception's class if it has none.
        message: the service's text, or that of the exception.
        status: the HTTP status; None without a response.
        request_id: the service's id of the request.
        client_request_id: the client's id of the request.

    """

    code: str
    message: str
    status: int | None = None
    request_id: str | None = None
    client_request_id: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the error as JSON values."""
        return attrs.asdict(self)

    @classmethod
    @check_documents("error")
    def from_json(cls, document: Mapping[str, Any]) -> ScopeError:
        """Return the error that `to_json` returned."""
        return cls(**document)


@attrs.frozen
class ScopeResult:
    """The end of a scope.

    Attributes:
        scope: the scope.
        state: ``"read"``; ``"empty"``, as the subscription cannot have such resources;
            ``"unavailable"``, as the subscription is disabled, expired or deleted; ``"failed"``; or
            ``"pending"``, if the scope was not read to its end.
        rows: the number of rows; 0 unless the scope was read.
        duplicates: the number of items left out because of their ids, which came before.
        error: the error of a scope that was not read.
        attempts: the number of requests that were sent. Those that Resource Graph received for
            several scopes count for each of them that failed, or else for the first one.
        waited: seconds in the queue.
        read_at: the time of the first page, or of the end if none came.
        throttled: the number of 429s.
        received: bytes of the pages as JSON.
        types: the number of rows of each resource type.

    """

    scope: Scope
    state: State = "pending"
    rows: int = 0
    duplicates: int = 0
    error: ScopeError | None = None
    attempts: int = 0
    waited: float = 0.0
    read_at: str | None = None
    throttled: int = 0
    received: int = 0
    types: Mapping[str, int] = attrs.field(factory=dict)

    @property
    def is_known(self) -> bool:
        """Whether the rows of the scope are all that the service listed."""
        return self.state in ("read", "empty")

    @property
    def is_certain(self) -> bool:
        """Whether a row that is missing in the scope did not exist; an ignored code hides rows."""
        if self.state == "empty":
            return self.error is not None and is_nothing_there(self.error.code)
        return self.state == "read"

    @property
    def is_short(self) -> bool:
        """Whether the scope makes an inventory incomplete."""
        return self.state in ("failed", "pending")

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        document = attrs.asdict(self, recurse=False)
        error = None if self.error is None else self.error.to_json()
        return document | {"scope": self.scope.to_json(), "error": error}

    @classmethod
    @check_documents("result")
    def from_json(cls, document: Mapping[str, Any]) -> ScopeResult:
        """Return the result that `to_json` returned."""
        error = None if document["error"] is None else ScopeError.from_json(document["error"])
        return cls(**{**document, "scope": Scope.from_json(document["scope"]), "error": error})


def make_error(error: BaseException) -> ScopeError:
    """Return the facts of an exception; it holds neither a response nor a token."""
    if isinstance(error, ArmError):
        return ScopeError(
            error.code or type(error).__name__,
            error.message,
            error.status,
            error.request_id,
            error.client_request_id,
        )
    name = type(error).__name__
    if isinstance(error, ArmConnectionError):
        return ScopeError(name, str(error), client_request_id=error.client_request_id)
    if isinstance(error, CredentialError):
        return ScopeError(error.code or name, str(error), error.status, error.request_id)
    if isinstance(error, AiomsiError):
        return ScopeError(name, str(error))
    return ScopeError(MALFORMED, str(error))


def find_state(
    error: ScopeError, *, is_lost: bool, is_begun: bool = False, ignore: Collection[str] = ()
) -> State:
    """Return the state of a scope that ended in an error.

    Args:
        error: the error.
        is_lost: whether the subscription is disabled, expired or deleted.
        is_begun: whether a page came before the error, so that the scope can't be called empty.
        ignore: codes that stand for an empty scope, compared without case.

    """
    ignored = error.code.lower() in {code.lower() for code in ignore}
    if not is_begun and (ignored or is_nothing_there(error.code)):
        return "empty"
    return "unavailable" if is_lost else "failed"
