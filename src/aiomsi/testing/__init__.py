"""The embedded Azure: IMDS and ARM on loopback, for tests, examples and machines without an Azure.

The names below are imported when first used, because the pytest plugin of this package is loaded
in every pytest run of its users.
"""

from typing import TYPE_CHECKING

from aiomsi._util import lazy as _late

if TYPE_CHECKING:
    from aiomsi.testing._arm.controls import EmbeddedArm
    from aiomsi.testing._arm.tenant.group_controls import EmbeddedManagementGroups
    from aiomsi.testing._azure import EmbeddedAzure
    from aiomsi.testing._hosts.app_service import EmbeddedAppService
    from aiomsi.testing._hosts.azure_arc import EmbeddedAzureArc
    from aiomsi.testing._hosts.cloud_shell import EmbeddedCloudShell
    from aiomsi.testing._hosts.embedded_host import EmbeddedHost
    from aiomsi.testing._hosts.embedded_hosts import EmbeddedHosts
    from aiomsi.testing._hosts.entra import EmbeddedWorkloadIdentity
    from aiomsi.testing._hosts.machine_learning import EmbeddedMachineLearning
    from aiomsi.testing._hosts.metadata_controls import EmbeddedImds
    from aiomsi.testing._hosts.service_fabric import EmbeddedServiceFabric
    from aiomsi.testing._limits.arm_limits import (
        ArmBucket,
        ArmBuckets,
        ArmLimits,
        GraphLimits,
        OtherClient,
        ProviderLimit,
    )
    from aiomsi.testing._limits.graph_controls import EmbeddedGraph
    from aiomsi.testing._limits.throttle import ArmUsage
    from aiomsi.testing._manual_clock import ManualClock
    from aiomsi.testing._server.faults import Fault, Hold
    from aiomsi.testing._server.imds_limits import ImdsLimits
    from aiomsi.testing._server.request_log import (
        HOST_KINDS,
        Counts,
        HostCounts,
        RecordedRequest,
    )
    from aiomsi.testing._state.azure_state import (
        DEFAULT_SUBSCRIPTION_ID,
        Identity,
        ResourceGroup,
        Subscription,
    )
    from aiomsi.testing._state.operation_store import OperationView
    from aiomsi.testing._state.tokens import MissingExtraError
else:
    _HOMES = {
        "ArmBucket": "_limits.arm_limits",
        "ArmBuckets": "_limits.arm_limits",
        "ArmLimits": "_limits.arm_limits",
        "ArmUsage": "_limits.throttle",
        "Counts": "_server.request_log",
        "DEFAULT_SUBSCRIPTION_ID": "_state.azure_state",
        "EmbeddedAppService": "_hosts.app_service",
        "EmbeddedArm": "_arm.controls",
        "EmbeddedAzure": "_azure",
        "EmbeddedAzureArc": "_hosts.azure_arc",
        "EmbeddedCloudShell": "_hosts.cloud_shell",
        "EmbeddedGraph": "_limits.graph_controls",
        "EmbeddedHost": "_hosts.embedded_host",
        "EmbeddedHosts": "_hosts.embedded_hosts",
        "EmbeddedImds": "_hosts.metadata_controls",
        "EmbeddedMachineLearning": "_hosts.machine_learning",
        "EmbeddedManagementGroups": "_arm.tenant.group_controls",
        "EmbeddedServiceFabric": "_hosts.service_fabric",
        "EmbeddedWorkloadIdentity": "_hosts.entra",
        "Fault": "_server.faults",
        "GraphLimits": "_limits.arm_limits",
        "Hold": "_server.faults",
        "HOST_KINDS": "_server.request_log",
        "HostCounts": "_server.request_log",
        "Identity": "_state.azure_state",
        "ImdsLimits": "_server.imds_limits",
        "ManualClock": "_manual_clock",
        "MissingExtraError": "_state.tokens",
        "OperationView": "_state.operation_store",
        "OtherClient": "_limits.arm_limits",
        "ProviderLimit": "_limits.arm_limits",
        "RecordedRequest": "_server.request_log",
        "ResourceGroup": "_state.azure_state",
        "Subscription": "_state.azure_state",
    }

    __getattr__ = _late.import_late(__name__, _HOMES)

    def __dir__():
        return list(__all__)


__all__ = [
    "DEFAULT_SUBSCRIPTION_ID",
    "HOST_KINDS",
    "ArmBucket",
    "ArmBuckets",
    "ArmLimits",
    "ArmUsage",
    "Counts",
    "EmbeddedAppService",
    "EmbeddedArm",
    "EmbeddedAzure",
    "EmbeddedAzureArc",
    "EmbeddedCloudShell",
    "EmbeddedGraph",
    "EmbeddedHost",
    "EmbeddedHosts",
    "EmbeddedImds",
    "EmbeddedMachineLearning",
    "EmbeddedManagementGroups",
    "EmbeddedServiceFabric",
    "EmbeddedWorkloadIdentity",
    "Fault",
    "GraphLimits",
    "Hold",
    "HostCounts",
    "Identity",
    "ImdsLimits",
    "ManualClock",
    "MissingExtraError",
    "OperationView",
    "OtherClient",
    "ProviderLimit",
    "RecordedRequest",
    "ResourceGroup",
    "Subscription",
]
