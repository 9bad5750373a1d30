"""All errors of this package, by the action that they call for.

::

    AiomsiError
    ├── ConfigurationError (ValueError)   wrong argument or environment; no request was sent
    │   └── ForeignHostError              the URL's host is not the cloud's ARM; no token was sent
    ├── UsageError (RuntimeError)         wrong moment: another loop, a closed session, reentry
    ├── CredentialError                   no token is available
    │   ├── HostUnreachableError          no response: no Azure host, or a blocked route
    │   ├── TokenRefusedError             refused: fix the identity or the resource
    │   ├── TokenUnavailableError         may pass: try again after `retry_after` seconds
    │   └── CredentialClosedError         the credential was closed during this call
    ├── ArmConnectionError                no response from ARM; the request may have arrived
    ├── OperationUnfinishedError (TimeoutError)   the operation continues: wait, or save its state
    └── ArmError                          ARM or a resource provider responded with 4xx or 5xx
        ├── ApiVersionError               the api-version is missing or unknown: see `supported`
        ├── AuthenticationError           401: the token was not accepted
        │   └── WrongTenantError          the subscription belongs to another tenant
        ├── AuthorizationError            403: a role is missing
        ├── NotFoundError                 404
        ├── ConflictError                 409
        │   └── RegistrationRequiredError register the subscription for `namespace` first
        ├── PreconditionFailedError       412: the resource changed, read it again
        ├── ThrottledError                429: wait `retry_after` seconds
        ├── ServiceError                  5xx: a failure of the service
        │   └── OperationUnreadableError  a poll failed; the operation may continue
        ├── OperationFailedError          a long-running operation was accepted, and failed later
        └── OperationCanceledError        a long-running operation was accepted, then canceled
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from aiomsi._azure_core import add_azure_base, get_public_class

if TYPE_CHECKING:
    from aiomsi._arm.operation import Operation
    from aiomsi._arm.protocol.errors.detail import AdditionalInfo, ErrorDetail
    from aiomsi._arm.protocol.response import ArmResponse


SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""HTTP methods that change nothing."""


class AiomsiError(Exception):
    """The base class of all errors of this package.

    Attributes:
        help: the next step, in a sentence or two; empty if none is known.
        uncertain: whether ARM may have carried out the call although it ended in this error. False
            for calls that only read.
        earlier: the error of an earlier request of the same call that ARM may have carried out;
            None without one.
        operation: the long-running operation that the call began, to await its `result` again or to
            save its `state`; None if ARM accepted none. A pickled error does not contain it.

    """

    help: str = ""
    uncertain: bool = False
    earlier: ArmError | ArmConnectionError | None = None
    operation: Operation | None = None

    def __init__(self, summary: str, *, help: str = "") -> None:  # noqa: A002 (the attribute's name is the field's term)
        super().__init__(summary)
        self.help = help

    def __str__(self) -> str:
        return f"{self.args[0]}. {self.help}" if self.help else str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        attributes = self.__dict__.copy()
        # The operation holds the session, and signed URLs.
        attributes.pop("operation", None)
        return _rebuild, (get_public_class(type(self)), self.args, attributes)


def _rebuild(
    cls: type[AiomsiError], args: tuple[Any, ...], attributes: dict[str, Any]
) -> AiomsiError:
    given = {name: attributes[name] for name in ("no_identity",) if name in attributes}
    error = cls.__new__(cls, *args, **given)
    error.args = args
    error.__dict__.update(attributes)
    return error


class ConfigurationError(AiomsiError, ValueError):
    """An argument or the environment is wrong. No request was sent."""


class ForeignHostError(ConfigurationError):
    """The host of the URL is not the cloud's ARM. Neither a token nor a request was sent to it.

    Attributes:
        from_response: whether the URL is a link in a response, for example to the next page of a
            list. The request before was sent, and its arguments are right.

    """

    from_response: bool = False

    def __init__(self, summary: str, *, help: str = "", from_response: bool = False) -> None:  # noqa: A002 (as in AiomsiError)
        super().__init__(summary, help=help)
        self.from_response = from_response


class UsageError(AiomsiError, RuntimeError):
    """The call comes from another event loop, after closing, or from inside the same call."""


