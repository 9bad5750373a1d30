"""`is_seekable`: whether a body's file can be sent a second time from its beginning. No I/O."""

from __future__ import annotations


def is_seekable(file: object) -> bool:
    """Return whether a file is open and can be rewound; False for other objects."""
    seekable = getattr(file, "seekable", None)
    try:
        return callable(seekable) and seekable() is True
    except ValueError:
        # The file is closed.
        return False
