"""The exceptions of an inventory. No I/O."""

from __future__ import annotations

from aiomsi._errors import AiomsiError
from aiomsi.inventory._manifest import Manifest
from aiomsi.inventory._plan.scopes import ScopeResult

_SHOWN = 3


class EmptyInventoryError(AiomsiError):
    """No subscription is visible, or none was chosen. No row was read."""


class IncompleteInventoryError(AiomsiError):
    """Some scopes could not be read; raised after the last row of the others.

    Attributes:
        manifest: the result of each scope.

    """

    def __init__(self, manifest: Manifest) -> None:
        first = "; ".join(_describe(result) for result in manifest.errors[:_SHOWN])
        more = len(manifest.errors) - _SHOWN
        tail = f"; and {more} more" if more > 0 else ""
        super().__init__(f"the inventory is {manifest.summarize()}: {first}{tail}")
        self.manifest = manifest

    @property
    def errors(self) -> tuple[ScopeResult, ...]:
        """The results of the scopes that were not read."""
        return self.manifest.errors


def _describe(result: ScopeResult) -> str:
    error = result.error
    cause = "not read to its end" if error is None else f"{error.status or ''} {error.code}".strip()
    return f"{result.scope.key}: {cause}"
