"""The part of OpenTelemetry's context API that this package uses, without its installation."""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any


class FakeTracing:
    """Stands in for the module `opentelemetry.context`."""

    Context = dict

    def __init__(self) -> None:
        self._current: ContextVar[Mapping[str, object]] = ContextVar("current")

    def get_current(self) -> Mapping[str, object]:
        """Return the values of the current context."""
        return self._current.get({})

    def attach(self, context: Mapping[str, object]) -> Any:
        """Make these the values of the current context."""
        return self._current.set(context)
