"""Resource Graph queries as values: their pages, their order, and their missing rows. No I/O.

Resource Graph pages a query by a token. It sends no token if the rows lack the column ``id``, or
if the query has ``limit``, ``take``, ``sample`` or ``top``. Pages of a query without an order may
repeat rows and miss others. Therefore a plain query is sorted by ``id``, repeated rows are dropped,
and a final count below ``totalRecords`` is an error.

Source: https://learn.microsoft.com/azure/governance/resource-graph/concepts/work-with-data,
https://learn.microsoft.com/azure/governance/resource-graph/troubleshoot/general
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs

from aiomsi._arm.protocol.errors.detail import ErrorDetail
from aiomsi._arm.protocol.paging import Page, check_no_error, make_broken_error, make_no_page_error
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._errors import ArmError

# A quote that is never closed ends with its line, so that the search never starts again within it.
_QUOTED = re.compile(
    r"@'[^'\n]*'?|@\"[^\"\n]*\"?"
    r"|'(?:[^'\\\n]|\\.)*'?|\"(?:[^\"\\\n]|\\.)*\"?"
    r"|//[^\n]*"
)
_WORD = re.compile(r"[\w-]+")
_TABLE = re.compile(r"\s*\w+\s*", re.ASCII)
_NEW_ID = re.compile(r"\bid\s*=(?![=~])", re.IGNORECASE)
_AMOUNT = re.compile(r"\s*[\w-]+\s+(\d{1,9})\b")
_DIGITS = re.compile(r"\s*[0-9]{1,18}\s*", re.ASCII)
_LIMITS = frozenset({"limit", "take", "sample", "top"})
_SORTS = frozenset({"sort", "order", "top"})
_KEEP_ROWS = frozenset(
    {"where", "extend", "project", "project-away", "project-keep", "project-reorder"}
)
_KEEP_ID = frozenset({"where", "extend", "project"})
_ORDER = "\n| order by id asc"
_TOO_LARGE = frozenset({"responsepayloadtoolarge", "responsetoolarge"})
_TOP = 1_000
QUERY_PATH = "/providers/Microsoft.ResourceGraph/resources"
QUERY_VERSION = "2022-10-01"


def read_rows(response: ArmResponse) -> Page:
    """Parse a page of a Resource Graph query; rows of a table become objects.

    Raises:
        ServiceError: the response is not such a page, or has fewer rows than its count.

    """
    document = response.json()
    data = document.get("data") if isinstance(document, dict) else None
    if isinstance(data, dict):
        columns, rows = data.get("columns"), data.get("rows")
        if (
            isinstance(columns, list)
            and isinstance(rows, list)
            and all(isinstance(row, list) for row in rows)
        ):
            data = [dict(zip(map(_read_column_name, columns), row, strict=False)) for row in rows]
    if isinstance(document, dict):
        check_no_error(response, document, empty=not data)
    if not isinstance(document, dict) or not isinstance(data, list):
        raise make_no_page_error(response, "no rows", kind="rows")
    count, token = _read_integer(document.get("count")), document.get("$skipToken")
    if count is not None and count > len(data):
        raise make_no_page_error(response, f"{len(data)} rows and counts {count}", kind="rows")
    truncated = str(document.get("resultTruncated")).lower() == "true" or _exceeds_subscriptions(
        response
    )
    return Page(
        data,
        token=token if isinstance(token, str) and token else None,
        truncated=truncated,
        total=_read_integer(document.get("totalRecords")),
    )


def _read_integer(value: object) -> int | None:
    """Return a number that is written as a number or as text; None for other values."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _exceeds_subscriptions(response: ArmResponse) -> bool:
    """Return whether the identity sees more subscriptions than one query covers."""
    return (
        response.headers.get("x-ms-tenant-subscription-limit-hit") or ""
    ).strip().lower() == "true"


def _read_column_name(column: object) -> str:
    return str(column.get("name")) if isinstance(column, dict) else str(column)


@attrs.frozen
class QueryShape:
    """The paging of a query, as far as its text determines it.

    Attributes:
        limits: the query's stages ``limit``, ``take``, ``sample`` and ``top``.
        max_rows: the number in the last stage, if that is one of `limits`; otherwise None.
        sortable: whether sorting by ``id`` changes only the order of the rows.
        unique: whether no two rows have the same ``id``.

    """

    limits: tuple[str, ...] = ()
    max_rows: int | None = None
    sortable: bool = False
    unique: bool = False


