"""Which bodies of httpx and httpx2 can be sent twice. It imports neither. No I/O.

httpx names its streams in private modules, so they are recognised by their names; an unknown one
is not sent twice. httpx sends a whole body before it reads the response.
"""

from __future__ import annotations

from aiomsi.integrations._auth.rewinding import is_seekable

LIBRARIES = ("httpx2", "httpx")


def can_repeat(stream: object) -> bool:
    """Return whether the stream of a request sends the same bytes a second time."""
    kind = type(stream)
    if kind.__module__.partition(".")[0] not in LIBRARIES:
        return False
    if kind.__name__ == "ByteStream":
        return True
    if kind.__name__ != "MultipartStream":
        return False
    return all(map(_can_repeat_field, getattr(stream, "fields", (None,))))


def _can_repeat_field(field: object) -> bool:
    """Return whether a field of a form is text or bytes, or a file that httpx can rewind."""
    content = getattr(field, "value", getattr(field, "file", None))
    if isinstance(content, str | bytes):
        return True
    return is_seekable(content)
