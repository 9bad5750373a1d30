"""Rows as JSON Lines. No I/O."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from aiomsi._util import json
from aiomsi.inventory._row import Row


def _choose_encoder(value: Any) -> bytes:
    """Encode the first value, and choose the encoder of all others."""
    global _dump_fast  # noqa: PLW0603 (set once, by the first value)
    dump: Callable[[Any], bytes]
    try:
        from orjson import dumps as dump
    except ImportError:
        dump = json.dumps
    _dump_fast = dump
    return dump(value)


_dump_fast: Callable[[Any], bytes] = _choose_encoder


def encode_json(value: Any) -> bytes:
    """Encode a value as compact JSON in UTF-8; a number that is not finite becomes null.

    Raises:
        ValueError: the value is nested too deeply.

    """
    try:
        return _dump_fast(value)
    except (TypeError, ValueError):
        # orjson refuses half surrogates and integers beyond 64 bits; the standard library refuses
        # numbers that are not finite.
        return json.dumps(_drop_infinite(value))


def _drop_infinite(value: Any) -> Any:
    """Return a value with null in the place of NaN and infinity, as orjson writes it.

    Raises:
        ValueError: the value is nested too deeply.

    """
    try:
        return _replace_infinite(value)
    except RecursionError:
        msg = "the value is nested too deeply"
        raise ValueError(msg) from None


def _replace_infinite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _replace_infinite(one) for name, one in value.items()}
    return [_replace_infinite(one) for one in value] if isinstance(value, list | tuple) else value


def encode_lines(rows: Iterable[Row]) -> bytes:
    """Encode rows as JSON Lines, with the columns in the order of the schema.

    Raises:
        ValueError: as for `encode_json`.

    """
    return b"".join([encode_json(row) + b"\n" for row in rows])