def make_no_loop_error() -> UsageError:
    """Create the error for a call outside of asyncio: under trio or curio, or by `send`."""
    return UsageError(
        "no asyncio event loop is running here, and aiomsi works with asyncio only",
        help="Call it from a coroutine that asyncio runs: asyncio.run(...), "
        "or anyio with backend='asyncio', not 'trio'",
    )


class CredentialError(AiomsiError):
    """No token is available.

    Where ``azure.core`` is imported, an error of this class is its `ClientAuthenticationError` as
    well; with `no_identity`, and where ``azure.identity`` is imported, it is that package's
    `CredentialUnavailableError`, after which a chain of credentials tries the next one.

    Attributes:
        host: the kind of token host, for example ``"IMDS"``.
        endpoint: the address of the token endpoint.
        status: the last HTTP status, None without a response.
        code: the error code in the last response's body, or None.
        message: the error text in the last response's body, or the cause of the failure; never
            empty.
        attempts: number of requests that were sent.
        elapsed: duration of all attempts, in seconds.
        retry_after: seconds until the next request would be sent, None if that isn't known.
        request_id: the endpoint's id of the last request, or None.
        no_identity: whether this host has no such identity, or is not on Azure, so that another
            credential may be tried.

    """

    no_identity: bool = False

    def __new__(cls, *args: Any, no_identity: bool | None = None, **_options: Any) -> Self:
        absent = cls.no_identity if no_identity is None else no_identity
        kind: type[Self] = add_azure_base(cls, no_identity=absent)
        return super().__new__(kind, *args)

    def __init__(
        self,
        summary: str,
        *,
        help: str = "",  # noqa: A002 (as in AiomsiError)
        host: str = "",
        endpoint: str = "",
        status: int | None = None,
        code: str | None = None,
        message: str = "",
        attempts: int = 0,
        elapsed: float = 0.0,
        retry_after: float | None = None,
        request_id: str | None = None,
        no_identity: bool | None = None,
    ) -> None:
        super().__init__(summary, help=help)
        self.host = host
        self.endpoint = endpoint
        self.status = status
        self.code = code
        self.message: str = message or summary
        self.attempts = attempts
        self.elapsed = elapsed
        self.retry_after = retry_after
        self.request_id = request_id
        if no_identity is not None:
            self.no_identity = no_identity


class HostUnreachableError(CredentialError):
    """No connection to the token endpoint was made."""

    no_identity = True


class TokenRefusedError(CredentialError):
    """The token endpoint refused this token; the same request would be refused again."""


class TokenUnavailableError(CredentialError):
    """The token endpoint failed for now: throttled, updating, broken response, out of time."""


class CredentialClosedError(CredentialError):
    """The credential was closed while this call waited for a token. It may be used again."""


class ArmConnectionError(AiomsiError):
    """ARM sent no response, or an unreadable one: connection refused or lost, or out of time.

    Attributes:
        method: the method of the request.
        url: the URL of the request, without the values of signed query parameters.
        client_request_id: the ``x-ms-client-request-id`` of the request.
        attempts: number of requests that were sent.
        elapsed: duration of all attempts, in seconds.
        arrived: whether the last request may have reached ARM; False if no connection was made.
        untrusted: whether the connection failed because the server's certificate was not accepted.
        permanent: whether the same request would fail again in the same way, as with a wrong
            password of the proxy.
        unreadable: whether a response came that could not be read, so that ARM has seen the
            request.

    """

    def __init__(
        self,
        summary: str,
        *,
        help: str = "",  # noqa: A002 (as in AiomsiError)
        method: str,
        url: str,
        client_request_id: str,
        attempts: int,
        elapsed: float,
        arrived: bool = True,
        untrusted: bool = False,
        permanent: bool = False,
        unreadable: bool = False,
    ) -> None:
        super().__init__(summary, help=help)
        self.method = method
        self.url = url
        self.client_request_id = client_request_id
        self.attempts = attempts
        self.elapsed = elapsed
        self.arrived = arrived
        # The session sets this to False for a POST that only reads.
        self.uncertain: bool = arrived and method not in SAFE_METHODS
        self.untrusted = untrusted
        self.permanent = permanent
        self.unreadable = unreadable


class OperationUnfinishedError(AiomsiError, TimeoutError):
    """A long-running operation did not end by the deadline. It continues."""

    uncertain = True


