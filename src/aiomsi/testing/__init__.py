"""The embedded Azure: IMDS and ARM on loopback, for tests, examples and machines without an Azure.

The names below are imported when first used, because the pytest plugin of this package is loaded
in every pytest run of its users.
"""

from typing import TYPE_CHECKING

from aiomsi._util import lazy as _late

if TYPE_CHECKING:
    from aiomsi.testing._arm.controls import EmbeddedArm
    from aiomsi.testing._azure import EmbeddedAzure
    from aiomsi.testing._clock import ManualClock
    from aiomsi.testing._hosts.controls import EmbeddedImds
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
    from aiomsi.testing._server.faults import Fault, Hold
    from aiomsi.testing._server.limits import ImdsLimits
    from aiomsi.testing._server.request_log import Counts, RecordedRequest
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
        "EmbeddedArm": "_arm.controls",
        "EmbeddedAzure": "_azure",
        "EmbeddedGraph": "_limits.graph_controls",
        "EmbeddedImds": "_hosts.controls",
        "Fault": "_server.faults",
        "GraphLimits": "_limits.arm_limits",
        "Hold": "_server.faults",
        "Identity": "_state.azure_state",
        "ImdsLimits": "_server.limits",
        "ManualClock": "_clock",
        "MissingExtraError": "_state.tokens",
        "OperationView": "_state.operation_store",
        "OtherClient": "_limits.arm_limits",
        "ProviderLimit": "_limits.arm_limits",
        "RecordedRequest": "_server.request_log",
        "ResourceGroup": "_state.azure_state",
        "Subscription": "_state.azure_state",
    }

    __getattr__ = _late.late(__name__, _HOMES)

    def __dir__():
        return list(__all__)


__all__ = [
    "DEFAULT_SUBSCRIPTION_ID",
    "ArmBucket",
    "ArmBuckets",
    "ArmLimits",
    "ArmUsage",
    "Counts",
    "EmbeddedArm",
    "EmbeddedAzure",
    "EmbeddedGraph",
    "EmbeddedImds",
    "Fault",
    "GraphLimits",
    "Hold",
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
