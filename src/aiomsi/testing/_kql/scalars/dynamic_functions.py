"""The functions of dynamic values: arrays and property bags.

Source: https://learn.microsoft.com/kusto/query/scalar-data-types/dynamic
"""

from __future__ import annotations

import json
from typing import Any

from aiomsi.testing._kql.scalars.values import make_key, to_dynamic, to_text


def parse_json(value: Any) -> Any:
    """Return the value of a JSON text; any other text, or a value that is no text, is unchanged."""
    if not isinstance(value, str):
        return to_dynamic(value)
    if not value:
        return None
    try:
        return json.loads(value, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return value


def get_member(value: Any, key: Any) -> Any:
    """Return the member of a bag by its name, or of an array by its index; None if it has none."""
    if isinstance(value, dict):
        return value.get(key) if isinstance(key, str) else None
    if isinstance(value, list) and isinstance(key, int) and not isinstance(key, bool):
        return value[key] if -len(value) <= key < len(value) else None
    return None


def get_length(value: Any) -> int | None:
    """Return the number of an array's elements."""
    return len(value) if isinstance(value, list) else None


def list_keys(value: Any) -> list[str] | None:
    """Return the names of a bag's members."""
    return list(value) if isinstance(value, dict) else None


def has_key(value: Any, key: str) -> bool | None:
    """Return whether a bag has a member."""
    return key in value if isinstance(value, dict) else None


def has_element(value: Any, element: Any) -> bool | None:
    """Return whether an array has an element."""
    index = find_index(value, element)
    return None if index is None else index >= 0


def find_index(value: Any, element: Any) -> int | None:
    """Return the index of an array's element; -1 if it has none."""
    if not isinstance(value, list):
        return None
    wanted = make_key(to_dynamic(element))
    return next((at for at, one in enumerate(value) if make_key(one) == wanted), -1)


def join_arrays(*values: Any) -> list[Any]:
    """Return an array of the elements of all arrays; any other value is an element."""
    return [
        element
        for value in values
        if value is not None
        for element in (value if isinstance(value, list) else [value])
    ]


def slice_array(value: Any, start: int | None, end: int | None) -> list[Any] | None:
    """Return the elements from one index to another, both included; negative ones count back."""
    if not isinstance(value, list) or start is None or end is None:
        return None
    first = max(len(value) + start, 0) if start < 0 else start
    last = len(value) + end if end < 0 else end
    return value[first : last + 1] if last >= 0 else []


def merge_bags(*values: Any) -> dict[str, Any] | None:
    """Return a bag with the members of all; the first of those with one name counts."""
    merged: dict[str, Any] = {}
    for value in values:
        if isinstance(value, dict):
            merged = {**value, **merged}
    return merged


def make_bag(*arguments: Any) -> dict[str, Any]:
    """Return a bag of names and values in turn."""
    names = map(to_text, arguments[::2])
    return dict(zip(names, map(to_dynamic, arguments[1::2]), strict=False))


def make_array(*values: Any) -> list[Any]:
    """Return an array of values."""
    return [to_dynamic(value) for value in values]


def join_texts(value: Any, sign: str) -> str:
    """Return the elements of an array as one text."""
    return sign.join(map(to_text, value)) if isinstance(value, list) else ""


def split_text(text: str, sign: str, index: int | None = None) -> list[str]:
    """Return the parts of a text; with an index, only the part there."""
    parts = text.split(sign) if sign else list(text)
    if index is None:
        return parts
    return parts[index : index + 1] if index >= 0 else []
