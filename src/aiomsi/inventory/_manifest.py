"""`Manifest`: the description of a whole run, with its completeness as a value. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

import attrs

from aiomsi._version import VERSION
from aiomsi.inventory._documents import check_documents
from aiomsi.inventory._plan.counts import Drift, find_drift
from aiomsi.inventory._plan.plan import Plan
from aiomsi.inventory._plan.scopes import Scope, ScopeResult
from aiomsi.inventory._row import SCHEMA_VERSION

Completeness: TypeAlias = Literal["complete", "incomplete", "interrupted"]
CAVEAT = (
    "Complete means that every planned scope was read to its end. ARM leaves out the resource "
    "groups that the identity may not read, without any sign."
)
_COMPLETE, _NOTHING_READ, _INCOMPLETE = 0, 1, 3


@attrs.frozen
class OutputFile:
    """A file of the output.

    Attributes:
        name: the file's name.
        sha256: the digest of its bytes.
        size: the number of its bytes.

    """

    name: str
    sha256: str
    size: int


@attrs.frozen
class Manifest:
    """The scopes of a run, and how each one ended.

    Attributes:
        plan: the plan of the run.
        results: one result for each scope of the plan, in its order.
        ended_at: the time of the manifest.
        files: the files that were written.
        version: the version of this package.
        schema_version: the version of the rows' schema.
        is_cut: whether the run was interrupted before its output was written.

    """

    plan: Plan
    results: tuple[ScopeResult, ...]
    ended_at: str = ""
    files: tuple[OutputFile, ...] = ()
    version: str = VERSION
    schema_version: int = SCHEMA_VERSION
    is_cut: bool = False

    @property
    def completeness(self) -> Completeness:
        """Whether all scopes ended, and without errors."""
        states = {result.state for result in self.results}
        if self.is_cut or "pending" in states:
            return "interrupted"
        return "incomplete" if "failed" in states else "complete"

    @property
    def exit_code(self) -> int:
        """The exit code: 0 if complete, 1 if no scope was read, 3 if incomplete."""
        if self.is_unread:
            return _NOTHING_READ
        return _COMPLETE if self.completeness == "complete" else _INCOMPLETE

    @property
    def is_unread(self) -> bool:
        """Whether no scope was read or is known to be empty, so that no output is worth a file."""
        return not any(result.is_known for result in self.results)

    @property
    def errors(self) -> tuple[ScopeResult, ...]:
        """The results of the scopes that were not read, and are not known to be empty."""
        return tuple(result for result in self.results if not result.is_known)

    @property
    def unknown_subscriptions(self) -> frozenset[str]:
        """The ids of the subscriptions that were not read whole."""
        return frozenset(result.scope.subscription_id for result in self.errors)

    @property
    def short_subscriptions(self) -> frozenset[str]:
        """The ids of the subscriptions that make the inventory incomplete."""
        return frozenset(each.scope.subscription_id for each in self.results if each.is_short)

    @property
    def read_scopes(self) -> tuple[Scope, ...]:
        """The scopes that were read, in the order of the plan: those with rows in the output."""
        return tuple(result.scope for result in self.results if result.state == "read")

    @property
    def read_from(self) -> str | None:
        """The time at which the first scope was read."""
        return min(self._times, default=None)

    @property
    def read_to(self) -> str | None:
        """The time at which the last scope was begun."""
        return max(self._times, default=None)

    @property
    def _times(self) -> tuple[str, ...]:
        return tuple(each.read_at for each in self.results if each.read_at is not None)

    @property
    def rows(self) -> int:
        """The number of rows."""
        return sum(result.rows for result in self.results)

    @property
    def drift(self) -> tuple[Drift, ...]:
        """The types of which another number was read than counted before the run."""
        return find_drift(self.plan.counts, self.results)

    def summarize(self) -> str:
        """Return the first line of a summary."""
        short = self.short_subscriptions
        total = len(self.plan.subscriptions)
        missing = f": {len(short)} of {total} subscriptions" if short else ""
        return f"{self.completeness}{missing}, {self.rows:,} rows of {total} subscriptions"

    def to_metadata(self) -> dict[str, str]:
        """Return the facts in the key-value metadata of a Parquet file."""
        return {
            "aiomsi.version": self.version,
            "aiomsi.schema": str(self.schema_version),
            "aiomsi.run_id": self.plan.run_id,
            "aiomsi.complete": "true" if self.completeness == "complete" else "false",
            "aiomsi.read_from": self.read_from or "",
            "aiomsi.read_to": self.read_to or "",
        }

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as JSON values."""
        identity = self.plan.identity
        return {
            "version": self.version,
            "schema_version": self.schema_version,
            "run_id": self.plan.run_id,
            "completeness": self.completeness,
            "is_cut": self.is_cut,
            "caveat": CAVEAT,
            "cloud": self.plan.cloud,
            "tenant_id": identity.get("tenant_id"),
            "object_id": identity.get("object_id"),
            "arguments": self.plan.arguments,
            "rows": self.rows,
            "requests": sum(result.attempts for result in self.results),
            "throttled": sum(result.throttled for result in self.results),
            "waited": sum(result.waited for result in self.results),
            "received": sum(result.received for result in self.results),
            "started_at": self.plan.started_at,
            "read_from": self.read_from,
            "read_to": self.read_to,
            "ended_at": self.ended_at,
            "plan": self.plan.to_json(),
            "drift": [attrs.asdict(each) for each in self.drift],
            "results": [result.to_json() for result in self.results],
            "files": [attrs.asdict(file) for file in self.files],
        }

    @classmethod
    @check_documents("manifest")
    def from_json(cls, document: Mapping[str, Any]) -> Manifest:
        """Return the manifest that `to_json` returned.

        Raises:
            ConfigurationError: it is no manifest, or one with another schema.

        """
        return cls(
            Plan.from_json(document["plan"]),
            tuple(ScopeResult.from_json(result) for result in document["results"]),
            document["ended_at"],
            tuple(OutputFile(**file) for file in document["files"]),
            document["version"],
            document["schema_version"],
            document.get("is_cut", False),
        )


def make_manifest(
    plan: Plan,
    results: Iterable[ScopeResult],
    ended_at: str,
    files: Iterable[OutputFile] = (),
    *,
    is_cut: bool = False,
) -> Manifest:
    """Return the manifest; scopes without a result are pending."""
    known: dict[Scope, ScopeResult] = {result.scope: result for result in results}
    ordered = (known.get(scope) or ScopeResult(scope) for scope in plan.scopes)
    return Manifest(plan, tuple(ordered), ended_at, tuple(files), is_cut=is_cut)
