"""Everything that this package raises, split by what the caller should do.

::

    AiomsiError ├── ConfigurationError (ValueError)     the call or the environment is wrong:
    nothing was sent, fix it │   └── ForeignHostError                a token would have gone to a
    host that is not the cloud's ARM ├── UsageError (RuntimeError)           right call, wrong
    moment: another loop, a closed session, a call from inside itself ├── CredentialError
    there is no token │   ├── HostUnreachableError            nothing answered: probably no Azure
    host, or a blocked route │   ├── TokenRefusedError               the token endpoint said no: fix
    the identity or the resource │   ├── TokenUnavailableError           a passing failure: try
    again after `retry_after` seconds │   └── CredentialClosedError           the credential was
    closed while this call waited ├── ArmConnectionError                  ARM gave no answer: the
    request may or may not have arrived ├── OperationUnfinishedError (TimeoutError)  a long-running
    operation goes on: wait again, or save its state └── ArmError                            ARM or
    a resource provider answered with 4xx or 5xx ├── ApiVersionError                 the api-version
        is missing, or none of the resource type's: use one of `supported` ├── AuthenticationError
        401: the token was not accepted │   └── WrongTenantError            the subscription belongs
        to another tenant than the identity ├── AuthorizationError              403: a role is
        missing ├── NotFoundError                   404 ├── ConflictError                   409 │
        └── RegistrationRequiredError   the subscription must be registered for a `namespace` first
        ├── PreconditionFailedError         412: the resource changed, read it again ├──
        ThrottledError                  429: wait `retry_after` seconds ├── ServiceError
        5xx: not your fault │   └── OperationUnreadableError    a poll of a long-running operation
        failed; the operation may go on ├── OperationFailedError            a long-running operation
        was accepted, and failed later └── OperationCanceledError          a long-running operation
        was canceled, perhaps because another replaced it
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiomsi._arm.operation import Operation
    from aiomsi._arm.protocol.errors.body import AdditionalInfo, ErrorDetail
    from aiomsi._arm.protocol.response import ArmResponse


SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""HTTP methods that change nothing."""


class AiomsiError(Exception):
    """The root of all errors of this package.

    Attributes:
        help: what to do about it, in a sentence or two; empty where nothing useful can be said.
        uncertain: whether ARM may have carried out the call although it ended in this error. False
            for calls that only read.
        earlier: the error of an earlier request of the same call that ARM may have carried out;
            None without one.
        operation: the long-running operation that the call began, to wait for it again or to save
            its `state`; None where ARM has accepted none. It does not go along where the error is
            pickled.

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
        # It holds the session, and signed URLs.
        attributes.pop("operation", None)
        return _rebuild, (type(self), self.args, attributes)


def _rebuild(
    cls: type[AiomsiError], args: tuple[Any, ...], attributes: dict[str, Any]
) -> AiomsiError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


class ConfigurationError(AiomsiError, ValueError):
    """An argument or the environment is wrong. Nothing was sent."""


class ForeignHostError(ConfigurationError):
    """The URL leads to a host that is not the cloud's ARM, so no token was attached and nothing was sent."""


class UsageError(AiomsiError, RuntimeError):
    """The object can't be used here and now: from another event loop, after closing, or from inside its own call."""


def without_loop() -> UsageError:
    """Make the error for a call outside of asyncio: under trio or curio, or by `send` from synchronous code."""
    return UsageError(
        "no asyncio event loop is running here, and aiomsi works with asyncio only",
        help="Call it from a coroutine that asyncio runs: asyncio.run(...), or anyio with backend='asyncio', not 'trio'",
    )


class CredentialError(AiomsiError):
    """No token could be had.

    Attributes:
        host: the kind of token host, for example ``"IMDS"``.
        endpoint: the address that was asked.
        status: the last HTTP status, None if there was no answer.
        code: the error code in the last answer's body, or None.
        message: the error text in the last answer's body, or what went wrong.
        attempts: how many requests were sent.
        elapsed: for how many seconds it was tried.
        retry_after: seconds until the next request would be sent, None if it isn't known.
        request_id: the endpoint's id of the last request, or None.

    """

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
    ) -> None:
        super().__init__(summary, help=help)
        self.host = host
        self.endpoint = endpoint
        self.status = status
        self.code = code
        self.message = message
        self.attempts = attempts
        self.elapsed = elapsed
        self.retry_after = retry_after
        self.request_id = request_id