class ArmError(AiomsiError):
    """ARM, or a resource provider behind it, responded with an error.

    Attributes:
        status: the HTTP status.
        code: the service's error code, None if the body has none.
        message: the service's text, never empty.
        target: the subject of the error, for example the name of a property; None if the service
            names none.
        details: the parts that make up the error, each with code, message and so on.
        inner: the more exact error behind this one, or None.
        additional_info: further facts from the service, for example the policy that forbids the
            call.
        response: the whole response: `status`, `headers`, `body`.
        client_request_id: the ``x-ms-client-request-id`` of the request, None if it is not known.
        attempts: number of requests that were sent.
        elapsed: duration of all attempts, in seconds.
        retry_after: seconds to wait, from a header or a text of the service; None without either.

    """

    def __init__(
        self,
        summary: str,
        *,
        help: str = "",  # noqa: A002 (as in AiomsiError)
        status: int,
        code: str | None,
        message: str,
        response: ArmResponse,
        target: str | None = None,
        details: tuple[ErrorDetail, ...] = (),
        inner: ErrorDetail | None = None,
        additional_info: tuple[AdditionalInfo, ...] = (),
        client_request_id: str | None = None,
        attempts: int = 1,
        elapsed: float = 0.0,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(summary, help=help)
        self.status = status
        self.code = code
        self.message = message
        self.target = target
        self.details = details
        self.inner = inner
        self.additional_info = additional_info
        self.response = response
        self.client_request_id: str | None = client_request_id or response.client_request_id
        self.attempts = attempts
        self.elapsed = elapsed
        self.retry_after = retry_after

    @property
    def failure_cause(self) -> str | None:
        """``"gateway"`` for an error of ARM, ``"service"`` of the resource provider, or None."""
        return self.response.failure_cause

    @property
    def request_id(self) -> str | None:
        """The service's id of the request, or None."""
        return self.response.request_id

    @property
    def correlation_id(self) -> str | None:
        """The id that related calls share, or None."""
        return self.response.correlation_id


class ApiVersionError(ArmError):
    """The call's api-version is missing, or the resource type does not have it.

    Attributes:
        supported: the versions of the resource type, in the service's order; empty if the service
            lists none.
        locations: locations of the resource type, as far as the service lists them.

    """

    def __init__(
        self,
        summary: str,
        *,
        supported: tuple[str, ...] = (),
        locations: tuple[str, ...] = (),
        **more: Any,
    ) -> None:
        super().__init__(summary, **more)
        self.supported = supported
        self.locations = locations


class AuthenticationError(ArmError):
    """401: ARM did not accept the token, nor a new one."""


class WrongTenantError(AuthenticationError):
    """401: the token is valid, but the subscription belongs to another tenant.

    ARM accepts no other token of this identity either.

    Attributes:
        tenant_id: the tenant that the subscription belongs to; None if ARM names none, or several.

    """

    def __init__(self, summary: str, *, tenant_id: str | None = None, **more: Any) -> None:
        super().__init__(summary, **more)
        self.tenant_id = tenant_id


class AuthorizationError(ArmError):
    """403: the identity is known but lacks a role, or a policy forbids the call."""


class NotFoundError(ArmError):
    """404: no such subscription, group, resource, type or path."""


class ConflictError(ArmError):
    """409: the state of the resource or of the subscription does not allow this."""


class RegistrationRequiredError(ConflictError):
    """409: the subscription is not registered for the namespace, or not in this location.

    Attributes:
        namespace: the namespace of the resource provider, for example ``"Microsoft.Devices"``; None
            if neither the response nor the path names it.

    """

    def __init__(self, summary: str, *, namespace: str | None = None, **more: Any) -> None:
        super().__init__(summary, **more)
        self.namespace = namespace


class PreconditionFailedError(ArmError):
    """412: the resource does not meet the condition of the request; read it again."""


class ThrottledError(ArmError):
    """429: too many calls, or a resource that another operation has locked."""


class ServiceError(ArmError):
    """5xx: ARM or the resource provider failed."""


class OperationUnreadableError(ServiceError):
    """A poll of a long-running operation that was accepted has failed, or returned no state.

    `status` is that of the poll: a 403 means that the identity may not read the operation, or its
    result, not that the call was refused.
    """


class OperationFailedError(ArmError):
    """A long-running operation was accepted, and failed.

    `status` is that of the response that reports the failure, often 200.
    """


class OperationCanceledError(ArmError):
    """A long-running operation was accepted, then canceled: by a request or another operation."""
