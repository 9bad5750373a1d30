"""Rows as JSON Lines. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from aiomsi._util import json
from aiomsi.inventory._row import Row

_dump_fast: Callable[[Any], bytes]
try:
    from orjson import dumps as _dump_fast
except ImportError:
    _dump_fast = json.dumps


def encode_json(value: Any) -> bytes:
    """Encode a value as compact JSON in UTF-8.

    Raises:
        ValueError: the value holds a number that is not finite, or is nested too deeply.

    """
    try:
        return _dump_fast(value)
    except TypeError:
        # orjson refuses half surrogates and integers beyond 64 bits.
        return json.dumps(value)


def encode_lines(rows: Iterable[Row]) -> bytes:
    """Encode rows as JSON Lines, with the columns in the order of the schema.

    Raises:
        ValueError: as for `encode_json`.

    """
    return b"".join([encode_json(row) + b"\n" for row in rows])
