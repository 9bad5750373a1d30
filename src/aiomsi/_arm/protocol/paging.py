"""Paged lists: the items of a page, and the request for the next one. No I/O.

A page without items may have a link to further pages. If the next page can't be requested, an error
is raised after the last received item, so that a list is never short without an error.

Source:
https://github.com/Azure/azure-resource-manager-rpc/blob/master/v1.0/resource-api-reference.md#get-resource
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import attrs

from aiomsi import _errors
from aiomsi._arm.protocol.body import FINAL_STATES, get_text, has_error
from aiomsi._arm.protocol.errors.detail import ErrorDetail, read_detail
from aiomsi._arm.protocol.links import resolve_link
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._clouds import Cloud
from aiomsi._util.json import get_member

_LINKS = ("nextlink", "@nextlink", "@odata.nextlink", "odata.nextlink", "nextpagelink")
_ITEMS = "value"
_CODES = ("code", "errorCode", "statusCode")
_NO_ERROR = frozenset({"", "none", "ok", "success", "succeeded"})
_ABSENT = object()
_COUNTS = frozenset({"count", "totalcount", "total", "totalrecords", "totalrecordcount"})


@attrs.frozen
class Page:
    """One page of a list.

    Attributes:
        items: the items as the service sent them; possibly empty although the list continues.
        next_link: the link to the next page as the service wrote it; None at the end.
        token: the token for the next page of a Resource Graph query; None at the end.
        truncated: whether the service reports further rows without a way to request them.
        total: the number of a Resource Graph query's rows on all pages; None if the service does
            not report it.

    """

    items: list[Any] = attrs.field(repr=lambda items: f"<{len(items)}>")
    next_link: str | None = attrs.field(default=None, repr=False)
    token: str | None = attrs.field(default=None, repr=False)
    truncated: bool = False
    total: int | None = attrs.field(default=None, repr=False)


def read_page(
    response: ArmResponse,
    *,
    item_name: str = _ITEMS,
    next_link_name: str | None = None,
    strict: bool = False,
) -> Page:
    """Parse a page of a list.

    `item_name` and `next_link_name` are for services that use other names; a name with a dot
    is that of a member of an inner object. With `strict`, for services that send a list of items
    with every page, a page with neither such a list nor a link is an error.

    Raises:
        ServiceError: the response is no page: not JSON, an error, or no list.

    """
    document = response.json()
    if document is None and response.status == 204 and not strict:
        return Page([])
    if isinstance(document, list) and not strict:
        return Page(document)
    if not isinstance(document, dict):
        raise make_no_page_error(response, "neither an object nor a list")
    link = _find_link(response, document, (next_link_name,) if next_link_name else _LINKS)
    found = _find_member(document, item_name, _ABSENT)
    items = None if found is _ABSENT else found
    if items is not None and not isinstance(items, list):
        raise make_no_page_error(response, f"an {item_name!r} that is no list")
    check_no_error(response, document, empty=not items)
    if (
        items is None
        and link is None
        and (strict or not _is_empty_page(document, item_name, found=found is not _ABSENT))
    ):
        raise _make_no_items_error(response, document, item_name)
    return Page(items or [], next_link=link)


class PageLinks:
    """The links from page to page: each leads to a new page, on the cloud's ARM.

    It keeps a hash of each link, and no page.

    Args:
        cloud: the cloud whose ARM the links must be on.
        first_url: the URL of the first page if that is requested by GET, because a link back to it
            is a circle.

    """

    def __init__(self, cloud: Cloud, first_url: str | None = None) -> None:
        self._cloud = cloud
        self._seen = set[bytes]() if first_url is None else {_hash_link(first_url)}

    def next_url(self, page: Page, response: ArmResponse) -> str | None:
        """Return the URL of the page after this one, to be sent unchanged; None at the end.

        Raises:
            ForeignHostError: the link leads to a host other than the cloud's ARM.
            ServiceError: the link was followed before.

        """
        if page.next_link is None:
            return None
        url = resolve_link(self._cloud, page.next_link, response.url)
        self._check_new(url, response)
        return url

    def next_token(self, page: Page, response: ArmResponse) -> str | None:
        """Return the token for the page of a Resource Graph query after this one; None at the end.

        Raises:
            ServiceError: the token was used before.

        """
        if page.token is not None:
            self._check_new(page.token, response)
        return page.token

    def _check_new(self, link: str, response: ArmResponse) -> None:
        digest = _hash_link(link)
        if digest in self._seen:
            raise make_broken_error(
                response,
                "links to a page that was read before",
                "The pages read so far may be incomplete",
            )
        self._seen.add(digest)


def _hash_link(link: str) -> bytes:
    return blake2b(link.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _find_member(document: object, name: str, default: Any = None) -> Any:
    """Return a member as `get_member` does; a name with a dot may be that of an inner member."""
    found = get_member(document, name, _ABSENT)
    if found is not _ABSENT:
        return found
    outer, dot, inner = name.partition(".")
    return _find_member(get_member(document, outer), inner, default) if dot else default


def _find_link(
    response: ArmResponse, document: Mapping[str, Any], names: tuple[str, ...]
) -> str | None:
    for name in names:
        link = _find_member(document, name)
        if isinstance(link, str) and link.strip():
            return link
        if link is not None and not isinstance(link, str):
            raise make_no_page_error(response, f"a {name!r} that is no link")
    return None


def _is_bare_error(document: Mapping[str, Any]) -> bool:
    """Return whether an object is an error without the envelope.

    Such an object has a code beside a text, or a final state other than success.
    """
    codes = [
        str(code).lower()
        for name in _CODES
        if isinstance(code := get_member(document, name), str | int)
    ]
    if get_text(document, "message") is not None and any(
        code[:1] != "2" and code not in _NO_ERROR for code in codes
    ):
        return True
    return (
        FINAL_STATES.get((get_text(document, "status") or "").lower(), "succeeded") != "succeeded"
    )


def _is_empty_page(document: Mapping[str, Any], item_name: str, *, found: bool) -> bool:
    """Return whether an object without items is a page, and no resource or error.

    The other members of a page are links and counts. If the caller passed an item name, null under
    it counts as an empty list.
    """
    if found and item_name != _ITEMS:
        return True
    return all(
        name.lower() in (_ITEMS, *_LINKS)
        or name.lower().startswith(("@odata.", "odata."))
        or (name.lower() in _COUNTS and not value)
        for name, value in document.items()
    )


def _make_no_items_error(
    response: ArmResponse, document: Mapping[str, Any], item_name: str
) -> _errors.ServiceError:
    lists = [key for key, value in document.items() if isinstance(value, list)]
    for key, value in document.items():
        lists += (
            [f"{key}.{inner}" for inner, one in value.items() if isinstance(one, list)]
            if isinstance(value, dict)
            else []
        )
    hint = (
        f"If the items are under another name, pass item_name={lists[0]!r}"
        if lists
        else "Make sure that the path is that of a list"
    )
    if "id" in document or "properties" in document:
        hint = "The response is a single resource: use get() for that"
    return make_no_page_error(response, f"no {item_name!r}", hint)


def check_no_error(response: ArmResponse, document: Mapping[str, Any], *, empty: bool) -> None:
    """Check that an object is no error.

    A code and a text are an error only in a page without items.

    Raises:
        ServiceError: the object is an error.

    """
    if has_error(document) or (empty and _is_bare_error(document)):
        why = read_detail(response.body, response.headers.get("Content-Type"))
        text = f"reports an error: {why.code or 'no code'}: {why.message.rstrip('.')}"
        raise make_broken_error(response, text, "", why)


def make_no_page_error(
    response: ArmResponse, what: str, hint: str = "", *, kind: str = "a list"
) -> _errors.ServiceError:
    """Return the exception for a response that is no page and has `what` instead."""
    return make_broken_error(response, f"is no page of {kind}: it has {what}", hint)


def make_broken_error(
    response: ArmResponse, what: str, hint: str, why: ErrorDetail | None = None
) -> _errors.ServiceError:
    """Return the exception for a response that ends a list too early.

    `what` ends the sentence that begins with the request; `why` is the error in the response.
    """
    return _errors.ServiceError(
        f"the response to {response.method} {response.path} {what}",
        help=hint,
        status=response.status,
        response=response.portable(),
        **(why or ErrorDetail(None, what)).arguments(),
    )
