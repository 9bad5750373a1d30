"""The embedded Azure: IMDS and ARM on loopback, for tests, examples and machines without an Azure.

Its pytest plugin is loaded in every pytest run of a user, so the names below are imported when first used.
"""

from typing import TYPE_CHECKING

from aiomsi import _late

if TYPE_CHECKING:
    from aiomsi.testing._clock import ManualClock
    from aiomsi.testing._faults import Fault, Hold
    from aiomsi.testing._ledger import Counts, RecordedRequest
    from aiomsi.testing._limits import ArmBucket, ArmBuckets, GraphLimits, ImdsLimits
    from aiomsi.testing._operations import OperationView
    from aiomsi.testing._server import EmbeddedAzure
    from aiomsi.testing._state import DEFAULT_SUBSCRIPTION_ID, Identity, ResourceGroup, Subscription
    from aiomsi.testing._tokens import MissingExtraError
else:
    _HOMES = {
        "ArmBucket": "_limits",
        "ArmBuckets": "_limits",
        "Counts": "_ledger",
        "DEFAULT_SUBSCRIPTION_ID": "_state",
        "EmbeddedAzure": "_server",
        "Fault": "_faults",
        "GraphLimits": "_limits",
        "Hold": "_faults",
        "Identity": "_state",
        "ImdsLimits": "_limits",
        "ManualClock": "_clock",
        "MissingExtraError": "_tokens",
        "OperationView": "_operations",
        "RecordedRequest": "_ledger",
        "ResourceGroup": "_state",
        "Subscription": "_state",
    }

    __getattr__ = _late.late(__name__, _HOMES)

    def __dir__():
        return list(__all__)


__all__ = [
    "DEFAULT_SUBSCRIPTION_ID",
    "ArmBucket",
    "ArmBuckets",
    "Counts",
    "EmbeddedAzure",
    "Fault",
    "GraphLimits",
    "Hold",
    "Identity",
    "ImdsLimits",
    "ManualClock",
    "MissingExtraError",
    "OperationView",
    "RecordedRequest",
    "ResourceGroup",
    "Subscription",
]
