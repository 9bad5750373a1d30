"""`FanOutOptions`: the arguments of `ArmSession.fan_out` and `ArmSession.fan_out_list`, checked."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import attrs

from aiomsi._arm.protocol.bulk.outcomes import Request
from aiomsi._errors import ConfigurationError
from aiomsi._util.argument_checks import check_type

OnError: TypeAlias = Literal["collect", "raise", "skip-scope"]

_ON_ERROR = ("collect", "raise", "skip-scope")


@attrs.frozen
class ListNames:
    """The members of a list's pages.

    Attributes:
        items: the member with the items.
        next_link: the member with the link to the next page; None for the usual names.
        next_method: the method that requests the further pages: ``"GET"``, or ``"POST"`` with the
            body of the first page's request.
        strict: whether a page without a list of items is an error, and never an empty page.
        strict_later: whether that applies to every page but the first. The first page of some
            services has no such list if the list is empty.

    """

    items: str = "value"
    next_link: str | None = None
    next_method: str = "GET"
    strict: bool = False
    strict_later: bool = False


@attrs.frozen(eq=False)
class RawPage:
    """A page of a list, with its URL.

    Attributes:
        items: the items.
        url: the URL of the request.

    """

    items: list[Any]
    url: str = attrs.field(repr=False)


@attrs.frozen
class FanOutOptions:
    """The arguments of `ArmSession.fan_out` and `ArmSession.fan_out_list`, checked.

    Attributes:
        limit: the number of requests that may be taken and not given back.
        on_error: the effect of an error.
        max_bytes: the budget of the answers under way and held.
        api_version: the api-version of paths that are passed as text.
        ordered: whether the outcomes have the order of the requests.
        list_names: the members of a list's pages; None if the requests are no lists.
        raw: whether values are responses that are not decoded, and each page of a list is a
            `RawPage`. All requests are reads then, with any verb.
        sliced: whether each page of a list is an iterator of `page_slices`, and the outcome counts
            no items.
        held_weight: as for `ByteBudget`.

    """

    limit: int
    on_error: OnError
    max_bytes: int
    api_version: str | None
    ordered: bool = False
    list_names: ListNames | None = None
    raw: bool = False
    sliced: bool = False
    held_weight: int = 1

    def __attrs_post_init__(self) -> None:
        numbers: dict[str, object] = {"limit": self.limit, "max_bytes": self.max_bytes}
        for name, value in numbers.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                msg = f"{name}= takes a positive integer, not {value!r}"
                raise ConfigurationError(msg)
        check_type("ordered", self.ordered, bool)
        if self.on_error not in _ON_ERROR:
            msg = f"on_error= is {', '.join(map(repr, _ON_ERROR))}, and not {self.on_error!r}"
            raise ConfigurationError(msg)


def check_list(request: Request, names: ListNames) -> None:
    """Check that a request can begin a list.

    Raises:
        ConfigurationError: its method is neither GET nor POST, or it has no body that the further
            pages' requests repeat.

    """
    if request.method not in ("GET", "POST"):
        msg = f"a list is requested by GET or POST, and not by {request.method!r}"
        raise ConfigurationError(msg)
    if names.next_method == "POST" and (request.method == "GET" or request.json is None):
        msg = "next_method='POST' repeats the first request's body, but json= is missing"
        raise ConfigurationError(
            msg, help="Pass Request('POST', path, json={}) for a service that takes no parameters"
        )
