"""Locations that the caller names: paths, and URLs of other places."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from aiomsi.inventory._formats.places import LocalPlace, Place
from aiomsi.inventory._formats.remote import open_remote

Location: TypeAlias = str | os.PathLike[str]
"""A path, or a URL with a scheme of fsspec as text."""


_SEPARATORS = ("/", os.sep)


def is_folder(location: str) -> bool:
    """Return whether a location ends with a slash, by which an output is a folder."""
    return location.endswith(_SEPARATORS)


def strip_separator(location: str) -> str:
    """Return a location without slashes at its end."""
    return location.rstrip("".join(_SEPARATORS))


def open_place(location: Location | Place, options: Mapping[str, Any] | None = None) -> Place:
    """Return the place of a path or of a URL.

    Args:
        location: the path or the URL; a place is returned as it is.
        options: options of fsspec's file system, for a URL.

    Raises:
        ConfigurationError: fsspec, or the file system of the URL, is not installed or refuses the
            options.

    """
    if not isinstance(location, str | os.PathLike):
        return location
    if isinstance(location, str) and "://" in location:
        return open_remote(location, options or {})
    return LocalPlace(Path(location))
