"""The part of OpenTelemetry's context API that this package uses, for tests without it."""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any


class FakeTracing:
    """A replacement of the module `opentelemetry.context`."""

    Context = dict

    def __init__(self) -> None:
        self._current: ContextVar[Mapping[str, object]] = ContextVar("current")

    def get_current(self) -> Mapping[str, object]:
        """Return the values of the current context."""
        return self._current.get({})

    def attach(self, context: Mapping[str, object]) -> Any:
        """Set the values of the current context."""
        return self._current.set(context)
