"""`EmbeddedHost`: the token endpoint of one kind of host, its checks and its controls."""

from __future__ import annotations

import hmac
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import cast
from urllib.parse import parse_qsl

import attrs

from aiomsi.testing._hosts.token_issuer import (
    IdKind,
    NoIdentityError,
    TokenIssuer,
    describe_unknown_resource,
)
from aiomsi.testing._server.endpoint import Endpoint
from aiomsi.testing._server.http_service import ServiceContext
from aiomsi.testing._server.messages import Answer, Asked, make_json_answer
from aiomsi.testing._server.request_log import HostCounts, HostName
from aiomsi.testing._server.servers import Servers
from aiomsi.testing._state.azure_state import Identity


@attrs.frozen(eq=False)
class RefusedRequestError(Exception):
    """A request that a host refuses.

    Attributes:
        status: status of the response.
        code: the host's error code.
        text: the host's message.
        headers: headers of the response.

    """

    status: int
    code: str
    text: str
    headers: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(eq=False)
class GrantRequest:
    """A request for a token that a host grants.

    Attributes:
        asked: the request.
        identity: the identity that the token names.
        resource: the token's audience.

    """

    asked: Asked
    identity: Identity
    resource: str


class EmbeddedHost(Endpoint, ABC):
    """One host of managed identities; its methods may be called from any thread.

    The identities and tokens of all hosts are those of `EmbeddedAzure.imds`.
    """

    # With builtin types, because `get_type_hints` cannot resolve those of a late import.
    kind: str = ""

    def __init__(self, context: ServiceContext, servers: Servers, tokens: TokenIssuer) -> None:
        super().__init__(cast(HostName, self.kind), context, servers)
        self._tokens = tokens
        self._secret = uuid.uuid4().hex.upper()

    @property
    def counts(self) -> HostCounts:
        """The counts since the start, or since `EmbeddedAzure.reset_counts`."""
        return self._context.request_log.count_host(cast(HostName, self.kind))

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make an Azure SDK believe that it runs on this host.

        They contain ``AIOMSI_RESOURCE_MANAGER`` too, so that aiomsi finds the embedded ARM.
        """
        return {**self._variables(), "AIOMSI_RESOURCE_MANAGER": self._servers.url("arm")}

    def prepare(self, directory: Path) -> None:
        """Write the files that clients of the host read; called before the servers start."""

    def close(self) -> None:
        """Remove the files that lie outside of the directory of `prepare`."""

    def answer(self, asked: Asked) -> Answer:
        """Return the response to a request."""
        try:
            return self._answer(asked)
        except RefusedRequestError as refused:
            return make_json_answer(refused.status, self._error(refused), refused.headers)

    def failure(self, status: int) -> Answer:
        """Return an error response with this status, in the host's shape."""
        text = f"Injected fault: HTTP {status}"
        return make_json_answer(
            status, self._error(RefusedRequestError(status, "server_error", text))
        )

    # ARG002: a host copies no value of the request.
    def add_headers(self, asked: Asked, answer: Answer) -> Answer:  # noqa: ARG002
        """Return the response unchanged: a host adds no headers to it."""
        return answer

    @abstractmethod
    def _answer(self, asked: Asked) -> Answer:
        """Return the response to a request, or raise RefusedRequestError."""

    @abstractmethod
    def _variables(self) -> dict[str, str]:
        """Return the host's environment variables."""

    @abstractmethod
    def _error(self, refused: RefusedRequestError) -> dict[str, object]:
        """Return the body of an error."""


class TokenEndpoint(EmbeddedHost):
    """A host that issues tokens at one path."""

    path = ""
    """The path of the token endpoint."""
    method = "GET"
    by_parameter: dict[str, str] = {}  # noqa: RUF012  # not changed
    """The kind of each id that a request may name, by the name of the query parameter."""
    bad_identity: tuple[int, str] = (400, "invalid_request")
    """Status and code of the error for an identity that the machine does not have."""
    bad_resource: tuple[int, str] = (400, "invalid_resource")
    """Status and code of the error for a resource that the tenant does not have."""

    @property
    def token_url(self) -> str:
        """The address of the token endpoint."""
        return f"{self.url}{self.path}"

    def _answer(self, asked: Asked) -> Answer:
        if asked.path.lower() != self.path.lower().rstrip("/"):
            raise RefusedRequestError(404, "not_found", "No service is at this address")
        if asked.method != self.method:
            allow = {"Allow": self.method}
            raise RefusedRequestError(405, "method_not_allowed", "Method not allowed", allow)
        self._check(asked)
        resource = self._resource(asked)
        identity = self._identity(asked)
        if not self._tokens.knows(resource):
            status, code = self.bad_resource
            raise RefusedRequestError(status, code, describe_unknown_resource(resource))
        return make_json_answer(200, self._document(GrantRequest(asked, identity, resource)))

    def _resource(self, asked: Asked) -> str:
        resource = asked.parameter("resource")
        if not resource:
            text = "Required parameter 'resource' is missing or empty"
            raise RefusedRequestError(400, self._missing_code(), text)
        return resource

    def _identity(self, asked: Asked) -> Identity:
        named = [(name, asked.parameter(name)) for name in self.by_parameter]
        given = [(name, value) for name, value in named if value is not None]
        if len(given) > 1:
            names = " and ".join(name for name, _ in given)
            raise RefusedRequestError(400, "invalid_request", f"{names} exclude each other")
        try:
            for name, value in given:
                return self._tokens.find_identity(cast(IdKind, self.by_parameter[name]), value)
            return self._tokens.find_identity()
        except NoIdentityError as error:
            raise RefusedRequestError(*self.bad_identity, error.text) from None

    def _missing_code(self) -> str:
        return "invalid_request"

    @abstractmethod
    def _check(self, asked: Asked) -> None:
        """Raise RefusedRequestError for a request with wrong headers or api-version."""

    @abstractmethod
    def _document(self, request: GrantRequest) -> dict[str, object]:
        """Return the body of a response with a token."""


def check_secret(asked: Asked, header: str, secret: str) -> bool:
    """Return whether a header of the request has the secret."""
    given = asked.headers.get(header, "").encode("utf-8", "surrogateescape")
    return hmac.compare_digest(given, secret.encode())


def require_version(asked: Asked, versions: tuple[str, ...], code: str = "invalid_request") -> None:
    """Check the api-version of a request.

    Raises:
        RefusedRequestError: it is missing or unknown.

    """
    version = asked.parameter("api-version")
    if version not in versions:
        text = f"The api-version {version!r} is not supported; supported is {versions[0]!r}"
        raise RefusedRequestError(400, code, text)


def require_metadata(asked: Asked) -> None:
    """Check the header ``Metadata: true``.

    Raises:
        RefusedRequestError: it is missing.

    """
    if asked.headers.get("Metadata", "").lower() != "true":
        text = "Required metadata header not specified"
        raise RefusedRequestError(400, "invalid_request", text)


def parse_form(asked: Asked) -> dict[str, str]:
    """Return the fields of a form-encoded body."""
    return dict(parse_qsl(asked.body.decode("utf-8", "replace"), keep_blank_values=True))
