"""`Readings`: the scopes of a run that are being read."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from aiomsi.inventory._parts.folder import PartFolder
from aiomsi.inventory._plan.scopes import Scope
from aiomsi.inventory._plan.subscriptions import Subscription
from aiomsi.inventory._sources.reading import Reading, RowRules


@attrs.frozen(eq=False)
class Readings:
    """The scopes that have begun and not ended.

    A run may have many thousand scopes. Only these have a `Reading`, because each one has a dozen
    objects, which the garbage collector visits again and again.

    Attributes:
        subscriptions: the subscriptions of the plan, by id.
        parts: the folder of the parts.
        rules: the rules of the rows.
        open: the readings by scope.

    """

    subscriptions: Mapping[str, Subscription]
    parts: PartFolder
    rules: RowRules
    open: dict[Scope, Reading] = attrs.field(factory=dict, init=False)

    def make(self, scope: Scope) -> Reading:
        """Create the reading of a scope, which ends with `end` or `discard`."""
        subscription = self.subscriptions[scope.subscription_id]
        reading = Reading(scope, subscription, self.parts.make_writer(scope), self.rules)
        self.open[scope] = reading
        return reading

    def end(self, scope: Scope) -> None:
        """Forget a scope that has a result."""
        del self.open[scope]

    def discard(self) -> None:
        """Remove the unfinished parts."""
        for reading in self.open.values():
            reading.writer.discard()
