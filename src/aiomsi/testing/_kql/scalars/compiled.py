"""`Compiled`: an expression that can be computed, and the `Scope` of its names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeAlias

import attrs

from aiomsi.testing._kql.scalars.values import CONVERSIONS
from aiomsi.testing._kql.syntax import Type

Row: TypeAlias = Mapping[str, Any]


@attrs.frozen
class Compiled:
    """An expression that can be computed.

    Attributes:
        type: type of the value.
        compute: returns the value in a row.
        constant: whether the value is the same in each row.

    """

    type: Type
    compute: Callable[[Row], Any]
    constant: bool = False

    def as_type(self, kind: Type) -> Callable[[Row], Any]:
        """Return the function of the value, converted to a type."""
        if self.type == kind:
            return self.compute
        convert, compute = CONVERSIONS[kind], self.compute
        return lambda row: convert(compute(row))


@attrs.frozen
class Scope:
    """The names that an expression may use.

    Attributes:
        columns: types of the columns by name.
        now: time at which the query runs.

    """

    columns: Mapping[str, Type]
    now: datetime


def freeze(kind: Type, value: Any) -> Compiled:
    """Return the expression of a constant."""
    return Compiled(kind, lambda _: value, constant=True)
