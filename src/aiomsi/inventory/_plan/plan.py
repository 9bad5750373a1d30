"""`Plan`: the scopes of an inventory, with the arguments that a resumed run must repeat. No I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import attrs

from aiomsi._errors import ConfigurationError
from aiomsi._util import json
from aiomsi.inventory._documents import check_documents
from aiomsi.inventory._plan.counts import Counts
from aiomsi.inventory._plan.filters import Filters
from aiomsi.inventory._plan.scopes import Scope
from aiomsi.inventory._plan.selection import Selection
from aiomsi.inventory._plan.subscriptions import Choice, Subscription
from aiomsi.inventory._row import SCHEMA_VERSION, Source

SHARD_SUBSCRIPTIONS = 20
GRAPH_SHARD_SUBSCRIPTIONS = 300
"""Subscriptions of a shard, so that a query of Resource Graph covers as many as it may."""


@attrs.frozen
class Plan:
    """The scopes to read, in the order of the rows of the output.

    Attributes:
        run_id: the id of the run; a resumed run keeps it.
        subscriptions: the subscriptions, sorted by id.
        choice: the arguments that chose them.
        ignore: error codes that stand for an empty scope.
        cloud: the URL of the cloud's ARM.
        identity: facts of the identity, such as its object id and tenant.
        started_at: the time of the plan.
        selection: the lists of each subscription.
        filters: the rows to keep.
        counts: the numbers of resources that were counted before; None if they are not known.

    """

    run_id: str
    subscriptions: tuple[Subscription, ...]
    choice: Choice = attrs.field(factory=Choice)
    ignore: tuple[str, ...] = ()
    cloud: str = ""
    identity: Mapping[str, str | None] = attrs.field(factory=dict)
    started_at: str = ""
    selection: Selection = attrs.field(factory=Selection)
    filters: Filters = attrs.field(factory=Filters)
    counts: Counts | None = None

    @property
    def lists(self) -> tuple[tuple[Source, str | None], ...]:
        """The lists of each subscription, each with its table or type."""
        return self.selection.find_lists(self.filters)

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """All scopes, in the order of the output."""
        lists = self.lists
        return tuple(Scope(one.id, *each) for one in self.subscriptions for each in lists)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of `plan` as JSON values, except for the clock."""
        own = {"ignore": list(self.ignore), "count": self.counts is not None}
        return self.choice.to_json() | self.selection.to_json() | self.filters.to_json() | own

    @property
    def digest(self) -> str:
        """A digest of everything that a resumed run must have in common with the first one.

        The subscriptions and counts are no part of it: a resumed run keeps the first one's.
        """
        facts = {
            "schema": SCHEMA_VERSION,
            "choice": self.choice.to_json(),
            "ignore": sorted(code.lower() for code in self.ignore),
            "cloud": self.cloud,
            "identity": dict(sorted(self.identity.items())),
            "selection": self.selection.to_json(),
            "filters": self.filters.to_json(),
        }
        return hashlib.sha256(json.dumps(facts)).hexdigest()

    def find_subscription(self, subscription_id: str) -> Subscription:
        """Return a subscription of the plan."""
        return next(one for one in self.subscriptions if one.id == subscription_id)

    def iter_shards(self, subscriptions: int | None = None) -> Iterator[tuple[Scope, ...]]:
        """Yield the scopes in groups, each with all scopes of at most that many subscriptions.

        Args:
            subscriptions: the number; None for 20, or for 300 if Resource Graph is read.

        Raises:
            ConfigurationError: the number is not positive.

        """
        if subscriptions is None:
            graph = any(source == "graph" for source, _ in self.lists)
            subscriptions = GRAPH_SHARD_SUBSCRIPTIONS if graph else SHARD_SUBSCRIPTIONS
        if subscriptions < 1:
            msg = f"subscriptions= takes a positive integer, not {subscriptions!r}"
            raise ConfigurationError(msg)
        scopes, size = self.scopes, subscriptions * len(self.lists)
        for start in range(0, len(scopes), size):
            yield scopes[start : start + size]

    def check_scopes(self, scopes: Collection[Scope]) -> None:
        """Check that scopes belong to this plan.

        Raises:
            ConfigurationError: one does not.

        """
        foreign = set(scopes).difference(self.scopes)
        if foreign:
            msg = f"{len(foreign)} of the scopes are not part of the plan"
            raise ConfigurationError(msg, help="Pass scopes of plan.scopes or plan.iter_shards()")

    def check_resumable(self, other: Plan) -> None:
        """Check that a plan may continue with this plan's part files.

        Raises:
            ConfigurationError: the plans differ in arguments, identity, cloud or schema.

        """
        if self.digest == other.digest:
            return
        names = ("choice", "ignore", "cloud", "identity", "selection", "filters")
        differing = [name for name in names if getattr(self, name) != getattr(other, name)]
        what = ", ".join(differing) or "schema"
        msg = f"the earlier run differs from this one in: {what}"
        raise ConfigurationError(msg, help="Repeat its arguments, or use another folder")

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return {
            "digest": self.digest,
            "run_id": self.run_id,
            "subscriptions": [one.to_json() for one in self.subscriptions],
            "choice": self.choice.to_json(),
            "ignore": list(self.ignore),
            "cloud": self.cloud,
            "identity": dict(self.identity),
            "started_at": self.started_at,
            "selection": self.selection.to_json(),
            "filters": self.filters.to_json(),
            "counts": None if self.counts is None else self.counts.to_json(),
        }

    @classmethod
    @check_documents("plan")
    def from_json(cls, document: Mapping[str, Any]) -> Plan:
        """Return the plan that `to_json` returned.

        Raises:
            ConfigurationError: it is no plan, or another version of this package wrote it, with
                another schema.

        """
        choice = {name: _convert_to_tuple(value) for name, value in document["choice"].items()}
        plan = cls(
            document["run_id"],
            tuple(Subscription.from_json(one) for one in document["subscriptions"]),
            Choice(**choice),
            tuple(document["ignore"]),
            document["cloud"],
            document["identity"],
            document["started_at"],
            Selection.from_json(document["selection"]),
            Filters.from_json(document["filters"]),
            None if document["counts"] is None else Counts.from_json(document["counts"]),
        )
        if plan.digest != document["digest"]:
            msg = "the plan has another schema, or was changed"
            raise ConfigurationError(msg, help="Begin a new run in another folder")
        return plan


def _convert_to_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