class HostUnreachableError(CredentialError):
    """No connection to the token endpoint could be made."""


class TokenRefusedError(CredentialError):
    """The token endpoint answered that it won't give this token; asking again changes nothing."""


class TokenUnavailableError(CredentialError):
    """The token endpoint failed in a way that may pass: throttled, updating, broken answer, out of time."""


class CredentialClosedError(CredentialError):
    """The credential was closed while this call waited for a token. It may be used again."""


class ArmConnectionError(AiomsiError):
    """ARM gave no answer, or none that could be read: refused, lost, or out of time.

    Attributes:
        method, url: the request; signed query values are left out of the URL.
        client_request_id: what was sent as ``x-ms-client-request-id``.
        attempts: how many requests were sent.
        elapsed: for how many seconds it was tried.
        arrived: whether the last request may have reached ARM; False where no connection was made.
        untrusted: whether that was because the certificate of the other side was not accepted.
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
        # A POST may read: a session, which knows that, corrects this.
        self.uncertain = arrived and method not in SAFE_METHODS
        self.untrusted = untrusted
        self.permanent = permanent
        self.unreadable = unreadable


class OperationUnfinishedError(AiomsiError, TimeoutError):
    """A long-running operation was not over by the deadline. It goes on."""

    uncertain = True


class ArmError(AiomsiError):
    """ARM, or a resource provider behind it, answered with an error.

    Attributes:
        status: the HTTP status.
        code: the service's error code, None where the body has none.
        message: the service's text, never empty.
        target: what the error is about, for example the name of a property; None where the service
            does not say.
        details: the parts that make up the error, each with code, message and so on.
        inner: the more exact error behind this one, or None.
        additional_info: what else the service says, for example which policy forbids the call.
        response: the whole answer: `status`, `headers`, `body`.
        client_request_id: what was sent as ``x-ms-client-request-id``, None where it is not known.
        attempts: how many requests were sent.
        elapsed: for how many seconds it was tried.
        retry_after: seconds to wait as the service asked for, wherever it said so; None if it did
            not say.

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
        self.client_request_id = client_request_id or response.client_request_id
        self.attempts = attempts
        self.elapsed = elapsed
        self.retry_after = retry_after

    @property
    def failure_cause(self) -> str | None:
        """Who says so: ``"gateway"`` is ARM itself, ``"service"`` the resource provider; None where the answer does not tell."""
        return self.response.failure_cause

    @property
    def request_id(self) -> str | None:
        """The service's id of the request, or None."""
        return self.response.request_id

    @property
    def correlation_id(self) -> str | None:
        """The id that calls which belong together share, or None."""
        return self.response.correlation_id


class ApiVersionError(ArmError):
    """The call's api-version is missing, or is none that the resource type has.

    Attributes:
        supported: the versions that would do, in the service's order; empty where it lists none.
        locations: where the resource type is served, as far as the service says.

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
    """401: ARM did not accept the token, even after a fresh one was tried."""


class WrongTenantError(AuthenticationError):
    """401: the token is a good one, but the subscription belongs to another tenant. No other token of this identity would do.

    Attributes:
        tenant_id: the tenant that the subscription belongs to; None where ARM names none, or
            several.

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
    """409: the subscription is not registered for the resource provider's namespace, or not for this location.

    Attributes:
        namespace: for example ``"Microsoft.Devices"``; None where neither the answer nor the path
            names it.

    """

    def __init__(self, summary: str, *, namespace: str | None = None, **more: Any) -> None:
        super().__init__(summary, **more)
        self.namespace = namespace


class PreconditionFailedError(ArmError):
    """412: the resource is not in the state that the condition named; read it again."""


class ThrottledError(ArmError):
    """429: too many calls, or a resource that is locked by another operation."""


class ServiceError(ArmError):
    """5xx: ARM or the resource provider failed."""


class OperationUnreadableError(ServiceError):
    """A long-running operation was accepted, and a poll of its state, or of its result, was refused or brought no state.

    `status` is that of the poll: a 403 says that the identity may not read the operation, not that
    the call was refused.
    """


class OperationFailedError(ArmError):
    """A long-running operation was accepted and has failed; `status` is that of the answer that told so, often 200."""


class OperationCanceledError(ArmError):
    """A long-running operation was accepted and then canceled: by somebody, or by another operation on the resource."""
