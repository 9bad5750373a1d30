"""Content encodings of a response's body: decoded, or an error if the body was cut. No I/O.

aiohttp does not check the end of a gzip stream. If a proxy cuts the stream and ends the response
properly, aiohttp returns a shorter or an empty body. Therefore the session decodes bodies itself.

Source: https://www.rfc-editor.org/rfc/rfc1952 (gzip),
https://www.rfc-editor.org/rfc/rfc9110#section-8.4 (content codings)
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

ACCEPTED = "gzip, deflate"
_GZIP, _ZLIB, _RAW = 31, 15, -15
_GZIP_MAGIC = b"\x1f\x8b"
_ZLIB_METHOD = 8
_WITH_DATA = frozenset({200, 201})
MAX_BODY = 128 * 1024 * 1024
"""The longest body that a session reads, compressed or decompressed, in bytes.

ARM limits a resource provider's response to 8 MB, Resource Graph a page to 16 MiB.
"""


class CutBodyError(Exception):
    """A body ended too early, or is not in the encoding that its headers name.

    Attributes:
        rest: the part of the body that could be decompressed.

    """

    def __init__(self, text: str, rest: bytes = b"") -> None:
        super().__init__(text)
        self.rest = rest


class LongBodyError(CutBodyError):
    """A body is longer, compressed or decompressed, than a session reads."""

    def __init__(self) -> None:
        super().__init__(f"the body has more than {MAX_BODY} bytes")


def decode_content(method: str, status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    """Return a body without its content encodings.

    A cut body is an error if the status is 200 or 201. With another status the part of it that
    could be decoded is returned, because the status and headers are useful without the rest.

    Raises:
        CutBodyError: the body is not whole.
        LongBodyError: the body is too long.

    """
    if not body:
        if _may_be_empty(method, status, headers):
            return body
        msg = "the body is empty, and its length was not announced"
        raise CutBodyError(msg)
    # The header lists the encodings in the order in which they were applied.
    for encoding in reversed(headers.get("Content-Encoding", "").lower().split(",")):
        try:
            body = _decode(body, encoding.strip())
        except CutBodyError as error:
            if status in _WITH_DATA:
                # The error is chained, and the body may hold secrets.
                error.rest = b""
                raise
            return error.rest
    return body


def _may_be_empty(method: str, status: int, headers: Mapping[str, str]) -> bool:
    """Return whether an empty body may be whole. A compressed body or a resource is never empty."""
    if method == "HEAD" or status not in _WITH_DATA or "Content-Length" in headers:
        return True
    return method != "GET" and "Content-Encoding" not in headers


def _decode(body: bytes, encoding: str) -> bytes:
    match encoding if body else "":
        case "gzip" | "x-gzip":
            return _inflate(body, _GZIP)
        case "deflate":
            # Some servers omit zlib's header.
            packed = body[0] & 0x0F == _ZLIB_METHOD and int.from_bytes(body[:2]) % 31 == 0
            return _inflate(body, _ZLIB if packed else _RAW)
        case "br" | "zstd" | "compress" | "x-compress":
            msg = f"the body has the encoding {encoding!r}, which was not accepted"
            raise CutBodyError(msg)
    # "identity", or a charset in the wrong header.
    return body


def _inflate(body: bytes, window: int) -> bytes:
    parts, size = list[bytes](), 0
    while True:
        inflater = zlib.decompressobj(window)
        try:
            # One byte beyond the limit is enough to detect a body that is too long.
            parts.append(inflater.decompress(body, MAX_BODY + 1 - size))
        except zlib.error as error:
            msg = f"the body can't be decompressed: {error}"
            raise CutBodyError(msg) from None
        size += len(parts[-1])
        if size > MAX_BODY:
            raise LongBodyError
        if not inflater.eof:
            msg = "the compressed body was cut"
            raise CutBodyError(msg, b"".join(parts))
        # A gzip file may have several members; anything else that follows is padding.
        body = inflater.unused_data if window == _GZIP else b""
        if not body.startswith(_GZIP_MAGIC):
            return parts[0] if len(parts) == 1 else b"".join(parts)
