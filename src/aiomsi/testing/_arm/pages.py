"""Pages of lists.

Source:
https://github.com/Azure/azure-resource-manager-rpc/blob/master/v1.0/resource-api-reference.md ("get
resource collection")
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import TypeVar
from urllib.parse import quote, urlencode

from aiomsi.testing._arm.call import ArmCall
from aiomsi.testing._server.messages import Answer, make_json_answer

_Item = TypeVar("_Item")


def make_page(
    call: ArmCall,
    items: Sequence[_Item],
    as_json: Callable[[_Item], object] = lambda item: item,
    **extra: object,
) -> Answer:
    """Return a page of a list: at most `$top` items from `$skiptoken` on, and a next link.

    `EmptyPages` rules put empty pages before it.

    Raises:
        RefusedError: `$top` or `$skiptoken` is not valid.

    """
    wanted, token = call.request.parameter("$top"), call.request.parameter("$skiptoken")
    top = call.state.page_size
    if wanted is not None:
        if not wanted.isascii() or not wanted.isdecimal() or not int(wanted):
            text = f"The value '{wanted}' of the query parameter '$top' is invalid."
            raise call.refuse(400, "InvalidTopQueryParameter", text)
        top = min(top, int(wanted))
    start, blank = (0, 0) if token is None else _parse_token(call, token)
    if blank < _count_empty_pages(call):
        return make_json_answer(
            200, {"value": [], "nextLink": _build_link(call, start, blank + 1)} | extra
        )
    body: dict[str, object] = {"value": [as_json(item) for item in items[start : start + top]]}
    if start + top < len(items):
        following = start if _is_repeated(call) else start + top
        body["nextLink"] = _build_link(call, following, 0)
    return make_json_answer(200, body | extra)


def _is_repeated(call: ArmCall) -> bool:
    target = f"{call.path}?{call.request.raw_query}"
    return any(pattern.search(target) for pattern in call.state.repeated_pages)


def _count_empty_pages(call: ArmCall) -> int:
    target = f"{call.path}?{call.request.raw_query}"
    fitting = (
        rule.number
        for rule in call.state.empty_pages
        if rule.path is None or rule.path.search(target)
    )
    return next(fitting, 0)


def _parse_token(call: ArmCall, token: str) -> tuple[int, int]:
    try:
        start, blank, *made = base64.urlsafe_b64decode(token).split(b".")
        place, age = (int(start), int(blank)), call.state.monotonic() - int(made[0] if made else 0)
    except ValueError:
        raise call.refuse(400, "InvalidSkipToken", "The provided skip token is invalid.") from None
    if call.state.token_seconds is not None and age >= call.state.token_seconds:
        raise call.refuse(400, "InvalidSkipToken", "The provided skip token has expired.")
    return place


def _build_link(call: ArmCall, start: int, blank: int) -> str:
    kept = [(name, value) for name, value in call.request.query if name.lower() != "$skiptoken"]
    text = f"{start}.{blank}"
    if call.state.token_seconds is not None:
        text = f"{text}.{int(call.state.monotonic())}"
    token = base64.urlsafe_b64encode(text.encode()).decode()
    query = urlencode([*kept, ("$skiptoken", token)])
    return f"{call.request.base_url}{quote(call.path)}?{query}"
