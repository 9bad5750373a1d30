"""Which bodies of aiohttp can be sent twice, and whether the first request sent the whole body.

aiohttp itself would send an empty body the second time if it comes from an async generator. A body
in memory can be sent at any time. A file can be rewound, but only if no thread reads it any more:
after a response that came before the end of the body, a thread may still read a piece, and the
second request would lack it.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from functools import partial

from aiohttp import MultipartWriter
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import BytesPayload, IOBasePayload

from aiomsi.integrations._auth.rewinding import is_seekable

_WRITE = "write_with_length"
_READ_IN_PARTS = (IOBasePayload, MultipartWriter)


class BodySource(enum.Enum):
    """Where the bytes of a body come from."""

    MEMORY = "memory"
    FILE = "a file that can be rewound"
    STREAM = "a stream that is read once"


def classify_body(body: object) -> BodySource:
    """Return the source of a request's body, as aiohttp holds it: a payload, or ``b""``."""
    if isinstance(body, bytes | BytesPayload):
        return BodySource.MEMORY
    if isinstance(body, MultipartWriter):
        sources = {classify_body(part) for part, _, _ in body}
        if BodySource.STREAM in sources or body.consumed:
            return BodySource.STREAM
        return BodySource.FILE if BodySource.FILE in sources else BodySource.MEMORY
    if isinstance(body, IOBasePayload) and not body.consumed and _can_rewind(body):
        return BodySource.FILE
    return BodySource.STREAM


def _can_rewind(body: IOBasePayload) -> bool:
    # A payload sends the rest of a file that it failed to rewind.
    return is_seekable(getattr(body, "_value", None))


class BodyWatch:
    """A context in which a request is sent, to see how much of its body was read.

    Attributes:
        begun: whether aiohttp has begun to read the body.
        sent: whether all of the body was sent.

    """

    __slots__ = ("_body", "begun", "sent")

    def __init__(self, body: object) -> None:
        """Watch a request's body, which is a payload or ``b""``."""
        self._body = body
        self.begun = self.sent = False

    @property
    def is_repeatable(self) -> bool:
        """Whether a second request would send the same bytes."""
        source = classify_body(self._body)
        if source is BodySource.FILE:
            return self.sent or not self.begun
        return source is BodySource.MEMORY

    def __enter__(self) -> None:
        if isinstance(self._body, _READ_IN_PARTS):
            # aiohttp calls this method once for each request, and has no other signal.
            vars(self._body)[_WRITE] = partial(self._watch, self._body.write_with_length)

    def __exit__(self, *_: object) -> None:
        # A writer that is under way keeps the method that it has called.
        if isinstance(self._body, _READ_IN_PARTS):
            vars(self._body).pop(_WRITE, None)

    async def _watch(
        self,
        write: Callable[[AbstractStreamWriter, int | None], Awaitable[None]],
        writer: AbstractStreamWriter,
        content_length: int | None,
    ) -> None:
        self.begun = True
        await write(writer, content_length)
        self.sent = True
