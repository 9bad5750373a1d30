"""Async managed-identity credential and Azure Resource Manager session: one fetch for all calls."""

from typing import TYPE_CHECKING

from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._arm.protocol.retry import ArmRetry
from aiomsi._arm.session import ArmSession
from aiomsi._clock import Clock
from aiomsi._clouds import CHINA, PUBLIC, US_GOVERNMENT, Cloud
from aiomsi._credentials.managed_identity import ManagedIdentityCredential
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
from aiomsi._tokens.access_token import AccessToken, AccessTokenInfo
from aiomsi._tokens.policy import RefreshPolicy
from aiomsi._util import lazy as _late

if TYPE_CHECKING:
    from aiomsi._arm.operation import Operation
    from aiomsi._arm.protocol.attempts import ArmAttempt
    from aiomsi._arm.protocol.bulk.outcomes import Outcome, Request
    from aiomsi._arm.protocol.errors.detail import AdditionalInfo, ErrorDetail
    from aiomsi._arm.protocol.pacing.session_stats import ArmStats, LimitStats, RegionStats
    from aiomsi._arm.protocol.resource_ids import ResourceId
    from aiomsi._credentials.gate import HostGate
    from aiomsi._credentials.instance_request import instance_metadata
    from aiomsi._credentials.shared import SharedCredential
    from aiomsi._credentials.token_provider import token_provider
    from aiomsi._hosts.instance import InstanceMetadata
    from aiomsi._tokens.stats import SlotStats
    from aiomsi._tokens.token_identity import TokenIdentity
else:
    # Imported at their first use, because a GET does not need them and a short-lived job would wait
    # for the imports.
    _HOMES = {
        "AdditionalInfo": "_arm.protocol.errors.detail",
        "ArmAttempt": "_arm.protocol.attempts",
        "ArmStats": "_arm.protocol.pacing.session_stats",
        "ErrorDetail": "_arm.protocol.errors.detail",
        "HostGate": "_credentials.gate",
        "InstanceMetadata": "_hosts.instance",
        "LimitStats": "_arm.protocol.pacing.session_stats",
        "Operation": "_arm.operation",
        "Outcome": "_arm.protocol.bulk.outcomes",
        "RegionStats": "_arm.protocol.pacing.session_stats",
        "Request": "_arm.protocol.bulk.outcomes",
        "ResourceId": "_arm.protocol.resource_ids",
        "SharedCredential": "_credentials.shared",
        "SlotStats": "_tokens.stats",
        "TokenIdentity": "_tokens.token_identity",
        "instance_metadata": "_credentials.instance_request",
        "token_provider": "_credentials.token_provider",
    }

    __getattr__ = _late.import_late(__name__, _HOMES)

    def __dir__():
        return list(__all__)


Policy = RefreshPolicy
"""The former name of `RefreshPolicy`."""

__all__ = [
    "CHINA",
    "PUBLIC",
    "US_GOVERNMENT",
    "AccessToken",
    "AccessTokenInfo",
    "AdditionalInfo",
    "AiomsiError",
    "ApiVersionError",
    "ArmAttempt",
    "ArmConnectionError",
    "ArmError",
    "ArmResponse",
    "ArmRetry",
    "ArmSession",
    "ArmStats",
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
    "InstanceMetadata",
    "LimitStats",
    "ManagedIdentityCredential",
    "NotFoundError",
    "Operation",
    "OperationCanceledError",
    "OperationFailedError",
    "OperationUnfinishedError",
    "OperationUnreadableError",
    "Outcome",
    "Policy",
    "PreconditionFailedError",
    "RefreshPolicy",
    "RegionStats",
    "RegistrationRequiredError",
    "Request",
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
    "instance_metadata",
    "token_provider",
]

_late.name_by_package(__name__, [globals().get(name) for name in __all__])
