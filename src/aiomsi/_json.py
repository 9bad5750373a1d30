"""JSON as it comes and as it is sent: one rule, whether orjson is installed (`aiomsi[speed]`) or not.

orjson decodes UTF-8 several times as fast as the standard library, but refuses a byte order mark, UTF-16 and UTF-32,
``NaN`` and half surrogates, and turns integers beyond 64 bits into floats. So its result counts only where the two agree;
everything else is decoded by the standard library. Encoding is the standard library's alone: orjson would also encode
dates, data classes and ``NaN`` (as null), and a body must not depend on which libraries are installed.
"""

import json
from collections.abc import Callable
from typing import Any

_Decode = Callable[[bytes], Any]

# Every digit becomes a zero, so that a long run of digits is found by a search for bytes: ten times as fast as a pattern.
_DIGITS_ALIKE = bytes(ord("0") if 0x30 <= code <= 0x39 else code for code in range(256))
_BEYOND_64_BITS = b"0" * 19
_decode_text = json.JSONDecoder().decode
_encode_text = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode
_encode_ascii = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def _decode_utf8(data: bytes) -> Any:
    return _decode_text(data.decode())


_decode_fast: _Decode
try:
    from orjson import loads as _decode_fast
except ImportError:
    _decode_fast = _decode_utf8


def loads(data: bytes, content_type: str | None = None) -> Any:
    """Decode JSON in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    `content_type` counts only for bytes that are none of these: they are read in its ``charset``.

    Raises:
        ValueError: this is no JSON, or its nesting is too deep.

    """
    if _BEYOND_64_BITS not in data.translate(_DIGITS_ALIKE):
        try:
            return _decode_fast(data)
        except (ValueError, RecursionError):
            # Either no JSON, or JSON that the fast way does not take.
            pass
    try:
        return _decode_text(_text(data, content_type))
    except RecursionError:
        msg = "the JSON is nested too deeply"
        raise ValueError(msg) from None


def _text(data: bytes, content_type: str | None) -> str:
    """Return the text of a JSON document."""
    try:
        return data.decode(json.detect_encoding(data), "surrogatepass").lstrip("\ufeff")
    except UnicodeDecodeError:
        charset = (content_type or "").lower().partition("charset=")[2].partition(";")[0].strip(" \"'")
        try:
            return data.decode(charset)
        except (LookupError, UnicodeError, ValueError):
            pass
        raise


def dumps(value: Any) -> bytes:
    """Encode a value as JSON in UTF-8: None, booleans, integers, finite floats, text, lists, tuples, and dicts keyed by text.

    Subclasses of these count as what they derive from, for example a `StrEnum` as text.

    Raises:
        ValueError: the value holds a number that is not finite, or itself, or its nesting is too deep.
        TypeError: it holds a value of another type, or a key that is not text.

    """
    try:
        text = _encode_text(value)
        _check_keys(value)
        return text.encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair, as services cut it: UTF-8 has none, but JSON has an escape for it.
        return _encode_ascii(value).encode()
    except RecursionError:
        msg = "the value is nested too deeply"
        raise ValueError(msg) from None


def _check_keys(value: object) -> None:
    """Raise TypeError for a key that is not text: the encoder would write 1 and "1" as the same key."""
    containers = [value]
    while containers:
        container = containers.pop()
        if isinstance(container, dict):
            for key in container:
                if not isinstance(key, str):
                    msg = f"Keys of a JSON object are text, and {key!r} is of type {type(key).__name__}"
                    raise TypeError(msg)
            containers += [inner for inner in container.values() if isinstance(inner, dict | list | tuple)]
        elif isinstance(container, list | tuple):
            containers += [inner for inner in container if isinstance(inner, dict | list | tuple)]
