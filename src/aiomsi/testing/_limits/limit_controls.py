"""Controls of ARM's limits: their settings, draws of other clients, and counts."""

from __future__ import annotations

from aiomsi.testing._arm.call import ArmState
from aiomsi.testing._limits.arm_limits import ArmLimits, BucketKind
from aiomsi.testing._limits.throttle import ArmUsage
from aiomsi.testing._state.azure_state import SYSTEM_ASSIGNED, Identity


class LimitControls:
    """The controls of `EmbeddedAzure` for ARM's limits; thread-safe."""

    _arm: ArmState

    @property
    def arm_limits(self) -> ArmLimits:
        """The limits of ARM, which may be replaced while the servers run.

        Token buckets then keep their levels, at most the new size; all windows begin anew, and the
        times of `OtherClient` count from that moment.

        Source:
        https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
        """
        return self._arm.throttle.limits

    @arm_limits.setter
    def arm_limits(self, limits: ArmLimits) -> None:
        self._arm.throttle.set_limits(limits)
        self._arm.graph_quotas.clear()

    def draw_tokens(
        self,
        number: float,
        subscription_id: str | None = None,
        kind: BucketKind = "reads",
        *,
        region: str | None = None,
        identity: Identity = SYSTEM_ASSIGNED,
    ) -> None:
        """Take tokens from a bucket at once, as a burst of another client would.

        Args:
            number: tokens to take; a bucket that has fewer is empty afterwards.
            subscription_id: id of the subscription; None for the tenant's bucket.
            kind: class of the bucket: ``"reads"``, ``"writes"`` or ``"deletes"``.
            region: region of ARM's front door; None for all of them.
            identity: the principal that has the bucket.

        """
        self._arm.throttle.draw(number, subscription_id, kind, region, identity.object_id)

    @property
    def arm_usages(self) -> tuple[ArmUsage, ...]:
        """The counts since the start or `reset_counts`, by subscription, region and class."""
        return self._arm.throttle.list_usage()

    def arm_usage(
        self,
        subscription_id: str | None = None,
        *,
        region: str | None = None,
        kind: BucketKind | None = None,
    ) -> ArmUsage:
        """Return the sum of the counts that match all arguments; None matches each one."""
        wanted = None if subscription_id is None else subscription_id.lower()
        found = [
            usage
            for usage in self.arm_usages
            if wanted in (None, usage.subscription_id)
            and region in (None, usage.region)
            and kind in (None, usage.kind)
        ]
        return ArmUsage(
            sum(usage.requests for usage in found),
            sum(usage.refused for usage in found),
            sum(usage.refused_by_providers for usage in found),
            wanted,
            region,
            kind,
        )
