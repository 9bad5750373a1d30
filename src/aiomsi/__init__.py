"""Async managed-identity credential and Azure Resource Manager session: many concurrent calls, one token fetch."""

from aiomsi._clock import Clock
from aiomsi._clouds import CHINA, PUBLIC, US_GOVERNMENT, Cloud
from aiomsi._credential import ManagedIdentityCredential
from aiomsi._errors import (
    AiomsiError,
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
    PreconditionFailedError,
    ServiceError,
    ThrottledError,
    TokenRefusedError,
    TokenUnavailableError,
    UsageError,
)
from aiomsi._ledger import SlotStats
from aiomsi._policy import Policy
from aiomsi._shared import SharedCredential
from aiomsi._token import AccessToken
from aiomsi.arm._answers import ArmResponse
from aiomsi.arm._ids import ResourceId
from aiomsi.arm._session import ArmSession

__all__ = [
    "CHINA",
    "PUBLIC",
    "US_GOVERNMENT",
    "AccessToken",
    "AiomsiError",
    "ArmConnectionError",
    "ArmError",
    "ArmResponse",
    "ArmSession",
    "AuthenticationError",
    "AuthorizationError",
    "Clock",
    "Cloud",
    "ConfigurationError",
    "ConflictError",
    "CredentialClosedError",
    "CredentialError",
    "ForeignHostError",
    "HostUnreachableError",
    "ManagedIdentityCredential",
    "NotFoundError",
    "OperationCanceledError",
    "OperationFailedError",
    "Policy",
    "PreconditionFailedError",
    "ResourceId",
    "ServiceError",
    "SharedCredential",
    "SlotStats",
    "ThrottledError",
    "TokenRefusedError",
    "TokenUnavailableError",
    "UsageError",
]
