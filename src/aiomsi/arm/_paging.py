"""Lists that come in pages: what a page holds, and which request brings the next one. No I/O.

A page without items may have a link, and the list goes on behind it. A list that can't be gone on with is an error after its last
item, never a short list.

Source: https://github.com/Azure/azure-resource-manager-rpc/blob/master/v1.0/resource-api-reference.md#get-resource,
https://learn.microsoft.com/azure/governance/resource-graph/concepts/work-with-data
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import attrs

from aiomsi import _errors
from aiomsi._clouds import Cloud
from aiomsi.arm._failures import ErrorDetail
from aiomsi.arm._links import pinned
from aiomsi.arm._records import has_error, reasons
from aiomsi.arm._response import ArmResponse

_LINKS = ("nextlink", "@nextlink", "@odata.nextlink", "odata.nextlink", "nextpagelink")


@attrs.frozen
class Page:
    """One page of a list.

    Attributes:
        items: as the service sent them; there may be none although the list goes on.
        next_link: where the next page is, as the service wrote it; None at the end.
        token: what brings the next page of a Resource Graph query; None at the end.
        cut: whether the service says that there are more rows, and not how to get them.

    """

    items: list[Any] = attrs.field(repr=lambda items: f"<{len(items)}>")
    next_link: str | None = attrs.field(default=None, repr=False)
    token: str | None = attrs.field(default=None, repr=False)
    cut: bool = False


def read_page(response: ArmResponse, *, item_name: str = "value", next_link_name: str | None = None) -> Page:
    """Read a page of a list.

    `item_name` and `next_link_name` are for services that call them otherwise; a dot leads into an object.

    Raises:
        ServiceError: this is no page: not JSON, an error, or something else than a list.

    """
    document = response.json()
    if document is None and response.status == 204:
        return Page([])
    if isinstance(document, list):
        return Page(document)
    if not isinstance(document, dict):
        raise _no_page(response, "neither an object nor a list")
    link = _link(response, document, (next_link_name,) if next_link_name else _LINKS)
    found, items = _member(document, item_name)
    if items is None:
        if not found and link is None:
            _check_empty(response, document, item_name)
        items = []
    if not isinstance(items, list):
        raise _no_page(response, f"an {item_name!r} that is no list")
    if has_error(document):
        raise _told(response)
    return Page(items, next_link=link)


def read_rows(response: ArmResponse) -> Page:
    """Read a page of a Resource Graph query; rows of a table become objects, as the other format has them.

    Raises:
        ServiceError: this is no such page.

    """
    document = response.json()
    data = document.get("data") if isinstance(document, dict) else None
    if isinstance(data, dict):
        columns, rows = data.get("columns"), data.get("rows")
        if isinstance(columns, list) and isinstance(rows, list):
            data = [dict(zip(map(_column, columns), row, strict=False)) for row in rows]
    if not isinstance(document, dict) or not isinstance(data, list):
        raise _no_page(response, "no rows")
    token = document.get("$skipToken")
    cut = str(document.get("resultTruncated")).lower() == "true" or _beyond(response)
    return Page(data, token=token, cut=cut) if isinstance(token, str) and token else Page(data, cut=cut)


def _beyond(response: ArmResponse) -> bool:
    """Tell whether the identity sees more subscriptions than one query looks into."""
    return (response.headers.get("x-ms-tenant-subscription-limit-hit") or "").strip().lower() == "true"


def _column(column: object) -> str:
    return str(column.get("name")) if isinstance(column, dict) else str(column)


def next_query(body: Mapping[str, Any], token: str) -> dict[str, Any]:
    """Give a Resource Graph query's body for the page that the token brings."""
    options = dict(body.get("options") or {})
    # It would be counted from the token's page on.
    options.pop("$skip", None)
    return {**body, "options": {**options, "$skipToken": token}}


class Chain:
    """The way from page to page: it ends, and never leaves the cloud's ARM.

    It keeps a few bytes for each page that was seen, no page.

    Args:
        cloud: whose ARM the links must be on.
        first_url: that of a list which begins with a GET; a link back to it goes round in circles.

    """

    def __init__(self, cloud: Cloud, first_url: str | None = None) -> None:
        self._cloud = cloud
        self._seen = set[bytes]() if first_url is None else {_digest(first_url)}

    def next_url(self, page: Page, response: ArmResponse) -> str | None:
        """Give the URL to GET for the page after this one, to be sent as it is; None at the end.

        The next page is always a GET, even after a POST.

        Raises:
            ForeignHostError: the link leads off the cloud's ARM.
            ServiceError: the link was followed before.

        """
        if page.next_link is None:
            return None
        url = pinned(self._cloud, page.next_link, response.url)
        self._check_new(url, response)
        return url

    def next_token(self, page: Page, response: ArmResponse) -> str | None:
        """Give the token for the page of a Resource Graph query after this one; None at the end.

        Raises:
            ServiceError: there are more rows but no token, or the token was used before.

        """
        if page.token is None:
            if page.cut:
                hint = "Resource Graph pages a query only if its rows have the column 'id': project it"
                if _beyond(response):
                    hint = "The identity sees more subscriptions than one query looks into: name them"
                raise _broken(response, "gave only a part of the rows, and no token for the rest", hint)
            return None
        self._check_new(page.token, response)
        return page.token

    def _check_new(self, link: str, response: ArmResponse) -> None:
        digest = _digest(link)
        if digest in self._seen:
            raise _broken(response, "links to a page that was read before", "What was read so far is not known to be all")
        self._seen.add(digest)


def _digest(link: str) -> bytes:
    return blake2b(link.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _member(document: Mapping[str, Any], name: str) -> tuple[bool, Any]:
    """Find a member whatever its case, and tell whether it is there at all; a dot leads into an object."""
    for key, value in document.items():
        if key.lower() == name.lower():
            return True, value
    outer, dot, inner = name.partition(".")
    within = _member(document, outer)[1] if dot and outer else None
    return _member(within, inner) if isinstance(within, dict) else (False, None)


def _link(response: ArmResponse, document: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    for name in names:
        link = _member(document, name)[1]
        if isinstance(link, str) and link.strip():
            return link
        if link is not None and not isinstance(link, str):
            raise _no_page(response, f"a {name!r} that is no link")
    return None


def _check_empty(response: ArmResponse, document: Mapping[str, Any], item_name: str) -> None:
    """Make sure that an object without items is an empty page, and not a resource or a list under another name."""
    if has_error(document):
        raise _told(response)
    lists = [key for key, value in document.items() if isinstance(value, list)]
    if lists:
        raise _no_page(response, f"no {item_name!r}", f"If its items are under another name, pass item_name={lists[0]!r}")
    if "id" in document:
        raise _no_page(response, f"no {item_name!r}", "It looks like a single resource: read that with get()")


def _told(response: ArmResponse) -> _errors.ServiceError:
    why = reasons(response)
    return _broken(response, f"tells of an error: {why.code or 'no code'}: {why.message.rstrip('.')}", "", why)


def _no_page(response: ArmResponse, what: str, hint: str = "") -> _errors.ServiceError:
    return _broken(response, f"is no page of a list: it has {what}", hint)


def _broken(response: ArmResponse, what: str, hint: str, why: ErrorDetail | None = None) -> _errors.ServiceError:
    return _errors.ServiceError(
        f"the answer to {response.method} {response.path} {what}",
        help=hint,
        status=response.status,
        response=response.portable(),
        **(why or ErrorDetail(None, what)).arguments(),
    )
