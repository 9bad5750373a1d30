"""The checks of the rows that Resource Graph returned. No I/O.

Resource Graph leaves out subscriptions that the identity can't read, and returns 200. Therefore the
rows of each subscription are compared with a count, and a subscription without rows must be among
those that Resource Graph lists.

Source: https://learn.microsoft.com/azure/governance/resource-graph/overview
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import attrs

from aiomsi._arm.protocol.errors.detail import ErrorDetail
from aiomsi._arm.protocol.paging import Page
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._errors import ArmError
from aiomsi.inventory._plan.scopes import ScopeError, make_error

_NOT_VISIBLE = (
    "Resource Graph returned no row of the subscription, and does not list the subscription"
)
_NONE_READABLE = "novalidsubscriptionsinqueryrequest"
_BAD_REQUEST = "BadRequest"
_LIMIT_HIT = "x-ms-tenant-subscription-limit-hit"


@attrs.frozen
class Reconciliation:
    """The subscriptions of a batch that were not read whole.

    Attributes:
        again: the subscriptions to be requested again.
        errors: the code and the text of each error, by subscription.

    """

    again: tuple[str, ...]
    errors: Mapping[str, tuple[str, str]]


def reconcile(
    received: Mapping[str, int],
    counted: Mapping[str, int],
    visible: Collection[str],
    *,
    is_last: bool,
) -> Reconciliation:
    """Compare the received rows with the counted ones.

    Args:
        received: the number of rows by subscription, for each that was asked for.
        counted: the number that Resource Graph counted afterwards.
        visible: the subscriptions that Resource Graph lists.
        is_last: whether a difference is an error, because the rows were requested twice.

    """
    again, errors = list[str](), dict[str, tuple[str, str]]()
    for one, number in received.items():
        count = counted.get(one, 0)
        if not number and not count and one not in visible:
            errors[one] = ("NotVisible", _NOT_VISIBLE)
        elif number != count and is_last:
            text = f"Resource Graph returned {number} rows, and then counted {count}"
            errors[one] = ("CountMismatch", text)
        elif number != count:
            again.append(one)
    return Reconciliation(tuple(again), errors)


def find_problem(page: Page, response: ArmResponse) -> tuple[str, str] | None:
    """Return the code and the text of an error if a response withholds rows; else None."""
    if response.headers.get(_LIMIT_HIT, "").strip().lower() == "true":
        return "SubscriptionLimitHit", f"Resource Graph left out subscriptions: {_LIMIT_HIT}"
    if page.truncated and page.token is None:
        return "ResultTruncated", "Resource Graph withheld rows: resultTruncated"
    return None


def sees_none(error: BaseException | None) -> bool:
    """Return whether an error means that the identity can read none of the subscriptions."""
    return isinstance(error, ArmError) and any(
        (one.code or "").lower() == _NONE_READABLE for one in ErrorDetail.of(error).walk()
    )


def make_found_error(found: tuple[str, str], response: ArmResponse) -> ScopeError:
    """Return the error of a scope, with the ids of the response that shows it."""
    return ScopeError(*found, response.status, response.request_id, response.client_request_id)


def make_query_error(error: BaseException) -> ScopeError:
    """Return the error of the scopes of a query that failed.

    Resource Graph's ``BadRequest`` has its cause in the first detail.
    """
    if isinstance(error, ArmError):
        if sees_none(error):
            return make_found_error(("NotVisible", _NOT_VISIBLE), error.response)
        causes = ErrorDetail.of(error).details
        if error.code == _BAD_REQUEST and causes and causes[0].code:
            return attrs.evolve(make_error(error), code=causes[0].code, message=causes[0].message)
    return make_error(error)
