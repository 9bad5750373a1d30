"""Decoding and encoding of JSON, with the same results with and without orjson (`aiomsi[speed]`).

orjson decodes UTF-8 several times as fast as the standard library, but it refuses a byte order
mark, UTF-16, UTF-32, ``NaN`` and half surrogates, and turns integers beyond 64 bits into floats.
The standard library decodes all of these. It alone encodes, because orjson also accepts dates and
data classes, and writes ``NaN`` as null: a body must not depend on the libraries installed.
"""

import json
from collections.abc import Callable
from typing import Any

_Decode = Callable[[bytes], Any]

# Every digit becomes a zero, so that a search for bytes finds a long run of digits in a tenth of
# the time of a regular expression.
_DIGITS_ALIKE = bytes(ord("0") if 0x30 <= code <= 0x39 else code for code in range(256))
_BEYOND_64_BITS = b"0" * 19
_decode_text = json.JSONDecoder().decode
_decode_start = json.JSONDecoder().raw_decode
_SPACE = " \t\n\r"
_encode_text = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode
_encode_ascii = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def _choose_decoder(data: bytes) -> Any:
    """Decode the first document, and choose the decoder of all others.

    So the import of this package does not import orjson.
    """
    global _decode_fast  # noqa: PLW0603 (set once, by the first document)
    try:
        from orjson import loads as decode
    except ImportError:
        _decode_fast = None
        return loads(data)
    _decode_fast = decode
    return decode(data)


_decode_fast: _Decode | None = _choose_decoder


def loads(data: bytes, content_type: str | None = None) -> Any:
    """Decode JSON in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Bytes in none of these encodings are decoded by the ``charset`` of `content_type`.

    Raises:
        ValueError: the bytes are not JSON, or nested too deeply.

    """
    try:
        if _decode_fast is None:
            # `json.loads` takes twice the time, because it looks for the encoding first.
            text = data.decode().strip(_SPACE)
            value, end = _decode_start(text)
            if end == len(text):
                return value
        elif _BEYOND_64_BITS not in data.translate(_DIGITS_ALIKE):
            return _decode_fast(data)
    except (ValueError, RecursionError):
        # Not JSON, or JSON that the fast decoder does not accept.
        pass
    try:
        return _decode_text(_convert_to_text(data, content_type))
    except RecursionError:
        msg = "the JSON is nested too deeply"
        raise ValueError(msg) from None


def get_member(document: object, name: str, default: Any = None) -> Any:
    """Return an object's member, ignoring the case of its name; `default` without one."""
    if not isinstance(document, dict):
        return default
    if name in document:
        return document[name]
    folded = name.lower()
    return next((value for key, value in document.items() if key.lower() == folded), default)


def _convert_to_text(data: bytes, content_type: str | None) -> str:
    """Return the text of a JSON document."""
    try:
        return data.decode(json.detect_encoding(data), "surrogatepass").lstrip("\ufeff")
    except UnicodeDecodeError:
        charset = (
            (content_type or "").lower().partition("charset=")[2].partition(";")[0].strip(" \"'")
        )
        try:
            return data.decode(charset)
        except (LookupError, UnicodeError, ValueError):
            pass
        raise


def dumps(value: Any) -> bytes:
    """Encode a value as JSON in UTF-8.

    It may hold None, booleans, integers, finite floats, text, lists, tuples, and dicts keyed by
    text. A subclass of these counts as its base, for example a `StrEnum` as text.

    Raises:
        ValueError: the value holds a number that is not finite, or itself, or is nested too deeply.
        TypeError: it holds a value of another type, or a key that is not text.

    """
    try:
        text = _encode_text(value)
        _check_keys(value)
        return text.encode()
    except UnicodeEncodeError:
        # A surrogate without its other half: UTF-8 can't encode it, a JSON escape can.
        return _encode_ascii(value).encode()
    except RecursionError:
        msg = "the value is nested too deeply"
        raise ValueError(msg) from None


def _check_keys(value: object) -> None:
    """Raise TypeError for a key that is not text: the encoder would write 1 and "1" alike."""
    containers = [value]
    while containers:
        container = containers.pop()
        if isinstance(container, dict):
            for key in container:
                if not isinstance(key, str):
                    kind = type(key).__name__
                    msg = f"keys of a JSON object must be text, and {key!r} is of type {kind}"
                    raise TypeError(msg)
            containers += [
                inner for inner in container.values() if isinstance(inner, dict | list | tuple)
            ]
        elif isinstance(container, list | tuple):
            containers += [inner for inner in container if isinstance(inner, dict | list | tuple)]
