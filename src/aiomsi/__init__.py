"""Async managed-identity credential and Azure Resource Manager session: many concurrent calls, one token fetch."""

from typing import TYPE_CHECKING

from aiomsi import _late
from aiomsi._clock import Clock
from aiomsi._clouds import CHINA, PUBLIC, US_GOVERNMENT, Cloud
from aiomsi._credential import ManagedIdentityCredential
from aiomsi._errors import (
    AiomsiError,
    ApiVersionError,
    ArmConnectionError,
    ArmError,
    AuthenticationError,
    AuthorizationError,
    ConfigurationError,
    ConflictError,
    CredentialClosedError,
    CredentialError,
    ForeignHostError,
    HostUnreachableError,
    NotFoundError,
    OperationCanceledError,
    OperationFailedError,
    OperationUnfinishedError,
    OperationUnreadableError,
    PreconditionFailedError,
    RegistrationRequiredError,
    ServiceError,
    ThrottledError,
    TokenRefusedError,
    TokenUnavailableError,
    UsageError,
    WrongTenantError,
)
from aiomsi._policy import Policy
from aiomsi._token import AccessToken, TokenIdentity
from aiomsi.arm._response import ArmResponse
from aiomsi.arm._retry import ArmRetry
from aiomsi.arm._session import ArmSession

if TYPE_CHECKING:
    from aiomsi._gate import HostGate
    from aiomsi._shared import SharedCredential
    from aiomsi._stats import SlotStats
    from aiomsi.arm._attempts import ArmAttempt
    from aiomsi.arm._failures import AdditionalInfo, ErrorDetail
    from aiomsi.arm._ids import ResourceId
    from aiomsi.arm._operations import Operation
else:
    # What a GET does not need is imported when it is first used: a short-lived job should not wait for it.
    _HOMES = {
        "AdditionalInfo": "arm._failures",
        "ArmAttempt": "arm._attempts",
        "ErrorDetail": "arm._failures",
        "HostGate": "_gate",
        "Operation": "arm._operations",
        "ResourceId": "arm._ids",
        "SharedCredential": "_shared",
        "SlotStats": "_stats",
    }

    __getattr__ = _late.late(__name__, _HOMES)

    def __dir__():
        return list(__all__)


__all__ = [
    "CHINA",
    "PUBLIC",
    "US_GOVERNMENT",
    "AccessToken",
    "AdditionalInfo",
    "AiomsiError",
    "ApiVersionError",
    "ArmAttempt",
    "ArmConnectionError",
    "ArmError",
    "ArmResponse",
    "ArmRetry",
    "ArmSession",
    "AuthenticationError",
    "AuthorizationError",
    "Clock",
    "Cloud",
    "ConfigurationError",
    "ConflictError",
    "CredentialClosedError",
    "CredentialError",
    "ErrorDetail",
    "ForeignHostError",
    "HostGate",
    "HostUnreachableError",
    "ManagedIdentityCredential",
    "NotFoundError",
    "Operation",
    "OperationCanceledError",
    "OperationFailedError",
    "OperationUnfinishedError",
    "OperationUnreadableError",
    "Policy",
    "PreconditionFailedError",
    "RegistrationRequiredError",
    "ResourceId",
    "ServiceError",
    "SharedCredential",
    "SlotStats",
    "ThrottledError",
    "TokenIdentity",
    "TokenRefusedError",
    "TokenUnavailableError",
    "UsageError",
    "WrongTenantError",
]