def parse_shape(kql: str) -> QueryShape:
    """Parse the stages of a query; a query with an unknown stage is not sortable or unique."""
    text = _QUOTED.sub(lambda found: "" if found[0].startswith("//") else "''", kql)
    first, *stages = _split(text, "|")
    words = [
        found[0].lower() if (found := _WORD.search(stage)) is not None else "" for stage in stages
    ]
    amount = _AMOUNT.match(stages[-1]) if stages and words[-1] in _LIMITS else None
    unique = (
        _TABLE.fullmatch(first) is not None
        and set(words) <= _KEEP_ROWS | _LIMITS | _SORTS
        and not any(
            word in ("extend", "project") and _NEW_ID.search(stage)
            for word, stage in zip(words, stages, strict=True)
        )
    )
    columns = [
        [column.strip().lower() for column in _split(_WORD.sub("", stage, count=1), ",")]
        for word, stage in zip(words, stages, strict=True)
        if word == "project"
    ]
    return QueryShape(
        limits=tuple(dict.fromkeys(word for word in words if word in _LIMITS)),
        max_rows=int(amount[1]) if amount is not None else None,
        sortable=unique and set(words) <= _KEEP_ID and all("id" in one for one in columns),
        unique=unique,
    )


def _split(text: str, separator: str) -> list[str]:
    """Split a query at the separators outside of all brackets."""
    parts, start, depth = list[str](), 0, 0
    for at, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == separator and depth <= 0:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]


def sort_query(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a query's body, with an order by ``id`` if that changes only the order of the rows.

    A body with a token stays unchanged, because the token belongs to the unsorted query.
    """
    options = body.get("options") or {}
    if options.get("$skipToken") or not parse_shape(body["query"]).sortable:
        return dict(body)
    # On a new line, because the last one may end with a comment.
    return {**body, "query": f"{body['query'].rstrip()}{_ORDER}"}


def make_next_query(body: Mapping[str, Any], token: str) -> dict[str, Any]:
    """Return a Resource Graph query's body for the page that the token stands for."""
    options = dict(body.get("options") or {})
    # Resource Graph would skip that many rows from the token's page on.
    options.pop("$skip", None)
    return {**body, "options": {**options, "$skipToken": token}}


def shrink_page(body: Mapping[str, Any], error: ArmError) -> dict[str, Any] | None:
    """Return the body for half as many rows if the page was too large, None for other errors."""
    if not any((one.code or "").lower() in _TOO_LARGE for one in ErrorDetail.of(error).walk()):
        return None
    options = body.get("options") or {}
    top = _read_integer(options.get("$top", _TOP))
    if top is None or top <= 1:
        return None
    return {**body, "options": {**options, "$top": top // 2}}


class RowCount:
    """The count of a query's rows, which finds repeated rows and, at the end, missing ones.

    For a query with several pages it keeps one number for each row, and no row.
    """

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._shape = parse_shape(body["query"])
        self._given = _read_integer((body.get("options") or {}).get("$skip")) or 0
        # If the caller passed a token, the rows before it were never counted.
        self._counts = not (body.get("options") or {}).get("$skipToken")
        self._repeated = 0
        self._total: int | None = None
        self._ids = set[int]()
        self._lacks_id = False

    def new_rows(self, page: Page) -> list[Any]:
        """Count a page, and return its rows except those that an earlier page had."""
        if page.total is not None:
            # Resources are created and deleted between pages, so the lowest total counts.
            self._total = page.total if self._total is None else min(self._total, page.total)
        rows = page.items
        ids = [row.get("id") if isinstance(row, dict) else None for row in rows]
        self._lacks_id = self._lacks_id or any(one is None for one in ids)
        if self._shape.unique and (page.token is not None or self._ids):
            keys = [hash(one.lower()) if isinstance(one, str) and one else None for one in ids]
            known = {key for key in keys if key is not None}
            if len(known) < len(keys):
                # Ids that repeat within a page do not identify rows.
                self._shape = attrs.evolve(self._shape, unique=False)
            else:
                rows = [row for row, key in zip(rows, keys, strict=True) if key not in self._ids]
                self._ids |= known
        self._repeated += len(page.items) - len(rows)
        self._given += len(rows)
        return rows

    def check_complete(self, page: Page, response: ArmResponse) -> None:
        """Check after the query's last page that no rows are missing.

        Raises:
            ServiceError: rows are missing.

        """
        shape, total = self._shape, self._total if self._counts else None
        short = total is not None and self._given < total
        if shape.max_rows is not None and self._given >= shape.max_rows:
            return
        if not page.truncated and not short:
            return
        hint = "Sort the query by 'id', and send it again"
        if _exceeds_subscriptions(response):
            hint = "The identity sees more subscriptions than one query covers: name them"
        elif shape.limits:
            named = " and ".join(repr(word) for word in shape.limits)
            hint = (
                f"Resource Graph does not page a query that has {named}: "
                "remove that, and stop reading after so many rows"
            )
        elif self._lacks_id:
            hint = "Resource Graph pages a query only if its rows have the column 'id': project it"
        if self._repeated:
            hint = f"{self._repeated} rows were received twice. {hint}"
        of = f" ({self._given} of {total})" if short else ""
        raise make_broken_error(
            response, f"has only a part of the rows{of}, and no token for the rest", hint
        )
