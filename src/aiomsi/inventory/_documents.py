"""`check_documents`: the errors of JSON values that this package did not write. No I/O."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from aiomsi._errors import ConfigurationError

T = TypeVar("T")
_UNREADABLE = (KeyError, TypeError, AttributeError, ValueError)

Read = Callable[[type[T], Mapping[str, Any]], T]


def check_documents(described: str) -> Callable[[Read[T]], Read[T]]:
    """Return a decorator of a `from_json`, which raises ConfigurationError for foreign values.

    Args:
        described: the value that the method reads, for example ``"plan"``.

    """

    def decorate(read: Read[T]) -> Read[T]:
        @functools.wraps(read)
        def checked(owner: type[T], document: Mapping[str, Any]) -> T:
            try:
                return read(owner, document)
            except ConfigurationError:
                raise
            except _UNREADABLE as error:
                msg = f"this is no {described} of an inventory: {type(error).__name__}: {error}"
                raise ConfigurationError(
                    msg, help="Pass what this package wrote, unchanged"
                ) from error

        return checked

    return decorate
