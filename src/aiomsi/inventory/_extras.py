"""Errors for packages of an extra that are not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiomsi._errors import ConfigurationError


def make_extra_error(extra: str, text: str) -> ConfigurationError:
    """Return the error for a missing package.

    Args:
        extra: the extra of this package that installs it, for example ``"parquet"``.
        text: the error's text, with the purpose and the package.

    """
    return ConfigurationError(text, help=f"pip install 'aiomsi[{extra}]'")


@contextmanager
def require_extra(extra: str, purpose: str) -> Iterator[None]:
    """Turn an ImportError of the block into the error of `make_extra_error`."""
    try:
        yield
    except ImportError as error:
        text = f"{purpose} needs a package that is not installed: {error}"
        raise make_extra_error(extra, text) from None
