"""`Observer`: the interface through which a run shows its progress."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from aiomsi.inventory._plan.scopes import Scope
from aiomsi.inventory._row import Row


class Observer(Protocol):
    """Follows the scopes of a run; its methods return at once and raise no exception."""

    def begin(self, scope: Scope) -> None:
        """Note that the requests of a scope may be sent from now on.

        It is called again if the rows of the scope are dropped, and its pages requested anew.
        """

    def add(self, scope: Scope, rows: Sequence[Row]) -> None:
        """Note the rows of a page, which were written; they count only if the scope is read."""
