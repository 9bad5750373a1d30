"""Async managed-identity credential and Azure Resource Manager session: many concurrent calls, one token fetch."""

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
    PreconditionFailedError,
    RegistrationRequiredError,
    ServiceError,
    ThrottledError,
    TokenRefusedError,
    TokenUnavailableError,
    UsageError,
    WrongTenantError,
)
from aiomsi._gate import HostGate
from aiomsi._ledger import SlotStats
from aiomsi._policy import Policy
from aiomsi._shared import SharedCredential
from aiomsi._token import AccessToken
from aiomsi.arm._answers import ArmResponse
from aiomsi.arm._failures import AdditionalInfo, ErrorDetail
from aiomsi.arm._ids import ResourceId
from aiomsi.arm._operations import Operation
from aiomsi.arm._retry import ArmAttempt, ArmRetry
from aiomsi.arm._session import ArmSession

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
    "Policy",
    "PreconditionFailedError",
    "RegistrationRequiredError",
    "ResourceId",
    "ServiceError",
    "SharedCredential",
    "SlotStats",
    "ThrottledError",
    "TokenRefusedError",
    "TokenUnavailableError",
    "UsageError",
    "WrongTenantError",
]
