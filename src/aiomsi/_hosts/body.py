"""The body of a token endpoint's response, within limits."""

import zlib
from collections.abc import Mapping

from aiomsi._hosts.base import TokenError
from aiomsi._util.secret import SecretBytes

MAX_BODY = 1_048_576
"""A token response has 2 to 10 KB."""
TOO_LARGE = f"a response of more than {MAX_BODY} bytes, which no token's is"


def decompress_body(body: SecretBytes, headers: Mapping[str, str]) -> SecretBytes | TokenError:
    """Return the body, decompressed if the server compressed it although no coding was accepted.

    The result has at most `MAX_BODY` bytes.
    """
    coding = headers.get("Content-Encoding", "").strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in ("gzip", "x-gzip", "deflate"):
        return TokenError(
            f"the response is compressed with {coding[:20]!r}, which was not accepted"
        )
    try:
        # 32: with a header of gzip's or of zlib's.
        plain = SecretBytes(zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, MAX_BODY + 1))
    except zlib.error:
        return TokenError(f"the response is not the {coding} that it says it is", passing=True)
    return TokenError(TOO_LARGE) if len(plain) > MAX_BODY else plain
